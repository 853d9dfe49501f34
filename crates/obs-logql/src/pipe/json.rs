//! `json`, `json x="a.b[0]"` and `unpack` over a scanner that keeps the raw text of values.

use std::borrow::Cow;

use super::entry::{Entry, Set, StageFailure};
use crate::error::ParseError;

/// Objects nested deeper are not flattened; protects the stack.
const DEPTH_MAX: usize = 64;
const JSON_ERROR: &str = "JSONParserErr";
/// The field that carries the line in packed entries.
const PACKED_LINE: &str = "_entry";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Text,
    Number,
    Bool,
    Null,
    Object,
    Array,
}

/// A value as it stands in the line; a text is without its quotes.
#[derive(Clone, Copy, Debug)]
struct Raw<'l> {
    kind: Kind,
    text: &'l str,
}

struct Scanner<'l> {
    text: &'l str,
    at: usize,
}

fn failure(what: &str, at: usize) -> StageFailure {
    (JSON_ERROR, format!("{what} at byte {at}"))
}

impl<'l> Scanner<'l> {
    fn new(text: &'l str) -> Self {
        Self { text, at: 0 }
    }

    fn byte(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn skip_space(&mut self) {
        while self.byte().is_some_and(|b| matches!(b, b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn expect(&mut self, byte: u8) -> Result<(), StageFailure> {
        self.skip_space();
        if self.byte() == Some(byte) {
            self.at += 1;
            return Ok(());
        }
        Err(failure(&format!("expected '{}'", char::from(byte)), self.at))
    }

    /// From behind the opening quote to before the closing one.
    fn text(&mut self) -> Result<&'l str, StageFailure> {
        let start = self.at;
        loop {
            match self.byte() {
                Some(b'"') => break,
                Some(b'\\') => self.at += 2,
                Some(_) => self.at += 1,
                None => return Err(failure("text not terminated", start)),
            }
        }
        let raw = self.text.get(start..self.at);
        self.at += 1;
        raw.ok_or_else(|| failure("broken text", start))
    }

    fn value(&mut self) -> Result<Raw<'l>, StageFailure> {
        self.skip_space();
        let start = self.at;
        let kind = match self.byte() {
            Some(b'"') => {
                self.at += 1;
                return Ok(Raw { kind: Kind::Text, text: self.text()? });
            }
            Some(b'{') => {
                self.nested()?;
                Kind::Object
            }
            Some(b'[') => {
                self.nested()?;
                Kind::Array
            }
            Some(_) => {
                while self.byte().is_some_and(|b| {
                    !matches!(b, b',' | b'}' | b']' | b' ' | b'\t' | b'\n' | b'\r')
                }) {
                    self.at += 1;
                }
                match self.text.get(start..self.at).unwrap_or("") {
                    "true" | "false" => Kind::Bool,
                    "null" => Kind::Null,
                    n if n.starts_with(|c: char| c.is_ascii_digit() || c == '-')
                        && n.parse::<f64>().is_ok() =>
                    {
                        Kind::Number
                    }
                    _ => return Err(failure("unknown value", start)),
                }
            }
            None => return Err(failure("value expected", start)),
        };
        let text = self.text.get(start..self.at).ok_or_else(|| failure("broken value", start))?;
        Ok(Raw { kind, text })
    }

    /// Skips an object or array by its brackets; its inside is read when it is wanted.
    fn nested(&mut self) -> Result<(), StageFailure> {
        let start = self.at;
        let mut depth = 0usize;
        loop {
            match self.byte() {
                Some(b'{' | b'[') => depth += 1,
                Some(b'}' | b']') => {
                    depth -= 1;
                    if depth == 0 {
                        self.at += 1;
                        return Ok(());
                    }
                }
                Some(b'"') => {
                    self.at += 1;
                    self.text()?;
                    continue;
                }
                Some(_) => {}
                None => return Err(failure("bracket not closed", start)),
            }
            self.at += 1;
        }
    }
}

/// Calls `each` for the members in order; `each` returns `false` to stop.
fn members<'l>(
    text: &'l str,
    mut each: impl FnMut(Cow<'l, str>, Raw<'l>) -> Result<bool, StageFailure>,
) -> Result<(), StageFailure> {
    let mut scanner = Scanner::new(text);
    scanner.expect(b'{')?;
    scanner.skip_space();
    if scanner.byte() == Some(b'}') {
        return Ok(());
    }
    loop {
        scanner.expect(b'"')?;
        let key = unescape(scanner.text()?);
        scanner.expect(b':')?;
        let value = scanner.value()?;
        if !each(key, value)? {
            return Ok(());
        }
        scanner.skip_space();
        match scanner.byte() {
            Some(b',') => scanner.at += 1,
            Some(b'}') => return Ok(()),
            _ => return Err(failure("expected ',' or '}'", scanner.at)),
        }
    }
}

/// Every scalar of the object as a label, nested names joined by `_`; arrays and nulls are left
/// out.
pub(crate) fn flatten<'l>(line: &'l str, set: Set<'_, 'l>) -> Result<(), StageFailure> {
    // An empty line has no fields; that is no mistake.
    if line.is_empty() {
        return Ok(());
    }
    flatten_under(line, "", 0, set)
}

fn flatten_under<'l>(
    text: &'l str,
    prefix: &str,
    depth: usize,
    set: Set<'_, 'l>,
) -> Result<(), StageFailure> {
    if depth > DEPTH_MAX {
        return Ok(());
    }
    members(text, |key, value| {
        let name: Cow<'l, str> = if prefix.is_empty() {
            match key {
                Cow::Borrowed(k) => sanitized(k),
                Cow::Owned(k) => Cow::Owned(sanitized(&k).into_owned()),
            }
        } else {
            let part: String = key.trim().chars().map(name_char).collect();
            if part.is_empty() { Cow::Borrowed("") } else { Cow::Owned(format!("{prefix}_{part}")) }
        };
        if name.is_empty() {
            return Ok(true);
        }
        match value.kind {
            Kind::Object => flatten_under(value.text, &name, depth + 1, &mut *set)?,
            Kind::Text => set(name, unescape(value.text)),
            Kind::Number | Kind::Bool => set(name, Cow::Borrowed(value.text)),
            Kind::Array | Kind::Null => {}
        }
        Ok(true)
    })
}

/// Labels of a packed entry, and its line. A line that is not packed stays as it is.
pub(crate) fn unpack(entry: &mut Entry<'_>) {
    if entry.line.is_empty() {
        return;
    }
    let line = std::mem::take(&mut entry.line);
    let mut packed: Option<String> = None;
    let mut labels: Vec<(String, String)> = Vec::new();
    let outcome = members(&line, |key, value| {
        if value.kind == Kind::Text {
            if key == PACKED_LINE {
                packed = Some(unescape(value.text).into_owned());
            } else {
                labels.push((sanitized(&key).into_owned(), unescape(value.text).into_owned()));
            }
        }
        Ok(true)
    });
    entry.line = line;
    match outcome {
        Err((error, details)) => entry.fail(error, details),
        Ok(()) => {
            if let Some(line) = packed {
                entry.line = Cow::Owned(line);
                for (name, value) in labels {
                    entry.extract(Cow::Owned(name), Cow::Owned(value));
                }
            }
        }
    }
}

/// `a.b[0]["c d"]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct JsonPath(Vec<PathStep>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum PathStep {
    Key(String),
    Index(usize),
}

impl JsonPath {
    pub(crate) fn parse(text: &str) -> Result<Self, ParseError> {
        let bad = |why: &str| ParseError::whole(format!("cannot parse expression [{text}]: {why}"));
        let mut steps = Vec::new();
        let mut rest = text.trim();
        while !rest.is_empty() {
            if let Some(inner) = rest.strip_prefix('[') {
                if let Some(quoted) = inner.strip_prefix('"') {
                    let (key, tail) =
                        quoted.split_once("\"]").ok_or_else(|| bad("missing closing \"]"))?;
                    steps.push(PathStep::Key(key.to_owned()));
                    rest = tail;
                } else {
                    let (index, tail) =
                        inner.split_once(']').ok_or_else(|| bad("missing closing ]"))?;
                    let index = index
                        .trim()
                        .parse()
                        .ok()
                        .ok_or_else(|| bad("an index must be a number"))?;
                    steps.push(PathStep::Index(index));
                    rest = tail;
                }
                continue;
            }
            if let Some(tail) = rest.strip_prefix('.') {
                if steps.is_empty() || tail.is_empty() || tail.starts_with(['.', '[']) {
                    return Err(bad("unexpected '.'"));
                }
                rest = tail;
            } else if !steps.is_empty() {
                return Err(bad("unexpected field"));
            }
            let end = rest.find(['.', '[']).unwrap_or(rest.len());
            let (key, tail) = rest.split_at_checked(end).unwrap_or((rest, ""));
            let is_field = key
                .chars()
                .all(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '@' | '$' | ':'));
            if key.is_empty() || !is_field {
                return Err(bad("unexpected character in field"));
            }
            steps.push(PathStep::Key(key.to_owned()));
            rest = tail;
        }
        if steps.is_empty() {
            return Err(bad("unexpected $end"));
        }
        Ok(Self(steps))
    }

    fn find<'l>(&self, line: &'l str) -> Result<Option<Raw<'l>>, StageFailure> {
        let mut current = Raw { kind: Kind::Object, text: line };
        for step in &self.0 {
            let mut found = None;
            match (step, current.kind) {
                (PathStep::Key(wanted), Kind::Object) => members(current.text, |key, value| {
                    if key == wanted.as_str() {
                        found = Some(value);
                    }
                    Ok(found.is_none())
                })?,
                (PathStep::Index(wanted), Kind::Array) => {
                    found = element(current.text, *wanted)?;
                }
                _ => {}
            }
            match found {
                Some(value) => current = value,
                None => return Ok(None),
            }
        }
        Ok(Some(current))
    }
}

fn element(text: &str, wanted: usize) -> Result<Option<Raw<'_>>, StageFailure> {
    let mut scanner = Scanner::new(text);
    scanner.expect(b'[')?;
    let mut index = 0;
    loop {
        scanner.skip_space();
        if scanner.byte() == Some(b']') {
            return Ok(None);
        }
        let value = scanner.value()?;
        if index == wanted {
            return Ok(Some(value));
        }
        index += 1;
        scanner.skip_space();
        match scanner.byte() {
            Some(b',') => scanner.at += 1,
            Some(b']') => return Ok(None),
            _ => return Err(failure("expected ',' or ']'", scanner.at)),
        }
    }
}

/// `json label="path", …`: one label each; a missing path gives an empty label.
pub(crate) fn extract(entry: &mut Entry<'_>, paths: &[(String, JsonPath)]) {
    if entry.line.is_empty() {
        return;
    }
    let is_read = entry.parse_line(|line, set| {
        let mut scanner = Scanner::new(line);
        let whole = scanner.value()?;
        if whole.kind != Kind::Object && whole.kind != Kind::Array {
            return Err(failure("object expected", 0));
        }
        for (label, path) in paths {
            let Some(raw) = path.find(line)? else { continue };
            let value = match raw.kind {
                Kind::Text => unescape(raw.text),
                Kind::Null => Cow::Borrowed(""),
                _ => Cow::Borrowed(raw.text),
            };
            set(Cow::Owned(label.clone()), value);
        }
        Ok(())
    });
    if is_read {
        entry.set_missing(paths.iter().map(|(label, _)| label.as_str()));
    }
}

fn name_char(c: char) -> char {
    if c.is_ascii_alphanumeric() || c == '_' { c } else { '_' }
}

/// A key as a label name: other characters become `_`, a leading digit gets one before it.
pub(crate) fn sanitized(key: &str) -> Cow<'_, str> {
    let key = key.trim();
    let starts_well = !key.starts_with(|c: char| c.is_ascii_digit());
    if starts_well && key.chars().all(|c| name_char(c) == c) {
        return Cow::Borrowed(key);
    }
    let mut out = String::with_capacity(key.len() + 1);
    if !starts_well {
        out.push('_');
    }
    out.extend(key.chars().map(name_char));
    Cow::Owned(out)
}

/// Resolves JSON's escapes; a broken one stays as it is written.
pub(crate) fn unescape(raw: &str) -> Cow<'_, str> {
    if !raw.contains('\\') {
        return Cow::Borrowed(raw);
    }
    // Whole texts are what serde_json is strict about; what it refuses is shown as written.
    match serde_json::from_str::<String>(&format!("\"{raw}\"")) {
        Ok(text) => Cow::Owned(text),
        Err(_) => Cow::Owned(raw.replace("\\\"", "\"").replace("\\\\", "\\")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flat(line: &str) -> Result<Vec<(String, String)>, StageFailure> {
        let mut out = Vec::new();
        flatten(line, &mut |n, v| out.push((n.into_owned(), v.into_owned())))?;
        Ok(out)
    }

    #[test]
    fn flattens_and_names() {
        let pair = |n: &str, v: &str| (n.to_owned(), v.to_owned());
        assert_eq!(
            flat(r#" {"a.b":1,"o":{"x y":{"z":"q\"\u00e9"}},"n":null,"l":[1],"9":true} x"#)
                .unwrap(),
            [pair("a_b", "1"), pair("o_x_y_z", "q\"é"), pair("_9", "true")]
        );
        for bad in
            [" ", "x", "{", "{\"a\"", "{\"a\":", "{\"a\":1", "{\"a\":x}", "[1]", "{\"a\":\"\\"]
        {
            assert_eq!(flat(bad).unwrap_err().0, JSON_ERROR, "{bad}");
        }
        let deep = format!("{}1{}", "{\"a\":".repeat(500), "}".repeat(500));
        assert!(flat(&deep).unwrap().is_empty());
    }

    #[test]
    fn paths_reach_into_objects_and_arrays() {
        let line = r#"{"a":{"b c":[10,{"d":"x"}]},"e":"f"}"#;
        let get =
            |p: &str| JsonPath::parse(p).unwrap().find(line).unwrap().map(|r| r.text.to_owned());
        assert_eq!(get(r#"a["b c"][1].d"#).as_deref(), Some("x"));
        assert_eq!(get(r#"a["b c"][0]"#).as_deref(), Some("10"));
        assert_eq!(get("a.x"), None);
        assert_eq!(get("e[0]"), None);
        for bad in ["", "a[", "a[x]", ".a", "a..b", "a.", "[\"x"] {
            assert!(JsonPath::parse(bad).is_err(), "{bad}");
        }
    }
}
