//! Recursive descent over the tokens, with the checks that need no data.

mod metric;
mod stage;

use obs_types::{MatchOp, Matcher};

use crate::ast::{Expr, LogExpr, MetricExpr};
use crate::error::ParseError;
use crate::lexer::{Placed, Token, tokens};
use crate::pipe::Pipeline;
use crate::unit;

/// Longer texts are refused before they cost anything.
const QUERY_BYTES_MAX: usize = 128 * 1024;
/// Nesting of parentheses and functions; protects the stack.
const DEPTH_MAX: usize = 100;

const NO_SELECTIVE_MATCHER: &str = "queries require at least one regexp or equality matcher that \
     does not have an empty-compatible value. For instance, app=~\".*\" does not meet this \
     requirement, but app=~\".+\" will";

/// Reads a query and checks everything that can be checked without data: regexes, templates,
/// patterns, aggregations that need or forbid an unwrap.
pub fn parse(text: &str) -> Result<Expr, ParseError> {
    let mut parser = Parser::new(text)?;
    let expr = parser.expression(0)?;
    parser.end()?;
    validate(&expr)?;
    Ok(expr)
}

/// Like [`parse`], but refuses metric queries.
pub fn parse_log(text: &str) -> Result<LogExpr, ParseError> {
    match parse(text)? {
        Expr::Log(log) => Ok(log),
        Expr::Metric(_) => Err(ParseError::whole("only log selector is supported")),
    }
}

/// Reads `{a="b", …}` alone, as the label and series endpoints take it. `{}` is allowed and gives
/// no matchers.
pub fn parse_selector(text: &str) -> Result<Vec<Matcher>, ParseError> {
    let mut parser = Parser::new(text)?;
    let matchers = parser.selector()?;
    parser.end()?;
    Ok(matchers)
}

/// The matchers of every selector in the query, in order of appearance.
pub fn matchers(expr: &Expr) -> Vec<Vec<Matcher>> {
    fn walk(expr: &MetricExpr, out: &mut Vec<Vec<Matcher>>) {
        match expr {
            MetricExpr::Range(r) => out.push(r.range.log.matchers.clone()),
            MetricExpr::Vector(v) => walk(&v.inner, out),
            MetricExpr::Binary(b) => {
                walk(&b.left, out);
                walk(&b.right, out);
            }
            MetricExpr::LabelReplace(l) => walk(&l.inner, out),
            MetricExpr::Literal(_) | MetricExpr::Constant(_) => {}
        }
    }
    let mut out = Vec::new();
    match expr {
        Expr::Log(log) => out.push(log.matchers.clone()),
        Expr::Metric(m) => walk(m, &mut out),
    }
    out
}

fn validate(expr: &Expr) -> Result<(), ParseError> {
    match expr {
        Expr::Log(log) => validate_log(log),
        Expr::Metric(m) => validate_metric(m),
    }
}

fn validate_log(log: &LogExpr) -> Result<(), ParseError> {
    if log.matchers.iter().all(Matcher::matches_empty) {
        return Err(ParseError::whole(NO_SELECTIVE_MATCHER));
    }
    Pipeline::new(log).map(|_| ())
}

fn validate_metric(expr: &MetricExpr) -> Result<(), ParseError> {
    match expr {
        MetricExpr::Range(r) => validate_log(&r.range.log),
        MetricExpr::Vector(v) => validate_metric(&v.inner),
        MetricExpr::Binary(b) => {
            validate_metric(&b.left)?;
            validate_metric(&b.right)
        }
        MetricExpr::LabelReplace(l) => validate_metric(&l.inner),
        MetricExpr::Literal(_) | MetricExpr::Constant(_) => Ok(()),
    }
}

struct Parser {
    tokens: Vec<Placed>,
    at: usize,
    depth: usize,
}

impl Parser {
    fn new(text: &str) -> Result<Self, ParseError> {
        if text.len() > QUERY_BYTES_MAX {
            return Err(ParseError::whole(format!(
                "query has {} bytes, at most {QUERY_BYTES_MAX} are allowed",
                text.len()
            )));
        }
        Ok(Self { tokens: tokens(text), at: 0, depth: 0 })
    }

    fn placed(&self, ahead: usize) -> &Placed {
        let last = self.tokens.len().saturating_sub(1);
        // The lexer always gives at least one token.
        &self.tokens[(self.at + ahead).min(last)]
    }

    fn peek(&self) -> &Token {
        &self.placed(0).token
    }

    fn peek_at(&self, ahead: usize) -> &Token {
        &self.placed(ahead).token
    }

    fn is(&self, symbol: &str) -> bool {
        matches!(self.peek(), Token::Symbol(s) if *s == symbol)
    }

    fn is_ip(&self) -> bool {
        *self.peek() == Token::Function("ip")
    }

    fn is_at(&self, ahead: usize, symbol: &str) -> bool {
        matches!(self.peek_at(ahead), Token::Symbol(s) if *s == symbol)
    }

    fn accept(&mut self, symbol: &str) -> bool {
        let found = self.is(symbol);
        if found {
            self.at += 1;
        }
        found
    }

    /// `syntax error: unexpected X, expecting A or B` at the token that is next.
    fn unexpected(&self, expected: &[&str]) -> ParseError {
        let placed = self.placed(0);
        if let Token::Bad(message) = &placed.token {
            return ParseError::at(placed.line, placed.column, message.clone());
        }
        let mut message = format!("syntax error: unexpected {}", placed.token.name());
        if !expected.is_empty() {
            message.push_str(", expecting ");
            message.push_str(&expected.join(" or "));
        }
        ParseError::at(placed.line, placed.column, message)
    }

    fn expect(&mut self, symbol: &str) -> Result<(), ParseError> {
        if self.accept(symbol) { Ok(()) } else { Err(self.unexpected(&[symbol])) }
    }

    fn end(&self) -> Result<(), ParseError> {
        match self.peek() {
            Token::End => Ok(()),
            _ => Err(self.unexpected(&[])),
        }
    }

    fn identifier(&mut self) -> Result<String, ParseError> {
        self.take("IDENTIFIER", |t| match t {
            Token::Identifier(name) => Some(name.clone()),
            _ => None,
        })
    }

    fn text(&mut self) -> Result<String, ParseError> {
        self.take("STRING", |t| match t {
            Token::Text(text) => Some(text.clone()),
            _ => None,
        })
    }

    /// The next token's content, if it is of the expected kind.
    fn take(
        &mut self,
        expected: &'static str,
        content: impl Fn(&Token) -> Option<String>,
    ) -> Result<String, ParseError> {
        let Some(found) = content(self.peek()) else { return Err(self.unexpected(&[expected])) };
        self.at += 1;
        Ok(found)
    }

    fn number(&mut self) -> Result<f64, ParseError> {
        match self.peek() {
            Token::Number(text) => {
                let value = unit::float(text).map_err(|e| {
                    ParseError::whole(format!("unable to parse literal as a float: {e}"))
                })?;
                self.at += 1;
                Ok(value)
            }
            _ => Err(self.unexpected(&["NUMBER"])),
        }
    }

    fn nested<T>(
        &mut self,
        parse: impl FnOnce(&mut Self) -> Result<T, ParseError>,
    ) -> Result<T, ParseError> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            let p = self.placed(0);
            return Err(ParseError::at(
                p.line,
                p.column,
                format!("query is nested deeper than {DEPTH_MAX} levels"),
            ));
        }
        let out = parse(self);
        self.depth -= 1;
        out
    }
}

pub(crate) fn new_matcher(name: String, op: MatchOp, value: String) -> Result<Matcher, ParseError> {
    Matcher::new(name, op, value).map_err(|e| {
        ParseError::whole(format!(
            "error parsing regexp: {} in {}",
            e.reason.lines().last().unwrap_or("").trim(),
            unit::quote(&e.value)
        ))
    })
}

#[cfg(test)]
mod tests;
