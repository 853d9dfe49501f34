//! JSON guards and conversions shared by the formats.

use serde_json::Value;

use crate::labels::Flat;
use crate::{WireCaps, WireError};

/// Counts containers against `messages_max` and depth against `nesting_max` before a parser
/// allocates for them. Brackets within strings do not count. O(bytes).
pub(crate) fn check_shape(
    what: &'static str,
    body: &[u8],
    caps: &WireCaps,
) -> Result<(), WireError> {
    let (mut count, mut depth, mut in_string, mut escaped) = (0_usize, 0_usize, false, false);
    // Every level of a foreign message is an object in an array, so JSON nests deeper than the
    // values that the cap speaks of.
    let depth_max = caps.nesting_max.saturating_mul(2).saturating_add(16);
    for byte in body {
        if in_string {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => in_string = false,
                _ => {}
            }
            continue;
        }
        match byte {
            b'"' => in_string = true,
            b'{' | b'[' => {
                count += 1;
                depth += 1;
                if count > caps.messages_max {
                    return Err(WireError::TooManyMessages { what, limit: caps.messages_max });
                }
                if depth > depth_max {
                    return Err(WireError::TooDeep { what, limit: depth_max });
                }
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    Ok(())
}

/// A scalar as plain text, a container as compact JSON, null as `""`.
pub(crate) fn value_text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(s) => s.clone(),
        other => other.to_string(),
    }
}

/// Objects flattened to `a_b` names, everything else as text; empty values are left out. `Err`
/// when one item gets too large.
pub(crate) fn flatten(prefix: &str, value: &Value, out: &mut Flat) -> Result<(), String> {
    match value {
        Value::Object(map) => map.iter().try_for_each(|(name, inner)| {
            let name = out.join(prefix, &crate::otlp::label_name(name))?;
            flatten(&name, inner, out)
        }),
        other => out.put(prefix, value_text(other)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn containers_are_counted_outside_strings() {
        let caps = WireCaps { messages_max: 3, nesting_max: 0, ..WireCaps::default() };
        assert_eq!(check_shape("x", br#"[{"a":"[[[[{{{\"["}]"#, &caps), Ok(()));
        assert_eq!(
            check_shape("x", b"[[],[],[]]", &caps).unwrap_err().reason(),
            "too_many_messages"
        );
        let wide = WireCaps { messages_max: 100, ..caps };
        assert_eq!(check_shape("x", &b"[".repeat(20), &wide).unwrap_err().reason(), "too_deep");
    }
}
