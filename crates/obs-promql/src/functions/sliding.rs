//! Range functions over all windows of one series of floats at once.
//!
//! Where windows overlap, what is known of one window serves the next: sums of whole numbers come
//! from running sums (exact, as long as nothing is rounded), extremes from a queue of candidates,
//! counts of changes and resets from running counts, quantiles from a sorted window. The answers
//! are those of the functions over single windows, to the bit.
//!
//! On the query path: no allocation per step.

use std::collections::VecDeque;
use std::ops::Range;

use super::over_time::{WHOLE_MAX, mean_of, off_whole, quantile_of_sorted, rank_order, sum_of};
use super::rate;

/// Times of the evaluation and its windows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Grid<'a> {
    /// The evaluation time of each step.
    pub(crate) steps: &'a [i64],
    /// The end of each step's window in data time.
    pub(crate) ends: &'a [i64],
    pub(crate) range_ms: i64,
}

/// One series of floats and the samples of each step's window; both ends of the windows only move
/// forward.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Floats<'a> {
    pub(crate) times: &'a [i64],
    pub(crate) values: &'a [f64],
    pub(crate) windows: &'a [Range<usize>],
    pub(crate) grid: Grid<'a>,
}

impl Floats<'_> {
    /// `(evaluation time, window end, samples)` of the steps whose window has samples.
    pub(super) fn steps(&self) -> impl Iterator<Item = (i64, i64, Range<usize>)> {
        self.windows
            .iter()
            .zip(self.grid.steps)
            .zip(self.grid.ends)
            .filter(|((w, _), _)| !w.is_empty())
            .map(|((w, t), end)| (*t, *end, w.clone()))
    }

    /// Whether windows overlap so much that looking at every sample once pays.
    fn overlaps(&self) -> bool {
        let looked_at: usize = self.windows.iter().map(ExactSizeIterator::len).sum();
        looked_at > self.values.len().saturating_mul(4)
    }

    fn each(&self, out: &mut Vec<(i64, f64)>, f: impl Fn(&[f64]) -> Option<f64>) {
        out.extend(self.steps().filter_map(|(t, _, w)| f(&self.values[w]).map(|v| (t, v))));
    }

    /// `sums[i]` is the sum of the values before `i`. `None` where a sum might be rounded.
    fn whole_sums(&self) -> Option<Vec<f64>> {
        let mut sums = Vec::with_capacity(self.values.len() + 1);
        let (mut sum, mut magnitude) = (0.0, 0.0);
        sums.push(0.0);
        for v in self.values {
            magnitude += v.abs();
            // Also false for a NaN.
            if !(magnitude < WHOLE_MAX && off_whole(*v) == 0.0) {
                return None;
            }
            sum += v;
            sums.push(sum);
        }
        Some(sums)
    }

    fn sums(&self, out: &mut Vec<(i64, f64)>, mean: bool) {
        let sums = if self.overlaps() { self.whole_sums() } else { None };
        let Some(sums) = sums else {
            return self.each(out, |v| if mean { mean_of(v) } else { Some(sum_of(v)) });
        };
        for (t, _, w) in self.steps() {
            let sum = sums[w.end] - sums[w.start];
            out.push((t, if mean { sum / w.len() as f64 + 0.0 } else { sum }));
        }
    }

    /// The extreme values; of equal ones the first, a NaN yields to everything.
    fn extremes(&self, out: &mut Vec<(i64, f64)>, better: fn(f64, f64) -> bool) {
        if !self.overlaps() {
            return self.each(out, |values| {
                let mut best = *values.first()?;
                for v in values {
                    if better(*v, best) || best.is_nan() {
                        best = *v;
                    }
                }
                Some(best)
            });
        }
        // Candidates: each is strictly better than all after it would allow it to be dropped.
        let mut queue: VecDeque<usize> = VecDeque::new();
        let mut taken = 0;
        for (t, _, w) in self.steps() {
            taken = taken.max(w.start);
            while taken < w.end {
                let v = self.values[taken];
                if !v.is_nan() {
                    while queue.back().is_some_and(|i| better(v, self.values[*i])) {
                        queue.pop_back();
                    }
                    queue.push_back(taken);
                }
                taken += 1;
            }
            while queue.front().is_some_and(|i| *i < w.start) {
                queue.pop_front();
            }
            let best = queue.front().copied().unwrap_or(w.end - 1);
            out.push((t, self.values[best]));
        }
    }

    /// How many neighbours within each window differ.
    fn pairs(&self, out: &mut Vec<(i64, f64)>, differ: fn(f64, f64) -> bool) {
        let mut counts: Vec<u32> = Vec::with_capacity(self.values.len());
        let mut count = 0;
        counts.push(0);
        for pair in self.values.windows(2) {
            count += u32::from(differ(pair[0], pair[1]));
            counts.push(count);
        }
        for (t, _, w) in self.steps() {
            out.push((t, f64::from(counts[w.end - 1] - counts[w.start])));
        }
    }

    fn quantiles(&self, out: &mut Vec<(i64, f64)>, q: &[f64]) {
        let mut sorted: Vec<f64> = Vec::new();
        let mut held = 0..0;
        for (n, w) in self.windows.iter().enumerate() {
            if w.is_empty() {
                continue;
            }
            let (from, to) = (held.end.clamp(w.start, w.end), w.end);
            let gone = held.start..held.end.min(w.start);
            if gone.len() + (to - from) > w.len() / 2 {
                // Little stays: sorting anew is cheaper than moving.
                sorted.clear();
                sorted.extend_from_slice(&self.values[w.clone()]);
                sorted.sort_by(|a, b| rank_order(*a, *b));
            } else {
                for v in &self.values[gone] {
                    // Of equal ones the first is the oldest.
                    let at = sorted.partition_point(|x| rank_order(*x, *v).is_lt());
                    sorted.remove(at);
                }
                for v in &self.values[from..to] {
                    let at = sorted.partition_point(|x| rank_order(*x, *v).is_le());
                    sorted.insert(at, *v);
                }
            }
            held = w.clone();
            let q = q.get(n).copied().unwrap_or(f64::NAN);
            out.push((self.grid.steps[n], quantile_of_sorted(q, &sorted)));
        }
    }

    fn last_two(&self, out: &mut Vec<(i64, f64)>, rate: bool) {
        for (t, _, w) in self.steps() {
            let (Some(p), Some(q)) =
                (w.end.checked_sub(2).filter(|p| *p >= w.start), w.clone().last())
            else {
                continue;
            };
            let interval = (self.times[q] - self.times[p]) as f64 / 1000.0;
            let (before, now) = (self.values[p], self.values[q]);
            let v = if rate && now < before { now } else { now - before };
            out.push((t, if rate { v / interval } else { v }));
        }
    }
}

/// Whether a function is evaluated over all windows of a series at once.
pub(crate) fn slides(name: &str) -> bool {
    let none = Grid { steps: &[], ends: &[], range_ms: 0 };
    let nothing = Floats { times: &[], values: &[], windows: &[], grid: none };
    slide(name, &nothing, &[], &mut Vec::new())
}

/// Appends the answer of a function over every window that has one. `false`, with nothing done,
/// for functions that are evaluated window by window. `scalars` are the other arguments by step.
pub(crate) fn slide(
    name: &str,
    f: &Floats<'_>,
    scalars: &[Vec<f64>],
    out: &mut Vec<(i64, f64)>,
) -> bool {
    match name {
        "rate" => rate::slide(f, rate::RATE, out),
        "increase" => rate::slide(f, rate::INCREASE, out),
        "delta" => rate::slide(f, rate::DELTA, out),
        "irate" => f.last_two(out, true),
        "idelta" => f.last_two(out, false),
        "changes" => f.pairs(out, |p, q| q != p && !(q.is_nan() && p.is_nan())),
        "resets" => f.pairs(out, |p, q| q < p),
        "sum_over_time" => f.sums(out, false),
        "avg_over_time" => f.sums(out, true),
        "min_over_time" => f.extremes(out, |a, b| a < b),
        "max_over_time" => f.extremes(out, |a, b| a > b),
        "count_over_time" => out.extend(f.steps().map(|(t, _, w)| (t, w.len() as f64))),
        "present_over_time" | "absent_over_time" => {
            out.extend(f.steps().map(|(t, _, _)| (t, 1.0)));
        }
        "first_over_time" => f.each(out, |v| v.first().copied()),
        "last_over_time" => f.each(out, |v| v.last().copied()),
        "quantile_over_time" => f.quantiles(out, scalars.first().map_or(&[], Vec::as_slice)),
        _ => return false,
    }
    true
}
