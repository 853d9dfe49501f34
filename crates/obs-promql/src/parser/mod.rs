//! Recursive descent over the tokens.

mod check;
mod coerce;
mod duration;
mod graphite;
mod metricsql;
mod operand;
mod operators;
mod selector;

use obs_types::Matcher;

use crate::ast::*;
use crate::lexer::{Lexed, Tok, Token, is_keyword, lex};
use crate::text::{quote, unescape_name};

/// Which parts of the language beyond the stable core are allowed; the names are those of
/// Prometheus' feature flags.
#[derive(Clone, Copy, Debug)]
pub struct ParserOptions {
    /// `promql-experimental-functions`
    pub experimental_functions: bool,
    /// `promql-duration-expr`
    pub duration_expr: bool,
    /// `promql-extended-range-selectors`
    pub extended_range_selectors: bool,
    /// `promql-binop-fill-modifiers`
    pub binop_fill_modifiers: bool,
    /// VictoriaMetrics' dialect of the language.
    pub metricsql: bool,
}

impl Default for ParserOptions {
    fn default() -> Self {
        Self {
            experimental_functions: false,
            duration_expr: true,
            extended_range_selectors: false,
            binop_fill_modifiers: false,
            metricsql: false,
        }
    }
}

impl ParserOptions {
    /// Everything on.
    pub fn all() -> Self {
        Self {
            experimental_functions: true,
            duration_expr: true,
            extended_range_selectors: true,
            binop_fill_modifiers: true,
            metricsql: false,
        }
    }

    /// MetricsQL, with everything of PromQL on.
    pub fn metricsql() -> Self {
        Self { metricsql: true, ..Self::all() }
    }
}

/// Why a query is not PromQL, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{line_col}: parse error: {message}")]
pub struct ParseError {
    pub message: String,
    pub pos: PosRange,
    /// `line:column`, both from 1.
    pub line_col: String,
}

/// Deepest nesting of parentheses, calls and unary operators; fits a thread's stack of 2 MiB.
const DEPTH_MAX: usize = 80;

/// Highest tree, where a row of operators counts one level each.
const HEIGHT_MAX: usize = 150;

/// Parses and type-checks a query.
pub fn parse(input: &str, options: &ParserOptions) -> Result<Expr, ParseError> {
    let mut p = Parser::new(input, options);
    if p.peek().tok == Tok::Eof {
        return p.fail(PosRange::default(), "no expression found in input");
    }
    let mut expr = p.expr(0)?;
    if p.peek().tok != Tok::Eof {
        return p.unexpected("", "");
    }
    if options.metricsql {
        coerce::coerce(&mut expr);
    }
    check::check(&mut expr, input)?;
    Ok(expr)
}

/// As MetricsQL does where a range vector stands for its last values.
pub(crate) fn to_vector(expr: &mut Expr) {
    coerce::to(expr, ValueType::Vector);
}

/// Parses `name{a="b"}` into its matchers, as the `match[]` parameter of the HTTP API carries it.
pub fn parse_selector(input: &str) -> Result<Vec<Matcher>, ParseError> {
    let options = ParserOptions::default();
    let mut p = Parser::new(input, &options);
    let selector = p.vector_selector()?;
    if p.peek().tok != Tok::Eof {
        return p.unexpected("", "");
    }
    let mut expr = Expr::new(ExprKind::Vector(selector), PosRange::new(0, input.len()));
    check::check(&mut expr, input)?;
    match expr.kind {
        ExprKind::Vector(v) => Ok(v.matchers),
        _ => Ok(Vec::new()),
    }
}

pub(crate) fn error(input: &str, pos: PosRange, message: impl Into<String>) -> ParseError {
    ParseError { message: message.into(), pos, line_col: pos.line_col(input) }
}

struct Parser<'a> {
    input: &'a str,
    lexed: Lexed,
    at: usize,
    options: &'a ParserOptions,
    depth: usize,
    /// Of the expression that was parsed last.
    height: usize,
    /// End of the last token.
    last_end: usize,
    /// Templates that are visible here, and how many were used.
    scope: metricsql::Scope,
    expansions: usize,
}

type Result_<T> = Result<T, ParseError>;

impl<'a> Parser<'a> {
    fn new(input: &'a str, options: &'a ParserOptions) -> Self {
        Self {
            input,
            lexed: lex(input, options.metricsql),
            at: 0,
            options,
            depth: 0,
            height: 0,
            last_end: 0,
            scope: metricsql::Scope::default(),
            expansions: 0,
        }
    }

    fn peek(&self) -> Token {
        self.look(0)
    }

    fn look(&self, ahead: usize) -> Token {
        let end = PosRange::new(self.input.len(), self.input.len());
        let last = self.lexed.tokens.last().copied().unwrap_or(Token { tok: Tok::Eof, pos: end });
        self.lexed.tokens.get(self.at + ahead).copied().unwrap_or(last)
    }

    fn text(&self, t: Token) -> &'a str {
        self.input.get(t.pos.start..t.pos.end).unwrap_or("")
    }

    /// The name that a word stands for.
    fn name(&self, t: Token) -> String {
        let text = self.text(t);
        if text.contains('\\') { unescape_name(text) } else { text.to_owned() }
    }

    fn next(&mut self) -> Token {
        let t = self.peek();
        self.at += 1;
        self.last_end = t.pos.end;
        t
    }

    fn is(&self, sym: &str) -> bool {
        matches!(self.peek().tok, Tok::Sym(s) if s == sym)
    }

    fn eat(&mut self, sym: &str) -> Option<Token> {
        self.is(sym).then(|| self.next())
    }

    /// The next token as a lower-case word, empty if it is none.
    fn word_at(&self, ahead: usize) -> String {
        let t = self.look(ahead);
        if t.tok == Tok::Ident { self.text(t).to_ascii_lowercase() } else { String::new() }
    }

    fn eat_word(&mut self, word: &str) -> bool {
        if self.word_at(0) == word {
            self.next();
            return true;
        }
        false
    }

    fn fail<T>(&self, pos: PosRange, message: impl Into<String>) -> Result_<T> {
        Err(error(self.input, pos, message))
    }

    fn unexpected<T>(&self, context: &str, expected: &str) -> Result_<T> {
        let t = self.peek();
        if t.tok == Tok::Error {
            return self.fail(t.pos, self.lexed.error.clone().unwrap_or_default());
        }
        let text = self.text(t);
        let described = match t.tok {
            Tok::Eof | Tok::Error => "end of input".to_owned(),
            Tok::Str => format!("string {text}"),
            Tok::Number => format!("number {}", quote(text)),
            Tok::Duration => format!("duration {}", quote(text)),
            Tok::MetricIdent => format!("metric identifier {}", quote(text)),
            Tok::Sym(s) => quote(s),
            Tok::Ident if AggregateOp::from_word(text).is_some() => format!("<aggr:{text}>"),
            Tok::Ident if matches!(text, "and" | "or" | "unless" | "atan2") => {
                format!("<op:{text}>")
            }
            Tok::Ident if is_keyword(text) => quote(text),
            Tok::Ident => format!("identifier {}", quote(text)),
        };
        let mut message = format!("unexpected {described}");
        if !context.is_empty() {
            message.push_str(&format!(" in {context}"));
        }
        if !expected.is_empty() {
            message.push_str(&format!(", expected {expected}"));
        }
        self.fail(t.pos, message)
    }

    fn enter(&mut self) -> Result_<()> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return self.fail(
                self.peek().pos,
                format!("expression is nested deeper than {DEPTH_MAX} levels"),
            );
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
