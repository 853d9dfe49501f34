//! Statistics of the values of a window, or of a step.

use crate::functions::over_time::quantile_of;

pub(super) fn over(values: &[f64], f: impl Fn(&[f64]) -> f64) -> f64 {
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
