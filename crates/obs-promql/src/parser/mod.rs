//! Recursive descent over the tokens; binary operators by precedence climbing.

mod check;
mod duration;

use obs_types::{METRIC_NAME, MatchOp, Matcher};

use crate::ast::*;
use crate::functions;
use crate::lexer::{Lexed, Tok, Token, is_keyword, lex};
use crate::text::{parse_duration_ms, parse_number, quote, unquote};

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
}

impl Default for ParserOptions {
    fn default() -> Self {
        Self {
            experimental_functions: false,
            duration_expr: true,
            extended_range_selectors: false,
            binop_fill_modifiers: false,
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
        }
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
    check::check(&mut expr, input)?;
    Ok(expr)
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
}

type Result_<T> = Result<T, ParseError>;

impl<'a> Parser<'a> {
    fn new(input: &'a str, options: &'a ParserOptions) -> Self {
        Self { input, lexed: lex(input), at: 0, options, depth: 0, height: 0, last_end: 0 }
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

    fn expr(&mut self, min: u8) -> Result_<Expr> {
        self.enter()?;
        let mut left = self.operand()?;
        let mut height = self.height;
        while let Some(op) = self.binary_op() {
            let precedence = op.precedence();
            if precedence < min {
                break;
            }
            self.next();
            let (matching, return_bool) = self.modifiers()?;
            // `^` binds to the right, everything else to the left.
            let right = self.expr(if op == BinaryOp::Pow { precedence } else { precedence + 1 })?;
            let pos = left.pos.to(right.pos);
            height = height.max(self.height) + 1;
            if height > HEIGHT_MAX {
                return self
                    .fail(pos, format!("expression is nested deeper than {HEIGHT_MAX} levels"));
            }
            if !self.options.binop_fill_modifiers
                && (matching.fill_left.is_some() || matching.fill_right.is_some())
            {
                return self.fail(pos, "binop fill modifiers are experimental and not enabled");
            }
            left = Expr::new(
                ExprKind::Binary(BinaryExpr {
                    op,
                    lhs: Box::new(left),
                    rhs: Box::new(right),
                    matching: Some(matching),
                    return_bool,
                }),
                pos,
            );
        }
        self.depth -= 1;
        self.height = height;
        Ok(left)
    }

    fn binary_op(&self) -> Option<BinaryOp> {
        Some(match self.peek().tok {
            Tok::Sym(s) => match s {
                "+" => BinaryOp::Add,
                "-" => BinaryOp::Sub,
                "*" => BinaryOp::Mul,
                "/" => BinaryOp::Div,
                "%" => BinaryOp::Mod,
                "^" => BinaryOp::Pow,
                "==" => BinaryOp::Eq,
                "!=" => BinaryOp::Ne,
                "<" => BinaryOp::Lt,
                "<=" => BinaryOp::Le,
                ">" => BinaryOp::Gt,
                ">=" => BinaryOp::Ge,
                "</" => BinaryOp::TrimUpper,
                ">/" => BinaryOp::TrimLower,
                _ => return None,
            },
            _ => match self.word_at(0).as_str() {
                "and" => BinaryOp::And,
                "or" => BinaryOp::Or,
                "unless" => BinaryOp::Unless,
                "atan2" => BinaryOp::Atan2,
                _ => return None,
            },
        })
    }

    fn modifiers(&mut self) -> Result_<(VectorMatching, bool)> {
        let mut m = VectorMatching {
            card: Cardinality::OneToOne,
            labels: Vec::new(),
            on: false,
            include: Vec::new(),
            fill_left: None,
            fill_right: None,
        };
        let return_bool = self.eat_word("bool");
        let word = self.word_at(0);
        if word == "on" || word == "ignoring" {
            self.next();
            m.on = word == "on";
            m.labels = self.grouping()?;
            let word = self.word_at(0);
            if word == "group_left" || word == "group_right" {
                self.next();
                m.card = if word == "group_left" {
                    Cardinality::ManyToOne
                } else {
                    Cardinality::OneToMany
                };
                if self.is("(") {
                    m.include = self.grouping()?;
                }
            }
        }
        let mut first = true;
        loop {
            let word = self.word_at(0);
            if !matches!(word.as_str(), "fill" | "fill_left" | "fill_right")
                || !matches!(self.look(1).tok, Tok::Sym("("))
            {
                break;
            }
            match word.as_str() {
                "fill" if first => {
                    self.next();
                    let v = self.fill_value()?;
                    (m.fill_left, m.fill_right) = (Some(v), Some(v));
                    break;
                }
                "fill_left" if m.fill_left.is_none() => {
                    self.next();
                    m.fill_left = Some(self.fill_value()?);
                }
                "fill_right" if m.fill_right.is_none() => {
                    self.next();
                    m.fill_right = Some(self.fill_value()?);
                }
                _ => break,
            }
            first = false;
        }
        Ok((m, return_bool))
    }

    fn fill_value(&mut self) -> Result_<f64> {
        if self.eat("(").is_none() {
            return self.unexpected("", "");
        }
        let v = self.signed_number()?;
        let Some(v) = v else { return self.unexpected("", "") };
        if self.eat(")").is_none() {
            return self.unexpected("", "");
        }
        Ok(v)
    }

    /// `None`, with nothing consumed beyond a sign, where no number follows.
    fn signed_number(&mut self) -> Result_<Option<f64>> {
        let negative = self.is("-");
        if negative || self.is("+") {
            self.next();
        }
        if !matches!(self.peek().tok, Tok::Number | Tok::Duration) {
            return Ok(None);
        }
        let (n, _) = self.number()?;
        Ok(Some(if negative { -n.value } else { n.value }))
    }

    fn grouping(&mut self) -> Result_<Vec<String>> {
        if self.eat("(").is_none() {
            return self.unexpected("grouping opts", "\"(\"");
        }
        let mut out = Vec::new();
        loop {
            if self.eat(")").is_some() {
                return Ok(out);
            }
            let t = self.peek();
            let name = match t.tok {
                Tok::Ident | Tok::MetricIdent => self.text(t).to_owned(),
                Tok::Str => self.unquote(t)?,
                _ => return self.unexpected("grouping opts", "label"),
            };
            if name.is_empty() {
                return self
                    .fail(t.pos, format!("invalid label name for grouping: {}", quote(&name)));
            }
            self.next();
            out.push(name);
            if self.is(")") {
                continue;
            }
            if self.eat(",").is_none() {
                return self.unexpected("grouping opts", "\",\" or \")\"");
            }
        }
    }

    fn unquote(&self, t: Token) -> Result_<String> {
        match unquote(self.text(t)) {
            Some(s) => Ok(s),
            None => self.fail(
                t.pos,
                format!("error unquoting string {}: invalid syntax", quote(self.text(t))),
            ),
        }
    }

    /// An operand with its unary operators and everything that may follow it in postfix.
    fn operand(&mut self) -> Result_<Expr> {
        if self.is("+") || self.is("-") {
            let sign = self.next();
            let negative = self.text(sign) == "-";
            // A sign binds like multiplication, so it covers powers and postfix modifiers.
            let inner = self.expr(BinaryOp::Pow.precedence())?;
            let pos = sign.pos.to(inner.pos);
            self.height += 1;
            return Ok(match inner.kind {
                ExprKind::Number(n) => Expr::new(
                    ExprKind::Number(NumberLiteral {
                        value: if negative { -n.value } else { n.value },
                        ..n
                    }),
                    pos,
                ),
                _ => Expr::new(ExprKind::Unary(UnaryExpr { negative, expr: Box::new(inner) }), pos),
            });
        }
        let mut e = self.primary()?;
        loop {
            if self.is("[") {
                e = self.brackets(e)?;
                self.height += 1;
            } else if self.is("@") {
                self.next();
                self.at_modifier(&mut e)?;
            } else {
                match self.word_at(0).as_str() {
                    "offset" => {
                        self.next();
                        let offset = self.offset_duration()?;
                        self.set_offset(&mut e, offset)?;
                    }
                    "anchored" | "smoothed" => self.extended(&mut e)?,
                    _ => return Ok(e),
                }
            }
        }
    }

    fn number(&mut self) -> Result_<(NumberLiteral, PosRange)> {
        let t = self.next();
        let text = self.text(t);
        if t.tok == Tok::Duration {
            return match parse_duration_ms(text) {
                Ok(ms) => Ok((NumberLiteral { value: ms as f64 / 1000.0, duration: true }, t.pos)),
                Err(e) => self.fail(t.pos, e),
            };
        }
        match parse_number(text) {
            Some(value) => Ok((NumberLiteral { value, duration: false }, t.pos)),
            None => self.fail(
                t.pos,
                format!(
                    "error parsing number: strconv.ParseFloat: parsing {}: invalid syntax",
                    quote(text)
                ),
            ),
        }
    }

    fn primary(&mut self) -> Result_<Expr> {
        self.height = 0;
        let t = self.peek();
        match t.tok {
            Tok::Number | Tok::Duration => {
                let (n, pos) = self.number()?;
                Ok(Expr::new(ExprKind::Number(n), pos))
            }
            Tok::Str => {
                let s = self.unquote(t)?;
                self.next();
                Ok(Expr::new(ExprKind::String(s), t.pos))
            }
            Tok::Sym("(") => {
                self.next();
                let inner = self.expr(0)?;
                self.height += 1;
                let Some(close) = self.eat(")") else { return self.unexpected("", "") };
                Ok(Expr::new(ExprKind::Paren(Box::new(inner)), t.pos.to(close.pos)))
            }
            Tok::Sym("{") => self.vector(),
            Tok::MetricIdent => self.vector(),
            Tok::Ident => {
                let word = self.text(t);
                let next_is = |s: &str| matches!(self.look(1).tok, Tok::Sym(x) if x == s);
                if let Some(op) = AggregateOp::from_word(word) {
                    let modifier = self.look(1);
                    let by = modifier.tok == Tok::Ident
                        && matches!(
                            self.text(modifier).to_ascii_lowercase().as_str(),
                            "by" | "without"
                        );
                    if next_is("(") || by {
                        return self.aggregate(op);
                    }
                    return self.vector();
                }
                if next_is("(") && !self.keyword_is_no_call(word) {
                    return self.call();
                }
                if matches!(
                    word.to_ascii_lowercase().as_str(),
                    "atan2" | "bool" | "group_left" | "group_right" | "ignoring" | "on"
                ) {
                    return self.unexpected("", "");
                }
                self.vector()
            }
            Tok::Eof | Tok::Error | Tok::Sym(_) => self.unexpected("", ""),
        }
    }

    fn keyword_is_no_call(&self, word: &str) -> bool {
        is_keyword(word)
            && !matches!(
                word.to_ascii_lowercase().as_str(),
                "start" | "end" | "step" | "range" | "max_of" | "min_of"
            )
    }

    fn args(&mut self) -> Result_<Vec<Expr>> {
        let mut out = Vec::new();
        let mut height = 0;
        self.next();
        if self.eat(")").is_some() {
            return Ok(out);
        }
        loop {
            out.push(self.expr(0)?);
            height = height.max(self.height);
            if self.eat(")").is_some() {
                self.height = height + 1;
                return Ok(out);
            }
            let comma = self.peek();
            if self.eat(",").is_none() {
                return self.unexpected("", "");
            }
            if self.is(")") {
                return self.fail(comma.pos, "trailing commas not allowed in function call args");
            }
        }
    }

    fn call(&mut self) -> Result_<Expr> {
        let t = self.next();
        let name = self.text(t);
        let args = self.args()?;
        let pos = PosRange::new(t.pos.start, self.last_end);
        let Some(func) = functions::find(name) else {
            return self.fail(t.pos, format!("unknown function with name {}", quote(name)));
        };
        if func.experimental && !self.options.experimental_functions {
            return self.fail(t.pos, format!("function {} is not enabled", quote(name)));
        }
        Ok(Expr::new(ExprKind::Call(Call { func, args }), pos))
    }

    fn aggregate(&mut self, op: AggregateOp) -> Result_<Expr> {
        let t = self.next();
        let mut modifier = self.aggregate_modifier()?;
        if !self.is("(") {
            return self.unexpected("aggregation", "");
        }
        let mut args = self.args()?;
        if modifier.is_none() {
            modifier = self.aggregate_modifier()?;
        }
        let (without, grouping) = modifier.unwrap_or_default();
        let pos = PosRange::new(t.pos.start, self.last_end);
        if args.is_empty() {
            return self.fail(pos, "no arguments for aggregate expression provided");
        }
        if op.is_experimental() && !self.options.experimental_functions {
            return self.fail(
                pos,
                format!(
                    "{}() is experimental and must be enabled with \
                     --enable-feature=promql-experimental-functions",
                    op.as_str()
                ),
            );
        }
        let want = if op.takes_param() { 2 } else { 1 };
        if args.len() != want {
            return self.fail(
                pos,
                format!(
                    "wrong number of arguments for aggregate expression provided, expected \
                     {want}, got {}",
                    args.len()
                ),
            );
        }
        let Some(expr) = args.pop().map(Box::new) else { return self.unexpected("", "") };
        let param = args.pop().map(Box::new);
        Ok(Expr::new(
            ExprKind::Aggregate(AggregateExpr { op, expr, param, grouping, without }),
            pos,
        ))
    }

    fn aggregate_modifier(&mut self) -> Result_<Option<(bool, Vec<String>)>> {
        let word = self.word_at(0);
        if word != "by" && word != "without" {
            return Ok(None);
        }
        self.next();
        Ok(Some((word == "without", self.grouping()?)))
    }

    fn vector(&mut self) -> Result_<Expr> {
        let v = self.vector_selector()?;
        let pos = v.pos;
        Ok(Expr::new(ExprKind::Vector(v), pos))
    }

    fn vector_selector(&mut self) -> Result_<VectorSelector> {
        let t = self.peek();
        let mut name = String::new();
        let mut matchers = Vec::new();
        if matches!(t.tok, Tok::Ident | Tok::MetricIdent) {
            name = self.text(t).to_owned();
            self.next();
        } else if !self.is("{") {
            return self.unexpected("", "");
        }
        if self.eat("{").is_some() {
            loop {
                if self.eat("}").is_some() {
                    break;
                }
                matchers.push(self.matcher()?);
                if self.is("}") {
                    continue;
                }
                if self.eat(",").is_none() {
                    return self.unexpected("label matching", "\",\" or \"}\"");
                }
            }
        }
        if !name.is_empty() {
            matchers.push(Matcher::equal(METRIC_NAME, name.clone()));
        }
        Ok(VectorSelector {
            name,
            matchers,
            offset: DurationValue::Millis(0),
            at: None,
            anchored: false,
            smoothed: false,
            may_match_empty: false,
            pos: PosRange::new(t.pos.start, self.last_end),
        })
    }

    fn matcher(&mut self) -> Result_<Matcher> {
        let t = self.peek();
        let name = match t.tok {
            Tok::Ident => self.text(t).to_owned(),
            Tok::Str => self.unquote(t)?,
            _ => return self.unexpected("label matching", "identifier or \"}\""),
        };
        self.next();
        let op = match self.peek().tok {
            Tok::Sym("=") => MatchOp::Equal,
            Tok::Sym("!=") => MatchOp::NotEqual,
            Tok::Sym("=~") => MatchOp::Regex,
            Tok::Sym("!~") => MatchOp::NotRegex,
            Tok::Sym("," | "}") if t.tok == Tok::Str => {
                return Ok(Matcher::equal(METRIC_NAME, name));
            }
            _ if t.tok == Tok::Str => {
                return self.unexpected("label matching", "\",\" or \"}\"");
            }
            _ => return self.unexpected("label matching", "label matching operator"),
        };
        self.next();
        let v = self.peek();
        if v.tok != Tok::Str {
            return self.unexpected("label matching", "string");
        }
        let value = self.unquote(v)?;
        self.next();
        Matcher::new(name, op, value).map_err(|e| error(self.input, t.pos.to(v.pos), e.to_string()))
    }

    fn at_modifier(&mut self, e: &mut Expr) -> Result_<()> {
        let word = self.word_at(0);
        let at = if (word == "start" || word == "end") && matches!(self.look(1).tok, Tok::Sym("("))
        {
            self.next();
            self.next();
            if self.eat(")").is_none() {
                return self.unexpected("@", "timestamp");
            }
            if word == "start" { AtModifier::Start } else { AtModifier::End }
        } else {
            let Some(secs) = self.signed_number()? else {
                return self.unexpected("@", "timestamp");
            };
            if !secs.is_finite() || secs.abs() >= 9_223_372_036_854_775_807.0 {
                return self.fail(
                    e.pos,
                    format!("timestamp out of bounds for @ modifier: {secs:.6}")
                        .replace("inf", "+Inf")
                        .replace("-+Inf", "-Inf"),
                );
            }
            AtModifier::Timestamp((secs * 1000.0).round() as i64)
        };
        let end = self.last_end;
        let slot = match &mut e.kind {
            ExprKind::Vector(v) => {
                v.pos.end = end;
                &mut v.at
            }
            ExprKind::Matrix(m) => &mut m.selector.at,
            ExprKind::Subquery(s) => &mut s.at,
            _ => {
                return self.fail(
                    e.pos,
                    "@ modifier must be preceded by an instant vector selector or range vector \
                     selector or a subquery",
                );
            }
        };
        if slot.is_some() {
            return self.fail(e.pos, "@ <timestamp> may not be set multiple times");
        }
        *slot = Some(at);
        e.pos.end = end;
        Ok(())
    }

    fn set_offset(&mut self, e: &mut Expr, offset: DurationValue) -> Result_<()> {
        let end = self.last_end;
        let slot = match &mut e.kind {
            ExprKind::Vector(v) => {
                v.pos.end = end;
                &mut v.offset
            }
            ExprKind::Matrix(m) => &mut m.selector.offset,
            ExprKind::Subquery(s) => &mut s.offset,
            _ => {
                return self.fail(
                    e.pos,
                    "offset modifier must be preceded by an instant vector selector or range \
                     vector selector or a subquery",
                );
            }
        };
        if *slot != DurationValue::Millis(0) {
            return self.fail(e.pos, "offset may not be set multiple times");
        }
        *slot = offset;
        e.pos.end = end;
        Ok(())
    }

    fn extended(&mut self, e: &mut Expr) -> Result_<()> {
        let t = self.next();
        let word = self.text(t).to_ascii_lowercase();
        if !self.options.extended_range_selectors {
            return self.fail(e.pos, format!("{word} modifier is experimental and not enabled"));
        }
        let v = match &mut e.kind {
            ExprKind::Vector(v) => v,
            ExprKind::Matrix(m) => &mut m.selector,
            ExprKind::Subquery(_) => {
                return self
                    .fail(e.pos, format!("{word} modifier is not supported for subqueries"));
            }
            _ => return self.fail(e.pos, format!("{word} modifier not implemented")),
        };
        if word == "anchored" {
            v.anchored = true;
        } else {
            v.smoothed = true;
        }
        if v.anchored && v.smoothed {
            return self.fail(e.pos, "anchored and smoothed modifiers cannot be used together");
        }
        Ok(())
    }

    fn brackets(&mut self, e: Expr) -> Result_<Expr> {
        let open = self.next();
        if matches!(self.peek().tok, Tok::Sym("]" | ":") | Tok::Eof | Tok::Error) {
            return self
                .unexpected("subquery or range selector", "number, duration, step(), or range()");
        }
        let range = self.positive_duration()?;
        if let Some(close) = self.eat("]") {
            let span = open.pos.to(close.pos);
            let ExprKind::Vector(v) = e.kind else {
                return self.fail(span, "ranges only allowed for vector selectors");
            };
            if v.offset != DurationValue::Millis(0) {
                return self.fail(span, "no offset modifiers allowed before range");
            }
            if v.at.is_some() {
                return self.fail(span, "no @ modifiers allowed before range");
            }
            let pos = e.pos.to(close.pos);
            return Ok(Expr::new(ExprKind::Matrix(MatrixSelector { selector: v, range }), pos));
        }
        if self.eat(":").is_none() {
            return self.unexpected("subquery or range", "\":\" or \"]\"");
        }
        let step = match self.peek().tok {
            Tok::Sym("]") => None,
            Tok::Eof | Tok::Error => {
                return self.unexpected(
                    "subquery selector",
                    "number, duration, step(), range(), or \"]\"",
                );
            }
            _ => Some(self.positive_duration()?),
        };
        let Some(close) = self.eat("]") else {
            return self.unexpected("subquery selector", "\"]\"");
        };
        let pos = e.pos.to(close.pos);
        Ok(Expr::new(
            ExprKind::Subquery(SubqueryExpr {
                expr: Box::new(e),
                range,
                step,
                offset: DurationValue::Millis(0),
                at: None,
            }),
            pos,
        ))
    }
}

#[cfg(test)]
mod tests;
