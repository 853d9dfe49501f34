//! Brings telemetry in: scraping and discovery, receivers, host metrics, file tail, and vm-obs' own
//! metrics, logs and traces.
//!
//! Lives here: transport and timing of collection. Not here: byte formats (`obs-wire`), storage.
//! Units: metric time in milliseconds, log and span time in nanoseconds.

pub mod attest;
pub mod host;
pub mod receivers;
pub mod registry;
pub mod scrape;
mod selfobs;
mod tail;

pub use selfobs::{SelfTelemetry, SelfTelemetryDrain};
pub use tail::{FileTailer, TailConfig};

/// Makes `ring` the provider of TLS for this process; every HTTP client needs one, and only one
/// TLS stack is linked.
pub fn install_crypto() {
    // A second call finds the first one's provider, which is the same.
    let _already = rustls::crypto::ring::default_provider().install_default();
}
