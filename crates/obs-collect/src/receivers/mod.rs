//! What others send to us: remote write, exposition text, OTLP over HTTP and gRPC, Loki push, JSON.
//!
//! Invariants: a body is read, unpacked and decoded only within [`ReceiverLimits`]; sinks are called
//! from blocking threads; every request ends in exactly one of accepted or rejected counters; the
//! answer is the protocol's own.

mod counters;
mod import;
mod intake;
mod json;
mod loki;
mod otlp;
mod otlp_grpc;
mod otlp_http;
mod remote_write;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::routing::post;
use obs_disk::Clock;
use obs_types::{LogSink, MetricSink, TraceSink};
use obs_wire::WireCaps;
use obs_wire::otlp::{DeltaLimits, DeltaState};

use self::counters::Counters;
use crate::attest::{AttestCounters, Attestation};
use crate::registry::Registry;
use crate::scrape::CollectionLog;

/// Where received telemetry goes.
#[derive(Clone)]
pub struct Sinks {
    pub metrics: Arc<dyn MetricSink>,
    pub logs: Arc<dyn LogSink>,
    pub traces: Arc<dyn TraceSink>,
    pub notes: IntakeNotes,
}

/// What is noted of requests beside the counters.
#[derive(Clone, Debug, Default)]
pub struct IntakeNotes {
    /// Gets what decoders refuse, for the seals.
    pub collection: Option<Arc<CollectionLog>>,
    /// Checks senders' signatures; `None` leaves them alone.
    pub attestation: Option<Arc<Attestation>>,
}

impl fmt::Debug for Sinks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sinks")
    }
}

/// What one sender may ask for.
#[derive(Clone, Copy, Debug)]
pub struct ReceiverLimits {
    pub caps: WireCaps,
    /// Requests that are decoded and stored at the same time; memory is bounded by this times
    /// `caps.output_bytes_max`.
    pub requests_in_flight_max: usize,
    /// How long a request waits for its turn before it is refused as overload.
    pub queue_timeout: Duration,
    /// How long a sender may take for its body.
    pub body_timeout: Duration,
    /// Running totals of OTLP's delta streams, for each router.
    pub deltas: DeltaLimits,
}

impl Default for ReceiverLimits {
    fn default() -> Self {
        Self {
            caps: WireCaps::default(),
            requests_in_flight_max: 32,
            queue_timeout: Duration::from_secs(5),
            body_timeout: Duration::from_secs(30),
            deltas: DeltaLimits::default(),
        }
    }
}

/// Shared by the routes of one router.
pub(crate) struct Shared {
    sinks: Sinks,
    limits: ReceiverLimits,
    counters: Counters,
    clock: Arc<dyn Clock>,
    turns: tokio::sync::Semaphore,
    attest_counters: AttestCounters,
    deltas: Arc<DeltaState>,
}

impl Shared {
    /// `receiver` is the label of what each router keeps for itself.
    fn new(
        receiver: &'static str,
        sinks: Sinks,
        limits: ReceiverLimits,
        registry: Arc<Registry>,
        clock: Arc<dyn Clock>,
    ) -> Arc<Self> {
        let deltas = Arc::new(DeltaState::new(limits.deltas));
        counters::register_deltas(&registry, receiver, &deltas);
        Arc::new(Self {
            deltas,
            sinks,
            limits,
            attest_counters: AttestCounters::new(Arc::clone(&registry)),
            counters: Counters::new(registry),
            clock,
            turns: tokio::sync::Semaphore::new(limits.requests_in_flight_max.max(1)),
        })
    }
}

/// Every HTTP receiver: `/api/v1/write`, `/api/v1/import/prometheus`, `/metrics/job/…`,
/// `/loki/api/v1/push`, `/insert/jsonline`,
/// `/obs/ingest/{metrics,logs,traces}` and the OTLP paths of [`otlp_http_router`] with their aliases
/// `/otlp/v1/…` and `/api/v1/otlp/v1/metrics`.
pub fn http_router(
    sinks: Sinks,
    limits: ReceiverLimits,
    registry: Arc<Registry>,
    clock: Arc<dyn Clock>,
) -> Router {
    let shared = Shared::new("http", sinks, limits, registry, clock);
    Router::new()
        .route("/api/v1/write", post(remote_write::write))
        .route("/api/v1/import/prometheus", post(import::push))
        .route("/api/v1/import/prometheus/metrics/job/{*path}", post(import::push_grouped))
        .route("/metrics/job/{*path}", post(import::push_grouped).put(import::push_grouped))
        .route("/loki/api/v1/push", post(loki::push))
        .route("/api/prom/push", post(loki::push))
        .route("/insert/jsonline", post(json::lines))
        .route("/obs/ingest/logs", post(json::logs))
        .route("/obs/ingest/metrics", post(json::metrics))
        .route("/obs/ingest/traces", post(json::traces))
        .route("/otlp/v1/metrics", post(otlp_http::metrics))
        .route("/otlp/v1/logs", post(otlp_http::logs))
        .route("/otlp/v1/traces", post(otlp_http::traces))
        .route("/api/v1/otlp/v1/metrics", post(otlp_http::metrics))
        .merge(otlp_http_routes())
        .with_state(shared)
}

fn otlp_http_routes() -> Router<Arc<Shared>> {
    Router::new()
        .route("/v1/metrics", post(otlp_http::metrics))
        .route("/v1/logs", post(otlp_http::logs))
        .route("/v1/traces", post(otlp_http::traces))
}

/// `/v1/{metrics,logs,traces}` alone, for OTLP's own port 4318.
pub fn otlp_http_router(
    sinks: Sinks,
    limits: ReceiverLimits,
    registry: Arc<Registry>,
    clock: Arc<dyn Clock>,
) -> Router {
    otlp_http_routes().with_state(Shared::new("otlp_http", sinks, limits, registry, clock))
}

/// The three OTLP services over gRPC, for port 4317. The router needs HTTP/2 with prior knowledge,
/// which `axum::serve` speaks; it can also be merged into another router of the same port.
pub fn otlp_grpc(
    sinks: Sinks,
    limits: ReceiverLimits,
    registry: Arc<Registry>,
    clock: Arc<dyn Clock>,
) -> Router {
    otlp_grpc::routes().with_state(Shared::new("otlp_grpc", sinks, limits, registry, clock))
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_attest;
