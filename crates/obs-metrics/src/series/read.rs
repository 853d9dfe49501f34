//! Reading a series of the head.

use std::sync::Arc;

use obs_types::{NativeHistogram, SeriesData};

use super::State;
use crate::chunk::Chunk;
use crate::starts::Starts;

/// A cheap copy of what a series holds, to decode without its lock.
#[derive(Clone, Debug, Default)]
pub(crate) struct Snapshot {
    pub(super) chunks: Vec<Chunk>,
    pub(super) late: Vec<(i64, f64)>,
    pub(super) histograms: Vec<(i64, Arc<NativeHistogram>)>,
    pub(super) starts: Starts,
}

impl State {
    /// The newest sample of all with its start timestamp, if it is a float that needs no decoding
    /// and lies in `[start, end)`.
    pub(crate) fn newest(&self, start: i64, end: i64) -> Option<(i64, f64, i64)> {
        let open = self.open.as_ref().filter(|o| o.max_t == self.last_t)?;
        let inside = start <= open.max_t && open.max_t < end;
        let started = || self.rest().starts.at(open.max_t);
        inside.then(|| (open.max_t, f64::from_bits(open.last_value()), started()))
    }

    /// Copies what overlaps `[start, end)`; chunks are shared, not copied.
    pub(crate) fn snapshot(&self, start: i64, end: i64) -> Snapshot {
        let starts = self.rest().starts.of_range(start, end);
        let mut out = Snapshot { starts, ..Snapshot::default() };
        let overlaps = |c: &&Chunk| c.min_t < end && start <= c.max_t;
        let inside = |t: i64| start <= t && t < end;
        for p in &self.rest().flushing {
            out.chunks.extend(p.chunks.iter().filter(overlaps).cloned());
            out.late.extend(p.late.iter().filter(|(t, _)| inside(*t)));
            out.histograms.extend(p.histograms.iter().filter(|(t, _)| inside(*t)).cloned());
        }
        out.chunks.extend(self.rest().closed.iter().filter(overlaps).cloned());
        if let Some(open) = self.open.as_ref().filter(|o| o.min_t() < end && start <= o.max_t) {
            out.chunks.push(open.snapshot());
        }
        out.late.extend(self.rest().late.iter().filter(|(t, _)| inside(*t)));
        out.histograms.extend(self.rest().histograms.iter().filter(|(t, _)| inside(*t)).cloned());
        if !self.rest().flushing.is_empty() {
            // A late sample may have come for an hour that is being written right now.
            out.late.sort_by_key(|(t, _)| *t);
            out.histograms.sort_by_key(|(t, _)| *t);
        }
        out
    }
}

impl Snapshot {
    pub(crate) fn is_empty(&self) -> bool {
        self.chunks.is_empty() && self.late.is_empty() && self.histograms.is_empty()
    }

    pub(crate) fn byte_len(&self) -> usize {
        self.chunks.iter().map(|c| c.bytes.len() + size_of::<Chunk>()).sum::<usize>()
            + self.late.len() * 16
            + self.histograms.len() * 24
    }

    /// Whether some sample lies in `[start, end)`; `start` and `end` as given to the snapshot.
    pub(crate) fn has_samples(&self, start: i64, end: i64) -> bool {
        if !self.late.is_empty() || !self.histograms.is_empty() {
            return true;
        }
        self.chunks.iter().any(|c| {
            let ends_inside = start <= c.min_t || c.max_t < end;
            ends_inside || {
                let mut found = false;
                c.walk(|t, _| found |= start <= t && t < end);
                found
            }
        })
    }

    /// Appends the samples of `[start, end)` to the columns of `out`, ascending.
    pub(crate) fn decode(self, start: i64, end: i64, out: &mut SeriesData) {
        let count = self.chunks.iter().map(|c| c.count as usize).sum::<usize>() + self.late.len();
        let (before, histograms_before) = (out.timestamps.len(), out.histograms.timestamps.len());
        out.timestamps.reserve(count);
        out.values.reserve(count);
        if self.late.is_empty() && start < end {
            for chunk in &self.chunks {
                chunk.append(start, end - 1, &mut out.timestamps, &mut out.values);
            }
        } else {
            self.merge_late(start, end, out);
        }
        for (t, h) in self.histograms {
            out.histograms.timestamps.push(t);
            out.histograms.values.push(h);
        }
        let new = out.timestamps.get(before..).unwrap_or_default();
        self.starts.extend(&mut out.start_timestamps, before, new);
        let h = &mut out.histograms;
        let new = h.timestamps.get(histograms_before..).unwrap_or_default();
        self.starts.extend(&mut h.start_timestamps, histograms_before, new);
    }

    /// The chunks' samples with the late ones among them.
    fn merge_late(&self, start: i64, end: i64, out: &mut SeriesData) {
        let mut late = self.late.iter().copied().peekable();
        for chunk in &self.chunks {
            chunk.walk(|t, v| {
                while let Some((late_t, late_v)) = late.next_if(|(late_t, _)| *late_t < t) {
                    out.timestamps.push(late_t);
                    out.values.push(late_v);
                }
                if start <= t && t < end {
                    out.timestamps.push(t);
                    out.values.push(v);
                }
            });
        }
        for (t, v) in late {
            out.timestamps.push(t);
            out.values.push(v);
        }
    }
}
