//! Load tests: profiles, executors, measuring without coordinated omission, thresholds, reports.
//!
//! A request of an arrival-rate executor is timed from the instant at which it was due, so that a
//! stall of the server is seen by every request that had to wait behind it. Everything runs on one
//! thread.
//! Units: latencies are kept in microseconds and shown in milliseconds.

mod arrivals;
mod client;
mod compare;
mod forms;
mod html;
mod limits;
mod measure;
mod profile;
mod report;
mod run;
mod schedule;
mod threshold;
mod user;

pub use compare::{Comparison, Verdict, compare};
pub use html::html;
pub use limits::{Machine, Refusal};
pub use measure::{Second, Trend};
pub use profile::{Executor, PRESETS, Profile, Scenario, preset};
pub use report::{Outcome, Report};
pub use run::{Live, LiveView, QueryTelemetry, RunError, RunOptions, check, run};
pub use threshold::{Aggregate, Threshold};
