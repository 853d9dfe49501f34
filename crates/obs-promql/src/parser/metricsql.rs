//! What MetricsQL's grammar has beyond PromQL's: `WITH` templates, alternatives in braces, windows
//! that are not written, modifiers behind every expression.
//!
//! A template is kept as the place of its body among the tokens and is read anew at every use, with
//! its parameters bound to the places of the arguments.
//! Source: MetricsQL documentation of VictoriaMetrics; differences: `docs/compat/metricsql.md`.

use std::rc::Rc;

use obs_types::{METRIC_NAME, Matcher};

use super::operand::AggregateHead;
use super::{Parser, Result_, check, coerce};
use crate::ast::*;
use crate::functions;
use crate::lexer::Tok;
use crate::text::{float_g, quote};

/// Most uses of templates in one query; keeps templates of templates from growing without end.
const EXPANSIONS_MAX: usize = 1_000;

/// The templates that are visible at a place; shared tails.
#[derive(Clone, Debug, Default)]
pub(super) struct Scope(Option<Rc<Template>>);

#[derive(Debug)]
pub(super) struct Template {
    name: String,
    parameters: Vec<String>,
    /// Number of the first token of the body.
    body: usize,
    /// What the body sees.
    scope: Scope,
    next: Scope,
}

impl Scope {
    fn with(&self, name: String, parameters: Vec<String>, body: usize, scope: Self) -> Self {
        Self(Some(Rc::new(Template { name, parameters, body, scope, next: self.clone() })))
    }

    fn find(&self, name: &str) -> Option<Rc<Template>> {
        let mut at = self.0.as_ref();
        while let Some(t) = at {
            if t.name == name {
                return Some(Rc::clone(t));
            }
            at = t.next.0.as_ref();
        }
        None
    }
}

impl Parser<'_> {
    pub(super) fn template(&self, name: &str) -> Option<Rc<Template>> {
        if self.options.metricsql { self.scope.find(name) } else { None }
    }

    /// `WITH (name = …, name(parameters) = …) expression`.
    pub(super) fn with_templates(&mut self) -> Result_<Expr> {
        let outer = self.scope.clone();
        self.next();
        self.next();
        while self.eat(")").is_none() {
            let t = self.peek();
            if !matches!(t.tok, Tok::Ident | Tok::MetricIdent) {
                return self.unexpected("WITH", "name");
            }
            let name = self.text(t).to_owned();
            self.next();
            let mut parameters = Vec::new();
            if self.eat("(").is_some() {
                while self.eat(")").is_none() {
                    let p = self.peek();
                    if p.tok != Tok::Ident {
                        return self.unexpected("WITH", "parameter");
                    }
                    parameters.push(self.text(p).to_owned());
                    self.next();
                    if !self.is(")") && self.eat(",").is_none() {
                        return self.unexpected("WITH", "\",\" or \")\"");
                    }
                }
            }
            if self.eat("=").is_none() {
                return self.unexpected("WITH", "\"=\"");
            }
            let body = self.at;
            self.skip_argument()?;
            self.scope = self.scope.with(name, parameters, body, self.scope.clone());
            if !self.is(")") && self.eat(",").is_none() {
                return self.unexpected("WITH", "\",\" or \")\"");
            }
        }
        let expr = self.expr(0)?;
        self.scope = outer;
        Ok(expr)
    }

    /// Goes to the comma or bracket that ends an argument.
    fn skip_argument(&mut self) -> Result_<()> {
        let (from, mut open) = (self.at, 0usize);
        loop {
            match self.peek().tok {
                Tok::Eof | Tok::Error => return self.unexpected("template", ""),
                Tok::Sym("(" | "[" | "{") => open += 1,
                Tok::Sym("," | ")") if open == 0 => break,
                Tok::Sym(")" | "]" | "}") => open = open.saturating_sub(1),
                _ => {}
            }
            self.next();
        }
        if self.at == from { self.unexpected("template", "expression") } else { Ok(()) }
    }

    /// Reads a template's body in place of its name, which has been consumed.
    pub(super) fn expand<T>(
        &mut self,
        template: &Template,
        read: impl FnOnce(&mut Self) -> Result_<T>,
    ) -> Result_<T> {
        let pos = self.peek().pos;
        self.expansions += 1;
        if self.expansions > EXPANSIONS_MAX {
            return self.fail(pos, format!("templates are used more than {EXPANSIONS_MAX} times"));
        }
        let mut scope = template.scope.clone();
        if !template.parameters.is_empty() {
            if self.eat("(").is_none() {
                return self.unexpected("template", "arguments");
            }
            for (i, name) in template.parameters.iter().enumerate() {
                if i > 0 && self.eat(",").is_none() {
                    return self.unexpected("template", "one argument for each parameter");
                }
                let body = self.at;
                self.skip_argument()?;
                scope = scope.with(name.clone(), Vec::new(), body, self.scope.clone());
            }
            if self.eat(")").is_none() {
                return self.unexpected("template", "one argument for each parameter");
            }
        }
        let (at, end) = (self.at, self.last_end);
        let caller = std::mem::replace(&mut self.scope, scope);
        self.at = template.body;
        self.enter()?;
        let out = read(self)?;
        if !matches!(self.peek().tok, Tok::Sym("," | ")")) {
            return self.unexpected("template", "");
        }
        self.depth -= 1;
        (self.at, self.last_end, self.scope) = (at, end, caller);
        Ok(out)
    }

    /// A template where an expression may stand; more matchers may follow a selector.
    pub(super) fn template_expr(&mut self, template: &Template) -> Result_<Expr> {
        self.next();
        let mut e = self.expand(template, |p| p.expr(0))?;
        if self.is("{")
            && let ExprKind::Vector(v) = &mut e.kind
        {
            self.next();
            let more = self.matcher_sets()?;
            let mut own = vec![std::mem::take(&mut v.matchers)];
            own.append(&mut v.alternatives);
            if !v.name.is_empty() {
                // The matcher of the name comes last.
                own.iter_mut().for_each(|set| drop(set.pop()));
            }
            (v.matchers, v.alternatives) = named(product(&own, &more), &v.name);
        }
        Ok(e)
    }

    /// Sets of matchers up to the closing brace, apart by `or`.
    pub(super) fn matcher_sets(&mut self) -> Result_<Vec<Vec<Matcher>>> {
        let mut sets = Vec::new();
        let mut current: Vec<Vec<Matcher>> = vec![Vec::new()];
        loop {
            if self.eat("}").is_some() {
                sets.append(&mut current);
                return Ok(sets);
            }
            let t = self.peek();
            let alone = matches!(self.look(1).tok, Tok::Sym("," | "}"))
                || self.look(1).tok == Tok::Ident && self.word_at(1) == "or";
            match self.template(self.text(t)).filter(|_| t.tok == Tok::Ident && alone) {
                Some(template) => {
                    self.next();
                    let more = self.expand(&template, |p| {
                        if p.eat("{").is_none() {
                            return p.unexpected("label matching", "template of matchers");
                        }
                        p.matcher_sets()
                    })?;
                    current = product(&current, &more);
                }
                None => {
                    let m = self.matcher()?;
                    current.iter_mut().for_each(|set| set.push(m.clone()));
                }
            }
            if self.word_at(0) == "or" {
                self.next();
                sets.append(&mut current);
                current.push(Vec::new());
            } else if !self.is("}") && self.eat(",").is_none() {
                return self.unexpected("label matching", "\",\", \"or\" or \"}\"");
            }
        }
    }

    /// Strings and templates of strings, put together by `+`.
    pub(super) fn string_value(&mut self, context: &str) -> Result_<String> {
        let mut out = String::new();
        loop {
            let t = self.peek();
            let template = self.template(self.text(t)).filter(|_| t.tok == Tok::Ident);
            if t.tok == Tok::Str {
                out.push_str(&self.unquote(t)?);
                self.next();
            } else if let Some(template) = template {
                self.next();
                out.push_str(&self.expand(&template, |p| p.string_value(context))?);
            } else {
                return self.unexpected(context, "string");
            }
            let more = matches!(self.look(1).tok, Tok::Str | Tok::Ident);
            if !(self.options.metricsql && self.is("+") && more) {
                return Ok(out);
            }
            self.next();
        }
    }

    /// `(a, b)`, with the first already read: all series of all of them.
    pub(super) fn rest_of_union(&mut self, open: PosRange, first: Expr) -> Result_<Expr> {
        let mut args = vec![first];
        let mut height = self.height;
        while self.eat(",").is_some() {
            if self.is(")") {
                break;
            }
            args.push(self.expr(0)?);
            height = height.max(self.height);
        }
        self.height = height + 1;
        let Some(close) = self.eat(")") else { return self.unexpected("", "") };
        let pos = open.to(close.pos);
        Ok(union(args, pos))
    }

    /// The expression behind `@`; checked here, since it is no child of the tree.
    pub(super) fn computed_time(&mut self) -> Result_<AtModifier> {
        let height = self.height;
        self.enter()?;
        let mut time = self.primary()?;
        self.depth -= 1;
        self.height = height.max(self.height + 1);
        coerce::coerce(&mut time);
        coerce::to(&mut time, ValueType::Scalar);
        let found = check::check(&mut time, self.input)?;
        if found != ValueType::Scalar {
            let found = found.documented();
            return self.fail(time.pos, format!("expected a time behind @, got {found}"));
        }
        Ok(AtModifier::Computed(Box::new(time)))
    }

    /// `offset` behind a selector moves it, behind any other expression every selector in it that is
    /// not fixed in time.
    pub(super) fn offset_in_metricsql(
        &mut self,
        e: &mut Expr,
        offset: &DurationValue,
    ) -> Result_<()> {
        let (pos, end) = (e.pos, self.last_end);
        let slot = match &mut e.kind {
            ExprKind::Vector(v) => &mut v.offset,
            ExprKind::Matrix(m) => &mut m.selector.offset,
            ExprKind::Subquery(s) => &mut s.offset,
            _ => {
                Self::offset_all(e, offset, end);
                return Ok(());
            }
        };
        *slot = sum(slot, offset, pos);
        e.pos.end = e.pos.end.max(end);
        Ok(())
    }

    fn offset_all(e: &mut Expr, offset: &DurationValue, end: usize) {
        let pos = e.pos;
        e.pos.end = e.pos.end.max(end);
        let (slot, at) = match &mut e.kind {
            ExprKind::Vector(v) => (&mut v.offset, &v.at),
            ExprKind::Matrix(m) => (&mut m.selector.offset, &m.selector.at),
            ExprKind::Subquery(s) => (&mut s.offset, &s.at),
            _ => {
                let children = e.children_mut().into_iter();
                return children.for_each(|c| Self::offset_all(c, offset, end));
            }
        };
        if at.is_none() {
            *slot = sum(slot, offset, pos);
        }
    }

    /// `@` behind any expression fixes every selector in it that is not fixed yet.
    pub(super) fn fix_all(e: &mut Expr, at: &AtModifier, end: usize) {
        let slot = match &mut e.kind {
            ExprKind::Vector(v) => &mut v.at,
            ExprKind::Matrix(m) => &mut m.selector.at,
            ExprKind::Subquery(s) => &mut s.at,
            _ => return e.children_mut().into_iter().for_each(|c| Self::fix_all(c, at, end)),
        };
        slot.get_or_insert_with(|| at.clone());
        e.pos.end = e.pos.end.max(end);
    }

    /// `f(x) keep_metric_names`.
    pub(super) fn keep_metric_names(&mut self, e: Expr) -> Expr {
        let pos = PosRange::new(e.pos.start, self.last_end);
        call(functions::metricsql::KEEP_METRIC_NAMES, vec![e], pos)
    }

    /// `limit N` behind an aggregation.
    pub(super) fn limit_groups(&mut self, e: Expr) -> Result_<Expr> {
        if !self.options.metricsql || !self.eat_word("limit") {
            return Ok(e);
        }
        let t = self.peek();
        if t.tok != Tok::Number {
            return self.unexpected("limit", "number");
        }
        let (n, _) = self.number()?;
        let pos = e.pos.to(t.pos);
        self.height += 1;
        let number =
            |v| Expr::new(ExprKind::Number(NumberLiteral { value: v, duration: false }), pos);
        Ok(call("limit_offset", vec![number(n.value), number(0.0), e], pos))
    }

    /// `quantiles("label", φ, …, vector) by (…)` as one `quantile` for each φ.
    pub(super) fn quantiles(&mut self) -> Result_<Expr> {
        let AggregateHead { mut args, without, grouping, pos } = self.aggregate_head()?;
        if args.len() < 3 {
            return self.fail(pos, "quantiles() needs a label, at least one quantile and a vector");
        }
        let (Some(input), label) = (args.pop(), args.remove(0)) else {
            return self.unexpected("", "");
        };
        let all = args
            .into_iter()
            .map(|q| {
                let text = match &q.kind {
                    ExprKind::Number(n) => float_g(n.value, 21),
                    _ => q.to_string(),
                };
                let one = Expr::new(
                    ExprKind::Aggregate(AggregateExpr {
                        op: AggregateOp::Quantile,
                        expr: Box::new(input.clone()),
                        param: Some(Box::new(q)),
                        grouping: grouping.clone(),
                        without,
                        remainder: None,
                    }),
                    pos,
                );
                let text = Expr::new(ExprKind::String(text), pos);
                call("label_set", vec![one, label.clone(), text], pos)
            })
            .collect();
        // The union, the label, the aggregation.
        self.height += 3;
        self.limit_groups(union(all, pos))
    }

    /// The function of a name, with its arguments in the order of its signature.
    pub(super) fn metricsql_call(&mut self) -> Result_<Expr> {
        let t = self.next();
        let name = self.text(t).to_ascii_lowercase();
        let mut args = self.args()?;
        let pos = PosRange::new(t.pos.start, self.last_end);
        if let Some(template) = functions::metricsql::template(&name) {
            return self.built_in(&name, template, &args, pos);
        }
        if let Some(ExprKind::Call(c)) = args.first_mut().map(|a| &mut a.kind)
            && name == "aggr_over_time"
            && c.func.name == "union"
        {
            let names = std::mem::take(&mut c.args);
            args.splice(0..1, names);
        }
        if functions::metricsql::vector_comes_last(&name) {
            let last = args.pop();
            args.splice(0..0, last);
        }
        let Some(func) = functions::metricsql::find(&name) else {
            return self.fail(t.pos, format!("unknown function with name {}", quote(self.text(t))));
        };
        Ok(Expr::new(ExprKind::Call(Call { func, args }), pos))
    }
}

impl Parser<'_> {
    /// The expression that a function stands for, with the arguments in it.
    fn built_in(
        &mut self,
        name: &str,
        (parameters, text): (&[&str], &str),
        args: &[Expr],
        pos: PosRange,
    ) -> Result_<Expr> {
        if args.len() != parameters.len() {
            let (want, got) = (parameters.len(), args.len());
            return self.fail(pos, format!("{name}() takes {want} arguments, got {got}"));
        }
        let options = super::ParserOptions::metricsql();
        let mut inner = Parser::new(text, &options);
        let mut e = inner.expr(0)?;
        self.height += inner.height;
        put_arguments(&mut e, parameters, args, pos);
        Ok(Expr::new(ExprKind::Paren(Box::new(e)), pos))
    }
}

fn put_arguments(e: &mut Expr, parameters: &[&str], args: &[Expr], pos: PosRange) {
    if let ExprKind::Vector(v) = &e.kind
        && let Some(at) = parameters.iter().position(|p| *p == v.name)
        && let Some(arg) = args.get(at)
    {
        *e = arg.clone();
        return;
    }
    e.pos = pos;
    e.children_mut().into_iter().for_each(|c| put_arguments(c, parameters, args, pos));
}

/// Every set of one side with every set of the other.
fn product(a: &[Vec<Matcher>], b: &[Vec<Matcher>]) -> Vec<Vec<Matcher>> {
    a.iter().flat_map(|x| b.iter().map(move |y| [x.as_slice(), y].concat())).collect()
}

/// All sets with the matcher of the name: `(first, others)`.
pub(super) fn named(sets: Vec<Vec<Matcher>>, name: &str) -> (Vec<Matcher>, Vec<Vec<Matcher>>) {
    let mut sets = sets.into_iter().map(|mut set| {
        if !name.is_empty() {
            set.push(Matcher::equal(METRIC_NAME, name));
        }
        set
    });
    (sets.next().unwrap_or_default(), sets.collect())
}

/// A call of a function that is known to exist.
pub(super) fn call(name: &str, args: Vec<Expr>, pos: PosRange) -> Expr {
    let Some(func) = functions::metricsql::find(name) else {
        unreachable!("{name} is in the table of functions")
    };
    Expr::new(ExprKind::Call(Call { func, args }), pos)
}

pub(super) fn union(args: Vec<Expr>, pos: PosRange) -> Expr {
    call("union", args, pos)
}

fn sum(a: &DurationValue, b: &DurationValue, pos: PosRange) -> DurationValue {
    let term = |d: &DurationValue| match d {
        DurationValue::Expr(e) => DurationTerm::Expr(e.clone()),
        other => DurationTerm::Number(NumberLiteral {
            value: other.millis() as f64 / 1000.0,
            duration: true,
        }),
    };
    match (a, b) {
        (DurationValue::Millis(0), _) => b.clone(),
        (DurationValue::Millis(x), DurationValue::Millis(y)) => {
            DurationValue::Millis(x.saturating_add(*y))
        }
        _ => DurationValue::Expr(Box::new(DurationExpr {
            op: DurationOp::Add,
            lhs: Some(term(a)),
            rhs: Some(term(b)),
            wrapped: false,
            pos,
        })),
    }
}
