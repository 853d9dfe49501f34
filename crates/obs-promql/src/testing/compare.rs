//! Whether an answer is the expected one.

use std::collections::BTreeSet;
use std::sync::Arc;

use obs_types::NativeHistogram;

use super::file::Eval;
use super::series::Item;
use crate::histogram::{compact, text};
use crate::{MatrixSeries, SampleValue, Value, VectorSample};

const EPSILON: f64 = 1e-6;

fn close(a: f64, b: f64) -> bool {
    if obs_types::is_stale(a) || obs_types::is_stale(b) {
        return obs_types::is_stale(a) && obs_types::is_stale(b);
    }
    if a == b || a.is_nan() && b.is_nan() {
        return true;
    }
    let sum = a.abs() + b.abs();
    let diff = (a - b).abs();
    if a == 0.0 || b == 0.0 || sum < f64::MIN_POSITIVE {
        return diff < EPSILON * f64::MIN_POSITIVE;
    }
    diff / sum.min(f64::MAX) < EPSILON
}

fn same_hist(want: &NativeHistogram, got: &NativeHistogram, hint: bool) -> bool {
    let (mut a, mut b) = (want.clone(), got.clone());
    compact(&mut a);
    compact(&mut b);
    let all_close =
        |x: &[f64], y: &[f64]| x.len() == y.len() && x.iter().zip(y).all(|(x, y)| close(*x, *y));
    a.schema == b.schema
        && close(a.count, b.count)
        && close(a.sum, b.sum)
        && a.custom_values == b.custom_values
        && a.zero_threshold == b.zero_threshold
        && close(a.zero_count, b.zero_count)
        && a.positive_spans == b.positive_spans
        && a.negative_spans == b.negative_spans
        && all_close(&a.positive_buckets, &b.positive_buckets)
        && all_close(&a.negative_buckets, &b.negative_buckets)
        && (!hint || a.counter_reset_hint == b.counter_reset_hint)
}

fn same(want: &Item, got: &SampleValue) -> Result<(), String> {
    match (want, got) {
        (Item::Float(w), SampleValue::Float(g)) if close(*w, *g) => Ok(()),
        (Item::Float(w), SampleValue::Float(g)) => Err(format!("expected {w}, got {g}")),
        (Item::Hist(w, hint), SampleValue::Histogram(g)) if same_hist(w, g, *hint) => Ok(()),
        (Item::Hist(w, _), SampleValue::Histogram(g)) => Err(format!(
            "expected {} {:?}, got {} {:?} schema {} bounds {:?}",
            text(w),
            w.counter_reset_hint,
            text(g),
            g.counter_reset_hint,
            g.schema,
            g.custom_values
        )),
        (Item::Float(w), SampleValue::Histogram(g)) => {
            Err(format!("expected {w}, got histogram {}", text(g)))
        }
        (Item::Hist(w, _), SampleValue::Float(g)) => {
            Err(format!("expected histogram {}, got {g}", text(w)))
        }
        (Item::Omitted, _) => Err("unexpected sample".into()),
    }
}

pub(crate) fn check(e: &Eval, value: &Value) -> Result<(), String> {
    match value {
        Value::String { value, .. } if e.string.as_ref() == Some(value) => Ok(()),
        Value::String { value, .. } => Err(format!("got string {value:?}")),
        Value::Scalar { value, .. } => match e.scalar {
            Some(w) if close(w, *value) => Ok(()),
            w => Err(format!("expected {w:?}, got scalar {value}")),
        },
        Value::Vector(v) => check_vector(e, v),
        Value::Matrix(m) => check_matrix(e, m),
    }
}

fn check_vector(e: &Eval, vector: &[VectorSample]) -> Result<(), String> {
    if e.scalar.is_some() {
        return Err("expected a scalar, got a vector".into());
    }
    let mut seen = BTreeSet::new();
    for (i, s) in vector.iter().enumerate() {
        let Some((position, items)) = e.expected.get(&s.labels) else {
            return Err(format!("unexpected {} with {:?}", s.labels, s.value));
        };
        if e.ordered() && *position != i + 1 {
            return Err(format!("{} expected at {position}, is at {}", s.labels, i + 1));
        }
        let item = items.first().ok_or("no expected value")?;
        same(item, &s.value).map_err(|m| format!("{}: {m}", s.labels))?;
        seen.insert(&s.labels);
    }
    match e.expected.keys().find(|l| !seen.contains(l)) {
        Some(l) => Err(format!("{l} is missing")),
        None => Ok(()),
    }
}

fn check_matrix(e: &Eval, matrix: &[MatrixSeries]) -> Result<(), String> {
    if e.ordered() {
        return Err("expected an ordered vector, got a matrix".into());
    }
    if e.scalar.is_some() {
        return Err("expected a scalar, got a matrix".into());
    }
    if matrix.windows(2).any(|w| w[0].labels > w[1].labels) {
        return Err("matrix is not sorted".into());
    }
    let (start, end, step) = e.grid;
    let mut seen = BTreeSet::new();
    for s in matrix {
        let Some((_, items)) = e.expected.get(&s.labels) else {
            return Err(format!(
                "unexpected {} with {:?} {}",
                s.labels,
                s.floats,
                s.histograms.len()
            ));
        };
        let (mut floats, mut hists) = (Vec::new(), Vec::new());
        for (i, item) in items.iter().enumerate() {
            let t = start + i as i64 * step;
            if t > end {
                return Err(format!("{}: more values than the range has points", s.labels));
            }
            match item {
                Item::Omitted => {}
                Item::Float(_) => floats.push((t, item)),
                Item::Hist(..) => hists.push((t, item)),
            }
        }
        let got_floats = s.floats.iter().map(|(t, f)| (*t, SampleValue::Float(*f)));
        let got_hists =
            s.histograms.iter().map(|(t, h)| (*t, SampleValue::Histogram(Arc::clone(h))));
        if floats.len() != s.floats.len() || hists.len() != s.histograms.len() {
            return Err(format!(
                "{}: expected {} floats and {} histograms, got {:?} and {}",
                s.labels,
                floats.len(),
                hists.len(),
                s.floats,
                s.histograms.len()
            ));
        }
        for ((t, item), (got_t, got)) in
            floats.into_iter().chain(hists).zip(got_floats.chain(got_hists))
        {
            if t != got_t {
                return Err(format!("{}: expected time {t}, got {got_t}", s.labels));
            }
            same(item, &got).map_err(|m| format!("{} at {t}: {m}", s.labels))?;
        }
        seen.insert(&s.labels);
    }
    match e.expected.keys().find(|l| !seen.contains(l)) {
        Some(l) => Err(format!("{l} is missing")),
        None => Ok(()),
    }
}

/// The values of a matrix at one time, as vector or scalar.
pub(crate) fn column(matrix: &[MatrixSeries], t: i64, scalar: bool) -> Result<Value, String> {
    let mut vector = Vec::new();
    for s in matrix {
        let labels = s.labels.clone();
        if let Some((_, f)) = s.floats.iter().find(|p| p.0 == t) {
            let value = SampleValue::Float(*f);
            vector.push(VectorSample { labels: labels.clone(), timestamp_ms: t, value });
        }
        if let Some((_, h)) = s.histograms.iter().find(|p| p.0 == t) {
            let value = SampleValue::Histogram(Arc::clone(h));
            vector.push(VectorSample { labels, timestamp_ms: t, value });
        }
    }
    if !scalar {
        return Ok(Value::Vector(vector));
    }
    let value = vector.first().and_then(|s| s.value.as_float()).ok_or("range mode: no scalar")?;
    Ok(Value::Scalar { timestamp_ms: t, value })
}
