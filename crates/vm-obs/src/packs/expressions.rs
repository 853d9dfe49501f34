//! What can be said of a PromQL expression without data: metrics that nobody exposes, gauges taken
//! for counters or histograms, and thresholds that no value reaches.

use std::collections::BTreeSet;

use obs_promql::{BinaryOp, Expr, ExprKind, ParserOptions, VectorSelector};

use super::declared::{Declared, MetricType};

/// Series that are there without any pack declaring them, by name or by the beginning of it.
const BUILT_IN: [&str; 3] = ["up", "ALERTS", "ALERTS_FOR_STATE"];
const BUILT_IN_PREFIXES: [&str; 4] = ["scrape_", "vmobs_", "slo_", "probe_"];
/// Functions that take the increase of a counter.
const OF_COUNTERS: [&str; 4] = ["rate", "irate", "increase", "resets"];

/// The names that a pack may read.
#[derive(Debug, Default)]
pub(super) struct Known<'a> {
    pub(super) metrics: Vec<&'a Declared>,
    /// Names of recording rules.
    pub(super) recorded: BTreeSet<&'a str>,
}

impl Known<'_> {
    fn metric_of(&self, series: &str) -> Option<&Declared> {
        self.metrics.iter().copied().find(|m| m.series().iter().any(|s| s == series))
    }

    /// Why no series bears this name; `None` if one does.
    fn unknown(&self, name: &str) -> Option<String> {
        let built_in = BUILT_IN.contains(&name)
            || BUILT_IN_PREFIXES.iter().any(|prefix| name.starts_with(prefix));
        if built_in || self.recorded.contains(name) || self.metric_of(name).is_some() {
            return None;
        }
        if let Some(metric) = self.metrics.iter().find(|m| m.name == name) {
            return Some(format!(
                "{name} is a {}, which has no series of its bare name: expected {}",
                metric.kind.as_str(),
                metric.series().join(", ")
            ));
        }
        let base = ["_bucket", "_sum", "_count"].iter().find_map(|s| name.strip_suffix(s));
        if let Some(metric) = base.and_then(|b| self.metrics.iter().find(|m| m.name == b)) {
            return Some(format!(
                "{} is a {}, which has no {name}: expected a histogram",
                metric.name,
                metric.kind.as_str()
            ));
        }
        Some(format!(
            "nobody exposes {name}: expected a metric of metrics.yml, or a recorded series"
        ))
    }
}

/// What is wrong with an expression, in the order of its text.
pub(super) fn mistakes(text: &str, known: &Known<'_>) -> Vec<String> {
    match obs_promql::parse(text, &ParserOptions::all()) {
        Ok(expr) => {
            let mut out = Vec::new();
            walk(&expr, known, &mut out);
            out.dedup();
            out
        }
        Err(e) => vec![format!("expected PromQL: {e}")],
    }
}

fn walk(expr: &Expr, known: &Known<'_>, out: &mut Vec<String>) {
    match &expr.kind {
        ExprKind::Vector(selector) => name_is_known(selector, known, out),
        ExprKind::Matrix(matrix) => name_is_known(&matrix.selector, known, out),
        ExprKind::Call(call) if OF_COUNTERS.contains(&call.func.name) => {
            if let Some(ExprKind::Matrix(matrix)) = call.args.first().map(|a| &a.kind)
                && let Some(metric) = name_of(&matrix.selector).and_then(|n| known.metric_of(n))
                && metric.kind == MetricType::Gauge
            {
                out.push(format!(
                    "{} is a gauge: {} counts every fall of it as a restart; expected a counter, or delta, deriv or changes",
                    metric.name, call.func.name
                ));
            }
        }
        ExprKind::Binary(binary) if binary.op.is_comparison() && !binary.return_bool => {
            compared(&binary.lhs, binary.op, &binary.rhs, known, out);
        }
        _ => {}
    }
    for child in expr.children() {
        walk(child, known, out);
    }
}

/// Counters whose value itself is taken where events are counted: all since their beginning would
/// count again at every step.
pub(super) fn counters_as_they_are(text: &str, known: &Known<'_>) -> Vec<String> {
    let mut out = Vec::new();
    if let Ok(expr) = obs_promql::parse(text, &ParserOptions::all()) {
        take_counters(&expr, known, &mut out);
    }
    out.dedup();
    out
}

fn take_counters(expr: &Expr, known: &Known<'_>, out: &mut Vec<String>) {
    match &expr.kind {
        ExprKind::Vector(selector) => {
            let metric = name_of(selector).and_then(|n| known.metric_of(n));
            if let Some(metric) = metric.filter(|m| m.kind == MetricType::Counter) {
                out.push(format!(
                    "{} is a counter: expected its increase over {{{{.window}}}}, or the selector alone",
                    metric.name
                ));
            }
        }
        // How many series there are does not depend on their values.
        ExprKind::Aggregate(a)
            if matches!(a.op, obs_promql::AggregateOp::Count | obs_promql::AggregateOp::Group) => {}
        _ => {
            for child in expr.children() {
                take_counters(child, known, out);
            }
        }
    }
}

fn name_is_known(selector: &VectorSelector, known: &Known<'_>, out: &mut Vec<String>) {
    if let Some(name) = name_of(selector) {
        out.extend(known.unknown(name));
    }
}

fn name_of(selector: &VectorSelector) -> Option<&str> {
    let matcher = selector.matchers.iter().find(|m| m.name() == obs_types::METRIC_NAME);
    matcher.filter(|m| m.op() == obs_types::MatchOp::Equal).map(|m| m.value())
}

/// `metric OP number`: whether any value of the metric can fulfil it.
fn compared(lhs: &Expr, op: BinaryOp, rhs: &Expr, known: &Known<'_>, out: &mut Vec<String>) {
    let (Some(metric), Some(number)) = (gauge_of(lhs, known), number_of(rhs)) else { return };
    let name = &metric.name;
    if metric.unit == "percent" && number > 0.0 && number <= 1.0 {
        out.push(format!(
            "{name} is in per cent, 0 to 100: expected {} rather than the share {number}",
            number * 100.0
        ));
        return;
    }
    let Some((low, high)) = metric.range else { return };
    let reachable = match op {
        BinaryOp::Gt => high > number,
        BinaryOp::Ge => high >= number,
        BinaryOp::Lt => low < number,
        BinaryOp::Le => low <= number,
        BinaryOp::Eq => (low..=high).contains(&number),
        _ => true,
    };
    if !reachable {
        out.push(format!(
            "{name} lies between {low} and {high}: `{} {number}` can never be true",
            op.as_str()
        ));
    }
}

/// The gauge whose values an expression passes on unchanged.
fn gauge_of<'a>(expr: &Expr, known: &'a Known<'_>) -> Option<&'a Declared> {
    use obs_promql::AggregateOp::{Avg, Max, Min};
    match &expr.kind {
        ExprKind::Paren(inner) => gauge_of(inner, known),
        ExprKind::Aggregate(a) if matches!(a.op, Avg | Max | Min) => gauge_of(&a.expr, known),
        ExprKind::Vector(selector) => {
            let metric = known.metric_of(name_of(selector)?)?;
            (metric.kind == MetricType::Gauge).then_some(metric)
        }
        _ => None,
    }
}

fn number_of(expr: &Expr) -> Option<f64> {
    match &expr.kind {
        ExprKind::Number(n) => Some(n.value),
        ExprKind::Paren(inner) => number_of(inner),
        ExprKind::Unary(u) => number_of(&u.expr).map(|n| if u.negative { -n } else { n }),
        _ => None,
    }
}
