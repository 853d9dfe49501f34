//! The filter language of receipt queries (ENGINE 4).
//!
//! ```text
//! filter = and ("OR" and)* ;  and = not ("AND" not)* ;  not = "NOT" not | "(" filter ")" | test
//! test   = path op literal | path "IN" "[" literal, … "]"
//! op     = "==" "=" "!=" "<" "<=" ">" ">=" "=~" "CONTAINS"
//! path   = name ("." name)* ;  literal = number | 'text' | "text" | true | false | null
//! ```
//! A path that leads through an array holds if it holds for any element. A missing field fails
//! every test but `!=`. Text is compared with numbers by value where it is a number (64-bit
//! numbers of receipts are strings).

use std::cmp::Ordering;

use regex::Regex;
use serde_json::Value;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("filter, column {column}: {message}")]
pub struct FilterError {
    /// 1-based, in characters.
    pub column: usize,
    pub message: String,
}

/// A parsed filter.
#[derive(Clone, Debug)]
pub struct Filter(Node);

#[derive(Clone, Debug)]
enum Node {
    And(Vec<Node>),
    Or(Vec<Node>),
    Not(Box<Node>),
    Test { path: Vec<String>, op: Op, value: Value },
    In { path: Vec<String>, values: Vec<Value> },
    Matches { path: Vec<String>, regex: Regex },
    Always(bool),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Op {
    Equal,
    NotEqual,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
    Contains,
}

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Word(String),
    Text(String),
    Number(f64),
    Symbol(&'static str),
}

const DEPTH_MAX: usize = 64;

impl Filter {
    pub fn parse(text: &str) -> Result<Self, FilterError> {
        let tokens = lex(text)?;
        let mut parser = Parser { tokens, at: 0, end: text.chars().count() + 1, depth: 0 };
        let node = parser.or()?;
        match parser.peek() {
            None => Ok(Self(node)),
            Some(_) => Err(parser.wrong("expected AND, OR or the end")),
        }
    }

    pub fn matches(&self, value: &Value) -> bool {
        self.0.holds(value)
    }
}

impl Node {
    fn holds(&self, root: &Value) -> bool {
        match self {
            Self::And(all) => all.iter().all(|n| n.holds(root)),
            Self::Or(any) => any.iter().any(|n| n.holds(root)),
            Self::Not(n) => !n.holds(root),
            Self::Always(b) => *b,
            Self::Test { path, op: Op::NotEqual, value } => {
                !any_at(root, path, &mut |v| compare(v, value) == Some(Ordering::Equal))
            }
            Self::Test { path, op, value } => any_at(root, path, &mut |v| test(v, *op, value)),
            Self::In { path, values } => any_at(root, path, &mut |v| {
                values.iter().any(|w| compare(v, w) == Some(Ordering::Equal))
            }),
            Self::Matches { path, regex } => {
                any_at(root, path, &mut |v| v.as_str().is_some_and(|s| regex.is_match(s)))
            }
        }
    }
}

fn any_at(value: &Value, path: &[String], test: &mut dyn FnMut(&Value) -> bool) -> bool {
    if let Value::Array(items) = value {
        return items.iter().any(|item| any_at(item, path, test));
    }
    match path.split_first() {
        None => test(value),
        Some((head, tail)) => {
            // A key may itself contain dots (`http.status_code`): try the whole rest first.
            let whole = path.join(".");
            value.get(&whole).is_some_and(|v| any_at(v, &[], test))
                || value.get(head).is_some_and(|v| any_at(v, tail, test))
        }
    }
}

fn test(v: &Value, op: Op, want: &Value) -> bool {
    if op == Op::Contains {
        return matches!((v, want), (Value::String(a), Value::String(b)) if a.contains(b.as_str()));
    }
    let Some(order) = compare(v, want) else { return false };
    match op {
        Op::Equal => order == Ordering::Equal,
        Op::Less => order == Ordering::Less,
        Op::LessEqual => order != Ordering::Greater,
        Op::Greater => order == Ordering::Greater,
        Op::GreaterEqual => order != Ordering::Less,
        Op::NotEqual | Op::Contains => false,
    }
}

fn compare(a: &Value, b: &Value) -> Option<Ordering> {
    match (a, b) {
        (Value::String(a), Value::String(b)) => match (level_rank(a), level_rank(b)) {
            (Some(x), Some(y)) => Some(x.cmp(&y)),
            _ => Some(a.cmp(b)),
        },
        (Value::Bool(a), Value::Bool(b)) => Some(a.cmp(b)),
        (Value::Null, Value::Null) => Some(Ordering::Equal),
        _ => as_number(a)?.partial_cmp(&as_number(b)?),
    }
}

/// Log levels compare by severity: `level >= 'error'` takes `fatal` too.
fn level_rank(s: &str) -> Option<usize> {
    ["trace", "debug", "info", "warn", "error", "fatal"].iter().position(|l| *l == s)
}

fn as_number(v: &Value) -> Option<f64> {
    match v {
        Value::Number(n) => n.as_f64(),
        Value::String(s) => s.parse().ok(),
        _ => None,
    }
}

struct Parser {
    tokens: Vec<(usize, Token)>,
    at: usize,
    end: usize,
    depth: usize,
}

impl Parser {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at).map(|(_, t)| t)
    }

    fn next(&mut self) -> Option<Token> {
        let token = self.peek().cloned();
        self.at += 1;
        token
    }

    fn wrong(&self, message: impl Into<String>) -> FilterError {
        let column = self.tokens.get(self.at).map_or(self.end, |(c, _)| *c);
        FilterError { column, message: message.into() }
    }

    fn word(&mut self, word: &str) -> bool {
        let hit = matches!(self.peek(), Some(Token::Word(w)) if w.eq_ignore_ascii_case(word));
        if hit {
            self.at += 1;
        }
        hit
    }

    fn symbol(&mut self, symbol: &str) -> bool {
        let hit = matches!(self.peek(), Some(Token::Symbol(s)) if *s == symbol);
        if hit {
            self.at += 1;
        }
        hit
    }

    fn or(&mut self) -> Result<Node, FilterError> {
        let mut any = vec![self.and()?];
        while self.word("OR") || self.symbol("||") {
            any.push(self.and()?);
        }
        Ok(if any.len() == 1 { any.remove(0) } else { Node::Or(any) })
    }

    fn and(&mut self) -> Result<Node, FilterError> {
        let mut all = vec![self.not()?];
        while self.word("AND") || self.symbol("&&") {
            all.push(self.not()?);
        }
        Ok(if all.len() == 1 { all.remove(0) } else { Node::And(all) })
    }

    fn not(&mut self) -> Result<Node, FilterError> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(self.wrong(format!("nested deeper than {DEPTH_MAX}")));
        }
        let node = if self.word("NOT") || self.symbol("!") {
            Node::Not(Box::new(self.not()?))
        } else if self.symbol("(") {
            let node = self.or()?;
            if !self.symbol(")") {
                return Err(self.wrong("expected )"));
            }
            node
        } else {
            self.test()?
        };
        self.depth -= 1;
        Ok(node)
    }

    fn test(&mut self) -> Result<Node, FilterError> {
        let Some(Token::Word(name)) = self.peek().cloned() else {
            return Err(self.wrong("expected a field name"));
        };
        self.at += 1;
        if self.peek().is_none()
            || matches!(self.peek(), Some(Token::Symbol(")" | "||" | "&&")))
            || matches!(self.peek(), Some(Token::Word(w)) if w.eq_ignore_ascii_case("and") || w.eq_ignore_ascii_case("or"))
        {
            match name.as_str() {
                "true" => return Ok(Node::Always(true)),
                "false" => return Ok(Node::Always(false)),
                _ => {}
            }
        }
        let path: Vec<String> = name.split('.').map(str::to_owned).collect();
        if self.word("IN") {
            return self.list(path);
        }
        let op = match self.next() {
            Some(Token::Symbol("=" | "==")) => Op::Equal,
            Some(Token::Symbol("!=")) => Op::NotEqual,
            Some(Token::Symbol("<")) => Op::Less,
            Some(Token::Symbol("<=")) => Op::LessEqual,
            Some(Token::Symbol(">")) => Op::Greater,
            Some(Token::Symbol(">=")) => Op::GreaterEqual,
            Some(Token::Word(w)) if w.eq_ignore_ascii_case("contains") => Op::Contains,
            Some(Token::Symbol("=~")) => return self.regex(path),
            _ => {
                self.at -= 1;
                return Err(self.wrong("expected ==, !=, <, <=, >, >=, =~, CONTAINS or IN"));
            }
        };
        Ok(Node::Test { path, op, value: self.literal()? })
    }

    fn regex(&mut self, path: Vec<String>) -> Result<Node, FilterError> {
        match self.literal()? {
            Value::String(s) => match Regex::new(&s) {
                Ok(regex) => Ok(Node::Matches { path, regex }),
                Err(e) => {
                    self.at -= 1;
                    Err(self.wrong(format!("invalid regular expression: {e}")))
                }
            },
            _ => {
                self.at -= 1;
                Err(self.wrong("expected a quoted regular expression"))
            }
        }
    }

    fn list(&mut self, path: Vec<String>) -> Result<Node, FilterError> {
        if !self.symbol("[") && !self.symbol("(") {
            return Err(self.wrong("expected [ after IN"));
        }
        let mut values = vec![self.literal()?];
        while self.symbol(",") {
            values.push(self.literal()?);
        }
        if !self.symbol("]") && !self.symbol(")") {
            return Err(self.wrong("expected , or ]"));
        }
        Ok(Node::In { path, values })
    }

    fn literal(&mut self) -> Result<Value, FilterError> {
        let value = match self.peek() {
            Some(Token::Text(s)) => Value::String(s.clone()),
            Some(Token::Number(n)) => Value::from(*n),
            Some(Token::Word(w)) => match w.as_str() {
                "true" => Value::Bool(true),
                "false" => Value::Bool(false),
                "null" => Value::Null,
                _ => {
                    return Err(self.wrong("expected a number, a quoted text, true, false or null"));
                }
            },
            _ => return Err(self.wrong("expected a number, a quoted text, true, false or null")),
        };
        self.at += 1;
        Ok(value)
    }
}

const SYMBOLS: [&str; 16] =
    ["==", "!=", "<=", ">=", "=~", "&&", "||", "=", "<", ">", "(", ")", "[", "]", ",", "!"];

fn lex(text: &str) -> Result<Vec<(usize, Token)>, FilterError> {
    let mut tokens = Vec::new();
    let mut rest = text;
    loop {
        rest = rest.trim_start();
        let column = text.chars().count() - rest.chars().count() + 1;
        let Some(first) = rest.chars().next() else { return Ok(tokens) };
        let wrong = |message: &str| FilterError { column, message: message.to_owned() };
        let (token, used) = if first == '\'' || first == '"' {
            lex_text(rest, first).ok_or_else(|| wrong("text without closing quote"))?
        } else if let Some(symbol) = SYMBOLS.iter().find(|s| rest.starts_with(**s)) {
            (Token::Symbol(symbol), symbol.len())
        } else if first.is_ascii_digit() || first == '-' || first == '.' {
            let len = rest
                .find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '+')))
                .unwrap_or(rest.len());
            let number = rest.get(..len).unwrap_or_default();
            (Token::Number(number.parse().map_err(|_e| wrong("not a number"))?), len)
        } else if first.is_alphabetic() || first == '_' {
            let len = rest
                .find(|c: char| !(c.is_alphanumeric() || matches!(c, '_' | '.' | ':' | '-')))
                .unwrap_or(rest.len());
            (Token::Word(rest.get(..len).unwrap_or_default().to_owned()), len)
        } else {
            return Err(wrong("unexpected character"));
        };
        tokens.push((column, token));
        rest = rest.get(used..).unwrap_or_default();
    }
}

/// The text between quotes, with `\` escaping the next character, and the bytes it took.
fn lex_text(rest: &str, quote: char) -> Option<(Token, usize)> {
    let mut out = String::new();
    let mut chars = rest.char_indices().skip(1);
    while let Some((i, c)) = chars.next() {
        match c {
            '\\' => out.push(chars.next()?.1),
            c if c == quote => return Some((Token::Text(out), i + c.len_utf8())),
            c => out.push(c),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn holds(filter: &str, value: &Value) -> bool {
        Filter::parse(filter).unwrap().matches(value)
    }

    #[test]
    fn engine_examples() {
        let batch = json!({"type":"obs_log_batch","log_counts":{"error":12},"services_reporting":["guardian","portal"]});
        assert!(holds("log_counts.error > 0", &batch));
        assert!(!holds("log_counts.error > 12", &batch));
        assert!(holds("services_reporting == 'portal'", &batch));
        let report = json!({"overall_status":"healthy","slos":[{"slo_id":"a","status":"met"},{"slo_id":"b","status":"missed"}]});
        assert!(!holds("overall_status != 'healthy'", &report));
        assert!(holds("slos.status == 'missed'", &report));
        assert!(holds("duration_ms > 5000", &json!({"duration_ms": "5001"})));
    }

    #[test]
    fn logic_levels_and_lists() {
        let log = json!({"level":"fatal","service":"treasury","status":"ok"});
        assert!(holds("status == 'error' OR level >= 'error'", &log));
        assert!(holds("service IN ['treasury', 'identity', 'offsec']", &log));
        assert!(holds("NOT (service = 'x' AND level = 'fatal')", &log));
        assert!(holds("true", &log) && !holds("missing > 1", &log) && holds("missing != 1", &log));
        assert!(holds("service =~ '^trea'", &log));
    }

    #[test]
    fn errors_name_the_column() {
        for (bad, column) in
            [("a ==", 5), ("a ~ 1", 3), ("(a == 1", 8), ("a == 'x", 6), ("a == 1 b", 8)]
        {
            assert_eq!(Filter::parse(bad).unwrap_err().column, column, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn never_panics(text in "\\PC{0,40}") {
            let _parsed = Filter::parse(&text);
        }
    }
}
