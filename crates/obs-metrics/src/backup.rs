//! Copies of the store that a server can be started from, and carrying deletions out.

use std::path::Path;
use std::sync::Arc;

use obs_types::TimestampMs;

use crate::aggregate;
use crate::config::OpenMode;
use crate::engine::{MetricsEngine, SIDE_FILE};
use crate::error::MetricsError;
use crate::maintain::MaintainReport;
use crate::tombstones::{self, Tombstones};
use crate::{hour_of, lock, read, write};

/// What is in a copy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BackupReport {
    /// Files that are the same as in the store: blocks, aggregates, tombstones.
    pub files_linked: u64,
    pub bytes_linked: u64,
    /// Series of the head, 0 if it was left out.
    pub head_series: u64,
}

impl MetricsEngine {
    /// Puts a copy of the store into a folder that does not exist yet: blocks and aggregates as
    /// links to the same bytes, the head as a snapshot (unless `skip_head`). An engine whose `dir`
    /// is that folder opens with everything that was acknowledged before the call. The copy is
    /// durable when this returns; after an error or a crash the folder is of no use.
    pub fn backup(&self, dir: &Path, skip_head: bool) -> Result<BackupReport, MetricsError> {
        if self.config.mode == OpenMode::ReadOnly {
            return Err(MetricsError::ReadOnly);
        }
        // No file is replaced or removed meanwhile, so all of them are of one moment.
        let _alone = lock(&self.maintenance);
        let disk = &self.config.disk;
        if disk.exists(dir) || !disk.list(dir)?.is_empty() {
            return Err(MetricsError::Exists { path: dir.display().to_string() });
        }
        disk.create_dir_all(dir)?;
        let mut report = BackupReport::default();
        if !skip_head {
            self.write_head_to(dir)?;
            report.head_series = self.head.series_count() as u64;
        }
        let mut link = |from: &Path, to_dir: &Path| -> Result<(), MetricsError> {
            let Some(name) = from.file_name() else { return Ok(()) };
            disk.link(from, &to_dir.join(name))?;
            report.files_linked += 1;
            report.bytes_linked += disk.len(from)?;
            Ok(())
        };
        for block in read(&self.blocks).iter() {
            link(block.path(), dir)?;
        }
        for name in [tombstones::FILE, SIDE_FILE] {
            let path = self.config.dir.join(name);
            if disk.exists(&path) && !(skip_head && name == SIDE_FILE) {
                link(&path, dir)?;
            }
        }
        let (from, to) = (aggregate::folder(&self.config), dir.join(aggregate::FOLDER));
        let names = disk.list(&from)?;
        let listed = self.aggregates.files();
        let kept = |name: &str| {
            let path = from.join(name);
            listed.iter().any(|f| f.path() == path) || aggregate::is_note(name)
        };
        let names: Vec<String> = names.into_iter().map(|e| e.name).filter(|n| kept(n)).collect();
        if !names.is_empty() {
            disk.create_dir_all(&to)?;
            for name in names {
                link(&from.join(name), &to)?;
            }
            disk.sync_dir(&to)?;
        }
        disk.sync_dir(dir)?;
        Ok(report)
    }

    /// Rewrites what holds deleted samples, then forgets the deletions that are carried out
    /// everywhere; returns how many were. Those of samples in memory stay until these are in a
    /// block, those that concern a damaged block stay with it.
    pub fn clean_tombstones(&self) -> Result<usize, MetricsError> {
        if self.config.mode == OpenMode::ReadOnly {
            return Err(MetricsError::ReadOnly);
        }
        let _alone = lock(&self.maintenance);
        let now: TimestampMs = self.config.clock.now();
        let cutoff_hour = hour_of(now.0.saturating_sub(self.config.limits.past_max_ms()));
        let mut report = MaintainReport::default();
        self.merge_blocks(cutoff_hour, &mut report)?;
        self.aggregate(cutoff_hour, &mut report)?;
        self.remove_retired()?;
        let mut all = Tombstones::clone(&read(&self.tombstones));
        let before = all.len();
        let blocks = Arc::clone(&read(&self.blocks));
        let aggregates = self.aggregates.files();
        let corrupt = &self.counters.sections_corrupt;
        let mut failed = None;
        all.retain(|labels, (start, end, number)| {
            let in_head = self.head.find(labels.stable_hash(), labels).is_some_and(|series| {
                let snapshot = lock(&series.state).snapshot(start, end);
                snapshot.has_samples(start, end)
            });
            let open = blocks.iter().chain(aggregates.iter()).filter(|b| b.meta.deletions < number);
            let mut in_file = false;
            for b in open.filter(|b| aggregate::may_hold(&b.meta, start, end)) {
                match self.index_cache.get(b, corrupt) {
                    Ok(index) => in_file |= b.is_damaged() || index.find(labels).is_some(),
                    Err(e) => {
                        failed.get_or_insert(e);
                        in_file = true;
                    }
                }
            }
            in_head || in_file
        });
        if let Some(e) = failed {
            return Err(e.into());
        }
        let cleaned = before - all.len();
        if cleaned > 0 {
            all.write(&self.config.disk, &self.config.dir)?;
            *write(&self.tombstones) = Arc::new(all);
        }
        Ok(cleaned)
    }
}
