use std::collections::BTreeMap;

use obs_types::{
    AttrScope, AttrValue, QueryContext, SourceError, TimeRangeNs, TimestampMs, TimestampNs,
    TraceId, TraceSelect, TraceSource,
};

use crate::TraceQlError;
use crate::ast::{
    Attribute, Intrinsic, MetricsExpr, MetricsFunction, OverTime, Pipeline, Query, QueryBody,
    SpansetExpr, Stage,
};
use crate::conditions::conditions;
use crate::field::read;
use crate::series::{MetricExemplar, MetricSeries, SeriesMap, arithmetic, filter, key_of, rank};
use crate::spansets::Plan;
use crate::value::Value;
use crate::view::TraceView;

/// Most steps of one query, as in Prometheus.
const STEPS_MAX: i64 = 11_000;
/// Values returned per attribute by compare() unless it says otherwise.
const COMPARE_TOP: i64 = 10;

/// The instants `start, start + step, …` up to and with `end`. The sample at `t` covers the spans
/// that start in `(t - step, t]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MetricsRange {
    pub start: TimestampMs,
    pub end: TimestampMs,
    /// More than 0.
    pub step_ms: i64,
    /// Most exemplars per series.
    pub exemplars_max: usize,
}

/// Evaluates a metrics query at every step; series are sorted by their labels.
///
/// `Err(Invalid)` if the query does not validate, finds traces instead of making series, or has
/// more than 11 000 steps.
pub fn metrics_range(
    source: &dyn TraceSource,
    query: &Query,
    range: &MetricsRange,
    context: &QueryContext,
) -> Result<Vec<MetricSeries>, TraceQlError> {
    query.validate()?;
    let QueryBody::Metrics(e) = &query.body else {
        return Err(TraceQlError::Invalid("a search query gives traces, not series".to_owned()));
    };
    if range.step_ms <= 0 || range.end < range.start {
        return Err(TraceQlError::Invalid(
            "the step must be above 0 and the end not before the start".to_owned(),
        ));
    }
    let steps = range.end.0.saturating_sub(range.start.0) / range.step_ms + 1;
    if steps > STEPS_MAX {
        return Err(TraceQlError::Invalid(format!(
            "{steps} steps are more than {STEPS_MAX}; use a longer step"
        )));
    }
    let runner = Runner { source, range, steps: steps as usize, context };
    let series = runner.eval(e)?;
    Ok(series.into_values().filter(|s| !s.samples.is_empty()).collect())
}

/// Evaluates a metrics query once over `(start, end]`; samples are at `end`.
pub fn metrics_instant(
    source: &dyn TraceSource,
    query: &Query,
    start: TimestampMs,
    end: TimestampMs,
    context: &QueryContext,
) -> Result<Vec<MetricSeries>, TraceQlError> {
    let step_ms = end.0.saturating_sub(start.0);
    let range = MetricsRange { start: end, end, step_ms, exemplars_max: 0 };
    metrics_range(source, query, &range, context)
}

struct Runner<'q> {
    source: &'q dyn TraceSource,
    range: &'q MetricsRange,
    steps: usize,
    context: &'q QueryContext,
}

impl Runner<'_> {
    fn eval(&self, e: &MetricsExpr) -> Result<SeriesMap, TraceQlError> {
        match e {
            MetricsExpr::Function {
                spans,
                function: MetricsFunction::Compare { selection, top, window },
                ..
            } => self.compare(spans, selection, top.unwrap_or(COMPARE_TOP), *window),
            MetricsExpr::Function { spans, function, by } => self.function(spans, function, by),
            MetricsExpr::Rank { input, bottom, count } => {
                let count = usize::try_from(*count).unwrap_or(0);
                Ok(rank(self.eval(input)?, *bottom, count))
            }
            MetricsExpr::Filter { input, op, value } => Ok(filter(self.eval(input)?, *op, value)),
            MetricsExpr::Binary { op, left, right } => {
                arithmetic(*op, left, right, &mut |side| self.eval(side))
            }
            MetricsExpr::Scalar(_) => {
                Err(TraceQlError::Invalid("a number alone makes no series".to_owned()))
            }
        }
    }

    /// Calls `visit` with the step of every span that the pipeline keeps.
    fn spans(
        &self,
        pipeline: &Pipeline,
        visit: &mut dyn FnMut(&TraceView<'_>, usize, usize) -> Result<(), SourceError>,
    ) -> Result<(), TraceQlError> {
        let plan = Plan::new(pipeline)?;
        let all_of = conditions(pipeline);
        let step_ns = self.range.step_ms.saturating_mul(1_000_000);
        let first = self.range.start.to_ns().0.saturating_sub(step_ns);
        let range = TimeRangeNs {
            start: TimestampNs(first.saturating_add(1)),
            end: TimestampNs(self.range.end.to_ns().0.saturating_add(1)),
        };
        for trace in self.source.select(&TraceSelect { range, all_of: &all_of }, self.context)? {
            self.context.check()?;
            let trace = trace?;
            let view = TraceView::new(&trace);
            for i in plan.run(&view).into_iter().flat_map(|s| s.spans) {
                let Some(record) = view.span(i) else { continue };
                let offset = record.span.start.0.saturating_sub(first);
                // Left-open steps: offset 1..=step is step 0.
                let step = offset.saturating_sub(1).div_euclid(step_ns);
                if let Ok(step) = usize::try_from(step)
                    && offset > 0
                    && step < self.steps
                {
                    visit(&view, i, step)?;
                }
            }
        }
        Ok(())
    }

    fn time(&self, step: usize) -> TimestampMs {
        TimestampMs(
            self.range.start.0.saturating_add(self.range.step_ms.saturating_mul(step as i64)),
        )
    }

    fn function(
        &self,
        spans: &Pipeline,
        function: &MetricsFunction,
        by: &[Attribute],
    ) -> Result<SeriesMap, TraceQlError> {
        let mut groups: BTreeMap<String, Group> = BTreeMap::new();
        self.spans(spans, &mut |view, i, step| {
            let value = match function {
                MetricsFunction::OverTime { attribute, .. }
                | MetricsFunction::QuantileOverTime { attribute, .. }
                | MetricsFunction::HistogramOverTime { attribute } => {
                    match number(&read(attribute, view, i)) {
                        Some(v) => v,
                        None => return Ok(()),
                    }
                }
                _ => 1.0,
            };
            let mut labels: Vec<(String, AttrValue)> = by
                .iter()
                .map(|a| {
                    let value = read(a, view, i).to_attr();
                    (a.to_string(), value.unwrap_or(AttrValue::Str("nil".to_owned())))
                })
                .collect();
            if let MetricsFunction::HistogramOverTime { .. } = function {
                labels.push(("__bucket".to_owned(), AttrValue::Double(bucket_bound(value))));
            }
            let key = key_of(&labels);
            if !groups.contains_key(&key) {
                self.context.memory.grow(self.steps * size_of::<Cell>() + key.len())?;
                let cells = vec![Cell::default(); self.steps];
                groups.insert(key.clone(), Group { labels, cells, exemplars: Vec::new() });
            }
            let Some(group) = groups.get_mut(&key) else { return Ok(()) };
            if let MetricsFunction::QuantileOverTime { .. } = function {
                self.context.memory.grow(size_of::<f64>())?;
                if let Some(cell) = group.cells.get_mut(step) {
                    cell.values.push(value);
                }
            }
            if let Some(cell) = group.cells.get_mut(step) {
                cell.add(value);
            }
            if group.exemplars.len() < self.range.exemplars_max
                && let Some(record) = view.span(i)
            {
                group.exemplars.push(MetricExemplar {
                    timestamp: record.span.start.floor_to_ms(),
                    value,
                    trace_id: TraceId(view.trace_id().0),
                });
            }
            Ok(())
        })?;
        let mut out = SeriesMap::new();
        for (_, group) in groups {
            self.finish(function, group, &mut out);
        }
        Ok(out)
    }

    /// Turns what was gathered for one group into its series.
    fn finish(&self, function: &MetricsFunction, group: Group, out: &mut SeriesMap) {
        let Group { labels, mut cells, mut exemplars } = group;
        exemplars.sort_by_key(|e| (e.timestamp, e.trace_id));
        let step_s = self.range.step_ms as f64 / 1000.0;
        let mut emit = |labels: Vec<(String, AttrValue)>, value: &dyn Fn(&Cell) -> Option<f64>| {
            let samples = cells
                .iter()
                .enumerate()
                .filter_map(|(i, cell)| Some((self.time(i), value(cell)?)))
                .collect();
            let key = key_of(&labels);
            let labels = match labels.is_empty() {
                true => vec![("__name__".to_owned(), AttrValue::Str(function.name().to_owned()))],
                false => labels,
            };
            out.insert(key, MetricSeries { labels, samples, exemplars: exemplars.clone() });
        };
        match function {
            MetricsFunction::Rate => emit(labels, &|c| Some(c.count / step_s)),
            MetricsFunction::CountOverTime | MetricsFunction::HistogramOverTime { .. } => {
                emit(labels, &|c| Some(c.count));
            }
            MetricsFunction::OverTime { op, .. } => emit(labels, &|c| {
                (c.count > 0.0).then_some(match op {
                    OverTime::Min => c.min,
                    OverTime::Max => c.max,
                    OverTime::Avg => c.sum / c.count,
                    OverTime::Sum => c.sum,
                })
            }),
            MetricsFunction::QuantileOverTime { quantiles, .. } => {
                for cell in &mut cells {
                    cell.values.sort_by(f64::total_cmp);
                }
                let cells = cells;
                for q in quantiles {
                    let mut labels = labels.clone();
                    labels.push(("p".to_owned(), AttrValue::Double(*q)));
                    let samples = cells
                        .iter()
                        .enumerate()
                        .filter_map(|(i, cell)| Some((self.time(i), quantile(&cell.values, *q)?)))
                        .collect();
                    out.insert(
                        key_of(&labels),
                        MetricSeries { labels, samples, exemplars: exemplars.clone() },
                    );
                }
            }
            MetricsFunction::Compare { .. } => {}
        }
    }

    /// Counts attribute values of the spans that match the selection and of the others.
    fn compare(
        &self,
        spans: &Pipeline,
        selection: &SpansetExpr,
        top: i64,
        window: Option<(i64, i64)>,
    ) -> Result<SeriesMap, TraceQlError> {
        let chosen = Plan::new(&Pipeline(vec![Stage::Spanset(selection.clone())]))?;
        // Side ("baseline" or "selection"), attribute, value as text.
        type Counts = BTreeMap<(&'static str, String), BTreeMap<String, (AttrValue, Vec<f64>)>>;
        let mut counts: Counts = BTreeMap::new();
        let mut of_trace: (TraceId, Vec<usize>) = (TraceId::default(), Vec::new());
        self.spans(spans, &mut |view, i, step| {
            if of_trace.0 != view.trace_id() {
                let mut all: Vec<usize> =
                    chosen.run(view).into_iter().flat_map(|s| s.spans).collect();
                all.sort_unstable();
                of_trace = (view.trace_id(), all);
            }
            let Some(record) = view.span(i) else { return Ok(()) };
            let start = record.span.start.0;
            let selected = of_trace.1.binary_search(&i).is_ok()
                && window.is_none_or(|(from, to)| from <= start && start < to);
            let side = if selected { "selection" } else { "baseline" };
            for attribute in attributes_of(view, i) {
                let value = read(&attribute, view, i);
                let (text, Some(value)) = (value.group_key(), value.to_attr()) else { continue };
                let values = counts.entry((side, attribute.to_string())).or_default();
                if !values.contains_key(&text) {
                    self.context.memory.grow(self.steps * size_of::<f64>() + text.len())?;
                }
                let (_, cells) =
                    values.entry(text).or_insert_with(|| (value, vec![0.0; self.steps]));
                if let Some(cell) = cells.get_mut(step) {
                    *cell += 1.0;
                }
            }
            Ok(())
        })?;
        let mut out = SeriesMap::new();
        let mut emit = |kind: String, name: &str, value: AttrValue, cells: &[f64]| {
            let labels =
                vec![("__meta_type".to_owned(), AttrValue::Str(kind)), (name.to_owned(), value)];
            let samples = cells.iter().enumerate().map(|(i, v)| (self.time(i), *v)).collect();
            out.insert(key_of(&labels), MetricSeries { labels, samples, exemplars: Vec::new() });
        };
        for ((side, name), values) in counts {
            let mut total = vec![0.0; self.steps];
            for (_, cells) in values.values() {
                total.iter_mut().zip(cells).for_each(|(t, c)| *t += c);
            }
            emit(format!("{side}_total"), &name, AttrValue::Str("nil".to_owned()), &total);
            let mut ranked: Vec<(f64, String, (AttrValue, Vec<f64>))> =
                values.into_iter().map(|(text, v)| (v.1.iter().sum::<f64>(), text, v)).collect();
            ranked.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
            for (_, _, (value, cells)) in ranked.into_iter().take(top.max(0) as usize) {
                emit(side.to_owned(), &name, value, &cells);
            }
        }
        Ok(out)
    }
}

/// What compare() looks at: every attribute of the span and its resource, and some intrinsics.
fn attributes_of(view: &TraceView<'_>, index: usize) -> Vec<Attribute> {
    let mut out: Vec<Attribute> = [
        Intrinsic::Name,
        Intrinsic::Status,
        Intrinsic::StatusMessage,
        Intrinsic::Kind,
        Intrinsic::RootName,
        Intrinsic::RootService,
    ]
    .into_iter()
    .map(Attribute::Intrinsic)
    .collect();
    let Some(record) = view.span(index) else { return out };
    for (scope, attributes) in [
        (AttrScope::Span, &record.span.attributes),
        (AttrScope::Resource, &record.resource.attributes),
    ] {
        out.extend(attributes.iter().map(|(name, _)| Attribute::Named {
            scope,
            parent: false,
            name: name.to_owned(),
        }));
    }
    out
}

#[derive(Debug)]
struct Group {
    labels: Vec<(String, AttrValue)>,
    cells: Vec<Cell>,
    exemplars: Vec<MetricExemplar>,
}

/// One step of one group.
#[derive(Clone, Debug)]
struct Cell {
    count: f64,
    sum: f64,
    min: f64,
    max: f64,
    /// For quantiles only.
    values: Vec<f64>,
}

impl Default for Cell {
    fn default() -> Self {
        Self {
            count: 0.0,
            sum: 0.0,
            min: f64::INFINITY,
            max: f64::NEG_INFINITY,
            values: Vec::new(),
        }
    }
}

impl Cell {
    fn add(&mut self, value: f64) {
        self.count += 1.0;
        self.sum += value;
        self.min = self.min.min(value);
        self.max = self.max.max(value);
    }
}

/// Durations in seconds.
fn number(value: &Value<'_>) -> Option<f64> {
    match value {
        Value::Duration(ns) => Some(*ns as f64 / 1e9),
        Value::Many(items) => items.iter().find_map(number),
        other => other.as_number().filter(|v| v.is_finite()),
    }
}

/// The smallest power of two that is not below the value; 0 for what is not positive.
fn bucket_bound(value: f64) -> f64 {
    if value <= 0.0 { 0.0 } else { value.log2().ceil().exp2() }
}

/// Linear between the two nearest ranks. `sorted` ascends; `None` if it is empty.
fn quantile(sorted: &[f64], q: f64) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    let rank = q.clamp(0.0, 1.0) * last as f64;
    let (low, high) = (sorted.get(rank.floor() as usize)?, sorted.get(rank.ceil() as usize)?);
    Some(low + (high - low) * rank.fract())
}
