//! 1h aggregates: one file for the hours of a past day, later for those of thirty days, in the
//! folder `aggregates` beside the blocks. They are kept when the blocks are gone.
//!
//! Invariants:
//! - An hour is `(start, start + 1h]`, as PromQL cuts windows; so the sample at its end is of the
//!   next hour's block, and an hour is aggregated only when that one is written too.
//! - Of two files that hold an hour the one with the higher generation counts.
//! - Hours whose samples are there are never answered from aggregates that miss some of them: what
//!   came late or was deleted since is read from blocks until the hour is aggregated again.
//! - Where the samples are gone, a deletion takes away every hour that it overlaps.
//!
//! Drawing: `docs/format/metrics-aggregates.md`.

mod build;
mod columns;
mod query;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Mutex, RwLock};

use obs_disk::bytes::{Reader, put_i64};
use obs_disk::{BlockReader, BlockWriter, Codec, DiskError, remove_stale_temporaries};

use crate::block::{AGGREGATES, Block, Meta};
use crate::config::{MetricsConfig, OpenMode};
use crate::engine::{MetricsEngine, set_aside};
use crate::error::MetricsError;
use crate::stats::Counters;
use crate::{HOUR_MS, read};

pub(crate) const FOLDER: &str = "aggregates";
/// Tells up to which time samples were dropped.
const DROPPED_FILE: &str = "dropped.blk";
const DROPPED_KIND: [u8; 4] = *b"MEAD";

/// The files of aggregates and what bounds their meaning.
#[derive(Debug)]
pub(crate) struct Aggregates {
    /// Sorted by [`Meta::order`].
    pub(crate) files: RwLock<Arc<Vec<Arc<Block>>>>,
    /// Replaced files that somebody may still read.
    pub(crate) retired: Mutex<Vec<Arc<Block>>>,
    /// Samples of earlier hours were dropped; their aggregates are all that is left of them.
    pub(crate) dropped_hour: AtomicI64,
    /// Aggregates of earlier hours are not shown any more.
    pub(crate) floor_hour: AtomicI64,
}

/// Whether a file of the folder is the one that says what was dropped.
pub(crate) fn is_note(name: &str) -> bool {
    name == DROPPED_FILE
}

/// Whether a block of samples or aggregates may hold something of `[start, end)`.
pub(crate) fn may_hold(meta: &Meta, start: i64, end: i64) -> bool {
    let from = meta.first_hour().saturating_mul(HOUR_MS);
    from < end && start <= meta.end()
}

pub(crate) fn folder(config: &MetricsConfig) -> PathBuf {
    config.dir.join(FOLDER)
}

impl Aggregates {
    pub(crate) fn open(config: &MetricsConfig, counters: &Counters) -> Result<Self, MetricsError> {
        let dir = folder(config);
        if config.mode == OpenMode::ReadWrite && config.disk.exists(&dir) {
            remove_stale_temporaries(&*config.disk, &dir)?;
        }
        let mut files = Vec::new();
        for entry in config.disk.list(&dir)? {
            if entry.is_dir || !Meta::names(&entry.name) {
                continue;
            }
            let path = dir.join(&entry.name);
            match Block::open_kind(Arc::clone(&config.disk), &path, AGGREGATES) {
                Ok(file) => files.push(Arc::new(file)),
                Err(e) if e.is_corrupt() => {
                    set_aside(config, &format!("{FOLDER}/{}", entry.name), &e, counters);
                }
                Err(e) if e.is_not_found() && config.mode == OpenMode::ReadOnly => {}
                Err(e) => return Err(e.into()),
            }
        }
        files.sort_by_key(|f| f.meta.order());
        let dropped_hour = match read_dropped(config) {
            Ok(hour) => hour,
            Err(e) if e.is_corrupt() => {
                set_aside(config, &format!("{FOLDER}/{DROPPED_FILE}"), &e, counters);
                i64::MIN
            }
            Err(e) => return Err(e.into()),
        };
        Ok(Self {
            files: RwLock::new(Arc::new(files)),
            retired: Mutex::default(),
            dropped_hour: AtomicI64::new(dropped_hour),
            floor_hour: AtomicI64::new(i64::MIN),
        })
    }

    pub(crate) fn files(&self) -> Arc<Vec<Arc<Block>>> {
        Arc::clone(&read(&self.files))
    }

    fn dropped(&self) -> i64 {
        self.dropped_hour.load(Ordering::Acquire)
    }
}

fn read_dropped(config: &MetricsConfig) -> Result<i64, DiskError> {
    let path = folder(config).join(DROPPED_FILE);
    if !config.disk.exists(&path) {
        return Ok(i64::MIN);
    }
    let file = BlockReader::open(Arc::clone(&config.disk), &path, DROPPED_KIND)?;
    let bytes = file.section("dropped")?;
    Reader::new(&bytes).i64().ok_or_else(|| DiskError::corrupt(&path, 0, "dropped does not decode"))
}

/// For each hour the position of the file that counts.
fn owners(files: &[Arc<Block>]) -> BTreeMap<i64, usize> {
    let mut out: BTreeMap<i64, usize> = BTreeMap::new();
    for (at, file) in files.iter().enumerate() {
        for (hour, _) in &file.meta.hours {
            let owner = out.entry(*hour).or_insert(at);
            let rank = |at: usize| files.get(at).map(|f| (f.meta.generation, f.meta.flush()));
            if rank(at) > rank(*owner) {
                *owner = at;
            }
        }
    }
    out
}

/// What the blocks say of hours whose aggregates may be out of date.
struct Freshness {
    dropped_hour: i64,
    /// Per hour the newest flush that is in a block.
    flushes: BTreeMap<i64, u64>,
    tombstones: Arc<crate::tombstones::Tombstones>,
}

impl Freshness {
    /// Hours of a file that its samples have outrun. Only hours whose samples are there are told.
    fn outrun(&self, file: &Block, index: &crate::block::BlockIndex) -> Vec<i64> {
        let (start, end) = span(&file.meta);
        let deleted: Vec<(i64, i64)> = self
            .tombstones
            .ranges_since(file.meta.deletions, start, end)
            .filter(|(labels, ..)| index.find(labels).is_some())
            .map(|(_, from, to)| (from, to))
            .collect();
        let late = |hour: i64, flush: u64| {
            [hour, hour + 1].iter().any(|h| self.flushes.get(h).is_some_and(|f| *f > flush))
        };
        let overlaps = |hour: i64| {
            let (start, end) = times_of(hour);
            deleted.iter().any(|(from, to)| *from < end && start < *to)
        };
        let hours = file.meta.hours.iter().filter(|(hour, _)| *hour >= self.dropped_hour);
        hours.filter(|(h, flush)| late(*h, *flush) || overlaps(*h)).map(|(h, _)| *h).collect()
    }
}

/// The times of an hour's samples, half-open.
fn times_of(hour: i64) -> (i64, i64) {
    let start = hour.saturating_mul(HOUR_MS).saturating_add(1);
    (start, start.saturating_add(HOUR_MS))
}

fn span(meta: &Meta) -> (i64, i64) {
    (times_of(meta.first_hour()).0, times_of(meta.last_hour()).1)
}

impl MetricsEngine {
    fn freshness(&self) -> Freshness {
        let mut flushes: BTreeMap<i64, u64> = BTreeMap::new();
        for (hour, flush) in read(&self.blocks).iter().flat_map(|b| &b.meta.hours) {
            let newest = flushes.entry(*hour).or_default();
            *newest = (*flush).max(*newest);
        }
        Freshness {
            dropped_hour: self.aggregates.dropped(),
            flushes,
            tombstones: Arc::clone(&read(&self.tombstones)),
        }
    }

    /// The first hour before `end_hour` that has blocks but no aggregates, or `end_hour`.
    pub(crate) fn first_without_aggregates(&self, end_hour: i64) -> i64 {
        let known = owners(&self.aggregates.files());
        let blocks = Arc::clone(&read(&self.blocks));
        let open = blocks.iter().filter(|b| !b.meta.held).flat_map(|b| &b.meta.hours);
        let hours = open.map(|(hour, _)| *hour);
        hours.filter(|h| !known.contains_key(h)).min().unwrap_or(end_hour).min(end_hour)
    }

    /// Notes durably that the samples of earlier hours are about to go; also where that fails they
    /// count as gone from now on.
    pub(crate) fn note_dropped_hour(&self, hour: i64) -> Result<(), DiskError> {
        if hour <= self.aggregates.dropped() {
            return Ok(());
        }
        self.aggregates.dropped_hour.store(hour, Ordering::Release);
        let dir = folder(&self.config);
        self.config.disk.create_dir_all(&dir)?;
        let disk = Arc::clone(&self.config.disk);
        let mut file = BlockWriter::create(disk, &dir.join(DROPPED_FILE), DROPPED_KIND, 1)?;
        let mut body = Vec::new();
        put_i64(&mut body, hour);
        file.section("dropped", &body, Codec::Raw)?;
        file.finish().map(drop)
    }
}
