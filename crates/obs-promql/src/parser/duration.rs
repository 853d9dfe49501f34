//! Duration expressions: in brackets with operators, after `offset` a single term.

use super::{Parser, Result_};
use crate::ast::*;
use crate::lexer::{Tok, Token};
use crate::text::{parse_metricsql_duration, quote};

/// A `time.Duration` of Prometheus holds at most this many seconds.
const SECONDS_MAX: f64 = 9_223_372_036.854_775;

fn term_pos(t: &DurationTerm, number: PosRange) -> PosRange {
    match t {
        DurationTerm::Number(_) => number,
        DurationTerm::Expr(e) => e.pos,
    }
}

impl Parser<'_> {
    pub(super) fn positive_duration(&mut self) -> Result_<DurationValue> {
        let (term, pos) = self.duration_expr(0)?;
        match term {
            DurationTerm::Number(n) if n.value > 0.0 => {
                Ok(DurationValue::Millis((n.value * 1000.0).round() as i64))
            }
            DurationTerm::Number(_) => self.fail(pos, "duration must be greater than 0"),
            DurationTerm::Expr(e) => Ok(DurationValue::Expr(e)),
        }
    }

    pub(super) fn offset_duration(&mut self) -> Result_<DurationValue> {
        let starts = match self.peek().tok {
            Tok::Number | Tok::Duration | Tok::Sym("+" | "-" | "(") => true,
            Tok::Ident => {
                matches!(self.word_at(0).as_str(), "step" | "range" | "min_of" | "max_of")
                    || self.template(self.text(self.peek())).is_some()
            }
            _ => false,
        };
        if !starts {
            return self.unexpected("offset", "number, duration, step(), or range()");
        }
        let (term, _) = self.duration_unary(true)?;
        Ok(match term {
            DurationTerm::Number(n) => DurationValue::Millis((n.value * 1000.0).round() as i64),
            DurationTerm::Expr(e) => DurationValue::Expr(e),
        })
    }

    /// Milliseconds and steps of a duration.
    pub(super) fn metricsql_duration(&self, t: Token) -> Result_<(f64, f64)> {
        let text = self.text(t);
        let Some((ms, steps)) = parse_metricsql_duration(text) else {
            return self.fail(t.pos, format!("not a valid duration string: {}", quote(text)));
        };
        if !ms.is_finite() || ms.abs() > SECONDS_MAX * 1000.0 || !steps.is_finite() {
            return self.fail(t.pos, "duration out of range");
        }
        Ok((ms, steps))
    }

    fn need_enabled(&self, pos: PosRange) -> Result_<()> {
        if self.options.duration_expr {
            return Ok(());
        }
        self.fail(pos, "experimental duration expression is not enabled")
    }

    fn duration_expr(&mut self, min: u8) -> Result_<(DurationTerm, PosRange)> {
        self.enter()?;
        let (mut left, mut pos) = self.duration_unary(false)?;
        loop {
            let (op, precedence) = match self.peek().tok {
                Tok::Sym("+") => (DurationOp::Add, 1),
                Tok::Sym("-") => (DurationOp::Sub, 1),
                Tok::Sym("*") => (DurationOp::Mul, 2),
                Tok::Sym("/") => (DurationOp::Div, 2),
                Tok::Sym("%") => (DurationOp::Mod, 2),
                Tok::Sym("^") => (DurationOp::Pow, 3),
                _ => break,
            };
            if precedence < min {
                break;
            }
            let sign = self.next();
            let (right, right_pos) =
                self.duration_expr(if op == DurationOp::Pow { 3 } else { precedence + 1 })?;
            self.need_enabled(term_pos(&left, pos))?;
            if matches!(&right, DurationTerm::Number(n) if n.value == 0.0) {
                if op == DurationOp::Div {
                    return self.fail(sign.pos, "division by zero");
                }
                if op == DurationOp::Mod {
                    return self.fail(sign.pos, "modulo by zero");
                }
            }
            pos = pos.to(right_pos);
            left = DurationTerm::Expr(Box::new(DurationExpr {
                op,
                lhs: Some(left),
                rhs: Some(right),
                wrapped: false,
                pos,
            }));
        }
        self.depth -= 1;
        Ok((left, pos))
    }

    /// In brackets a sign covers a power (`-2^2` is `-(2^2)`); after `offset` only its term.
    fn duration_unary(&mut self, offset: bool) -> Result_<(DurationTerm, PosRange)> {
        if !(self.is("+") || self.is("-")) {
            return self.duration_term();
        }
        let sign = self.next();
        let negative = self.text(sign) == "-";
        let (inner, inner_pos) =
            if offset { self.duration_term()? } else { self.duration_expr(3)? };
        let pos = sign.pos.to(inner_pos);
        Ok(match inner {
            DurationTerm::Number(n) => (
                DurationTerm::Number(NumberLiteral {
                    value: if negative { -n.value } else { n.value },
                    ..n
                }),
                pos,
            ),
            DurationTerm::Expr(_) if !negative => (inner, inner_pos),
            DurationTerm::Expr(_) => (
                DurationTerm::Expr(Box::new(DurationExpr {
                    op: DurationOp::Sub,
                    lhs: None,
                    rhs: Some(inner),
                    wrapped: false,
                    pos,
                })),
                pos,
            ),
        })
    }

    fn duration_term(&mut self) -> Result_<(DurationTerm, PosRange)> {
        let t = self.peek();
        match t.tok {
            Tok::Duration if self.options.metricsql => {
                let (ms, steps) = self.metricsql_duration(t)?;
                self.next();
                let number = |value| DurationTerm::Number(NumberLiteral { value, duration: true });
                if steps == 0.0 {
                    return Ok((number(ms / 1000.0), t.pos));
                }
                let expr = |op, lhs, rhs| {
                    let wrapped = false;
                    DurationTerm::Expr(Box::new(DurationExpr { op, lhs, rhs, wrapped, pos: t.pos }))
                };
                let count = DurationTerm::Number(NumberLiteral { value: steps, duration: false });
                let by_step =
                    expr(DurationOp::Mul, Some(count), Some(expr(DurationOp::Step, None, None)));
                let sum = match ms {
                    0.0 => by_step,
                    _ => expr(DurationOp::Add, Some(number(ms / 1000.0)), Some(by_step)),
                };
                Ok((sum, t.pos))
            }
            Tok::Number | Tok::Duration => {
                let (n, pos) = self.number()?;
                if n.value.is_nan() || n.value.abs() > SECONDS_MAX {
                    return self.fail(pos, "duration out of range");
                }
                Ok((DurationTerm::Number(n), pos))
            }
            Tok::Sym("(") => {
                self.next();
                let (inner, inner_pos) = self.duration_expr(0)?;
                let Some(close) = self.eat(")") else { return self.unexpected("", "") };
                let pos = t.pos.to(close.pos);
                self.need_enabled(term_pos(&inner, inner_pos))?;
                let wrapped = match inner {
                    DurationTerm::Expr(mut e) => {
                        e.wrapped = true;
                        e
                    }
                    n @ DurationTerm::Number(_) => Box::new(DurationExpr {
                        op: DurationOp::Add,
                        lhs: None,
                        rhs: Some(n),
                        wrapped: true,
                        pos,
                    }),
                };
                Ok((DurationTerm::Expr(wrapped), pos))
            }
            Tok::Ident => {
                if let Some(template) = self.template(self.text(t)) {
                    self.next();
                    return self.expand(&template, |p| p.duration_expr(0));
                }
                let op = match self.word_at(0).as_str() {
                    "step" => DurationOp::Step,
                    "range" => DurationOp::Range,
                    "min_of" => DurationOp::MinOf,
                    "max_of" => DurationOp::MaxOf,
                    _ => return self.unexpected("", ""),
                };
                self.next();
                if self.eat("(").is_none() {
                    return self.unexpected("", "");
                }
                let (mut lhs, mut rhs) = (None, None);
                if matches!(op, DurationOp::MinOf | DurationOp::MaxOf) {
                    lhs = Some(self.duration_expr(0)?.0);
                    if self.eat(",").is_none() {
                        return self.unexpected("", "");
                    }
                    rhs = Some(self.duration_expr(0)?.0);
                }
                let Some(close) = self.eat(")") else { return self.unexpected("", "") };
                let pos = t.pos.to(close.pos);
                self.need_enabled(pos)?;
                Ok((
                    DurationTerm::Expr(Box::new(DurationExpr {
                        op,
                        lhs,
                        rhs,
                        wrapped: false,
                        pos,
                    })),
                    pos,
                ))
            }
            _ => self.unexpected("", ""),
        }
    }
}
