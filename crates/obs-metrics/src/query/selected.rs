//! The answer to a selection: series found in head and blocks, decoded one by one.

use std::iter::once;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use obs_types::{
    LabelSet, MemoryTracker, NEWEST_SAMPLE, QueryContext, SeriesData, SeriesSelect, SeriesStream,
    SourceError, TimeRangeMs,
};

use super::Held;
use crate::block::{Block, BlockCursor, BlockIndex};
use crate::engine::MetricsEngine;
use crate::series::Snapshot;
use crate::tombstones::Tombstones;
use crate::{lock, read, starts};

/// Some samples of one series.
#[derive(Debug)]
struct Found {
    labels: LabelSet,
    place: Place,
}

/// Where they lie.
#[derive(Debug)]
enum Place {
    /// Position in the cursor list and of the series in the block.
    Block(usize, u32),
    Head(Snapshot),
    /// All that is wanted of the series.
    Newest {
        t: i64,
        v: f64,
        start: i64,
    },
}

/// The answer of `select`: decodes one series per step.
struct Selected<'a> {
    /// By label set; of one series, blocks from the oldest on, then the head.
    found: std::iter::Peekable<std::vec::IntoIter<Found>>,
    cursors: Vec<BlockCursor>,
    range: TimeRangeMs,
    tombstones: Arc<Tombstones>,
    context: QueryContext,
    corrupt: &'a AtomicU64,
    /// Only the newest sample of a series is wanted; `older` is scratch for what else it has.
    newest: bool,
    older: Vec<Place>,
    /// Shared by the parts of one answer.
    _held: Arc<HeldMemory>,
}

/// Below this a part is read in less time than a thread takes to start.
const PART_SERIES_MIN: usize = 64;
/// The same where nothing is decoded.
const PART_NEWEST_MIN: usize = 256;

/// Gives memory back to the query when the answer is dropped.
pub(crate) struct HeldMemory {
    memory: MemoryTracker,
    bytes: usize,
}

impl HeldMemory {
    pub(crate) fn new(context: &QueryContext) -> Self {
        Self { memory: context.memory.clone(), bytes: 0 }
    }

    pub(crate) fn grow(&mut self, bytes: usize) -> Result<(), SourceError> {
        self.memory.grow(bytes)?;
        self.bytes += bytes;
        Ok(())
    }
}

impl Drop for HeldMemory {
    fn drop(&mut self) {
        self.memory.shrink(self.bytes);
    }
}

impl Iterator for Selected<'_> {
    type Item = Result<SeriesData, SourceError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let first = self.found.next()?;
            match self.load(first) {
                Ok(data) if data.sample_count() == 0 => {}
                other => return Some(other),
            }
        }
    }
}

impl Selected<'_> {
    /// The series of `first`, with what else was found of it.
    fn load(&mut self, first: Found) -> Result<SeriesData, SourceError> {
        self.context.check()?;
        let Found { labels, mut place } = first;
        let mut data = SeriesData { labels, ..SeriesData::default() };
        if self.newest {
            // The head comes last; what blocks hold is older.
            while let Some(next) = self.found.next_if(|next| next.labels == data.labels) {
                self.older.push(std::mem::replace(&mut place, next.place));
            }
            if let Place::Newest { .. } = place {
                self.older.clear();
                self.read(place, &mut data)?;
                self.tombstones.apply(&mut data);
                return Ok(data);
            }
        }
        let older = std::mem::take(&mut self.older);
        for place in older {
            self.read(place, &mut data)?;
        }
        loop {
            self.read(place, &mut data)?;
            match self.found.next_if(|next| next.labels == data.labels) {
                Some(next) => place = next.place,
                None => break,
            }
        }
        data.normalise();
        self.tombstones.apply(&mut data);
        // Told for a moment: from here on the reader accounts for what it keeps.
        let bytes = data.sample_count() * 16;
        self.context.memory.grow(bytes)?;
        self.context.memory.shrink(bytes);
        Ok(data)
    }

    fn read(&mut self, place: Place, data: &mut SeriesData) -> Result<(), SourceError> {
        let end = self.range.end.0;
        match place {
            Place::Head(snapshot) => snapshot.decode(self.range.start.0, end, data),
            Place::Newest { t, v, start } => {
                starts::add(&mut data.start_timestamps, data.timestamps.len(), 1, once(start));
                data.timestamps.push(t);
                data.values.push(v);
            }
            Place::Block(at, position) => {
                let start = self.range.start.0.max(self.tombstones.floor());
                if let Some(cursor) = self.cursors.get_mut(at) {
                    cursor.read(position, start, end, data, self.corrupt)?;
                }
            }
        }
        Ok(())
    }
}

impl MetricsEngine {
    /// As [`obs_types::SeriesSource::select_parts`].
    pub(super) fn selected_parts<'a>(
        &'a self,
        select: &SeriesSelect<'_>,
        context: &QueryContext,
        parts_max: usize,
        which: Held,
    ) -> Result<Vec<SeriesStream<'a>>, SourceError> {
        let range = select.range;
        if range.is_empty() {
            return Ok(Vec::new());
        }
        let mut held = HeldMemory::new(context);
        // The head first: what a flush moves meanwhile is then found twice, not never.
        let mut in_head = Vec::new();
        let newest = select.function == Some(NEWEST_SAMPLE);
        for series in self.head.select(select.matchers) {
            context.check()?;
            let state = lock(&series.state);
            if newest && let Some((t, v, start)) = state.newest(range.start.0, range.end.0) {
                drop(state);
                let labels = self.head.labels(&series);
                held.grow(labels.as_bytes().len() + size_of::<Found>())?;
                let place = Place::Newest { t, v, start };
                in_head.push(Found { labels, place });
                continue;
            }
            let snapshot = state.snapshot(range.start.0, range.end.0);
            drop(state);
            if !snapshot.is_empty() {
                let labels = self.head.labels(&series);
                let bytes = snapshot.byte_len() + labels.as_bytes().len();
                held.grow(bytes + size_of::<Found>())?;
                let place = Place::Head(snapshot);
                in_head.push(Found { labels, place });
            }
        }
        let corrupt = &self.counters.sections_corrupt;
        let mut blocks = Vec::new();
        let mut found = Vec::new();
        for block in self.blocks_in(range, which) {
            context.check()?;
            let index = self.index_cache.get(&block, corrupt)?;
            for position in index.index.select(select.matchers) {
                let Some(labels) = index.labels(position) else { continue };
                held.grow(labels.as_bytes().len() + size_of::<Found>())?;
                found.push(Found { labels, place: Place::Block(blocks.len(), position) });
            }
            blocks.push((block, index));
        }
        found.append(&mut in_head);
        // Stable, and quick where it is sorted already, as in each block.
        found.sort_by(|a, b| a.labels.cmp(&b.labels));
        // Whoever reads everything (a seal, an export) asks for no metric.
        if !select.matchers.is_empty() {
            let mut names: Vec<&str> = found.iter().map(|f| f.labels.metric_name()).collect();
            names.dedup();
            names.sort_unstable();
            names.dedup();
            self.usage.note(names.into_iter(), self.config.clock.now());
        }
        let (held, tombstones) = (Arc::new(held), Arc::clone(&read(&self.tombstones)));
        let part = |found: Vec<Found>| -> SeriesStream<'a> {
            let cursor = |(block, index): &(Arc<Block>, Arc<BlockIndex>)| {
                BlockCursor::new(Arc::clone(block), Arc::clone(index), &self.section_cache)
            };
            Box::new(Selected {
                found: found.into_iter().peekable(),
                cursors: blocks.iter().map(cursor).collect(),
                range,
                tombstones: Arc::clone(&tombstones),
                context: context.clone(),
                corrupt,
                newest,
                older: Vec::new(),
                _held: Arc::clone(&held),
            })
        };
        let least = if newest { PART_NEWEST_MIN } else { PART_SERIES_MIN };
        let parts = parts_max.min(found.len() / least).max(1);
        let size = found.len().div_ceil(parts);
        let mut out = Vec::with_capacity(parts);
        for _ in 1..parts {
            // What was found of one series stays together.
            let mut at = size.min(found.len());
            while at < found.len() && found[at].labels == found[at - 1].labels {
                at += 1;
            }
            let rest = found.split_off(at);
            out.push(part(std::mem::replace(&mut found, rest)));
        }
        out.push(part(found));
        Ok(out)
    }
}
