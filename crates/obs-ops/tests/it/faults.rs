//! Append, seal, compact, redact, anchor, move, reduce and delete on a disk that breaks at the n-th operation:
//! after recovery everything acknowledged is there (or its deletion is on record) and the verifier
//! is content.
//!
//! Every seventh operation is broken, other ones with each kind of fault; `VMOBS_FAULTS=all` breaks
//! each.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use obs_archive::{
    Archive, ColdTier, FolderStore, RetentionPolicy, SealedItem, Signal, SignalPolicy,
};
use obs_disk::{Clock, Disk, FakeDisk, Fault, ManualClock};
use obs_ledger::anchor::{FileAnchor, Scheduled, Scheduler};
use obs_ledger::{Collection, Ledger, LedgerConfig, LedgerMode};
use obs_logs::LogsEngine;
use obs_ops::storage::{ResealRequest, StorageService, StorageSettings, WhenHigh};
use obs_ops::{DayIds, SealService, SealSettings};
use obs_proof::note::VerifierKey;
use obs_proof::verify::{VerifyOptions, verify};
use obs_types::{
    Direction, DurationMs, LabelSet, LogRecord, LogSelect, LogSink, LogSource, QueryContext,
    SeriesSource, TimeRangeMs, TimeRangeNs, TimestampMs,
};
use serde_json::Value;

use crate::world::{START, minutes};

const DATA: &str = "/data";
const COLD: &str = "/cold";
const DAY_MS: i64 = 86_400_000;

struct Node {
    logs: Arc<LogsEngine>,
    metrics: Arc<dyn SeriesSource>,
    traces: Arc<obs_traces::TracesEngine>,
    archive: Arc<Archive>,
    ledger: Arc<Ledger>,
    seals: SealService,
    storage: StorageService,
    anchors: Scheduler,
}

type Failed = Box<dyn std::error::Error>;

fn policy() -> RetentionPolicy {
    let days = |n: i64| DurationMs(n * DAY_MS);
    let p = SignalPolicy { warm: days(2), keep: days(4), keep_errors: Some(days(6)) };
    RetentionPolicy { metrics: SignalPolicy { keep_errors: None, ..p }, logs: p, traces: p }
}

/// As a start of the server does it.
fn open(disk: &FakeDisk, clock: &Arc<ManualClock>) -> Result<Node, Failed> {
    let data = PathBuf::from(DATA);
    let fake: Arc<dyn Disk> = Arc::new(disk.clone());
    let as_clock = || -> Arc<dyn Clock> { clock.clone() };
    let logs = LogsEngine::open(obs_logs::LogsConfig {
        dir: data.join("logs"),
        wal_dir: data.join("wal/logs"),
        disk: Arc::clone(&fake),
        clock: as_clock(),
        mode: obs_logs::OpenMode::ReadWrite,
        limits: obs_logs::Limits::standard(),
    })?;
    let traces = obs_traces::TracesEngine::open(obs_traces::TracesConfig {
        dir: data.join("traces"),
        wal_dir: data.join("wal/traces"),
        disk: Arc::clone(&fake),
        clock: as_clock(),
        mode: obs_traces::OpenMode::ReadWrite,
        wal: obs_disk::WalConfig::standard(),
        limits: obs_traces::TraceLimits::standard(),
    })?;
    let metrics: Arc<dyn SeriesSource> = Arc::new(obs_testkit::GivenSeries::default());
    fake.create_dir_all(Path::new(COLD))?;
    let store = Arc::new(FolderStore::new(COLD, Arc::clone(&fake)));
    let cold = Arc::new(ColdTier::new(Some(store), "/cache", Arc::clone(&fake), 0));
    let archive = Arc::new(Archive::open_tiered(&data, Arc::clone(&fake), [7; 32], cold)?);
    let ledger = Arc::new(Ledger::open(LedgerConfig::in_data_dir(
        &data,
        Arc::clone(&fake),
        as_clock(),
        "vm-obs.test/brick-01/observability",
        LedgerMode::ReadWrite,
    ))?);
    let storage = StorageService::open(StorageSettings {
        data_dir: data.clone(),
        disk: Arc::clone(&fake),
        archive: Arc::clone(&archive),
        ledger: Arc::clone(&ledger),
        operations: Arc::new(DayIds::from_ledger(&ledger, "obs-op-", "operation_id")?),
        policy: policy(),
        when_high: WhenHigh::Move,
    })?;
    let seals = SealService::open(SealSettings {
        data_dir: data.clone(),
        disk: Arc::clone(&fake),
        archive: Arc::clone(&archive),
        ledger: Arc::clone(&ledger),
        metrics: Arc::clone(&metrics),
        logs: logs.clone(),
        traces: traces.clone(),
        delay: minutes(5),
        collection: Box::new(|_, _| Collection::default()),
    })?;
    let anchor = Box::new(FileAnchor::new("/anchors".into(), Arc::clone(&fake)));
    let scheduled = Scheduled { name: "files".to_owned(), interval: minutes(10), anchor };
    let anchors = Scheduler::open(Arc::clone(&ledger), fake, as_clock(), data, vec![scheduled])?;
    Ok(Node { logs, metrics, traces, archive, ledger, seals, storage, anchors })
}

/// Lines whose write was acknowledged: time and whether it is an error.
type Acknowledged = Vec<(TimestampMs, bool)>;

/// Writes, seals, anchors; moves to the cold store, reduces, deletes. Goes on after an error, as a
/// server does that tries again.
fn run(node: &Node, clock: &ManualClock, acknowledged: &mut Acknowledged) {
    for minute in [0, 1, 20] {
        let at = START.saturating_add(minutes(minute));
        let error = minute == 1;
        let record = LogRecord {
            timestamp: at.to_ns(),
            stream: LabelSet::from_pairs([("service_name", "guardian")]),
            line: format!("line of {at}"),
            metadata: LabelSet::from_pairs([(
                "detected_level",
                if error { "error" } else { "info" },
            )]),
        };
        if minute == 20 {
            advance(clock, START.saturating_add(minutes(60)));
            node.seals.seal_due(clock.now(), START).ok();
        }
        if node.logs.append(vec![record]).is_ok() {
            acknowledged.push((at, error));
        }
    }
    node.seals.seal_late().ok();
    let request = ResealRequest {
        signal: Signal::Logs,
        range: TimeRangeMs::new(START, START.saturating_add(minutes(10))),
        initiated_by: "did:vm:user:sovereign".to_owned(),
        reason: "to be tried".to_owned(),
    };
    node.storage.compact(&request, 0, clock.now()).ok();
    // Of the first line; the engine still holds it, so that it comes back as late data.
    let mut first = |item: SealedItem<'_>| match item {
        SealedItem::Line(_, entry) => entry.timestamp == START.to_ns(),
        _ => false,
    };
    node.storage.redact(&request, &mut first, clock.now()).ok();
    node.anchors.tick().ok();
    for day in [3, 5] {
        advance(clock, START.saturating_add(DurationMs(day * DAY_MS)));
        for _ in 0..2 {
            node.storage.step(clock.now()).ok();
        }
    }
    node.anchors.tick().ok();
    let _silent = (&node.metrics, &node.traces);
}

fn advance(clock: &ManualClock, to: TimestampMs) {
    let by = to.0.saturating_sub(clock.now().0);
    clock.advance(Duration::from_millis(u64::try_from(by).unwrap_or(0)));
}

fn lines(source: &dyn LogSource) -> Vec<TimestampMs> {
    let select = LogSelect {
        matchers: &[],
        range: TimeRangeNs::new(START.to_ns(), START.saturating_add(minutes(600)).to_ns()),
        line_contains: &[],
        metadata_equals: &[],
        direction: Direction::Forward,
        limit: None,
    };
    let context = QueryContext::unlimited();
    let found = source.select(&select, &context).unwrap();
    let out = found.flat_map(|run| run.unwrap().entries).map(|e| e.timestamp.floor_to_ms());
    let out = out.collect();
    assert_eq!(context.warnings.list(), Vec::<String>::new());
    out
}

/// What recovery must bring, whatever happened.
fn check(disk: &FakeDisk, clock: &Arc<ManualClock>, acknowledged: &Acknowledged, what: &str) {
    advance(clock, START.saturating_add(minutes(180)));
    let since = clock.now();
    let node = open(disk, clock).unwrap_or_else(|e| panic!("{what}: no recovery: {e}"));
    let held = lines(node.logs.as_ref());
    for (at, _error) in acknowledged {
        assert!(held.contains(at), "{what}: the line of {at} is not recovered: {held:?}");
    }
    // What the broken run did not get done is done now, with the first hour of this process.
    advance(clock, since.saturating_add(minutes(70)));
    for day in [0, 3] {
        node.seals.seal_due(clock.now(), since).unwrap_or_else(|e| panic!("{what}: {e}"));
        node.seals.seal_late().unwrap_or_else(|e| panic!("{what}: {e}"));
        let later = START.saturating_add(DurationMs(day * DAY_MS));
        advance(clock, later.max(clock.now().saturating_add(minutes(11))));
        node.storage.step(clock.now()).unwrap_or_else(|e| panic!("{what}: {e}"));
        node.anchors.tick().unwrap_or_else(|e| panic!("{what}: {e}"));
    }
    let sealed = lines(node.archive.as_ref());
    let mut seen = std::collections::BTreeSet::new();
    for at in &sealed {
        assert!(seen.insert(*at), "{what}: {at} is answered twice: {sealed:?}");
    }
    // Revisions hold what no lower one has: their counts say how many lines were on record before
    // the ordinary ones were deleted.
    let (mut reduced, mut redacted, mut recorded) = (false, false, 0);
    let read = &mut |_, line: &str| {
        let receipt: Value = serde_json::from_str(line).unwrap();
        reduced |= receipt["type"] == "obs_retention";
        redacted |= receipt["redacted"].as_str().is_some_and(|n| n != "0");
        if receipt["type"] == "obs_log_batch" && receipt.get("supersedes").is_none() {
            let count = receipt["records"]["count"].as_str().unwrap();
            recorded += count.parse::<usize>().unwrap();
        }
        true
    };
    node.ledger.read(0, read).unwrap();
    assert!(recorded >= acknowledged.len(), "{what}: only {recorded} lines were sealed");
    for (at, error) in acknowledged {
        let there = sealed.contains(at);
        let gone = (reduced && !error) || (redacted && *at == START);
        assert!(there || gone, "{what}: the line of {at} is lost: {sealed:?}");
    }
    let dir = tempfile::tempdir().unwrap();
    for (path, _len) in disk.files() {
        let to = dir.path().join(path.strip_prefix("/").unwrap());
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        std::fs::write(to, disk.read(&path).unwrap()).unwrap();
    }
    let mut options = VerifyOptions::new(dir.path().join("data"));
    options.cold = Some(dir.path().join("cold"));
    options.log_keys = vec![VerifierKey::parse(&node.ledger.head().log_vkey).unwrap()];
    let report = verify(&options).unwrap();
    assert_eq!(report.exit_code(), 0, "{what}: {report}");
}

#[expect(clippy::print_stdout, reason = "says how much was tried")]
fn matrix(fault: Fault, first: u64) {
    let all = std::env::var("VMOBS_FAULTS").is_ok_and(|v| v == "all");
    let (first, stride) = if all { (0, 1) } else { (first, 7) };
    for (runs, n) in (first..).step_by(stride).enumerate() {
        let disk = FakeDisk::new();
        let clock = Arc::new(ManualClock::new(START));
        let mut acknowledged = Vec::new();
        disk.fault_after(n, fault);
        if let Ok(node) = open(&disk, &clock) {
            run(&node, &clock, &mut acknowledged);
        }
        let reached = disk.fault_reached();
        disk.crash();
        check(&disk, &clock, &acknowledged, &format!("{fault:?} at operation {n}"));
        if !reached {
            assert!(n > 200, "the operations were reached: {n}");
            println!(
                "{fault:?}: {runs} operations broken, the run without a fault ends before {n}"
            );
            break;
        }
    }
}

#[test]
fn an_operation_that_fails_loses_nothing() {
    matrix(Fault::Fail, 0);
}

#[test]
fn a_power_cut_loses_nothing() {
    matrix(Fault::Crash, 3);
}

#[test]
fn an_operation_that_happened_and_failed_loses_nothing() {
    matrix(Fault::FailStored, 5);
}
