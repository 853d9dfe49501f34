//! Quantiles and fractions, of native histograms and of classic `le` buckets.

use obs_types::NativeHistogram;

use super::all_buckets;
use crate::annotations::Annotations;
use crate::ast::PosRange;

/// Relative difference between cumulative counts that passes as floating-point noise.
const SMALL_DELTA: f64 = 1e-12;

/// A cumulative bucket of a classic histogram.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bucket {
    pub(crate) upper: f64,
    pub(crate) count: f64,
}

/// How counts had to be raised to make them ascend.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Forced {
    pub(crate) bucket_min: f64,
    pub(crate) bucket_max: f64,
    pub(crate) diff_max: f64,
}

pub(crate) fn native_quantile(
    q: f64,
    h: &NativeHistogram,
    name: &str,
    pos: PosRange,
    annos: &mut Annotations,
) -> f64 {
    if q < 0.0 {
        return f64::NEG_INFINITY;
    }
    if q > 1.0 {
        return f64::INFINITY;
    }
    if h.count == 0.0 || q.is_nan() {
        return f64::NAN;
    }
    let custom = h.uses_custom_buckets();
    let forward = h.sum.is_nan() || q < 0.5;
    let mut buckets = all_buckets(h);
    let mut rank = if forward { q * h.count } else { (1.0 - q) * h.count };
    if !forward {
        buckets.reverse();
    }
    let mut count = 0.0;
    let Some(mut bucket) = buckets.first().copied() else {
        if !h.sum.is_nan() {
            return 0.0;
        }
        annos.nan_observations(
            "input to histogram_quantile has NaN observations, result is NaN",
            name,
            pos,
        );
        return f64::NAN;
    };
    let mut used = buckets.len();
    for (i, b) in buckets.iter().enumerate() {
        bucket = *b;
        if b.count == 0.0 {
            continue;
        }
        count += b.count;
        if count >= rank {
            used = i + 1;
            break;
        }
    }
    if custom {
        if bucket.lower == f64::NEG_INFINITY {
            if bucket.upper <= 0.0 {
                return bucket.upper;
            }
            bucket.lower = 0.0;
        } else if bucket.upper == f64::INFINITY {
            return bucket.lower;
        }
    } else if bucket.lower < 0.0 && bucket.upper > 0.0 {
        if h.negative_buckets.is_empty() && !h.positive_buckets.is_empty() {
            bucket.lower = 0.0;
        } else if h.positive_buckets.is_empty() && !h.negative_buckets.is_empty() {
            bucket.upper = 0.0;
        }
    }
    count = count.min(h.count);
    if count < rank {
        if h.sum.is_nan() {
            annos.nan_observations(
                "input to histogram_quantile has NaN observations, result is NaN",
                name,
                pos,
            );
            return f64::NAN;
        }
        return bucket.upper;
    }
    if forward {
        rank -= count - bucket.count;
    } else {
        rank = count - rank;
    }
    if h.sum.is_nan() {
        count += buckets.iter().skip(used).map(|b| b.count).sum::<f64>();
        if count < h.count {
            annos.nan_observations(
                "input to histogram_quantile has NaN observations, result is skewed higher",
                name,
                pos,
            );
        }
    }
    let fraction = rank / bucket.count;
    if custom || (bucket.lower <= 0.0 && bucket.upper >= 0.0) {
        return bucket.lower + (bucket.upper - bucket.lower) * fraction;
    }
    let (lower, upper) = (bucket.lower.abs().log2(), bucket.upper.abs().log2());
    if bucket.lower > 0.0 {
        (lower + (upper - lower) * fraction).exp2()
    } else {
        -(upper + (lower - upper) * (1.0 - fraction)).exp2()
    }
}

pub(crate) fn native_fraction(
    lower: f64,
    upper: f64,
    h: &NativeHistogram,
    name: &str,
    pos: PosRange,
    annos: &mut Annotations,
) -> f64 {
    if h.count == 0.0 || lower.is_nan() || upper.is_nan() {
        return f64::NAN;
    }
    if lower >= upper {
        return 0.0;
    }
    let custom = h.uses_custom_buckets();
    let buckets = all_buckets(h);
    let mut rank = 0.0;
    let (mut lower_rank, mut upper_rank): (Option<f64>, Option<f64>) = (None, None);
    for mut b in buckets.iter().copied() {
        let zero = b.lower <= 0.0 && b.upper >= 0.0;
        if zero {
            if h.negative_buckets.is_empty() && !h.positive_buckets.is_empty() {
                b.lower = 0.0;
            } else if h.positive_buckets.is_empty() && !h.negative_buckets.is_empty() {
                b.upper = 0.0;
            }
        }
        let at = |v: f64| {
            if custom || zero {
                if b.lower == f64::NEG_INFINITY {
                    return b.count;
                }
                rank + b.count * b.fraction_below(v, true)
            } else {
                rank + b.count * b.fraction_below(v, false)
            }
        };
        for (slot, v) in [(&mut lower_rank, lower), (&mut upper_rank, upper)] {
            if slot.is_none() {
                if b.lower >= v {
                    *slot = Some(rank);
                } else if b.upper > v {
                    *slot = Some(at(v));
                }
            }
        }
        if lower_rank.is_some() && upper_rank.is_some() {
            break;
        }
        rank += b.count;
    }
    let mut count = h.count;
    if h.sum.is_nan() {
        count = buckets.iter().map(|b| b.count).sum();
        if count < h.count {
            annos.nan_observations(
                "input to histogram_fraction has NaN observations, which are excluded from all \
                 fractions",
                name,
                pos,
            );
        }
    }
    let cap = |r: Option<f64>| r.filter(|r| *r <= count).unwrap_or(count);
    (cap(upper_rank) - cap(lower_rank)) / h.count
}

/// Sorted, buckets of equal bound added up. `None` without a `+Inf` bucket.
fn prepare(buckets: &mut [Bucket]) -> Option<Vec<Bucket>> {
    buckets.sort_by(|a, b| a.upper.total_cmp(&b.upper));
    if buckets.last()?.upper != f64::INFINITY {
        return None;
    }
    let mut out: Vec<Bucket> = Vec::with_capacity(buckets.len());
    for b in buckets.iter() {
        match out.last_mut() {
            Some(last) if last.upper == b.upper => last.count += b.count,
            _ => out.push(*b),
        }
    }
    Some(out)
}

fn almost_equal(a: f64, b: f64) -> bool {
    if a == b || (a.is_nan() && b.is_nan()) {
        return true;
    }
    let sum = a.abs() + b.abs();
    let diff = (a - b).abs();
    if a == 0.0 || b == 0.0 || sum < f64::MIN_POSITIVE {
        return diff < SMALL_DELTA * f64::MIN_POSITIVE;
    }
    diff / sum.min(f64::MAX) < SMALL_DELTA
}

fn ensure_monotonic(buckets: &mut [Bucket]) -> Option<Forced> {
    let mut forced: Option<Forced> = None;
    let mut prev = buckets.first()?.count;
    for b in buckets.iter_mut().skip(1) {
        let current = b.count;
        if current == prev {
            continue;
        }
        if almost_equal(prev, current) {
            b.count = prev;
        } else if current < prev {
            b.count = prev;
            let f = forced.get_or_insert(Forced {
                bucket_min: f64::INFINITY,
                bucket_max: f64::NEG_INFINITY,
                diff_max: 0.0,
            });
            f.bucket_min = f.bucket_min.min(b.upper);
            f.bucket_max = f.bucket_max.max(b.upper);
            f.diff_max = f.diff_max.max(prev - current);
        } else {
            prev = current;
        }
    }
    forced
}

/// Quantile of cumulative buckets, interpolated linearly; NaN where nothing can be said.
pub(crate) fn bucket_quantile(q: f64, buckets: &mut [Bucket]) -> (f64, Option<Forced>) {
    if q.is_nan() {
        return (f64::NAN, None);
    }
    if q < 0.0 {
        return (f64::NEG_INFINITY, None);
    }
    if q > 1.0 {
        return (f64::INFINITY, None);
    }
    let Some(mut buckets) = prepare(buckets) else { return (f64::NAN, None) };
    let forced = ensure_monotonic(&mut buckets);
    let n = buckets.len();
    let total = buckets.last().map_or(0.0, |b| b.count);
    if n < 2 || total == 0.0 || total.is_nan() {
        return (f64::NAN, forced);
    }
    let mut rank = q * total;
    let at = buckets[..n - 1].partition_point(|b| b.count < rank);
    if at == n - 1 {
        return (buckets[n - 2].upper, forced);
    }
    if at == 0 && buckets[0].upper <= 0.0 {
        return (buckets[0].upper, forced);
    }
    let (mut start, mut count) = (0.0, buckets[at].count);
    if at > 0 {
        start = buckets[at - 1].upper;
        count -= buckets[at - 1].count;
        rank -= buckets[at - 1].count;
    }
    (start + (buckets[at].upper - start) * (rank / count), forced)
}

pub(crate) fn bucket_fraction(lower: f64, upper: f64, buckets: &mut [Bucket]) -> f64 {
    let Some(buckets) = prepare(buckets) else { return f64::NAN };
    let count = buckets.last().map_or(0.0, |b| b.count);
    if count == 0.0 || lower.is_nan() || upper.is_nan() {
        return f64::NAN;
    }
    if lower >= upper {
        return 0.0;
    }
    let mut rank = 0.0;
    let (mut lower_rank, mut upper_rank): (Option<f64>, Option<f64>) = (None, None);
    let mut from =
        if buckets.first().is_some_and(|b| b.upper <= 0.0) { f64::NEG_INFINITY } else { 0.0 };
    for b in &buckets {
        let at = |v: f64| {
            if from == f64::NEG_INFINITY {
                b.count
            } else {
                rank + (b.count - rank) * (v - from) / (b.upper - from)
            }
        };
        for (slot, v) in [(&mut lower_rank, lower), (&mut upper_rank, upper)] {
            if slot.is_none() {
                if from >= v {
                    *slot = Some(rank);
                } else if b.upper > v {
                    *slot = Some(at(v));
                }
            }
        }
        if lower_rank.is_some() && upper_rank.is_some() {
            break;
        }
        rank = b.count;
        from = b.upper;
    }
    let cap = |r: Option<f64>| r.filter(|r| *r <= count).unwrap_or(count);
    (cap(upper_rank) - cap(lower_rank)) / count
}
