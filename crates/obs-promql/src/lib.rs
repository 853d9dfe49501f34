//! Parses, checks and evaluates PromQL.
//!
//! Lives here: lexer, parser with positions, type check, canonical and indented printing, the
//! evaluator over [`obs_types::SeriesSource`], arithmetic of native histograms, the runner of
//! Prometheus' `.test` files.
//! Not here: storage (`obs-metrics`), HTTP and JSON (`obs-api`), rule timing (`obs-rules`).
//! Units: milliseconds since the Unix epoch; ranges and lookback are left-open, `(t - range, t]`.
//! Source: Prometheus 3.14 query documentation and its public test files.

mod annotations;
mod ast;
mod error;
mod eval;
mod explain;
mod functions;
mod histogram;
mod lexer;
mod parser;
mod prepare;
mod printer;
mod text;
mod tree;
mod value;

pub mod testing;

pub use ast::*;
pub use error::EngineError;
pub use eval::{Engine, EngineOptions};
pub use explain::{ExplainedSelector, Explanation};
pub use functions::{FUNCTIONS, Function};
pub use histogram::{Bucket as HistogramBucket, all_buckets as histogram_buckets};
pub use parser::{ParseError, ParserOptions, parse, parse_selector};
pub use printer::pretty;
pub use text::{format_duration_ms, parse_duration_ms};
pub use tree::tree_json;
pub use value::{
    MatrixSeries, QueryResult, QueryStats, QueryTimings, SampleValue, TraceSpan, Value,
    VectorSample,
};
