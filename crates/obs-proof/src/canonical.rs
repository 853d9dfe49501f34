//! RFC 8785 canonical JSON: one value, one spelling, so that a line's bytes are its identity.

use serde_json::{Map, Value};

/// The largest integer that every JSON reader keeps exact: 2^53 − 1.
pub const INTEGER_MAX: u64 = (1 << 53) - 1;

/// The longest receipt line: an entry of a C2SP entry bundle has a 16-bit length.
pub const LINE_BYTES_MAX: usize = 65_535;

/// Why a value cannot be written, or a line is not one that we would have written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CanonicalError {
    #[error("{path}: integer {value} is beyond 2^53 - 1 and must be a string")]
    IntegerRange { path: String, value: String },
    #[error("line is not JSON: {0}")]
    NotJson(String),
    #[error("line is not a JSON object")]
    NotObject,
    #[error(
        "line differs from its canonical form at byte {at} (key order, spacing, a repeated key, or a number's spelling)"
    )]
    NotCanonical { at: usize },
    #[error("line has {bytes} bytes, the limit is {LINE_BYTES_MAX}")]
    TooLong { bytes: usize },
}

/// Writes a value. Integers outside ±(2^53 − 1) are refused, because readers that hold numbers as
/// doubles (and RFC 8785 itself) would change them silently.
pub fn to_string(value: &Value) -> Result<String, CanonicalError> {
    check_integers(value, &mut String::new())?;
    serde_json_canonicalizer::to_string(value).map_err(|e| CanonicalError::NotJson(e.to_string()))
}

/// Writes one object as a line without its newline.
pub fn object_to_line(object: &Map<String, Value>) -> Result<String, CanonicalError> {
    for (key, value) in object {
        check_integers(value, &mut key.clone())?;
    }
    let line = serde_json_canonicalizer::to_string(object)
        .map_err(|e| CanonicalError::NotJson(e.to_string()))?;
    match line.len() > LINE_BYTES_MAX {
        true => Err(CanonicalError::TooLong { bytes: line.len() }),
        false => Ok(line),
    }
}

/// Reads a line (without newline) and refuses it unless it is byte for byte what
/// [`object_to_line`] writes.
pub fn check_line(line: &[u8]) -> Result<Map<String, Value>, CanonicalError> {
    match crate::members::surely_canonical(line) {
        true => serde_json::from_slice(line).map_err(|e| CanonicalError::NotJson(e.to_string())),
        false => check_by_writing(line),
    }
}

/// [`check_line`] by its definition. A repeated key cannot pass: the parser keeps one of the two,
/// so the canonical form is shorter than the line.
pub(crate) fn check_by_writing(line: &[u8]) -> Result<Map<String, Value>, CanonicalError> {
    if line.len() > LINE_BYTES_MAX {
        return Err(CanonicalError::TooLong { bytes: line.len() });
    }
    let value: Value =
        serde_json::from_slice(line).map_err(|e| CanonicalError::NotJson(e.to_string()))?;
    let Value::Object(object) = value else { return Err(CanonicalError::NotObject) };
    let canonical = object_to_line(&object)?;
    if canonical.as_bytes() != line {
        let same = canonical.bytes().zip(line.iter()).take_while(|(a, b)| a == *b).count();
        return Err(CanonicalError::NotCanonical { at: same });
    }
    Ok(object)
}

fn check_integers(value: &Value, path: &mut String) -> Result<(), CanonicalError> {
    match value {
        Value::Null | Value::Bool(_) | Value::String(_) => Ok(()),
        Value::Number(n) => match is_beyond(n) {
            true => Err(CanonicalError::IntegerRange { path: path.clone(), value: n.to_string() }),
            false => Ok(()),
        },
        Value::Array(items) => items.iter().enumerate().try_for_each(|(i, item)| {
            with_path(path, &format!("[{i}]"), |path| check_integers(item, path))
        }),
        Value::Object(map) => map.iter().try_for_each(|(key, item)| {
            with_path(path, &format!(".{key}"), |path| check_integers(item, path))
        }),
    }
}

/// Whether the canonical spelling of a number is an integer beyond ±(2^53 − 1). RFC 8785 spells
/// doubles below 10^21 without an exponent, so a large float reads back as such an integer.
pub fn is_beyond(n: &serde_json::Number) -> bool {
    if let Some(u) = n.as_u64() {
        return u > INTEGER_MAX;
    }
    if let Some(i) = n.as_i64() {
        return i.unsigned_abs() > INTEGER_MAX;
    }
    n.as_f64().is_some_and(|f| f.abs() > INTEGER_MAX as f64 && f.abs() < 1e21)
}

fn with_path<T>(path: &mut String, part: &str, f: impl FnOnce(&mut String) -> T) -> T {
    let len = path.len();
    path.push_str(part);
    let out = f(path);
    path.truncate(len);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_we_write_passes_the_lint() {
        let value = json!({"b": [1, 2.5, 1e21, "é\n"], "a": {"z": null, "y": true}});
        let Value::Object(object) = &value else { panic!("object") };
        let line = object_to_line(object).unwrap();
        assert_eq!(line, r#"{"a":{"y":true,"z":null},"b":[1,2.5,1e+21,"é\n"]}"#);
        assert_eq!(&check_line(line.as_bytes()).unwrap(), &check_line(line.as_bytes()).unwrap());
    }

    #[test]
    fn integers_that_a_double_cannot_hold_are_refused() {
        for n in [json!(1_765_029_600_123_456_789_u64), json!(u64::MAX), json!(i64::MIN)] {
            assert!(matches!(
                to_string(&json!({"a": [n]})),
                Err(CanonicalError::IntegerRange { path, .. }) if path == ".a[0]"
            ));
        }
        // Exact as a double, still refused: a reader cannot know that it was exact.
        assert!(check_line(br#"{"a":9007199254740994}"#).is_err());
        assert!(check_line(br#"{"a":9007199254740991}"#).is_ok());
        // A float of that size would be spelled as an integer and be refused when read.
        for n in [1e16, -1.8e19, 9.9e20] {
            assert!(to_string(&json!({"a": n})).is_err(), "{n}");
        }
        assert!(check_line(br#"{"a":100000000000000000000}"#).is_err());
        assert!(check_line(br#"{"a":1e+21}"#).is_ok());
    }

    #[test]
    fn every_other_spelling_is_refused() {
        for line in [
            r#"{"a":1,"a":1}"#,
            r#"{"b":1,"a":1}"#,
            r#"{"a": 1}"#,
            r#"{"a":1.0}"#,
            r#"{"a":1e0}"#,
            r#"{"a":"\u0041"}"#,
            r#"{"a":1} "#,
            r#"{"a":-0}"#,
            r#"[1]"#,
            r#"{"a":1"#,
            "",
        ] {
            assert!(check_line(line.as_bytes()).is_err(), "{line}");
        }
        assert!(check_line(b"{\"a\":\"\xff\"}").is_err());
        assert!(matches!(
            check_line(&[b' '; LINE_BYTES_MAX + 1]),
            Err(CanonicalError::TooLong { .. })
        ));
    }
}
