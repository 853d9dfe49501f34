//! The engines as receivers see them: counted, and log lines enriched.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use obs_collect::attest::{AttestSettings, Attestation, Certificate};
use obs_collect::receivers::{IntakeNotes, Sinks};
use obs_collect::registry::{Counter, Registry};
use obs_collect::scrape::CollectionLog;
use obs_disk::Clock;
use obs_proof::hash::from_base64;
use obs_types::{
    IngestError, IngestOutcome, LogRecord, LogSink, MetricBatch, MetricSink, SentBatch, SpanRecord,
    TraceSink,
};

use super::engines::Engines;
use super::inlets::Inlets;
use super::room::Room;
use crate::config::AttestationSettings;

struct Counted<T: ?Sized> {
    inner: Arc<T>,
    room: Arc<Room>,
    registry: Arc<Registry>,
    signal: &'static str,
    items: Counter,
    refused: Counter,
    collection: Arc<CollectionLog>,
    clock: Arc<dyn Clock>,
}

/// A batch that storage did not take, in the seal's words; its sender was told to try again.
const REFUSED: &str = "batches_refused";

impl<T: ?Sized> Counted<T> {
    fn new(inner: Arc<T>, shared: &Counts<'_>, signal: &'static str) -> Self {
        let registry = shared.registry;
        let labels = [("signal", signal)];
        Self {
            inner,
            room: Arc::clone(shared.room),
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
            collection: Arc::clone(shared.collection),
            clock: Arc::clone(shared.clock),
        }
    }

    fn count(
        &self,
        outcome: Result<IngestOutcome, IngestError>,
    ) -> Result<IngestOutcome, IngestError> {
        match &outcome {
            Ok(o) => {
                self.items.add(o.accepted);
                let now = self.clock.now();
                for (reason, r) in &o.rejected {
                    self.collection.reject(self.signal, reason.as_str(), r.count, now);
                    self.registry
                        .counter(
                            "vmobs_engine_rejected_total",
                            "Items that an engine refused, by reason.",
                            &[("signal", self.signal), ("reason", reason.as_str())],
                        )
                        .add(r.count);
                }
            }
            Err(_) => {
                self.refused.inc();
                self.collection.reject(self.signal, REFUSED, 1, self.clock.now());
            }
        }
        outcome
    }
}

impl MetricSink for Counted<dyn MetricSink> {
    fn append(&self, batch: MetricBatch) -> Result<IngestOutcome, IngestError> {
        self.count(self.room.admit().and_then(|()| self.inner.append(batch)))
    }

    fn append_sent(&self, batch: &SentBatch<'_>) -> Result<IngestOutcome, IngestError> {
        self.count(self.room.admit().and_then(|()| self.inner.append_sent(batch)))
    }
}

impl LogSink for Counted<dyn LogSink> {
    fn append(&self, mut records: Vec<LogRecord>) -> Result<IngestOutcome, IngestError> {
        records.iter_mut().for_each(obs_logs::enrich);
        self.count(self.room.admit().and_then(|()| self.inner.append(records)))
    }
}

impl TraceSink for Counted<dyn TraceSink> {
    fn append(&self, spans: Vec<SpanRecord>) -> Result<IngestOutcome, IngestError> {
        self.count(self.room.admit().and_then(|()| self.inner.append(spans)))
    }
}

/// Where the sinks count.
pub(super) struct Counts<'a> {
    pub(super) registry: &'a Arc<Registry>,
    pub(super) collection: &'a Arc<CollectionLog>,
    pub(super) clock: &'a Arc<dyn Clock>,
    /// Whether anything is taken at all.
    pub(super) room: &'a Arc<Room>,
}

/// Checks senders' signatures by the nodes of the registry and the configured certificates.
pub(super) fn attestation(
    settings: &AttestationSettings,
    data: &Path,
) -> anyhow::Result<Arc<Attestation>> {
    let read = |path: &Path| {
        std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
    };
    let mut certificates = Vec::new();
    for path in &settings.certificates {
        let found = Certificate::read_pem(&read(path)?);
        certificates.extend(found.with_context(|| path.display().to_string())?);
    }
    let hmac_key = settings.hmac_key.as_deref().map(|path| {
        let text = read(path)?;
        from_base64("secret", text.trim()).with_context(|| path.display().to_string())
    });
    Ok(Arc::new(Attestation::new(AttestSettings {
        actors: data.join(obs_ops::ACTORS_FILE),
        certificates,
        hmac_key: hmac_key.transpose()?,
        refuse: settings.refuse,
    })))
}

pub(super) fn sinks(
    engines: &Engines,
    inlets: &Inlets,
    counts: &Counts<'_>,
    attestation: Arc<Attestation>,
) -> Sinks {
    let metrics = inlets.sink(engines);
    let logs: Arc<dyn LogSink> = engines.logs.clone();
    let traces: Arc<dyn TraceSink> = engines.traces.clone();
    Sinks {
        metrics: Arc::new(Counted::new(metrics, counts, "metrics")),
        logs: Arc::new(Counted::new(logs, counts, "logs")),
        traces: Arc::new(Counted::new(traces, counts, "traces")),
        notes: IntakeNotes {
            collection: Some(Arc::clone(counts.collection)),
            attestation: Some(attestation),
        },
    }
}
