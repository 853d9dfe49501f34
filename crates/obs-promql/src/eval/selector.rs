//! Reads series and looks up what an instant or range selector sees.

use std::sync::Arc;

use obs_types::{
    CounterResetHint, HistogramColumn, Matcher, NEWEST_SAMPLE, SeriesData, SeriesSelect,
    TimeRangeMs, TimestampMs, is_stale, matches_all,
};

use super::{Evaluator, Hist, Matrix, Series, Steps, failed};
use crate::EngineError;
use crate::ast::*;

/// Where a selector stands in data time for an evaluation time; `at` is where `@` fixes it.
pub(crate) fn data_time(at: Option<i64>, offset: i64, t: i64) -> i64 {
    at.unwrap_or(t).saturating_sub(offset)
}

/// Where `@` fixes a selector.
pub(crate) fn fixed_at(at: &Option<AtModifier>) -> Option<i64> {
    at.as_ref().and_then(AtModifier::millis)
}

/// The sample an instant selector sees, found by moving forward through the columns.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Lookup {
    floats: usize,
    hists: usize,
}

pub(crate) enum Found {
    Float(i64, f64, i64),
    Hist(i64, Hist, i64),
}

impl Lookup {
    /// The newest sample in `(at - lookback, at]`, unless it marks staleness.
    pub(crate) fn find(&mut self, s: &SeriesData, at: i64, lookback: i64) -> Option<Found> {
        // A step back happens only where every step looks at the same fixed time.
        while s.timestamps.get(self.floats).is_some_and(|t| *t <= at) {
            self.floats += 1;
        }
        while s.histograms.timestamps.get(self.hists).is_some_and(|t| *t <= at) {
            self.hists += 1;
        }
        let float = self.floats.checked_sub(1).and_then(|i| Some((*s.timestamps.get(i)?, i)));
        let hist =
            self.hists.checked_sub(1).and_then(|i| Some((*s.histograms.timestamps.get(i)?, i)));
        let after = at.saturating_sub(lookback);
        match (float, hist) {
            (f, Some((t, i))) if f.is_none_or(|f| f.0 < t) => {
                let h = s.histograms.values.get(i).filter(|h| t > after && !h.is_stale())?;
                let st = s.histograms.start_timestamps.get(i).copied().unwrap_or(0);
                Some(Found::Hist(t, Arc::clone(h), st))
            }
            (Some((t, i)), _) => {
                let v = s.values.get(i).copied().filter(|v| t > after && !is_stale(*v))?;
                Some(Found::Float(t, v, s.start_timestamps.get(i).copied().unwrap_or(0)))
            }
            _ => None,
        }
    }
}

/// Calls `f(the sample's time, value, step)` for every step at which a series of floats has a
/// value.
pub(crate) fn look_up_floats(
    data: &SeriesData,
    steps: Steps,
    (at, offset): (Option<i64>, i64),
    lookback: i64,
    mut f: impl FnMut(i64, f64, i64),
) {
    let mut next = 0;
    let (times, values) = (data.timestamps.as_slice(), data.values.as_slice());
    for t in steps.iter() {
        let end = data_time(at, offset, t);
        while times.get(next).is_some_and(|x| *x <= end) {
            next += 1;
        }
        let Some(i) = next.checked_sub(1) else { continue };
        if let (Some(own), Some(v)) = (times.get(i), values.get(i))
            && *own > end.saturating_sub(lookback)
            && !is_stale(*v)
        {
            f(*own, *v, t);
        }
    }
}

impl Evaluator<'_> {
    /// Reads the series that match with samples in `[from, to]`, one at a time and in the source's
    /// order; `each` takes it over, and its memory counts for as long as `each` runs.
    pub(crate) fn fetch_each(
        &mut self,
        matchers: &[Matcher],
        (from, to): (i64, i64),
        (function, step): (Option<&str>, i64),
        mut each: impl FnMut(&mut Self, SeriesData) -> Result<(), EngineError>,
    ) -> Result<(), EngineError> {
        let select = SeriesSelect {
            matchers,
            range: TimeRangeMs::new(TimestampMs(from), TimestampMs(to.saturating_add(1))),
            function,
            step_ms: Some(step),
        };
        for series in self.source.select(&select, self.context)? {
            self.take(series?, &mut each)?;
        }
        Ok(())
    }

    /// Hands over a series that was read.
    pub(super) fn take(
        &mut self,
        mut series: SeriesData,
        each: impl FnOnce(&mut Self, SeriesData) -> Result<(), EngineError>,
    ) -> Result<(), EngineError> {
        if self.stats.series_read.is_multiple_of(16) {
            self.check()?;
        }
        if self.hist_stats && !self.whole_buckets {
            settle_hints(&mut series.histograms);
        }
        self.stats.series_read += 1;
        self.stats.samples_read += series.sample_count() as u64;
        let histograms: usize = series.histograms.values.iter().map(|h| h.size_bytes()).sum();
        let bytes = series.timestamps.len() * 16 + histograms;
        self.memory.grow(bytes)?;
        each(self, series)?;
        self.memory.shrink(bytes);
        Ok(())
    }

    /// What a selector reads; a series that several of its alternatives match is read once.
    pub(crate) fn fetch_selector(
        &mut self,
        v: &VectorSelector,
        span: (i64, i64),
        hints: (Option<&str>, i64),
        mut each: impl FnMut(&mut Self, SeriesData) -> Result<(), EngineError>,
    ) -> Result<(), EngineError> {
        if v.alternatives.is_empty() {
            return self.fetch_each(&v.matchers, span, hints, each);
        }
        for (i, matchers) in [&v.matchers].into_iter().chain(&v.alternatives).enumerate() {
            let before = [&v.matchers].into_iter().chain(&v.alternatives).take(i);
            let before: Vec<&Vec<Matcher>> = before.collect();
            self.fetch_each(matchers, span, hints, |ev, data| {
                if before.iter().any(|m| matches_all(m, &data.labels)) {
                    return Ok(());
                }
                each(ev, data)
            })?;
        }
        Ok(())
    }

    /// Like [`Self::fetch_each`], all at once and sorted by labels; they count against the memory
    /// limit until the query ends.
    pub(crate) fn fetch(
        &mut self,
        v: &VectorSelector,
        span: (i64, i64),
        hints: (Option<&str>, i64),
    ) -> Result<Vec<SeriesData>, EngineError> {
        let mut out = Vec::new();
        self.fetch_selector(v, span, hints, |ev, series| {
            ev.memory.grow(series.sample_count() * 16)?;
            out.push(series);
            Ok(())
        })?;
        out.sort_by(|a, b| a.labels.cmp(&b.labels));
        Ok(out)
    }

    /// The data times that a selector needs over the steps.
    fn span(&self, v: &VectorSelector, steps: Steps, back: i64, ahead: i64) -> (i64, i64) {
        let offset = v.offset.millis();
        let first = data_time(fixed_at(&v.at), offset, steps.start);
        let last = data_time(fixed_at(&v.at), offset, steps.end);
        (first.saturating_sub(back).saturating_add(1), last.saturating_add(ahead))
    }

    /// The data times of an instant selector.
    pub(crate) fn instant_span(&self, v: &VectorSelector, steps: Steps) -> (i64, i64) {
        let lookback = self.options.lookback_ms;
        self.span(v, steps, lookback, if v.smoothed { lookback } else { 0 })
    }

    /// The data times of a range selector.
    pub(crate) fn range_span(&self, m: &MatrixSelector, steps: Steps) -> (i64, i64) {
        let v = &m.selector;
        let lookback = self.options.lookback_ms;
        let back = if v.anchored || v.smoothed { lookback } else { 0 };
        let ahead = if v.smoothed { lookback } else { 0 };
        self.span(v, steps, m.range.millis().saturating_add(back), ahead)
    }

    pub(crate) fn vector_selector(
        &mut self,
        v: &VectorSelector,
        steps: Steps,
    ) -> Result<Matrix, EngineError> {
        let mut span = self.instant_span(v, steps);
        if self.metricsql() {
            span.0 = span.0.saturating_sub(steps.step);
        } else if let Some(out) = self.instants_of_aggregates(v, steps)? {
            return Ok(out);
        }
        let newest = steps.is_instant() && !v.smoothed && !self.metricsql();
        let hints = (newest.then_some(NEWEST_SAMPLE), steps.step);
        let mut out = self.map_series(
            v,
            span,
            hints,
            || (),
            |ev, (), data| {
                if ev.metricsql() && !v.smoothed && data.histograms.values.is_empty() {
                    return ev.default_rollup(v, &data, steps);
                }
                let s = if v.smoothed {
                    ev.smooth(v, data, steps)
                } else {
                    ev.look_up(&data, steps, (fixed_at(&v.at), v.offset.millis()), false)?
                };
                ev.hold(s.len())?;
                ev.count_points(&s, steps);
                Ok((s.len() > 0).then_some(s))
            },
        )?;
        out.sort_by(|a, b| a.labels.cmp(&b.labels));
        Ok(out)
    }

    /// The points of a series that instant selectors see. With `times` the value is the sample's
    /// own time in milliseconds (for info metrics).
    pub(crate) fn look_up(
        &self,
        data: &SeriesData,
        steps: Steps,
        (at, offset): (Option<i64>, i64),
        times: bool,
    ) -> Result<Series, EngineError> {
        let lookback = self.options.lookback_ms;
        let mut s = Series { labels: data.labels.clone(), ..Series::default() };
        if data.histograms.values.is_empty() {
            s.floats.reserve(steps.count());
            look_up_floats(data, steps, (at, offset), lookback, |own, v, t| {
                s.floats.push((t, if times { own as f64 } else { v }));
            });
            return Ok(s);
        }
        let mut lookup = Lookup::default();
        for t in steps.iter() {
            match lookup.find(data, data_time(at, offset, t), lookback) {
                Some(Found::Float(own, v, _)) => {
                    s.floats.push((t, if times { own as f64 } else { v }));
                }
                Some(Found::Hist(..)) if times => {
                    return failed(format!(
                        "this should be an info metric, with float samples: {}",
                        s.labels
                    ));
                }
                Some(Found::Hist(_, h, _)) => s.hists.push((t, h)),
                None => {}
            }
        }
        Ok(s)
    }

    /// A bare range selector: the raw samples of the window, at one instant.
    pub(crate) fn matrix_selector(
        &mut self,
        m: &MatrixSelector,
        steps: Steps,
    ) -> Result<Matrix, EngineError> {
        let span = self.range_span(m, steps);
        let mut series = self.fetch(&m.selector, span, (None, steps.step))?;
        series.iter_mut().for_each(drop_stale);
        let v = &m.selector;
        let end = data_time(fixed_at(&v.at), v.offset.millis(), steps.start);
        let start = end.saturating_sub(m.range.millis());
        let lookback = self.options.lookback_ms;
        let low = if v.anchored || v.smoothed { start.saturating_sub(lookback) } else { start };
        let high = if v.smoothed { end.saturating_add(lookback) } else { end };
        let mut out = Vec::new();
        for data in &series {
            let mut s = Series { labels: data.labels.clone(), ..Series::default() };
            s.floats = data
                .timestamps
                .iter()
                .zip(&data.values)
                .filter(|(t, _)| **t > low && **t <= high)
                .map(|(t, v)| (*t, *v))
                .collect();
            s.hists = data
                .histograms
                .timestamps
                .iter()
                .zip(&data.histograms.values)
                .filter(|(t, _)| **t > low && **t <= high)
                .map(|(t, h)| (*t, Arc::clone(h)))
                .collect();
            if v.anchored || v.smoothed {
                if !s.hists.is_empty() {
                    return failed(format!(
                        "{} modifier is not supported with histograms",
                        if v.anchored { "anchored" } else { "smoothed" }
                    ));
                }
                s.floats = extend(&s.floats, start, end, v.smoothed);
            }
            if s.len() > 0 {
                self.hold(s.len())?;
                self.count_samples(0, s.len());
                out.push(s);
            }
        }
        Ok(out)
    }

    fn smooth(&mut self, v: &VectorSelector, mut data: SeriesData, steps: Steps) -> Series {
        let lookback = self.options.lookback_ms;
        drop_stale(&mut data);
        let mut s = Series { labels: data.labels.clone(), ..Series::default() };
        let name = data.labels.metric_name();
        for t in steps.iter() {
            let at = data_time(fixed_at(&v.at), v.offset.millis(), t);
            let (low, high) = (at.saturating_sub(lookback), at.saturating_add(lookback));
            let floats = window(&data.timestamps, low, high);
            let hists = window(&data.histograms.timestamps, low, high);
            if floats.is_empty() && hists.is_empty() {
                continue;
            }
            if !floats.is_empty() && !hists.is_empty() {
                self.annos.mixed_floats_histograms(name, v.pos);
            } else if hists.is_empty() {
                let (ts, vs) = (&data.timestamps[floats.clone()], &data.values[floats]);
                let i = ts.partition_point(|x| *x < at);
                if ts.get(i) == Some(&at) {
                    s.floats.push((t, vs[i]));
                } else if i > 0 && i < ts.len() {
                    let y = interpolate((ts[i - 1], vs[i - 1]), (ts[i], vs[i]), at, false);
                    s.floats.push((t, y));
                } else if i > 0 {
                    s.floats.push((t, vs[i - 1]));
                }
            } else {
                let ts = &data.histograms.timestamps[hists.clone()];
                let hs = &data.histograms.values[hists];
                let i = ts.partition_point(|x| *x < at);
                if ts.get(i) == Some(&at) {
                    s.hists.push((t, Arc::clone(&hs[i])));
                } else if i > 0 && i < ts.len() {
                    let (a, b) = (&hs[i - 1], &hs[i]);
                    if a.uses_custom_buckets() != b.uses_custom_buckets() {
                        self.annos.mixed_schemas(name, v.pos);
                        continue;
                    }
                    let counter = a.counter_reset_hint != CounterResetHint::Gauge
                        || b.counter_reset_hint != CounterResetHint::Gauge;
                    let h = super::range_call::interpolate_hist(
                        (ts[i - 1], a),
                        (ts[i], b),
                        at,
                        counter,
                        &mut self.annos,
                        v.pos,
                    );
                    match h {
                        Ok(h) => s.hists.push((t, Arc::new(h))),
                        Err(_) => self.annos.mixed_schemas(name, v.pos),
                    }
                } else if i > 0 {
                    let mut h = hs[i - 1].as_ref().clone();
                    h.counter_reset_hint = CounterResetHint::Unknown;
                    s.hists.push((t, Arc::new(h)));
                }
            }
        }
        s
    }
}

/// Replaces unknown counter-reset hints by what comparing neighbours tells.
pub(super) fn settle_hints(column: &mut HistogramColumn) {
    let mut prev: Option<Hist> = None;
    for h in &mut column.values {
        if h.is_stale() {
            continue;
        }
        let now = Arc::clone(h);
        if let Some(p) = prev.filter(|_| h.counter_reset_hint == CounterResetHint::Unknown) {
            let reset = crate::histogram::detect_reset(h, &p);
            Arc::make_mut(h).counter_reset_hint =
                if reset { CounterResetHint::Reset } else { CounterResetHint::NotReset };
        }
        prev = Some(now);
    }
}

/// Indices of the times in `(low, high]`.
pub(crate) fn window(times: &[i64], low: i64, high: i64) -> std::ops::Range<usize> {
    let from = times.partition_point(|t| *t <= low);
    let to = times.partition_point(|t| *t <= high);
    from..to.max(from)
}

/// Staleness markers end instant lookups but are no samples of a range.
pub(crate) fn drop_stale(s: &mut SeriesData) {
    if s.values.iter().any(|v| is_stale(*v)) {
        let keep: Vec<bool> = s.values.iter().map(|v| !is_stale(*v)).collect();
        let retain = |v: &mut Vec<i64>| {
            let mut k = keep.iter();
            v.retain(|_| k.next().copied().unwrap_or(true));
        };
        retain(&mut s.timestamps);
        retain(&mut s.start_timestamps);
        s.values.retain(|v| !is_stale(*v));
    }
    if s.histograms.values.iter().any(|h| h.is_stale()) {
        let keep: Vec<bool> = s.histograms.values.iter().map(|h| !h.is_stale()).collect();
        let retain = |v: &mut Vec<i64>| {
            let mut k = keep.iter();
            v.retain(|_| k.next().copied().unwrap_or(true));
        };
        retain(&mut s.histograms.timestamps);
        retain(&mut s.histograms.start_timestamps);
        s.histograms.values.retain(|h| !h.is_stale());
    }
}

/// Linear between two points; a counter that fell is taken to have started from 0.
pub(crate) fn interpolate(a: (i64, f64), b: (i64, f64), t: i64, counter: bool) -> f64 {
    let from = if counter && b.1 < a.1 { 0.0 } else { a.1 };
    from + (b.1 - from) * (t - a.0) as f64 / (b.0 - a.0) as f64
}

/// Samples of an anchored or smoothed window with a point on each boundary.
fn extend(floats: &[(i64, f64)], start: i64, end: i64, smoothed: bool) -> Vec<(i64, f64)> {
    let Some(mut last) = floats.len().checked_sub(1) else { return Vec::new() };
    let mut first = floats[..last].partition_point(|p| p.0 <= start).saturating_sub(1);
    if smoothed {
        last = floats[..last].partition_point(|p| p.0 < end);
    }
    if floats[last].0 <= start {
        return Vec::new();
    }
    let left = if smoothed && floats[first].0 < start {
        interpolate(floats[first], floats[first + 1], start, false)
    } else {
        floats[first].1
    };
    let right = if smoothed && last > 0 && floats[last].0 > end {
        interpolate(floats[last - 1], floats[last], end, false)
    } else {
        floats[last].1
    };
    if floats[first].0 <= start {
        first += 1;
    }
    let after = if floats[last].0 >= end { last } else { last + 1 };
    let mut out = vec![(start, left)];
    out.extend(floats.get(first..after).unwrap_or(&[]));
    out.push((end, right));
    out
}
