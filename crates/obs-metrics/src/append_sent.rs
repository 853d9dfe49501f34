//! The write path of senders that repeat themselves: series are known by the bytes that their
//! labels were sent as, so that for nearly all of them no label set is built.

use std::sync::Arc;

use obs_types::{IngestError, IngestOutcome, LabelSet, SentBatch, TimestampMs, started};

use crate::append::PART_BYTES;
use crate::cardinality::LabelLimits;
use crate::engine::MetricsEngine;
use crate::head::SentHash;
use crate::read;
use crate::record::RecordWriter;
use crate::series::Series;
use crate::store::{Accepted, Bounds, SortedStarts};

impl MetricsEngine {
    pub(crate) fn append_sent_parts(
        &self,
        batch: &SentBatch<'_>,
        outcome: &mut IngestOutcome,
    ) -> Result<(), IngestError> {
        let wal = self.log()?;
        // Held until all is in: a series that was found must not leave the head meanwhile.
        let line = read(&self.gate);
        let bounds = self.bounds();
        let found = self.head.find_sent(batch);
        let mut news = News::new(self);
        let mut part = Vec::with_capacity(found.len());
        let mut bytes = 0;
        for ((sent, samples, starts), (hash, known)) in batch.iter().zip(found) {
            let starts = in_order(started(samples, starts));
            bytes += 16 + samples.len() * 10;
            if known.is_none() {
                bytes += sent.len();
            }
            let accepted = match known {
                Some(series) => {
                    let samples = bounds.keep(samples, || self.head.labels(&series), outcome);
                    Some(Accepted { series, samples, histograms: Vec::new(), starts })
                }
                None => match batch.form.read(sent) {
                    Ok(labels) => news.accept(hash, labels, (samples, starts), bounds, outcome),
                    Err(reason) => {
                        let example = || batch.form.show(sent);
                        outcome.reject_many(reason, samples.len() as u64, example);
                        None
                    }
                },
            };
            part.extend(accepted);
            if bytes >= PART_BYTES {
                news.publish();
                self.store(wal, *line, bounds, RecordWriter::default(), &part, outcome)?;
                part.clear();
                bytes = 0;
            }
        }
        news.publish();
        self.store(wal, *line, bounds, RecordWriter::default(), &part, outcome)
    }
}

fn in_order<'a>(mut starts: Vec<(TimestampMs, TimestampMs)>) -> SortedStarts<'a> {
    if !starts.is_sorted_by_key(|(at, _)| *at) {
        starts.sort_by_key(|(at, _)| *at);
    }
    starts.into()
}

/// Series that a batch names for the first time, or in a new way.
struct News<'e> {
    engine: &'e MetricsEngine,
    label_limits: LabelLimits<'e>,
    created: Vec<Arc<Series>>,
    /// With the hash of their labels as they were sent.
    learnt: Vec<(SentHash, Arc<Series>)>,
}

impl<'e> News<'e> {
    fn new(engine: &'e MetricsEngine) -> Self {
        let label_limits = LabelLimits::new(&engine.config.limits.series_max_by_label);
        Self { engine, label_limits, created: Vec::new(), learnt: Vec::new() }
    }

    /// Finds or makes the series. `None`, and counted, if all is refused; no series is made then.
    fn accept<'a>(
        &mut self,
        sent: SentHash,
        labels: LabelSet,
        (samples, starts): (&'a [(TimestampMs, f64)], SortedStarts<'a>),
        bounds: Bounds,
        outcome: &mut IngestOutcome,
    ) -> Option<Accepted<'a>> {
        let samples = bounds.keep(samples, || labels.clone(), outcome);
        if samples.is_empty() {
            return None;
        }
        let hash = labels.stable_hash();
        let known = self.engine.head.find(hash, &labels);
        let series = match known {
            Some(series) => Ok(series),
            None => self.engine.create(hash, &labels, &mut self.label_limits, &mut self.created),
        };
        match series {
            Ok(series) => {
                self.learnt.push((sent, Arc::clone(&series)));
                Some(Accepted { series, samples, histograms: Vec::new(), starts })
            }
            Err((reason, limit)) => {
                let example = || self.engine.explain(reason, &labels, limit);
                outcome.reject_many(reason, samples.len() as u64, example);
                None
            }
        }
    }

    /// Makes the new series findable.
    fn publish(&mut self) {
        self.engine.head.index_new(&std::mem::take(&mut self.created));
        self.engine.head.remember_sent(std::mem::take(&mut self.learnt));
    }
}
