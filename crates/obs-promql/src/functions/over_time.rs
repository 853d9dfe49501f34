//! `…_over_time`: aggregates of one series' window.

use std::sync::Arc;

use obs_types::{CounterResetHint, NativeHistogram};

use super::{Answer, float, hist};
use crate::SampleValue;
use crate::annotations::{Annotations, HistogramOp};
use crate::eval::{RangeArgs, Window};
use crate::histogram::{Accumulator, divide, kahan};

/// For functions of floats only: `false` if there is none; histograms beside them are told.
fn floats_only(w: &Window<'_>, a: &RangeArgs<'_>, annos: &mut Annotations) -> bool {
    if w.fv.is_empty() {
        return false;
    }
    if !w.hv.is_empty() {
        annos.ignored_in_mixed_range(a.name, a.pos);
    }
    true
}

/// Tells what a sum over histograms met.
fn note(w: &Window<'_>, reconciled: bool, a: &RangeArgs<'_>, annos: &mut Annotations) {
    let seen = |hint| w.hv.iter().any(|h| h.counter_reset_hint == hint);
    if seen(CounterResetHint::Reset) && seen(CounterResetHint::NotReset) {
        annos.reset_collision(HistogramOp::Agg, a.pos);
    }
    if reconciled {
        annos.bounds_reconciled(HistogramOp::Agg, a.pos);
    }
}

pub(crate) fn sum(w: &Window<'_>, a: &RangeArgs<'_>, annos: &mut Annotations) -> Answer {
    if !w.fv.is_empty() && !w.hv.is_empty() {
        annos.mixed_floats_histograms(a.name, a.pos);
        return Ok(None);
    }
    if let Some((first, rest)) = w.hv.split_first() {
        let mut acc = Accumulator::new(first);
        let mut reconciled = false;
        for h in rest {
            match acc.add(h) {
                Ok(n) => reconciled |= n.bounds_reconciled,
                Err(_) => {
                    annos.mixed_schemas(a.name, a.pos);
                    return Ok(None);
                }
            }
        }
        note(w, reconciled, a, annos);
        return hist(acc.finish());
    }
    float(sum_of(w.fv))
}

/// Magnitudes below it add up without rounding, if they are those of whole numbers.
pub(super) const WHOLE_MAX: f64 = 2_251_799_813_685_248.0;

/// How far a number below [`WHOLE_MAX`] is from a whole one, 0 for whole ones alone: beside this
/// addend the unit in the last place is 1.
pub(super) fn off_whole(v: f64) -> f64 {
    const ADDEND: f64 = 6_755_399_441_055_744.0;
    (v + ADDEND - ADDEND - v).abs()
}

/// The sum where all are whole numbers and it is not rounded, in whatever order they are added;
/// `None` for all others.
fn whole_sum(values: &[f64]) -> Option<f64> {
    if values.first().is_some_and(|v| off_whole(*v) != 0.0) {
        return None;
    }
    // Lanes, so that several are added at once.
    let (mut sum, mut size, mut off) = ([0.0; 4], [0.0; 4], [0.0; 4]);
    let (fours, rest) = values.as_chunks::<4>();
    for four in fours {
        for (i, v) in four.iter().enumerate() {
            sum[i] += v;
            size[i] += v.abs();
            off[i] += off_whole(*v);
        }
    }
    for v in rest {
        sum[0] += v;
        size[0] += v.abs();
        off[0] += off_whole(*v);
    }
    let total = |lanes: [f64; 4]| lanes.iter().sum::<f64>();
    // Also false for a NaN.
    (total(size) < WHOLE_MAX && total(off) == 0.0).then(|| total(sum) + 0.0)
}

pub(super) fn sum_of(values: &[f64]) -> f64 {
    whole_sum(values).unwrap_or_else(|| compensated_sum(values))
}

fn compensated_sum(values: &[f64]) -> f64 {
    let (mut s, mut c) = (0.0, 0.0);
    for v in values {
        (s, c) = kahan(*v, s, c);
    }
    if s.is_infinite() { s } else { s + c }
}

pub(crate) fn avg(w: &Window<'_>, a: &RangeArgs<'_>, annos: &mut Annotations) -> Answer {
    if !w.fv.is_empty() && !w.hv.is_empty() {
        annos.mixed_floats_histograms(a.name, a.pos);
        return Ok(None);
    }
    if !w.hv.is_empty() {
        return avg_hist(w, a, annos);
    }
    Ok(mean_of(w.fv).map(SampleValue::Float))
}

pub(super) fn mean_of(values: &[f64]) -> Option<f64> {
    match whole_sum(values).filter(|_| !values.is_empty()) {
        Some(sum) => Some(sum / values.len() as f64 + 0.0),
        None => compensated_mean(values),
    }
}

fn compensated_mean(values: &[f64]) -> Option<f64> {
    let (first, rest) = values.split_first()?;
    let mut mean = Mean::new(*first);
    for v in rest {
        mean.add(*v);
    }
    Some(mean.value())
}

/// Mean of floats: the compensated sum divided, or, where the sum would overflow, from there on
/// a running mean.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mean {
    sum: f64,
    c: f64,
    count: f64,
    mean: f64,
    running: bool,
}

impl Mean {
    pub(crate) fn new(first: f64) -> Self {
        Self { sum: first, c: 0.0, count: 1.0, mean: 0.0, running: false }
    }

    pub(crate) fn add(&mut self, v: f64) {
        self.count += 1.0;
        if !self.running {
            let (s, c) = kahan(v, self.sum, self.c);
            if !s.is_infinite() {
                (self.sum, self.c) = (s, c);
                return;
            }
            self.running = true;
            self.mean = self.sum / (self.count - 1.0);
            self.c /= self.count - 1.0;
        }
        let q = (self.count - 1.0) / self.count;
        (self.mean, self.c) = kahan(v / self.count, q * self.mean, q * self.c);
    }

    pub(crate) fn value(&self) -> f64 {
        if self.running { self.mean + self.c } else { self.sum / self.count + self.c / self.count }
    }
}

/// The same for histograms.
#[derive(Clone, Debug)]
pub(crate) struct HistogramMean {
    acc: Accumulator,
    count: f64,
    running: bool,
}

impl HistogramMean {
    pub(crate) fn new(first: &NativeHistogram) -> Self {
        Self { acc: Accumulator::new(first), count: 1.0, running: false }
    }

    /// Whether bounds had to be reconciled.
    pub(crate) fn add(
        &mut self,
        h: &NativeHistogram,
    ) -> Result<bool, crate::histogram::Incompatible> {
        self.count += 1.0;
        if !self.running {
            let mut next = self.acc.clone();
            let notes = next.add(h)?;
            if !next.overflows() {
                self.acc = next;
                return Ok(notes.bounds_reconciled);
            }
            self.running = true;
            self.acc.divide(self.count - 1.0);
        }
        self.acc.scale((self.count - 1.0) / self.count);
        let mut part = h.clone();
        divide(&mut part, self.count);
        Ok(self.acc.add(&part)?.bounds_reconciled)
    }

    pub(crate) fn value(mut self) -> NativeHistogram {
        if !self.running {
            self.acc.divide(self.count);
        }
        self.acc.finish()
    }
}

fn avg_hist(w: &Window<'_>, a: &RangeArgs<'_>, annos: &mut Annotations) -> Answer {
    let Some((first, rest)) = w.hv.split_first() else { return Ok(None) };
    let mut mean = HistogramMean::new(first);
    let mut reconciled = false;
    for h in rest {
        match mean.add(h) {
            Ok(r) => reconciled |= r,
            Err(_) => {
                annos.mixed_schemas(a.name, a.pos);
                return Ok(None);
            }
        }
    }
    note(w, reconciled, a, annos);
    hist(mean.value())
}

pub(crate) fn count(w: &Window<'_>, _: &RangeArgs<'_>, _: &mut Annotations) -> Answer {
    float((w.fv.len() + w.hv.len()) as f64)
}

pub(crate) fn present(_: &Window<'_>, _: &RangeArgs<'_>, _: &mut Annotations) -> Answer {
    float(1.0)
}

/// The extreme value with its time; a NaN yields to everything.
fn extreme(w: &Window<'_>, better: fn(f64, f64) -> bool) -> Option<(i64, f64)> {
    let mut best = (*w.ft.first()?, *w.fv.first()?);
    for (t, v) in w.ft.iter().zip(w.fv) {
        if better(*v, best.1) || best.1.is_nan() {
            best = (*t, *v);
        }
    }
    Some(best)
}

pub(crate) fn min(w: &Window<'_>, a: &RangeArgs<'_>, annos: &mut Annotations) -> Answer {
    floats_only(w, a, annos);
    Ok(extreme(w, |a, b| a < b).map(|e| SampleValue::Float(e.1)))
}

pub(crate) fn max(w: &Window<'_>, a: &RangeArgs<'_>, annos: &mut Annotations) -> Answer {
    floats_only(w, a, annos);
    Ok(extreme(w, |a, b| a > b).map(|e| SampleValue::Float(e.1)))
}

pub(crate) fn ts_of_min(w: &Window<'_>, a: &RangeArgs<'_>, annos: &mut Annotations) -> Answer {
    floats_only(w, a, annos);
    Ok(extreme(w, |a, b| a <= b).map(|e| SampleValue::Float(e.0 as f64 / 1000.0)))
}

pub(crate) fn ts_of_max(w: &Window<'_>, a: &RangeArgs<'_>, annos: &mut Annotations) -> Answer {
    floats_only(w, a, annos);
    Ok(extreme(w, |a, b| a >= b).map(|e| SampleValue::Float(e.0 as f64 / 1000.0)))
}

pub(crate) fn first(w: &Window<'_>, _: &RangeArgs<'_>, _: &mut Annotations) -> Answer {
    match (w.ft.first(), w.ht.first()) {
        (Some(f), Some(h)) if h <= f => {
            Ok(w.hv.first().map(|h| SampleValue::Histogram(Arc::clone(h))))
        }
        (Some(_), _) => Ok(w.fv.first().map(|v| SampleValue::Float(*v))),
        _ => Ok(w.hv.first().map(|h| SampleValue::Histogram(Arc::clone(h)))),
    }
}

pub(crate) fn last(w: &Window<'_>, _: &RangeArgs<'_>, _: &mut Annotations) -> Answer {
    match (w.ft.last(), w.ht.last()) {
        (Some(f), Some(h)) if h >= f => {
            Ok(w.hv.last().map(|h| SampleValue::Histogram(Arc::clone(h))))
        }
        (Some(_), _) => Ok(w.fv.last().map(|v| SampleValue::Float(*v))),
        _ => Ok(w.hv.last().map(|h| SampleValue::Histogram(Arc::clone(h)))),
    }
}

pub(crate) fn ts_of_first(w: &Window<'_>, _: &RangeArgs<'_>, _: &mut Annotations) -> Answer {
    let t = w.ft.first().into_iter().chain(w.ht.first()).min();
    Ok(t.map(|t| SampleValue::Float(*t as f64 / 1000.0)))
}

pub(crate) fn ts_of_last(w: &Window<'_>, _: &RangeArgs<'_>, _: &mut Annotations) -> Answer {
    let t = w.ft.last().into_iter().chain(w.ht.last()).max();
    Ok(t.map(|t| SampleValue::Float(*t as f64 / 1000.0)))
}

/// Linear between the two nearest ranks; NaN sorts below everything.
pub(crate) fn quantile_of(q: f64, values: &mut [f64]) -> f64 {
    values.sort_by(|a, b| rank_order(*a, *b));
    quantile_of_sorted(q, values)
}

pub(super) fn rank_order(a: f64, b: f64) -> std::cmp::Ordering {
    b.is_nan().cmp(&a.is_nan()).then(a.partial_cmp(&b).unwrap_or(std::cmp::Ordering::Equal))
}

pub(super) fn quantile_of_sorted(q: f64, values: &[f64]) -> f64 {
    if values.is_empty() || q.is_nan() {
        return f64::NAN;
    }
    if q < 0.0 {
        return f64::NEG_INFINITY;
    }
    if q > 1.0 {
        return f64::INFINITY;
    }
    let n = values.len() as f64;
    let rank = q * (n - 1.0);
    let lower = rank.floor().max(0.0);
    let upper = (lower + 1.0).min(n - 1.0);
    let weight = rank - rank.floor();
    let get = |i: f64| values.get(i as usize).copied().unwrap_or(f64::NAN);
    get(lower) * (1.0 - weight) + get(upper) * weight
}

pub(crate) fn quantile(w: &Window<'_>, a: &RangeArgs<'_>, annos: &mut Annotations) -> Answer {
    let q = a.scalars.first().copied().unwrap_or(f64::NAN);
    if w.fv.is_empty() {
        return Ok(None);
    }
    floats_only(w, a, annos);
    float(quantile_of(q, &mut w.fv.to_vec()))
}

fn variance(w: &Window<'_>) -> f64 {
    let (mut count, mut mean, mut c_mean, mut aux, mut c_aux) = (0.0, 0.0, 0.0, 0.0, 0.0);
    for v in w.fv {
        count += 1.0;
        let delta = v - (mean + c_mean);
        (mean, c_mean) = kahan(delta / count, mean, c_mean);
        (aux, c_aux) = kahan(delta * (v - (mean + c_mean)), aux, c_aux);
    }
    (aux + c_aux) / count
}

pub(crate) fn stdvar(w: &Window<'_>, a: &RangeArgs<'_>, annos: &mut Annotations) -> Answer {
    if floats_only(w, a, annos) { float(variance(w)) } else { Ok(None) }
}

pub(crate) fn stddev(w: &Window<'_>, a: &RangeArgs<'_>, annos: &mut Annotations) -> Answer {
    if floats_only(w, a, annos) { float(variance(w).sqrt()) } else { Ok(None) }
}

pub(crate) fn mad(w: &Window<'_>, a: &RangeArgs<'_>, annos: &mut Annotations) -> Answer {
    if !floats_only(w, a, annos) {
        return Ok(None);
    }
    if w.fv.iter().any(|v| v.is_nan()) {
        return float(f64::NAN);
    }
    let mut values = w.fv.to_vec();
    let median = quantile_of(0.5, &mut values);
    values.iter_mut().for_each(|v| *v = (*v - median).abs());
    float(quantile_of(0.5, &mut values))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn sums_of_whole_numbers_are_those_of_any_numbers(
            values in proptest::collection::vec(
                prop_oneof![
                    8 => (-1000..1000_i32).prop_map(f64::from),
                    1 => (-4..4_i64).prop_map(|i| (i << 50) as f64),
                ],
                0..40,
            ),
            strange in proptest::collection::vec(
                (0_usize..60, prop_oneof![
                    Just(0.5), Just(-0.0), Just(f64::NAN), Just(f64::INFINITY), Just(1e300),
                    Just(-2_251_799_813_685_248.5), any::<f64>(),
                ]),
                0..2,
            ),
        ) {
            let mut values = values;
            for (at, v) in strange {
                if let Some(slot) = values.get_mut(at) {
                    *slot = v;
                }
            }
            let bits = |v: f64| if v.is_nan() { f64::NAN.to_bits() } else { v.to_bits() };
            prop_assert_eq!(bits(sum_of(&values)), bits(compensated_sum(&values)));
            prop_assert_eq!(mean_of(&values).map(bits), compensated_mean(&values).map(bits));
        }
    }
}
