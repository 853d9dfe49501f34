//! Turns a query text into tokens with places.
//!
//! The rules are those of Go's text scanner with LogQL's additions: a number that is followed by
//! unit letters is a duration or a byte size, `[…]` is one token, and a function name counts as
//! one only before `(`, `by` or `without`, so that labels may be called `rate` or `sum`.

use crate::ParseError;
use crate::unit;

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Token {
    Identifier(String),
    Text(String),
    /// Kept as text: whether it is a float is the parser's question.
    Number(String),
    /// Nanoseconds.
    Duration(i64),
    Bytes(u64),
    /// Nanoseconds of `[5m]`.
    Range(i64),
    /// `--strict` or `--keep-empty`.
    Flag(String),
    /// Operators and keywords, by their canonical text.
    Symbol(&'static str),
    /// A function name, lower case.
    Function(&'static str),
    End,
    /// The text could not be read from here on.
    Bad(String),
}

#[derive(Clone, Debug)]
pub(crate) struct Placed {
    pub(crate) token: Token,
    pub(crate) line: usize,
    pub(crate) column: usize,
}

const KEYWORDS: [&str; 22] = [
    "by",
    "without",
    "bool",
    "offset",
    "on",
    "ignoring",
    "group_left",
    "group_right",
    "or",
    "and",
    "unless",
    "json",
    "regexp",
    "logfmt",
    "unpack",
    "pattern",
    "label_format",
    "line_format",
    "unwrap",
    "decolorize",
    "drop",
    "keep",
];

/// Names that are functions only when called.
const FUNCTIONS: [&str; 33] = [
    "rate",
    "rate_counter",
    "count_over_time",
    "bytes_rate",
    "bytes_over_time",
    "avg_over_time",
    "sum_over_time",
    "min_over_time",
    "max_over_time",
    "stdvar_over_time",
    "stddev_over_time",
    "quantile_over_time",
    "first_over_time",
    "last_over_time",
    "absent_over_time",
    "vector",
    "sum",
    "avg",
    "max",
    "min",
    "count",
    "stddev",
    "stdvar",
    "bottomk",
    "topk",
    "sort",
    "sort_desc",
    "label_replace",
    "approx_topk",
    "bytes",
    "duration",
    "duration_seconds",
    "ip",
];

const OPERATORS: [&str; 29] = [
    "==", "=~", "!=", "!~", "!>", "|=", "|~", "|>", ">=", "<=", "=", ">", "<", "|", "{", "}", "(",
    ")", ",", ".", "+", "-", "*", "/", "%", "^", "]", "!", "~",
];

impl Token {
    /// As Loki's messages name it.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Identifier(_) => "IDENTIFIER".into(),
            Self::Text(_) => "STRING".into(),
            Self::Number(_) => "NUMBER".into(),
            Self::Duration(_) => "DURATION".into(),
            Self::Bytes(_) => "BYTES".into(),
            Self::Range(_) => "RANGE".into(),
            Self::Flag(_) => "FUNCTION_FLAG".into(),
            Self::Symbol(s) => (*s).to_owned(),
            Self::Function("ip") => "ip".into(),
            Self::Function(name) => name.to_uppercase(),
            Self::End => "$end".into(),
            Self::Bad(message) => message.clone(),
        }
    }
}

/// Never fails: a text that cannot be read ends in [`Token::Bad`], so that an earlier mistake in
/// grammar is reported first. The last token is `End` or `Bad`.
pub(crate) fn tokens(text: &str) -> Vec<Placed> {
    let mut lexer = Lexer { rest: text, line: 1, column: 1 };
    let mut out = Vec::new();
    loop {
        lexer.skip_space();
        let (line, column) = (lexer.line, lexer.column);
        let token = lexer.next().unwrap_or_else(|e| Token::Bad(e.message));
        let last = matches!(token, Token::End | Token::Bad(_));
        out.push(Placed { token, line, column });
        if last {
            return out;
        }
    }
}

struct Lexer<'a> {
    rest: &'a str,
    line: usize,
    column: usize,
}

impl<'a> Lexer<'a> {
    fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    /// Takes `len` bytes, which must end at a character border.
    fn take(&mut self, len: usize) -> &'a str {
        let (head, tail) = self.rest.split_at_checked(len).unwrap_or((self.rest, ""));
        for c in head.chars() {
            if c == '\n' {
                self.line += 1;
                self.column = 1;
            } else {
                self.column += 1;
            }
        }
        self.rest = tail;
        head
    }

    fn take_while(&mut self, accept: impl Fn(char) -> bool) -> &'a str {
        let len = self.rest.find(|c| !accept(c)).unwrap_or(self.rest.len());
        self.take(len)
    }

    fn skip_space(&mut self) {
        loop {
            self.take_while(char::is_whitespace);
            if self.peek() != Some('#') {
                return;
            }
            self.take_while(|c| c != '\n');
        }
    }

    fn error(&self, message: impl Into<String>) -> ParseError {
        ParseError::at(self.line, self.column, message)
    }

    fn next(&mut self) -> Result<Token, ParseError> {
        let Some(first) = self.peek() else { return Ok(Token::End) };
        let second = self.rest.chars().nth(1);
        match first {
            '"' | '`' => return self.text(first),
            '[' => return self.range(),
            '0'..='9' => return Ok(self.number()),
            '.' if second.is_some_and(|c| c.is_ascii_digit()) => return Ok(self.number()),
            '-' => {
                if let Some(flag) =
                    ["--strict", "--keep-empty"].into_iter().find(|f| self.rest.starts_with(f))
                {
                    self.take(flag.len());
                    return Ok(Token::Flag(flag.to_owned()));
                }
                if let Some(d) = self.unit_suffix("-").and_then(|t| unit::duration(t).ok()) {
                    let len = self.unit_suffix("-").map_or(0, str::len);
                    self.take(len);
                    return Ok(Token::Duration(d));
                }
            }
            _ => {}
        }
        if first.is_alphabetic() || first == '_' {
            return Ok(self.word());
        }
        match OPERATORS.into_iter().find(|op| self.rest.starts_with(op)) {
            Some(op) => {
                self.take(op.len());
                Ok(Token::Symbol(op))
            }
            None => {
                Err(self
                    .error(format!("syntax error: unexpected {}", unit::quote(&first.to_string()))))
            }
        }
    }

    fn word(&mut self) -> Token {
        let word = self.take_while(|c| c.is_alphanumeric() || c == '_');
        let lower = word.to_lowercase();
        let known = |table: &[&'static str]| table.iter().find(|k| **k == lower).copied();
        if let Some(function) = known(&FUNCTIONS) {
            return if self.is_called() {
                Token::Function(function)
            } else {
                Token::Identifier(word.to_owned())
            };
        }
        match known(&KEYWORDS) {
            Some(keyword) => Token::Symbol(keyword),
            None => Token::Identifier(word.to_owned()),
        }
    }

    /// Whether `(`, `by` or `without` follows.
    fn is_called(&self) -> bool {
        let rest = self.rest.trim_start();
        let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
        let word = rest.get(..end).unwrap_or("").to_lowercase();
        rest.starts_with('(') || word == "by" || word == "without"
    }

    /// The text from here over digits, dots and unit letters of durations, with `prefix` first.
    fn unit_suffix(&self, prefix: &str) -> Option<&'a str> {
        let body = self.rest.strip_prefix(prefix)?;
        let is_part = |c: char| c.is_ascii_digit() || c == '.' || "nsuµμmhdwy".contains(c);
        let len = prefix.len() + body.find(|c| !is_part(c)).unwrap_or(body.len());
        self.rest.get(..len).filter(|t| t.len() > prefix.len())
    }

    fn number(&mut self) -> Token {
        let digits = number_len(self.rest);
        let number = self.rest.get(..digits).unwrap_or("");
        if let Some(text) = self.unit_suffix(number).filter(|t| t.len() > digits)
            && let Ok(d) = unit::duration(text)
        {
            self.take(text.len());
            return Token::Duration(d);
        }
        let tail = self.rest.get(digits..).unwrap_or("");
        let letters =
            tail.find(|c: char| !"bBiIkKmMgGtTpPeEyYzZ".contains(c)).unwrap_or(tail.len());
        let text = self.rest.get(..digits + letters).unwrap_or("");
        if letters > 0
            && let Ok(size) = unit::bytes(text)
        {
            self.take(text.len());
            return Token::Bytes(size);
        }
        Token::Number(self.take(digits).to_owned())
    }

    fn range(&mut self) -> Result<Token, ParseError> {
        let start = self.error("");
        self.take(1);
        let text = self.take_while(|c| c != ']');
        if self.rest.is_empty() {
            return Err(ParseError { message: "missing closing ']' in duration".into(), ..start });
        }
        self.take(1);
        match unit::prometheus_duration(text) {
            Some(0) => {
                Err(ParseError { message: "duration must be greater than 0".into(), ..start })
            }
            Some(ns) => Ok(Token::Range(ns)),
            None => {
                let why = unit::go_duration(text)
                    .err()
                    .map(|e| e.trim_start_matches("time: ").to_owned())
                    .filter(|e| e.starts_with("unknown unit"))
                    .unwrap_or_else(|| {
                        format!("not a valid duration string: {}", unit::quote(text))
                    });
                Err(ParseError { message: why, ..start })
            }
        }
    }

    fn text(&mut self, delimiter: char) -> Result<Token, ParseError> {
        let start = self.error("literal not terminated");
        let body = self.rest.get(1..).unwrap_or("");
        if delimiter == '`' {
            let Some(len) = body.find('`') else { return Err(start) };
            let text = body.get(..len).unwrap_or("").replace('\r', "");
            self.take(len + 2);
            return Ok(Token::Text(text));
        }
        let mut out = String::new();
        let mut raw: Vec<u8> = Vec::new();
        let mut chars = body.char_indices();
        while let Some((at, c)) = chars.next() {
            if c != '\\' && !raw.is_empty() {
                flush(&mut raw, &mut out);
            }
            match c {
                '"' => {
                    self.take(at + 2);
                    return Ok(Token::Text(out));
                }
                '\n' => return Err(start),
                '\\' => {
                    let bad = || ParseError { message: "invalid syntax".into(), ..start.clone() };
                    let (_, kind) = chars.next().ok_or_else(bad)?;
                    match kind {
                        'x' => raw.push(code(&mut chars, 2, 16).ok_or_else(bad)? as u8),
                        '0'..='7' => {
                            let high = kind.to_digit(8).unwrap_or(0);
                            let low = code(&mut chars, 2, 8).ok_or_else(bad)?;
                            raw.push(u8::try_from(high * 64 + low).ok().ok_or_else(bad)?);
                        }
                        _ => {
                            flush(&mut raw, &mut out);
                            out.push(match kind {
                                'a' => '\x07',
                                'b' => '\x08',
                                'f' => '\x0c',
                                'n' => '\n',
                                'r' => '\r',
                                't' => '\t',
                                'v' => '\x0b',
                                '\\' | '"' => kind,
                                'u' => code(&mut chars, 4, 16)
                                    .and_then(char::from_u32)
                                    .ok_or_else(bad)?,
                                'U' => code(&mut chars, 8, 16)
                                    .and_then(char::from_u32)
                                    .ok_or_else(bad)?,
                                _ => return Err(bad()),
                            });
                        }
                    }
                }
                c => out.push(c),
            }
        }
        Err(start)
    }
}

/// Bytes written as escapes may form UTF-8 only together.
fn flush(raw: &mut Vec<u8>, out: &mut String) {
    out.push_str(&String::from_utf8_lossy(raw));
    raw.clear();
}

fn code(chars: &mut std::str::CharIndices<'_>, digits: usize, radix: u32) -> Option<u32> {
    let mut value: u32 = 0;
    for _ in 0..digits {
        let (_, c) = chars.next()?;
        value = value.checked_mul(radix)?.checked_add(c.to_digit(radix)?)?;
    }
    Some(value)
}

/// Bytes of the number at the start of the text, prefixed forms (`0x1A`) and exponents included.
fn number_len(text: &str) -> usize {
    let bytes = text.as_bytes();
    let digits_from = |mut at: usize| {
        while bytes.get(at).is_some_and(|b| b.is_ascii_digit() || *b == b'_') {
            at += 1;
        }
        at
    };
    if bytes.first() == Some(&b'0')
        && bytes.get(1).is_some_and(|b| matches!(b, b'x' | b'X' | b'o' | b'O' | b'b' | b'B'))
        && bytes.get(2).is_some_and(u8::is_ascii_hexdigit)
    {
        let mut at = 2;
        while bytes.get(at).is_some_and(|b| b.is_ascii_hexdigit() || matches!(b, b'_' | b'.')) {
            at += 1;
        }
        if bytes.get(at).is_some_and(|b| matches!(b, b'p' | b'P')) {
            let sign = usize::from(bytes.get(at + 1).is_some_and(|b| matches!(b, b'+' | b'-')));
            at = digits_from(at + 1 + sign);
        }
        return at;
    }
    let mut at = digits_from(0);
    if bytes.get(at) == Some(&b'.') {
        at = digits_from(at + 1);
    }
    if bytes.get(at).is_some_and(|b| matches!(b, b'e' | b'E')) {
        let sign = usize::from(bytes.get(at + 1).is_some_and(|b| matches!(b, b'+' | b'-')));
        if bytes.get(at + 1 + sign).is_some_and(u8::is_ascii_digit) {
            at = digits_from(at + 1 + sign);
        }
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(text: &str) -> Vec<Token> {
        tokens(text).into_iter().map(|p| p.token).collect()
    }

    #[test]
    fn numbers_with_units() {
        assert_eq!(
            kinds("5 1.5e3 5m 1h30m -5m 10MB 1KiB 0x1A"),
            [
                Token::Number("5".into()),
                Token::Number("1.5e3".into()),
                Token::Duration(300_000_000_000),
                Token::Duration(5_400_000_000_000),
                Token::Duration(-300_000_000_000),
                Token::Bytes(10_000_000),
                Token::Bytes(1024),
                Token::Number("0x1A".into()),
                Token::End,
            ]
        );
    }

    #[test]
    fn a_function_name_alone_is_a_label() {
        assert_eq!(kinds("rate")[0], Token::Identifier("rate".into()));
        assert_eq!(kinds("rate (")[0], Token::Function("rate"));
        assert_eq!(kinds("SUM by (a)")[0], Token::Function("sum"));
    }

    #[test]
    fn texts_and_their_escapes() {
        assert_eq!(kinds(r#""a\n\"\u00e9\xc3\xa9""#)[0], Token::Text("a\n\"éé".into()));
        assert_eq!(kinds(r"`a\n`")[0], Token::Text("a\\n".into()));
        assert_eq!(kinds("\"abc")[0], Token::Bad("literal not terminated".into()));
        assert_eq!(kinds("[5m")[0], Token::Bad("missing closing ']' in duration".into()));
    }

    #[test]
    fn places_count_lines_and_characters() {
        let all = tokens("é #x\n  sum(");
        assert_eq!((all[1].line, all[1].column), (2, 3));
        assert_eq!((all[2].line, all[2].column), (2, 6));
    }
}
