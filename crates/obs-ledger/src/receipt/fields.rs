//! How values are spelled in receipts, once for all types.

use obs_proof::canonical::is_beyond;
use obs_proof::time::format_rfc3339;
use obs_types::TimestampMs;
use serde_json::{Map, Value, json};

/// Finite values are numbers (whole ones without a fraction); NaN and the infinities, which JSON
/// cannot hold, are Prometheus' spellings as strings, so that no receipt is lost to a division by
/// zero. Where canonical JSON would spell an integer that a double may not hold, the digits are a
/// string as well.
pub(super) fn number(value: f64) -> Value {
    if value.is_nan() {
        json!("NaN")
    } else if value.is_infinite() {
        json!(if value > 0.0 { "+Inf" } else { "-Inf" })
    } else {
        exact(json!(value))
    }
}

/// Turns every number that canonical JSON cannot carry exactly into a string of its digits.
pub(super) fn exact(value: Value) -> Value {
    match value {
        Value::Number(n) if is_beyond(&n) => match n.as_f64() {
            Some(float) if n.is_f64() => json!(float.to_string()),
            _ => json!(n.to_string()),
        },
        Value::Array(items) => items.into_iter().map(exact).collect(),
        Value::Object(map) => Value::Object(exact_map(map)),
        other => other,
    }
}

pub(super) fn exact_map(map: Map<String, Value>) -> Map<String, Value> {
    map.into_iter().map(|(key, value)| (key, exact(value))).collect()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_canonical_json_cannot_carry_becomes_a_string() {
        assert_eq!(number(87.5), json!(87.5));
        assert_eq!(number(9_007_199_254_740_991.0).to_string(), "9007199254740991.0");
        assert_eq!(number(1.8e18), json!("1800000000000000000"));
        assert_eq!(number(-1e20), json!("-100000000000000000000"));
        assert_eq!(number(1e21), json!(1e21));
        let nested = json!({"id": u64::MAX, "list": [i64::MIN, 1], "text": "x"});
        let want =
            json!({"id": "18446744073709551615", "list": ["-9223372036854775808", 1], "text": "x"});
        assert_eq!(exact(nested), want);
    }
}
