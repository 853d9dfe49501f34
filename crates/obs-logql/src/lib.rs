//! Parses and evaluates LogQL.
//!
//! Lives here: lexer, parser, canonical text, the log pipeline (filters, parsers, formatters),
//! the evaluator over [`obs_types::LogSource`], and the runner of conformance scripts.
//! Not here: storage (`obs-logs`), HTTP and JSON (`obs-api`).
//! Units: nanoseconds since the Unix epoch; a range window is left-open, `(t - range, t]`; a log
//! query covers the half-open `[start, end)`.
//! Source: the LogQL documentation of Grafana Loki 3; where we differ: `docs/compat/logql.md`.

mod ast;
mod engine;
mod error;
mod labels;
mod lexer;
mod parser;
mod pipe;
mod printer;
mod regexp;
pub mod testing;
mod unit;

pub use ast::{
    BinaryExpr, BinaryOp, Cardinality, CompareOp, Conversion, Expr, Extraction, Grouping, IpFilter,
    LabelFilter, LabelFormat, LabelFormatValue, LabelReplace, LineFilter, LineFilterOp, LineTerm,
    LogExpr, LogRange, MetricExpr, NamedMatcher, RangeAggregation, RangeOp, Stage, Unwrap,
    VectorAggregation, VectorMatching, VectorOp,
};
pub use engine::{
    Engine, EngineOptions, MatrixSeries, QueryResult, QueryStats, ResultEntry, ResultStream, Value,
    VectorSample,
};
pub use error::{EngineError, ParseError};
pub use labels::Labels;
pub use parser::{matchers, parse, parse_log, parse_selector};
pub use pipe::{Pipeline, Processed};
