//! What stands between the operators of a chain: spansets, scalars, and their arithmetic.

use super::field::{fold, negate};
use super::words::{aggregate, field_op, level, spanset_op};
use super::{Chain, Item, Parser};
use crate::TraceQlError;
use crate::ast::{
    Aggregate, FieldOp, MetricsExpr, Pipeline, ScalarExpr, SpansetExpr, Stage, Static,
};
use crate::lexer::{Op, Token, error};

impl Parser {
    pub(super) fn item(&mut self, min: u8) -> Result<Item, TraceQlError> {
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

    pub(super) fn item_primary(&mut self) -> Result<Item, TraceQlError> {
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

    pub(super) fn number(&mut self) -> Option<Static> {
        let value = match self.peek() {
            Token::Int(v) => Static::Int(*v),
            Token::Float(v) => Static::Float(*v),
            Token::Duration(v) => Static::Duration(*v),
            _ => return None,
        };
        self.at += 1;
        Some(value)
    }
}

pub(super) fn literal(s: Static) -> Item {
    Item::Scalar { scalar: ScalarExpr::Static(s), literal: true }
}

pub(super) fn combine(
    op: Op,
    left: Item,
    right: Item,
    offset: usize,
) -> Result<Item, TraceQlError> {
    match (left, right, spanset_op(op), field_op(op)) {
        (Item::Spanset(left), Item::Spanset(right), Some(op), _) => {
            let (left, right) = (Box::new(left), Box::new(right));
            Ok(Item::Spanset(SpansetExpr::Binary { op, left, right }))
        }
        (left, right, _, Some(op)) => combine_numbers(op, left, right, offset),
        _ => error(offset, "the operator does not fit what stands beside it"),
    }
}

pub(super) fn combine_numbers(
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

pub(super) fn metrics_filter(
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
