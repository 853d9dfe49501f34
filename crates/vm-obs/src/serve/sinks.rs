//! The engines as receivers see them: counted, and log lines enriched.

use std::sync::Arc;

use obs_collect::receivers::Sinks;
use obs_collect::registry::{Counter, Registry};
use obs_types::{
    IngestError, IngestOutcome, LogRecord, LogSink, MetricBatch, MetricSink, SpanRecord, TraceSink,
};

use super::engines::Engines;

struct Counted<T: ?Sized> {
    inner: Arc<T>,
    registry: Arc<Registry>,
    signal: &'static str,
    items: Counter,
    refused: Counter,
}

impl<T: ?Sized> Counted<T> {
    fn new(inner: Arc<T>, registry: &Arc<Registry>, signal: &'static str) -> Self {
        let labels = [("signal", signal)];
        Self {
            inner,
            registry: Arc::clone(registry),
            signal,
            items: registry.counter(
                "vmobs_ingested_items_total",
                "Samples, log lines and spans that were stored.",
                &labels,
            ),
            refused: registry.counter(
                "vmobs_ingest_batches_refused_total",
                "Batches refused whole because storage was unavailable or overloaded.",
                &labels,
            ),
        }
    }

    fn count(
        &self,
        outcome: Result<IngestOutcome, IngestError>,
    ) -> Result<IngestOutcome, IngestError> {
        match &outcome {
            Ok(o) => {
                self.items.add(o.accepted);
                for (reason, r) in &o.rejected {
                    self.registry
                        .counter(
                            "vmobs_engine_rejected_total",
                            "Items that an engine refused, by reason.",
                            &[("signal", self.signal), ("reason", reason.as_str())],
                        )
                        .add(r.count);
                }
            }
            Err(_) => self.refused.inc(),
        }
        outcome
    }
}

impl MetricSink for Counted<dyn MetricSink> {
    fn append(&self, batch: MetricBatch) -> Result<IngestOutcome, IngestError> {
        self.count(self.inner.append(batch))
    }
}

impl LogSink for Counted<dyn LogSink> {
    fn append(&self, mut records: Vec<LogRecord>) -> Result<IngestOutcome, IngestError> {
        records.iter_mut().for_each(obs_logs::enrich);
        self.count(self.inner.append(records))
    }
}

impl TraceSink for Counted<dyn TraceSink> {
    fn append(&self, spans: Vec<SpanRecord>) -> Result<IngestOutcome, IngestError> {
        self.count(self.inner.append(spans))
    }
}

pub(super) fn sinks(engines: &Engines, registry: &Arc<Registry>) -> Sinks {
    let metrics: Arc<dyn MetricSink> = engines.metrics.clone();
    let logs: Arc<dyn LogSink> = engines.logs.clone();
    let traces: Arc<dyn TraceSink> = engines.traces.clone();
    Sinks {
        metrics: Arc::new(Counted::new(metrics, registry, "metrics")),
        logs: Arc::new(Counted::new(logs, registry, "logs")),
        traces: Arc::new(Counted::new(traces, registry, "traces")),
    }
}
