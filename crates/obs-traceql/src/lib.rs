//! Parses, checks and evaluates TraceQL.
//!
//! Lives here: lexer, parser, type check, canonical printing, search and metrics over
//! [`obs_types::TraceSource`], and the conditions that a source may use to skip blocks.
//! Not here: storage (`obs-traces`), HTTP and JSON shapes (`obs-api`, `obs-wire`).
//! Units: times and durations are nanoseconds, samples of metric queries carry milliseconds; a
//! metric sample at `t` covers the spans that start in `(t - step, t]`.
//! Source: the public TraceQL documentation. Where we differ: integer division that leaves a
//! remainder gives a fraction; a negated structural operator with nothing on its left side keeps
//! the whole right side; quantiles are exact.

mod ast;
mod conditions;
mod display;
mod error;
mod field;
mod lexer;
mod metrics;
mod parser;
mod search;
mod series;
mod spansets;
mod tags;
pub mod testing;
mod validate;
mod value;
mod view;

pub use ast::{
    Aggregate, Attribute, FieldExpr, FieldOp, Hint, Intrinsic, MetricsExpr, MetricsFunction,
    OverTime, Pipeline, Query, QueryBody, Relation, ScalarExpr, SpansetExpr, SpansetOp, Stage,
    Static, StructuralMode, UnaryOp,
};
pub use conditions::conditions;
pub use error::TraceQlError;
pub use metrics::{MetricsRange, metrics_instant, metrics_range};
pub use parser::{parse, parse_attribute};
pub use search::{ServiceStats, SpanMatch, SpanSet, TraceMatch, match_trace, search};
pub use series::{MetricExemplar, MetricSeries};
pub use tags::tag_values;
