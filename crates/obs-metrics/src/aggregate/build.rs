//! Writing aggregates, in this order:
//! 1. Hours that late samples or deletions have outrun leave their files.
//! 2. Past days are aggregated as far as their hours are in no file.
//! 3. The files of thirty past days become one.
//!
//! A file is durable before it is listed and before those that it replaces go; a crash in between
//! leaves both, and the higher generation counts.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use obs_disk::DiskError;
use obs_types::{LabelSet, SeriesAggregates, TimestampMs};

use super::columns::{Columns, aggregates_of};
use super::{folder, owners, times_of};
use crate::block::{AGGREGATES, Block, BlockBuilder, Meta, SeriesWalk};
use crate::config::OpenMode;
use crate::engine::MetricsEngine;
use crate::error::MetricsError;
use crate::maintain::MaintainReport;
use crate::{HOUR_MS, hour_of, lock, read, write};

const DAY_HOURS: i64 = 24;
/// Hours of a merged file: few enough for one chunk per column.
const PERIOD_HOURS: i64 = 30 * DAY_HOURS;

impl MetricsEngine {
    /// Brings the aggregates up to date; hours from `cutoff_hour` on may still get samples. The
    /// caller holds the maintenance lock.
    pub(crate) fn aggregate(
        &self,
        cutoff_hour: i64,
        report: &mut MaintainReport,
    ) -> Result<(), MetricsError> {
        if !self.config.limits.aggregate_hours {
            return Ok(());
        }
        self.leave_outrun(report)?;
        let last = (cutoff_hour - 1).div_euclid(DAY_HOURS) * DAY_HOURS;
        self.aggregate_before(last, cutoff_hour, report)?;
        self.merge_aggregates(cutoff_hour, report)?;
        self.remove_retired_aggregates()
    }

    /// Aggregates whatever hour before `end_hour` has samples but no aggregates, as far as its
    /// blocks read. Returns up to which hour the samples are in blocks.
    pub(crate) fn aggregate_before(
        &self,
        end_hour: i64,
        cutoff_hour: i64,
        report: &mut MaintainReport,
    ) -> Result<i64, MetricsError> {
        // The sample at the end of an hour is in the block of the next.
        let end_hour = end_hour.min(cutoff_hour - 1);
        let Some(first) = read(&self.blocks).first().map(|b| b.meta.first_hour()) else {
            return Ok(end_hour);
        };
        let first = first.max(self.aggregates.dropped());
        if self.counters.blocks_quarantined.load(Ordering::Relaxed) > 0 {
            // Hours without a block may be damaged rather than empty.
            self.aggregate_hours(&self.hours_with_blocks(first, end_hour), report)?;
        } else {
            self.aggregate_hours(&(first..end_hour.max(first)).collect::<Vec<i64>>(), report)?;
        }
        Ok(end_hour)
    }

    fn hours_with_blocks(&self, first: i64, end: i64) -> Vec<i64> {
        let blocks = Arc::clone(&read(&self.blocks));
        let hours = blocks.iter().flat_map(|b| b.meta.hours.iter().map(|(hour, _)| *hour));
        hours.filter(|h| (first..end).contains(h)).collect::<BTreeSet<i64>>().into_iter().collect()
    }

    fn aggregate_hours(
        &self,
        hours: &[i64],
        report: &mut MaintainReport,
    ) -> Result<(), MetricsError> {
        let known = owners(&self.aggregates.files());
        let missing: Vec<i64> = hours.iter().copied().filter(|h| !known.contains_key(h)).collect();
        let day = |h: &i64| h.div_euclid(DAY_HOURS);
        for run in missing.chunk_by(|a, b| *b == a + 1 && day(a) == day(b)) {
            if self.write_hours(run)? {
                report.aggregates_written += 1;
            } else {
                tracing::warn!(
                    first_hour = run.first(),
                    hours = run.len(),
                    "damaged, not aggregated"
                );
            }
        }
        Ok(())
    }

    /// Aggregates hours that follow one another; `false` if a block of them is damaged.
    fn write_hours(&self, hours: &[i64]) -> Result<bool, MetricsError> {
        let (Some(first), Some(last)) = (hours.first(), hours.last()) else { return Ok(true) };
        let (start, end) = (times_of(*first).0, times_of(*last).1);
        let tombstones = Arc::clone(&read(&self.tombstones));
        let flush = read(&self.gate).flush;
        let parts: Vec<Arc<Block>> = read(&self.blocks)
            .iter()
            .filter(|b| b.meta.min_t < end && start <= b.meta.max_t)
            .cloned()
            .collect();
        let corrupt = &self.counters.sections_corrupt;
        if parts.iter().any(|b| b.is_damaged() || b.verify(corrupt).is_err()) {
            return Ok(false);
        }
        let meta = Meta {
            hours: hours.iter().map(|h| (*h, flush)).collect(),
            generation: self.next_generation(*first),
            deletions: tombstones.newest(),
            ..Meta::default()
        };
        let mut builder = self.aggregate_builder(meta)?;
        self.each_series(&parts, (start.max(tombstones.floor()), end), |mut data| {
            tombstones.apply(&mut data);
            add(&mut builder, &SeriesAggregates::of(&data))
        })?;
        self.replace_aggregates(&[], Some(builder))?;
        Ok(true)
    }

    fn next_generation(&self, hour: i64) -> u64 {
        let period = |h: i64| h.div_euclid(PERIOD_HOURS);
        let files = self.aggregates.files();
        let same = files.iter().filter(|f| period(f.meta.first_hour()) == period(hour));
        same.map(|f| f.meta.generation + 1).max().unwrap_or(0)
    }

    fn aggregate_builder(&self, meta: Meta) -> Result<BlockBuilder, DiskError> {
        let dir = folder(&self.config);
        self.config.disk.create_dir_all(&dir)?;
        self.config.disk.sync_dir(&self.config.dir)?;
        BlockBuilder::create_kind(Arc::clone(&self.config.disk), &dir, meta, AGGREGATES)
    }

    fn leave_outrun(&self, report: &mut MaintainReport) -> Result<(), MetricsError> {
        let freshness = self.freshness();
        let files = self.aggregates.files();
        let owners = owners(&files);
        for (at, file) in files.iter().enumerate() {
            let owned = |hour: &i64| owners.get(hour) == Some(&at);
            if !file.meta.hours.iter().any(|(hour, _)| owned(hour)) {
                // A crash left it beside the one that replaced it.
                self.replace_aggregates(&[Arc::clone(file)], None)?;
                continue;
            }
            let index = self.index_cache.get(file, &self.counters.sections_corrupt)?;
            let outrun = freshness.outrun(file, &index);
            let (start, end) = super::span(&file.meta);
            let deleted = freshness
                .tombstones
                .ranges_since(file.meta.deletions, start, end)
                .any(|(labels, ..)| index.find(labels).is_some());
            if outrun.is_empty() && !deleted {
                continue;
            }
            let keep = |_: usize, hour: i64| owned(&hour) && !outrun.contains(&hour);
            self.rewrite(std::slice::from_ref(file), &keep, &|_| true)?;
            report.aggregates_merged += 1;
        }
        Ok(())
    }

    fn merge_aggregates(
        &self,
        cutoff_hour: i64,
        report: &mut MaintainReport,
    ) -> Result<(), MetricsError> {
        let files = self.aggregates.files();
        let mut periods: BTreeMap<i64, Vec<Arc<Block>>> = BTreeMap::new();
        for file in files.iter() {
            let period = file.meta.first_hour().div_euclid(PERIOD_HOURS);
            periods.entry(period).or_default().push(Arc::clone(file));
        }
        for (period, parts) in periods {
            let past = (period + 1) * PERIOD_HOURS + DAY_HOURS < cutoff_hour;
            let corrupt = &self.counters.sections_corrupt;
            if !past
                || parts.len() < 2
                || parts.iter().any(|f| f.is_damaged() || f.verify(corrupt).is_err())
            {
                continue;
            }
            let owners = owners(&parts);
            self.rewrite(&parts, &|at, hour| owners.get(&hour) == Some(&at), &|_| true)?;
            report.aggregates_merged += parts.len() as u64;
        }
        Ok(())
    }

    /// Replaces files by one that holds those of their hours that `keep` names by position and
    /// hour, of the series that are `wanted`, without what was deleted since.
    pub(crate) fn rewrite(
        &self,
        parts: &[Arc<Block>],
        keep: &dyn Fn(usize, i64) -> bool,
        wanted: &dyn Fn(&LabelSet) -> bool,
    ) -> Result<(), MetricsError> {
        let tombstones = Arc::clone(&read(&self.tombstones));
        let mut hours: BTreeMap<i64, u64> = BTreeMap::new();
        for (at, part) in parts.iter().enumerate() {
            hours.extend(part.meta.hours.iter().copied().filter(|(hour, _)| keep(at, *hour)));
        }
        if hours.is_empty() {
            return self.replace_aggregates(parts, None);
        }
        let meta = Meta {
            hours: hours.into_iter().collect(),
            generation: parts.iter().map(|p| p.meta.generation).max().unwrap_or(0) + 1,
            deletions: tombstones.newest(),
            ..Meta::default()
        };
        let mut builder = self.aggregate_builder(meta)?;
        let corrupt = &self.counters.sections_corrupt;
        let mut walk = SeriesWalk::new(parts, corrupt)?;
        let mut series = SeriesAggregates::default();
        while let Some(labels) = walk.next(|labels, at, scan| {
            let Some(part) = parts.get(at).filter(|_| wanted(labels)) else { return Ok(()) };
            let bad = || DiskError::corrupt(part.path(), 0, "aggregates do not decode");
            let chunks = scan.columns(corrupt)?.ok_or_else(bad)?;
            let mut more = aggregates_of(labels.clone(), chunks).ok_or_else(bad)?;
            more.retain(|end| {
                let hour = end / HOUR_MS - 1;
                let (start, end) = times_of(hour);
                keep(at, hour) && !tombstones.touches(labels, part.meta.deletions, start, end)
            });
            series.merge(more);
            Ok(())
        })? {
            series.labels = labels;
            add(&mut builder, &std::mem::take(&mut series))?;
        }
        drop(walk);
        self.replace_aggregates(parts, Some(builder))
    }

    fn replace_aggregates(
        &self,
        old: &[Arc<Block>],
        new: Option<BlockBuilder>,
    ) -> Result<(), MetricsError> {
        let new = match new {
            Some(builder) => {
                let path = folder(&self.config).join(builder.finish()?.file_name());
                let disk = Arc::clone(&self.config.disk);
                Some(Arc::new(Block::open_kind(disk, &path, AGGREGATES)?))
            }
            None => None,
        };
        let mut files = write(&self.aggregates.files);
        let is_old = |f: &Arc<Block>| old.iter().any(|o| o.uid == f.uid);
        let mut list: Vec<Arc<Block>> =
            files.iter().filter(|f| !is_old(f)).cloned().chain(new).collect();
        list.sort_by_key(|f| f.meta.order());
        *files = Arc::new(list);
        drop(files);
        old.iter().for_each(|f| self.index_cache.forget(f.uid));
        lock(&self.aggregates.retired).extend(old.iter().cloned());
        Ok(())
    }

    pub(crate) fn remove_retired_aggregates(&self) -> Result<(), MetricsError> {
        self.remove_unread(&self.aggregates.retired, &folder(&self.config))
    }

    /// Lets go of the aggregates of hours that end at or before `t`: they are not shown any more,
    /// and files that hold no others are removed. Returns how many were.
    pub fn drop_aggregates_before(&self, t: TimestampMs) -> Result<usize, MetricsError> {
        if self.config.mode == OpenMode::ReadOnly {
            return Err(MetricsError::ReadOnly);
        }
        let _alone = lock(&self.maintenance);
        self.aggregates.floor_hour.fetch_max(hour_of(t.0), Ordering::AcqRel);
        let files = self.aggregates.files();
        let is_old = |f: &&Arc<Block>| f.meta.last_hour() < hour_of(t.0);
        let old: Vec<Arc<Block>> = files.iter().filter(is_old).cloned().collect();
        drop(files);
        let count = old.len();
        if count > 0 {
            self.replace_aggregates(&old, None)?;
            drop(old);
            self.remove_retired_aggregates()?;
        }
        Ok(count)
    }
}

fn add(builder: &mut BlockBuilder, series: &SeriesAggregates) -> Result<(), DiskError> {
    if series.is_empty() {
        return Ok(());
    }
    let columns = Columns::of(series);
    builder.add_columns(&series.labels, &columns.chunks(), &[], &series.histograms)
}
