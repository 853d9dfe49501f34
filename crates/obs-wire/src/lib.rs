//! Every foreign byte format, in and out.
//!
//! Lives here: the exposition formats, remote write, OTLP, Loki's push formats, JSON lines, ENGINE's
//! JSON objects, capped decompression: bytes to the batches of `obs-types` and back.
//! Not here: HTTP and gRPC themselves (`obs-collect`, `obs-api`), enrichment of logs (`obs-logs`).
//! Every decoder takes caps and returns an error that names the place; no input panics.

mod caps;
pub mod compression;
mod error;
pub mod exposition;
pub mod float;
mod json;
mod labels;
pub mod otlp;
mod protobuf;
pub mod remote_write;

pub use caps::{Decoded, WireCaps};
pub use error::WireError;
pub use labels::exemplar;
