//! The second half of the write path: samples that were let in go to the log and, once that is
//! synced, into their series.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use obs_disk::Wal;
use obs_types::{IngestError, IngestOutcome, LabelSet, NativeHistogram, RejectReason, TimestampMs};

use crate::engine::{Line, MetricsEngine};
use crate::record::{RecordHead, RecordWriter};
use crate::series::{Series, Stored};
use crate::{hour_of, lock};

/// Times that are accepted now.
#[derive(Clone, Copy)]
pub(crate) struct Bounds {
    floor: i64,
    late_floor: i64,
    ceiling: i64,
}

impl Bounds {
    pub(crate) fn check(&self, t: i64) -> Result<(), RejectReason> {
        if t < self.floor {
            Err(RejectReason::TooOld)
        } else if t > self.ceiling {
            Err(RejectReason::TooFarInFuture)
        } else {
            Ok(())
        }
    }

    /// The samples without those that are out of bounds, which are counted; nothing is copied
    /// where all are in.
    pub(crate) fn keep<'a>(
        &self,
        samples: &'a [(TimestampMs, f64)],
        labels: impl Fn() -> LabelSet,
        outcome: &mut IngestOutcome,
    ) -> Cow<'a, [(TimestampMs, f64)]> {
        if samples.iter().all(|(t, _)| self.check(t.0).is_ok()) {
            return samples.into();
        }
        let mut kept = samples.to_vec();
        kept.retain(|(t, _)| self.admit(t.0, &labels, outcome));
        kept.into()
    }

    /// Whether that time is in bounds; counted if not.
    fn admit(&self, t: i64, labels: &impl Fn() -> LabelSet, outcome: &mut IngestOutcome) -> bool {
        let check = self.check(t);
        if let Err(reason) = check {
            outcome.reject(reason, || format!("{} at {t}", labels()));
        }
        check.is_ok()
    }
}

/// As [`obs_types::SeriesSamples::start_timestamps`], sorted.
pub(crate) type SortedStarts<'a> = Cow<'a, [(TimestampMs, TimestampMs)]>;

/// What of one series goes into the record. Whole columns are borrowed unless some of it is
/// refused.
pub(crate) struct Accepted<'a> {
    pub(crate) series: Arc<Series>,
    pub(crate) samples: Cow<'a, [(TimestampMs, f64)]>,
    pub(crate) histograms: Vec<(TimestampMs, &'a Arc<NativeHistogram>)>,
    pub(crate) starts: SortedStarts<'a>,
}

impl Accepted<'_> {
    /// 0 if it is unknown.
    fn start_of(&self, t: TimestampMs) -> i64 {
        if self.starts.is_empty() {
            return 0;
        }
        let at = self.starts.binary_search_by_key(&t, |(at, _)| *at);
        at.ok().and_then(|at| self.starts.get(at)).map_or(0, |(_, start)| start.0)
    }
}

/// Starts in the order of their samples.
pub(crate) fn sorted_starts(starts: &[(TimestampMs, TimestampMs)]) -> SortedStarts<'_> {
    if starts.is_sorted_by_key(|(at, _)| *at) {
        return starts.into();
    }
    let mut sorted = starts.to_vec();
    sorted.sort_by_key(|(at, _)| *at);
    sorted.into()
}

impl MetricsEngine {
    /// The log, ready to be written to.
    pub(crate) fn log(&self) -> Result<&Wal, IngestError> {
        let Some(wal) = &self.wal else {
            return Err(IngestError::Unavailable { reason: "no log is open".to_owned() });
        };
        if wal.is_poisoned() {
            // What failed was never acknowledged, so the log may go on in a new segment.
            wal.recover()?;
        }
        Ok(wal)
    }

    pub(crate) fn bounds(&self) -> Bounds {
        let now = self.config.clock.now().0;
        let limits = &self.config.limits;
        Bounds {
            floor: now.saturating_sub(limits.past_max_ms()),
            late_floor: now.saturating_sub(limits.out_of_order_window.0),
            ceiling: now.saturating_add(limits.future_max.0),
        }
    }

    /// Logs the record with these samples in it and, when it is synced, puts them into their
    /// series. The caller holds the gate, at this line.
    pub(crate) fn store(
        &self,
        wal: &Wal,
        line: Line,
        bounds: Bounds,
        mut record: RecordWriter,
        accepted: &[Accepted<'_>],
        outcome: &mut IngestOutcome,
    ) -> Result<(), IngestError> {
        record.reserve(accepted.len(), accepted.iter().map(|a| a.samples.len()).sum());
        let mut hours = BTreeSet::new();
        let (mut hour, mut max_t) = (None, i64::MIN);
        let mut note = |t: i64| {
            max_t = max_t.max(t);
            // Nearly all samples of a batch are of one hour.
            if hour != Some(hour_of(t)) {
                hour = Some(hour_of(t));
                hours.insert(hour_of(t));
            }
        };
        for a in accepted {
            if !a.series.is_defined_in(line.epoch) {
                record.define(a.series.id, &self.head.labels(&a.series));
            }
            if !a.samples.is_empty() {
                a.samples.iter().for_each(|(t, _)| note(t.0));
                let start_of = |t| a.start_of(t);
                let known = !a.starts.is_empty();
                record.samples(a.series.id, &a.samples, known.then_some(&start_of));
            }
            for (t, h) in &a.histograms {
                note(t.0);
                record.histogram(a.series.id, t.0, h, a.start_of(*t));
            }
        }
        if record.is_empty() {
            return Ok(());
        }
        // A flush waits at the gate, so it cannot begin before the samples of these hours are in.
        lock(&self.head_hours).extend(hours);
        self.epoch_max_t.fetch_max(max_t, Ordering::AcqRel);
        let head =
            RecordHead { epoch: line.epoch, flush: line.flush, late_floor: bounds.late_floor };
        wal.append(&record.finish(head))?;

        let mut grown = 0;
        for a in accepted {
            a.series.set_defined_in(line.epoch);
            let mut state = lock(&a.series.state);
            let mut tell = |t: i64, result: Result<Stored, RejectReason>| match result {
                Ok(stored) => {
                    outcome.accepted += 1;
                    grown += if let Stored::New(bytes) = stored { bytes } else { 0 };
                }
                Err(reason) => {
                    outcome.reject(reason, || format!("{} at {t}", self.head.labels(&a.series)));
                }
            };
            for (t, v) in a.samples.iter() {
                tell(t.0, state.push(t.0, *v, a.start_of(*t), bounds.late_floor));
            }
            for (t, h) in &a.histograms {
                tell(t.0, state.push_histogram(t.0, h, a.start_of(*t), bounds.late_floor));
            }
        }
        self.head.bytes.fetch_add(grown, Ordering::Relaxed);
        Ok(())
    }
}
