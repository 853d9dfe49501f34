//! The write path: check here, log and apply in `store`. No lock is held over the sync but the
//! shared gate, nothing is allocated per sample.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use obs_types::{
    IngestError, IngestOutcome, LabelSet, METRIC_NAME, MetricBatch, MetricMetadata, MetricSink,
    RejectReason, SentBatch, SeriesSamples,
};

use crate::cardinality::LabelLimits;
use crate::config::LabelLimit;
use crate::engine::MetricsEngine;
use crate::record::RecordWriter;
use crate::series::Series;
use crate::store::{Accepted, Bounds, sorted_starts};
use crate::{lock, read, write};

/// A batch is logged in records of about this many bytes before packing, well under the log's
/// limit for one record.
pub(crate) const PART_BYTES: usize = 2 << 20;
/// OpenMetrics allows 128 characters in the labels of an exemplar.
const EXEMPLAR_LABEL_BYTES_MAX: usize = 1_024;
/// A longer help text is not kept, nor its family.
const HELP_BYTES_MAX: usize = 16 << 10;

impl MetricSink for MetricsEngine {
    /// Samples repeated with the same value count as accepted. Of two appends that run at the same
    /// time with different values for one series and time, either may win.
    fn append(&self, batch: MetricBatch) -> Result<IngestOutcome, IngestError> {
        self.ready_for_writes()?;
        let mut outcome = IngestOutcome::default();
        let mut metadata = batch.metadata.as_slice();
        let mut rest = batch.series.as_slice();
        while !rest.is_empty() || !metadata.is_empty() {
            let mut bytes = 0;
            let fits = rest.iter().take_while(|s| {
                let fits = bytes < PART_BYTES;
                bytes += logged_bytes(s);
                fits
            });
            let (part, later) = rest.split_at(fits.count());
            self.append_part(part, metadata, &mut outcome)?;
            (rest, metadata) = (later, &[]);
        }
        self.count(&outcome);
        Ok(outcome)
    }

    fn append_sent(&self, batch: &SentBatch<'_>) -> Result<IngestOutcome, IngestError> {
        self.ready_for_writes()?;
        let mut outcome = IngestOutcome::default();
        self.append_sent_parts(batch, &mut outcome)?;
        self.count(&outcome);
        Ok(outcome)
    }
}

impl MetricsEngine {
    fn ready_for_writes(&self) -> Result<(), IngestError> {
        if let Some(reason) = self.refuse_writes() {
            return Err(IngestError::Unavailable { reason: reason.to_owned() });
        }
        let (held, max) =
            (self.head.bytes.load(Ordering::Relaxed), self.config.limits.head_bytes_max);
        if held > max {
            let reason = format!("the head holds {held} bytes, its limit is {max}");
            return Err(IngestError::Overloaded { reason });
        }
        Ok(())
    }

    fn append_part(
        &self,
        part: &[SeriesSamples],
        metadata: &[MetricMetadata],
        outcome: &mut IngestOutcome,
    ) -> Result<(), IngestError> {
        let wal = self.log()?;
        let line = read(&self.gate);
        let bounds = self.bounds();
        let mut record = RecordWriter::default();
        let accepted = self.accept(part, bounds, outcome);
        let exemplars: Vec<_> = part
            .iter()
            .filter(|s| !s.exemplars.is_empty() && self.check_labels(&s.labels).is_ok())
            .flat_map(|s| s.exemplars.iter().map(move |e| (&s.labels, e)))
            .filter(|(_, e)| e.labels.as_bytes().len() <= EXEMPLAR_LABEL_BYTES_MAX)
            .filter(|(_, e)| bounds.check(e.timestamp.0).is_ok())
            .collect();
        exemplars.iter().for_each(|(series, e)| record.exemplar(series, e));
        let metadata = self.changed_metadata(metadata);
        metadata.iter().for_each(|m| record.metadata(m));
        self.store(wal, *line, bounds, record, &accepted, outcome)?;
        drop(line);
        if !exemplars.is_empty() {
            let mut ring = lock(&self.exemplars);
            exemplars.iter().for_each(|(series, e)| ring.push(series, (*e).clone()));
        }
        if !metadata.is_empty() {
            let mut known = write(&self.metadata);
            known.extend(metadata.into_iter().map(|m| (m.family.clone(), m.clone())));
        }
        Ok(())
    }

    /// Finds or makes the series of each item and refuses what is out of bounds. No series is made
    /// for items of which nothing is left.
    fn accept<'a>(
        &self,
        part: &'a [SeriesSamples],
        bounds: Bounds,
        outcome: &mut IngestOutcome,
    ) -> Vec<Accepted<'a>> {
        let found = self.head.find_all(part.iter().map(|s| &s.labels));
        let mut created = Vec::new();
        let mut label_limits = LabelLimits::new(&self.config.limits.series_max_by_label);
        let mut out = Vec::with_capacity(part.len());
        for (item, (hash, known)) in part.iter().zip(found) {
            let samples = bounds.keep(&item.samples, || item.labels.clone(), outcome);
            let histograms: Vec<_> = item
                .histograms
                .iter()
                .filter(|(t, h)| {
                    let check = bounds
                        .check(t.0)
                        .and(h.validate().map_err(|_why| RejectReason::InvalidHistogram));
                    refuse(outcome, &item.labels, t.0, check)
                })
                .map(|(t, h)| (*t, h))
                .collect();
            let count = samples.len() + histograms.len();
            if count == 0 {
                continue;
            }
            let series = match known {
                Some(series) => Ok(series),
                None => self.create(hash, &item.labels, &mut label_limits, &mut created),
            };
            match series {
                Ok(series) => {
                    let starts = sorted_starts(&item.start_timestamps);
                    out.push(Accepted { series, samples, histograms, starts });
                }
                Err((reason, limit)) => {
                    let example = || self.explain(reason, &item.labels, limit);
                    outcome.reject_many(reason, count as u64, example);
                }
            }
        }
        self.head.index_new(&created);
        out
    }

    /// Makes a series if its labels and the limits allow it; the reason and the limit of one label
    /// if not.
    pub(crate) fn create<'l>(
        &self,
        hash: u64,
        labels: &LabelSet,
        label_limits: &mut LabelLimits<'l>,
        created: &mut Vec<Arc<Series>>,
    ) -> Result<Arc<Series>, (RejectReason, Option<&'l LabelLimit>)> {
        self.check_labels(labels).map_err(|why| (why, None))?;
        let over = |limit| (RejectReason::CardinalityLimit, limit);
        // An item before may have made it.
        if self.head.find(hash, labels).is_none() {
            label_limits.admit(&self.head, labels).map_err(|limit| over(Some(limit)))?;
        }
        let max = self.config.limits.series_max;
        self.head.get_or_create(hash, labels, max, created).ok_or(over(None))
    }

    fn check_labels(&self, labels: &LabelSet) -> Result<(), RejectReason> {
        let limits = &self.config.limits;
        if labels.get(METRIC_NAME).is_none() {
            return Err(RejectReason::MissingName);
        }
        if labels.len() > limits.labels_max {
            return Err(RejectReason::TooManyLabels);
        }
        for (name, value) in labels.iter() {
            if name.is_empty() {
                return Err(RejectReason::InvalidLabel);
            }
            if name.len() > limits.label_name_bytes_max
                || value.len() > limits.label_value_bytes_max
            {
                return Err(RejectReason::TooLarge);
            }
        }
        Ok(())
    }

    pub(crate) fn explain(
        &self,
        reason: RejectReason,
        labels: &LabelSet,
        limit: Option<&LabelLimit>,
    ) -> String {
        // A label set that is refused for its size must not fill an error text.
        let shown: String = labels.to_string().chars().take(300).collect();
        if let Some(LabelLimit { label, series_max, .. }) = limit {
            return format!("{shown}: {series_max} series are the limit for this {label}");
        }
        match reason {
            RejectReason::CardinalityLimit => {
                format!("{shown}: {} series are the limit", self.config.limits.series_max)
            }
            RejectReason::TooManyLabels => {
                format!("{shown}: {} labels are the limit", self.config.limits.labels_max)
            }
            _ => shown,
        }
    }

    /// Scrapes repeat the same metadata for ever; only news are logged.
    fn changed_metadata<'a>(&self, all: &'a [MetricMetadata]) -> Vec<&'a MetricMetadata> {
        let known = read(&self.metadata);
        let mut room = self.config.limits.metadata_max.saturating_sub(known.len());
        let name_max = self.config.limits.label_name_bytes_max;
        all.iter()
            .filter(|m| m.family.len() <= name_max && m.unit.len() <= name_max)
            .filter(|m| m.help.len() <= HELP_BYTES_MAX)
            .filter(|m| match known.get(&m.family) {
                Some(have) => have != *m,
                None if room == 0 || m.family.is_empty() => false,
                None => {
                    room -= 1;
                    true
                }
            })
            .collect()
    }

    fn count(&self, outcome: &IngestOutcome) {
        self.counters.appended.fetch_add(outcome.accepted, Ordering::Relaxed);
        if !outcome.rejected.is_empty() {
            let mut rejected = lock(&self.counters.rejected);
            for (reason, r) in &outcome.rejected {
                *rejected.entry(*reason).or_default() += r.count;
            }
        }
    }
}

/// Estimate of what an item takes in the log.
fn logged_bytes(item: &SeriesSamples) -> usize {
    let histograms: usize = item.histograms.iter().map(|(_, h)| h.size_bytes()).sum();
    16 + item.labels.as_bytes().len()
        + item.samples.len() * 10
        + histograms
        + item.exemplars.len() * (64 + item.labels.as_bytes().len())
}

/// Whether the item stays; counts it where it does not.
fn refuse(
    outcome: &mut IngestOutcome,
    labels: &LabelSet,
    t: i64,
    check: Result<(), RejectReason>,
) -> bool {
    if let Err(reason) = check {
        outcome.reject(reason, || format!("{labels} at {t}"));
    }
    check.is_ok()
}
