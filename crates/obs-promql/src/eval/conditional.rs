//! MetricsQL's `default`, `if` and `ifnot`: the left side with gaps filled or made.

use std::collections::HashMap;

use obs_types::{LabelSet, METRIC_NAME};

use super::rollup::{is_number, settled};
use super::{Evaluator, Matrix, Series, StepBits, Steps, total};
use crate::EngineError;
use crate::ast::*;

impl Evaluator<'_> {
    pub(super) fn conditional(
        &mut self,
        b: &BinaryExpr,
        m: &VectorMatching,
        steps: Steps,
    ) -> Result<Matrix, EngineError> {
        let mut left = settled(self.eval(&b.lhs, steps)?);
        let right = settled(self.eval(&b.rhs, steps)?);
        let held = total(&left) + total(&right);
        if b.op == BinaryOp::Default && left.is_empty() {
            return Ok(right);
        }
        let names: Vec<&str> = m.labels.iter().map(String::as_str).chain([METRIC_NAME]).collect();
        let key = |s: &Series| {
            if m.on { s.labels.keep(&names) } else { s.labels.without(&names) }
        };
        let mut by_key: HashMap<LabelSet, Vec<&Series>> = HashMap::new();
        for s in &right {
            by_key.entry(key(s)).or_default().push(s);
        }
        // A number goes with every series.
        let number = match right.as_slice() {
            [only] if is_number(only) => Some(vec![only]),
            _ => None,
        };
        left.retain_mut(|s| {
            let others = by_key.get(&key(s)).or(number.as_ref());
            let others = others.map_or(&[][..], Vec::as_slice);
            match b.op {
                BinaryOp::Default => fill(s, others, steps),
                _ => keep(s, others, b.op == BinaryOp::If, steps),
            }
            s.len() > 0
        });
        self.release(held);
        self.hold(total(&left))?;
        Ok(left)
    }
}

/// Fills the gaps of a series from the first of the others that has a value.
fn fill(s: &mut Series, others: &[&Series], steps: Steps) {
    for other in others {
        let mut known = StepBits::default();
        known.grow(steps);
        for i in steps.places(s.floats.iter().map(|p| p.0)) {
            known.set(i);
        }
        let places = steps.places(other.floats.iter().map(|p| p.0));
        let missing: Vec<(i64, f64)> =
            places.zip(&other.floats).filter(|(i, _)| !known.get(*i)).map(|(_, p)| *p).collect();
        if !missing.is_empty() {
            s.floats.extend(missing);
            s.floats.sort_by_key(|p| p.0);
        }
    }
}

/// Keeps the points at which some of the others has (`present`) or none has a value.
fn keep(s: &mut Series, others: &[&Series], present: bool, steps: Steps) {
    let mut there = StepBits::default();
    there.grow(steps);
    for other in others {
        let floats = other.floats.iter().map(|p| p.0);
        let hists = other.hists.iter().map(|p| p.0);
        for i in steps.places(floats).chain(steps.places(hists)) {
            there.set(i);
        }
    }
    let mut walk = steps.walk();
    s.floats.retain(|(t, _)| there.get(walk.place(*t)) == present);
    let mut walk = steps.walk();
    s.hists.retain(|(t, _)| there.get(walk.place(*t)) == present);
}
