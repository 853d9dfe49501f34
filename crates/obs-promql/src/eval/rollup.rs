//! Calls of range functions as MetricsQL means them: one series at a time, several answers where
//! the function has several.

use obs_types::{LabelSet, SeriesData};

use super::call::text;
use super::selector::{data_time, drop_stale, fixed_at};
use super::vmrange::{VMRANGE, bounds_of, bucket_of};
use super::{Evaluator, Matrix, Series, Steps, failed, total};
use crate::EngineError;
use crate::ast::*;
use crate::functions::metricsql::keeps_name;
use crate::functions::rollup::{self, Before, Rollup, RollupFn};
use crate::text::{float_f, float_g};

/// One of the answers of a call.
struct Part {
    /// Added to the series.
    label: Option<(String, String)>,
    before: Before,
    function: RollupFn,
    /// Which of the other arguments the function sees.
    args: std::ops::Range<usize>,
}

impl Part {
    fn new(label: Option<(&str, &str)>, before: Before, function: RollupFn) -> Self {
        let label = label.map(|(n, v)| (n.to_owned(), v.to_owned()));
        Self { label, before, function, args: 0..usize::MAX }
    }
}

/// Whether a call is evaluated here.
pub(crate) fn is_rollup(name: &str) -> bool {
    rollup::find(name).is_some()
        || name.starts_with("rollup")
        || matches!(
            name,
            "aggr_over_time"
                | "count_values_over_time"
                | "histogram_over_time"
                | "quantiles_over_time"
        )
}

fn parts(c: &Call) -> Result<Vec<Part>, EngineError> {
    let name = c.func.name;
    let before = match name {
        "rollup" | "rollup_candlestick" => Before::Nothing,
        "rollup_delta" => Before::Deltas { counter: false },
        "rollup_increase" => Before::Deltas { counter: true },
        "rollup_deriv" => Before::Slopes { counter: false },
        "rollup_rate" => Before::Slopes { counter: true },
        "rollup_scrape_interval" => Before::Intervals,
        "aggr_over_time" => {
            let names = c.args.iter().skip(1).map(|a| text(Some(a)));
            return names
                .map(|n| match rollup::find_any(n) {
                    Some((before, f)) => Ok(Part::new(Some(("rollup", n)), before, f)),
                    None => failed(format!("aggr_over_time: unknown function {n:?}")),
                })
                .collect();
        }
        "quantiles_over_time" => {
            let label = text(c.args.get(1));
            return Ok(c
                .args
                .iter()
                .skip(2)
                .enumerate()
                .map(|(i, q)| {
                    let value = match &q.kind {
                        ExprKind::Number(n) => float_g(n.value, 21),
                        _ => q.to_string(),
                    };
                    let f: RollupFn =
                        |r| rollup::quantile(r.args.first().copied().unwrap_or(f64::NAN), r.values);
                    let part = Part::new(Some((label, &value)), Before::Nothing, f);
                    Part { args: i..i + 1, ..part }
                })
                .collect());
        }
        _ => {
            let Some((before, f)) = rollup::find(name) else {
                return failed(format!("function {name} is not implemented"));
            };
            return Ok(vec![Part::new(None, before, f)]);
        }
    };
    let all: &[(&str, RollupFn)] = if name == "rollup_candlestick" {
        &[
            ("close", |r| r.values.last().copied().unwrap_or(f64::NAN)),
            ("high", |r| rollup::max(r.values)),
            ("low", |r| rollup::min(r.values)),
            ("open", |r| r.values.first().copied().unwrap_or(f64::NAN)),
        ]
    } else {
        &[
            ("avg", |r| rollup::mean(r.values)),
            ("max", |r| rollup::max(r.values)),
            ("min", |r| rollup::min(r.values)),
        ]
    };
    let Some(wanted) = c.args.get(1) else {
        return Ok(all.iter().map(|(n, f)| Part::new(Some(("rollup", n)), before, *f)).collect());
    };
    let wanted = text(Some(wanted));
    match all.iter().find(|(n, _)| *n == wanted) {
        Some((_, f)) => Ok(vec![Part::new(None, before, *f)]),
        None => failed(format!("{name}: unknown rollup {wanted:?}")),
    }
}

/// What is the same for all series of a call.
struct Run<'a> {
    parts: &'a [Part],
    /// The other arguments by step.
    scalars: &'a [Vec<f64>],
    /// The evaluation time of each step and the end of its window in data time.
    ends: &'a [(i64, i64)],
    /// Milliseconds; `None` where none is written.
    window: Option<i64>,
    step: i64,
    adjusts: bool,
    keeps_name: bool,
    lookback: i64,
}

impl Evaluator<'_> {
    pub(super) fn rollup_call(
        &mut self,
        c: &Call,
        at: usize,
        steps: Steps,
    ) -> Result<Matrix, EngineError> {
        let name = c.func.name;
        let Some(arg) = c.args.get(at) else { return Ok(Vec::new()) };
        let kinds = match name {
            "count_values_over_time" => Some(Kinds::Values),
            "histogram_over_time" => Some(Kinds::Buckets),
            _ => None,
        };
        let parts = if kinds.is_some() { Vec::new() } else { parts(c)? };
        // A candle at t covers what comes from t on: its window ends, and does not include, the
        // next step.
        let ahead = if name == "rollup_candlestick" { steps.step.saturating_sub(1) } else { 0 };
        let scalars = self.scalar_arguments(c, at, steps)?;
        let (modifiers, range) = match &arg.kind {
            ExprKind::Matrix(m) => {
                ((fixed_at(&m.selector.at), m.selector.offset.millis()), &m.range)
            }
            ExprKind::Subquery(s) => ((fixed_at(&s.at), s.offset.millis()), &s.range),
            _ => return failed(format!("function {name} needs a range vector selector")),
        };
        let window = (*range != DurationValue::Implicit).then(|| range.millis());
        let ends: Vec<(i64, i64)> =
            steps.iter().map(|t| (t, data_time(modifiers.0, modifiers.1, t) + ahead)).collect();
        let run = Run {
            parts: &parts,
            scalars: &scalars,
            ends: &ends,
            window,
            step: steps.step,
            adjusts: rollup::window_adjusts(name),
            keeps_name: keeps_name(name),
            lookback: self.options.lookback_ms,
        };
        let label = text(c.args.get(1)).to_owned();
        let mut out = Vec::new();
        let mut histograms = false;
        let back = window.unwrap_or(0).max(steps.step).saturating_add(self.options.lookback_ms);
        let mut each = |ev: &mut Self, data: SeriesData, dropped: bool| {
            histograms |= !data.histograms.values.is_empty();
            if let Some(kinds) = kinds {
                return ev.count_kinds(&run, &data, (kinds, &label), &mut out);
            }
            ev.roll_up(&run, &data, dropped, &mut out)
        };
        match &arg.kind {
            ExprKind::Matrix(m) => {
                let (from, to) = self.range_span(m, steps);
                let missing = back.saturating_sub(m.range.millis());
                let span = (from.saturating_sub(missing), to.saturating_add(ahead));
                let hints = (Some(name), steps.step);
                self.fetch_selector(&m.selector, span, hints, |ev, mut data| {
                    if name != "stale_samples_over_time" {
                        drop_stale(&mut data);
                    }
                    each(ev, data, false)
                })?;
            }
            ExprKind::Subquery(s) => {
                let inner = self.subquery_steps(s, steps);
                let missing = back.saturating_sub(s.range.millis());
                // The sample before the first window as well.
                let more = missing.saturating_add(inner.step - 1) / inner.step + 1;
                let start = inner.start.saturating_sub(more.saturating_mul(inner.step));
                // One more, which tells that samples go on.
                let end = inner.end.saturating_add(ahead).saturating_add(inner.step);
                let inner = Steps { start, end, ..inner };
                let counted = self.counted.take();
                let matrix = self.with_whole_buckets(|ev| ev.eval(&s.expr, inner));
                self.counted = counted;
                let matrix = matrix?;
                let held = total(&matrix);
                for s in matrix {
                    let (data, dropped) = super::range_call::columns(s);
                    each(self, data, dropped)?;
                }
                self.release(held);
            }
            _ => {}
        }
        if histograms && super::range_call::takes_histograms(name) && window.is_some() {
            // Native histograms are not MetricsQL's: the call means what PromQL says.
            self.release(total(&out));
            return self.range_call(c, at, steps);
        }
        out.sort_by(|a, b| a.labels.cmp(&b.labels));
        Ok(out)
    }

    /// A bare selector: the last value of a window that is not written.
    pub(super) fn default_rollup(
        &mut self,
        v: &VectorSelector,
        data: &SeriesData,
        steps: Steps,
    ) -> Result<Option<Series>, EngineError> {
        let ends: Vec<(i64, i64)> =
            steps.iter().map(|t| (t, data_time(fixed_at(&v.at), v.offset.millis(), t))).collect();
        let Some((before, function)) = rollup::find("default_rollup") else { return Ok(None) };
        let run = Run {
            parts: &[Part::new(None, before, function)],
            scalars: &[],
            ends: &ends,
            window: None,
            step: steps.step,
            adjusts: true,
            keeps_name: true,
            lookback: self.options.lookback_ms,
        };
        let mut out = Vec::new();
        self.roll_up(&run, data, false, &mut out)?;
        Ok(out.pop())
    }

    fn roll_up(
        &mut self,
        run: &Run<'_>,
        data: &SeriesData,
        dropped: bool,
        out: &mut Matrix,
    ) -> Result<(), EngineError> {
        let (times, gap, window) = run.window_of(data);
        for part in run.parts {
            let mut values = data.values.clone();
            rollup::prepare(part.before, times, &mut values);
            let labels = match &part.label {
                Some((n, v)) => data.labels.with(n, v),
                None => data.labels.clone(),
            };
            let drop_name = dropped || !run.keeps_name;
            let mut s = Series { labels, drop_name, ..Series::default() };
            let (mut i, mut j) = (0, 0);
            let mut args = Vec::new();
            let mut looked_at = 0;
            for (n, (t, end)) in run.ends.iter().enumerate() {
                if n % 1_024 == 0 {
                    self.check()?;
                }
                let start = end.saturating_sub(window);
                while times.get(i).is_some_and(|t| *t <= start) {
                    i += 1;
                }
                j = j.max(i);
                while times.get(j).is_some_and(|t| *t <= *end) {
                    j += 1;
                }
                args.clear();
                let scalars = run.scalars.iter().take(part.args.end).skip(part.args.start);
                args.extend(scalars.map(|s| s.get(n).copied().unwrap_or(f64::NAN)));
                let mut r = Rollup {
                    times: times.get(i..j).unwrap_or(&[]),
                    values: values.get(i..j).unwrap_or(&[]),
                    prev: f64::NAN,
                    prev_time: start.saturating_sub(gap),
                    before: f64::NAN,
                    after: values.get(j).copied().unwrap_or(f64::NAN),
                    now: *end,
                    window_ms: window,
                    args: &args,
                };
                if let Some(last) = i.checked_sub(1)
                    && let (Some(time), Some(value)) = (times.get(last), values.get(last))
                {
                    r.before = *value;
                    // Behind the last sample there is nothing to be compared with.
                    if *time > r.prev_time && i < times.len() {
                        (r.prev, r.prev_time) = (*value, *time);
                    }
                }
                looked_at += r.values.len();
                let v = (part.function)(&r);
                if !v.is_nan() {
                    s.floats.push((*t, v));
                }
            }
            self.count_samples(0, looked_at);
            self.hold(s.len())?;
            out.extend((s.len() > 0).then_some(s));
        }
        Ok(())
    }

    /// One series for each kind of value, with how often it occurs in the window.
    fn count_kinds(
        &mut self,
        run: &Run<'_>,
        data: &SeriesData,
        (by, label): (Kinds, &str),
        out: &mut Matrix,
    ) -> Result<(), EngineError> {
        let (times, _, window) = run.window_of(data);
        let (of, labels) = by.of(data, label);
        let mut found: Vec<Series> = labels
            .into_iter()
            .map(|labels| Series { labels, drop_name: true, ..Series::default() })
            .collect();
        let mut counts = vec![0u32; found.len()];
        for (t, end) in run.ends {
            self.check()?;
            counts.fill(0);
            for at in super::selector::window(times, end.saturating_sub(window), *end) {
                let kind = of.get(at).copied().flatten();
                if let Some(c) = kind.and_then(|kind| counts.get_mut(kind)) {
                    *c += 1;
                }
            }
            for (s, c) in found.iter_mut().zip(&counts).filter(|(_, c)| **c > 0) {
                s.floats.push((*t, f64::from(*c)));
            }
        }
        found.retain(|s| !s.floats.is_empty());
        self.hold(total(&found))?;
        out.append(&mut found);
        Ok(())
    }
}

/// What samples are counted by.
#[derive(Clone, Copy, Debug)]
enum Kinds {
    Values,
    Buckets,
}

impl Kinds {
    /// The kind of each sample, and the labels of each kind.
    fn of(self, data: &SeriesData, label: &str) -> (Vec<Option<usize>>, Vec<LabelSet>) {
        match self {
            Self::Values => {
                let mut kinds: Vec<f64> = data.values.clone();
                kinds.sort_unstable_by(f64::total_cmp);
                kinds.dedup_by(|a, b| a == b);
                let of = |v: &f64| Some(kinds.partition_point(|k| k.total_cmp(v).is_lt()));
                let labels = kinds.iter().map(|k| data.labels.with(label, &float_f(*k)));
                (data.values.iter().map(of).collect(), labels.collect())
            }
            Self::Buckets => {
                let of: Vec<Option<usize>> = data.values.iter().map(|v| bucket_of(*v)).collect();
                let mut kinds: Vec<usize> = of.iter().flatten().copied().collect();
                kinds.sort_unstable();
                kinds.dedup();
                let labels = kinds.iter().map(|k| data.labels.with(VMRANGE, bounds_of(*k)));
                let labels = labels.collect();
                let place = |bucket: Option<usize>| kinds.binary_search(&bucket?).ok();
                (of.into_iter().map(place).collect(), labels)
            }
        }
    }
}

impl Run<'_> {
    /// The times of a series, how far apart its samples may be, and its window, milliseconds.
    fn window_of<'d>(&self, data: &'d SeriesData) -> (&'d [i64], i64, i64) {
        let gap = rollup::gap_ms(&data.timestamps).unwrap_or(self.lookback);
        let window = self.window.unwrap_or(self.step).max(1);
        let window = if self.adjusts { window.max(gap) } else { window };
        (&data.timestamps, gap, window)
    }
}

/// The labels as they are once a name that no longer fits is gone.
pub(super) fn settled(mut matrix: Matrix) -> Matrix {
    for s in &mut matrix {
        if std::mem::take(&mut s.drop_name) {
            s.labels = super::drop_metadata(&s.labels);
        }
    }
    matrix
}

/// Whether a series is nothing but a number over time.
pub(super) fn is_number(s: &Series) -> bool {
    let labels: &LabelSet = &s.labels;
    labels.is_empty() && s.hists.is_empty()
}
