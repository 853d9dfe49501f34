//! Calls of functions over instant vectors and scalars.

use std::sync::Arc;

use obs_types::{LabelSet, METRIC_NAME, MatchOp, NativeHistogram};

use super::selector::{Found, Lookup, data_time, fixed_at, look_up_floats};
use super::transform::names_survive;
use super::{Evaluator, Matrix, Sample, Series, Steps, failed};
use crate::ast::*;
use crate::functions::histogram::{take_apart, variance};
use crate::functions::{elementwise, labels::natural, metricsql::keeps_name};
use crate::histogram::{
    ClassicBucket, bucket_fraction, bucket_quantile, native_fraction, native_quantile,
};
use crate::text::float_g;
use crate::{EngineError, SampleValue};

pub(super) fn text(e: Option<&Expr>) -> &str {
    match e.map(|e| &e.kind) {
        Some(ExprKind::String(s)) => s,
        Some(ExprKind::Paren(inner)) => text(Some(inner)),
        _ => "",
    }
}

/// What a selector fixes by equality, for series that say that something is missing.
pub(crate) fn absent_labels(e: &Expr) -> LabelSet {
    let matchers = match &e.kind {
        ExprKind::Vector(v) if v.alternatives.is_empty() => &v.matchers,
        ExprKind::Matrix(m) if m.selector.alternatives.is_empty() => &m.selector.matchers,
        ExprKind::StepInvariant(inner) => return absent_labels(inner),
        _ => return LabelSet::empty(),
    };
    let mut builder = LabelSet::empty().to_builder();
    let mut seen: Vec<&str> = Vec::new();
    for m in matchers.iter().filter(|m| m.name() != METRIC_NAME) {
        if m.op() == MatchOp::Equal && !seen.contains(&m.name()) {
            builder.set(m.name(), m.value());
            seen.push(m.name());
        } else {
            builder.remove(m.name());
        }
    }
    builder.build()
}

/// Whether an expression is a selector and nothing else; of others MetricsQL takes no labels.
fn is_plain(e: &Expr) -> bool {
    matches!(&e.kind, ExprKind::Vector(v)
        if v.at.is_none() && v.offset.millis() == 0 && v.alternatives.is_empty())
}

fn first_float(v: Option<&Vec<Sample>>) -> f64 {
    v.and_then(|v| v.first()).map_or(f64::NAN, Sample::float)
}

fn scalar_sample(value: f64) -> Vec<Sample> {
    vec![Sample { labels: LabelSet::empty(), drop_name: false, value: SampleValue::Float(value) }]
}

impl Evaluator<'_> {
    pub(crate) fn call(
        &mut self,
        c: &Call,
        pos: PosRange,
        steps: Steps,
    ) -> Result<Matrix, EngineError> {
        let mut out = match c.func.name {
            "histogram_count" | "histogram_sum" | "histogram_avg" => {
                let before = std::mem::replace(&mut self.hist_stats, true);
                let out = self.call_inner(c, pos, steps);
                self.hist_stats = before;
                out
            }
            "histogram_quantile" | "histogram_quantiles" | "histogram_fraction" => {
                self.with_whole_buckets(|ev| ev.call_inner(c, pos, steps))
            }
            _ => self.call_inner(c, pos, steps),
        }?;
        if self.metricsql() && keeps_name(c.func.name) && c.args.iter().all(names_survive) {
            out.iter_mut().for_each(|s| s.drop_name = false);
        }
        Ok(out)
    }

    fn call_inner(&mut self, c: &Call, pos: PosRange, steps: Steps) -> Result<Matrix, EngineError> {
        let name = c.func.name;
        let arg_pos = |i: usize| c.args.get(i).map_or(pos, |a| a.pos);
        if let Some(at) = c.args.iter().position(|a| {
            matches!(a.kind, ExprKind::Matrix(_) | ExprKind::Subquery(_))
                || matches!(&a.kind, ExprKind::StepInvariant(i)
                    if matches!(i.kind, ExprKind::Matrix(_) | ExprKind::Subquery(_)))
        }) {
            if self.metricsql() && super::is_rollup(name) {
                return self.rollup_call(c, at, steps);
            }
            return self.range_call(c, at, steps);
        }
        if self.metricsql() {
            if let Some(out) = self.generated(c, steps)? {
                return Ok(out);
            }
            if let Some(out) = self.transform(c, steps)? {
                return Ok(out);
            }
        }
        if name.starts_with("sort") && !steps.is_instant() {
            self.annos.warn(
                "sort is ineffective for range queries since results are always ordered by labels",
                pos,
            );
        }
        let args: Vec<&Expr> = c.args.iter().collect();
        match name {
            "time" => {
                let floats = steps.iter().map(|t| (t, t as f64 / 1000.0)).collect();
                Ok(vec![Series { floats, ..Series::default() }])
            }
            "pi" => {
                let floats = steps.iter().map(|t| (t, std::f64::consts::PI)).collect();
                Ok(vec![Series { floats, ..Series::default() }])
            }
            "label_replace" => self.label_replace(c, steps),
            "label_join" => self.label_join(c, steps),
            "info" => self.info(c, steps),
            "timestamp" | "start_timestamp" => self.timestamp(c, steps),
            "vector" => match c.args.first() {
                Some(arg) => self.eval(arg, steps),
                None => Ok(Vec::new()),
            },
            "clamp" | "clamp_min" | "clamp_max" | "round" => self.with_scalars(c, steps),
            "scalar" => self.by_step(&args, steps, |_, _, v| {
                let mut floats = v.iter().flatten().filter(|s| s.hist().is_none());
                let value = match (floats.next(), floats.next()) {
                    (Some(s), None) => s.float(),
                    _ => f64::NAN,
                };
                Ok(scalar_sample(value))
            }),
            "max_of" | "min_of" => self.by_step(&args, steps, |_, _, v| {
                let (a, b) = (first_float(v.first()), first_float(v.get(1)));
                let value =
                    if name == "max_of" { elementwise::max(a, b) } else { elementwise::min(a, b) };
                Ok(scalar_sample(value))
            }),
            "absent" => {
                let labels = match c.args.first() {
                    Some(e) if !self.metricsql() || is_plain(e) => absent_labels(e),
                    _ => LabelSet::empty(),
                };
                self.by_step(&args, steps, |_, _, v| {
                    if v.iter().any(|v| !v.is_empty()) {
                        return Ok(Vec::new());
                    }
                    Ok(vec![Sample {
                        labels: labels.clone(),
                        drop_name: false,
                        value: SampleValue::Float(1.0),
                    }])
                })
            }
            "sort" | "sort_desc" => self.by_step(&args, steps, |_, _, v| {
                let mut out: Vec<Sample> =
                    v.iter().flatten().filter(|s| s.hist().is_none()).cloned().collect();
                out.sort_by(|a, b| {
                    let (x, y) = (a.float(), b.float());
                    let order = x.partial_cmp(&y).unwrap_or(std::cmp::Ordering::Equal);
                    x.is_nan().cmp(&y.is_nan()).then(if name == "sort" {
                        order
                    } else {
                        order.reverse()
                    })
                });
                Ok(out)
            }),
            "sort_by_label"
            | "sort_by_label_desc"
            | "sort_by_label_numeric"
            | "sort_by_label_numeric_desc" => {
                let names: Vec<String> =
                    c.args.iter().skip(1).map(|a| text(Some(a)).to_owned()).collect();
                self.by_step(&args, steps, |_, _, v| {
                    let mut out: Vec<Sample> = v.first().cloned().unwrap_or_default();
                    out.sort_by(|a, b| {
                        let by_name = names.iter().map(|n| {
                            natural(a.labels.get(n).unwrap_or(""), b.labels.get(n).unwrap_or(""))
                        });
                        let order = by_name
                            .fold(std::cmp::Ordering::Equal, std::cmp::Ordering::then)
                            .then_with(|| a.labels.cmp(&b.labels));
                        if name.ends_with("_desc") { order.reverse() } else { order }
                    });
                    Ok(out)
                })
            }
            "histogram_count" => self.of_histograms(c, steps, |h| h.count),
            "histogram_sum" => self.of_histograms(c, steps, |h| h.sum),
            "histogram_avg" => self.of_histograms(c, steps, |h| h.sum / h.count),
            "histogram_stdvar" => self.of_histograms(c, steps, variance),
            "histogram_stddev" => self.of_histograms(c, steps, |h| variance(h).sqrt()),
            "histogram_quantile" => {
                let pos = (arg_pos(0), arg_pos(1));
                let inputs = self.histogram_arguments(c, steps)?;
                if let [q, input] = inputs.as_slice()
                    && input.iter().all(|s| s.hists.is_empty())
                {
                    let q: Vec<f64> =
                        q.first().map_or_else(Vec::new, |s| s.floats.iter().map(|p| p.1).collect());
                    for q in q.iter().filter(|q| !(0.0..=1.0).contains(*q)) {
                        self.annos.invalid_quantile(*q, pos.0);
                    }
                    return self.classic_histograms(input, pos.1, steps, |ev, n, t, name, b| {
                        let q = q.get(n).copied().unwrap_or(f64::NAN);
                        ev.classic_quantile(t, q, name, b, pos.1)
                    });
                }
                self.over_steps(&inputs, steps, |ev, t, v| {
                    let q = first_float(v.first());
                    ev.quantile_at(t, q, v.get(1).map_or(&[][..], |v| v), pos, None)
                })
            }
            "histogram_quantiles" => {
                let label = text(c.args.get(1)).to_owned();
                let places: Vec<PosRange> = c.args.iter().map(|a| a.pos).collect();
                let inputs = self.histogram_arguments(c, steps)?;
                self.over_steps(&inputs, steps, |ev, t, v| {
                    let mut out = Vec::new();
                    for (vector, place) in v.iter().zip(&places).skip(2) {
                        let q = first_float(Some(vector));
                        let input = v.first().map_or(&[][..], |v| v);
                        let vector_pos = places.first().copied().unwrap_or(pos);
                        let label = Some(label.as_str());
                        out.extend(ev.quantile_at(t, q, input, (*place, vector_pos), label)?);
                    }
                    Ok(out)
                })
            }
            "histogram_fraction" => {
                let pos = arg_pos(2);
                let inputs = self.histogram_arguments(c, steps)?;
                self.over_steps(&inputs, steps, |ev, _, v| {
                    let (low, high) = (first_float(v.first()), first_float(v.get(1)));
                    let kept = ev.options.delayed_name_removal;
                    let input = v.get(2).map_or(&[][..], |v| v);
                    let h = take_apart(input, kept, pos, &mut ev.annos);
                    let mut out = Vec::new();
                    for (l, h) in h.native {
                        let name = if kept { l.metric_name() } else { "" };
                        let f = native_fraction(low, high, &h, name, pos, &mut ev.annos);
                        out.push(ev.nameless_sample(&l, f));
                    }
                    for (l, mut buckets) in h.classic {
                        let f = bucket_fraction(low, high, &mut buckets);
                        out.push(ev.nameless_sample(&l, f));
                    }
                    Ok(out)
                })
            }
            _ => {
                let Some(f) = elementwise::find(name) else {
                    return failed(format!("function {name} is not implemented"));
                };
                let Some(arg) = c.args.first() else {
                    // The parts of a date, of the evaluation time itself.
                    let floats = steps.iter().map(|t| (t, f((t / 1000) as f64))).collect();
                    return Ok(vec![Series { floats, ..Series::default() }]);
                };
                let mut matrix = self.eval(arg, steps)?;
                for s in &mut matrix {
                    s.hists.clear();
                    s.floats.iter_mut().for_each(|p| p.1 = f(p.1));
                }
                matrix.retain(|s| !s.floats.is_empty());
                self.names_dropped(matrix)
            }
        }
    }

    fn nameless_sample(&self, labels: &LabelSet, value: f64) -> Sample {
        Sample { labels: self.nameless(labels), drop_name: true, value: SampleValue::Float(value) }
    }

    fn quantile_at(
        &mut self,
        t: i64,
        q: f64,
        vector: &[Sample],
        (q_pos, pos): (PosRange, PosRange),
        label: Option<&str>,
    ) -> Result<Vec<Sample>, EngineError> {
        if !(0.0..=1.0).contains(&q) {
            self.annos.invalid_quantile(q, q_pos);
        }
        let kept = self.options.delayed_name_removal;
        let h = take_apart(vector, kept, pos, &mut self.annos);
        let mut out = Vec::with_capacity(h.native.len() + h.classic.len());
        let name = |l: &LabelSet| if kept { l.metric_name().to_owned() } else { String::new() };
        for (l, h) in h.native {
            let v = native_quantile(q, &h, &name(&l), pos, &mut self.annos);
            out.push(self.nameless_sample(&l, v));
        }
        for (l, mut buckets) in h.classic {
            let v = self.classic_quantile(t, q, &name(&l), &mut buckets, pos);
            out.push(self.nameless_sample(&l, v));
        }
        if let Some(label) = label {
            // As in exposition formats: a whole number carries `.0`.
            let mut value = float_g(q, 6);
            if q.is_finite() && !value.contains(['.', 'e']) {
                value.push_str(".0");
            }
            for s in &mut out {
                s.labels = s.labels.with(label, &value);
            }
        }
        Ok(out)
    }

    fn classic_quantile(
        &mut self,
        t: i64,
        q: f64,
        name: &str,
        buckets: &mut [ClassicBucket],
        pos: PosRange,
    ) -> f64 {
        let (v, forced) = bucket_quantile(q, buckets);
        if let Some(f) = forced {
            let bounds = (f.bucket_min, f.bucket_max);
            self.annos.forced_monotonicity(name, t, bounds, f.diff_max, pos);
        }
        v
    }

    fn of_histograms(
        &mut self,
        c: &Call,
        steps: Steps,
        f: impl Fn(&NativeHistogram) -> f64,
    ) -> Result<Matrix, EngineError> {
        let Some(arg) = c.args.first() else { return Ok(Vec::new()) };
        let mut matrix = self.eval(arg, steps)?;
        for s in &mut matrix {
            s.floats = s.hists.iter().map(|(t, h)| (*t, f(h))).collect();
            s.hists.clear();
        }
        matrix.retain(|s| !s.floats.is_empty());
        self.names_dropped(matrix)
    }

    /// `clamp*` and `round`: a vector with scalars that may change from step to step.
    fn with_scalars(&mut self, c: &Call, steps: Steps) -> Result<Matrix, EngineError> {
        let Some((first, rest)) = c.args.split_first() else { return Ok(Vec::new()) };
        let mut matrix = self.eval(first, steps)?;
        let mut scalars: Vec<Vec<f64>> = Vec::new();
        for e in rest {
            let m = self.eval(e, steps)?;
            scalars.push(
                m.first().map(|s| s.floats.iter().map(|p| p.1).collect()).unwrap_or_default(),
            );
        }
        let get = |i: usize, t: i64, default: f64| {
            scalars.get(i).map_or(default, |s| s.get(steps.index(t)).copied().unwrap_or(f64::NAN))
        };
        for s in &mut matrix {
            s.hists.clear();
            s.floats.retain_mut(|(t, v)| {
                if c.func.name == "round" {
                    let inverse = 1.0 / get(0, *t, 1.0);
                    *v = (*v * inverse + 0.5).floor() / inverse;
                    return true;
                }
                let (low, high) = match c.func.name {
                    "clamp_min" => (get(0, *t, f64::NAN), f64::INFINITY),
                    "clamp_max" => (f64::NEG_INFINITY, get(0, *t, f64::NAN)),
                    _ => (get(0, *t, f64::NAN), get(1, *t, f64::NAN)),
                };
                *v = elementwise::max(low, elementwise::min(high, *v));
                high >= low || high.is_nan() || low.is_nan()
            });
        }
        matrix.retain(|s| !s.floats.is_empty());
        self.names_dropped(matrix)
    }

    fn timestamp(&mut self, c: &Call, steps: Steps) -> Result<Matrix, EngineError> {
        let start = c.func.name == "start_timestamp";
        let Some(arg) = c.args.first() else { return Ok(Vec::new()) };
        let mut matrix = Vec::new();
        if let ExprKind::Vector(v) = &arg.kind {
            if start && !self.options.use_start_timestamps {
                return Ok(matrix);
            }
            let span = self.instant_span(v, steps);
            let hints = (Some(c.func.name), steps.step);
            self.fetch_selector(v, span, hints, |ev, data| {
                let mut s = Series { labels: data.labels.clone(), ..Series::default() };
                let lookback = ev.options.lookback_ms;
                let place = (fixed_at(&v.at), v.offset.millis());
                if data.histograms.values.is_empty() && !start {
                    look_up_floats(&data, steps, place, lookback, |own, _, t| {
                        s.floats.push((t, own as f64 / 1000.0));
                    });
                } else {
                    let mut lookup = Lookup::default();
                    for t in steps.iter() {
                        let found = lookup.find(&data, data_time(place.0, place.1, t), lookback);
                        if let Some(Found::Float(own, _, st) | Found::Hist(own, _, st)) = found {
                            let ms = if start { st } else { own };
                            s.floats.push((t, ms as f64 / 1000.0));
                        }
                    }
                }
                ev.hold(s.len())?;
                ev.count_points(&s, steps);
                matrix.extend((!s.floats.is_empty()).then_some(s));
                Ok(())
            })?;
            matrix.sort_by(|a, b| a.labels.cmp(&b.labels));
        } else if !start {
            matrix = self.eval(arg, steps)?;
            for s in &mut matrix {
                let mut times: Vec<i64> = s.floats.iter().map(|p| p.0).collect();
                times.extend(s.hists.drain(..).map(|p| p.0));
                times.sort_unstable();
                s.floats = times.into_iter().map(|t| (t, t as f64 / 1000.0)).collect();
            }
        }
        self.names_dropped(matrix)
    }
}

/// A shared histogram as value.
pub(crate) fn shared(h: NativeHistogram) -> SampleValue {
    SampleValue::Histogram(Arc::new(h))
}
