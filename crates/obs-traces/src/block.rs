use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use obs_disk::bytes::{Reader, put_i64, put_u64};
use obs_disk::{BlockReader, BlockWriter, Codec, Disk};
use obs_types::{SpanRecord, TimeRangeNs, TraceId};

use crate::TracesError;
use crate::bloom::Bloom;
use crate::codec::{decode_batch, encode_batch};
use crate::head::{Head, bounds_overlap};
use crate::merge::merge_spans;
use crate::summary::Summary;

pub(crate) const KIND: [u8; 4] = *b"TRCE";
pub(crate) const VERSION: u16 = 1;
const ZSTD_LEVEL: i32 = 3;

/// An immutable file of whole pieces of traces. What is needed to skip it is kept in memory;
/// index and chunks are read when asked for.
#[derive(Debug)]
pub(crate) struct Block {
    pub(crate) number: u64,
    pub(crate) path: PathBuf,
    pub(crate) file_len: u64,
    pub(crate) spans: u64,
    pub(crate) traces: u64,
    /// First start and last end, nanoseconds.
    pub(crate) start: i64,
    pub(crate) end: i64,
    pub(crate) summary: Summary,
    bloom: Bloom,
    reader: BlockReader,
    /// Set before the file is removed, so that a reader who comes too late sees nothing instead of
    /// an error.
    pub(crate) dropped: AtomicBool,
    /// Chunks found damaged: each is counted and reported once.
    damaged: Mutex<BTreeSet<u32>>,
}

/// One trace of a block; the index is sorted by id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct IndexEntry {
    pub(crate) id: TraceId,
    pub(crate) start: i64,
    pub(crate) end: i64,
    pub(crate) chunk: u32,
}

pub(crate) fn file_name(number: u64) -> String {
    format!("block-{number:012}.trc")
}

pub(crate) fn number_of(name: &str) -> Option<u64> {
    name.strip_prefix("block-")?.strip_suffix(".trc")?.parse().ok()
}

/// Writes a head as a block. Traces are ordered by start, then id, so that a search that wants the
/// newest reads from the end; each lies whole in one chunk.
pub(crate) fn write_block(
    disk: &Arc<dyn Disk>,
    path: &Path,
    head: &Head,
    chunk_spans: usize,
) -> Result<(), TracesError> {
    let mut order: Vec<(i64, TraceId)> = head.traces.iter().map(|(id, t)| (t.start, *id)).collect();
    order.sort_unstable();
    let mut writer = BlockWriter::create(disk.clone(), path, KIND, VERSION)?;
    let mut bloom = Bloom::new(order.len());
    let mut index: Vec<IndexEntry> = Vec::with_capacity(order.len());
    let mut pending: Vec<SpanRecord> = Vec::new();
    let (mut chunk, mut spans) = (0u32, 0u64);
    for (i, (_, id)) in order.iter().enumerate() {
        let Some(trace) = head.traces.get(id) else { continue };
        let merged = merge_spans(*id, trace.spans.clone());
        bloom.insert(*id);
        index.push(IndexEntry { id: *id, start: trace.start, end: trace.end, chunk });
        spans += merged.spans.len() as u64;
        pending.extend(merged.spans);
        if pending.len() >= chunk_spans || i + 1 == order.len() {
            let bytes = encode_batch(&pending);
            writer.section(&format!("spans.{chunk}"), &bytes, Codec::Zstd(ZSTD_LEVEL))?;
            pending.clear();
            chunk += 1;
        }
    }
    index.sort_unstable_by_key(|e| e.id);
    let (start, end) = head.bounds.unwrap_or_default();
    let mut packed = Vec::new();
    put_u64(&mut packed, index.len() as u64);
    for e in &index {
        packed.extend_from_slice(&e.id.0);
        put_u64(&mut packed, e.start.abs_diff(start));
        put_u64(&mut packed, e.end.abs_diff(e.start));
        put_u64(&mut packed, u64::from(e.chunk));
    }
    writer.section("index", &packed, Codec::Zstd(ZSTD_LEVEL))?;
    writer.section("bloom", &bloom.to_bytes(), Codec::Raw)?;
    writer.section("summary", &head.summary.encode(), Codec::Zstd(ZSTD_LEVEL))?;
    let mut meta = Vec::new();
    put_u64(&mut meta, spans);
    put_u64(&mut meta, index.len() as u64);
    put_i64(&mut meta, start);
    put_i64(&mut meta, end);
    writer.section("meta", &meta, Codec::Raw)?;
    writer.finish()?;
    Ok(())
}

impl Block {
    /// Reads all but index and chunks.
    pub(crate) fn open(
        disk: &Arc<dyn Disk>,
        path: &Path,
        number: u64,
    ) -> Result<Self, TracesError> {
        let reader = BlockReader::open(disk.clone(), path, KIND)?;
        if reader.kind_version() != VERSION {
            return Err(TracesError::Version {
                path: path.to_owned(),
                found: reader.kind_version(),
                known: VERSION,
            });
        }
        let bad = |section: &str| damaged(path, section, "it does not decode");
        let meta = reader.section("meta")?;
        let mut from = Reader::new(&meta);
        let (Some(spans), Some(traces), Some(start), Some(end)) =
            (from.u64(), from.u64(), from.i64(), from.i64())
        else {
            return Err(bad("meta"));
        };
        let bloom = Bloom::from_bytes(&reader.section("bloom")?).ok_or_else(|| bad("bloom"))?;
        let summary = Summary::decode(&reader.section("summary")?).ok_or_else(|| bad("summary"))?;
        Ok(Self {
            number,
            path: path.to_owned(),
            file_len: reader.file_len(),
            spans,
            traces,
            start,
            end,
            summary,
            bloom,
            reader,
            dropped: AtomicBool::new(false),
            damaged: Mutex::default(),
        })
    }

    pub(crate) fn overlaps(&self, range: TimeRangeNs) -> bool {
        bounds_overlap(self.start, self.end, range)
    }

    pub(crate) fn may_contain(&self, id: TraceId) -> bool {
        self.bloom.may_contain(id)
    }

    pub(crate) fn is_dropped(&self) -> bool {
        self.dropped.load(Ordering::Acquire)
    }

    /// Whether the chunk is known to be damaged; `mark` says that it is, and returns whether that
    /// is news.
    pub(crate) fn is_damaged(&self, chunk: u32) -> bool {
        self.damaged.lock().unwrap_or_else(PoisonError::into_inner).contains(&chunk)
    }

    pub(crate) fn mark_damaged(&self, chunk: u32) -> bool {
        self.damaged.lock().unwrap_or_else(PoisonError::into_inner).insert(chunk)
    }

    /// Sorted by trace id.
    pub(crate) fn read_index(&self) -> Result<Vec<IndexEntry>, TracesError> {
        let bytes = self.reader.section("index")?;
        let mut from = Reader::new(&bytes);
        let mut read = || {
            let n = from.count()?;
            let mut out = Vec::with_capacity(n);
            for _ in 0..n {
                let id = TraceId(from.array()?);
                let start = self.start.checked_add_unsigned(from.u64()?)?;
                let end = start.checked_add_unsigned(from.u64()?)?;
                let chunk = u32::try_from(from.u64()?).ok()?;
                out.push(IndexEntry { id, start, end, chunk });
            }
            from.rest.is_empty().then_some(out)
        };
        read().ok_or_else(|| damaged(&self.path, "index", "it does not decode"))
    }

    pub(crate) fn chunk_count(&self) -> u32 {
        self.reader.sections().iter().filter(|s| s.name.starts_with("spans.")).count() as u32
    }

    pub(crate) fn read_chunk(&self, chunk: u32) -> Result<Vec<SpanRecord>, TracesError> {
        let name = format!("spans.{chunk}");
        decode_batch(&self.reader.section(&name)?)
            .ok_or_else(|| damaged(&self.path, &name, "it does not decode"))
    }
}

fn damaged(path: &Path, section: &str, reason: &str) -> TracesError {
    TracesError::Damaged {
        path: path.to_owned(),
        section: section.to_owned(),
        reason: reason.to_owned(),
    }
}
