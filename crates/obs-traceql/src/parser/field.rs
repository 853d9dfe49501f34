//! Filters of one span: field expressions, attributes, and constant arithmetic.

use super::words::{field_op, keyword, level};
use super::{MULTIPLICATIVE, Parser};
use crate::TraceQlError;
use crate::ast::{Attribute, FieldExpr, FieldOp, Intrinsic, SpansetExpr, Static, UnaryOp};
use crate::lexer::{Op, Token, error};

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

/// Constant arithmetic. Integers stay integers where the result is one.
pub(super) fn fold(
    op: FieldOp,
    a: &Static,
    b: &Static,
    offset: usize,
) -> Result<Static, TraceQlError> {
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

pub(super) fn number_of(s: &Static) -> Option<f64> {
    match s {
        Static::Int(v) | Static::Duration(v) => Some(*v as f64),
        Static::Float(v) => Some(*v),
        _ => None,
    }
}
