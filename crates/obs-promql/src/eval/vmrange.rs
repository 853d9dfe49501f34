//! VictoriaMetrics' histograms: series by bucket with its bounds in the label `vmrange`
//! (`1.000e+00...1.136e+00`), made from values and turned into the cumulative buckets that `le`
//! names.
//!
//! Source: MetricsQL documentation of VictoriaMetrics (`histogram`, `histogram_over_time`,
//! `prometheus_buckets`, `buckets_limit`).

use std::collections::{BTreeMap, HashMap};
use std::sync::OnceLock;

use obs_types::LabelSet;

use super::{Evaluator, Matrix, Series, Steps, total};
use crate::EngineError;
use crate::ast::*;
use crate::text::float_f;

/// The label with the bounds of a bucket.
pub(super) const VMRANGE: &str = "vmrange";

/// Lowest and highest bound of the buckets between those that are open to one side.
const LOWEST: f64 = 1e-9;
const HIGHEST: f64 = 1e18;
const DECADES: usize = 27;
const BY_DECADE: usize = 18;

/// The bucket of a value: 0 up to the lowest bound, then 18 for each decade. `None` for NaN and
/// negative values, which have none.
pub(super) fn bucket_of(v: f64) -> Option<usize> {
    const INNER: usize = DECADES * BY_DECADE;
    if v.is_nan() || v < 0.0 {
        return None;
    }
    let place = (v.log10() - LOWEST.log10()) * BY_DECADE as f64;
    if place < 0.0 {
        return Some(0);
    }
    if place >= INNER as f64 {
        return Some(INNER + 1);
    }
    // What is on a bound belongs to the bucket below, as with `le`.
    let on_bound = place == place.trunc() && place > 0.0;
    Some(place as usize + usize::from(!on_bound))
}

/// The value of `vmrange` for a bucket.
pub(super) fn bounds_of(bucket: usize) -> &'static str {
    static BOUNDS: OnceLock<Vec<String>> = OnceLock::new();
    let all = BOUNDS.get_or_init(|| {
        let factor = 10f64.powf(1.0 / BY_DECADE as f64);
        let mut bound = LOWEST;
        let mut low = le_text(bound);
        let mut out = vec![format!("0...{low}")];
        for _ in 0..DECADES * BY_DECADE {
            bound *= factor;
            let high = le_text(bound);
            out.push(format!("{low}...{high}"));
            low = high;
        }
        out.push(format!("{}...+Inf", le_text(HIGHEST)));
        out
    });
    all.get(bucket).map_or("", String::as_str)
}

/// How often the values of several series fall into each bucket, step by step; 0 where a bucket has
/// none at a step.
pub(super) fn histogram_of(labels: &LabelSet, series: &[&Series], steps: Steps) -> Matrix {
    let mut counts: BTreeMap<usize, Vec<f64>> = BTreeMap::new();
    for s in series {
        for (i, (_, v)) in steps.places(s.floats.iter().map(|p| p.0)).zip(&s.floats) {
            let Some(bucket) = bucket_of(*v) else { continue };
            let counts = counts.entry(bucket).or_insert_with(|| vec![0.0; steps.count()]);
            if let Some(count) = counts.get_mut(i) {
                *count += 1.0;
            }
        }
    }
    let buckets = counts.into_iter().map(|(bucket, counts)| Series {
        labels: labels.with(VMRANGE, bounds_of(bucket)),
        floats: steps.iter().zip(counts).collect(),
        ..Series::default()
    });
    cumulative(buckets.collect(), steps)
}

/// A bucket as `vmrange` tells it.
struct Bucket {
    low: f64,
    high: f64,
    series: Series,
}

impl Bucket {
    fn of(series: Series) -> Option<Self> {
        let (low, high) = series.labels.get(VMRANGE)?.split_once("...")?;
        Some(Self { low: bound(low)?, high: bound(high)?, series })
    }
}

/// Buckets by `vmrange` as cumulative ones by `le`, those of `le` as they are, nothing else. Buckets
/// that are empty at all steps are left out; a histogram without samples at a step is 0 there.
pub(super) fn cumulative(input: Matrix, steps: Steps) -> Matrix {
    let mut out = Vec::new();
    let mut groups: Vec<(LabelSet, Vec<Bucket>)> = Vec::new();
    let mut index: HashMap<LabelSet, usize> = HashMap::new();
    for s in input {
        if s.labels.get(VMRANGE).is_none() {
            out.extend(s.labels.get("le").is_some().then_some(s));
            continue;
        }
        let Some(bucket) = Bucket::of(s) else { continue };
        let labels = bucket.series.labels.without(&[VMRANGE, "le"]);
        let at = *index.entry(labels).or_insert_with_key(|labels| {
            groups.push((labels.clone(), Vec::new()));
            groups.len() - 1
        });
        if let Some((_, list)) = groups.get_mut(at) {
            list.push(bucket);
        }
    }
    for (labels, mut list) in groups {
        list.sort_by(|a, b| a.high.total_cmp(&b.high));
        let mut totals = vec![0.0; steps.count()];
        let mut named: Vec<(String, Series)> = Vec::new();
        let mut put = |le: &str, totals: &[f64], drop_name: bool| {
            // Ranges that end alike are one bucket.
            if named.last().is_some_and(|(last, _)| last == le) {
                named.pop();
            }
            let floats = steps.iter().zip(totals.iter().copied()).collect();
            let labels = labels.with("le", le);
            named.push((le.to_owned(), Series { labels, drop_name, floats, hists: Vec::new() }));
        };
        let mut last = 0.0;
        for b in &list {
            if !b.series.floats.iter().any(|p| p.1 > 0.0) {
                continue;
            }
            if b.low > last {
                put(&le_text(b.low), &totals, b.series.drop_name);
            }
            let floats = &b.series.floats;
            for (i, (_, v)) in steps.places(floats.iter().map(|p| p.0)).zip(floats) {
                if let Some(total) = totals.get_mut(i)
                    && *v > 0.0
                {
                    *total += v;
                }
            }
            put(&le_text(b.high), &totals, b.series.drop_name);
            last = b.high;
        }
        if !named.is_empty() && last.is_finite() {
            let drop_name = list.iter().any(|b| b.series.drop_name);
            let floats = steps.iter().zip(totals).collect();
            let labels = labels.with("le", "+Inf");
            named.push((String::new(), Series { labels, drop_name, floats, hists: Vec::new() }));
        }
        out.extend(named.into_iter().map(|(_, s)| s));
    }
    out
}

impl Evaluator<'_> {
    /// The vectors and scalars of a call; in MetricsQL vectors of buckets by `vmrange` as `le`.
    /// Strings give nothing.
    pub(super) fn histogram_arguments(
        &mut self,
        c: &Call,
        steps: Steps,
    ) -> Result<Vec<Matrix>, EngineError> {
        let mut out = Vec::with_capacity(c.args.len());
        for e in &c.args {
            out.push(match e.value_type() {
                ValueType::String => Vec::new(),
                ValueType::Vector if self.metricsql() => {
                    let matrix = self.eval(e, steps)?;
                    match matrix.iter().any(|s| s.labels.get(VMRANGE).is_some()) {
                        true => self.cumulative_buckets(matrix, steps)?,
                        false => matrix,
                    }
                }
                _ => self.eval(e, steps)?,
            });
        }
        Ok(out)
    }

    pub(super) fn cumulative_buckets(
        &mut self,
        matrix: Matrix,
        steps: Steps,
    ) -> Result<Matrix, EngineError> {
        let held = total(&matrix);
        let out = cumulative(matrix, steps);
        self.release(held);
        self.hold(total(&out))?;
        Ok(out)
    }
}

/// At most `limit` buckets of each histogram: those go that have, with their upper neighbour, the
/// fewest observations over all steps. The lowest and the highest stay.
pub(super) fn limit_buckets(input: Matrix, limit: usize, steps: Steps) -> Matrix {
    let limit = limit.max(3);
    let mut groups: BTreeMap<LabelSet, Vec<(f64, Series)>> = BTreeMap::new();
    for s in input {
        let Some(le) = s.labels.get("le").and_then(bound) else { continue };
        groups.entry(s.labels.without(&["le"])).or_default().push((le, s));
    }
    let mut out = Vec::new();
    for mut list in groups.into_values() {
        if list.len() > limit {
            list.sort_by(|a, b| a.0.total_cmp(&b.0));
            let mut hits = vec![0.0; list.len()];
            let mut below = vec![0.0; steps.count()];
            for ((_, s), hits) in list.iter().zip(&mut hits) {
                for (i, (_, v)) in steps.places(s.floats.iter().map(|p| p.0)).zip(&s.floats) {
                    if let Some(below) = below.get_mut(i) {
                        *hits += v - std::mem::replace(below, *v);
                    }
                }
            }
            while list.len() > limit {
                let pairs = hits.windows(2).enumerate().skip(1).take(list.len() - 3);
                let least = pairs.map(|(i, pair)| (i, pair[0] + pair[1])).fold(
                    (1, f64::INFINITY),
                    |best, pair| if pair.1 < best.1 { pair } else { best },
                );
                list.remove(least.0);
                let moved = hits.remove(least.0);
                if let Some(next) = hits.get_mut(least.0) {
                    *next += moved;
                }
            }
        }
        out.extend(list.into_iter().map(|(_, s)| s));
    }
    out
}

fn bound(text: &str) -> Option<f64> {
    match text {
        "+Inf" | "Inf" => Some(f64::INFINITY),
        _ => text.parse().ok(),
    }
}

/// As VictoriaMetrics writes bounds: three decimals and an exponent of at least two digits.
fn le_text(v: f64) -> String {
    if v == 0.0 || v.is_infinite() {
        return float_f(v);
    }
    let text = format!("{v:.3e}");
    match text.split_once('e') {
        Some((mantissa, exponent)) => {
            let n: i32 = exponent.parse().unwrap_or(0);
            format!("{mantissa}e{}{:02}", if n < 0 { '-' } else { '+' }, n.abs())
        }
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn bounds_are_those_of_victoria_metrics() {
        for (v, want) in [
            (0.0, "0...1.000e-09"),
            (1e-9, "1.000e-09...1.136e-09"),
            (1.1e-9, "1.000e-09...1.136e-09"),
            (1.0, "8.799e-01...1.000e+00"),
            (1.01, "1.000e+00...1.136e+00"),
            (5.0, "4.642e+00...5.275e+00"),
            (100.0, "8.799e+01...1.000e+02"),
            (1e18, "1.000e+18...+Inf"),
            (f64::INFINITY, "1.000e+18...+Inf"),
        ] {
            assert_eq!(bucket_of(v).map(bounds_of), Some(want), "{v}");
        }
        assert_eq!((bucket_of(-1.0), bucket_of(f64::NAN)), (None, None));
    }

    proptest! {
        #[test]
        fn a_value_lies_between_the_bounds_of_its_bucket(exponent in -12.0..20.0_f64) {
            let v = 10f64.powf(exponent);
            let (low, high) = bounds_of(bucket_of(v).unwrap()).split_once("...").unwrap();
            let (low, high) = (bound(low).unwrap(), bound(high).unwrap());
            // Bounds are written with four digits.
            prop_assert!(low * 0.999 <= v && v <= high * 1.001, "{low} {v} {high}");
        }
    }
}
