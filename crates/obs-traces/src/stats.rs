use std::sync::atomic::{AtomicU64, Ordering};

/// What the engine holds now, and what it counted since it was opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TracesStats {
    pub head_spans: u64,
    pub head_traces: u64,
    /// Head and heads that wait for their block.
    pub head_bytes: u64,
    pub blocks: u64,
    pub block_spans: u64,
    /// Pieces of traces: a trace in two blocks counts twice.
    pub block_traces: u64,
    pub block_bytes: u64,
    pub wal_segments: u64,
    pub wal_bytes: u64,
    pub wal_syncs: u64,
    pub spans_accepted: u64,
    pub spans_rejected: u64,
    pub blocks_written: u64,
    pub blocks_dropped: u64,
    /// Heads that could not be written; they are tried again.
    pub block_write_failures: u64,
    /// Blocks that could not be opened and were moved to `quarantine`. Data loss.
    pub blocks_corrupt: u64,
    /// Parts of blocks that could not be read. Data loss.
    pub chunks_corrupt: u64,
    /// Damaged stretches and undecodable records found in the log. Data loss.
    pub wal_corrupt: u64,
    /// Nanoseconds since the epoch; `None` while nothing is stored.
    pub oldest_ns: Option<i64>,
    pub newest_ns: Option<i64>,
}

#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) spans_accepted: AtomicU64,
    pub(crate) spans_rejected: AtomicU64,
    pub(crate) blocks_written: AtomicU64,
    pub(crate) blocks_dropped: AtomicU64,
    pub(crate) block_write_failures: AtomicU64,
    pub(crate) blocks_corrupt: AtomicU64,
    pub(crate) chunks_corrupt: AtomicU64,
    pub(crate) wal_corrupt: AtomicU64,
}

pub(crate) fn add(counter: &AtomicU64, n: u64) {
    counter.fetch_add(n, Ordering::Relaxed);
}

impl Counters {
    pub(crate) fn accepted(&self, n: u64) {
        add(&self.spans_accepted, n);
    }

    pub(crate) fn rejected(&self, n: u64) {
        add(&self.spans_rejected, n);
    }

    pub(crate) fn fill(&self, stats: &mut TracesStats) {
        let get = |c: &AtomicU64| c.load(Ordering::Relaxed);
        stats.spans_accepted = get(&self.spans_accepted);
        stats.spans_rejected = get(&self.spans_rejected);
        stats.blocks_written = get(&self.blocks_written);
        stats.blocks_dropped = get(&self.blocks_dropped);
        stats.block_write_failures = get(&self.block_write_failures);
        stats.blocks_corrupt = get(&self.blocks_corrupt);
        stats.chunks_corrupt = get(&self.chunks_corrupt);
        stats.wal_corrupt = get(&self.wal_corrupt);
    }
}
