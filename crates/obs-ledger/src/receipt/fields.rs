//! How values are spelled in receipts, once for all types.

use obs_proof::time::format_rfc3339;
use obs_types::TimestampMs;
use serde_json::{Map, Value, json};

/// Finite values are numbers (whole ones without a fraction); NaN and the infinities, which JSON
/// cannot hold, are Prometheus' spellings as strings, so that no receipt is lost to a division by
/// zero.
pub(super) fn number(value: f64) -> Value {
    if value.is_nan() {
        json!("NaN")
    } else if value.is_infinite() {
        json!(if value > 0.0 { "+Inf" } else { "-Inf" })
    } else {
        json!(value)
    }
}

pub(super) fn optional_number(value: Option<f64>) -> Value {
    value.map_or(Value::Null, number)
}

pub(super) fn time(at: TimestampMs) -> Value {
    json!(format_rfc3339(at.0))
}

pub(super) fn period(start: TimestampMs, end: TimestampMs) -> Value {
    json!({"start": time(start), "end": time(end)})
}

/// `fixed`, then what the caller adds, each once.
pub(super) fn tags(fixed: &[&str], more: &[String]) -> Value {
    let mut out: Vec<&str> = fixed.to_vec();
    for tag in more {
        if !out.contains(&tag.as_str()) {
            out.push(tag);
        }
    }
    json!(out)
}

/// The fields of an object literal.
pub(super) fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        other => Map::from_iter([("value".to_owned(), other)]),
    }
}

/// `2025-12-06-14` of the instant an hour ends.
pub(super) fn hour_name(end: TimestampMs) -> String {
    let text = format_rfc3339(end.0);
    let (date, rest) = text.split_once('T').unwrap_or((&text, ""));
    let (hour, _minutes) = rest.split_once(':').unwrap_or((rest, ""));
    format!("{date}-{hour}")
}

/// `2025-12-06`.
pub(super) fn date_name(at: TimestampMs) -> String {
    let text = format_rfc3339(at.0);
    text.split_once('T').map_or(text.as_str(), |(date, _time)| date).to_owned()
}
