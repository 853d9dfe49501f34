//! Hot engine and archive as one source.
//!
//! Invariant: an instant is read from exactly one tier. The boundary is the oldest instant that
//! the hot engine still holds; before it the archive answers, from it on the engine. Series of
//! metrics that the engine keeps for longer are read from both.

mod logs;
mod metrics;
mod retained;
mod traces;

pub use logs::TieredLogs;
pub use metrics::TieredMetrics;
pub use retained::Retained;
pub use traces::TieredTraces;

use std::cmp::Ordering;
use std::sync::Arc;
use std::sync::atomic::{self, AtomicI64};

use obs_types::{SourceError, TimeRangeMs, TimeRangeNs, TimestampMs};

/// The oldest instant (milliseconds) of the hot tier; moved forward by retention.
pub type Boundary = Arc<AtomicI64>;

/// Two sources of one signal, and where one ends and the other begins.
struct Tiers<S: ?Sized> {
    hot: Arc<S>,
    cold: Arc<S>,
    boundary: Boundary,
}

/// A range of time that can be cut in two.
trait Cut: Copy {
    /// The parts before `at` and from it on; either may be empty.
    fn cut(self, at: TimestampMs) -> (Self, Self);
    fn is_empty(&self) -> bool;
}

impl Cut for TimeRangeMs {
    fn cut(self, at: TimestampMs) -> (Self, Self) {
        let at = at.clamp(self.start, self.end);
        (Self::new(self.start, at), Self::new(at, self.end))
    }

    fn is_empty(&self) -> bool {
        Self::is_empty(self)
    }
}

impl Cut for TimeRangeNs {
    fn cut(self, at: TimestampMs) -> (Self, Self) {
        let at = at.to_ns().clamp(self.start, self.end);
        (Self::new(self.start, at), Self::new(at, self.end))
    }

    fn is_empty(&self) -> bool {
        Self::is_empty(self)
    }
}

impl<S: ?Sized> Tiers<S> {
    fn boundary(&self) -> TimestampMs {
        TimestampMs(self.boundary.load(atomic::Ordering::Acquire))
    }

    /// The part of the range for the archive and the part for the hot engine.
    fn split<R: Cut>(&self, range: R) -> (R, R) {
        range.cut(self.boundary())
    }

    /// What both tiers hold of `range`, sorted and without repeats; the engine's own answer as it
    /// is where the range lies in it alone.
    fn both<R: Cut, T: Ord>(
        &self,
        range: R,
        ask: impl Fn(&S, R) -> Result<Vec<T>, SourceError>,
    ) -> Result<Vec<T>, SourceError> {
        self.both_by(range, ask, T::cmp)
    }

    /// [`Tiers::both`] in an order of the caller's; what compares equal is one.
    fn both_by<R: Cut, T>(
        &self,
        range: R,
        ask: impl Fn(&S, R) -> Result<Vec<T>, SourceError>,
        order: impl Fn(&T, &T) -> Ordering,
    ) -> Result<Vec<T>, SourceError> {
        let (old, new) = self.split(range);
        let hot = ask(&self.hot, new)?;
        if old.is_empty() {
            return Ok(hot);
        }
        let mut all = ask(&self.cold, old)?;
        all.extend(hot);
        all.sort_by(&order);
        all.dedup_by(|a, b| order(a, b).is_eq());
        Ok(all)
    }
}
