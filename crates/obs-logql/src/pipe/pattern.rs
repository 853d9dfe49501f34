//! `pattern "<ip> - <_> [<time>]"` and the line filter `|> "<_> error <_>"`.

use memchr::memmem;

use crate::error::ParseError;

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Literal(String),
    /// `None` is `<_>`.
    Capture(Option<String>),
}

#[derive(Debug)]
pub(crate) struct CapturePattern(Vec<Part>);

#[derive(Debug)]
pub(crate) struct LinePattern(Vec<Part>);

fn parts(text: &str) -> Vec<Part> {
    let mut out: Vec<Part> = Vec::new();
    let mut literal = String::new();
    let mut rest = text;
    while let Some(open) = rest.find('<') {
        let (head, tail) = rest.split_at_checked(open).unwrap_or((rest, ""));
        let inner = tail.get(1..).unwrap_or("");
        let name = inner.find('>').and_then(|end| inner.get(..end)).filter(|n| is_name(n));
        literal.push_str(head);
        match name {
            Some(name) => {
                if !literal.is_empty() {
                    out.push(Part::Literal(std::mem::take(&mut literal)));
                }
                out.push(Part::Capture((name != "_").then(|| name.to_owned())));
                rest = inner.get(name.len() + 1..).unwrap_or("");
            }
            None => {
                literal.push('<');
                rest = inner;
            }
        }
    }
    literal.push_str(rest);
    if !literal.is_empty() {
        out.push(Part::Literal(literal));
    }
    out
}

fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

fn check_neighbours(parts: &[Part], text: &str) -> Result<(), ParseError> {
    let touching = parts.windows(2).any(|w| matches!(w, [Part::Capture(_), Part::Capture(_)]));
    if touching {
        return Err(ParseError::whole(format!(
            "found consecutive capture in pattern {}",
            crate::unit::quote(text)
        )));
    }
    Ok(())
}

impl CapturePattern {
    pub(crate) fn parse(text: &str) -> Result<Self, ParseError> {
        let parts = parts(text);
        let names: Vec<&String> = parts
            .iter()
            .filter_map(|p| if let Part::Capture(Some(n)) = p { Some(n) } else { None })
            .collect();
        if names.is_empty() {
            return Err(ParseError::whole(format!(
                "at least one capture is required in pattern {}",
                crate::unit::quote(text)
            )));
        }
        for (i, name) in names.iter().enumerate() {
            if names.iter().skip(i + 1).any(|n| n == name) {
                return Err(ParseError::whole(format!("duplicate capture name ({name})")));
            }
        }
        check_neighbours(&parts, text)?;
        Ok(Self(parts))
    }

    /// Calls `found` for each named capture. A line that ends early gives its rest to the capture
    /// it ended in; one that does not start as the pattern does gives nothing.
    pub(crate) fn captures<'l>(&self, line: &'l str, mut found: impl FnMut(&str, &'l str)) {
        let mut rest = line;
        let mut parts = self.0.as_slice();
        if line.is_empty() {
            return;
        }
        if let [Part::Literal(text), tail @ ..] = parts {
            let Some(after) = rest.strip_prefix(text.as_str()) else { return };
            rest = after;
            parts = tail;
        }
        while let [Part::Capture(name), tail @ ..] = parts {
            let (value, next) = match tail {
                [Part::Literal(text), ..] => {
                    rest.split_once(text.as_str()).map_or((rest, None), |(v, n)| (v, Some(n)))
                }
                _ => (rest, None),
            };
            if let Some(name) = name {
                found(name, value);
            }
            let Some(next) = next else { return };
            rest = next;
            parts = tail.get(1..).unwrap_or(&[]);
        }
    }
}

impl LinePattern {
    pub(crate) fn parse(text: &str) -> Result<Self, ParseError> {
        let parts = parts(text);
        if parts.iter().any(|p| matches!(p, Part::Capture(Some(_)))) {
            return Err(ParseError::whole(format!(
                "named captures are not allowed in line filter pattern {}",
                crate::unit::quote(text)
            )));
        }
        check_neighbours(&parts, text)?;
        Ok(Self(parts))
    }

    /// Whether the pattern covers the whole line; `<_>` stands for at least one byte.
    pub(crate) fn matches(&self, line: &str) -> bool {
        if line.is_empty() || self.0.is_empty() {
            return line.is_empty() && self.0.is_empty();
        }
        let bytes = line.as_bytes();
        let mut at = 0;
        for (i, part) in self.0.iter().enumerate() {
            let Part::Literal(text) = part else { continue };
            let Some(skipped) = bytes.get(at..).and_then(|b| memmem::find(b, text.as_bytes()))
            else {
                return false;
            };
            if (i == 0) != (skipped == 0) {
                return false;
            }
            at += skipped + text.len();
        }
        let ends_open = matches!(self.0.last(), Some(Part::Capture(_)));
        ends_open == (at != bytes.len())
    }
}

/// The texts that every line matched by the line pattern contains.
pub(crate) fn literals(text: &str) -> Vec<String> {
    parts(text)
        .into_iter()
        .filter_map(|p| if let Part::Literal(t) = p { Some(t) } else { None })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn captured(pattern: &str, line: &str) -> Vec<(String, String)> {
        let mut out = Vec::new();
        CapturePattern::parse(pattern)
            .unwrap()
            .captures(line, |n, v| out.push((n.to_owned(), v.to_owned())));
        out
    }

    #[test]
    fn captures_stop_where_the_line_does() {
        let pair = |n: &str, v: &str| (n.to_owned(), v.to_owned());
        assert_eq!(
            captured("<ip> - <_> [<t>] x", "1.2.3.4 - bob [now] x"),
            [pair("ip", "1.2.3.4"), pair("t", "now")]
        );
        assert_eq!(captured("<a> <b>", "one"), [pair("a", "one")]);
        assert!(captured("x<a>", "y1").is_empty());
        assert_eq!(captured("a<b <c>", "a<b 1"), [pair("c", "1")]);
    }

    #[test]
    fn a_line_pattern_covers_the_line() {
        let m = |p: &str, l: &str| LinePattern::parse(p).unwrap().matches(l);
        assert!(m("<_> error <_>", "an error here"));
        assert!(!m("<_> error <_>", "error here"));
        assert!(m("GET <_>", "GET /x"));
        assert!(!m("GET <_>", "a GET /x"));
        assert!(!m("GET <_> 200", "GET /x 200 y"));
        assert!(m("", ""));
    }
}
