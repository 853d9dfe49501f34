//! How metrics are used against what they are: gauges as histograms, counters without a rate.

use std::collections::{BTreeMap, BTreeSet};

use obs_promql::Expr;
use obs_rules::{RuleFile, RuleKind};

use super::expr::{self, Selected};
use super::probe::Probe;
use super::world::{RuleInput, World};
use super::{Check, Finding};

/// Functions that make sense of a counter.
const OF_COUNTERS: [&str; 3] = ["rate", "irate", "increase"];
/// Functions by which a counter may be used without its rate.
const COUNTER_SAFE: [&str; 18] = [
    "rate",
    "irate",
    "increase",
    "resets",
    "changes",
    "delta",
    "idelta",
    "deriv",
    "absent",
    "absent_over_time",
    "count",
    "group",
    "timestamp",
    "count_over_time",
    "present_over_time",
    "last_over_time",
    "time",
    "count_values",
];

/// One use of an expression: where it stands, for findings.
pub(super) struct Used<'a> {
    pub(super) check: Check,
    pub(super) subject: String,
    pub(super) file: String,
    pub(super) line: u64,
    pub(super) text: &'a str,
    pub(super) expr: &'a Expr,
}

/// Metrics that some expression asks for plainly, without a suffix of histograms, and where; taken
/// from every rule and panel, because a plain use tells that a metric is no classic histogram.
#[derive(Debug, Default)]
pub(super) struct PlainUses(BTreeMap<String, String>);

impl PlainUses {
    pub(super) fn of(world: &World, panels: &[(String, Expr)]) -> Self {
        let mut out = Self::default();
        for (input, file) in world.rule_files() {
            for rule in file.groups.iter().flat_map(|g| &g.rules) {
                if let Ok(parsed) = expr::parse(&rule.expr) {
                    out.add(&format!("{}:{}", input.path, rule.line), &parsed);
                }
            }
        }
        for (place, parsed) in panels {
            out.add(place, parsed);
        }
        out
    }

    fn add(&mut self, place: &str, parsed: &Expr) {
        for s in expr::selected(parsed).iter().filter(|s| !s.is_below(&["histogram_quantile"])) {
            self.0.entry(s.metric.clone()).or_insert_with(|| place.to_owned());
        }
    }
}

/// What is wrong with how the expression uses its metrics.
pub(super) fn misuse(
    used: &Used<'_>,
    plain: &PlainUses,
    probe: Option<&Probe<'_>>,
) -> Vec<Finding> {
    let mut out = Vec::new();
    let mut seen = BTreeSet::new();
    for selected in expr::selected(used.expr) {
        if seen.insert(selected.text()) {
            out.extend(histogram_of_gauge(used, &selected, plain, probe));
            out.extend(rate_of_gauge(used, &selected, probe));
        }
    }
    out
}

fn histogram_of_gauge(
    used: &Used<'_>,
    selected: &Selected,
    plain: &PlainUses,
    probe: Option<&Probe<'_>>,
) -> Option<Finding> {
    let base = selected.metric.strip_suffix("_bucket")?;
    let finding = || {
        Finding::critical(used.check, "gauge-as-histogram", used.subject.clone())
            .at(&used.file, used.line, used.text)
            .cause(format!("{base} is a plain metric, so {} has no series and the quantile is always empty", selected.metric))
            .mend(format!("have the exporter expose {base} as a histogram, or use quantile_over_time(…, {base}[…]), which is a quantile over time"))
    };
    if let Some(probe) = probe {
        let none = matches!(probe.why_empty(selected), Some(super::probe::Empty::NoMetric(_)));
        let base_there = probe.instant(&format!("count({base})")).is_ok_and(|v| !v.is_empty());
        return (none && base_there).then(|| {
            let kind = probe.kind(base).unwrap_or("without a type");
            finding()
                .asked(format!("count({})", selected.metric), "no series")
                .asked(format!("count({base})"), format!("has series; {base} is {kind}"))
        });
    }
    let place = plain.0.get(base)?;
    Some(finding().saw(format!("{base} is used as a plain metric at {place}")))
}

fn rate_of_gauge(
    used: &Used<'_>,
    selected: &Selected,
    probe: Option<&Probe<'_>>,
) -> Option<Finding> {
    let kind = probe?.kind(&selected.metric)?;
    (kind == "gauge" && selected.is_below(&OF_COUNTERS)).then(|| {
        Finding::warning(used.check, "rate-of-gauge", used.subject.clone())
            .at(&used.file, used.line, used.text)
            .saw(format!("{} is a gauge", selected.metric))
            .cause("rate and increase take every fall for a restart of the process, so a gauge gives nonsense")
            .mend("use delta or deriv, or have the exporter expose a counter")
    })
}

/// The first counter whose value itself is taken. Without telemetry its name tells.
fn as_it_is(parsed: &Expr, probe: Option<&Probe<'_>>) -> Option<Selected> {
    expr::selected(parsed).into_iter().find(|s| {
        let by_type = probe.and_then(|p| p.kind(&s.metric));
        let counter = match by_type {
            Some(kind) => kind == "counter",
            None => s.metric.ends_with("_total") && probe.is_none(),
        };
        counter && s.range_ms == 0 && !s.is_below(&COUNTER_SAFE)
    })
}

/// An objective that adds up what counters stand at: events of years, again at every step.
pub(super) fn counted_again(id: &str, query: &str, probe: Option<&Probe<'_>>) -> Option<Finding> {
    let raw = as_it_is(&expr::parse(query).ok()?, probe)?;
    Some(
        Finding::critical(Check::Objectives, "objective-counts-counter", id)
            .asked(query, format!("takes {} as it is, which is a counter", raw.metric))
            .cause("all events since the counter began are counted again at every step, so that new failures hardly move the ratio")
            .mend(format!("write sum(increase({}[{{{{.window}}}}])), or the selector alone", raw.text())),
    )
}

/// A counter that is drawn as it is: a line that only rises.
pub(super) fn raw_counter(used: &Used<'_>, probe: Option<&Probe<'_>>) -> Option<Finding> {
    let raw = as_it_is(used.expr, probe)?;
    // A share of two totals is no rising line.
    if used.text.contains('/') || used.text.contains(" - ") {
        return None;
    }
    Some(
        Finding::warning(used.check, "counter-without-rate", used.subject.clone())
            .at(&used.file, used.line, used.text)
            .saw(format!("{} is a counter", raw.metric))
            .cause("the line only rises and falls to zero at each restart; what happens now cannot be seen")
            .mend(format!("draw rate({}[$__rate_interval])", raw.text())),
    )
}

/// Misuse in the rules of one check.
pub(super) fn of_rules(
    check: Check,
    input: &RuleInput,
    file: &RuleFile,
    plain: &PlainUses,
    probe: Option<&Probe<'_>>,
) -> Vec<Finding> {
    let mut out = Vec::new();
    for rule in file.groups.iter().flat_map(|g| &g.rules) {
        let mine = matches!(
            (&rule.kind, check),
            (RuleKind::Record { .. }, Check::RecordingRules) | (RuleKind::Alert(_), Check::Alerts)
        );
        if let (true, Ok(parsed)) = (mine, expr::parse(&rule.expr)) {
            let used = Used {
                check,
                subject: rule.name().to_owned(),
                file: input.path.clone(),
                line: rule.line,
                text: &rule.expr,
                expr: &parsed,
            };
            out.extend(misuse(&used, plain, probe));
        }
    }
    out
}
