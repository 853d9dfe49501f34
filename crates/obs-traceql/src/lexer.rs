use obs_types::AttrScope;

use crate::TraceQlError;
use crate::ast::{Attribute, Intrinsic};

/// Longest query text in bytes: an unbounded one would let a client hold a thread in the parser.
pub(crate) const QUERY_BYTES_MAX: usize = 128 * 1024;

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Token {
    LeftBrace,
    RightBrace,
    LeftParen,
    RightParen,
    Comma,
    Pipe,
    Op(Op),
    Word(String),
    Attribute(Attribute),
    Str(String),
    Int(i64),
    Float(f64),
    /// Nanoseconds.
    Duration(i64),
    End,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Op {
    And,
    Or,
    Not,
    Equal,
    NotEqual,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
    Regex,
    /// Also the negated sibling operator.
    NotRegex,
    Add,
    Sub,
    Mul,
    Div,
    Mod,
    Pow,
    Descendant,
    Ancestor,
    Sibling,
    NotChild,
    NotParent,
    NotDescendant,
    NotAncestor,
    UnionChild,
    UnionParent,
    UnionDescendant,
    UnionAncestor,
    UnionSibling,
}

/// Longest first, so that a prefix never wins.
const OPERATORS: &[(&str, Op)] = &[
    ("!>>", Op::NotDescendant),
    ("!<<", Op::NotAncestor),
    ("&>>", Op::UnionDescendant),
    ("&<<", Op::UnionAncestor),
    ("&&", Op::And),
    ("||", Op::Or),
    ("!=", Op::NotEqual),
    ("!~", Op::NotRegex),
    ("!>", Op::NotChild),
    ("!<", Op::NotParent),
    ("&>", Op::UnionChild),
    ("&<", Op::UnionParent),
    ("&~", Op::UnionSibling),
    (">>", Op::Descendant),
    ("<<", Op::Ancestor),
    (">=", Op::GreaterEqual),
    ("<=", Op::LessEqual),
    ("=~", Op::Regex),
    ("=", Op::Equal),
    (">", Op::Greater),
    ("<", Op::Less),
    ("~", Op::Sibling),
    ("!", Op::Not),
    ("+", Op::Add),
    ("-", Op::Sub),
    ("*", Op::Mul),
    ("/", Op::Div),
    ("%", Op::Mod),
    ("^", Op::Pow),
];

/// Nanoseconds of each duration unit; longer spellings first.
const UNITS: &[(&str, f64)] = &[
    ("ns", 1.0),
    ("us", 1e3),
    ("µs", 1e3),
    ("μs", 1e3),
    ("ms", 1e6),
    ("s", 1e9),
    ("m", 60e9),
    ("h", 3_600e9),
    ("d", 86_400e9),
    ("w", 604_800e9),
    ("y", 31_536_000e9),
];

pub(crate) fn error<T>(offset: usize, message: impl Into<String>) -> Result<T, TraceQlError> {
    Err(TraceQlError::Parse { offset, message: message.into() })
}

/// Every token with the byte offset where it begins; the last is [`Token::End`].
pub(crate) fn tokenize(text: &str) -> Result<Vec<(Token, usize)>, TraceQlError> {
    if text.len() > QUERY_BYTES_MAX {
        return error(
            0,
            format!("query has {} bytes, at most {QUERY_BYTES_MAX} are allowed", text.len()),
        );
    }
    let mut lexer = Lexer { text, at: 0 };
    let mut out = Vec::new();
    loop {
        lexer.skip_while(char::is_whitespace);
        let offset = lexer.at;
        let token = lexer.next()?;
        let end = token == Token::End;
        out.push((token, offset));
        if end {
            return Ok(out);
        }
    }
}

struct Lexer<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Lexer<'a> {
    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or("")
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn eat(&mut self, prefix: &str) -> bool {
        let hit = self.rest().starts_with(prefix);
        if hit {
            self.at += prefix.len();
        }
        hit
    }

    fn skip_while(&mut self, keep: impl Fn(char) -> bool) {
        let rest = self.rest();
        self.at += rest.find(|c| !keep(c)).unwrap_or(rest.len());
    }

    fn take_while(&mut self, keep: impl Fn(char) -> bool) -> &'a str {
        let start = self.at;
        self.skip_while(keep);
        self.text.get(start..self.at).unwrap_or("")
    }

    fn next(&mut self) -> Result<Token, TraceQlError> {
        let offset = self.at;
        let Some(c) = self.peek() else { return Ok(Token::End) };
        if c == '"' || c == '`' {
            return self.quoted().map(Token::Str);
        }
        let second = self.rest().chars().nth(1);
        if c.is_ascii_digit() || (c == '.' && second.is_some_and(|s| s.is_ascii_digit())) {
            return self.number();
        }
        if c == '.' {
            self.at += 1;
            return self.attribute(AttrScope::Any, false);
        }
        if c.is_alphabetic() || c == '_' {
            return self.word();
        }
        for (spelling, op) in OPERATORS {
            if self.eat(spelling) {
                return Ok(Token::Op(*op));
            }
        }
        self.at += c.len_utf8();
        match c {
            '{' => Ok(Token::LeftBrace),
            '}' => Ok(Token::RightBrace),
            '(' => Ok(Token::LeftParen),
            ')' => Ok(Token::RightParen),
            ',' => Ok(Token::Comma),
            '|' => Ok(Token::Pipe),
            other => error(offset, format!("unexpected character {other:?}")),
        }
    }

    fn word(&mut self) -> Result<Token, TraceQlError> {
        let offset = self.at;
        let word = self.take_while(|c| c.is_alphanumeric() || c == '_');
        let scope = match word {
            "span" => Some(AttrScope::Span),
            "resource" => Some(AttrScope::Resource),
            "event" => Some(AttrScope::Event),
            "link" => Some(AttrScope::Link),
            "instrumentation" => Some(AttrScope::Instrumentation),
            _ => None,
        };
        if let Some(scope) = scope
            && self.eat(".")
        {
            return self.attribute(scope, false);
        }
        if word == "parent" && self.eat(".") {
            let scope = if self.eat("span.") {
                AttrScope::Span
            } else if self.eat("resource.") {
                AttrScope::Resource
            } else {
                AttrScope::Any
            };
            return self.attribute(scope, true);
        }
        if matches!(word, "trace" | "span" | "event" | "link" | "instrumentation") && self.eat(":")
        {
            let inner = self.take_while(|c| c.is_alphanumeric() || c == '_');
            return match Intrinsic::from_scoped(word, inner) {
                Some(intrinsic) => Ok(Token::Attribute(Attribute::Intrinsic(intrinsic))),
                None => error(offset, format!("unknown intrinsic {word}:{inner}")),
            };
        }
        Ok(Token::Word(word.to_owned()))
    }

    /// An attribute name: any characters but white space and operators of spansets, with quoted
    /// parts for the rest.
    fn attribute(&mut self, scope: AttrScope, parent: bool) -> Result<Token, TraceQlError> {
        let offset = self.at;
        let mut name = String::new();
        loop {
            match self.peek() {
                Some('"') => name.push_str(&self.quoted()?),
                Some(c) if is_attribute_char(c) => {
                    name.push(c);
                    self.at += c.len_utf8();
                }
                _ => break,
            }
        }
        if name.is_empty() {
            return error(offset, "attribute name is missing");
        }
        Ok(Token::Attribute(Attribute::Named { scope, parent, name }))
    }

    fn quoted(&mut self) -> Result<String, TraceQlError> {
        let offset = self.at;
        let Some(quote) = self.peek() else { return error(offset, "string expected") };
        self.at += 1;
        let mut out = String::new();
        while let Some(c) = self.peek() {
            self.at += c.len_utf8();
            if c == quote {
                return Ok(out);
            }
            if c == '\\' && quote == '"' {
                out.push(self.escape()?);
            } else {
                out.push(c);
            }
        }
        error(offset, "string is not closed")
    }

    fn escape(&mut self) -> Result<char, TraceQlError> {
        let offset = self.at;
        let Some(c) = self.peek() else { return error(offset, "string ends in an escape") };
        self.at += c.len_utf8();
        let digits = match c {
            'n' => return Ok('\n'),
            't' => return Ok('\t'),
            'r' => return Ok('\r'),
            'a' => return Ok('\u{7}'),
            'b' => return Ok('\u{8}'),
            'f' => return Ok('\u{c}'),
            'v' => return Ok('\u{b}'),
            '\\' | '"' | '\'' | '`' => return Ok(c),
            'x' => 2,
            'u' => 4,
            'U' => 8,
            other => return error(offset, format!("unknown escape \\{other}")),
        };
        let code = self.rest().get(..digits).and_then(|hex| u32::from_str_radix(hex, 16).ok());
        match code.and_then(char::from_u32) {
            Some(c) => {
                self.at += digits;
                Ok(c)
            }
            None => error(offset, format!("\\{c} needs {digits} hexadecimal digits")),
        }
    }

    fn digits(&mut self) -> &'a str {
        let start = self.at;
        self.skip_while(|c| c.is_ascii_digit());
        if self.rest().starts_with('.') {
            let after = self.rest().chars().nth(1);
            if after.is_none_or(|c| !c.is_alphabetic()) {
                self.at += 1;
                self.skip_while(|c| c.is_ascii_digit());
            }
        }
        self.text.get(start..self.at).unwrap_or("")
    }

    fn number(&mut self) -> Result<Token, TraceQlError> {
        let offset = self.at;
        let mut digits = self.digits().to_owned();
        let mut rest = self.rest();
        if let Some(exponent) = rest.strip_prefix(['e', 'E']) {
            let unsigned = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
            let count = unsigned.find(|c: char| !c.is_ascii_digit()).unwrap_or(unsigned.len());
            if count > 0 {
                let taken = rest.len() - unsigned.len() + count;
                digits.push_str(rest.get(..taken).unwrap_or(""));
                self.at += taken;
                rest = self.rest();
            }
        }
        if rest.starts_with(char::is_alphabetic) {
            self.at = offset;
            return self.duration();
        }
        if digits.contains(['.', 'e', 'E']) {
            return match digits.parse::<f64>() {
                Ok(v) if v.is_finite() => Ok(Token::Float(v)),
                _ => error(offset, format!("{digits} is not a number that can be held")),
            };
        }
        match digits.parse::<i64>() {
            Ok(v) => Ok(Token::Int(v)),
            Err(_) => error(offset, format!("integer {digits} is larger than {}", i64::MAX)),
        }
    }

    /// `1h30m`, `1.5s`: parts are summed.
    fn duration(&mut self) -> Result<Token, TraceQlError> {
        let offset = self.at;
        let mut total: i64 = 0;
        while self.peek().is_some_and(|c| c.is_ascii_digit() || c == '.') {
            let digits = self.digits();
            let word = self.take_while(char::is_alphabetic);
            let Some((_, unit)) = UNITS.iter().find(|(name, _)| *name == word) else {
                return error(offset, format!("unknown duration unit {word:?}"));
            };
            // Whole numbers stay exact; fractions are rounded to the nanosecond.
            let part = match digits.parse::<i64>() {
                Ok(whole) => whole.checked_mul(*unit as i64),
                Err(_) => digits
                    .parse::<f64>()
                    .ok()
                    .map(|f| (f * unit).round())
                    .filter(|ns| ns.abs() < 9.2e18)
                    .map(|ns| ns as i64),
            };
            total = match part.and_then(|p| total.checked_add(p)) {
                Some(sum) => sum,
                None => return error(offset, "duration is longer than 292 years"),
            };
        }
        Ok(Token::Duration(total))
    }
}

pub(crate) fn is_attribute_char(c: char) -> bool {
    !c.is_whitespace()
        && !matches!(c, '{' | '}' | '(' | ')' | '=' | '~' | '!' | '<' | '>' | '&' | '|' | '^' | ',')
        && c != '"'
}
