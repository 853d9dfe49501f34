//! Values as Prometheus' JSON writes them: numbers as text, times as seconds with milliseconds.

use std::fmt::Write as _;

use std::sync::Arc;

use obs_promql::{QueryResult, SampleValue, TraceSpan, Value as PromValue};
use obs_types::{LabelSet, NativeHistogram};
use serde_json::{Value, json};

use crate::query_log::{Timings, stats_json};

/// A float as Go's `strconv.FormatFloat(v, 'f', -1, 64)` writes it.
pub(crate) fn number(v: f64) -> String {
    let mut out = String::new();
    put_number(&mut out, v);
    out
}

fn put_number(out: &mut String, v: f64) {
    // Below this every whole number is written as the integer that it is, which is quicker.
    const WHOLE_MAX: f64 = 9_007_199_254_740_992.0;
    // Writing to a String cannot fail.
    let _written = if v.is_nan() {
        out.write_str("NaN")
    } else if v.is_infinite() {
        out.write_str(if v > 0.0 { "+Inf" } else { "-Inf" })
    } else if v.abs() < WHOLE_MAX && v.trunc() == v && (v != 0.0 || v.is_sign_positive()) {
        write!(out, "{}", v as i64)
    } else {
        write!(out, "{v}")
    };
}

pub(crate) fn labels_value(labels: &LabelSet) -> Value {
    Value::Object(labels.iter().map(|(n, v)| (n.to_owned(), Value::from(v))).collect())
}

fn time(out: &mut String, ms: i64) {
    let (sign, ms) = (if ms < 0 { "-" } else { "" }, ms.unsigned_abs());
    let (seconds, rest) = (ms / 1000, ms % 1000);
    // Writing to a String cannot fail.
    let _written = match rest {
        0 => write!(out, "{sign}{seconds}"),
        _ if rest % 100 == 0 => write!(out, "{sign}{seconds}.{}", rest / 100),
        _ if rest % 10 == 0 => write!(out, "{sign}{seconds}.{:02}", rest / 10),
        _ => write!(out, "{sign}{seconds}.{rest:03}"),
    };
}

/// A JSON string.
fn text(out: &mut String, text: &str) {
    if text.bytes().any(|b| b < b' ' || b == b'"' || b == b'\\') {
        let _written = write!(out, "{}", Value::from(text));
    } else {
        out.push('"');
        out.push_str(text);
        out.push('"');
    }
}

fn labels(out: &mut String, labels: &LabelSet) {
    out.push('{');
    for (i, (name, value)) in labels.iter().enumerate() {
        if i > 0 {
            out.push(',');
        }
        text(out, name);
        out.push(':');
        text(out, value);
    }
    out.push('}');
}

/// `{"count","sum","buckets":[[rule,"low","high","count"],…]}`; the rule says which bounds belong
/// to the bucket: 0 upper, 1 lower, 2 none, 3 both.
pub(crate) fn histogram_json(h: &NativeHistogram) -> Value {
    let buckets: Vec<Value> = obs_promql::histogram_buckets(h)
        .into_iter()
        .filter(|b| b.count != 0.0)
        .map(|b| {
            let rule = match (b.lower_inclusive, b.upper_inclusive) {
                (false, true) => 0,
                (true, false) => 1,
                (false, false) => 2,
                (true, true) => 3,
            };
            json!([rule, number(b.lower), number(b.upper), number(b.count)])
        })
        .collect();
    let mut out = json!({"count": number(h.count), "sum": number(h.sum)});
    if !buckets.is_empty()
        && let Some(map) = out.as_object_mut()
    {
        map.insert("buckets".to_owned(), Value::from(buckets));
    }
    out
}

fn float_point(out: &mut String, t: i64, v: f64) {
    out.push('[');
    time(out, t);
    out.push_str(",\"");
    put_number(out, v);
    out.push_str("\"]");
}

fn histogram_point(out: &mut String, t: i64, h: &NativeHistogram) {
    out.push('[');
    time(out, t);
    let _written = write!(out, ",{}]", histogram_json(h));
}

/// `,"name":[…]`; nothing for an empty column.
fn column<T>(out: &mut String, name: &str, points: &[T], mut put: impl FnMut(&mut String, &T)) {
    for (i, p) in points.iter().enumerate() {
        if i == 0 {
            let _written = write!(out, ",\"{name}\":[");
        } else {
            out.push(',');
        }
        put(out, p);
    }
    if !points.is_empty() {
        out.push(']');
    }
}

/// A part of a query as VictoriaMetrics writes it, with what was counted.
pub(crate) fn span_json(span: &TraceSpan) -> Value {
    let mut out = json!({
        "duration_msec": (span.duration.as_secs_f64() * 1e6).round() / 1e3,
        "message": span.message,
    });
    let counts = [
        ("series", span.series),
        ("points", span.points),
        ("series_read", span.series_read),
        ("samples_read", span.samples_read),
    ];
    if let Some(out) = out.as_object_mut() {
        for (name, count) in counts {
            out.extend(count.map(|n| (name.to_owned(), json!(n))));
        }
        if !span.children.is_empty() {
            let children = span.children.iter().map(span_json).collect();
            out.insert("children".to_owned(), Value::Array(children));
        }
    }
    out
}

/// The `data` of a query's answer. `limit` (0: none) cuts the number of series and adds a warning;
/// `stats` are added where they were asked for.
pub(super) fn result(
    result: &QueryResult,
    limit: usize,
    stats: Option<Timings>,
    warnings: &mut Vec<String>,
) -> String {
    let limit = if limit == 0 { usize::MAX } else { limit };
    let mut out = String::from("{\"resultType\":\"");
    let mut cut = false;
    match &result.value {
        PromValue::Scalar { timestamp_ms, value } => {
            out.push_str("scalar\",\"result\":");
            float_point(&mut out, *timestamp_ms, *value);
        }
        PromValue::String { timestamp_ms, value } => {
            out.push_str("string\",\"result\":[");
            time(&mut out, *timestamp_ms);
            let _written = write!(out, ",{}]", Value::from(value.as_str()));
        }
        PromValue::Vector(samples) => {
            out.push_str("vector\",\"result\":[");
            cut = samples.len() > limit;
            for (i, s) in samples.iter().take(limit).enumerate() {
                out.push_str(if i > 0 { ",{\"metric\":" } else { "{\"metric\":" });
                labels(&mut out, &s.labels);
                match &s.value {
                    SampleValue::Float(v) => {
                        out.push_str(",\"value\":");
                        float_point(&mut out, s.timestamp_ms, *v);
                    }
                    SampleValue::Histogram(h) => {
                        out.push_str(",\"histogram\":");
                        histogram_point(&mut out, s.timestamp_ms, h);
                    }
                }
                out.push('}');
            }
            out.push(']');
        }
        PromValue::Matrix(series) => {
            out.push_str("matrix\",\"result\":[");
            cut = series.len() > limit;
            for (i, s) in series.iter().take(limit).enumerate() {
                out.push_str(if i > 0 { ",{\"metric\":" } else { "{\"metric\":" });
                labels(&mut out, &s.labels);
                column(&mut out, "values", &s.floats, |out, (t, v)| float_point(out, *t, *v));
                column(&mut out, "histograms", &s.histograms, |out, p: &(i64, Arc<_>)| {
                    histogram_point(out, p.0, &p.1);
                });
                out.push('}');
            }
            out.push(']');
        }
    }
    if cut {
        warnings.push("results truncated due to limit".to_owned());
    }
    if let Some(timings) = stats {
        let mut stats = stats_json(&result.stats, timings);
        if let Some(stats) = stats.as_object_mut() {
            if let Some(samples) = stats.get_mut("samples").and_then(Value::as_object_mut)
                && !result.samples_per_step.is_empty()
            {
                let steps = result.samples_per_step.iter();
                let steps = steps.map(|(t, n)| json!([*t as f64 / 1000.0, n])).collect();
                let name = "totalQueryableSamplesPerStep".to_owned();
                samples.insert(name, Value::Array(steps));
            }
            let series = result.stats.series_read.to_string();
            stats.insert("seriesFetched".to_owned(), Value::from(series));
        }
        let _written = write!(out, ",\"stats\":{stats}");
    }
    out.push('}');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_times_as_prometheus() {
        assert_eq!(number(1e21), "1000000000000000000000");
        assert_eq!(number(0.1), "0.1");
        assert_eq!(number(-0.0), "-0");
        assert_eq!(number(f64::NEG_INFINITY), "-Inf");
        assert_eq!(number(-17.0), "-17");
        assert_eq!(number(0.0), "0");
        assert_eq!(number(9_007_199_254_740_993.0), "9007199254740992");
        let seconds = |ms: i64| {
            let mut out = String::new();
            time(&mut out, ms);
            out
        };
        assert_eq!(seconds(1_435_781_451_780), "1435781451.78");
        assert_eq!(seconds(1_435_781_451_700), "1435781451.7");
        assert_eq!(seconds(1_435_781_451_007), "1435781451.007");
        assert_eq!(seconds(-1_050), "-1.05");
        assert_eq!(seconds(2_000), "2");
    }

    #[test]
    fn label_values_are_json_strings() {
        let mut out = String::new();
        labels(&mut out, &LabelSet::from_pairs([("a", "x\"y\\\n\u{1}é"), ("b", "plain")]));
        let read: Value = serde_json::from_str(&out).unwrap();
        assert_eq!(read, json!({"a": "x\"y\\\n\u{1}é", "b": "plain"}));
    }
}
