//! Splits a query into tokens.
//!
//! Inside `[…]` only durations, arithmetic and the four duration functions are words; inside
//! `{…}` every word is a label name.

mod number;

use crate::ast::PosRange;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tok {
    Eof,
    /// The message is in the lexer's `error`.
    Error,
    Ident,
    MetricIdent,
    Str,
    Number,
    Duration,
    Sym(&'static str),
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Token {
    pub(crate) tok: Tok,
    pub(crate) pos: PosRange,
}

pub(crate) struct Lexed {
    pub(crate) tokens: Vec<Token>,
    pub(crate) error: Option<String>,
}

pub(crate) const KEYWORDS: [&str; 34] = [
    "and",
    "or",
    "unless",
    "atan2",
    "sum",
    "avg",
    "count",
    "min",
    "max",
    "group",
    "stddev",
    "stdvar",
    "topk",
    "bottomk",
    "count_values",
    "quantile",
    "limitk",
    "limit_ratio",
    "offset",
    "smoothed",
    "anchored",
    "by",
    "without",
    "on",
    "ignoring",
    "group_left",
    "group_right",
    "fill",
    "fill_left",
    "fill_right",
    "bool",
    "start",
    "end",
    "step",
];

/// Whether the word is a keyword anywhere in the grammar.
pub(crate) fn is_keyword(word: &str) -> bool {
    let w = word.to_ascii_lowercase();
    KEYWORDS.contains(&w.as_str()) || matches!(w.as_str(), "range" | "max_of" | "min_of")
}

struct Lexer<'a> {
    text: &'a str,
    /// Numbers with suffixes, more characters in names, words in brackets.
    metricsql: bool,
    at: usize,
    start: usize,
    paren_depth: i32,
    brace: bool,
    bracket: bool,
    got_colon: bool,
    out: Vec<Token>,
}

fn is_alpha(c: char) -> bool {
    c == '_' || c.is_ascii_alphabetic()
}

fn is_alnum(c: char) -> bool {
    is_alpha(c) || c.is_ascii_digit()
}

fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\r')
}

/// Go's `%q` of one character.
fn quote_char(c: Option<char>) -> String {
    match c {
        None => "'\u{fffd}'".into(),
        Some('\'') => "'\\''".into(),
        Some('\n') => "'\\n'".into(),
        Some('\\') => "'\\\\'".into(),
        Some(c) => format!("'{c}'"),
    }
}

pub(crate) fn lex(text: &str, metricsql: bool) -> Lexed {
    let mut l = Lexer {
        text,
        metricsql,
        at: 0,
        start: 0,
        paren_depth: 0,
        brace: false,
        bracket: false,
        got_colon: false,
        out: Vec::new(),
    };
    let error = loop {
        match l.step() {
            Ok(true) => {}
            Ok(false) => break None,
            Err(e) => {
                l.out.push(Token { tok: Tok::Error, pos: PosRange::new(l.start, text.len()) });
                break Some(e);
            }
        }
    };
    Lexed { tokens: l.out, error }
}

impl Lexer<'_> {
    fn peek(&self) -> Option<char> {
        self.text.get(self.at..).and_then(|s| s.chars().next())
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += c.len_utf8();
        Some(c)
    }

    fn eat(&mut self, f: impl Fn(char) -> bool) -> bool {
        if self.peek().is_some_and(f) {
            self.next();
            return true;
        }
        false
    }

    fn word(&self) -> &str {
        self.text.get(self.start..self.at).unwrap_or("")
    }

    fn emit(&mut self, tok: Tok) -> Result<bool, String> {
        self.out.push(Token { tok, pos: PosRange::new(self.start, self.at) });
        Ok(true)
    }

    fn sym(&mut self, s: &'static str) -> Result<bool, String> {
        self.emit(Tok::Sym(s))
    }

    fn step(&mut self) -> Result<bool, String> {
        while self.eat(is_space) {}
        self.start = self.at;
        if self.peek() == Some('#') {
            while self.eat(|c| c != '\n' && c != '\r') {}
            return Ok(true);
        }
        let Some(c) = self.next() else {
            if self.brace {
                return Err("unexpected end of input inside braces".into());
            }
            if self.bracket {
                return Err(if self.paren_depth != 0 {
                    "unclosed left parenthesis"
                } else {
                    "unclosed left bracket"
                }
                .into());
            }
            if self.paren_depth != 0 {
                return Err("unclosed left parenthesis".into());
            }
            self.emit(Tok::Eof)?;
            return Ok(false);
        };
        if self.brace {
            return self.inside_braces(c);
        }
        match c {
            ',' => self.sym(","),
            '*' => self.sym("*"),
            '/' => self.sym("/"),
            '%' => self.sym("%"),
            '+' => self.sym("+"),
            '-' => self.sym("-"),
            '^' => self.sym("^"),
            '@' => self.sym("@"),
            '=' => {
                if self.eat(|c| c == '=') {
                    self.sym("==")
                } else if self.peek() == Some('~') {
                    Err("unexpected character after '=': '~'".into())
                } else {
                    self.sym("=")
                }
            }
            '!' => {
                let n = self.next();
                if n == Some('=') {
                    self.sym("!=")
                } else {
                    Err(format!("unexpected character after '!': {}", quote_char(n)))
                }
            }
            '<' => {
                if self.eat(|c| c == '=') {
                    self.sym("<=")
                } else if self.eat(|c| c == '/') {
                    self.sym("</")
                } else {
                    self.sym("<")
                }
            }
            '>' => {
                if self.eat(|c| c == '=') {
                    self.sym(">=")
                } else if self.eat(|c| c == '/') {
                    self.sym(">/")
                } else {
                    self.sym(">")
                }
            }
            '"' | '\'' | '`' => self.string(c),
            '(' => {
                self.paren_depth += 1;
                self.sym("(")
            }
            ')' => {
                self.paren_depth -= 1;
                if self.paren_depth < 0 {
                    self.sym(")")?;
                    self.start = self.at;
                    return Err("unexpected right parenthesis ')'".into());
                }
                self.sym(")")
            }
            '{' => {
                self.brace = true;
                self.sym("{")
            }
            '[' => {
                if self.bracket {
                    return Err("unexpected left bracket '['".into());
                }
                self.bracket = true;
                self.got_colon = false;
                self.sym("[")
            }
            ']' => {
                if !self.bracket {
                    return Err("unexpected right bracket ']'".into());
                }
                self.bracket = false;
                self.sym("]")
            }
            ':' if self.bracket => {
                if self.got_colon {
                    return Err("unexpected colon ':'".into());
                }
                self.got_colon = true;
                self.sym(":")
            }
            c if c.is_ascii_digit()
                || c == '.' && self.peek().is_some_and(|c| c.is_ascii_digit()) =>
            {
                self.at = self.start;
                self.number_or_duration()
            }
            c if is_alpha(c) && self.bracket => {
                while self.eat(is_alnum) {}
                if self.metricsql {
                    return self.emit(Tok::Ident);
                }
                match self.word().to_ascii_lowercase().as_str() {
                    "step" | "range" | "max_of" | "min_of" => self.emit(Tok::Ident),
                    _ => Err(format!(
                        "unexpected character in duration expression: {}",
                        quote_char(self.word().chars().next())
                    )),
                }
            }
            c if is_alpha(c) || c == ':' || self.metricsql && (c.is_alphabetic() || c == '\\') => {
                self.rest_of_name(c);
                let word = self.word();
                match word.to_ascii_lowercase().as_str() {
                    "inf" | "nan" => self.emit(Tok::Number),
                    _ if word.contains(':') => self.emit(Tok::MetricIdent),
                    _ => self.emit(Tok::Ident),
                }
            }
            c if self.bracket => {
                Err(format!("unexpected character in duration expression: {}", quote_char(Some(c))))
            }
            c => Err(format!("unexpected character: {}", quote_char(Some(c)))),
        }
    }

    fn inside_braces(&mut self, c: char) -> Result<bool, String> {
        match c {
            ',' => self.sym(","),
            '"' | '\'' | '`' => self.string(c),
            '=' => {
                if self.eat(|c| c == '~') {
                    self.sym("=~")
                } else {
                    self.sym("=")
                }
            }
            '!' => match self.next() {
                Some('~') => self.sym("!~"),
                Some('=') => self.sym("!="),
                n => {
                    Err(format!("unexpected character after '!' inside braces: {}", quote_char(n)))
                }
            },
            '{' => Err("unexpected left brace '{'".into()),
            '}' => {
                self.brace = false;
                self.sym("}")
            }
            '+' if self.metricsql => self.sym("+"),
            c if is_alpha(c) => {
                while self.eat(is_alnum) {}
                if self.metricsql {
                    self.rest_of_name(c);
                }
                self.emit(Tok::Ident)
            }
            c if self.metricsql && (c.is_alphabetic() || c == '\\') => {
                self.rest_of_name(c);
                self.emit(Tok::Ident)
            }
            c => Err(format!("unexpected character inside braces: {}", quote_char(Some(c)))),
        }
    }

    fn string(&mut self, open: char) -> Result<bool, String> {
        loop {
            match self.next() {
                None if open == '`' => return Err("unterminated raw string".into()),
                None => return Err("unterminated quoted string".into()),
                Some('\n') if open != '`' => return Err("unterminated quoted string".into()),
                Some('\\') if open != '`' => self.escape(open)?,
                Some(c) if c == open => return self.emit(Tok::Str),
                Some(_) => {}
            }
        }
    }

    fn escape(&mut self, open: char) -> Result<(), String> {
        let (count, radix, max) = match self.next() {
            Some('a' | 'b' | 'f' | 'n' | 'r' | 't' | 'v' | '\\') => return Ok(()),
            Some(c) if c == open => return Ok(()),
            Some('0'..='7') => {
                self.at -= 1;
                (3, 8, 255)
            }
            Some('x') => (2, 16, 255),
            Some('u') => (4, 16, 0x0010_ffff),
            Some('U') => (8, 16, 0x0010_ffff),
            None => return Err("escape sequence not terminated".into()),
            Some(c) => {
                return Err(format!("unknown escape sequence U+{:04X} '{c}'", c as u32));
            }
        };
        let mut n: u64 = 0;
        for _ in 0..count {
            let Some(c) = self.next() else {
                return Err("escape sequence not terminated".into());
            };
            let Some(d) = c.to_digit(radix) else {
                return Err(format!(
                    "illegal character U+{:04X} '{c}' in escape sequence",
                    c as u32
                ));
            };
            n = n * u64::from(radix) + u64::from(d);
        }
        if n > max || (0xd800..0xe000).contains(&n) {
            return Err("escape sequence is an invalid Unicode code point".into());
        }
        Ok(())
    }

    /// Goes behind the name that begins with `first`. MetricsQL allows dots, letters of every
    /// script, and any character behind a backslash.
    fn rest_of_name(&mut self, first: char) {
        if first == '\\' {
            self.next();
        }
        loop {
            if self.eat(|c| is_alnum(c) || c == ':') {
                continue;
            }
            if !self.metricsql {
                return;
            }
            if self.eat(|c| c == '\\') {
                self.next();
            } else if !self.eat(|c| c == '.' || c.is_alphanumeric()) {
                return;
            }
        }
    }
}
