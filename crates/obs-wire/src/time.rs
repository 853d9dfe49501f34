//! Times as logging libraries write them.

use obs_types::TimestampNs;
use serde_json::Value;

/// RFC 3339 text, or a number (also as text) of seconds, milliseconds, microseconds or nanoseconds
/// since the epoch, told apart by size: below 1e11 it is seconds (until the year 5138), below 1e14
/// milliseconds, below 1e17 microseconds. `None` for everything else and for times outside of 1677
/// to 2262.
pub fn timestamp_from_json(value: &Value) -> Option<TimestampNs> {
    match value {
        Value::String(text) => timestamp_from_text(text),
        Value::Number(n) => match n.as_i64() {
            Some(n) => from_integer(n),
            None => from_float(n.as_f64()?),
        },
        _ => None,
    }
}

/// See [`timestamp_from_json`].
pub fn timestamp_from_text(text: &str) -> Option<TimestampNs> {
    let text = text.trim();
    if let Ok(n) = text.parse::<i64>() {
        return from_integer(n);
    }
    if let Ok(t) = text.parse::<jiff::Timestamp>() {
        return i64::try_from(t.as_nanosecond()).ok().map(TimestampNs);
    }
    from_float(crate::float::parse_go_float(text)?)
}

fn scale(magnitude: f64) -> i64 {
    match magnitude {
        m if m < 1e11 => 1_000_000_000,
        m if m < 1e14 => 1_000_000,
        m if m < 1e17 => 1_000,
        _ => 1,
    }
}

fn from_integer(n: i64) -> Option<TimestampNs> {
    n.checked_mul(scale((n as f64).abs())).map(TimestampNs)
}

fn from_float(n: f64) -> Option<TimestampNs> {
    let factor = scale(n.abs());
    // Whole and fraction apart, so that microseconds of a seconds value survive.
    let whole = n.trunc();
    if !whole.is_finite() || whole.abs() >= i64::MAX as f64 {
        return None;
    }
    let fraction = ((n - whole) * factor as f64).round() as i64;
    (whole as i64).checked_mul(factor)?.checked_add(fraction).map(TimestampNs)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn units_are_told_apart() {
        let want = Some(TimestampNs(1_765_031_415_123_000_000));
        for value in [
            json!("2025-12-06T14:30:15.123Z"),
            json!("2025-12-06T15:30:15.123+01:00"),
            json!(1_765_031_415_123_i64),
            json!("1765031415123"),
            json!(1_765_031_415_123_000_i64),
            json!("1765031415123000000"),
        ] {
            assert_eq!(timestamp_from_json(&value), want, "{value}");
        }
        let seconds = timestamp_from_json(&json!(1_765_031_415.5)).unwrap();
        assert_eq!(seconds, TimestampNs(1_765_031_415_500_000_000));
        for value in [json!("yesterday"), json!(null), json!("NaN"), json!([]), json!("")] {
            assert_eq!(timestamp_from_json(&value), None, "{value}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_refused_or_read(text in "\\PC{0,40}", n in any::<f64>(), i in any::<i64>()) {
            let _text = timestamp_from_text(&text);
            let _float = timestamp_from_json(&json!(n));
            // Nanoseconds are taken as they are.
            if i.unsigned_abs() >= 100_000_000_000_000_000 {
                prop_assert_eq!(timestamp_from_json(&json!(i)), Some(TimestampNs(i)));
            }
        }
    }
}
