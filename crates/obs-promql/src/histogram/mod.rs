//! Arithmetic and statistics over native histograms.
//!
//! Spans and buckets are opened into `(bucket index, count)` pairs, which makes merging, reducing
//! and mapping plain walks; results are closed again, compacted.

mod accumulate;
mod quantile;
mod trim;

pub(crate) use accumulate::{Accumulator, Incompatible, Notes, detect_reset, same};
pub(crate) use quantile::{
    Bucket as ClassicBucket, bucket_fraction, bucket_quantile, native_fraction, native_quantile,
};
pub(crate) use trim::trim;

pub(crate) use obs_types::kahan;
use obs_types::{BucketSpan, NativeHistogram};

use crate::text::float_g;

/// A bucket with its bounds.
#[derive(Clone, Copy, Debug)]
pub struct Bucket {
    pub lower: f64,
    pub upper: f64,
    pub lower_inclusive: bool,
    pub upper_inclusive: bool,
    pub count: f64,
}

impl Bucket {
    /// The share of the bucket assumed to lie below `v`.
    pub(crate) fn fraction_below(&self, v: f64, linear: bool) -> f64 {
        if linear {
            return (v - self.lower) / (self.upper - self.lower);
        }
        let (lower, upper, v_log) =
            (self.lower.abs().log2(), self.upper.abs().log2(), v.abs().log2());
        if v > 0.0 {
            (v_log - lower) / (upper - lower)
        } else {
            1.0 - (v_log - upper) / (lower - upper)
        }
    }
}

/// `(index, count)` of every bucket that the spans name, ascending.
pub(crate) fn open(spans: &[BucketSpan], buckets: &[f64]) -> Vec<(i32, f64)> {
    let mut out = Vec::with_capacity(buckets.len());
    let mut counts = buckets.iter();
    let mut index: i32 = 0;
    for span in spans {
        index = index.saturating_add(span.offset);
        for _ in 0..span.length {
            let Some(count) = counts.next() else { return out };
            out.push((index, *count));
            index = index.saturating_add(1);
        }
    }
    out
}

/// Spans and buckets of ascending pairs; empty buckets are left out.
pub(crate) fn close(pairs: impl Iterator<Item = (i32, f64)>) -> (Vec<BucketSpan>, Vec<f64>) {
    let mut spans: Vec<BucketSpan> = Vec::new();
    let mut buckets = Vec::new();
    let mut next: i32 = 0;
    for (index, count) in pairs {
        if count == 0.0 {
            continue;
        }
        match spans.last_mut() {
            Some(last) if index == next => last.length += 1,
            _ => spans.push(BucketSpan { offset: index.saturating_sub(next), length: 1 }),
        }
        next = index.saturating_add(1);
        buckets.push(count);
    }
    (spans, buckets)
}

/// Upper bound of a bucket of a standard schema.
pub(crate) fn exponential_bound(index: i32, schema: i32) -> f64 {
    if schema <= 0 {
        let exp = i64::from(index) << (-schema).min(16);
        return match exp {
            1024 => f64::MAX,
            e if e > 1024 => f64::INFINITY,
            e => 2f64.powi(e.max(-1100) as i32),
        };
    }
    let schema = schema.min(16);
    let per_octave = 1i32 << schema;
    let fraction = index.rem_euclid(per_octave);
    let octave = index.div_euclid(per_octave);
    if octave == 1024 && fraction == 0 {
        return f64::MAX;
    }
    // The last octave goes in two factors, since 2^1024 alone would overflow.
    let root = 2f64.powf(f64::from(fraction) / f64::from(per_octave) - 1.0);
    if octave == 1023 { root * 2f64.powi(1023) * 2.0 } else { root * 2f64.powi(octave + 1) }
}

fn custom_bound(index: i32, bounds: &[f64]) -> f64 {
    match usize::try_from(index) {
        Err(_) => f64::NEG_INFINITY,
        Ok(i) => bounds.get(i).copied().unwrap_or(f64::INFINITY),
    }
}

fn positive_bucket(h: &NativeHistogram, index: i32, count: f64) -> Bucket {
    let custom = h.uses_custom_buckets();
    let bound = |i| {
        if custom { custom_bound(i, &h.custom_values) } else { exponential_bound(i, h.schema) }
    };
    Bucket {
        lower: bound(index.saturating_sub(1)),
        upper: bound(index),
        lower_inclusive: custom && index == 0,
        upper_inclusive: true,
        count,
    }
}

pub(crate) fn positive_buckets(h: &NativeHistogram) -> Vec<Bucket> {
    open(&h.positive_spans, &h.positive_buckets)
        .into_iter()
        .map(|(i, c)| positive_bucket(h, i, c))
        .collect()
}

/// From the one nearest to zero outwards.
pub(crate) fn negative_buckets(h: &NativeHistogram) -> Vec<Bucket> {
    open(&h.negative_spans, &h.negative_buckets)
        .into_iter()
        .map(|(i, c)| Bucket {
            lower: -exponential_bound(i, h.schema),
            upper: -exponential_bound(i.saturating_sub(1), h.schema),
            lower_inclusive: true,
            upper_inclusive: false,
            count: c,
        })
        .collect()
}

pub(crate) fn zero_bucket(h: &NativeHistogram) -> Bucket {
    Bucket {
        lower: -h.zero_threshold,
        upper: h.zero_threshold,
        lower_inclusive: true,
        upper_inclusive: true,
        count: h.zero_count,
    }
}

/// All buckets from low to high, none overlapping the zero bucket.
pub fn all_buckets(h: &NativeHistogram) -> Vec<Bucket> {
    let mut out = negative_buckets(h);
    out.reverse();
    for b in &mut out {
        if b.upper < 0.0 && b.upper > -h.zero_threshold {
            b.upper = -h.zero_threshold;
        }
    }
    if h.zero_count > 0.0 {
        out.push(zero_bucket(h));
    }
    for mut b in positive_buckets(h) {
        if b.lower > 0.0 && b.lower < h.zero_threshold {
            b.lower = h.zero_threshold;
        }
        out.push(b);
    }
    out
}

/// Multiplies every count; a negative factor makes a gauge.
pub(crate) fn scale(h: &mut NativeHistogram, factor: f64) {
    h.zero_count *= factor;
    h.count *= factor;
    h.sum *= factor;
    for b in h.positive_buckets.iter_mut().chain(&mut h.negative_buckets) {
        *b *= factor;
    }
    if factor < 0.0 {
        h.counter_reset_hint = obs_types::CounterResetHint::Gauge;
    }
}

/// Divides every count; by zero leaves no buckets.
pub(crate) fn divide(h: &mut NativeHistogram, by: f64) {
    h.zero_count /= by;
    h.count /= by;
    h.sum /= by;
    if by == 0.0 {
        h.positive_buckets.clear();
        h.positive_spans.clear();
        h.negative_buckets.clear();
        h.negative_spans.clear();
        return;
    }
    for b in h.positive_buckets.iter_mut().chain(&mut h.negative_buckets) {
        *b /= by;
    }
    if by < 0.0 {
        h.counter_reset_hint = obs_types::CounterResetHint::Gauge;
    }
}

/// Removes empty buckets.
pub(crate) fn compact(h: &mut NativeHistogram) {
    (h.positive_spans, h.positive_buckets) =
        close(open(&h.positive_spans, &h.positive_buckets).into_iter());
    (h.negative_spans, h.negative_buckets) =
        close(open(&h.negative_spans, &h.negative_buckets).into_iter());
}

/// `{count:3, sum:5, (1,2]:3}`: the text that `count_values` uses as a label.
pub(crate) fn text(h: &NativeHistogram) -> String {
    let mut out = format!("{{count:{}, sum:{}", float_g(h.count, 6), float_g(h.sum, 6));
    let mut negative = negative_buckets(h);
    negative.reverse();
    let zero = (h.zero_count != 0.0).then(|| zero_bucket(h));
    for b in negative.into_iter().chain(zero).chain(positive_buckets(h)) {
        if b.count == 0.0 {
            continue;
        }
        out.push_str(&format!(
            ", {}{},{}{}:{}",
            if b.lower_inclusive { '[' } else { '(' },
            float_g(b.lower, 6),
            float_g(b.upper, 6),
            if b.upper_inclusive { ']' } else { ')' },
            float_g(b.count, 6)
        ));
    }
    out.push('}');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_powers_of_the_schema_base() {
        assert_eq!(exponential_bound(1, 0), 2.0);
        assert_eq!(exponential_bound(-1, -1), 0.25);
        assert_eq!(exponential_bound(8, 3), 2.0);
        assert!((exponential_bound(1, 1) - 2f64.sqrt()).abs() < 1e-15);
        assert_eq!(exponential_bound(1024, 0), f64::MAX);
        assert_eq!(exponential_bound(1024 * 8, 3), f64::MAX);
        assert!(exponential_bound(1024 * 8 - 1, 3).is_finite());
    }

    #[test]
    fn spans_open_and_close() {
        let spans = [BucketSpan { offset: -2, length: 2 }, BucketSpan { offset: 3, length: 1 }];
        let pairs = open(&spans, &[1.0, 2.0, 3.0]);
        assert_eq!(pairs, [(-2, 1.0), (-1, 2.0), (3, 3.0)]);
        assert_eq!(close(pairs.into_iter()), (spans.to_vec(), vec![1.0, 2.0, 3.0]));
    }

    #[test]
    fn a_sum_of_many_small_counts_is_exact() {
        let one = NativeHistogram { sum: 0.1, ..NativeHistogram::default() };
        let mut acc = Accumulator::new(&one);
        for _ in 1..10 {
            assert!(acc.add(&one).is_ok());
        }
        assert_eq!(acc.finish().sum, 1.0);
    }
}
