//! Exponential histograms: read from a point, added up, and turned into native histograms.
//!
//! OTLP's bucket `i` covers `(base^i, base^(i+1)]` with `base = 2^(2^-scale)`; a native one covers
//! `(base^(i-1), base^i]`, so every index moves by one.

use obs_types::{BucketSpan, CounterResetHint, NativeHistogram, stale_nan};
use opentelemetry_proto::tonic::metrics::v1 as proto;

use super::metrics::NO_RECORDED_VALUE;

/// Finest resolution of a native histogram; finer ones are merged down to it.
const SCHEMA_MAX: i32 = 8;
/// Coarsest resolution; there is nothing to split a coarser one into.
const SCHEMA_MIN: i32 = -4;
/// What OpenTelemetry's zero bucket means when a point names no threshold.
const ZERO_THRESHOLD_DEFAULT: f64 = 1e-128;
/// Buckets of one side that a sum of histograms may have before its resolution is halved: what
/// OpenTelemetry's own aggregation allows.
const SUM_BUCKETS_MAX: usize = 160;

/// Filled buckets of one side, ascending by OTLP index.
type Side = Vec<(i32, u64)>;

/// A histogram of one scale from -4 to 8.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Exponential {
    scale: i32,
    zero_threshold: f64,
    zero_count: u64,
    count: u64,
    sum: f64,
    positive: Side,
    negative: Side,
    stale: bool,
}

impl Exponential {
    /// `Err` says what cannot be held.
    pub(super) fn from_point(p: &proto::ExponentialHistogramDataPoint) -> Result<Self, String> {
        if p.scale < SCHEMA_MIN {
            return Err(format!("scale {} is below {SCHEMA_MIN}", p.scale));
        }
        if p.zero_threshold.is_nan() || p.zero_threshold < 0.0 {
            return Err(format!("zero threshold {}", p.zero_threshold));
        }
        let scale = p.scale.min(SCHEMA_MAX);
        let shift = u32::try_from(p.scale - scale).unwrap_or(0).min(31);
        let side = |b: &Option<proto::exponential_histogram_data_point::Buckets>| match b {
            Some(b) => buckets(b.offset, &b.bucket_counts, shift),
            None => Ok(Side::new()),
        };
        Ok(Self {
            scale,
            zero_threshold: p.zero_threshold,
            zero_count: p.zero_count,
            count: p.count,
            sum: p.sum.unwrap_or(0.0),
            positive: side(&p.positive)?,
            negative: side(&p.negative)?,
            stale: p.flags & NO_RECORDED_VALUE != 0,
        })
    }

    /// Takes `other` in. The result has the coarser scale and the wider zero bucket of the two, and
    /// is made coarser still while a side has more buckets than a sum may hold.
    pub(super) fn add(&mut self, mut other: Self) {
        let scale = self.scale.min(other.scale);
        self.coarsen(scale);
        other.coarsen(scale);
        // Widening may swallow a bucket whole and so widen further; both must agree in the end.
        let mut zero = self.zero_threshold.max(other.zero_threshold);
        loop {
            let wider = other.widen_zero(self.widen_zero(zero));
            if wider == zero {
                break;
            }
            zero = wider;
        }
        self.zero_count = self.zero_count.saturating_add(other.zero_count);
        self.count = self.count.saturating_add(other.count);
        self.sum += other.sum;
        self.positive = merged(&self.positive, &other.positive);
        self.negative = merged(&self.negative, &other.negative);
        while self.positive.len().max(self.negative.len()) > SUM_BUCKETS_MAX
            && self.scale > SCHEMA_MIN
        {
            self.coarsen(self.scale - 1);
        }
    }

    fn coarsen(&mut self, scale: i32) {
        let shift = u32::try_from(self.scale - scale).unwrap_or(0).min(31);
        if shift == 0 {
            return;
        }
        for side in [&mut self.positive, &mut self.negative] {
            let mut out = Side::with_capacity(side.len());
            for (at, count) in side.drain(..) {
                put(&mut out, at >> shift, count);
            }
            *side = out;
        }
        self.scale = scale;
    }

    /// Moves the buckets that reach below `threshold` into the zero bucket, and gives the threshold
    /// that this needs: the upper bound of the last of them.
    fn widen_zero(&mut self, mut threshold: f64) -> f64 {
        let bound = |index: i32, scale: i32| (f64::from(index) * f64::from(-scale).exp2()).exp2();
        for side in [&mut self.positive, &mut self.negative] {
            while let Some((at, count)) = side.first().copied()
                && bound(at, self.scale) < threshold
            {
                threshold = threshold.max(bound(at.saturating_add(1), self.scale));
                self.zero_count = self.zero_count.saturating_add(count);
                side.remove(0);
            }
        }
        self.zero_threshold = threshold;
        threshold
    }

    pub(super) fn size_bytes(&self) -> usize {
        size_of::<Self>() + (self.positive.len() + self.negative.len()) * size_of::<(i32, u64)>()
    }

    pub(super) fn to_native(&self) -> Result<NativeHistogram, String> {
        let (positive_spans, positive_buckets) = spans(&self.positive);
        let (negative_spans, negative_buckets) = spans(&self.negative);
        let out = NativeHistogram {
            counter_reset_hint: CounterResetHint::Unknown,
            schema: self.scale,
            zero_threshold: if self.zero_threshold == 0.0 {
                ZERO_THRESHOLD_DEFAULT
            } else {
                self.zero_threshold
            },
            zero_count: self.zero_count as f64,
            count: self.count as f64,
            sum: if self.stale { stale_nan() } else { self.sum },
            positive_spans,
            negative_spans,
            positive_buckets,
            negative_buckets,
            custom_values: Vec::new(),
        };
        out.validate().map(|()| out)
    }
}

/// Adds to the last bucket, or behind it; `at` never falls.
fn put(side: &mut Side, at: i32, count: u64) {
    match side.last_mut() {
        Some((last, sum)) if *last == at => *sum = sum.saturating_add(count),
        _ => side.push((at, count)),
    }
}

/// `shift` merges 2^shift neighbours; empty buckets are left out.
fn buckets(offset: i32, counts: &[u64], shift: u32) -> Result<Side, String> {
    let mut out = Side::new();
    for (i, count) in counts.iter().enumerate().filter(|(_, c)| **c > 0) {
        let at = i32::try_from(i)
            .ok()
            .and_then(|i| offset.checked_add(i))
            .map(|i| i >> shift)
            .filter(|i| *i < i32::MAX)
            .ok_or_else(|| format!("bucket offset {offset} is out of range"))?;
        put(&mut out, at, *count);
    }
    Ok(out)
}

fn merged(a: &Side, b: &Side) -> Side {
    let mut all: Side = a.iter().chain(b).copied().collect();
    all.sort_unstable_by_key(|(at, _)| *at);
    let mut out = Side::with_capacity(all.len());
    for (at, count) in all {
        put(&mut out, at, count);
    }
    out
}

fn spans(side: &Side) -> (Vec<BucketSpan>, Vec<f64>) {
    let mut spans: Vec<BucketSpan> = Vec::new();
    let mut end = 0_i32;
    for (index, _) in side {
        let at = index + 1;
        match spans.last_mut() {
            Some(span) if at == end => span.length += 1,
            Some(_) => spans.push(BucketSpan { offset: at - end, length: 1 }),
            None => spans.push(BucketSpan { offset: at, length: 1 }),
        }
        end = at.saturating_add(1);
    }
    (spans, side.iter().map(|(_, c)| *c as f64).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn histogram(scale: i32, zero_threshold: f64, positive: &[(i32, u64)]) -> Exponential {
        let count = positive.iter().map(|(_, c)| c).sum();
        Exponential {
            scale,
            zero_threshold,
            zero_count: 0,
            count,
            sum: 1.0,
            positive: positive.to_vec(),
            negative: Side::new(),
            stale: false,
        }
    }

    #[test]
    fn sums_take_the_coarser_scale() {
        let mut a = histogram(1, 0.0, &[(-1, 1), (0, 2), (3, 4)]);
        a.add(histogram(0, 0.0, &[(0, 5), (7, 1)]));
        assert_eq!((a.scale, a.count, a.sum), (0, 13, 2.0));
        assert_eq!(a.positive, [(-1, 1), (0, 7), (1, 4), (7, 1)]);
    }

    #[test]
    fn the_zero_bucket_swallows_what_it_reaches_into() {
        // At scale 0 bucket 0 covers (1, 2]; a threshold of 1.5 cuts it, so the zero bucket grows to 2.
        let mut a = histogram(0, 0.0, &[(-3, 2), (0, 3), (1, 4)]);
        a.add(histogram(0, 1.5, &[(0, 1), (1, 1)]));
        assert_eq!((a.zero_count, a.zero_threshold), (6, 2.0));
        assert_eq!(a.positive, [(1, 5)]);
    }

    #[test]
    fn sums_stay_within_their_buckets() {
        let wide: Vec<(i32, u64)> = (0..300).map(|i| (i, 1)).collect();
        let mut a = histogram(4, 0.0, &wide);
        a.add(histogram(4, 0.0, &wide));
        assert_eq!((a.scale, a.positive.len(), a.count), (3, 150, 600));
        assert!(a.to_native().unwrap().positive_buckets.iter().all(|c| *c == 4.0));
    }

    #[test]
    fn far_apart_buckets_cost_nothing() {
        let mut a = histogram(8, 0.0, &[(i32::MIN + 1, 1)]);
        a.add(histogram(8, 0.0, &[(i32::MAX - 1, 1)]));
        assert_eq!(a.positive.len(), 2);
    }
}
