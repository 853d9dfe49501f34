//! Trends of a window: `deriv`, `predict_linear`, `double_exponential_smoothing`.

use super::{Answer, float};
use crate::EngineError;
use crate::annotations::Annotations;
use crate::eval::{RangeArgs, Window};
use crate::histogram::kahan;

/// Slope and value at `at` of the least-squares line.
fn regression(w: &Window<'_>, at: i64) -> (f64, f64) {
    let first = w.fv.first().copied().unwrap_or(f64::NAN);
    if w.fv.iter().all(|v| *v == first) {
        return if first.is_infinite() { (f64::NAN, f64::NAN) } else { (0.0, first) };
    }
    let (mut sx, mut sy, mut sxy, mut sxx) = ((0.0, 0.0), (0.0, 0.0), (0.0, 0.0), (0.0, 0.0));
    for (t, y) in w.ft.iter().zip(w.fv) {
        let x = (t - at) as f64 / 1000.0;
        for (sum, inc) in [(&mut sx, x), (&mut sy, *y), (&mut sxy, x * y), (&mut sxx, x * x)] {
            *sum = kahan(inc, sum.0, sum.1);
        }
    }
    let [sx, sy, sxy, sxx] = [sx, sy, sxy, sxx].map(|(s, c): (f64, f64)| s + c);
    let n = w.fv.len() as f64;
    let slope = (sxy - sx * sy / n) / (sxx - sx * sx / n);
    (slope, sy / n - slope * sx / n)
}

/// Whether there are floats enough for a trend; histograms beside floats are told.
fn enough(w: &Window<'_>, a: &RangeArgs<'_>, annos: &mut Annotations) -> bool {
    if !w.fv.is_empty() && !w.hv.is_empty() {
        annos.ignored_in_mixed_range(a.name, a.pos);
    }
    w.fv.len() >= 2
}

pub(crate) fn deriv(w: &Window<'_>, a: &RangeArgs<'_>, annos: &mut Annotations) -> Answer {
    if !enough(w, a, annos) {
        return Ok(None);
    }
    float(regression(w, w.ft.first().copied().unwrap_or(0)).0)
}

pub(crate) fn predict_linear(w: &Window<'_>, a: &RangeArgs<'_>, annos: &mut Annotations) -> Answer {
    if !enough(w, a, annos) {
        return Ok(None);
    }
    let (slope, now) = regression(w, a.ts);
    float(slope * a.scalars.first().copied().unwrap_or(f64::NAN) + now)
}

pub(crate) fn double_exponential_smoothing(
    w: &Window<'_>,
    a: &RangeArgs<'_>,
    annos: &mut Annotations,
) -> Answer {
    let [sf, tf] = [0, 1].map(|i| a.scalars.get(i).copied().unwrap_or(f64::NAN));
    for (what, v) in [("smoothing", sf), ("trend", tf)] {
        if v <= 0.0 || v >= 1.0 {
            let short = if what == "smoothing" { "sf" } else { "tf" };
            return Err(EngineError::Execution(format!(
                "invalid {what} factor. Expected: 0 < {short} < 1, got: {v:.6}"
            )));
        }
    }
    if !enough(w, a, annos) {
        return Ok(None);
    }
    let (mut s0, mut s1, mut b) = (0.0, w.fv[0], w.fv[1] - w.fv[0]);
    for (i, v) in w.fv.iter().enumerate().skip(1) {
        if i > 1 {
            b = tf * (s1 - s0) + (1.0 - tf) * b;
        }
        let next = sf * v + (1.0 - sf) * (s1 + b);
        (s0, s1) = (s1, next);
    }
    float(s1)
}
