//! Binary operators.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use obs_types::{CounterResetHint, LabelSet, METRIC_NAME};

use super::call::shared;
use super::{Evaluator, Matrix, Sample, Series, Steps, drop_metadata, failed};
use crate::annotations::{Annotations, HistogramOp};
use crate::ast::*;
use crate::histogram::{Accumulator, compact, divide, same, scale, trim};
use crate::{EngineError, SampleValue};

fn bool_float(b: bool) -> f64 {
    if b { 1.0 } else { 0.0 }
}

/// `(value, keep)`; a comparison gives the left side and whether it holds.
fn floats(op: BinaryOp, l: f64, r: f64) -> (f64, bool) {
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
        | BinaryOp::Unless => (l, false),
    }
}

/// One pair; `None` where the kinds do not go together, which is told.
fn pair(
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

/// All labels in braces, the name among them.
fn all_labels(l: &LabelSet) -> String {
    let parts: Vec<String> =
        l.iter().map(|(n, v)| format!("{n}={}", crate::text::quote(v))).collect();
    format!("{{{}}}", parts.join(", "))
}

/// The labels by which series find each other.
fn signature(l: &LabelSet, m: &VectorMatching) -> LabelSet {
    let mut names: Vec<&str> = m.labels.iter().map(String::as_str).collect();
    if m.on {
        l.keep(&names)
    } else {
        names.push(METRIC_NAME);
        l.without(&names)
    }
}

/// Remembers signatures and result labels over the steps.
#[derive(Default)]
struct Memo {
    signatures: HashMap<LabelSet, LabelSet>,
    results: HashMap<(LabelSet, LabelSet), LabelSet>,
}

impl Memo {
    fn signature(&mut self, l: &LabelSet, m: &VectorMatching) -> LabelSet {
        if let Some(s) = self.signatures.get(l) {
            return s.clone();
        }
        let s = signature(l, m);
        self.signatures.insert(l.clone(), s.clone());
        s
    }

    fn result(
        &mut self,
        many: &LabelSet,
        one: &LabelSet,
        m: &VectorMatching,
        nameless: bool,
    ) -> LabelSet {
        let key = (many.clone(), one.clone());
        if let Some(l) = self.results.get(&key) {
            return l.clone();
        }
        let mut l = if nameless { drop_metadata(many) } else { many.clone() };
        if m.card == Cardinality::OneToOne {
            let names: Vec<&str> = m.labels.iter().map(String::as_str).collect();
            l = if m.on { l.keep(&names) } else { l.without(&names) };
        }
        if !m.include.is_empty() {
            let mut b = l.to_builder();
            for name in &m.include {
                match one.get(name) {
                    Some(v) => b.set(name.as_str(), v),
                    None => b.remove(name),
                };
            }
            l = b.build();
        }
        self.results.insert(key, l.clone());
        l
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
                Some(m) if b.op.is_set() => self.set_op(b, m, steps),
                Some(m) => self.vectors(b, m, pos, steps),
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

    fn set_op(
        &mut self,
        b: &BinaryExpr,
        m: &VectorMatching,
        steps: Steps,
    ) -> Result<Matrix, EngineError> {
        let mut memo = Memo::default();
        self.by_step(&[&b.lhs, &b.rhs], steps, |_, _, v| {
            let [left, right] = v else { return Ok(Vec::new()) };
            let filter_by = if b.op == BinaryOp::Or { left } else { right };
            let present: HashSet<LabelSet> =
                filter_by.iter().map(|s| memo.signature(&s.labels, m)).collect();
            let mut out: Vec<Sample> = Vec::new();
            match b.op {
                BinaryOp::Or => {
                    out.extend(left.iter().cloned());
                    out.extend(
                        right
                            .iter()
                            .filter(|s| !present.contains(&memo.signature(&s.labels, m)))
                            .cloned(),
                    );
                }
                op => out.extend(
                    left.iter()
                        .filter(|s| {
                            present.contains(&memo.signature(&s.labels, m)) == (op == BinaryOp::And)
                        })
                        .cloned(),
                ),
            }
            Ok(out)
        })
    }

    fn vectors(
        &mut self,
        b: &BinaryExpr,
        m: &VectorMatching,
        pos: PosRange,
        steps: Steps,
    ) -> Result<Matrix, EngineError> {
        let mut memo = Memo::default();
        self.by_step(&[&b.lhs, &b.rhs], steps, |ev, _, v| {
            let [left, right] = v else { return Ok(Vec::new()) };
            ev.match_vectors(b, m, pos, left, right, &mut memo)
        })
    }

    fn match_vectors(
        &mut self,
        b: &BinaryExpr,
        m: &VectorMatching,
        pos: PosRange,
        left: &[Sample],
        right: &[Sample],
        memo: &mut Memo,
    ) -> Result<Vec<Sample>, EngineError> {
        let filled = m.fill_left.is_some() || m.fill_right.is_some();
        if left.is_empty() && right.is_empty() || !filled && (left.is_empty() || right.is_empty()) {
            return Ok(Vec::new());
        }
        // The right side is the "one" from here on; values are swapped back below.
        let swapped = m.card == Cardinality::OneToMany;
        let (many, one) = if swapped { (right, left) } else { (left, right) };
        let mut by_signature: HashMap<LabelSet, &Sample> = HashMap::with_capacity(one.len());
        for s in one {
            let sig = memo.signature(&s.labels, m);
            if let Some(other) = by_signature.get(&sig) {
                let mut both = [all_labels(&s.labels), all_labels(&other.labels)];
                both.sort();
                let side = if swapped { "left" } else { "right" };
                return failed(format!(
                    "found duplicate series for the match group {} on the {side} hand-side of \
                     the operation: [{}, {}];many-to-many matching not allowed: matching labels \
                     must be unique on one side",
                    all_labels(&sig),
                    both[0],
                    both[1]
                ));
            }
            by_signature.insert(sig, s);
        }
        let mut matched: HashMap<LabelSet, HashSet<LabelSet>> = HashMap::new();
        let mut out = Vec::with_capacity(many.len());
        let nameless = b.op.changes_schema() || !self.options.delayed_name_removal && b.return_bool;
        let mut combine = |ls: &Sample, rs: &Sample, sig: LabelSet, memo: &mut Memo| {
            let (x, y) = if swapped { (&rs.value, &ls.value) } else { (&ls.value, &rs.value) };
            let Some((mut value, keep)) = pair(b.op, x, y, pos, &mut self.annos) else {
                return Ok(());
            };
            if b.return_bool {
                value = SampleValue::Float(bool_float(keep));
            }
            let labels = memo.result(&ls.labels, &rs.labels, m, nameless);
            let inserted = matched.entry(sig).or_default();
            if m.card == Cardinality::OneToOne && !inserted.is_empty() {
                return failed(
                    "multiple matches for labels: many-to-one matching must be explicit \
                     (group_left/group_right)",
                );
            }
            if !inserted.insert(labels.clone()) {
                return failed(
                    "multiple matches for labels: grouping labels must ensure unique matches",
                );
            }
            if keep || b.return_bool {
                out.push(Sample { labels, drop_name: b.return_bool, value });
            }
            Ok(())
        };
        let fill = |l: &LabelSet, v: f64| Sample {
            labels: signature(l, m),
            drop_name: false,
            value: SampleValue::Float(v),
        };
        // With swapped sides the fill values keep the meaning of the evaluation's "one" and
        // "many" side.
        for ls in many {
            let sig = memo.signature(&ls.labels, m);
            match (by_signature.get(&sig), m.fill_right) {
                (Some(rs), _) => combine(ls, rs, sig, memo)?,
                (None, Some(v)) => combine(ls, &fill(&ls.labels, v), sig, memo)?,
                (None, None) => {}
            }
        }
        if let Some(v) = m.fill_left {
            let left_over: Vec<(&Sample, LabelSet)> =
                one.iter().map(|s| (s, memo.signature(&s.labels, m))).collect();
            let present: HashSet<LabelSet> =
                many.iter().map(|s| memo.signature(&s.labels, m)).collect();
            for (rs, sig) in left_over {
                if !present.contains(&sig) {
                    combine(&fill(&rs.labels, v), rs, sig, memo)?;
                }
            }
        }
        Ok(out)
    }
}
