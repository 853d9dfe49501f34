//! Vector aggregations, step by step over the series.

use std::cmp::Ordering;
use std::collections::HashMap;

use super::metric::Series;
use super::range::{mean, variance};
use crate::ast::{Grouping, LabelFilter, RangeAggregation, Stage, VectorAggregation, VectorOp};
use crate::labels::Labels;
use crate::pipe::ERROR_LABEL;

/// Whether the query groups by, or filters and groups, the error label: then errors are data.
pub(crate) fn asks_for_errors(outer: &VectorAggregation, inner: &RangeAggregation) -> bool {
    let Some(g) = outer.grouping.as_ref().filter(|g| !g.without && !g.labels.is_empty()) else {
        return false;
    };
    g.labels.iter().any(|l| l == ERROR_LABEL)
        || inner.range.log.stages.iter().any(|s| match s {
            Stage::LabelFilter(f) => names_error(f),
            _ => false,
        })
}

fn names_error(filter: &LabelFilter) -> bool {
    match filter {
        LabelFilter::Matcher(m) => m.name() == ERROR_LABEL,
        LabelFilter::And(a, b) | LabelFilter::Or(a, b) => names_error(a) || names_error(b),
        _ => false,
    }
}

fn group_labels(grouping: Option<&Grouping>, labels: &Labels) -> Labels {
    match grouping {
        None => Labels::default(),
        Some(g) if g.without => labels.without(&g.labels),
        Some(g) => labels.keep(&g.labels),
    }
}

pub(crate) fn eval(v: &VectorAggregation, series: Vec<Series>, steps: usize) -> Vec<Series> {
    match v.op {
        VectorOp::Sort => return sorted(series, false),
        VectorOp::SortDesc => return sorted(series, true),
        _ => {}
    }
    let mut index: HashMap<Labels, usize> = HashMap::new();
    let mut groups: Vec<(Labels, Vec<Series>)> = Vec::new();
    for s in series {
        let labels = group_labels(v.grouping.as_ref(), &s.labels);
        let at = *index.entry(labels).or_insert_with_key(|labels| {
            groups.push((labels.clone(), Vec::new()));
            groups.len() - 1
        });
        if let Some(group) = groups.get_mut(at) {
            group.1.push(s);
        }
    }
    groups.sort_by(|a, b| a.0.cmp(&b.0));
    if v.op.takes_parameter() {
        let largest = v.op != VectorOp::BottomK;
        return groups
            .into_iter()
            .flat_map(|(_, members)| top(members, v.parameter, largest, steps))
            .collect();
    }
    groups
        .into_iter()
        .map(|(labels, members)| {
            let values = (0..steps).map(|step| {
                let mut present =
                    members.iter().filter_map(|s| s.values.get(step).copied().flatten()).peekable();
                present.peek()?;
                Some(reduce(v.op, present))
            });
            Series { values: values.collect(), labels }
        })
        .collect()
}

/// `values` has at least one.
fn reduce(op: VectorOp, mut values: impl Iterator<Item = f64>) -> f64 {
    match op {
        VectorOp::Sum => values.sum(),
        VectorOp::Avg => mean(values),
        VectorOp::Count => values.count() as f64,
        VectorOp::Max => {
            let first = values.next().unwrap_or(f64::NAN);
            values.fold(first, |a, v| if v > a || a.is_nan() { v } else { a })
        }
        VectorOp::Min => {
            let first = values.next().unwrap_or(f64::NAN);
            values.fold(first, |a, v| if v < a || a.is_nan() { v } else { a })
        }
        VectorOp::Stdvar => variance(values),
        VectorOp::Stddev => variance(values).sqrt(),
        VectorOp::BottomK
        | VectorOp::TopK
        | VectorOp::Sort
        | VectorOp::SortDesc
        | VectorOp::ApproxTopK => f64::NAN,
    }
}

/// Order by value with NaN last, whichever end comes first.
fn by_value(a: f64, b: f64, descending: bool) -> Ordering {
    match a.partial_cmp(&b) {
        Some(o) if descending => o.reverse(),
        Some(o) => o,
        None => a.is_nan().cmp(&b.is_nan()),
    }
}

/// Keeps, per step, the points of the k best series; ties go to the smaller label set. The series
/// come in order of their value at the first step.
fn top(mut members: Vec<Series>, k: usize, largest: bool, steps: usize) -> Vec<Series> {
    members.sort_by(|a, b| a.labels.cmp(&b.labels));
    for step in 0..steps {
        let mut order: Vec<(usize, f64)> = members
            .iter()
            .enumerate()
            .filter_map(|(i, s)| Some((i, s.values.get(step).copied().flatten()?)))
            .collect();
        order.sort_by(|a, b| by_value(a.1, b.1, largest));
        for (i, _) in order.iter().skip(k) {
            if let Some(value) = members.get_mut(*i).and_then(|s| s.values.get_mut(step)) {
                *value = None;
            }
        }
    }
    members.retain(|s| s.values.iter().any(Option::is_some));
    sorted(members, largest)
}

fn sorted(mut series: Vec<Series>, descending: bool) -> Vec<Series> {
    series.sort_by(|a, b| {
        let value = |s: &Series| s.values.first().copied().flatten().unwrap_or(f64::NAN);
        by_value(value(a), value(b), descending).then_with(|| a.labels.cmp(&b.labels))
    });
    series
}
