//! Data that came after its hour was sealed, after the hour was declared a gap, or for an hour
//! before the record began.

use std::sync::PoisonError;

use obs_archive::{Hour, Signal};
use obs_types::{DurationMs, TimeRangeMs, TimestampMs, TimestampNs};

use super::{Round, SealService};
use crate::OpsError;

/// Sealed hours that are looked at again for late data.
const BACKFILL_HOURS: usize = 3;
/// Hours of a gap, from its end back, that are looked at for data that came late.
const GAP_HOURS_MAX: i64 = 48;

impl SealService {
    /// Seals data that arrived after its hour was sealed, as further revisions; data of the
    /// youngest hours of a declared gap; and data of before the record began. `Err` is the first
    /// thing that went wrong; the other hours have been looked at all the same.
    pub fn seal_late(&self) -> Result<Vec<u64>, OpsError> {
        let _sealing = self.sealing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut round = Round::default();
        self.record_left_over(&mut round);
        for signal in Signal::ALL {
            let mut hours: Vec<Hour> =
                self.settings.archive.sealed(signal).iter().map(|n| n.hour).collect();
            hours.dedup();
            for hour in hours.into_iter().rev().take(BACKFILL_HOURS) {
                self.add_late(signal, hour, &mut round);
            }
            for range in self.outside_ranges(signal) {
                match self.hours_with_data(signal, range) {
                    Ok(hours) => {
                        for hour in hours {
                            if !self.lock().on_record(signal, hour) {
                                self.add_first(signal, hour, &mut round);
                            }
                        }
                    }
                    Err(e) => round.take(Err(e)),
                }
            }
        }
        round.finish()
    }

    /// Puts all that the engines hold of one signal in `range`, however old, on record. What may
    /// leave the engines is what lies in a range of which this said `Ok`.
    ///
    /// Hours that are not due yet are left to [`SealService::seal_due`]. Data of an hour that was
    /// deleted on record is past what the policy keeps: it is counted and let go.
    pub fn seal_late_in(&self, signal: Signal, range: TimeRangeMs) -> Result<Vec<u64>, OpsError> {
        let _sealing = self.sealing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut round = Round::default();
        self.record_left_over(&mut round);
        for hour in self.hours_with_data(signal, range)? {
            let sealed = self.settings.archive.sealed(signal).iter().any(|n| n.hour == hour);
            let (on_record, outside) = {
                let state = self.lock();
                (state.on_record(signal, hour), state.outside(signal, hour).is_some())
            };
            if sealed {
                self.add_late(signal, hour, &mut round);
            } else if on_record {
                self.lock().let_go += 1;
                let (stream, hour) = (signal.as_str(), hour.label());
                tracing::warn!(stream, hour, "data of an hour that is deleted on record is let go");
            } else if outside {
                self.add_first(signal, hour, &mut round);
            }
        }
        round.finish()
    }

    /// Puts all that the engines hold of before `until` on record: with `Ok` they may let it go.
    /// What has been looked at once is not looked at again, so nothing may come in for that time
    /// any more.
    pub fn seal_before(&self, until: TimestampMs) -> Result<(), OpsError> {
        for signal in Signal::ALL {
            let from = self.lock().released.get(&signal).copied().unwrap_or(TimestampMs::MIN);
            if from < until {
                self.seal_late_in(signal, TimeRangeMs::new(from, until))?;
                self.lock().released.insert(signal, until);
            }
        }
        Ok(())
    }

    /// A revision of a sealed hour, if there is anything new.
    fn add_late(&self, signal: Signal, hour: Hour, round: &mut Round) {
        round.take(self.counted(signal, hour, self.seal_late_hour(signal, hour)));
    }

    /// The first seal of an hour outside the chain.
    fn add_first(&self, signal: Signal, hour: Hour, round: &mut Round) {
        let waiting = self.lock().waits(signal, hour);
        let outcome = if waiting { Err(waits()) } else { self.seal(signal, hour) };
        round.take(self.counted(signal, hour, outcome));
    }

    fn seal_late_hour(&self, signal: Signal, hour: Hour) -> Result<Vec<u64>, OpsError> {
        let s = &self.settings;
        if self.lock().waits(signal, hour) {
            return Err(waits());
        }
        // Whoever reduces the hour writes its next revision, too.
        let Some(_held) = s.archive.hold(signal, hour) else {
            return Err(OpsError::Conflict("files of the hour are being replaced".to_owned()));
        };
        let seal = match signal {
            Signal::Metrics => s.archive.backfill_metrics(hour, s.metrics.as_ref())?,
            Signal::Logs => s.archive.backfill_logs(hour, s.logs.as_ref())?,
            Signal::Traces => s.archive.backfill_traces(hour, s.traces.as_ref())?,
        };
        seal.map_or_else(|| Ok(Vec::new()), |seal| self.record_or_keep(seal))
    }

    /// Where hours may get a first seal although the record has gone on.
    fn outside_ranges(&self, signal: Signal) -> Vec<TimeRangeMs> {
        let state = self.lock();
        let young = |(start, end): (i64, i64)| {
            let from = start.max(end.saturating_sub(GAP_HOURS_MAX * DurationMs::HOUR.0));
            TimeRangeMs::new(TimestampMs(from), TimestampMs(end))
        };
        let mut ranges: Vec<TimeRangeMs> = state.gaps_of(signal).into_iter().map(young).collect();
        let begin = state.begin(signal).map(TimestampMs);
        ranges.extend(begin.map(|begin| TimeRangeMs::new(TimestampMs::MIN, begin)));
        ranges
    }

    /// The hours that overlap `range` and hold anything, in order.
    fn hours_with_data(&self, signal: Signal, range: TimeRangeMs) -> Result<Vec<Hour>, OpsError> {
        let oldest = Hour::containing_ns(TimestampNs::MIN).map(Hour::next);
        let begin = Hour::containing(range.start).or(oldest).max(oldest);
        let last = Hour::containing(TimestampMs(range.end.0.saturating_sub(1)));
        let (Some(mut next), Some(last)) = (begin, last) else { return Ok(Vec::new()) };
        let until = last.next();
        let mut found = Vec::new();
        // Steps that double pass an empty stretch quickly, and hours that follow each other cost
        // one look each.
        let mut step = 1;
        while next < until {
            let far = DurationMs(DurationMs::HOUR.0.saturating_mul(step));
            let end = Hour::ending_at(next.end().saturating_add(far)).unwrap_or(until).min(until);
            let hour = self.empty_until(signal, next, end)?;
            if hour < end {
                found.push(hour);
                next = hour.next();
                step = 1;
            } else {
                next = end;
                step = step.saturating_mul(2);
            }
        }
        Ok(found)
    }
}

fn waits() -> OpsError {
    OpsError::Conflict("a file of the hour waits for its receipt".to_owned())
}
