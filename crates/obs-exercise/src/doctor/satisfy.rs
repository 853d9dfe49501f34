//! Whether an alert's condition can hold: by its form, by what is observed, by what its message says.

use std::sync::LazyLock;

use obs_dash::PanelKind;
use obs_promql::BinaryOp;
use obs_rules::{AlertSpec, RuleSpec};
use regex::Regex;

use super::Finding;
use super::expr::{self, Comparison};
use super::panels::Board;
use super::probe::{Observed, Probe};
use super::world::RuleInput;

/// `{{ $value }}%`, also with a printf before it; not what `humanizePercentage` writes.
static VALUE_PERCENT: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(r#"\{\{-?\s*(?:\$value|\.Value|printf\s+"[^"]*"\s+\$value|\$value\s*\|\s*printf\s+"[^"]*")\s*-?\}\}\s?%"#).ok()
});
/// Names of things that are a share of a whole.
const SHARES: [&str; 12] = [
    "ratio",
    "percent",
    "pct",
    "coverage",
    "utilization",
    "utilisation",
    "fill_rate",
    "pass_rate",
    "success_rate",
    "availability",
    "usage",
    "fraction",
];
const DURATIONS: [&str; 5] = ["latency", "duration", "rtt", "response", "elapsed"];

/// At most one finding: the first reason is the one to mend.
pub(super) fn check(
    input: &RuleInput,
    rule: &RuleSpec,
    alert: &AlertSpec,
    boards: &[Board<'_>],
    probe: Option<&Probe<'_>>,
) -> Option<Finding> {
    let parsed = expr::parse(&rule.expr).ok()?;
    let start = |code| Finding::of_alert(code, input, rule, alert);
    if expr::is_always_true(&parsed) {
        // On purpose: something outside notices when it stops.
        let name = alert.name.to_lowercase();
        let on_purpose =
            name.contains("watchdog") || name.contains("deadman") || name.contains("heartbeat");
        return (!on_purpose).then(|| {
            start("alert-always-fires")
                .cause("the condition holds whatever the data")
                .mend("compare a metric with a threshold; an alert that shall always fire is called Watchdog")
        });
    }
    for c in expr::comparisons(&rule.expr, &parsed) {
        let bounds = expr::bounds(&c.expr);
        if !c.can_hold(bounds) {
            return Some(
                start("alert-cannot-fire")
                    .saw(format!(
                        "{} lies between {} and {}, and {} {} is asked for",
                        c.measured,
                        bounds.0,
                        bounds.1,
                        c.op.as_str(),
                        c.threshold
                    ))
                    .cause("no data can make the condition true")
                    .mend("turn the comparison around, or correct the threshold"),
            );
        }
        let observed = probe.and_then(|p| p.observed(&c.measured).ok().flatten());
        if let Some((o, what)) = observed.and_then(|o| Some((o, unit_observed(&c, &o, alert)?))) {
            return Some(
                start("alert-unit-mismatch")
                    .asked(c.measured.as_str(), format!("{} to {} in the last hour", o.min, o.max))
                    .saw(format!("the threshold is {} {}", c.op.as_str(), c.threshold))
                    .cause(what)
                    .mend("write the threshold in the unit of the metric"),
            );
        }
        if probe.is_none()
            && let Some(what) = unit_said(&c, alert, boards)
        {
            return Some(
                start("alert-unit-mismatch")
                    .saw(what)
                    .cause("threshold and metric are in different units, so the alert never fires or always does")
                    .mend("write the threshold in the unit of the metric"),
            );
        }
    }
    None
}

fn metric_of(c: &Comparison) -> Option<String> {
    let mut selected = expr::selected(&c.expr);
    // Of one metric alone the unit is known.
    (selected.len() == 1).then(|| selected.remove(0).metric)
}

fn is_share(name: &str) -> bool {
    SHARES.iter().any(|s| name.contains(s))
}

fn says_percent(alert: &AlertSpec) -> bool {
    alert.annotations.values().any(|a| a.contains('%') || a.to_lowercase().contains("percent"))
}

fn unit_observed(c: &Comparison, o: &Observed, alert: &AlertSpec) -> Option<String> {
    let t = c.threshold;
    let below = matches!(c.op, BinaryOp::Lt | BinaryOp::Le);
    let above = matches!(c.op, BinaryOp::Gt | BinaryOp::Ge);
    let metric = metric_of(c).unwrap_or_default();
    let rate = expr::selected(&c.expr).iter().any(|s| s.range_ms > 0);
    if o.count < 3 {
        return None;
    }
    let share = (is_share(&metric) && !rate) || says_percent(alert);
    if share && t > 0.0 && t < 1.0 && o.min > 1.5 && o.max <= 100.5 && o.min >= 10.0 * t {
        let what = if below { "can never fire" } else { "always fires" };
        return Some(format!(
            "the metric is a percentage and the threshold a share of 1: the alert {what}"
        ));
    }
    if share && above && t > 1.0 && t <= 100.0 && o.max <= 1.0 && o.max > 0.0 && !o.whole {
        return Some(
            "the metric is a share of 1 and the threshold a percentage: the alert can never fire"
                .to_owned(),
        );
    }
    if share && below && t > 1.0 && t <= 100.0 && o.max <= 1.0 && o.min > 0.2 && !o.whole {
        return Some(
            "the metric is a share of 1 and the threshold a percentage: the alert always fires"
                .to_owned(),
        );
    }
    let duration = DURATIONS.iter().any(|d| metric.contains(d));
    let bare = metric.trim_end_matches("_bucket").trim_end_matches("_sum");
    if duration && above && bare.ends_with("_seconds") && t >= 50.0 && o.max < 10.0 {
        return Some("the metric is in seconds and the threshold looks like milliseconds: the alert can never fire".to_owned());
    }
    if bare.ends_with("_ms") && t > 0.0 && t < 1.0 && o.min > 1.0 {
        let what = if above { "always fires" } else { "can never fire" };
        return Some(format!(
            "the metric is in milliseconds and the threshold looks like seconds: the alert {what}"
        ));
    }
    if bare.ends_with("_bytes") && !rate && t > 0.0 && t < 10_000.0 && o.min > 1e6 {
        let what = if above { "always fires" } else { "can never fire" };
        return Some(format!(
            "the metric is in bytes and the threshold looks like mega- or gigabytes: the alert {what}"
        ));
    }
    None
}

/// Without telemetry: the message of the alert and the units of panels tell the unit.
fn unit_said(c: &Comparison, alert: &AlertSpec, boards: &[Board<'_>]) -> Option<String> {
    let t = c.threshold;
    let metric = metric_of(c)?;
    let share_of_one = t > 0.0 && t < 1.0;
    if share_of_one && expr::selected(&c.expr).iter().all(|s| s.range_ms == 0) {
        let pattern = VALUE_PERCENT.as_ref()?;
        let said = alert.annotations.iter().find(|(_, text)| pattern.is_match(text));
        if let Some((name, text)) = said {
            return Some(format!(
                "the threshold is {t}, and the annotation {name} shows the value as a percentage: {text:?}"
            ));
        }
    }
    let humanized = alert.annotations.iter().find(|(_, text)| text.contains("humanizePercentage"));
    if let (Some((name, text)), true) = (humanized, t > 1.5 && t <= 100.0) {
        return Some(format!(
            "the threshold is {t}, and the annotation {name} shows the value times 100: {text:?}"
        ));
    }
    for board in boards {
        for panel in board.dashboard.all_panels() {
            let shows = panel.queries.iter().any(|q| q.expr.trim() == c.measured.trim());
            if !shows || panel.kind == PanelKind::Text {
                continue;
            }
            let fits = match panel.field.unit.as_str() {
                "percent" => !share_of_one,
                "percentunit" => t <= 1.5,
                _ => true,
            };
            if !fits && is_share(&metric) {
                return Some(format!(
                    "the threshold is {t}, and panel {:?} of {} shows the metric as {}",
                    panel.title, board.input.path, panel.field.unit
                ));
            }
        }
    }
    None
}
