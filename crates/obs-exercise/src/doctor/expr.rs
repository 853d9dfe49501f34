//! What can be told from an expression alone.

use std::collections::BTreeSet;

use obs_promql::{BinaryExpr, BinaryOp, Expr, ExprKind, ParserOptions, VectorSelector};
use obs_types::{METRIC_NAME, MatchOp, Matcher};

/// A selector with the functions and aggregations around it, innermost first.
#[derive(Clone, Debug)]
pub(super) struct Selected {
    pub(super) metric: String,
    pub(super) matchers: Vec<Matcher>,
    pub(super) around: Vec<&'static str>,
    /// Of a range selector, otherwise 0.
    pub(super) range_ms: i64,
}

impl Selected {
    /// As PromQL, without range and offset.
    pub(super) fn text(&self) -> String {
        selector_text(&self.metric, &self.matchers)
    }

    pub(super) fn is_below(&self, functions: &[&str]) -> bool {
        self.around.iter().any(|f| functions.contains(f))
    }
}

/// `expr OP number`; a number on the left is turned around.
#[derive(Clone, Debug)]
pub(super) struct Comparison {
    /// The side that is measured, as text.
    pub(super) measured: String,
    pub(super) expr: Expr,
    pub(super) op: BinaryOp,
    pub(super) threshold: f64,
}

impl Comparison {
    /// Whether some value within the bounds holds.
    pub(super) fn can_hold(&self, (low, high): (f64, f64)) -> bool {
        let t = self.threshold;
        match self.op {
            BinaryOp::Gt => high > t,
            BinaryOp::Ge => high >= t,
            BinaryOp::Lt => low < t,
            BinaryOp::Le => low <= t,
            BinaryOp::Eq => low <= t && t <= high,
            BinaryOp::Ne => low != high || low != t,
            _ => true,
        }
    }
}

pub(super) fn parse(text: &str) -> Result<Expr, String> {
    obs_promql::parse(text, &ParserOptions::default()).map_err(|e| e.to_string())
}

pub(super) fn selector_text(metric: &str, matchers: &[Matcher]) -> String {
    let parts: Vec<String> = matchers
        .iter()
        .filter(|m| !(m.name() == METRIC_NAME && m.op() == MatchOp::Equal && m.value() == metric))
        .map(|m| format!("{}{}{}", m.name(), m.op(), serde_json::Value::from(m.value())))
        .collect();
    if parts.is_empty() { metric.to_owned() } else { format!("{metric}{{{}}}", parts.join(",")) }
}

/// Every selector in the order of the text.
pub(super) fn selected(expr: &Expr) -> Vec<Selected> {
    fn add(v: &VectorSelector, range_ms: i64, around: &[&'static str], out: &mut Vec<Selected>) {
        let named = v.matchers.iter().find(|m| m.name() == METRIC_NAME);
        let metric = match named {
            _ if !v.name.is_empty() => v.name.clone(),
            Some(m) if m.op() == MatchOp::Equal => m.value().to_owned(),
            _ => String::new(),
        };
        out.push(Selected {
            metric,
            matchers: v.matchers.clone(),
            around: around.iter().rev().copied().collect(),
            range_ms,
        });
    }
    fn walk(e: &Expr, around: &mut Vec<&'static str>, out: &mut Vec<Selected>) {
        let name = match &e.kind {
            ExprKind::Vector(v) => return add(v, 0, around, out),
            ExprKind::Matrix(m) => {
                return add(&m.selector, m.range.millis(), around, out);
            }
            ExprKind::Call(c) => Some(c.func.name),
            ExprKind::Aggregate(a) => Some(a.op.as_str()),
            ExprKind::Subquery(_) => Some("[:]"),
            _ => None,
        };
        around.extend(name);
        for child in e.children() {
            walk(child, around, out);
        }
        if name.is_some() {
            around.pop();
        }
    }
    let mut out = Vec::new();
    walk(expr, &mut Vec::new(), &mut out);
    out
}

/// How far back the expression looks: the longest of range plus offset plus subqueries around it.
pub(super) fn reach_ms(expr: &Expr) -> i64 {
    obs_promql::selectors(expr)
        .iter()
        .map(|s| s.range_ms.saturating_add(s.offset_ms.max(0)).saturating_add(s.subquery_range_ms))
        .max()
        .unwrap_or(0)
}

fn number(expr: &Expr) -> Option<f64> {
    match &expr.kind {
        ExprKind::Number(n) => Some(n.value),
        ExprKind::Paren(e) | ExprKind::StepInvariant(e) => number(e),
        ExprKind::Unary(u) => number(&u.expr).map(|v| if u.negative { -v } else { v }),
        ExprKind::Binary(b) => {
            let (l, r) = (number(&b.lhs)?, number(&b.rhs)?);
            Some(match b.op {
                BinaryOp::Add => l + r,
                BinaryOp::Sub => l - r,
                BinaryOp::Mul => l * r,
                BinaryOp::Div => l / r,
                BinaryOp::Pow => l.powf(r),
                _ => return None,
            })
        }
        _ => None,
    }
}

/// The comparisons with a number that decide whether the expression gives something: those at the
/// top and on both sides of `and`, `or` and on the left of `unless`.
pub(super) fn comparisons(text: &str, expr: &Expr) -> Vec<Comparison> {
    let mut out = Vec::new();
    collect(text, expr, &mut out);
    out
}

fn collect(text: &str, expr: &Expr, out: &mut Vec<Comparison>) {
    match &expr.kind {
        ExprKind::Paren(e) | ExprKind::StepInvariant(e) => collect(text, e, out),
        ExprKind::Binary(b) if matches!(b.op, BinaryOp::And | BinaryOp::Or) => {
            collect(text, &b.lhs, out);
            collect(text, &b.rhs, out);
        }
        ExprKind::Binary(b) if b.op == BinaryOp::Unless => collect(text, &b.lhs, out),
        ExprKind::Binary(b) if b.op.is_comparison() && !b.return_bool => {
            out.extend(comparison(text, b));
        }
        _ => {}
    }
}

fn comparison(text: &str, b: &BinaryExpr) -> Option<Comparison> {
    let (side, op, threshold) = match (number(&b.lhs), number(&b.rhs)) {
        (None, Some(t)) => (&b.lhs, b.op, t),
        (Some(t), None) => (&b.rhs, flipped(b.op), t),
        _ => return None,
    };
    let measured = text.get(side.pos.start..side.pos.end)?.trim().to_owned();
    Some(Comparison { measured, expr: (**side).clone(), op, threshold })
}

fn flipped(op: BinaryOp) -> BinaryOp {
    match op {
        BinaryOp::Lt => BinaryOp::Gt,
        BinaryOp::Le => BinaryOp::Ge,
        BinaryOp::Gt => BinaryOp::Lt,
        BinaryOp::Ge => BinaryOp::Le,
        other => other,
    }
}

const ANY: (f64, f64) = (f64::NEG_INFINITY, f64::INFINITY);
const NOT_NEGATIVE: (f64, f64) = (0.0, f64::INFINITY);

/// Between which values the expression stays whatever the data, as far as its form tells.
pub(super) fn bounds(expr: &Expr) -> (f64, f64) {
    if let Some(n) = number(expr) {
        return (n, n);
    }
    match &expr.kind {
        ExprKind::Paren(e) | ExprKind::StepInvariant(e) => bounds(e),
        ExprKind::Unary(u) if u.negative => {
            let (low, high) = bounds(&u.expr);
            (-high, -low)
        }
        ExprKind::Unary(u) => bounds(&u.expr),
        ExprKind::Vector(v) => metric_bounds(&v.name),
        ExprKind::Aggregate(a) => {
            let inner = bounds(&a.expr);
            match a.op.as_str() {
                "avg" | "max" | "min" | "topk" | "bottomk" | "quantile" | "limitk" => inner,
                "count" | "count_values" => (1.0, f64::INFINITY),
                "group" => (1.0, 1.0),
                "stddev" | "stdvar" => NOT_NEGATIVE,
                "sum" if inner.0 >= 0.0 => NOT_NEGATIVE,
                _ => ANY,
            }
        }
        ExprKind::Call(c) => call_bounds(c.func.name, &c.args),
        ExprKind::Binary(b) if b.return_bool => (0.0, 1.0),
        ExprKind::Binary(b) => binary_bounds(b),
        _ => ANY,
    }
}

fn call_bounds(name: &str, args: &[Expr]) -> (f64, f64) {
    let first = || {
        args.iter().find(|a| number(a).is_none()).map_or(ANY, |a| match &a.kind {
            ExprKind::Matrix(m) => metric_bounds(&m.selector.name),
            ExprKind::Subquery(s) => bounds(&s.expr),
            _ => bounds(a),
        })
    };
    match name {
        "absent" | "absent_over_time" | "present_over_time" => (1.0, 1.0),
        "rate" | "irate" | "increase" | "abs" | "changes" | "resets" | "time" | "timestamp"
        | "stddev_over_time" | "stdvar_over_time" | "sqrt" => NOT_NEGATIVE,
        "count_over_time" => (1.0, f64::INFINITY),
        "max_over_time" | "min_over_time" | "avg_over_time" | "last_over_time"
        | "quantile_over_time" | "sort" | "sort_desc" | "label_replace" | "label_join" => first(),
        "vector" | "scalar" => args.first().map_or(ANY, bounds),
        "clamp" => match args {
            [v, low, high] => {
                let (inner, low, high) = (bounds(v), number(low), number(high));
                (
                    inner.0.max(low.unwrap_or(f64::NEG_INFINITY)),
                    inner.1.min(high.unwrap_or(f64::INFINITY)),
                )
            }
            _ => ANY,
        },
        "clamp_max" => (first().0, args.get(1).and_then(number).unwrap_or(f64::INFINITY)),
        "clamp_min" => (args.get(1).and_then(number).unwrap_or(f64::NEG_INFINITY), first().1),
        _ => ANY,
    }
}

fn binary_bounds(b: &BinaryExpr) -> (f64, f64) {
    let (l, r) = (bounds(&b.lhs), bounds(&b.rhs));
    match b.op {
        BinaryOp::Add => (l.0 + r.0, l.1 + r.1),
        BinaryOp::Sub => (l.0 - r.1, l.1 - r.0),
        BinaryOp::Mul => match (number(&b.lhs), number(&b.rhs)) {
            (_, Some(n)) if n > 0.0 => (l.0 * n, l.1 * n),
            (Some(n), _) if n > 0.0 => (r.0 * n, r.1 * n),
            _ if l.0 >= 0.0 && r.0 >= 0.0 => NOT_NEGATIVE,
            _ => ANY,
        },
        BinaryOp::Div => match number(&b.rhs) {
            Some(n) if n > 0.0 => (l.0 / n, l.1 / n),
            None if l.0 >= 0.0 && r.0 >= 0.0 => NOT_NEGATIVE,
            _ => ANY,
        },
        op if op.is_comparison() => l,
        BinaryOp::And | BinaryOp::Unless => l,
        BinaryOp::Or => (l.0.min(r.0), l.1.max(r.1)),
        _ => ANY,
    }
}

/// What the name of a metric promises.
fn metric_bounds(name: &str) -> (f64, f64) {
    match name {
        "up" | "probe_success" => (0.0, 1.0),
        _ if ["_bucket", "_count", "_total"].iter().any(|end| name.ends_with(end)) => NOT_NEGATIVE,
        _ => ANY,
    }
}

/// The labels of the result where the form of the expression fixes them.
pub(super) fn result_labels(expr: &Expr) -> Option<BTreeSet<String>> {
    match &expr.kind {
        ExprKind::Paren(e) | ExprKind::StepInvariant(e) => result_labels(e),
        ExprKind::Unary(u) => result_labels(&u.expr),
        ExprKind::Number(_) => Some(BTreeSet::new()),
        ExprKind::Aggregate(a)
            if !a.without && !matches!(a.op.as_str(), "topk" | "bottomk" | "limitk") =>
        {
            let mut labels: BTreeSet<String> = a.grouping.iter().cloned().collect();
            if let (true, Some(param)) = (a.op.as_str() == "count_values", &a.param)
                && let ExprKind::String(name) = &param.kind
            {
                labels.insert(name.clone());
            }
            Some(labels)
        }
        ExprKind::Call(c) => match c.func.name {
            "vector" | "scalar" | "time" => Some(BTreeSet::new()),
            "histogram_quantile" => {
                let mut labels = result_labels(c.args.get(1)?)?;
                labels.remove("le");
                Some(labels)
            }
            "abs" | "clamp_min" | "clamp_max" | "clamp" | "round" | "ceil" | "floor" => {
                result_labels(c.args.first()?)
            }
            _ => None,
        },
        ExprKind::Binary(b) => match (&b.matching, number(&b.lhs), number(&b.rhs)) {
            (_, None, Some(_)) => result_labels(&b.lhs),
            (_, Some(_), None) => result_labels(&b.rhs),
            _ if b.op == BinaryOp::Or => {
                let (l, r) = (result_labels(&b.lhs)?, result_labels(&b.rhs)?);
                Some(l.union(&r).cloned().collect())
            }
            (Some(m), _, _) if m.include.is_empty() => result_labels(&b.lhs),
            _ => None,
        },
        _ => None,
    }
}

/// Whether the expression gives a value whatever the data.
pub(super) fn is_always_true(expr: &Expr) -> bool {
    match &expr.kind {
        ExprKind::Paren(e) | ExprKind::StepInvariant(e) => is_always_true(e),
        ExprKind::Call(c) => matches!(c.func.name, "vector" | "time"),
        ExprKind::Binary(b) => {
            b.op.is_comparison()
                && is_always_true(&b.lhs)
                && number(&b.rhs).is_some_and(|t| {
                    let (low, high) = bounds(&b.lhs);
                    low == high
                        && match b.op {
                            BinaryOp::Gt => low > t,
                            BinaryOp::Ge => low >= t,
                            BinaryOp::Eq => low == t,
                            BinaryOp::Lt => low < t,
                            BinaryOp::Le => low <= t,
                            _ => false,
                        }
                })
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_bounds_an_expression() {
        for (text, low, high) in [
            ("up", 0.0, 1.0),
            ("avg(up)", 0.0, 1.0),
            ("rate(x_total[5m])", 0.0, f64::INFINITY),
            ("100 * rate(x_total[5m])", 0.0, f64::INFINITY),
            ("count(up == 0)", 1.0, f64::INFINITY),
            ("absent(x)", 1.0, 1.0),
            ("clamp(x, 0, 5)", 0.0, 5.0),
            ("1 - avg(up)", 0.0, 1.0),
            ("x", f64::NEG_INFINITY, f64::INFINITY),
        ] {
            assert_eq!(bounds(&parse(text).unwrap()), (low, high), "{text}");
        }
    }

    #[test]
    fn comparisons_and_their_sides() {
        let text = "rate(a[5m]) > 0.5 and on() (b < 3 or 10 < c)";
        let all = comparisons(text, &parse(text).unwrap());
        let shown: Vec<String> = all
            .iter()
            .map(|c| format!("{} {} {}", c.measured, c.op.as_str(), c.threshold))
            .collect();
        assert_eq!(shown, ["rate(a[5m]) > 0.5", "b < 3", "c > 10"]);
    }

    #[test]
    fn labels_of_results() {
        let labels = |text: &str| result_labels(&parse(text).unwrap());
        let set = |names: &[&str]| Some(names.iter().map(|n| (*n).to_owned()).collect());
        assert_eq!(labels("max(x) - min(x) > 0.3"), set(&[]));
        assert_eq!(labels("sum by (job) (rate(x[5m])) > 1"), set(&["job"]));
        assert_eq!(
            labels("histogram_quantile(0.9, sum by (le, job) (rate(x[5m])))"),
            set(&["job"])
        );
        assert_eq!(labels("x > 1"), None);
    }
}
