//! Recursive descent with operator precedence, weakest first: `&& ||`, comparisons and structural
//! operators, `+ -`, `!`, `* / %`, `^` (right-associative).

use obs_types::{AttrScope, SpanKind, StatusCode};

use crate::TraceQlError;
use crate::ast::{
    Aggregate, Attribute, FieldExpr, FieldOp, Hint, Intrinsic, MetricsExpr, MetricsFunction,
    OverTime, Pipeline, Query, QueryBody, Relation, ScalarExpr, SpansetExpr, SpansetOp, Stage,
    Static, StructuralMode, UnaryOp,
};
use crate::lexer::{Op, Token, error, tokenize};

/// Most brackets inside each other, and most operators in a query: later passes walk the tree
/// recursively on a thread with a small stack.
const DEPTH_MAX: usize = 64;
const OPERATORS_MAX: usize = 512;

const ADDITIVE: u8 = 3;
const MULTIPLICATIVE: u8 = 5;

/// Parses a query. Types are checked by [`Query::validate`].
pub fn parse(text: &str) -> Result<Query, TraceQlError> {
    let mut parser = Parser { tokens: tokenize(text)?, at: 0, depth: 0, operators: 0 };
    let chain = parser.chain()?;
    let body = match chain {
        Chain::Spans(p) => QueryBody::Search(p),
        Chain::Metrics(m) => QueryBody::Metrics(m),
        Chain::Scalar { .. } => {
            return parser.fail("a number must be compared with another");
        }
    };
    let hints = parser.hints()?;
    match parser.peek() {
        Token::End => Ok(Query { body, hints }),
        _ => parser.unexpected("end of query"),
    }
}

/// Parses one attribute or intrinsic, such as `resource.service.name`, `.x` or `span:name`.
pub fn parse_attribute(text: &str) -> Result<Attribute, TraceQlError> {
    let mut parser = Parser { tokens: tokenize(text)?, at: 0, depth: 0, operators: 0 };
    let attribute = parser.attribute()?;
    match parser.peek() {
        Token::End => Ok(attribute),
        _ => parser.unexpected("end of attribute"),
    }
}

struct Parser {
    tokens: Vec<(Token, usize)>,
    at: usize,
    depth: usize,
    operators: usize,
}

/// What stands between brackets or makes the whole query.
enum Chain {
    Spans(Pipeline),
    Metrics(MetricsExpr),
    /// Stages (perhaps none) ending in a number.
    Scalar {
        stages: Vec<Stage>,
        scalar: ScalarExpr,
    },
}

/// One element between pipes, typed by what it gives.
enum Item {
    Spanset(SpansetExpr),
    Stage(Stage),
    /// `literal` tells a plain number from a folded one: durations may be compared with, not
    /// computed.
    Scalar {
        scalar: ScalarExpr,
        literal: bool,
    },
    Filter {
        op: FieldOp,
        left: ScalarExpr,
        right: ScalarExpr,
    },
    Metrics(MetricsExpr),
}

impl Parser {
    fn peek(&self) -> &Token {
        self.tokens.get(self.at).map_or(&Token::End, |(t, _)| t)
    }

    fn peek_second(&self) -> &Token {
        self.tokens.get(self.at + 1).map_or(&Token::End, |(t, _)| t)
    }

    fn offset(&self) -> usize {
        self.tokens.get(self.at).or(self.tokens.last()).map_or(0, |(_, o)| *o)
    }

    fn bump(&mut self) -> Token {
        let token = self.peek().clone();
        self.at += 1;
        token
    }

    fn eat(&mut self, token: &Token) -> bool {
        let hit = self.peek() == token;
        if hit {
            self.at += 1;
        }
        hit
    }

    fn fail<T>(&self, message: impl Into<String>) -> Result<T, TraceQlError> {
        error(self.offset(), message)
    }

    fn unexpected<T>(&self, wanted: &str) -> Result<T, TraceQlError> {
        let found = match self.peek() {
            Token::End => "end of query".to_owned(),
            Token::Word(w) => format!("{w:?}"),
            other => format!("{other:?}"),
        };
        self.fail(format!("expected {wanted}, found {found}"))
    }

    fn expect(&mut self, token: &Token, wanted: &str) -> Result<(), TraceQlError> {
        if self.eat(token) { Ok(()) } else { self.unexpected(wanted) }
    }

    fn enter(&mut self) -> Result<(), TraceQlError> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return self.fail(format!("more than {DEPTH_MAX} levels of nesting"));
        }
        Ok(())
    }

    fn count_operator(&mut self) -> Result<(), TraceQlError> {
        self.operators += 1;
        if self.operators > OPERATORS_MAX {
            return self.fail(format!("more than {OPERATORS_MAX} operators"));
        }
        Ok(())
    }

    /// The word before an opening bracket.
    fn call(&self) -> Option<&str> {
        match (self.peek(), self.peek_second()) {
            (Token::Word(w), Token::LeftParen) => Some(w),
            _ => None,
        }
    }

    fn chain(&mut self) -> Result<Chain, TraceQlError> {
        let mut stages: Vec<Stage> = Vec::new();
        let mut metrics: Option<MetricsExpr> = None;
        loop {
            let word = self.call().unwrap_or("").to_owned();
            if matches!(word.as_str(), "topk" | "bottomk") {
                let Some(input) = metrics.take() else {
                    return self.fail(format!("{word}() needs a metrics pipeline before it"));
                };
                self.at += 2;
                let Token::Int(count) = *self.peek() else {
                    return self.unexpected("a number of series");
                };
                self.at += 1;
                self.expect(&Token::RightParen, "')'")?;
                self.count_operator()?;
                metrics = Some(MetricsExpr::Rank {
                    input: Box::new(input),
                    bottom: word == "bottomk",
                    count,
                });
            } else if metrics.is_some() {
                return self.unexpected("topk() or bottomk()");
            } else if is_metrics_function(&word) {
                if stages.is_empty() {
                    return self.fail(format!("{word}() needs a span pipeline before it"));
                }
                let function = self.metrics_function(&word)?;
                let by = self.metrics_by()?;
                let spans = Pipeline(std::mem::take(&mut stages));
                metrics = Some(MetricsExpr::Function { spans, function, by });
            } else {
                match self.item(0)? {
                    Item::Spanset(SpansetExpr::Pipeline(p)) if stages.is_empty() => stages = p.0,
                    Item::Spanset(e) => stages.push(Stage::Spanset(e)),
                    Item::Stage(Stage::Coalesce) if stages.is_empty() => {
                        return self.fail("a pipeline cannot begin with coalesce()");
                    }
                    Item::Stage(s) => stages.push(s),
                    Item::Filter { op, left, right } => {
                        stages.push(Stage::ScalarFilter { op, left, right });
                    }
                    Item::Metrics(m) if stages.is_empty() => metrics = Some(m),
                    Item::Metrics(_) => {
                        return self.fail("a wrapped metrics pipeline must come first");
                    }
                    Item::Scalar { scalar, .. } => {
                        if self.depth > 0 && *self.peek() == Token::RightParen {
                            return Ok(Chain::Scalar { stages, scalar });
                        }
                        return self.unexpected("a comparison of the number");
                    }
                }
            }
            while let (Some(op), true) = (self.comparison(), metrics.is_some()) {
                let Some(input) = metrics.take() else { break };
                self.at += 1;
                self.count_operator()?;
                let offset = self.offset();
                let right = self.item(ADDITIVE)?;
                metrics = Some(metrics_filter(input, op, right, offset)?);
            }
            if self.eat(&Token::Pipe) {
                self.count_operator()?;
            } else {
                return Ok(match metrics {
                    Some(m) => Chain::Metrics(m),
                    None => Chain::Spans(Pipeline(stages)),
                });
            }
        }
    }

    fn comparison(&self) -> Option<FieldOp> {
        match self.peek() {
            Token::Op(op) => field_op(*op).filter(|op| {
                op.is_comparison() && !matches!(op, FieldOp::Regex | FieldOp::NotRegex)
            }),
            _ => None,
        }
    }

    fn item(&mut self, min: u8) -> Result<Item, TraceQlError> {
        let mut left = self.item_primary()?;
        loop {
            let Token::Op(op) = *self.peek() else { return Ok(left) };
            let Some(level) = level(op).filter(|l| *l >= min) else { return Ok(left) };
            let offset = self.offset();
            self.at += 1;
            self.count_operator()?;
            let right = self.item(if op == Op::Pow { level } else { level + 1 })?;
            left = combine(op, left, right, offset)?;
        }
    }

    fn item_primary(&mut self) -> Result<Item, TraceQlError> {
        match self.peek().clone() {
            Token::LeftBrace => self.filter().map(Item::Spanset),
            Token::LeftParen => {
                self.enter()?;
                self.at += 1;
                let chain = self.chain()?;
                self.expect(&Token::RightParen, "')'")?;
                self.depth -= 1;
                Ok(match chain {
                    Chain::Spans(Pipeline(mut stages)) => match (stages.pop(), stages.len()) {
                        (Some(Stage::Spanset(e)), 0) => Item::Spanset(e),
                        (last, _) => {
                            stages.extend(last);
                            Item::Spanset(SpansetExpr::Pipeline(Pipeline(stages)))
                        }
                    },
                    Chain::Metrics(m) => Item::Metrics(m),
                    Chain::Scalar { stages, scalar } if stages.is_empty() => {
                        Item::Scalar { scalar, literal: false }
                    }
                    Chain::Scalar { stages, scalar } => Item::Scalar {
                        scalar: ScalarExpr::Pipeline {
                            pipeline: Pipeline(stages),
                            aggregate: Box::new(scalar),
                        },
                        literal: false,
                    },
                })
            }
            Token::Op(Op::Sub) => {
                self.at += 1;
                match self.number() {
                    Some(s) => Ok(literal(negate(s))),
                    None => self.unexpected("a number after '-'"),
                }
            }
            Token::Int(_) | Token::Float(_) | Token::Duration(_) => match self.number() {
                Some(s) => Ok(literal(s)),
                None => self.unexpected("a number"),
            },
            _ => match self.call() {
                Some("by") => {
                    self.at += 2;
                    let e = self.field(0)?;
                    self.expect(&Token::RightParen, "')'")?;
                    Ok(Item::Stage(Stage::By(e)))
                }
                Some("coalesce") => {
                    self.at += 2;
                    self.expect(&Token::RightParen, "')'")?;
                    Ok(Item::Stage(Stage::Coalesce))
                }
                Some("select") => {
                    self.at += 2;
                    Ok(Item::Stage(Stage::Select(self.attributes()?)))
                }
                Some(word) => match aggregate(word) {
                    Some(op) => {
                        self.at += 2;
                        let field = match op {
                            Aggregate::Count => None,
                            _ => Some(self.field(0)?),
                        };
                        self.expect(&Token::RightParen, "')'")?;
                        let scalar = ScalarExpr::Aggregate { op, field };
                        Ok(Item::Scalar { scalar, literal: false })
                    }
                    None => self.fail(format!("unknown function {word:?}")),
                },
                None => self.unexpected("a span filter, function or number"),
            },
        }
    }

    fn number(&mut self) -> Option<Static> {
        let value = match self.peek() {
            Token::Int(v) => Static::Int(*v),
            Token::Float(v) => Static::Float(*v),
            Token::Duration(v) => Static::Duration(*v),
            _ => return None,
        };
        self.at += 1;
        Some(value)
    }

    fn filter(&mut self) -> Result<SpansetExpr, TraceQlError> {
        self.expect(&Token::LeftBrace, "'{'")?;
        if self.eat(&Token::RightBrace) {
            return Ok(SpansetExpr::Filter(None));
        }
        let e = self.field(0)?;
        self.expect(&Token::RightBrace, "'}'")?;
        Ok(SpansetExpr::Filter(Some(e)))
    }

    /// A comma-separated list up to and with the closing bracket.
    fn attributes(&mut self) -> Result<Vec<Attribute>, TraceQlError> {
        let mut out = vec![self.attribute()?];
        while self.eat(&Token::Comma) {
            out.push(self.attribute()?);
        }
        self.expect(&Token::RightParen, "')' or ','")?;
        Ok(out)
    }

    fn attribute(&mut self) -> Result<Attribute, TraceQlError> {
        let attribute = match self.peek() {
            Token::Attribute(a) => Some(a.clone()),
            Token::Word(w) => Intrinsic::from_plain(w).map(Attribute::Intrinsic),
            _ => None,
        };
        match attribute {
            Some(a) => {
                self.at += 1;
                Ok(a)
            }
            None => self.unexpected("an attribute or intrinsic"),
        }
    }

    fn field(&mut self, min: u8) -> Result<FieldExpr, TraceQlError> {
        let mut left = self.field_primary()?;
        loop {
            let Token::Op(token) = *self.peek() else { return Ok(left) };
            let (Some(op), Some(level)) = (field_op(token), level(token)) else {
                return Ok(left);
            };
            if level < min {
                return Ok(left);
            }
            self.at += 1;
            self.count_operator()?;
            let right = self.field(if op == FieldOp::Pow { level } else { level + 1 })?;
            left = FieldExpr::Binary { op, left: Box::new(left), right: Box::new(right) };
        }
    }

    fn field_primary(&mut self) -> Result<FieldExpr, TraceQlError> {
        let word = match self.peek().clone() {
            Token::LeftParen => {
                self.enter()?;
                self.at += 1;
                let e = self.field(0)?;
                self.expect(&Token::RightParen, "')'")?;
                self.depth -= 1;
                return Ok(e);
            }
            Token::Op(op @ (Op::Not | Op::Sub)) => {
                self.enter()?;
                self.at += 1;
                self.count_operator()?;
                if op == Op::Sub
                    && let Some(s) = self.number()
                {
                    self.depth -= 1;
                    return Ok(FieldExpr::Static(negate(s)));
                }
                let operand = Box::new(self.field(MULTIPLICATIVE)?);
                self.depth -= 1;
                let op = if op == Op::Not { UnaryOp::Not } else { UnaryOp::Negate };
                return Ok(FieldExpr::Unary { op, operand });
            }
            Token::Str(s) => {
                self.at += 1;
                return Ok(FieldExpr::Static(Static::Str(s)));
            }
            Token::Int(_) | Token::Float(_) | Token::Duration(_) => {
                return match self.number() {
                    Some(s) => Ok(FieldExpr::Static(s)),
                    None => self.unexpected("a number"),
                };
            }
            Token::Attribute(_) => return self.attribute().map(FieldExpr::Attribute),
            Token::Word(w) => w,
            _ => return self.unexpected("an attribute, intrinsic or value"),
        };
        if let Some(s) = keyword(&word) {
            self.at += 1;
            return Ok(FieldExpr::Static(s));
        }
        if Intrinsic::from_plain(&word).is_some() {
            return self.attribute().map(FieldExpr::Attribute);
        }
        self.fail(format!(
            "unknown word {word:?}; attributes are written .{word}, span.{word} or resource.{word}"
        ))
    }

    fn metrics_function(&mut self, word: &str) -> Result<MetricsFunction, TraceQlError> {
        self.at += 2;
        let over = |op, attribute| MetricsFunction::OverTime { op, attribute };
        let function = match word {
            "rate" => MetricsFunction::Rate,
            "count_over_time" => MetricsFunction::CountOverTime,
            "min_over_time" => over(OverTime::Min, self.attribute()?),
            "max_over_time" => over(OverTime::Max, self.attribute()?),
            "avg_over_time" => over(OverTime::Avg, self.attribute()?),
            "sum_over_time" => over(OverTime::Sum, self.attribute()?),
            "histogram_over_time" => {
                MetricsFunction::HistogramOverTime { attribute: self.attribute()? }
            }
            "quantile_over_time" => {
                let attribute = self.attribute()?;
                let mut quantiles = Vec::new();
                while self.eat(&Token::Comma) {
                    match self.number() {
                        Some(Static::Float(q)) => quantiles.push(q),
                        Some(Static::Int(q)) => quantiles.push(q as f64),
                        _ => return self.unexpected("a quantile from 0 to 1"),
                    }
                }
                if quantiles.is_empty() {
                    return self.unexpected("',' and a quantile from 0 to 1");
                }
                MetricsFunction::QuantileOverTime { attribute, quantiles }
            }
            _ => {
                let selection = self.filter()?;
                let mut numbers = Vec::new();
                while self.eat(&Token::Comma) {
                    match self.number() {
                        Some(Static::Int(v)) => numbers.push(v),
                        _ => return self.unexpected("an integer"),
                    }
                }
                let (top, window) = match numbers.as_slice() {
                    [] => (None, None),
                    [top] => (Some(*top), None),
                    [top, start, end] => (Some(*top), Some((*start, *end))),
                    _ => return self.fail("compare() takes 1, 2 or 4 arguments"),
                };
                MetricsFunction::Compare { selection, top, window }
            }
        };
        self.expect(&Token::RightParen, "')'")?;
        Ok(function)
    }

    fn metrics_by(&mut self) -> Result<Vec<Attribute>, TraceQlError> {
        if self.call() != Some("by") {
            return Ok(Vec::new());
        }
        self.at += 2;
        self.attributes()
    }

    fn hints(&mut self) -> Result<Vec<Hint>, TraceQlError> {
        let mut hints = Vec::new();
        if self.call() != Some("with") {
            return Ok(hints);
        }
        self.at += 2;
        loop {
            let Token::Word(name) = self.bump() else {
                self.at -= 1;
                return self.unexpected("the name of a hint");
            };
            self.expect(&Token::Op(Op::Equal), "'='")?;
            let FieldExpr::Static(value) = self.field_primary()? else {
                return self.fail(format!("hint {name} needs a value"));
            };
            hints.push(Hint { name, value });
            if !self.eat(&Token::Comma) {
                self.expect(&Token::RightParen, "')' or ','")?;
                return Ok(hints);
            }
        }
    }
}

fn literal(s: Static) -> Item {
    Item::Scalar { scalar: ScalarExpr::Static(s), literal: true }
}

fn negate(s: Static) -> Static {
    match s {
        Static::Int(v) => Static::Int(v.saturating_neg()),
        Static::Float(v) => Static::Float(-v),
        Static::Duration(v) => Static::Duration(v.saturating_neg()),
        other => other,
    }
}

fn combine(op: Op, left: Item, right: Item, offset: usize) -> Result<Item, TraceQlError> {
    match (left, right, spanset_op(op), field_op(op)) {
        (Item::Spanset(left), Item::Spanset(right), Some(op), _) => {
            let (left, right) = (Box::new(left), Box::new(right));
            Ok(Item::Spanset(SpansetExpr::Binary { op, left, right }))
        }
        (left, right, _, Some(op)) => combine_numbers(op, left, right, offset),
        _ => error(offset, "the operator does not fit what stands beside it"),
    }
}

fn combine_numbers(
    op: FieldOp,
    left: Item,
    right: Item,
    offset: usize,
) -> Result<Item, TraceQlError> {
    let comparison = op.is_comparison() && !matches!(op, FieldOp::Regex | FieldOp::NotRegex);
    match (left, right) {
        (Item::Metrics(m), right) if comparison => {
            metrics_filter(m, op, right, offset).map(Item::Metrics)
        }
        (Item::Scalar { scalar: left, .. }, Item::Scalar { scalar: right, .. }) => {
            match (left, right) {
                (ScalarExpr::Static(a), ScalarExpr::Static(b)) if op.is_arithmetic() => {
                    let scalar = ScalarExpr::Static(fold(op, &a, &b, offset)?);
                    Ok(Item::Scalar { scalar, literal: false })
                }
                (ScalarExpr::Static(_), ScalarExpr::Static(_)) => {
                    error(offset, "numbers alone say nothing about spans")
                }
                (ScalarExpr::Static(_), ScalarExpr::Pipeline { .. }) if comparison => {
                    error(offset, "the number must stand on the right side")
                }
                (left, right) if comparison => Ok(Item::Filter { op, left, right }),
                (left, right) if op.is_arithmetic() => {
                    let (left, right) = (Box::new(left), Box::new(right));
                    let scalar = ScalarExpr::Binary { op, left, right };
                    Ok(Item::Scalar { scalar, literal: false })
                }
                _ => error(offset, format!("operator {op} does not take numbers")),
            }
        }
        (left, right)
            if matches!(op, FieldOp::Add | FieldOp::Sub | FieldOp::Mul | FieldOp::Div) =>
        {
            let side = |item| match item {
                Item::Metrics(m) => Ok(Box::new(m)),
                Item::Scalar { scalar: ScalarExpr::Static(s), .. }
                    if !matches!(s, Static::Duration(_)) =>
                {
                    Ok(Box::new(MetricsExpr::Scalar(s)))
                }
                _ => error(offset, format!("operator {op} takes wrapped metrics and numbers")),
            };
            Ok(Item::Metrics(MetricsExpr::Binary { op, left: side(left)?, right: side(right)? }))
        }
        _ => error(offset, format!("operator {op} does not fit what stands beside it")),
    }
}

fn metrics_filter(
    input: MetricsExpr,
    op: FieldOp,
    right: Item,
    offset: usize,
) -> Result<MetricsExpr, TraceQlError> {
    match right {
        Item::Scalar { scalar: ScalarExpr::Static(value), literal }
            if literal || !matches!(value, Static::Duration(_)) =>
        {
            Ok(MetricsExpr::Filter { input: Box::new(input), op, value })
        }
        _ => error(offset, "time series are compared with a number"),
    }
}

/// Constant arithmetic. Integers stay integers where the result is one.
fn fold(op: FieldOp, a: &Static, b: &Static, offset: usize) -> Result<Static, TraceQlError> {
    if let (Static::Int(a), Static::Int(b)) = (a, b) {
        let exact = match op {
            FieldOp::Add => a.checked_add(*b),
            FieldOp::Sub => a.checked_sub(*b),
            FieldOp::Mul => a.checked_mul(*b),
            FieldOp::Div if a.checked_rem(*b) == Some(0) => a.checked_div(*b),
            FieldOp::Mod => a.checked_rem(*b),
            _ => None,
        };
        if let Some(v) = exact {
            return Ok(Static::Int(v));
        }
    }
    let is_duration = |s: &Static| matches!(s, Static::Duration(_));
    let (Some(x), Some(y)) = (number_of(a), number_of(b)) else {
        return error(offset, "arithmetic needs numbers");
    };
    let v = match op {
        FieldOp::Add => x + y,
        FieldOp::Sub => x - y,
        FieldOp::Mul => x * y,
        FieldOp::Div => x / y,
        FieldOp::Mod => x % y,
        _ => x.powf(y),
    };
    if !v.is_finite() {
        return error(offset, format!("{a} {op} {b} is not a finite number"));
    }
    Ok(if is_duration(a) || is_duration(b) { Static::Duration(v as i64) } else { Static::Float(v) })
}

fn number_of(s: &Static) -> Option<f64> {
    match s {
        Static::Int(v) | Static::Duration(v) => Some(*v as f64),
        Static::Float(v) => Some(*v),
        _ => None,
    }
}

fn level(op: Op) -> Option<u8> {
    match op {
        Op::And | Op::Or => Some(1),
        Op::Add | Op::Sub => Some(ADDITIVE),
        Op::Mul | Op::Div | Op::Mod => Some(MULTIPLICATIVE),
        Op::Pow => Some(6),
        Op::Not => None,
        _ => Some(2),
    }
}

fn field_op(op: Op) -> Option<FieldOp> {
    Some(match op {
        Op::And => FieldOp::And,
        Op::Or => FieldOp::Or,
        Op::Equal => FieldOp::Equal,
        Op::NotEqual => FieldOp::NotEqual,
        Op::Less => FieldOp::Less,
        Op::LessEqual => FieldOp::LessEqual,
        Op::Greater => FieldOp::Greater,
        Op::GreaterEqual => FieldOp::GreaterEqual,
        Op::Regex => FieldOp::Regex,
        Op::NotRegex => FieldOp::NotRegex,
        Op::Add => FieldOp::Add,
        Op::Sub => FieldOp::Sub,
        Op::Mul => FieldOp::Mul,
        Op::Div => FieldOp::Div,
        Op::Mod => FieldOp::Mod,
        Op::Pow => FieldOp::Pow,
        _ => return None,
    })
}

fn spanset_op(op: Op) -> Option<SpansetOp> {
    use Relation::{Ancestor, Child, Descendant, Parent, Sibling};
    use StructuralMode::{Negated, Plain, Union};
    let (relation, mode) = match op {
        Op::And => return Some(SpansetOp::And),
        Op::Or => return Some(SpansetOp::Or),
        Op::Greater => (Child, Plain),
        Op::Less => (Parent, Plain),
        Op::Descendant => (Descendant, Plain),
        Op::Ancestor => (Ancestor, Plain),
        Op::Sibling => (Sibling, Plain),
        Op::NotChild => (Child, Negated),
        Op::NotParent => (Parent, Negated),
        Op::NotDescendant => (Descendant, Negated),
        Op::NotAncestor => (Ancestor, Negated),
        Op::NotRegex => (Sibling, Negated),
        Op::UnionChild => (Child, Union),
        Op::UnionParent => (Parent, Union),
        Op::UnionDescendant => (Descendant, Union),
        Op::UnionAncestor => (Ancestor, Union),
        Op::UnionSibling => (Sibling, Union),
        _ => return None,
    };
    Some(SpansetOp::Structural { relation, mode })
}

fn aggregate(word: &str) -> Option<Aggregate> {
    Some(match word {
        "count" => Aggregate::Count,
        "avg" => Aggregate::Avg,
        "min" => Aggregate::Min,
        "max" => Aggregate::Max,
        "sum" => Aggregate::Sum,
        _ => return None,
    })
}

fn is_metrics_function(word: &str) -> bool {
    matches!(
        word,
        "rate"
            | "count_over_time"
            | "min_over_time"
            | "max_over_time"
            | "avg_over_time"
            | "sum_over_time"
            | "quantile_over_time"
            | "histogram_over_time"
            | "compare"
    )
}

fn keyword(word: &str) -> Option<Static> {
    Some(match word {
        "nil" => Static::Nil,
        "true" => Static::Bool(true),
        "false" => Static::Bool(false),
        "ok" => Static::Status(StatusCode::Ok),
        "error" => Static::Status(StatusCode::Error),
        "unset" => Static::Status(StatusCode::Unset),
        "unspecified" => Static::Kind(SpanKind::Unspecified),
        "internal" => Static::Kind(SpanKind::Internal),
        "server" => Static::Kind(SpanKind::Server),
        "client" => Static::Kind(SpanKind::Client),
        "producer" => Static::Kind(SpanKind::Producer),
        "consumer" => Static::Kind(SpanKind::Consumer),
        _ => return None,
    })
}

/// `service.name` is the one attribute that every resource has, see [`obs_types::Resource`].
pub(crate) fn always_present(attribute: &Attribute) -> bool {
    match attribute {
        Attribute::Intrinsic(_) => true,
        Attribute::Named { scope, parent, name } => {
            *scope == AttrScope::Resource && !parent && name == "service.name"
        }
    }
}
