//! Looks into the instructions that lie beside the configuration: steps that cannot work.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use obs_rules::{RuleKind, format_duration};
use obs_types::DurationMs;
use regex::Regex;

use super::expr;
use super::world::World;
use super::{Check, Finding};

/// A removed interface, `host:9093/api/v1/…`.
static OLD_API: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r":9093/api/v1/[a-z]+|alertmanager[^\s'\x22]*/api/v1/[a-z]+").ok());
static SLEEP: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"^\s*sleep\s+(\d+)([smh]?)\s*(#.*)?$").ok());
/// How far after a wait its alert is looked for, in lines.
const LINES_AFTER: usize = 8;

pub(super) fn look(texts: &BTreeMap<String, String>, world: &mut World) {
    let waits = alert_waits(world);
    let mut found = Vec::new();
    let texts = texts.iter().filter(|(p, _)| p.ends_with(".md") || p.ends_with(".sh"));
    for (path, text) in texts {
        let old = OLD_API.as_ref().and_then(|r| {
            text.lines().enumerate().find_map(|(i, l)| Some((i, r.find(l)?.as_str())))
        });
        if let Some((line, what)) = old {
            found.push(
                Finding::warning(Check::FireDrill, "removed-api", path.as_str())
                    .at(path, line as u64 + 1, format!("calls {what}"))
                    .cause("Alertmanager answers nothing useful there since 0.27, so the step shows no alert although one fires")
                    .mend("use /api/v2/alerts"),
            );
        }
        found.extend(short_drills(path, text, &waits));
    }
    world.found_by_reader.extend(found);
}

/// The least time from a fault to the alert, by alert.
fn alert_waits(world: &World) -> BTreeMap<String, DurationMs> {
    let mut out = BTreeMap::new();
    for (_, file) in world.rule_files() {
        for rule in file.groups.iter().flat_map(|g| &g.rules) {
            let RuleKind::Alert(alert) = &rule.kind else { continue };
            let over_time = expr::parse(&rule.expr).ok().map_or(0, |e| {
                let absent = expr::selected(&e).iter().any(|s| s.is_below(&["absent_over_time"]));
                if absent { expr::reach_ms(&e) } else { 0 }
            });
            out.insert(alert.name.clone(), DurationMs(alert.hold.0.saturating_add(over_time)));
        }
    }
    out
}

/// A wait that is shorter than the alert which it waits for.
fn short_drills(path: &str, text: &str, waits: &BTreeMap<String, DurationMs>) -> Vec<Finding> {
    let lines: Vec<&str> = text.lines().collect();
    let mut out: BTreeMap<&String, Finding> = BTreeMap::new();
    for (at, line) in lines.iter().enumerate() {
        let Some(found) = SLEEP.as_ref().and_then(|r| r.captures(line)) else { continue };
        let amount: i64 = found.get(1).and_then(|m| m.as_str().parse().ok()).unwrap_or(0);
        let unit = match found.get(2).map_or("", |m| m.as_str()) {
            "m" => 60_000,
            "h" => 3_600_000,
            _ => 1_000,
        };
        let slept = amount.saturating_mul(unit);
        let after = lines.iter().skip(at + 1).take(LINES_AFTER);
        // The next wait is for something else.
        let after: Vec<&&str> =
            after.take_while(|l| !l.trim_start().starts_with("sleep")).collect();
        for (alert, wait) in waits {
            let named = after.iter().any(|l| l.contains(alert.as_str()) && l.contains("firing"));
            if named && slept < wait.0 {
                out.entry(alert).or_insert_with(|| {
                    Finding::warning(Check::FireDrill, "drill-too-short", alert.as_str())
                        .at(path, at as u64 + 1, format!("waits {} and then expects the alert to fire", format_duration(DurationMs(slept))))
                        .saw(format!("the rule needs at least {} of the condition", format_duration(*wait)))
                        .cause("the drill ends before the alert can fire, so it fails with everything in order or is taken as passed")
                        .mend(format!("wait longer than {}", format_duration(*wait)))
                });
            }
        }
    }
    out.into_values().collect()
}
