//! Opening, recovery and the state that appending, maintaining and reading share.
//!
//! Lock order: `maintenance`, `gate`, those of the head (`head.rs`), series, symbols. A reader takes head data first
//! and the list of blocks afterwards; a flush publishes its block before it drops head data. So a
//! reader may see a sample twice (and removes the repetition), but never not at all.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, RwLock};

use obs_disk::{
    BlockReader, DiskError, SegmentId, Wal, WalConfig, WalRecovery, remove_stale_temporaries,
    replay_read_only_from,
};
use obs_types::{Exemplar, LabelSet, MetricMetadata};

use crate::aggregate::Aggregates;
use crate::block::{Block, IndexCache, Meta, SectionCache};
use crate::config::{MetricsConfig, OpenMode};
use crate::error::MetricsError;
use crate::exemplars::ExemplarRing;
use crate::head::{ById, Head};
use crate::record::Record;
use crate::retention::Examined;
use crate::series::Stored;
use crate::snapshot;
use crate::stats::Counters;
use crate::tombstones::Tombstones;
use crate::usage::Usage;
use crate::{hour_of, lock, write};

pub(crate) const SIDE_KIND: [u8; 4] = *b"MESD";
pub(crate) const SIDE_FILE: &str = "side.blk";
/// A shorter log is replayed faster than a snapshot is written.
const SHUTDOWN_SNAPSHOT_WAL_BYTES: u64 = 1 << 20;
/// Unpacked records that wait to be replayed.
const RECORDS_AHEAD: usize = 8;
const QUARANTINE: &str = "quarantine";
/// Flushes come hourly, so one repetition nearly always does.
const READ_ONLY_ATTEMPTS: u32 = 5;

/// The metrics engine. Shared between threads; every method blocks the calling thread.
#[derive(Debug)]
pub struct MetricsEngine {
    pub(crate) config: MetricsConfig,
    /// `None` when read-only.
    pub(crate) wal: Option<Wal>,
    pub(crate) head: Head,
    /// Sorted by [`Meta::order`].
    pub(crate) blocks: RwLock<Arc<Vec<Arc<Block>>>>,
    /// Replaced blocks whose files go when the last reader has let go of them.
    pub(crate) retired: Mutex<Vec<Arc<Block>>>,
    pub(crate) aggregates: Aggregates,
    pub(crate) index_cache: IndexCache,
    pub(crate) section_cache: Arc<SectionCache>,
    /// Held shared from before a record is logged until it is applied, exclusively where a flush
    /// draws its line.
    pub(crate) gate: RwLock<Line>,
    /// Hours that may have samples in the head.
    pub(crate) head_hours: Mutex<BTreeSet<i64>>,
    /// Newest time in the current epoch of the log.
    pub(crate) epoch_max_t: AtomicI64,
    /// Past epochs, oldest first.
    pub(crate) epochs: Mutex<Vec<Epoch>>,
    /// The segment from which on the log is not in the last snapshot.
    pub(crate) snapshot_end: AtomicU64,
    /// Flush number of the samples in the last snapshot; the largest number if there is none.
    pub(crate) snapshot_flush: AtomicU64,
    pub(crate) exemplars: Mutex<ExemplarRing>,
    pub(crate) metadata: RwLock<BTreeMap<String, MetricMetadata>>,
    pub(crate) tombstones: RwLock<Arc<Tombstones>>,
    pub(crate) maintenance: Mutex<()>,
    pub(crate) retention: Mutex<Examined>,
    pub(crate) counters: Counters,
    pub(crate) usage: Usage,
    pub(crate) closed: AtomicBool,
}

/// Numbers that every record carries.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Line {
    pub(crate) epoch: u64,
    pub(crate) flush: u64,
    /// Smallest flush number in records of this epoch (at start: of all that was replayed).
    pub(crate) flush_min: u64,
}

/// A stretch of the log between two flushes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Epoch {
    /// Its segments are those before this one.
    pub(crate) end: SegmentId,
    pub(crate) max_t: i64,
    pub(crate) flush_min: u64,
}

/// What a replay has to remember from record to record.
struct Replay {
    epoch: u64,
    flush: u64,
    flush_min: Option<u64>,
    epoch_max: u64,
    numbers: ById,
    /// Per hour the newest flush that is in a block.
    flushed: BTreeMap<i64, u64>,
    max_t: Option<i64>,
    hours: BTreeSet<i64>,
    undecodable: u64,
    lost_samples: u64,
    exemplars: ExemplarRing,
    metadata: BTreeMap<String, MetricMetadata>,
}

impl MetricsEngine {
    /// Opens the engine: reads the list of blocks, then replays the log. Damaged blocks are set
    /// aside and damaged log records stepped over, both counted in [`MetricsEngine::stats`]; only
    /// a disk that does not read, or a file of a later version, fails the opening. The caller
    /// holds the lock of the data folder when `mode` is read-write.
    pub fn open(config: MetricsConfig) -> Result<Arc<Self>, MetricsError> {
        if config.mode == OpenMode::ReadWrite {
            return Self::open_once(config);
        }
        // A writer may move an hour from the log to a block while we look at first one, then the
        // other: look again until the blocks were the same before and after.
        let mut attempt = 0;
        loop {
            let before = block_names(&config)?;
            let engine = Self::open_once(config.clone());
            attempt += 1;
            if attempt == READ_ONLY_ATTEMPTS || before == block_names(&config)? {
                return engine;
            }
        }
    }

    fn open_once(config: MetricsConfig) -> Result<Arc<Self>, MetricsError> {
        let writable = config.mode == OpenMode::ReadWrite;
        let disk = Arc::clone(&config.disk);
        let counters = Counters::default();
        if writable {
            disk.create_dir_all(&config.dir)?;
            remove_stale_temporaries(&*disk, &config.dir)?;
        }
        let blocks = open_blocks(&config, &counters)?;
        let aggregates = Aggregates::open(&config, &counters)?;
        let tombstones = match Tombstones::read(&disk, &config.dir) {
            Ok(t) => t,
            Err(e) if e.is_corrupt() => {
                set_aside(&config, crate::tombstones::FILE, &e, &counters);
                Tombstones::default()
            }
            Err(e) => return Err(e.into()),
        };
        let mut replay = Replay::new(config.limits.exemplars_max);
        let in_blocks = blocks.iter().flat_map(|b| b.meta.hours.iter().copied());
        for (hour, flush) in in_blocks.chain(tombstones.dropped_hours()) {
            let newest = replay.flushed.entry(hour).or_default();
            *newest = flush.max(*newest);
            replay.flush = replay.flush.max(flush);
        }
        let snapshot = match snapshot::load(&disk, &config.dir, &replay.flushed) {
            Ok(snapshot) => snapshot,
            Err(e) if e.is_corrupt() => {
                set_aside(&config, snapshot::FILE, &e, &counters);
                None
            }
            Err(e) => return Err(e.into()),
        };
        let snapshot_flush = snapshot.as_ref().map_or(u64::MAX, |s| s.place.flush);
        match read_side(&config) {
            Ok(Some(bytes)) => match Record::read(&bytes) {
                Some(record) => {
                    replay.note_flush(record.head.flush);
                    replay.apply_rest(record.exemplars, record.metadata);
                }
                None => replay.undecodable += 1,
            },
            Ok(None) => {}
            Err(e) if e.is_corrupt() => set_aside(&config, SIDE_FILE, &e, &counters),
            Err(e) => return Err(e.into()),
        }
        let (head, from) = match snapshot {
            Some(loaded) => {
                replay.flush = replay.flush.max(loaded.place.flush);
                let logged_from = loaded.place.logged_from;
                replay.flush_min =
                    Some(replay.flush_min.map_or(logged_from, |f| f.min(logged_from)));
                (replay.epoch, replay.epoch_max) = (loaded.place.epoch, loaded.place.epoch);
                replay.numbers = loaded.numbers;
                (replay.hours, replay.max_t) = (loaded.hours, loaded.max_t);
                (loaded.head, loaded.place.end)
            }
            None => (Head::new(), SegmentId(0)),
        };
        let (wal, recovery, replay) = read_log(&config, from, &head, replay)?;
        head.index_all();
        for range in &recovery.corrupt {
            tracing::error!(
                segment = range.segment.0,
                offset = range.offset,
                bytes = range.len,
                "damaged part of the metrics log stepped over"
            );
        }
        let corrupt = recovery.corrupt.len() as u64 + replay.undecodable;
        if recovery.torn_bytes > 0 {
            tracing::warn!(
                bytes = recovery.torn_bytes,
                "the metrics log ended in an unfinished write"
            );
        }
        counters.wal_corrupt.store(corrupt, Ordering::Relaxed);
        counters.wal_torn_bytes.store(recovery.torn_bytes, Ordering::Relaxed);
        counters.lost_samples.store(replay.lost_samples, Ordering::Relaxed);
        Ok(Arc::new(Self {
            index_cache: IndexCache::new(config.limits.index_cache_bytes),
            section_cache: Arc::new(SectionCache::new(config.limits.section_cache_bytes)),
            config,
            wal,
            head,
            blocks: RwLock::new(Arc::new(blocks)),
            retired: Mutex::default(),
            aggregates,
            gate: RwLock::new(Line {
                epoch: replay.epoch_max + 1,
                flush: replay.flush,
                flush_min: replay.flush_min.unwrap_or(replay.flush),
            }),
            head_hours: Mutex::new(replay.hours),
            epoch_max_t: AtomicI64::new(replay.max_t.unwrap_or(i64::MIN)),
            epochs: Mutex::default(),
            snapshot_end: AtomicU64::new(from.0),
            snapshot_flush: AtomicU64::new(snapshot_flush),
            exemplars: Mutex::new(replay.exemplars),
            metadata: RwLock::new(replay.metadata),
            tombstones: RwLock::new(Arc::new(tombstones)),
            maintenance: Mutex::default(),
            retention: Mutex::default(),
            counters,
            usage: Usage::default(),
            closed: AtomicBool::new(false),
        }))
    }

    /// Takes no more writes; everything accepted is durable already. Reading goes on. Writes a
    /// snapshot, so that the next start is quick.
    pub fn shutdown(&self) {
        self.closed.store(true, Ordering::SeqCst);
        // Waits for appends that are under way.
        drop(write(&self.gate));
        let _alone = lock(&self.maintenance);
        if self.wal.is_some() {
            let due = self.config.limits.snapshot_wal_bytes.min(SHUTDOWN_SNAPSHOT_WAL_BYTES);
            if let Err(e) = self.snapshot_if(due) {
                tracing::warn!(%e, "no snapshot of the metrics head; the next start replays more");
            }
        }
    }

    /// Reads every block whole and checks every checksum; returns what is damaged.
    pub fn verify(&self) -> Vec<DiskError> {
        let (blocks, aggregates) =
            (Arc::clone(&crate::read(&self.blocks)), self.aggregates.files());
        let all = blocks.iter().chain(aggregates.iter());
        all.filter_map(|b| b.verify(&self.counters.sections_corrupt).err()).collect()
    }

    pub(crate) fn refuse_writes(&self) -> Option<&'static str> {
        if self.config.mode == OpenMode::ReadOnly {
            Some("the metrics engine was opened read-only")
        } else if self.closed.load(Ordering::SeqCst) {
            Some("the metrics engine is shut down")
        } else {
            None
        }
    }
}

/// Replays the log from that segment on. Reading and unpacking a record goes on while the one
/// before is applied.
fn read_log(
    config: &MetricsConfig,
    from: SegmentId,
    head: &Head,
    mut replay: Replay,
) -> Result<(Option<Wal>, WalRecovery, Replay), MetricsError> {
    std::thread::scope(|scope| {
        let (ready, records) = std::sync::mpsc::sync_channel::<Record>(RECORDS_AHEAD);
        let applied = scope.spawn(move || {
            records.iter().for_each(|record| replay.apply(head, record));
            replay
        });
        let mut undecodable = 0;
        let mut each = |bytes: &[u8]| match Record::read(bytes) {
            // It ends before this side does only if it panics, which is met below.
            Some(record) => drop(ready.send(record)),
            None => undecodable += 1,
        };
        let disk = Arc::clone(&config.disk);
        let opened = if config.mode == OpenMode::ReadWrite {
            Wal::open_from(disk, &config.wal_dir, WalConfig::standard(), from, &mut each)
                .map(|wal| (wal.recovery().clone(), Some(wal)))
        } else {
            replay_read_only_from(&*disk, &config.wal_dir, from, &mut each).map(|r| (r, None))
        };
        drop(ready);
        let mut replay = applied.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        replay.undecodable += undecodable;
        let (recovery, wal) = opened?;
        Ok((wal, recovery, replay))
    })
}

impl Replay {
    fn new(exemplars_max: usize) -> Self {
        Self {
            epoch: 0,
            flush: 0,
            flush_min: None,
            epoch_max: 0,
            numbers: ById::default(),
            flushed: BTreeMap::new(),
            max_t: None,
            hours: BTreeSet::new(),
            undecodable: 0,
            lost_samples: 0,
            exemplars: ExemplarRing::new(exemplars_max),
            metadata: BTreeMap::new(),
        }
    }

    fn note_flush(&mut self, flush: u64) {
        self.flush = self.flush.max(flush);
        let flush_min = self.flush_min.get_or_insert(flush);
        *flush_min = flush.min(*flush_min);
    }

    fn apply_rest(&mut self, exemplars: Vec<(LabelSet, Exemplar)>, metadata: Vec<MetricMetadata>) {
        exemplars.into_iter().for_each(|(series, e)| self.exemplars.push(&series, e));
        self.metadata.extend(metadata.into_iter().map(|m| (m.family.clone(), m)));
    }

    fn apply(&mut self, head: &Head, record: Record) {
        if record.head.epoch != self.epoch {
            // A number means nothing outside its epoch: if the record that defines it is damaged,
            // its samples are lost rather than given to another series.
            self.numbers.clear();
            self.epoch = record.head.epoch;
            self.epoch_max = self.epoch_max.max(self.epoch);
        }
        self.note_flush(record.head.flush);
        let mut created = Vec::new();
        for (number, labels) in record.definitions {
            let hash = labels.stable_hash();
            if let Some(series) = head.get_or_create(hash, &labels, usize::MAX, &mut created) {
                self.numbers.insert(number, series);
            }
        }
        head.number_new(created);
        let late_floor = record.head.late_floor;
        let mut grown = 0;
        let mut samples = record.samples.into_iter().zip(record.starts.into_starts());
        for (number, count) in record.series {
            let of_series = samples.by_ref().take(count);
            let Some(series) = self.numbers.get(number) else {
                self.lost_samples += of_series.count() as u64;
                continue;
            };
            let mut state = lock(&series.state);
            for ((t, v), start) in of_series {
                if !in_block(&self.flushed, t, record.head.flush)
                    && let Ok(Stored::New(bytes)) = state.push(t, v, start, late_floor)
                {
                    grown += bytes;
                    self.max_t = self.max_t.max(Some(t));
                    self.hours.insert(hour_of(t));
                }
            }
        }
        let histograms = record.histograms.into_iter().zip(record.histogram_starts.into_starts());
        for ((number, t, h), start) in histograms {
            let Some(series) = self.numbers.get(number) else {
                self.lost_samples += 1;
                continue;
            };
            if !in_block(&self.flushed, t, record.head.flush) {
                let pushed = lock(&series.state).push_histogram(t, &h, start, late_floor);
                if let Ok(Stored::New(bytes)) = pushed {
                    grown += bytes;
                    self.max_t = self.max_t.max(Some(t));
                    self.hours.insert(hour_of(t));
                }
            }
        }
        head.bytes.fetch_add(grown, Ordering::Relaxed);
        self.apply_rest(record.exemplars, record.metadata);
    }
}

/// Whether a sample of that time, logged when `flush` flushes had begun, is in a block: its hour
/// was flushed later.
pub(crate) fn in_block(flushed: &BTreeMap<i64, u64>, t: i64, flush: u64) -> bool {
    flushed.get(&hour_of(t)).is_some_and(|done| *done > flush)
}

fn block_names(config: &MetricsConfig) -> Result<Vec<String>, DiskError> {
    let entries = config.disk.list(&config.dir)?.into_iter();
    Ok(entries.filter(|e| !e.is_dir && Meta::names(&e.name)).map(|e| e.name).collect())
}

fn open_blocks(
    config: &MetricsConfig,
    counters: &Counters,
) -> Result<Vec<Arc<Block>>, MetricsError> {
    let mut out = Vec::new();
    for name in block_names(config)? {
        match Block::open(Arc::clone(&config.disk), &config.dir.join(&name)) {
            Ok(block) => out.push(Arc::new(block)),
            Err(e) if e.is_corrupt() => set_aside(config, &name, &e, counters),
            // Merged or dropped by the writer meanwhile; only a reader can meet that.
            Err(e) if e.is_not_found() && config.mode == OpenMode::ReadOnly => {}
            Err(e) => return Err(e.into()),
        }
    }
    out.sort_by_key(|b| b.meta.order());
    Ok(out)
}

fn read_side(config: &MetricsConfig) -> Result<Option<Vec<u8>>, DiskError> {
    let path = config.dir.join(SIDE_FILE);
    if !config.disk.exists(&path) {
        return Ok(None);
    }
    let reader = BlockReader::open(Arc::clone(&config.disk), &path, SIDE_KIND)?;
    reader.section("record").map(Some)
}

/// Moves a damaged file to the quarantine folder, so that people can look at it and the next start
/// does not meet it again.
pub(crate) fn set_aside(config: &MetricsConfig, name: &str, why: &DiskError, counters: &Counters) {
    counters.blocks_quarantined.fetch_add(1, Ordering::Relaxed);
    tracing::error!(file = name, %why, "damaged file set aside");
    if config.mode == OpenMode::ReadWrite {
        let folder = config.dir.join(QUARANTINE);
        let to = folder.join(name.replace('/', "-"));
        let moved = config
            .disk
            .create_dir_all(&folder)
            .and_then(|()| config.disk.rename(&config.dir.join(name), &to));
        if let Err(e) = moved {
            tracing::warn!(file = name, %e, "damaged file stays where it is");
        }
    }
}
