//! Operators between numbers and vectors.

use std::collections::HashMap;

use super::metric::{Series, Table};
use crate::ast::{BinaryExpr, BinaryOp, Cardinality, VectorMatching};
use crate::error::EngineError;
use crate::labels::Labels;

/// Arithmetic, or 1 and 0 for a comparison.
pub(crate) fn binary_value(op: BinaryOp, left: f64, right: f64) -> f64 {
    match op {
        BinaryOp::Add => left + right,
        BinaryOp::Sub => left - right,
        BinaryOp::Mul => left * right,
        // LogQL defines division by zero as NaN, unlike PromQL.
        BinaryOp::Div | BinaryOp::Mod if right == 0.0 => f64::NAN,
        BinaryOp::Div => left / right,
        BinaryOp::Mod => left % right,
        BinaryOp::Pow => left.powf(right),
        BinaryOp::Compare(op) => f64::from(u8::from(op.holds(left, right))),
        BinaryOp::Or | BinaryOp::And | BinaryOp::Unless => f64::NAN,
    }
}

/// The point of a pair of values; `kept` is what a filtering comparison passes on.
fn point(expr: &BinaryExpr, left: f64, right: f64, kept: f64) -> Option<f64> {
    let value = binary_value(expr.op, left, right);
    match expr.op {
        BinaryOp::Compare(_) if !expr.return_bool => (value == 1.0).then_some(kept),
        _ => Some(value),
    }
}

pub(crate) fn eval(
    expr: &BinaryExpr,
    left: Table,
    right: Table,
    steps: usize,
) -> Result<Table, EngineError> {
    Ok(match (left, right) {
        (Table::Scalar(l), Table::Scalar(r)) => Table::Scalar(binary_value(expr.op, l, r)),
        (Table::Vector(series), Table::Scalar(r)) => {
            Table::Vector(map(series, |v| point(expr, v, r, v)))
        }
        (Table::Scalar(l), Table::Vector(series)) => {
            Table::Vector(map(series, |v| point(expr, l, v, v)))
        }
        (Table::Vector(l), Table::Vector(r)) if expr.op.is_set() => {
            Table::Vector(set_operation(expr, l, r, steps))
        }
        (Table::Vector(l), Table::Vector(r)) => Table::Vector(match expr.matching.cardinality {
            Cardinality::OneToMany => join(expr, &r, &l, true, steps)?,
            _ => join(expr, &l, &r, false, steps)?,
        }),
    })
}

fn map(series: Vec<Series>, f: impl Fn(f64) -> Option<f64>) -> Vec<Series> {
    series
        .into_iter()
        .map(|s| Series {
            labels: s.labels,
            values: s.values.into_iter().map(|v| v.and_then(&f)).collect(),
        })
        .filter(|s| s.values.iter().any(Option::is_some))
        .collect()
}

/// What two series must share to belong together.
fn signature(matching: &VectorMatching, labels: &Labels) -> Labels {
    if matching.on { labels.keep(&matching.labels) } else { labels.without(&matching.labels) }
}

fn set_operation(
    expr: &BinaryExpr,
    left: Vec<Series>,
    right: Vec<Series>,
    steps: usize,
) -> Vec<Series> {
    let (kept, others) = match expr.op {
        BinaryOp::Or => (&left, right.clone()),
        _ => (&right, Vec::new()),
    };
    let mut present: HashMap<Labels, Vec<bool>> = HashMap::new();
    for s in kept {
        let seen = present
            .entry(signature(&expr.matching, &s.labels))
            .or_insert_with(|| vec![false; steps]);
        for (flag, value) in seen.iter_mut().zip(&s.values) {
            *flag |= value.is_some();
        }
    }
    let filter = |series: Vec<Series>, wanted: bool| -> Vec<Series> {
        series
            .into_iter()
            .filter_map(|s| {
                let seen = present.get(&signature(&expr.matching, &s.labels));
                let values: Vec<Option<f64>> = s
                    .values
                    .iter()
                    .enumerate()
                    .map(|(i, v)| {
                        let is_there = seen.and_then(|f| f.get(i)).copied().unwrap_or(false);
                        v.filter(|_| is_there == wanted)
                    })
                    .collect();
                let any = values.iter().any(Option::is_some);
                any.then_some(Series { labels: s.labels, values })
            })
            .collect()
    };
    match expr.op {
        BinaryOp::And => filter(left, true),
        BinaryOp::Unless => filter(left, false),
        _ => {
            let added = filter(others, false);
            merge(left, added)
        }
    }
}

/// Joins series that have one label set, as `or` makes them when each side is there at times.
fn merge(left: Vec<Series>, added: Vec<Series>) -> Vec<Series> {
    let mut index: HashMap<Labels, usize> = HashMap::new();
    let mut out = left;
    for (i, s) in out.iter().enumerate() {
        index.entry(s.labels.clone()).or_insert(i);
    }
    for s in added {
        match index.get(&s.labels).and_then(|i| out.get_mut(*i)) {
            Some(existing) => {
                for (slot, value) in existing.values.iter_mut().zip(s.values) {
                    *slot = slot.or(value);
                }
            }
            None => {
                index.insert(s.labels.clone(), out.len());
                out.push(s);
            }
        }
    }
    out
}

/// One-to-one and many-to-one matching. `swapped` says that `many` is the right operand.
fn join(
    expr: &BinaryExpr,
    many: &[Series],
    one: &[Series],
    swapped: bool,
    steps: usize,
) -> Result<Vec<Series>, EngineError> {
    let matching = &expr.matching;
    let mut by_signature: HashMap<Labels, Vec<&Series>> = HashMap::new();
    for s in one {
        by_signature.entry(signature(matching, &s.labels)).or_default().push(s);
    }
    let many: Vec<(&Series, Labels)> =
        many.iter().map(|s| (s, signature(matching, &s.labels))).collect();
    let mut index: HashMap<Labels, usize> = HashMap::new();
    let mut out: Vec<Series> = Vec::new();
    for step in 0..steps {
        let at = |s: &Series| s.values.get(step).copied().flatten();
        // Signatures of this step on the "one" side must be unique.
        let mut partner: HashMap<&Labels, (&Series, f64)> = HashMap::new();
        for s in one {
            let Some(value) = at(s) else { continue };
            let key = by_signature.get_key_value(&signature(matching, &s.labels)).map(|(k, _)| k);
            let Some(key) = key else { continue };
            if let Some((other, _)) = partner.insert(key, (s, value)) {
                return Err(duplicate(key, other, s, if swapped { "left" } else { "right" }));
            }
        }
        let mut matched: HashMap<&Labels, ()> = HashMap::new();
        let mut made: HashMap<Labels, ()> = HashMap::new();
        for (s, key) in &many {
            let Some(many_value) = at(s) else { continue };
            let Some((one_series, one_value)) = partner.get(key).copied() else { continue };
            let (left, right) =
                if swapped { (one_value, many_value) } else { (many_value, one_value) };
            let Some(value) = point(expr, left, right, left) else {
                continue;
            };
            let labels = result_labels(matching, &s.labels, &one_series.labels);
            if matching.cardinality == Cardinality::OneToOne {
                if matched.insert(key, ()).is_some() {
                    return Err(EngineError::Evaluation(
                        "multiple matches for labels: many-to-one matching must be explicit \
                         (group_left/group_right)"
                            .into(),
                    ));
                }
            } else if made.insert(labels.clone(), ()).is_some() {
                return Err(EngineError::Evaluation(
                    "multiple matches for labels: grouping labels must ensure unique matches"
                        .into(),
                ));
            }
            let at = *index.entry(labels).or_insert_with_key(|labels| {
                out.push(Series { labels: labels.clone(), values: vec![None; steps] });
                out.len() - 1
            });
            if let Some(slot) = out.get_mut(at).and_then(|s| s.values.get_mut(step)) {
                *slot = Some(value);
            }
        }
    }
    Ok(out)
}

fn duplicate(key: &Labels, a: &Series, b: &Series, side: &str) -> EngineError {
    EngineError::Evaluation(format!(
        "found duplicate series on the {side} hand-side;many-to-many matching not allowed: \
         matching labels must be unique on one side (match group {key}: {} and {})",
        a.labels, b.labels
    ))
}

fn result_labels(matching: &VectorMatching, many: &Labels, one: &Labels) -> Labels {
    if matching.cardinality == Cardinality::OneToOne {
        return signature(matching, many);
    }
    matching
        .include
        .iter()
        .fold(many.clone(), |labels, name| labels.with(name, one.get(name).unwrap_or("")))
}
