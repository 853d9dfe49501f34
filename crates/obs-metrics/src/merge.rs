//! Merging blocks in the background: several of one hour into one, the hours of a past day into one,
//! and any block without the samples that were deleted since it was written.
//!
//! The new block is durable before the old ones are taken off the list, and they are removed when
//! the last query has let go of them. A crash in between leaves both; a reader counts a sample of
//! two blocks once, and the next run merges them again. On a full disk the old ones stay.

use std::collections::BTreeMap;
use std::sync::Arc;

use obs_disk::DiskError;
use obs_types::SeriesData;

use crate::block::{Block, BlockBuilder, Meta, SeriesWalk};
use crate::engine::MetricsEngine;
use crate::error::MetricsError;
use crate::maintain::MaintainReport;
use crate::read;

const DAY_HOURS: i64 = 24;

/// Blocks with the same are merged: the hours that a merged block may hold, and the first of them.
type Partition = (i64, i64);

fn partition_of(meta: &Meta, cutoff_hour: i64) -> Partition {
    let day = meta.first_hour().div_euclid(DAY_HOURS) * DAY_HOURS;
    if day + DAY_HOURS <= cutoff_hour || meta.hours.len() > 1 {
        (DAY_HOURS, day)
    } else {
        (1, meta.first_hour())
    }
}

impl MetricsEngine {
    /// Hours before `cutoff_hour` get no more samples.
    pub(crate) fn merge_blocks(
        &self,
        cutoff_hour: i64,
        report: &mut MaintainReport,
    ) -> Result<(), MetricsError> {
        let blocks = Arc::clone(&read(&self.blocks));
        let mut partitions: BTreeMap<Partition, Vec<Arc<Block>>> = BTreeMap::new();
        for b in blocks.iter() {
            partitions.entry(partition_of(&b.meta, cutoff_hour)).or_default().push(Arc::clone(b));
        }
        drop(blocks);
        let corrupt = &self.counters.sections_corrupt;
        for parts in partitions.into_values() {
            if parts.len() < 2 && !self.has_deleted(&parts)? {
                continue;
            }
            // Merging a damaged block would make its loss final.
            if parts.iter().any(|b| b.is_damaged() || b.verify(corrupt).is_err()) {
                continue;
            }
            report.blocks_merged += parts.len() as u64;
            self.merge(&parts)?;
        }
        Ok(())
    }

    /// Whether some block still has samples of a series that were deleted after it was written.
    fn has_deleted(&self, parts: &[Arc<Block>]) -> Result<bool, MetricsError> {
        let tombstones = Arc::clone(&read(&self.tombstones));
        for b in parts.iter().filter(|b| b.meta.deletions < tombstones.newest()) {
            let mut since =
                tombstones.since(b.meta.deletions, b.meta.min_t, b.meta.max_t).peekable();
            if since.peek().is_some() {
                let index = self.index_cache.get(b, &self.counters.sections_corrupt)?;
                if since.any(|labels| index.find(labels).is_some()) {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    /// Series by series: neither the samples nor the indexes of all parts are in memory at once.
    fn merge(&self, parts: &[Arc<Block>]) -> Result<(), MetricsError> {
        let tombstones = Arc::clone(&read(&self.tombstones));
        let mut hours: BTreeMap<i64, u64> = BTreeMap::new();
        for (hour, flush) in parts.iter().flat_map(|b| &b.meta.hours) {
            let newest = hours.entry(*hour).or_default();
            *newest = (*flush).max(*newest);
        }
        let meta = Meta {
            hours: hours.into_iter().collect(),
            generation: parts.iter().map(|b| b.meta.generation).max().unwrap_or(0) + 1,
            deletions: tombstones.newest(),
            held: parts.iter().all(|b| b.meta.held),
            ..Meta::default()
        };
        let disk = Arc::clone(&self.config.disk);
        let mut builder = BlockBuilder::create(disk, &self.config.dir, meta)?;
        let all = (tombstones.floor(), i64::MAX);
        self.each_series(parts, all, |mut data| {
            tombstones.apply(&mut data);
            builder.add(&data)
        })?;
        let merged = self.finish(builder)?;
        self.replace_blocks(parts, Some(merged));
        Ok(())
    }

    /// Goes through the samples of `[start, end)` in some blocks, by label set.
    pub(crate) fn each_series(
        &self,
        parts: &[Arc<Block>],
        times: (i64, i64),
        mut each: impl FnMut(SeriesData) -> Result<(), DiskError>,
    ) -> Result<(), DiskError> {
        let corrupt = &self.counters.sections_corrupt;
        let mut walk = SeriesWalk::new(parts, corrupt)?;
        let mut data = SeriesData::default();
        while let Some(labels) = walk.next(|_, _, scan| scan.read(times, &mut data, corrupt))? {
            data.labels = labels;
            data.normalise();
            each(std::mem::take(&mut data))?;
        }
        Ok(())
    }
}
