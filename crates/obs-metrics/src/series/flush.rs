//! Hours on their way from the head to a block.

use std::sync::Arc;

use obs_types::{LabelSet, NativeHistogram, SeriesData};

use super::{Snapshot, State};
use crate::chunk::Chunk;
use crate::starts::Starts;
use crate::{HOUR_MS, hour_of};

/// What one series has for one hour.
#[derive(Clone, Debug, Default)]
pub(crate) struct Portion {
    hour: i64,
    pub(super) chunks: Vec<Chunk>,
    pub(super) late: Vec<(i64, f64)>,
    pub(super) histograms: Vec<(i64, Arc<NativeHistogram>)>,
    /// Only where it leaves its series; that has them until the hour is dropped.
    starts: Starts,
}

impl State {
    /// Moves everything of `hour` aside, to be written to a block; it stays readable. What an
    /// earlier, failed attempt moved comes along.
    pub(crate) fn take_hour(&mut self, hour: i64) -> Option<Portion> {
        let mut taken = Portion { hour, ..Portion::default() };
        // Written out soon: not worth packing.
        let open = self.open.take_if(|o| hour_of(o.min_t()) == hour).map(|o| o.snapshot());
        if open.is_none() && self.rest.is_none() {
            return None;
        }
        let rest = self.rest_mut();
        rest.closed.extend(open);
        let of_hour = |t: i64| hour_of(t) == hour;
        if rest.closed.iter().any(|c| of_hour(c.min_t)) {
            let all = std::mem::take(&mut rest.closed);
            (taken.chunks, rest.closed) = all.into_iter().partition(|c| of_hour(c.min_t));
        }
        if rest.late.iter().any(|(t, _)| of_hour(*t)) {
            let all = std::mem::take(&mut rest.late);
            (taken.late, rest.late) = all.into_iter().partition(|(t, _)| of_hour(*t));
        }
        if rest.histograms.iter().any(|(t, _)| of_hour(*t)) {
            let all = std::mem::take(&mut rest.histograms);
            (taken.histograms, rest.histograms) = all.into_iter().partition(|(t, _)| of_hour(*t));
        }
        // A head full of these for as long as a block takes to write: no room left over.
        taken.chunks.shrink_to_fit();
        let first = hour.saturating_mul(HOUR_MS);
        let starts = rest.starts.of_range(first, first.saturating_add(HOUR_MS));
        match rest.flushing.iter_mut().find(|p| p.hour == hour) {
            Some(before) => {
                before.chunks.append(&mut taken.chunks);
                before.late.append(&mut taken.late);
                before.late.sort_by_key(|(t, _)| *t);
                before.histograms.append(&mut taken.histograms);
                before.histograms.sort_by_key(|(t, _)| *t);
                Some(Portion { starts, ..before.clone() })
            }
            None if taken.is_empty() => None,
            None => {
                rest.flushing.reserve_exact(1);
                rest.flushing.push(taken.clone());
                rest.flushing.sort_by_key(|p| p.hour);
                Some(Portion { starts, ..taken })
            }
        }
    }

    /// Forgets what [`State::take_hour`] moved aside; its block is durable. Returns the bytes.
    pub(crate) fn drop_hour(&mut self, hour: i64) -> usize {
        let mut freed = 0;
        let Some(rest) = &mut self.rest else { return 0 };
        rest.flushing.retain(|p| {
            if p.hour == hour {
                freed += p.byte_len();
            }
            p.hour != hour
        });
        if !rest.starts.is_empty() {
            freed += rest.starts.byte_len();
            self.forget_starts();
            freed = freed.saturating_sub(self.rest().starts.byte_len());
        }
        if self.rest().is_empty() {
            self.rest = None;
        }
        freed
    }

    /// Forgets the start timestamps of samples that are gone.
    fn forget_starts(&mut self) {
        let first = self.bounds().map(|(first, _)| first);
        let starts = &mut self.rest_mut().starts;
        match first {
            Some(first) => starts.forget_before(first),
            None => *starts = Starts::NONE,
        }
    }
}

impl Portion {
    fn is_empty(&self) -> bool {
        self.chunks.is_empty() && self.late.is_empty() && self.histograms.is_empty()
    }

    pub(super) fn byte_len(&self) -> usize {
        self.chunks.iter().map(|c| c.bytes.len()).sum::<usize>()
            + self.late.len() * 16
            + self.histograms.iter().map(|(_, h)| h.size_bytes() + 24).sum::<usize>()
    }

    pub(crate) fn into_data(self, labels: LabelSet) -> SeriesData {
        let start = self.hour.saturating_mul(HOUR_MS);
        let Self { chunks, late, histograms, starts, .. } = self;
        let snapshot = Snapshot { chunks, late, histograms, starts };
        let mut out = SeriesData { labels, ..SeriesData::default() };
        snapshot.decode(start, start.saturating_add(HOUR_MS), &mut out);
        out
    }
}
