//! Binary operators by precedence climbing, with their matching modifiers.

use super::{HEIGHT_MAX, Parser, Result_};
use crate::ast::*;
use crate::lexer::{Tok, Token};
use crate::text::{quote, unquote};

impl Parser<'_> {
    pub(super) fn expr(&mut self, min: u8) -> Result_<Expr> {
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
                "default" if self.options.metricsql => BinaryOp::Default,
                "if" if self.options.metricsql => BinaryOp::If,
                "ifnot" if self.options.metricsql => BinaryOp::IfNot,
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
            prefix: String::new(),
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
                let all = matches!(self.look(1).tok, Tok::Sym("*"));
                if self.options.metricsql && self.is("(") && all {
                    self.next();
                    self.next();
                    if self.eat(")").is_none() {
                        return self.unexpected("grouping opts", "\")\"");
                    }
                    m.include.push("*".to_owned());
                } else if self.is("(") {
                    m.include = self.grouping()?;
                }
                let text = matches!(self.look(1).tok, Tok::Str);
                if self.options.metricsql && text && self.eat_word("prefix") {
                    m.prefix = self.string_value("grouping opts")?;
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
    pub(super) fn signed_number(&mut self) -> Result_<Option<f64>> {
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

    pub(super) fn grouping(&mut self) -> Result_<Vec<String>> {
        if self.eat("(").is_none() {
            return self.unexpected("grouping opts", "\"(\"");
        }
        let mut out = Vec::new();
        loop {
            if self.eat(")").is_some() {
                return Ok(out);
            }
            let t = self.peek();
            if let Some(template) = self.template(self.text(t)).filter(|_| t.tok == Tok::Ident) {
                self.next();
                out.extend(self.expand(&template, |p| {
                    if p.is("(") {
                        return p.grouping();
                    }
                    let name = p.name(p.peek());
                    p.next();
                    Ok(vec![name])
                })?);
                if !self.is(")") && self.eat(",").is_none() {
                    return self.unexpected("grouping opts", "\",\" or \")\"");
                }
                continue;
            }
            let name = match t.tok {
                Tok::Ident | Tok::MetricIdent => self.name(t),
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

    pub(super) fn unquote(&self, t: Token) -> Result_<String> {
        match unquote(self.text(t)) {
            Some(s) => Ok(s),
            None => self.fail(
                t.pos,
                format!("error unquoting string {}: invalid syntax", quote(self.text(t))),
            ),
        }
    }
}
