//! The real program, end to end: started as a user starts it, on free ports and a folder of its own.
//!
//! One test binary, so that it is linked once.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on ends there")]

mod alerts;
mod audit;
mod bad_input;
mod chaos;
mod config_mistakes;
mod crash;
mod dashboards;
mod doctor;
mod exercise;
mod full_disk;
mod gate;
mod import;
mod ledger;
mod metric_retention;
mod metrics_options;
mod prometheus_api;
mod readme;
mod storage;
mod support;
mod tour;
