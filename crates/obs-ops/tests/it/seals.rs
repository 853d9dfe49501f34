use std::sync::Arc;

use obs_archive::{Hour, Signal};
use obs_disk::{Disk, FakeDisk};
use obs_ops::SealService;
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

/// Two sealed hours of all streams, and something that came late for each.
fn two_hours_with_late_data() -> (World, SealService) {
    let world = World::new();
    let seals = world.seals();
    for _ in 0..2 {
        world.feed(world.now());
        world.advance(minutes(60));
        seals.seal_due(world.now(), START).unwrap();
    }
    for hour in 0..2 {
        world.feed(START.saturating_add(minutes(60 * hour + 20)));
    }
    (world, seals)
}

/// Files of late data, by stream and hour.
fn revisions(world: &World) -> usize {
    let late = |n: &&obs_archive::SealName| n.revision > 0;
    Signal::ALL.iter().map(|s| world.parts.archive.sealed(*s).iter().filter(late).count()).sum()
}

#[test]
fn an_hour_that_cannot_be_sealed_holds_up_no_other() {
    let (world, seals) = two_hours_with_late_data();
    let first = world.receipts("obs_log_batch")[0]["storage_path"].as_str().unwrap().to_owned();
    let path = world.dir.path().join(&first);
    let away = world.cold.path().join("away");
    std::fs::rename(&path, &away).unwrap();
    for failures in 1..=2 {
        assert!(seals.seal_late().is_err());
        assert_eq!(revisions(&world), 5, "all but the one");
        let problems = seals.problems();
        assert_eq!(problems.failures, failures);
        let [(signal, hour, why)] = &problems.failing[..] else { panic!("{problems:?}") };
        assert_eq!((*signal, *hour), (Signal::Logs, hour_of(START)));
        assert!(!why.is_empty());
    }
    std::fs::rename(&away, &path).unwrap();
    assert_eq!(seals.seal_late().unwrap().len(), 1);
    assert_eq!((revisions(&world), seals.problems().failing.len()), (6, 0));
    world.assert_verifies();
}

/// The hour is reduced meanwhile, which makes its next revision as well.
#[test]
fn an_hour_that_somebody_else_writes_is_left_alone() {
    let (world, seals) = two_hours_with_late_data();
    let held = world.parts.archive.hold(Signal::Traces, hour_of(START)).unwrap();
    assert!(world.parts.archive.hold(Signal::Traces, hour_of(START)).is_none(), "one at a time");
    assert!(seals.seal_late().is_err());
    assert_eq!(revisions(&world), 5);
    assert!(seals.seal_before(START.saturating_add(minutes(60))).is_err(), "must not leave yet");
    drop(held);
    seals.seal_before(START.saturating_add(minutes(60))).unwrap();
    assert_eq!(revisions(&world), 6);
    world.assert_verifies();
}

/// The record begins with the hour in which vm-obs was started first; who sends older data has it
/// on record before the engines let it go.
#[test]
fn data_of_before_the_record_is_sealed_beside_it() {
    let world = World::new();
    let seals = world.seals();
    world.feed(world.now());
    world.advance(minutes(60));
    seals.seal_due(world.now(), START).unwrap();
    let begin: Vec<String> =
        KINDS.iter().map(|kind| world.receipts(kind)[0]["seq"].to_string()).collect();
    let (three, nine) =
        (START.saturating_sub(minutes(3 * 60)), START.saturating_sub(minutes(9 * 60)));
    world.line(three, "info");
    world.line(nine, "info");
    assert_eq!(seals.seal_late().unwrap().len(), 2);
    let sealed = world.receipts("obs_log_batch");
    for (receipt, start) in sealed[1..].iter().zip(["2025-12-06T03:00:00Z", "2025-12-06T09:00:00Z"])
    {
        assert_eq!(receipt["period"]["start"], start);
        assert_eq!(receipt["rev"], 0);
        assert_eq!(receipt["precedes"], begin[1].as_str(), "{receipt}");
    }
    assert!(seals.seal_late().unwrap().is_empty(), "once");
    world.assert_verifies();

    // The next process knows it from the ledger; more of those hours are revisions.
    let world = world.restart();
    let seals = world.seals();
    world.line(nine.saturating_add(minutes(1)), "info");
    let early = three.saturating_add(minutes(1));
    world.line(early, "info");
    world.span(early, obs_types::StatusCode::Ok);
    seals.seal_before(START.saturating_sub(minutes(60))).unwrap();
    let sealed = world.receipts("obs_log_batch");
    assert_eq!(sealed.iter().filter(|r| r["rev"] == 1).count(), 2, "{sealed:?}");
    let spans = world.receipts("obs_trace_batch");
    assert!(spans.iter().any(|r| r["precedes"] == begin[2].as_str()), "{spans:?}");
    world.assert_verifies();
    // The record itself goes on where it was.
    world.advance(minutes(60));
    seals.seal_due(world.now(), START).unwrap();
    let last = world.receipts("obs_log_batch").pop().unwrap();
    assert_eq!(last["period"]["start"], "2025-12-06T13:00:00Z");
    world.assert_verifies();
}

/// What came before the last stop, for an hour that is older than the engines keep when the next
/// process starts, is sealed before it leaves them.
#[test]
fn what_came_late_before_a_stop_is_sealed_before_it_leaves() {
    let world = World::new();
    let seals = world.seals();
    for _ in 0..5 {
        world.feed(world.now());
        world.advance(minutes(60));
        seals.seal_due(world.now(), START).unwrap();
    }
    world.span(START.saturating_add(minutes(10)), obs_types::StatusCode::Ok);
    drop(seals);
    let world = world.restart();
    let seals = world.seals();
    let until = START.saturating_add(minutes(3 * 60));
    seals.seal_before(until).unwrap();
    assert_eq!(revisions(&world), 1, "the span alone");
    let spans = world.receipts("obs_trace_batch").pop().unwrap();
    assert_eq!((&spans["rev"], &spans["spans"]), (&1.into(), &1.into()));
    seals.seal_before(until).unwrap();
    assert_eq!(revisions(&world), 1);
    world.assert_verifies();
}

#[test]
fn data_of_an_hour_that_was_deleted_is_counted_and_let_go() {
    let (world, seals) = two_hours_with_late_data();
    let sealed = world.parts.archive.sealed(Signal::Logs);
    let deleted: Vec<_> = sealed.into_iter().filter(|n| n.hour == hour_of(START)).collect();
    world.parts.archive.replace(&deleted, None);
    seals.seal_before(hour_of(START).end()).unwrap();
    assert_eq!(seals.problems().let_go, 1);
    assert_eq!(revisions(&world), 2, "metrics and traces of that hour");
    assert!(world.receipts("obs_log_batch").iter().all(|r| r["rev"] == 0));
}
