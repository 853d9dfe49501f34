use std::collections::BTreeMap;
use std::sync::Mutex;

use obs_types::TimestampMs;

/// Scrapes of one target in one hour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CollectionCounts {
    pub expected: u64,
    pub ok: u64,
}

/// Remembers, hour by hour and target by target, how many scrapes were due and how many worked.
/// Each seal states it, so that a gap in collection is itself on the record.
#[derive(Debug, Default)]
pub struct CollectionLog {
    /// By the hour's end (milliseconds) and `job/instance`.
    hours: Mutex<BTreeMap<i64, BTreeMap<String, CollectionCounts>>>,
    /// By the hour's end, signal and reason.
    rejected: Mutex<BTreeMap<i64, Rejected>>,
}

type Rejected = BTreeMap<(&'static str, String), u64>;

const HOUR_MS: i64 = 3_600_000;
/// Older hours are long sealed.
const HOURS_KEPT: usize = 48;

impl CollectionLog {
    pub fn record(&self, target: &str, at: TimestampMs, ok: bool) {
        let end = (at.0.div_euclid(HOUR_MS) + 1) * HOUR_MS;
        let mut hours = self.hours.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let counts = hours.entry(end).or_default().entry(target.to_owned()).or_default();
        counts.expected += 1;
        counts.ok += u64::from(ok);
        while hours.len() > HOURS_KEPT {
            hours.pop_first();
        }
    }

    /// `count` items of a signal that came at `at` were not stored.
    pub fn reject(&self, signal: &'static str, reason: &str, count: u64, at: TimestampMs) {
        if count == 0 {
            return;
        }
        let end = (at.0.div_euclid(HOUR_MS) + 1) * HOUR_MS;
        let mut rejected = self.rejected.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        *rejected.entry(end).or_default().entry((signal, reason.to_owned())).or_default() += count;
        while rejected.len() > HOURS_KEPT {
            rejected.pop_first();
        }
    }

    /// Items of a signal that came in the hour that ends at `end` and were not stored, by reason.
    pub fn rejected(&self, signal: &str, end: TimestampMs) -> BTreeMap<String, u64> {
        let rejected = self.rejected.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let of_hour = rejected.get(&end.0).into_iter().flatten();
        of_hour.filter(|((s, _), _)| *s == signal).map(|((_, r), n)| (r.clone(), *n)).collect()
    }

    /// Targets and their counts in the hour that ends at `end`, sorted.
    pub fn hour(&self, end: TimestampMs) -> Vec<(String, CollectionCounts)> {
        let hours = self.hours.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        hours
            .get(&end.0)
            .map(|h| h.iter().map(|(t, c)| (t.clone(), *c)).collect())
            .unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_by_the_hour_that_ends() {
        let log = CollectionLog::default();
        log.record("a/1", TimestampMs(0), true);
        log.record("a/1", TimestampMs(HOUR_MS - 1), false);
        log.record("a/1", TimestampMs(HOUR_MS), true);
        assert_eq!(
            log.hour(TimestampMs(HOUR_MS)),
            [("a/1".to_owned(), CollectionCounts { expected: 2, ok: 1 })]
        );
        assert_eq!(log.hour(TimestampMs(2 * HOUR_MS)).len(), 1);
        assert!(log.hour(TimestampMs(3 * HOUR_MS)).is_empty());
    }

    #[test]
    fn what_was_rejected_is_counted_by_hour_signal_and_reason() {
        let log = CollectionLog::default();
        log.reject("logs", "too_old", 2, TimestampMs(0));
        log.reject("logs", "too_old", 1, TimestampMs(HOUR_MS - 1));
        log.reject("logs", "too_large", 1, TimestampMs(1));
        log.reject("metrics", "too_old", 5, TimestampMs(1));
        log.reject("logs", "too_old", 0, TimestampMs(HOUR_MS));
        let first = log.rejected("logs", TimestampMs(HOUR_MS));
        assert_eq!(first, BTreeMap::from([("too_large".to_owned(), 1), ("too_old".to_owned(), 3)]));
        assert!(log.rejected("logs", TimestampMs(2 * HOUR_MS)).is_empty());
    }
}
