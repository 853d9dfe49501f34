//! What is done to samples before the metrics engine sees them.

use std::sync::Arc;

use obs_collect::registry::Registry;
use obs_metrics::{Dedup, StreamAggregator};
use obs_types::{DurationMs, MetricSink, TimestampMs};

use super::engines::Engines;
use crate::config::MetricsSettings;

/// What stands before the metrics engine, as far as it is configured.
#[derive(Clone, Debug, Default)]
pub(super) struct Inlets {
    dedup: Option<Arc<Dedup>>,
    streams: Option<Arc<StreamAggregator>>,
}

impl Inlets {
    pub(super) fn new(
        engines: &Engines,
        settings: &MetricsSettings,
        registry: &Arc<Registry>,
    ) -> Self {
        let mut out = Self::default();
        let mut sink: Arc<dyn MetricSink> = engines.metrics.clone();
        if !settings.streams.is_empty() {
            let streams = Arc::new(StreamAggregator::new(sink, settings.streams.clone()));
            sink = streams.clone();
            let counted = Arc::clone(&streams);
            registry.counter_callback(
                "vmobs_stream_aggregated_samples_total",
                "Samples that went into aggregates of streams.",
                &[],
                move || counted.aggregated() as f64,
            );
            let counted = Arc::clone(&streams);
            registry.counter_callback(
                "vmobs_stream_results_dropped_total",
                "Aggregates of streams that storage refused for so long that they were let go.",
                &[],
                move || counted.lost() as f64,
            );
            out.streams = Some(streams);
        }
        if let Some(config) = &settings.dedup {
            let dedup = Arc::new(Dedup::new(sink, config.clone()));
            let counted = Arc::clone(&dedup);
            registry.counter_callback(
                "vmobs_deduplicated_samples_total",
                "Samples that were not stored because another replica of their series leads.",
                &[],
                move || counted.dropped() as f64,
            );
            let counted = Arc::clone(&dedup);
            registry.counter_callback(
                "vmobs_dedup_takeovers_total",
                "Times that a replica of a series took over from one that fell silent.",
                &[],
                move || counted.takeovers() as f64,
            );
            out.dedup = Some(dedup);
        }
        out
    }

    pub(super) fn any(&self) -> bool {
        self.dedup.is_some() || self.streams.is_some()
    }

    pub(super) fn sink(&self, engines: &Engines) -> Arc<dyn MetricSink> {
        match (&self.dedup, &self.streams) {
            (Some(dedup), _) => dedup.clone(),
            (None, Some(streams)) => streams.clone(),
            (None, None) => engines.metrics.clone(),
        }
    }

    /// Every second or so.
    pub(super) fn tick(&self, now: TimestampMs) {
        if let Some(dedup) = &self.dedup {
            dedup.forget_before(now.saturating_sub(DurationMs::HOUR));
        }
        if let Some(streams) = &self.streams
            && let Err(e) = streams.flush(now, false)
        {
            tracing::warn!(error = %e, "aggregates of streams not stored, tried again");
        }
    }

    /// Gives out what the running intervals hold.
    pub(super) fn finish(&self, now: TimestampMs) {
        if let Some(streams) = &self.streams
            && let Err(e) = streams.flush(now, true)
        {
            tracing::error!(error = %e, "aggregates of streams lost at the stop");
        }
    }
}
