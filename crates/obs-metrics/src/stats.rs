use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use obs_types::{METRIC_NAME, RejectReason};

use crate::engine::MetricsEngine;
use crate::{lock, read};

/// What the engine holds and what happened to it since it was opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MetricsStats {
    /// Series with samples in memory (or lately so).
    pub head_series: u64,
    pub head_chunks: u64,
    pub head_samples: u64,
    /// Estimated.
    pub head_bytes: u64,
    /// First and last time in memory, milliseconds.
    pub head_bounds: Option<(i64, i64)>,
    pub blocks: u64,
    pub block_samples: u64,
    pub block_bytes: u64,
    /// Files of 1h aggregates.
    pub aggregate_files: u64,
    /// Hours of series in them.
    pub aggregate_hours: u64,
    pub aggregate_bytes: u64,
    pub wal_segments: u64,
    pub wal_bytes: u64,
    pub wal_syncs: u64,
    pub exemplars: u64,
    pub metadata: u64,
    pub tombstones: u64,
    /// Samples and histograms accepted.
    pub appended: u64,
    /// Items refused, by reason.
    pub rejected: BTreeMap<RejectReason, u64>,
    /// Snapshots of the head written.
    pub snapshots: u64,
    /// Samples that lost their series because the log was damaged.
    pub lost_samples: u64,
    /// Damaged ranges and undecodable records found in the log.
    pub wal_corrupt: u64,
    /// Bytes behind the last whole record of a segment at opening: writes that a crash interrupted,
    /// or damage to the very last record.
    pub wal_torn_bytes: u64,
    /// Blocks set aside because they could not be opened.
    pub blocks_quarantined: u64,
    /// Sections of blocks that turned out to be damaged when they were read.
    pub sections_corrupt: u64,
    /// Samples that rules of retention took out of blocks before the rest.
    pub retention_samples: u64,
    /// Blocks and files of aggregates that were removed or rewritten for that.
    pub retention_blocks: u64,
}

/// A name (or `name=value`) with a number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameCount {
    pub name: String,
    pub count: u64,
}

/// The head's label statistics, as Prometheus' `/api/v1/status/tsdb` shows them; every list has
/// the largest first, equal ones by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cardinality {
    pub series: u64,
    /// Different `name=value` pairs.
    pub label_pairs: u64,
    pub series_by_metric_name: Vec<NameCount>,
    pub values_by_label_name: Vec<NameCount>,
    /// Bytes of all values of a label, counted once per series.
    pub bytes_by_label_name: Vec<NameCount>,
    pub series_by_label_pair: Vec<NameCount>,
}

/// A block on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockInfo {
    /// File name without its suffix; a block that replaces others has a name of its own.
    pub name: String,
    /// First and last sample, milliseconds.
    pub min_time: i64,
    pub max_time: i64,
    pub series: u64,
    pub samples: u64,
    /// How often blocks were merged into it.
    pub generation: u64,
    pub bytes: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) appended: AtomicU64,
    pub(crate) rejected: std::sync::Mutex<BTreeMap<RejectReason, u64>>,
    pub(crate) lost_samples: AtomicU64,
    pub(crate) snapshots: AtomicU64,
    pub(crate) wal_corrupt: AtomicU64,
    pub(crate) wal_torn_bytes: AtomicU64,
    pub(crate) blocks_quarantined: AtomicU64,
    pub(crate) sections_corrupt: AtomicU64,
    pub(crate) retention_samples: AtomicU64,
    pub(crate) retention_blocks: AtomicU64,
}

fn top(all: impl Iterator<Item = (String, u64)>, limit: usize) -> Vec<NameCount> {
    let mut out: Vec<NameCount> = all.map(|(name, count)| NameCount { name, count }).collect();
    out.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.name.cmp(&b.name)));
    out.truncate(limit);
    out
}

impl MetricsEngine {
    /// O(series).
    pub fn stats(&self) -> MetricsStats {
        let get = |a: &AtomicU64| a.load(Ordering::Relaxed);
        let mut out = MetricsStats {
            head_series: self.head.series_count() as u64,
            head_bytes: self.head.bytes.load(Ordering::Relaxed) as u64,
            exemplars: lock(&self.exemplars).len() as u64,
            metadata: read(&self.metadata).len() as u64,
            tombstones: read(&self.tombstones).len() as u64,
            appended: get(&self.counters.appended),
            rejected: lock(&self.counters.rejected).clone(),
            lost_samples: get(&self.counters.lost_samples),
            snapshots: get(&self.counters.snapshots),
            wal_corrupt: get(&self.counters.wal_corrupt),
            wal_torn_bytes: get(&self.counters.wal_torn_bytes),
            blocks_quarantined: get(&self.counters.blocks_quarantined),
            sections_corrupt: get(&self.counters.sections_corrupt),
            retention_samples: get(&self.counters.retention_samples),
            retention_blocks: get(&self.counters.retention_blocks),
            ..MetricsStats::default()
        };
        for series in self.head.all() {
            let s = lock(&series.state);
            out.head_chunks += s.chunk_count() as u64;
            out.head_samples += s.sample_count() as u64;
            if let Some((first, last)) = s.bounds() {
                let (a, b) = out.head_bounds.unwrap_or((first, last));
                out.head_bounds = Some((a.min(first), b.max(last)));
            }
        }
        for block in read(&self.blocks).iter() {
            out.blocks += 1;
            out.block_samples += block.meta.samples;
            out.block_bytes += block.file_len();
        }
        for file in self.aggregates.files().iter() {
            out.aggregate_files += 1;
            out.aggregate_hours += file.meta.samples;
            out.aggregate_bytes += file.file_len();
        }
        if let Some(wal) = &self.wal {
            let w = wal.stats();
            (out.wal_segments, out.wal_bytes, out.wal_syncs) = (w.segments, w.bytes, w.syncs);
        }
        out
    }

    /// The blocks, oldest first.
    pub fn block_infos(&self) -> Vec<BlockInfo> {
        let of = |b: &std::sync::Arc<crate::block::Block>| BlockInfo {
            name: b.meta.file_name().trim_end_matches(".blk").to_owned(),
            min_time: b.meta.min_t,
            max_time: b.meta.max_t,
            series: b.meta.series,
            samples: b.meta.samples,
            generation: b.meta.generation,
            bytes: b.file_len(),
        };
        read(&self.blocks).iter().map(of).collect()
    }

    /// Label statistics of the head, `limit` entries per list. O(labels).
    pub fn cardinality(&self, limit: usize) -> Cardinality {
        self.head.with_index(|index| {
            let pairs = || {
                index.names().flat_map(|(name, values)| {
                    values.iter().map(move |(value, postings)| (name, &**value, postings.len()))
                })
            };
            let metric_names = index.values(METRIC_NAME);
            Cardinality {
                series: index.all().len() as u64,
                label_pairs: pairs().count() as u64,
                series_by_metric_name: top(
                    metric_names
                        .into_iter()
                        .flatten()
                        .map(|(v, p)| (v.to_string(), p.len() as u64)),
                    limit,
                ),
                values_by_label_name: top(
                    index.names().map(|(n, values)| (n.to_owned(), values.len() as u64)),
                    limit,
                ),
                bytes_by_label_name: top(
                    index.names().map(|(n, values)| {
                        let bytes = values.iter().map(|(v, p)| v.len() * p.len()).sum::<usize>();
                        (n.to_owned(), bytes as u64)
                    }),
                    limit,
                ),
                series_by_label_pair: top(
                    pairs().map(|(n, v, count)| (format!("{n}={v}"), count as u64)),
                    limit,
                ),
            }
        })
    }
}
