//! Reading and evaluating many series on several threads.
//!
//! Every thread has an evaluator of its own over a part of the series; what it counted and told
//! goes to the one that asked. Parts lie one behind the other in the source's order, so the result
//! is that of one thread.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use obs_types::{SeriesData, SeriesSelect, SeriesStream, TimeRangeMs, TimestampMs};

use super::{Counted, Evaluator, Held};
use crate::EngineError;
use crate::ast::VectorSelector;

/// Threads that queries of this process run besides their own.
static EXTRA: AtomicUsize = AtomicUsize::new(0);
/// Asked once: the answer is read from several files of the kernel.
static PROCESSORS: LazyLock<usize> =
    LazyLock::new(|| std::thread::available_parallelism().map_or(1, usize::from));

/// Leave to run more threads; given back when dropped.
struct Leave(usize);

impl Leave {
    /// Up to one thread for each processor, over all queries.
    fn take() -> Self {
        let free = |used: usize| PROCESSORS.saturating_sub(1).saturating_sub(used);
        let before = EXTRA.try_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
            (free(used) > 0).then(|| used + free(used))
        });
        Self(before.map_or(0, free))
    }
}

impl Drop for Leave {
    fn drop(&mut self) {
        EXTRA.fetch_sub(self.0, Ordering::Relaxed);
    }
}

impl<'a> Evaluator<'a> {
    /// Calls `f(evaluator, state, series)` for every series that a selector reads and collects what
    /// it gives, in the source's order; each thread has a state of its own.
    pub(crate) fn map_series<W, T: Send>(
        &mut self,
        v: &VectorSelector,
        span: (i64, i64),
        hints: (Option<&str>, i64),
        state: impl Fn() -> W + Sync,
        f: impl Fn(&mut Evaluator<'_>, &mut W, SeriesData) -> Result<Option<T>, EngineError> + Sync,
    ) -> Result<Vec<T>, EngineError> {
        if !v.alternatives.is_empty() {
            let (mut w, mut out) = (state(), Vec::new());
            self.fetch_selector(v, span, hints, |ev, data| {
                out.extend(f(ev, &mut w, data)?);
                Ok(())
            })?;
            return Ok(out);
        }
        let (from, to) = span;
        let select = SeriesSelect {
            matchers: &v.matchers,
            range: TimeRangeMs::new(TimestampMs(from), TimestampMs(to.saturating_add(1))),
            function: hints.0,
            step_ms: Some(hints.1),
        };
        let leave = Leave::take();
        let mut parts = self.source.select_parts(&select, self.context, leave.0 + 1)?.into_iter();
        let Some(own) = parts.next() else { return Ok(Vec::new()) };
        let run = |ev: &mut Evaluator<'_>, stream: SeriesStream<'_>| {
            let (mut w, mut out) = (state(), Vec::new());
            for series in stream {
                ev.take(series?, |ev, data| {
                    out.extend(f(ev, &mut w, data)?);
                    Ok(())
                })?;
            }
            Ok::<_, EngineError>(out)
        };
        if parts.len() == 0 {
            drop(leave);
            return run(self, own);
        }
        let helpers: Vec<_> = parts.map(|stream| (self.helper(), stream)).collect();
        let (mine, theirs) = std::thread::scope(|scope| {
            let running: Vec<_> = helpers
                .into_iter()
                .map(|(mut ev, stream)| scope.spawn(|| (run(&mut ev, stream), ev)))
                .collect();
            let mine = run(self, own);
            let theirs: Vec<_> = running.into_iter().map(|r| r.join()).collect();
            (mine, theirs)
        });
        let mut out = mine?;
        for ended in theirs {
            match ended {
                Ok((result, ev)) => {
                    out.append(&mut result?);
                    self.absorb(ev)?;
                }
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        Ok(out)
    }

    /// An evaluator for another thread, at the same place of the query.
    fn helper(&self) -> Evaluator<'a> {
        Evaluator {
            samples: self.samples,
            samples_at_start: self.samples,
            hist_stats: self.hist_stats,
            whole_buckets: self.whole_buckets,
            ..Evaluator::new(self.options, self.source, self.context)
        }
    }

    /// Takes over what a helper, made when this one held what it holds now without its own part,
    /// counted and told.
    fn absorb(&mut self, helper: Evaluator<'a>) -> Result<(), EngineError> {
        let Evaluator { annos, stats, samples, samples_at_start, memory, counted, .. } = helper;
        self.annos.absorb(annos);
        self.stats.series_read += stats.series_read;
        self.stats.samples_read += stats.samples_read;
        self.counted.absorb(counted);
        self.memory.absorb(memory);
        self.samples += samples.saturating_sub(samples_at_start);
        self.stats.samples_peak = self.stats.samples_peak.max(stats.samples_peak);
        self.pass(0)
    }
}

impl Held<'_> {
    fn absorb(&mut self, mut other: Self) {
        self.bytes += std::mem::take(&mut other.bytes);
    }
}

impl Counted {
    fn absorb(&mut self, other: Self) {
        self.total += other.total;
        if self.by_step.len() < other.by_step.len() {
            self.by_step.resize(other.by_step.len(), 0);
        }
        self.by_step.iter_mut().zip(other.by_step).for_each(|(a, b)| *a += b);
    }
}
