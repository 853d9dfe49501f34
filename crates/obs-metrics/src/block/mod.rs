//! Blocks: all series with samples in one hour or in the hours of one day, immutable, sorted by
//! label set. Drawing: `docs/format/metrics-block.md`.

mod build;
mod cache;
mod cursor;
mod index;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use obs_disk::bytes::{Reader, put_i64, put_u64};
use obs_disk::{BlockReader, Codec, Disk, DiskError};

use crate::{HOUR_MS, lock};

pub(crate) use build::BlockBuilder;
pub(crate) use cache::{IndexCache, SectionCache};
pub(crate) use cursor::{BlockCursor, SeriesWalk};
pub(crate) use index::BlockIndex;

const KIND: [u8; 4] = *b"METR";
/// Blocks of 1h aggregates: the same container, other columns (`crate::aggregate`).
pub(crate) const AGGREGATES: [u8; 4] = *b"MEAG";
const KIND_VERSION: u16 = 4;
/// Older blocks are still read.
const KIND_VERSION_MIN: u16 = 2;
/// Unpacked bytes after which a data section is closed: what one random read has to unpack.
const SECTION_BYTES: usize = 32 << 10;
/// The lowest level: what is left to pack has few repetitions, and higher levels find false ones.
const PACK: Codec = Codec::Zstd(1);
/// More samples are split, so that a short read decodes little.
const CHUNK_SAMPLES_MAX: usize = 1_024;
/// Sections that make up the index, in the order of [`index::Raw`].
const INDEX_SECTIONS: [&str; 4] = ["pairs", "series", "columns", "chunks"];

/// What a block says about itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Meta {
    /// Ascending: hours since the epoch, each with the flush whose block held it: every sample of
    /// the hour that was logged before that flush is in here.
    pub(crate) hours: Vec<(i64, u64)>,
    /// How often blocks were merged into it.
    pub(crate) generation: u64,
    /// Deletions up to this number are carried out in it.
    pub(crate) deletions: u64,
    pub(crate) min_t: i64,
    pub(crate) max_t: i64,
    pub(crate) series: u64,
    pub(crate) samples: u64,
    /// It holds only series that outlive the rest; all of it was on record when the rest went.
    pub(crate) held: bool,
}

impl Meta {
    pub(crate) fn file_name(&self) -> String {
        format!("{}_{}_{}.blk", self.first_hour(), self.flush(), self.generation)
    }

    /// Whether a file is named like a block.
    pub(crate) fn names(file: &str) -> bool {
        let Some(stem) = file.strip_suffix(".blk") else { return false };
        let mut parts = stem.split('_');
        let hour = parts.next().is_some_and(|p| p.parse::<i64>().is_ok());
        hour && parts.by_ref().filter(|p| p.parse::<u64>().is_ok()).count() == 2
    }

    pub(crate) fn first_hour(&self) -> i64 {
        self.hours.first().map_or(0, |(hour, _)| *hour)
    }

    pub(crate) fn last_hour(&self) -> i64 {
        self.hours.last().map_or(0, |(hour, _)| *hour)
    }

    /// The newest of its flushes.
    pub(crate) fn flush(&self) -> u64 {
        self.hours.iter().map(|(_, flush)| *flush).max().unwrap_or(0)
    }

    /// How blocks are listed: oldest first; of one hour, the first written first.
    pub(crate) fn order(&self) -> (i64, u64, u64) {
        (self.first_hour(), self.flush(), self.generation)
    }

    /// When its last hour ends, milliseconds.
    pub(crate) fn end(&self) -> i64 {
        self.last_hour().saturating_add(1).saturating_mul(HOUR_MS)
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        put_u64(&mut out, self.hours.len() as u64);
        for (hour, flush) in &self.hours {
            put_i64(&mut out, *hour);
            put_u64(&mut out, *flush);
        }
        put_i64(&mut out, self.min_t);
        put_i64(&mut out, self.max_t);
        for v in [self.generation, self.deletions, self.series, self.samples] {
            put_u64(&mut out, v);
        }
        out.push(u8::from(self.held));
        out
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let mut r = Reader::new(bytes);
        let n = r.count()?;
        let hours: Option<Vec<_>> = (0..n).map(|_| Some((r.i64()?, r.u64()?))).collect();
        let (min_t, max_t) = (r.i64()?, r.i64()?);
        let (generation, deletions, series, samples) = (r.u64()?, r.u64()?, r.u64()?, r.u64()?);
        let hours = hours.filter(|h| !h.is_empty())?;
        // Version 2 ends before it.
        let held = r.byte().is_some_and(|held| held != 0);
        Some(Self { hours, generation, deletions, min_t, max_t, series, samples, held })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ChunkKind {
    Float,
    Histogram,
}

/// The streams of data sections, by the letter that their names begin with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Stream {
    Times,
    Values,
    Noise,
}

impl Stream {
    fn letter(self) -> char {
        match self {
            Self::Times => 't',
            Self::Values => 'd',
            Self::Noise => 'n',
        }
    }

    fn section(self, number: u32) -> String {
        format!("{}{number}", self.letter())
    }
}

/// Where bytes lie: section of a stream, offset and length in the unpacked section.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Place {
    section: u32,
    offset: u32,
    len: u32,
}

/// Times that one or many chunks have.
#[derive(Clone, Copy, Debug)]
struct TimeColumn {
    place: Place,
    count: u32,
    min_t: i64,
    max_t: i64,
}

/// One run of samples of one series.
#[derive(Clone, Copy, Debug)]
struct ChunkRef {
    kind: ChunkKind,
    /// Its values begin with start timestamps.
    started: bool,
    /// Position in the list of time columns.
    column: u32,
    values: Place,
    noise: Place,
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

static NEXT_UID: AtomicU64 = AtomicU64::new(0);

impl Block {
    pub(crate) fn open(disk: Arc<dyn Disk>, path: &Path) -> Result<Self, DiskError> {
        Self::open_kind(disk, path, KIND)
    }

    pub(crate) fn open_kind(
        disk: Arc<dyn Disk>,
        path: &Path,
        kind: [u8; 4],
    ) -> Result<Self, DiskError> {
        let reader = BlockReader::open(disk, path, kind)?;
        if !(KIND_VERSION_MIN..=KIND_VERSION).contains(&reader.kind_version()) {
            let (found, known) = (u32::from(reader.kind_version()), u32::from(KIND_VERSION));
            return Err(DiskError::UnsupportedVersion { path: path.to_owned(), found, known });
        }
        let bytes = reader.section("meta")?;
        let meta = Meta::decode(&bytes)
            .ok_or_else(|| DiskError::corrupt(path, 0, "meta does not decode"))?;
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

    /// The bytes of the index; `None` if some of them are damaged.
    pub(crate) fn raw_index(&self, corrupt: &AtomicU64) -> Result<Option<index::Raw>, DiskError> {
        let mut parts = Vec::with_capacity(INDEX_SECTIONS.len());
        for name in INDEX_SECTIONS {
            let Some(bytes) = self.section(name, corrupt)? else { return Ok(None) };
            parts.push(bytes);
        }
        Ok(index::Raw::of(parts))
    }

    /// An empty index if the block's own index is damaged.
    pub(crate) fn load_index(&self, corrupt: &AtomicU64) -> Result<BlockIndex, DiskError> {
        let Some(raw) = self.raw_index(corrupt)? else { return Ok(BlockIndex::default()) };
        Ok(BlockIndex::parse(&self.meta, &raw).unwrap_or_else(|| {
            self.mark_bad("series", "index does not decode", corrupt);
            BlockIndex::default()
        }))
    }
}
