//! What neighbouring samples tell: `irate`, `idelta`, `resets`, `changes`.

use std::sync::Arc;

use obs_types::NativeHistogram;

use super::rate::{GAUGE, start_reset};
use super::{Answer, float, hist};
use crate::annotations::{Annotations, HistogramOp};
use crate::eval::{RangeArgs, Window};
use crate::histogram::{Accumulator, detect_reset, divide, same};

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
