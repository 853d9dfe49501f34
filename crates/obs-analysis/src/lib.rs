//! SLO arithmetic, anomaly detectors, correlation and bottleneck analysis.
//!
//! Lives here: SLO definitions, budgets and reports ([`slo`]); streaming anomaly detection and
//! peer comparison ([`anomaly`]); the time line around an instant ([`correlate`]); the critical
//! path of a trace ([`bottleneck`]); daily, weekly and monthly reports ([`report`]).
//! Not here: reading telemetry (callers pass values, traces or a query function in), writing
//! receipts, timing of evaluations, HTTP.
//! Units: milliseconds since the Unix epoch for metrics and reports, nanoseconds for traces.
//! No I/O, no clock: equal input gives equal output.

pub mod anomaly;
pub mod bottleneck;
pub mod correlate;
mod error;
pub mod report;
pub mod slo;

pub use error::AnalysisError;

/// RFC 3339 with seconds, or milliseconds where there are any.
pub(crate) fn time_text(t: obs_types::TimestampMs) -> String {
    jiff::Timestamp::from_millisecond(t.0).unwrap_or_default().to_string()
}
