use serde_json::Value;

/// The part of RFC 9535 that names places: `$.a.b`, `$['a b']`, `$[0]`, `$[-1]`, `[*]`, `.*`, `..a`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JsonPath {
    text: String,
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Name(String),
    Index(i64),
    All,
    Below(String),
}

/// A path that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("JSONPath {text:?}: {reason} at byte {at}")]
pub struct JsonPathError {
    pub text: String,
    pub at: usize,
    pub reason: &'static str,
}

impl JsonPath {
    pub fn parse(text: &str) -> Result<Self, JsonPathError> {
        let wrong = |at: usize, reason| JsonPathError { text: text.to_owned(), at, reason };
        let bytes = text.as_bytes();
        if bytes.first() != Some(&b'$') {
            return Err(wrong(0, "a path begins with $"));
        }
        let mut parts = Vec::new();
        let mut at = 1;
        while let Some(&b) = bytes.get(at) {
            match b {
                b'.' => {
                    let below = bytes.get(at + 1) == Some(&b'.');
                    let start = at + 1 + usize::from(below);
                    let end = name_end(bytes, start);
                    let name = text.get(start..end).unwrap_or("");
                    parts.push(match (name, below) {
                        ("", _) => return Err(wrong(start, "a name is missing")),
                        ("*", false) => Part::All,
                        ("*", true) => return Err(wrong(start, "..* is not supported")),
                        (name, false) => Part::Name(name.to_owned()),
                        (name, true) => Part::Below(name.to_owned()),
                    });
                    at = end;
                }
                b'[' => {
                    let quote = bytes.get(at + 1).copied().filter(|q| matches!(q, b'\'' | b'"'));
                    let close = match quote {
                        Some(q) => {
                            let from = at + 2;
                            let length = bytes
                                .get(from..)
                                .and_then(|rest| rest.iter().position(|c| *c == q))
                                .ok_or_else(|| wrong(at, "the quote does not end"))?;
                            let name = text.get(from..from + length).unwrap_or("");
                            parts.push(Part::Name(name.to_owned()));
                            from + length + 1
                        }
                        None => {
                            let from = at + 1;
                            let length = bytes
                                .get(from..)
                                .and_then(|rest| rest.iter().position(|c| *c == b']'))
                                .ok_or_else(|| wrong(at, "] is missing"))?;
                            let inner = text.get(from..from + length).unwrap_or("").trim();
                            parts.push(match inner {
                                "*" => Part::All,
                                number => Part::Index(number.parse().map_err(|_not_a_number| {
                                    wrong(from, "an index, a quoted name or * is expected")
                                })?),
                            });
                            from + length
                        }
                    };
                    if bytes.get(close) != Some(&b']') {
                        return Err(wrong(close, "] is missing"));
                    }
                    at = close + 1;
                }
                _ => return Err(wrong(at, "a . or [ is expected")),
            }
        }
        Ok(Self { text: text.to_owned(), parts })
    }

    /// Every place the path names, in document order.
    pub fn find<'a>(&self, root: &'a Value) -> Vec<&'a Value> {
        let mut here = vec![root];
        for part in &self.parts {
            here = here.into_iter().flat_map(|v| step(v, part)).collect();
        }
        here
    }
}

fn name_end(bytes: &[u8], start: usize) -> usize {
    let rest = bytes.get(start..).unwrap_or_default();
    start + rest.iter().position(|b| matches!(b, b'.' | b'[')).unwrap_or(rest.len())
}

fn step<'a>(value: &'a Value, part: &Part) -> Vec<&'a Value> {
    match (part, value) {
        (Part::Name(name), Value::Object(map)) => map.get(name).into_iter().collect(),
        (Part::Index(i), Value::Array(items)) => {
            let at = if *i < 0 { i + items.len() as i64 } else { *i };
            usize::try_from(at).ok().and_then(|at| items.get(at)).into_iter().collect()
        }
        (Part::All, Value::Array(items)) => items.iter().collect(),
        (Part::All, Value::Object(map)) => map.values().collect(),
        (Part::Below(name), _) => {
            let mut out: Vec<&Value> = Vec::new();
            below(value, name, &mut out);
            out
        }
        _ => Vec::new(),
    }
}

fn below<'a>(value: &'a Value, name: &str, out: &mut Vec<&'a Value>) {
    match value {
        Value::Object(map) => {
            out.extend(map.get(name));
            for inner in map.values() {
                below(inner, name, out);
            }
        }
        Value::Array(items) => items.iter().for_each(|inner| below(inner, name, out)),
        _ => {}
    }
}

impl std::fmt::Display for JsonPath {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn places_are_found() {
        let doc = json!({"a": {"b c": [1, {"d": "x"}, {"d": "y"}]}, "d": 7});
        for (path, found) in [
            ("$", vec![doc.clone()]),
            ("$.a['b c'][0]", vec![json!(1)]),
            ("$.a[\"b c\"][-1].d", vec![json!("y")]),
            ("$.a['b c'][*].d", vec![json!("x"), json!("y")]),
            ("$..d", vec![json!(7), json!("x"), json!("y")]),
            ("$.nope", vec![]),
            ("$.a['b c'][9]", vec![]),
        ] {
            let all: Vec<Value> =
                JsonPath::parse(path).unwrap().find(&doc).into_iter().cloned().collect();
            assert_eq!(all, found, "{path}");
        }
    }

    #[test]
    fn mistakes_say_where() {
        for (path, at) in [("a", 0), ("$a", 1), ("$.", 2), ("$[x]", 2), ("$['a", 1), ("$[1", 1)] {
            assert_eq!(JsonPath::parse(path).unwrap_err().at, at, "{path}");
        }
    }
}
