//! Invariants:
//! - A span that was acknowledged is in the log, in a block, or in both; a segment of the log is
//!   removed only when a durable block holds all of its spans.
//! - State moves one way: head → flushing → blocks. A reader that takes one look at the state
//!   (under its lock) sees every span at least once.
//! - Blocks are never changed, only written, moved to quarantine, or dropped whole.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use obs_disk::{SegmentId, Wal, replay_read_only};
use obs_types::{SpanRecord, TimestampMs, TimestampNs, TraceId};

use crate::block::{Block, IndexEntry, file_name, number_of, write_block};
use crate::codec::decode_batch;
use crate::head::Head;
use crate::ingest::RECORD_VERSION;
use crate::stats::{Counters, add};
use crate::{OpenMode, TracesConfig, TracesError, TracesStats};

const QUARANTINE: &str = "quarantine";
/// Indexes of blocks kept in memory.
const INDEX_CACHE: usize = 128;

/// The embedded store of traces. Share it in an `Arc`; every method takes `&self` and may block on
/// the disk.
#[derive(Debug)]
pub struct TracesEngine {
    pub(crate) config: TracesConfig,
    /// Absent in read-only mode.
    pub(crate) wal: Option<Wal>,
    /// Held shared while a record goes to the log and the head, alone while both are swapped.
    pub(crate) gate: RwLock<()>,
    state: RwLock<State>,
    /// One maintenance at a time.
    maintenance: Mutex<()>,
    cache: Mutex<Cache>,
    pub(crate) counters: Counters,
}

#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) head: Head,
    /// Heads on their way into blocks, oldest first.
    pub(crate) flushing: Vec<Flushing>,
    /// By number.
    pub(crate) blocks: Vec<Arc<Block>>,
    next_block: u64,
}

#[derive(Clone, Debug)]
pub(crate) struct Flushing {
    pub(crate) head: Arc<Head>,
    /// Segments before this one may go when the head is in a block.
    keep: SegmentId,
}

#[derive(Debug, Default)]
struct Cache {
    indexes: VecDeque<(u64, Arc<Vec<IndexEntry>>)>,
    /// By block and number.
    chunks: VecDeque<CachedChunk>,
}

type CachedChunk = ((u64, u32), Arc<Vec<SpanRecord>>);

/// What a call of [`TracesEngine::maintain`] did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Maintenance {
    pub blocks_written: u64,
    pub spans_written: u64,
}

impl TracesEngine {
    /// Opens blocks and replays the log. Damaged blocks are moved to `quarantine` and counted;
    /// damage in the log is counted. `Err` only where the disk itself fails.
    pub fn open(config: TracesConfig) -> Result<Arc<Self>, TracesError> {
        let disk = config.disk.clone();
        let counters = Counters::default();
        let mut state = State::default();
        if config.mode == OpenMode::ReadWrite {
            disk.create_dir_all(&config.dir)?;
            obs_disk::remove_stale_temporaries(&*disk, &config.dir)?;
        }
        open_blocks(&config, &mut state, &counters)?;
        let now = config.clock.now();
        let mut undecodable = 0u64;
        let mut replay = |record: &[u8]| {
            let spans = match record.split_first() {
                Some((&RECORD_VERSION, batch)) => decode_batch(batch),
                _ => None,
            };
            match spans {
                Some(spans) => {
                    let bytes = record.len() / spans.len().max(1) * 2;
                    for span in spans {
                        state.head.insert(span, bytes + size_of::<SpanRecord>(), now);
                    }
                }
                None => undecodable += 1,
            }
        };
        let (wal, recovery) = match config.mode {
            OpenMode::ReadWrite => {
                let wal =
                    Wal::open(disk.clone(), &config.wal_dir, config.wal.clone(), &mut replay)?;
                let recovery = wal.recovery().clone();
                (Some(wal), recovery)
            }
            OpenMode::ReadOnly => (None, replay_read_only(&*disk, &config.wal_dir, &mut replay)?),
        };
        let lost = recovery.corrupt.len() as u64 + undecodable;
        if lost > 0 {
            tracing::error!(lost, dir = %config.wal_dir.display(), "damaged records in the trace log");
            add(&counters.wal_corrupt, lost);
        }
        Ok(Arc::new(Self {
            config,
            wal,
            gate: RwLock::new(()),
            state: RwLock::new(state),
            maintenance: Mutex::new(()),
            cache: Mutex::default(),
            counters,
        }))
    }

    pub(crate) fn read_state(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn write_state(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        let state = self.read_state();
        state.head.bytes + state.flushing.iter().map(|f| f.head.bytes).sum::<usize>()
    }

    /// Writes the head to a block when it is large or old enough, and heads that failed before.
    /// Call it every minute. `Err` leaves everything readable, and the next call tries again.
    pub fn maintain(&self, now: TimestampMs) -> Result<Maintenance, TracesError> {
        let due = {
            let state = self.read_state();
            let age = state.head.since.map_or(0, |t| now.0.saturating_sub(t.0));
            state.head.bytes >= self.config.limits.head_bytes_max
                || age >= self.config.limits.head_age_max.0
        };
        self.write_heads(due)
    }

    /// Writes the head to a block now.
    pub fn flush(&self) -> Result<Maintenance, TracesError> {
        self.write_heads(true)
    }

    /// Writes what is in memory to a block, so that the next start has nothing to replay. What
    /// fails here is still in the log.
    pub fn shutdown(&self) -> Result<(), TracesError> {
        self.flush().map(drop)
    }

    fn write_heads(&self, swap: bool) -> Result<Maintenance, TracesError> {
        let Some(wal) = &self.wal else { return Ok(Maintenance::default()) };
        let _one = self.maintenance.lock().unwrap_or_else(PoisonError::into_inner);
        if swap && !self.read_state().head.traces.is_empty() {
            let _gate = self.gate.write().unwrap_or_else(PoisonError::into_inner);
            if wal.is_poisoned() {
                wal.recover()?;
            }
            let keep = wal.rotate()?;
            let mut state = self.write_state();
            let head = Arc::new(std::mem::take(&mut state.head));
            state.flushing.push(Flushing { head, keep });
        }
        let mut done = Maintenance::default();
        loop {
            let next = {
                let state = self.read_state();
                state.flushing.first().cloned().map(|f| (f, state.next_block))
            };
            let Some((flushing, number)) = next else { return Ok(done) };
            let path = self.config.dir.join(file_name(number));
            let written = write_block(
                &self.config.disk,
                &path,
                &flushing.head,
                self.config.limits.chunk_spans,
            )
            .and_then(|()| Block::open(&self.config.disk, &path, number));
            let block = match written {
                Ok(block) => block,
                Err(e) => {
                    add(&self.counters.block_write_failures, 1);
                    // The next try takes another number: whether this file exists is not known.
                    self.write_state().next_block += 1;
                    return Err(e);
                }
            };
            done.blocks_written += 1;
            done.spans_written += block.spans;
            add(&self.counters.blocks_written, 1);
            {
                let mut state = self.write_state();
                state.blocks.push(Arc::new(block));
                state.flushing.remove(0);
                state.next_block += 1;
            }
            wal.remove_before(flushing.keep)?;
        }
    }

    /// Removes the blocks whose last span ended before `t`; returns how many. What is newer or not
    /// yet in a block stays.
    pub fn drop_before(&self, t: TimestampNs) -> Result<u64, TracesError> {
        if self.config.mode == OpenMode::ReadOnly {
            return Ok(0);
        }
        let _one = self.maintenance.lock().unwrap_or_else(PoisonError::into_inner);
        let old: Vec<Arc<Block>> = {
            let mut state = self.write_state();
            let (old, keep) = state.blocks.drain(..).partition(|b| b.end < t.0);
            state.blocks = keep;
            old
        };
        for block in &old {
            block.dropped.store(true, Ordering::Release);
            match self.config.disk.remove(&block.path) {
                Ok(()) => {}
                Err(e) if e.is_not_found() => {}
                Err(e) => return Err(e.into()),
            }
            add(&self.counters.blocks_dropped, 1);
        }
        if !old.is_empty() {
            self.config.disk.sync_dir(&self.config.dir)?;
        }
        Ok(old.len() as u64)
    }

    pub fn stats(&self) -> TracesStats {
        let mut stats = TracesStats::default();
        self.counters.fill(&mut stats);
        if let Some(wal) = &self.wal {
            let w = wal.stats();
            (stats.wal_segments, stats.wal_bytes, stats.wal_syncs) = (w.segments, w.bytes, w.syncs);
        }
        let state = self.read_state();
        let mut bounds: Vec<(i64, i64)> = Vec::new();
        for head in state.flushing.iter().map(|f| f.head.as_ref()).chain([&state.head]) {
            stats.head_spans += head.spans as u64;
            stats.head_traces += head.traces.len() as u64;
            stats.head_bytes += head.bytes as u64;
            bounds.extend(head.bounds);
        }
        for block in &state.blocks {
            stats.blocks += 1;
            stats.block_spans += block.spans;
            stats.block_traces += block.traces;
            stats.block_bytes += block.file_len;
            bounds.push((block.start, block.end));
        }
        stats.oldest_ns = bounds.iter().map(|b| b.0).min();
        stats.newest_ns = bounds.iter().map(|b| b.1).max();
        stats
    }

    /// A block's index, or none of it where it is damaged or the block has just been dropped.
    pub(crate) fn index(&self, block: &Block) -> Result<Arc<Vec<IndexEntry>>, TracesError> {
        {
            let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(hit) = touch(&mut cache.indexes, block.number) {
                return Ok(hit);
            }
        }
        // The index is marked by a chunk number that no chunk has.
        let index = match self.readable(block, u32::MAX, Block::read_index)? {
            Some(index) => Arc::new(index),
            None => return Ok(Arc::default()),
        };
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        keep(&mut cache.indexes, block.number, index.clone(), INDEX_CACHE);
        Ok(index)
    }

    /// The spans of one chunk; none where it is damaged or the block has just been dropped.
    pub(crate) fn chunk(
        &self,
        block: &Block,
        chunk: u32,
    ) -> Result<Arc<Vec<SpanRecord>>, TracesError> {
        let key = (block.number, chunk);
        {
            let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(hit) = touch(&mut cache.chunks, key) {
                return Ok(hit);
            }
        }
        let spans = match self.readable(block, chunk, |b| b.read_chunk(chunk))? {
            Some(spans) => Arc::new(spans),
            None => return Ok(Arc::default()),
        };
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        keep(&mut cache.chunks, key, spans.clone(), self.config.limits.chunk_cache);
        Ok(spans)
    }

    /// Damage is counted and reported once, and then left out of every answer: the rest of the
    /// block stays readable.
    fn readable<T>(
        &self,
        block: &Block,
        chunk: u32,
        read: impl FnOnce(&Block) -> Result<T, TracesError>,
    ) -> Result<Option<T>, TracesError> {
        if block.is_damaged(chunk) {
            return Ok(None);
        }
        match read(block) {
            Ok(value) => Ok(Some(value)),
            Err(_) if block.is_dropped() => Ok(None),
            Err(e) if e.is_corrupt() => {
                if block.mark_damaged(chunk) {
                    add(&self.counters.chunks_corrupt, 1);
                    tracing::error!(error = %e, "part of a trace block is lost");
                }
                Ok(None)
            }
            Err(e) => Err(e),
        }
    }

    /// Every stored copy of the trace's spans, unmerged.
    pub(crate) fn pieces(&self, id: TraceId) -> Result<Vec<SpanRecord>, TracesError> {
        let mut spans = Vec::new();
        let blocks: Vec<Arc<Block>> = {
            let state = self.read_state();
            for head in state.flushing.iter().map(|f| f.head.as_ref()).chain([&state.head]) {
                spans.extend(head.traces.get(&id).into_iter().flat_map(|t| t.spans.clone()));
            }
            state.blocks.iter().filter(|b| b.may_contain(id)).cloned().collect()
        };
        for block in blocks {
            let index = self.index(&block)?;
            let Ok(at) = index.binary_search_by_key(&id, |e| e.id) else { continue };
            let Some(entry) = index.get(at) else { continue };
            let chunk = self.chunk(&block, entry.chunk)?;
            spans.extend(chunk.iter().filter(|s| s.span.trace_id == id).cloned());
        }
        Ok(spans)
    }
}

fn touch<K: PartialEq + Copy, V: Clone>(cache: &mut VecDeque<(K, V)>, key: K) -> Option<V> {
    let at = cache.iter().position(|(k, _)| *k == key)?;
    let entry = cache.remove(at)?;
    let value = entry.1.clone();
    cache.push_back(entry);
    Some(value)
}

fn keep<K, V>(cache: &mut VecDeque<(K, V)>, key: K, value: V, max: usize) {
    cache.push_back((key, value));
    while cache.len() > max {
        cache.pop_front();
    }
}

fn open_blocks(
    config: &TracesConfig,
    state: &mut State,
    counters: &Counters,
) -> Result<(), TracesError> {
    let disk = &config.disk;
    let quarantine = config.dir.join(QUARANTINE);
    for dir in [&config.dir, &quarantine] {
        for entry in disk.list(dir)? {
            if let Some(number) = number_of(&entry.name) {
                state.next_block = state.next_block.max(number + 1);
            }
        }
    }
    let mut names: Vec<(u64, PathBuf)> = disk
        .list(&config.dir)?
        .into_iter()
        .filter_map(|e| Some((number_of(&e.name)?, config.dir.join(&e.name))))
        .collect();
    names.sort();
    for (number, path) in names {
        match Block::open(disk, &path, number) {
            Ok(block) => state.blocks.push(Arc::new(block)),
            Err(e) if e.is_corrupt() => {
                tracing::error!(error = %e, "trace block moved to quarantine");
                add(&counters.blocks_corrupt, 1);
                if config.mode == OpenMode::ReadWrite {
                    disk.create_dir_all(&quarantine)?;
                    disk.rename(&path, &quarantine.join(file_name(number)))?;
                    disk.sync_dir(&quarantine)?;
                    disk.sync_dir(&config.dir)?;
                }
            }
            Err(e) => return Err(e),
        }
    }
    Ok(())
}
