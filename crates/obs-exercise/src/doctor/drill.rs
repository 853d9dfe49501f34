//! Checks 6 and 8: each alert fires, is told, resolves and is told again, in a sandbox with a clock
//! of its own. Nothing outside the sandbox sees it.

use std::collections::BTreeSet;
use std::time::Duration;

use obs_notify::{Dispatcher, Notification};
use obs_rules::{
    AlertBook, AlertEvent, AlertSpec, BookChange, Effect, GroupOptions, GroupSpec, RuleGroup,
    RuleKind, RuleSpec, StepContext,
};
use obs_types::{DurationMs, LabelSet, NodeName, QueryContext, TimestampMs};

use super::alerts::{likely_labels, receivers_with_a_way_out};
use super::expr;
use super::synthesize::{Found, Sandbox};
use super::world::{NotifyInput, RuleInput, World};
use super::{Check, CheckOutcome, Finding, rules};

const LOOKBACK_MS: i64 = 300_000;
const INTERVAL_MS: i64 = 15_000;
/// Steps in which a wait is taken; the clock is ours.
const STEPS: i64 = 8;

/// Both outcomes: the fire drill and the resolve path.
pub(super) fn check(world: &World, findings: &mut Vec<Finding>) -> (CheckOutcome, CheckOutcome) {
    let mut fire = CheckOutcome::ran(Check::FireDrill, 0);
    let mut resolve = CheckOutcome::ran(Check::ResolvePath, 0);
    let mut alerts = 0;
    for (input, rule) in rules::of_kind(world, true) {
        let RuleKind::Alert(alert) = &rule.kind else { continue };
        alerts += 1;
        let known = findings.iter().any(|f| {
            f.subject == alert.name
                && matches!(
                    f.code,
                    "alert-cannot-fire" | "alert-always-fires" | "alert-no-receiver"
                )
        });
        if known {
            fire.leave_out(format!("{}: check {} says why", alert.name, Check::Alerts.id()));
            continue;
        }
        let Some((sandbox, found)) = samples(world, rule, alert) else {
            fire.leave_out(format!(
                "{}: no samples were found that make the condition true",
                alert.name
            ));
            continue;
        };
        fire.subjects += 1;
        let mut drill = Drill::new(world, input, rule, alert, &sandbox, &found);
        let fired = drill.fire();
        let silent = fired.is_some();
        findings.extend(fired);
        if silent {
            continue;
        }
        if found.quiet.is_none() {
            resolve.leave_out(format!(
                "{}: no samples were found that make the condition false",
                alert.name
            ));
            continue;
        }
        resolve.subjects += 1;
        findings.extend(drill.resolve());
    }
    if alerts == 0 {
        let why = "there is no alert";
        return (
            CheckOutcome::skipped(Check::FireDrill, why),
            CheckOutcome::skipped(Check::ResolvePath, why),
        );
    }
    match &world.notify {
        Some(notify) => findings.extend(ends_untold(notify)),
        None => {
            let why = format!("whether it is told: {}", world.why("notify"));
            fire.leave_out(why.clone());
            resolve.leave_out(why);
        }
    }
    (fire, resolve)
}

/// Some conditions hold only at certain hours or on certain days.
fn samples(world: &World, rule: &RuleSpec, alert: &AlertSpec) -> Option<(Sandbox, Found)> {
    let parsed = expr::parse(&rule.expr).ok()?;
    let mut labels = BTreeSet::new();
    for text in alert.annotations.values().chain(rule.labels.values()) {
        for part in text.split("$labels.").skip(1) {
            let end = part.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(part.len());
            labels.extend(part.get(..end).map(str::to_owned));
        }
    }
    labels.remove("le");
    let now = world.now.0 - world.now.0.rem_euclid(60_000);
    for instances in [1, 2] {
        let sandbox = Sandbox::new(&rule.expr, &parsed, &labels, instances);
        for hours in [0, 11, 72] {
            if hours > 0 && !rule.expr.contains("hour(") && !rule.expr.contains("day_of") {
                continue;
            }
            if let Some(found) = sandbox.find(TimestampMs(now + hours * 3_600_000)) {
                return Some((sandbox, found));
            }
        }
    }
    None
}

struct Drill<'a> {
    input: &'a RuleInput,
    rule: &'a RuleSpec,
    alert: &'a AlertSpec,
    sandbox: &'a Sandbox,
    found: &'a Found,
    notify: Option<&'a NotifyInput>,
    group: RuleGroup,
    book: AlertBook,
    dispatcher: Option<Dispatcher>,
    now: TimestampMs,
    /// When messages were last asked for.
    asked_at: TimestampMs,
}

impl<'a> Drill<'a> {
    fn new(
        world: &'a World,
        input: &'a RuleInput,
        rule: &'a RuleSpec,
        alert: &'a AlertSpec,
        sandbox: &'a Sandbox,
        found: &'a Found,
    ) -> Self {
        let spec = GroupSpec {
            name: "drill".to_owned(),
            interval: None,
            query_offset: Some(DurationMs(0)),
            limit: 0,
            labels: std::collections::BTreeMap::new(),
            rules: vec![rule.clone()],
        };
        let options = GroupOptions {
            interval: DurationMs(INTERVAL_MS),
            query_offset: DurationMs(0),
            external_labels: LabelSet::empty(),
            external_url: String::new(),
        };
        let mut book = AlertBook::new(NodeName::new("drill"));
        book.set_inhibit_rules(
            world.notify.iter().flat_map(|n| n.config.inhibit.clone()).collect(),
        );
        Self {
            input,
            rule,
            alert,
            sandbox,
            found,
            notify: world.notify.as_ref(),
            group: RuleGroup::new(&input.path, &spec, &options),
            book,
            dispatcher: world.notify.as_ref().map(|n| Dispatcher::new(n.config.clone())),
            now: found.at,
            asked_at: found.at,
        }
    }

    fn finding(&self, check: Check, code: &'static str) -> Finding {
        Finding::critical(check, code, self.alert.name.as_str()).at(
            &self.input.path,
            self.rule.line,
            self.rule.expr.as_str(),
        )
    }

    /// One evaluation; the alerts that fired or resolved, or why the rule failed.
    fn step(
        &mut self,
        plan: &[(i64, &super::synthesize::Assignment)],
    ) -> Result<Vec<BookChange>, String> {
        let source = self.sandbox.source(self.found.at, plan, self.now);
        let query = QueryContext::unlimited();
        let context = StepContext { query: &query, monotonic: &|| Duration::ZERO };
        let mut changes = Vec::new();
        for effect in self.group.step(self.now, &source, &context) {
            match effect {
                Effect::Failed(failure) => return Err(failure.message),
                Effect::Alert(event) => changes.extend(self.apply(&event)),
                Effect::Write(_) => {}
            }
        }
        Ok(changes)
    }

    fn apply(&mut self, event: &AlertEvent) -> Option<BookChange> {
        self.book.apply(event)
    }

    /// What is due after the longest wait of the routes.
    fn told(&mut self, change: &BookChange) -> Vec<Notification> {
        let Some(dispatcher) = &mut self.dispatcher else { return Vec::new() };
        let (BookChange::Fired(record) | BookChange::Resolved(record)) = change;
        let labels = record.routing_labels();
        let wait = dispatcher
            .config()
            .routes_for(&labels)
            .iter()
            .map(|(_, r)| r.group_wait_ms.max(r.group_interval_ms))
            .max()
            .unwrap_or(0);
        dispatcher.alert(record, self.now);
        // A group waits from its last message on.
        let from = self.now.0.max(self.asked_at.0);
        self.asked_at = TimestampMs(from.saturating_add(wait));
        dispatcher.due(self.asked_at, &|_| false)
    }

    /// From the first evaluation to the first message; a finding if it does not get there.
    fn fire(&mut self) -> Option<Finding> {
        const CHECK: Check = Check::FireDrill;
        let step = (self.alert.hold.0 / STEPS).max(INTERVAL_MS);
        let firing = &self.found.firing;
        let end = self.found.at.0 + self.alert.hold.0 + 2 * step;
        let mut fired = None;
        while fired.is_none() && self.now.0 <= end {
            match self.step(&[(i64::MIN, firing)]) {
                Err(message) => {
                    return Some(
                        self.finding(CHECK, "drill-rule-fails")
                            .saw(message)
                            .cause("the rule fails at the moment when its condition holds, so the alert never fires")
                            .mend("make the result's labels unique and the expression valid for such data"),
                    );
                }
                Ok(changes) => fired = changes.into_iter().next(),
            }
            if fired.is_none() {
                self.now = TimestampMs(self.now.0 + step);
            }
        }
        let Some(change) = fired else {
            return Some(
                self.finding(CHECK, "drill-not-fired")
                    .saw(format!(
                        "the condition held for {} ms of sandbox time",
                        self.now.0 - self.found.at.0
                    ))
                    .cause("the condition does not stay true long enough for its `for`")
                    .mend("use a shorter `for`, or a longer window in the expression"),
            );
        };
        let BookChange::Fired(record) = &change else { return None };
        let broken =
            record.annotations.iter().find(|(_, text)| text.contains("<error expanding template"));
        if let Some((name, text)) = broken {
            return Some(
                self.finding(CHECK, "template-fails")
                    .saw(format!("annotation {name} reads {text:?}"))
                    .cause("the message that people get is an error")
                    .mend("correct the template"),
            );
        }
        let notify = self.notify?;
        let record = record.clone();
        let told = self.told(&change);
        let ways = receivers_with_a_way_out(notify, &record.routing_labels());
        let reached = told
            .iter()
            .any(|n| ways.contains(&n.receiver) && n.alerts.iter().any(|a| a.id == record.id));
        // What the labels alone tell is a finding of the alert check already.
        let expected =
            !receivers_with_a_way_out(notify, &likely_labels(self.rule, self.alert)).is_empty();
        (!reached && expected && self.rule.labels.get("severity").is_none_or(|s| s != "none")).then(
            || {
                self.finding(CHECK, "drill-not-told")
                    .saw(format!(
                        "it fired with the labels {} and no message left",
                        record.routing_labels()
                    ))
                    .cause("no route to a receiver that sends takes these labels")
                    .mend("route them, or label the rule as the routes expect")
            },
        )
    }

    /// From the end of the condition to the message that says so.
    fn resolve(&mut self) -> Option<Finding> {
        const CHECK: Check = Check::ResolvePath;
        let (firing, quiet) = (&self.found.firing, self.found.quiet.as_ref()?);
        let changed = self.now.0 + 1;
        let wait = self.sandbox.reach_ms + LOOKBACK_MS + self.alert.keep_firing.0;
        let step = (wait / STEPS).max(INTERVAL_MS);
        let end = changed + wait + 3 * step;
        let mut resolved = None;
        while resolved.is_none() && self.now.0 <= end {
            self.now = TimestampMs(self.now.0 + step);
            let changes = self.step(&[(i64::MIN, firing), (changed, quiet)]).unwrap_or_default();
            resolved = changes.into_iter().find(|c| matches!(c, BookChange::Resolved(_)));
        }
        let Some(change) = resolved else {
            return Some(
                self.finding(CHECK, "drill-not-resolved")
                    .saw("the condition ended and the alert still fires after its windows have passed")
                    .cause("the alert stays on for ever once it fired")
                    .mend("check keep_firing_for and the expression's memory"),
            );
        };
        let notify = self.notify?;
        let told = self.told(&change);
        let BookChange::Resolved(record) = &change else { return None };
        let ways = receivers_with_a_way_out(notify, &record.routing_labels());
        let reached = told.iter().any(|n| n.status() == "resolved" && ways.contains(&n.receiver));
        (!reached && !ways.is_empty()).then(|| {
            self.finding(CHECK, "drill-end-not-told")
                .saw("it resolved and no message left")
                .cause("people are told that it began and never that it ended")
                .mend("check the route that took it")
        })
    }
}

/// Receivers that are told to keep the end of an alert to themselves.
fn ends_untold(notify: &NotifyInput) -> Vec<Finding> {
    let mut out = Vec::new();
    for (name, ways) in &notify.integrations {
        // Mail and Slack do not tell the end unless asked to; that is how they are used.
        let asked = ways
            .iter()
            .all(|w| !w.send_resolved && !matches!(w.kind.as_str(), "email" | "slack" | "wechat"));
        if asked && !ways.is_empty() {
            out.push(
                Finding::warning(Check::ResolvePath, "end-not-sent", name.as_str())
                    .at(
                        &notify.path,
                        super::folder::line_of(&notify.text, name),
                        "send_resolved is false",
                    )
                    .cause("whoever is told keeps an incident open that is over")
                    .mend("set send_resolved: true"),
            );
        }
    }
    out
}
