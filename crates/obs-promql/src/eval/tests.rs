use obs_types::{LabelSet, QueryContext, SeriesData, TimestampMs};

use super::*;
use crate::testing::MemorySource;
use crate::{ParserOptions, Value};

/// `m{i="0"}` and `m{i="1"}`: a counter of 1/s and one of 2/s, every 10 s for 10 minutes.
fn source() -> MemorySource {
    let mut source = MemorySource::default();
    for i in 0..2i64 {
        let mut s = SeriesData {
            labels: LabelSet::from_pairs([("__name__", "m".to_owned()), ("i", i.to_string())]),
            ..SeriesData::default()
        };
        for n in 0..=60 {
            s.timestamps.push(n * 10_000);
            s.values.push((n * 10 * (i + 1)) as f64);
        }
        source.append(s);
    }
    source
}

fn instant(query: &str, at: i64) -> Result<QueryResult, EngineError> {
    Engine::default().instant(&source(), query, TimestampMs(at), &QueryContext::unlimited())
}

fn floats(query: &str, at: i64) -> Vec<f64> {
    match instant(query, at).unwrap().value {
        Value::Vector(v) => v.iter().filter_map(|s| s.value.as_float()).collect(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn windows_and_lookback_are_open_on_the_left() {
    assert_eq!(floats("count_over_time(m{i=\"0\"}[10s])", 100_000), [1.0]);
    assert_eq!(floats("m{i=\"0\"}", 600_000 + 299_999), [600.0]);
    assert!(floats("m{i=\"0\"}", 600_000 + 300_000).is_empty());
}

#[test]
fn the_shipped_engine_has_no_experiments() {
    let e = instant("info(m)", 0).unwrap_err();
    assert_eq!(
        (e.error_type(), e.to_string().as_str()),
        ("bad_data", "1:1: parse error: function \"info\" is not enabled")
    );
    let r = instant("rate(m[1m])", 600_000).unwrap();
    assert_eq!(
        r.infos,
        ["PromQL info: metric might not be a counter, name does not end in \
         _total/_sum/_count/_bucket: \"m\" (1:6)"]
    );
}

#[test]
fn a_range_has_the_same_values_as_its_instants() {
    let context = QueryContext::unlimited();
    for query in ["sum(rate(m[1m]))", "m * on(i) m", "topk(1, m)", "max_over_time(m[1m:20s])"] {
        let range = Engine::default()
            .range(&source(), query, TimestampMs(0), TimestampMs(650_000), 7_000, &context)
            .unwrap();
        let Value::Matrix(matrix) = range.value else { panic!("not a matrix") };
        for t in (0..=650_000).step_by(7_000) {
            let mut across: Vec<f64> = matrix
                .iter()
                .flat_map(|s| s.floats.iter().filter(|p| p.0 == t).map(|p| p.1))
                .collect();
            let mut single = floats(query, t);
            across.sort_by(f64::total_cmp);
            single.sort_by(f64::total_cmp);
            assert_eq!(across, single, "{query} at {t}");
        }
    }
}

#[test]
fn limits_and_cancellation_have_their_own_errors() {
    let engine = Engine::new(EngineOptions { samples_max: 100, ..EngineOptions::default() });
    let context = QueryContext::unlimited();
    let e = instant("max_over_time(vector(1)[100y:1ms])", 0).unwrap_err();
    assert!(matches!(e, EngineError::TooManySamples), "{e}");
    let (from, to) = (TimestampMs(0), TimestampMs(600_000));
    let e = engine.range(&source(), "m", from, to, 10_000, &context).unwrap_err();
    assert!(matches!(e, EngineError::TooManySamples), "{e}");
    context.cancel.cancel();
    let e = engine.instant(&source(), "m", to, &context).unwrap_err();
    assert!(matches!(e, EngineError::Canceled), "{e}");
    let e = engine.range(&source(), "m[5m]", from, to, 1, &context).unwrap_err();
    assert_eq!(e.error_type(), "execution");
}

#[test]
fn the_highest_tree_fits_the_stack() {
    let query = format!("m{}", " + m".repeat(149));
    assert_eq!(floats(&query, 600_000), [90_000.0, 180_000.0]);
    let query = format!("{}m{}", "abs(".repeat(78), ")".repeat(78));
    assert_eq!(floats(&query, 600_000), [600.0, 1200.0]);
}

#[test]
fn many_to_many_names_both_series() {
    let e = instant("m + on() m", 600_000).unwrap_err().to_string();
    assert!(e.contains("[{__name__=\"m\", i=\"0\"}, {__name__=\"m\", i=\"1\"}]"), "{e}");
}

/// Counters with resets, gauges with fractions, NaN, infinities, zeros of both signs, gaps.
fn odd_source(seed: u64) -> MemorySource {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut random = move |n: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) % n
    };
    let mut source = MemorySource::default();
    for i in 0..4u64 {
        let mut s = SeriesData {
            labels: LabelSet::from_pairs([
                ("__name__", "m_total".to_owned()),
                ("i", i.to_string()),
            ]),
            ..SeriesData::default()
        };
        let (mut t, mut v) = (0, 0.0);
        for _ in 0..300 {
            t += 1_000 * (1 + random(4)) as i64 * if random(40) == 0 { 60 } else { 1 };
            v = match (i, random(30)) {
                (0, 0) => 0.0,
                (0, n) => v + n as f64,
                (1, n) => n as f64 * 0.1 - 1.0,
                (2, 0) => f64::NAN,
                (2, 1) => f64::INFINITY,
                (2, 2) => -0.0,
                (2, 3) => 1e308,
                (2, n) => (n % 4) as f64 - 1.0,
                (_, n) => (n % 3) as f64,
            };
            s.timestamps.push(t);
            s.values.push(v);
        }
        source.append(s);
    }
    source
}

#[test]
fn sliding_windows_answer_as_single_windows_to_the_bit() {
    let context = QueryContext::unlimited();
    let engine =
        Engine::new(EngineOptions { parser: ParserOptions::all(), ..EngineOptions::default() });
    let functions = [
        "rate",
        "increase",
        "delta",
        "irate",
        "idelta",
        "changes",
        "resets",
        "deriv",
        "sum_over_time",
        "avg_over_time",
        "min_over_time",
        "max_over_time",
        "count_over_time",
        "first_over_time",
        "last_over_time",
        "stddev_over_time",
        "present_over_time",
        "ts_of_max_over_time",
        "mad_over_time",
    ];
    for (seed, range, step) in [(1, "7s", 4_700), (2, "3m", 9_100), (3, "20m", 6_300)] {
        let source = odd_source(seed);
        let calls = functions.iter().map(|f| format!("{f}(m_total[{range}])"));
        let quantiles = [0.0, 0.3, 0.5, 1.0];
        let quantiles =
            quantiles.iter().map(|q| format!("quantile_over_time({q}, m_total[{range}])"));
        for query in calls.chain(quantiles) {
            let (from, to) = (TimestampMs(1_500), TimestampMs(600_000));
            let answer = engine.range(&source, &query, from, to, step, &context).unwrap();
            let Value::Matrix(matrix) = answer.value else { panic!("not a matrix") };
            for t in (from.0..=to.0).step_by(step as usize) {
                let single = engine.instant(&source, &query, TimestampMs(t), &context).unwrap();
                let Value::Vector(vector) = single.value else { panic!("not a vector") };
                let bits = |v: f64| if v.is_nan() { u64::MAX } else { v.to_bits() };
                let mut single: Vec<_> = vector
                    .iter()
                    .map(|s| (s.labels.clone(), bits(s.value.as_float().unwrap())))
                    .collect();
                let mut across: Vec<_> = matrix
                    .iter()
                    .filter_map(|s| {
                        let at = s.floats.binary_search_by_key(&t, |p| p.0).ok()?;
                        Some((s.labels.clone(), bits(s.floats[at].1)))
                    })
                    .collect();
                single.sort();
                across.sort();
                assert_eq!(across, single, "{query} at {t}, seed {seed}");
            }
        }
    }
}

#[test]
fn samples_are_counted_as_prometheus_counts_them() {
    let engine = Engine::default().with_step_stats();
    let (source, context) = (source(), QueryContext::unlimited());
    for (query, total) in [
        ("m", 2),
        ("m{i=\"0\"} + m{i=\"1\"}", 2),
        ("sum_over_time(m{i=\"0\"}[1m])", 6),
        ("m{i=\"0\"}[1m]", 6),
        ("timestamp(m)", 2),
        // What the subquery reads is not counted, what its windows hold is.
        ("max_over_time(m{i=\"0\"}[1m:5s])", 12),
        ("time()", 0),
    ] {
        let r = engine.instant(&source, query, TimestampMs(200_000), &context).unwrap();
        assert_eq!(r.stats.samples_total, total, "{query}");
        assert_eq!(r.samples_per_step, [(200_000, total)], "{query}");
    }
    for (query, each) in [("m", 2), ("rate(m[1m])", 12), ("m @ 100", 2), ("m @ 100 + m", 4)] {
        let (from, to) = (TimestampMs(200_000), TimestampMs(215_000));
        let r = engine.range(&source, query, from, to, 5_000, &context).unwrap();
        let steps = [200_000, 205_000, 210_000, 215_000].map(|t| (t, each));
        assert_eq!(r.samples_per_step, steps, "{query}");
        assert_eq!(r.stats.samples_total, 4 * each, "{query}");
    }
}

#[test]
fn memory_is_bounded_while_loading_and_while_building_and_given_back() {
    let (from, to) = (TimestampMs(0), TimestampMs(600_000));
    let mut context = QueryContext::unlimited();
    context.memory = obs_types::MemoryTracker::new(900);
    let e = Engine::default().range(&source(), "rate(m[5m])", from, to, 600_000, &context);
    let e = e.unwrap_err();
    assert_eq!(e.error_type(), "execution");
    assert!(e.to_string().contains("memory limit of 900 bytes"), "{e}");
    // A thousand steps out of little data.
    let e = Engine::default().range(&source(), "vector(1)", from, to, 600, &context).unwrap_err();
    assert!(e.to_string().contains("memory limit"), "{e}");
    let r = Engine::default().range(&source(), "rate(m[1m])", to, to, 1, &context);
    assert!(r.is_ok(), "what failed before holds nothing: {r:?}");
}

/// Gives its series in parts, as a source with many of them does.
struct InParts(MemorySource);

type Names = Result<Vec<String>, obs_types::SourceError>;

impl SeriesSource for InParts {
    fn select<'a>(
        &'a self,
        select: &obs_types::SeriesSelect<'_>,
        context: &QueryContext,
    ) -> Result<obs_types::SeriesStream<'a>, obs_types::SourceError> {
        self.0.select(select, context)
    }

    fn select_parts<'a>(
        &'a self,
        select: &obs_types::SeriesSelect<'_>,
        context: &QueryContext,
        _: usize,
    ) -> Result<Vec<obs_types::SeriesStream<'a>>, obs_types::SourceError> {
        let mut parts: Vec<obs_types::SeriesStream<'a>> = Vec::new();
        for series in self.0.select(select, context)? {
            parts.push(Box::new(std::iter::once(series)));
        }
        Ok(parts)
    }

    fn series(
        &self,
        sets: &[Vec<obs_types::Matcher>],
        range: obs_types::TimeRangeMs,
        context: &QueryContext,
    ) -> Result<Vec<LabelSet>, obs_types::SourceError> {
        self.0.series(sets, range, context)
    }

    fn label_names(
        &self,
        _: &[Vec<obs_types::Matcher>],
        _: obs_types::TimeRangeMs,
        _: &QueryContext,
    ) -> Names {
        Ok(Vec::new())
    }

    fn label_values(
        &self,
        _: &str,
        _: &[Vec<obs_types::Matcher>],
        _: obs_types::TimeRangeMs,
        _: &QueryContext,
    ) -> Names {
        Ok(Vec::new())
    }

    fn exemplars(
        &self,
        _: &[Vec<obs_types::Matcher>],
        _: obs_types::TimeRangeMs,
        _: &QueryContext,
    ) -> Result<Vec<obs_types::ExemplarSeries>, obs_types::SourceError> {
        Ok(Vec::new())
    }

    fn metadata(
        &self,
        _: Option<&str>,
    ) -> Result<Vec<obs_types::MetricMetadata>, obs_types::SourceError> {
        Ok(Vec::new())
    }
}

#[test]
fn several_threads_answer_and_count_as_one() {
    let (whole, parts) = (source(), InParts(source()));
    let engine = Engine::default().with_step_stats();
    let (start, end) = (TimestampMs(60_000), TimestampMs(600_000));
    for query in ["m", "rate(m[1m])", "sum(rate(m[1m])) / count(m)", "quantile_over_time(2, m[1m])"]
    {
        let run = |source: &dyn SeriesSource| {
            let context = QueryContext::unlimited();
            let r = engine.range(source, query, start, end, 15_000, &context).unwrap();
            let (held, stats) = (context.memory.peak_bytes(), r.stats);
            let counts = (stats.samples_read, stats.series_read, stats.samples_total);
            (format!("{:?}", r.value), r.warnings, r.infos, counts, r.samples_per_step, held > 0)
        };
        assert_eq!(run(&whole), run(&parts), "{query}");
    }
    // What a part is refused, the query is refused.
    let few = EngineOptions { samples_max: 60, ..EngineOptions::default() };
    let context = QueryContext::unlimited();
    let refused = Engine::new(few).range(&parts, "m", start, end, 10_000, &context);
    assert!(matches!(refused, Err(EngineError::TooManySamples)), "{refused:?}");
}
