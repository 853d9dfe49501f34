//! Selectors, their matchers and modifiers, ranges and subqueries.

use obs_types::{METRIC_NAME, MatchOp, Matcher};

use super::{Parser, Result_, error, graphite};
use crate::ast::*;
use crate::lexer::Tok;

impl Parser<'_> {
    pub(super) fn vector(&mut self) -> Result_<Expr> {
        let v = self.vector_selector()?;
        let pos = v.pos;
        Ok(Expr::new(ExprKind::Vector(v), pos))
    }

    pub(super) fn vector_selector(&mut self) -> Result_<VectorSelector> {
        let t = self.peek();
        let mut name = String::new();
        let mut matchers = Vec::new();
        let mut sets = vec![Vec::new()];
        if matches!(t.tok, Tok::Ident | Tok::MetricIdent) {
            name = self.name(t);
            self.next();
        } else if !self.is("{") {
            return self.unexpected("", "");
        }
        let braces = self.eat("{").is_some();
        if braces && self.options.metricsql {
            sets = self.matcher_sets()?;
        } else if braces {
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
        let mut alternatives = Vec::new();
        if self.options.metricsql {
            (matchers, alternatives) = super::metricsql::named(sets, &name);
        }
        Ok(VectorSelector {
            name,
            matchers,
            alternatives,
            offset: DurationValue::Millis(0),
            at: None,
            anchored: false,
            smoothed: false,
            may_match_empty: false,
            pos: PosRange::new(t.pos.start, self.last_end),
        })
    }

    pub(super) fn matcher(&mut self) -> Result_<Matcher> {
        let t = self.peek();
        let name = match t.tok {
            Tok::Ident => self.name(t),
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
        let value = self.string_value("label matching")?;
        let pos = PosRange::new(t.pos.start, self.last_end);
        if self.options.metricsql && name == graphite::LABEL {
            return graphite::matcher(op, &value).map_err(|e| error(self.input, pos, e));
        }
        Matcher::new(name, op, value).map_err(|e| error(self.input, pos, e.to_string()))
    }

    pub(super) fn at_modifier(&mut self, e: &mut Expr) -> Result_<()> {
        let word = self.word_at(0);
        let bound = (word == "start" || word == "end") && matches!(self.look(1).tok, Tok::Sym("("));
        let at = if bound {
            self.next();
            self.next();
            if self.eat(")").is_none() {
                return self.unexpected("@", "timestamp");
            }
            if word == "start" { AtModifier::Start } else { AtModifier::End }
        } else if self.options.metricsql && matches!(self.peek().tok, Tok::Sym("(") | Tok::Ident) {
            self.computed_time()?
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
        if self.options.metricsql {
            Self::fix_all(e, &at, end);
            return Ok(());
        }
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

    pub(super) fn set_offset(&mut self, e: &mut Expr, offset: DurationValue) -> Result_<()> {
        if self.options.metricsql {
            return self.offset_in_metricsql(e, &offset);
        }
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

    pub(super) fn extended(&mut self, e: &mut Expr) -> Result_<()> {
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

    pub(super) fn brackets(&mut self, e: Expr) -> Result_<Expr> {
        let open = self.next();
        let implicit = self.options.metricsql && self.is(":");
        if !implicit && matches!(self.peek().tok, Tok::Sym("]" | ":") | Tok::Eof | Tok::Error) {
            return self
                .unexpected("subquery or range selector", "number, duration, step(), or range()");
        }
        let range = if implicit { DurationValue::Implicit } else { self.positive_duration()? };
        let selects = matches!(e.kind, ExprKind::Vector(_));
        if let Some(close) = self.eat("]") {
            if self.options.metricsql && !selects {
                let pos = e.pos.to(close.pos);
                return Ok(subquery(e, range, None, pos));
            }
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
        Ok(subquery(e, range, step, pos))
    }
}

fn subquery(e: Expr, range: DurationValue, step: Option<DurationValue>, pos: PosRange) -> Expr {
    let (expr, offset) = (Box::new(e), DurationValue::Millis(0));
    Expr::new(ExprKind::Subquery(SubqueryExpr { expr, range, step, offset, at: None }), pos)
}
