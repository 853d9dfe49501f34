//! Aggregations that MetricsQL has beyond PromQL's, over series of floats.

use obs_types::LabelSet;

use super::vmrange::histogram_of;
use super::{Evaluator, Matrix, Series, Steps};
use crate::EngineError;
use crate::ast::*;
use crate::functions::rollup;

/// One group: its labels and its series.
pub(super) struct Members<'a> {
    pub(super) labels: LabelSet,
    pub(super) series: Vec<&'a Series>,
}

impl Evaluator<'_> {
    pub(super) fn extra_aggregate(
        &mut self,
        op: ExtraAggregate,
        param: f64,
        remainder: Option<&str>,
        groups: Vec<Members<'_>>,
        steps: Steps,
    ) -> Result<Matrix, EngineError> {
        let mut out = Vec::new();
        for group in groups {
            self.check()?;
            match op {
                ExtraAggregate::Any => {
                    let first = group.series.iter().find(|s| !s.floats.is_empty());
                    out.extend(first.map(|s| (*s).clone()));
                }
                ExtraAggregate::Share | ExtraAggregate::Zscore => {
                    relate(op, &group, steps, &mut out);
                }
                ExtraAggregate::OutliersIqr | ExtraAggregate::OutliersMad => {
                    outliers(op, param, &group, steps, &mut out);
                }
                ExtraAggregate::Outliersk => farthest(param, &group, steps, &mut out),
                ExtraAggregate::Histogram => {
                    out.extend(histogram_of(&group.labels, &group.series, steps));
                }
                ExtraAggregate::Ranked { top, by } => {
                    ranked((top, by), param, remainder, group, steps, &mut out);
                }
                _ => {
                    let floats = values_by_step(&group.series, steps)
                        .into_iter()
                        .filter(|(_, v)| !v.is_empty())
                        .map(|(t, v)| (t, fold(op, &v)))
                        .collect();
                    out.push(Series { labels: group.labels, floats, ..Series::default() });
                }
            }
        }
        out.retain(|s| !s.floats.is_empty());
        Ok(out)
    }
}

fn fold(op: ExtraAggregate, values: &[f64]) -> f64 {
    match op {
        ExtraAggregate::Distinct => rollup::distinct(values),
        ExtraAggregate::Geomean => rollup::geomean(values),
        ExtraAggregate::Mad => rollup::mad(values),
        ExtraAggregate::Median => rollup::quantile(0.5, values),
        ExtraAggregate::Mode => rollup::mode(values),
        _ => values.iter().map(|v| v * v).sum(),
    }
}

/// The values of all series at each step.
fn values_by_step(series: &[&Series], steps: Steps) -> Vec<(i64, Vec<f64>)> {
    let mut out: Vec<(i64, Vec<f64>)> = steps.iter().map(|t| (t, Vec::new())).collect();
    for s in series {
        for (i, (_, v)) in steps.places(s.floats.iter().map(|p| p.0)).zip(&s.floats) {
            if let Some((_, values)) = out.get_mut(i) {
                values.push(*v);
            }
        }
    }
    out
}

/// Every series with its points changed by what is known of their step; NaN leaves a point out.
fn each_point<T>(
    group: &Members<'_>,
    steps: Steps,
    known: &[T],
    out: &mut Matrix,
    f: impl Fn(&T, f64) -> f64,
) {
    for s in &group.series {
        let mut next = Series { labels: s.labels.clone(), drop_name: true, ..Series::default() };
        for (i, (t, v)) in steps.places(s.floats.iter().map(|p| p.0)).zip(&s.floats) {
            let v = known.get(i).map_or(f64::NAN, |k| f(k, *v));
            if !v.is_nan() {
                next.floats.push((*t, v));
            }
        }
        out.push(next);
    }
}

fn relate(op: ExtraAggregate, group: &Members<'_>, steps: Steps, out: &mut Matrix) {
    let by_step = values_by_step(&group.series, steps);
    if op == ExtraAggregate::Share {
        let sums: Vec<f64> =
            by_step.iter().map(|(_, v)| v.iter().filter(|v| **v >= 0.0).sum()).collect();
        each_point(group, steps, &sums, out, |sum, v| if v < 0.0 { f64::NAN } else { v / sum });
    } else {
        let known: Vec<(f64, f64)> =
            by_step.iter().map(|(_, v)| (rollup::mean(v), rollup::stdvar(v).sqrt())).collect();
        each_point(group, steps, &known, out, |(mean, deviation), v| (v - mean) / deviation);
    }
}

/// Series with at least one point outside of what is usual at its step.
fn outliers(
    op: ExtraAggregate,
    tolerance: f64,
    group: &Members<'_>,
    steps: Steps,
    out: &mut Matrix,
) {
    let bounds: Vec<(f64, f64)> = values_by_step(&group.series, steps)
        .iter()
        .map(|(_, v)| {
            if op == ExtraAggregate::OutliersMad {
                let (median, reach) = (rollup::quantile(0.5, v), tolerance * rollup::mad(v));
                return (median - reach, median + reach);
            }
            let (low, high) = (rollup::quantile(0.25, v), rollup::quantile(0.75, v));
            let reach = 1.5 * (high - low);
            (low - reach, high + reach)
        })
        .collect();
    out.extend(group.series.iter().filter_map(|s| {
        let outside = steps
            .places(s.floats.iter().map(|p| p.0))
            .zip(&s.floats)
            .any(|(i, (_, v))| bounds.get(i).is_some_and(|(low, high)| v < low || v > high));
        outside.then(|| (*s).clone())
    }));
}

/// The `k` series that stay farthest from the median of the group.
fn farthest(k: f64, group: &Members<'_>, steps: Steps, out: &mut Matrix) {
    let medians: Vec<f64> = values_by_step(&group.series, steps)
        .iter()
        .map(|(_, v)| rollup::quantile(0.5, v))
        .collect();
    let mut distances: Vec<(f64, &Series)> = group
        .series
        .iter()
        .map(|s| {
            let places = steps.places(s.floats.iter().map(|p| p.0));
            let squares = places.zip(&s.floats).map(|(i, (_, v))| {
                let d = v - medians.get(i).copied().unwrap_or(f64::NAN);
                d * d
            });
            (squares.sum(), *s)
        })
        .collect();
    distances.sort_by(|a, b| b.0.total_cmp(&a.0));
    out.extend(distances.into_iter().take(k.max(0.0) as usize).map(|(_, s)| s.clone()));
}

fn ranked(
    (top, by): (bool, RankBy),
    k: f64,
    remainder: Option<&str>,
    group: Members<'_>,
    steps: Steps,
    out: &mut Matrix,
) {
    let mut all: Vec<(f64, &Series)> = group
        .series
        .iter()
        .filter(|s| !s.floats.is_empty())
        .map(|s| {
            let values: Vec<f64> = s.floats.iter().map(|p| p.1).collect();
            let rank = match by {
                RankBy::Avg => rollup::mean(&values),
                RankBy::Last => values.last().copied().unwrap_or(f64::NAN),
                RankBy::Max => rollup::max(&values),
                RankBy::Median => rollup::quantile(0.5, &values),
                RankBy::Min => rollup::min(&values),
            };
            (rank, *s)
        })
        .collect();
    all.sort_by(|a, b| if top { b.0.total_cmp(&a.0) } else { a.0.total_cmp(&b.0) });
    let chosen = all.len().min(k.max(0.0) as usize);
    let (first, rest) = all.split_at_checked(chosen).unwrap_or((&all, &[]));
    out.extend(first.iter().map(|(_, s)| (*s).clone()));
    if let Some(remainder) = remainder {
        let rest: Vec<&Series> = rest.iter().map(|(_, s)| *s).collect();
        let floats: Vec<(i64, f64)> = values_by_step(&rest, steps)
            .into_iter()
            .filter(|(_, v)| !v.is_empty())
            .map(|(t, v)| (t, v.iter().sum()))
            .collect();
        let (label, value) = remainder.split_once('=').unwrap_or((remainder, remainder));
        let labels = group.labels.with(label, value);
        out.push(Series { labels, floats, ..Series::default() });
    }
}
