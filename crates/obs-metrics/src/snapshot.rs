//! Snapshots of the head: what a start reads in place of most of the log.
//!
//! A snapshot, in order:
//! 1. Draw a line as a flush does: begin a new epoch in a new segment of the log. Every record
//!    before the line is applied.
//! 2. Write the side file, then every series as it is when its turn comes. Appends go on meanwhile,
//!    so a series may have samples from after the line; replay meets them again and finds them
//!    there.
//! 3. The file replaces the one before in one step.
//!
//! The log keeps what it would keep without snapshots, so a snapshot that does not read costs time
//! and no sample: it is set aside and the log replayed from its beginning. What a later flush has
//! written to blocks is left out when the snapshot is read, as it is in replay.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use obs_disk::bytes::{Reader, put_u64};
use obs_disk::{BlockReader, BlockWriter, Codec, Disk, DiskError, SegmentId, Wal};

use crate::engine::{Epoch, Line, MetricsEngine, in_block};
use crate::error::MetricsError;
use crate::head::Head;
use crate::index::Index;
use crate::pairs::{PairWriter, Pairs};
use crate::series::{Series, State};
use crate::{hour_of, lock, write};

pub(crate) const FILE: &str = "head.blk";
const KIND: [u8; 4] = *b"MEHS";
const VERSION: u16 = 1;
const SECTION_BYTES: usize = 1 << 20;
const PACK: Codec = Codec::Zstd(1);
/// Fewer sections are not worth a thread.
const SECTIONS_PER_THREAD: usize = 4;
const THREADS_MAX: usize = 4;

/// A head as it was, and how to go on from there.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) head: Head,
    pub(crate) place: Place,
    pub(crate) hours: BTreeSet<i64>,
    pub(crate) max_t: Option<i64>,
}

/// Where in the log a snapshot stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// Records in segments before this one are in the snapshot.
    pub(crate) end: SegmentId,
    /// Epoch of the line.
    pub(crate) epoch: u64,
    pub(crate) flush: u64,
    /// Smallest flush number in the log.
    pub(crate) logged_from: u64,
}

impl MetricsEngine {
    /// Writes a snapshot if the log has grown by `wal_bytes` since the last one. The caller holds
    /// the maintenance lock.
    pub(crate) fn snapshot_if(&self, wal_bytes: u64) -> Result<bool, MetricsError> {
        let Some(wal) = &self.wal else { return Err(MetricsError::ReadOnly) };
        let last = SegmentId(self.snapshot_end.load(Ordering::Relaxed));
        if wal.bytes_from(last) < wal_bytes {
            return Ok(false);
        }
        let (place, line) = self.draw_snapshot_line(wal)?;
        self.write_side(line)?;
        write_file(&self.config.disk, &self.config.dir, place, &self.head.all())?;
        self.snapshot_end.store(place.end.0, Ordering::Relaxed);
        self.snapshot_flush.store(line.flush, Ordering::Relaxed);
        self.counters.snapshots.fetch_add(1, Ordering::Relaxed);
        Ok(true)
    }

    /// Begins a new epoch: what was appended before is applied when this returns.
    fn draw_snapshot_line(&self, wal: &Wal) -> Result<(Place, Line), MetricsError> {
        if wal.is_poisoned() {
            wal.recover()?;
        }
        let (line, end) = {
            let mut line = write(&self.gate);
            let end = wal.rotate()?;
            let flush_min = line.flush_min;
            *line = Line { epoch: line.epoch + 1, flush: line.flush, flush_min: line.flush };
            let max_t = self.epoch_max_t.swap(i64::MIN, Ordering::AcqRel);
            lock(&self.epochs).push(Epoch { end, max_t, flush_min });
            (*line, end)
        };
        let logged_from = lock(&self.epochs).first().map_or(line.flush, |e| e.flush_min);
        let place = Place { end, epoch: line.epoch, flush: line.flush, logged_from };
        Ok((place, line))
    }

    /// Writes the head as it is to another folder. The caller holds the maintenance lock.
    pub(crate) fn write_head_to(&self, dir: &Path) -> Result<(), MetricsError> {
        let Some(wal) = &self.wal else { return Err(MetricsError::ReadOnly) };
        let (place, line) = self.draw_snapshot_line(wal)?;
        self.write_side(line)?;
        Ok(write_file(&self.config.disk, dir, place, &self.head.all())?)
    }
}

fn write_file(
    disk: &Arc<dyn Disk>,
    dir: &Path,
    place: Place,
    series: &[Arc<Series>],
) -> Result<(), DiskError> {
    let mut file = BlockWriter::create(Arc::clone(disk), &dir.join(FILE), KIND, VERSION)?;
    let mut pairs = PairWriter::default();
    let (mut buffer, mut numbers) = (Vec::with_capacity(SECTION_BYTES * 2), Vec::new());
    let mut counts: Vec<u64> = Vec::new();
    let mut count = 0;
    for s in series {
        numbers.clear();
        pairs.put(&s.labels, &mut numbers);
        put_u64(&mut buffer, numbers.len() as u64);
        numbers.iter().for_each(|n| put_u64(&mut buffer, u64::from(*n)));
        lock(&s.state).put(&mut buffer);
        count += 1;
        if buffer.len() >= SECTION_BYTES {
            file.section(&section(counts.len()), &buffer, PACK)?;
            counts.push(std::mem::take(&mut count));
            buffer.clear();
        }
    }
    if count > 0 {
        file.section(&section(counts.len()), &buffer, PACK)?;
        counts.push(count);
    }
    file.section("pairs", &pairs.encode(), PACK)?;
    let mut meta = Vec::new();
    for v in [place.end.0, place.epoch, place.flush, place.logged_from, counts.len() as u64] {
        put_u64(&mut meta, v);
    }
    counts.iter().for_each(|c| put_u64(&mut meta, *c));
    file.section("meta", &meta, Codec::Raw)?;
    file.finish().map(drop)
}

fn section(number: usize) -> String {
    format!("s{number}")
}

/// The head of the last snapshot; `None` if there is no file. Samples of hours that `flushed` says
/// are in blocks are left out. `Err` (corrupt) if any of it does not read: half a head would be
/// worse than a longer replay.
pub(crate) fn load(
    disk: &Arc<dyn Disk>,
    dir: &Path,
    flushed: &BTreeMap<i64, u64>,
) -> Result<Option<Loaded>, DiskError> {
    let path = dir.join(FILE);
    if !disk.exists(&path) {
        return Ok(None);
    }
    let file = BlockReader::open(Arc::clone(disk), &path, KIND)?;
    if file.kind_version() != VERSION {
        let (found, known) = (u32::from(file.kind_version()), u32::from(VERSION));
        return Err(DiskError::UnsupportedVersion { path, found, known });
    }
    let bad = |what: &str| DiskError::corrupt(&path, 0, format!("{what} does not decode"));
    let (place, counts) = read_meta(&file.section("meta")?).ok_or_else(|| bad("meta"))?;
    let pair_bytes = file.section("pairs")?;
    let mut texts: Vec<(&str, &str)> = Vec::new();
    let pairs = Pairs::parse(&pair_bytes, |n, v| texts.push((n, v))).ok_or_else(|| bad("pairs"))?;

    // Ids by section: sections are read side by side.
    let mut first_id = 1_u32;
    let mut jobs: Vec<(usize, u32, usize)> = Vec::with_capacity(counts.len());
    for (number, count) in counts.into_iter().enumerate() {
        jobs.push((number, first_id, count));
        let count = u32::try_from(count).map_err(|_wide| bad("meta"))?;
        first_id = first_id.checked_add(count).ok_or_else(|| bad("meta"))?;
    }
    let done = |t: i64| in_block(flushed, t, place.flush);
    let read = |(number, first_id, count): (usize, u32, usize)| {
        let bytes = file.section(&section(number))?;
        read_section(&bytes, first_id, count, &pairs, &done).ok_or_else(|| bad(&section(number)))
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = threads.min(THREADS_MAX).min(jobs.len() / SECTIONS_PER_THREAD).max(1);
    let parts: Vec<Part> = if threads == 1 {
        jobs.into_iter().map(read).collect::<Result<_, _>>()?
    } else {
        let share = jobs.len().div_ceil(threads);
        std::thread::scope(|scope| {
            let workers: Vec<_> = jobs
                .chunks(share)
                .map(|mine| scope.spawn(|| mine.iter().copied().map(read).collect::<Vec<_>>()))
                .collect();
            workers
                .into_iter()
                .flat_map(|w| w.join().unwrap_or_else(|_panicked| vec![Err(bad("a section"))]))
                .collect::<Result<_, _>>()
        })?
    };
    let mut postings: Vec<Vec<u32>> = vec![Vec::new(); texts.len()];
    let (mut series, mut hours, mut max_t) = (Vec::new(), BTreeSet::new(), None);
    for part in parts {
        let mut numbers = part.pairs.iter();
        for (s, count) in part.series.iter().zip(&part.pair_counts) {
            for pair in numbers.by_ref().take(*count) {
                if let Some(list) = postings.get_mut(*pair as usize) {
                    list.push(s.id);
                }
            }
        }
        series.extend(part.series);
        hours.extend(part.hours);
        max_t = max_t.max(part.max_t);
    }
    let index = Index::of_pairs(1..first_id, texts.into_iter().zip(postings));
    Ok(Some(Loaded { head: Head::restore(series, index), place, hours, max_t }))
}

fn read_meta(bytes: &[u8]) -> Option<(Place, Vec<usize>)> {
    let mut r = Reader::new(bytes);
    let end = SegmentId(r.u64()?);
    let (epoch, flush, logged_from) = (r.u64()?, r.u64()?, r.u64()?);
    let n = r.count()?;
    let counts: Vec<usize> = (0..n).map(|_| r.usize()).collect::<Option<_>>()?;
    r.rest.is_empty().then_some((Place { end, epoch, flush, logged_from }, counts))
}

/// The series of one section.
#[derive(Default)]
struct Part {
    series: Vec<Arc<Series>>,
    /// Pair numbers of all series, end to end.
    pairs: Vec<u32>,
    pair_counts: Vec<usize>,
    hours: BTreeSet<i64>,
    max_t: Option<i64>,
}

fn read_section(
    bytes: &[u8],
    first_id: u32,
    count: usize,
    pairs: &Pairs,
    done: &impl Fn(i64) -> bool,
) -> Option<Part> {
    let mut r = Reader::new(bytes);
    let mut out = Part::default();
    for number in 0..count {
        let from = out.pairs.len();
        let n = r.count()?;
        for _ in 0..n {
            out.pairs.push(r.u32()?);
        }
        out.pair_counts.push(n);
        let labels = pairs.labels(out.pairs.get(from..)?)?;
        let state = State::get(&mut r, done)?;
        for t in state.hour_times() {
            // Nearly all series have the same few hours.
            if out.hours.last() != Some(&hour_of(t)) {
                out.hours.insert(hour_of(t));
            }
        }
        out.max_t = out.max_t.max(state.bounds().map(|(_, last)| last));
        let id = first_id.checked_add(u32::try_from(number).ok()?)?;
        out.series.push(Arc::new(Series::with_state(id, labels, state)));
    }
    r.rest.is_empty().then_some(out)
}
