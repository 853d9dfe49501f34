use std::path::PathBuf;
use std::sync::Arc;

use obs_disk::{Clock, Disk, WalConfig};
use obs_types::DurationMs;

/// Whether the engine may change what is on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenMode {
    ReadWrite,
    /// Reads blocks and log as they are at the opening; writes nothing, refuses appends.
    ReadOnly,
}

/// What [`crate::TracesEngine::open`] needs.
#[derive(Clone, Debug)]
pub struct TracesConfig {
    /// Blocks lie here.
    pub dir: PathBuf,
    /// The write-ahead log lies here.
    pub wal_dir: PathBuf,
    pub disk: Arc<dyn Disk>,
    pub clock: Arc<dyn Clock>,
    pub mode: OpenMode,
    pub wal: WalConfig,
    pub limits: TraceLimits,
}

/// Bounds on spans and memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceLimits {
    /// Longest attribute value, name or message, in bytes.
    pub value_bytes_max: usize,
    /// Largest span with everything in it, in bytes.
    pub span_bytes_max: usize,
    /// Spans that start longer ago than this are refused.
    pub past_max: DurationMs,
    /// Spans that end further ahead than this are refused.
    pub future_max: DurationMs,
    /// The head is written to a block when it holds this many bytes …
    pub head_bytes_max: usize,
    /// … or when its first span came this long ago.
    pub head_age_max: DurationMs,
    /// Appends are refused while head and unwritten heads hold more bytes than this.
    pub memory_bytes_max: usize,
    /// Spans per chunk of a block; a trace is never split.
    pub chunk_spans: usize,
    /// Decoded chunks kept for the next read.
    pub chunk_cache: usize,
}

impl TraceLimits {
    /// 256 KiB a value, 4 MiB a span, 30 days back, 10 minutes ahead, blocks of 64 MiB or 10
    /// minutes, 512 MiB in memory.
    pub fn standard() -> Self {
        Self {
            value_bytes_max: 256 << 10,
            span_bytes_max: 4 << 20,
            past_max: DurationMs(30 * DurationMs::DAY.0),
            future_max: DurationMs(10 * DurationMs::MINUTE.0),
            head_bytes_max: 64 << 20,
            head_age_max: DurationMs(10 * DurationMs::MINUTE.0),
            memory_bytes_max: 512 << 20,
            chunk_spans: 2_000,
            chunk_cache: 16,
        }
    }
}
