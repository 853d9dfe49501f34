//! What a query answers.

use std::sync::Arc;

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
    /// Most samples held at once in results and windows.
    pub samples_peak: u64,
}

#[derive(Clone, Debug)]
pub struct QueryResult {
    pub value: Value,
    /// Sorted; each ends with `(line:column)`.
    pub warnings: Vec<String>,
    pub infos: Vec<String>,
    pub stats: QueryStats,
}
