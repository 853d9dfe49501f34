//! Aggregations over groups of series.

use std::collections::HashMap;

use obs_types::{CounterResetHint, LabelSet, METRIC_NAME};

use super::columns::Columns;
use super::extra_aggregate::Members;
use super::rollup::settled;
use super::{Cursor, Evaluator, Matrix, Series, Steps, failed, total};
use crate::annotations::HistogramOp;
use crate::ast::*;
use crate::functions::over_time::{HistogramMean, Mean, quantile_of};
use crate::histogram::{Accumulator, kahan};
use crate::{EngineError, SampleValue};

pub(super) fn group_labels(l: &LabelSet, grouping: &[&str], without: bool) -> LabelSet {
    if without {
        let mut names = grouping.to_vec();
        names.push(METRIC_NAME);
        l.without(&names)
    } else {
        l.keep(grouping)
    }
}

impl Evaluator<'_> {
    pub(crate) fn aggregate(
        &mut self,
        a: &AggregateExpr,
        pos: PosRange,
        steps: Steps,
    ) -> Result<Matrix, EngineError> {
        let grouping: Vec<&str> = a.grouping.iter().map(String::as_str).collect();
        if a.op == AggregateOp::CountValues {
            return self.count_values(a, &grouping, steps);
        }
        let params = match &a.param {
            None => Vec::new(),
            Some(p) => self
                .eval(p, steps)?
                .first()
                .map(|s| s.floats.iter().map(|x| x.1).collect())
                .unwrap_or_default(),
        };
        let mut input = self.eval(&a.expr, steps)?;
        if self.metricsql() {
            input = settled(input);
        }
        let held = total(&input);
        let mut index: HashMap<LabelSet, usize> = HashMap::new();
        let mut groups: Vec<LabelSet> = Vec::new();
        let mut of_series: Vec<usize> = Vec::with_capacity(input.len());
        for s in &input {
            let labels = group_labels(&s.labels, &grouping, a.without);
            of_series.push(*index.entry(labels.clone()).or_insert_with(|| {
                groups.push(labels);
                groups.len() - 1
            }));
        }
        let param_pos = a.param.as_ref().map_or(pos, |p| p.pos);
        let out = match a.op {
            AggregateOp::Extra(op) => {
                let mut members: Vec<Members<'_>> = groups
                    .into_iter()
                    .map(|labels| Members { labels, series: Vec::new() })
                    .collect();
                for (s, g) in input.iter().zip(&of_series) {
                    if let Some(group) = members.get_mut(*g) {
                        group.series.push(s);
                    }
                }
                let param = params.first().copied().unwrap_or(f64::NAN);
                self.extra_aggregate(op, param, a.remainder.as_deref(), members, steps)?
            }
            AggregateOp::Topk
            | AggregateOp::Bottomk
            | AggregateOp::Limitk
            | AggregateOp::LimitRatio => {
                if !self.check_k(a.op, &params, param_pos)? {
                    return Ok(Vec::new());
                }
                self.pick(a, &params, &input, &of_series, groups.len(), pos, steps)?
            }
            _ => {
                if a.op == AggregateOp::Quantile {
                    for q in &params {
                        if !(0.0..=1.0).contains(q) {
                            self.annos.invalid_quantile(*q, param_pos);
                        }
                    }
                }
                self.fold(a, &params, &input, &of_series, groups, steps)?
            }
        };
        self.release(held);
        self.hold(total(&out))?;
        Ok(out)
    }

    /// `false` where the parameter selects nothing at any step.
    fn check_k(
        &mut self,
        op: AggregateOp,
        params: &[f64],
        pos: PosRange,
    ) -> Result<bool, EngineError> {
        let max = params.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let min = params.iter().copied().fold(f64::INFINITY, f64::min);
        let nan = params.iter().any(|p| p.is_nan());
        if op == AggregateOp::LimitRatio {
            if !nan && max == 0.0 && min == 0.0 {
                return Ok(false);
            }
            if nan {
                return failed("Ratio value is NaN");
            }
            if max > 1.0 {
                self.annos.invalid_ratio(max, 1.0, pos);
            }
            if min < -1.0 {
                self.annos.invalid_ratio(min, -1.0, pos);
            }
            return Ok(true);
        }
        if nan {
            return failed("Parameter value is NaN");
        }
        if max < 1.0 {
            return Ok(false);
        }
        if min <= i64::MIN as f64 {
            return failed(format!(
                "Scalar value {} underflows int64",
                crate::text::float_g(min, 21)
            ));
        }
        if max >= i64::MAX as f64 {
            return failed(format!(
                "Scalar value {} overflows int64",
                crate::text::float_g(max, 21)
            ));
        }
        Ok(true)
    }

    #[expect(clippy::too_many_arguments, reason = "one pass over parallel columns")]
    fn pick(
        &mut self,
        a: &AggregateExpr,
        params: &[f64],
        input: &[Series],
        of_series: &[usize],
        group_count: usize,
        pos: PosRange,
        steps: Steps,
    ) -> Result<Matrix, EngineError> {
        let mut cursors = vec![Cursor::default(); input.len()];
        let mut out: Vec<Series> = input
            .iter()
            .map(|s| Series {
                labels: s.labels.clone(),
                drop_name: s.drop_name,
                ..Series::default()
            })
            .collect();
        let mut order: Vec<usize> = Vec::new();
        let ranked = matches!(a.op, AggregateOp::Topk | AggregateOp::Bottomk);
        let mut members: Vec<Vec<(usize, SampleValue)>> = vec![Vec::new(); group_count];
        let ratio_place: Vec<f64> = if a.op == AggregateOp::LimitRatio {
            input.iter().map(|s| s.labels.stable_hash() as f64 / u64::MAX as f64).collect()
        } else {
            Vec::new()
        };
        for (n, t) in steps.iter().enumerate() {
            self.check()?;
            let param = params.get(n).copied().unwrap_or(f64::NAN);
            let k = if a.op == AggregateOp::LimitRatio {
                usize::MAX
            } else if param < 1.0 {
                0
            } else {
                param as usize
            };
            for (i, (s, c)) in input.iter().zip(&mut cursors).enumerate() {
                let Some(value) = c.at(s, t) else { continue };
                if ranked && value.as_float().is_none() {
                    self.annos.ignored_in_aggregation(a.op.as_str(), pos);
                    continue;
                }
                if a.op == AggregateOp::LimitRatio
                    && !ratio_place.get(i).is_some_and(|at| in_ratio(*at, param))
                {
                    continue;
                }
                let Some(group) = of_series.get(i).and_then(|g| members.get_mut(*g)) else {
                    continue;
                };
                if !ranked {
                    if group.len() < k {
                        group.push((i, value));
                    }
                    continue;
                }
                // Kept in order while small; what is equal stays in order of arrival.
                let new = value.as_float().unwrap_or(f64::NAN);
                let after = |(_, other): &(usize, SampleValue)| {
                    let other = other.as_float().unwrap_or(f64::NAN);
                    !before(new, other, a.op == AggregateOp::Topk)
                };
                if k > RANKED_MAX {
                    group.push((i, value));
                } else if group.len() < k || group.last().is_some_and(|last| !after(last)) {
                    group.truncate(k.saturating_sub(1));
                    let at = group.partition_point(after);
                    group.insert(at, (i, value));
                }
            }
            for group in &mut members {
                if ranked && k > RANKED_MAX {
                    let top = a.op == AggregateOp::Topk;
                    group.sort_by(|(_, x), (_, y)| {
                        let nan = f64::NAN;
                        let (x, y) = (x.as_float().unwrap_or(nan), y.as_float().unwrap_or(nan));
                        before(y, x, top).cmp(&before(x, y, top))
                    });
                    group.truncate(k);
                }
                for (i, value) in group.drain(..) {
                    if let Some(s) = out.get_mut(i) {
                        if s.floats.is_empty() && s.hists.is_empty() {
                            order.push(i);
                        }
                        s.push(t, value);
                    }
                }
            }
        }
        Ok(order.into_iter().filter_map(|i| out.get_mut(i).map(std::mem::take)).collect())
    }

    /// Group by group, so that the state of one group's steps is all that is held.
    fn fold(
        &mut self,
        a: &AggregateExpr,
        params: &[f64],
        input: &[Series],
        of_series: &[usize],
        groups: Vec<LabelSet>,
        steps: Steps,
    ) -> Result<Matrix, EngineError> {
        let mut members: Vec<Vec<&Series>> = vec![Vec::new(); groups.len()];
        for (s, g) in input.iter().zip(of_series) {
            if let Some(list) = members.get_mut(*g) {
                list.push(s);
            }
        }
        let mut columns = Columns::default();
        let mut out = Vec::with_capacity(groups.len());
        for (labels, members) in groups.into_iter().zip(members) {
            self.check()?;
            let mut s = Series { labels, ..Series::default() };
            let floats_only = members.iter().all(|m| m.hists.is_empty());
            if floats_only && a.op != AggregateOp::Quantile {
                s.drop_name = members.iter().any(|m| m.drop_name && !m.floats.is_empty());
                columns.fold(a.op, &members, steps, &mut s.floats);
            } else {
                self.fold_by_step(a, params, &members, steps, &mut s)?;
            }
            if !s.floats.is_empty() || !s.hists.is_empty() {
                out.push(s);
            }
        }
        Ok(out)
    }

    fn fold_by_step(
        &mut self,
        a: &AggregateExpr,
        params: &[f64],
        members: &[&Series],
        steps: Steps,
        out: &mut Series,
    ) -> Result<(), EngineError> {
        let pos = a.expr.pos;
        let mut cursors = vec![Cursor::default(); members.len()];
        let mut values = Vec::new();
        for (n, t) in steps.iter().enumerate() {
            if n % 64 == 0 {
                self.check()?;
            }
            let mut state = None;
            for (s, c) in members.iter().zip(&mut cursors) {
                if let Some(value) = c.at(s, t) {
                    self.add(a.op, &mut state, &mut values, &value, s, pos);
                }
            }
            let Some(g) = state else { continue };
            out.drop_name |= g.drop_name;
            let param = params.get(n).copied().unwrap_or(f64::NAN);
            if a.op == AggregateOp::Quantile {
                out.push(t, SampleValue::Float(quantile_of(param, &mut values)));
                values.clear();
            } else if let Some(v) = self.close(a.op, g, pos) {
                out.push(t, v);
            }
        }
        Ok(())
    }

    fn add(
        &mut self,
        op: AggregateOp,
        state: &mut Option<Group>,
        values: &mut Vec<f64>,
        value: &SampleValue,
        s: &Series,
        pos: PosRange,
    ) {
        let floats_only = matches!(
            op,
            AggregateOp::Min
                | AggregateOp::Max
                | AggregateOp::Stddev
                | AggregateOp::Stdvar
                | AggregateOp::Quantile
        );
        if floats_only && value.as_float().is_none() {
            self.annos.ignored_in_aggregation(op.as_str(), pos);
            return;
        }
        let g = state.get_or_insert_with(Group::default);
        g.drop_name |= s.drop_name;
        g.count += 1.0;
        match value {
            SampleValue::Float(f) => {
                let first = !g.has_float;
                g.has_float = true;
                match op {
                    AggregateOp::Sum => {
                        (g.value, g.c) =
                            if g.count == 1.0 { (*f, 0.0) } else { kahan(*f, g.value, g.c) };
                    }
                    AggregateOp::Avg => match &mut g.mean {
                        Some(m) => m.add(*f),
                        None => g.mean = Some(Mean::new(*f)),
                    },
                    AggregateOp::Min if first || g.value > *f || g.value.is_nan() => g.value = *f,
                    AggregateOp::Max if first || g.value < *f || g.value.is_nan() => g.value = *f,
                    AggregateOp::Stddev | AggregateOp::Stdvar => {
                        if first {
                            g.c = *f;
                            g.value = if f.is_finite() { 0.0 } else { f64::NAN };
                        } else {
                            let delta = f - g.c;
                            g.c += delta / g.count;
                            g.value += delta * (f - g.c);
                        }
                    }
                    AggregateOp::Quantile => values.push(*f),
                    _ => {}
                }
            }
            SampleValue::Histogram(h) => {
                g.has_hist = true;
                if g.incompatible || !matches!(op, AggregateOp::Sum | AggregateOp::Avg) {
                    return;
                }
                match h.counter_reset_hint {
                    CounterResetHint::Reset => g.reset = true,
                    CounterResetHint::NotReset => g.not_reset = true,
                    CounterResetHint::Unknown | CounterResetHint::Gauge => {}
                }
                let added = match (op, &mut g.hist_sum, &mut g.hist_mean) {
                    (AggregateOp::Sum, Some(acc), _) => acc.add(h).map(|n| n.bounds_reconciled),
                    (AggregateOp::Sum, None, _) => {
                        g.hist_sum = Some(Accumulator::new(h));
                        Ok(false)
                    }
                    (_, _, Some(mean)) => mean.add(h),
                    _ => {
                        g.hist_mean = Some(HistogramMean::new(h));
                        Ok(false)
                    }
                };
                match added {
                    Ok(true) => self.annos.bounds_reconciled(HistogramOp::Agg, pos),
                    Ok(false) => {}
                    Err(_) => {
                        self.annos.mixed_schemas(s.labels.metric_name(), pos);
                        g.incompatible = true;
                    }
                }
            }
        }
    }

    fn close(&mut self, op: AggregateOp, g: Group, pos: PosRange) -> Option<SampleValue> {
        let value = match op {
            AggregateOp::Sum | AggregateOp::Avg => {
                if g.has_float && g.has_hist {
                    self.annos.mixed_floats_histograms_agg(pos);
                    return None;
                }
                if g.incompatible {
                    return None;
                }
                if g.has_hist {
                    if g.reset && g.not_reset {
                        self.annos.reset_collision(HistogramOp::Agg, pos);
                    }
                    let h = match (g.hist_sum, g.hist_mean) {
                        (Some(acc), _) => acc.finish(),
                        (None, Some(mean)) => mean.value(),
                        (None, None) => return None,
                    };
                    return Some(super::call::shared(h));
                }
                match g.mean {
                    Some(m) => m.value(),
                    None => g.value + g.c,
                }
            }
            AggregateOp::Count => g.count,
            AggregateOp::Group => 1.0,
            AggregateOp::Stdvar => g.value / g.count,
            AggregateOp::Stddev => (g.value / g.count).sqrt(),
            _ => g.value,
        };
        Some(SampleValue::Float(value))
    }
}

/// Up to how many elements `topk` keeps in order instead of sorting all.
const RANKED_MAX: usize = 32;

/// Whether `x` ranks strictly before `y`; a NaN ranks last.
fn before(x: f64, y: f64, top: bool) -> bool {
    if x.is_nan() || y.is_nan() {
        return y.is_nan() && !x.is_nan();
    }
    if top { x > y } else { x < y }
}

/// Which series a ratio selects is fixed by the hash of its labels, `at` within 0..=1; a negative
/// ratio selects the complement of the positive one that adds up to 1 with it.
fn in_ratio(at: f64, ratio: f64) -> bool {
    let ratio = ratio.clamp(-1.0, 1.0);
    if ratio >= 0.0 { at < ratio } else { at >= 1.0 + ratio }
}

/// One group at one step.
#[derive(Debug, Default)]
struct Group {
    count: f64,
    value: f64,
    /// Compensation of a sum, running mean of a deviation.
    c: f64,
    mean: Option<Mean>,
    hist_sum: Option<Accumulator>,
    hist_mean: Option<HistogramMean>,
    has_float: bool,
    has_hist: bool,
    incompatible: bool,
    reset: bool,
    not_reset: bool,
    drop_name: bool,
}
