//! Recursive descent with operator precedence, weakest first: `&& ||`, comparisons and structural
//! operators, `+ -`, `!`, `* / %`, `^` (right-associative).

mod field;
mod item;
mod metrics;
mod words;

use crate::TraceQlError;
use crate::ast::{
    Attribute, FieldOp, MetricsExpr, Pipeline, Query, QueryBody, ScalarExpr, SpansetExpr, Stage,
};
use crate::lexer::{Token, error, tokenize};

use item::metrics_filter;
pub(crate) use words::always_present;
use words::{field_op, is_metrics_function};

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
}
