use std::path::PathBuf;
use std::sync::Arc;

use obs_disk::{Clock, Disk};
use obs_types::{DurationMs, RetentionRules};

/// Whether an engine may change its folders.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenMode {
    ReadWrite,
    /// Takes no lock and writes nothing; sees what was durable when it was opened.
    ReadOnly,
}

/// What an engine needs to know.
#[derive(Clone, Debug)]
pub struct MetricsConfig {
    /// Blocks, tombstones and side data.
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
    /// Series in the head; a new one above that is refused as `cardinality_limit`.
    pub series_max: usize,
    /// Bounds for each job, tenant, …: the same for some values of a label. Appends at the same
    /// time may go over it by their own new series.
    pub series_max_by_label: Vec<LabelLimit>,
    /// Estimated bytes of the head; above that whole batches are refused as overloaded.
    pub head_bytes_max: usize,
    pub labels_max: usize,
    pub label_name_bytes_max: usize,
    pub label_value_bytes_max: usize,
    /// How far behind now a sample may be that is older than the newest of its series.
    pub out_of_order_window: DurationMs,
    /// How far ahead of now a sample may be.
    pub future_max: DurationMs,
    /// Exemplars kept, over all series; the oldest go first.
    pub exemplars_max: usize,
    /// Metric families whose type, help and unit are kept.
    pub metadata_max: usize,
    /// Estimated bytes of block indexes kept in memory between queries.
    pub index_cache_bytes: usize,
    /// Unpacked bytes of block sections kept in memory between queries.
    pub section_cache_bytes: usize,
    /// Bytes by which the log grows before the head is written to a snapshot again: what a start
    /// after a crash replays at most, a minute's worth aside.
    pub snapshot_wal_bytes: u64,
    /// Whether past hours are aggregated; then samples are dropped only after that.
    pub aggregate_hours: bool,
    /// Series that are kept for another time than the rest.
    pub retention: RetentionRules,
}

/// How many series of the head may have the same value of a label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabelLimit {
    pub label: String,
    /// Only for this value; `None` for every value that no other limit of the label names.
    pub value: Option<String>,
    pub series_max: usize,
}

impl Limits {
    pub fn standard() -> Self {
        Self {
            series_max: 2_000_000,
            series_max_by_label: Vec::new(),
            head_bytes_max: 2 << 30,
            labels_max: 64,
            label_name_bytes_max: 1_024,
            label_value_bytes_max: 4_096,
            out_of_order_window: DurationMs(2 * DurationMs::HOUR.0),
            future_max: DurationMs(10 * DurationMs::MINUTE.0),
            exemplars_max: 100_000,
            metadata_max: 100_000,
            index_cache_bytes: 256 << 20,
            section_cache_bytes: 64 << 20,
            snapshot_wal_bytes: 64 << 20,
            aggregate_hours: false,
            retention: RetentionRules::default(),
        }
    }

    /// How far behind now a sample may be that is the newest of its series. At least an hour,
    /// so that a slow sender is not cut off where out-of-order samples are not wanted.
    pub(crate) fn past_max_ms(&self) -> i64 {
        self.out_of_order_window.0.max(DurationMs::HOUR.0)
    }
}
