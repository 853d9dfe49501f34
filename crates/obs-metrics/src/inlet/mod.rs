//! What may stand before the engine: sinks that pass samples on, fewer or others than they got.

mod dedup;
mod stream;

pub use dedup::{Dedup, DedupConfig};
pub use stream::{StreamAggregator, StreamOutput, StreamRule};

use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};

use obs_types::LabelSet;

/// Tells series apart: two unrelated hashes, so that no two label sets share one in practice.
type SeriesKey = (u64, u64);

fn series_key(labels: &LabelSet) -> SeriesKey {
    let second = BuildHasherDefault::<DefaultHasher>::default().hash_one(labels.as_bytes());
    (labels.stable_hash(), second)
}
