//! Samples of vm-obs and of its host while the engine takes none. An alert about a full disk rests
//! on samples that this disk refuses: rules see them from here, and they are stored when it has
//! room again.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use obs_collect::registry::Counter;
use obs_rules::Overlay;
use obs_types::{MetricBatch, MetricSink, SeriesSource};

/// Half an hour of own and host metrics at one batch each every 15 s.
const BATCHES_MAX: usize = 240;

/// Batches that wait for the engine, oldest first.
#[derive(Clone, Debug)]
pub(super) struct Held {
    batches: Arc<Mutex<VecDeque<MetricBatch>>>,
    dropped: Counter,
}

impl Held {
    /// `dropped` counts samples that waited too long.
    pub(super) fn new(dropped: Counter) -> Self {
        Self { batches: Arc::default(), dropped }
    }

    /// Stores what waits and then the batch; what the engine refuses goes on waiting.
    pub(super) fn store(&self, batch: MetricBatch, what: &str, sink: &dyn MetricSink) {
        let mut batches = self.batches.lock().unwrap_or_else(PoisonError::into_inner);
        if !batch.series.is_empty() {
            batches.push_back(batch);
        }
        while let Some(oldest) = batches.front() {
            if let Err(e) = sink.append(oldest.clone()) {
                tracing::warn!(what, error = %e, waiting = batches.len(), "samples not stored");
                break;
            }
            batches.pop_front();
        }
        while batches.len() > BATCHES_MAX {
            if let Some(lost) = batches.pop_front() {
                let samples = lost.series.iter().map(|s| s.samples.len() + s.histograms.len());
                self.dropped.add(samples.sum::<usize>() as u64);
            }
        }
    }

    /// What is stored, with what waits on top.
    pub(super) fn over<'a>(&self, stored: &'a dyn SeriesSource) -> Overlay<'a> {
        let mut overlay = Overlay::new(stored);
        for batch in &*self.batches.lock().unwrap_or_else(PoisonError::into_inner) {
            overlay.add(&batch.series);
        }
        overlay
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use obs_collect::registry::Registry;
    use obs_promql::testing::MemorySource;
    use obs_types::{
        IngestError, IngestOutcome, LabelSet, Matcher, QueryContext, SeriesSamples, SeriesSelect,
        TimeRangeMs, TimestampMs,
    };

    use super::*;

    #[derive(Default)]
    struct Moody {
        full: AtomicBool,
        taken: Mutex<Vec<i64>>,
    }

    impl MetricSink for Moody {
        fn append(&self, batch: MetricBatch) -> Result<IngestOutcome, IngestError> {
            if self.full.load(Ordering::Relaxed) {
                return Err(IngestError::Unavailable { reason: "disk full".to_owned() });
            }
            let times = batch.series.iter().flat_map(|s| &s.samples).map(|(t, _)| t.0);
            self.taken.lock().unwrap().extend(times);
            Ok(IngestOutcome::default())
        }
    }

    fn at(t: i64) -> MetricBatch {
        let labels = LabelSet::from_pairs([("__name__", "free")]);
        let samples = vec![(TimestampMs(t), t as f64)];
        let series = vec![SeriesSamples { labels, samples, ..SeriesSamples::default() }];
        MetricBatch { series, ..MetricBatch::default() }
    }

    fn seen(held: &Held) -> Vec<i64> {
        let stored = MemorySource::default();
        let overlay = held.over(&stored);
        let matchers = [Matcher::equal("__name__", "free")];
        let range = TimeRangeMs { start: TimestampMs(0), end: TimestampMs(i64::MAX) };
        let select = SeriesSelect { matchers: &matchers, range, function: None, step_ms: None };
        let all: Vec<_> = overlay.select(&select, &QueryContext::unlimited()).unwrap().collect();
        all.into_iter().flat_map(|s| s.unwrap().timestamps).collect()
    }

    #[test]
    fn a_full_disk_blinds_no_rule_and_loses_nothing() {
        let sink = Moody::default();
        let counter = Registry::new().counter("dropped", "help", &[]);
        let held = Held::new(counter.clone());
        held.store(at(1), "own metrics", &sink);
        sink.full.store(true, Ordering::Relaxed);
        held.store(at(2), "own metrics", &sink);
        held.store(at(3), "own metrics", &sink);
        assert_eq!(*sink.taken.lock().unwrap(), [1]);
        assert_eq!(seen(&held), [2, 3]);

        sink.full.store(false, Ordering::Relaxed);
        held.store(at(4), "own metrics", &sink);
        assert_eq!(*sink.taken.lock().unwrap(), [1, 2, 3, 4], "in their order");
        assert!(seen(&held).is_empty());

        sink.full.store(true, Ordering::Relaxed);
        for t in 0..BATCHES_MAX as i64 + 5 {
            held.store(at(t), "own metrics", &sink);
        }
        assert_eq!(seen(&held).len(), BATCHES_MAX);
        assert_eq!(counter.get(), 5);
    }
}
