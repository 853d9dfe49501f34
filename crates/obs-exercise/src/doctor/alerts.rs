//! Check 5: every alert watches something, can fire, and is told to somebody.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use obs_notify::NotifyConfig;
use obs_rules::{AlertSpec, RuleKind, RuleSpec};
use obs_types::{LabelSet, MatchOp, matches_all};
use regex::Regex;

use super::expr;
use super::folder::line_of;
use super::panels::Board;
use super::probe::{Empty, Probe, say};
use super::usage::{self, PlainUses};
use super::world::{NotifyInput, RuleInput, World};
use super::{Check, CheckOutcome, Finding, rules, satisfy};

const CHECK: Check = Check::Alerts;
/// A silence that lasts longer is taken for one that was forgotten.
const SILENCE_LONG_MS: i64 = 30 * 86_400_000;

static LABEL: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"(?:\$labels|\.Labels)\.([A-Za-z_]\w*)").ok());

pub(super) fn check(
    world: &World,
    boards: &[Board<'_>],
    probe: Option<&Probe<'_>>,
    plain: &PlainUses,
    findings: &mut Vec<Finding>,
) -> CheckOutcome {
    let mut outcome = CheckOutcome::ran(CHECK, rules::of_kind(world, true).count());
    rules::files(world, findings);
    if world.rules.is_empty() {
        return CheckOutcome::skipped(CHECK, "there is no rule file");
    }
    let before = findings.len();
    for (input, file) in world.rule_files() {
        findings.extend(usage::of_rules(CHECK, input, file, plain, probe));
    }
    let misused: BTreeSet<String> =
        findings.iter().skip(before).map(|f| f.subject.clone()).collect();
    for (input, rule) in rules::of_kind(world, true) {
        let RuleKind::Alert(alert) = &rule.kind else { continue };
        findings.extend(rules::short_range(world, CHECK, input, rule));
        findings.extend(satisfy::check(input, rule, alert, boards, probe));
        findings.extend(templates(input, rule, alert, probe));
        if let (Some(probe), false) = (probe, misused.contains(&alert.name)) {
            findings.extend(series(input, rule, alert, probe));
        }
        findings.extend(told(world, input, rule, alert));
    }
    if probe.is_none() {
        outcome.leave_out(format!("whether selectors match series: {}", world.why("telemetry")));
    }
    match &world.notify {
        Some(notify) => findings.extend(muted_routes(notify)),
        None => outcome.leave_out(format!("whether somebody is told: {}", world.why("notify"))),
    }
    outcome
}

fn series(
    input: &RuleInput,
    rule: &RuleSpec,
    alert: &AlertSpec,
    probe: &Probe<'_>,
) -> Option<Finding> {
    let parsed = expr::parse(&rule.expr).ok()?;
    let start = |code| Finding::of_alert(code, input, rule, alert);
    match probe.instant(&rule.expr) {
        Ok(values) if !values.is_empty() => return None,
        Err(e) => {
            return Some(
                start("alert-query-fails")
                    .asked(rule.expr.as_str(), e)
                    .cause("the expression is refused each time it is evaluated")
                    .mend("correct the expression"),
            );
        }
        Ok(_) => {}
    }
    for selected in expr::selected(&parsed) {
        // What is asked for by its absence should be missing only while the alert fires.
        if selected.is_below(&["absent", "absent_over_time"])
            || selected.metric.starts_with("ALERTS")
        {
            continue;
        }
        let why = match probe.why_empty(&selected) {
            None | Some(Empty::Filtered) => continue,
            Some(why) => why,
        };
        let (cause, mend) = say(&why);
        return Some(
            start("alert-no-series")
                .asked(format!("count({})", selected.text()), "no series")
                .cause(format!("{cause}; the alert is green because it sees nothing"))
                .mend(mend),
        );
    }
    for c in expr::comparisons(&rule.expr, &parsed) {
        let empty = probe.instant(&c.measured).is_ok_and(|v| v.is_empty());
        if empty && probe.explain(&c.expr) == Empty::Unmatched {
            let (cause, mend) = say(&Empty::Unmatched);
            return Some(
                start("alert-sides-unmatched")
                    .asked(c.measured.as_str(), "no series")
                    .cause(cause)
                    .mend(mend),
            );
        }
    }
    None
}

/// Labels that the messages show and the result does not have.
fn templates(
    input: &RuleInput,
    rule: &RuleSpec,
    alert: &AlertSpec,
    probe: Option<&Probe<'_>>,
) -> Option<Finding> {
    let parsed = expr::parse(&rule.expr).ok()?;
    let texts: Vec<&String> = alert.annotations.values().chain(rule.labels.values()).collect();
    let shown: BTreeSet<&str> = texts
        .iter()
        .flat_map(|t| LABEL.as_ref().into_iter().flat_map(|r| r.captures_iter(t)))
        .filter_map(|c| c.get(1))
        .map(|m| m.as_str())
        .filter(|name| *name != "alertname")
        .collect();
    let missing: Vec<&str> = match expr::result_labels(&parsed) {
        Some(labels) => shown.into_iter().filter(|s| !labels.contains(*s)).collect(),
        None => {
            let probe = probe?;
            let (measured, _) = expr::comparisons(&rule.expr, &parsed)
                .into_iter()
                .next()
                .map(|c| (c.measured, ()))?;
            let real = probe.instant(&measured).ok().filter(|v| !v.is_empty())?;
            shown.into_iter().filter(|s| real.iter().all(|(l, _)| l.get(s).is_none())).collect()
        }
    };
    if missing.is_empty() {
        return None;
    }
    Some(
        Finding::warning(CHECK, "template-label-missing", alert.name.as_str())
            .at(&input.path, rule.line, rule.expr.as_str())
            .saw(format!(
                "the message shows {}, which the result does not have",
                missing.join(", ")
            ))
            .cause("the message reads as if the name were empty: nobody sees what it is about")
            .mend("keep the label in by (…), or leave it out of the message"),
    )
}

/// The labels that an alert will have, as far as the rule tells them.
pub(super) fn likely_labels(rule: &RuleSpec, alert: &AlertSpec) -> LabelSet {
    let mut labels = std::collections::BTreeMap::new();
    if let Ok(parsed) = expr::parse(&rule.expr) {
        let kept = expr::result_labels(&parsed);
        for selected in expr::selected(&parsed) {
            for m in selected.matchers.iter().filter(|m| m.op() == MatchOp::Equal) {
                if m.name() != obs_types::METRIC_NAME
                    && kept.as_ref().is_none_or(|k| k.contains(m.name()))
                {
                    labels.insert(m.name().to_owned(), m.value().to_owned());
                }
            }
        }
    }
    labels.extend(rule.labels.iter().map(|(n, v)| (n.clone(), v.clone())));
    labels.insert("alertname".to_owned(), alert.name.clone());
    LabelSet::from_pairs(labels)
}

/// Receivers on the alert's routes that have a way out.
pub(super) fn receivers_with_a_way_out(notify: &NotifyInput, labels: &LabelSet) -> Vec<String> {
    let routes = notify.config.routes_for(labels);
    let names = routes.into_iter().map(|(_, r)| r.receiver.clone());
    names.filter(|n| notify.integrations.get(n).is_some_and(|i| !i.is_empty())).collect()
}

fn told(world: &World, input: &RuleInput, rule: &RuleSpec, alert: &AlertSpec) -> Option<Finding> {
    let labels = likely_labels(rule, alert);
    let start = |code| Finding::critical(CHECK, code, alert.name.as_str());
    if let Some(notify) = &world.notify {
        let on_purpose = rule.labels.get("severity").is_some_and(|s| s == "none");
        if !on_purpose && receivers_with_a_way_out(notify, &labels).is_empty() {
            let routes = notify.config.routes_for(&labels);
            let names: Vec<String> = routes.iter().map(|(_, r)| r.receiver.clone()).collect();
            return Some(
                start("alert-no-receiver")
                    .at(&input.path, rule.line, format!("labels {labels}"))
                    .at(&notify.path, line_of(&notify.text, names.first().map_or("", String::as_str)), format!("routes it to {}, which sends nowhere", names.join(", ")))
                    .cause("the alert fires and nobody is told")
                    .mend("give the receiver a webhook, mail or other way out, or route the labels elsewhere"),
            );
        }
        if let Some(source) = inhibited_for_ever(world, &notify.config, &labels) {
            return Some(
                start("alert-inhibited")
                    .at(
                        &notify.path,
                        line_of(&notify.text, "inhibit_rules"),
                        format!("{source} inhibits it, and always fires"),
                    )
                    .cause("an alert that fires for ever holds this one back for ever")
                    .mend("narrow the source_matchers of the inhibition"),
            );
        }
    }
    for silence in &world.silences {
        let parsed = obs_promql::parse_selector(&format!("{{{}}}", silence.matchers.join(",")));
        let matches = parsed.is_ok_and(|m| matches_all(&m, &labels));
        if matches && silence.ends_at.0.saturating_sub(world.now.0) > SILENCE_LONG_MS {
            return Some(
                start("alert-silenced")
                    .saw(format!(
                        "silence {} ({}) by {} ends in {} days",
                        silence.id,
                        silence.matchers.join(", "),
                        silence.by,
                        (silence.ends_at.0 - world.now.0) / 86_400_000
                    ))
                    .cause("a silence that long is as good as no alert")
                    .mend(format!(
                        "end it: `vm-obs alert unsilence {}`, or remove the rule",
                        silence.id
                    )),
            );
        }
    }
    None
}

/// The alert that always fires and inhibits these labels.
fn inhibited_for_ever(world: &World, config: &NotifyConfig, labels: &LabelSet) -> Option<String> {
    for (_, rule) in rules::of_kind(world, true) {
        let RuleKind::Alert(source) = &rule.kind else { continue };
        let always = expr::parse(&rule.expr).is_ok_and(|e| expr::is_always_true(&e));
        if !always || labels.get("alertname") == Some(&source.name) {
            continue;
        }
        let from = likely_labels(rule, source);
        let holds = config.inhibit.iter().any(|i| {
            matches_all(&i.source, &from)
                && matches_all(&i.target, labels)
                && i.equal.iter().all(|e| from.get(e).unwrap_or("") == labels.get(e).unwrap_or(""))
        });
        if holds {
            return Some(source.name.clone());
        }
    }
    None
}

fn muted_routes(notify: &NotifyInput) -> Vec<Finding> {
    notify
        .muted_routes
        .iter()
        .map(|(receiver, interval)| {
            Finding::critical(CHECK, "route-muted", format!("route to {receiver}"))
                .at(
                    &notify.path,
                    line_of(&notify.text, interval),
                    format!("muted by {interval}, which covers every minute of the week"),
                )
                .cause("nothing on this route is ever told")
                .mend("limit the interval to the hours that are meant")
        })
        .collect()
}
