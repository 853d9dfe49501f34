//! Range functions as MetricsQL means them: a window sees the sample before it, counters are made
//! to rise before windows are cut, nothing is extrapolated.
//!
//! A function gives NaN where it has no answer.
//! Source: MetricsQL documentation of VictoriaMetrics; differences: `docs/compat/metricsql.md`.

use super::over_time::quantile_of;

/// One series as it is seen from one step.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rollup<'a> {
    /// The samples in the window.
    pub(crate) times: &'a [i64],
    pub(crate) values: &'a [f64],
    /// The sample before the window, NaN where there is none or too far away; its time is then the
    /// earliest at which it would have counted.
    pub(crate) prev: f64,
    pub(crate) prev_time: i64,
    /// The sample before the window however far away, and the one after it; NaN where none is.
    pub(crate) before: f64,
    pub(crate) after: f64,
    /// The evaluation time, milliseconds.
    pub(crate) now: i64,
    pub(crate) window_ms: i64,
    /// The other arguments at this step.
    pub(crate) args: &'a [f64],
}

pub(crate) type RollupFn = fn(&Rollup<'_>) -> f64;

/// What is done with the samples before windows are cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Before {
    Nothing,
    /// A counter rises on after a reset.
    Counter,
    /// Differences to the next sample, of a counter where set.
    Deltas {
        counter: bool,
    },
    /// Slopes to the next sample, of a counter where set.
    Slopes {
        counter: bool,
    },
    /// Seconds since the sample before.
    Intervals,
}

/// Functions whose own meaning differs from PromQL's, or that PromQL lacks.
pub(crate) fn find(name: &str) -> Option<(Before, RollupFn)> {
    use Before::{Counter, Nothing};
    Some(match name {
        "ascent_over_time" => (Nothing, ascent),
        "changes" => (Nothing, changes),
        "changes_prometheus" => (Nothing, |r| changed(r.values.first().copied(), r.values)),
        "count_eq_over_time" => (Nothing, |r| count(r, |v, x| v == x)),
        "count_gt_over_time" => (Nothing, |r| count(r, |v, x| v > x)),
        "count_le_over_time" => (Nothing, |r| count(r, |v, x| v <= x)),
        "count_ne_over_time" => (Nothing, |r| count(r, |v, x| v != x)),
        "decreases_over_time" => (Nothing, |r| steps(r, |before, v| v < before)),
        "timestamp_with_name" | "tlast_over_time" => {
            (Nothing, |r| r.times.last().map_or(f64::NAN, |t| seconds(*t)))
        }
        "default_rollup" => (Nothing, last),
        "delta" => (Nothing, delta),
        "increase" => (Counter, delta),
        "delta_prometheus" => (Nothing, delta_inside),
        "increase_prometheus" => (Counter, delta_inside),
        "rate_prometheus" => (Counter, |r| delta_inside(r) / (r.window_ms as f64 / 1000.0)),
        "increase_pure" => (Counter, increase_pure),
        "increases_over_time" => (Nothing, |r| steps(r, |before, v| v > before)),
        "deriv" => (Nothing, deriv),
        "deriv_fast" => (Nothing, slope),
        "rate" => (Counter, slope),
        "descent_over_time" => (Nothing, descent),
        "distinct_over_time" => {
            (Nothing, |r| if r.values.is_empty() { f64::NAN } else { distinct(r.values) })
        }
        "duration_over_time" => (Nothing, duration),
        "geomean_over_time" => (Nothing, |r| geomean(r.values)),
        "idelta" => (Nothing, idelta),
        "ideriv" => (Nothing, last_slope),
        "irate" => (Counter, last_slope),
        "integrate" => (Nothing, integrate),
        "lag" => (Nothing, lag),
        "lifetime" => (Nothing, lifetime),
        "median_over_time" => (Nothing, |r| quantile(0.5, r.values)),
        "mode_over_time" => (Nothing, |r| mode(r.values)),
        "outlier_iqr_over_time" => (Nothing, outlier_iqr),
        "range_over_time" => (Nothing, |r| max(r.values) - min(r.values)),
        "rate_over_sum" => {
            (Nothing, |r| over(r.values, |v| v.iter().sum()) / (r.window_ms as f64 / 1000.0))
        }
        "resets" => (Nothing, resets),
        "scrape_interval" => (Nothing, scrape_interval),
        "share_eq_over_time" => (Nothing, |r| share(r, |v, x| v == x)),
        "share_gt_over_time" => (Nothing, |r| share(r, |v, x| v > x)),
        "share_le_over_time" => (Nothing, |r| share(r, |v, x| v <= x)),
        "sum2_over_time" => (Nothing, |r| over(r.values, |v| v.iter().map(|x| x * x).sum())),
        "sum_eq_over_time" => (Nothing, |r| sum_where(r, |v, x| v == x)),
        "sum_gt_over_time" => (Nothing, |r| sum_where(r, |v, x| v > x)),
        "sum_le_over_time" => (Nothing, |r| sum_where(r, |v, x| v <= x)),
        "tfirst_over_time" => (Nothing, |r| r.times.first().map_or(f64::NAN, |t| seconds(*t))),
        "tlast_change_over_time" => (Nothing, last_change),
        "tmax_over_time" => (Nothing, |r| extreme_time(r, |v, best| v >= best)),
        "tmin_over_time" => (Nothing, |r| extreme_time(r, |v, best| v <= best)),
        "zscore_over_time" => (Nothing, zscore),
        _ => return None,
    })
}

/// The functions that `aggr_over_time` names: also those that mean the same in PromQL.
pub(crate) fn find_any(name: &str) -> Option<(Before, RollupFn)> {
    use Before::Nothing;
    Some(match name {
        "avg_over_time" | "avg" => (Nothing, |r| mean(r.values)),
        "count_over_time" | "count" => (Nothing, |r| over(r.values, |v| v.len() as f64)),
        "first_over_time" => (Nothing, |r| r.values.first().copied().unwrap_or(f64::NAN)),
        "last_over_time" => (Nothing, last),
        "max_over_time" | "max" => (Nothing, |r| max(r.values)),
        "min_over_time" | "min" => (Nothing, |r| min(r.values)),
        "present_over_time" => (Nothing, |r| over(r.values, |_| 1.0)),
        "stddev_over_time" => (Nothing, |r| stdvar(r.values).sqrt()),
        "stdvar_over_time" => (Nothing, |r| stdvar(r.values)),
        "sum_over_time" | "sum" => (Nothing, |r| over(r.values, |v| v.iter().sum())),
        _ => return find(name),
    })
}

/// What a window spans at least for these functions: the distance of samples.
pub(crate) fn window_adjusts(name: &str) -> bool {
    matches!(
        name,
        "default_rollup"
            | "deriv"
            | "deriv_fast"
            | "ideriv"
            | "irate"
            | "rate"
            | "rate_over_sum"
            | "scrape_interval"
            | "timestamp_with_name"
    ) || name.starts_with("rollup")
}

/// How far apart two samples may be to belong together, from the distances of the first samples:
/// their 0.6 quantile and an allowance that is larger for short ones. `None` for fewer than two
/// samples.
pub(crate) fn gap_ms(times: &[i64]) -> Option<i64> {
    const INTERVALS_MAX: usize = 20;
    let mut intervals: Vec<f64> =
        times.windows(2).take(INTERVALS_MAX).map(|w| (w[1] - w[0]) as f64).collect();
    if intervals.is_empty() {
        return None;
    }
    let interval = quantile_of(0.6, &mut intervals) as i64;
    Some(match interval {
        ..=0 => return None,
        1..=2_000 => interval * 5,
        2_001..=4_000 => interval * 3,
        4_001..=8_000 => interval * 2,
        8_001..=16_000 => interval + interval / 2,
        16_001..=32_000 => interval + interval / 4,
        _ => interval + interval / 8,
    })
}

/// Prepares the samples of one series.
pub(crate) fn prepare(before: Before, times: &[i64], values: &mut [f64]) {
    let counter = matches!(
        before,
        Before::Counter | Before::Deltas { counter: true } | Before::Slopes { counter: true }
    );
    if counter {
        remove_resets(values);
    }
    match before {
        Before::Nothing | Before::Counter => {}
        Before::Deltas { .. } => {
            let mut last = 0.0;
            for i in 0..values.len().saturating_sub(1) {
                last = values[i + 1] - values[i];
                values[i] = last;
            }
            if let Some(v) = values.last_mut() {
                *v = last;
            }
        }
        Before::Slopes { .. } => {
            let mut last = 0.0;
            for i in 0..values.len().saturating_sub(1) {
                let dt = times[i + 1] - times[i];
                if dt > 0 {
                    last = (values[i + 1] - values[i]) / (dt as f64 / 1000.0);
                }
                values[i] = last;
            }
            if let Some(v) = values.last_mut() {
                *v = last;
            }
        }
        Before::Intervals => {
            for i in 1..values.len() {
                values[i] = (times[i] - times[i - 1]) as f64 / 1000.0;
            }
            match values {
                [first, second, ..] => *first = *second,
                [only] => *only = f64::NAN,
                [] => {}
            }
        }
    }
}

/// Makes a counter rise over resets. A fall by less than an eighth is taken for late samples, after
/// which the counter goes on from where it was.
pub(crate) fn remove_resets(values: &mut [f64]) {
    let mut correction = 0.0;
    let mut prev = f64::NAN;
    for v in values {
        if v.is_nan() {
            continue;
        }
        let fall = prev - *v;
        if fall > 0.0 {
            correction += if fall * 8.0 < prev { fall } else { prev };
        }
        prev = *v;
        *v += correction;
    }
}

fn seconds(ms: i64) -> f64 {
    ms as f64 / 1000.0
}

fn over(values: &[f64], f: impl Fn(&[f64]) -> f64) -> f64 {
    if values.is_empty() { f64::NAN } else { f(values) }
}

pub(crate) fn mean(values: &[f64]) -> f64 {
    over(values, |v| v.iter().sum::<f64>() / v.len() as f64)
}

pub(crate) fn max(values: &[f64]) -> f64 {
    values.iter().copied().fold(f64::NAN, f64::max)
}

pub(crate) fn min(values: &[f64]) -> f64 {
    values.iter().copied().fold(f64::NAN, f64::min)
}

/// Of the population.
pub(crate) fn stdvar(values: &[f64]) -> f64 {
    let (mut n, mut mean, mut sum) = (0.0, 0.0, 0.0);
    for v in values {
        n += 1.0;
        let delta = v - mean;
        mean += delta / n;
        sum += delta * (v - mean);
    }
    over(values, |_| sum / n)
}

pub(crate) fn quantile(q: f64, values: &[f64]) -> f64 {
    over(values, |v| quantile_of(q, &mut v.to_vec()))
}

pub(crate) fn geomean(values: &[f64]) -> f64 {
    over(values, |v| v.iter().product::<f64>().powf(1.0 / v.len() as f64))
}

pub(crate) fn distinct(values: &[f64]) -> f64 {
    let mut bits: Vec<u64> = values.iter().map(|v| v.to_bits()).collect();
    bits.sort_unstable();
    bits.dedup();
    bits.len() as f64
}

/// The most frequent value, the smallest of several.
pub(crate) fn mode(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let (mut best, mut best_count) = (f64::NAN, 0);
    for run in sorted.chunk_by(|a, b| a == b) {
        if run.len() > best_count {
            (best, best_count) = (run[0], run.len());
        }
    }
    best
}

/// Median of the distances from the median.
pub(crate) fn mad(values: &[f64]) -> f64 {
    let median = quantile(0.5, values);
    let distances: Vec<f64> = values.iter().map(|v| (v - median).abs()).collect();
    quantile(0.5, &distances)
}

fn last(r: &Rollup<'_>) -> f64 {
    r.values.last().copied().unwrap_or(f64::NAN)
}

fn argument(r: &Rollup<'_>) -> f64 {
    r.args.first().copied().unwrap_or(f64::NAN)
}

fn count(r: &Rollup<'_>, f: fn(f64, f64) -> bool) -> f64 {
    let x = argument(r);
    over(r.values, |v| v.iter().filter(|v| f(**v, x)).count() as f64)
}

fn share(r: &Rollup<'_>, f: fn(f64, f64) -> bool) -> f64 {
    count(r, f) / r.values.len() as f64
}

fn sum_where(r: &Rollup<'_>, f: fn(f64, f64) -> bool) -> f64 {
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

fn changed(first: Option<f64>, values: &[f64]) -> f64 {
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
fn changes(r: &Rollup<'_>) -> f64 {
    match compared(r) {
        Ok((before, rest)) if r.prev.is_nan() => changed(Some(before), rest) + 1.0,
        Ok((before, rest)) => changed(Some(before), rest),
        Err(none) => none,
    }
}

fn resets(r: &Rollup<'_>) -> f64 {
    steps(r, |before, v| v < before && differs(before, v))
}

/// How many samples stand in a relation to the one before.
fn steps(r: &Rollup<'_>, f: fn(f64, f64) -> bool) -> f64 {
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

fn ascent(r: &Rollup<'_>) -> f64 {
    moves(r, |d| d)
}

fn descent(r: &Rollup<'_>) -> f64 {
    moves(r, |d| -d)
}

/// A series that begins in the window is taken to have begun at 0 where its first value is small
/// beside its next steps, else at its first value.
fn delta(r: &Rollup<'_>) -> f64 {
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

fn delta_inside(r: &Rollup<'_>) -> f64 {
    match r.values {
        [first, .., last] => last - first,
        _ => f64::NAN,
    }
}

/// The counter began at 0.
fn increase_pure(r: &Rollup<'_>) -> f64 {
    let start = if r.prev.is_nan() { r.before } else { r.prev };
    match r.values.last() {
        Some(last) => last - if start.is_nan() { 0.0 } else { start },
        None if start.is_nan() => f64::NAN,
        None => 0.0,
    }
}

/// From the sample before the window to the last in it.
fn slope(r: &Rollup<'_>) -> f64 {
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

fn last_slope(r: &Rollup<'_>) -> f64 {
    let (Some((v, rest)), Some((t, times))) = (r.values.split_last(), r.times.split_last()) else {
        return f64::NAN;
    };
    match (rest.last(), times.last()) {
        (Some(before), Some(from)) => (v - before) / seconds(t - from),
        _ if r.prev.is_nan() => f64::NAN,
        _ => (v - r.prev) / seconds(t - r.prev_time),
    }
}

fn idelta(r: &Rollup<'_>) -> f64 {
    match r.values {
        [] if r.prev.is_nan() => f64::NAN,
        [] => 0.0,
        [v] if r.prev.is_nan() => *v,
        [v] => v - r.prev,
        [.., before, v] => v - before,
    }
}

/// Least squares.
fn deriv(r: &Rollup<'_>) -> f64 {
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

fn duration(r: &Rollup<'_>) -> f64 {
    if r.times.is_empty() {
        return f64::NAN;
    }
    let max = (argument(r) * 1000.0) as i64;
    let total: i64 = r.times.windows(2).map(|w| w[1] - w[0]).filter(|d| *d <= max).sum();
    seconds(total)
}

fn integrate(r: &Rollup<'_>) -> f64 {
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

fn lag(r: &Rollup<'_>) -> f64 {
    match r.times.last() {
        Some(t) => seconds(r.now - t),
        None if r.prev.is_nan() => f64::NAN,
        None => seconds(r.now - r.prev_time),
    }
}

fn lifetime(r: &Rollup<'_>) -> f64 {
    match r.times {
        [first, .., last] if r.prev.is_nan() => seconds(last - first),
        [.., last] if !r.prev.is_nan() => seconds(last - r.prev_time),
        _ => f64::NAN,
    }
}

fn scrape_interval(r: &Rollup<'_>) -> f64 {
    match r.times {
        [first, .., last] if r.prev.is_nan() => seconds(last - first) / (r.times.len() - 1) as f64,
        [.., last] if !r.prev.is_nan() => seconds(last - r.prev_time) / r.times.len() as f64,
        _ => f64::NAN,
    }
}

fn outlier_iqr(r: &Rollup<'_>) -> f64 {
    if r.values.len() < 2 {
        return f64::NAN;
    }
    let (low, high) = (quantile(0.25, r.values), quantile(0.75, r.values));
    let reach = 1.5 * (high - low);
    let v = last(r);
    if v > high + reach || v < low - reach { v } else { f64::NAN }
}

fn last_change(r: &Rollup<'_>) -> f64 {
    let Some((v, rest)) = r.values.split_last() else { return f64::NAN };
    match rest.iter().rposition(|x| x != v) {
        Some(i) => r.times.get(i + 1).map_or(f64::NAN, |t| seconds(*t)),
        None if r.prev.is_nan() || r.prev != *v => {
            r.times.first().map_or(f64::NAN, |t| seconds(*t))
        }
        None => f64::NAN,
    }
}

fn extreme_time(r: &Rollup<'_>, better: fn(f64, f64) -> bool) -> f64 {
    let mut found: Option<(f64, i64)> = None;
    for (v, t) in r.values.iter().zip(r.times) {
        if found.is_none_or(|(best, _)| better(*v, best)) {
            found = Some((*v, *t));
        }
    }
    found.map_or(f64::NAN, |(_, t)| seconds(t))
}

/// How many deviations the last sample is away from the mean; nothing where samples have stopped.
fn zscore(r: &Rollup<'_>) -> f64 {
    let (interval, behind) = (scrape_interval(r), lag(r));
    if interval.is_nan() || behind.is_nan() || behind > interval {
        return f64::NAN;
    }
    let d = last(r) - mean(r.values);
    if d == 0.0 { 0.0 } else { d / stdvar(r.values).sqrt() }
}
