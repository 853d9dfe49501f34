//! HTTP for every dialect, the portal's files, the MCP server.
//!
//! Lives here: routes, parameters, JSON shapes, error envelopes. Not here: what the answers mean
//! (`obs-query`, `obs-ops`), receivers (`obs-collect`).

mod alertmanager;
mod compress;
mod error;
mod jaeger;
mod loki;
mod obs;
mod openapi;
mod params;
mod portal;
mod prometheus;
mod query_log;
mod run;
mod server;
mod state;
mod tempo;
mod warnings;

pub use error::ApiError;
pub use obs::ReportOptions;
pub use query_log::QueryLog;
pub use server::router;
pub use state::{ApiOptions, ApiState, DemoControl, Doctor, DroppedTargets, Runbook, ServerInfo};
