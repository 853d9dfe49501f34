//! Operators between two vectors.
//!
//! Which series can meet depends on labels alone, so it is settled once: every series gets the
//! number of its match group. Then
//! 1. a set operator keeps the points at which its group is (not) present on the other side;
//! 2. another operator joins, group by group, the columns of the "many" side with the one series
//!    of the other; only groups with several candidates, or with fill values, go step by step.
//!
//! On the query path: no hashing and no allocation per step outside of step-by-step groups.

use std::collections::HashMap;

use obs_types::{LabelSet, METRIC_NAME};

use super::binary::{bool_float, floats, pair};
use super::rollup::{is_number, settled};
use super::{
    Cursor, Evaluator, Matrix, Series, StepBits, Steps, drop_metadata, failed, merge_same, total,
};
use crate::ast::*;
use crate::{EngineError, SampleValue};

/// All labels in braces, the name among them.
fn all_labels(l: &LabelSet) -> String {
    let parts: Vec<String> =
        l.iter().map(|(n, v)| format!("{n}={}", crate::text::quote(v))).collect();
    format!("{{{}}}", parts.join(", "))
}

/// The match groups of both sides.
#[derive(Debug)]
struct Groups {
    /// By series of the left side.
    left: Vec<usize>,
    right: Vec<usize>,
    /// The labels by which the series of a group find each other.
    labels: Vec<LabelSet>,
}

impl Groups {
    fn new(left: &[Series], right: &[Series], m: &VectorMatching) -> Self {
        let mut names: Vec<&str> = m.labels.iter().map(String::as_str).collect();
        if !m.on {
            names.push(METRIC_NAME);
        }
        let mut index: HashMap<LabelSet, usize> = HashMap::with_capacity(left.len());
        let mut labels: Vec<LabelSet> = Vec::new();
        let mut number = |s: &Series| {
            let sig = if m.on { s.labels.keep(&names) } else { s.labels.without(&names) };
            *index.entry(sig).or_insert_with_key(|sig| {
                labels.push(sig.clone());
                labels.len() - 1
            })
        };
        let left = left.iter().map(&mut number).collect();
        let right = right.iter().map(&mut number).collect();
        Self { left, right, labels }
    }

    /// The series of each group.
    fn members(of_series: &[usize], groups: usize) -> Vec<Vec<usize>> {
        let mut out = vec![Vec::new(); groups];
        for (i, g) in of_series.iter().enumerate() {
            if let Some(list) = out.get_mut(*g) {
                list.push(i);
            }
        }
        out
    }
}

fn mark(bits: &mut StepBits, s: &Series, steps: Steps) {
    for i in steps.places(s.floats.iter().map(|p| p.0)) {
        bits.set(i);
    }
    for i in steps.places(s.hists.iter().map(|p| p.0)) {
        bits.set(i);
    }
}

/// Keeps the points where `bits` says `present`.
fn retain(s: &mut Series, bits: &StepBits, present: bool, steps: Steps) {
    let mut keep = steps.walk();
    s.floats.retain(|(t, _)| bits.get(keep.place(*t)) == present);
    let mut keep = steps.walk();
    s.hists.retain(|(t, _)| bits.get(keep.place(*t)) == present);
}

impl Evaluator<'_> {
    pub(super) fn set_op(
        &mut self,
        b: &BinaryExpr,
        m: &VectorMatching,
        steps: Steps,
    ) -> Result<Matrix, EngineError> {
        let mut left = self.eval(&b.lhs, steps)?;
        let mut right = self.eval(&b.rhs, steps)?;
        let held = total(&left) + total(&right);
        let groups = Groups::new(&left, &right, m);
        let or = b.op == BinaryOp::Or;
        let (filter, of_filter, of_kept) = if or {
            (&left, &groups.left, &groups.right)
        } else {
            (&right, &groups.right, &groups.left)
        };
        let mut wanted = vec![false; groups.labels.len()];
        for g in of_kept {
            if let Some(w) = wanted.get_mut(*g) {
                *w = true;
            }
        }
        let mut present = vec![StepBits::default(); groups.labels.len()];
        for (s, g) in filter.iter().zip(of_filter) {
            self.check()?;
            if let (Some(bits), Some(true)) = (present.get_mut(*g), wanted.get(*g)) {
                bits.grow(steps);
                mark(bits, s, steps);
            }
        }
        let kept = if or { &mut right } else { &mut left };
        for (s, g) in kept.iter_mut().zip(of_kept) {
            if let Some(bits) = present.get(*g) {
                retain(s, bits, b.op == BinaryOp::And, steps);
            }
        }
        if or {
            left.append(&mut right);
        }
        left.retain(|s| !s.floats.is_empty() || !s.hists.is_empty());
        self.release(held);
        self.hold(total(&left))?;
        self.unique(left, steps)
    }

    /// Series with equal labels as one, as long as they share no time. With delayed name removal
    /// the vector of an instant may hold equal labels until the name is gone.
    pub(super) fn unique(&self, matrix: Matrix, steps: Steps) -> Result<Matrix, EngineError> {
        if steps.is_instant() && self.options.delayed_name_removal {
            return Ok(matrix);
        }
        merge_same(matrix)
    }

    pub(super) fn vectors(
        &mut self,
        b: &BinaryExpr,
        m: &VectorMatching,
        pos: PosRange,
        steps: Steps,
        keep_names: bool,
    ) -> Result<Matrix, EngineError> {
        let mut left = self.eval(&b.lhs, steps)?;
        let mut right = self.eval(&b.rhs, steps)?;
        if self.metricsql() {
            (left, right) = (settled(left), settled(right));
            if let Some(swap) = number_side(m, &left, &right) {
                let (matrix, number) = if swap { (right, left) } else { (left, right) };
                let mut scalars = vec![f64::NAN; steps.count()];
                for (t, v) in number.iter().flat_map(|s| &s.floats) {
                    if let Some(slot) = scalars.get_mut(steps.index(*t)) {
                        *slot = *v;
                    }
                }
                return self.with_scalar(b, (swap, pos), steps, matrix, &scalars);
            }
        }
        let held = total(&left) + total(&right);
        let groups = Groups::new(&left, &right, m);
        // The right side is the "one" from here on; values are swapped back where they combine.
        let swapped = m.card == Cardinality::OneToMany;
        let (many, one) = if swapped { (&right, &left) } else { (&left, &right) };
        let (of_many, of_one) =
            if swapped { (&groups.right, &groups.left) } else { (&groups.left, &groups.right) };
        let many_of = Groups::members(of_many, groups.labels.len());
        let one_of = Groups::members(of_one, groups.labels.len());
        let filled = m.fill_left.is_some() || m.fill_right.is_some();
        let nameless = b.op.changes_schema() && !keep_names
            || !self.options.delayed_name_removal && b.return_bool;
        let names: Vec<&str> = m.labels.iter().map(String::as_str).collect();
        let join = Join { b, m, pos, steps, swapped, nameless, names };
        // Two candidates are no mistake at steps where one side has nothing at all.
        let mut live: Option<StepBits> = None;
        let mut out = Vec::with_capacity(many.len());
        for (g, (many_of, one_of)) in many_of.iter().zip(&one_of).enumerate() {
            self.check()?;
            let many_of: Vec<&Series> = many_of.iter().filter_map(|i| many.get(*i)).collect();
            let one_of: Vec<&Series> = one_of.iter().filter_map(|i| one.get(*i)).collect();
            let before = out.len();
            match one_of.as_slice() {
                [] if !filled => continue,
                [one] if !filled && (many_of.len() < 2 || m.card != Cardinality::OneToOne) => {
                    let labels: Vec<LabelSet> =
                        many_of.iter().map(|s| join.labels(&s.labels, &one.labels)).collect();
                    let mut sorted: Vec<&LabelSet> = labels.iter().collect();
                    sorted.sort();
                    if sorted.windows(2).all(|w| w[0] != w[1]) {
                        for (s, labels) in many_of.iter().zip(labels) {
                            out.extend(self.columns(&join, s, one, labels));
                        }
                    } else {
                        self.group_by_step(&join, &many_of, &one_of, None, &mut out)?;
                    }
                }
                _ => {
                    let live = live.get_or_insert_with(|| {
                        let mut of = [StepBits::default(), StepBits::default()];
                        for (bits, side) in of.iter_mut().zip([&left, &right]) {
                            bits.grow(steps);
                            side.iter().for_each(|s| mark(bits, s, steps));
                        }
                        let [l, r] = of;
                        if filled { l.or(&r) } else { l.and(&r) }
                    });
                    let labels = groups.labels.get(g);
                    let labels = labels.map(|l| (l, &*live));
                    self.group_by_step(&join, &many_of, &one_of, labels, &mut out)?;
                }
            }
            self.hold(total(out.get(before..).unwrap_or(&[])))?;
        }
        self.release(held);
        self.unique(out, steps)
    }

    /// One series of each side, point by point.
    fn columns(
        &mut self,
        join: &Join<'_>,
        many: &Series,
        one: &Series,
        labels: LabelSet,
    ) -> Option<Series> {
        let return_bool = join.b.return_bool;
        let mut out = Series { labels, drop_name: return_bool, ..Series::default() };
        if many.hists.is_empty()
            && one.hists.is_empty()
            && !matches!(join.b.op, BinaryOp::TrimLower | BinaryOp::TrimUpper)
        {
            let mut rest = one.floats.as_slice();
            out.floats.reserve(many.floats.len().min(rest.len()));
            for (t, x) in &many.floats {
                while rest.first().is_some_and(|p| p.0 < *t) {
                    rest = rest.get(1..).unwrap_or(&[]);
                }
                let Some((at, y)) = rest.first() else { break };
                if at != t {
                    continue;
                }
                let (l, r) = if join.swapped { (*y, *x) } else { (*x, *y) };
                let (value, keep) = floats(join.b.op, l, r);
                if return_bool {
                    out.floats.push((*t, bool_float(keep)));
                } else if keep {
                    out.floats.push((*t, value));
                }
            }
        } else {
            let (mut of_many, mut of_one) = (Cursor::default(), Cursor::default());
            for t in join.steps.iter() {
                let (Some(x), Some(y)) = (of_many.at(many, t), of_one.at(one, t)) else {
                    continue;
                };
                if let Some((value, true)) = self.value(join, &x, &y) {
                    out.push(t, value);
                }
            }
        }
        (out.len() > 0).then_some(out)
    }

    /// The value of a pair and whether it is part of the answer; `None` where the kinds do not go
    /// together.
    fn value(
        &mut self,
        join: &Join<'_>,
        many: &SampleValue,
        one: &SampleValue,
    ) -> Option<(SampleValue, bool)> {
        let (l, r) = if join.swapped { (one, many) } else { (many, one) };
        let (value, keep) = pair(join.b.op, l, r, join.pos, &mut self.annos)?;
        Some(if join.b.return_bool {
            (SampleValue::Float(bool_float(keep)), true)
        } else {
            (value, keep)
        })
    }

    /// A group where what meets may change from step to step. `labels` are the group's, with the
    /// steps at which there is something to match at all; `None` where one series stands on the
    /// "one" side, so that they are not needed.
    fn group_by_step(
        &mut self,
        join: &Join<'_>,
        many: &[&Series],
        one: &[&Series],
        labels: Option<(&LabelSet, &StepBits)>,
        out: &mut Matrix,
    ) -> Result<(), EngineError> {
        let m = join.m;
        let mut many_cursors = vec![Cursor::default(); many.len()];
        let mut one_cursors = vec![Cursor::default(); one.len()];
        // Result series by pair (the place after the last one stands for a fill value) and by
        // labels, with the last step at which they were matched.
        let mut of_pair: HashMap<(usize, usize), usize> = HashMap::new();
        let mut of_labels: HashMap<LabelSet, usize> = HashMap::new();
        let mut results: Vec<(Series, Option<usize>)> = Vec::new();
        for (n, t) in join.steps.iter().enumerate() {
            let mut found: Option<(usize, SampleValue)> = None;
            for (i, (s, c)) in one.iter().zip(&mut one_cursors).enumerate() {
                let Some(value) = c.at(s, t) else { continue };
                let Some((other, _)) = &found else {
                    found = Some((i, value));
                    continue;
                };
                let Some((group, live)) = labels else { continue };
                if live.get(n) {
                    let other = one.get(*other).map_or_else(String::new, |s| all_labels(&s.labels));
                    return failed(join.duplicate(group, all_labels(&s.labels), other));
                }
            }
            let mut any_many = false;
            let mut matched = false;
            for (i, (s, c)) in many.iter().zip(&mut many_cursors).enumerate() {
                let Some(x) = c.at(s, t) else { continue };
                any_many = true;
                let (j, y) = match (&found, m.fill_right) {
                    (Some((j, y)), _) => (*j, y.clone()),
                    (None, Some(v)) => (one.len(), SampleValue::Float(v)),
                    (None, None) => continue,
                };
                let Some((value, keep)) = self.value(join, &x, &y) else { continue };
                if m.card == Cardinality::OneToOne && matched {
                    return failed(
                        "multiple matches for labels: many-to-one matching must be explicit \
                         (group_left/group_right)",
                    );
                }
                matched = true;
                let empty = LabelSet::empty();
                let group = labels.map_or(&empty, |l| l.0);
                let other = one.get(j).map_or(group, |s| &s.labels);
                let r = join.result(&mut of_pair, &mut of_labels, &mut results, (i, j), || {
                    join.labels(&s.labels, other)
                });
                add(&mut results, r, n, t, keep.then_some(value))?;
            }
            if let (false, Some(v), Some((j, y))) = (any_many, m.fill_left, &found) {
                let Some((value, keep)) = self.value(join, &SampleValue::Float(v), y) else {
                    continue;
                };
                let (Some(s), Some((group, _))) = (one.get(*j), labels) else { continue };
                let pair = (many.len(), *j);
                let r = join.result(&mut of_pair, &mut of_labels, &mut results, pair, || {
                    join.labels(group, &s.labels)
                });
                add(&mut results, r, n, t, keep.then_some(value))?;
            }
        }
        out.extend(results.into_iter().map(|r| r.0).filter(|s| s.len() > 0));
        Ok(())
    }
}

/// Adds a point to result `r`; `Err` if it already was matched at this step.
fn add(
    results: &mut [(Series, Option<usize>)],
    r: usize,
    n: usize,
    t: i64,
    value: Option<SampleValue>,
) -> Result<(), EngineError> {
    let Some((series, last)) = results.get_mut(r) else { return Ok(()) };
    if last.replace(n) == Some(n) {
        return failed("multiple matches for labels: grouping labels must ensure unique matches");
    }
    if let Some(value) = value {
        series.push(t, value);
    }
    Ok(())
}

/// MetricsQL: which side (the left if set) is nothing but a number, so that it goes with every series
/// of the other.
fn number_side(m: &VectorMatching, left: &[Series], right: &[Series]) -> Option<bool> {
    let plain = !m.on && m.labels.is_empty() && m.card == Cardinality::OneToOne;
    let number = |side: &[Series]| matches!(side, [only] if is_number(only));
    match (number(left), number(right)) {
        (false, true) if plain => Some(false),
        (true, false) if plain => Some(true),
        _ => None,
    }
}

/// What all groups of one operator share.
struct Join<'a> {
    b: &'a BinaryExpr,
    m: &'a VectorMatching,
    pos: PosRange,
    steps: Steps,
    swapped: bool,
    /// The name is removed from the result at once.
    nameless: bool,
    names: Vec<&'a str>,
}

impl Join<'_> {
    /// The labels of a result.
    fn labels(&self, many: &LabelSet, one: &LabelSet) -> LabelSet {
        let mut l = if self.nameless { drop_metadata(many) } else { many.clone() };
        if self.m.card == Cardinality::OneToOne {
            l = if self.m.on { l.keep(&self.names) } else { l.without(&self.names) };
        }
        if !self.m.include.is_empty() {
            let mut b = l.to_builder();
            let all = self.m.include.iter().any(|n| n == "*");
            let every = one.iter().map(|(n, _)| n).filter(|n| all && *n != METRIC_NAME);
            let named = self.m.include.iter().map(String::as_str).filter(|_| !all);
            // Without a prefix what the sides are matched by is the same on both.
            let every = every.filter(|n| !self.m.on || !self.names.contains(n));
            for name in named.chain(every) {
                let new = format!("{}{name}", self.m.prefix);
                match one.get(name) {
                    Some(v) => b.set(new, v),
                    None => b.remove(&new),
                };
            }
            l = b.build();
        }
        l
    }

    fn result(
        &self,
        of_pair: &mut HashMap<(usize, usize), usize>,
        of_labels: &mut HashMap<LabelSet, usize>,
        results: &mut Vec<(Series, Option<usize>)>,
        pair: (usize, usize),
        labels: impl FnOnce() -> LabelSet,
    ) -> usize {
        *of_pair.entry(pair).or_insert_with(|| {
            *of_labels.entry(labels()).or_insert_with_key(|labels| {
                let drop_name = self.b.return_bool;
                let s = Series { labels: labels.clone(), drop_name, ..Series::default() };
                results.push((s, None));
                results.len() - 1
            })
        })
    }

    fn duplicate(&self, group: &LabelSet, one: String, other: String) -> String {
        let mut both = [one, other];
        both.sort();
        format!(
            "found duplicate series for the match group {} on the {} hand-side of the operation: \
             [{}, {}];many-to-many matching not allowed: matching labels must be unique on one side",
            all_labels(group),
            if self.swapped { "left" } else { "right" },
            both[0],
            both[1]
        )
    }
}
