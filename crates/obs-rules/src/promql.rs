//! The one place that speaks to `obs-promql`.

use std::sync::LazyLock;

use obs_promql::{Engine, EngineOptions, MatrixSeries, ParserOptions, Value};
use obs_types::{LabelSet, QueryContext, SeriesSource, TimestampMs};

pub use obs_promql::{SampleValue, VectorSample};

static ENGINE: LazyLock<Engine> = LazyLock::new(|| Engine::new(EngineOptions::default()));

/// Whether the text is valid PromQL; the error is the parser's message with its place.
pub(crate) fn check(expr: &str) -> Result<(), String> {
    obs_promql::parse(expr, &ParserOptions::default()).map(|_| ()).map_err(|e| e.to_string())
}

/// Evaluates at one time. A scalar becomes one sample without labels, a string or a matrix is an
/// error.
pub(crate) fn instant(
    source: &dyn SeriesSource,
    expr: &str,
    at: TimestampMs,
    context: &QueryContext,
) -> Result<Vec<VectorSample>, String> {
    match ENGINE.instant(source, expr, at, context).map_err(|e| e.to_string())?.value {
        Value::Vector(samples) => Ok(samples),
        Value::Scalar { timestamp_ms, value } => Ok(vec![VectorSample {
            labels: LabelSet::empty(),
            timestamp_ms,
            value: SampleValue::Float(value),
        }]),
        other => Err(format!("rule result is a {}, not a vector or scalar", other.type_name())),
    }
}

/// Evaluates at `start`, `start + step`, … up to and including `end`.
pub(crate) fn range(
    source: &dyn SeriesSource,
    expr: &str,
    (start, end): (TimestampMs, TimestampMs),
    step_ms: i64,
    context: &QueryContext,
) -> Result<Vec<MatrixSeries>, String> {
    let result = ENGINE.range(source, expr, start, end, step_ms, context);
    match result.map_err(|e| e.to_string())?.value {
        Value::Matrix(series) => Ok(series),
        other => Err(format!("rule result is a {}, not a matrix", other.type_name())),
    }
}

/// The number that a label, template or threshold shows: a histogram counts as its observations.
pub(crate) fn as_number(value: &SampleValue) -> f64 {
    match value {
        SampleValue::Float(v) => *v,
        SampleValue::Histogram(h) => h.count,
    }
}
