use std::path::PathBuf;
use std::sync::Arc;

use obs_disk::{Clock, Disk};
use obs_types::DurationMs;

/// Whether an engine may change its folders.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenMode {
    ReadWrite,
    /// Writes nothing; sees what was durable when it was opened.
    ReadOnly,
}

/// What an engine needs to know.
#[derive(Clone, Debug)]
pub struct LogsConfig {
    /// Block files.
    pub dir: PathBuf,
    /// Segments of the write-ahead log.
    pub wal_dir: PathBuf,
    pub disk: Arc<dyn Disk>,
    pub clock: Arc<dyn Clock>,
    pub mode: OpenMode,
    pub limits: Limits,
}

/// What the engine refuses or bounds.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Longest line.
    pub line_bytes_max: usize,
    /// Labels of one stream.
    pub labels_max: usize,
    pub label_name_bytes_max: usize,
    pub label_value_bytes_max: usize,
    /// Entries and bytes of one line's structured metadata.
    pub metadata_max: usize,
    pub metadata_bytes_max: usize,
    /// How far behind now a line may be.
    pub past_max: DurationMs,
    /// How far ahead of now a line may be.
    pub future_max: DurationMs,
    /// Bytes of lines in memory at which they are written to a block file.
    pub flush_bytes: usize,
    /// Age of the oldest arrival at which lines in memory are written to a block file.
    pub flush_age: DurationMs,
    /// Bytes of lines in memory above which whole batches are refused as overloaded.
    pub head_bytes_max: usize,
    /// Raw bytes of one chunk, the unit that a query unpacks.
    pub chunk_bytes: usize,
}

impl Limits {
    /// Loki's defaults where it has them.
    pub fn standard() -> Self {
        Self {
            line_bytes_max: 256 << 10,
            labels_max: 15,
            label_name_bytes_max: 1_024,
            label_value_bytes_max: 2_048,
            metadata_max: 128,
            metadata_bytes_max: 64 << 10,
            past_max: DurationMs(7 * DurationMs::DAY.0),
            future_max: DurationMs(10 * DurationMs::MINUTE.0),
            flush_bytes: 64 << 20,
            flush_age: DurationMs(30 * DurationMs::MINUTE.0),
            head_bytes_max: 512 << 20,
            chunk_bytes: 1 << 20,
        }
    }
}
