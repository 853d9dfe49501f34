use std::sync::Arc;

use obs_archive::{Hour, Signal};
use obs_disk::{Disk, FakeDisk};
use obs_types::{TimeRangeMs, TimestampMs};

use crate::world::{START, World, minutes, open_ledger, receipts};

const KINDS: [&str; 3] = ["obs_metric_snapshot", "obs_log_batch", "obs_trace_batch"];

fn hour_of(t: TimestampMs) -> Hour {
    Hour::containing(t).unwrap()
}

#[test]
fn an_hour_is_sealed_once_when_it_is_due() {
    let world = World::new();
    let seals = world.seals();
    world.feed(world.now());
    world.advance(minutes(54));
    assert!(seals.seal_due(world.now(), START).unwrap().is_empty(), "13:04 is before the delay");
    world.advance(minutes(1));
    let done = seals.seal_due(world.now(), START).unwrap();
    assert_eq!(done.len(), 4, "three streams and one significant trace");
    assert!(seals.seal_due(world.now(), START).unwrap().is_empty());
    for kind in KINDS {
        let found = world.receipts(kind);
        assert_eq!(found.len(), 1, "{kind}");
        let r = &found[0];
        assert_eq!(r["period"]["start"], "2025-12-06T12:00:00Z");
        assert_eq!(r["period"]["end"], "2025-12-06T13:00:00Z");
        assert!(world.dir.path().join(r["storage_path"].as_str().unwrap()).exists());
    }
    let logs = &world.receipts("obs_log_batch")[0];
    assert_eq!(logs["batch_id"], "logs-2025-12-06-13");
    assert_eq!(logs["storage_path"], "telemetry/logs/2025-12-06/hour-13.jsonl.gz");
    assert_eq!(logs["log_counts"]["error"], 1);
    assert_eq!(logs["services_reporting"][0], "guardian");
    let trace = &world.receipts("obs_trace_complete")[0];
    assert_eq!(trace["name"], "settle");
    assert_eq!(trace["duration_ms"], 150);
    assert_eq!(trace["status"], "error");
    world.assert_verifies();
}

#[test]
fn empty_hours_are_recorded_too() {
    let world = World::new();
    let seals = world.seals();
    world.advance(minutes(3 * 60));
    seals.seal_due(world.now(), START).unwrap();
    let snapshots = world.receipts("obs_metric_snapshot");
    assert_eq!(snapshots.len(), 3);
    assert_eq!(snapshots[2]["metrics_collected"], 0);
    world.assert_verifies();
}

#[test]
fn a_restart_goes_on_where_it_stopped() {
    let world = World::new();
    world.feed(world.now());
    world.advance(minutes(60));
    world.seals().seal_due(world.now(), START).unwrap();
    world.feed(world.now());
    let world = world.restart();
    let since = world.now();
    let seals = world.seals();
    assert!(seals.seal_due(world.now(), since).unwrap().is_empty(), "13:00 is on record");
    world.advance(minutes(60));
    seals.seal_due(world.now(), since).unwrap();
    for kind in KINDS {
        let found = world.receipts(kind);
        assert_eq!(found.len(), 2, "{kind}");
        assert_eq!(found[1]["period"]["start"], "2025-12-06T13:00:00Z");
    }
    assert_eq!(world.receipts("obs_log_batch")[1]["log_counts"]["error"], 1);
    world.assert_verifies();
}

#[test]
fn a_file_without_receipt_is_removed_and_sealed_again() {
    let world = World::new();
    world.feed(world.now());
    world.advance(minutes(60));
    // The process dies after the file is durable and before its receipt.
    let orphan =
        world.parts.archive.seal_metrics(hour_of(START), 0, world.parts.metrics.as_ref()).unwrap();
    let world = world.restart();
    let path = world.dir.path().join(&orphan.storage_path);
    assert!(path.exists());
    let seals = world.seals();
    assert!(!path.exists(), "the orphan is gone");
    seals.seal_due(world.now(), START).unwrap();
    let snapshots = world.receipts("obs_metric_snapshot");
    assert_eq!(snapshots.len(), 1);
    assert_eq!(snapshots[0]["content_hash"], orphan.content_hash.to_string(), "the same bytes");
    world.assert_verifies();
}

#[test]
fn a_receipt_that_the_ledger_refused_is_written_later() {
    let world = World::new();
    let fake = Arc::new(FakeDisk::new());
    let disk: Arc<dyn Disk> = fake.clone();
    let ledger = open_ledger(world.dir.path(), &disk, &world.clock);
    let seals = world.seals_into(&ledger);
    world.feed(world.now());
    world.advance(minutes(60));
    fake.set_budget(Some(fake.used_bytes()));
    assert!(seals.seal_due(world.now(), START).is_err());
    assert_eq!(ledger.head().size, 0);
    assert!(seals.seal_due(world.now(), START).is_err(), "still no room");
    fake.set_budget(None);
    seals.seal_due(world.now(), START).unwrap();
    for kind in KINDS {
        let found = receipts(&ledger, kind);
        assert_eq!(found.len(), 1, "{kind}");
        let path = found[0]["storage_path"].as_str().unwrap();
        let verified = world.parts.archive.verify_file(path).unwrap();
        assert_eq!(found[0]["content_hash"], verified.content_hash.to_string());
    }
}

#[test]
fn a_long_downtime_is_a_gap_but_the_last_hour_with_data_is_sealed() {
    let world = World::new();
    world.feed(world.now());
    world.advance(minutes(60));
    world.seals().seal_due(world.now(), START).unwrap();
    // 13:10: data of an hour that did not end before the process did.
    world.feed(world.now());
    let world = world.restart();
    world.advance(minutes(12 * 60));
    let since = world.now();
    world.feed(since);
    world.advance(minutes(60));
    world.seals().seal_due(world.now(), since).unwrap();
    let gaps = world.receipts("obs_gap");
    assert_eq!(gaps.len(), 3, "one for each stream: {gaps:?}");
    for gap in &gaps {
        assert_eq!(gap["period"]["start"], "2025-12-06T14:00:00Z");
        assert_eq!(gap["period"]["end"], "2025-12-07T01:00:00Z");
    }
    let batches = world.receipts("obs_log_batch");
    let ends: Vec<_> = batches.iter().map(|b| b["period"]["end"].as_str().unwrap()).collect();
    assert_eq!(ends, ["2025-12-06T13:00:00Z", "2025-12-06T14:00:00Z", "2025-12-07T02:00:00Z"]);
    assert!(batches.iter().all(|b| b["log_counts"]["error"] == 1));
    world.assert_verifies();
}

#[test]
fn late_data_becomes_a_revision_that_names_the_first_seal() {
    let world = World::new();
    let seals = world.seals();
    world.feed(world.now());
    world.advance(minutes(60));
    seals.seal_due(world.now(), START).unwrap();
    assert!(seals.seal_late().unwrap().is_empty(), "nothing came late");
    world.feed(START.saturating_add(minutes(20)));
    let done = seals.seal_late().unwrap();
    assert_eq!(done.len(), 3);
    for kind in KINDS {
        let found = world.receipts(kind);
        assert_eq!(found.len(), 2, "{kind}");
        assert_eq!(found[1]["rev"], 1);
        let path = found[1]["storage_path"].as_str().unwrap();
        assert!(path.contains("hour-13.r1."), "{path}");
        let first = found[0]["content_hash"].as_str().unwrap();
        assert!(found[1].to_string().contains(first), "{}", found[1]);
    }
    assert!(seals.seal_late().unwrap().is_empty());
    assert_eq!(world.parts.archive.sealed(Signal::Logs).len(), 2);
    world.assert_verifies();
}

/// The regular look for late data goes back a few hours; whoever lets an old hour go asks for it.
#[test]
fn data_that_comes_days_late_is_sealed_before_its_hour_leaves() {
    let world = World::new();
    let seals = world.seals();
    world.feed(world.now());
    for _ in 0..6 {
        world.advance(minutes(60));
        seals.seal_due(world.now(), START).unwrap();
    }
    world.line(START.saturating_add(minutes(20)), "info");
    assert!(seals.seal_late().unwrap().is_empty(), "the hour is too old for the regular look");
    let hour = TimeRangeMs::new(START, START.saturating_add(minutes(60)));
    assert_eq!(seals.seal_late_in(Signal::Logs, hour).unwrap().len(), 1);
    assert!(seals.seal_late_in(Signal::Logs, hour).unwrap().is_empty(), "once");
    assert!(world.receipts("obs_log_batch").iter().any(|r| r["rev"] == 1));
    world.assert_verifies();
}

/// What comes after its hour was declared a gap is sealed, and names the gap.
#[test]
fn data_that_comes_after_a_gap_was_declared_is_sealed() {
    let world = World::new();
    world.feed(world.now());
    world.advance(minutes(60));
    world.seals().seal_due(world.now(), START).unwrap();
    let world = world.restart();
    world.advance(minutes(12 * 60));
    let since = world.now();
    world.advance(minutes(60));
    world.seals().seal_due(world.now(), since).unwrap();
    assert_eq!(world.receipts("obs_gap").len(), 3);
    world.assert_verifies();
    // A sender that had buffered what it could not deliver.
    world.feed(since.saturating_sub(minutes(30)));
    // A restart in between has the gaps from the ledger.
    let world = world.restart();
    let seals = world.seals();
    let done = seals.seal_late().unwrap();
    assert_eq!(done.len(), 4, "three streams and one significant trace");
    for (kind, gap) in KINDS.iter().zip(world.receipts("obs_gap")) {
        let sealed = world.receipts(kind).pop().unwrap();
        assert_eq!(sealed["rev"], 0, "{sealed}");
        assert_eq!(sealed["fills_gap"], gap["seq"].to_string(), "{sealed}");
    }
    assert!(seals.seal_late().unwrap().is_empty(), "once");
    world.assert_verifies();
    // More of the same hour is a revision of that seal.
    world.feed(since.saturating_sub(minutes(25)));
    assert_eq!(seals.seal_late().unwrap().len(), 3);
    let logs = world.receipts("obs_log_batch").pop().unwrap();
    assert_eq!((&logs["rev"], logs.get("fills_gap")), (&serde_json::json!(1), None));
    world.assert_verifies();
}

/// A process that ends before its first seal leaves data that the next one seals.
#[test]
fn what_came_before_the_first_seal_is_sealed_by_the_next_process() {
    let world = World::new();
    world.feed(world.now());
    let world = world.restart();
    world.advance(minutes(180));
    let since = world.now();
    world.advance(minutes(60));
    world.seals().seal_due(world.now(), since).unwrap();
    for kind in KINDS {
        let found = world.receipts(kind);
        assert_eq!(found[0]["period"]["start"], "2025-12-06T12:00:00Z", "{kind}");
        assert_eq!(found.len(), 4, "{kind}: without a hole");
    }
    assert_eq!(world.receipts("obs_log_batch")[0]["log_counts"]["error"], 1);
    world.assert_verifies();
}

/// However long ago that process ended: what is older than the record leaves the engines, so all
/// they hold must be on record first.
#[test]
fn what_came_long_before_the_first_seal_is_sealed_too() {
    let world = World::new();
    world.feed(world.now());
    let world = world.restart();
    world.advance(minutes(30 * 24 * 60));
    let since = world.now();
    world.feed(since);
    world.advance(minutes(60));
    let seals = world.seals();
    seals.seal_due(world.now(), since).unwrap();
    assert_eq!(seals.sealed_until(), Some(hour_of(since).end()));
    for kind in KINDS {
        let found = world.receipts(kind);
        assert_eq!(found.len(), 2, "{kind}");
        assert_eq!(found[0]["period"]["start"], "2025-12-06T12:00:00Z", "{kind}");
        assert_eq!(found[1]["period"]["start"], "2026-01-05T12:00:00Z", "{kind}");
    }
    assert_eq!(world.receipts("obs_log_batch")[0]["log_counts"]["error"], 1);
    let gaps = world.receipts("obs_gap");
    assert_eq!(gaps.len(), 3, "one for each stream: {gaps:?}");
    assert_eq!(gaps[0]["period"]["start"], "2025-12-06T13:00:00Z");
    world.assert_verifies();
}
