//! Loki's label strings, `{a="b", c="d"}`, as its protobuf push carries them.

use obs_types::LabelSet;

use crate::WireError;

const WHAT: &str = "label string";
/// Far above what a stream may have; keeps the search for repeated names cheap.
const LABELS_MAX: usize = 256;

/// Values are Go strings in double quotes or backquotes. A repeated name is an error.
pub fn parse_loki_labels(text: &str) -> Result<LabelSet, WireError> {
    let mut reader = Reader { rest: text, whole: text };
    let mut pairs: Vec<(String, String)> = Vec::new();
    reader.blanks();
    reader.expect('{')?;
    reader.blanks();
    while !reader.rest.starts_with('}') {
        let name = reader.name()?;
        reader.blanks();
        reader.expect('=')?;
        reader.blanks();
        let value = reader.string()?;
        if pairs.len() >= LABELS_MAX {
            return Err(reader.error(&format!("more than {LABELS_MAX} labels")));
        }
        if pairs.iter().any(|(n, _)| *n == name) {
            return Err(reader.error(&format!("label {name:?} is given twice")));
        }
        pairs.push((name, value));
        reader.blanks();
        if !reader.rest.starts_with('}') {
            reader.expect(',')?;
            reader.blanks();
        }
    }
    reader.expect('}')?;
    reader.blanks();
    if !reader.rest.is_empty() {
        return Err(reader.error("text behind the closing brace"));
    }
    Ok(LabelSet::from_pairs(pairs))
}

struct Reader<'a> {
    rest: &'a str,
    whole: &'a str,
}

impl Reader<'_> {
    fn error(&self, message: &str) -> WireError {
        let column = self.whole.len() - self.rest.len() + 1;
        let mut shown: String = self.whole.chars().take(80).collect();
        if shown.len() < self.whole.len() {
            shown.push('…');
        }
        WireError::malformed(WHAT, format!("{shown:?}, column {column}: {message}"))
    }

    fn blanks(&mut self) {
        self.rest = self.rest.trim_start();
    }

    fn take(&mut self) -> Option<char> {
        let mut chars = self.rest.chars();
        let c = chars.next();
        self.rest = chars.as_str();
        c
    }

    fn expect(&mut self, want: char) -> Result<(), WireError> {
        match self.rest.strip_prefix(want) {
            Some(rest) => {
                self.rest = rest;
                Ok(())
            }
            None => Err(self.error(&format!("expected {want:?}"))),
        }
    }

    fn name(&mut self) -> Result<String, WireError> {
        let word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | ':' | '.');
        let end = self.rest.find(|c| !word(c)).unwrap_or(self.rest.len());
        let (name, rest) = self.rest.split_at_checked(end).unwrap_or(("", self.rest));
        if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
            return Err(self.error("expected a label name"));
        }
        self.rest = rest;
        Ok(name.to_owned())
    }

    fn string(&mut self) -> Result<String, WireError> {
        match self.take() {
            Some('`') => {
                let (inner, rest) =
                    self.rest.split_once('`').ok_or_else(|| self.error("string without an end"))?;
                self.rest = rest;
                Ok(inner.to_owned())
            }
            Some('"') => self.quoted(),
            _ => Err(self.error("expected a quoted value")),
        }
    }

    fn quoted(&mut self) -> Result<String, WireError> {
        let mut out = Vec::new();
        loop {
            match self.take() {
                Some('"') => break,
                Some('\\') => self.escape(&mut out)?,
                Some(c) => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
                None => return Err(self.error("string without an end")),
            }
        }
        // `\xff` may have built bytes that are no text.
        String::from_utf8(out).map_err(|e| self.error(&format!("value is not UTF-8: {e}")))
    }

    fn escape(&mut self, out: &mut Vec<u8>) -> Result<(), WireError> {
        let c = self.take().ok_or_else(|| self.error("string without an end"))?;
        let plain = match c {
            'n' => b'\n',
            't' => b'\t',
            'r' => b'\r',
            'a' => 7,
            'b' => 8,
            'f' => 12,
            'v' => 11,
            '\\' | '"' | '\'' => c as u8,
            'x' => return self.number(2, 16, "").map(|n| out.push(n as u8)),
            '0'..='7' => {
                let first = c.to_string();
                let n = self.number(2, 8, &first)?;
                let byte = u8::try_from(n).map_err(|e| self.error(&e.to_string()))?;
                out.push(byte);
                return Ok(());
            }
            'u' | 'U' => {
                let n = self.number(if c == 'u' { 4 } else { 8 }, 16, "")?;
                let c = char::from_u32(n).ok_or_else(|| self.error("no such character"))?;
                out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
                return Ok(());
            }
            _ => return Err(self.error(&format!("unknown escape {c:?}"))),
        };
        out.push(plain);
        Ok(())
    }

    fn number(&mut self, digits: usize, radix: u32, first: &str) -> Result<u32, WireError> {
        let mut text = first.to_owned();
        for _ in 0..digits {
            text.extend(self.take().filter(|c| c.is_digit(radix)));
        }
        if text.len() != digits + first.len() {
            return Err(self.error("bad number in an escape"));
        }
        u32::from_str_radix(&text, radix).map_err(|e| self.error(&e.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn go_strings_are_read() {
        let got = parse_loki_labels(r#" {a="b\"\n\u00e9\x41\101", c=`\d`, } "#).unwrap();
        assert_eq!(got.get("a"), Some("b\"\néAA"));
        assert_eq!(got.get("c"), Some("\\d"));
        assert!(parse_loki_labels("{}").unwrap().is_empty());
    }

    #[test]
    fn errors_say_where() {
        for (text, want) in [
            ("{a=b}", "column 5: expected a quoted value"),
            ("{a=\"b\"", "column 7: expected ','"),
            ("{a=\"b\",a=\"c\"}", "given twice"),
            ("{1=\"b\"}", "column 2: expected a label name"),
            ("{a=\"\\xff\"}", "not UTF-8"),
            ("a", "column 1: expected '{'"),
        ] {
            let got = parse_loki_labels(text).unwrap_err().to_string();
            assert!(got.contains(want), "{text}: {got}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_refused_or_read(text in "[{}a=\"\\\\`,xu0-9 é]{0,30}") {
            drop(parse_loki_labels(&text));
        }

        #[test]
        fn shown_labels_read_back(
            pairs in proptest::collection::btree_map("[a-z_]{1,5}", "[a-zé\"\\\\\n ]{1,5}", 0..4),
        ) {
            let set = LabelSet::from_iter(pairs);
            prop_assert_eq!(parse_loki_labels(&set.to_string()).unwrap(), set);
        }
    }
}
