//! The receivers' own metrics; every name stands here once.

use std::sync::Arc;
use std::time::Duration;

use obs_types::IngestOutcome;
use obs_wire::otlp::{DeltaState, DeltaStats, Signal};

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

/// What the totals of OTLP's delta streams hold and what became of them.
pub(super) fn register_deltas(registry: &Registry, receiver: &str, state: &Arc<DeltaState>) {
    type Read = fn(&DeltaStats) -> f64;
    let labels = [("receiver", receiver)];
    let asked = |read: Read| {
        let state = Arc::clone(state);
        move || read(&state.stats())
    };
    let gauges: [(&str, &str, Read); 2] = [
        ("vmobs_otlp_delta_streams", "Delta streams with a running total.", |s| s.streams as f64),
        ("vmobs_otlp_delta_bytes", "Bytes that running totals take.", |s| s.bytes as f64),
    ];
    for (name, help, read) in gauges {
        registry.gauge_callback(name, help, &labels, asked(read));
    }
    let counters: [(&str, &str, Read); 3] = [
        (
            "vmobs_otlp_delta_gaps_total",
            "Delta points that did not start where the one before ended.",
            |s| s.gaps as f64,
        ),
        (
            "vmobs_otlp_delta_resets_total",
            "Running totals that began again because bucket bounds changed.",
            |s| s.resets as f64,
        ),
        (
            "vmobs_otlp_delta_expired_total",
            "Running totals forgotten because no point came.",
            |s| s.expired as f64,
        ),
    ];
    for (name, help, read) in counters {
        registry.counter_callback(name, help, &labels, asked(read));
    }
}
