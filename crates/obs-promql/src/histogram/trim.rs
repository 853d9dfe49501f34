//! The operators `</` and `>/`: drop the observations above or below a value.

use obs_types::NativeHistogram;

use super::{Bucket, compact, negative_buckets, positive_buckets, zero_bucket};

/// Keeps what lies below (`upper`) or above `at`; buckets cut in two are interpolated, count and
/// sum are estimated anew if anything was dropped.
pub(crate) fn trim(h: &NativeHistogram, at: f64, upper: bool) -> NativeHistogram {
    let mut out = h.clone();
    let custom = h.uses_custom_buckets();
    let (mut count, mut sum, mut changed) = (0.0, 0.0, false);
    let (mut has_positive, mut has_negative) = (false, false);
    let sides = [
        (positive_buckets(h), &mut out.positive_buckets, &mut has_positive, true),
        (negative_buckets(h), &mut out.negative_buckets, &mut has_negative, false),
    ];
    for (buckets, counts, seen, positive) in sides {
        for (b, slot) in buckets.iter().zip(counts.iter_mut()) {
            if b.count == 0.0 {
                continue;
            }
            *seen = true;
            let whole = if upper { b.upper <= at } else { b.lower >= at };
            let part = if upper { b.lower < at } else { b.upper > at };
            if whole {
                count += b.count;
                sum += midpoint(b.lower, b.upper, positive, custom) * b.count;
            } else if part {
                let (keep, mid) = cut(b, at, upper, positive, custom);
                count += keep;
                sum += mid * keep;
                if *slot != keep {
                    *slot = keep;
                    changed = true;
                }
            } else {
                *slot = 0.0;
                changed = true;
            }
        }
    }
    if h.zero_count > 0.0 {
        let (keep, mid) = cut_zero(&zero_bucket(h), at, has_negative, has_positive, upper);
        if out.zero_count != keep {
            out.zero_count = keep;
            changed = true;
        }
        sum += mid * keep;
        count += keep;
    }
    if changed {
        out.count = count;
        out.sum = sum;
        compact(&mut out);
    }
    out
}

fn cut(b: &Bucket, at: f64, upper: bool, positive: bool, custom: bool) -> (f64, f64) {
    if b.lower == f64::NEG_INFINITY || b.upper == f64::INFINITY {
        return cut_infinite(b, at, upper);
    }
    let below = if at <= b.lower {
        0.0
    } else if at >= b.upper {
        b.count
    } else {
        b.count * b.fraction_below(at, custom)
    };
    if upper {
        (below, midpoint(b.lower, at, positive, custom))
    } else {
        (b.count - below, midpoint(at, b.upper, positive, custom))
    }
}

fn cut_infinite(b: &Bucket, at: f64, upper: bool) -> (f64, f64) {
    let finite = |x: f64| if x.is_infinite() { 0.0 } else { x };
    if b.lower == f64::NEG_INFINITY {
        if upper {
            if at >= b.upper {
                return (b.count, 0.0);
            }
            if at > 0.0 && b.upper > 0.0 && b.upper != f64::INFINITY {
                return (b.count * at / b.upper, at / 2.0);
            }
            if b.upper <= 0.0 {
                return (b.count, at);
            }
            return (0.0, finite(b.upper));
        }
        if at <= b.lower {
            return (b.count, 0.0);
        }
        if at >= 0.0 && b.upper > at && b.upper != f64::INFINITY {
            return (b.count * (1.0 - at / b.upper), f64::midpoint(at, b.upper));
        }
        return (0.0, finite(b.upper));
    }
    if !upper && at >= b.lower {
        return (b.count, at);
    }
    (0.0, finite(b.lower))
}

fn cut_zero(b: &Bucket, at: f64, negative: bool, positive: bool, upper: bool) -> (f64, f64) {
    let low = if positive && !negative { 0.0 } else { b.lower };
    let high = if negative && !positive { 0.0 } else { b.upper };
    let middle = f64::midpoint(low, high);
    if upper {
        if at <= low {
            (0.0, 0.0)
        } else if at >= high {
            (b.count, middle)
        } else {
            (b.count * (at - low) / (high - low), f64::midpoint(low, at))
        }
    } else if at <= low {
        (b.count, middle)
    } else if at >= high {
        (0.0, 0.0)
    } else {
        (b.count * (high - at) / (high - low), f64::midpoint(at, high))
    }
}

fn midpoint(low: f64, high: f64, positive: bool, linear: bool) -> f64 {
    if low.is_infinite() {
        return match high {
            h if h.is_infinite() => 0.0,
            h if h > 0.0 => h / 2.0,
            h => h,
        };
    }
    if high.is_infinite() {
        return low;
    }
    if linear {
        return f64::midpoint(low, high);
    }
    let mean = (low * high).abs().sqrt();
    if positive { mean } else { -mean }
}
