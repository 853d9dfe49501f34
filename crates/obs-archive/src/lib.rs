//! Hourly seals in open formats, their record trees, and reading sealed hours back.
//!
//! Lives here: `telemetry/{metrics,logs,traces}/DATE/hour-HH.*` and their `.mt` side files,
//! written once in canonical order ([`Archive`]); the source traits over them; the check of a
//! sealed file from its own bytes ([`verify_seal`]); one record with its path to the sealed root
//! ([`Archive::prove_log`]); receipts as Parquet; the cold tier (sealed files in an object store, read
//! part by part) and what retention asks for ([`plan`]).
//! Not here: when an hour is sealed (`vm-obs`), receipts and the ledger (`obs-ledger`), hot blocks
//! (the engines), proof files and their verification (`obs-proof`).
//! Units: an hour is named by the instant it ends; metric time is milliseconds, log and span time
//! nanoseconds, since the Unix epoch, UTC.
//! Formats: `docs/format/seal-metrics.md`, `seal-logs.md`, `seal-traces.md`.

mod archive;
mod error;
mod folder_store;
mod gzip;
mod hour;
mod log_line;
mod logs_file;
mod metrics_export;
mod metrics_read;
mod metrics_write;
mod otlp_json;
mod parquet_file;
mod receipts;
mod records;
mod redactions;
mod reseal;
mod seal;
mod seal_logs;
mod seal_metrics;
mod seal_traces;
mod source_logs;
mod source_metrics;
mod source_traces;
mod tier;
mod traces_file;
mod verify;

pub use archive::{Archive, ArchiveStats, HeldHour, SealedRecord};
pub use error::ArchiveError;
pub use folder_store::FolderStore;
pub use hour::{Hour, SealName, Signal};
pub use metrics_export::MetricsExport;
pub use parquet_file::{Effort, column_bytes};
pub use receipts::receipts_to_parquet;
pub use reseal::{Resealed, SealedItem};
pub use seal::{
    Aggregates, LogCounts, LogsSummary, MetricsSummary, Records, Seal, SealDetails, Significance,
    SignificantTrace, TracesSummary,
};
pub use seal_traces::significant;
pub use tier::{
    ColdFile, ColdTier, Kept, RetentionPolicy, SealedFile, SignalPolicy, Step, Tier, plan,
};
pub use verify::{VerifiedSeal, verify_seal};
