//! Reading series of a block.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use obs_disk::DiskError;
use obs_disk::bytes::Reader;
use obs_types::{LabelSet, SeriesData};

use crate::block::index::Scan;
use crate::block::{
    Block, BlockIndex, ChunkKind, ChunkRef, Place, SectionCache, Stream, TimeColumn,
};
use crate::codec::get_times;
use crate::histogram::get_histogram;
use crate::pack::get_column;
use crate::starts::Runs;

/// Decoded time columns that are kept: series of one scrape share them.
const COLUMNS_MAX: usize = 1_024;

/// Reads series of one block. Keeps the last section of each stream; others come from the cache.
#[derive(Debug)]
pub(crate) struct BlockCursor {
    sections: Sections,
    pub(crate) index: Arc<BlockIndex>,
}

/// The data sections of one block.
#[derive(Debug)]
pub(super) struct Sections {
    block: Arc<Block>,
    cache: Option<Arc<SectionCache>>,
    times: Option<(u32, Arc<[u8]>)>,
    values: Option<(u32, Arc<[u8]>)>,
    noise: Option<(u32, Arc<[u8]>)>,
    columns: HashMap<u32, Arc<[i64]>>,
}

impl BlockCursor {
    pub(crate) fn new(
        block: Arc<Block>,
        index: Arc<BlockIndex>,
        cache: &Arc<SectionCache>,
    ) -> Self {
        Self { sections: Sections::new(block, Some(Arc::clone(cache))), index }
    }

    /// Appends the samples of `[start, end)`. Damaged chunks are left out (and counted).
    pub(crate) fn read(
        &mut self,
        position: u32,
        start: i64,
        end: i64,
        out: &mut SeriesData,
        corrupt: &AtomicU64,
    ) -> Result<(), DiskError> {
        let index = Arc::clone(&self.index);
        let chunks = index.chunks(position);
        self.sections.read(&index.columns, chunks, start, end, out, corrupt)
    }

    /// The columns of the series, one per chunk; `None` if one of them is damaged.
    pub(crate) fn columns(
        &mut self,
        position: u32,
        corrupt: &AtomicU64,
    ) -> Result<Option<Vec<SeriesData>>, DiskError> {
        let index = Arc::clone(&self.index);
        self.sections.each_chunk(&index.columns, index.chunks(position), corrupt)
    }

    /// Whether the series has a sample in `[start, end)`.
    pub(crate) fn has_samples(
        &mut self,
        position: u32,
        start: i64,
        end: i64,
        corrupt: &AtomicU64,
    ) -> Result<bool, DiskError> {
        let index = Arc::clone(&self.index);
        for c in index.chunks(position) {
            let Some(column) = index.columns.get(c.column as usize) else { continue };
            if column.min_t >= end || start > column.max_t {
                continue;
            }
            // A chunk that overlaps and has an end inside has that sample inside.
            if start <= column.min_t || column.max_t < end {
                return Ok(true);
            }
            let times = self.sections.times(c.column, column, corrupt)?;
            if times.is_some_and(|t| t.iter().any(|t| start <= *t && *t < end)) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// Goes once through all series of a block, in the order of their label sets.
#[derive(Debug)]
pub(crate) struct BlockScan {
    scan: Scan,
    sections: Sections,
}

impl BlockScan {
    pub(crate) fn new(block: Arc<Block>, corrupt: &AtomicU64) -> Result<Self, DiskError> {
        let bad = || DiskError::corrupt(block.path(), 0, "the index does not decode");
        let raw = block.raw_index(corrupt)?.ok_or_else(bad)?;
        let scan = Scan::new(raw).ok_or_else(bad)?;
        Ok(Self { scan, sections: Sections::new(block, None) })
    }

    /// The label set of the next series; `None` at the end.
    pub(crate) fn next(&mut self) -> Result<Option<LabelSet>, DiskError> {
        let path = self.sections.block.path();
        self.scan.next().ok_or_else(|| DiskError::corrupt(path, 0, "the index does not decode"))
    }

    /// Appends the samples of `[start, end)` of the series that `next` gave last.
    pub(crate) fn read(
        &mut self,
        (start, end): (i64, i64),
        out: &mut SeriesData,
        corrupt: &AtomicU64,
    ) -> Result<(), DiskError> {
        let (columns, chunks) = (&self.scan.columns, &self.scan.chunks);
        self.sections.read(columns, chunks, start, end, out, corrupt)
    }

    /// The columns of that series, one per chunk; `None` if one of them is damaged.
    pub(crate) fn columns(
        &mut self,
        corrupt: &AtomicU64,
    ) -> Result<Option<Vec<SeriesData>>, DiskError> {
        self.sections.each_chunk(&self.scan.columns, &self.scan.chunks, corrupt)
    }
}

/// Goes once through the series of several blocks, in the order of their label sets.
#[derive(Debug)]
pub(crate) struct SeriesWalk {
    scans: Vec<BlockScan>,
    /// What each block has next; of one series, the block that was listed first comes first.
    next: BTreeSet<(LabelSet, usize)>,
}

impl SeriesWalk {
    pub(crate) fn new(parts: &[Arc<Block>], corrupt: &AtomicU64) -> Result<Self, DiskError> {
        let mut out = Self { scans: Vec::with_capacity(parts.len()), next: BTreeSet::new() };
        for (at, part) in parts.iter().enumerate() {
            let mut scan = BlockScan::new(Arc::clone(part), corrupt)?;
            out.next.extend(scan.next()?.map(|labels| (labels, at)));
            out.scans.push(scan);
        }
        Ok(out)
    }

    /// The next label set, `None` at the end. Before that, `each` gets the position of every block
    /// that holds it, and the block's scan, which stands there.
    pub(crate) fn next(
        &mut self,
        mut each: impl FnMut(&LabelSet, usize, &mut BlockScan) -> Result<(), DiskError>,
    ) -> Result<Option<LabelSet>, DiskError> {
        let Some((labels, _)) = self.next.first().cloned() else { return Ok(None) };
        while let Some((same, at)) = self.next.pop_first() {
            if same != labels {
                self.next.insert((same, at));
                break;
            }
            if let Some(scan) = self.scans.get_mut(at) {
                each(&labels, at, scan)?;
                self.next.extend(scan.next()?.map(|labels| (labels, at)));
            }
        }
        Ok(Some(labels))
    }
}

impl Sections {
    pub(super) fn new(block: Arc<Block>, cache: Option<Arc<SectionCache>>) -> Self {
        let columns = HashMap::new();
        Self { block, cache, times: None, values: None, noise: None, columns }
    }

    pub(super) fn read(
        &mut self,
        columns: &[TimeColumn],
        chunks: &[ChunkRef],
        start: i64,
        end: i64,
        out: &mut SeriesData,
        corrupt: &AtomicU64,
    ) -> Result<(), DiskError> {
        for c in chunks {
            let Some(column) = columns.get(c.column as usize) else { continue };
            if column.min_t >= end || start > column.max_t {
                continue;
            }
            let Some(times) = self.times(c.column, column, corrupt)? else { continue };
            let Some(values) = self.bytes(Stream::Values, c.values, corrupt)? else { continue };
            let noise = if c.noise.len > 0 {
                let Some(noise) = self.bytes(Stream::Noise, c.noise, corrupt)? else { continue };
                Some(noise)
            } else {
                None
            };
            let mut r = Reader::new(slice(&values, c.values));
            let starts = if c.started { Runs::get(&mut r, times.len()) } else { None };
            if c.started && starts.is_none() {
                self.mark(Stream::Values, c.values, corrupt);
                continue;
            }
            let starts = starts.unwrap_or_default();
            let from = times.partition_point(|t| *t < start);
            let to = times.partition_point(|t| *t < end);
            let Some(inside) = times.get(from..to) else { continue };
            match c.kind {
                ChunkKind::Float => {
                    let noise = noise.as_deref().map_or(&[][..], |n| slice(n, c.noise));
                    let all = get_column(r.rest, noise, times.len());
                    let Some(all) = all.as_ref().and_then(|all| all.get(from..to)) else {
                        self.mark(Stream::Values, c.values, corrupt);
                        continue;
                    };
                    let before = out.timestamps.len();
                    starts.extend(&mut out.start_timestamps, before, from, inside.len());
                    out.timestamps.extend_from_slice(inside);
                    out.values.extend_from_slice(all);
                }
                ChunkKind::Histogram => {
                    let before = out.histograms.timestamps.len();
                    for (at, t) in times.iter().enumerate() {
                        let Some(h) = get_histogram(&mut r) else {
                            self.mark(Stream::Values, c.values, corrupt);
                            break;
                        };
                        if (from..to).contains(&at) {
                            out.histograms.timestamps.push(*t);
                            out.histograms.values.push(Arc::new(h));
                        }
                    }
                    let h = &mut out.histograms;
                    let count = h.timestamps.len() - before;
                    starts.extend(&mut h.start_timestamps, before, from, count);
                }
            }
        }
        Ok(())
    }

    /// Chunk by chunk; `None` if one of them is damaged.
    fn each_chunk(
        &mut self,
        columns: &[TimeColumn],
        chunks: &[ChunkRef],
        corrupt: &AtomicU64,
    ) -> Result<Option<Vec<SeriesData>>, DiskError> {
        let mut out = Vec::with_capacity(chunks.len());
        for chunk in chunks {
            let mut data = SeriesData::default();
            let one = std::slice::from_ref(chunk);
            self.read(columns, one, i64::MIN, i64::MAX, &mut data, corrupt)?;
            let count = columns.get(chunk.column as usize).map_or(0, |c| c.count);
            if data.sample_count() != count as usize {
                return Ok(None);
            }
            out.push(data);
        }
        Ok(Some(out))
    }

    /// The times of a column; `None` if they are damaged.
    fn times(
        &mut self,
        number: u32,
        column: &TimeColumn,
        corrupt: &AtomicU64,
    ) -> Result<Option<Arc<[i64]>>, DiskError> {
        if let Some(known) = self.columns.get(&number) {
            return Ok(Some(Arc::clone(known)));
        }
        let Some(bytes) = self.bytes(Stream::Times, column.place, corrupt)? else {
            return Ok(None);
        };
        let Some(times) = get_times(slice(&bytes, column.place), column.count as usize) else {
            self.mark(Stream::Times, column.place, corrupt);
            return Ok(None);
        };
        let times: Arc<[i64]> = Arc::from(times);
        if self.columns.len() >= COLUMNS_MAX {
            self.columns.clear();
        }
        self.columns.insert(number, Arc::clone(&times));
        Ok(Some(times))
    }

    /// The unpacked section that holds the place; `None` if it is damaged.
    fn bytes(
        &mut self,
        stream: Stream,
        place: Place,
        corrupt: &AtomicU64,
    ) -> Result<Option<Arc<[u8]>>, DiskError> {
        let held = match stream {
            Stream::Times => &mut self.times,
            Stream::Values => &mut self.values,
            Stream::Noise => &mut self.noise,
        };
        if let Some((_, bytes)) = held.as_ref().filter(|(n, _)| *n == place.section) {
            return Ok(Some(Arc::clone(bytes)));
        }
        let key = (self.block.uid, stream, place.section);
        let cached = self.cache.as_ref().and_then(|c| c.get(key));
        let bytes = match cached {
            Some(bytes) => bytes,
            None => {
                let name = stream.section(place.section);
                let Some(bytes) = self.block.section(&name, corrupt)? else { return Ok(None) };
                let bytes: Arc<[u8]> = Arc::from(bytes);
                if let Some(cache) = &self.cache {
                    cache.put(key, Arc::clone(&bytes));
                }
                bytes
            }
        };
        *held = Some((place.section, Arc::clone(&bytes)));
        Ok(Some(bytes))
    }

    fn mark(&self, stream: Stream, place: Place, corrupt: &AtomicU64) {
        self.block.mark_bad(&stream.section(place.section), "column does not decode", corrupt);
    }
}

/// Empty where a damaged index points behind the section: nothing decodes from that.
fn slice(bytes: &[u8], place: Place) -> &[u8] {
    let (from, len) = (place.offset as usize, place.len as usize);
    bytes.get(from..from.saturating_add(len)).unwrap_or_default()
}
