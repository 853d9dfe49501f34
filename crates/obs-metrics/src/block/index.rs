//! The index of a block: whole in memory for queries, or one series after the other for merges.

use obs_disk::bytes::Reader;
use obs_types::LabelSet;

use crate::block::build::{HAS_NOISE, HISTOGRAM, NEXT_NOISE, NEXT_TIMES, NEXT_VALUES, STARTED};
use crate::block::{ChunkKind, ChunkRef, Meta, Place, TimeColumn};
use crate::index::Index;
use crate::pairs::Pairs;

/// The unpacked sections of an index.
#[derive(Debug)]
pub(crate) struct Raw {
    pairs: Vec<u8>,
    series: Vec<u8>,
    columns: Vec<u8>,
    chunks: Vec<u8>,
}

impl Raw {
    pub(super) fn of(parts: Vec<Vec<u8>>) -> Option<Self> {
        let [pairs, series, columns, chunks] = <[Vec<u8>; 4]>::try_from(parts).ok()?;
        Some(Self { pairs, series, columns, chunks })
    }
}

/// Reads series and their chunks in the order they were written.
struct Series<'a> {
    series: Reader<'a>,
    chunks: Reader<'a>,
    pair_count: usize,
    column_count: usize,
    pairs: Vec<u32>,
    values: Place,
    noise: Place,
}

impl<'a> Series<'a> {
    fn new(raw: &'a Raw, pair_count: usize, column_count: usize) -> Self {
        Self {
            series: Reader::new(&raw.series),
            chunks: Reader::new(&raw.chunks),
            pair_count,
            column_count,
            pairs: Vec::new(),
            values: Place::default(),
            noise: Place::default(),
        }
    }

    fn at_end(&self) -> bool {
        self.series.rest.is_empty()
    }

    /// Puts the next series into `self.pairs` and appends its chunks.
    fn next(&mut self, chunks: &mut Vec<ChunkRef>) -> Option<()> {
        let (count, same) = (self.series.usize()?, self.series.usize()?);
        if same > count || same > self.pairs.len() {
            return None;
        }
        self.pairs.truncate(same);
        for _ in same..count {
            let pair = self.series.u32().filter(|p| (*p as usize) < self.pair_count)?;
            self.pairs.push(pair);
        }
        for _ in 0..self.chunks.count()? {
            let flags = self.chunks.byte()?;
            let column = self.chunks.u32().filter(|c| (*c as usize) < self.column_count)?;
            advance(&mut self.values, flags & NEXT_VALUES != 0, self.chunks.u32()?)?;
            let mut noise = Place::default();
            if flags & HAS_NOISE != 0 {
                advance(&mut self.noise, flags & NEXT_NOISE != 0, self.chunks.u32()?)?;
                noise = self.noise;
            }
            let kind = if flags & HISTOGRAM != 0 { ChunkKind::Histogram } else { ChunkKind::Float };
            let started = flags & STARTED != 0;
            chunks.push(ChunkRef { kind, started, column, values: self.values, noise });
        }
        Some(())
    }
}

/// Moves on to the next bytes of a stream.
fn advance(place: &mut Place, next_section: bool, len: u32) -> Option<()> {
    *place = if next_section {
        Place { section: place.section.checked_add(1)?, offset: 0, len }
    } else {
        Place { offset: place.offset.checked_add(place.len)?, len, ..*place }
    };
    Some(())
}

fn read_columns(raw: &Raw) -> Option<Vec<TimeColumn>> {
    let mut r = Reader::new(&raw.columns);
    let mut out = Vec::new();
    let (mut place, mut min_t) = (Place::default(), 0_i64);
    while !r.rest.is_empty() {
        let flags = r.byte()?;
        let count = r.u32()?;
        min_t = min_t.wrapping_add(r.i64()?);
        let max_t = min_t.wrapping_add(r.u64()? as i64);
        advance(&mut place, flags & NEXT_TIMES != 0, r.u32()?)?;
        out.push(TimeColumn { place, count, min_t, max_t });
    }
    Some(out)
}

/// The labels, postings and chunk places of a block, in memory. Label sets are made when they are
/// asked for: most queries want few.
#[derive(Debug, Default)]
pub(crate) struct BlockIndex {
    pub(crate) index: Index,
    pairs: Pairs,
    /// Pairs of all series, end to end, and where each series' end.
    series: Vec<u32>,
    series_ends: Vec<u32>,
    pub(super) columns: Vec<TimeColumn>,
    chunks: Vec<ChunkRef>,
    chunk_ends: Vec<u32>,
    /// Estimate of what all this takes.
    pub(crate) bytes: usize,
}

impl BlockIndex {
    pub(super) fn parse(meta: &Meta, raw: &Raw) -> Option<Self> {
        let mut texts: Vec<(&str, &str)> = Vec::new();
        let pairs = Pairs::parse(&raw.pairs, |name, value| texts.push((name, value)))?;
        let columns = read_columns(raw)?;
        let mut postings: Vec<Vec<u32>> = vec![Vec::new(); texts.len()];
        let mut out = Self { pairs, columns, ..Self::default() };
        let mut s = Series::new(raw, texts.len(), out.columns.len());
        while !s.at_end() {
            s.next(&mut out.chunks)?;
            let number = u32::try_from(out.series_ends.len()).ok()?;
            for pair in &s.pairs {
                postings.get_mut(*pair as usize)?.push(number);
            }
            out.series.extend_from_slice(&s.pairs);
            out.series_ends.push(u32::try_from(out.series.len()).ok()?);
            out.chunk_ends.push(u32::try_from(out.chunks.len()).ok()?);
        }
        if !s.chunks.rest.is_empty() || out.series_ends.len() as u64 != meta.series {
            return None;
        }
        let count = u32::try_from(out.series_ends.len()).ok()?;
        out.bytes = out.series.len() * 8
            + out.chunks.len() * size_of::<ChunkRef>()
            + out.columns.len() * size_of::<TimeColumn>()
            + out.series_ends.len() * 12
            + out.pairs.byte_len() * 2
            + texts.len() * 100;
        out.index = Index::of_pairs((0..count).collect(), texts.into_iter().zip(postings));
        Some(out)
    }

    /// `None` behind the last series.
    pub(crate) fn labels(&self, position: u32) -> Option<LabelSet> {
        self.pairs.labels(of(&self.series, &self.series_ends, position)?)
    }

    pub(super) fn chunks(&self, position: u32) -> &[ChunkRef] {
        of(&self.chunks, &self.chunk_ends, position).unwrap_or_default()
    }

    /// Samples of the chunks of a series that overlap `[start, end)`.
    pub(crate) fn sample_count_in(&self, position: u32, start: i64, end: i64) -> usize {
        let columns = self.chunks(position).iter();
        let columns = columns.filter_map(|c| self.columns.get(c.column as usize));
        let inside = columns.filter(|c| c.min_t < end && start <= c.max_t);
        inside.map(|c| c.count as usize).sum()
    }

    /// Where the series of that label set is; series are sorted by label set.
    pub(crate) fn find(&self, labels: &LabelSet) -> Option<u32> {
        let (mut low, mut high) = (0, self.series_ends.len() as u32);
        while low < high {
            let middle = low + (high - low) / 2;
            match self.labels(middle)?.cmp(labels) {
                std::cmp::Ordering::Equal => return Some(middle),
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        None
    }
}

fn of<'a, T>(all: &'a [T], ends: &[u32], position: u32) -> Option<&'a [T]> {
    let at = position as usize;
    let begin = if at == 0 { 0 } else { *ends.get(at - 1)? };
    all.get(begin as usize..*ends.get(at)? as usize)
}

/// An index that is gone through once, in the order of label sets, without being built.
#[derive(Debug)]
pub(crate) struct Scan {
    raw: Raw,
    pairs: Pairs,
    pub(super) columns: Vec<TimeColumn>,
    pub(super) chunks: Vec<ChunkRef>,
    series_at: usize,
    chunks_at: usize,
    current: Vec<u32>,
    values: Place,
    noise: Place,
}

impl Scan {
    pub(crate) fn new(raw: Raw) -> Option<Self> {
        let pairs = Pairs::parse(&raw.pairs, |_, _| ())?;
        let columns = read_columns(&raw)?;
        Some(Self {
            raw,
            pairs,
            columns,
            chunks: Vec::new(),
            series_at: 0,
            chunks_at: 0,
            current: Vec::new(),
            values: Place::default(),
            noise: Place::default(),
        })
    }

    /// The label set of the next series, whose chunks are then in `self.chunks`; `Some(None)` at
    /// the end, `None` if the index does not decode.
    pub(crate) fn next(&mut self) -> Option<Option<LabelSet>> {
        let mut s = Series {
            series: Reader::new(self.raw.series.get(self.series_at..)?),
            chunks: Reader::new(self.raw.chunks.get(self.chunks_at..)?),
            pair_count: self.pairs.len(),
            column_count: self.columns.len(),
            pairs: std::mem::take(&mut self.current),
            values: self.values,
            noise: self.noise,
        };
        if s.at_end() {
            return s.chunks.rest.is_empty().then_some(None);
        }
        self.chunks.clear();
        s.next(&mut self.chunks)?;
        self.series_at = self.raw.series.len() - s.series.rest.len();
        self.chunks_at = self.raw.chunks.len() - s.chunks.rest.len();
        (self.values, self.noise) = (s.values, s.noise);
        self.current = s.pairs;
        self.pairs.labels(&self.current).map(Some)
    }
}
