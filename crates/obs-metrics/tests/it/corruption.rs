use std::path::PathBuf;
use std::time::Duration;

use obs_disk::Clock;
use obs_types::{LabelSet, MetricSink};

use crate::{Content, World, batch, everything, labels, select};

fn filled() -> (World, Content) {
    let world = World::new();
    let engine = world.open();
    for h in 0..5 {
        let all: Vec<(LabelSet, Vec<(i64, f64)>)> = (0..4)
            .map(|i| {
                let t = world.clock.now().0;
                let samples = (0..5).map(|k| (t + k * 15_000, (h * i) as f64 + 0.1 * k as f64));
                (labels("m", &[("i", &i.to_string())]), samples.collect())
            })
            .collect();
        engine.append(batch(&all)).unwrap();
        world.clock.advance(Duration::from_secs(3_600));
        engine.maintain(world.clock.now()).unwrap();
    }
    let content = select(&engine, &[], everything());
    assert!(engine.stats().blocks == 3 && engine.stats().wal_bytes > 0);
    (world, content)
}

/// What is done to bytes: one pattern and some of the bytes, or (`VMOBS_CORRUPTION=all`) several
/// and all.
fn damage(len: u64, step: usize, pattern: u8) -> Vec<(usize, u8)> {
    let all = std::env::var_os("VMOBS_CORRUPTION").is_some_and(|v| v == "all");
    let patterns: &[u8] = if all { &[0x01, 0x20, 0x80, 0xff] } else { &[pattern] };
    let places = (0..len as usize).step_by(if all { 1 } else { step });
    places.flat_map(|at| patterns.iter().map(move |p| (at, *p))).collect()
}

fn files(world: &World, end: &str) -> Vec<(PathBuf, u64)> {
    let all = world.disk.files().into_iter();
    all.filter(|(p, _)| p.to_str().is_some_and(|p| p.ends_with(end))).collect()
}

/// Everything that is served was stored, and what is served is at least what other hours hold.
fn assert_honest(have: &Content, want: &Content, lost_max: usize, what: &str) {
    let count = |c: &Content| c.iter().map(|s| s.1.len()).sum::<usize>();
    for (labels, samples) in have {
        let stored = want.iter().find(|(l, _)| l == labels);
        let stored = &stored.unwrap_or_else(|| panic!("{what}: invented {labels}")).1;
        assert!(samples.iter().all(|s| stored.contains(s)), "{what}: wrong samples of {labels}");
    }
    assert!(count(have) + lost_max >= count(want), "{what}: {} of {}", count(have), count(want));
}

#[test]
fn every_damaged_byte_of_a_block_is_noticed_and_the_rest_served() {
    let (world, want) = filled();
    for (path, len) in files(&world, ".blk") {
        for (at, pattern) in damage(len, 1, 0x20) {
            // A fresh world for each byte: opening moves damaged files.
            let (world, _) = filled();
            assert!(world.disk.corrupt(&path, at, pattern));
            let engine = world.open();
            let have = select(&engine, &[], everything());
            assert_honest(&have, &want, 20, &format!("{} at {at}", path.display()));
            let stats = engine.stats();
            let noticed = stats.blocks_quarantined + stats.sections_corrupt;
            assert!(noticed > 0 || !engine.verify().is_empty(), "{} at {at}", path.display());
            if at % 16 != 0 {
                continue;
            }
            // Damage is not merged away, nor does it stop maintenance.
            world.clock.advance(Duration::from_secs(36_000));
            engine.maintain(world.clock.now()).unwrap();
            assert_honest(&select(&engine, &[], everything()), &want, 20, "after maintenance");
        }
    }
}

#[test]
fn every_damaged_byte_of_the_log_is_noticed_and_the_rest_replayed() {
    let (world, want) = filled();
    let logs = files(&world, ".wal");
    assert!(logs.len() >= 2);
    for (path, len) in logs {
        for (at, pattern) in damage(len, 3, 0x04) {
            let (world, _) = filled();
            world.disk.corrupt(&path, at, pattern);
            let engine = world.open();
            let have = select(&engine, &[], everything());
            assert_honest(&have, &want, 20, &format!("{} at {at}", path.display()));
            let stats = engine.stats();
            let noticed = stats.wal_corrupt + stats.wal_torn_bytes;
            assert!(noticed > 0, "{} at {at}", path.display());
            let t = world.clock.now().0;
            engine.append(batch(&[(labels("after", &[]), vec![(t, 1.0)])])).unwrap();
            drop(engine);
            world.disk.crash();
            let later = labels("after", &[]);
            let engine = world.open();
            assert!(select(&engine, &[], everything()).iter().any(|(l, _)| *l == later));
        }
    }
}

/// The hours of a day in one block, with what was deleted gone, and a snapshot behind it.
fn day() -> (World, Content) {
    let mut world = World::new();
    world.limits.snapshot_wal_bytes = 200;
    let engine = world.open();
    for h in 0..20 {
        let t = world.clock.now().0;
        let all: Vec<(LabelSet, Vec<(i64, f64)>)> = (0..3)
            .map(|i| {
                let samples = (0..2).map(|k| (t + k * 60_000, (h * i) as f64 * 0.7));
                (labels("m", &[("i", &i.to_string())]), samples.collect())
            })
            .collect();
        engine.append(batch(&all)).unwrap();
        world.clock.advance(Duration::from_secs(3_600));
        engine.maintain(world.clock.now()).unwrap();
    }
    let content = select(&engine, &[], everything());
    (world, content)
}

#[test]
fn every_damaged_byte_of_a_day_or_a_snapshot_is_noticed_and_the_rest_served() {
    let (world, want) = day();
    let blocks = files(&world, ".blk");
    assert!(blocks.iter().any(|(p, _)| p.ends_with("head.blk")) && blocks.len() >= 3);
    for (path, len) in blocks {
        // A snapshot is only a shortcut; of a damaged block its samples may be missing.
        let lost_max = if path.ends_with("head.blk") { 0 } else { 3 * 2 * 24 };
        for (at, pattern) in damage(len, 17, 0x08) {
            let (world, _) = day();
            assert!(world.disk.corrupt(&path, at, pattern));
            let engine = world.open();
            let have = select(&engine, &[], everything());
            let what = format!("{} at {at}", path.display());
            assert_honest(&have, &want, lost_max, &what);
            let stats = engine.stats();
            let noticed = stats.blocks_quarantined + stats.sections_corrupt;
            assert!(noticed > 0 || !engine.verify().is_empty(), "{what}");
        }
    }
}
