//! Every operation of the disk broken in turn, damaged bytes, no room.

use obs_disk::{Disk, Fault};
use obs_traces::{OpenMode, TracesEngine};
use obs_types::{
    DurationMs, IngestError, SpanRecord, TimestampMs, TimestampNs, TraceSink, TraceSource,
};

use crate::world::{NOW_MS, NOW_NS, World, context, everything, id, put, select_ids, span};

/// Appends and flushes until something breaks; the spans that were acknowledged.
fn run(engine: &TracesEngine) -> Vec<SpanRecord> {
    let mut acknowledged = Vec::new();
    for round in 0..4u8 {
        for n in 1..4u8 {
            let spans = vec![
                span(round * 3 + n, n, 0, i64::from(n) * 10, 5),
                span(1, 50 + round * 4 + n, 1, i64::from(round), 3),
            ];
            match engine.append(spans.clone()) {
                Ok(outcome) => {
                    assert_eq!(outcome.accepted, 2);
                    acknowledged.extend(spans);
                }
                Err(e) => assert!(matches!(e, IngestError::Unavailable { .. }), "{e}"),
            }
        }
        engine.flush().ok();
    }
    engine.drop_before(TimestampNs(0)).ok();
    acknowledged
}

fn check(engine: &TracesEngine, acknowledged: &[SpanRecord], what: &str) {
    for s in acknowledged {
        let trace = engine.trace(s.span.trace_id, &context()).unwrap();
        let trace = trace.unwrap_or_else(|| panic!("{what}: trace {} lost", s.span.trace_id));
        assert!(trace.spans.contains(s), "{what}: span {} lost", s.span.span_id);
    }
}

#[test]
fn nothing_acknowledged_is_lost_wherever_it_breaks() {
    for fault in [Fault::Crash, Fault::Fail, Fault::Tear, Fault::FailStored] {
        for n in 0.. {
            let world = World::new();
            let engine = world.open();
            world.disk.fault_after(n, fault);
            let acknowledged = run(&engine);
            let what = format!("{fault:?} at {n}");
            let reached = world.disk.fault_reached();
            if fault != Fault::Crash {
                world.disk.clear_fault();
                check(&engine, &acknowledged, &what);
                // One failure is no reason to stop.
                put(&engine, vec![span(90, 1, 0, 0, 1)]);
                engine.flush().unwrap();
                check(&engine, &acknowledged, &what);
            }
            drop(engine);
            world.disk.crash_torn(n);
            let engine = world.open();
            check(&engine, &acknowledged, &format!("{what}, reopened"));
            let stats = engine.stats();
            assert_eq!((stats.blocks_corrupt, stats.wal_corrupt), (0, 0), "{what}");
            if !reached {
                assert!(n > 30, "only {n} operations");
                break;
            }
        }
    }
}

#[test]
fn a_crash_while_recovering_loses_nothing() {
    for n in 0.. {
        let world = World::new();
        let engine = world.open();
        let acknowledged = run(&engine);
        put(&engine, vec![span(91, 1, 0, 0, 1)]);
        drop(engine);
        world.disk.crash();
        world.disk.fault_after(n, Fault::Crash);
        let opened = TracesEngine::open(world.config(OpenMode::ReadWrite));
        let flushed = opened.as_ref().is_ok_and(|e| e.flush().is_ok());
        drop(opened);
        let reached = world.disk.fault_reached();
        world.disk.crash_torn(n);
        let engine = world.open();
        check(&engine, &acknowledged, &format!("crash at {n}"));
        assert!(engine.trace(id(91), &context()).unwrap().is_some(), "crash at {n}");
        if !reached {
            assert!(flushed);
            break;
        }
    }
}

#[test]
fn a_damaged_block_costs_only_what_is_damaged() {
    let sound = World::new();
    let engine = sound.open();
    for n in 1..20u8 {
        put(&engine, vec![span(n, n, 0, i64::from(n), 5)]);
    }
    engine.flush().unwrap();
    put(&engine, vec![span(100, 1, 0, 0, 1)]);
    engine.flush().unwrap();
    drop(engine);
    let (path, len) = sound
        .disk
        .files()
        .into_iter()
        .find(|(p, _)| p.ends_with("block-000000000000.trc"))
        .unwrap();
    let (mut quarantined, mut partial) = (0, 0);
    for at in (0..len as usize).step_by(7) {
        assert!(sound.disk.corrupt(&path, at, 0x40));
        // Read-only, so that the damage can be undone for the next round.
        let engine = TracesEngine::open(sound.config(OpenMode::ReadOnly)).unwrap();
        let ids = select_ids(&engine, everything());
        assert!(ids.contains(&id(100)), "the other block is sound");
        let stats = engine.stats();
        if stats.blocks_corrupt == 1 {
            assert_eq!(ids, [id(100)]);
            quarantined += 1;
        } else {
            assert!(stats.chunks_corrupt >= 1, "flip at {at} unnoticed");
            assert!(ids.len() < 20, "flip at {at}");
            partial += 1;
        }
        // Damage is counted once, not at every query.
        let before = engine.stats();
        select_ids(&engine, everything());
        assert_eq!(engine.stats(), before);
        assert!(sound.disk.corrupt(&path, at, 0x40));
    }
    assert!(quarantined > 5 && partial > 5, "{quarantined} {partial}");

    assert!(sound.disk.corrupt(&path, 0, 0x40));
    let engine = sound.open();
    assert_eq!(engine.stats().blocks_corrupt, 1);
    assert!(!sound.disk.exists(&path), "moved away");
    put(&engine, vec![span(101, 1, 0, 0, 1)]);
    engine.flush().unwrap();
    drop(engine);
    let engine = sound.open();
    assert_eq!(engine.stats().blocks_corrupt, 0);
    assert_eq!(select_ids(&engine, everything()), [id(100), id(101)]);
}

#[test]
fn a_full_disk_stops_writing_only() {
    let world = World::new();
    let engine = world.open();
    put(&engine, vec![span(1, 1, 0, 0, 1)]);
    world.disk.set_budget(Some(world.disk.used_bytes() + 40));
    let refused = engine.append(vec![span(2, 1, 0, 0, 1)]).unwrap_err();
    assert!(matches!(refused, IngestError::Unavailable { .. }), "{refused}");
    assert!(engine.flush().is_err());
    assert_eq!(engine.stats().block_write_failures, 1);
    assert_eq!(select_ids(&engine, everything()), [id(1)], "reads go on");
    world.disk.set_budget(None);
    put(&engine, vec![span(2, 1, 0, 0, 1)]);
    assert_eq!(engine.flush().unwrap().blocks_written, 2, "the head that failed, and the new one");
    assert_eq!(engine.stats().head_spans, 0);
    drop(engine);
    world.disk.crash();
    assert_eq!(select_ids(&world.open(), everything()), [id(1), id(2)]);
}

#[test]
fn maintenance_and_retention() {
    let world = World::new();
    let engine = world.open();
    put(&engine, vec![span(1, 1, 0, 0, 1)]);
    assert_eq!(engine.maintain(TimestampMs(NOW_MS)).unwrap().blocks_written, 0, "too young");
    let later = TimestampMs(NOW_MS).saturating_add(DurationMs(11 * DurationMs::MINUTE.0));
    let done = engine.maintain(later).unwrap();
    assert_eq!((done.blocks_written, done.spans_written), (1, 1));
    let stats = engine.stats();
    assert_eq!((stats.blocks, stats.head_spans, stats.wal_segments), (1, 0, 0));
    put(&engine, vec![span(2, 1, 0, 1_000, 1)]);
    engine.shutdown().unwrap();
    // A reader that began before the drop does not fail in its middle.
    let select = obs_types::TraceSelect { range: everything(), all_of: &[] };
    let mut open = engine.select(&select, &context()).unwrap();
    assert_eq!(open.next().unwrap().unwrap().id, id(2));
    assert_eq!(engine.drop_before(TimestampNs(NOW_NS + 500)).unwrap(), 1);
    assert!(open.next().is_none());
    assert_eq!(select_ids(&engine, everything()), [id(2)]);
    drop(open);
    drop(engine);
    assert_eq!(world.open().stats().blocks, 1);
}
