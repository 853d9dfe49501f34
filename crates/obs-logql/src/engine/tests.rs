use obs_types::{Direction, LabelSet, LogEntry, LogRecord, QueryContext, TimestampNs};

use super::{Engine, EngineOptions, ResultStream, Value};
use crate::testing::MemoryLogs;
use crate::{EngineError, Pipeline, parse_log};

const MINUTE: i64 = 60_000_000_000;

fn logs() -> MemoryLogs {
    let mut logs = MemoryLogs::default();
    for i in 0..200i64 {
        logs.push(
            LabelSet::from_pairs([("app", if i % 2 == 0 { "a" } else { "b" })]),
            LogEntry {
                timestamp: TimestampNs(i * MINUTE),
                line: format!("n={i} level={}", if i % 10 == 0 { "error" } else { "info" }),
                metadata: LabelSet::from_pairs([("trace_id", format!("t{}", i % 7))]),
            },
        );
    }
    logs
}

fn run(query: &str, limit: usize, direction: Direction) -> Vec<ResultStream> {
    let engine = Engine::new(EngineOptions::standard());
    let (start, end) = (TimestampNs(0), TimestampNs(200 * MINUTE));
    let context = QueryContext::unlimited();
    let result =
        engine.range(&logs(), query, start, end, MINUTE, limit, direction, &context).unwrap();
    match result.value {
        Value::Streams(streams) => streams,
        other => panic!("{other:?}"),
    }
}

fn minutes(streams: &[ResultStream]) -> Vec<i64> {
    let mut all: Vec<i64> =
        streams.iter().flat_map(|s| &s.entries).map(|e| e.timestamp.0 / MINUTE).collect();
    all.sort_unstable();
    all
}

#[test]
fn the_limit_takes_the_first_lines_in_the_direction_over_all_streams() {
    assert_eq!(minutes(&run(r#"{app=~"a|b"}"#, 3, Direction::Backward)), [197, 198, 199]);
    assert_eq!(minutes(&run(r#"{app=~"a|b"}"#, 3, Direction::Forward)), [0, 1, 2]);
    let errors = r#"{app=~".+"} | logfmt | level="error""#;
    assert_eq!(minutes(&run(errors, 3, Direction::Backward)), [170, 180, 190]);
    assert_eq!(minutes(&run(errors, 3, Direction::Forward)), [0, 10, 20]);
    assert_eq!(minutes(&run(errors, 1000, Direction::Backward)).len(), 20);
    assert!(run(errors, 0, Direction::Forward).is_empty());
    let newest = run(r#"{app="a"} | trace_id="t1""#, 5, Direction::Backward);
    let times: Vec<i64> = newest[0].entries.iter().map(|e| e.timestamp.0).collect();
    assert!(times.is_sorted_by(|a, b| a > b), "newest first");
}

#[test]
fn labels_say_where_they_come_from() {
    let streams = run(r#"{app="a"} |= "n=10 " | logfmt"#, 5, Direction::Backward);
    assert_eq!(streams.len(), 1);
    assert_eq!(streams[0].labels.to_string(), r#"{app="a", level="error", n="10", trace_id="t3"}"#);
    let entry = &streams[0].entries[0];
    assert_eq!(entry.metadata.to_string(), r#"{trace_id="t3"}"#);
    assert_eq!(entry.parsed.to_string(), r#"{level="error", n="10"}"#);
    let all = run(r#"{app=~"a|b"} | logfmt"#, 100, Direction::Backward);
    let grouped = ResultStream::categorized(&all);
    let names: Vec<String> = grouped.iter().map(|s| s.labels.to_string()).collect();
    assert_eq!(names, [r#"{app="a"}"#, r#"{app="b"}"#]);
    assert_eq!(minutes(&grouped), minutes(&all));
}

#[test]
fn limits_and_wrong_kinds_are_refused() {
    let engine = Engine::new(EngineOptions { series_max: 5, ..EngineOptions::standard() });
    let context = QueryContext::unlimited();
    let range = |q: &str, end: i64, step: i64, limit: usize| {
        let (start, end) = (TimestampNs(0), TimestampNs(end));
        engine.range(&logs(), q, start, end, step, limit, Direction::Backward, &context)
    };
    let selector = r#"{app="a"}"#;
    let rate = r#"rate({app="a"}[5m])"#;
    for (error, want) in [
        (range(selector, MINUTE, MINUTE, 6000).unwrap_err(), "max entries limit"),
        (range(rate, 200 * MINUTE, 1, 10).unwrap_err(), "maximum resolution"),
        (range(rate, 200 * MINUTE, 0, 10).unwrap_err(), "step"),
        (range(selector, -1, MINUTE, 10).unwrap_err(), "end timestamp"),
        (range(selector, i64::MAX, MINUTE, 10).unwrap_err(), "query time range"),
        (range(rate, 200 * MINUTE, MINUTE, 10).unwrap_err(), "maximum number of series (5)"),
        (
            engine
                .instant(&logs(), selector, TimestampNs(0), 1, Direction::Backward, &context)
                .unwrap_err(),
            "instant query type",
        ),
    ] {
        assert!(error.to_string().contains(want), "{error}");
    }
    context.cancel.cancel();
    let e = range(rate, MINUTE, MINUTE, 10).unwrap_err();
    assert!(matches!(e, EngineError::Source(_)), "{e}");
}

#[test]
fn the_health_query_of_data_sources_gives_two() {
    let engine = Engine::new(EngineOptions::standard());
    let at = TimestampNs(4_000_000_000);
    let result = engine
        .instant(
            &MemoryLogs::default(),
            "vector(1)+vector(1)",
            at,
            100,
            Direction::Backward,
            &QueryContext::unlimited(),
        )
        .unwrap();
    let Value::Vector(samples) = result.value else { panic!("{result:?}") };
    assert_eq!((samples.len(), samples[0].value), (1, 2.0));
}

#[test]
fn a_tail_selects_and_rewrites() {
    let query = r#"{app="a"} |= "x" | line_format "<{{__line__}}>" | drop trace_id"#;
    let pipeline = Pipeline::new(&parse_log(query).unwrap()).unwrap();
    let record = |app: &str, line: &str| LogRecord {
        timestamp: TimestampNs(1),
        stream: LabelSet::from_pairs([("app", app)]),
        line: line.into(),
        metadata: LabelSet::from_pairs([("trace_id", "1"), ("k", "v")]),
    };
    let (labels, line) = pipeline.tail(&record("a", "x")).unwrap();
    assert_eq!((labels.to_string().as_str(), line.as_str()), (r#"{app="a", k="v"}"#, "<x>"));
    assert!(pipeline.tail(&record("b", "x")).is_none());
    assert!(pipeline.tail(&record("a", "y")).is_none());
}
