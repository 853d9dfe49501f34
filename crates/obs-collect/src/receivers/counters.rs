//! The receivers' own metrics; every name stands here once.

use std::sync::Arc;
use std::time::Duration;

use obs_types::IngestOutcome;
use obs_wire::otlp::Signal;

use crate::registry::{DURATION_BOUNDS, Registry};

pub(super) struct Counters {
    registry: Arc<Registry>,
}

impl Counters {
    pub(super) fn new(registry: Arc<Registry>) -> Self {
        Self { registry }
    }

    /// What became of the items of one request.
    pub(super) fn stored(&self, protocol: &str, signal: Signal, outcome: &IngestOutcome) {
        self.registry
            .counter(
                "vmobs_ingest_accepted_total",
                "Samples, log entries and spans that were stored.",
                &[("protocol", protocol), ("signal", signal.as_str())],
            )
            .add(outcome.accepted);
        for (reason, reject) in &outcome.rejected {
            self.rejected(protocol, reason.as_str(), reject.count);
        }
    }

    /// `count` items, or 1 for a body that was refused whole.
    pub(super) fn rejected(&self, protocol: &str, reason: &str, count: u64) {
        self.registry
            .counter(
                "vmobs_ingest_rejected_total",
                "Items, or whole requests that could not be read, that were not stored.",
                &[("protocol", protocol), ("reason", reason)],
            )
            .add(count);
    }

    pub(super) fn request(&self, protocol: &str, bytes: usize, took: Duration) {
        self.registry
            .counter(
                "vmobs_ingest_bytes_total",
                "Bytes of request bodies as they came over the wire.",
                &[("protocol", protocol)],
            )
            .add(bytes as u64);
        self.registry
            .histogram(
                "vmobs_ingest_request_duration_seconds",
                "Time to unpack, decode and store a request.",
                &[("protocol", protocol)],
                &DURATION_BOUNDS,
            )
            .observe(took.as_secs_f64());
    }
}
