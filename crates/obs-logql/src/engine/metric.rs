//! Metric queries: every node is evaluated for all steps at once.

use obs_types::{LogSource, QueryContext, TimestampNs};

use super::{
    EngineOptions, MatrixSeries, QueryResult, QueryStats, Value, VectorSample, aggregate, binary,
    range as range_vector,
};
use crate::ast::{LabelReplace, MetricExpr, VectorOp};
use crate::error::EngineError;
use crate::labels::Labels;

/// One series over all steps; absent points are `None`.
#[derive(Clone, Debug)]
pub(crate) struct Series {
    pub(crate) labels: Labels,
    pub(crate) values: Vec<Option<f64>>,
}

/// A node's answer.
#[derive(Clone, Debug)]
pub(crate) enum Table {
    Scalar(f64),
    /// Label sets are unique unless a `label_replace` made them equal.
    Vector(Vec<Series>),
}

pub(crate) struct Evaluation<'a> {
    pub(crate) source: &'a dyn LogSource,
    pub(crate) context: &'a QueryContext,
    pub(crate) steps: Vec<i64>,
    pub(crate) stats: QueryStats,
    pub(crate) is_instant: bool,
}

pub(crate) fn instant(
    options: &EngineOptions,
    source: &dyn LogSource,
    expr: &MetricExpr,
    time: TimestampNs,
    context: &QueryContext,
) -> Result<QueryResult, EngineError> {
    let mut evaluation = Evaluation {
        source,
        context,
        steps: vec![time.0],
        stats: QueryStats::default(),
        is_instant: true,
    };
    let value = match evaluation.eval(expr)? {
        Table::Scalar(value) => Value::Scalar { timestamp: time, value },
        Table::Vector(series) => {
            let mut samples: Vec<VectorSample> = series
                .into_iter()
                .filter_map(|s| {
                    let value = s.values.first().copied().flatten()?;
                    Some(VectorSample { labels: s.labels, timestamp: time, value })
                })
                .collect();
            if !is_sorted_by_value(expr) {
                samples.sort_by(|a, b| a.labels.cmp(&b.labels));
            }
            check_series(options, samples.len())?;
            Value::Vector(samples)
        }
    };
    let mut stats = evaluation.stats;
    stats.returned = match &value {
        Value::Vector(v) => v.len() as u64,
        _ => 1,
    };
    Ok(QueryResult { value, stats })
}

pub(crate) fn range(
    options: &EngineOptions,
    source: &dyn LogSource,
    expr: &MetricExpr,
    start: TimestampNs,
    end: TimestampNs,
    step_ns: i64,
    context: &QueryContext,
) -> Result<QueryResult, EngineError> {
    if step_ns <= 0 {
        return Err(EngineError::Evaluation(
            "zero or negative query resolution step widths are not accepted. Try a positive \
             integer"
                .into(),
        ));
    }
    let count = end.0.saturating_sub(start.0) / step_ns + 1;
    // Even "unlimited" must not let one request take all memory.
    let steps_max = if options.steps_max == 0 { 10_000_000 } else { options.steps_max };
    if usize::try_from(count).map_or(true, |n| n > steps_max) {
        return Err(EngineError::Limit(format!(
            "exceeded maximum resolution of {steps_max} points per time series. Try increasing \
             the value of the step parameter"
        )));
    }
    let steps: Vec<i64> = (0..count).map(|i| start.0 + i * step_ns).collect();
    let mut evaluation =
        Evaluation { source, context, steps, stats: QueryStats::default(), is_instant: false };
    let table = evaluation.eval(expr)?;
    let times = |values: Vec<Option<f64>>| -> Vec<(TimestampNs, f64)> {
        evaluation
            .steps
            .iter()
            .zip(values)
            .filter_map(|(t, v)| Some((TimestampNs(*t), v?)))
            .collect()
    };
    let mut matrix: Vec<MatrixSeries> = match table {
        Table::Scalar(value) => vec![MatrixSeries {
            labels: Labels::default(),
            points: times(vec![Some(value); evaluation.steps.len()]),
        }],
        Table::Vector(series) => series
            .into_iter()
            .map(|s| MatrixSeries { labels: s.labels, points: times(s.values) })
            .filter(|s| !s.points.is_empty())
            .collect(),
    };
    matrix.sort_by(|a, b| a.labels.cmp(&b.labels));
    check_series(options, matrix.len())?;
    let mut stats = evaluation.stats;
    stats.returned = matrix.iter().map(|s| s.points.len() as u64).sum();
    Ok(QueryResult { value: Value::Matrix(matrix), stats })
}

fn check_series(options: &EngineOptions, count: usize) -> Result<(), EngineError> {
    if options.series_max > 0 && count > options.series_max {
        return Err(EngineError::Limit(format!(
            "maximum number of series ({}) reached for a single query",
            options.series_max
        )));
    }
    Ok(())
}

/// Whether the query orders its answer; arithmetic on top keeps the order.
fn is_sorted_by_value(expr: &MetricExpr) -> bool {
    match expr {
        MetricExpr::Vector(v) => matches!(
            v.op,
            VectorOp::Sort
                | VectorOp::SortDesc
                | VectorOp::TopK
                | VectorOp::BottomK
                | VectorOp::ApproxTopK
        ),
        MetricExpr::Binary(b) => is_sorted_by_value(&b.left) || is_sorted_by_value(&b.right),
        MetricExpr::LabelReplace(l) => is_sorted_by_value(&l.inner),
        MetricExpr::Range(_) | MetricExpr::Literal(_) | MetricExpr::Constant(_) => false,
    }
}

impl Evaluation<'_> {
    pub(crate) fn eval(&mut self, expr: &MetricExpr) -> Result<Table, EngineError> {
        match expr {
            MetricExpr::Literal(v) => Ok(Table::Scalar(*v)),
            MetricExpr::Constant(v) => Ok(Table::Vector(vec![Series {
                labels: Labels::default(),
                values: vec![Some(*v); self.steps.len()],
            }])),
            MetricExpr::Range(r) => Ok(Table::Vector(range_vector::eval(self, r, false)?)),
            MetricExpr::Vector(v) => {
                if v.op == VectorOp::ApproxTopK && !self.is_instant {
                    return Err(EngineError::Evaluation(
                        "approx_topk is only supported on instant queries".into(),
                    ));
                }
                // Grouping by the error label asks to see errors rather than to fail on them.
                let inner = match v.inner.as_ref() {
                    MetricExpr::Range(r) => {
                        let asks = aggregate::asks_for_errors(v, r);
                        Table::Vector(range_vector::eval(self, r, asks)?)
                    }
                    other => self.eval(other)?,
                };
                let series = match inner {
                    Table::Vector(series) => series,
                    Table::Scalar(value) => vec![Series {
                        labels: Labels::default(),
                        values: vec![Some(value); self.steps.len()],
                    }],
                };
                Ok(Table::Vector(aggregate::eval(v, series, self.steps.len())))
            }
            MetricExpr::Binary(b) => {
                let left = self.eval(&b.left)?;
                let right = self.eval(&b.right)?;
                binary::eval(b, left, right, self.steps.len())
            }
            MetricExpr::LabelReplace(l) => match self.eval(&l.inner)? {
                Table::Vector(series) => replace(l, series).map(Table::Vector),
                scalar @ Table::Scalar(_) => Ok(scalar),
            },
        }
    }
}

fn replace(l: &LabelReplace, mut series: Vec<Series>) -> Result<Vec<Series>, EngineError> {
    let regex = crate::regexp::compile(&format!("^(?:{})$", l.regex))
        .map_err(|e| EngineError::Evaluation(format!("invalid regex in label_replace: {e}")))?;
    for s in &mut series {
        let source = s.labels.get(&l.source).unwrap_or("");
        let Some(found) = regex.captures(source) else { continue };
        let mut value = String::new();
        found.expand(&l.replacement, &mut value);
        s.labels = s.labels.with(&l.destination, &value);
    }
    Ok(series)
}
