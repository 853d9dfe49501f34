//! Binary operators: of two values, of scalars, of a vector with a scalar.

use std::sync::Arc;

use obs_types::CounterResetHint;

use super::call::shared;
use super::{Evaluator, Matrix, Series, Steps, failed};
use crate::annotations::{Annotations, HistogramOp};
use crate::ast::*;
use crate::histogram::{Accumulator, compact, divide, same, scale, trim};
use crate::{EngineError, SampleValue};

pub(super) fn bool_float(b: bool) -> f64 {
    if b { 1.0 } else { 0.0 }
}

/// `(value, keep)`; a comparison gives the left side and whether it holds.
pub(super) fn floats(op: BinaryOp, l: f64, r: f64) -> (f64, bool) {
    match op {
        BinaryOp::Add => (l + r, true),
        BinaryOp::Sub => (l - r, true),
        BinaryOp::Mul => (l * r, true),
        BinaryOp::Div => (l / r, true),
        BinaryOp::Mod => (l % r, true),
        BinaryOp::Pow => (l.powf(r), true),
        BinaryOp::Atan2 => (l.atan2(r), true),
        BinaryOp::Eq => (l, l == r),
        BinaryOp::Ne => (l, l != r),
        BinaryOp::Lt => (l, l < r),
        BinaryOp::Le => (l, l <= r),
        BinaryOp::Gt => (l, l > r),
        BinaryOp::Ge => (l, l >= r),
        BinaryOp::TrimUpper
        | BinaryOp::TrimLower
        | BinaryOp::And
        | BinaryOp::Or
        | BinaryOp::Unless
        | BinaryOp::Default
        | BinaryOp::If
        | BinaryOp::IfNot => (l, false),
    }
}

/// One pair; `None` where the kinds do not go together, which is told.
pub(super) fn pair(
    op: BinaryOp,
    l: &SampleValue,
    r: &SampleValue,
    pos: PosRange,
    annos: &mut Annotations,
) -> Option<(SampleValue, bool)> {
    use SampleValue::{Float, Histogram};
    match (l, r) {
        (Float(_), Float(_)) if matches!(op, BinaryOp::TrimLower | BinaryOp::TrimUpper) => {
            annos.incompatible_types("float", op.as_str(), "float", pos);
            None
        }
        (Float(l), Float(r)) => {
            let (v, keep) = floats(op, *l, *r);
            Some((Float(v), keep))
        }
        (Float(f), Histogram(h)) => {
            if op != BinaryOp::Mul {
                annos.incompatible_types("float", op.as_str(), "histogram", pos);
                return None;
            }
            let mut h = h.as_ref().clone();
            scale(&mut h, *f);
            compact(&mut h);
            Some((shared(h), true))
        }
        (Histogram(h), Float(f)) => {
            let mut out = h.as_ref().clone();
            match op {
                BinaryOp::Mul => scale(&mut out, *f),
                BinaryOp::Div => divide(&mut out, *f),
                BinaryOp::TrimUpper => return Some((shared(trim(h, *f, true)), true)),
                BinaryOp::TrimLower => return Some((shared(trim(h, *f, false)), true)),
                _ => {
                    annos.incompatible_types("histogram", op.as_str(), "float", pos);
                    return None;
                }
            }
            compact(&mut out);
            Some((shared(out), true))
        }
        (Histogram(l), Histogram(r)) => match op {
            BinaryOp::Add | BinaryOp::Sub => {
                let mut acc = Accumulator::new(l);
                let (done, kind) = if op == BinaryOp::Add {
                    (acc.add(r), HistogramOp::Add)
                } else {
                    (acc.sub(r), HistogramOp::Sub)
                };
                let Ok(notes) = done else {
                    annos.incompatible_layout(op.as_str(), pos);
                    return None;
                };
                if notes.reset_collision {
                    annos.reset_collision(kind, pos);
                }
                if notes.bounds_reconciled {
                    annos.bounds_reconciled(kind, pos);
                }
                let mut h = acc.finish();
                if op == BinaryOp::Sub {
                    h.counter_reset_hint = CounterResetHint::Gauge;
                }
                Some((shared(h), true))
            }
            BinaryOp::Eq => Some((Histogram(Arc::clone(l)), same(l, r))),
            BinaryOp::Ne => Some((Histogram(Arc::clone(l)), !same(l, r))),
            _ => {
                annos.incompatible_types("histogram", op.as_str(), "histogram", pos);
                None
            }
        },
    }
}

impl Evaluator<'_> {
    pub(crate) fn binary(
        &mut self,
        b: &BinaryExpr,
        pos: PosRange,
        steps: Steps,
    ) -> Result<Matrix, EngineError> {
        if matches!(b.op, BinaryOp::TrimLower | BinaryOp::TrimUpper) {
            return self.with_whole_buckets(|ev| ev.binary_inner(b, pos, steps));
        }
        self.binary_inner(b, pos, steps)
    }

    fn binary_inner(
        &mut self,
        b: &BinaryExpr,
        pos: PosRange,
        steps: Steps,
    ) -> Result<Matrix, EngineError> {
        let scalar = |e: &Expr| e.value_type() == ValueType::Scalar;
        let keep_names = std::mem::take(&mut self.keep_names);
        match (scalar(&b.lhs), scalar(&b.rhs)) {
            (true, true) => {
                let l = self.eval(&b.lhs, steps)?;
                let r = self.eval(&b.rhs, steps)?;
                let (Some(l), Some(r)) = (l.first(), r.first()) else { return Ok(Vec::new()) };
                let points = l
                    .floats
                    .iter()
                    .zip(&r.floats)
                    .map(|((t, x), (_, y))| {
                        let (v, keep) = floats(b.op, *x, *y);
                        (*t, if b.op.is_comparison() { bool_float(keep) } else { v })
                    })
                    .collect();
                Ok(vec![Series { floats: points, ..Series::default() }])
            }
            (false, false) => match &b.matching {
                Some(m) if b.op.is_conditional() => self.conditional(b, m, steps),
                Some(m) if b.op.is_set() => self.set_op(b, m, steps),
                Some(m) => self.vectors(b, m, pos, steps, keep_names),
                None => failed("vector matching is missing"),
            },
            (swap, _) => self.vector_scalar(b, swap, pos, steps),
        }
    }

    /// Series by series; `swap` when the scalar is on the left.
    fn vector_scalar(
        &mut self,
        b: &BinaryExpr,
        swap: bool,
        pos: PosRange,
        steps: Steps,
    ) -> Result<Matrix, EngineError> {
        let l = self.eval(&b.lhs, steps)?;
        let r = self.eval(&b.rhs, steps)?;
        let (matrix, scalar) = if swap { (r, l) } else { (l, r) };
        let scalars: Vec<f64> =
            scalar.first().map(|s| s.floats.iter().map(|p| p.1).collect()).unwrap_or_default();
        self.with_scalar(b, (swap, pos), steps, matrix, &scalars)
    }

    /// `scalars` has a value for each step.
    pub(super) fn with_scalar(
        &mut self,
        b: &BinaryExpr,
        (swap, pos): (bool, PosRange),
        steps: Steps,
        matrix: Matrix,
        scalars: &[f64],
    ) -> Result<Matrix, EngineError> {
        let mut out = Vec::with_capacity(matrix.len());
        for s in matrix {
            let mut next = Series { labels: s.labels, drop_name: s.drop_name, ..Series::default() };
            let floats = s.floats.into_iter().map(|(t, v)| (t, SampleValue::Float(v)));
            let hists = s.hists.into_iter().map(|(t, h)| (t, SampleValue::Histogram(h)));
            for (t, own) in floats.chain(hists) {
                let k =
                    SampleValue::Float(scalars.get(steps.index(t)).copied().unwrap_or(f64::NAN));
                let (x, y) = if swap { (&k, &own) } else { (&own, &k) };
                let Some((mut value, keep)) = pair(b.op, x, y, pos, &mut self.annos) else {
                    continue;
                };
                // A comparison keeps the vector's value, on whichever side it stands.
                if b.op.is_comparison() && swap {
                    value = own;
                }
                if b.return_bool {
                    value = SampleValue::Float(bool_float(keep));
                } else if !keep {
                    continue;
                }
                next.push(t, value);
            }
            if next.len() > 0 {
                out.push(next);
            }
        }
        if b.op.changes_schema() || b.return_bool {
            return self.names_dropped(out);
        }
        Ok(out)
    }
}
