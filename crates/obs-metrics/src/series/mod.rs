//! One series in the head.
//!
//! Invariants:
//! - `flushing`, `closed` and `open` hold in-order floats, each sample later than all before it in
//!   that reading order; a chunk never crosses an hour.
//! - `late` and `histograms` are sorted by time; no two samples of the series share a time,
//!   wherever they lie.

mod flush;
mod persist;
mod read;

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use obs_types::{NativeHistogram, RejectReason};

use crate::chunk::{Chunk, OpenChunk};
use crate::histogram::same;
use crate::hour_of;
use crate::starts::Starts;

use flush::Portion;
pub(crate) use read::Snapshot;

/// A longer chunk would keep more samples in the form that grows, which is the larger one.
const CHUNK_SAMPLES_MAX: u16 = 120;
/// Estimate of what a series costs besides its labels and samples: itself, its places in the maps,
/// the room its chunk has before it grows.
const SERIES_BYTES: usize = 240;
/// Estimate for a label: its number, and the series' place in the index.
const LABEL_BYTES: usize = 10;

/// Kept small: a head of a million series is a million of these.
#[derive(Debug)]
pub(crate) struct Series {
    /// Unique in this process; also its number in the log.
    pub(crate) id: u32,
    /// Log epoch in which the label set of this series is known to be durable.
    logged_epoch: AtomicU32,
    /// Of the label set.
    pub(crate) hash: u64,
    /// Of the labels as some sender last wrote them; see `head.rs`.
    pub(crate) sent: AtomicU64,
    /// The label set, as numbers of its pairs.
    pub(crate) labels: Box<[u32]>,
    pub(crate) state: Mutex<State>,
}

#[derive(Debug)]
pub(crate) struct State {
    /// Newest time of any kind, also of samples that blocks hold by now.
    pub(crate) last_t: i64,
    open: Option<OpenChunk>,
    /// What series with few samples do without.
    rest: Option<Box<Rest>>,
}

/// What a series has besides the chunk that grows.
#[derive(Debug, Default)]
struct Rest {
    /// Taken by a maintenance run, still readable here until its blocks are durable.
    flushing: Vec<Portion>,
    closed: Vec<Chunk>,
    late: Vec<(i64, f64)>,
    histograms: Vec<(i64, Arc<NativeHistogram>)>,
    /// Of all these samples and those of the open chunk.
    starts: Starts,
}

static NO_REST: Rest = Rest {
    flushing: Vec::new(),
    closed: Vec::new(),
    late: Vec::new(),
    histograms: Vec::new(),
    starts: Starts::NONE,
};

impl Rest {
    fn is_empty(&self) -> bool {
        self.flushing.is_empty()
            && self.closed.is_empty()
            && self.late.is_empty()
            && self.histograms.is_empty()
            && self.starts.is_empty()
    }
}

/// What an accepted sample did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stored {
    /// Bytes by which the head grew.
    New(usize),
    /// The same sample was there.
    Again,
}

impl Series {
    pub(crate) fn new(id: u32, hash: u64, labels: Box<[u32]>, state: State) -> Self {
        let (logged_epoch, sent) = (AtomicU32::new(0), AtomicU64::new(0));
        Self { id, logged_epoch, hash, sent, labels, state: Mutex::new(state) }
    }

    /// Whether the log has its label set in that epoch. Epochs come by the hour, so that the low
    /// half of their numbers tells them apart.
    pub(crate) fn is_defined_in(&self, epoch: u64) -> bool {
        self.logged_epoch.load(Ordering::Acquire) == epoch as u32
    }

    pub(crate) fn set_defined_in(&self, epoch: u64) {
        if !self.is_defined_in(epoch) {
            self.logged_epoch.store(epoch as u32, Ordering::Release);
        }
    }

    pub(crate) fn fixed_bytes(&self) -> usize {
        SERIES_BYTES + self.labels.len() * LABEL_BYTES
    }
}

impl State {
    pub(crate) fn empty() -> Self {
        Self { last_t: i64::MIN, open: None, rest: None }
    }

    fn rest(&self) -> &Rest {
        self.rest.as_deref().unwrap_or(&NO_REST)
    }

    fn rest_mut(&mut self) -> &mut Rest {
        self.rest.get_or_insert_default()
    }

    /// `late_floor` is the oldest time that a sample older than `last_t` may have; `start` is its
    /// start timestamp, 0 if that is unknown. The same sample again leaves the start as it is.
    pub(crate) fn push(
        &mut self,
        t: i64,
        v: f64,
        start: i64,
        late_floor: i64,
    ) -> Result<Stored, RejectReason> {
        if t > self.last_t {
            let grown = self.set_start(t, start);
            self.last_t = t;
            return Ok(Stored::New(grown + self.push_in_order(t, v)));
        }
        match self.find(t) {
            Some(Found::Float(bits)) if bits == v.to_bits() => return Ok(Stored::Again),
            Some(_) => return Err(RejectReason::DuplicateTimestamp),
            None if t < late_floor => return Err(RejectReason::OutOfOrder),
            None => {}
        }
        let grown = self.set_start(t, start);
        let late = &mut self.rest_mut().late;
        let at = late.partition_point(|(other, _)| *other < t);
        late.insert(at, (t, v));
        Ok(Stored::New(grown + 16))
    }

    /// The sample is new and not in its place yet. Returns the bytes by which that grew.
    fn set_start(&mut self, t: i64, start: i64) -> usize {
        if start == 0 && self.rest().starts.is_empty() {
            return 0;
        }
        let newest = t > self.last_t;
        let starts = &mut self.rest_mut().starts;
        let before = starts.byte_len();
        starts.set(t, start, newest);
        starts.byte_len().saturating_sub(before)
    }

    pub(crate) fn push_histogram(
        &mut self,
        t: i64,
        h: &Arc<NativeHistogram>,
        start: i64,
        late_floor: i64,
    ) -> Result<Stored, RejectReason> {
        if t <= self.last_t {
            match self.find(t) {
                Some(Found::Histogram(have)) if same(&have, h) => return Ok(Stored::Again),
                Some(_) => return Err(RejectReason::DuplicateTimestamp),
                None if t < late_floor => return Err(RejectReason::OutOfOrder),
                None => {}
            }
        }
        let grown = self.set_start(t, start);
        self.last_t = self.last_t.max(t);
        let histograms = &mut self.rest_mut().histograms;
        let at = histograms.partition_point(|(other, _)| *other < t);
        histograms.insert(at, (t, Arc::clone(h)));
        Ok(Stored::New(grown + h.size_bytes() + 24))
    }

    fn push_in_order(&mut self, t: i64, v: f64) -> usize {
        if let Some(open) = &mut self.open
            && open.count < CHUNK_SAMPLES_MAX
            && hour_of(open.min_t()) == hour_of(t)
        {
            let before = open.byte_len();
            open.push(t, v);
            return open.byte_len().saturating_sub(before);
        }
        if let Some(full) = self.open.replace(OpenChunk::new(t, v)) {
            self.rest_mut().closed.push(full.close());
        }
        16
    }

    /// Bytes of samples.
    pub(crate) fn byte_len(&self) -> usize {
        self.rest().closed.iter().map(|c| c.bytes.len()).sum::<usize>()
            + self.open.as_ref().map_or(0, OpenChunk::byte_len)
            + self.rest().flushing.iter().map(Portion::byte_len).sum::<usize>()
            + self.rest().late.len() * 16
            + self.rest().histograms.iter().map(|(_, h)| h.size_bytes() + 24).sum::<usize>()
            + self.rest().starts.byte_len()
    }

    fn find(&self, t: i64) -> Option<Found> {
        if let Some(open) = &self.open {
            // The usual duplicate repeats the newest sample: no decoding.
            if open.max_t == t {
                return Some(Found::Float(open.last_value()));
            }
            if let Some(v) =
                (open.min_t()..open.max_t).contains(&t).then(|| open.snapshot().find(t)).flatten()
            {
                return Some(Found::Float(v.to_bits()));
            }
        }
        let flushing = self.rest().flushing.iter().flat_map(|p| &p.chunks);
        if let Some(v) = self.rest().closed.iter().chain(flushing).find_map(|c| c.find(t)) {
            return Some(Found::Float(v.to_bits()));
        }
        let late = |l: &[(i64, f64)]| {
            let at = l.binary_search_by_key(&t, |(time, _)| *time).ok()?;
            l.get(at).map(|(_, v)| Found::Float(v.to_bits()))
        };
        let histogram = |l: &[(i64, Arc<NativeHistogram>)]| {
            let at = l.binary_search_by_key(&t, |(time, _)| *time).ok()?;
            l.get(at).map(|(_, h)| Found::Histogram(Arc::clone(h)))
        };
        late(&self.rest().late).or_else(|| histogram(&self.rest().histograms)).or_else(|| {
            self.rest()
                .flushing
                .iter()
                .find_map(|p| late(&p.late).or_else(|| histogram(&p.histograms)))
        })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rest().flushing.is_empty()
            && self.rest().closed.is_empty()
            && self.open.is_none()
            && self.rest().late.is_empty()
            && self.rest().histograms.is_empty()
    }

    pub(crate) fn chunk_count(&self) -> usize {
        self.rest().closed.len()
            + usize::from(self.open.is_some())
            + self.rest().flushing.iter().map(|p| p.chunks.len()).sum::<usize>()
    }

    /// Samples held in memory.
    pub(crate) fn sample_count(&self) -> usize {
        let chunks =
            self.rest().closed.iter().chain(self.rest().flushing.iter().flat_map(|p| &p.chunks));
        chunks.map(|c| c.count as usize).sum::<usize>()
            + self.open.as_ref().map_or(0, |o| usize::from(o.count))
            + self.rest().late.len()
            + self.rest().histograms.len()
            + self.rest().flushing.iter().map(|p| p.late.len() + p.histograms.len()).sum::<usize>()
    }

    /// Samples of the chunks that overlap `[start, end)`, and all that lie outside chunks.
    pub(crate) fn sample_count_in(&self, start: i64, end: i64) -> usize {
        let overlaps = |min_t: i64, max_t: i64| min_t < end && start <= max_t;
        let rest = self.rest();
        let chunks = rest.closed.iter().chain(rest.flushing.iter().flat_map(|p| &p.chunks));
        let chunks = chunks.filter(|c| overlaps(c.min_t, c.max_t));
        let open = self.open.iter().filter(|o| overlaps(o.min_t(), o.max_t));
        chunks.map(|c| c.count as usize).sum::<usize>()
            + open.map(|o| usize::from(o.count)).sum::<usize>()
            + rest.late.len()
            + rest.histograms.len()
            + rest.flushing.iter().map(|p| p.late.len() + p.histograms.len()).sum::<usize>()
    }

    /// First and last time held in memory.
    pub(crate) fn bounds(&self) -> Option<(i64, i64)> {
        let chunks =
            self.rest().closed.iter().chain(self.rest().flushing.iter().flat_map(|p| &p.chunks));
        let spans = chunks
            .map(|c| (c.min_t, c.max_t))
            .chain(self.open.iter().map(|o| (o.min_t(), o.max_t)))
            .chain(self.rest().late.iter().map(|(t, _)| (*t, *t)))
            .chain(self.rest().histograms.iter().map(|(t, _)| (*t, *t)))
            .chain(self.rest().flushing.iter().flat_map(|p| {
                let late = p.late.iter().map(|(t, _)| (*t, *t));
                late.chain(p.histograms.iter().map(|(t, _)| (*t, *t)))
            }));
        spans.reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)))
    }
}

enum Found {
    Float(u64),
    Histogram(Arc<NativeHistogram>),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::HOUR_MS;
    use obs_types::{LabelSet, SeriesData};

    fn data(s: &State) -> Vec<(i64, f64)> {
        let mut out = SeriesData::default();
        s.snapshot(i64::MIN, i64::MAX).decode(i64::MIN, i64::MAX, &mut out);
        out.timestamps.into_iter().zip(out.values).collect()
    }

    #[test]
    fn late_samples_find_their_place_and_duplicates_are_told() {
        let series = Series::new(1, 0, Box::default(), State::empty());
        let mut s = crate::lock(&series.state);
        for t in [10, 20, 40] {
            assert!(matches!(s.push(t, t as f64, 0, 0), Ok(Stored::New(_))));
        }
        assert_eq!(s.push(30, 30.0, 0, 0), Ok(Stored::New(16)));
        assert_eq!(s.push(20, 20.0, 0, 0), Ok(Stored::Again));
        assert_eq!(s.push(30, 30.0, 0, 0), Ok(Stored::Again));
        assert_eq!(s.push(20, 21.0, 0, 0), Err(RejectReason::DuplicateTimestamp));
        assert_eq!(s.push(5, 5.0, 0, 6), Err(RejectReason::OutOfOrder));
        let h = Arc::new(NativeHistogram::default());
        assert_eq!(s.push_histogram(30, &h, 0, 0), Err(RejectReason::DuplicateTimestamp));
        s.push_histogram(35, &h, 0, 0).unwrap();
        assert_eq!(s.push_histogram(35, &h, 0, 0), Ok(Stored::Again));
        assert_eq!(s.push(35, 1.0, 0, 0), Err(RejectReason::DuplicateTimestamp));
        assert_eq!(data(&s), [(10, 10.0), (20, 20.0), (30, 30.0), (40, 40.0)]);
        assert_eq!(s.sample_count(), 5);
    }

    #[test]
    fn an_hour_that_is_taken_stays_readable_until_dropped() {
        let series = Series::new(1, 0, Box::default(), State::empty());
        let mut s = crate::lock(&series.state);
        for t in [0, HOUR_MS - 1, HOUR_MS, 2 * HOUR_MS] {
            s.push(t, 1.0, 0, 0).unwrap();
        }
        s.push(5, 2.0, 0, 0).unwrap();
        assert!(s.take_hour(0).is_some());
        s.push(6, 3.0, 0, 0).unwrap();
        assert_eq!(s.push(5, 9.0, 0, 0), Err(RejectReason::DuplicateTimestamp));
        let again = s.take_hour(0).unwrap().into_data(LabelSet::empty());
        assert_eq!(again.timestamps, [0, 5, 6, HOUR_MS - 1]);
        s.push(7, 4.0, 0, 0).unwrap();
        assert_eq!(data(&s).len(), 7);
        s.drop_hour(0);
        assert_eq!(data(&s), [(7, 4.0), (HOUR_MS, 1.0), (2 * HOUR_MS, 1.0)]);
        assert!(s.take_hour(9).is_none());
    }
}
