//! Snapshots of the head: what they save, and that nothing rests on them alone.

use std::path::PathBuf;
use std::time::Duration;

use obs_disk::Clock;
use obs_metrics::{MetricsEngine, OpenMode};
use obs_types::{LabelSet, MetricSink};

use crate::{Content, T0, World, batch, everything, labels, select};

fn file() -> PathBuf {
    World::dir().join("head.blk")
}

/// Three series with full, open and late samples over two hours, a snapshot in between.
fn filled() -> (World, Content) {
    let mut world = World::new();
    world.limits.snapshot_wal_bytes = 1;
    let engine = world.open();
    for round in 0..2 {
        append(&world, &engine, round);
        assert_eq!(engine.maintain(world.clock.now()).unwrap().snapshots_written, 1);
        append(&world, &engine, round + 10);
    }
    let content = select(&engine, &[], everything());
    drop(engine);
    world.disk.crash();
    (world, content)
}

fn append(world: &World, engine: &MetricsEngine, round: i64) {
    let t = world.clock.now().0;
    let all: Vec<(LabelSet, Vec<(i64, f64)>)> = (0..3)
        .map(|i| {
            let late = std::iter::once((t - 90_001, -1.5));
            let samples = (0..130).map(|k| (t + k * 1_000, (round * k * i) as f64 / 3.0));
            (labels("m", &[("i", &i.to_string())]), samples.chain(late).collect())
        })
        .collect();
    engine.append(batch(&all)).unwrap();
    world.clock.advance(Duration::from_secs(1_200));
}

#[test]
fn a_start_reads_the_snapshot_and_only_the_log_behind_it() {
    let (world, want) = filled();
    let engine = world.open();
    assert_eq!(select(&engine, &[], everything()), want);
    let head = engine.stats().head_samples;
    assert_eq!(head, want.iter().map(|s| s.1.len() as u64).sum::<u64>());
    // The same samples again are known, other values of their times refused.
    let (series, samples) = &want[1];
    let again = samples.iter().map(|(t, v)| (*t, f64::from_bits(*v))).collect();
    let out = engine.append(batch(&[(series.clone(), again)])).unwrap();
    assert_eq!((out.accepted, out.rejected_count()), (samples.len() as u64, 0));
    let other = samples.iter().map(|(t, _)| (*t, 77.25)).collect();
    let out = engine.append(batch(&[(series.clone(), other)])).unwrap();
    assert_eq!((out.accepted, out.rejected_count()), (0, samples.len() as u64));
    assert_eq!(engine.stats().head_samples, head);
    drop(engine);

    // A segment before the snapshot is not looked at, one behind it is.
    let mut logs: Vec<PathBuf> = world.disk.files().into_iter().map(|(p, _)| p).collect();
    logs.retain(|p| p.extension().is_some_and(|e| e == "wal"));
    logs.sort();
    assert!(logs.len() > 2);
    for (path, noticed) in [(&logs[0], 0), (logs.last().unwrap(), 1)] {
        assert!(world.disk.corrupt(path, 40, 1));
        let stats = world.try_open(OpenMode::ReadOnly).unwrap().stats();
        assert_eq!(stats.wal_corrupt + u64::from(stats.wal_torn_bytes > 0), noticed, "{path:?}");
        world.disk.corrupt(path, 40, 1);
    }
}

#[test]
fn after_an_ordered_stop_nothing_is_replayed() {
    let mut world = World::new();
    world.limits.snapshot_wal_bytes = 1;
    let engine = world.open();
    append(&world, &engine, 1);
    engine.shutdown();
    let want = select(&engine, &[], everything());
    assert_eq!(engine.stats().snapshots, 1);
    drop(engine);
    world.disk.crash();
    for (path, len) in world.disk.files() {
        if path.extension().is_some_and(|e| e == "wal") {
            assert!((0..len as usize).all(|at| world.disk.corrupt(&path, at, 0xff)));
        }
    }
    let engine = world.open();
    assert_eq!(select(&engine, &[], everything()), want);
    // New segments are numbered behind the old ones: a snapshot never hides them.
    append(&world, &engine, 2);
    let want = select(&engine, &[], everything());
    drop(engine);
    world.disk.crash();
    assert_eq!(select(&world.open(), &[], everything()), want);
}

#[test]
fn a_damaged_snapshot_costs_no_sample() {
    let (world, want) = filled();
    let len = obs_disk::Disk::len(&world.disk, &file()).unwrap() as usize;
    for at in 0..len {
        assert!(world.disk.corrupt(&file(), at, 0x10));
        let engine = world.try_open(OpenMode::ReadOnly).unwrap();
        assert_eq!(select(&engine, &[], everything()), want, "byte {at}");
        assert_eq!(engine.stats().blocks_quarantined, 1, "byte {at}");
        world.disk.corrupt(&file(), at, 0x10);
    }
    world.disk.corrupt(&file(), len / 2, 1);
    let engine = world.open();
    assert_eq!(select(&engine, &[], everything()), want);
    assert!(!world.disk.files().iter().any(|(p, _)| *p == file()), "set aside");
    assert_eq!(engine.maintain(world.clock.now()).unwrap().snapshots_written, 1);
    drop(engine);
    world.disk.crash();
    let engine = world.open();
    assert_eq!(engine.stats().blocks_quarantined, 0);
    assert_eq!(select(&engine, &[], everything()), want);
}

#[test]
fn what_a_later_flush_wrote_to_blocks_is_not_read_twice() {
    let (mut world, want) = filled();
    let engine = world.open();
    // Everything into blocks, but the snapshot stays the old one.
    world.limits.snapshot_wal_bytes = u64::MAX;
    drop(engine);
    let engine = world.open();
    world.clock.advance(Duration::from_secs(36_000));
    let report = engine.maintain(world.clock.now()).unwrap();
    assert_eq!(report.snapshots_written, 0);
    assert_eq!(engine.stats().head_samples, 0);
    drop(engine);
    world.disk.crash();
    let engine = world.open();
    assert_eq!(engine.stats().head_samples, 0);
    assert_eq!(select(&engine, &[], everything()), want);
    assert!(world.clock.now().0 > T0);
}

#[test]
fn what_retention_took_does_not_come_back_from_the_snapshot() {
    let mut world = World::new();
    world.limits.snapshot_wal_bytes = 600;
    let engine = world.open();
    append(&world, &engine, 0);
    append(&world, &engine, 1);
    assert_eq!(engine.maintain(world.clock.now()).unwrap().snapshots_written, 1);
    // The hour goes to a block and the block goes; nothing new is logged, so the snapshot stays.
    world.clock.advance(Duration::from_secs(6 * 3_600));
    let report = engine.maintain(world.clock.now()).unwrap();
    assert_eq!((report.blocks_written > 0, report.snapshots_written), (true, 0));
    assert!(engine.drop_before(world.clock.now()).unwrap() > 0);
    assert_eq!(select(&engine, &[], everything()), []);
    drop(engine);
    world.disk.crash();
    assert_eq!(select(&world.open(), &[], everything()), []);
}
