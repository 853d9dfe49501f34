//! What a query answers.

use std::sync::Arc;
use std::time::{Duration, Instant};

use obs_types::{LabelSet, NativeHistogram};

/// A float or a native histogram.
#[derive(Clone, Debug)]
pub enum SampleValue {
    Float(f64),
    Histogram(Arc<NativeHistogram>),
}

impl SampleValue {
    pub fn as_float(&self) -> Option<f64> {
        match self {
            Self::Float(v) => Some(*v),
            Self::Histogram(_) => None,
        }
    }
}

/// One element of an instant vector.
#[derive(Clone, Debug)]
pub struct VectorSample {
    pub labels: LabelSet,
    /// The evaluation time, milliseconds.
    pub timestamp_ms: i64,
    pub value: SampleValue,
}

/// One series of a matrix; both columns ascend in time.
#[derive(Clone, Debug, Default)]
pub struct MatrixSeries {
    pub labels: LabelSet,
    pub floats: Vec<(i64, f64)>,
    pub histograms: Vec<(i64, Arc<NativeHistogram>)>,
}

/// The answer's type follows the expression's; a range query gives a matrix.
#[derive(Clone, Debug)]
pub enum Value {
    Scalar {
        timestamp_ms: i64,
        value: f64,
    },
    String {
        timestamp_ms: i64,
        value: String,
    },
    Vector(Vec<VectorSample>),
    /// Sorted by labels.
    Matrix(Vec<MatrixSeries>),
}

impl Value {
    /// `resultType` of the HTTP API.
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::Scalar { .. } => "scalar",
            Self::String { .. } => "string",
            Self::Vector(_) => "vector",
            Self::Matrix(_) => "matrix",
        }
    }
}

/// What the evaluation cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueryStats {
    /// Samples read from the source.
    pub samples_read: u64,
    /// Series read from the source.
    pub series_read: u64,
    /// Samples that selectors looked at, summed over the steps: an instant selector looks at one
    /// sample of a series, a range selector at those of its window (`totalQueryableSamples`).
    pub samples_total: u64,
    /// Most samples held at once in results and windows (`peakSamples`).
    pub samples_peak: u64,
    pub timings: QueryTimings,
}

/// How long the parts of a query took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueryTimings {
    /// Settling what depends on the time range alone (`queryPreparationTime`).
    pub preparation: Duration,
    /// Reading and computing (`innerEvalTime`).
    pub inner_evaluation: Duration,
    /// Bringing the result in order (`resultSortTime`).
    pub result_sort: Duration,
    /// All of it (`evalTotalTime`); parsing and waiting are the caller's.
    pub total: Duration,
}

impl QueryTimings {
    /// From the times at which the query began, was prepared and was evaluated.
    pub(crate) fn between(begin: Instant, prepared: Instant, evaluated: Instant) -> Self {
        Self {
            preparation: prepared - begin,
            inner_evaluation: evaluated - prepared,
            result_sort: evaluated.elapsed(),
            total: begin.elapsed(),
        }
    }
}

/// A part of a query with what it took; the parts that it waited for below it.
#[derive(Clone, Debug, Default)]
pub struct TraceSpan {
    pub message: String,
    pub duration: Duration,
    /// Of the result.
    pub series: Option<u64>,
    pub points: Option<u64>,
    /// From the source, the children's included.
    pub series_read: Option<u64>,
    pub samples_read: Option<u64>,
    pub children: Vec<TraceSpan>,
}

impl TraceSpan {
    pub fn new(message: impl Into<String>, duration: Duration) -> Self {
        Self { message: message.into(), duration, ..Self::default() }
    }
}

#[derive(Clone, Debug)]
pub struct QueryResult {
    pub value: Value,
    /// Sorted; each ends with `(line:column)`.
    pub warnings: Vec<String>,
    pub infos: Vec<String>,
    pub stats: QueryStats,
    /// `(evaluation time, samples looked at)` of each step (`totalQueryableSamplesPerStep`); only
    /// of an engine [with step statistics](crate::Engine::with_step_stats).
    pub samples_per_step: Vec<(i64, u64)>,
    /// Only of an engine [with tracing](crate::Engine::with_trace).
    pub trace: Option<TraceSpan>,
}
