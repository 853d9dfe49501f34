//! Evaluates a prepared tree over a range of steps; an instant query is a range of one.
//!
//! Values travel as series with all their points. What works series by series (selectors, range
//! functions, element-wise functions, scalars) walks columns; what relates series (operators
//! between vectors, aggregations, histograms) walks the steps.

mod aggregate;
mod aggregated;
mod binary;
mod call;
mod classic;
mod columns;
mod conditional;
mod count_values;
mod engine;
mod extra_aggregate;
mod generated;
mod info;
mod matching;
mod parallel;
mod range_call;
mod relabel;
mod rollup;
mod selector;
mod series;
mod transform;
mod vmrange;

use std::sync::Arc;
use std::time::Instant;

use obs_types::{LabelSet, METRIC_NAME, MemoryTracker, QueryContext, SeriesSource};

pub use engine::{Engine, EngineOptions};
pub(crate) use range_call::{RangeArgs, Window, interpolate_hist};
pub(crate) use rollup::is_rollup;
pub(crate) use selector::interpolate;
pub(crate) use series::{
    Collector, Cursor, Hist, Matrix, Sample, Series, StepBits, Steps, hist_size, merge_same, total,
};

use crate::annotations::Annotations;
use crate::ast::*;
use crate::{EngineError, QueryResult, QueryStats, TraceSpan, Value};

pub(crate) const SAME_LABELSET: &str = "vector cannot contain metrics with the same labelset";

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
    /// What an evaluator for another thread began with.
    samples_at_start: usize,
    samples_max: usize,
    pub(crate) memory: Held<'a>,
    pub(crate) counted: Counted,
    /// Inside `histogram_count` and its kin: counter resets are found between stored samples.
    pub(crate) hist_stats: bool,
    /// Inside something that needs whole buckets, where hints stay as stored.
    pub(crate) whole_buckets: bool,
    /// The operator between vectors that is evaluated next keeps the names (MetricsQL).
    keep_names: bool,
    /// Parts that are done, of the part that is being evaluated (tracing).
    spans: Vec<TraceSpan>,
}

/// What a float sample occupies.
const SAMPLE_BYTES: usize = 16;

/// Bytes counted against the query's memory limit; given back when the evaluation ends, however it
/// ends.
#[derive(Debug)]
pub(crate) struct Held<'a> {
    tracker: &'a MemoryTracker,
    bytes: usize,
}

impl Held<'_> {
    pub(crate) fn grow(&mut self, bytes: usize) -> Result<(), EngineError> {
        self.tracker.grow(bytes)?;
        self.bytes += bytes;
        Ok(())
    }

    pub(crate) fn shrink(&mut self, bytes: usize) {
        let bytes = bytes.min(self.bytes);
        self.bytes -= bytes;
        self.tracker.shrink(bytes);
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.tracker.shrink(self.bytes);
    }
}

/// Samples that selectors looked at, in all and by step.
#[derive(Debug, Default)]
pub(crate) struct Counted {
    total: u64,
    by_step: Vec<u64>,
}

impl Counted {
    /// Leaves an empty count.
    pub(crate) fn take(&mut self) -> Self {
        std::mem::take(self)
    }
}

impl<'a> Evaluator<'a> {
    pub(crate) fn new(
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
            samples_at_start: 0,
            samples_max: options.samples_max.min(context.samples_max),
            memory: Held { tracker: &context.memory, bytes: 0 },
            counted: Counted::default(),
            hist_stats: false,
            whole_buckets: false,
            keep_names: false,
            spans: Vec::new(),
        }
    }

    pub(crate) fn metricsql(&self) -> bool {
        self.options.parser.metricsql
    }

    pub(crate) fn run(&mut self, e: &Expr, steps: Steps) -> Result<Matrix, EngineError> {
        let mut matrix = self.eval(e, steps)?;
        if self.options.delayed_name_removal {
            for s in &mut matrix {
                if s.drop_name {
                    s.labels = drop_metadata(&s.labels);
                }
            }
            matrix = merge_same(matrix)?;
        }
        if self.metricsql() {
            // NaN says that there is nothing.
            for s in &mut matrix {
                s.floats.retain(|p| !p.1.is_nan());
            }
            matrix.retain(|s| !s.floats.is_empty() || !s.hists.is_empty());
        }
        Ok(matrix)
    }

    pub(crate) fn finish(self, value: Value, query: &str, steps: Steps) -> QueryResult {
        let (warnings, infos) = self.annos.texts(query);
        let mut stats = self.stats;
        stats.samples_total = self.counted.total;
        let mut samples_per_step = Vec::new();
        if self.options.step_stats {
            let counts = self.counted.by_step.into_iter().chain(std::iter::repeat(0));
            samples_per_step = steps.iter().zip(counts).collect();
        }
        let trace = self.options.trace.then(|| {
            let range = format!("from {} to {} by {} ms", steps.start, steps.end, steps.step);
            let t = &stats.timings;
            let mut span = TraceSpan::new(format!("evaluate {query} {range}"), t.total);
            (span.series_read, span.samples_read) =
                (Some(stats.series_read), Some(stats.samples_read));
            span.children.push(TraceSpan::new("prepare", t.preparation));
            span.children.extend(self.spans);
            span.children.push(TraceSpan::new("sort", t.result_sort));
            span
        });
        QueryResult { value, warnings, infos, stats, samples_per_step, trace }
    }

    /// Counts `n` more samples as held.
    pub(crate) fn hold(&mut self, n: usize) -> Result<(), EngineError> {
        self.samples = self.samples.saturating_add(n);
        self.pass(0)?;
        self.memory.grow(n.saturating_mul(SAMPLE_BYTES))
    }

    /// Counts `n` more samples as held for a moment.
    pub(crate) fn pass(&mut self, n: usize) -> Result<(), EngineError> {
        let samples = self.samples.saturating_add(n);
        self.stats.samples_peak = self.stats.samples_peak.max(samples as u64);
        if samples > self.samples_max {
            return Err(EngineError::TooManySamples);
        }
        Ok(())
    }

    pub(crate) fn release(&mut self, n: usize) {
        self.samples = self.samples.saturating_sub(n);
        self.memory.shrink(n.saturating_mul(SAMPLE_BYTES));
    }

    /// Counts samples that a step looked at.
    pub(crate) fn count_samples(&mut self, step: usize, n: usize) {
        self.counted.total += n as u64;
        if self.options.step_stats {
            if self.counted.by_step.len() <= step {
                self.counted.by_step.resize(step + 1, 0);
            }
            if let Some(count) = self.counted.by_step.get_mut(step) {
                *count += n as u64;
            }
        }
    }

    /// Counts the points of a series as samples of their steps.
    pub(crate) fn count_points(&mut self, s: &Series, steps: Steps) {
        if !self.options.step_stats {
            self.counted.total += s.len() as u64;
            return;
        }
        for i in steps.places(s.floats.iter().map(|p| p.0)) {
            self.count_samples(i, 1);
        }
        for (i, (_, h)) in steps.places(s.hists.iter().map(|p| p.0)).zip(&s.hists) {
            self.count_samples(i, hist_size(h));
        }
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
        if self.options.trace && !matches!(e.kind, ExprKind::Number(_) | ExprKind::Paren(_)) {
            return self.traced(e, steps);
        }
        self.eval_node(e, steps)
    }

    fn traced(&mut self, e: &Expr, steps: Steps) -> Result<Matrix, EngineError> {
        let before = self.stats;
        let siblings = std::mem::take(&mut self.spans);
        let begin = Instant::now();
        let result = self.eval_node(e, steps);
        let children = std::mem::replace(&mut self.spans, siblings);
        let mut span = TraceSpan::new(e.to_string(), begin.elapsed());
        span.children = children;
        let read = self.stats.series_read - before.series_read;
        if read > 0 {
            span.series_read = Some(read);
            span.samples_read = Some(self.stats.samples_read - before.samples_read);
        }
        if let Ok(matrix) = &result {
            span.series = Some(matrix.len() as u64);
            span.points = Some(total(matrix) as u64);
        }
        self.spans.push(span);
        result
    }

    fn eval_node(&mut self, e: &Expr, steps: Steps) -> Result<Matrix, EngineError> {
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
        let counted = self.counted.take();
        let matrix = self.eval(inner, once);
        let read = std::mem::replace(&mut self.counted, counted).total;
        let mut matrix = matrix?;
        // Every step is counted as if it had read what was read once.
        for n in 0..steps.count() {
            self.count_samples(n, usize::try_from(read).unwrap_or(usize::MAX));
        }
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
        let (first, last) = match selector::fixed_at(&s.at) {
            Some(t) => (t, t),
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
        f: impl FnMut(&mut Self, i64, &[Vec<Sample>]) -> Result<Vec<Sample>, EngineError>,
    ) -> Result<Matrix, EngineError> {
        let mut inputs = Vec::with_capacity(operands.len());
        for e in operands {
            inputs.push(if e.value_type() == ValueType::String {
                Vec::new()
            } else {
                self.eval(e, steps)?
            });
        }
        self.over_steps(&inputs, steps, f)
    }

    /// Calls `f` at every step with the vector of each input.
    pub(crate) fn over_steps(
        &mut self,
        inputs: &[Matrix],
        steps: Steps,
        mut f: impl FnMut(&mut Self, i64, &[Vec<Sample>]) -> Result<Vec<Sample>, EngineError>,
    ) -> Result<Matrix, EngineError> {
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

#[cfg(test)]
mod tests;
