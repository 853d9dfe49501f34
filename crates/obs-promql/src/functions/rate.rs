//! Change over a window: `rate`, `increase`, `delta`.

use obs_types::{CounterResetHint, NativeHistogram};

use super::sliding::Floats;
use super::{Answer, float, hist};
use crate::annotations::{Annotations, HistogramOp};
use crate::eval::{RangeArgs, Window, interpolate, interpolate_hist};
use crate::histogram::{Accumulator, detect_reset, divide, scale};

pub(super) const GAUGE: CounterResetHint = CounterResetHint::Gauge;

/// What of a change is asked for.
#[derive(Clone, Copy)]
pub(crate) struct Change {
    /// Resets are added back, the value never goes below zero.
    counter: bool,
    per_second: bool,
}

pub(super) const RATE: Change = Change { counter: true, per_second: true };
pub(super) const INCREASE: Change = Change { counter: true, per_second: false };
pub(super) const DELTA: Change = Change { counter: false, per_second: false };

pub(crate) fn rate(w: &Window<'_>, a: &RangeArgs<'_>, annos: &mut Annotations) -> Answer {
    change(w, a, RATE, annos)
}

pub(crate) fn increase(w: &Window<'_>, a: &RangeArgs<'_>, annos: &mut Annotations) -> Answer {
    change(w, a, INCREASE, annos)
}

pub(crate) fn delta(w: &Window<'_>, a: &RangeArgs<'_>, annos: &mut Annotations) -> Answer {
    change(w, a, DELTA, annos)
}

fn change(w: &Window<'_>, a: &RangeArgs<'_>, c: Change, annos: &mut Annotations) -> Answer {
    if !w.fv.is_empty() && !w.hv.is_empty() {
        annos.mixed_floats_histograms(a.name, a.pos);
        return Ok(None);
    }
    if a.anchored || a.smoothed {
        return if w.hv.is_empty() { extended(w, a, c) } else { extended_hist(w, a, c, annos) };
    }
    extrapolated(w, a, c, annos)
}

/// Whether a start timestamp tells of a reset between two samples.
pub(super) fn start_reset(prev_st: i64, prev_t: i64, st: i64, t: i64) -> bool {
    if st == 0 || st >= t || st < prev_t {
        return false;
    }
    if st > prev_t {
        return true;
    }
    // The start is the previous sample: a delta series, or a start that is not known.
    prev_st <= prev_t && prev_st != 0 && prev_st != prev_t
}

fn start_overlap(prev_st: i64, prev_t: i64, st: i64) -> bool {
    st != 0 && st < prev_t && st != prev_st
}

/// How far the samples of a window reach, seconds.
struct Reach {
    sampled: f64,
    /// From the window's start to the first sample, as far as the series is taken to go back.
    to_start: f64,
    to_end: f64,
    average: f64,
}

impl Reach {
    fn new(
        (first, last, intervals): (i64, i64, usize),
        (range_start, range_end): (i64, i64),
    ) -> Self {
        let sampled = (last - first) as f64 / 1000.0;
        let average = if intervals > 0 { sampled / intervals as f64 } else { 0.0 };
        let to_end = (range_end - last) as f64 / 1000.0;
        Self {
            sampled,
            to_start: (first - range_start) as f64 / 1000.0,
            to_end: if to_end >= average * 1.1 { average / 2.0 } else { to_end },
            average,
        }
    }

    /// Goes no further left than half an interval where the first sample is far from the start,
    /// and a counter no further than to its zero: `part` is its first value by its increase.
    fn guess_start(&mut self, part: Option<f64>) {
        if self.to_start >= self.average * 1.1 {
            self.to_start = self.average / 2.0;
        }
        if let Some(part) = part {
            let to_zero = self.sampled * part;
            self.to_start = if to_zero < self.to_start { to_zero } else { self.to_start };
        }
    }

    /// What the sampled change is multiplied with; per second of the window where it is given.
    fn factor(&self, per_second_of_ms: Option<i64>) -> f64 {
        let factor = if self.sampled == 0.0 {
            1.0
        } else {
            (self.sampled + self.to_start + self.to_end) / self.sampled
        };
        match per_second_of_ms {
            Some(ms) => factor / (ms as f64 / 1000.0),
            None => factor,
        }
    }
}

/// The same as [`extrapolated`] over all windows of a series of floats without start timestamps:
/// the places of resets are looked for once.
pub(super) fn slide(f: &Floats<'_>, change: Change, out: &mut Vec<(i64, f64)>) {
    let Change { counter, .. } = change;
    let mut resets: Vec<usize> = Vec::new();
    if counter {
        resets.extend((1..f.values.len()).filter(|i| f.values[*i] < f.values[i - 1]));
    }
    let mut next = 0;
    for (t, end, w) in f.steps() {
        if w.len() < 2 {
            continue;
        }
        let (first, last) = (f.values[w.start], f.values[w.end - 1]);
        let mut value = last - first;
        while resets.get(next).is_some_and(|i| *i <= w.start) {
            next += 1;
        }
        for i in resets[next..].iter().take_while(|i| **i < w.end) {
            value += f.values[i - 1];
        }
        let times = (f.times[w.start], f.times[w.end - 1], w.len() - 1);
        out.push((t, extrapolate(change, (value, first), times, end, f.grid.range_ms)));
    }
}

/// What a change between floats comes to over the window that ends at `end`: `value` was gained
/// after the first sample; of the samples the times of the first and last and the number of
/// intervals are given.
pub(crate) fn extrapolate(
    Change { counter, per_second }: Change,
    (value, first): (f64, f64),
    times: (i64, i64, usize),
    end: i64,
    range_ms: i64,
) -> f64 {
    let mut reach = Reach::new(times, (end.saturating_sub(range_ms), end));
    reach.guess_start((counter && value > 0.0 && first >= 0.0).then(|| first / value));
    value * reach.factor(per_second.then_some(range_ms))
}

/// `rate`, `increase` or `delta`.
pub(crate) fn change_of(name: &str) -> Change {
    match name {
        "rate" => RATE,
        "increase" => INCREASE,
        _ => DELTA,
    }
}

/// Difference of the last and first sample, resets added back, extrapolated to the window's ends
/// where samples reach close to them.
fn extrapolated(
    w: &Window<'_>,
    a: &RangeArgs<'_>,
    change: Change,
    annos: &mut Annotations,
) -> Answer {
    let count = if w.hv.is_empty() { w.ft.len() } else { w.ht.len() };
    over_intervals(w, a, change, count.saturating_sub(1), annos)
}

/// The same where histograms that only grew are left out; `intervals` counts those too.
pub(crate) fn over_intervals(
    w: &Window<'_>,
    a: &RangeArgs<'_>,
    Change { counter, per_second }: Change,
    intervals: usize,
    annos: &mut Annotations,
) -> Answer {
    let times = if w.hv.is_empty() { w.ft } else { w.ht };
    let starts = if w.hv.is_empty() { w.fst } else { w.hst };
    let (Some(first_t), Some(last_t)) = (times.first().copied(), times.last().copied()) else {
        return Ok(None);
    };
    let mut value = 0.0;
    let mut result: Option<NativeHistogram> = None;
    if !w.hv.is_empty() {
        if intervals > 0 {
            result = hist_change(w, a, counter, annos);
            if result.is_none() {
                return Ok(None);
            }
        }
    } else if let (Some(first), Some(last)) = (w.fv.first(), w.fv.last()) {
        value = last - first;
        if counter {
            let mut told = false;
            for i in 1..w.fv.len() {
                let st = (i < starts.len()).then(|| (starts[i - 1], starts[i]));
                if let Some((prev, st)) = st
                    && !told
                    && start_overlap(prev, times[i - 1], st)
                {
                    annos.start_time_overlap(a.name, a.pos);
                    told = true;
                }
                if w.fv[i] < w.fv[i - 1]
                    || st.is_some_and(|(p, s)| start_reset(p, times[i - 1], s, times[i]))
                {
                    value += w.fv[i - 1];
                }
            }
        }
    }
    let mut reach = Reach::new((first_t, last_t, intervals), (a.range_start, a.range_end));
    let start = starts.first().copied().unwrap_or(0);
    if counter && start != 0 && start > a.range_start && start < first_t {
        // The counter started inside the window, at zero: no need to guess on the left.
        reach.to_start = 0.0;
        reach.sampled = (last_t - start) as f64 / 1000.0;
        if let Some(v) = w.fv.first() {
            value += v;
        } else if let Some(h) = w.hv.first() {
            result = Some(match result {
                None => h.as_ref().clone(),
                Some(r) => {
                    let mut acc = Accumulator::new(&r);
                    match acc.add(h) {
                        Ok(n) => {
                            if n.bounds_reconciled {
                                annos.bounds_reconciled(HistogramOp::Add, a.pos);
                            }
                        }
                        Err(_) => {
                            annos.mixed_schemas(a.name, a.pos);
                            return Ok(None);
                        }
                    }
                    acc.finish()
                }
            });
        }
    } else if intervals == 0 {
        return Ok(None);
    } else {
        let part = match (w.fv.first(), w.hv.first(), &result) {
            (Some(f), _, _) if value > 0.0 && *f >= 0.0 => Some(f / value),
            (_, Some(h), Some(r)) if r.count > 0.0 && h.count >= 0.0 => Some(h.count / r.count),
            _ => None,
        };
        reach.guess_start(part.filter(|_| counter));
    }
    let factor = reach.factor(per_second.then_some(a.range_ms));
    match result {
        None => float(value * factor),
        Some(mut h) => {
            scale(&mut h, factor);
            hist(h)
        }
    }
}

fn hist_change(
    w: &Window<'_>,
    a: &RangeArgs<'_>,
    counter: bool,
    annos: &mut Annotations,
) -> Option<NativeHistogram> {
    let points = w.hv;
    let (first, last) = (points.first()?, points.last()?);
    let second = points.get(1)?;
    let mut prev: NativeHistogram = first.as_ref().clone();
    if counter && (first.counter_reset_hint == GAUGE || last.counter_reset_hint == GAUGE) {
        annos.not_counter(a.name, a.pos);
    }
    let reset_at = |i: usize, prev: &NativeHistogram| {
        let by_start = i < w.hst.len() && start_reset(w.hst[i - 1], w.ht[i - 1], w.hst[i], w.ht[i]);
        by_start || detect_reset(&points[i], prev)
    };
    if counter && reset_at(1, &prev) {
        // What the first sample held is lost to the reset, so its layout does not matter.
        prev = NativeHistogram {
            schema: second.schema,
            custom_values: second.custom_values.clone(),
            ..NativeHistogram::default()
        };
    }
    let custom = prev.uses_custom_buckets();
    if last.uses_custom_buckets() != custom {
        annos.mixed_schemas(a.name, a.pos);
        return None;
    }
    let mut schema = last.schema.min(prev.schema);
    if counter {
        for h in &points[1..points.len() - 1] {
            if h.counter_reset_hint == GAUGE {
                annos.not_counter(a.name, a.pos);
            }
            schema = schema.min(h.schema);
            if h.uses_custom_buckets() != custom {
                annos.mixed_schemas(a.name, a.pos);
                return None;
            }
        }
    }
    let mut acc = Accumulator::new(last);
    if !custom {
        acc.reduce_to(schema);
    }
    let note = |r: Result<crate::histogram::Notes, _>, op, annos: &mut Annotations| match r {
        Ok(n) => {
            if n.bounds_reconciled {
                annos.bounds_reconciled(op, a.pos);
            }
            true
        }
        Err(crate::histogram::Incompatible) => {
            annos.mixed_schemas(a.name, a.pos);
            false
        }
    };
    if !note(acc.sub(&prev), HistogramOp::Sub, annos) {
        return None;
    }
    if counter {
        let mut told = false;
        for (i, h) in points.iter().enumerate().skip(1) {
            if !told && i < w.hst.len() && start_overlap(w.hst[i - 1], w.ht[i - 1], w.hst[i]) {
                annos.start_time_overlap(a.name, a.pos);
                told = true;
            }
            if reset_at(i, &prev) && !note(acc.add(&prev), HistogramOp::Add, annos) {
                return None;
            }
            prev = h.as_ref().clone();
        }
    } else if first.counter_reset_hint != GAUGE || last.counter_reset_hint != GAUGE {
        annos.not_gauge(a.name, a.pos);
    }
    let mut h = acc.finish();
    h.counter_reset_hint = GAUGE;
    Some(h)
}

/// The samples at or next to the ends of an anchored or smoothed window.
fn edges(times: &[i64], a: &RangeArgs<'_>) -> Option<(usize, usize)> {
    let mut last = times.len().checked_sub(1)?;
    let first = times[..last].partition_point(|t| *t <= a.range_start).saturating_sub(1);
    if a.smoothed {
        last = times[..last].partition_point(|t| *t < a.range_end);
    }
    if times[last] <= a.range_start || a.smoothed && times[first] > a.range_end {
        return None;
    }
    Some((first, last))
}

fn extended(w: &Window<'_>, a: &RangeArgs<'_>, c: Change) -> Answer {
    let Change { counter, per_second } = c;
    let Some((mut first, last)) = edges(w.ft, a) else { return Ok(None) };
    let point = |i: usize| (w.ft[i], w.fv[i]);
    let left = if a.smoothed && w.ft[first] < a.range_start {
        interpolate(point(first), point(first + 1), a.range_start, counter)
    } else {
        w.fv[first]
    };
    let right = if a.smoothed && last > 0 && w.ft[last] > a.range_end {
        interpolate(point(last - 1), point(last), a.range_end, counter)
    } else {
        w.fv[last]
    };
    let mut value = right - left;
    if counter {
        if w.ft[first] <= a.range_start {
            first += 1;
        }
        let after = if w.ft[last] >= a.range_end { last } else { last + 1 };
        let mut prev = left;
        for v in w.fv.get(first..after).unwrap_or(&[]) {
            if *v < prev {
                value += prev;
            }
            prev = *v;
        }
        if right < prev {
            value += prev;
        }
    }
    if per_second {
        value /= a.range_ms as f64 / 1000.0;
    }
    float(value)
}

fn extended_hist(
    w: &Window<'_>,
    a: &RangeArgs<'_>,
    Change { counter, per_second }: Change,
    annos: &mut Annotations,
) -> Answer {
    let Some((first, last)) = edges(w.ht, a) else { return Ok(None) };
    let points = &w.hv[first..=last];
    let custom = w.hv[first].uses_custom_buckets();
    for h in points {
        if h.uses_custom_buckets() != custom {
            annos.mixed_schemas(a.name, a.pos);
            return Ok(None);
        }
        if counter && h.counter_reset_hint == GAUGE {
            annos.not_counter(a.name, a.pos);
        }
    }
    let point = |i: usize| (w.ht[i], w.hv[i].as_ref());
    let left = if a.smoothed && w.ht[first] < a.range_start {
        interpolate_hist(point(first), point(first + 1), a.range_start, counter, annos, a.pos)
    } else {
        Ok(w.hv[first].as_ref().clone())
    };
    let right = if a.smoothed && last > 0 && w.ht[last] > a.range_end {
        interpolate_hist(point(last - 1), point(last), a.range_end, counter, annos, a.pos)
    } else {
        Ok(w.hv[last].as_ref().clone())
    };
    let (Ok(left), Ok(right)) = (left, right) else {
        annos.mixed_schemas(a.name, a.pos);
        return Ok(None);
    };
    if !counter && (left.counter_reset_hint != GAUGE || right.counter_reset_hint != GAUGE) {
        annos.not_gauge(a.name, a.pos);
    }
    let mut acc = Accumulator::new(&right);
    match acc.sub(&left) {
        Ok(n) if n.bounds_reconciled => annos.bounds_reconciled(HistogramOp::Sub, a.pos),
        Ok(_) => {}
        Err(_) => {
            annos.mixed_schemas(a.name, a.pos);
            return Ok(None);
        }
    }
    if counter {
        let mut lost: Vec<&NativeHistogram> = Vec::new();
        let mut prev = &left;
        let mut from = first + 1;
        if a.smoothed
            && w.ht[first] < a.range_start
            && w.hv.get(first + 1).is_some_and(|h| detect_reset(h, &w.hv[first]))
        {
            // The interpolation on the left already went over this reset.
            prev = &w.hv[first + 1];
            from += 1;
        }
        if from <= last {
            for h in &w.hv[from..last] {
                if detect_reset(h, prev) {
                    lost.push(prev);
                }
                prev = h;
            }
            if detect_reset(&right, prev) {
                lost.push(prev);
            }
        }
        for h in lost {
            match acc.add(h) {
                Ok(n) if n.bounds_reconciled => annos.bounds_reconciled(HistogramOp::Add, a.pos),
                Ok(_) => {}
                Err(_) => {
                    annos.mixed_schemas(a.name, a.pos);
                    return Ok(None);
                }
            }
        }
    }
    let mut h = acc.finish();
    if per_second {
        divide(&mut h, a.range_ms as f64 / 1000.0);
    }
    h.counter_reset_hint = GAUGE;
    hist(h)
}
