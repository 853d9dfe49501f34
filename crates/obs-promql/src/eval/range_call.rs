//! Calls of functions over range vectors: one series at a time, the window slides over columns.

use std::ops::Range;
use std::sync::Arc;

use obs_types::{LabelSet, NativeHistogram, SeriesData};

use super::selector::{data_time, fixed_at, window};
use super::{Evaluator, Matrix, Series, Steps, failed, hist_size, total};
use crate::EngineError;
use crate::annotations::{Annotations, HistogramOp};
use crate::ast::*;
use crate::functions::sliding::{Floats, Grid, slide};
use crate::functions::{Answer, over_time, pairs, rate, trend};
use crate::histogram::{Accumulator, Incompatible, detect_reset, scale};

/// The samples of one series in one window, without staleness markers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window<'a> {
    pub(crate) ft: &'a [i64],
    pub(crate) fv: &'a [f64],
    pub(crate) ht: &'a [i64],
    pub(crate) hv: &'a [Arc<NativeHistogram>],
    /// Start timestamps; empty where unknown or not wanted.
    pub(crate) fst: &'a [i64],
    pub(crate) hst: &'a [i64],
}

/// What a range function knows besides the samples.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RangeArgs<'a> {
    pub(crate) ts: i64,
    /// The window is `(range_start, range_end]`.
    pub(crate) range_start: i64,
    pub(crate) range_end: i64,
    pub(crate) range_ms: i64,
    pub(crate) anchored: bool,
    pub(crate) smoothed: bool,
    pub(crate) name: &'a str,
    /// Place of the first argument.
    pub(crate) pos: PosRange,
    /// The other arguments.
    pub(crate) scalars: &'a [f64],
}

pub(crate) type RangeFn = fn(&Window<'_>, &RangeArgs<'_>, &mut Annotations) -> Answer;

/// Whether a function has a meaning for native histograms.
pub(super) fn takes_histograms(name: &str) -> bool {
    range_fn(name).is_some()
}

fn range_fn(name: &str) -> Option<RangeFn> {
    Some(match name {
        "rate" => rate::rate,
        "increase" => rate::increase,
        "delta" => rate::delta,
        "irate" => pairs::irate,
        "idelta" => pairs::idelta,
        "resets" => pairs::resets,
        "changes" => pairs::changes,
        "deriv" => trend::deriv,
        "predict_linear" => trend::predict_linear,
        "double_exponential_smoothing" | "holt_winters" => trend::double_exponential_smoothing,
        "avg_over_time" => over_time::avg,
        "sum_over_time" => over_time::sum,
        "count_over_time" => over_time::count,
        "min_over_time" => over_time::min,
        "max_over_time" => over_time::max,
        "ts_of_min_over_time" => over_time::ts_of_min,
        "ts_of_max_over_time" => over_time::ts_of_max,
        "first_over_time" => over_time::first,
        "last_over_time" => over_time::last,
        "ts_of_first_over_time" => over_time::ts_of_first,
        "ts_of_last_over_time" => over_time::ts_of_last,
        "present_over_time" | "absent_over_time" => over_time::present,
        "quantile_over_time" => over_time::quantile,
        "stddev_over_time" => over_time::stddev,
        "stdvar_over_time" => over_time::stdvar,
        "mad_over_time" => over_time::mad,
        _ => return None,
    })
}

impl Evaluator<'_> {
    /// The scalar arguments beside the one at place `at`, by step.
    pub(super) fn scalar_arguments(
        &mut self,
        c: &Call,
        at: usize,
        steps: Steps,
    ) -> Result<Vec<Vec<f64>>, EngineError> {
        let mut out = Vec::new();
        for (i, e) in c.args.iter().enumerate() {
            if i != at && e.value_type() == ValueType::Scalar {
                let matrix = self.eval(e, steps)?;
                let values = matrix.first().map(|s| s.floats.iter().map(|p| p.1).collect());
                out.push(values.unwrap_or_default());
            }
        }
        Ok(out)
    }

    pub(crate) fn range_call(
        &mut self,
        c: &Call,
        at: usize,
        steps: Steps,
    ) -> Result<Matrix, EngineError> {
        let name = c.func.name;
        let (Some(function), Some(arg)) = (range_fn(name), c.args.get(at)) else {
            return failed(format!("function {name} does not take a range vector"));
        };
        let pos = c.args.first().map_or(arg.pos, |a| a.pos);
        let scalars = self.scalar_arguments(c, at, steps)?;
        let use_starts = self.options.use_start_timestamps
            && matches!(name, "rate" | "irate" | "increase" | "resets");
        let keeps_name = matches!(name, "last_over_time" | "first_over_time");
        let (modifiers, range_ms) = match &arg.kind {
            ExprKind::Matrix(m) => {
                let v = &m.selector;
                check_extended(v, name)?;
                ((fixed_at(&v.at), v.offset.millis(), v.anchored, v.smoothed), m.range.millis())
            }
            ExprKind::Subquery(s) => {
                ((fixed_at(&s.at), s.offset.millis(), false, false), s.range.millis())
            }
            _ => return failed(format!("function {name} needs a range vector selector")),
        };
        let (at_modifier, offset, anchored, smoothed) = modifiers;
        let lookback = self.options.lookback_ms;
        let times: Vec<i64> = steps.iter().collect();
        let ends: Vec<i64> = times.iter().map(|t| data_time(at_modifier, offset, *t)).collect();
        let grid = Grid { steps: &times, ends: &ends, range_ms };
        let new_run = || RangeRun {
            name,
            function,
            pos,
            scalars: &scalars,
            grid,
            use_starts,
            anchored,
            smoothed,
            before: if anchored || smoothed { lookback } else { 0 },
            after: if smoothed { lookback } else { 0 },
            windows: Vec::new(),
            windows_of: Vec::new(),
        };
        let mut out = Vec::new();
        let one = |ev: &mut Evaluator<'_>, run: &mut RangeRun<'_>, data, input_drop: bool| {
            let mut s = ev.over_windows(run, data)?;
            s.drop_name = !keeps_name || input_drop;
            Ok::<_, EngineError>((s.len() > 0).then_some(s))
        };
        match &arg.kind {
            ExprKind::Matrix(m) => {
                let v = &m.selector;
                let aggregated = match self.metricsql() {
                    true => None,
                    false => self.call_over_aggregates(name, v, (grid, pos))?,
                };
                if let Some(series) = aggregated {
                    out = series;
                    out.iter_mut().for_each(|s| s.drop_name = !keeps_name);
                } else {
                    let span = self.range_span(m, steps);
                    let hints = (Some(name), steps.step);
                    out = self.map_series(v, span, hints, new_run, |ev, run, mut data| {
                        super::selector::drop_stale(&mut data);
                        one(ev, run, data, false)
                    })?;
                }
            }
            ExprKind::Subquery(s) => {
                let inner = self.subquery_steps(s, steps);
                // What a subquery reads is not counted, only what its windows hold.
                let counted = self.counted.take();
                let matrix = self.with_whole_buckets(|ev| ev.eval(&s.expr, inner));
                self.counted = counted;
                let matrix = matrix?;
                let held = total(&matrix);
                let mut run = new_run();
                for s in matrix {
                    let (data, drop_name) = columns(s);
                    out.extend(one(self, &mut run, data, drop_name)?);
                }
                self.release(held);
            }
            _ => {}
        }
        out.sort_by(|a, b| a.labels.cmp(&b.labels));
        if name == "absent_over_time" {
            return Ok(absent(&out, arg, steps));
        }
        if self.options.delayed_name_removal {
            return Ok(out);
        }
        for s in &mut out {
            if s.drop_name {
                s.labels = super::drop_metadata(&s.labels);
            }
        }
        let mut seen = std::collections::HashSet::with_capacity(out.len());
        if out.iter().any(|s| !seen.insert(s.labels.clone())) {
            return failed(super::SAME_LABELSET);
        }
        Ok(out)
    }

    /// One series over the windows of all steps.
    fn over_windows(
        &mut self,
        run: &mut RangeRun<'_>,
        data: SeriesData,
    ) -> Result<Series, EngineError> {
        let mut s = Series { labels: data.labels.clone(), ..Series::default() };
        // Series of one target share their times.
        if run.windows.is_empty() || run.windows_of != data.timestamps {
            let mut windows = std::mem::take(&mut run.windows);
            run.windows_over(&data.timestamps, &mut windows);
            run.windows = windows;
        }
        if run.name == "quantile_over_time" {
            let wrong = run.scalars.first().into_iter().flatten().zip(&run.windows);
            for (q, _) in wrong.filter(|(q, w)| !(0.0..=1.0).contains(*q) && !w.is_empty()) {
                self.annos.invalid_quantile(*q, run.pos);
            }
        }
        let started = run.use_starts && data.start_timestamps.iter().any(|st| *st != 0);
        let plain = !started && run.before == 0 && data.histograms.values.is_empty();
        let floats = Floats {
            times: &data.timestamps,
            values: &data.values,
            windows: &run.windows,
            grid: run.grid,
        };
        let (mut filled, mut most, mut looked_at) = (0, 0, 0);
        for w in &run.windows {
            filled += usize::from(!w.is_empty());
            most = most.max(w.len());
            looked_at += w.len();
        }
        s.floats.reserve(filled);
        if plain && slide(run.name, &floats, run.scalars, &mut s.floats) {
            self.pass(most)?;
            if self.options.step_stats {
                for (n, w) in run.windows.iter().enumerate() {
                    self.count_samples(n, w.len());
                }
            } else {
                self.count_samples(0, looked_at);
            }
        } else {
            self.window_by_window(run, &data, &mut s)?;
        }
        if s.len() > 0 {
            self.hold(s.len())?;
            let metric = data.labels.metric_name();
            if matches!(run.name, "rate" | "increase") && !metric.is_empty() && !s.floats.is_empty()
            {
                self.note_non_counter(&data.labels, metric, run.pos);
            }
        }
        run.windows_of = data.timestamps;
        Ok(s)
    }

    /// Where the kinds may mix or windows are extended: the function sees one window at a time.
    fn window_by_window(
        &mut self,
        run: &RangeRun<'_>,
        data: &SeriesData,
        out: &mut Series,
    ) -> Result<(), EngineError> {
        let grid = run.grid;
        let mut hists = Vec::new();
        run.windows_over(&data.histograms.timestamps, &mut hists);
        let mut scalars = vec![0.0; run.scalars.len()];
        let starts = |v: &'_ [i64], r: &Range<usize>| {
            if run.use_starts { v.get(r.clone()).map(<[i64]>::to_vec) } else { None }
                .unwrap_or_default()
        };
        for (n, (floats, hists)) in run.windows.iter().zip(&hists).enumerate() {
            if floats.is_empty() && hists.is_empty() {
                continue;
            }
            if n % 64 == 0 {
                self.check()?;
            }
            for (slot, values) in scalars.iter_mut().zip(run.scalars) {
                *slot = values.get(n).copied().unwrap_or(f64::NAN);
            }
            let w = Window {
                ft: &data.timestamps[floats.clone()],
                fv: &data.values[floats.clone()],
                ht: &data.histograms.timestamps[hists.clone()],
                hv: &data.histograms.values[hists.clone()],
                fst: &starts(&data.start_timestamps, floats),
                hst: &starts(&data.histograms.start_timestamps, hists),
            };
            let size = w.ft.len() + w.hv.iter().map(|h| hist_size(h)).sum::<usize>();
            self.pass(size)?;
            self.count_samples(n, size);
            let args = RangeArgs {
                ts: grid.steps[n],
                range_start: grid.ends[n].saturating_sub(grid.range_ms),
                range_end: grid.ends[n],
                range_ms: grid.range_ms,
                anchored: run.anchored,
                smoothed: run.smoothed,
                name: data.labels.metric_name(),
                pos: run.pos,
                scalars: &scalars,
            };
            if let Some(value) = (run.function)(&w, &args, &mut self.annos)? {
                out.push(args.ts, value);
            }
        }
        Ok(())
    }

    pub(super) fn note_non_counter(&mut self, labels: &LabelSet, metric: &str, pos: PosRange) {
        if self.options.type_and_unit_labels {
            let kind = labels.get("__type__").unwrap_or("");
            if kind != "counter" && kind != "histogram" {
                self.annos.possible_non_counter_label(metric, kind, pos);
            }
        } else if !["_total", "_sum", "_count", "_bucket"].iter().any(|x| metric.ends_with(x)) {
            self.annos.possible_non_counter(metric, pos);
        }
    }
}

fn check_extended(v: &VectorSelector, name: &str) -> Result<(), EngineError> {
    let (modifier, safe): (_, &[&str]) = if v.anchored {
        ("anchored", &["changes", "delta", "increase", "rate", "resets"])
    } else if v.smoothed {
        ("smoothed", &["delta", "increase", "rate"])
    } else {
        return Ok(());
    };
    if safe.contains(&name) {
        return Ok(());
    }
    failed(format!(
        "{modifier} modifier can only be used with: {} - not with {name}",
        safe.join(", ")
    ))
}

/// A call over range vectors: what is the same for every series, and what one leaves to the next.
struct RangeRun<'a> {
    name: &'static str,
    function: RangeFn,
    /// Place of the first argument.
    pos: PosRange,
    /// The other arguments by step.
    scalars: &'a [Vec<f64>],
    grid: Grid<'a>,
    use_starts: bool,
    anchored: bool,
    smoothed: bool,
    /// By how much windows reach beyond the range, ms.
    before: i64,
    after: i64,
    /// The windows of the series before, and its times.
    windows: Vec<Range<usize>>,
    windows_of: Vec<i64>,
}

impl RangeRun<'_> {
    /// The samples of each step's window; both ends only move forward.
    fn windows_over(&self, times: &[i64], out: &mut Vec<Range<usize>>) {
        out.clear();
        let mut range = 0..0;
        for (n, end) in self.grid.ends.iter().enumerate() {
            let low = end.saturating_sub(self.grid.range_ms).saturating_sub(self.before);
            let high = end.saturating_add(self.after);
            if n == 0 {
                range = window(times, low, high);
            } else {
                while times.get(range.start).is_some_and(|t| *t <= low) {
                    range.start += 1;
                }
                range.end = range.end.max(range.start);
                while times.get(range.end).is_some_and(|t| *t <= high) {
                    range.end += 1;
                }
            }
            out.push(range.clone());
        }
    }
}

/// A subquery's result as columns. What is known of counter resets held between the samples of
/// the source, not between those of the subquery.
pub(super) fn columns(s: Series) -> (SeriesData, bool) {
    use obs_types::CounterResetHint::{NotReset, Reset, Unknown};
    let mut data = SeriesData { labels: s.labels, ..SeriesData::default() };
    (data.timestamps, data.values) = s.floats.into_iter().unzip();
    for (t, mut h) in s.hists {
        if matches!(h.counter_reset_hint, NotReset | Reset) {
            Arc::make_mut(&mut h).counter_reset_hint = Unknown;
        }
        data.histograms.timestamps.push(t);
        data.histograms.values.push(h);
    }
    super::selector::drop_stale(&mut data);
    (data, s.drop_name)
}

fn absent(present: &[Series], arg: &Expr, steps: Steps) -> Matrix {
    let mut missing = vec![true; steps.count()];
    for s in present {
        for t in s.floats.iter().map(|p| p.0).chain(s.hists.iter().map(|p| p.0)) {
            if let Some(m) = missing.get_mut(steps.index(t)) {
                *m = false;
            }
        }
    }
    let floats: Vec<(i64, f64)> =
        steps.iter().zip(&missing).filter(|(_, m)| **m).map(|(t, _)| (t, 1.0)).collect();
    if floats.is_empty() {
        return Vec::new();
    }
    vec![Series {
        labels: super::call::absent_labels(arg),
        drop_name: true,
        floats,
        ..Series::default()
    }]
}

/// Linear between two histograms; a counter that was reset is taken to have started from 0.
pub(crate) fn interpolate_hist(
    (t1, h1): (i64, &NativeHistogram),
    (t2, h2): (i64, &NativeHistogram),
    t: i64,
    counter: bool,
    annos: &mut Annotations,
    pos: PosRange,
) -> Result<NativeHistogram, Incompatible> {
    if t == t1 {
        return Ok(h1.clone());
    }
    if t == t2 {
        return Ok(h2.clone());
    }
    let fraction = (t - t1) as f64 / (t2 - t1) as f64;
    if counter && detect_reset(h2, h1) {
        let mut h = h2.clone();
        scale(&mut h, fraction);
        return Ok(h);
    }
    let mut acc = Accumulator::new(h2);
    if acc.sub(h1)?.bounds_reconciled {
        annos.bounds_reconciled(HistogramOp::Sub, pos);
    }
    let mut h = acc.finish();
    scale(&mut h, fraction);
    let mut acc = Accumulator::new(&h);
    if acc.add(h1)?.bounds_reconciled {
        annos.bounds_reconciled(HistogramOp::Add, pos);
    }
    Ok(acc.finish())
}
