//! Literals, calls, aggregations, parentheses and what may stand before and after them.

use super::{HEIGHT_MAX, Parser, Result_};
use crate::ast::*;
use crate::functions;
use crate::lexer::{Tok, is_keyword};
use crate::text::{parse_duration_ms, parse_metricsql_number, parse_number, quote};

/// `name by (…) (arguments)`, or with the grouping behind.
pub(super) struct AggregateHead {
    pub(super) args: Vec<Expr>,
    pub(super) without: bool,
    pub(super) grouping: Vec<String>,
    pub(super) pos: PosRange,
}

impl Parser<'_> {
    /// An operand with its unary operators and everything that may follow it in postfix.
    pub(super) fn operand(&mut self) -> Result_<Expr> {
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
            if self.height > HEIGHT_MAX {
                return self
                    .fail(e.pos, format!("expression is nested deeper than {HEIGHT_MAX} levels"));
            }
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
                    "keep_metric_names" if self.options.metricsql => {
                        self.next();
                        e = self.keep_metric_names(e);
                        self.height += 1;
                    }
                    "anchored" | "smoothed" => self.extended(&mut e)?,
                    _ => return Ok(e),
                }
            }
        }
    }

    pub(super) fn number(&mut self) -> Result_<(NumberLiteral, PosRange)> {
        let t = self.next();
        let text = self.text(t);
        if t.tok == Tok::Duration && self.options.metricsql {
            let (ms, steps) = self.metricsql_duration(t)?;
            if steps != 0.0 {
                return self.fail(t.pos, "a duration in steps may not stand here");
            }
            return Ok((NumberLiteral { value: ms / 1000.0, duration: true }, t.pos));
        }
        if t.tok == Tok::Duration {
            return match parse_duration_ms(text) {
                Ok(ms) => Ok((NumberLiteral { value: ms as f64 / 1000.0, duration: true }, t.pos)),
                Err(e) => self.fail(t.pos, e),
            };
        }
        let value =
            if self.options.metricsql { parse_metricsql_number(text) } else { parse_number(text) };
        match value {
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

    pub(super) fn primary(&mut self) -> Result_<Expr> {
        self.height = 0;
        let t = self.peek();
        match t.tok {
            Tok::Duration if self.options.metricsql => self.duration_in_steps(),
            Tok::Number | Tok::Duration => {
                let (n, pos) = self.number()?;
                Ok(Expr::new(ExprKind::Number(n), pos))
            }
            Tok::Str => {
                let s = self.string_value("")?;
                Ok(Expr::new(ExprKind::String(s), PosRange::new(t.pos.start, self.last_end)))
            }
            Tok::Sym("(") => {
                self.next();
                let inner = self.expr(0)?;
                self.height += 1;
                if self.options.metricsql && self.is(",") {
                    return self.rest_of_union(t.pos, inner);
                }
                let Some(close) = self.eat(")") else { return self.unexpected("", "") };
                Ok(Expr::new(ExprKind::Paren(Box::new(inner)), t.pos.to(close.pos)))
            }
            Tok::Sym("{") => self.vector(),
            Tok::MetricIdent => self.vector(),
            Tok::Ident => {
                let word = self.text(t);
                let next_is = |s: &str| matches!(self.look(1).tok, Tok::Sym(x) if x == s);
                if let Some(template) = self.template(word) {
                    return self.template_expr(&template);
                }
                if self.options.metricsql && next_is("(") && word.eq_ignore_ascii_case("with") {
                    return self.with_templates();
                }
                if let Some(op) = self.aggregate_op(word) {
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
                if self.options.metricsql && next_is("(") && word == "quantiles" {
                    return self.quantiles();
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

    pub(super) fn args(&mut self) -> Result_<Vec<Expr>> {
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
            if self.is(")") && self.options.metricsql {
                self.next();
                self.height = height + 1;
                return Ok(out);
            }
            if self.is(")") {
                return self.fail(comma.pos, "trailing commas not allowed in function call args");
            }
        }
    }

    /// A duration as a number of seconds, `i` in it as so many steps.
    fn duration_in_steps(&mut self) -> Result_<Expr> {
        let t = self.next();
        let (ms, steps) = self.metricsql_duration(t)?;
        let number =
            |value, duration| Expr::new(ExprKind::Number(NumberLiteral { value, duration }), t.pos);
        if steps == 0.0 {
            return Ok(number(ms / 1000.0, true));
        }
        let binary = |op, lhs, rhs| {
            let (lhs, rhs) = (Box::new(lhs), Box::new(rhs));
            let binary = BinaryExpr { op, lhs, rhs, matching: None, return_bool: false };
            Expr::new(ExprKind::Binary(binary), t.pos)
        };
        let step = super::metricsql::call("step", Vec::new(), t.pos);
        let by_step = binary(BinaryOp::Mul, number(steps, false), step);
        let sum = binary(BinaryOp::Add, number(ms / 1000.0, true), by_step);
        Ok(Expr::new(ExprKind::Paren(Box::new(sum)), t.pos))
    }

    fn aggregate_op(&self, word: &str) -> Option<AggregateOp> {
        AggregateOp::from_word(word).or_else(|| {
            let word = word.to_ascii_lowercase();
            let extra = ExtraAggregate::from_word(&word).filter(|_| self.options.metricsql);
            extra.map(AggregateOp::Extra)
        })
    }

    fn call(&mut self) -> Result_<Expr> {
        if self.options.metricsql {
            return self.metricsql_call();
        }
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
        let AggregateHead { mut args, without, grouping, pos } = self.aggregate_head()?;
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
        let mut remainder = None;
        if self.options.metricsql && args.len() > want {
            let ranked = matches!(op, AggregateOp::Extra(ExtraAggregate::Ranked { .. }));
            match args.pop() {
                Some(Expr { kind: ExprKind::String(s), .. }) if ranked => remainder = Some(s),
                last => args.extend(last),
            }
            if args.len() > want {
                let inputs = args.split_off(want - 1);
                args.push(super::metricsql::union(inputs, pos));
            }
        }
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
        let aggregate = AggregateExpr { op, expr, param, grouping, without, remainder };
        let e = Expr::new(ExprKind::Aggregate(aggregate), pos);
        self.limit_groups(e)
    }

    /// The name, the arguments, and the grouping before or after them.
    pub(super) fn aggregate_head(&mut self) -> Result_<AggregateHead> {
        let t = self.next();
        let mut modifier = self.aggregate_modifier()?;
        if !self.is("(") {
            return self.unexpected("aggregation", "");
        }
        let args = self.args()?;
        if modifier.is_none() {
            modifier = self.aggregate_modifier()?;
        }
        let (without, grouping) = modifier.unwrap_or_default();
        let pos = PosRange::new(t.pos.start, self.last_end);
        Ok(AggregateHead { args, without, grouping, pos })
    }

    fn aggregate_modifier(&mut self) -> Result_<Option<(bool, Vec<String>)>> {
        let word = self.word_at(0);
        if word != "by" && word != "without" {
            return Ok(None);
        }
        self.next();
        Ok(Some((word == "without", self.grouping()?)))
    }
}
