//! Synthetic monitoring: probes with the modules and the metric names of Prometheus' blackbox
//! exporter, and transactions of several steps.
//!
//! Lives here: the modules' YAML, the probers (http, tcp, unix, websocket, dns, icmp, grpc, domain), their metrics and
//! debug output, transactions. Not here: when probes run and where their samples go (`vm-obs`).
//! Source: blackbox exporter 0.28; what differs is in `docs/exercises.md`.

mod addresses;
mod cel;
mod certificate;
mod config;
mod dialogue;
mod dns;
mod dns_message;
mod domain;
mod forms;
mod grpc;
mod http;
mod icmp;
mod result;
mod run;
mod transaction;
mod websocket;

pub use config::{Module, Modules};
pub use result::{Gauge, Phase, ProbeResult};
pub use run::{ProbeRequest, probe};
pub use transaction::{Transaction, TransactionForm};
