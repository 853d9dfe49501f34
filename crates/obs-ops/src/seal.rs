//! Seals every hour of every signal, exactly once, and puts it on record.
//!
//! Invariants:
//! 1. a receipt is appended only after its file is durable and was read back;
//! 2. the hours of a stream are recorded without a hole: each seal begins where the last ended, and
//!    hours in which vm-obs did not run are declared as a gap;
//! 3. an hour that cannot be sealed holds up its own stream alone, because of 2; late data of one
//!    hour holds up no other: each failure is counted, named and tried again;
//! 4. a file without a receipt (the process died between the two) is no seal: it is removed at the
//!    next start and the hour is sealed again from the hot engine; while the process lives, the
//!    receipt is tried again instead.

mod late;
mod receipts;
mod state;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use obs_archive::{Archive, Hour, Seal, Signal};
use obs_disk::Disk;
use obs_ledger::{Collection, Gap, Ledger, Receipt};
use obs_types::{
    DurationMs, LogSource, QueryContext, SeriesSource, TimeRangeMs, TimeRangeNs, TimestampMs,
    TimestampNs, TraceSelect, TraceSource,
};
use serde_json::Value;

use crate::OpsError;
pub(crate) use receipts::receipts;
use state::State;

/// Hours without vm-obs up to this many are sealed empty one by one; more become one gap.
const EMPTY_HOURS_MAX: i64 = 6;

/// What the service works with.
pub struct SealSettings {
    pub data_dir: PathBuf,
    pub disk: Arc<dyn Disk>,
    pub archive: Arc<Archive>,
    pub ledger: Arc<Ledger>,
    pub metrics: Arc<dyn SeriesSource>,
    pub logs: Arc<dyn LogSource>,
    pub traces: Arc<dyn TraceSource>,
    /// How long after its end an hour is sealed.
    pub delay: DurationMs,
    /// What should have been collected in an hour, and what was.
    pub collection: Box<dyn Fn(Signal, Hour) -> Collection + Send + Sync>,
}

impl std::fmt::Debug for SealSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SealSettings").field("delay", &self.delay).finish_non_exhaustive()
    }
}

/// What went wrong with sealing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SealProblems {
    /// Times that an hour could not be sealed.
    pub failures: u64,
    /// Hours that are not sealed for now, and why.
    pub failing: Vec<(Signal, Hour, String)>,
    /// Hours of which data was let go, because they were deleted on record when it came.
    pub let_go: u64,
}

/// Receipts of what was sealed, and the first thing that went wrong beside it.
#[derive(Debug, Default)]
struct Round {
    done: Vec<u64>,
    failed: Option<OpsError>,
}

impl Round {
    fn take(&mut self, outcome: Result<Vec<u64>, OpsError>) {
        match outcome {
            Ok(done) => self.done.extend(done),
            Err(e) => self.failed = self.failed.take().or(Some(e)),
        }
    }

    fn finish(self) -> Result<Vec<u64>, OpsError> {
        self.failed.map_or(Ok(self.done), Err)
    }
}

/// Seals what is due.
#[derive(Debug)]
pub struct SealService {
    settings: SealSettings,
    /// Held while sealing: a file that another thread has written but not yet recorded must not
    /// look forgotten.
    sealing: Mutex<()>,
    state: Mutex<State>,
}

impl SealService {
    /// Reads what the ledger has on record and removes files that never got there.
    pub fn open(settings: SealSettings) -> Result<Self, OpsError> {
        let mut state = State::default();
        settings.ledger.read(0, &mut |_seq, line| {
            if line.contains("\"period\"")
                && let Ok(receipt) = serde_json::from_str::<Value>(line)
            {
                state.learn(&receipt);
            }
            true
        })?;
        let recorded: BTreeSet<&str> = state.paths().collect();
        for signal in Signal::ALL {
            for name in settings.archive.sealed(signal) {
                let path = name.storage_path();
                if recorded.contains(path.as_str()) {
                    continue;
                }
                tracing::warn!(path, "removing a sealed file that never got its receipt");
                for file in [path, name.tree_path()] {
                    let full = settings.data_dir.join(&file);
                    if settings.disk.exists(&full) {
                        settings.disk.remove(&full).map_err(|e| OpsError::State {
                            path: full.clone(),
                            reason: e.to_string(),
                        })?;
                    }
                }
            }
        }
        settings.archive.refresh()?;
        Ok(Self { settings, sealing: Mutex::default(), state: Mutex::new(state) })
    }

    /// Seals every hour that has ended `delay` ago. `running_since` bounds the first seal of a
    /// fresh installation. Gives the receipts' sequence numbers.
    ///
    /// Hours of a long downtime become a gap, except those that hold data: what came in before the
    /// process ended, or was sent afterwards, is sealed.
    pub fn seal_due(
        &self,
        now: TimestampMs,
        running_since: TimestampMs,
    ) -> Result<Vec<u64>, OpsError> {
        let _sealing = self.sealing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut round = Round::default();
        self.record_left_over(&mut round);
        let Some(last) = Hour::containing(now.saturating_sub(self.settings.delay)) else {
            return round.finish();
        };
        let Some(first) = Hour::containing(running_since) else { return round.finish() };
        for signal in Signal::ALL {
            let waiting = self.lock().unrecorded.iter().any(|s| s.signal() == signal);
            if !waiting {
                round.take(self.seal_stream(signal, first, last.previous()));
            }
        }
        round.finish()
    }

    /// The hours of one stream up to `last`, one after the other.
    fn seal_stream(&self, signal: Signal, first: Hour, last: Hour) -> Result<Vec<u64>, OpsError> {
        let mut done = Vec::new();
        let mut next = match self.recorded_until(signal) {
            None if first > last => first,
            None => self.first_with_data(signal, first)?,
            Some(until) => match Hour::ending_at(TimestampMs(until)) {
                Some(hour) => hour.next(),
                None => first,
            },
        };
        let running = first.min(last.next());
        while hours_between(next, running) > EMPTY_HOURS_MAX {
            let empty = self.empty_until(signal, next, running)?;
            if empty > next {
                done.extend(self.declare_gap(signal, next, empty, "vm-obs was not running")?);
                next = empty;
            } else {
                done.extend(self.counted(signal, next, self.seal(signal, next))?);
                next = next.next();
            }
        }
        while next <= last {
            done.extend(self.counted(signal, next, self.seal(signal, next))?);
            next = next.next();
        }
        Ok(done)
    }

    /// Declares the hours of a stream that have ended since its last record a gap, because what they
    /// held is gone. A stream without a record has lost nothing that was promised.
    pub fn declare_lost(
        &self,
        signal: Signal,
        now: TimestampMs,
        reason: &str,
    ) -> Result<Vec<u64>, OpsError> {
        let _sealing = self.sealing.lock().unwrap_or_else(PoisonError::into_inner);
        let last = self.recorded_until(signal).and_then(|t| Hour::ending_at(TimestampMs(t)));
        match (last.map(Hour::next), Hour::containing(now)) {
            (Some(next), Some(current)) if next < current => {
                self.declare_gap(signal, next, current, reason)
            }
            _ => Ok(Vec::new()),
        }
    }

    /// What could not be sealed, and how often.
    pub fn problems(&self) -> SealProblems {
        let state = self.lock();
        let named =
            |((signal, hour), why): (&(Signal, Hour), &String)| (*signal, *hour, why.clone());
        SealProblems {
            failures: state.failures,
            failing: state.failing.iter().map(named).collect(),
            let_go: state.let_go,
        }
    }

    fn counted<T>(
        &self,
        signal: Signal,
        hour: Hour,
        outcome: Result<T, OpsError>,
    ) -> Result<T, OpsError> {
        let mut state = self.lock();
        match &outcome {
            Ok(_) => {
                state.failing.remove(&(signal, hour));
            }
            Err(e) => {
                state.failures += 1;
                state.failing.insert((signal, hour), e.to_string());
                let hour = hour.label();
                tracing::error!(stream = signal.as_str(), hour, error = %e, "hour not sealed, tried again");
            }
        }
        outcome
    }

    fn seal(&self, signal: Signal, hour: Hour) -> Result<Vec<u64>, OpsError> {
        let span = tracing::info_span!("seal hour", stream = signal.as_str(), hour = hour.label());
        let _entered = span.enter();
        let s = &self.settings;
        let seal = match signal {
            Signal::Metrics => s.archive.seal_metrics(hour, 0, s.metrics.as_ref())?,
            Signal::Logs => s.archive.seal_logs(hour, 0, s.logs.as_ref())?,
            Signal::Traces => s.archive.seal_traces(hour, 0, s.traces.as_ref())?,
        };
        self.record_or_keep(seal)
    }

    /// The file stays and its receipt is tried again with the next call, because a file is never
    /// written twice.
    fn record_or_keep(&self, seal: Seal) -> Result<Vec<u64>, OpsError> {
        self.record(&seal).inspect_err(|_refused| self.lock().unrecorded.push(seal))
    }

    /// A stream whose oldest receipt is refused again waits with the others, so that its hours
    /// get on record in their order.
    fn record_left_over(&self, round: &mut Round) {
        let waiting = std::mem::take(&mut self.lock().unrecorded);
        let mut refused = BTreeSet::new();
        for seal in waiting {
            let (signal, hour) = (seal.signal(), seal.hour());
            if !refused.contains(&signal) {
                let outcome = self.counted(signal, hour, self.record(&seal));
                let recorded = outcome.is_ok();
                round.take(outcome);
                if recorded {
                    continue;
                }
                refused.insert(signal);
            }
            self.lock().unrecorded.push(seal);
        }
    }

    fn record(&self, seal: &Seal) -> Result<Vec<u64>, OpsError> {
        let collection = (self.settings.collection)(seal.signal(), seal.hour());
        let (link, outside) = {
            let state = self.lock();
            let first = seal.revision() == 0;
            (state.link(seal), state.outside(seal.signal(), seal.hour()).filter(|_| first))
        };
        let sequence = self.settings.ledger.append(receipts(seal, collection, link, outside))?;
        if let Some(number) = sequence.first() {
            self.lock().recorded(seal, *number);
        }
        Ok(sequence)
    }

    /// Where the record of a stream begins: an earlier process may have ended before its first seal,
    /// and what it took is held still, however long ago that was. It must get on record, because
    /// what is older than the record is taken for sealed and leaves the engine.
    fn first_with_data(&self, signal: Signal, first: Hour) -> Result<Hour, OpsError> {
        match Hour::containing_ns(TimestampNs::MIN) {
            Some(begin) => self.empty_until(signal, begin.next(), first),
            None => Ok(first),
        }
    }

    /// The first hour from `from` on that holds data, at most `to`.
    fn empty_until(&self, signal: Signal, from: Hour, to: Hour) -> Result<Hour, OpsError> {
        if !self.has_data(signal, from, to)? {
            return Ok(to);
        }
        // Nothing before `empty`, something before `filled`.
        let (mut empty, mut filled) = (from, to);
        while hours_between(empty, filled) > 1 {
            let middle = empty.end().0 + hours_between(empty, filled) / 2 * DurationMs::HOUR.0;
            let Some(middle) = Hour::ending_at(TimestampMs(middle)) else { break };
            if self.has_data(signal, empty, middle)? {
                filled = middle;
            } else {
                empty = middle;
            }
        }
        Ok(empty)
    }

    /// Whether anything lies between the starts of two hours.
    fn has_data(&self, signal: Signal, from: Hour, to: Hour) -> Result<bool, OpsError> {
        let s = &self.settings;
        let context = QueryContext::unlimited();
        let range = TimeRangeMs::new(from.start(), to.start());
        let range_ns = TimeRangeNs::new(from.start().to_ns(), to.start().to_ns());
        Ok(match signal {
            Signal::Metrics => !s.metrics.series(&[], range, &context)?.is_empty(),
            Signal::Logs => !s.logs.streams(&[], range_ns, &context)?.is_empty(),
            Signal::Traces => {
                let select = TraceSelect { range: range_ns, all_of: &[] };
                s.traces.select(&select, &context)?.next().transpose()?.is_some()
            }
        })
    }

    fn declare_gap(
        &self,
        signal: Signal,
        from: Hour,
        to: Hour,
        reason: &str,
    ) -> Result<Vec<u64>, OpsError> {
        let gap = Gap {
            stream: signal.as_str().to_owned(),
            period_start: from.start(),
            period_end: to.start(),
            reason: reason.to_owned(),
        };
        let sequence = self.settings.ledger.append(vec![Receipt::gap(gap)])?;
        if let Some(number) = sequence.first() {
            self.lock().declared(signal, (from.start().0, to.start().0), *number);
        }
        Ok(sequence)
    }

    /// The end of the last hour that is on record for every signal: data before it is sealed or a
    /// declared gap. `None` before the first seal.
    pub fn sealed_until(&self) -> Option<TimestampMs> {
        let ends: Option<Vec<i64>> =
            Signal::ALL.into_iter().map(|signal| self.recorded_until(signal)).collect();
        ends?.into_iter().min().map(TimestampMs)
    }

    fn recorded_until(&self, signal: Signal) -> Option<i64> {
        self.lock().recorded_until.get(&signal).copied()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn hours_between(from: Hour, to: Hour) -> i64 {
    (to.end().0 - from.end().0) / DurationMs::HOUR.0
}
