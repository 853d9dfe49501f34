//! The log engine: head, index, blocks, recovery.
//!
//! Lives here: taking log lines in durably, finding them again by stream, time, text and metadata,
//! live tails, retention, and the enrichment of incoming records.
//! Not here: LogQL (`obs-logql`), wire formats (`obs-wire`), sealed hours (`obs-archive`).
//! Units: nanoseconds since the Unix epoch, UTC; sizes in bytes. Block files:
//! `docs/format/logs-block.md`.

mod chunk;
mod config;
mod dictionary;
mod engine;
mod enrich;
mod error;
mod filter;
mod head;
mod index;
mod part;
mod select;
mod subscribe;
#[cfg(test)]
mod tests;
mod wal_record;

pub use config::{Limits, LogsConfig, OpenMode};
pub use engine::{EngineStats, LogsEngine, Maintained};
pub use enrich::{DETECTED_LEVEL, SERVICE_NAME, detect_level, enrich};
pub use error::LogsError;
pub use subscribe::Subscription;
