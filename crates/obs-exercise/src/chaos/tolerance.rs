//! Chaos Toolkit's tolerances: what a probe may answer.

use regex::Regex;
use serde_json::Value;

use crate::exchange::{JsonPath, StepError};

/// What a probe saw.
#[derive(Clone, Debug, PartialEq)]
pub enum Seen {
    Http {
        status: u16,
        body: String,
    },
    Process {
        status: i32,
        stdout: String,
    },
    /// Of our own probes.
    Holds(bool),
    Failed(String),
}

/// A checked tolerance.
#[derive(Clone, Debug)]
pub enum Tolerance {
    /// A status, an exit code, a truth or a text.
    Equals(Value),
    OneOf(Vec<Value>),
    Regex {
        pattern: Regex,
        target: String,
    },
    Range {
        from: f64,
        to: f64,
        target: String,
    },
    JsonPath {
        path: JsonPath,
        target: String,
        expect: Option<Value>,
        count: Option<u64>,
    },
}

impl Tolerance {
    pub fn parse(value: &Value, place: &str) -> Result<Self, StepError> {
        let wrong = |reason: String| StepError::new(place, reason);
        match value {
            Value::Array(all) => Ok(Self::OneOf(all.clone())),
            Value::Object(map) => {
                let text = |name: &str| map.get(name).and_then(Value::as_str);
                let target = text("target").unwrap_or("").to_owned();
                match text("type") {
                    Some("regex") => {
                        let pattern = text("pattern").unwrap_or("");
                        let pattern = Regex::new(pattern).map_err(|e| wrong(e.to_string()))?;
                        Ok(Self::Regex { pattern, target })
                    }
                    Some("range") => {
                        let ends = map.get("range").and_then(Value::as_array);
                        let ends: Vec<f64> =
                            ends.into_iter().flatten().filter_map(Value::as_f64).collect();
                        match ends.as_slice() {
                            [from, to] => Ok(Self::Range { from: *from, to: *to, target }),
                            _ => Err(wrong("range must be two numbers".to_owned())),
                        }
                    }
                    Some("jsonpath") => {
                        let path = JsonPath::parse(text("path").unwrap_or(""))
                            .map_err(|e| wrong(e.to_string()))?;
                        let expect = map.get("expect").cloned();
                        let count = map.get("count").and_then(Value::as_u64);
                        Ok(Self::JsonPath { path, target, expect, count })
                    }
                    other => Err(wrong(format!(
                        "tolerance of type {other:?} is not regex, range or jsonpath"
                    ))),
                }
            }
            Value::Null => Err(wrong("a probe of the hypothesis needs a tolerance".to_owned())),
            plain => Ok(Self::Equals(plain.clone())),
        }
    }

    pub fn holds(&self, seen: &Seen) -> bool {
        match self {
            Self::Equals(value) => equals(value, seen),
            Self::OneOf(all) => all.iter().any(|v| equals(v, seen)),
            Self::Regex { pattern, target } => {
                text(seen, target).is_some_and(|t| pattern.is_match(&t))
            }
            Self::Range { from, to, target } => text(seen, target)
                .and_then(|t| t.trim().parse::<f64>().ok())
                .is_some_and(|n| (*from..=*to).contains(&n)),
            Self::JsonPath { path, target, expect, count } => {
                let json = text(seen, if target.is_empty() { "body" } else { target })
                    .and_then(|t| serde_json::from_str::<Value>(&t).ok());
                let Some(json) = json else { return false };
                let found = path.find(&json);
                let expected = expect.as_ref().is_none_or(|wanted| match wanted {
                    Value::Array(all) => {
                        found.len() == all.len() && found.iter().zip(all).all(|(a, b)| *a == b)
                    }
                    one => found.contains(&one),
                });
                let counted = count.map_or(!found.is_empty(), |n| found.len() as u64 == n);
                expected && counted
            }
        }
    }
}

fn equals(value: &Value, seen: &Seen) -> bool {
    match (value, seen) {
        (Value::Bool(b), Seen::Holds(h)) => b == h,
        (Value::Bool(b), Seen::Process { status, .. }) => *b == (*status == 0),
        (Value::Bool(b), Seen::Http { status, .. }) => *b == (*status < 400),
        (Value::Number(n), Seen::Holds(h)) => n.as_i64() == Some(i64::from(!h)),
        (Value::Number(n), Seen::Http { status, .. }) => n.as_u64() == Some(u64::from(*status)),
        (Value::Number(n), Seen::Process { status, .. }) => n.as_i64() == Some(i64::from(*status)),
        (Value::String(s), Seen::Process { stdout, .. }) => stdout.trim() == s,
        (Value::String(s), Seen::Http { body, .. }) => body == s,
        _ => false,
    }
}

fn text(seen: &Seen, target: &str) -> Option<String> {
    match (seen, target) {
        (Seen::Http { status, .. }, "status") => Some(status.to_string()),
        (Seen::Http { body, .. }, _) => Some(body.clone()),
        (Seen::Process { status, .. }, "status") => Some(status.to_string()),
        (Seen::Process { stdout, .. }, _) => Some(stdout.clone()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn tolerances() {
        let http = Seen::Http { status: 200, body: r#"{"a": [{"n": 1}, {"n": 2}]}"#.into() };
        let process = Seen::Process { status: 0, stdout: "7.5\n".into() };
        for (tolerance, seen, holds) in [
            (json!(200), &http, true),
            (json!([200, 201]), &http, true),
            (json!(404), &http, false),
            (json!({"type": "regex", "target": "body", "pattern": "\"n\": 2"}), &http, true),
            (json!({"type": "jsonpath", "path": "$.a[*].n", "expect": [1, 2]}), &http, true),
            (json!({"type": "jsonpath", "path": "$.a[*].n", "count": 3}), &http, false),
            (json!({"type": "range", "range": [7, 8], "target": "stdout"}), &process, true),
            (json!({"type": "range", "range": [8, 9], "target": "stdout"}), &process, false),
            (json!(0), &process, true),
            (json!(true), &Seen::Holds(true), true),
            (json!(true), &Seen::Failed("x".into()), false),
        ] {
            assert_eq!(
                Tolerance::parse(&tolerance, "p").unwrap().holds(seen),
                holds,
                "{tolerance}"
            );
        }
        for bad in [json!(null), json!({"type": "range", "range": [1]}), json!({"type": "magic"})] {
            assert!(Tolerance::parse(&bad, "p").is_err(), "{bad}");
        }
    }
}
