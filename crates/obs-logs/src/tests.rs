use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use obs_disk::{Disk, FakeDisk, Fault, ManualClock};
use obs_types::{
    Direction, LabelSet, LogEntry, LogRecord, LogSelect, LogSink, LogSource, MatchOp, Matcher,
    QueryContext, RejectReason, TimeRangeNs, TimestampMs, TimestampNs, matches_all,
};
use proptest::prelude::*;

use crate::{Limits, LogsConfig, LogsEngine, LogsError, OpenMode};

const NOW: TimestampMs = TimestampMs(1_700_000_000_000);
const ALL: TimeRangeNs = TimeRangeNs { start: TimestampNs(i64::MIN), end: TimestampNs(i64::MAX) };

fn config(disk: &FakeDisk, mode: OpenMode) -> LogsConfig {
    LogsConfig {
        dir: PathBuf::from("/logs"),
        wal_dir: PathBuf::from("/wal"),
        disk: Arc::new(disk.clone()),
        clock: Arc::new(ManualClock::new(NOW)),
        mode,
        limits: Limits { chunk_bytes: 200, ..Limits::standard() },
    }
}

fn open(disk: &FakeDisk) -> Result<Arc<LogsEngine>, LogsError> {
    LogsEngine::open(config(disk, OpenMode::ReadWrite))
}

/// `seconds` relative to now.
fn record(app: &str, seconds: i64, line: &str, trace: &str) -> LogRecord {
    LogRecord {
        timestamp: TimestampNs(NOW.to_ns().0 + seconds * 1_000_000_000),
        stream: LabelSet::from_pairs([("app", app)]),
        line: line.into(),
        metadata: LabelSet::from_pairs([("trace_id", trace)]),
    }
}

#[derive(Clone, Debug)]
struct Query {
    matchers: Vec<Matcher>,
    range: TimeRangeNs,
    line_contains: Vec<String>,
    metadata_equals: Vec<(String, String)>,
    direction: Direction,
    limit: Option<usize>,
}

fn everything() -> Query {
    Query {
        matchers: Vec::new(),
        range: ALL,
        line_contains: Vec::new(),
        metadata_equals: Vec::new(),
        direction: Direction::Forward,
        limit: None,
    }
}

type Row = (i64, String, String, String);

fn row(stream: &LabelSet, e: &LogEntry) -> Row {
    let trace = e.metadata.get("trace_id").unwrap_or("").to_owned();
    (e.timestamp.0, stream.to_string(), e.line.clone(), trace)
}

/// Sorted rows; checks what the trait promises about runs on the way.
fn rows(engine: &LogsEngine, q: &Query) -> Vec<Row> {
    let select = LogSelect {
        matchers: &q.matchers,
        range: q.range,
        line_contains: &q.line_contains,
        metadata_equals: &q.metadata_equals,
        direction: q.direction,
        limit: q.limit,
    };
    let mut out = Vec::new();
    for run in engine.select(&select, &QueryContext::unlimited()).unwrap() {
        let run = run.unwrap();
        assert!(run.entries.is_sorted_by_key(|e| e.timestamp), "runs ascend");
        assert!(!run.entries.is_empty());
        out.extend(run.entries.iter().map(|e| row(&run.labels, e)));
    }
    out.sort();
    out
}

fn lines(engine: &LogsEngine) -> Vec<String> {
    let mut out: Vec<String> =
        rows(engine, &everything()).into_iter().map(|(_, _, line, _)| line).collect();
    out.sort();
    out
}

#[derive(Clone, Debug)]
enum Step {
    Append(Vec<(u8, i16, u8, u8)>),
    Flush,
    Reopen,
    Crash,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => proptest::collection::vec((0..3u8, -7200..300i16, 0..8u8, 0..4u8), 1..12)
            .prop_map(Step::Append),
        1 => Just(Step::Flush),
        1 => Just(Step::Reopen),
        1 => Just(Step::Crash),
    ]
}

const TEXTS: [&str; 8] = [
    "",
    "GET /api/users 200",
    "error: disk full",
    "é ünï",
    "a=1 b=2",
    "érror x_y",
    "users/200",
    "\n\n",
];

fn query() -> impl Strategy<Value = Query> {
    (
        0..6u8,
        (-7300..400i64, 0..8000i64),
        proptest::option::of(prop_oneof![
            Just("sers"),
            Just("error"),
            Just("r: d"),
            Just("é"),
            Just("/"),
            Just("200"),
            Just("nope")
        ]),
        proptest::option::of(0..5u8),
        any::<bool>(),
        proptest::option::of(0..6usize),
    )
        .prop_map(|(m, (from, length), contains, trace, forward, limit)| {
            let matcher = |op, v: &str| vec![Matcher::new("app", op, v).unwrap()];
            let at = |s: i64| TimestampNs(NOW.to_ns().0 + s * 1_000_000_000);
            Query {
                matchers: match m {
                    0 => matcher(MatchOp::Equal, "a0"),
                    1 => matcher(MatchOp::NotEqual, "a0"),
                    2 => matcher(MatchOp::Regex, "a0|a2"),
                    3 => matcher(MatchOp::Equal, "none"),
                    _ => Vec::new(),
                },
                range: TimeRangeNs::new(at(from), at(from + length)),
                line_contains: contains.map(str::to_owned).into_iter().collect(),
                metadata_equals: trace
                    .map(|t| ("trace_id".to_owned(), format!("t{t}")))
                    .into_iter()
                    .collect(),
                direction: if forward { Direction::Forward } else { Direction::Backward },
                limit,
            }
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn answers_like_a_plain_list(
        steps in proptest::collection::vec(step(), 1..14),
        queries in proptest::collection::vec(query(), 1..8),
    ) {
        let disk = FakeDisk::new();
        let mut engine = open(&disk).unwrap();
        let mut model: Vec<LogRecord> = Vec::new();
        for step in steps {
            match step {
                Step::Append(entries) => {
                    let batch: Vec<LogRecord> = entries
                        .into_iter()
                        .map(|(app, t, text, trace)| {
                            let trace = if trace == 0 { String::new() } else { format!("t{trace}") };
                            record(&format!("a{app}"), t.into(), TEXTS[text as usize], &trace)
                        })
                        .collect();
                    let outcome = engine.append(batch.clone()).unwrap();
                    prop_assert_eq!(outcome.accepted, batch.len() as u64);
                    model.extend(batch);
                }
                Step::Flush => { engine.flush_now().unwrap(); }
                Step::Reopen => {
                    drop(engine);
                    engine = open(&disk).unwrap();
                }
                Step::Crash => {
                    drop(engine);
                    disk.crash();
                    engine = open(&disk).unwrap();
                }
            }
        }
        for q in queries.into_iter().chain([everything()]) {
            check_query(&engine, &model, &q);
        }
        let reader = LogsEngine::open(config(&disk, OpenMode::ReadOnly)).unwrap();
        check_query(&reader, &model, &everything());
    }
}

fn check_query(engine: &LogsEngine, model: &[LogRecord], q: &Query) {
    let selected =
        |r: &&LogRecord| matches_all(&q.matchers, &r.stream) && q.range.contains(r.timestamp);
    let mut want: Vec<Row> = model
        .iter()
        .filter(selected)
        .filter(|r| q.line_contains.iter().all(|t| r.line.contains(t)))
        .filter(|r| q.metadata_equals.iter().all(|(n, v)| r.metadata.get(n) == Some(v)))
        .map(|r| {
            let e = LogEntry {
                timestamp: r.timestamp,
                line: r.line.clone(),
                metadata: r.metadata.clone(),
            };
            row(&r.stream, &e)
        })
        .collect();
    want.sort();
    let got = rows(engine, q);
    match q.limit {
        None => assert_eq!(got, want, "{q:?}"),
        Some(limit) => {
            // At least the first `limit` by time; everything returned exists.
            let mut left: BTreeMap<Row, usize> = BTreeMap::new();
            for r in &want {
                *left.entry(r.clone()).or_default() += 1;
            }
            for r in &got {
                let n = left.get_mut(r).unwrap_or_else(|| panic!("invented {r:?}"));
                assert!(*n > 0, "returned twice: {r:?}");
                *n -= 1;
            }
            let times = |rows: &[Row]| -> Vec<i64> {
                let mut t: Vec<i64> = rows.iter().map(|r| r.0).collect();
                if q.direction == Direction::Backward {
                    t.reverse();
                }
                t.truncate(limit);
                t
            };
            assert_eq!(times(&got), times(&want), "{q:?}");
        }
    }
    let mut streams: Vec<LabelSet> =
        model.iter().filter(selected).map(|r| r.stream.clone()).collect();
    streams.sort();
    streams.dedup();
    let context = QueryContext::unlimited();
    let sets = [q.matchers.clone()];
    assert_eq!(engine.streams(&sets, q.range, &context).unwrap(), streams, "{q:?}");
    let stats = LogSource::stats(engine, &q.matchers, q.range, &context).unwrap();
    assert_eq!(stats.streams, streams.len() as u64);
    assert_eq!(stats.entries, model.iter().filter(selected).count() as u64);
    assert_eq!(
        stats.bytes,
        model.iter().filter(selected).map(|r| r.line.len() as u64).sum::<u64>()
    );
}

/// What a user does; returns the lines whose append was acknowledged and all that were tried.
fn write_some(disk: &FakeDisk) -> (Vec<String>, Vec<String>) {
    let (mut acknowledged, mut tried) = (Vec::new(), Vec::new());
    let Ok(engine) = open(disk) else { return (acknowledged, tried) };
    for i in 0..9 {
        let line = format!("line {i}");
        tried.push(line.clone());
        if engine.append(vec![record("a", i, &line, "t")]).is_ok() {
            acknowledged.push(line);
        }
        if i % 3 == 2 {
            engine.flush_now().ok();
        }
    }
    (acknowledged, tried)
}

#[test]
fn whatever_breaks_acknowledged_lines_stay_and_none_comes_twice() {
    for fault in [Fault::Fail, Fault::Tear, Fault::FailStored, Fault::Crash] {
        for n in 0.. {
            let disk = FakeDisk::new();
            disk.fault_after(n, fault);
            let (acknowledged, tried) = write_some(&disk);
            let reached = disk.fault_reached();
            disk.crash_torn(n);
            // A second fault strikes the recovery.
            disk.fault_after(n % 7, fault);
            if let Ok(engine) = open(&disk) {
                engine.flush_now().ok();
            }
            disk.crash();
            let engine = open(&disk).unwrap();
            let found = lines(&engine);
            for line in &acknowledged {
                assert!(found.contains(line), "{fault:?} at {n}: {line} is lost");
            }
            let mut unique = found.clone();
            unique.dedup();
            assert_eq!(unique, found, "{fault:?} at {n}: a line is there twice");
            assert!(found.iter().all(|l| tried.contains(l)));
            engine.append(vec![record("a", 20, "after", "t")]).unwrap();
            engine.flush_now().unwrap();
            assert_eq!(lines(&engine).len(), found.len() + 1);
            if fault != Fault::Crash {
                assert!(acknowledged.len() + 1 >= tried.len(), "one fault costs one append");
            }
            if !reached {
                break;
            }
        }
    }
}

#[test]
fn limits_are_told_apart() {
    let disk = FakeDisk::new();
    let engine = open(&disk).unwrap();
    let mut many = record("a", 0, "x", "t");
    many.stream = LabelSet::from_pairs((0..16).map(|i| (format!("l{i}"), "v")));
    let mut bare = record("a", 0, "x", "t");
    bare.stream = LabelSet::empty();
    let outcome = engine
        .append(vec![
            record("a", 0, "good", "t"),
            record("a", 0, &"x".repeat(256 * 1024 + 1), "t"),
            record("a", -8 * 24 * 3600, "x", "t"),
            record("a", 601, "x", "t"),
            record("a", 0, "x", &"m".repeat(70_000)),
            many,
            bare,
        ])
        .unwrap();
    assert_eq!(outcome.accepted, 1);
    let count = |r| outcome.rejected.get(&r).map_or(0, |r| r.count);
    assert_eq!(count(RejectReason::TooLarge), 2);
    assert_eq!(count(RejectReason::TooOld), 1);
    assert_eq!(count(RejectReason::TooFarInFuture), 1);
    assert_eq!(count(RejectReason::TooManyLabels), 1);
    assert_eq!(count(RejectReason::InvalidLabel), 1);
    assert_eq!(lines(&engine), ["good"]);
}

#[test]
fn a_full_disk_refuses_lines_serves_reads_and_goes_on_by_itself() {
    let disk = FakeDisk::new();
    let engine = open(&disk).unwrap();
    engine.append(vec![record("a", 0, "before", "t")]).unwrap();
    disk.set_budget(Some(disk.used_bytes()));
    assert!(engine.flush_now().is_err(), "no room for a block");
    let e = engine.append(vec![record("a", 1, "refused", "t")]).unwrap_err();
    assert!(matches!(e, obs_types::IngestError::Unavailable { .. }), "{e}");
    assert_eq!(lines(&engine), ["before"]);
    disk.set_budget(None);
    engine.append(vec![record("a", 2, "after", "t")]).unwrap();
    engine.flush_now().unwrap();
    drop(engine);
    disk.crash();
    assert_eq!(lines(&open(&disk).unwrap()), ["after", "before"]);
}

#[test]
fn memory_is_bounded() {
    let disk = FakeDisk::new();
    let mut config = config(&disk, OpenMode::ReadWrite);
    config.limits.head_bytes_max = 500;
    let engine = LogsEngine::open(config).unwrap();
    let refused =
        (0..20).find_map(|i| engine.append(vec![record("a", i, "0123456789", "t")]).err()).unwrap();
    assert!(matches!(refused, obs_types::IngestError::Overloaded { .. }), "{refused}");
    engine.flush_now().unwrap();
    engine.append(vec![record("a", 30, "room again", "t")]).unwrap();
}

fn block_files(disk: &FakeDisk) -> Vec<PathBuf> {
    disk.files()
        .into_iter()
        .map(|(path, _)| path)
        .filter(|p| p.parent() == Some(Path::new("/logs")))
        .collect()
}

#[test]
fn damage_costs_its_own_block_and_is_counted() {
    let probe = || {
        let disk = FakeDisk::new();
        let engine = open(&disk).unwrap();
        for (i, line) in ["first", "second"].into_iter().enumerate() {
            engine.append(vec![record("a", i as i64, line, "t")]).unwrap();
            engine.flush_now().unwrap();
        }
        disk
    };
    let len = probe().len(&block_files(&probe())[0]).unwrap();
    for at in 0..len {
        let disk = probe();
        disk.corrupt(&block_files(&disk)[0], at as usize, 0x20);
        let engine = open(&disk).unwrap();
        let found = lines(&engine);
        let stats = engine.stats();
        assert!(found.contains(&"second".to_owned()), "flip at {at}");
        let lost = !found.contains(&"first".to_owned());
        let counted = stats.quarantined_blocks + stats.damaged_chunks;
        assert_eq!(u64::from(lost), counted, "flip at {at}: {found:?}");
        assert_eq!(lines(&engine), found, "a second read agrees");
        engine.append(vec![record("a", 5, "third", "t")]).unwrap();
        engine.flush_now().unwrap();
        drop(engine);
        disk.crash();
        assert!(lines(&open(&disk).unwrap()).contains(&"third".to_owned()));
    }
}

#[test]
fn retention_drops_whole_blocks_and_readers_finish() {
    let disk = FakeDisk::new();
    let engine = open(&disk).unwrap();
    for (t, line) in [(-7200, "old"), (0, "new")] {
        engine.append(vec![record("a", t, line, "t")]).unwrap();
        engine.flush_now().unwrap();
    }
    let select = LogSelect {
        matchers: &[],
        range: ALL,
        line_contains: &[],
        metadata_equals: &[],
        direction: Direction::Forward,
        limit: None,
    };
    let running = engine.select(&select, &QueryContext::unlimited()).unwrap();
    let border = TimestampNs(NOW.to_ns().0 - 3600 * 1_000_000_000);
    assert_eq!(engine.drop_before(border).unwrap(), 1);
    assert_eq!(running.count(), 2, "a query that began before sees both");
    assert_eq!(lines(&engine), ["new"]);
    assert_eq!(block_files(&disk).len(), 1);
    drop(engine);
    assert_eq!(lines(&open(&disk).unwrap()), ["new"]);
}

#[test]
fn maintenance_writes_when_lines_are_old_enough() {
    let disk = FakeDisk::new();
    let engine = open(&disk).unwrap();
    engine.append(vec![record("a", 0, "x", "t")]).unwrap();
    assert_eq!(engine.maintain(NOW).unwrap().flushed_entries, 0);
    let later = TimestampMs(NOW.0 + 30 * 60_000);
    assert_eq!(engine.maintain(later).unwrap().flushed_entries, 1);
    assert_eq!(engine.maintain(later).unwrap().flushed_entries, 0);
    let stats = engine.stats();
    assert_eq!((stats.head_entries, stats.block_entries, stats.wal.segments), (0, 1, 0));
}

#[test]
fn tails_get_what_was_accepted() {
    let disk = FakeDisk::new();
    let engine = open(&disk).unwrap();
    let tail = engine.subscribe(10);
    engine
        .append(vec![record("a", 0, "x", "t"), record("a", 0, &"x".repeat(300_000), "t")])
        .unwrap();
    assert_eq!(tail.try_recv().map(|r| r.line.clone()).as_deref(), Some("x"));
    assert!(tail.try_recv().is_none());
}

#[test]
fn a_read_only_engine_changes_nothing() {
    let disk = FakeDisk::new();
    open(&disk).unwrap().append(vec![record("a", 0, "x", "t")]).unwrap();
    let before = disk.operations();
    let reader = LogsEngine::open(config(&disk, OpenMode::ReadOnly)).unwrap();
    assert_eq!(lines(&reader), ["x"]);
    assert!(reader.append(vec![record("a", 0, "y", "t")]).is_err());
    assert!(reader.maintain(NOW).is_err() && reader.flush_now().is_err());
    reader.shutdown().unwrap();
    assert_eq!(disk.operations(), before);
}

#[test]
fn appends_and_flushes_side_by_side_lose_nothing() {
    let disk = FakeDisk::new();
    let engine = open(&disk).unwrap();
    std::thread::scope(|scope| {
        for t in 0..4 {
            let engine = &engine;
            scope.spawn(move || {
                for i in 0..50 {
                    let line = format!("{t}/{i}");
                    engine.append(vec![record(&format!("a{t}"), i, &line, "t")]).unwrap();
                    if i % 16 == t {
                        engine.flush_now().unwrap();
                    }
                }
            });
        }
        let engine = &engine;
        scope.spawn(move || {
            let mut seen = 0;
            for _ in 0..30 {
                let now = lines(engine).len();
                assert!(now >= seen, "a line vanished while a block was written");
                seen = now;
            }
        });
    });
    let mut want: Vec<String> =
        (0..4).flat_map(|t| (0..50).map(move |i| format!("{t}/{i}"))).collect();
    want.sort();
    assert_eq!(lines(&engine), want);
    drop(engine);
    disk.crash();
    assert_eq!(lines(&open(&disk).unwrap()), want);
}
