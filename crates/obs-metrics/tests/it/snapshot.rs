//! Snapshots of the head: what they save, and that nothing rests on them alone.

use std::path::PathBuf;
use std::time::Duration;

use obs_disk::Clock;
use obs_metrics::{MetricsEngine, OpenMode};
use obs_types::{LabelSet, Matcher, MetricSink, TimestampMs};

use crate::{Content, HOUR, T0, World, batch, everything, labels, range, select};

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
fn behind_a_snapshot_the_log_names_series_by_the_snapshots_numbers() {
    let mut world = World::new();
    world.limits.snapshot_wal_bytes = 1;
    let engine = world.open();
    let long = "x".repeat(900);
    let all = |v: f64| -> Vec<(LabelSet, Vec<(i64, f64)>)> {
        let t = world.clock.now().0;
        (0..40).map(|i| (labels(&format!("m{i}"), &[("long", &long)]), vec![(t, v)])).collect()
    };
    engine.append(batch(&all(1.0))).unwrap();
    assert_eq!(engine.maintain(world.clock.now()).unwrap().snapshots_written, 1);
    world.clock.advance(Duration::from_secs(60));
    engine.append(batch(&all(2.0))).unwrap();
    // One series that only the log knows.
    engine.append(batch(&[(labels("new", &[]), vec![(world.clock.now().0, 3.0)])])).unwrap();
    let want = select(&engine, &[], everything());
    assert_eq!(want.iter().map(|s| s.1.len()).sum::<usize>(), 81);
    drop(engine);
    world.disk.crash();

    let mut logs: Vec<(PathBuf, u64)> = world.disk.files();
    logs.retain(|(p, _)| p.extension().is_some_and(|e| e == "wal"));
    logs.sort();
    let (first, last) = (logs[0].0.clone(), logs.last().unwrap());
    assert!(logs.len() == 2 && last.1 < 900, "no label set is logged again: {logs:?}");
    for (damaged, sets_aside, lost) in [
        (vec![], 0, 0),
        (vec![&first], 0, 0),
        (vec![&file()], 1, 0),
        (vec![&first, &file()], 1, 40),
    ] {
        damaged.iter().for_each(|p| assert!(world.disk.corrupt(p, 60, 1)));
        let engine = world.try_open(OpenMode::ReadOnly).unwrap();
        let stats = engine.stats();
        assert_eq!((stats.blocks_quarantined, stats.lost_samples), (sets_aside, lost));
        let have = select(&engine, &[], everything());
        if lost == 0 {
            assert_eq!(have, want);
        } else {
            // Samples whose series nobody knows any more go to no other one.
            assert_eq!(have, want[40..]);
        }
        damaged.iter().for_each(|p| assert!(world.disk.corrupt(p, 60, 1)));
    }
    // A new series after a start gets a number of its own.
    let engine = world.open();
    engine.append(batch(&[(labels("newer", &[]), vec![(world.clock.now().0, 4.0)])])).unwrap();
    engine.append(batch(&all(2.0))).unwrap();
    let want = select(&engine, &[], everything());
    assert_eq!(want.len(), 42);
    drop(engine);
    world.disk.crash();
    assert_eq!(select(&world.open(), &[], everything()), want);
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

/// An engine on the machine's disk.
fn on_disk(dir: &std::path::Path, world: &World) -> std::sync::Arc<obs_metrics::MetricsEngine> {
    obs_metrics::MetricsEngine::open(obs_metrics::MetricsConfig {
        dir: dir.join("metrics"),
        wal_dir: dir.join("wal/metrics"),
        disk: std::sync::Arc::new(obs_disk::RealDisk),
        clock: std::sync::Arc::clone(&world.clock) as std::sync::Arc<dyn Clock>,
        mode: obs_metrics::OpenMode::ReadWrite,
        limits: world.limits.clone(),
    })
    .unwrap()
}

#[test]
fn a_backup_opens_with_what_was_there_and_goes_its_own_way() {
    use std::os::unix::fs::MetadataExt;
    let folder = tempfile::tempdir().unwrap();
    let (world, live) = (World::new(), folder.path().join("live"));
    let engine = on_disk(&live, &world);
    let m = labels("m", &[]);
    for hour in 0..6 {
        let t = T0 + hour * HOUR;
        world.clock.set(TimestampMs(t));
        engine.append(batch(&[(m.clone(), vec![(t, hour as f64)])])).unwrap();
        engine.maintain(world.clock.now()).unwrap();
    }
    engine.delete_series(&[vec![]], range(T0 + 5 * HOUR, T0 + 5 * HOUR + 1_000)).unwrap();
    let want = select(&engine, &[], everything());
    assert_eq!(want[0].1.len(), 5);
    let (whole, blocks_only) = (folder.path().join("whole"), folder.path().join("blocks"));
    let report = engine.backup(&whole.join("metrics"), false).unwrap();
    assert_eq!(report.head_series, 1);
    assert!(report.files_linked >= 4, "{report:?}");
    engine.backup(&blocks_only.join("metrics"), true).unwrap();
    assert!(engine.backup(&whole.join("metrics"), false).is_err(), "a copy is never written over");
    // What happens afterwards happens to one of them only.
    let t = world.clock.now().0 + 60_000;
    engine.append(batch(&[(m.clone(), vec![(t, 7.0)])])).unwrap();
    let copy = on_disk(&whole, &world);
    assert_eq!(select(&copy, &[], everything()), want);
    copy.append(batch(&[(m.clone(), vec![(t, 8.0)])])).unwrap();
    drop(copy);
    let copy = on_disk(&whole, &world);
    assert_eq!(select(&copy, &[], everything())[0].1.last(), Some(&(t, 8.0_f64.to_bits())));
    assert_eq!(select(&engine, &[], everything())[0].1.last(), Some(&(t, 7.0_f64.to_bits())));
    let flushed = select(&on_disk(&blocks_only, &world), &[], everything());
    assert_eq!(flushed[0].1, want[0].1[..3], "hours that were in blocks");
    let block = std::fs::read_dir(live.join("metrics")).unwrap().map(|e| e.unwrap().path());
    let block = block.filter(|p| p.file_name().unwrap().to_string_lossy().contains('_')).max();
    assert!(std::fs::metadata(block.unwrap()).unwrap().nlink() >= 3, "the bytes are shared");
}

#[test]
fn deletions_that_are_carried_out_are_forgotten() {
    let world = World::new();
    let engine = world.open();
    let (a, b) = (labels("a", &[]), labels("b", &[]));
    for hour in 0..6 {
        let t = T0 + hour * HOUR;
        world.clock.set(TimestampMs(t));
        let at = |v: f64| vec![(t, v)];
        engine.append(batch(&[(a.clone(), at(1.0)), (b.clone(), at(2.0))])).unwrap();
        engine.maintain(world.clock.now()).unwrap();
    }
    let one = |name: &str| [vec![Matcher::equal("__name__", name)]];
    engine.delete_series(&one("a"), range(T0, T0 + 2 * HOUR)).unwrap();
    engine.delete_series(&one("b"), everything()).unwrap();
    let want = select(&engine, &[], everything());
    assert_eq!(engine.stats().tombstones, 2);
    // What is deleted in memory is known to be so by its tombstone alone.
    assert_eq!(engine.clean_tombstones().unwrap(), 1);
    assert_eq!(engine.stats().tombstones, 1);
    assert_eq!(select(&engine, &[], everything()), want);
    world.clock.set(TimestampMs(T0 + 12 * HOUR));
    engine.maintain(world.clock.now()).unwrap();
    assert_eq!(engine.clean_tombstones().unwrap(), 1);
    assert_eq!((engine.stats().tombstones, engine.clean_tombstones().unwrap()), (0, 0));
    drop(engine);
    world.disk.crash();
    assert_eq!(select(&world.open(), &[], everything()), want);
}
