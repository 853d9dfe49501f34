//! Every foreign byte format, in and out.
//!
//! Lives here: the exposition formats, remote write and read, Prometheus' block files, OTLP, Loki's
//! push formats, JSON lines, ENGINE's JSON objects, DNS messages for discovery, capped
//! decompression: bytes to the batches of `obs-types` and back.
//! Not here: HTTP and gRPC themselves (`obs-collect`, `obs-api`), enrichment of logs (`obs-logs`).
//! Every decoder takes caps and returns an error that names the place; no input panics.

mod caps;
pub mod compression;
mod dns;
mod engine;
mod error;
pub mod exposition;
pub mod float;
mod json;
mod json_lines;
mod labels;
mod loki_labels;
mod loki_push;
pub mod otlp;
mod protobuf;
pub mod remote_read;
pub mod remote_write;
mod time;
pub mod tsdb;

pub use caps::{Decoded, WireCaps};
pub use dns::{DnsAnswer, DnsRecordType, DnsTarget, decode_dns_answer, encode_dns_query};
pub use engine::{decode_engine_logs, decode_engine_metrics, decode_engine_traces};
pub use error::{WireError, cut_text};
pub use json_lines::{JsonLineFields, decode_json_lines, log_from_object};
pub use labels::exemplar;
pub use loki_labels::parse_loki_labels;
pub use loki_push::{LokiFormat, decode_loki_push};
pub use time::{timestamp_from_json, timestamp_from_text};

#[cfg(test)]
mod corpus;
