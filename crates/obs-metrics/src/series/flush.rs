//! Hours on their way from the head to a block.

use std::sync::Arc;

use obs_types::{LabelSet, NativeHistogram, SeriesData};

use super::{Snapshot, State};
use crate::chunk::Chunk;
use crate::{HOUR_MS, hour_of};

/// What one series has for one hour.
#[derive(Clone, Debug, Default)]
pub(crate) struct Portion {
    hour: i64,
    pub(super) chunks: Vec<Chunk>,
    pub(super) late: Vec<(i64, f64)>,
    pub(super) histograms: Vec<(i64, Arc<NativeHistogram>)>,
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
        match rest.flushing.iter_mut().find(|p| p.hour == hour) {
            Some(before) => {
                before.chunks.append(&mut taken.chunks);
                before.late.append(&mut taken.late);
                before.late.sort_by_key(|(t, _)| *t);
                before.histograms.append(&mut taken.histograms);
                before.histograms.sort_by_key(|(t, _)| *t);
                Some(before.clone())
            }
            None if taken.is_empty() => None,
            None => {
                rest.flushing.reserve_exact(1);
                rest.flushing.push(taken.clone());
                rest.flushing.sort_by_key(|p| p.hour);
                Some(taken)
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
        if rest.is_empty() {
            self.rest = None;
        }
        freed
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
        let snapshot =
            Snapshot { chunks: self.chunks, late: self.late, histograms: self.histograms };
        let mut out = SeriesData { labels, ..SeriesData::default() };
        snapshot.decode(start, start.saturating_add(HOUR_MS), &mut out);
        out
    }
}
