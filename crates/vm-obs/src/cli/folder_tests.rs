//! The verbs over a data folder with a sealed hour and younger data in the engines.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use obs_disk::{Clock, Disk, ManualClock, RealDisk};
use obs_ledger::{
    Collection, Ledger, LedgerConfig, LedgerMode, LogBatch, LogCounts, Receipt, Records, SealFields,
};
use obs_ops::{SealService, SealSettings};
use obs_types::{
    DurationMs, LabelSet, LogRecord, LogSink, MetricBatch, MetricSink, SeriesSamples, TimestampMs,
};

use super::*;
use crate::cli::out::testing::memory;
use crate::serve::{Access, Engines};

/// 2025-12-06T14:00:00Z
const NOON: i64 = 1_765_029_600_000;
const MINUTE: i64 = 60_000;

/// From 13:00 a sample and a line each minute for 90 minutes; 13 to 14 is sealed, and `trim` takes
/// it out of the engines.
fn folder(trim: bool) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let manual = Arc::new(ManualClock::new(TimestampMs(NOON - 60 * MINUTE)));
    let clock: Arc<dyn Clock> = manual.clone();
    let engines = Engines::open(dir.path(), &disk, &clock, Access::ReadWrite).unwrap();
    let ledger = Arc::new(
        Ledger::open(LedgerConfig::in_data_dir(
            dir.path(),
            Arc::clone(&disk),
            Arc::clone(&clock),
            "vm-obs.test/brick-01/observability",
            LedgerMode::ReadWrite,
        ))
        .unwrap(),
    );
    let labels = |pairs: [(&str, &str); 2]| LabelSet::from_pairs(pairs);
    manual.set(TimestampMs(NOON + 30 * MINUTE));
    let times: Vec<TimestampMs> = (0..90).map(|i| TimestampMs(NOON + (i - 60) * MINUTE)).collect();
    let series = SeriesSamples {
        labels: labels([("__name__", "queue_depth"), ("node", "brick-01")]),
        samples: times.iter().zip(0..).map(|(at, i)| (*at, f64::from(i))).collect(),
        ..SeriesSamples::default()
    };
    engines.metrics.append(MetricBatch { series: vec![series], metadata: Vec::new() }).unwrap();
    let lines = times.iter().zip(0..).map(|(at, i)| LogRecord {
        timestamp: at.to_ns(),
        stream: labels([("service_name", "guardian"), ("node", "brick-01")]),
        line: format!("cycle {i} done"),
        metadata: LabelSet::empty(),
    });
    engines.logs.append(lines.collect()).unwrap();
    let seals = SealService::open(SealSettings {
        data_dir: dir.path().to_owned(),
        disk,
        archive: Arc::clone(&engines.archive),
        ledger: Arc::clone(&ledger),
        metrics: engines.metrics.clone(),
        logs: engines.logs.clone(),
        traces: engines.traces.clone(),
        delay: DurationMs(5 * MINUTE),
        collection: Box::new(|_, _| Collection::default()),
    })
    .unwrap();
    seals.seal_due(clock.now(), TimestampMs(NOON - 60 * MINUTE)).unwrap();
    if trim {
        engines.metrics.maintain(clock.now()).unwrap();
        engines.logs.flush_now().unwrap();
        engines.metrics.drop_before(TimestampMs(NOON)).unwrap();
        engines.logs.drop_before(TimestampMs(NOON).to_ns()).unwrap();
    }
    drop(seals);
    engines.shutdown();
    ledger.shutdown().unwrap();
    dir
}

#[derive(Debug, Parser)]
struct Line {
    #[command(subcommand)]
    command: Command,
}

/// Runs `vm-obs ARGS --data DIR`.
fn asked(dir: &Path, args: &[&str]) -> anyhow::Result<(String, ExitCode)> {
    let data = dir.to_str().unwrap();
    let words = ["vm-obs"].into_iter().chain(args.iter().copied()).chain(["--data", data]);
    let command = Line::try_parse_from(words).unwrap().command;
    let (mut out, written) = memory();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let code = runtime.block_on(dispatch(command, &mut out))?;
    Ok((written.text(), code))
}

const WHOLE: [&str; 4] = ["--from", "2025-12-06T13:00:00Z", "--to", "2025-12-06T14:30:00Z"];

fn ask(dir: &Path, args: &[&str], more: &[&str]) -> String {
    let all: Vec<&str> = args.iter().chain(more).copied().collect();
    asked(dir, &all).unwrap().0
}

#[test]
fn sealed_and_young_data_are_one() {
    for trim in [false, true] {
        let dir = folder(trim);
        let path = dir.path();
        let csv = ask(path, &["metrics", "export", "--format", "csv"], &WHOLE);
        assert_eq!(csv.lines().count(), 91, "trim {trim}\n{csv}");
        assert!(csv.contains("queue_depth,\"{node=\"\"brick-01\"\"}\",2025-12-06T13:00:00Z,0\n"));
        assert!(csv.ends_with("2025-12-06T14:29:00Z,89\n"), "{csv}");
        let query =
            ["metrics", "query", "--metric", "queue_depth", "--node", "brick-01", "--step", "60s"];
        let table = ask(path, &query, &WHOLE);
        assert!(table.contains("queue_depth{node=\"brick-01\"}    89    0  44."), "{table}");
        let logs = ask(path, &["logs", "search", "cycle", "--limit", "500"], &WHOLE);
        assert_eq!(logs.lines().count(), 90, "trim {trim}\n{logs}");
        assert!(
            logs.starts_with("2025-12-06 13:00:00 INFO  guardian@brick-01 cycle 0 done"),
            "{logs}"
        );
        let lines = ask(
            path,
            &["logs", "query", "--query", "{service_name=\"guardian\"} |= \"cycle 7 \""],
            &WHOLE,
        );
        assert_eq!(lines.lines().count(), 1, "{lines}");
    }
}

#[test]
fn receipts_and_proofs_without_a_server() {
    let dir = folder(false);
    let jsonl = ask(dir.path(), &["query", "--type", "metric_snapshot", "--format", "jsonl"], &[]);
    assert_eq!(jsonl.lines().count(), 1, "{jsonl}");
    assert!(jsonl.contains("hour-14.parquet"), "{jsonl}");
    let none = ask(dir.path(), &["query", "--filter", "log_counts.error > 0"], &[]);
    assert_eq!(none, "no receipts\n");
    let parquet = ask(dir.path(), &["query", "--format", "parquet"], &[]);
    assert!(parquet.starts_with("PAR1"));
    let proof = ask(dir.path(), &["prove", "receipt", "0", "--tlog"], &[]);
    assert!(proof.starts_with("c2sp.org/tlog-proof@v1\nindex 0\n"), "{proof}");
    let e = asked(dir.path(), &["prove", "receipt", "99"]).unwrap_err().to_string();
    assert!(e.contains("99"), "{e}");
}

/// What each verb proves, the verifier takes; and nothing that was changed in it.
#[test]
fn proof_files_are_small_and_hold() {
    let dir = folder(true);
    let at = "2025-12-06T13:07:00Z";
    let selector = "{service_name=\"guardian\"}";
    let keys = dir.path().join("receipts/observability/keys");
    let key = std::fs::read_dir(keys).unwrap().next().unwrap().unwrap().path();
    let key = key.to_str().unwrap();
    for (args, says) in [
        (vec!["prove", "log", selector, "--time", at, "--contains", "cycle"], "cycle 7 done"),
        (vec!["prove", "log", "--time", at, "--line", "cycle 7 done"], "cycle 7 done"),
        (vec!["prove", "sample", "queue_depth", "--time", at], "vmobs-series-hour/1"),
        (vec!["prove", "receipt", "0"], "obs_metric_snapshot"),
    ] {
        let file = dir.path().join("x.vmproof");
        let path = file.to_str().unwrap();
        assert_eq!(ask(dir.path(), &args, &["-o", path]), "");
        let proof = std::fs::read(&file).unwrap();
        // The disclosed hour of a series is as large as it is; the proof around it is not.
        let shown = String::from_utf8_lossy(&proof);
        let data = shown.lines().find(|l| l.starts_with("data ")).map_or(0, str::len);
        assert!(proof.len() - data <= 4_096, "{args:?}: {} bytes", proof.len());
        let check = |bytes: &[u8]| {
            std::fs::write(&file, bytes).unwrap();
            let (mut out, written) = memory();
            let args = [path, "--log-key", key].map(str::to_owned);
            (verify::run_here(args.to_vec(), &mut out).unwrap(), written.text())
        };
        let clock = obs_disk::SystemClock::new();
        // The best of three: other tests run beside this one.
        let took = (0..3).map(|_| {
            let before = clock.monotonic();
            let (code, text) = check(&proof);
            assert_eq!(code, ExitCode::SUCCESS, "{args:?}: {text}");
            assert!(text.contains(says), "{args:?}: {text}");
            clock.monotonic() - before
        });
        let took = took.min().unwrap();
        assert!(took <= std::time::Duration::from_millis(50), "{args:?}: checked in {took:?}");
        for at in (0..proof.len()).step_by(41) {
            let mut bad = proof.clone();
            bad[at] ^= 1;
            assert_eq!(check(&bad).0, ExitCode::from(1), "{args:?} byte {at}");
        }
    }
    for (args, says) in [
        (vec!["prove", "log", "--time", "2025-12-06T14:20:00Z"], "not sealed"),
        (vec!["prove", "log", "--time", at, "--contains", "never"], "no such line"),
        (vec!["prove", "sample", "{node=~\"x\"}", "--time", at], "no such series"),
        (vec!["prove", "span", "ab", "cd"], "no such span"),
        (vec!["prove", "receipt", "99"], "99"),
    ] {
        let e = asked(dir.path(), &args).unwrap_err().to_string();
        assert!(e.contains(says), "{args:?}: {e}");
    }
}

#[test]
fn nothing_in_the_folder_changes_by_reading() {
    let dir = folder(false);
    let listing = |root: &Path| {
        let mut open = vec![root.to_owned()];
        let mut all = std::collections::BTreeMap::new();
        while let Some(at) = open.pop() {
            for entry in std::fs::read_dir(&at).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    open.push(path);
                } else {
                    all.insert(path.clone(), std::fs::read(&path).unwrap());
                }
            }
        }
        all
    };
    let before = listing(dir.path());
    ask(dir.path(), &["metrics", "list"], &[]);
    ask(dir.path(), &["correlate", "--timestamp", "2025-12-06T14:00:00Z"], &[]);
    assert!(before == listing(dir.path()));
}

#[test]
fn verify_decodes_the_records_of_sealed_files() {
    let dir = folder(false);
    let (text, code) = asked(dir.path(), &["verify"]).unwrap();
    assert_eq!(code, ExitCode::SUCCESS, "{text}");
    // One series and 60 lines of that hour, no spans.
    assert!(text.contains(" 3 files ") && text.contains(" 61 records"), "{text}");
    let sealed = dir.path().join("telemetry/logs/2025-12-06/hour-14.jsonl.gz");
    let mut bytes = std::fs::read(&sealed).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&sealed, bytes).unwrap();
    let (text, code) = asked(dir.path(), &["verify"]).unwrap();
    assert_eq!(code, ExitCode::from(1), "{text}");
    assert!(text.contains("CONTENT_MISMATCH"), "{text}");
}

/// A ledger that was signed over another record root than the file has: bytes and receipts agree,
/// only decoding the records shows it.
#[test]
fn verify_finds_a_record_root_that_is_not_the_files() {
    let (honest, forged) = (folder(false), tempfile::tempdir().unwrap());
    let path = "telemetry/logs/2025-12-06/hour-14.jsonl.gz";
    let copy = forged.path().join(path);
    std::fs::create_dir_all(copy.parent().unwrap()).unwrap();
    std::fs::copy(honest.path().join(path), &copy).unwrap();
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let sealed = obs_archive::verify_seal(&disk, forged.path(), path).unwrap();
    let ledger = Ledger::open(LedgerConfig::in_data_dir(
        forged.path(),
        disk,
        Arc::new(ManualClock::new(TimestampMs(NOON + 5 * MINUTE))),
        "vm-obs.test/brick-01/observability",
        LedgerMode::ReadWrite,
    ))
    .unwrap();
    let mut root = sealed.records.root;
    root[0] ^= 1;
    let seal = SealFields {
        period_start: TimestampMs(NOON - 60 * MINUTE),
        period_end: TimestampMs(NOON),
        rev: 0,
        link: None,
        outside: None,
        storage_path: path.to_owned(),
        content_hash: sealed.content_hash,
        content_bytes: sealed.content_bytes,
        records: Records {
            count: sealed.records.count,
            root,
            leaf: sealed.records.leaf.to_owned(),
        },
        collection: Collection::default(),
    };
    let batch = LogBatch {
        seal,
        log_counts: LogCounts { info: sealed.records.count, ..LogCounts::default() },
        services_reporting: vec!["guardian".to_owned()],
        tags: Vec::new(),
    };
    ledger.append(vec![Receipt::log_batch(batch)]).unwrap();
    ledger.shutdown().unwrap();
    let (text, code) = asked(forged.path(), &["verify"]).unwrap();
    assert_eq!(code, ExitCode::from(1), "{text}");
    assert!(text.contains("RECORDS_MISMATCH"), "{text}");
}

#[test]
fn a_folder_that_is_none_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let e = asked(dir.path(), &["metrics", "list"]).unwrap_err().to_string();
    assert!(e.contains("is not a data folder of vm-obs"), "{e}");
    let e = asked(Path::new("/nonexistent"), &["metrics", "list"]).unwrap_err().to_string();
    assert!(e.contains("there is no data folder /nonexistent"), "{e}");
}

/// The engines' files are damaged: all that is sealed comes back, and the ledger says what does not.
#[test]
fn engines_are_rebuilt_from_sealed_hours() {
    let dir = folder(false);
    let path = dir.path();
    let clock: Arc<dyn Clock> = Arc::new(ManualClock::new(TimestampMs(NOON + 180 * MINUTE)));
    let say = |yes| {
        let (mut out, written) = memory();
        let config = crate::config::Config::standard().unwrap();
        let held = folder::HeldFolder::open(path, &config, Arc::clone(&clock)).unwrap();
        let signals = [obs_archive::Signal::Metrics, obs_archive::Signal::Logs];
        let week = DurationMs(7 * DurationMs::DAY.0);
        let outcome = rebuild::rebuild(&held, week, &signals, yes, &mut out);
        held.ledger.shutdown().unwrap();
        outcome.map(|()| written.text())
    };
    for engine in ["logs", "metrics", "wal/logs", "wal/metrics"] {
        for entry in std::fs::read_dir(path.join(engine)).unwrap() {
            let file = entry.unwrap().path();
            if file.is_file() {
                std::fs::write(file, b"not what was written").unwrap();
            }
        }
    }
    // What is sealed is not believed blindly.
    let sealed = path.join("telemetry/logs/2025-12-06/hour-14.jsonl.gz");
    let good = std::fs::read(&sealed).unwrap();
    let mut bad = good.clone();
    bad[good.len() / 2] ^= 1;
    std::fs::write(&sealed, bad).unwrap();
    let refused = say(true).unwrap_err().to_string();
    assert!(refused.contains("hour-14.jsonl.gz: its bytes are not those of its"), "{refused}");
    assert!(!path.join("refill").exists());
    std::fs::write(&sealed, good).unwrap();
    assert!(say(false).unwrap().contains("--yes does it"));
    let told = say(true).unwrap();
    for want in ["metrics  60 items", "logs     60 items", "set-aside-1765040400000"] {
        assert!(told.contains(want), "{want}: {told}");
    }
    assert_eq!(told.matches("declared a gap").count(), 2, "{told}");
    let csv = ask(path, &["metrics", "export", "--format", "csv"], &WHOLE);
    assert_eq!(csv.lines().count(), 61, "the sealed hour\n{csv}");
    let logs = ask(path, &["logs", "search", "cycle", "--limit", "500"], &WHOLE);
    assert_eq!(logs.lines().count(), 60, "{logs}");
    // The engines hold it themselves: nothing of it is new to the archive.
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let engines = Engines::open(path, &disk, &clock, Access::ReadWrite).unwrap();
    let hour = obs_archive::Hour::ending_at(TimestampMs(NOON)).unwrap();
    let context = obs_types::QueryContext::unlimited();
    let held =
        obs_types::SeriesSource::series(engines.metrics.as_ref(), &[], hour.range_ms(), &context);
    assert_eq!(held.unwrap().len(), 1);
    assert!(engines.archive.backfill_metrics(hour, engines.metrics.as_ref()).unwrap().is_none());
    assert!(engines.archive.backfill_logs(hour, engines.logs.as_ref()).unwrap().is_none());
    engines.shutdown();
    let report = obs_proof::verify::verify(&obs_proof::verify::VerifyOptions::new(path)).unwrap();
    assert_eq!(report.exit_code(), 0, "{report}");
    assert!(report.has(obs_proof::verify::Code::DeclaredGap), "{report}");
    let again = say(true).unwrap();
    assert!(again.contains("60 items") && !again.contains("declared a gap"), "{again}");
}

/// Late spans are sealed first, then one of them goes from engine and sealed file.
#[test]
fn a_span_is_redacted_though_it_came_late() {
    use obs_types::{AttrValue, Attributes, QueryContext, TraceSelect, TraceSource};
    let dir = folder(false);
    let path = dir.path();
    let clock: Arc<dyn Clock> = Arc::new(ManualClock::new(TimestampMs(NOON + 31 * MINUTE)));
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let span = |id: u8, user: &str| obs_types::SpanRecord {
        span: obs_types::Span {
            trace_id: obs_types::TraceId([id; 16]),
            span_id: obs_types::SpanId([id; 8]),
            name: "login".to_owned(),
            start: TimestampMs(NOON - 20 * MINUTE).to_ns(),
            end: TimestampMs(NOON - 10 * MINUTE).to_ns(),
            attributes: Attributes(vec![("user".to_owned(), AttrValue::Str(user.to_owned()))]),
            ..obs_types::Span::default()
        },
        resource: Arc::default(),
        scope: Arc::default(),
    };
    let engines = Engines::open(path, &disk, &clock, Access::ReadWrite).unwrap();
    let stored = obs_types::TraceSink::append(
        engines.traces.as_ref(),
        vec![span(1, "alice"), span(2, "bob")],
    );
    assert_eq!(stored.unwrap().accepted, 2);
    engines.shutdown();
    drop(engines);
    let redact = |signal: &str, query: &str, to: &str| {
        let data = path.to_str().unwrap();
        let words = ["vm-obs", "storage", "redact", "--data", data, "--signal", signal, "--match"];
        let more = [query, "--from", "2025-12-06T13:00:00Z", "--to", to, "--reason", "r", "--yes"];
        let line = Line::try_parse_from(words.into_iter().chain(more)).unwrap();
        let Command::Storage(storage::StorageCommand::Redact(args)) = line.command else {
            panic!("another verb");
        };
        let config = crate::config::Config::standard().unwrap();
        let held = folder::HeldFolder::open(path, &config, Arc::clone(&clock)).unwrap();
        let (mut out, written) = memory();
        let outcome = redact::run(&held, &config, &args, &mut out);
        held.ledger.shutdown().unwrap();
        outcome.map(|()| written.text())
    };
    let (alice, noon) = ("{ span.user = \"alice\" }", "2025-12-06T14:00:00Z");
    for (signal, query, to, wants) in [
        ("traces", alice, "2025-12-06T14:30:00Z", "only sealed hours can be redacted"),
        ("traces", "{ span.user = ", noon, "--match"),
        ("logs", "rate({app=\"x\"}[5m])", noon, "a query of lines is wanted"),
        ("metrics", "up", noon, "metrics are not redacted"),
    ] {
        let e = format!("{:#}", redact(signal, query, to).unwrap_err());
        assert!(e.contains(wants), "{e}");
    }
    let told = redact("traces", alice, noon).unwrap();
    assert!(told.contains("0 sealed records match, 1 in the engine"), "{told}");
    assert!(told.contains("1 sealed records are redacted in 1 files"), "{told}");
    let engines = Engines::open(path, &disk, &clock, Access::ReadOnly).unwrap();
    let names = |source: &dyn TraceSource| {
        let range = obs_archive::Hour::ending_at(TimestampMs(NOON)).unwrap().range_ns();
        let select = TraceSelect { range, all_of: &[] };
        let found = source.select(&select, &QueryContext::unlimited()).unwrap();
        let spans = found.flat_map(|trace| trace.unwrap().spans);
        spans.map(|s| s.span.attributes.get_str("user").unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names(engines.traces.as_ref()), ["bob"]);
    assert_eq!(names(engines.archive.as_ref()), ["bob"]);
    let report = obs_proof::verify::verify(&obs_proof::verify::VerifyOptions::new(path)).unwrap();
    assert!(report.exit_code() == 0 && report.has(obs_proof::verify::Code::Redacted), "{report}");
    assert!(!path.join("refill").exists() && redact("traces", alice, noon).is_ok(), "once more");
}
