//! The write-ahead log: what was acknowledged is on stable storage and comes back at the next
//! start. Drawing and rules: `docs/format/wal.md`.
//!
//! Invariants:
//! - `append` returns `Ok` only after a sync that began after the record was written.
//! - A byte that was once synced is never overwritten; a segment is appended to by one opening of
//!   the log only, so a torn tail is always in the place where a process ended.
//! - After a failed sync nothing more is acknowledged from that segment.
//! - A failed write is cut away before the next one; the log stays usable (full disk).

mod format;
mod replay;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use format::{FRAME_LEN, HEADER_LEN, header, put_record, segment_path};
pub use replay::{replay_read_only, replay_read_only_from};

use crate::{Disk, DiskError, DiskFile, lock, write_durable};

/// Number of a segment; later segments have larger numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SegmentId(pub u64);

/// Place of a record; ordered as records were written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lsn {
    pub segment: SegmentId,
    pub offset: u64,
}

/// Limits of a log.
#[derive(Clone, Debug)]
pub struct WalConfig {
    /// A segment is closed before it grows over this; at most [`WalConfig::SEGMENT_BYTES_MAX`].
    pub segment_bytes_max: u64,
    /// Longest payload of one record.
    pub record_bytes_max: u64,
}

impl WalConfig {
    /// A segment is read whole at replay, which bounds what that costs in memory.
    pub const SEGMENT_BYTES_MAX: u64 = 128 << 20;

    /// Segments of 32 MiB, records up to 64 MiB.
    pub fn standard() -> Self {
        Self { segment_bytes_max: 32 << 20, record_bytes_max: 64 << 20 }
    }
}

/// Damaged bytes inside a segment with whole records behind them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CorruptRange {
    pub segment: SegmentId,
    pub offset: u64,
    pub len: u64,
}

/// What a replay found. Corrupt ranges are data loss; torn bytes were never acknowledged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WalRecovery {
    pub segments: u64,
    pub records: u64,
    pub bytes: u64,
    pub torn_bytes: u64,
    /// In the order of the log. Copies of the damaged bytes lie in the log's `quarantine` folder.
    pub corrupt: Vec<CorruptRange>,
}

/// Counters since opening, and what is on disk now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WalStats {
    pub segments: u64,
    pub bytes: u64,
    pub appends: u64,
    pub syncs: u64,
}

/// A log open for appending. Shared between threads.
#[derive(Debug)]
pub struct Wal {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    config: WalConfig,
    recovery: WalRecovery,
    state: Mutex<State>,
    synced: Condvar,
}

#[derive(Debug)]
struct State {
    /// `None` until the first append after opening or rotating: opening and reading work on a full
    /// disk.
    open: Option<OpenSegment>,
    next_segment: SegmentId,
    /// Segments on disk and their lengths, without the open one.
    closed: BTreeMap<SegmentId, u64>,
    /// Records written and records known durable, counted since opening.
    written: u64,
    durable: u64,
    /// A thread syncs right now; others wait for it or for their turn.
    syncing: bool,
    poisoned: Option<Poison>,
    /// Counts `recover` calls: a waiter from before must not be answered by a sync from after.
    generation: u64,
    appends: u64,
    syncs: u64,
    scratch: Vec<u8>,
}

#[derive(Debug)]
struct OpenSegment {
    id: SegmentId,
    path: PathBuf,
    file: Arc<dyn DiskFile>,
    len: u64,
    /// Length that the last successful sync covered.
    durable_len: u64,
}

#[derive(Debug)]
struct Poison {
    error: DiskError,
    generation: u64,
}

impl Wal {
    /// Replays what is in `dir` (created if missing), cuts torn tails, and readies the log for
    /// appending. `replay` gets each whole record in order. Damage does not fail the opening; see
    /// [`Wal::recovery`].
    pub fn open(
        disk: Arc<dyn Disk>,
        dir: &Path,
        config: WalConfig,
        replay: &mut dyn FnMut(&[u8]),
    ) -> Result<Self, DiskError> {
        Self::open_from(disk, dir, config, SegmentId(0), replay)
    }

    /// As [`Wal::open`], without reading the segments before `from`, whose records are known from
    /// elsewhere; they stay until [`Wal::remove_before`]. New segments get numbers from `from` on,
    /// also where the log is empty.
    pub fn open_from(
        disk: Arc<dyn Disk>,
        dir: &Path,
        config: WalConfig,
        from: SegmentId,
        replay: &mut dyn FnMut(&[u8]),
    ) -> Result<Self, DiskError> {
        disk.create_dir_all(dir)?;
        let mut recovery = WalRecovery::default();
        let mut closed = BTreeMap::new();
        let mut next_segment = from.max(SegmentId(1));
        for (id, len) in replay::segments(&*disk, dir)? {
            if id < from {
                closed.insert(id, len);
                continue;
            }
            let path = segment_path(dir, id);
            let bytes = disk.read(&path)?;
            let found = replay::scan(&bytes, &path, id, replay)?;
            recovery.add(id, bytes.len() as u64, &found);
            for &(from, to) in &found.corrupt {
                quarantine(&*disk, dir, id, from, bytes.get(from as usize..to as usize));
            }
            next_segment = SegmentId(id.0 + 1);
            if found.records == 0 {
                // A segment that a crash kept from holding anything, or rubbish.
                if bytes.len() > HEADER_LEN + FRAME_LEN {
                    quarantine(&*disk, dir, id, 0, Some(&bytes));
                }
                disk.remove(&path)?;
            } else {
                if found.good_len < bytes.len() as u64 {
                    let from = found.good_len;
                    quarantine(&*disk, dir, id, from, bytes.get(from as usize..));
                    let file = disk.open_append(&path)?;
                    file.truncate(from)?;
                    file.sync()?;
                }
                closed.insert(id, found.good_len);
            }
        }
        // Whatever this start saw must still be there at the next one, also if the process that
        // wrote it ended before it synced the folder.
        disk.sync_dir(dir)?;
        Ok(Self {
            disk,
            dir: dir.to_owned(),
            config: WalConfig {
                segment_bytes_max: config.segment_bytes_max.min(WalConfig::SEGMENT_BYTES_MAX),
                ..config
            },
            recovery,
            state: Mutex::new(State {
                open: None,
                next_segment,
                closed,
                written: 0,
                durable: 0,
                syncing: false,
                poisoned: None,
                generation: 0,
                appends: 0,
                syncs: 0,
                scratch: Vec::new(),
            }),
            synced: Condvar::new(),
        })
    }

    /// What opening found.
    pub fn recovery(&self) -> &WalRecovery {
        &self.recovery
    }

    /// Writes a record and returns when it is on stable storage. Threads that append at the same
    /// time share one sync.
    ///
    /// On a full disk (`is_full`) and other failed writes nothing of the record stays, and a later
    /// call may succeed. After a failed sync every call gives `Poisoned` until [`Wal::recover`] or
    /// a new opening; records that were refused then may or may not come back at a replay.
    pub fn append(&self, record: &[u8]) -> Result<Lsn, DiskError> {
        let len = record.len() as u64;
        let max = self.config.record_bytes_max.min(u64::from(u32::MAX));
        if len > max {
            return Err(DiskError::TooLarge { what: "record", path: self.dir.clone(), len, max });
        }
        let mut s = lock(&self.state);
        self.refuse_poisoned(&s)?;
        let after = |open: &OpenSegment| open.len + FRAME_LEN as u64 + len;
        while s
            .open
            .as_ref()
            .is_some_and(|o| o.len > HEADER_LEN as u64 && after(o) > self.config.segment_bytes_max)
        {
            s = self.close_segment(s)?;
        }
        let lsn = self.write(&mut s, record)?;
        s.written += 1;
        s.appends += 1;
        let (mine, generation) = (s.written, s.generation);
        self.wait_durable(s, mine, generation)?;
        Ok(lsn)
    }

    /// Closes the current segment and returns the number of the next: every record whose `append`
    /// has returned is in a segment before it. A caller that wants its own in-memory state to hold
    /// exactly those records keeps appends out while it rotates.
    pub fn rotate(&self) -> Result<SegmentId, DiskError> {
        let mut s = lock(&self.state);
        self.refuse_poisoned(&s)?;
        while s.open.is_some() {
            s = self.close_segment(s)?;
        }
        Ok(s.next_segment)
    }

    /// Removes all segments before `keep`; the open one always stays. Call it when their records
    /// are durable elsewhere.
    pub fn remove_before(&self, keep: SegmentId) -> Result<(), DiskError> {
        let mut s = lock(&self.state);
        // Oldest first: a crash in between leaves the newest, as if fewer had been asked for.
        while let Some((&id, _)) = s.closed.first_key_value().filter(|(id, _)| **id < keep) {
            match self.disk.remove(&segment_path(&self.dir, id)) {
                Ok(()) => {}
                Err(e) if e.is_not_found() => {}
                Err(e) => return Err(e),
            }
            s.closed.remove(&id);
        }
        drop(s);
        self.disk.sync_dir(&self.dir)
    }

    /// Whether a failed sync stopped the log.
    pub fn is_poisoned(&self) -> bool {
        lock(&self.state).poisoned.is_some()
    }

    /// Reopens a log that a failed sync stopped, without a replay: the abandoned segment is cut
    /// (as far as the disk allows) to what is known durable, and appending goes on in a new one.
    /// Nothing that was acknowledged is lost; does nothing to a healthy log.
    pub fn recover(&self) -> Result<(), DiskError> {
        let mut s = lock(&self.state);
        while s.syncing {
            s = self.wait(s);
        }
        if s.poisoned.is_none() {
            return Ok(());
        }
        if let Some(open) = s.open.take() {
            // Best effort: if the cut fails, replay meets records that were never acknowledged.
            let cut = open.file.truncate(open.durable_len).is_ok();
            let len = if cut { open.durable_len } else { open.len };
            s.closed.insert(open.id, len);
        }
        s.poisoned = None;
        s.generation += 1;
        s.durable = s.written;
        self.synced.notify_all();
        Ok(())
    }

    /// Bytes in the segments from `from` on.
    pub fn bytes_from(&self, from: SegmentId) -> u64 {
        let s = lock(&self.state);
        let open = s.open.as_ref().filter(|o| o.id >= from).map_or(0, |o| o.len);
        s.closed.range(from..).map(|(_, len)| *len).sum::<u64>() + open
    }

    pub fn stats(&self) -> WalStats {
        let s = lock(&self.state);
        WalStats {
            segments: s.closed.len() as u64 + u64::from(s.open.is_some()),
            bytes: s.closed.values().sum::<u64>() + s.open.as_ref().map_or(0, |o| o.len),
            appends: s.appends,
            syncs: s.syncs,
        }
    }

    fn refuse_poisoned(&self, s: &State) -> Result<(), DiskError> {
        match &s.poisoned {
            Some(p) => Err(self.poisoned_error(&p.error)),
            None => Ok(()),
        }
    }

    fn poisoned_error(&self, cause: &DiskError) -> DiskError {
        DiskError::Poisoned { path: self.dir.clone(), reason: cause.to_string() }
    }

    fn wait<'a>(&self, s: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        self.synced.wait(s).unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes the bytes of one record at the end of the open segment, opening one if needed.
    fn write(&self, s: &mut State, record: &[u8]) -> Result<Lsn, DiskError> {
        let mut scratch = std::mem::take(&mut s.scratch);
        if s.open.is_none() {
            let opened = self.open_segment(s)?;
            s.open = Some(opened);
        }
        let Some(open) = s.open.as_mut() else {
            return Err(DiskError::corrupt(&self.dir, 0, "no open segment"));
        };
        let offset = open.len;
        scratch.clear();
        put_record(&mut scratch, open.id, offset, record);
        let result = open.file.append(&scratch);
        let written = scratch.len() as u64;
        // One huge record must not keep its memory for ever.
        if scratch.capacity() <= 1 << 20 {
            s.scratch = scratch;
        }
        match result {
            Ok(()) => {
                open.len += written;
                Ok(Lsn { segment: open.id, offset })
            }
            Err(error) => {
                if let Err(cut) = open.file.truncate(offset) {
                    // Half a record in the middle would look like damage later.
                    let generation = s.generation;
                    s.poisoned = Some(Poison { error: cut, generation });
                    self.synced.notify_all();
                }
                Err(error)
            }
        }
    }

    fn open_segment(&self, s: &mut State) -> Result<OpenSegment, DiskError> {
        let id = s.next_segment;
        let path = segment_path(&self.dir, id);
        let file = self.disk.create(&path)?;
        let begin = file.append(&header(id)).and_then(|()| self.disk.sync_dir(&self.dir));
        if let Err(e) = begin {
            self.disk.remove(&path).ok();
            return Err(e);
        }
        s.next_segment = SegmentId(id.0 + 1);
        let len = HEADER_LEN as u64;
        Ok(OpenSegment { id, path, file, len, durable_len: 0 })
    }

    /// Makes the open segment durable and closes it. The lock is given up while another thread
    /// syncs, so callers look again.
    fn close_segment<'a>(
        &'a self,
        mut s: MutexGuard<'a, State>,
    ) -> Result<MutexGuard<'a, State>, DiskError> {
        if s.syncing {
            let s = self.wait(s);
            self.refuse_poisoned(&s)?;
            return Ok(s);
        }
        if let Some(open) = s.open.take() {
            if open.durable_len < open.len {
                s.syncs += 1;
                if let Err(error) = open.file.sync() {
                    s.open = Some(open);
                    let generation = s.generation;
                    s.poisoned = Some(Poison { error: error.clone(), generation });
                    self.synced.notify_all();
                    return Err(error);
                }
                s.durable = s.written;
                self.synced.notify_all();
            }
            s.closed.insert(open.id, open.len);
        }
        Ok(s)
    }

    /// Group commit: whoever finds nobody syncing syncs for all records written so far.
    fn wait_durable<'a>(
        &'a self,
        mut s: MutexGuard<'a, State>,
        mine: u64,
        generation: u64,
    ) -> Result<(), DiskError> {
        loop {
            if s.generation != generation {
                return Err(DiskError::Poisoned {
                    path: self.dir.clone(),
                    reason: "a sync failed while this record waited for it".into(),
                });
            }
            if s.durable >= mine {
                return Ok(());
            }
            if let Some(p) = s.poisoned.as_ref().filter(|p| p.generation == generation) {
                return Err(self.poisoned_error(&p.error));
            }
            if s.syncing {
                s = self.wait(s);
                continue;
            }
            let (target, file, target_len) = match &s.open {
                Some(open) => (s.written, Arc::clone(&open.file), open.len),
                // Closing a segment makes all written records durable.
                None => return Ok(()),
            };
            s.syncing = true;
            s.syncs += 1;
            drop(s);
            let result = file.sync();
            s = lock(&self.state);
            s.syncing = false;
            match result {
                Ok(()) => {
                    s.durable = s.durable.max(target);
                    if let Some(open) = s.open.as_mut() {
                        open.durable_len = open.durable_len.max(target_len);
                    }
                }
                Err(error) => {
                    let generation = s.generation;
                    s.poisoned = Some(Poison { error, generation });
                }
            }
            self.synced.notify_all();
        }
    }

    /// Path of the segment that is being written, if one is open; for messages.
    pub fn current_path(&self) -> Option<PathBuf> {
        lock(&self.state).open.as_ref().map(|o| o.path.clone())
    }
}

/// Keeps a copy of damaged bytes for people to look at; the log itself is left as it is. A copy
/// that cannot be made (full disk) must not keep the engine from starting.
fn quarantine(disk: &dyn Disk, dir: &Path, id: SegmentId, from: u64, bytes: Option<&[u8]>) {
    let Some(bytes) = bytes.filter(|b| !b.is_empty()) else { return };
    let folder = dir.join("quarantine");
    let path = folder.join(format!("{:016}-at-{from}.bad", id.0));
    if !disk.exists(&path) {
        disk.create_dir_all(&folder).and_then(|()| write_durable(disk, &path, bytes)).ok();
    }
}
