//! Delta temporality to cumulative.
//!
//! A delta point says what happened since the point before it; Prometheus' functions want totals.
//! The state holds one running total for each stream (metric name and labels), and these rules:
//!
//! 1. The first point of a stream is its total.
//! 2. A point that ends after the last one is added to the total, also across a gap: what the lost
//!    points would have added is unknown, and a total that never falls keeps `rate` right for the
//!    rest. Gaps are counted.
//! 3. The last point sent again (equal start and end) gives the total again and adds nothing, so that
//!    a sender whose request failed in part may repeat it.
//! 4. Any other point that does not end after the last one, or that starts before the stream did, is
//!    refused as out of order.
//! 5. A histogram whose bounds changed starts again from that point: a counter reset.
//! 6. A point without a recorded value ends its stream.
//! 7. A stream without points for `idle_ms` is forgotten, and starts again when it comes back.
//! 8. A new stream is refused as over the cardinality limit when streams or bytes are used up.
//!
//! Source: OpenTelemetry metrics data model, "Sums: Delta-to-Cumulative" (which resets at a gap; see
//! rule 2).

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use obs_types::{LabelSet, RejectReason, TimestampNs};
use opentelemetry_proto::tonic::metrics::v1 as proto;

use super::exponential::Exponential;

/// What the totals may take.
#[derive(Clone, Copy, Debug)]
pub struct DeltaLimits {
    pub streams_max: usize,
    /// Keys and totals together.
    pub bytes_max: usize,
    /// Milliseconds without a point until a stream is forgotten.
    pub idle_ms: i64,
}

impl Default for DeltaLimits {
    fn default() -> Self {
        Self { streams_max: 200_000, bytes_max: 128 << 20, idle_ms: 5 * 60_000 }
    }
}

/// What became of the streams so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeltaStats {
    pub streams: usize,
    pub bytes: usize,
    /// Points that did not start where the one before ended.
    pub gaps: u64,
    /// Totals that began again because the bounds of their histogram changed.
    pub resets: u64,
    /// Streams forgotten because nothing came.
    pub expired: u64,
}

/// The running totals of all delta streams; shared by the requests of one receiver.
#[derive(Debug)]
pub struct DeltaState {
    limits: DeltaLimits,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    streams: HashMap<LabelSet, Stream>,
    stats: DeltaStats,
    swept_ms: i64,
}

#[derive(Debug)]
struct Stream {
    /// Start of the first point, and start and end of the last; nanoseconds.
    first_start: u64,
    start: u64,
    end: u64,
    seen_ms: i64,
    bytes: usize,
    total: Total,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Total {
    Number(f64),
    Classic { bounds: Vec<f64>, counts: Vec<u64>, count: u64, sum: Option<f64> },
    Exponential(Exponential),
}

/// The time that a point covers, and when it came.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    /// 0 where the sender does not know it.
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) now: TimestampNs,
}

/// How often idle streams are looked for, and how often when there is no room.
const SWEEP_MS: i64 = 60_000;
const SWEEP_FULL_MS: i64 = 5_000;

impl DeltaState {
    pub fn new(limits: DeltaLimits) -> Self {
        Self { limits, inner: Mutex::default() }
    }

    pub fn stats(&self) -> DeltaStats {
        self.lock().stats
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The total of `key` with `point` in it.
    #[cfg(test)]
    fn add(
        &self,
        key: &LabelSet,
        window: Window,
        point: Total,
    ) -> Result<Total, (RejectReason, String)> {
        self.add_started(key, window, point).map(|(total, _)| total)
    }

    /// The total of `key` with `point` in it, and the start of that, nanoseconds.
    pub(super) fn add_started(
        &self,
        key: &LabelSet,
        window: Window,
        point: Total,
    ) -> Result<(Total, u64), (RejectReason, String)> {
        let Window { start, end, now } = window;
        let now_ms = now.floor_to_ms().0;
        if start > end {
            return Err((RejectReason::Malformed, format!("{key} starts after its end")));
        }
        let mut inner = self.lock();
        let inner = &mut *inner;
        inner.sweep(now_ms, self.limits.idle_ms, SWEEP_MS);
        let limits = &self.limits;
        let full = |what: &str, limit: usize| {
            let text = format!("{key}: totals of delta streams already take {limit} {what}");
            (RejectReason::CardinalityLimit, text)
        };
        let Some(stream) = inner.streams.get_mut(key) else {
            let bytes = size_of::<Stream>() + 2 * key.as_bytes().len() + point.size_bytes();
            if inner.is_full(limits, bytes) {
                inner.sweep(now_ms, limits.idle_ms, SWEEP_FULL_MS);
            }
            if inner.streams.len() >= limits.streams_max {
                return Err(full("streams", limits.streams_max));
            }
            if inner.is_full(limits, bytes) {
                return Err(full("bytes", limits.bytes_max));
            }
            let total = point.clone();
            let stream = Stream { first_start: start, start, end, seen_ms: now_ms, bytes, total };
            inner.streams.insert(key.clone(), stream);
            inner.stats.streams = inner.streams.len();
            inner.stats.bytes += bytes;
            return Ok((point, start));
        };
        if end == stream.end && start == stream.start {
            return Ok((stream.total.clone(), stream.first_start));
        }
        if end <= stream.end || start != 0 && start < stream.first_start {
            let text = format!(
                "{key}: delta from {start} to {end} ns, the stream began at {} and is at {}",
                stream.first_start, stream.end
            );
            return Err((RejectReason::OutOfOrder, text));
        }
        let mut total = stream.total.clone();
        let added = total.add(point);
        let (before, after) = (stream.total.size_bytes(), total.size_bytes());
        if after > before && inner.stats.bytes + (after - before) > limits.bytes_max {
            return Err(full("bytes", limits.bytes_max));
        }
        inner.stats.gaps += u64::from(start > stream.end);
        inner.stats.resets += u64::from(!added);
        inner.stats.bytes = inner.stats.bytes + after - before;
        if !added {
            stream.first_start = start;
        }
        stream.bytes = stream.bytes + after - before;
        (stream.start, stream.end, stream.seen_ms) = (start, end, now_ms);
        stream.total.clone_from(&total);
        Ok((total, stream.first_start))
    }

    /// Rule 6.
    pub(super) fn end(&self, key: &LabelSet) {
        let mut inner = self.lock();
        if let Some(stream) = inner.streams.remove(key) {
            inner.stats.bytes -= stream.bytes;
            inner.stats.streams = inner.streams.len();
        }
    }
}

impl Inner {
    fn is_full(&self, limits: &DeltaLimits, bytes: usize) -> bool {
        self.streams.len() >= limits.streams_max || self.stats.bytes + bytes > limits.bytes_max
    }

    /// Rule 7; does nothing if the last look was less than `every_ms` ago.
    fn sweep(&mut self, now_ms: i64, idle_ms: i64, every_ms: i64) {
        // A clock that was set back must not put the next look off.
        if (0..every_ms).contains(&now_ms.saturating_sub(self.swept_ms)) {
            return;
        }
        self.swept_ms = now_ms;
        let before = self.streams.len();
        let mut freed = 0;
        self.streams.retain(|_, s| {
            let kept = now_ms.saturating_sub(s.seen_ms) <= idle_ms;
            freed += if kept { 0 } else { s.bytes };
            kept
        });
        self.stats.bytes -= freed;
        self.stats.streams = self.streams.len();
        self.stats.expired += (before - self.streams.len()) as u64;
    }
}

impl Total {
    /// `false` if it could not be added and stands for itself now.
    fn add(&mut self, point: Self) -> bool {
        match (&mut *self, point) {
            (Self::Number(total), Self::Number(more)) => *total += more,
            (
                Self::Classic { bounds, counts, count, sum },
                Self::Classic { bounds: other, counts: more, count: n, sum: s },
            ) if *bounds == other && counts.len() == more.len() => {
                for (total, more) in counts.iter_mut().zip(more) {
                    *total = total.saturating_add(more);
                }
                *count = count.saturating_add(n);
                *sum = sum.zip(s).map(|(a, b)| a + b);
            }
            (Self::Exponential(total), Self::Exponential(more)) => total.add(more),
            (_, other) => {
                *self = other;
                return false;
            }
        }
        true
    }

    fn size_bytes(&self) -> usize {
        match self {
            Self::Number(_) => 0,
            Self::Classic { bounds, counts, .. } => 8 * (bounds.len() + counts.len()),
            Self::Exponential(e) => e.size_bytes(),
        }
    }

    pub(super) fn classic(point: &proto::HistogramDataPoint) -> Self {
        Self::Classic {
            bounds: point.explicit_bounds.clone(),
            counts: point.bucket_counts.clone(),
            count: point.count,
            sum: point.sum,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: u64 = 60_000_000_000;

    fn state(limits: DeltaLimits) -> impl Fn(&str, u64, u64, f64) -> Result<f64, RejectReason> {
        let state = DeltaState::new(limits);
        move |name, start, end, value| {
            let key = LabelSet::from_pairs([("__name__", name)]);
            let now = TimestampNs(i64::try_from(end * MINUTE).unwrap());
            let window = Window { start: start * MINUTE, end: end * MINUTE, now };
            match state.add(&key, window, Total::Number(value)) {
                Ok(Total::Number(total)) => Ok(total),
                Ok(other) => panic!("{other:?}"),
                Err((reason, _)) => Err(reason),
            }
        }
    }

    #[test]
    fn points_add_up_in_order() {
        let add = state(DeltaLimits::default());
        assert_eq!(add("a", 10, 11, 5.0), Ok(5.0));
        assert_eq!(add("a", 11, 12, 2.0), Ok(7.0));
        // Sent again, and then after a gap.
        assert_eq!(add("a", 11, 12, 2.0), Ok(7.0));
        assert_eq!(add("a", 13, 14, 1.0), Ok(8.0));
        assert_eq!(add("a", 12, 13, 1.0), Err(RejectReason::OutOfOrder));
        assert_eq!(add("a", 9, 15, 1.0), Err(RejectReason::OutOfOrder));
        assert_eq!(add("a", 16, 15, 1.0), Err(RejectReason::Malformed));
        assert_eq!(add("a", 0, 15, 1.0), Ok(9.0));
    }

    #[test]
    fn idle_streams_are_forgotten_and_make_room() {
        let add = state(DeltaLimits { streams_max: 2, ..DeltaLimits::default() });
        assert_eq!(add("a", 10, 11, 5.0), Ok(5.0));
        assert_eq!(add("b", 10, 11, 5.0), Ok(5.0));
        assert_eq!(add("c", 10, 12, 5.0), Err(RejectReason::CardinalityLimit));
        assert_eq!(add("b", 11, 15, 5.0), Ok(10.0));
        assert_eq!(add("c", 16, 17, 5.0), Ok(5.0));
        assert_eq!(add("b", 15, 17, 1.0), Ok(11.0));
        assert_eq!(add("a", 11, 17, 1.0), Err(RejectReason::CardinalityLimit));
    }

    #[test]
    fn bytes_are_bounded_and_given_back() {
        let state = DeltaState::new(DeltaLimits { bytes_max: 4096, ..DeltaLimits::default() });
        let key = |i: usize| LabelSet::from_pairs([("__name__", format!("m{i}"))]);
        let window = Window { start: 1, end: 2, now: TimestampNs(0) };
        let taken =
            (0..100).take_while(|i| state.add(&key(*i), window, Total::Number(1.0)).is_ok());
        let taken = taken.count();
        assert!(taken > 3 && taken < 100, "{taken}");
        assert!(state.stats().bytes <= 4096);
        for i in 0..taken {
            state.end(&key(i));
        }
        assert_eq!((state.stats().bytes, state.stats().streams), (0, 0));
    }

    #[test]
    fn changed_bounds_are_a_reset() {
        let state = DeltaState::new(DeltaLimits::default());
        let key = LabelSet::from_pairs([("__name__", "h")]);
        let point = |bounds: &[f64], counts: &[u64]| Total::Classic {
            bounds: bounds.to_vec(),
            counts: counts.to_vec(),
            count: counts.iter().sum(),
            sum: Some(1.0),
        };
        let add =
            |start, end, p| state.add(&key, Window { start, end, now: TimestampNs(0) }, p).unwrap();
        add(1, 2, point(&[1.0], &[1, 2]));
        let sum = add(2, 3, point(&[1.0], &[3, 4]));
        assert_eq!(
            sum,
            Total::Classic { bounds: vec![1.0], counts: vec![4, 6], count: 10, sum: Some(2.0) }
        );
        assert_eq!(add(3, 4, point(&[2.0], &[1, 1])), point(&[2.0], &[1, 1]));
        assert_eq!(state.stats().resets, 1);
    }
}
