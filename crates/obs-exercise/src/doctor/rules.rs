//! What holds for rules of both kinds, and check 4: recording rules have output.

use std::collections::BTreeMap;

use obs_rules::{RuleFile, RuleKind, RuleSpec, format_duration};
use obs_types::DurationMs;

use super::expr;
use super::probe::{Empty, Probe, say};
use super::usage::{self, PlainUses};
use super::world::{RuleInput, World};
use super::{Check, CheckOutcome, Finding};

/// Every rule with its file, of one kind.
pub(super) fn of_kind(
    world: &World,
    alerting: bool,
) -> impl Iterator<Item = (&RuleInput, &RuleSpec)> {
    world
        .rule_files()
        .flat_map(|(input, file): (&RuleInput, &RuleFile)| {
            file.groups.iter().flat_map(|g| &g.rules).map(move |r| (input, r))
        })
        .filter(move |(_, r)| matches!(r.kind, RuleKind::Alert(_)) == alerting)
}

/// Files that are wrong or that nothing loads.
pub(super) fn files(world: &World, findings: &mut Vec<Finding>) {
    for input in &world.rules {
        if let Err(e) = &input.rules {
            for line in e.lines() {
                findings.push(
                    Finding::critical(Check::Alerts, "rule-file-invalid", input.path.as_str())
                        .at(&input.path, line_in(line, &input.path), line)
                        .cause("the whole file is refused, with every rule in it")
                        .mend("correct the line; `vm-obs rules check` says the same"),
                );
            }
        }
        if !input.loaded {
            let count = input
                .rules
                .as_ref()
                .map_or(0, |f| f.groups.iter().map(|g| g.rules.len()).sum::<usize>());
            findings.push(
                Finding::critical(Check::Alerts, "rules-not-loaded", input.path.as_str())
                    .at(&input.path, 1, format!("{count} rules that no configuration names"))
                    .cause("the file exists, and nothing evaluates it: none of its alerts can fire")
                    .mend("name it under rule_files (in a container: also mount it) and reload"),
            );
        }
    }
    twice(world, findings);
}

/// `path:LINE:COLUMN: …`
fn line_in(message: &str, path: &str) -> u64 {
    let rest = message.strip_prefix(path).and_then(|r| r.strip_prefix(':')).unwrap_or_default();
    rest.split(':').next().and_then(|n| n.parse().ok()).unwrap_or(0)
}

fn twice(world: &World, findings: &mut Vec<Finding>) {
    let mut seen: BTreeMap<(bool, &str, String), String> = BTreeMap::new();
    for alerting in [false, true] {
        for (input, rule) in of_kind(world, alerting).filter(|(i, _)| i.loaded) {
            let place = format!("{}:{}", input.path, rule.line);
            // Alerts of one name with different conditions or severities are a common form.
            let what = if alerting {
                format!("{} {:?}", rule.expr, rule.labels)
            } else {
                format!("{:?}", rule.labels)
            };
            if let Some(first) = seen.insert((alerting, rule.name(), what), place) {
                let check = if alerting { Check::Alerts } else { Check::RecordingRules };
                findings.push(
                    Finding::warning(check, "rule-twice", rule.name())
                        .at(&input.path, rule.line, format!("the same as at {first}"))
                        .cause("two rules write the same series or tell the same alert twice")
                        .mend("remove one of them"),
                );
            }
        }
    }
}

/// `rate(x[30s])` over samples 30 s apart never sees two of them.
pub(super) fn short_range(
    world: &World,
    check: Check,
    input: &RuleInput,
    rule: &RuleSpec,
) -> Option<Finding> {
    let (_, scrape) = world.scrape.as_ref()?;
    let interval = scrape.jobs.iter().map(|j| j.interval).min()?;
    let interval = i64::try_from(interval.as_millis()).ok()?;
    let parsed = expr::parse(&rule.expr).ok()?;
    let needs_two = ["rate", "irate", "increase", "delta", "idelta", "deriv"];
    let short = expr::selected(&parsed)
        .into_iter()
        .find(|s| s.range_ms > 0 && s.range_ms < 2 * interval && s.is_below(&needs_two))?;
    Some(
        Finding::critical(check, "range-too-short", rule.name())
            .at(&input.path, rule.line, rule.expr.as_str())
            .saw(format!(
                "a window of {} over samples that come every {}",
                format_duration(DurationMs(short.range_ms)),
                format_duration(DurationMs(interval))
            ))
            .cause("the function needs two samples in its window and seldom or never has them")
            .mend(format!(
                "use a window of at least {}",
                format_duration(DurationMs(4 * interval))
            )),
    )
}

/// Check 4.
pub(super) fn recording(
    world: &World,
    probe: Option<&Probe<'_>>,
    plain: &PlainUses,
    findings: &mut Vec<Finding>,
) -> CheckOutcome {
    const CHECK: Check = Check::RecordingRules;
    let mut outcome = CheckOutcome::ran(CHECK, of_kind(world, false).count());
    if outcome.subjects == 0 {
        return CheckOutcome::skipped(CHECK, "there is no recording rule");
    }
    let before = findings.len();
    for (input, file) in world.rule_files() {
        findings.extend(usage::of_rules(CHECK, input, file, plain, probe));
    }
    let misused: Vec<String> = findings.iter().skip(before).map(|f| f.subject.clone()).collect();
    for (input, rule) in of_kind(world, false) {
        findings.extend(short_range(world, CHECK, input, rule));
        let Some(probe) = probe else { continue };
        if misused.iter().any(|m| m == rule.name()) || !input.loaded {
            continue;
        }
        if probe.instant(&format!("count({})", rule.name())).is_ok_and(|v| !v.is_empty()) {
            continue;
        }
        let Ok(parsed) = expr::parse(&rule.expr) else { continue };
        let finding = Finding::critical(CHECK, "recording-rule-empty", rule.name())
            .at(&input.path, rule.line, rule.expr.as_str())
            .asked(format!("count({})", rule.name()), "no series");
        match probe.instant(&rule.expr) {
            Err(e) => findings.push(
                finding.saw(e).cause("the expression is refused when it is evaluated").mend("correct it"),
            ),
            // The expression has values, so the rule itself does not run.
            Ok(v) if !v.is_empty() => findings.push(
                finding
                    .asked(rule.expr.as_str(), format!("{} series", v.len()))
                    .cause("the expression gives values and nothing is recorded: the rule is not evaluated here, or not yet")
                    .mend("load the rule file, and wait for one evaluation interval"),
            ),
            Ok(_) => match probe.explain(&parsed) {
                Empty::Filtered => {}
                why => {
                    let (cause, mend) = say(&why);
                    findings.push(finding.cause(cause).mend(mend));
                }
            },
        }
    }
    if probe.is_none() {
        outcome.leave_out(format!("whether they have output: {}", world.why("telemetry")));
    }
    outcome
}
