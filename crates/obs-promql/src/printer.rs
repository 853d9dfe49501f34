//! The canonical text of a query, and the indented one of `format_query`.

use std::fmt;

use obs_types::{METRIC_NAME, MatchOp, Matcher};

use crate::ast::*;
use crate::functions::metricsql::KEEP_METRIC_NAMES;
use crate::text::{float_f, float_g, format_duration_ms, is_legacy_label, quote};

/// Longest line before [`pretty`] breaks an expression.
const LINE_CHARS_MAX: usize = 100;

fn labels(names: &[String]) -> String {
    names
        .iter()
        .map(|n| if is_legacy_label(n) { n.clone() } else { quote(n) })
        .collect::<Vec<_>>()
        .join(", ")
}

fn matcher(m: &Matcher) -> String {
    let name = if is_legacy_label(m.name()) { m.name().to_owned() } else { quote(m.name()) };
    format!("{name}{}{}", m.op(), quote(m.value()))
}

fn number(n: &NumberLiteral) -> String {
    if n.duration {
        format_duration_ms((n.value * 1000.0).round() as i64)
    } else {
        float_f(n.value)
    }
}

fn term(t: Option<&DurationTerm>) -> String {
    match t {
        None => String::new(),
        Some(DurationTerm::Number(n)) => number(n),
        Some(DurationTerm::Expr(e)) => duration_expr(e),
    }
}

fn duration_expr(e: &DurationExpr) -> String {
    let (lhs, rhs) = (term(e.lhs.as_ref()), term(e.rhs.as_ref()));
    let op = match e.op {
        DurationOp::Step | DurationOp::Range | DurationOp::MinOf | DurationOp::MaxOf => "",
        DurationOp::Add => "+",
        DurationOp::Sub => "-",
        DurationOp::Mul => "*",
        DurationOp::Div => "/",
        DurationOp::Mod => "%",
        DurationOp::Pow => "^",
    };
    let s = match e.op {
        DurationOp::Step => "step()".to_owned(),
        DurationOp::Range => "range()".to_owned(),
        DurationOp::MinOf => format!("min_of({lhs}, {rhs})"),
        DurationOp::MaxOf => format!("max_of({lhs}, {rhs})"),
        DurationOp::Add if e.lhs.is_none() => rhs,
        _ if e.lhs.is_none() => format!("{op}{rhs}"),
        _ => format!("{lhs} {op} {rhs}"),
    };
    if e.wrapped { format!("({s})") } else { s }
}

fn duration(d: &DurationValue) -> String {
    match d {
        DurationValue::Millis(ms) => format_duration_ms(*ms),
        DurationValue::Expr(e) => duration_expr(e),
        DurationValue::Implicit => String::new(),
    }
}

fn offset(d: &DurationValue) -> String {
    if *d == DurationValue::Millis(0) { String::new() } else { format!(" offset {}", duration(d)) }
}

fn at(a: &Option<AtModifier>) -> String {
    match a {
        None => String::new(),
        Some(AtModifier::Start) => " @ start()".into(),
        Some(AtModifier::End) => " @ end()".into(),
        Some(AtModifier::Timestamp(ms)) => format!(" @ {:.3}", *ms as f64 / 1000.0),
        Some(AtModifier::Computed(e)) if matches!(e.kind, ExprKind::Paren(_)) => format!(" @ {e}"),
        Some(AtModifier::Computed(e)) => format!(" @ ({e})"),
    }
}

fn matcher_parts(v: &VectorSelector, matchers: &[Matcher]) -> Vec<String> {
    let mut parts: Vec<String> = matchers
        .iter()
        .filter(|m| {
            !(m.name() == METRIC_NAME
                && m.op() == MatchOp::Equal
                && m.value() == v.name
                && !m.value().is_empty())
        })
        .map(matcher)
        .collect();
    parts.sort();
    parts
}

fn bare_selector(v: &VectorSelector) -> String {
    let parts = matcher_parts(v, &v.matchers);
    if parts.is_empty() && v.alternatives.is_empty() && !v.name.is_empty() {
        return v.name.clone();
    }
    let mut text = format!("{}{{{}", v.name, parts.join(","));
    for other in &v.alternatives {
        text.push_str(&format!(" or {}", matcher_parts(v, other).join(",")));
    }
    text.push('}');
    text
}

/// `[5m]`, nothing for a window that was not written.
fn window(range: &DurationValue) -> String {
    if *range == DurationValue::Implicit { String::new() } else { format!("[{}]", duration(range)) }
}

fn extended(v: &VectorSelector) -> &'static str {
    match (v.anchored, v.smoothed) {
        (true, _) => " anchored",
        (_, true) => " smoothed",
        _ => "",
    }
}

fn matching(m: Option<&VectorMatching>) -> String {
    let Some(m) = m else { return String::new() };
    let mut out = String::new();
    let grouped = matches!(m.card, Cardinality::ManyToOne | Cardinality::OneToMany);
    if !m.labels.is_empty() || m.on || grouped {
        let tag = if m.on { "on" } else { "ignoring" };
        out.push_str(&format!(" {tag} ({})", labels(&m.labels)));
    }
    if grouped {
        let side = if m.card == Cardinality::ManyToOne { "left" } else { "right" };
        out.push_str(&format!(" group_{side} ({})", labels(&m.include)));
        if !m.prefix.is_empty() {
            out.push_str(&format!(" prefix {}", quote(&m.prefix)));
        }
    }
    match (m.fill_left, m.fill_right) {
        (Some(l), Some(r)) if l == r => out.push_str(&format!(" fill ({})", float_g(l, 21))),
        (l, r) => {
            if let Some(l) = l {
                out.push_str(&format!(" fill_left ({})", float_g(l, 21)));
            }
            if let Some(r) = r {
                out.push_str(&format!(" fill_right ({})", float_g(r, 21)));
            }
        }
    }
    out
}

fn aggregate_head(a: &AggregateExpr) -> String {
    let op = a.op.as_str();
    if a.without {
        format!("{op} without ({}) ", labels(&a.grouping))
    } else if a.grouping.is_empty() {
        op.to_owned()
    } else {
        format!("{op} by ({}) ", labels(&a.grouping))
    }
}

/// Infinity to be raised to a power, without its sign: that would be read as covering the power.
fn bare_base(b: &BinaryExpr) -> Option<&'static str> {
    let positive = matches!(&b.lhs.kind, ExprKind::Number(n) if n.value == f64::INFINITY);
    (b.op == BinaryOp::Pow && positive).then_some("Inf")
}

fn binary_head(b: &BinaryExpr) -> String {
    let bool = if b.return_bool { " bool" } else { "" };
    format!("{}{bool}{}", b.op.as_str(), matching(b.matching.as_ref()))
}

fn subquery_tail(s: &SubqueryExpr) -> String {
    let step = s.step.as_ref().map(duration).unwrap_or_default();
    if s.range == DurationValue::Implicit {
        return format!("{}{}", at(&s.at), offset(&s.offset));
    }
    format!("[{}:{step}]{}{}", duration(&s.range), at(&s.at), offset(&s.offset))
}

impl fmt::Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            ExprKind::Aggregate(a) => {
                write!(f, "{}(", aggregate_head(a))?;
                if let Some(p) = &a.param {
                    write!(f, "{p}, ")?;
                }
                write!(f, "{}", a.expr)?;
                if let Some(remainder) = &a.remainder {
                    write!(f, ", {}", quote(remainder))?;
                }
                f.write_str(")")
            }
            ExprKind::Binary(b) => match bare_base(b) {
                Some(base) => write!(f, "{base} {} {}", binary_head(b), b.rhs),
                None => write!(f, "{} {} {}", b.lhs, binary_head(b), b.rhs),
            },
            ExprKind::Call(c) if c.func.name == KEEP_METRIC_NAMES => {
                c.args.iter().try_for_each(|arg| write!(f, "{arg} {KEEP_METRIC_NAMES}"))
            }
            ExprKind::Call(c) => {
                write!(f, "{}(", c.func.name)?;
                for (i, arg) in c.args.iter().enumerate() {
                    if i > 0 {
                        f.write_str(", ")?;
                    }
                    write!(f, "{arg}")?;
                }
                f.write_str(")")
            }
            ExprKind::Matrix(m) => write!(
                f,
                "{}{}{}{}{}",
                bare_selector(&m.selector),
                window(&m.range),
                extended(&m.selector),
                at(&m.selector.at),
                offset(&m.selector.offset)
            ),
            ExprKind::Subquery(s) => write!(f, "{}{}", s.expr, subquery_tail(s)),
            ExprKind::Number(n) => f.write_str(&number(n)),
            ExprKind::Paren(e) => write!(f, "({e})"),
            ExprKind::String(s) => f.write_str(&quote(s)),
            ExprKind::Unary(u) => {
                write!(f, "{}{}", if u.negative { "-" } else { "+" }, u.expr)
            }
            ExprKind::Vector(v) => {
                write!(f, "{}{}{}{}", bare_selector(v), at(&v.at), extended(v), offset(&v.offset))
            }
            ExprKind::StepInvariant(e) => write!(f, "{e}"),
        }
    }
}

/// The query broken over indented lines where it is longer than 100 characters, as Prometheus'
/// `format_query` writes it.
pub fn pretty(expr: &Expr) -> String {
    layout(expr, 0)
}

fn layout(e: &Expr, level: usize) -> String {
    let pad = "  ".repeat(level);
    let whole = e.to_string();
    let split = whole.len() > LINE_CHARS_MAX;
    match &e.kind {
        ExprKind::Subquery(s) if split => {
            format!("{}{}", layout(&s.expr, level), subquery_tail(s))
        }
        ExprKind::Subquery(_) => whole,
        ExprKind::StepInvariant(inner) => layout(inner, level),
        ExprKind::Unary(u) => {
            format!("{pad}{}{}", if u.negative { "-" } else { "+" }, layout(&u.expr, level).trim())
        }
        _ if !split => format!("{pad}{whole}"),
        ExprKind::Aggregate(a) => {
            let param = a
                .param
                .as_ref()
                .map(|p| format!("{},\n", layout(p, level + 1)))
                .unwrap_or_default();
            format!("{pad}{}(\n{param}{}\n{pad})", aggregate_head(a), layout(&a.expr, level + 1))
        }
        ExprKind::Binary(b) => format!(
            "{}\n{pad}{}\n{}",
            bare_base(b).map_or_else(|| layout(&b.lhs, level + 1), |base| format!("{pad}  {base}")),
            binary_head(b),
            layout(&b.rhs, level + 1)
        ),
        ExprKind::Call(c) => {
            let args: Vec<String> = c.args.iter().map(|a| layout(a, level + 1)).collect();
            format!("{pad}{}(\n{}\n{pad})", c.func.name, args.join(",\n"))
        }
        ExprKind::Paren(inner) => format!("{pad}(\n{}\n{pad})", layout(inner, level + 1)),
        _ => format!("{pad}{whole}"),
    }
}
