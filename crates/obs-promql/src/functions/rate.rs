//! Change over a window: rates, differences, resets, trends.

use std::sync::Arc;

use obs_types::{CounterResetHint, NativeHistogram};

use crate::annotations::{Annotations, HistogramOp};
use crate::eval::{RangeArgs, Window, interpolate, interpolate_hist};
use crate::histogram::{Accumulator, detect_reset, divide, kahan, same, scale};
use crate::{EngineError, SampleValue};

type Answer = Result<Option<SampleValue>, EngineError>;
const GAUGE: CounterResetHint = CounterResetHint::Gauge;

fn float(v: f64) -> Answer {
    Ok(Some(SampleValue::Float(v)))
}

fn hist(h: NativeHistogram) -> Answer {
    Ok(Some(SampleValue::Histogram(Arc::new(h))))
}

/// What of a change is asked for.
#[derive(Clone, Copy)]
struct Change {
    /// Resets are added back, the value never goes below zero.
    counter: bool,
    per_second: bool,
}

const RATE: Change = Change { counter: true, per_second: true };
const INCREASE: Change = Change { counter: true, per_second: false };
const DELTA: Change = Change { counter: false, per_second: false };

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
fn start_reset(prev_st: i64, prev_t: i64, st: i64, t: i64) -> bool {
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

/// Difference of the last and first sample, resets added back, extrapolated to the window's ends
/// where samples reach close to them.
fn extrapolated(
    w: &Window<'_>,
    a: &RangeArgs<'_>,
    Change { counter, per_second }: Change,
    annos: &mut Annotations,
) -> Answer {
    let times = if w.hv.is_empty() { w.ft } else { w.ht };
    let starts = if w.hv.is_empty() { w.fst } else { w.hst };
    let (Some(first_t), Some(last_t)) = (times.first().copied(), times.last().copied()) else {
        return Ok(None);
    };
    let intervals = times.len() - 1;
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
    let mut to_start = (first_t - a.range_start) as f64 / 1000.0;
    let mut to_end = (a.range_end - last_t) as f64 / 1000.0;
    let mut sampled = (last_t - first_t) as f64 / 1000.0;
    let average = if intervals > 0 { sampled / intervals as f64 } else { 0.0 };
    let threshold = average * 1.1;
    let start = starts.first().copied().unwrap_or(0);
    if counter && start != 0 && start > a.range_start && start < first_t {
        // The counter started inside the window, at zero: no need to guess on the left.
        to_start = 0.0;
        sampled = (last_t - start) as f64 / 1000.0;
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
        if to_start >= threshold {
            to_start = average / 2.0;
        }
        if counter {
            // A counter is never negative: extrapolate no further than to its zero.
            let mut to_zero = to_start;
            match (w.fv.first(), w.hv.first(), &result) {
                (Some(f), _, _) if value > 0.0 && *f >= 0.0 => to_zero = sampled * (f / value),
                (_, Some(h), Some(r)) if r.count > 0.0 && h.count >= 0.0 => {
                    to_zero = sampled * (h.count / r.count);
                }
                _ => {}
            }
            to_start = if to_zero < to_start { to_zero } else { to_start };
        }
    }
    if to_end >= threshold {
        to_end = average / 2.0;
    }
    let mut factor = if sampled == 0.0 { 1.0 } else { (sampled + to_start + to_end) / sampled };
    if per_second {
        factor /= a.range_ms as f64 / 1000.0;
    }
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

/// A sample of either kind.
#[derive(Clone, Copy)]
struct Point<'a> {
    t: i64,
    f: f64,
    h: Option<&'a Arc<NativeHistogram>>,
    st: i64,
}

/// Floats and histograms of the window in order of time, from the given indices on.
fn points<'a>(w: &Window<'a>, (mut i, mut j): (usize, usize)) -> Vec<Point<'a>> {
    let mut out = Vec::with_capacity(w.ft.len() + w.ht.len());
    while i < w.ft.len() || j < w.ht.len() {
        if j >= w.ht.len() || i < w.ft.len() && w.ft[i] < w.ht[j] {
            let st = w.fst.get(i).copied().unwrap_or(0);
            out.push(Point { t: w.ft[i], f: w.fv[i], h: None, st });
            i += 1;
        } else {
            let st = w.hst.get(j).copied().unwrap_or(0);
            out.push(Point { t: w.ht[j], f: 0.0, h: Some(&w.hv[j]), st });
            j += 1;
        }
    }
    out
}

pub(crate) fn irate(w: &Window<'_>, a: &RangeArgs<'_>, annos: &mut Annotations) -> Answer {
    last_two(w, a, true, annos)
}

pub(crate) fn idelta(w: &Window<'_>, a: &RangeArgs<'_>, annos: &mut Annotations) -> Answer {
    last_two(w, a, false, annos)
}

fn last_two(w: &Window<'_>, a: &RangeArgs<'_>, rate: bool, annos: &mut Annotations) -> Answer {
    let from = (w.ft.len().saturating_sub(2), w.ht.len().saturating_sub(2));
    let all = points(w, from);
    let [.., p, q] = all.as_slice() else { return Ok(None) };
    let interval = (q.t - p.t) as f64 / 1000.0;
    if interval == 0.0 {
        return Ok(None);
    }
    let reset = start_reset(p.st, p.t, q.st, q.t);
    match (p.h, q.h) {
        (None, None) => {
            let v = if rate && (q.f < p.f || reset) { q.f } else { q.f - p.f };
            float(if rate { v / interval } else { v })
        }
        (Some(before), Some(now)) => {
            let gauges = [before, now].map(|h| h.counter_reset_hint == GAUGE);
            if rate && gauges.contains(&true) {
                annos.not_counter(a.name, a.pos);
            }
            if !rate && gauges.contains(&false) {
                annos.not_gauge(a.name, a.pos);
            }
            let mut acc = Accumulator::new(now);
            if !rate || !reset && !detect_reset(now, before) {
                match acc.sub(before) {
                    Ok(n) if n.bounds_reconciled => {
                        annos.bounds_reconciled(HistogramOp::Sub, a.pos);
                    }
                    Ok(_) => {}
                    Err(_) => {
                        annos.mixed_schemas(a.name, a.pos);
                        return Ok(None);
                    }
                }
            }
            let mut h = acc.finish();
            h.counter_reset_hint = GAUGE;
            if rate {
                divide(&mut h, interval);
            }
            hist(h)
        }
        _ => {
            annos.mixed_floats_histograms(a.name, a.pos);
            Ok(None)
        }
    }
}

/// Where counting starts: for an anchored window at the newest sample at or before its start.
fn anchor(w: &Window<'_>, a: &RangeArgs<'_>) -> Option<(usize, usize)> {
    if !a.anchored {
        return Some((0, 0));
    }
    let f = w.ft.partition_point(|t| *t <= a.range_start);
    let h = w.ht.partition_point(|t| *t <= a.range_start);
    if f >= w.ft.len() && h >= w.ht.len() {
        return None;
    }
    Some(match (f.checked_sub(1), h.checked_sub(1)) {
        (None, None) => (0, 0),
        (Some(i), j) if j.is_none_or(|j| w.ft[i] >= w.ht[j]) => (i, h),
        (_, Some(j)) => (f, j),
        (Some(i), None) => (i, h),
    })
}

fn count_pairs(
    w: &Window<'_>,
    a: &RangeArgs<'_>,
    differs: impl Fn(&Point<'_>, &Point<'_>) -> bool,
) -> Answer {
    let Some(from) = anchor(w, a) else { return Ok(None) };
    let all = points(w, from);
    float(all.windows(2).filter(|p| differs(&p[0], &p[1])).count() as f64)
}

pub(crate) fn resets(w: &Window<'_>, a: &RangeArgs<'_>, _: &mut Annotations) -> Answer {
    count_pairs(w, a, |p, q| {
        let by_start = start_reset(p.st, p.t, q.st, q.t);
        match (p.h, q.h) {
            (None, None) => q.f < p.f || by_start,
            (Some(before), Some(now)) => by_start || detect_reset(now, before),
            _ => true,
        }
    })
}

pub(crate) fn changes(w: &Window<'_>, a: &RangeArgs<'_>, _: &mut Annotations) -> Answer {
    count_pairs(w, a, |p, q| match (p.h, q.h) {
        (None, None) => q.f != p.f && !(q.f.is_nan() && p.f.is_nan()),
        (Some(before), Some(now)) => !same(now, before),
        _ => true,
    })
}

/// Slope and value at `at` of the least-squares line.
fn regression(w: &Window<'_>, at: i64) -> (f64, f64) {
    let first = w.fv.first().copied().unwrap_or(f64::NAN);
    if w.fv.iter().all(|v| *v == first) {
        return if first.is_infinite() { (f64::NAN, f64::NAN) } else { (0.0, first) };
    }
    let (mut sx, mut sy, mut sxy, mut sxx) = ((0.0, 0.0), (0.0, 0.0), (0.0, 0.0), (0.0, 0.0));
    for (t, y) in w.ft.iter().zip(w.fv) {
        let x = (t - at) as f64 / 1000.0;
        for (sum, inc) in [(&mut sx, x), (&mut sy, *y), (&mut sxy, x * y), (&mut sxx, x * x)] {
            *sum = kahan(inc, sum.0, sum.1);
        }
    }
    let [sx, sy, sxy, sxx] = [sx, sy, sxy, sxx].map(|(s, c): (f64, f64)| s + c);
    let n = w.fv.len() as f64;
    let slope = (sxy - sx * sy / n) / (sxx - sx * sx / n);
    (slope, sy / n - slope * sx / n)
}

/// Whether there are floats enough for a trend; histograms beside floats are told.
fn enough(w: &Window<'_>, a: &RangeArgs<'_>, annos: &mut Annotations) -> bool {
    if !w.fv.is_empty() && !w.hv.is_empty() {
        annos.ignored_in_mixed_range(a.name, a.pos);
    }
    w.fv.len() >= 2
}

pub(crate) fn deriv(w: &Window<'_>, a: &RangeArgs<'_>, annos: &mut Annotations) -> Answer {
    if !enough(w, a, annos) {
        return Ok(None);
    }
    float(regression(w, w.ft.first().copied().unwrap_or(0)).0)
}

pub(crate) fn predict_linear(w: &Window<'_>, a: &RangeArgs<'_>, annos: &mut Annotations) -> Answer {
    if !enough(w, a, annos) {
        return Ok(None);
    }
    let (slope, now) = regression(w, a.ts);
    float(slope * a.scalars.first().copied().unwrap_or(f64::NAN) + now)
}

pub(crate) fn double_exponential_smoothing(
    w: &Window<'_>,
    a: &RangeArgs<'_>,
    annos: &mut Annotations,
) -> Answer {
    let [sf, tf] = [0, 1].map(|i| a.scalars.get(i).copied().unwrap_or(f64::NAN));
    for (what, v) in [("smoothing", sf), ("trend", tf)] {
        if v <= 0.0 || v >= 1.0 {
            let short = if what == "smoothing" { "sf" } else { "tf" };
            return Err(EngineError::Execution(format!(
                "invalid {what} factor. Expected: 0 < {short} < 1, got: {v:.6}"
            )));
        }
    }
    if !enough(w, a, annos) {
        return Ok(None);
    }
    let (mut s0, mut s1, mut b) = (0.0, w.fv[0], w.fv[1] - w.fv[0]);
    for (i, v) in w.fv.iter().enumerate().skip(1) {
        if i > 1 {
            b = tf * (s1 - s0) + (1.0 - tf) * b;
        }
        let next = sf * v + (1.0 - sf) * (s1 + b);
        (s0, s1) = (s1, next);
    }
    float(s1)
}
