//! Wherever the boundary lies and whatever range is asked for, two tiers answer like one engine.

use std::sync::atomic::AtomicI64;
use std::sync::{Arc, LazyLock};

use obs_query::{TieredLogs, TieredMetrics, TieredTraces};
use obs_types::{
    Direction, LogSelect, LogSource, QueryContext, SeriesSelect, SeriesSource, TimeRangeMs,
    TimeRangeNs, TimestampMs, TimestampNs, Trace, TraceId, TraceSelect, TraceSource,
};
use proptest::prelude::*;

use crate::engines::Engines;

const START: i64 = 1_765_022_400_000;
const MINUTE: i64 = 60_000;
/// The archive holds `[0, 150)` minutes, the hot engine `[50, 200)`.
const COLD_END: i64 = 150;
const HOT_START: i64 = 50;
const END: i64 = 200;

struct Tiers {
    all: Engines,
    hot: Engines,
    cold: Engines,
}

/// Fills an engine with what lies in `[from, to)` minutes.
fn fill(from: i64, to: i64) -> Engines {
    let engines = Engines::new(TimestampMs(START + END * MINUTE));
    let minute = |m: i64| TimestampMs(START + m * MINUTE);
    for (name, every) in [("up", 1), ("cpu_percent", 3), ("seldom", 70)] {
        let samples: Vec<_> =
            (from..to).filter(|m| m % every == 0).map(|m| (minute(m), m as f64)).collect();
        engines.samples(&[("__name__", name), ("every", &every.to_string())], samples);
    }
    for m in (from..to).filter(|m| m % 7 == 0) {
        engines.line(
            minute(m),
            if m < 100 { "old" } else { "guardian" },
            "info",
            &format!("line {m}"),
        );
    }
    for m in (from..to).filter(|m| m % 10 == 0) {
        // Every trace has a root, and a child ten minutes later.
        let id = u8::try_from(m / 10 + 1).unwrap();
        engines.span(id, 1, 0, minute(m), 500);
        if m > 0 && m - 10 >= 0 {
            engines.span(id - 1, 2, 1, minute(m), 300);
        }
    }
    engines
}

static TIERS: LazyLock<Tiers> = LazyLock::new(|| Tiers {
    all: fill(0, END),
    hot: fill(HOT_START, END),
    cold: fill(0, COLD_END),
});

type Rows = Vec<(String, Vec<i64>, Vec<u64>)>;

fn metrics(source: &dyn SeriesSource, range: TimeRangeMs) -> (Rows, Vec<String>, Vec<String>) {
    let context = QueryContext::unlimited();
    let select = SeriesSelect { matchers: &[], range, function: None, step_ms: None };
    let mut rows: Rows = source
        .select(&select, &context)
        .unwrap()
        .map(|s| {
            let s = s.unwrap();
            let values = s.values.iter().map(|v| v.to_bits()).collect();
            (s.labels.to_string(), s.timestamps, values)
        })
        .collect();
    rows.sort();
    let series = source.series(&[], range, &context).unwrap();
    let names = source.label_values("__name__", &[], range, &context).unwrap();
    (rows, series.iter().map(ToString::to_string).collect(), names)
}

fn logs(source: &dyn LogSource, range: TimeRangeNs, direction: Direction) -> Vec<(i64, String)> {
    let select = LogSelect {
        matchers: &[],
        range,
        line_contains: &[],
        metadata_equals: &[],
        direction,
        limit: None,
    };
    let mut lines: Vec<(i64, String)> = source
        .select(&select, &QueryContext::unlimited())
        .unwrap()
        .flat_map(|s| s.unwrap().entries)
        .map(|e| (e.timestamp.0, e.line))
        .collect();
    lines.sort();
    lines
}

fn shape(trace: &Trace) -> (TraceId, Vec<(i64, u8)>) {
    (trace.id, trace.spans.iter().map(|s| (s.span.start.0, s.span.span_id.0[0])).collect())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn two_tiers_answer_like_one(
        boundary in HOT_START * MINUTE..=COLD_END * MINUTE,
        from in 0..END * MINUTE,
        length in 1..END * MINUTE,
    ) {
        let tiers = &*TIERS;
        let boundary = Arc::new(AtomicI64::new(START + boundary));
        let (start, end) = (START + from, START + (from + length).min(END * MINUTE));
        let range = TimeRangeMs::new(TimestampMs(start), TimestampMs(end));
        let range_ns = TimeRangeNs::new(range.start.to_ns(), range.end.to_ns());

        let both = TieredMetrics::new(tiers.hot.metrics.clone(), tiers.cold.metrics.clone(), boundary.clone());
        prop_assert_eq!(metrics(&both, range), metrics(tiers.all.metrics.as_ref(), range));

        let both = TieredLogs::new(tiers.hot.logs.clone(), tiers.cold.logs.clone(), boundary.clone());
        for direction in [Direction::Forward, Direction::Backward] {
            prop_assert_eq!(
                logs(&both, range_ns, direction),
                logs(tiers.all.logs.as_ref(), range_ns, direction)
            );
        }

        let both = TieredTraces::new(tiers.hot.traces.clone(), tiers.cold.traces.clone(), boundary);
        let context = QueryContext::unlimited();
        let select = TraceSelect { range: range_ns, all_of: &[] };
        let found = |source: &dyn TraceSource| -> Vec<_> {
            let mut all: Vec<_> = source
                .select(&select, &context)
                .unwrap()
                .map(|t| shape(&t.unwrap()))
                .collect();
            all.sort();
            all
        };
        prop_assert_eq!(found(&both), found(tiers.all.traces.as_ref()));
    }
}

#[test]
fn a_trace_is_whole_though_one_half_lies_outside_the_range() {
    let tiers = &*TIERS;
    let boundary = Arc::new(AtomicI64::new(START + 8_400_500));
    let both = TieredTraces::new(tiers.hot.traces.clone(), tiers.cold.traces.clone(), boundary);
    let context = QueryContext::unlimited();
    let end = TimestampMs(START + 8_400_501).to_ns();
    let range = TimeRangeNs::new(TimestampMs(START + 2_935_230).to_ns(), end);
    let select = TraceSelect { range, all_of: &[] };
    let found = |source: &dyn TraceSource| -> Vec<_> {
        let mut all: Vec<_> =
            source.select(&select, &context).unwrap().map(|t| shape(&t.unwrap())).collect();
        all.sort();
        all
    };
    assert_eq!(found(&both), found(tiers.all.traces.as_ref()));
}

#[test]
fn a_trace_on_both_sides_of_the_boundary_is_one() {
    let tiers = &*TIERS;
    let boundary = Arc::new(AtomicI64::new(START + 105 * MINUTE));
    let both = TieredTraces::new(tiers.hot.traces.clone(), tiers.cold.traces.clone(), boundary);
    let context = QueryContext::unlimited();
    let trace = both.trace(TraceId([11; 16]), &context).unwrap().unwrap();
    assert_eq!(trace.spans.len(), 2);
    let after = TimestampNs((START + 106 * MINUTE) * 1_000_000);
    let range = TimeRangeNs::new(after, TimestampNs((START + 115 * MINUTE) * 1_000_000));
    let select = TraceSelect { range, all_of: &[] };
    let found: Vec<Trace> = both.select(&select, &context).unwrap().map(Result::unwrap).collect();
    assert_eq!(found.len(), 2);
    assert!(found.iter().all(|t| t.spans.len() == 2), "{found:?}");
    let unknown = both.trace(TraceId([99; 16]), &context).unwrap();
    assert!(unknown.is_none());
}
