//! The trace engine: write-ahead log, head, blocks, recovery.
//!
//! Lives here: [`TracesEngine`], which takes spans in ([`obs_types::TraceSink`]) and gives traces
//! out ([`obs_types::TraceSource`]), tag and service listings, the service graph.
//! Not here: the query language (`obs-traceql`), sealing (`obs-archive`), OTLP (`obs-wire`).
//! Units: nanoseconds since the Unix epoch for spans, milliseconds for the clock.
//! A trace may arrive in any number of pieces, in any order, more than once: readers merge the
//! pieces of head and blocks and keep one copy of each span.

mod block;
mod bloom;
mod codec;
mod config;
mod engine;
mod error;
mod graph;
mod head;
mod ingest;
mod merge;
mod select;
mod stats;
mod summary;
mod tags;

pub use config::{OpenMode, TraceLimits, TracesConfig};
pub use engine::{Maintenance, TracesEngine};
pub use error::TracesError;
pub use graph::{ServiceEdge, service_graph};
pub use merge::merge_spans;
pub use stats::TracesStats;
