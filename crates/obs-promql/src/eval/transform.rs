//! MetricsQL's functions over whole series: `range_*`, `running_*`, filling of gaps, and the choice
//! of series.

use std::collections::HashMap;

use obs_types::LabelSet;

use super::call::text;
use super::rollup::settled;
use super::vmrange::limit_buckets;
use super::{Evaluator, Matrix, Series, Steps, failed};
use crate::EngineError;
use crate::ast::*;
use crate::functions::metricsql::{KEEP_METRIC_NAMES, keeps_name};
use crate::functions::over_time::quantile_of;
use crate::functions::rollup::{mad, max, mean, min, quantile, remove_resets, stdvar};
use crate::histogram::{ClassicBucket, bucket_fraction};

/// Whether the name of what an expression selects is still there when it is evaluated.
pub(super) fn names_survive(e: &Expr) -> bool {
    let inner = || e.children().into_iter().all(names_survive);
    match &e.kind {
        ExprKind::Call(c) => c.func.name == KEEP_METRIC_NAMES || keeps_name(c.func.name) && inner(),
        ExprKind::Binary(b) => !b.op.changes_schema() && !b.return_bool && inner(),
        ExprKind::Unary(u) => !u.negative && inner(),
        _ => inner(),
    }
}

fn floats(s: &Series) -> Vec<f64> {
    s.floats.iter().map(|p| p.1).collect()
}

impl Evaluator<'_> {
    /// `None` where the function is not one of these.
    pub(super) fn transform(
        &mut self,
        c: &Call,
        steps: Steps,
    ) -> Result<Option<Matrix>, EngineError> {
        let name = c.func.name;
        let Some(first) = c.args.first() else { return Ok(None) };
        let out = match name {
            KEEP_METRIC_NAMES => {
                let operands = match &first.kind {
                    ExprKind::Paren(inner) => inner.children(),
                    _ => first.children(),
                };
                let keep = operands.into_iter().all(names_survive);
                self.keep_names = keep;
                let mut matrix = self.eval(first, steps)?;
                self.keep_names = false;
                if keep {
                    matrix.iter_mut().for_each(|s| s.drop_name = false);
                }
                matrix
            }
            "union" => {
                let mut out: Matrix = Vec::new();
                let mut seen: HashMap<LabelSet, ()> = HashMap::new();
                for e in &c.args {
                    for s in settled(self.eval(e, steps)?) {
                        if seen.insert(s.labels.clone(), ()).is_none() {
                            out.push(s);
                        }
                    }
                }
                out
            }
            "drop_empty_series" => self.eval(first, steps)?,
            "limit_offset" => {
                let mut number = |i: usize| -> Result<usize, EngineError> {
                    let Some(e) = c.args.get(i) else { return Ok(0) };
                    let m = self.eval(e, steps)?;
                    Ok(m.first().and_then(|s| s.floats.first()).map_or(0.0, |p| p.1) as usize)
                };
                let (limit, offset) = (number(0)?, number(1)?);
                let Some(input) = c.args.get(2) else { return Ok(None) };
                let mut matrix = self.eval(input, steps)?;
                matrix.sort_by(|a, b| a.labels.cmp(&b.labels));
                matrix.into_iter().skip(offset).take(limit).collect()
            }
            "histogram_share" => self.histogram_share(c, steps)?,
            "prometheus_buckets" => {
                let matrix = self.eval(first, steps)?;
                self.cumulative_buckets(matrix, steps)?
            }
            "buckets_limit" => {
                let limit = self.scalars(first, steps)?.first().copied().unwrap_or(f64::NAN);
                let Some(input) = c.args.get(1) else { return Ok(None) };
                let matrix = self.eval(input, steps)?;
                if limit.is_nan() || limit < 1.0 {
                    return Ok(Some(Vec::new()));
                }
                let matrix = self.cumulative_buckets(matrix, steps)?;
                limit_buckets(matrix, limit as usize, steps)
            }
            "bitmap_and" | "bitmap_or" | "bitmap_xor" => {
                let mask = match c.args.get(1) {
                    Some(e) => self.scalars(e, steps)?,
                    None => Vec::new(),
                };
                let mut matrix = self.eval(first, steps)?;
                for s in &mut matrix {
                    for (t, v) in &mut s.floats {
                        let mask = mask.get(steps.index(*t)).copied().unwrap_or(0.0) as u64;
                        let bits = *v as u64;
                        *v = match name {
                            "bitmap_and" => bits & mask,
                            "bitmap_or" => bits | mask,
                            _ => bits ^ mask,
                        } as f64;
                    }
                }
                self.names_dropped(matrix)?
            }
            "range_quantile"
            | "range_trim_outliers"
            | "range_trim_spikes"
            | "range_trim_zscore" => {
                let k = self.scalars(first, steps)?.first().copied().unwrap_or(f64::NAN);
                let Some(input) = c.args.get(1) else { return Ok(None) };
                let mut matrix = self.eval(input, steps)?;
                for s in &mut matrix {
                    if name == "range_quantile" {
                        let q = quantile(k, &floats(s));
                        s.floats.iter_mut().for_each(|p| p.1 = q);
                    } else {
                        trim(name, k, s);
                    }
                }
                matrix
            }
            "range_normalize" => {
                let mut out = Vec::new();
                for e in &c.args {
                    out.extend(settled(self.eval(e, steps)?));
                }
                for s in &mut out {
                    let values = floats(s);
                    let (low, high) = (min(&values), max(&values));
                    s.floats.iter_mut().for_each(|p| p.1 = (p.1 - low) / (high - low));
                }
                out
            }
            "smooth_exponential" => {
                let factor = match c.args.get(1) {
                    Some(e) => self.scalars(e, steps)?,
                    None => Vec::new(),
                };
                let mut matrix = self.eval(first, steps)?;
                for s in &mut matrix {
                    let mut average = f64::NAN;
                    for (t, v) in &mut s.floats {
                        let f = factor.get(steps.index(*t)).copied().unwrap_or(1.0);
                        let f = if f.is_nan() { 1.0 } else { f.clamp(0.0, 1.0) };
                        if !v.is_finite() {
                            // No average can hold it; before there is one it stays.
                            if v.is_infinite() && !average.is_nan() {
                                *v = average;
                            }
                            continue;
                        }
                        average = if average.is_nan() { *v } else { average * (1.0 - f) + *v * f };
                        *v = average;
                    }
                }
                matrix
            }
            _ if name.starts_with("range_")
                || name.starts_with("running_")
                || matches!(
                    name,
                    "keep_last_value" | "keep_next_value" | "interpolate" | "remove_resets"
                ) =>
            {
                let mut matrix = self.eval(first, steps)?;
                matrix.retain(|s| !s.floats.is_empty());
                for s in &mut matrix {
                    whole_series(name, s, steps);
                }
                let added = matrix.iter().map(Series::len).sum();
                self.hold(added)?;
                matrix
            }
            _ => return self.relabel(c, steps),
        };
        Ok(Some(out))
    }

    /// A scalar by step.
    pub(super) fn scalars(&mut self, e: &Expr, steps: Steps) -> Result<Vec<f64>, EngineError> {
        let m = self.eval(e, steps)?;
        Ok(m.first().map_or_else(Vec::new, floats))
    }

    fn histogram_share(&mut self, c: &Call, steps: Steps) -> Result<Matrix, EngineError> {
        let inputs = self.histogram_arguments(c, steps)?;
        let [le, input] = inputs.as_slice() else { return Ok(Vec::new()) };
        let le = le.first().map_or_else(Vec::new, floats);
        let pos = c.args.get(1).map_or_else(PosRange::default, |e| e.pos);
        self.classic_histograms(input, pos, steps, |_, n, _, _, buckets: &mut [ClassicBucket]| {
            bucket_fraction(f64::NEG_INFINITY, le.get(n).copied().unwrap_or(f64::NAN), buckets)
        })
    }
}

/// Takes what is far out of a series.
fn trim(name: &str, k: f64, s: &mut Series) {
    let values = floats(s);
    match name {
        "range_trim_outliers" => {
            let (median, reach) = (quantile(0.5, &values), k * mad(&values));
            s.floats.retain(|(_, v)| (v - median).abs() <= reach);
        }
        "range_trim_spikes" => {
            let half = (k / 2.0).clamp(0.0, 0.5);
            let mut sorted = values;
            let (low, high) =
                (quantile_of(half, &mut sorted), quantile_of(1.0 - half, &mut sorted));
            s.floats.retain(|(_, v)| *v >= low && *v <= high);
        }
        _ => {
            let (mean, deviation) = (mean(&values), stdvar(&values).sqrt());
            s.floats.retain(|(_, v)| ((v - mean) / deviation).abs() <= k);
        }
    }
}

fn whole_series(name: &str, s: &mut Series, steps: Steps) {
    let values = floats(s);
    let begin = s.floats.first().map_or(steps.end, |p| p.0);
    // From the first point on, gaps as well; or where there are points.
    let from_first = |v: f64| steps.iter().filter(|t| *t >= begin).map(|t| (t, v)).collect();
    let at_points = |v: f64| s.floats.iter().map(|p| (p.0, v)).collect();
    s.floats = match name {
        "range_avg" => from_first(mean(&values)),
        "range_sum" => from_first(values.iter().sum()),
        "range_min" => from_first(min(&values)),
        "range_max" => from_first(max(&values)),
        "range_first" => at_points(values.first().copied().unwrap_or(f64::NAN)),
        "range_last" => at_points(values.last().copied().unwrap_or(f64::NAN)),
        "range_median" => at_points(quantile(0.5, &values)),
        "range_mad" => at_points(mad(&values)),
        "range_stdvar" => at_points(stdvar(&values)),
        "range_stddev" => at_points(stdvar(&values).sqrt()),
        "range_zscore" => {
            let (mean, deviation) = (mean(&values), stdvar(&values).sqrt());
            s.floats.iter().map(|(t, v)| (*t, (v - mean) / deviation)).collect()
        }
        "range_linear_regression" => {
            let (slope, start) = line(&s.floats, steps.start);
            let at = |t: i64| start + slope * (t - steps.start) as f64 / 1000.0;
            steps.iter().map(|t| (t, at(t))).collect()
        }
        "remove_resets" => {
            let mut values = values;
            remove_resets(&mut values);
            s.floats.iter().zip(values).map(|((t, _), v)| (*t, v)).collect()
        }
        _ => by_step(name, s, steps),
    };
}

/// Slope by second and value at `from`.
fn line(points: &[(i64, f64)], from: i64) -> (f64, f64) {
    let n = points.len() as f64;
    let (mut t_sum, mut v_sum, mut tv, mut tt) = (0.0, 0.0, 0.0, 0.0);
    for (t, v) in points {
        let t = (t - from) as f64 / 1000.0;
        t_sum += t;
        v_sum += v;
        tv += t * v;
        tt += t * t;
    }
    let spread = n * tt - t_sum * t_sum;
    let slope = if spread.abs() < 1e-6 { 0.0 } else { (n * tv - t_sum * v_sum) / spread };
    (slope, v_sum / n - slope * t_sum / n)
}

/// Functions whose value at a step depends on its neighbours; gaps behind the first point are filled.
fn by_step(name: &str, s: &Series, steps: Steps) -> Vec<(i64, f64)> {
    let mut out = Vec::with_capacity(steps.count());
    let mut rest = s.floats.iter().peekable();
    let mut last: Option<(i64, f64)> = None;
    let mut running = f64::NAN;
    let mut seen = 0.0;
    for t in steps.iter() {
        let here = rest.next_if(|p| p.0 == t).map(|p| p.1);
        if let Some(v) = here {
            last = Some((t, v));
        }
        if !running.is_nan() || here.is_some() {
            seen += 1.0;
        }
        if let Some(v) = here {
            running = match name {
                _ if running.is_nan() => v,
                "running_sum" => running + v,
                "running_max" => running.max(v),
                "running_min" => running.min(v),
                "running_avg" => running + (v - running) / seen,
                _ => v,
            };
        }
        let next = rest.peek().map(|p| **p);
        let value = match name {
            "keep_last_value" => last.map(|p| p.1),
            "keep_next_value" => here.or(next.map(|p| p.1)),
            "interpolate" => here.or_else(|| {
                let ((t0, v0), Some((t1, v1))) = (last?, next) else { return last.map(|p| p.1) };
                Some(v0 + (v1 - v0) * (t - t0) as f64 / (t1 - t0) as f64)
            }),
            _ => Some(running).filter(|v| !v.is_nan()),
        };
        out.extend(value.map(|v| (t, v)));
    }
    out
}

/// The other arguments as text.
pub(super) fn texts(c: &Call) -> Vec<&str> {
    c.args.iter().skip(1).map(|a| text(Some(a))).collect()
}

/// Refuses a call whose arguments do not come in pairs or triples.
pub(super) fn in_groups(name: &str, texts: &[&str], of: usize) -> Result<(), EngineError> {
    if texts.len().is_multiple_of(of) {
        return Ok(());
    }
    failed(format!("{name}: {} label arguments do not make groups of {of}", texts.len()))
}
