//! Evaluates a prepared tree over a range of steps; an instant query is a range of one.
//!
//! Values travel as series with all their points. What works series by series (selectors, range
//! functions, element-wise functions, scalars) walks columns; what relates series (operators
//! between vectors, aggregations, histograms) walks the steps.

mod aggregate;
mod binary;
mod call;
mod info;
mod range_call;
mod selector;

use std::collections::HashMap;
use std::sync::Arc;

use obs_types::{LabelSet, METRIC_NAME, NativeHistogram, QueryContext, SeriesSource, TimestampMs};

pub(crate) use range_call::{RangeArgs, Window, interpolate_hist};
pub(crate) use selector::interpolate;

use crate::annotations::Annotations;
use crate::ast::*;
use crate::parser::{ParserOptions, parse};
use crate::prepare::{QueryRange, prepare};
use crate::{EngineError, MatrixSeries, QueryResult, QueryStats, SampleValue, Value, VectorSample};

pub(crate) const SAME_LABELSET: &str = "vector cannot contain metrics with the same labelset";

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
        let prepared = prepare(expr, QueryRange { start: t, end: t, step: 0 })?;
        if let ExprKind::String(s) = &unwrapped(&prepared).kind {
            let value = Value::String { timestamp_ms: t, value: s.clone() };
            return Ok(QueryResult {
                value,
                warnings: Vec::new(),
                infos: Vec::new(),
                stats: QueryStats::default(),
            });
        }
        let mut ev = Evaluator::new(&self.options, source, context);
        let matrix = ev.run(&prepared, Steps { start: t, end: t, step: 1 })?;
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
        Ok(ev.finish(value, query))
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
        let prepared = prepare(expr, QueryRange { start: start.0, end: end.0, step: step_ms })?;
        let mut ev = Evaluator::new(&self.options, source, context);
        let steps = Steps { start: start.0, end: end.0, step: step_ms };
        if steps.count() > self.options.samples_max {
            return Err(EngineError::TooManySamples);
        }
        let matrix = ev.run(&prepared, steps)?;
        Ok(ev.finish(Value::Matrix(sorted(matrix)), query))
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

/// The instants of an evaluation, `end` included where the step reaches it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Steps {
    pub(crate) start: i64,
    pub(crate) end: i64,
    pub(crate) step: i64,
}

impl Steps {
    pub(crate) fn count(self) -> usize {
        if self.end < self.start {
            return 0;
        }
        let span = self.end.saturating_sub(self.start) / self.step.max(1);
        usize::try_from(span).unwrap_or(usize::MAX).saturating_add(1)
    }

    pub(crate) fn iter(self) -> impl Iterator<Item = i64> {
        (0..self.count() as i64).map(move |i| self.start + i * self.step)
    }

    pub(crate) fn index(self, t: i64) -> usize {
        usize::try_from((t - self.start) / self.step.max(1)).unwrap_or(0)
    }

    pub(crate) fn is_instant(self) -> bool {
        self.start == self.end
    }
}

pub(crate) type Hist = Arc<NativeHistogram>;

/// A series with its points in ascending time; a time has a float or a histogram.
#[derive(Clone, Debug, Default)]
pub(crate) struct Series {
    pub(crate) labels: LabelSet,
    /// The name goes when the query is done (delayed name removal).
    pub(crate) drop_name: bool,
    pub(crate) floats: Vec<(i64, f64)>,
    pub(crate) hists: Vec<(i64, Hist)>,
}

pub(crate) type Matrix = Vec<Series>;

impl Series {
    pub(crate) fn len(&self) -> usize {
        self.floats.len() + self.hists.iter().map(|(_, h)| hist_size(h)).sum::<usize>()
    }

    fn push(&mut self, t: i64, value: SampleValue) {
        match value {
            SampleValue::Float(f) => self.floats.push((t, f)),
            SampleValue::Histogram(h) => self.hists.push((t, h)),
        }
    }
}

/// What a histogram counts against the sample limit: its size in units of a float sample.
pub(crate) fn hist_size(h: &NativeHistogram) -> usize {
    (h.size_bytes() + 8) / 16
}

pub(crate) fn total(matrix: &[Series]) -> usize {
    matrix.iter().map(Series::len).sum()
}

/// One element of a vector at one step.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    pub(crate) labels: LabelSet,
    pub(crate) drop_name: bool,
    pub(crate) value: SampleValue,
}

impl Sample {
    pub(crate) fn float(&self) -> f64 {
        self.value.as_float().unwrap_or(f64::NAN)
    }

    pub(crate) fn hist(&self) -> Option<&Hist> {
        match &self.value {
            SampleValue::Float(_) => None,
            SampleValue::Histogram(h) => Some(h),
        }
    }
}

/// Walks a series step by step.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cursor {
    float: usize,
    hist: usize,
}

impl Cursor {
    /// The value at `t`; calls must ascend in time.
    pub(crate) fn at(&mut self, s: &Series, t: i64) -> Option<SampleValue> {
        while s.floats.get(self.float).is_some_and(|p| p.0 < t) {
            self.float += 1;
        }
        if let Some((_, f)) = s.floats.get(self.float).filter(|p| p.0 == t) {
            return Some(SampleValue::Float(*f));
        }
        while s.hists.get(self.hist).is_some_and(|p| p.0 < t) {
            self.hist += 1;
        }
        s.hists
            .get(self.hist)
            .filter(|p| p.0 == t)
            .map(|(_, h)| SampleValue::Histogram(Arc::clone(h)))
    }
}

/// The labels without name, type and unit.
pub(crate) fn drop_metadata(l: &LabelSet) -> LabelSet {
    l.without(&[METRIC_NAME, "__type__", "__unit__"])
}

pub(crate) fn failed<T>(message: impl Into<String>) -> Result<T, EngineError> {
    Err(EngineError::Execution(message.into()))
}

pub(crate) struct Evaluator<'a> {
    pub(crate) options: &'a EngineOptions,
    pub(crate) source: &'a dyn SeriesSource,
    pub(crate) context: &'a QueryContext,
    pub(crate) annos: Annotations,
    pub(crate) stats: QueryStats,
    /// Samples held by values that are alive.
    samples: usize,
    samples_max: usize,
    /// Inside `histogram_count` and its kin: counter resets are found between stored samples.
    pub(crate) hist_stats: bool,
    /// Inside something that needs whole buckets, where hints stay as stored.
    pub(crate) whole_buckets: bool,
}

/// Collects vectors of successive steps into series.
pub(crate) struct Collector {
    series: Matrix,
    index: HashMap<LabelSet, (usize, i64)>,
    instant: bool,
    check_duplicates: bool,
}

impl Collector {
    pub(crate) fn new(steps: Steps, delayed_name_removal: bool) -> Self {
        Self {
            series: Vec::new(),
            index: HashMap::new(),
            instant: steps.is_instant(),
            check_duplicates: !delayed_name_removal,
        }
    }

    pub(crate) fn add(&mut self, t: i64, vector: Vec<Sample>) -> Result<usize, EngineError> {
        let mut added = 0;
        for sample in vector {
            added += sample.hist().map_or(1, |h| hist_size(h));
            let known = self.index.get_mut(&sample.labels);
            if self.instant {
                if known.is_some() && self.check_duplicates {
                    return failed(SAME_LABELSET);
                }
                if self.check_duplicates {
                    self.index.insert(sample.labels.clone(), (0, t));
                }
                let mut s = Series {
                    labels: sample.labels,
                    drop_name: sample.drop_name,
                    ..Series::default()
                };
                s.push(t, sample.value);
                self.series.push(s);
                continue;
            }
            let at = match known {
                Some((_, last)) if *last == t => return failed(SAME_LABELSET),
                Some((at, last)) => {
                    *last = t;
                    *at
                }
                None => {
                    self.series.push(Series {
                        labels: sample.labels.clone(),
                        drop_name: sample.drop_name,
                        ..Series::default()
                    });
                    self.index.insert(sample.labels, (self.series.len() - 1, t));
                    self.series.len() - 1
                }
            };
            if let Some(s) = self.series.get_mut(at) {
                s.push(t, sample.value);
            }
        }
        Ok(added)
    }

    pub(crate) fn finish(self) -> Matrix {
        self.series
    }
}

impl<'a> Evaluator<'a> {
    fn new(
        options: &'a EngineOptions,
        source: &'a dyn SeriesSource,
        context: &'a QueryContext,
    ) -> Self {
        Self {
            options,
            source,
            context,
            annos: Annotations::default(),
            stats: QueryStats::default(),
            samples: 0,
            samples_max: options.samples_max.min(context.samples_max),
            hist_stats: false,
            whole_buckets: false,
        }
    }

    fn run(&mut self, e: &Expr, steps: Steps) -> Result<Matrix, EngineError> {
        let mut matrix = self.eval(e, steps)?;
        if self.options.delayed_name_removal {
            for s in &mut matrix {
                if s.drop_name {
                    s.labels = drop_metadata(&s.labels);
                }
            }
            matrix = merge_same(matrix)?;
        }
        Ok(matrix)
    }

    fn finish(self, value: Value, query: &str) -> QueryResult {
        let (warnings, infos) = self.annos.texts(query);
        QueryResult { value, warnings, infos, stats: self.stats }
    }

    /// Counts `n` more samples as held.
    pub(crate) fn hold(&mut self, n: usize) -> Result<(), EngineError> {
        self.samples = self.samples.saturating_add(n);
        self.stats.samples_peak = self.stats.samples_peak.max(self.samples as u64);
        if self.samples > self.samples_max {
            return Err(EngineError::TooManySamples);
        }
        Ok(())
    }

    pub(crate) fn release(&mut self, n: usize) {
        self.samples = self.samples.saturating_sub(n);
    }

    pub(crate) fn check(&self) -> Result<(), EngineError> {
        Ok(self.context.check()?)
    }

    /// Marks the names of a result for removal, or removes them now; series that become equal are
    /// merged where their times differ.
    pub(crate) fn names_dropped(&self, mut matrix: Matrix) -> Result<Matrix, EngineError> {
        for s in &mut matrix {
            s.drop_name = true;
            if !self.options.delayed_name_removal {
                s.labels = drop_metadata(&s.labels);
            }
        }
        if self.options.delayed_name_removal { Ok(matrix) } else { merge_same(matrix) }
    }

    /// The labels of one sample whose name no longer fits.
    pub(crate) fn nameless(&self, l: &LabelSet) -> LabelSet {
        if self.options.delayed_name_removal { l.clone() } else { drop_metadata(l) }
    }

    pub(crate) fn eval(&mut self, e: &Expr, steps: Steps) -> Result<Matrix, EngineError> {
        self.check()?;
        if steps.end < steps.start {
            return Ok(Vec::new());
        }
        // A fine subquery over a long range would otherwise loop before it holds anything.
        if steps.count() > self.samples_max {
            return Err(EngineError::TooManySamples);
        }
        match &e.kind {
            ExprKind::Aggregate(a) => self.aggregate(a, e.pos, steps),
            ExprKind::Binary(b) => self.binary(b, e.pos, steps),
            ExprKind::Call(c) => self.call(c, e.pos, steps),
            ExprKind::Matrix(m) => self.matrix_selector(m, steps),
            ExprKind::Subquery(s) => {
                let inner = self.subquery_steps(s, steps);
                self.with_whole_buckets(|ev| ev.eval(&s.expr, inner))
            }
            ExprKind::Number(n) => {
                let floats = steps.iter().map(|t| (t, n.value)).collect();
                self.hold(steps.count())?;
                Ok(vec![Series { floats, ..Series::default() }])
            }
            ExprKind::Paren(inner) => self.eval(inner, steps),
            ExprKind::String(_) => failed("unexpected string in an expression"),
            ExprKind::Unary(u) => {
                let mut matrix = self.eval(&u.expr, steps)?;
                if u.negative {
                    for s in &mut matrix {
                        s.floats.iter_mut().for_each(|p| p.1 = -p.1);
                        for (_, h) in &mut s.hists {
                            crate::histogram::scale(Arc::make_mut(h), -1.0);
                        }
                    }
                    matrix = self.names_dropped(matrix)?;
                }
                Ok(matrix)
            }
            ExprKind::Vector(v) => self.vector_selector(v, steps),
            ExprKind::StepInvariant(inner) => self.step_invariant(inner, steps),
        }
    }

    pub(crate) fn with_whole_buckets<T>(&mut self, f: impl FnOnce(&mut Self) -> T) -> T {
        let before = std::mem::replace(&mut self.whole_buckets, true);
        let out = f(self);
        self.whole_buckets = before;
        out
    }

    fn step_invariant(&mut self, inner: &Expr, steps: Steps) -> Result<Matrix, EngineError> {
        let once = Steps { end: steps.start, ..steps };
        let mut matrix = self.eval(inner, once)?;
        if matches!(inner.kind, ExprKind::Matrix(_) | ExprKind::Subquery(_)) || steps.is_instant() {
            return Ok(matrix);
        }
        let more = total(&matrix).saturating_mul(steps.count().saturating_sub(1));
        self.hold(more)?;
        for s in &mut matrix {
            if let Some((_, f)) = s.floats.first().copied() {
                s.floats = steps.iter().map(|t| (t, f)).collect();
            } else if let Some((_, h)) = s.hists.first().cloned() {
                s.hists = steps.iter().map(|t| (t, Arc::clone(&h))).collect();
            }
        }
        Ok(matrix)
    }

    /// Instants of a subquery: multiples of its step inside `(start - range, end]`.
    pub(crate) fn subquery_steps(&self, s: &SubqueryExpr, steps: Steps) -> Steps {
        let step = s.step.as_ref().map_or(self.options.default_subquery_step_ms, |d| d.millis());
        let step = step.max(1);
        let offset = s.offset.millis();
        let (first, last) = match s.at {
            Some(AtModifier::Timestamp(t)) => (t, t),
            _ => {
                let aligned = steps.count().saturating_sub(1) as i64 * steps.step;
                (steps.start, steps.start.saturating_add(aligned))
            }
        };
        let end = last.saturating_sub(offset);
        let bound = first.saturating_sub(offset).saturating_sub(s.range.millis());
        let mut start = (bound / step).saturating_mul(step);
        if start <= bound {
            start = start.saturating_add(step);
        }
        Steps { start, end, step }
    }

    /// Evaluates operands, then calls `f` at every step with the vector of each. Operands that
    /// are strings give empty vectors.
    pub(crate) fn by_step(
        &mut self,
        operands: &[&Expr],
        steps: Steps,
        mut f: impl FnMut(&mut Self, i64, &[Vec<Sample>]) -> Result<Vec<Sample>, EngineError>,
    ) -> Result<Matrix, EngineError> {
        let mut inputs = Vec::with_capacity(operands.len());
        for e in operands {
            inputs.push(if e.value_type() == ValueType::String {
                Vec::new()
            } else {
                self.eval(e, steps)?
            });
        }
        let held: usize = inputs.iter().map(|m| total(m)).sum();
        let mut cursors: Vec<Vec<Cursor>> =
            inputs.iter().map(|m| vec![Cursor::default(); m.len()]).collect();
        let mut vectors: Vec<Vec<Sample>> = vec![Vec::new(); inputs.len()];
        let mut out = Collector::new(steps, self.options.delayed_name_removal);
        for (n, t) in steps.iter().enumerate() {
            if n % 64 == 0 {
                self.check()?;
            }
            for ((matrix, cursors), vector) in inputs.iter().zip(&mut cursors).zip(&mut vectors) {
                vector.clear();
                for (s, c) in matrix.iter().zip(cursors) {
                    if let Some(value) = c.at(s, t) {
                        vector.push(Sample {
                            labels: s.labels.clone(),
                            drop_name: s.drop_name,
                            value,
                        });
                    }
                }
            }
            let result = f(self, t, &vectors)?;
            let added = out.add(t, result)?;
            self.hold(added)?;
        }
        self.release(held);
        Ok(out.finish())
    }
}

/// Merges series with equal labels; `Err` where they share a time.
pub(crate) fn merge_same(matrix: Matrix) -> Result<Matrix, EngineError> {
    let mut index: HashMap<LabelSet, usize> = HashMap::with_capacity(matrix.len());
    let mut out: Matrix = Vec::with_capacity(matrix.len());
    let mut merged = Vec::new();
    for s in matrix {
        match index.get(&s.labels).and_then(|at| out.get_mut(*at).map(|o| (*at, o))) {
            None => {
                index.insert(s.labels.clone(), out.len());
                out.push(s);
            }
            Some((at, o)) => {
                o.floats.extend(s.floats);
                o.hists.extend(s.hists);
                merged.push(at);
            }
        }
    }
    merged.sort_unstable();
    merged.dedup();
    for at in merged {
        let Some(s) = out.get_mut(at) else { continue };
        s.floats.sort_by_key(|p| p.0);
        s.hists.sort_by_key(|p| p.0);
        if s.floats.windows(2).any(|w| w[0].0 == w[1].0)
            || s.hists.windows(2).any(|w| w[0].0 == w[1].0)
        {
            return failed(SAME_LABELSET);
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests;
