//! The engine: takes lines in, keeps them, finds them.
//!
//! Invariants:
//! - A line is in the WAL before it is in the head, and in a durable block file before its WAL
//!   segment goes.
//! - A batch has one sequence number; a block file names the batches it holds, so a replay knows
//!   which records of the WAL are in a block already.
//! - The head is cut while no append is under way, so a cut holds whole batches.
//! - Block files are never changed; one that is dropped goes when its last reader has finished.

mod append;
mod read;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use obs_disk::{
    Clock, Disk, SegmentId, Wal, WalConfig, WalStats, remove_stale_temporaries, replay_read_only,
};
use obs_types::{LabelSet, TimestampMs, TimestampNs};

use crate::config::{Limits, LogsConfig, OpenMode};
use crate::error::LogsError;
use crate::head::Head;
use crate::index::{StreamId, StreamIndex};
use crate::part::{self, Part, Sequences};
use crate::subscribe::{Subscribers, Subscription};
use crate::wal_record;

/// See the crate documentation.
#[derive(Debug)]
pub struct LogsEngine {
    dir: PathBuf,
    disk: Arc<dyn Disk>,
    clock: Arc<dyn Clock>,
    limits: Limits,
    /// `None` when read-only.
    wal: Option<Wal>,
    state: RwLock<State>,
    /// Held shared by appends, alone while the head is cut.
    gate: RwLock<()>,
    /// Held by whoever writes block files.
    maintenance: Mutex<()>,
    sequence: AtomicU64,
    subscribers: Subscribers,
    accepted: AtomicU64,
    quarantined: AtomicU64,
    damaged_chunks: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    index: StreamIndex,
    head: Head,
    /// First sequence number that may be in the head.
    head_from: u64,
    /// Cut from the head, not in a block file yet.
    flushing: Option<Arc<Flushing>>,
    /// By first sequence number.
    parts: Vec<Arc<Part>>,
}

#[derive(Debug)]
struct Flushing {
    head: Head,
    sequences: Sequences,
    /// Segments before this one hold only what is in block files once this is written.
    wal_keep: SegmentId,
}

/// What one round of maintenance did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Maintained {
    /// Lines that went from memory to a block file.
    pub flushed_entries: u64,
}

/// What there is and what happened since opening.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EngineStats {
    /// Known streams, also ones without lines any more.
    pub streams: u64,
    /// Lines in memory, and their bytes with overhead.
    pub head_entries: u64,
    pub head_bytes: u64,
    /// Block files, their bytes and lines.
    pub blocks: u64,
    pub block_bytes: u64,
    pub block_entries: u64,
    pub accepted: u64,
    /// Files that could not be opened and were put aside.
    pub quarantined_blocks: u64,
    /// Chunks that were found damaged by a reader.
    pub damaged_chunks: u64,
    /// Damaged ranges of the WAL that replay stepped over.
    pub wal_corrupt_ranges: u64,
    pub wal: WalStats,
    pub subscribers: u64,
    /// Oldest and newest line, nanoseconds; both 0 without lines.
    pub oldest_ns: i64,
    pub newest_ns: i64,
}

impl LogsEngine {
    /// Opens what is there, or starts empty. A damaged block file is put aside into `quarantine`
    /// and counted; records of the WAL that are in no block come back into memory.
    pub fn open(config: LogsConfig) -> Result<Arc<Self>, LogsError> {
        let LogsConfig { dir, wal_dir, disk, clock, mode, limits } = config;
        let read_only = mode == OpenMode::ReadOnly;
        if !read_only {
            disk.create_dir_all(&dir)?;
            remove_stale_temporaries(&*disk, &dir)?;
        }
        let mut state = State::default();
        let (quarantined, named) = open_parts(&disk, &dir, read_only, &mut state)?;
        let held: Vec<Sequences> = state.parts.iter().map(|p| p.sequences).collect();
        // One more where a file is not served, so that no new file can take its name.
        let mut last = named + u64::from(quarantined > 0);
        let mut head_from = last + 1;
        let now = clock.now();
        let mut undecodable = 0u64;
        let mut replay = |bytes: &[u8]| match wal_record::decode(bytes) {
            Some((sequence, records)) => {
                last = last.max(sequence);
                if held.iter().any(|s| (s.from..=s.through).contains(&sequence)) {
                    return;
                }
                head_from = head_from.min(sequence);
                for record in records {
                    let id = state.index.id(&record.stream);
                    state.head.push(id, record, now);
                }
            }
            None => undecodable += 1,
        };
        let (wal, recovery) = if read_only {
            (None, replay_read_only(&*disk, &wal_dir, &mut replay)?)
        } else {
            let wal = Wal::open(Arc::clone(&disk), &wal_dir, WalConfig::standard(), &mut replay)?;
            let recovery = wal.recovery().clone();
            (Some(wal), recovery)
        };
        if undecodable > 0 || !recovery.corrupt.is_empty() {
            tracing::error!(
                undecodable,
                corrupt_ranges = recovery.corrupt.len(),
                "the log WAL was damaged; some lines are lost"
            );
        }
        state.head_from = head_from;
        Ok(Arc::new(Self {
            dir,
            disk,
            clock,
            limits,
            wal,
            state: RwLock::new(state),
            gate: RwLock::new(()),
            maintenance: Mutex::new(()),
            sequence: AtomicU64::new(last),
            subscribers: Subscribers::default(),
            accepted: AtomicU64::new(0),
            quarantined: AtomicU64::new(quarantined),
            damaged_chunks: AtomicU64::new(0),
        }))
    }

    /// Every record accepted from now on, in order. The subscriber holds at most `capacity` unread
    /// records; more are dropped and counted.
    pub fn subscribe(&self, capacity: usize) -> Subscription {
        self.subscribers.add(capacity)
    }

    /// Called every minute: lines in memory go to a block file when they are many or old enough.
    /// On a full disk they stay in memory (and in the WAL), and the next call tries again.
    pub fn maintain(&self, now: TimestampMs) -> Result<Maintained, LogsError> {
        let wal = self.wal.as_ref().ok_or(LogsError::ReadOnly)?;
        let due = {
            let state = self.read();
            let age = state.head.oldest_arrival.map_or(0, |t| now.0.saturating_sub(t.0));
            state.flushing.is_some()
                || state.head.bytes >= self.limits.flush_bytes
                || (!state.head.is_empty() && age >= self.limits.flush_age.0)
        };
        if !due {
            return Ok(Maintained::default());
        }
        let _one = lock(&self.maintenance);
        self.flush(wal)
    }

    /// Writes everything in memory to a block file now.
    pub fn flush_now(&self) -> Result<Maintained, LogsError> {
        let wal = self.wal.as_ref().ok_or(LogsError::ReadOnly)?;
        let _one = lock(&self.maintenance);
        self.flush(wal)
    }

    /// Flushes, so that the next start has nothing to replay. The engine stays usable.
    pub fn shutdown(&self) -> Result<(), LogsError> {
        if self.wal.is_some() {
            self.flush_now()?;
        }
        Ok(())
    }

    /// Retention: drops block files whose newest line is older than `t`. Returns how many.
    pub fn drop_before(&self, t: TimestampNs) -> Result<u64, LogsError> {
        if self.wal.is_none() {
            return Err(LogsError::ReadOnly);
        }
        let _one = lock(&self.maintenance);
        let mut dropped = Vec::new();
        self.write().parts.retain(|p| {
            let old = p.max < t.0;
            if old {
                p.doom();
                dropped.push(Arc::clone(p));
            }
            !old
        });
        let count = dropped.len() as u64;
        drop(dropped);
        if count > 0 {
            self.disk.sync_dir(&self.dir)?;
        }
        Ok(count)
    }

    pub fn stats(&self) -> EngineStats {
        let state = self.read();
        let mut stats = EngineStats {
            streams: state.index.len() as u64,
            blocks: state.parts.len() as u64,
            accepted: self.accepted.load(Ordering::Relaxed),
            quarantined_blocks: self.quarantined.load(Ordering::Relaxed),
            damaged_chunks: self.damaged_chunks.load(Ordering::Relaxed),
            wal_corrupt_ranges: self.wal.as_ref().map_or(0, |w| w.recovery().corrupt.len() as u64),
            wal: self.wal.as_ref().map(Wal::stats).unwrap_or_default(),
            subscribers: self.subscribers.len() as u64,
            ..EngineStats::default()
        };
        let (mut oldest, mut newest) = (i64::MAX, i64::MIN);
        for head in state.heads() {
            stats.head_entries += head.entries;
            stats.head_bytes += head.bytes as u64;
            for stream in head.streams.values() {
                if let (Some((a, _)), Some((b, _))) =
                    (stream.first_key_value(), stream.last_key_value())
                {
                    oldest = oldest.min(a.0);
                    newest = newest.max(b.0);
                }
            }
        }
        for part in &state.parts {
            stats.block_bytes += part.file_len();
            stats.block_entries += part.entries();
            oldest = oldest.min(part.min);
            newest = newest.max(part.max);
        }
        if oldest <= newest {
            (stats.oldest_ns, stats.newest_ns) = (oldest, newest);
        }
        stats
    }

    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// 1. Cut the head while no append is under way; the WAL starts a new segment there.
    /// 2. Write the cut as one file. 3. Show the file instead of the cut. 4. Drop the WAL segments
    ///    that hold nothing else. A failure in 2 leaves the cut in memory for the next call.
    fn flush(&self, wal: &Wal) -> Result<Maintained, LogsError> {
        let mut done = Maintained::default();
        let mut has_cut = false;
        loop {
            let pending = self.read().flushing.clone();
            let Some(flushing) = pending else {
                // Once: lines that come meanwhile are for the next round.
                if !has_cut && self.cut(wal)? {
                    has_cut = true;
                    continue;
                }
                return Ok(done);
            };
            let labels = {
                let state = self.read();
                let mut labels: HashMap<StreamId, LabelSet> = HashMap::new();
                for id in flushing.head.streams.keys() {
                    labels.insert(*id, state.index.labels(*id).cloned().unwrap_or_default());
                }
                labels
            };
            let path = part::write(
                &self.disk,
                &self.dir,
                &flushing.head,
                &|id| labels.get(&id).cloned().unwrap_or_default(),
                flushing.sequences,
                self.limits.chunk_bytes,
            )?;
            {
                // Opening reads what was just written, so a disk that lies is found out before the
                // WAL lets go of the lines.
                let mut state = self.write();
                let part = Part::open(&self.disk, &path, &mut state.index)?;
                state.parts.push(Arc::new(part));
                state.flushing = None;
            }
            done.flushed_entries += flushing.head.entries;
            wal.remove_before(flushing.wal_keep)?;
        }
    }

    /// Returns whether there was anything to cut.
    fn cut(&self, wal: &Wal) -> Result<bool, LogsError> {
        let _alone = self.gate.write().unwrap_or_else(PoisonError::into_inner);
        if self.read().head.is_empty() {
            return Ok(false);
        }
        if wal.is_poisoned() {
            wal.recover()?;
        }
        let wal_keep = wal.rotate()?;
        let mut state = self.write();
        let through = self.sequence.load(Ordering::Acquire);
        let sequences = Sequences { from: state.head_from, through };
        state.head_from = through + 1;
        let head = std::mem::take(&mut state.head);
        state.flushing = Some(Arc::new(Flushing { head, sequences, wal_keep }));
        Ok(true)
    }
}

fn lock(mutex: &Mutex<()>) -> MutexGuard<'_, ()> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl State {
    /// What is in memory, older first.
    fn heads(&self) -> impl Iterator<Item = &Head> {
        self.flushing.iter().map(|f| &f.head).chain(std::iter::once(&self.head))
    }

    fn memory_bytes(&self) -> usize {
        self.heads().map(|h| h.bytes).sum()
    }
}

/// Opens every block file of the folder. Returns how many cannot be served, and the largest
/// sequence number in any name.
fn open_parts(
    disk: &Arc<dyn Disk>,
    dir: &Path,
    read_only: bool,
    state: &mut State,
) -> Result<(u64, u64), LogsError> {
    let (mut quarantined, mut last) = (0, 0);
    for entry in disk.list(dir)? {
        let Some(named) = part::sequences_of(&entry.name).filter(|_| !entry.is_dir) else {
            continue;
        };
        last = last.max(named.through);
        let path = dir.join(&entry.name);
        match Part::open(disk, &path, &mut state.index) {
            Ok(part) => state.parts.push(Arc::new(part)),
            Err(e) if e.is_corrupt() => {
                quarantined += 1;
                tracing::error!(path = %path.display(), error = %e,
                    "a block of log lines is damaged and put aside");
                if !read_only {
                    let aside = dir.join("quarantine");
                    disk.create_dir_all(&aside)?;
                    disk.rename(&path, &aside.join(&entry.name))?;
                    disk.sync_dir(&aside)?;
                    disk.sync_dir(dir)?;
                }
            }
            Err(e) if e.is_newer() => {
                quarantined += 1;
                tracing::error!(path = %path.display(), error = %e,
                    "a block of log lines is of a later version and not served");
            }
            Err(e) if e.is_not_found() => {}
            Err(e) => return Err(e),
        }
    }
    state.parts.sort_by_key(|p| p.sequences.from);
    Ok((quarantined, last))
}
