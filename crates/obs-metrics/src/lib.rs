//! The metrics engine: keeps samples of label-named series on local disk and gives them back.
//!
//! Lives here: the head (open chunks in memory behind a write-ahead log), the label index, hour and
//! day blocks (`docs/format/metrics-block.md`), recovery, deletion, cardinality statistics.
//! Not here: PromQL (`obs-promql`), wire formats (`obs-wire`), sealing (`obs-archive`).
//! Units: milliseconds since the Unix epoch, UTC; ranges are half-open.
//! Source: the chunk encoding follows Facebook's Gorilla paper (VLDB 2015); acceptance of samples
//! and the meaning of matchers follow Prometheus 3.

mod aggregate;
mod append;
mod append_sent;
mod backup;
mod bits;
mod block;
mod cardinality;
mod chunk;
mod codec;
mod config;
mod engine;
mod error;
mod exemplars;
mod head;
mod histogram;
mod index;
mod inlet;
mod maintain;
mod merge;
mod pack;
mod pairs;
mod query;
mod record;
mod retention;
mod series;
mod snapshot;
mod starts;
mod stats;
mod store;
mod symbols;
mod tombstones;
mod usage;

pub use backup::BackupReport;
pub use config::{LabelLimit, Limits, MetricsConfig, OpenMode};
pub use engine::MetricsEngine;
pub use error::MetricsError;
pub use inlet::{Dedup, DedupConfig, StreamAggregator, StreamOutput, StreamRule};
pub use maintain::MaintainReport;
pub use query::{AtHand, Sealable};
pub use retention::{RetentionDue, RetentionPlan};
pub use stats::{BlockInfo, Cardinality, MetricsStats, NameCount};
pub use usage::NameUsage;

/// Value encodings and the label index, for the benches that measure them.
#[doc(hidden)]
pub mod candidates {
    use obs_types::{LabelSet, Matcher};

    /// The index of series by their labels; numbers are those of the insertion, from 0.
    #[derive(Debug, Default)]
    pub struct LabelIndex {
        index: crate::index::Index,
        count: u32,
    }

    impl LabelIndex {
        pub fn insert(&mut self, labels: &LabelSet) {
            self.index.insert(self.count, labels.iter());
            self.count += 1;
        }

        pub fn select(&self, matchers: &[Matcher]) -> Vec<u32> {
            self.index.select(matchers)
        }
    }

    pub use crate::codec::{put_values as put_plain, put_xor};
    pub use crate::pack::{get_column, put_column};
}

/// Length of a partition: the head is written out hour by hour.
pub(crate) const HOUR_MS: i64 = 3_600_000;

pub(crate) fn hour_of(t: i64) -> i64 {
    t.div_euclid(HOUR_MS)
}

pub(crate) fn lock<T>(mutex: &std::sync::Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

pub(crate) fn read<T>(lock: &std::sync::RwLock<T>) -> std::sync::RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(std::sync::PoisonError::into_inner)
}

pub(crate) fn write<T>(lock: &std::sync::RwLock<T>) -> std::sync::RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(std::sync::PoisonError::into_inner)
}
