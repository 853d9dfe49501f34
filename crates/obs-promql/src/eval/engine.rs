//! The engine: settings, and queries at an instant or over a range.

use std::time::Instant;

use obs_types::{QueryContext, SeriesSource, TimestampMs};

use super::Evaluator;
use super::series::{Matrix, Steps};
use crate::ast::*;
use crate::parser::{ParserOptions, parse, to_vector};
use crate::prepare::{QueryRange, prepare, settle_times};
use crate::{
    EngineError, MatrixSeries, QueryResult, QueryStats, QueryTimings, SampleValue, Value,
    VectorSample,
};

/// Settings of an engine. The default is what Prometheus 3 ships with.
#[derive(Clone, Debug)]
pub struct EngineOptions {
    /// How far an instant selector looks back for a sample.
    pub lookback_ms: i64,
    /// Most samples held at once by one query.
    pub samples_max: usize,
    /// Step of subqueries that name none.
    pub default_subquery_step_ms: i64,
    /// `promql-delayed-name-removal`
    pub delayed_name_removal: bool,
    /// `use-start-timestamps`
    pub use_start_timestamps: bool,
    /// `type-and-unit-labels`
    pub type_and_unit_labels: bool,
    /// Counts the samples of each step (`stats=all`).
    pub step_stats: bool,
    /// Times every part of a query.
    pub trace: bool,
    /// The step of an instant query in MetricsQL: `1i`, windows that are not written.
    pub instant_step_ms: i64,
    /// What `now()` of MetricsQL says; the end of the query where it is not set.
    pub now_ms: Option<i64>,
    pub parser: ParserOptions,
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self {
            lookback_ms: 300_000,
            samples_max: 50_000_000,
            default_subquery_step_ms: 60_000,
            delayed_name_removal: false,
            use_start_timestamps: false,
            type_and_unit_labels: false,
            step_stats: false,
            trace: false,
            instant_step_ms: 300_000,
            now_ms: None,
            parser: ParserOptions::default(),
        }
    }
}

/// Runs queries; holds settings only, so it is shared freely.
#[derive(Clone, Debug, Default)]
pub struct Engine {
    options: EngineOptions,
}

impl Engine {
    pub fn new(options: EngineOptions) -> Self {
        Self { options }
    }

    pub fn options(&self) -> &EngineOptions {
        &self.options
    }

    /// The same engine, which also fills [`QueryResult::samples_per_step`].
    #[must_use]
    pub fn with_step_stats(&self) -> Self {
        Self { options: EngineOptions { step_stats: true, ..self.options.clone() } }
    }

    /// The same engine, which also fills [`QueryResult::trace`].
    #[must_use]
    pub fn with_trace(&self) -> Self {
        Self { options: EngineOptions { trace: true, ..self.options.clone() } }
    }

    /// The same engine for VictoriaMetrics' dialect, or for PromQL.
    #[must_use]
    pub fn with_dialect(&self, metricsql: bool) -> Self {
        let mut options = self.options.clone();
        if metricsql != options.parser.metricsql {
            // Names are dropped at the end, so that `keep_metric_names` finds them.
            options.delayed_name_removal = metricsql;
            options.parser =
                if metricsql { ParserOptions::metricsql() } else { ParserOptions::default() };
        }
        Self { options }
    }

    /// The same engine with another step for instant queries in MetricsQL.
    #[must_use]
    pub fn with_instant_step(&self, step_ms: i64) -> Self {
        let instant_step_ms = step_ms.max(1);
        Self { options: EngineOptions { instant_step_ms, ..self.options.clone() } }
    }

    /// The same engine at a time of day, for `now()` of MetricsQL.
    #[must_use]
    pub fn at_time(&self, now: TimestampMs) -> Self {
        Self { options: EngineOptions { now_ms: Some(now.0), ..self.options.clone() } }
    }

    pub(crate) fn query_range(&self, start: i64, end: i64, step: i64) -> QueryRange {
        let metricsql = self.options.parser.metricsql;
        let step = if metricsql && step == 0 { self.options.instant_step_ms } else { step };
        let now = self.options.now_ms.unwrap_or(end);
        QueryRange { start, end, step, now, metricsql }
    }

    /// The tree as it is evaluated. Times behind `@` that MetricsQL computes are those at the start
    /// of the query.
    pub(crate) fn prepared(
        &self,
        source: &dyn SeriesSource,
        expr: &Expr,
        range: QueryRange,
        context: &QueryContext,
    ) -> Result<Expr, EngineError> {
        if !range.metricsql {
            return prepare(expr, range);
        }
        let mut expr = expr.clone();
        let start = Steps { start: range.start, end: range.start, step: range.step.max(1) };
        settle_times(&mut expr, &mut |time| {
            let time = prepare(time, range)?;
            let found = Evaluator::new(&self.options, source, context).run(&time, start)?;
            Ok(found.first().and_then(|s| s.floats.first()).map_or(f64::NAN, |p| p.1))
        })?;
        prepare(&expr, range)
    }

    /// Parses with this engine's language options.
    pub fn parse(&self, query: &str) -> Result<Expr, EngineError> {
        Ok(parse(query, &self.options.parser)?)
    }

    /// The value at one instant.
    pub fn instant(
        &self,
        source: &dyn SeriesSource,
        query: &str,
        at: TimestampMs,
        context: &QueryContext,
    ) -> Result<QueryResult, EngineError> {
        let expr = self.parse(query)?;
        self.instant_expr(source, &expr, query, at, context)
    }

    /// The value at `start`, `start + step`, … up to and including `end`, as a matrix. `Err` for
    /// a step below 1 ms and for expressions that are neither scalar nor instant vector.
    pub fn range(
        &self,
        source: &dyn SeriesSource,
        query: &str,
        start: TimestampMs,
        end: TimestampMs,
        step_ms: i64,
        context: &QueryContext,
    ) -> Result<QueryResult, EngineError> {
        let expr = self.parse(query)?;
        self.range_expr(source, &expr, query, (start, end, step_ms), context)
    }

    /// Like [`Engine::instant`] with a parsed query; `query` is its text, for line and column of
    /// warnings.
    pub fn instant_expr(
        &self,
        source: &dyn SeriesSource,
        expr: &Expr,
        query: &str,
        at: TimestampMs,
        context: &QueryContext,
    ) -> Result<QueryResult, EngineError> {
        let t = at.0;
        let begin = Instant::now();
        let range = self.query_range(t, t, 0);
        let prepared = self.prepared(source, expr, range, context)?;
        if let ExprKind::String(s) = &unwrapped(&prepared).kind {
            let value = Value::String { timestamp_ms: t, value: s.clone() };
            return Ok(QueryResult {
                value,
                warnings: Vec::new(),
                infos: Vec::new(),
                stats: QueryStats::default(),
                samples_per_step: Vec::new(),
                trace: None,
            });
        }
        let mut ev = Evaluator::new(&self.options, source, context);
        let steps = Steps { start: t, end: t, step: range.step.max(1) };
        let prepared_at = Instant::now();
        let matrix = ev.run(&prepared, steps)?;
        let evaluated_at = Instant::now();
        let value = match expr.value_type() {
            ValueType::Scalar => Value::Scalar {
                timestamp_ms: t,
                value: matrix.first().and_then(|s| s.floats.first()).map_or(f64::NAN, |p| p.1),
            },
            ValueType::Vector => Value::Vector(
                matrix
                    .into_iter()
                    .filter_map(|s| {
                        let value = match (s.hists.into_iter().next(), s.floats.first()) {
                            (Some((_, h)), _) => SampleValue::Histogram(h),
                            (None, Some((_, f))) => SampleValue::Float(*f),
                            (None, None) => return None,
                        };
                        Some(VectorSample { labels: s.labels, timestamp_ms: t, value })
                    })
                    .collect(),
            ),
            ValueType::Matrix | ValueType::String => Value::Matrix(sorted(matrix)),
        };
        ev.stats.timings = QueryTimings::between(begin, prepared_at, evaluated_at);
        Ok(ev.finish(value, query, steps))
    }

    /// Like [`Engine::range`] with a parsed query and `(start, end, step_ms)`.
    pub fn range_expr(
        &self,
        source: &dyn SeriesSource,
        expr: &Expr,
        query: &str,
        (start, end, step_ms): (TimestampMs, TimestampMs, i64),
        context: &QueryContext,
    ) -> Result<QueryResult, EngineError> {
        let mut converted = None;
        if self.options.parser.metricsql && expr.value_type() == ValueType::Matrix {
            to_vector(converted.insert(expr.clone()));
        }
        let expr = converted.as_ref().unwrap_or(expr);
        if !matches!(expr.value_type(), ValueType::Scalar | ValueType::Vector) {
            return Err(EngineError::Execution(format!(
                "invalid expression type \"{}\" for range query, must be Scalar or instant Vector",
                expr.value_type().documented()
            )));
        }
        if step_ms < 1 {
            return Err(EngineError::Execution(
                "zero or negative query resolution step widths are not accepted".into(),
            ));
        }
        let begin = Instant::now();
        let range = self.query_range(start.0, end.0, step_ms);
        let prepared = self.prepared(source, expr, range, context)?;
        let mut ev = Evaluator::new(&self.options, source, context);
        let steps = Steps { start: start.0, end: end.0, step: step_ms };
        if steps.count() > self.options.samples_max {
            return Err(EngineError::TooManySamples);
        }
        let prepared_at = Instant::now();
        let matrix = ev.run(&prepared, steps)?;
        let evaluated_at = Instant::now();
        let value = Value::Matrix(sorted(matrix));
        ev.stats.timings = QueryTimings::between(begin, prepared_at, evaluated_at);
        Ok(ev.finish(value, query, steps))
    }
}

fn unwrapped(e: &Expr) -> &Expr {
    match &e.kind {
        ExprKind::Paren(inner) | ExprKind::StepInvariant(inner) => unwrapped(inner),
        _ => e,
    }
}

fn sorted(matrix: Matrix) -> Vec<MatrixSeries> {
    let mut out: Vec<MatrixSeries> = matrix
        .into_iter()
        .map(|s| MatrixSeries { labels: s.labels, floats: s.floats, histograms: s.hists })
        .collect();
    out.sort_by(|a, b| a.labels.cmp(&b.labels));
    out
}
