//! The series notation of test files: `metric{a="b"}` and `0+10x5 _ stale {{schema:0 count:3}}`.

use std::sync::Arc;

use obs_promql::testing::MemorySource;
use obs_types::{
    BucketSpan, CounterResetHint, LabelSet, METRIC_NAME, MatchOp, NativeHistogram, QueryContext,
    SeriesData, TimestampMs, stale_nan,
};

use crate::promql::{self, SampleValue};

/// Most values that one series may expand to.
const VALUES_MAX: usize = 1_000_000;

/// `name{a="b"}`, `{a="b"}`, `{}` or nothing.
pub(super) fn labels(text: &str) -> Result<LabelSet, String> {
    if matches!(text.trim(), "" | "{}") {
        return Ok(LabelSet::empty());
    }
    let mut builder = LabelSet::empty().to_builder();
    for m in obs_promql::parse_selector(text).map_err(|e| format!("{text:?}: {e}"))? {
        if m.op() != MatchOp::Equal {
            return Err(format!("{text:?}: labels are given with ="));
        }
        builder.set(m.name(), m.value());
    }
    Ok(builder.build())
}

/// One series with its values `interval_ms` apart; absent ones are left out.
pub(super) fn series(
    name: &str,
    values: &str,
    start: TimestampMs,
    interval_ms: i64,
) -> Result<SeriesData, String> {
    let mut data = SeriesData { labels: labels(name)?, ..SeriesData::default() };
    for (i, value) in expand(values)?.into_iter().enumerate() {
        let offset = i64::try_from(i).unwrap_or(i64::MAX).saturating_mul(interval_ms);
        let t = start.0.saturating_add(offset);
        match value {
            None => {}
            Some(SampleValue::Float(v)) => {
                data.timestamps.push(t);
                data.values.push(v);
            }
            Some(SampleValue::Histogram(h)) => {
                data.histograms.timestamps.push(t);
                data.histograms.values.push(h);
            }
        }
    }
    Ok(data)
}

fn expand(text: &str) -> Result<Vec<Option<SampleValue>>, String> {
    let mut out = Vec::new();
    for word in words(text) {
        let fail = || format!("series value {word:?} is not understood");
        let (head, times) = repetition(word).ok_or_else(fail)?;
        if out.len().saturating_add(times) > VALUES_MAX {
            return Err(format!("a series has more than {VALUES_MAX} values"));
        }
        if head == "_" {
            out.extend(std::iter::repeat_n(None, times.max(1)));
        } else if head == "stale" {
            let stale = Some(SampleValue::Float(stale_nan()));
            out.extend(std::iter::repeat_n(stale, times + 1));
        } else if head.starts_with("{{") {
            histograms(head, times, &mut out).ok_or_else(fail)?;
        } else {
            floats(head, times, &mut out).ok_or_else(fail)?;
        }
    }
    Ok(out)
}

/// Splits at blanks outside `{{…}}`.
fn words(text: &str) -> Vec<&str> {
    let mut depth = 0usize;
    text.split(|c: char| {
        match c {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        depth == 0 && c.is_whitespace()
    })
    .filter(|w| !w.is_empty())
    .collect()
}

/// `0+10x5` → (`0+10`, 5); without `xN` the count is 0. Hexadecimal numbers keep their `x`.
fn repetition(word: &str) -> Option<(&str, usize)> {
    let digits = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
    match word.rsplit_once('x') {
        Some((head, times)) if digits(times) => Some((head, times.parse().ok()?)),
        _ => Some((word, 0)),
    }
}

fn floats(head: &str, times: usize, out: &mut Vec<Option<SampleValue>>) -> Option<()> {
    // The increment begins at the last sign that is not part of an exponent.
    let bytes = head.as_bytes();
    let split = (1..bytes.len()).rev().find(|i| {
        matches!(bytes.get(*i), Some(b'+' | b'-'))
            && !matches!(bytes.get(*i - 1), Some(b'e' | b'E'))
    });
    let (base, step) = match split {
        Some(at) => (number(head.get(..at)?)?, number(head.get(at..)?)?),
        None => (number(head)?, 0.0),
    };
    let mut value = base;
    for _ in 0..=times {
        out.push(Some(SampleValue::Float(value)));
        value += step;
    }
    Some(())
}

fn number(text: &str) -> Option<f64> {
    text.strip_prefix('+').unwrap_or(text).parse().ok()
}

fn histograms(head: &str, times: usize, out: &mut Vec<Option<SampleValue>>) -> Option<()> {
    let (first, rest) = head.strip_prefix("{{")?.split_once("}}")?;
    let mut current = Arc::new(histogram(first)?);
    let step = match rest.chars().next() {
        None => None,
        Some(sign @ ('+' | '-')) => {
            let text = rest.get(1..)?.strip_prefix("{{")?.strip_suffix("}}")?;
            Some((sign, Arc::new(histogram(text)?)))
        }
        Some(_) => return None,
    };
    out.push(Some(SampleValue::Histogram(Arc::clone(&current))));
    for _ in 0..times {
        if let Some((sign, step)) = &step {
            current = combine(&current, *sign, step)?;
        }
        out.push(Some(SampleValue::Histogram(Arc::clone(&current))));
    }
    Some(())
}

/// Adds or subtracts as PromQL does.
fn combine(
    a: &Arc<NativeHistogram>,
    sign: char,
    b: &Arc<NativeHistogram>,
) -> Option<Arc<NativeHistogram>> {
    let mut source = MemorySource::default();
    for (name, h) in [("a", a), ("b", b)] {
        let mut data = SeriesData {
            labels: LabelSet::from_pairs([(METRIC_NAME, name)]),
            ..SeriesData::default()
        };
        data.histograms.timestamps.push(0);
        data.histograms.values.push(Arc::clone(h));
        source.append(data);
    }
    let query = format!("a {sign} b");
    let answer =
        promql::instant(&source, &query, TimestampMs(0), &QueryContext::unlimited()).ok()?;
    match answer.into_iter().next()?.value {
        SampleValue::Histogram(h) => {
            let mut h = h.as_ref().clone();
            h.counter_reset_hint = CounterResetHint::Unknown;
            Some(Arc::new(h))
        }
        SampleValue::Float(_) => None,
    }
}

/// What stands between `{{` and `}}`.
pub(super) fn histogram(text: &str) -> Option<NativeHistogram> {
    let mut h = NativeHistogram::default();
    let (mut offset, mut n_offset) = (0, 0);
    let mut rest = text.trim();
    while !rest.is_empty() {
        let (key, tail) = rest.split_once(':')?;
        let (value, tail) = match tail.strip_prefix('[') {
            Some(list) => list.split_once(']')?,
            None => tail.split_once(char::is_whitespace).unwrap_or((tail, "")),
        };
        let list = || value.split_whitespace().map(number).collect::<Option<Vec<f64>>>();
        match key.trim() {
            "schema" => h.schema = value.parse().ok()?,
            "sum" => h.sum = number(value)?,
            "count" => h.count = number(value)?,
            "z_bucket" => h.zero_count = number(value)?,
            "z_bucket_w" => h.zero_threshold = number(value)?,
            "buckets" => h.positive_buckets = list()?,
            "n_buckets" => h.negative_buckets = list()?,
            "custom_values" => h.custom_values = list()?,
            "offset" => offset = value.parse().ok()?,
            "n_offset" => n_offset = value.parse().ok()?,
            "counter_reset_hint" => {
                h.counter_reset_hint = match value {
                    "unknown" => CounterResetHint::Unknown,
                    "reset" => CounterResetHint::Reset,
                    "not_reset" => CounterResetHint::NotReset,
                    "gauge" => CounterResetHint::Gauge,
                    _ => return None,
                }
            }
            _ => return None,
        }
        rest = tail.trim();
    }
    h.positive_spans = span(offset, h.positive_buckets.len());
    h.negative_spans = span(n_offset, h.negative_buckets.len());
    Some(h)
}

fn span(offset: i32, buckets: usize) -> Vec<BucketSpan> {
    match u32::try_from(buckets) {
        Ok(length) if length > 0 => vec![BucketSpan { offset, length }],
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expands_what_promtool_does() {
        let show = |text: &str| -> Vec<String> {
            expand(text)
                .unwrap()
                .into_iter()
                .map(|v| match v {
                    None => "_".to_owned(),
                    Some(SampleValue::Float(v)) if obs_types::is_stale(v) => "stale".to_owned(),
                    Some(SampleValue::Float(v)) => v.to_string(),
                    Some(SampleValue::Histogram(h)) => format!("h{}", h.count),
                })
                .collect()
        };
        assert_eq!(show("1 _ 3"), ["1", "_", "3"]);
        assert_eq!(show("0+10x2"), ["0", "10", "20"]);
        assert_eq!(show("10-2x2 _x2 stale"), ["10", "8", "6", "_", "_", "stale"]);
        assert_eq!(show("1x2"), ["1", "1", "1"]);
        assert_eq!(show("1e-1+1e1x1"), ["0.1", "10.1"]);
        assert_eq!(
            show("{{count:2 sum:3 buckets:[2]}}+{{count:1 sum:1 buckets:[1]}}x2"),
            ["h2", "h3", "h4"]
        );
        for bad in ["a", "1+x2", "{{count:x}}", "{{count:1", "1x99999999"] {
            assert!(expand(bad).is_err(), "{bad}");
        }
        assert!(labels("up{a=\"b\"").is_err());
        assert!(labels("up{a=~\"b\"}").is_err());
    }
}
