//! Aggregation of float series, one series after the other into a state per step.
//!
//! At every step the series add in the same order as they would step by step, so the sums are the
//! same to the bit.

use super::{Series, Steps};
use crate::ast::AggregateOp;
use crate::functions::over_time::Mean;
use crate::histogram::kahan;

/// The states of one group; kept between groups for their buffers.
#[derive(Debug, Default)]
pub(crate) struct Columns {
    count: Vec<f64>,
    value: Vec<f64>,
    /// Compensation of a sum, running mean of a deviation.
    c: Vec<f64>,
    mean: Vec<Option<Mean>>,
}

impl Columns {
    /// Appends the points of the group to `out`. Not for quantiles.
    pub(crate) fn fold(
        &mut self,
        op: AggregateOp,
        members: &[&Series],
        steps: Steps,
        out: &mut Vec<(i64, f64)>,
    ) {
        let n = steps.count();
        for column in [&mut self.count, &mut self.value, &mut self.c] {
            column.clear();
            column.resize(n, 0.0);
        }
        if op == AggregateOp::Avg {
            self.mean.clear();
            self.mean.resize(n, None);
        }
        for s in members {
            match op {
                AggregateOp::Sum => self.each(s, steps, |count, value, c, v| {
                    (*value, *c) = if count == 1.0 { (v, 0.0) } else { kahan(v, *value, *c) };
                }),
                AggregateOp::Min => self.each(s, steps, |count, value, _, v| {
                    if count == 1.0 || *value > v || value.is_nan() {
                        *value = v;
                    }
                }),
                AggregateOp::Max => self.each(s, steps, |count, value, _, v| {
                    if count == 1.0 || *value < v || value.is_nan() {
                        *value = v;
                    }
                }),
                AggregateOp::Stddev | AggregateOp::Stdvar => {
                    self.each(s, steps, |count, value, mean, v| {
                        if count == 1.0 {
                            *mean = v;
                            *value = if v.is_finite() { 0.0 } else { f64::NAN };
                        } else {
                            let delta = v - *mean;
                            *mean += delta / count;
                            *value += delta * (v - *mean);
                        }
                    });
                }
                AggregateOp::Avg => {
                    let mut walk = steps.walk();
                    for (t, v) in &s.floats {
                        let i = walk.place(*t);
                        let (Some(count), Some(mean)) =
                            (self.count.get_mut(i), self.mean.get_mut(i))
                        else {
                            continue;
                        };
                        *count += 1.0;
                        match mean {
                            Some(m) => m.add(*v),
                            None => *mean = Some(Mean::new(*v)),
                        }
                    }
                }
                _ => self.each(s, steps, |_, _, _, _| {}),
            }
        }
        let present = self.count.iter().filter(|c| **c > 0.0).count();
        out.reserve_exact(present);
        for (i, (t, count)) in steps.iter().zip(&self.count).enumerate() {
            if *count == 0.0 {
                continue;
            }
            let (Some(value), Some(c)) = (self.value.get(i), self.c.get(i)) else { continue };
            let v = match op {
                AggregateOp::Sum => value + c,
                AggregateOp::Avg => {
                    self.mean.get(i).and_then(Option::as_ref).map_or(f64::NAN, Mean::value)
                }
                AggregateOp::Count => *count,
                AggregateOp::Group => 1.0,
                AggregateOp::Stdvar => value / count,
                AggregateOp::Stddev => (value / count).sqrt(),
                _ => *value,
            };
            out.push((t, v));
        }
    }

    /// Calls `f(count with this sample, value, compensation, sample)` for every point.
    fn each(&mut self, s: &Series, steps: Steps, f: impl Fn(f64, &mut f64, &mut f64, f64)) {
        let mut walk = steps.walk();
        for (t, v) in &s.floats {
            let i = walk.place(*t);
            if let (Some(count), Some(value), Some(c)) =
                (self.count.get_mut(i), self.value.get_mut(i), self.c.get_mut(i))
            {
                *count += 1.0;
                f(*count, value, c, *v);
            }
        }
    }
}
