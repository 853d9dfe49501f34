//! What tests and benchmarks of the whole share: seeded data, request bodies, a small HTTP client
//! for loopback, sources in memory, and real programs as processes that end with the test.
//!
//! Not here: fakes of disk and clock (`obs-disk`), the tests themselves.
//! Everything random comes from a seed that is an argument, so that a failure can be replayed.

mod blobs;
mod bodies;
mod http;
mod process;
mod seeded;
mod sink;
mod sources;

pub use blobs::blob_store_contract;
pub use bodies::{Labels, SeriesSamples, logs_push, remote_write, trace_export};
pub use http::{Client, HttpError, Reply};
pub use process::{Program, Usage, free_port, usage_of, wait_until};
pub use seeded::Seeded;
pub use sink::WebhookSink;
pub use sources::{GivenLogs, GivenSeries, GivenTraces};
