//! Selectors that stored 1h aggregates answer: windows of whole hours, and instants at whole hours.
//! What the source has no aggregates for is read as samples and brought into the same form, so that
//! one way of evaluating serves both.

use std::collections::BTreeMap;
use std::sync::Arc;

use obs_types::{
    DurationMs, HistogramHour, HourAggregate, LabelSet, Matcher, SeriesAggregates, SeriesSelect,
    TimeRangeMs, TimestampMs, kahan,
};

use super::selector::{data_time, fixed_at, settle_hints, window};
use super::{Evaluator, Matrix, RangeArgs, Series, Steps, Window};
use crate::ast::*;
use crate::functions::sliding::Grid;
use crate::functions::{pairs, rate};
use crate::{EngineError, SampleValue};

const HOUR: i64 = DurationMs::HOUR.0;

/// Functions over windows that aggregates of whole hours answer.
const FUNCTIONS: [&str; 15] = [
    "absent_over_time",
    "avg_over_time",
    "count_over_time",
    "delta",
    "first_over_time",
    "increase",
    "last_over_time",
    "max_over_time",
    "min_over_time",
    "present_over_time",
    "rate",
    "resets",
    "sum_over_time",
    "ts_of_first_over_time",
    "ts_of_last_over_time",
];

/// A window needs samples after all.
struct NeedsSamples;

/// The hours of one series in one window; none of them is without samples.
struct Hours<'a> {
    floats: &'a [HourAggregate],
    histogram_hours: &'a [HistogramHour],
    kept: Window<'a>,
}

impl Evaluator<'_> {
    /// The call over every series; `None` where samples have to be read.
    pub(super) fn call_over_aggregates(
        &mut self,
        name: &str,
        v: &VectorSelector,
        (grid, pos): (Grid<'_>, PosRange),
    ) -> Result<Option<Matrix>, EngineError> {
        let whole = |t: &i64| t % HOUR == 0;
        let fits = FUNCTIONS.binary_search(&name).is_ok()
            && grid.range_ms > 0
            && whole(&grid.range_ms)
            && grid.ends.iter().all(whole)
            && !(v.anchored || v.smoothed || self.options.use_start_timestamps);
        let (Some(first), Some(last)) = (grid.ends.first(), grid.ends.last()) else {
            return Ok(None);
        };
        if !fits {
            return Ok(None);
        }
        let span = (first.saturating_sub(grid.range_ms), *last);
        let step = grid.steps.get(1).map_or(1, |t| t - grid.steps[0]);
        let mut out = Vec::new();
        let used =
            self.each_by_hour(&v.matchers, span, (Some(name), step), pos, |ev, mut data| {
                data.hours.retain(|h| h.count > 0);
                let mut s = Series { labels: data.labels.clone(), ..Series::default() };
                for (n, (ts, end)) in grid.steps.iter().zip(grid.ends).enumerate() {
                    let low = end.saturating_sub(grid.range_ms);
                    let hours = Hours::of(&data, low, *end);
                    let looked_at = hours.floats.len() + hours.kept.hv.len();
                    if looked_at == 0 {
                        continue;
                    }
                    ev.pass(looked_at)?;
                    ev.count_samples(n, looked_at);
                    let args = RangeArgs {
                        ts: *ts,
                        range_start: low,
                        range_end: *end,
                        range_ms: grid.range_ms,
                        anchored: false,
                        smoothed: false,
                        name: data.labels.metric_name(),
                        pos,
                        scalars: &[],
                    };
                    match ev.over_hours(name, &hours, &args)? {
                        Ok(Some(value)) => s.push(*ts, value),
                        Ok(None) => {}
                        Err(NeedsSamples) => return Ok(false),
                    }
                }
                if s.len() > 0 {
                    ev.hold(s.len())?;
                    let metric = s.labels.metric_name();
                    if matches!(name, "rate" | "increase")
                        && !metric.is_empty()
                        && !s.floats.is_empty()
                    {
                        ev.note_non_counter(&s.labels, metric, pos);
                    }
                    out.push(s);
                }
                Ok(true)
            })?;
        Ok(used.then_some(out))
    }

    /// What an instant selector sees at whole hours; `None` where samples have to be read.
    pub(super) fn instants_of_aggregates(
        &mut self,
        v: &VectorSelector,
        steps: Steps,
    ) -> Result<Option<Matrix>, EngineError> {
        let offset = v.offset.millis();
        let lookback = self.options.lookback_ms;
        let at = |t: i64| data_time(fixed_at(&v.at), offset, t);
        let (first, last) = (at(steps.start), at(steps.end));
        let whole = |t: i64| t % HOUR == 0;
        let fits = whole(first) && (v.at.is_some() || whole(steps.step) || steps.is_instant());
        if !fits || v.smoothed || lookback > HOUR {
            return Ok(None);
        }
        // The last step may lie before the end of the steps.
        let last = last - (last - first).rem_euclid(HOUR);
        let span = (first.saturating_sub(HOUR), last);
        let mut out = Vec::new();
        let hints = (None, steps.step);
        let used = self.each_by_hour(&v.matchers, span, hints, v.pos, |ev, data| {
            let mut s = Series { labels: data.labels.clone(), ..Series::default() };
            for t in steps.iter() {
                let own = data.newest(at(t), lookback);
                if let Some(value) = own {
                    s.push(t, value);
                }
            }
            ev.hold(s.len())?;
            ev.count_points(&s, steps);
            out.extend((s.len() > 0).then_some(s));
            Ok(true)
        })?;
        out.sort_by(|a, b| a.labels.cmp(&b.labels));
        Ok(used.then_some(out))
    }

    /// Calls `each` with every series that matches in `(from, to]`, until it says no. `false` if it
    /// did, or if there are no aggregates.
    fn each_by_hour(
        &mut self,
        matchers: &[Matcher],
        (from, to): (i64, i64),
        (function, step): (Option<&str>, i64),
        pos: PosRange,
        mut each: impl FnMut(&mut Self, SeriesAggregates) -> Result<bool, EngineError>,
    ) -> Result<bool, EngineError> {
        let after = |t: i64| TimestampMs(t.saturating_add(1));
        let range = TimeRangeMs::new(after(from), after(to));
        let select = SeriesSelect { matchers, range, function, step_ms: Some(step) };
        let Some(answer) = self.source.aggregates(&select, self.context)? else {
            return Ok(false);
        };
        let mut rest: BTreeMap<LabelSet, SeriesAggregates> = BTreeMap::new();
        let mut stored_ms = 0;
        let mut next = range.start.0;
        let end = TimeRangeMs::new(range.end, range.end);
        for covered in answer.covered.into_iter().chain([end]) {
            if next < covered.start.0 {
                let gap = (next, covered.start.0 - 1);
                self.fetch_each(matchers, gap, (function, step), |ev, data| {
                    let part = SeriesAggregates::of(&data);
                    ev.memory.grow(part.size_bytes())?;
                    match rest.get_mut(&data.labels) {
                        Some(known) => known.merge(part),
                        None => {
                            rest.insert(data.labels, part);
                        }
                    }
                    Ok(())
                })?;
            }
            stored_ms += covered.end.0 - covered.start.0;
            next = covered.end.0;
        }
        for series in answer.series {
            self.check()?;
            let mut series = series?;
            if let Some(more) = rest.remove(&series.labels) {
                series.merge(more);
            }
            if !self.by_hour(series, &mut each)? {
                return Ok(false);
            }
        }
        for series in rest.into_values() {
            if !self.by_hour(series, &mut each)? {
                return Ok(false);
            }
        }
        let (stored, all) = (stored_ms / HOUR, to.saturating_sub(from) / HOUR);
        self.annos
            .info(format!("1h aggregates stand in for samples ({stored} of {all} hours)"), pos);
        Ok(true)
    }

    fn by_hour(
        &mut self,
        mut series: SeriesAggregates,
        each: &mut impl FnMut(&mut Self, SeriesAggregates) -> Result<bool, EngineError>,
    ) -> Result<bool, EngineError> {
        if self.hist_stats && !self.whole_buckets {
            settle_hints(&mut series.histograms);
        }
        self.stats.series_read += 1;
        self.stats.samples_read += (series.hours.len() + series.histograms.values.len()) as u64;
        let bytes = series.size_bytes();
        self.memory.grow(bytes)?;
        let go_on = each(self, series)?;
        self.memory.shrink(bytes);
        Ok(go_on)
    }

    /// One window, as the function says of all its samples.
    fn over_hours(
        &mut self,
        name: &str,
        hours: &Hours<'_>,
        a: &RangeArgs<'_>,
    ) -> Result<Result<Option<SampleValue>, NeedsSamples>, EngineError> {
        let Hours { floats, histogram_hours, kept } = hours;
        let mixed = !floats.is_empty() && !kept.hv.is_empty();
        let float = |v: f64| Ok(Ok(Some(SampleValue::Float(v))));
        let seconds = |t: i64| t as f64 / 1000.0;
        let count: u64 = floats.iter().map(|h| h.count).sum::<u64>()
            + histogram_hours.iter().map(|h| h.count).sum::<u64>();
        let first = |f: fn(&HourAggregate) -> i64| floats.first().map(f);
        let last = |f: fn(&HourAggregate) -> i64| floats.last().map(f);
        match name {
            "count_over_time" => return float(count as f64),
            "present_over_time" | "absent_over_time" => return float(1.0),
            "ts_of_first_over_time" => {
                let t = first(|h| h.first_t).into_iter().chain(kept.ht.first().copied()).min();
                return Ok(Ok(t.map(|t| SampleValue::Float(seconds(t)))));
            }
            "ts_of_last_over_time" => {
                let t = last(|h| h.last_t).max(kept.ht.last().copied());
                return Ok(Ok(t.map(|t| SampleValue::Float(seconds(t)))));
            }
            "first_over_time" | "last_over_time" => {
                let begin = name == "first_over_time";
                let (float, hist) = if begin {
                    (
                        floats.first().map(|h| (h.first_t, h.first)),
                        kept.ht.first().zip(kept.hv.first()),
                    )
                } else {
                    (floats.last().map(|h| (h.last_t, h.last)), kept.ht.last().zip(kept.hv.last()))
                };
                return Ok(Ok(match (float, hist) {
                    (Some((t, v)), Some((ht, _))) if begin == (t < *ht) => {
                        Some(SampleValue::Float(v))
                    }
                    (_, Some((_, h))) => Some(SampleValue::Histogram(Arc::clone(h))),
                    (float, None) => float.map(|(_, v)| SampleValue::Float(v)),
                }));
            }
            "min_over_time" | "max_over_time" => {
                let values =
                    floats.iter().map(|h| if name == "min_over_time" { h.min } else { h.max });
                if mixed {
                    self.annos.ignored_in_mixed_range(a.name, a.pos);
                }
                let better: fn(f64, f64) -> bool =
                    if name == "min_over_time" { |a, b| a < b } else { |a, b| a > b };
                let best = values
                    .reduce(|best, v| if better(v, best) || best.is_nan() { v } else { best });
                return Ok(Ok(best.map(SampleValue::Float)));
            }
            _ => {}
        }
        if mixed {
            if name == "resets" {
                return Ok(Err(NeedsSamples));
            }
            self.annos.mixed_floats_histograms(a.name, a.pos);
            return Ok(Ok(None));
        }
        if floats.is_empty() {
            let intervals = count.saturating_sub(1) as usize;
            return Ok(match name {
                "resets" => Ok(pairs::resets(kept, a, &mut self.annos)?),
                "rate" | "increase" | "delta" => Ok(rate::over_intervals(
                    kept,
                    a,
                    rate::change_of(name),
                    intervals,
                    &mut self.annos,
                )?),
                _ => Err(NeedsSamples),
            });
        }
        let fell = |(a, b): (&HourAggregate, &HourAggregate)| b.first < a.last;
        match name {
            "sum_over_time" | "avg_over_time" => {
                let (mut sum, mut c) = (0.0, 0.0);
                for h in *floats {
                    (sum, c) = kahan(h.sum, sum, c);
                    c += h.compensation;
                }
                let finite = |h: &HourAggregate| h.min.is_finite() && h.max.is_finite();
                if sum.is_infinite() && floats.iter().all(finite) {
                    return Ok(Err(NeedsSamples));
                }
                let n = count as f64;
                let rounded = if sum.is_infinite() { sum } else { sum + c };
                float(if name == "sum_over_time" { rounded } else { sum / n + c / n })
            }
            "resets" => {
                let inside: u64 = floats.iter().map(|h| h.resets).sum();
                let between = floats.iter().zip(floats.iter().skip(1)).filter(|p| fell(*p)).count();
                float((inside + between as u64) as f64)
            }
            _ => {
                let (Some(begin), Some(end)) = (floats.first(), floats.last()) else {
                    return Ok(Ok(None));
                };
                if count < 2 {
                    return Ok(Ok(None));
                }
                let change = rate::change_of(name);
                let mut value = end.last - begin.first;
                if name != "delta" {
                    let mut before: Option<&HourAggregate> = None;
                    for h in *floats {
                        if let Some(b) = before.filter(|b| fell((b, h))) {
                            value += b.last;
                        }
                        if h.resets > 0 {
                            value += h.lost;
                        }
                        before = Some(h);
                    }
                }
                let reach = (begin.first_t, end.last_t, (count - 1) as usize);
                float(rate::extrapolate(
                    change,
                    (value, begin.first),
                    reach,
                    a.range_end,
                    a.range_ms,
                ))
            }
        }
    }
}

impl<'a> Hours<'a> {
    /// The hours in `(low, high]`.
    fn of(data: &'a SeriesAggregates, low: i64, high: i64) -> Self {
        let floats = inside(&data.hours, |h| h.end, low, high);
        let histogram_hours = inside(&data.histogram_hours, |h| h.end, low, high);
        let h = &data.histograms;
        let kept = window(&h.timestamps, low, high);
        let kept = Window {
            ft: &[],
            fv: &[],
            ht: &h.timestamps[kept.clone()],
            hv: &h.values[kept],
            fst: &[],
            hst: &[],
        };
        Self { floats, histogram_hours, kept }
    }
}

/// Those of an ascending list whose key is in `(low, high]`.
fn inside<T>(list: &[T], key: impl Fn(&T) -> i64, low: i64, high: i64) -> &[T] {
    let from = list.partition_point(|x| key(x) <= low);
    let to = list.partition_point(|x| key(x) <= high);
    list.get(from..to).unwrap_or_default()
}

trait Newest {
    fn newest(&self, at: i64, lookback: i64) -> Option<SampleValue>;
}

impl Newest for SeriesAggregates {
    /// The newest sample in `(at - lookback, at]`, unless a staleness marker follows; `at` is a whole
    /// hour and the lookback at most one.
    fn newest(&self, at: i64, lookback: i64) -> Option<SampleValue> {
        let hour = inside(&self.hours, |h| h.end, at.saturating_sub(1), at).first();
        let float = hour.filter(|h| h.count > 0).map(|h| (h.last_t, h.last));
        let h = &self.histograms;
        let hist = window(&h.timestamps, at.saturating_sub(HOUR), at).next_back();
        let hist = hist.and_then(|i| Some((*h.timestamps.get(i)?, h.values.get(i)?)));
        let newest = float.map(|f| f.0).max(hist.map(|h| h.0))?;
        if newest <= at.saturating_sub(lookback) || hour.and_then(|h| h.stale_t) > Some(newest) {
            return None;
        }
        match (float, hist) {
            (Some((t, v)), _) if t == newest => Some(SampleValue::Float(v)),
            (_, hist) => hist.map(|(_, h)| SampleValue::Histogram(Arc::clone(h))),
        }
    }
}
