//! Days, deletions that take the bytes away, and both under every fault.

use std::time::Duration;

use obs_disk::{Clock, Fault};
use obs_metrics::{MetricsEngine, OpenMode};
use obs_types::{Matcher, MetricSink, TimestampMs};

use crate::{Content, HOUR, T0, World, batch, everything, labels, range, select};

/// The first hour of a day.
const DAY: i64 = (T0 / HOUR / 24 + 1) * 24 * HOUR;

fn run(engine: &MetricsEngine, world: &World, hours: i64) {
    for _ in 0..hours {
        let t = world.clock.now().0;
        let all: Vec<_> = (0..3)
            .map(|i| {
                let samples = (0..4).map(|k| (t + k * 60_000, (t / HOUR * i) as f64 + 0.5));
                (labels("m", &[("i", &i.to_string())]), samples.collect())
            })
            .collect();
        engine.append(batch(&all)).unwrap();
        world.clock.advance(Duration::from_secs(3_600));
        // Faults lose nothing; that is what the checks are about.
        engine.maintain(world.clock.now()).ok();
    }
}

fn delete(engine: &MetricsEngine, i: &str, from: i64, to: i64) -> usize {
    let sets = [vec![Matcher::equal("i", i)]];
    engine.delete_series(&sets, range(DAY + from * HOUR, DAY + to * HOUR)).unwrap()
}

fn without(mut content: Content, i: &str, from: i64, to: i64) -> Content {
    for (_, samples) in content.iter_mut().filter(|(l, _)| l.get("i") == Some(i)) {
        samples.retain(|(t, _)| !(DAY + from * HOUR..DAY + to * HOUR).contains(t));
    }
    content.retain(|(_, samples)| !samples.is_empty());
    content
}

#[test]
fn a_past_day_becomes_one_block_and_what_is_deleted_leaves_the_disk() {
    let world = World::new();
    world.clock.set(TimestampMs(DAY));
    let engine = world.open();
    run(&engine, &world, 25);
    let want = select(&engine, &[], everything());
    assert_eq!(want.iter().map(|s| s.1.len()).sum::<usize>(), 3 * 4 * 25);
    assert_eq!(engine.stats().blocks, 23, "the day is not over for late samples");
    let hourly = engine.stats().block_bytes;
    run(&engine, &world, 2);
    let stats = engine.stats();
    assert_eq!((stats.blocks, stats.block_samples), (2, 3 * 4 * 25));
    assert!(stats.block_bytes * 4 < hourly, "{} of {hourly}", stats.block_bytes);
    let want = select(&engine, &[], everything());

    // Part of a series in a day block, and one that is nowhere else.
    assert_eq!(delete(&engine, "1", 3, 5), 1);
    assert_eq!(delete(&engine, "2", -9, 24), 1);
    let want = without(without(want, "1", 3, 5), "2", -9, 24);
    assert_eq!(select(&engine, &[], everything()), want, "hidden at once");
    assert_eq!(engine.stats().block_samples, 3 * 4 * 25);
    let report = engine.maintain(world.clock.now()).unwrap();
    assert_eq!((report.blocks_merged, engine.stats().block_samples), (1, 3 * 4 * 25 - 8 - 4 * 24));
    assert_eq!(engine.maintain(world.clock.now()).unwrap().blocks_merged, 0, "carried out");
    assert_eq!(select(&engine, &[], everything()), want);
    drop(engine);
    world.disk.crash();
    let engine = world.open();
    assert_eq!(select(&engine, &[], everything()), want);
    assert_eq!(engine.maintain(world.clock.now()).unwrap().blocks_merged, 0);

    // Retention cuts through the day: hidden now, gone with the block.
    engine.drop_before(TimestampMs(DAY + 10 * HOUR)).unwrap();
    let mut later = want.clone();
    later.iter_mut().for_each(|(_, samples)| samples.retain(|(t, _)| *t >= DAY + 10 * HOUR));
    later.retain(|(_, samples)| !samples.is_empty());
    assert_eq!(select(&engine, &[], everything()), later);
    assert_eq!(engine.drop_before(TimestampMs(DAY + 24 * HOUR)).unwrap(), 1);
    drop(engine);
    world.disk.crash();
    let kept = select(&world.open(), &[], everything());
    assert!(kept.iter().all(|(_, samples)| samples.iter().all(|(t, _)| *t >= DAY + 24 * HOUR)));
}

#[test]
fn a_merge_that_breaks_anywhere_loses_nothing_and_brings_nothing_back() {
    for fault in [Fault::Fail, Fault::Tear, Fault::FailStored, Fault::Crash] {
        let mut n = 0;
        loop {
            let world = World::new();
            world.clock.set(TimestampMs(DAY + 20 * HOUR));
            let engine = world.open();
            run(&engine, &world, 6);
            delete(&engine, "1", 20, 22);
            let want = select(&engine, &[], everything());
            world.disk.fault_after(n, fault);
            world.clock.advance(Duration::from_secs(3_600));
            engine.maintain(world.clock.now()).ok();
            let reached = world.disk.fault_reached();
            if fault != Fault::Crash {
                assert_eq!(select(&engine, &[], everything()), want, "{fault:?} at {n}, running");
            }
            drop(engine);
            world.disk.crash_torn(n);
            let engine = world.open();
            assert_eq!(select(&engine, &[], everything()), want, "{fault:?} at {n}");
            engine.maintain(world.clock.now()).unwrap();
            assert_eq!(select(&engine, &[], everything()), want, "{fault:?} at {n}, merged");
            assert_eq!(engine.stats().blocks, 2, "{fault:?} at {n}");
            assert_eq!(engine.stats().block_samples, 3 * 4 * 5 - 8, "{fault:?} at {n}");
            if !reached {
                break;
            }
            n += 1;
        }
        assert!(n > 10, "a merge has many operations, {n} were broken");
    }
}

#[test]
fn a_full_disk_stops_merging_and_nothing_else() {
    let world = World::new();
    world.clock.set(TimestampMs(DAY + 18 * HOUR));
    let engine = world.open();
    run(&engine, &world, 7);
    delete(&engine, "0", 18, 20);
    world.clock.advance(Duration::from_secs(3_600));
    let want = select(&engine, &[], everything());
    for room in [0, 100, 400] {
        world.disk.set_budget(Some(world.disk.used_bytes() + room));
        assert!(engine.maintain(world.clock.now()).is_err(), "room for {room}");
        assert_eq!(select(&engine, &[], everything()), want, "room for {room}");
    }
    world.disk.set_budget(None);
    engine.maintain(world.clock.now()).unwrap();
    assert_eq!(select(&engine, &[], everything()), want);
    assert_eq!(engine.stats().blocks, 1);
    assert!(
        matches!(world.try_open(OpenMode::ReadOnly), Ok(e) if select(&e, &[], everything()) == want)
    );
}
