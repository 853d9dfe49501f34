//! Reads the members of a canonical line without building its object.
//!
//! One pass says whether a line is canonical: that needs no second spelling to compare with,
//! except of numbers that are no small integers. The pass takes only what it is sure of; whatever
//! else there is (escapes by number, keys beyond ASCII, deep nesting, and every mistake) is decided
//! by writing the value again, so that the rules stand in `canonical` alone.

use std::borrow::Cow;

use serde_json::{Map, Value};

use crate::canonical::{self, CanonicalError, LINE_BYTES_MAX};

/// Deeper values are left to the parser, which has a limit of its own.
const DEPTH_MAX: u32 = 64;
/// Integers of so many digits are below 2^53 and have one spelling.
const PLAIN_DIGITS_MAX: usize = 15;

/// The members of one object, in the order of the line; values as they are spelled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Members<'a> {
    line: &'a [u8],
    members: Vec<(Cow<'a, str>, Cow<'a, str>)>,
}

impl<'a> Members<'a> {
    /// `Err` for exactly the lines that [`canonical::check_line`] refuses.
    pub fn read(line: &'a [u8]) -> Result<Self, CanonicalError> {
        if let Some(members) = scan(line) {
            return Ok(Self { line, members });
        }
        let spelled = |(key, value): (String, Value)| {
            Ok((Cow::Owned(key), Cow::Owned(canonical::to_string(&value)?)))
        };
        let object = canonical::check_by_writing(line)?;
        Ok(Self { line, members: object.into_iter().map(spelled).collect::<Result<_, _>>()? })
    }

    /// Whether there is such a member.
    pub fn has(&self, name: &str) -> bool {
        self.spelled(name).is_some()
    }

    /// A whole number that is not negative.
    pub fn number(&self, name: &str) -> Option<u64> {
        self.spelled(name).filter(|s| s.bytes().all(|b| b.is_ascii_digit()))?.parse().ok()
    }

    /// A text.
    pub fn text(&self, name: &str) -> Option<Cow<'_, str>> {
        let spelled = self.spelled(name)?;
        let inner = spelled.strip_prefix('"')?.strip_suffix('"')?;
        match inner.contains('\\') {
            true => serde_json::from_str(spelled).ok().map(Cow::Owned),
            false => Some(Cow::Borrowed(inner)),
        }
    }

    /// The object.
    pub fn to_object(&self) -> Map<String, Value> {
        serde_json::from_slice(self.line).unwrap_or_default()
    }

    fn spelled(&self, name: &str) -> Option<&str> {
        self.members.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_ref())
    }
}

/// Whether a line is surely canonical; `false` says nothing.
pub(crate) fn surely_canonical(line: &[u8]) -> bool {
    scan(line).is_some()
}

fn scan(line: &[u8]) -> Option<Vec<(Cow<'_, str>, Cow<'_, str>)>> {
    if line.len() > LINE_BYTES_MAX {
        return None;
    }
    let text = std::str::from_utf8(line).ok()?;
    let mut members = Vec::with_capacity(24);
    let mut scan = Scan { text, bytes: line, at: 0 };
    scan.object(0, |key, value| members.push((Cow::Borrowed(key), Cow::Borrowed(value))))?;
    (scan.at == line.len()).then_some(members)
}

struct Scan<'a> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Scan<'a> {
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn take(&mut self, byte: u8) -> Option<()> {
        let is = self.peek() == Some(byte);
        self.at += usize::from(is);
        is.then_some(())
    }

    /// Keys in plain ASCII, each greater than the one before: then byte order is RFC 8785's order,
    /// and none repeats.
    fn object(&mut self, depth: u32, mut member: impl FnMut(&'a str, &'a str)) -> Option<()> {
        self.take(b'{')?;
        if self.take(b'}').is_some() {
            return Some(());
        }
        let mut before: Option<&str> = None;
        loop {
            let key = self.string()?;
            if before.is_some_and(|b| b >= key) || !key.is_ascii() || key.contains('\\') {
                return None;
            }
            before = Some(key);
            self.take(b':')?;
            let start = self.at;
            self.value(depth + 1)?;
            member(key, self.text.get(start..self.at)?);
            if self.take(b',').is_none() {
                return self.take(b'}');
            }
        }
    }

    fn array(&mut self, depth: u32) -> Option<()> {
        self.take(b'[')?;
        if self.take(b']').is_some() {
            return Some(());
        }
        loop {
            self.value(depth + 1)?;
            if self.take(b',').is_none() {
                return self.take(b']');
            }
        }
    }

    fn value(&mut self, depth: u32) -> Option<()> {
        match self.peek()? {
            _ if depth > DEPTH_MAX => None,
            b'"' => self.string().map(|_inner| ()),
            b'{' => self.object(depth, |_key, _value| {}),
            b'[' => self.array(depth),
            b't' => self.word(b"true"),
            b'f' => self.word(b"false"),
            b'n' => self.word(b"null"),
            _ => self.number(),
        }
    }

    fn word(&mut self, word: &[u8]) -> Option<()> {
        self.bytes.get(self.at..)?.starts_with(word).then(|| self.at += word.len())
    }

    /// What stands between the quotes. Only the escapes that have one letter, and none where the
    /// character could stand for itself.
    fn string(&mut self) -> Option<&'a str> {
        self.take(b'"')?;
        let start = self.at;
        loop {
            let rest = self.bytes.get(self.at..)?;
            self.at += rest.iter().position(|b| matches!(b, b'"' | b'\\' | 0..0x20))?;
            match self.peek()? {
                b'"' => break,
                b'\\' => match self.bytes.get(self.at + 1)? {
                    b'"' | b'\\' | b'b' | b'f' | b'n' | b'r' | b't' => self.at += 2,
                    _ => return None,
                },
                _ => return None,
            }
        }
        let inner = self.text.get(start..self.at)?;
        self.at += 1;
        Some(inner)
    }

    fn number(&mut self) -> Option<()> {
        let start = self.at;
        let of_number =
            |b: &u8| b.is_ascii_digit() || matches!(b, b'+' | b'-' | b'.' | b'e' | b'E');
        self.at += self.bytes.get(start..)?.iter().take_while(|b| of_number(b)).count();
        let number = self.text.get(start..self.at)?;
        let digits = number.strip_prefix('-').unwrap_or(number);
        let plain = digits.len() <= PLAIN_DIGITS_MAX
            && digits.bytes().all(|b| b.is_ascii_digit())
            && (!digits.starts_with('0') || number == "0");
        if plain && !digits.is_empty() {
            return Some(());
        }
        let value: Value = serde_json::from_str(number).ok()?;
        (canonical::to_string(&value).ok()? == number).then_some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::canonical::{check_by_writing, check_line, object_to_line};
    use serde_json::json;

    /// What the pass takes, writing the value again gives byte for byte; what either says no to,
    /// both do in the end.
    fn agrees(line: &[u8]) {
        let written = check_by_writing(line);
        if surely_canonical(line) {
            assert!(written.is_ok(), "{}: {written:?}", String::from_utf8_lossy(line));
        }
        assert_eq!(check_line(line), written);
        match (Members::read(line), written) {
            (Ok(members), Ok(object)) => {
                assert_eq!(members.to_object(), object);
                for (name, value) in &object {
                    assert!(members.has(name));
                    assert_eq!(members.text(name).as_deref(), value.as_str(), "{name}");
                    assert_eq!(members.number(name), value.as_u64(), "{name}");
                }
                assert!(!members.has("no such member"));
            }
            (read, written) => assert_eq!(read.err(), written.err()),
        }
    }

    fn receipt() -> Value {
        json!({
            "v": 1, "seq": 4711, "type": "obs_slo_definition", "timestamp": "2025-12-06T14:00:00Z",
            "root_hash": "blake3:00", "empty": {}, "none": [], "null": null,
            "flags": [true, false], "ratio": 0.999, "large": 1e21, "small": 1e-7,
            "most": 9_007_199_254_740_991_u64, "least": -9_007_199_254_740_991_i64, "minus": -5,
            "text": "tab\t, quote \", slash \\ /, é, \u{1f600}, \u{7f}, \u{2028}",
            "nested": {"a": {"b": [1, {"c": "d"}]}, "b": ""}, "zero": 0,
        })
    }

    #[test]
    fn a_receipt_is_read_in_one_pass() {
        let Value::Object(object) = receipt() else { panic!("object") };
        let line = object_to_line(&object).unwrap();
        assert!(surely_canonical(line.as_bytes()));
        agrees(line.as_bytes());
        for (n, line) in [
            r#"{"a":"\u0001"}"#.to_owned(),
            r#"{"é":1}"#.to_owned(),
            r#"{"a\n":1,"b":2}"#.to_owned(),
            format!(r#"{{"a":{}1{}}}"#, "[".repeat(100), "]".repeat(100)),
        ]
        .iter()
        .enumerate()
        {
            assert!(!surely_canonical(line.as_bytes()), "{n}");
            assert!(Members::read(line.as_bytes()).is_ok(), "{n}");
            agrees(line.as_bytes());
        }
    }

    /// Every byte of a line by those that mean something, by its neighbours, dropped, doubled; and
    /// spellings that look alike.
    #[test]
    fn every_change_is_judged_as_by_writing() {
        let Value::Object(object) = receipt() else { panic!("object") };
        let line = object_to_line(&object).unwrap().into_bytes();
        for at in 0..line.len() {
            let near = [line[at] ^ 1, line[at] ^ 0x20, line[at] ^ 0x80, line[at].wrapping_add(1)];
            for byte in b"\"\\{}[],:-+.eE019aut/ \n\0\x1f\x7f\xff".iter().chain(&near) {
                let mut other = line.clone();
                other[at] = *byte;
                agrees(&other);
            }
            let mut other = line.clone();
            other.remove(at);
            agrees(&other);
            other.insert(at, line[at]);
            other.insert(at, line[at]);
            agrees(&other);
        }
        for line in [
            r#"{}"#,
            r#"{"":1}"#,
            r#"{"a":-0}"#,
            r#"{"a":00}"#,
            r#"{"a":-}"#,
            r#"{"a":01}"#,
            r#"{"a":1.0}"#,
            r#"{"a":1E5}"#,
            r#"{"a":0.10}"#,
            r#"{"a":1e400}"#,
            r#"{"a":9007199254740992}"#,
            r#"{"a":100000000000000}"#,
            r#"{"a":1000000000000000}"#,
            r#"{"a":"\/"}"#,
            r#"{"a":"\u000a"}"#,
            r#"{"a":1,"a":1}"#,
            r#"{"a":1}{"b":1}"#,
            r#"{"a":1,}"#,
            r#"{"a":[1,]}"#,
            r#"{"a":tru}"#,
            r#"{"a" :1}"#,
            r#"[]"#,
            "\"a\"",
            "",
        ] {
            agrees(line.as_bytes());
        }
        agrees(b"{\"a\":\"\xff\"}");
        agrees(format!(r#"{{"a":{}1{}}}"#, "[".repeat(200), "]".repeat(200)).as_bytes());
        agrees(format!(r#"{{"a":"{}"}}"#, "x".repeat(LINE_BYTES_MAX)).as_bytes());
    }
}
