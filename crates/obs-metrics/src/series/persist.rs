//! The bytes of a series in a snapshot of the head.

use std::sync::Arc;

use obs_disk::bytes::{Reader, put_f64, put_i64, put_u64};

use super::{Rest, State};
use crate::chunk::{Chunk, OpenChunk};
use crate::histogram::{get_histogram, put_histogram};
use crate::starts::Starts;

impl State {
    /// Appends all that the series holds, for a snapshot of the head.
    pub(crate) fn put(&self, out: &mut Vec<u8>) {
        self.put_samples(out);
        self.rest().starts.put(out);
    }

    pub(crate) fn put_samples(&self, out: &mut Vec<u8>) {
        let open = self.open.as_ref().map(OpenChunk::snapshot);
        let flushing = self.rest().flushing.iter();
        let chunks =
            flushing.clone().flat_map(|p| &p.chunks).chain(&self.rest().closed).chain(&open);
        let late = flushing.clone().flat_map(|p| &p.late).chain(&self.rest().late);
        let histograms = flushing.flat_map(|p| &p.histograms).chain(&self.rest().histograms);
        put_i64(out, self.last_t);
        put_u64(out, chunks.clone().count() as u64);
        chunks.for_each(|c| c.put(out));
        put_u64(out, late.clone().count() as u64);
        for (t, v) in late {
            put_i64(out, *t);
            put_f64(out, *v);
        }
        put_u64(out, histograms.clone().count() as u64);
        for (t, h) in histograms {
            put_i64(out, *t);
            put_histogram(out, h);
        }
    }

    /// What `put` wrote (or `put_samples`, which is not `started`), without the samples of times
    /// that are `done`; `None` if the bytes do not decode.
    pub(crate) fn get(
        r: &mut Reader<'_>,
        started: bool,
        done: impl Fn(i64) -> bool,
    ) -> Option<Self> {
        let (mut out, mut rest) = (Self::empty(), Rest::default());
        out.last_t = r.i64()?;
        for _ in 0..r.count()? {
            // A chunk lies in one hour.
            rest.closed.extend(Some(Chunk::get(r)?).filter(|c| !done(c.min_t)));
        }
        for _ in 0..r.count()? {
            rest.late.extend(Some((r.i64()?, r.f64()?)).filter(|(t, _)| !done(*t)));
        }
        for _ in 0..r.count()? {
            let one = (r.i64()?, Arc::new(get_histogram(r)?));
            rest.histograms.extend(Some(one).filter(|(t, _)| !done(*t)));
        }
        if started {
            rest.starts = Starts::get(r)?;
        }
        rest.late.sort_by_key(|(t, _)| *t);
        rest.histograms.sort_by_key(|(t, _)| *t);
        out.rest = Some(rest).filter(|rest| !rest.is_empty()).map(Box::new);
        Some(out)
    }

    /// Times that between them touch every hour with samples.
    pub(crate) fn hour_times(&self) -> impl Iterator<Item = i64> {
        let chunks =
            self.rest().closed.iter().chain(self.rest().flushing.iter().flat_map(|p| &p.chunks));
        let late = self.rest().late.iter().chain(self.rest().flushing.iter().flat_map(|p| &p.late));
        let histograms = self
            .rest()
            .histograms
            .iter()
            .chain(self.rest().flushing.iter().flat_map(|p| &p.histograms));
        chunks
            .map(|c| c.min_t)
            .chain(self.open.iter().map(|o| o.min_t()))
            .chain(late.map(|(t, _)| *t))
            .chain(histograms.map(|(t, _)| *t))
    }
}
