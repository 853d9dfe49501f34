//! Range functions as MetricsQL means them: a window sees the sample before it, counters are made
//! to rise before windows are cut, nothing is extrapolated.
//!
//! A function gives NaN where it has no answer.
//! Source: MetricsQL documentation of VictoriaMetrics; differences: `docs/compat/metricsql.md`.

mod statistics;
mod windows;

use statistics::over;
pub(crate) use statistics::{distinct, geomean, mad, max, mean, min, mode, quantile, stdvar};
use windows::{
    ascent, changed, changes, count, delta, delta_inside, deriv, descent, duration, extreme_time,
    hoeffding, idelta, increase_pure, integrate, lag, last, last_change, last_slope, lifetime,
    outlier_iqr, resets, scrape_interval, seconds, share, slope, steps, sum_where, zscore,
};

use super::over_time::quantile_of;
use obs_types::is_stale;

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
        "hoeffding_bound_lower" => (Nothing, |r| hoeffding(r, -1.0)),
        "hoeffding_bound_upper" => (Nothing, |r| hoeffding(r, 1.0)),
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
        "stale_samples_over_time" => {
            (Nothing, |r| over(r.values, |v| v.iter().filter(|v| is_stale(**v)).count() as f64))
        }
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
