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
        for at in 0..len as usize {
            // A fresh world for each byte: opening moves damaged files.
            let (world, _) = filled();
            assert!(world.disk.corrupt(&path, at, 0x20));
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
        for at in (0..len as usize).step_by(3) {
            let (world, _) = filled();
            world.disk.corrupt(&path, at, 0x04);
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
