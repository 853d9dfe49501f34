//! Regular expressions as Go writes them, for this workspace's engine.

use regex::Regex;

/// Compiles Go syntax: `{` that begins no repetition, `\Q…\E`, and `[`, `&&`, `--`, `~~` inside a
/// class mean themselves. The error is one line.
pub(crate) fn compile(text: &str) -> Result<Regex, String> {
    Regex::new(&translate(text)).map_err(|e| reason(&e))
}

/// The regex crate draws a picture over several lines; its last line has the reason.
pub(crate) fn reason(error: &regex::Error) -> String {
    let text = error.to_string();
    text.lines().last().unwrap_or("").trim().trim_start_matches("error: ").to_owned()
}

pub(crate) fn translate(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let tail = rest.get(c.len_utf8()..).unwrap_or("");
        match c {
            '\\' => {
                if let Some(quoted) = tail.strip_prefix('Q') {
                    let (literal, after) = quoted.split_once("\\E").unwrap_or((quoted, ""));
                    out.push_str(&regex::escape(literal));
                    rest = after;
                    continue;
                }
                let escaped = tail.chars().next().map_or(0, char::len_utf8);
                let (escaped, mut after) = tail.split_at_checked(escaped).unwrap_or((tail, ""));
                out.push('\\');
                out.push_str(escaped);
                // The braces of `\p{…}` and `\x{…}` belong to the escape.
                if matches!(escaped, "p" | "P" | "x")
                    && after.starts_with('{')
                    && let Some(end) = after.find('}')
                    && let Some((name, behind)) = after.split_at_checked(end + 1)
                {
                    out.push_str(name);
                    after = behind;
                }
                rest = after;
            }
            '{' if !is_repetition(tail) => {
                out.push_str("\\{");
                rest = tail;
            }
            '[' => {
                out.push('[');
                rest = class(tail, &mut out);
            }
            c => {
                out.push(c);
                rest = tail;
            }
        }
    }
    out
}

/// Whether `3}`, `3,}` or `3,5}` follows a brace.
fn is_repetition(text: &str) -> bool {
    let Some((inside, _)) = text.split_once('}') else { return false };
    let (low, high) = inside.split_once(',').unwrap_or((inside, ""));
    !low.is_empty() && low.chars().chain(high.chars()).all(|c| c.is_ascii_digit())
}

/// Copies a class from behind its bracket; returns what follows it.
fn class<'t>(text: &'t str, out: &mut String) -> &'t str {
    let mut rest = text;
    if let Some(tail) = rest.strip_prefix('^') {
        out.push('^');
        rest = tail;
    }
    // A bracket that comes first means itself.
    if let Some(tail) = rest.strip_prefix(']') {
        out.push_str("\\]");
        rest = tail;
    }
    while let Some(c) = rest.chars().next() {
        let tail = rest.get(c.len_utf8()..).unwrap_or("");
        rest = tail;
        match c {
            ']' => {
                out.push(']');
                return rest;
            }
            '\\' => {
                out.push('\\');
                if let Some(escaped) = rest.chars().next() {
                    out.push(escaped);
                    rest = rest.get(escaped.len_utf8()..).unwrap_or("");
                }
            }
            '[' => match rest.strip_prefix(':').and_then(|r| r.split_once(":]")) {
                Some((name, after)) => {
                    out.push_str("[:");
                    out.push_str(name);
                    out.push_str(":]");
                    rest = after;
                }
                None => out.push_str("\\["),
            },
            '&' | '~' if rest.starts_with(c) => {
                out.push('\\');
                out.push(c);
            }
            c => out.push(c),
        }
    }
    rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_go_takes_literally_is_literal() {
        for (regex, text, matches) in [
            (r"{.*}", r#"{"a":1}"#, true),
            (r"a{2,3}b", "aab", true),
            (r"a{2}{", "aa{", true),
            (r"\Qa.b\E+", "a.bbb", true),
            (r"\Qa.b\E", "axb", false),
            (r"[[&&]x", "[x", true),
            (r"[[:alpha:]]\d", "x1", true),
            (r"[]a]", "]", true),
            (r"\p{Greek}\x{41}", "αA", true),
            (r"\{x\}", "{x}", true),
            (r"[\w.-]+@", "a-b.c@", true),
        ] {
            assert_eq!(compile(regex).unwrap().is_match(text), matches, "{regex}");
        }
        for bad in ["(", "[", "\\"] {
            assert!(!compile(bad).unwrap_err().contains('\n'), "{bad}");
        }
    }
}
