//! Hour blocks: all series with samples in one hour, immutable, sorted by label set.
//! Drawing: `docs/format/metrics-block.md`.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use obs_disk::{BlockReader, BlockWriter, Codec, Disk, DiskError};
use obs_types::{LabelSet, SeriesData};

use crate::codec::{get_times, get_values, put_values, times_key};
use crate::histogram::{get_histogram, put_histogram};
use crate::index::Index;
use crate::{HOUR_MS, lock};
use obs_disk::bytes::{Reader, put_bytes, put_f64, put_i64, put_u64};

const KIND: [u8; 4] = *b"METR";
const KIND_VERSION: u16 = 1;
/// Unpacked bytes after which a data section is closed: what one random read has to unpack.
const SECTION_BYTES: usize = 256 << 10;
const PACK: Codec = Codec::Zstd(3);

/// What a block says about itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Meta {
    /// Hours since the epoch.
    pub(crate) hour: i64,
    /// The flush that wrote it: it holds every sample of its hour that was logged before.
    pub(crate) flush: u64,
    /// How often blocks were merged into it.
    pub(crate) generation: u64,
    pub(crate) min_t: i64,
    pub(crate) max_t: i64,
    pub(crate) series: u64,
    pub(crate) samples: u64,
}

impl Meta {
    pub(crate) fn file_name(&self) -> String {
        format!("{}_{}_{}.blk", self.hour, self.flush, self.generation)
    }

    /// Whether a file is named like a block.
    pub(crate) fn names(file: &str) -> bool {
        let Some(stem) = file.strip_suffix(".blk") else { return false };
        let mut parts = stem.split('_');
        let hour = parts.next().is_some_and(|p| p.parse::<i64>().is_ok());
        hour && parts.by_ref().filter(|p| p.parse::<u64>().is_ok()).count() == 2
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ChunkKind {
    Float,
    Histogram,
}

/// Where bytes lie: section number, offset and length in the unpacked section.
#[derive(Clone, Copy, Debug)]
struct Place {
    section: u64,
    offset: usize,
    len: usize,
}

/// One run of samples of one series. The aggregates leave NaN values out, except that a run of
/// nothing else has NaN aggregates.
#[derive(Clone, Copy, Debug)]
struct ChunkRef {
    kind: ChunkKind,
    count: usize,
    min_t: i64,
    max_t: i64,
    times: Place,
    values: Place,
}

/// A stream of sections `<prefix>0`, `<prefix>1`, … each closed when it is large enough.
#[derive(Debug)]
struct SectionStream {
    prefix: char,
    number: u64,
    buffer: Vec<u8>,
}

impl SectionStream {
    fn new(prefix: char) -> Self {
        Self { prefix, number: 0, buffer: Vec::new() }
    }

    fn put(&mut self, bytes: &[u8]) -> Place {
        let offset = self.buffer.len();
        self.buffer.extend_from_slice(bytes);
        Place { section: self.number, offset, len: bytes.len() }
    }

    fn close(&mut self, writer: &mut BlockWriter) -> Result<(), DiskError> {
        if !self.buffer.is_empty() {
            writer.section(&format!("{}{}", self.prefix, self.number), &self.buffer, PACK)?;
            self.buffer.clear();
            self.number += 1;
        }
        Ok(())
    }
}

/// Writes a block; series must come in the order of their label sets.
#[derive(Debug)]
pub(crate) struct BlockBuilder {
    writer: BlockWriter,
    meta: Meta,
    times: SectionStream,
    values: SectionStream,
    /// Time columns of the open times section, so that series of one scrape share one.
    known_times: HashMap<Vec<u8>, Place>,
    symbols: HashMap<Box<str>, u64>,
    symbol_bytes: Vec<u8>,
    series: Vec<u8>,
    chunks: Vec<u8>,
}

impl BlockBuilder {
    pub(crate) fn create(
        disk: Arc<dyn Disk>,
        dir: &Path,
        hour: i64,
        flush: u64,
        generation: u64,
    ) -> Result<Self, DiskError> {
        let meta =
            Meta { hour, flush, generation, min_t: i64::MAX, max_t: i64::MIN, ..Meta::default() };
        let writer = BlockWriter::create(disk, &dir.join(meta.file_name()), KIND, KIND_VERSION)?;
        Ok(Self {
            writer,
            meta,
            times: SectionStream::new('t'),
            values: SectionStream::new('d'),
            known_times: HashMap::new(),
            symbols: HashMap::new(),
            symbol_bytes: Vec::new(),
            series: Vec::new(),
            chunks: Vec::new(),
        })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.meta.series == 0
    }

    pub(crate) fn add(&mut self, data: &SeriesData) -> Result<(), DiskError> {
        let floats = !data.timestamps.is_empty();
        let histograms = !data.histograms.timestamps.is_empty();
        if !floats && !histograms {
            return Ok(());
        }
        put_u64(&mut self.series, data.labels.len() as u64);
        for (name, value) in data.labels.iter() {
            for text in [name, value] {
                let number = self.symbol(text);
                put_u64(&mut self.series, number);
            }
        }
        put_u64(&mut self.chunks, u64::from(floats) + u64::from(histograms));
        if floats {
            let mut bytes = Vec::new();
            put_values(&mut bytes, &data.values);
            let values = self.values.put(&bytes);
            self.chunk(ChunkKind::Float, &data.timestamps, values)?;
            let (mut min, mut max, mut sum) = (f64::NAN, f64::NAN, f64::NAN);
            for v in data.values.iter().filter(|v| !v.is_nan()) {
                (min, max) = (min.min(*v), max.max(*v));
                sum = if sum.is_nan() { *v } else { sum + v };
            }
            for v in [min, max, sum] {
                put_f64(&mut self.chunks, v);
            }
        }
        if histograms {
            let mut bytes = Vec::new();
            for h in &data.histograms.values {
                put_histogram(&mut bytes, h);
            }
            let values = self.values.put(&bytes);
            self.chunk(ChunkKind::Histogram, &data.histograms.timestamps, values)?;
        }
        self.meta.series += 1;
        self.meta.samples += data.sample_count() as u64;
        if self.values.buffer.len() >= SECTION_BYTES {
            self.values.close(&mut self.writer)?;
        }
        Ok(())
    }

    fn chunk(&mut self, kind: ChunkKind, times: &[i64], values: Place) -> Result<(), DiskError> {
        let (Some(&min_t), Some(&max_t)) = (times.first(), times.last()) else { return Ok(()) };
        self.meta.min_t = self.meta.min_t.min(min_t);
        self.meta.max_t = self.meta.max_t.max(max_t);
        let key = times_key(times);
        let place = match self.known_times.get(&key) {
            Some(place) => *place,
            None => {
                if self.times.buffer.len() >= SECTION_BYTES {
                    self.times.close(&mut self.writer)?;
                    self.known_times.clear();
                }
                let place = self.times.put(&key);
                self.known_times.insert(key, place);
                place
            }
        };
        let out = &mut self.chunks;
        out.push(match kind {
            ChunkKind::Float => 0,
            ChunkKind::Histogram => 1,
        });
        put_u64(out, times.len() as u64);
        put_i64(out, min_t.wrapping_sub(self.meta.hour.wrapping_mul(HOUR_MS)));
        put_u64(out, max_t.wrapping_sub(min_t) as u64);
        for p in [place, values] {
            put_u64(out, p.section);
            put_u64(out, p.offset as u64);
            put_u64(out, p.len as u64);
        }
        Ok(())
    }

    fn symbol(&mut self, text: &str) -> u64 {
        if let Some(number) = self.symbols.get(text) {
            return *number;
        }
        let number = self.symbols.len() as u64;
        self.symbols.insert(text.into(), number);
        put_bytes(&mut self.symbol_bytes, text.as_bytes());
        number
    }

    /// Makes the block durable under its name.
    pub(crate) fn finish(mut self) -> Result<Meta, DiskError> {
        self.times.close(&mut self.writer)?;
        self.values.close(&mut self.writer)?;
        self.writer.section("symbols", &self.symbol_bytes, PACK)?;
        self.writer.section("series", &self.series, PACK)?;
        self.writer.section("chunks", &self.chunks, PACK)?;
        let m = self.meta;
        let mut meta = Vec::new();
        for v in [m.hour, m.min_t, m.max_t] {
            put_i64(&mut meta, v);
        }
        for v in [m.flush, m.generation, m.series, m.samples] {
            put_u64(&mut meta, v);
        }
        self.writer.section("meta", &meta, Codec::Raw)?;
        self.writer.finish()?;
        Ok(m)
    }
}

/// A block on disk. Its index is loaded when it is asked for.
#[derive(Debug)]
pub(crate) struct Block {
    /// Unique in this process.
    pub(crate) uid: u64,
    pub(crate) meta: Meta,
    reader: BlockReader,
    /// Sections that do not read; they are not tried (nor counted) again.
    bad: Mutex<BTreeSet<String>>,
}

/// The labels, postings and chunk places of a block, in memory.
#[derive(Debug)]
pub(crate) struct BlockIndex {
    pub(crate) labels: Vec<LabelSet>,
    pub(crate) index: Index,
    chunks: Vec<Vec<ChunkRef>>,
    pub(crate) bytes: usize,
}

static NEXT_UID: AtomicU64 = AtomicU64::new(0);

impl Block {
    pub(crate) fn open(disk: Arc<dyn Disk>, path: &Path) -> Result<Self, DiskError> {
        let reader = BlockReader::open(disk, path, KIND)?;
        if reader.kind_version() > KIND_VERSION {
            let (found, known) = (u32::from(reader.kind_version()), u32::from(KIND_VERSION));
            return Err(DiskError::UnsupportedVersion { path: path.to_owned(), found, known });
        }
        let bytes = reader.section("meta")?;
        let mut r = Reader::new(&bytes);
        let mut parse = || {
            let (hour, min_t, max_t) = (r.i64()?, r.i64()?, r.i64()?);
            let (flush, generation, series, samples) = (r.u64()?, r.u64()?, r.u64()?, r.u64()?);
            Some(Meta { hour, flush, generation, min_t, max_t, series, samples })
        };
        let meta = parse().ok_or_else(|| DiskError::corrupt(path, 0, "meta does not decode"))?;
        let uid = NEXT_UID.fetch_add(1, Ordering::Relaxed);
        Ok(Self { uid, meta, reader, bad: Mutex::default() })
    }

    pub(crate) fn path(&self) -> &Path {
        self.reader.path()
    }

    pub(crate) fn file_len(&self) -> u64 {
        self.reader.file_len()
    }

    pub(crate) fn is_damaged(&self) -> bool {
        !lock(&self.bad).is_empty()
    }

    /// Reads and checks every section; a damaged block is known as such from then on.
    pub(crate) fn verify(&self, corrupt: &AtomicU64) -> Result<(), DiskError> {
        for info in self.reader.sections() {
            if let Err(e) = self.reader.read_section(info) {
                if e.is_corrupt() {
                    self.mark_bad(&info.name, &e.to_string(), corrupt);
                }
                return Err(e);
            }
        }
        Ok(())
    }

    /// `None` if the section is damaged; `corrupt` counts it when that is found out. Errors other
    /// than damage (no memory, no file) are errors.
    fn section(&self, name: &str, corrupt: &AtomicU64) -> Result<Option<Vec<u8>>, DiskError> {
        if lock(&self.bad).contains(name) {
            return Ok(None);
        }
        match self.reader.section(name) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(e) if e.is_corrupt() => {
                self.mark_bad(name, &e.to_string(), corrupt);
                Ok(None)
            }
            Err(e) => Err(e),
        }
    }

    fn mark_bad(&self, name: &str, why: &str, corrupt: &AtomicU64) {
        if lock(&self.bad).insert(name.to_owned()) {
            corrupt.fetch_add(1, Ordering::Relaxed);
            tracing::error!(block = %self.path().display(), section = name, why, "damaged section");
        }
    }

    /// An empty index if the block's own index is damaged.
    pub(crate) fn load_index(&self, corrupt: &AtomicU64) -> Result<BlockIndex, DiskError> {
        let mut parts = Vec::new();
        for name in ["symbols", "series", "chunks"] {
            parts.push(self.section(name, corrupt)?.unwrap_or_default());
        }
        if self.is_damaged_index() {
            return Ok(BlockIndex::empty());
        }
        let [symbols, series, chunks] = parts.as_slice() else { return Ok(BlockIndex::empty()) };
        Ok(BlockIndex::parse(&self.meta, symbols, series, chunks).unwrap_or_else(|| {
            self.mark_bad("series", "index does not decode", corrupt);
            BlockIndex::empty()
        }))
    }

    fn is_damaged_index(&self) -> bool {
        let bad = lock(&self.bad);
        ["symbols", "series", "chunks"].iter().any(|n| bad.contains(*n))
    }
}

impl BlockIndex {
    fn empty() -> Self {
        Self { labels: Vec::new(), index: Index::default(), chunks: Vec::new(), bytes: 0 }
    }

    fn parse(meta: &Meta, symbols: &[u8], series: &[u8], chunks: &[u8]) -> Option<Self> {
        let mut r = Reader::new(symbols);
        let mut names: Vec<&str> = Vec::new();
        while !r.rest.is_empty() {
            names.push(r.str()?);
        }
        let symbol = |r: &mut Reader<'_>| names.get(usize::try_from(r.u64()?).ok()?).copied();
        let mut out = Self::empty();
        let (mut s, mut c) = (Reader::new(series), Reader::new(chunks));
        let mut raw = Vec::new();
        while !s.rest.is_empty() {
            raw.clear();
            for _ in 0..s.count()? {
                for _ in 0..2 {
                    let text = symbol(&mut s)?;
                    raw.extend_from_slice(&u32::try_from(text.len()).ok()?.to_le_bytes());
                    raw.extend_from_slice(text.as_bytes());
                }
            }
            let labels = LabelSet::from_bytes(&raw)?;
            out.index.insert(u32::try_from(out.labels.len()).ok()?, &labels);
            // Label bytes, postings entries, map and vector overhead.
            out.bytes += raw.len() + 200;
            out.labels.push(labels);
            let mut list = Vec::new();
            for _ in 0..c.count()? {
                list.push(read_chunk(&mut c, meta)?);
            }
            out.bytes += list.len() * size_of::<ChunkRef>();
            out.chunks.push(list);
        }
        (c.rest.is_empty() && out.labels.len() as u64 == meta.series).then_some(out)
    }
}

fn read_chunk(c: &mut Reader<'_>, meta: &Meta) -> Option<ChunkRef> {
    let kind = match c.byte()? {
        0 => ChunkKind::Float,
        1 => ChunkKind::Histogram,
        _ => return None,
    };
    let count = usize::try_from(c.u64()?).ok()?;
    let min_t = meta.hour.wrapping_mul(HOUR_MS).wrapping_add(c.i64()?);
    let max_t = min_t.wrapping_add(c.u64()? as i64);
    let mut place = || {
        let section = c.u64()?;
        let (offset, len) = (usize::try_from(c.u64()?).ok()?, usize::try_from(c.u64()?).ok()?);
        Some(Place { section, offset, len })
    };
    let (times, values) = (place()?, place()?);
    if kind == ChunkKind::Float {
        // Minimum, maximum and sum: for queries over pre-aggregates.
        c.take(24)?;
    }
    Some(ChunkRef { kind, count, min_t, max_t, times, values })
}

/// Reads series of one block, keeping the last unpacked section of each stream.
#[derive(Debug)]
pub(crate) struct BlockCursor {
    block: Arc<Block>,
    pub(crate) index: Arc<BlockIndex>,
    times: Option<(u64, Vec<u8>)>,
    values: Option<(u64, Vec<u8>)>,
}

impl BlockCursor {
    pub(crate) fn new(block: Arc<Block>, index: Arc<BlockIndex>) -> Self {
        Self { block, index, times: None, values: None }
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
        let Some(chunks) = index.chunks.get(position as usize) else { return Ok(()) };
        for c in chunks.iter().filter(|c| c.min_t < end && start <= c.max_t) {
            let Some(times) = self.times(c, corrupt)? else { continue };
            load(&self.block, 'd', c.values.section, &mut self.values, corrupt)?;
            let Some(bytes) = slice(&self.values, c.values) else { continue };
            let whole = start <= c.min_t && c.max_t < end;
            let inside = |t: i64| whole || (start <= t && t < end);
            match c.kind {
                ChunkKind::Float => {
                    let Some(values) = get_values(bytes, c.count) else {
                        self.mark('d', c.values, corrupt);
                        continue;
                    };
                    for (t, v) in times.into_iter().zip(values).filter(|(t, _)| inside(*t)) {
                        out.timestamps.push(t);
                        out.values.push(v);
                    }
                }
                ChunkKind::Histogram => {
                    let mut r = Reader::new(bytes);
                    for t in times {
                        let Some(h) = get_histogram(&mut r) else {
                            self.mark('d', c.values, corrupt);
                            break;
                        };
                        if inside(t) {
                            out.histograms.timestamps.push(t);
                            out.histograms.values.push(Arc::new(h));
                        }
                    }
                }
            }
        }
        Ok(())
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
        let Some(chunks) = index.chunks.get(position as usize) else { return Ok(false) };
        for c in chunks.iter().filter(|c| c.min_t < end && start <= c.max_t) {
            // A chunk that overlaps and has an end inside has that sample inside.
            if start <= c.min_t || c.max_t < end {
                return Ok(true);
            }
            let times = self.times(c, corrupt)?.unwrap_or_default();
            if times.iter().any(|t| start <= *t && *t < end) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn times(&mut self, c: &ChunkRef, corrupt: &AtomicU64) -> Result<Option<Vec<i64>>, DiskError> {
        load(&self.block, 't', c.times.section, &mut self.times, corrupt)?;
        let Some(bytes) = slice(&self.times, c.times) else { return Ok(None) };
        let mut r = Reader::new(bytes);
        let times =
            r.u64().filter(|n| *n == c.count as u64).and_then(|_| get_times(r.rest, c.count));
        if times.is_none() {
            self.mark('t', c.times, corrupt);
        }
        Ok(times)
    }

    fn mark(&self, prefix: char, place: Place, corrupt: &AtomicU64) {
        let name = format!("{prefix}{}", place.section);
        self.block.mark_bad(&name, "column does not decode", corrupt);
    }
}

fn load(
    block: &Block,
    prefix: char,
    number: u64,
    held: &mut Option<(u64, Vec<u8>)>,
    corrupt: &AtomicU64,
) -> Result<(), DiskError> {
    if held.as_ref().is_none_or(|(n, _)| *n != number) {
        *held = block.section(&format!("{prefix}{number}"), corrupt)?.map(|b| (number, b));
    }
    Ok(())
}

fn slice(held: &Option<(u64, Vec<u8>)>, place: Place) -> Option<&[u8]> {
    let (_, bytes) = held.as_ref()?;
    bytes.get(place.offset..place.offset.checked_add(place.len)?)
}

/// Loaded indexes, the most recently used last, up to a number of bytes.
#[derive(Debug)]
pub(crate) struct IndexCache {
    entries: Mutex<Vec<(u64, Arc<BlockIndex>)>>,
    bytes_max: usize,
}

impl IndexCache {
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self { entries: Mutex::default(), bytes_max }
    }

    pub(crate) fn get(
        &self,
        block: &Block,
        corrupt: &AtomicU64,
    ) -> Result<Arc<BlockIndex>, DiskError> {
        let mut entries = lock(&self.entries);
        if let Some(at) = entries.iter().position(|(uid, _)| *uid == block.uid) {
            let entry = entries.remove(at);
            let index = Arc::clone(&entry.1);
            entries.push(entry);
            return Ok(index);
        }
        drop(entries);
        // Two readers may load the same index at once; one of them is then dropped.
        let index = Arc::new(block.load_index(corrupt)?);
        let mut entries = lock(&self.entries);
        entries.retain(|(uid, _)| *uid != block.uid);
        entries.push((block.uid, Arc::clone(&index)));
        let mut bytes: usize = entries.iter().map(|(_, i)| i.bytes).sum();
        while bytes > self.bytes_max && entries.len() > 1 {
            bytes -= entries.remove(0).1.bytes;
        }
        Ok(index)
    }

    pub(crate) fn forget(&self, uid: u64) {
        lock(&self.entries).retain(|(u, _)| *u != uid);
    }
}
