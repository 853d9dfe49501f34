//! Snapshots of the head: what a start reads in place of most of the log.
//!
//! A snapshot, in order:
//! 1. Draw a line: begin a new segment of the log. Every record before the line is applied. The
//!    epoch goes on: records behind the line name series by the numbers that the snapshot has too,
//!    and the log still defines each of them before, for who cannot read the snapshot.
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

use crate::engine::{Line, MetricsEngine, in_block};
use crate::error::MetricsError;
use crate::head::{ById, Head};
use crate::pairs::{PairWriter, Pairs};
use crate::series::{Series, State};
use crate::symbols::Symbols;
use crate::{hour_of, lock, write};

pub(crate) const FILE: &str = "head.blk";
const KIND: [u8; 4] = *b"MEHS";
/// In version 1 series have no numbers of their own and the log begins an epoch at the line; up to
/// version 2 samples have no start timestamps.
const VERSION: u16 = 3;
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
    /// What the numbers mean that records of the line's epoch have.
    pub(crate) numbers: ById,
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
        write_file(&self.config.disk, &self.config.dir, place, &self.head)?;
        self.snapshot_end.store(place.end.0, Ordering::Relaxed);
        self.snapshot_flush.store(line.flush, Ordering::Relaxed);
        self.counters.snapshots.fetch_add(1, Ordering::Relaxed);
        Ok(true)
    }

    /// Begins a new segment: what was appended before is applied when this returns.
    fn draw_snapshot_line(&self, wal: &Wal) -> Result<(Place, Line), MetricsError> {
        if wal.is_poisoned() {
            wal.recover()?;
        }
        let (line, end) = {
            let line = write(&self.gate);
            (*line, wal.rotate()?)
        };
        let logged_from = lock(&self.epochs).first().map_or(line.flush_min, |e| e.flush_min);
        let place = Place { end, epoch: line.epoch, flush: line.flush, logged_from };
        Ok((place, line))
    }

    /// Writes the head as it is to another folder. The caller holds the maintenance lock.
    pub(crate) fn write_head_to(&self, dir: &Path) -> Result<(), MetricsError> {
        let Some(wal) = &self.wal else { return Err(MetricsError::ReadOnly) };
        let (place, line) = self.draw_snapshot_line(wal)?;
        self.write_side(line)?;
        Ok(write_file(&self.config.disk, dir, place, &self.head)?)
    }
}

fn write_file(
    disk: &Arc<dyn Disk>,
    dir: &Path,
    place: Place,
    head: &Head,
) -> Result<(), DiskError> {
    let mut file = BlockWriter::create(Arc::clone(disk), &dir.join(FILE), KIND, VERSION)?;
    let mut pairs = PairWriter::default();
    // The number in the file of each pair of the head, as far as it has one.
    let mut known: Vec<Option<u32>> = Vec::new();
    let mut number = |pair: u32| {
        let at = pair as usize;
        if let Some(Some(number)) = known.get(at) {
            return *number;
        }
        let symbols = head.symbols();
        known.resize(symbols.len().max(known.len()), None);
        let (name, value) = symbols.pair(pair);
        let number = pairs.number(name, value);
        if let Some(slot) = known.get_mut(at) {
            *slot = Some(number);
        }
        number
    };
    let mut buffer = Vec::with_capacity(SECTION_BYTES * 2);
    let mut counts: Vec<u64> = Vec::new();
    let (mut count, mut last_id) = (0, 0);
    for s in head.all() {
        put_u64(&mut buffer, u64::from(s.id - last_id));
        last_id = s.id;
        put_u64(&mut buffer, s.labels.len() as u64);
        s.labels.iter().for_each(|pair| put_u64(&mut buffer, u64::from(number(*pair))));
        lock(&s.state).put(&mut buffer);
        count += 1;
        if buffer.len() >= SECTION_BYTES {
            file.section(&section(counts.len()), &buffer, PACK)?;
            counts.push(std::mem::take(&mut count));
            buffer.clear();
            last_id = 0;
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
    let version = file.kind_version();
    if !(1..=VERSION).contains(&version) {
        let (found, known) = (u32::from(version), u32::from(VERSION));
        return Err(DiskError::UnsupportedVersion { path, found, known });
    }
    let bad = |what: &str| DiskError::corrupt(&path, 0, format!("{what} does not decode"));
    let (place, counts) = read_meta(&file.section("meta")?).ok_or_else(|| bad("meta"))?;
    let pair_bytes = file.section("pairs")?;
    let mut symbols = Symbols::default();
    let mut numbers = 0..;
    // The pairs of a file are all different, so that the head numbers them as the file does.
    let mut alike = true;
    let pairs = Pairs::parse(&pair_bytes, |n, v| {
        alike &= numbers.next() == Some(symbols.add(n, v).0);
    });
    let pairs = pairs.filter(|_| alike).ok_or_else(|| bad("pairs"))?;

    // Sections are read side by side. Those of version 1 number their series from 1 on.
    let mut first_id = 1_u32;
    let mut jobs: Vec<(usize, Option<u32>, usize)> = Vec::with_capacity(counts.len());
    for (number, count) in counts.into_iter().enumerate() {
        jobs.push((number, Some(first_id).filter(|_| version == 1), count));
        let count = u32::try_from(count).map_err(|_wide| bad("meta"))?;
        first_id = first_id.checked_add(count).ok_or_else(|| bad("meta"))?;
    }
    let done = |t: i64| in_block(flushed, t, place.flush);
    let read = |(number, first_id, count): (usize, Option<u32>, usize)| {
        let bytes = file.section(&section(number))?;
        read_section(&bytes, first_id, count, &pairs, (version > 2, &done))
            .ok_or_else(|| bad(&section(number)))
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
    let (mut series, mut hours, mut max_t) = (Vec::new(), BTreeSet::new(), None);
    for part in parts {
        series.extend(part.series);
        hours.extend(part.hours);
        max_t = max_t.max(part.max_t);
    }
    if !series.is_sorted_by(|a: &Arc<Series>, b| a.id < b.id) {
        return Err(bad("the numbers of series"));
    }
    let mut numbers = ById::default();
    if version > 1 {
        series.iter().for_each(|s| numbers.insert(s.id, Arc::clone(s)));
    }
    Ok(Some(Loaded { head: Head::restore(symbols, series), place, numbers, hours, max_t }))
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
    hours: BTreeSet<i64>,
    max_t: Option<i64>,
}

fn read_section(
    bytes: &[u8],
    first_id: Option<u32>,
    count: usize,
    pairs: &Pairs,
    (started, done): (bool, &impl Fn(i64) -> bool),
) -> Option<Part> {
    let mut r = Reader::new(bytes);
    let mut out = Part::default();
    let (mut buffer, mut labels, mut last_id) = (Vec::new(), Vec::new(), 0_u32);
    for number in 0..count {
        let id = match first_id {
            Some(first) => first.checked_add(u32::try_from(number).ok()?)?,
            None => last_id.checked_add(r.u32()?)?,
        };
        last_id = id;
        labels.clear();
        for _ in 0..r.count()? {
            labels.push(r.u32()?);
        }
        let hash = pairs.stable_hash(&labels, &mut buffer)?;
        let state = State::get(&mut r, started, done)?;
        for t in state.hour_times() {
            // Nearly all series have the same few hours.
            if out.hours.last() != Some(&hour_of(t)) {
                out.hours.insert(hour_of(t));
            }
        }
        out.max_t = out.max_t.max(state.bounds().map(|(_, last)| last));
        out.series.push(Arc::new(Series::new(id, hash, labels.as_slice().into(), state)));
    }
    r.rest.is_empty().then_some(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use obs_disk::FakeDisk;
    use obs_types::LabelSet;

    /// As version 1 was written: series without numbers.
    #[test]
    fn the_first_version_still_reads() {
        let disk: Arc<dyn Disk> = Arc::new(FakeDisk::new());
        let dir = Path::new("/data");
        disk.create_dir_all(dir).unwrap();
        let sets = ["a", "b"].map(|v| LabelSet::from_pairs([("__name__", "m"), ("v", v)]));
        let mut file = BlockWriter::create(Arc::clone(&disk), &dir.join(FILE), KIND, 1).unwrap();
        let (mut pairs, mut section, mut state) =
            (PairWriter::default(), Vec::new(), State::empty());
        state.push(60_000, 1.5, 0, 0).unwrap();
        for labels in &sets {
            let mut numbers = Vec::new();
            pairs.put(labels, &mut numbers);
            put_u64(&mut section, numbers.len() as u64);
            numbers.iter().for_each(|n| put_u64(&mut section, u64::from(*n)));
            state.put_samples(&mut section);
        }
        file.section("s0", &section, PACK).unwrap();
        file.section("pairs", &pairs.encode(), PACK).unwrap();
        let mut meta = Vec::new();
        [7, 5, 3, 2, 1, 2].iter().for_each(|v| put_u64(&mut meta, *v));
        file.section("meta", &meta, Codec::Raw).unwrap();
        file.finish().unwrap();

        let loaded = load(&disk, dir, &BTreeMap::new()).unwrap().unwrap();
        let place = Place { end: SegmentId(7), epoch: 5, flush: 3, logged_from: 2 };
        assert_eq!((loaded.place, loaded.max_t), (place, Some(60_000)));
        // Its log begins an epoch, whose numbers are defined there.
        assert_eq!(loaded.numbers.len(), 0);
        for (series, labels) in loaded.head.all().iter().zip(&sets) {
            assert_eq!(&loaded.head.labels(series), labels);
            assert!(loaded.head.find(labels.stable_hash(), labels).is_some());
            assert_eq!(lock(&series.state).sample_count(), 1);
        }
        assert_eq!(loaded.head.series_count(), 2);
    }
}
