//! One block file: what one flush wrote.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use obs_disk::{BlockReader, BlockWriter, Codec, Disk};
use obs_types::LabelSet;

use crate::chunk::{self, ChunkInfo, Run, RunInput};
use crate::error::LogsError;
use crate::head::{Head, HeadEntry};
use crate::index::{StreamId, StreamIndex};
use obs_disk::bytes::{Reader, put_bytes, put_i64, put_u64};

pub(crate) const KIND: [u8; 4] = *b"LOGS";
const KIND_VERSION: u16 = 1;
const SUFFIX: &str = ".blk";
const HOUR_NS: i64 = 3_600_000_000_000;
/// Fast to write, and within a few percent of higher levels on log lines.
const LEVEL: i32 = 3;
const LEVEL_INDEX: i32 = 1;

/// Batches `from..=through` are in this file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sequences {
    pub(crate) from: u64,
    pub(crate) through: u64,
}

#[derive(Debug)]
pub(crate) struct Part {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    reader: BlockReader,
    pub(crate) sequences: Sequences,
    /// The engine's number of each stream in the file's table.
    pub(crate) streams: Vec<StreamId>,
    pub(crate) chunks: Vec<Chunk>,
    pub(crate) min: i64,
    pub(crate) max: i64,
    /// Removed when the last reader lets go.
    doomed: AtomicBool,
}

#[derive(Debug)]
pub(crate) struct Chunk {
    pub(crate) info: ChunkInfo,
    /// Found damaged; counted once, then passed over.
    pub(crate) damaged: AtomicBool,
}

/// Columns of a chunk.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Column {
    Times,
    Lines,
    Metadata,
    Dictionary,
    Filter,
}

impl Column {
    fn section(self, chunk: usize) -> String {
        let letter = match self {
            Self::Times => 't',
            Self::Lines => 'l',
            Self::Metadata => 'm',
            Self::Dictionary => 'd',
            Self::Filter => 'f',
        };
        format!("{letter}{chunk}")
    }
}

pub(crate) fn path_of(dir: &Path, sequences: Sequences) -> PathBuf {
    dir.join(format!("logs-{:016x}-{:016x}{SUFFIX}", sequences.from, sequences.through))
}

/// The batches that a block file's name promises; `None` if it is no block file.
pub(crate) fn sequences_of(name: &str) -> Option<Sequences> {
    let (from, through) = name.strip_prefix("logs-")?.strip_suffix(SUFFIX)?.split_once('-')?;
    let number = |text: &str| u64::from_str_radix(text, 16).ok();
    Some(Sequences { from: number(from)?, through: number(through)? })
}

/// Writes everything in `head` as one durable file; afterwards it is there whole or not at all.
pub(crate) fn write(
    disk: &Arc<dyn Disk>,
    dir: &Path,
    head: &Head,
    labels: &dyn Fn(StreamId) -> LabelSet,
    sequences: Sequences,
    chunk_bytes: usize,
) -> Result<PathBuf, LogsError> {
    disk.create_dir_all(dir)?;
    let path = path_of(dir, sequences);
    let mut writer = BlockWriter::create(Arc::clone(disk), &path, KIND, KIND_VERSION)?;
    let ids: Vec<StreamId> = head.streams.keys().copied().collect();
    let mut infos = Vec::new();
    for input in split(head, chunk_bytes) {
        let encoded = chunk::encode(&input);
        let i = infos.len();
        let mut put = |column: Column, bytes: &[u8], codec| {
            if bytes.is_empty() && !matches!(column, Column::Times | Column::Lines) {
                return Ok(());
            }
            writer.section(&column.section(i), bytes, codec)
        };
        put(Column::Times, &encoded.times, Codec::Zstd(LEVEL_INDEX))?;
        put(Column::Lines, &encoded.lines, Codec::Zstd(LEVEL))?;
        put(Column::Metadata, &encoded.metadata, Codec::Zstd(LEVEL))?;
        put(Column::Dictionary, &encoded.dictionary, Codec::Zstd(LEVEL_INDEX))?;
        put(Column::Filter, &encoded.filter, Codec::Raw)?;
        infos.push(encoded.info);
    }
    let streams: Vec<LabelSet> = ids.iter().map(|id| labels(*id)).collect();
    writer.section("meta", &encode_meta(sequences, &streams, &infos), Codec::Zstd(LEVEL))?;
    writer.finish()?;
    Ok(path)
}

/// Chunks of one hour each, streams side by side until a chunk is full.
fn split(head: &Head, chunk_bytes: usize) -> Vec<Vec<RunInput<'_>>> {
    let mut hours: BTreeMap<i64, Vec<RunInput<'_>>> = BTreeMap::new();
    for (local, entries) in head.streams.values().enumerate() {
        let local = u32::try_from(local).unwrap_or(u32::MAX);
        for ((t, _), entry) in entries {
            let runs = hours.entry(t.div_euclid(HOUR_NS)).or_default();
            match runs.last_mut() {
                Some((stream, run)) if *stream == local => run.push((*t, entry)),
                _ => runs.push((local, vec![(*t, entry)])),
            }
        }
    }
    let mut chunks: Vec<Vec<RunInput<'_>>> = Vec::new();
    for runs in hours.into_values() {
        let mut current: Vec<RunInput<'_>> = Vec::new();
        let mut bytes = 0usize;
        for (stream, entries) in runs {
            let mut rest: Vec<(i64, &HeadEntry)> = Vec::new();
            for (t, entry) in entries {
                let size = entry.line.len() + entry.metadata.as_bytes().len() + 8;
                if bytes > 0 && bytes + size > chunk_bytes {
                    if !rest.is_empty() {
                        current.push((stream, std::mem::take(&mut rest)));
                    }
                    chunks.push(std::mem::take(&mut current));
                    bytes = 0;
                }
                bytes += size;
                rest.push((t, entry));
            }
            if !rest.is_empty() {
                current.push((stream, rest));
            }
        }
        if !current.is_empty() {
            chunks.push(current);
        }
    }
    chunks
}

fn encode_meta(sequences: Sequences, streams: &[LabelSet], chunks: &[ChunkInfo]) -> Vec<u8> {
    let mut out = Vec::new();
    put_u64(&mut out, sequences.from);
    put_u64(&mut out, sequences.through);
    put_u64(&mut out, streams.len() as u64);
    for labels in streams {
        put_bytes(&mut out, labels.as_bytes());
    }
    put_u64(&mut out, chunks.len() as u64);
    for info in chunks {
        put_u64(&mut out, info.runs.len() as u64);
        for run in &info.runs {
            put_u64(&mut out, u64::from(run.stream));
            put_u64(&mut out, u64::from(run.count));
            put_i64(&mut out, run.min);
            put_u64(&mut out, run.max.wrapping_sub(run.min) as u64);
            put_u64(&mut out, run.bytes);
        }
    }
    out
}

type Meta = (Sequences, Vec<LabelSet>, Vec<ChunkInfo>);

fn decode_meta(bytes: &[u8]) -> Option<Meta> {
    let mut c = Reader::new(bytes);
    let sequences = Sequences { from: c.u64()?, through: c.u64()? };
    let streams: Vec<LabelSet> =
        (0..c.count()?).map(|_| LabelSet::from_bytes(c.bytes()?)).collect::<Option<_>>()?;
    let mut chunks = Vec::new();
    for _ in 0..c.count()? {
        let mut info = ChunkInfo { runs: Vec::new(), min: i64::MAX, max: i64::MIN, entries: 0 };
        for _ in 0..c.count()? {
            let stream = u32::try_from(c.u64()?).ok()?;
            let count = u32::try_from(c.u64()?).ok()?;
            let min = c.i64()?;
            let max = min.wrapping_add(c.u64()? as i64);
            let bytes = c.u64()?;
            if stream as usize >= streams.len() || max < min {
                return None;
            }
            info.min = info.min.min(min);
            info.max = info.max.max(max);
            info.entries += u64::from(count);
            info.runs.push(Run { stream, count, min, max, bytes });
        }
        chunks.push(info);
    }
    c.rest.is_empty().then_some((sequences, streams, chunks))
}

impl Part {
    /// Reads the directory; new streams get numbers in `index`.
    pub(crate) fn open(
        disk: &Arc<dyn Disk>,
        path: &Path,
        index: &mut StreamIndex,
    ) -> Result<Self, LogsError> {
        let bad = |what| LogsError::Format { path: path.display().to_string(), what };
        let reader = BlockReader::open(Arc::clone(disk), path, KIND)?;
        if reader.kind_version() != KIND_VERSION {
            return Err(LogsError::UnsupportedVersion {
                path: path.display().to_string(),
                found: reader.kind_version(),
                known: KIND_VERSION,
            });
        }
        let (sequences, labels, infos) =
            decode_meta(&reader.section("meta")?).ok_or_else(|| bad("directory of chunks"))?;
        let streams = labels.iter().map(|l| index.id(l)).collect();
        let min = infos.iter().map(|i| i.min).min().unwrap_or(i64::MAX);
        let max = infos.iter().map(|i| i.max).max().unwrap_or(i64::MIN);
        let chunks =
            infos.into_iter().map(|info| Chunk { info, damaged: AtomicBool::new(false) }).collect();
        Ok(Self {
            disk: Arc::clone(disk),
            path: path.to_owned(),
            reader,
            sequences,
            streams,
            chunks,
            min,
            max,
            doomed: AtomicBool::new(false),
        })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn file_len(&self) -> u64 {
        self.reader.file_len()
    }

    pub(crate) fn entries(&self) -> u64 {
        self.chunks.iter().map(|c| c.info.entries).sum()
    }

    /// Empty for a column that the chunk does not have.
    pub(crate) fn column(&self, chunk: usize, column: Column) -> Result<Vec<u8>, LogsError> {
        let section = column.section(chunk);
        if !self.reader.has(&section) {
            return Ok(Vec::new());
        }
        Ok(self.reader.section(&section)?)
    }

    pub(crate) fn bad(&self, what: &'static str) -> LogsError {
        LogsError::Format { path: self.path.display().to_string(), what }
    }

    /// The file goes when the last reader lets go of it.
    pub(crate) fn doom(&self) {
        self.doomed.store(true, Ordering::Release);
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if self.doomed.load(Ordering::Acquire)
            && let Err(e) = self.disk.remove(&self.path)
        {
            // It comes back at the next start and is dropped again by the next retention.
            tracing::warn!(path = %self.path.display(), error = %e, "cannot remove a dropped block");
        }
    }
}

/// Numbers of the file's streams that are wanted, by index into its table.
pub(crate) fn wanted_streams(part: &Part, ids: &[StreamId]) -> HashMap<u32, StreamId> {
    part.streams
        .iter()
        .enumerate()
        .filter(|(_, id)| ids.binary_search(id).is_ok())
        .filter_map(|(local, id)| Some((u32::try_from(local).ok()?, *id)))
        .collect()
}
