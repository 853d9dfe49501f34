//! Writing a block.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use obs_disk::bytes::{put_i64, put_u64};
use obs_disk::{BlockWriter, Codec, Disk, DiskError};
use obs_types::{HistogramColumn, LabelSet, NativeHistogram, SeriesData};

use crate::block::{
    CHUNK_SAMPLES_MAX, ChunkKind, KIND, KIND_VERSION, Meta, PACK, SECTION_BYTES, Stream,
};
use crate::codec::put_times;
use crate::histogram::put_histogram;
use crate::pack::put_column;
use crate::pairs::PairWriter;
use crate::starts::Runs;

/// Time columns are told apart by their bytes; above this many bytes they are forgotten, so that
/// series which share none do not fill the memory.
const KNOWN_TIMES_BYTES_MAX: usize = 32 << 20;

/// Flags of a chunk in the `chunks` section, and of a column in `columns`.
pub(super) const HISTOGRAM: u8 = 1;
pub(super) const HAS_NOISE: u8 = 2;
pub(super) const NEXT_VALUES: u8 = 4;
pub(super) const NEXT_NOISE: u8 = 8;
pub(super) const STARTED: u8 = 16;
pub(super) const NEXT_TIMES: u8 = 1;

/// A stream of sections, each closed when it is large enough.
#[derive(Debug)]
struct SectionStream {
    stream: Stream,
    number: u32,
    buffer: Vec<u8>,
    /// The next bytes are the first of a section (other than the very first).
    fresh: bool,
}

impl SectionStream {
    fn new(stream: Stream) -> Self {
        Self { stream, number: 0, buffer: Vec::new(), fresh: false }
    }

    /// Whether bytes put now open a new section; asked once per put.
    fn take_fresh(&mut self) -> bool {
        std::mem::take(&mut self.fresh)
    }

    fn close_if(&mut self, len: usize, writer: &mut BlockWriter) -> Result<(), DiskError> {
        if !self.buffer.is_empty() && self.buffer.len() >= len {
            let codec = if self.stream == Stream::Noise { Codec::Raw } else { PACK };
            writer.section(&self.stream.section(self.number), &self.buffer, codec)?;
            self.buffer.clear();
            self.number += 1;
            self.fresh = true;
        }
        Ok(())
    }
}

/// Where in the buffers a chunk begins, and whether it begins with start timestamps.
#[derive(Clone, Copy, Debug)]
struct Begun {
    at: usize,
    noise_at: usize,
    started: bool,
}

/// Writes a block; series must come in the order of their label sets.
#[derive(Debug)]
pub(crate) struct BlockBuilder {
    writer: BlockWriter,
    meta: Meta,
    times: SectionStream,
    values: SectionStream,
    noise: SectionStream,
    /// Columns written, so that series of one scrape share one.
    known_times: HashMap<Vec<u8>, u64>,
    known_bytes: usize,
    /// The column of the chunk before: the next series mostly has the same.
    last_times: (Vec<i64>, u64),
    column_count: u64,
    last_min_t: i64,
    pairs: PairWriter,
    last_pairs: Vec<u32>,
    series: Vec<u8>,
    columns: Vec<u8>,
    chunks: Vec<u8>,
}

impl BlockBuilder {
    /// `meta` says hours, generation and deletions; the rest is filled in.
    pub(crate) fn create(disk: Arc<dyn Disk>, dir: &Path, meta: Meta) -> Result<Self, DiskError> {
        Self::create_kind(disk, dir, meta, KIND)
    }

    pub(crate) fn create_kind(
        disk: Arc<dyn Disk>,
        dir: &Path,
        meta: Meta,
        kind: [u8; 4],
    ) -> Result<Self, DiskError> {
        let meta = Meta { min_t: i64::MAX, max_t: i64::MIN, series: 0, samples: 0, ..meta };
        let writer = BlockWriter::create(disk, &dir.join(meta.file_name()), kind, KIND_VERSION)?;
        Ok(Self {
            writer,
            meta,
            times: SectionStream::new(Stream::Times),
            values: SectionStream::new(Stream::Values),
            noise: SectionStream::new(Stream::Noise),
            known_times: HashMap::new(),
            known_bytes: 0,
            last_times: (Vec::new(), 0),
            column_count: 0,
            last_min_t: 0,
            pairs: PairWriter::default(),
            last_pairs: Vec::new(),
            series: Vec::new(),
            columns: Vec::new(),
            chunks: Vec::new(),
        })
    }

    pub(crate) fn add(&mut self, data: &SeriesData) -> Result<(), DiskError> {
        if data.sample_count() == 0 {
            return Ok(());
        }
        let floats = [(data.timestamps.as_slice(), data.values.as_slice())];
        self.add_columns(&data.labels, &floats, &data.start_timestamps, &data.histograms)
    }

    /// A series of several float columns and one of histograms: their chunks follow one another.
    /// `starts` are those of the first column, or none.
    pub(crate) fn add_columns(
        &mut self,
        labels: &LabelSet,
        columns: &[(&[i64], &[f64])],
        starts: &[i64],
        histograms: &HistogramColumn,
    ) -> Result<(), DiskError> {
        let mut pairs = Vec::with_capacity(self.last_pairs.len());
        self.pairs.put(labels, &mut pairs);
        let same = pairs.iter().zip(&self.last_pairs).take_while(|(a, b)| a == b).count();
        put_u64(&mut self.series, pairs.len() as u64);
        put_u64(&mut self.series, same as u64);
        for pair in pairs.iter().skip(same) {
            put_u64(&mut self.series, u64::from(*pair));
        }
        self.last_pairs = pairs;
        let chunk_count = |times: &[i64]| times.len().div_ceil(CHUNK_SAMPLES_MAX);
        let count = columns.iter().map(|(times, _)| chunk_count(times)).sum::<usize>()
            + chunk_count(&histograms.timestamps);
        put_u64(&mut self.chunks, count as u64);
        let floats = columns.iter().flat_map(|(times, values)| {
            times.chunks(CHUNK_SAMPLES_MAX).zip(values.chunks(CHUNK_SAMPLES_MAX))
        });
        let mut starts = starts.chunks(CHUNK_SAMPLES_MAX);
        for (times, values) in floats {
            let place = self.begin_chunk(starts.next())?;
            put_column(&mut self.values.buffer, &mut self.noise.buffer, values);
            self.end_chunk(ChunkKind::Float, times, place)?;
        }
        let parts = histograms.timestamps.chunks(CHUNK_SAMPLES_MAX);
        let mut starts = histograms.start_timestamps.chunks(CHUNK_SAMPLES_MAX);
        for (times, values) in parts.zip(histograms.values.chunks(CHUNK_SAMPLES_MAX)) {
            let place = self.begin_chunk(starts.next())?;
            let put = |h: &Arc<NativeHistogram>| put_histogram(&mut self.values.buffer, h);
            values.iter().for_each(put);
            self.end_chunk(ChunkKind::Histogram, times, place)?;
        }
        self.meta.series += 1;
        let samples = columns.first().map_or(0, |(times, _)| times.len());
        self.meta.samples += (samples + histograms.timestamps.len()) as u64;
        Ok(())
    }

    fn begin_chunk(&mut self, starts: Option<&[i64]>) -> Result<Begun, DiskError> {
        self.values.close_if(SECTION_BYTES, &mut self.writer)?;
        self.noise.close_if(SECTION_BYTES, &mut self.writer)?;
        let (at, noise_at) = (self.values.buffer.len(), self.noise.buffer.len());
        let starts = starts.map(Runs::of).filter(Runs::is_known);
        if let Some(starts) = &starts {
            starts.put(&mut self.values.buffer);
        }
        Ok(Begun { at, noise_at, started: starts.is_some() })
    }

    fn end_chunk(
        &mut self,
        kind: ChunkKind,
        times: &[i64],
        Begun { at, noise_at, started }: Begun,
    ) -> Result<(), DiskError> {
        let noise_len = self.noise.buffer.len() - noise_at;
        let mut flags = if kind == ChunkKind::Histogram { HISTOGRAM } else { 0 };
        if started {
            flags |= STARTED;
        }
        if self.values.take_fresh() {
            flags |= NEXT_VALUES;
        }
        if noise_len > 0 {
            flags |= HAS_NOISE;
            if self.noise.take_fresh() {
                flags |= NEXT_NOISE;
            }
        }
        let column = self.column(times)?;
        self.chunks.push(flags);
        put_u64(&mut self.chunks, column);
        put_u64(&mut self.chunks, (self.values.buffer.len() - at) as u64);
        if noise_len > 0 {
            put_u64(&mut self.chunks, noise_len as u64);
        }
        Ok(())
    }

    /// The number of the column with these times.
    fn column(&mut self, times: &[i64]) -> Result<u64, DiskError> {
        if self.last_times.0 == times {
            return Ok(self.last_times.1);
        }
        let mut bytes = Vec::with_capacity(times.len() + 16);
        put_times(&mut bytes, times);
        let number = match self.known_times.get(&bytes) {
            Some(number) => *number,
            None => self.new_column(times, bytes)?,
        };
        self.last_times = (times.to_vec(), number);
        Ok(number)
    }

    fn new_column(&mut self, times: &[i64], bytes: Vec<u8>) -> Result<u64, DiskError> {
        let (min_t, max_t) =
            (times.first().copied().unwrap_or(0), times.last().copied().unwrap_or(0));
        self.meta.min_t = self.meta.min_t.min(min_t);
        self.meta.max_t = self.meta.max_t.max(max_t);
        self.times.close_if(SECTION_BYTES, &mut self.writer)?;
        self.columns.push(if self.times.take_fresh() { NEXT_TIMES } else { 0 });
        put_u64(&mut self.columns, times.len() as u64);
        put_i64(&mut self.columns, min_t.wrapping_sub(self.last_min_t));
        put_u64(&mut self.columns, max_t.wrapping_sub(min_t) as u64);
        put_u64(&mut self.columns, bytes.len() as u64);
        self.last_min_t = min_t;
        self.times.buffer.extend_from_slice(&bytes);
        if self.known_bytes > KNOWN_TIMES_BYTES_MAX {
            self.known_times.clear();
            self.known_bytes = 0;
        }
        self.known_bytes += bytes.len();
        let number = self.column_count;
        self.known_times.insert(bytes, number);
        self.column_count += 1;
        Ok(number)
    }

    /// Makes the block durable under its name.
    pub(crate) fn finish(mut self) -> Result<Meta, DiskError> {
        for stream in [&mut self.times, &mut self.values, &mut self.noise] {
            stream.close_if(0, &mut self.writer)?;
        }
        self.writer.section("pairs", &self.pairs.encode(), Codec::Zstd(3))?;
        self.writer.section("series", &self.series, Codec::Zstd(3))?;
        self.writer.section("columns", &self.columns, Codec::Zstd(3))?;
        self.writer.section("chunks", &self.chunks, Codec::Zstd(3))?;
        self.writer.section("meta", &self.meta.encode(), Codec::Raw)?;
        self.writer.finish()?;
        Ok(self.meta)
    }
}
