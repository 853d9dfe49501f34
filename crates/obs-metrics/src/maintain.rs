//! Moving hours from the head to blocks, cutting the log, deletion.
//!
//! A flush, in order:
//! 1. Draw the line: with appends kept out, count the flush up, begin a new epoch of the log.
//!    Records before the line carry a smaller flush number than the block will.
//! 2. Per hour: take the hour's samples aside in every series, write the block, publish it, drop
//!    the samples. A crash before the block is durable leaves the log; one after it leaves records
//!    that replay skips, because their hour has a block with a larger flush number.
//! 3. Write the side file (exemplars, metadata); the log no longer has to hold them.
//! 4. Remove the segments of every past epoch whose newest sample is in a block.

use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use obs_disk::{BlockWriter, Codec, DiskError};
use obs_types::{Matcher, QueryContext, SeriesSource, TimeRangeMs, TimestampMs};

use crate::block::{Block, BlockBuilder, Meta};
use crate::config::OpenMode;
use crate::engine::{Epoch, Line, MetricsEngine, SIDE_FILE, SIDE_KIND};
use crate::error::MetricsError;
use crate::record::{RecordHead, RecordWriter};
use crate::series::Series;
use crate::{HOUR_MS, hour_of, lock, read, write};

/// What a maintenance run did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MaintainReport {
    pub blocks_written: u64,
    pub samples_flushed: u64,
    pub blocks_merged: u64,
    pub snapshots_written: u64,
    /// Files of 1h aggregates.
    pub aggregates_written: u64,
    /// Those that were replaced: merged, or without hours that something came late to.
    pub aggregates_merged: u64,
    /// Series that left the head because they have no samples there.
    pub series_removed: u64,
}

impl MetricsEngine {
    /// Writes every hour that is past and can get no more samples to a block, and cleans up. Call
    /// it every minute; without work it costs next to nothing. On an error (full disk) nothing is
    /// lost and the next call tries again.
    pub fn maintain(&self, now: TimestampMs) -> Result<MaintainReport, MetricsError> {
        if self.config.mode == OpenMode::ReadOnly {
            return Err(MetricsError::ReadOnly);
        }
        let _alone = lock(&self.maintenance);
        let mut report = MaintainReport::default();
        let cutoff_hour = hour_of(now.0.saturating_sub(self.config.limits.past_max_ms()));
        let due = lock(&self.head_hours).first().is_some_and(|h| *h < cutoff_hour);
        if due {
            self.flush(cutoff_hour, &mut report)?;
        }
        self.head.release_removed();
        // After a flush the last snapshot is mostly of samples that are in blocks now.
        let grown = self.config.limits.snapshot_wal_bytes;
        if self.snapshot_if(if due { grown / 8 } else { grown })? {
            report.snapshots_written += 1;
        }
        self.merge_blocks(cutoff_hour, &mut report)?;
        self.aggregate(cutoff_hour, &mut report)?;
        self.remove_retired()?;
        Ok(report)
    }

    /// Hides all samples of the matching series in the range, durably; returns how many series had
    /// some. The next [`MetricsEngine::maintain`] rewrites the blocks without them; samples that
    /// are sent later for a deleted time stay hidden.
    pub fn delete_series(
        &self,
        matcher_sets: &[Vec<Matcher>],
        range: TimeRangeMs,
    ) -> Result<usize, MetricsError> {
        if self.config.mode == OpenMode::ReadOnly {
            return Err(MetricsError::ReadOnly);
        }
        let _alone = lock(&self.maintenance);
        let series = self.series(matcher_sets, range, &QueryContext::unlimited())?;
        let mut tombstones = Tombs::clone(&read(&self.tombstones));
        let all = Arc::make_mut(&mut tombstones);
        for labels in &series {
            all.add(labels, range.start.0, range.end.0);
        }
        tombstones.write(&self.config.disk, &self.config.dir)?;
        *write(&self.tombstones) = tombstones;
        Ok(series.len())
    }

    fn flush(&self, cutoff_hour: i64, report: &mut MaintainReport) -> Result<(), MetricsError> {
        let Some(wal) = &self.wal else { return Err(MetricsError::ReadOnly) };
        if wal.is_poisoned() {
            wal.recover()?;
        }
        let (line, mut hours) = {
            let mut line = write(&self.gate);
            let end = wal.rotate()?;
            let flush_min = line.flush_min;
            let flush = line.flush + 1;
            *line = Line { epoch: line.epoch + 1, flush, flush_min: flush };
            let max_t = self.epoch_max_t.swap(i64::MIN, Ordering::AcqRel);
            lock(&self.epochs).push(Epoch { end, max_t, flush_min });
            let mut all = lock(&self.head_hours);
            let later = all.split_off(&cutoff_hour);
            (*line, std::mem::replace(&mut *all, later))
        };
        let series = self.head.sorted();
        while let Some(hour) = hours.first().copied() {
            if let Err(e) = self.flush_hour(hour, line.flush, &series, report) {
                lock(&self.head_hours).append(&mut hours);
                return Err(e);
            }
            hours.remove(&hour);
        }
        self.write_side(line)?;
        let cutoff = cutoff_hour.saturating_mul(HOUR_MS);
        let keep = {
            let mut epochs = lock(&self.epochs);
            let done = epochs.iter().take_while(|e| e.max_t < cutoff).count();
            epochs.drain(..done).next_back().map(|e| e.end)
        };
        if let Some(keep) = keep {
            wal.remove_before(keep)?;
        }
        self.remove_idle(&series, cutoff, report);
        Ok(())
    }

    fn flush_hour(
        &self,
        hour: i64,
        flush: u64,
        series: &[Arc<Series>],
        report: &mut MaintainReport,
    ) -> Result<(), MetricsError> {
        let disk = Arc::clone(&self.config.disk);
        let tombstones = Arc::clone(&read(&self.tombstones));
        let meta =
            Meta { hours: vec![(hour, flush)], deletions: tombstones.newest(), ..Meta::default() };
        let mut builder = BlockBuilder::create(disk, &self.config.dir, meta)?;
        let mut taken = false;
        for s in series {
            let portion = lock(&s.state).take_hour(hour);
            if let Some(portion) = portion {
                taken = true;
                let mut data = portion.into_data(self.head.labels(s));
                tombstones.apply(&mut data);
                builder.add(&data)?;
            }
        }
        // If all of it was deleted, the empty block tells replay that the hour is done with.
        if taken {
            let block = self.finish(builder)?;
            report.blocks_written += 1;
            report.samples_flushed += block.meta.samples;
            self.replace_blocks(&[], Some(block));
        }
        let freed: usize = series.iter().map(|s| lock(&s.state).drop_hour(hour)).sum();
        self.head.shrink(freed);
        Ok(())
    }

    pub(crate) fn finish(&self, builder: BlockBuilder) -> Result<Arc<Block>, DiskError> {
        let meta = builder.finish()?;
        let path = self.config.dir.join(meta.file_name());
        Ok(Arc::new(Block::open(Arc::clone(&self.config.disk), &path)?))
    }

    pub(crate) fn replace_blocks(&self, old: &[Arc<Block>], new: Option<Arc<Block>>) {
        let mut blocks = write(&self.blocks);
        let is_old = |b: &Arc<Block>| old.iter().any(|o| o.uid == b.uid);
        let mut list: Vec<Arc<Block>> =
            blocks.iter().filter(|b| !is_old(b)).cloned().chain(new).collect();
        list.sort_by_key(|b| b.meta.order());
        *blocks = Arc::new(list);
        drop(blocks);
        old.iter().for_each(|b| self.index_cache.forget(b.uid));
        lock(&self.retired).extend(old.iter().cloned());
    }

    /// Removes the files of replaced blocks that no query reads any more. What a crash leaves
    /// behind is found again at the next start, and merged or dropped again.
    pub(crate) fn remove_retired(&self) -> Result<(), MetricsError> {
        self.remove_unread(&self.retired, &self.config.dir)
    }

    pub(crate) fn remove_unread(
        &self,
        retired: &Mutex<Vec<Arc<Block>>>,
        dir: &Path,
    ) -> Result<(), MetricsError> {
        let mut retired = lock(retired);
        let mut removed = false;
        while let Some(at) = retired.iter().position(|b| Arc::strong_count(b) == 1) {
            if let Some(block) = retired.get(at) {
                match self.config.disk.remove(block.path()) {
                    Ok(()) => removed = true,
                    Err(e) if e.is_not_found() => {}
                    Err(e) => return Err(e.into()),
                }
            }
            retired.swap_remove(at);
        }
        if removed {
            self.config.disk.sync_dir(dir)?;
        }
        Ok(())
    }

    /// Exemplars and metadata have no block; this file takes them out of the log.
    pub(crate) fn write_side(&self, line: Line) -> Result<(), MetricsError> {
        let mut record = RecordWriter::default();
        for (series, exemplar) in lock(&self.exemplars).iter() {
            record.exemplar(series, exemplar);
        }
        for m in read(&self.metadata).values() {
            record.metadata(m);
        }
        if record.is_empty() {
            return Ok(());
        }
        // Epoch 0 has no numbers: the log's own epochs begin at 1.
        let head = RecordHead { epoch: 0, flush: line.flush, late_floor: i64::MIN };
        let path = self.config.dir.join(SIDE_FILE);
        let mut w = BlockWriter::create(Arc::clone(&self.config.disk), &path, SIDE_KIND, 1)?;
        w.section("record", &record.finish(head), Codec::Raw)?;
        w.finish()?;
        Ok(())
    }

    fn remove_idle(&self, series: &[Arc<Series>], cutoff: i64, report: &mut MaintainReport) {
        let is_idle = |s: &&Arc<Series>| {
            let state = lock(&s.state);
            state.is_empty() && state.last_t < cutoff
        };
        let candidates: Vec<&Arc<Series>> = series.iter().filter(is_idle).collect();
        if candidates.is_empty() {
            return;
        }
        // An append that has found a series must not lose it before it has stored its sample.
        let alone = write(&self.gate);
        let gone: Vec<Arc<Series>> = candidates.into_iter().filter(is_idle).cloned().collect();
        self.head.remove(&gone);
        drop(alone);
        report.series_removed += gone.len() as u64;
    }
}

pub(crate) type Tombs = Arc<crate::tombstones::Tombstones>;
