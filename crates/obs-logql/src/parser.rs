//! Recursive descent over the tokens, with the checks that need no data.

use obs_types::{MatchOp, Matcher};

use crate::ast::{
    BinaryExpr, BinaryOp, Cardinality, CompareOp, Conversion, Expr, Extraction, Grouping, IpFilter,
    LabelFilter, LabelFormat, LabelFormatValue, LabelReplace, LineFilter, LineFilterOp, LineTerm,
    LogExpr, LogRange, MetricExpr, NamedMatcher, RangeAggregation, RangeOp, Stage, Unwrap,
    VectorAggregation, VectorMatching, VectorOp,
};
use crate::engine::binary_value;
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
        match self.peek() {
            Token::Identifier(name) => {
                let name = name.clone();
                self.at += 1;
                Ok(name)
            }
            _ => Err(self.unexpected(&["IDENTIFIER"])),
        }
    }

    fn text(&mut self) -> Result<String, ParseError> {
        match self.peek() {
            Token::Text(text) => {
                let text = text.clone();
                self.at += 1;
                Ok(text)
            }
            _ => Err(self.unexpected(&["STRING"])),
        }
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

    /// Precedence climbing; `least` is the weakest operator that may be taken here.
    fn expression(&mut self, least: u8) -> Result<Expr, ParseError> {
        let mut left = self.nested(Self::primary)?;
        while let Some(op) = self.binary_op().filter(|op| op.precedence() >= least) {
            self.at += 1;
            let (return_bool, matching) = self.modifiers()?;
            let tighter = op.precedence() + u8::from(op != BinaryOp::Pow);
            let right = self.nested(|p| p.expression(tighter))?;
            left = Expr::Metric(binary(op, left, right, return_bool, matching)?);
        }
        Ok(left)
    }

    fn binary_op(&self) -> Option<BinaryOp> {
        let Token::Symbol(s) = self.peek() else { return None };
        Some(match *s {
            "or" => BinaryOp::Or,
            "and" => BinaryOp::And,
            "unless" => BinaryOp::Unless,
            "+" => BinaryOp::Add,
            "-" => BinaryOp::Sub,
            "*" => BinaryOp::Mul,
            "/" => BinaryOp::Div,
            "%" => BinaryOp::Mod,
            "^" => BinaryOp::Pow,
            _ => BinaryOp::Compare(self.compare_op().filter(|_| *s != "=")?),
        })
    }

    fn compare_op(&self) -> Option<CompareOp> {
        let Token::Symbol(s) = self.peek() else { return None };
        Some(match *s {
            "=" | "==" => CompareOp::Equal,
            "!=" => CompareOp::NotEqual,
            "<" => CompareOp::Less,
            "<=" => CompareOp::LessEqual,
            ">" => CompareOp::Greater,
            ">=" => CompareOp::GreaterEqual,
            _ => return None,
        })
    }

    fn modifiers(&mut self) -> Result<(bool, VectorMatching), ParseError> {
        let return_bool = self.accept("bool");
        let mut matching = VectorMatching::plain();
        if !(self.is("on") || self.is("ignoring")) {
            return Ok((return_bool, matching));
        }
        matching.on = self.is("on");
        self.at += 1;
        matching.labels = self.label_list()?;
        if self.is("group_left") || self.is("group_right") {
            matching.cardinality =
                if self.is("group_left") { Cardinality::ManyToOne } else { Cardinality::OneToMany };
            self.at += 1;
            // A parenthesis here may as well open the right operand.
            if self.is("(")
                && (self.is_at(1, ")")
                    || (matches!(self.peek_at(1), Token::Identifier(_))
                        && (self.is_at(2, ")") || self.is_at(2, ","))))
            {
                matching.include = self.label_list()?;
            }
        }
        Ok((return_bool, matching))
    }

    /// `(a, b)` or `()`.
    fn label_list(&mut self) -> Result<Vec<String>, ParseError> {
        self.expect("(")?;
        let mut labels = Vec::new();
        if self.accept(")") {
            return Ok(labels);
        }
        loop {
            match self.peek() {
                Token::Identifier(_) => labels.push(self.identifier()?),
                _ if labels.is_empty() => return Err(self.unexpected(&["IDENTIFIER", ")"])),
                _ => return Err(self.unexpected(&["IDENTIFIER"])),
            }
            if self.accept(")") {
                return Ok(labels);
            }
            if !self.accept(",") {
                return Err(self.unexpected(&[")", ","]));
            }
        }
    }

    fn grouping(&mut self) -> Result<Option<Grouping>, ParseError> {
        if !(self.is("by") || self.is("without")) {
            return Ok(None);
        }
        let without = self.is("without");
        self.at += 1;
        Ok(Some(Grouping { without, labels: self.label_list()? }))
    }

    fn primary(&mut self) -> Result<Expr, ParseError> {
        match self.peek().clone() {
            Token::Symbol("(") => {
                self.at += 1;
                let inner = self.nested(|p| p.expression(0))?;
                self.expect(")")?;
                Ok(inner)
            }
            Token::Symbol("{") => Ok(Expr::Log(self.log_expression()?)),
            Token::Symbol("+") => {
                self.at += 1;
                Ok(Expr::Metric(MetricExpr::Literal(self.number()?)))
            }
            Token::Symbol("-") => {
                self.at += 1;
                Ok(Expr::Metric(MetricExpr::Literal(-self.number()?)))
            }
            Token::Number(_) => Ok(Expr::Metric(MetricExpr::Literal(self.number()?))),
            Token::Function("vector") => {
                self.at += 1;
                self.expect("(")?;
                let value = self.number()?;
                self.expect(")")?;
                Ok(Expr::Metric(MetricExpr::Constant(value)))
            }
            Token::Function("label_replace") => self.label_replace(),
            Token::Function(name) => {
                if let Some(op) = range_op(name) {
                    self.at += 1;
                    self.range_aggregation(op)
                } else if let Some(op) = vector_op(name) {
                    self.at += 1;
                    self.vector_aggregation(op)
                } else {
                    Err(self.unexpected(&[]))
                }
            }
            _ => Err(self.unexpected(&[])),
        }
    }

    fn metric(&mut self) -> Result<MetricExpr, ParseError> {
        match self.nested(|p| p.expression(0))? {
            Expr::Metric(m) => Ok(m),
            // The grammar of the reference stops where the range would have to stand.
            Expr::Log(_) => Err(self.unexpected(&[])),
        }
    }

    fn label_replace(&mut self) -> Result<Expr, ParseError> {
        self.at += 1;
        self.expect("(")?;
        let inner = self.metric()?;
        let mut texts = Vec::with_capacity(4);
        for _ in 0..4 {
            self.expect(",")?;
            texts.push(self.text()?);
        }
        self.expect(")")?;
        let mut texts = texts.into_iter();
        let mut next = || texts.next().unwrap_or_default();
        let (destination, replacement, source, regex) = (next(), next(), next(), next());
        crate::regexp::compile(&format!("^(?:{regex})$")).map_err(|e| {
            ParseError::whole(format!("invalid regex in label_replace: error parsing regexp: {e}"))
        })?;
        let is_name = !destination.is_empty()
            && destination.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
            && !destination.starts_with(|c: char| c.is_ascii_digit());
        if !is_name {
            return Err(ParseError::whole(format!(
                "invalid destination label name in label_replace: {destination}"
            )));
        }
        Ok(Expr::Metric(MetricExpr::LabelReplace(Box::new(LabelReplace {
            inner,
            destination,
            replacement,
            source,
            regex,
        }))))
    }

    fn vector_aggregation(&mut self, op: VectorOp) -> Result<Expr, ParseError> {
        let mut grouping = self.grouping()?;
        self.expect("(")?;
        let mut parameter = None;
        if matches!(self.peek(), Token::Number(_)) && self.is_at(1, ",") {
            let shown = match self.peek() {
                Token::Number(n) => n.clone(),
                _ => String::new(),
            };
            parameter = Some((self.number()?, shown));
            self.at += 1;
        }
        let inner = self.metric()?;
        self.expect(")")?;
        if grouping.is_none() {
            grouping = self.grouping()?;
        }
        let name = op.as_str();
        let parameter = match (op.takes_parameter(), parameter) {
            (true, None) => {
                return Err(ParseError::whole(format!("parameter required for operation {name}")));
            }
            (true, Some((k, shown))) => {
                if k < 1.0 || k.fract() != 0.0 || k > f64::from(u32::MAX) {
                    return Err(ParseError::whole(format!("invalid parameter {name}({shown},")));
                }
                k as usize
            }
            (false, Some((_, shown))) => {
                return Err(ParseError::whole(format!(
                    "unsupported parameter for operation {name}({shown},"
                )));
            }
            (false, None) => 0,
        };
        if grouping.is_some() && op == VectorOp::ApproxTopK {
            return Err(ParseError::whole(format!("grouping not allowed for {name} aggregation")));
        }
        Ok(Expr::Metric(MetricExpr::Vector(VectorAggregation {
            op,
            parameter,
            inner: Box::new(inner),
            grouping,
        })))
    }

    fn range_aggregation(&mut self, op: RangeOp) -> Result<Expr, ParseError> {
        self.expect("(")?;
        let mut parameter = None;
        if matches!(self.peek(), Token::Number(_)) {
            parameter = Some(self.number()?);
            self.expect(",")?;
        }
        if !(self.is("{") || self.is("(")) {
            return Err(match self.peek() {
                Token::Identifier(_) if parameter.is_none() => {
                    self.unexpected(&["NUMBER", "{", "("])
                }
                _ => self.unexpected(&[]),
            });
        }
        let range = self.nested(Self::log_range)?;
        self.expect(")")?;
        let grouping = self.grouping()?;
        check_range_aggregation(op, parameter, &range, grouping.as_ref())?;
        Ok(Expr::Metric(MetricExpr::Range(RangeAggregation { op, parameter, range, grouping })))
    }

    /// The window may stand after the selector, after the pipeline or after closing parentheses,
    /// and the pipeline may follow the window.
    fn log_range(&mut self) -> Result<LogRange, ParseError> {
        let mut parts = RangeParts::default();
        self.range_parts(&mut parts)?;
        let Some(range_ns) = parts.range_ns else { return Err(self.unexpected(&[])) };
        Ok(LogRange {
            log: LogExpr { matchers: parts.matchers, stages: parts.stages },
            range_ns,
            offset_ns: parts.offset_ns.unwrap_or(0),
            unwrap: parts.unwrap,
        })
    }

    fn range_parts(&mut self, parts: &mut RangeParts) -> Result<(), ParseError> {
        if self.accept("(") {
            self.nested(|p| p.range_parts(parts))?;
            self.expect(")")?;
        } else {
            parts.matchers = self.selector()?;
            self.pipeline_and_unwrap(parts)?;
        }
        if let Token::Range(ns) = *self.peek() {
            if parts.range_ns.is_some() {
                return Err(self.unexpected(&[]));
            }
            self.at += 1;
            parts.range_ns = Some(ns);
            if self.accept("offset") {
                let Token::Duration(offset) = *self.peek() else {
                    return Err(self.unexpected(&["DURATION"]));
                };
                self.at += 1;
                parts.offset_ns = Some(offset);
            }
            self.pipeline_and_unwrap(parts)?;
        }
        Ok(())
    }

    fn pipeline_and_unwrap(&mut self, parts: &mut RangeParts) -> Result<(), ParseError> {
        loop {
            if self.is("|") && self.is_at(1, "unwrap") && parts.unwrap.is_none() {
                self.at += 2;
                parts.unwrap = Some(self.unwrap()?);
            } else if let Some(unwrap) = &mut parts.unwrap {
                // After an unwrap only label filters make sense.
                if !self.accept("|") {
                    return Ok(());
                }
                let filter = self.label_filter(0)?;
                unwrap.filters.push(filter);
            } else if let Some(stage) = self.stage()? {
                parts.stages.push(stage);
            } else {
                return Ok(());
            }
        }
    }

    fn unwrap(&mut self) -> Result<Unwrap, ParseError> {
        let conversion = match self.peek() {
            Token::Function("bytes") => Some(Conversion::Bytes),
            Token::Function("duration") => Some(Conversion::Duration),
            Token::Function("duration_seconds") => Some(Conversion::DurationSeconds),
            _ => None,
        };
        let label = if conversion.is_some() {
            self.at += 1;
            self.expect("(")?;
            let label = self.identifier()?;
            self.expect(")")?;
            label
        } else {
            self.identifier()?
        };
        Ok(Unwrap { label, conversion, filters: Vec::new() })
    }

    fn log_expression(&mut self) -> Result<LogExpr, ParseError> {
        let matchers = self.selector()?;
        let mut stages = Vec::new();
        while let Some(stage) = self.stage()? {
            stages.push(stage);
        }
        Ok(LogExpr { matchers, stages })
    }

    fn selector(&mut self) -> Result<Vec<Matcher>, ParseError> {
        self.expect("{")?;
        let mut matchers = Vec::new();
        if self.accept("}") {
            return Ok(matchers);
        }
        loop {
            matchers.push(self.matcher()?);
            if self.accept("}") {
                return Ok(matchers);
            }
            if !self.accept(",") {
                return Err(self.unexpected(&["}", ","]));
            }
        }
    }

    fn matcher(&mut self) -> Result<Matcher, ParseError> {
        let name = self.identifier()?;
        let op = match self.peek() {
            Token::Symbol("=") => MatchOp::Equal,
            Token::Symbol("!=") => MatchOp::NotEqual,
            Token::Symbol("=~") => MatchOp::Regex,
            Token::Symbol("!~") => MatchOp::NotRegex,
            _ => return Err(self.unexpected(&["=", "=~", "!~", "!="])),
        };
        self.at += 1;
        let value = self.text()?;
        new_matcher(name, op, value)
    }

    fn stage(&mut self) -> Result<Option<Stage>, ParseError> {
        let op = match self.peek() {
            Token::Symbol("|=") => LineFilterOp::Contains,
            Token::Symbol("|~") => LineFilterOp::Regex,
            Token::Symbol("|>") => LineFilterOp::Pattern,
            Token::Symbol("!=") if self.starts_line_filter() => LineFilterOp::NotContains,
            Token::Symbol("!~") => LineFilterOp::NotRegex,
            Token::Symbol("!>") => LineFilterOp::NotPattern,
            Token::Symbol("|") => {
                self.at += 1;
                return self.piped_stage().map(Some);
            }
            _ => return Ok(None),
        };
        self.at += 1;
        let mut terms = vec![self.line_term()?];
        while self.is("or") && matches!(self.peek_at(1), Token::Text(_) | Token::Function("ip")) {
            self.at += 1;
            terms.push(self.line_term()?);
        }
        if matches!(
            op,
            LineFilterOp::Regex
                | LineFilterOp::NotRegex
                | LineFilterOp::Pattern
                | LineFilterOp::NotPattern
        ) && terms.iter().any(|t| t.ip)
        {
            return Err(ParseError::whole("ip: invalid operation"));
        }
        Ok(Some(Stage::LineFilter(LineFilter { op, terms })))
    }

    /// `!=` after a selector is a filter only before a text or `ip(`; else it compares numbers.
    fn starts_line_filter(&self) -> bool {
        matches!(self.peek_at(1), Token::Text(_) | Token::Function("ip") | Token::End)
    }

    fn line_term(&mut self) -> Result<LineTerm, ParseError> {
        if self.is_ip() {
            self.at += 1;
            self.expect("(")?;
            let text = self.text()?;
            self.expect(")")?;
            return Ok(LineTerm { text, ip: true });
        }
        match self.peek() {
            Token::Text(_) => Ok(LineTerm { text: self.text()?, ip: false }),
            _ => Err(self.unexpected(&["STRING", "ip"])),
        }
    }

    fn piped_stage(&mut self) -> Result<Stage, ParseError> {
        let Token::Symbol(symbol) = *self.peek() else {
            return match self.peek() {
                Token::Identifier(_) => Ok(Stage::LabelFilter(self.label_filter(0)?)),
                _ => Err(self.unexpected(&[])),
            };
        };
        if symbol == "(" {
            return Ok(Stage::LabelFilter(self.label_filter(0)?));
        }
        let keyword_at = self.at;
        self.at += 1;
        Ok(match symbol {
            "json" => Stage::Json(self.extractions()?),
            "logfmt" => {
                let (mut strict, mut keep_empty) = (false, false);
                while let Token::Flag(flag) = self.peek() {
                    match flag.as_str() {
                        "--strict" => strict = true,
                        _ => keep_empty = true,
                    }
                    self.at += 1;
                }
                Stage::Logfmt { strict, keep_empty, extractions: self.extractions()? }
            }
            "regexp" => Stage::Regexp(self.text()?),
            "pattern" => Stage::Pattern(self.text()?),
            "unpack" => Stage::Unpack,
            "line_format" => Stage::LineFormat(self.text()?),
            "label_format" => Stage::LabelFormat(self.label_formats()?),
            "decolorize" => Stage::Decolorize,
            "drop" => Stage::Drop(self.named_matchers()?),
            "keep" => Stage::Keep(self.named_matchers()?),
            _ => {
                self.at = keyword_at;
                return Err(self.unexpected(&[]));
            }
        })
    }

    fn extractions(&mut self) -> Result<Vec<Extraction>, ParseError> {
        let mut out = Vec::new();
        while matches!(self.peek(), Token::Identifier(_)) {
            let label = self.identifier()?;
            let path = if self.accept("=") { self.text()? } else { label.clone() };
            out.push(Extraction { label, path });
            if !self.accept(",") {
                break;
            }
            if !matches!(self.peek(), Token::Identifier(_)) {
                return Err(self.unexpected(&["IDENTIFIER"]));
            }
        }
        Ok(out)
    }

    fn label_formats(&mut self) -> Result<Vec<LabelFormat>, ParseError> {
        let mut out = Vec::new();
        loop {
            let label = self.identifier()?;
            self.expect("=")?;
            let value = match self.peek() {
                Token::Identifier(_) => LabelFormatValue::Rename(self.identifier()?),
                Token::Text(_) => LabelFormatValue::Template(self.text()?),
                _ => return Err(self.unexpected(&["IDENTIFIER", "STRING"])),
            };
            out.push(LabelFormat { label, value });
            if !self.accept(",") {
                return Ok(out);
            }
        }
    }

    fn named_matchers(&mut self) -> Result<Vec<NamedMatcher>, ParseError> {
        let mut out = Vec::new();
        loop {
            let is_matcher = matches!(
                self.peek_at(1),
                Token::Symbol("=")
                    | Token::Symbol("!=")
                    | Token::Symbol("=~")
                    | Token::Symbol("!~")
            );
            // `drop a != "x"` is a matcher, `drop a` before a line filter `!= "x"` reads the same;
            // the reference takes the matcher too.
            out.push(if is_matcher {
                NamedMatcher::Matcher(self.matcher()?)
            } else {
                NamedMatcher::Name(self.identifier()?)
            });
            if !self.accept(",") {
                return Ok(out);
            }
        }
    }

    /// `or` is 1, `and` is 2; a comma or two filters side by side join everything that follows.
    fn label_filter(&mut self, context: u8) -> Result<LabelFilter, ParseError> {
        let mut left = self.nested(Self::single_label_filter)?;
        loop {
            if self.is("or") && context < 1 {
                self.at += 1;
                let right = self.nested(|p| p.label_filter(1))?;
                left = LabelFilter::Or(Box::new(left), Box::new(right));
            } else if self.is("and") && context < 2 {
                self.at += 1;
                let right = self.nested(|p| p.label_filter(2))?;
                left = LabelFilter::And(Box::new(left), Box::new(right));
            } else if self.is(",") || self.is("(") || matches!(self.peek(), Token::Identifier(_)) {
                self.accept(",");
                let right = self.nested(|p| p.label_filter(0))?;
                left = LabelFilter::And(Box::new(left), Box::new(right));
            } else {
                return Ok(left);
            }
        }
    }

    fn single_label_filter(&mut self) -> Result<LabelFilter, ParseError> {
        if self.accept("(") {
            let inner = self.label_filter(0)?;
            self.expect(")")?;
            return Ok(inner);
        }
        let label = self.identifier()?;
        let matcher_op = match self.peek() {
            Token::Symbol("=") => Some(MatchOp::Equal),
            Token::Symbol("!=") => Some(MatchOp::NotEqual),
            Token::Symbol("=~") => Some(MatchOp::Regex),
            Token::Symbol("!~") => Some(MatchOp::NotRegex),
            _ => None,
        };
        let compare = self.compare_op();
        if matcher_op.is_none() && compare.is_none() {
            return Err(self.unexpected(&[]));
        }
        self.at += 1;
        if let (Some(op), Token::Text(value)) = (matcher_op, self.peek().clone()) {
            self.at += 1;
            return Ok(LabelFilter::Matcher(new_matcher(label, op, value)?));
        }
        if matches!(matcher_op, Some(MatchOp::Equal | MatchOp::NotEqual)) && self.is_ip() {
            self.at += 1;
            self.expect("(")?;
            let pattern = self.text()?;
            self.expect(")")?;
            let negated = matcher_op == Some(MatchOp::NotEqual);
            return Ok(LabelFilter::Ip(IpFilter { label, negated, pattern }));
        }
        let Some(op) = compare else { return Err(self.unexpected(&["STRING"])) };
        match self.peek().clone() {
            Token::Duration(value) => {
                self.at += 1;
                Ok(LabelFilter::Duration { label, op, value })
            }
            Token::Bytes(value) => {
                self.at += 1;
                Ok(LabelFilter::Bytes { label, op, value })
            }
            Token::Number(_) => Ok(LabelFilter::Number { label, op, value: self.number()? }),
            Token::Symbol("+") => {
                self.at += 1;
                Ok(LabelFilter::Number { label, op, value: self.number()? })
            }
            Token::Symbol("-") => {
                self.at += 1;
                Ok(LabelFilter::Number { label, op, value: -self.number()? })
            }
            _ => Err(self.unexpected(&[])),
        }
    }
}

#[derive(Default)]
struct RangeParts {
    matchers: Vec<Matcher>,
    stages: Vec<Stage>,
    unwrap: Option<Unwrap>,
    range_ns: Option<i64>,
    offset_ns: Option<i64>,
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

fn binary(
    op: BinaryOp,
    left: Expr,
    right: Expr,
    return_bool: bool,
    matching: VectorMatching,
) -> Result<MetricExpr, ParseError> {
    let metric = |side: &str, expr: Expr| match expr {
        Expr::Metric(m) => Ok(m),
        Expr::Log(log) => Err(ParseError::whole(format!(
            "unexpected type for {side} leg of binary operation ({}): {}",
            op.as_str(),
            if log.stages.is_empty() { "*syntax.MatchersExpr" } else { "*syntax.PipelineExpr" }
        ))),
    };
    let (left, right) = (metric("left", left)?, metric("right", right)?);
    if op.is_set() {
        for (side, leg) in [("left", &left), ("right", &right)] {
            if let MetricExpr::Literal(v) = leg {
                return Err(ParseError::whole(format!(
                    "unexpected literal for {side} leg of logical/set binary operation ({}): {v:.6}",
                    op.as_str()
                )));
            }
        }
    }
    if let (MetricExpr::Literal(l), MetricExpr::Literal(r)) = (&left, &right) {
        return Ok(MetricExpr::Literal(binary_value(op, *l, *r)));
    }
    Ok(MetricExpr::Binary(Box::new(BinaryExpr { op, left, right, return_bool, matching })))
}

fn check_range_aggregation(
    op: RangeOp,
    parameter: Option<f64>,
    range: &LogRange,
    grouping: Option<&Grouping>,
) -> Result<(), ParseError> {
    let name = op.as_str();
    match (op, parameter) {
        (RangeOp::Quantile, None) => {
            return Err(ParseError::whole(format!("parameter required for operation {name}")));
        }
        (RangeOp::Quantile, Some(_)) | (_, None) => {}
        (_, Some(p)) => {
            return Err(ParseError::whole(format!(
                "parameter {} not supported for operation {name}",
                unit::show_float(p)
            )));
        }
    }
    let may_group = matches!(
        op,
        RangeOp::Avg
            | RangeOp::Stddev
            | RangeOp::Stdvar
            | RangeOp::Quantile
            | RangeOp::Max
            | RangeOp::Min
            | RangeOp::First
            | RangeOp::Last
    );
    if grouping.is_some() && !may_group {
        return Err(ParseError::whole(format!("grouping not allowed for {name} aggregation")));
    }
    let (needs, forbids) = match op {
        RangeOp::Count | RangeOp::Bytes | RangeOp::BytesRate => (false, true),
        RangeOp::Rate | RangeOp::Absent => (false, false),
        _ => (true, false),
    };
    if needs && range.unwrap.is_none() {
        return Err(ParseError::whole(format!("invalid aggregation {name} without unwrap")));
    }
    if forbids && range.unwrap.is_some() {
        return Err(ParseError::whole(format!("invalid aggregation {name} with unwrap")));
    }
    Ok(())
}

fn range_op(name: &str) -> Option<RangeOp> {
    const ALL: [RangeOp; 15] = [
        RangeOp::Count,
        RangeOp::Rate,
        RangeOp::RateCounter,
        RangeOp::Bytes,
        RangeOp::BytesRate,
        RangeOp::Avg,
        RangeOp::Sum,
        RangeOp::Min,
        RangeOp::Max,
        RangeOp::Stdvar,
        RangeOp::Stddev,
        RangeOp::Quantile,
        RangeOp::First,
        RangeOp::Last,
        RangeOp::Absent,
    ];
    ALL.into_iter().find(|op| op.as_str() == name)
}

fn vector_op(name: &str) -> Option<VectorOp> {
    const ALL: [VectorOp; 12] = [
        VectorOp::Sum,
        VectorOp::Avg,
        VectorOp::Count,
        VectorOp::Max,
        VectorOp::Min,
        VectorOp::Stddev,
        VectorOp::Stdvar,
        VectorOp::BottomK,
        VectorOp::TopK,
        VectorOp::Sort,
        VectorOp::SortDesc,
        VectorOp::ApproxTopK,
    ];
    ALL.into_iter().find(|op| op.as_str() == name)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shown(text: &str) -> String {
        match parse(text) {
            Ok(e) => e.to_string(),
            Err(e) => e.to_string(),
        }
    }

    #[test]
    fn canonical_texts_read_back_as_themselves() {
        for (text, want) in [
            (r#"{ app = "a",b!~"c" }"#, r#"{app="a", b!~"c"}"#),
            (
                r#"{a="b"}|="x" or "y"!= ip("1.2.3.4")|>"<_> z""#,
                r#"{a="b"} |= "x" or "y" != ip("1.2.3.4") |> "<_> z""#,
            ),
            (
                r#"{a="b"}| json c, d="e[0]" | logfmt --strict --keep-empty f"#,
                r#"{a="b"} | json c="c", d="e[0]" | logfmt --strict --keep-empty f="f""#,
            ),
            (
                r#"{a="b"} | c>5 or d=~"x" and e<10s | f==1KB g!=ip("::1")"#,
                r#"{a="b"} | ( c>5 or ( d=~"x" , e<10s ) ) | ( f==1000B , g!=ip("::1") )"#,
            ),
            (
                r#"{a="b"} | label_format x=y,z="{{.w}}" | drop m,n="o" | keep p | decolorize"#,
                r#"{a="b"} | label_format x=y, z="{{.w}}" | drop m, n="o" | keep p | decolorize"#,
            ),
            (
                r#"sum by(x)(rate({a="b"}[5m] offset 1h|="q"))/on(x)group_left(y)2^3^2*vector(1)"#,
                r#"((sum by (x) (rate({a="b"} |= "q"[5m] offset 1h)) / on (x) group_left (y) 512) * vector(1))"#,
            ),
            (
                r#"quantile_over_time(0.99,({a="b"}|unwrap duration(t)|t>1s)[5m])by(z)"#,
                r#"quantile_over_time(0.99,{a="b"} | unwrap duration(t) | t>1s[5m]) by (z)"#,
            ),
            ("1 + 2 * 3 - -4", "11"),
            (r#"topk(3, count_over_time({a="b"}[1d]))"#, r#"topk(3,count_over_time({a="b"}[1d]))"#),
            (r#"{a="b"} | ip="x" | rate=~"y""#, r#"{a="b"} | ip="x" | rate=~"y""#),
        ] {
            assert_eq!(shown(text), want);
            assert_eq!(shown(want), want);
        }
    }

    #[test]
    fn mistakes_are_told_in_the_references_words() {
        for (text, want) in [
            (r#"{app="a""#, "line 1, col 9: syntax error: unexpected $end, expecting } or ,"),
            ("sum(", "col 5: syntax error: unexpected $end"),
            ("{}", "queries require at least one regexp or equality matcher"),
            (r#"sum_over_time({a="b"}[5m])"#, "invalid aggregation sum_over_time without unwrap"),
            (r#"rate({a="b"}[5minutes])"#, "unknown unit \"minutes\" in duration \"5minutes\""),
            (r#"topk(rate({a="b"}[5m]))"#, "parameter required for operation topk"),
            (r#"{a="b"} |= "#, "expecting STRING or ip"),
            (r#"{a="b"} | x > y"#, "unexpected IDENTIFIER"),
            ("\n\n{a=\"b\"} | |", "line 3, col 11: syntax error: unexpected |"),
            (r#"{a=~"("}"#, "error parsing regexp"),
            (r#"{a="b"} + 1"#, "unexpected type for left leg of binary operation (+)"),
        ] {
            let got = shown(text);
            assert!(got.contains(want), "{text}: {got}");
        }
        let deep = format!("{}1{}", "(".repeat(5_000), ")".repeat(5_000));
        assert!(shown(&deep).contains("nested deeper"));
        assert!(shown(&"x".repeat(QUERY_BYTES_MAX + 1)).contains("at most"));
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "[a-z{}()\\[\\]|=~!<>\"`'#0-9.,+*/^% \n\\\\-]{0,60}") {
            if let Ok(e) = parse(&text) {
                prop_assert_eq!(shown(&e.to_string()), e.to_string());
            }
        }

        #[test]
        fn no_words_make_it_panic(words in proptest::collection::vec(prop_oneof![
            Just("{a=\"b\"}"), Just("|="), Just("\"x\""), Just("| json"), Just("| logfmt"), Just("["),
            Just("[5m]"), Just("rate("), Just("sum by (x) ("), Just(")"), Just("(") , Just("| x > 5"),
            Just("or"), Just("and"), Just("+"), Just("on (a)"), Just("| unwrap y"), Just("offset 5m"),
            Just("ip("), Just("bool"), Just("1"), Just(","), Just("| keep z"), Just("quantile_over_time(0.5,"),
        ], 0..14)) {
            let text = words.join(" ");
            if let Ok(e) = parse(&text) {
                prop_assert_eq!(shown(&e.to_string()), e.to_string());
            }
        }
    }
}
