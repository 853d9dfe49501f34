use std::cmp::Ordering;
use std::collections::BTreeMap;

use obs_types::{AttrValue, TimestampMs, TraceId};

use crate::TraceQlError;
use crate::ast::{FieldOp, MetricsExpr, Static};
use crate::value::fulfils;

/// One time series of a metrics query.
#[derive(Clone, Debug, PartialEq)]
pub struct MetricSeries {
    /// In the order of by(), then what the function adds: `p` for quantiles, `__bucket` for
    /// histograms, `__meta_type` for compare(). A lone series is labelled `__name__`.
    pub labels: Vec<(String, AttrValue)>,
    /// Ascending; steps without a value are left out.
    pub samples: Vec<(TimestampMs, f64)>,
    pub exemplars: Vec<MetricExemplar>,
}

/// A trace behind a sample.
#[derive(Clone, Debug, PartialEq)]
pub struct MetricExemplar {
    pub timestamp: TimestampMs,
    pub value: f64,
    pub trace_id: TraceId,
}

/// Series by the text of their labels, so that every answer is sorted.
pub(crate) type SeriesMap = BTreeMap<String, MetricSeries>;

/// The text by which series are joined: their labels without the name.
pub(crate) fn key_of(labels: &[(String, AttrValue)]) -> String {
    let mut parts: Vec<String> = labels
        .iter()
        .filter(|(name, _)| name != "__name__")
        .map(|(name, value)| format!("{name:?}={value:?}"))
        .collect();
    parts.sort_unstable();
    parts.join(",")
}

/// Keeps at each instant the `count` largest (or smallest) samples; the smaller key wins a tie.
pub(crate) fn rank(series: SeriesMap, bottom: bool, count: usize) -> SeriesMap {
    let mut by_time: BTreeMap<TimestampMs, Vec<(f64, &str)>> = BTreeMap::new();
    for (key, s) in &series {
        for (t, v) in &s.samples {
            by_time.entry(*t).or_default().push((*v, key));
        }
    }
    let mut kept: BTreeMap<String, Vec<(TimestampMs, f64)>> = BTreeMap::new();
    for (t, mut values) in by_time {
        values.sort_by(|a, b| {
            let order = a.0.total_cmp(&b.0);
            (if bottom { order } else { order.reverse() }).then_with(|| a.1.cmp(b.1))
        });
        for (v, key) in values.into_iter().take(count) {
            kept.entry(key.to_owned()).or_default().push((t, v));
        }
    }
    series
        .into_iter()
        .filter_map(|(key, mut s)| {
            s.samples = kept.remove(&key)?;
            Some((key, s))
        })
        .collect()
}

/// Drops the samples that do not fulfil the comparison, and series without samples.
pub(crate) fn filter(series: SeriesMap, op: FieldOp, value: &Static) -> SeriesMap {
    let limit = scalar(value);
    keep_samples(series, |v| v.partial_cmp(&limit).is_some_and(|o: Ordering| fulfils(op, o)))
}

fn keep_samples(mut series: SeriesMap, keep: impl Fn(f64) -> bool) -> SeriesMap {
    series.retain(|_, s| {
        s.samples.retain(|(_, v)| keep(*v));
        !s.samples.is_empty()
    });
    series
}

/// Durations count in seconds, like the values they are compared with.
fn scalar(value: &Static) -> f64 {
    match value {
        Static::Int(v) => *v as f64,
        Static::Float(v) => *v,
        Static::Duration(ns) => *ns as f64 / 1e9,
        _ => f64::NAN,
    }
}

fn apply(op: FieldOp, a: f64, b: f64) -> f64 {
    match op {
        FieldOp::Add => a + b,
        FieldOp::Sub => a - b,
        FieldOp::Mul => a * b,
        FieldOp::Div => a / b,
        _ => f64::NAN,
    }
}

/// Arithmetic between series with the same labels at the same instants, or with a number. Samples
/// that are not a number (0/0) are dropped.
pub(crate) fn arithmetic(
    op: FieldOp,
    left: &MetricsExpr,
    right: &MetricsExpr,
    eval: &mut dyn FnMut(&MetricsExpr) -> Result<SeriesMap, TraceQlError>,
) -> Result<SeriesMap, TraceQlError> {
    let map = |series: SeriesMap, f: &dyn Fn(f64) -> f64| {
        let mut series = series;
        for s in series.values_mut() {
            s.samples.iter_mut().for_each(|(_, v)| *v = f(*v));
        }
        series
    };
    let result = match (left, right) {
        (MetricsExpr::Scalar(a), right) => {
            let a = scalar(a);
            map(eval(right)?, &|v| apply(op, a, v))
        }
        (left, MetricsExpr::Scalar(b)) => {
            let b = scalar(b);
            map(eval(left)?, &|v| apply(op, v, b))
        }
        (left, right) => {
            let (left, right) = (eval(left)?, eval(right)?);
            let mut out = SeriesMap::new();
            for (key, mut s) in left {
                let Some(other) = right.get(&key) else { continue };
                let values: BTreeMap<TimestampMs, f64> = other.samples.iter().copied().collect();
                s.samples = s
                    .samples
                    .iter()
                    .filter_map(|(t, v)| values.get(t).map(|w| (*t, apply(op, *v, *w))))
                    .collect();
                s.labels.retain(|(name, _)| name != "__name__");
                out.insert(key, s);
            }
            out
        }
    };
    Ok(keep_samples(result, |v| !v.is_nan()))
}
