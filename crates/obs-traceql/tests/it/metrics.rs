//! Time series from spans.

use obs_traceql::{MetricsRange, TraceQlError, metrics_instant, metrics_range, parse};
use obs_types::{AttrValue, QueryContext, TimestampMs};

use crate::world::{SECOND, Source, span, trace};

/// Spans that start at 1, 10, 11, 20 and 21 s and last 1 to 5 s.
fn source() -> Source {
    let starts = [1, 10, 11, 20, 21];
    Source(
        starts
            .iter()
            .zip(1u8..)
            .map(|(start, n)| trace(n, vec![span(n, 0, *start, i64::from(n))]))
            .collect(),
    )
}

/// `labels: time=value …` for each series; times in seconds.
fn run(query: &str) -> Vec<String> {
    let range = MetricsRange {
        start: TimestampMs(10_000),
        end: TimestampMs(30_000),
        step_ms: 10_000,
        exemplars_max: 0,
    };
    let query = parse(query).unwrap_or_else(|e| panic!("{query}: {e}"));
    metrics_range(&source(), &query, &range, &QueryContext::unlimited())
        .unwrap()
        .into_iter()
        .map(|s| {
            let labels: Vec<String> = s
                .labels
                .iter()
                .map(|(name, value)| match value {
                    AttrValue::Str(v) => format!("{name}={v}"),
                    AttrValue::Double(v) => format!("{name}={v}"),
                    other => format!("{name}={other:?}"),
                })
                .collect();
            let samples: Vec<String> =
                s.samples.iter().map(|(t, v)| format!("{}={v}", t.0 / 1000)).collect();
            format!("{}: {}", labels.join(","), samples.join(" "))
        })
        .collect()
}

#[test]
fn functions() {
    // A sample at 20 s covers what starts after 10 s, up to and with 20 s.
    assert_eq!(run("{} | count_over_time()"), ["__name__=count_over_time: 10=2 20=2 30=1"]);
    assert_eq!(run("{} | rate()"), ["__name__=rate: 10=0.2 20=0.2 30=0.1"]);
    assert_eq!(run("{} | sum_over_time(.n)"), ["__name__=sum_over_time: 10=3 20=7 30=5"]);
    assert_eq!(run("{} | avg_over_time(duration)"), ["__name__=avg_over_time: 10=1.5 20=3.5 30=5"]);
    assert_eq!(run("{ .n > 2 } | min_over_time(.n)"), ["__name__=min_over_time: 20=3 30=5"]);
    assert_eq!(run("{} | max_over_time(.absent)"), [""; 0]);
    assert_eq!(
        run("{} | quantile_over_time(duration, 0, .5)"),
        ["p=0: 10=1 20=3 30=5", "p=0.5: 10=1.5 20=3.5 30=5"]
    );
    assert_eq!(
        run("{} | histogram_over_time(duration)"),
        [
            "__bucket=1: 10=1 20=0 30=0",
            "__bucket=2: 10=1 20=0 30=0",
            "__bucket=4: 10=0 20=2 30=0",
            "__bucket=8: 10=0 20=0 30=1"
        ]
    );
    assert_eq!(
        run("{} | count_over_time() by(resource.service.name)"),
        ["resource.service.name=even: 10=1 20=1 30=0", "resource.service.name=odd: 10=1 20=1 30=1"]
    );
}

#[test]
fn second_stage() {
    let by = "{} | sum_over_time(.n) by(resource.service.name)";
    assert_eq!(
        run(&format!("{by} | topk(1)")),
        ["resource.service.name=even: 10=2 20=4", "resource.service.name=odd: 30=5"]
    );
    assert_eq!(run(&format!("{by} | bottomk(1)")), ["resource.service.name=odd: 10=1 20=3 30=5"]);
    assert_eq!(
        run(&format!("{by} > 3")),
        ["resource.service.name=even: 20=4", "resource.service.name=odd: 30=5"]
    );
    assert_eq!(run("{} | max_over_time(duration) >= 4s"), ["__name__=max_over_time: 20=4 30=5"]);
    assert_eq!(
        run("({ .n > 2 } | count_over_time()) / ({} | count_over_time()) * 100"),
        [": 10=0 20=100 30=100"]
    );
    assert_eq!(run("10 - ({} | rate()) * 10"), ["__name__=rate: 10=8 20=8 30=9"]);
    // Nothing divided by nothing is no sample.
    assert_eq!(
        run("({ .n = 3 } | count_over_time()) / ({ .n = 4 } | count_over_time())"),
        [": 20=1"]
    );
}

#[test]
fn comparing_two_groups() {
    let series = run("{} | compare({ .n > 3 }, 1)");
    assert!(
        series.contains(&"__meta_type=selection_total,span.n=nil: 10=0 20=1 30=1".to_owned()),
        "{series:?}"
    );
    assert!(
        series.contains(&"__meta_type=baseline_total,status=nil: 10=2 20=1 30=0".to_owned()),
        "{series:?}"
    );
    assert!(
        series.contains(&"__meta_type=baseline,status=ok: 10=2 20=0 30=0".to_owned()),
        "{series:?}"
    );
    let tops = series.iter().filter(|s| s.starts_with("__meta_type=selection,span.n="));
    assert_eq!(tops.count(), 1, "one value per attribute: {series:?}");
}

#[test]
fn instants_and_exemplars() {
    let context = QueryContext::unlimited();
    let query = parse("{} | count_over_time()").unwrap();
    let all = metrics_instant(&source(), &query, TimestampMs(5_000), TimestampMs(20_000), &context);
    assert_eq!(all.unwrap()[0].samples, [(TimestampMs(20_000), 3.0)]);
    let range = MetricsRange {
        start: TimestampMs(0),
        end: TimestampMs(30_000),
        step_ms: 30_000,
        exemplars_max: 2,
    };
    let series = metrics_range(&source(), &query, &range, &context).unwrap();
    assert_eq!(series[0].exemplars.len(), 2);
    assert!(series[0].exemplars.iter().all(|e| e.timestamp.0 * 1_000_000 >= SECOND));
}

#[test]
fn mistakes_and_limits() {
    let context = QueryContext::unlimited();
    let range = |step_ms| MetricsRange {
        start: TimestampMs(0),
        end: TimestampMs(86_400_000),
        step_ms,
        exemplars_max: 0,
    };
    let fail = |query: &str, step| {
        metrics_range(&source(), &parse(query).unwrap(), &range(step), &context).unwrap_err()
    };
    assert!(matches!(fail("{} | rate()", 1), TraceQlError::Invalid(m) if m.contains("11000")));
    assert!(matches!(fail("{} | rate()", 0), TraceQlError::Invalid(_)));
    assert!(matches!(fail("{}", 60_000), TraceQlError::Invalid(_)));
    let mut small = QueryContext::unlimited();
    small.memory = obs_types::MemoryTracker::new(1_000);
    let query = parse("{} | rate() by(.n)").unwrap();
    let e = metrics_range(&source(), &query, &range(60_000), &small).unwrap_err();
    assert_eq!(e.kind(), obs_types::ErrorKind::LimitExceeded);
}
