//! What each function says of one window.

use super::Rollup;
use super::statistics::{max, mean, min, over, quantile, stdvar};

pub(super) fn seconds(ms: i64) -> f64 {
    ms as f64 / 1000.0
}

pub(super) fn last(r: &Rollup<'_>) -> f64 {
    r.values.last().copied().unwrap_or(f64::NAN)
}

fn argument(r: &Rollup<'_>) -> f64 {
    r.args.first().copied().unwrap_or(f64::NAN)
}

pub(super) fn count(r: &Rollup<'_>, f: fn(f64, f64) -> bool) -> f64 {
    let x = argument(r);
    over(r.values, |v| v.iter().filter(|v| f(**v, x)).count() as f64)
}

pub(super) fn share(r: &Rollup<'_>, f: fn(f64, f64) -> bool) -> f64 {
    count(r, f) / r.values.len() as f64
}

pub(super) fn sum_where(r: &Rollup<'_>, f: fn(f64, f64) -> bool) -> f64 {
    let x = argument(r);
    over(r.values, |v| v.iter().filter(|v| f(**v, x)).sum())
}

/// The sample that the window's first one is compared with, and the rest; `Err` is the answer where
/// there is nothing to compare.
fn compared<'a>(r: &Rollup<'a>) -> Result<(f64, &'a [f64]), f64> {
    if !r.prev.is_nan() {
        return Ok((r.prev, r.values));
    }
    let (first, rest) = r.values.split_first().ok_or(f64::NAN)?;
    Ok((*first, rest))
}

/// Whether a value is another one beyond rounding.
fn differs(before: f64, v: f64) -> bool {
    v != before && (v - before).abs() >= 1e-12 * v.abs()
}

pub(super) fn changed(first: Option<f64>, values: &[f64]) -> f64 {
    let Some(mut before) = first else { return f64::NAN };
    let mut n = 0.0;
    for v in values {
        if differs(before, *v) {
            n += 1.0;
            before = *v;
        }
    }
    n
}

/// The first sample of a series counts as a change.
pub(super) fn changes(r: &Rollup<'_>) -> f64 {
    match compared(r) {
        Ok((before, rest)) if r.prev.is_nan() => changed(Some(before), rest) + 1.0,
        Ok((before, rest)) => changed(Some(before), rest),
        Err(none) => none,
    }
}

pub(super) fn resets(r: &Rollup<'_>) -> f64 {
    steps(r, |before, v| v < before && differs(before, v))
}

/// How many samples stand in a relation to the one before.
pub(super) fn steps(r: &Rollup<'_>, f: fn(f64, f64) -> bool) -> f64 {
    let (mut before, rest) = match compared(r) {
        Ok(found) => found,
        Err(none) => return none,
    };
    let mut n = 0.0;
    for v in rest {
        n += f64::from(u8::from(f(before, *v)));
        before = *v;
    }
    n
}

fn moves(r: &Rollup<'_>, f: fn(f64) -> f64) -> f64 {
    let (mut before, rest) = match compared(r) {
        Ok(found) => found,
        Err(none) => return none,
    };
    let mut sum = 0.0;
    for v in rest {
        sum += f(v - before).max(0.0);
        before = *v;
    }
    sum
}

pub(super) fn ascent(r: &Rollup<'_>) -> f64 {
    moves(r, |d| d)
}

pub(super) fn descent(r: &Rollup<'_>) -> f64 {
    moves(r, |d| -d)
}

/// A series that begins in the window is taken to have begun at 0 where its first value is small
/// beside its next steps, else at its first value.
pub(super) fn delta(r: &Rollup<'_>) -> f64 {
    let Some(last) = r.values.last() else {
        return if r.prev.is_nan() { f64::NAN } else { 0.0 };
    };
    if !r.prev.is_nan() {
        return last - r.prev;
    }
    if !r.before.is_nan() {
        return last - r.before;
    }
    let first = r.values[0];
    let next = r.values.get(1).copied().unwrap_or(r.after);
    let mut step = if next.is_nan() { 0.0 } else { next - first };
    if step == 0.0 {
        step = 10.0;
    }
    if first.abs() < 10.0 * (step.abs() + 1.0) { *last } else { last - first }
}

pub(super) fn delta_inside(r: &Rollup<'_>) -> f64 {
    match r.values {
        [first, .., last] => last - first,
        _ => f64::NAN,
    }
}

/// The counter began at 0.
pub(super) fn increase_pure(r: &Rollup<'_>) -> f64 {
    let start = if r.prev.is_nan() { r.before } else { r.prev };
    match r.values.last() {
        Some(last) => last - if start.is_nan() { 0.0 } else { start },
        None if start.is_nan() => f64::NAN,
        None => 0.0,
    }
}

/// From the sample before the window to the last in it.
pub(super) fn slope(r: &Rollup<'_>) -> f64 {
    let (before, from) = if r.prev.is_nan() {
        match (r.values, r.times) {
            ([first, _, ..], [from, _, ..]) => (*first, *from),
            _ => return f64::NAN,
        }
    } else {
        (r.prev, r.prev_time)
    };
    match (r.values.last(), r.times.last()) {
        (Some(v), Some(t)) => (v - before) / (seconds(t - from)),
        _ => 0.0,
    }
}

pub(super) fn last_slope(r: &Rollup<'_>) -> f64 {
    let (Some((v, rest)), Some((t, times))) = (r.values.split_last(), r.times.split_last()) else {
        return f64::NAN;
    };
    match (rest.last(), times.last()) {
        (Some(before), Some(from)) => (v - before) / seconds(t - from),
        _ if r.prev.is_nan() => f64::NAN,
        _ => (v - r.prev) / seconds(t - r.prev_time),
    }
}

pub(super) fn idelta(r: &Rollup<'_>) -> f64 {
    match r.values {
        [] if r.prev.is_nan() => f64::NAN,
        [] => 0.0,
        [v] if r.prev.is_nan() => *v,
        [v] => v - r.prev,
        [.., before, v] => v - before,
    }
}

/// Least squares.
pub(super) fn deriv(r: &Rollup<'_>) -> f64 {
    if r.values.is_empty() {
        return f64::NAN;
    }
    if r.values.iter().all(|v| *v == r.values[0]) {
        return 0.0;
    }
    let n = r.values.len() as f64;
    let (mut t_sum, mut v_sum, mut tv, mut tt) = (0.0, 0.0, 0.0, 0.0);
    for (t, v) in r.times.iter().zip(r.values) {
        let t = seconds(t - r.now);
        t_sum += t;
        v_sum += v;
        tv += t * v;
        tt += t * t;
    }
    let spread = n * tt - t_sum * t_sum;
    if spread.abs() < 1e-6 { 0.0 } else { (n * tv - t_sum * v_sum) / spread }
}

pub(super) fn duration(r: &Rollup<'_>) -> f64 {
    if r.times.is_empty() {
        return f64::NAN;
    }
    let max = (argument(r) * 1000.0) as i64;
    let total: i64 = r.times.windows(2).map(|w| w[1] - w[0]).filter(|d| *d <= max).sum();
    seconds(total)
}

pub(super) fn integrate(r: &Rollup<'_>) -> f64 {
    let (mut before, rest) = match compared(r) {
        Ok(found) => found,
        Err(none) => return none,
    };
    let skipped = r.values.len() - rest.len();
    let mut at = if skipped > 0 { r.times[0] } else { r.now - r.window_ms };
    let mut sum = 0.0;
    for (t, v) in r.times.iter().skip(skipped).zip(rest) {
        sum += before * seconds(t - at);
        (before, at) = (*v, *t);
    }
    sum + before * seconds(r.now - at)
}

pub(super) fn lag(r: &Rollup<'_>) -> f64 {
    match r.times.last() {
        Some(t) => seconds(r.now - t),
        None if r.prev.is_nan() => f64::NAN,
        None => seconds(r.now - r.prev_time),
    }
}

pub(super) fn lifetime(r: &Rollup<'_>) -> f64 {
    match r.times {
        [first, .., last] if r.prev.is_nan() => seconds(last - first),
        [.., last] if !r.prev.is_nan() => seconds(last - r.prev_time),
        _ => f64::NAN,
    }
}

pub(super) fn scrape_interval(r: &Rollup<'_>) -> f64 {
    match r.times {
        [first, .., last] if r.prev.is_nan() => seconds(last - first) / (r.times.len() - 1) as f64,
        [.., last] if !r.prev.is_nan() => seconds(last - r.prev_time) / r.times.len() as f64,
        _ => f64::NAN,
    }
}

/// The bound that the mean of what the samples are drawn from keeps with a probability (Hoeffding's
/// inequality, for values between the least and the greatest that were seen).
pub(super) fn hoeffding(r: &Rollup<'_>, side: f64) -> f64 {
    let (spread, n) = (max(r.values) - min(r.values), r.values.len() as f64);
    let middle = mean(r.values);
    if r.values.len() < 2 || spread <= 0.0 {
        return middle;
    }
    middle + side * spread * ((1.0 / (1.0 - argument(r))).ln() / (2.0 * n)).sqrt()
}

pub(super) fn outlier_iqr(r: &Rollup<'_>) -> f64 {
    if r.values.len() < 2 {
        return f64::NAN;
    }
    let (low, high) = (quantile(0.25, r.values), quantile(0.75, r.values));
    let reach = 1.5 * (high - low);
    let v = last(r);
    if v > high + reach || v < low - reach { v } else { f64::NAN }
}

pub(super) fn last_change(r: &Rollup<'_>) -> f64 {
    let Some((v, rest)) = r.values.split_last() else { return f64::NAN };
    match rest.iter().rposition(|x| x != v) {
        Some(i) => r.times.get(i + 1).map_or(f64::NAN, |t| seconds(*t)),
        None if r.prev.is_nan() || r.prev != *v => {
            r.times.first().map_or(f64::NAN, |t| seconds(*t))
        }
        None => f64::NAN,
    }
}

pub(super) fn extreme_time(r: &Rollup<'_>, better: fn(f64, f64) -> bool) -> f64 {
    let mut found: Option<(f64, i64)> = None;
    for (v, t) in r.values.iter().zip(r.times) {
        if found.is_none_or(|(best, _)| better(*v, best)) {
            found = Some((*v, *t));
        }
    }
    found.map_or(f64::NAN, |(_, t)| seconds(t))
}

/// How many deviations the last sample is away from the mean; nothing where samples have stopped.
pub(super) fn zscore(r: &Rollup<'_>) -> f64 {
    let (interval, behind) = (scrape_interval(r), lag(r));
    if interval.is_nan() || behind.is_nan() || behind > interval {
        return f64::NAN;
    }
    let d = last(r) - mean(r.values);
    if d == 0.0 { 0.0 } else { d / stdvar(r.values).sqrt() }
}
