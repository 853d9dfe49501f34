use std::collections::BTreeMap;
use std::time::Duration;

use obs_disk::{Clock, Fault};
use obs_metrics::MetricsEngine;
use obs_types::{IngestError, LabelSet, MetricSink, TimestampMs};

use crate::{HOUR, T0, World, batch, everything, labels, select};

/// What was acknowledged: series, time and bits.
type Acknowledged = BTreeMap<LabelSet, BTreeMap<i64, u64>>;

/// Some appends with maintenance in between, over several hours.
fn work(world: &World, engine: &MetricsEngine, acknowledged: &mut Acknowledged) {
    for step in 0..8_i64 {
        let t = world.clock.now().0;
        let value = step as f64 + 0.1;
        let all: Vec<_> = (0..3)
            .map(|i| (labels("m", &[("i", &i.to_string())]), vec![(t, value), (t - HOUR, -value)]))
            .collect();
        if engine.append(batch(&all)).is_ok() {
            for (labels, samples) in all {
                let of_series = acknowledged.entry(labels).or_default();
                of_series.extend(samples.into_iter().map(|(t, v)| (t, v.to_bits())));
            }
        }
        world.clock.advance(Duration::from_secs(2_400));
        // An error here loses nothing; that is what the checks are about.
        engine.maintain(world.clock.now()).ok();
    }
}

fn assert_holds(engine: &MetricsEngine, acknowledged: &Acknowledged, what: &str) {
    let have: BTreeMap<LabelSet, BTreeMap<i64, u64>> = select(engine, &[], everything())
        .into_iter()
        .map(|(labels, samples)| (labels, samples.into_iter().collect()))
        .collect();
    for (labels, samples) in acknowledged {
        for (t, v) in samples {
            let found = have.get(labels).and_then(|s| s.get(t));
            assert_eq!(found, Some(v), "{what}: {labels} at {}", t - T0);
        }
    }
}

#[test]
fn acknowledged_samples_survive_any_fault_at_any_operation() {
    let faults = [Fault::Fail, Fault::Tear, Fault::FailStored, Fault::Crash];
    // With a snapshot in every round of maintenance, and without.
    for (fault, snapshot_wal_bytes) in faults.iter().flat_map(|f| [(*f, 1), (*f, u64::MAX)]) {
        let mut n = 0;
        loop {
            let mut world = World::new();
            world.limits.snapshot_wal_bytes = snapshot_wal_bytes;
            world.disk.fault_after(n, fault);
            let mut acknowledged = Acknowledged::new();
            if let Ok(engine) = world.try_open(obs_metrics::OpenMode::ReadWrite) {
                work(&world, &engine, &mut acknowledged);
                if fault != Fault::Crash {
                    assert_holds(&engine, &acknowledged, &format!("{fault:?} at {n}, running"));
                }
            }
            let reached = world.disk.fault_reached();
            world.disk.crash_torn(n);
            let what = format!("{fault:?} at {n}");
            let engine = world.open();
            assert_holds(&engine, &acknowledged, &what);
            let stats = engine.stats();
            assert_eq!((stats.wal_corrupt, stats.blocks_quarantined), (0, 0), "{what}");
            // Life goes on: more work, everything into blocks, once more from disk.
            work(&world, &engine, &mut acknowledged);
            world.clock.advance(Duration::from_secs(36_000));
            engine.maintain(world.clock.now()).unwrap();
            assert_eq!(engine.stats().head_samples, 0, "{what}");
            drop(engine);
            world.disk.crash();
            assert_holds(&world.open(), &acknowledged, &what);
            if !reached {
                break;
            }
            n += 1;
        }
        assert!(n > 40, "the work has many operations, {n} were broken");
    }
}

#[test]
fn a_full_disk_refuses_writes_serves_reads_and_recovers_by_itself() {
    for room in [0, 10, 100, 300, 1_000, 3_000] {
        let world = World::new();
        let engine = world.open();
        let mut acknowledged = Acknowledged::new();
        work(&world, &engine, &mut acknowledged);
        world.disk.set_budget(Some(world.disk.used_bytes() + room));
        let m = labels("more", &[]);
        let mut refused = 0;
        for i in 0..100 {
            let t = world.clock.now().0 + i;
            match engine.append(batch(&[(m.clone(), vec![(t, 1.0)])])) {
                Ok(_) => {
                    acknowledged.entry(m.clone()).or_default().insert(t, 1.0_f64.to_bits());
                }
                Err(IngestError::Unavailable { .. }) => refused += 1,
                Err(e) => panic!("{e}"),
            }
        }
        assert!(refused > 0, "room for {room}");
        world.clock.advance(Duration::from_secs(7_200));
        engine.maintain(world.clock.now()).ok();
        assert_holds(&engine, &acknowledged, "while full");
        world.disk.set_budget(None);
        let t = world.clock.now();
        engine.append(batch(&[(m.clone(), vec![(t.0, 2.0)])])).unwrap();
        acknowledged.entry(m).or_default().insert(t.0, 2.0_f64.to_bits());
        engine.maintain(TimestampMs(t.0 + 10 * HOUR)).unwrap();
        assert_holds(&engine, &acknowledged, "after");
        drop(engine);
        world.disk.crash();
        assert_holds(&world.open(), &acknowledged, "after a restart");
    }
}
