use obs_types::{LabelSet, QueryContext, SeriesData, TimestampMs};

use super::*;
use crate::testing::MemorySource;

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
