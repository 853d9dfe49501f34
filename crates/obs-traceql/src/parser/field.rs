//! Filters of one span: field expressions, attributes, and constant arithmetic.

use super::words::{field_op, keyword, level};
use super::{MULTIPLICATIVE, Parser};
use crate::TraceQlError;
use crate::ast::{Attribute, FieldExpr, FieldOp, Intrinsic, SpansetExpr, Static, UnaryOp};
use crate::lexer::{Op, Token, error};
use crate::value::{Value, calculate};

impl Parser {
    pub(super) fn filter(&mut self) -> Result<SpansetExpr, TraceQlError> {
        self.expect(&Token::LeftBrace, "'{'")?;
        if self.eat(&Token::RightBrace) {
            return Ok(SpansetExpr::Filter(None));
        }
        let e = self.field(0)?;
        self.expect(&Token::RightBrace, "'}'")?;
        Ok(SpansetExpr::Filter(Some(e)))
    }

    /// A comma-separated list up to and with the closing bracket.
    pub(super) fn attributes(&mut self) -> Result<Vec<Attribute>, TraceQlError> {
        let mut out = vec![self.attribute()?];
        while self.eat(&Token::Comma) {
            out.push(self.attribute()?);
        }
        self.expect(&Token::RightParen, "')' or ','")?;
        Ok(out)
    }

    pub(super) fn attribute(&mut self) -> Result<Attribute, TraceQlError> {
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

    pub(super) fn field(&mut self, min: u8) -> Result<FieldExpr, TraceQlError> {
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

    pub(super) fn field_primary(&mut self) -> Result<FieldExpr, TraceQlError> {
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
}

pub(super) fn negate(s: Static) -> Static {
    match s {
        Static::Int(v) => Static::Int(v.saturating_neg()),
        Static::Float(v) => Static::Float(-v),
        Static::Duration(v) => Static::Duration(v.saturating_neg()),
        other => other,
    }
}

/// Constant arithmetic, as [`calculate`] does it; what is no finite number is an error.
pub(super) fn fold(
    op: FieldOp,
    a: &Static,
    b: &Static,
    offset: usize,
) -> Result<Static, TraceQlError> {
    match calculate(op, &Value::from_static(a), &Value::from_static(b)) {
        Value::Int(v) => Ok(Static::Int(v)),
        Value::Duration(v) => Ok(Static::Duration(v)),
        Value::Float(v) if v.is_finite() => Ok(Static::Float(v)),
        Value::Float(_) => error(offset, format!("{a} {op} {b} is not a finite number")),
        _ => error(offset, "arithmetic needs numbers"),
    }
}
