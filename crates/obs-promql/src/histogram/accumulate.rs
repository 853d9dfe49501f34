//! Sums and differences with compensated counts, and counter resets.

use std::cmp::Ordering;

use obs_types::{CounterResetHint, NativeHistogram};

use super::{close, exponential_bound, kahan, open};

/// Exponential and custom buckets cannot be combined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Incompatible;

/// What happened on the way.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Notes {
    pub(crate) reset_collision: bool,
    pub(crate) bounds_reconciled: bool,
}

/// A count with its compensation.
type Sum = (f64, f64);

/// A running sum of histograms. One addition followed by [`Accumulator::finish`] equals plain
/// floating-point addition; many lose no more than one rounding.
#[derive(Clone, Debug)]
pub(crate) struct Accumulator {
    hint: CounterResetHint,
    schema: i32,
    zero_threshold: f64,
    zero: Sum,
    count: Sum,
    sum: Sum,
    positive: Vec<(i32, Sum)>,
    negative: Vec<(i32, Sum)>,
    custom_values: Vec<f64>,
}

fn bump(s: &mut Sum, inc: f64) {
    *s = kahan(inc, s.0, s.1);
}

fn target(index: i32, from: i32, to: i32) -> i32 {
    (index.saturating_sub(1) >> (from - to).clamp(0, 31)).saturating_add(1)
}

fn reduce(pairs: &[(i32, Sum)], from: i32, to: i32) -> Vec<(i32, Sum)> {
    let mut out: Vec<(i32, Sum)> = Vec::new();
    for (index, s) in pairs {
        let index = target(*index, from, to);
        match out.last_mut() {
            Some((last, acc)) if *last == index => {
                bump(acc, s.0);
                bump(acc, s.1);
            }
            _ => out.push((index, *s)),
        }
    }
    out
}

fn merge(a: &mut Vec<(i32, Sum)>, b: &[(i32, Sum)], sign: f64) {
    let mut out = Vec::with_capacity(a.len() + b.len());
    let (mut i, mut j) = (0, 0);
    loop {
        match (a.get(i), b.get(j)) {
            (Some(x), Some(y)) => match x.0.cmp(&y.0) {
                Ordering::Less => {
                    out.push(*x);
                    i += 1;
                }
                Ordering::Greater => {
                    out.push((y.0, (sign * y.1.0, sign * y.1.1)));
                    j += 1;
                }
                Ordering::Equal => {
                    let mut s = x.1;
                    bump(&mut s, sign * y.1.0);
                    if y.1.1 != 0.0 {
                        bump(&mut s, sign * y.1.1);
                    }
                    out.push((x.0, s));
                    i += 1;
                    j += 1;
                }
            },
            (Some(x), None) => {
                out.push(*x);
                i += 1;
            }
            (None, Some(y)) => {
                out.push((y.0, (sign * y.1.0, sign * y.1.1)));
                j += 1;
            }
            (None, None) => break,
        }
    }
    *a = out;
}

fn with_zero_compensation(pairs: Vec<(i32, f64)>) -> Vec<(i32, Sum)> {
    pairs.into_iter().map(|(i, c)| (i, (c, 0.0))).collect()
}

impl Accumulator {
    pub(crate) fn new(h: &NativeHistogram) -> Self {
        Self {
            hint: h.counter_reset_hint,
            schema: h.schema,
            zero_threshold: h.zero_threshold,
            zero: (h.zero_count, 0.0),
            count: (h.count, 0.0),
            sum: (h.sum, 0.0),
            positive: with_zero_compensation(open(&h.positive_spans, &h.positive_buckets)),
            negative: with_zero_compensation(open(&h.negative_spans, &h.negative_buckets)),
            custom_values: h.custom_values.clone(),
        }
    }

    pub(crate) fn add(&mut self, other: &NativeHistogram) -> Result<Notes, Incompatible> {
        self.combine(other, 1.0)
    }

    pub(crate) fn sub(&mut self, other: &NativeHistogram) -> Result<Notes, Incompatible> {
        self.combine(other, -1.0)
    }

    fn combine(&mut self, other: &NativeHistogram, sign: f64) -> Result<Notes, Incompatible> {
        let custom = self.schema == obs_types::CUSTOM_BUCKETS_SCHEMA;
        if custom != other.uses_custom_buckets() {
            return Err(Incompatible);
        }
        let mut notes = Notes {
            reset_collision: self.adjust_hint(other.counter_reset_hint),
            ..Notes::default()
        };
        let mut other = Self::new(other);
        if !custom {
            self.reconcile_zero(&mut other);
            bump(&mut self.zero, sign * other.zero.0);
            if other.zero.1 != 0.0 {
                bump(&mut self.zero, sign * other.zero.1);
            }
        }
        bump(&mut self.count, sign * other.count.0);
        bump(&mut self.sum, sign * other.sum.0);
        if custom {
            if self.custom_values != other.custom_values {
                notes.bounds_reconciled = true;
                let common: Vec<f64> = self
                    .custom_values
                    .iter()
                    .copied()
                    .filter(|b| other.custom_values.contains(b))
                    .collect();
                self.map_bounds(&common);
                other.map_bounds(&common);
            }
        } else {
            match other.schema.cmp(&self.schema) {
                Ordering::Less => self.reduce_to(other.schema),
                Ordering::Greater => other.reduce_to(self.schema),
                Ordering::Equal => {}
            }
            // Buckets inside the common zero bucket were counted there.
            let (schema, threshold) = (self.schema, self.zero_threshold);
            let outside = |(i, _): &(i32, Sum)| exponential_bound(*i, schema) > threshold;
            other.positive.retain(outside);
            other.negative.retain(outside);
        }
        merge(&mut self.positive, &other.positive, sign);
        merge(&mut self.negative, &other.negative, sign);
        Ok(notes)
    }

    fn adjust_hint(&mut self, other: CounterResetHint) -> bool {
        use CounterResetHint::{Gauge, Unknown};
        match (self.hint, other) {
            (a, b) if a == b => false,
            (Gauge, _) => false,
            (_, Gauge) => {
                self.hint = Gauge;
                false
            }
            (Unknown, _) => false,
            (_, Unknown) => {
                self.hint = Unknown;
                false
            }
            _ => {
                self.hint = Unknown;
                true
            }
        }
    }

    fn map_bounds(&mut self, common: &[f64]) {
        let mut out: Vec<(i32, Sum)> = Vec::new();
        for (index, s) in &self.positive {
            let bound = usize::try_from(*index).ok().and_then(|i| self.custom_values.get(i));
            let at = bound.and_then(|b| common.iter().position(|c| c >= b)).unwrap_or(common.len())
                as i32;
            match out.last_mut() {
                Some((last, acc)) if *last == at => {
                    bump(acc, s.0);
                    bump(acc, s.1);
                }
                _ => out.push((at, *s)),
            }
        }
        self.positive = out;
        self.custom_values = common.to_vec();
    }

    pub(crate) fn reduce_to(&mut self, schema: i32) {
        if schema < self.schema {
            self.positive = reduce(&self.positive, self.schema, schema);
            self.negative = reduce(&self.negative, self.schema, schema);
            self.schema = schema;
        }
    }

    fn reconcile_zero(&mut self, other: &mut Self) {
        // Widening one side may overshoot the other's threshold, so they take turns.
        while self.zero_threshold != other.zero_threshold {
            if self.zero_threshold > other.zero_threshold {
                other.widen_zero(self.zero_threshold);
            } else {
                self.widen_zero(other.zero_threshold);
            }
        }
    }

    /// Takes into the zero bucket what lies inside `threshold`; a filled bucket that straddles it
    /// moves the threshold to the bucket's bound.
    fn widen_zero(&mut self, mut threshold: f64) {
        loop {
            let before = threshold;
            for (i, s) in self.positive.iter().chain(&self.negative) {
                let (lower, upper) = (
                    exponential_bound(i.saturating_sub(1), self.schema),
                    exponential_bound(*i, self.schema),
                );
                if lower < threshold && upper > threshold && s.0 != 0.0 {
                    threshold = upper;
                }
            }
            if threshold == before {
                break;
            }
        }
        let schema = self.schema;
        let zero = &mut self.zero;
        for side in [&mut self.positive, &mut self.negative] {
            side.retain(|(i, s)| {
                if exponential_bound(i.saturating_sub(1), schema) < threshold {
                    bump(zero, s.0);
                    bump(zero, s.1);
                    return false;
                }
                true
            });
        }
        self.zero_threshold = threshold;
    }

    pub(crate) fn scale(&mut self, factor: f64) {
        let each = [&mut self.zero, &mut self.count, &mut self.sum];
        let buckets = self.positive.iter_mut().chain(&mut self.negative).map(|(_, s)| s);
        for s in each.into_iter().chain(buckets) {
            s.0 *= factor;
            s.1 *= factor;
        }
    }

    pub(crate) fn divide(&mut self, by: f64) {
        let each = [&mut self.zero, &mut self.count, &mut self.sum];
        let buckets = self.positive.iter_mut().chain(&mut self.negative).map(|(_, s)| s);
        for s in each.into_iter().chain(buckets) {
            s.0 /= by;
            s.1 /= by;
        }
    }

    pub(crate) fn overflows(&self) -> bool {
        let buckets = self.positive.iter().chain(&self.negative).map(|(_, s)| s);
        [&self.zero, &self.count, &self.sum].into_iter().chain(buckets).any(|s| s.0.is_infinite())
    }

    /// The result, compacted.
    pub(crate) fn finish(&self) -> NativeHistogram {
        let value = |s: Sum| s.0 + s.1;
        let (positive_spans, positive_buckets) =
            close(self.positive.iter().map(|(i, s)| (*i, value(*s))));
        let (negative_spans, negative_buckets) =
            close(self.negative.iter().map(|(i, s)| (*i, value(*s))));
        NativeHistogram {
            counter_reset_hint: self.hint,
            schema: self.schema,
            zero_threshold: self.zero_threshold,
            zero_count: value(self.zero),
            count: value(self.count),
            sum: value(self.sum),
            positive_spans,
            negative_spans,
            positive_buckets,
            negative_buckets,
            custom_values: self.custom_values.clone(),
        }
    }
}

/// Equal bit by bit, however the spans are cut.
pub(crate) fn same(a: &NativeHistogram, b: &NativeHistogram) -> bool {
    let bits = |v: Vec<(i32, f64)>| -> Vec<(i32, u64)> {
        v.into_iter().map(|(i, c)| (i, c.to_bits())).collect()
    };
    a.schema == b.schema
        && a.count.to_bits() == b.count.to_bits()
        && a.sum.to_bits() == b.sum.to_bits()
        && a.custom_values == b.custom_values
        && a.zero_threshold == b.zero_threshold
        && a.zero_count.to_bits() == b.zero_count.to_bits()
        && bits(open(&a.positive_spans, &a.positive_buckets))
            == bits(open(&b.positive_spans, &b.positive_buckets))
        && bits(open(&a.negative_spans, &a.negative_buckets))
            == bits(open(&b.negative_spans, &b.negative_buckets))
}

/// Whether a counter was reset between `previous` and `current`.
pub(crate) fn detect_reset(current: &NativeHistogram, previous: &NativeHistogram) -> bool {
    match current.counter_reset_hint {
        CounterResetHint::Reset => return true,
        CounterResetHint::NotReset => return false,
        CounterResetHint::Unknown | CounterResetHint::Gauge => {}
    }
    if current.count < previous.count {
        return true;
    }
    let mut prev = Accumulator::new(previous);
    let mut cur = Accumulator::new(current);
    if current.uses_custom_buckets() {
        if !previous.uses_custom_buckets() {
            return true;
        }
        if current.custom_values != previous.custom_values {
            let common: Vec<f64> = current
                .custom_values
                .iter()
                .copied()
                .filter(|b| previous.custom_values.contains(b))
                .collect();
            cur.map_bounds(&common);
            prev.map_bounds(&common);
        }
    } else {
        if current.schema > previous.schema || current.zero_threshold < previous.zero_threshold {
            return true;
        }
        if current.zero_threshold > previous.zero_threshold {
            prev.widen_zero(current.zero_threshold);
        }
        if prev.zero_threshold != current.zero_threshold
            || current.zero_count < prev.zero.0 + prev.zero.1
        {
            return true;
        }
        prev.reduce_to(current.schema);
    }
    for (now, before) in [(&cur.positive, &prev.positive), (&cur.negative, &prev.negative)] {
        for (i, s) in before {
            let count = now
                .binary_search_by_key(i, |(j, _)| *j)
                .ok()
                .and_then(|at| now.get(at))
                .map_or(0.0, |(_, s)| s.0);
            if count < s.0 {
                return true;
            }
        }
    }
    false
}
