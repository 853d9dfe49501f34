//! All rule groups of an instance: which are due, what survives a reload and a restart.

use std::collections::{BTreeMap, BTreeSet};

use obs_types::{LabelSet, SeriesSource, TimestampMs};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{
    ActiveAlert, AlertState, Effect, GroupOptions, RuleFile, RuleGroup, RulesError, StepContext,
};

const VERSION: u64 = 1;

/// Rule groups in the order of file and group.
#[derive(Clone, Debug)]
pub struct RuleSet {
    options: GroupOptions,
    groups: Vec<RuleGroup>,
}

impl RuleSet {
    pub fn new(options: GroupOptions) -> Self {
        Self { options, groups: Vec::new() }
    }

    pub fn groups(&self) -> &[RuleGroup] {
        &self.groups
    }

    /// Replaces all groups. Rules that stay keep their state; the effects end the others' series
    /// and alerts.
    pub fn load(&mut self, files: &[RuleFile], now: TimestampMs) -> Vec<Effect> {
        let mut old: BTreeMap<(String, String), RuleGroup> = std::mem::take(&mut self.groups)
            .into_iter()
            .map(|g| ((g.file.clone(), g.name.clone()), g))
            .collect();
        let mut effects = Vec::new();
        for file in files {
            for spec in &file.groups {
                let mut group = RuleGroup::new(&file.path, spec, &self.options);
                if let Some(before) = old.remove(&(file.path.clone(), spec.name.clone())) {
                    effects.extend(group.take_over(before, now));
                }
                self.groups.push(group);
            }
        }
        effects.extend(old.into_values().flat_map(|gone| gone.end(now)));
        effects
    }

    /// Steps every group that is due.
    pub fn step(
        &mut self,
        now: TimestampMs,
        source: &dyn SeriesSource,
        context: &StepContext<'_>,
    ) -> Vec<Effect> {
        let due = self.groups.iter_mut().filter(|g| g.is_due(now));
        due.flat_map(|group| group.step(now, source, context)).collect()
    }

    /// The active alerts and written series of every rule, to be restored after a restart.
    pub fn to_json(&self) -> Value {
        let mut rules = Vec::new();
        for group in &self.groups {
            for (index, rule) in group.rules.iter().enumerate() {
                rules.push(SavedRule {
                    file: group.file.clone(),
                    group: group.name.clone(),
                    index,
                    name: rule.spec.name().to_owned(),
                    expr: rule.spec.expr.clone(),
                    active: rule.active.values().map(save).collect(),
                    written: rule.written.iter().map(map).collect(),
                });
            }
        }
        json!(Saved { version: VERSION, rules })
    }

    /// Takes over saved state where a rule of the same place, name and expression exists; call it
    /// after [`RuleSet::load`]. Returns how many alerts were restored.
    pub fn restore(&mut self, value: Value) -> Result<usize, RulesError> {
        let bad = |e: serde_json::Error| RulesError::BadState(e.to_string());
        let saved: Saved = serde_json::from_value(value).map_err(bad)?;
        if saved.version != VERSION {
            return Err(RulesError::BadState(format!(
                "version {} is not {VERSION}",
                saved.version
            )));
        }
        let mut restored = 0;
        for saved in saved.rules {
            let rule = self
                .groups
                .iter_mut()
                .find(|g| g.file == saved.file && g.name == saved.group)
                .and_then(|g| g.rules.get_mut(saved.index))
                .filter(|r| r.spec.name() == saved.name && r.spec.expr == saved.expr);
            let Some(rule) = rule else { continue };
            for alert in saved.active {
                let alert = load(alert)?;
                rule.active.insert(alert.labels.clone(), alert);
                restored += 1;
            }
            rule.written =
                saved.written.into_iter().map(LabelSet::from_pairs).collect::<BTreeSet<_>>();
        }
        Ok(restored)
    }
}

#[derive(Serialize, Deserialize)]
struct Saved {
    version: u64,
    rules: Vec<SavedRule>,
}

#[derive(Serialize, Deserialize)]
struct SavedRule {
    file: String,
    group: String,
    index: usize,
    name: String,
    expr: String,
    active: Vec<SavedActive>,
    written: Vec<BTreeMap<String, String>>,
}

#[derive(Serialize, Deserialize)]
struct SavedActive {
    state: String,
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
    value_bits: u64,
    active_at_ms: i64,
    fired_at_ms: Option<i64>,
    resolved_at_ms: Option<i64>,
    keep_firing_since_ms: Option<i64>,
}

fn map(labels: &LabelSet) -> BTreeMap<String, String> {
    labels.iter().map(|(n, v)| (n.to_owned(), v.to_owned())).collect()
}

fn save(alert: &ActiveAlert) -> SavedActive {
    SavedActive {
        state: alert.state.as_str().to_owned(),
        labels: map(&alert.labels),
        annotations: alert.annotations.clone(),
        value_bits: alert.value.to_bits(),
        active_at_ms: alert.active_at.0,
        fired_at_ms: alert.fired_at.map(|t| t.0),
        resolved_at_ms: alert.resolved_at.map(|t| t.0),
        keep_firing_since_ms: alert.keep_firing_since.map(|t| t.0),
    }
}

fn load(saved: SavedActive) -> Result<ActiveAlert, RulesError> {
    Ok(ActiveAlert {
        state: AlertState::from_text(&saved.state)
            .ok_or_else(|| RulesError::BadState(format!("alert state {:?}", saved.state)))?,
        labels: LabelSet::from_pairs(saved.labels),
        annotations: saved.annotations,
        value: f64::from_bits(saved.value_bits),
        active_at: TimestampMs(saved.active_at_ms),
        fired_at: saved.fired_at_ms.map(TimestampMs),
        resolved_at: saved.resolved_at_ms.map(TimestampMs),
        keep_firing_since: saved.keep_firing_since_ms.map(TimestampMs),
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use obs_promql::testing::MemorySource;
    use obs_types::{DurationMs, QueryContext, SeriesData, is_stale};

    use super::*;
    use crate::ReadOptions;

    const RULES: &str = "groups:\n- name: g\n  interval: 10s\n  rules:\n  - record: r\n    expr: m > 1\n  \
                         - alert: A\n    expr: r > 1\n    for: 20s\n    labels: {severity: critical}\n";

    fn set(text: &str) -> RuleSet {
        let mut set = RuleSet::new(GroupOptions {
            interval: DurationMs(15_000),
            query_offset: DurationMs(0),
            external_labels: LabelSet::empty(),
            external_url: String::new(),
        });
        let file = RuleFile::parse("f.yml", text, ReadOptions::default()).unwrap();
        assert!(set.load(&[file], TimestampMs(0)).is_empty());
        set
    }

    fn source(values: &[f64]) -> MemorySource {
        let mut source = MemorySource::default();
        let times = (0i64..).map(|i| i * 10_000);
        source.append(SeriesData {
            labels: LabelSet::from_pairs([("__name__", "m"), ("node", "a")]),
            timestamps: times.take(values.len()).collect(),
            values: values.to_vec(),
            ..SeriesData::default()
        });
        source
    }

    /// Transitions, failures and written values, one text each.
    fn step(set: &mut RuleSet, source: &MemorySource, at: i64) -> Vec<String> {
        let query = QueryContext::unlimited();
        let context = StepContext { query: &query, monotonic: &|| Duration::ZERO };
        show(set.step(TimestampMs(at), source, &context))
    }

    fn show(effects: Vec<Effect>) -> Vec<String> {
        let mut out = Vec::new();
        for effect in effects {
            match effect {
                Effect::Write(batch) => out.extend(batch.series.iter().map(|s| {
                    let v = s.samples[0].1;
                    let name = s.labels.metric_name();
                    if is_stale(v) { format!("{name} stale") } else { format!("{name} {v}") }
                })),
                Effect::Alert(e) => out.push(format!("{:?}", e.transition)),
                Effect::Failed(f) => out.push(f.message),
            }
        }
        out
    }

    #[test]
    fn later_rules_see_earlier_ones_and_vanished_series_end() {
        let mut set = set(RULES);
        let source = source(&[5.0, 5.0, 5.0, 0.0]);
        assert_eq!(
            step(&mut set, &source, 0),
            ["r 5", "ALERTS 1", "ALERTS_FOR_STATE 0", "Pending"]
        );
        assert!(step(&mut set, &source, 5_000).is_empty(), "not due");
        step(&mut set, &source, 10_000);
        // The pending series ends where the firing one begins.
        assert_eq!(
            step(&mut set, &source, 20_000),
            ["r 5", "ALERTS 1", "ALERTS_FOR_STATE 0", "ALERTS stale", "Fired"]
        );
        assert_eq!(
            step(&mut set, &source, 30_000),
            ["r stale", "ALERTS stale", "ALERTS_FOR_STATE stale", "Resolved"]
        );
    }

    #[test]
    fn a_restart_neither_fires_again_nor_starts_waiting_again() {
        let source = source(&[5.0, 5.0, 5.0, 5.0, 0.0]);
        let mut before = set(RULES);
        step(&mut before, &source, 0);
        step(&mut before, &source, 10_000);
        let mut after = set(RULES);
        assert_eq!(after.restore(before.to_json()).unwrap(), 1);
        assert!(step(&mut after, &source, 20_000).contains(&"Fired".to_owned()));
        let mut again = set(RULES);
        again.restore(after.to_json()).unwrap();
        assert!(step(&mut again, &source, 30_000).contains(&"Updated".to_owned()));
        assert!(step(&mut again, &source, 40_000).contains(&"Resolved".to_owned()));
        assert!(set(RULES).restore(json!({"version": 7, "rules": []})).is_err());
    }

    #[test]
    fn a_reload_keeps_what_stays_and_ends_what_goes() {
        let source = source(&[5.0, 5.0, 5.0, 5.0]);
        let mut set = set(RULES);
        for at in [0, 10_000, 20_000] {
            step(&mut set, &source, at);
        }
        let file = RuleFile::parse("f.yml", RULES, ReadOptions::default()).unwrap();
        assert!(set.load(&[file], TimestampMs(25_000)).is_empty());
        assert_eq!(set.groups()[0].rules[1].state(), AlertState::Firing);
        let gone = show(set.load(&[], TimestampMs(26_000)));
        assert_eq!(gone, ["r stale", "ALERTS stale", "ALERTS_FOR_STATE stale", "Resolved"]);
    }

    #[test]
    fn a_limit_and_a_failing_query_are_said_and_counted_as_health() {
        let text = "groups:\n- name: g\n  limit: 1\n  rules:\n  - record: x\n    expr: label_replace(vector(1), \"a\", \"1\", \"\", \"\") or label_replace(vector(1), \"a\", \"2\", \"\", \"\")\n";
        let mut set = set(text);
        let out = step(&mut set, &source(&[1.0]), 0);
        assert_eq!(out, ["exceeded limit of 1 with 2 series"]);
        assert_eq!(set.groups()[0].rules[0].health.as_str(), "err");
    }

    #[test]
    fn too_many_alerts_end_those_that_were_told() {
        let text = "groups:\n- name: g\n  limit: 1\n  interval: 10s\n  rules:\n  - alert: A\n    \
                    expr: m > 1 or (m > 6) * on() group_left(b) label_replace(vector(1), \"b\", \
                    \"1\", \"\", \"\")\n";
        let mut set = set(text);
        let source = source(&[5.0, 9.0, 5.0]);
        assert_eq!(step(&mut set, &source, 0), ["ALERTS 1", "ALERTS_FOR_STATE 0", "Fired"]);
        let out = step(&mut set, &source, 10_000);
        assert_eq!(out, ["Resolved", "exceeded limit of 1 with 2 alerts"]);
        assert!(set.groups()[0].rules[0].active.is_empty());
        let out = step(&mut set, &source, 20_000);
        assert_eq!(out, ["ALERTS 1", "ALERTS_FOR_STATE 20", "Fired"], "starts anew");
    }

    #[test]
    fn running_at_the_same_time_changes_nothing() {
        let rules: Vec<String> = (0..12)
            .map(|i| match i % 4 {
                0 => format!("  - {{record: 'r{i}', expr: 'm + {i}'}}\n"),
                1 => {
                    format!("  - {{record: 'r{i}', expr: 'r{} * 2 + (r{} or m)'}}\n", i - 1, i + 2)
                }
                2 => format!("  - {{alert: 'A{i}', expr: 'r{} > 3'}}\n", i - 1),
                _ => format!("  - {{record: 'r{i}', expr: 'sum({{__name__=~\"r.*\"}})'}}\n"),
            })
            .collect();
        let text = format!("groups:\n- name: g\n  interval: 10s\n  rules:\n{}", rules.concat());
        let source = source(&[1.0, 2.0, 5.0, 0.5, 7.0]);
        let run = |concurrency| {
            let mut set = set(&text);
            set.groups.iter_mut().for_each(|g| g.set_concurrency(concurrency));
            let mut stored = crate::overlay::Overlay::new(&source);
            let mut out = Vec::new();
            for at in (0..50_000).step_by(10_000) {
                let query = QueryContext::unlimited();
                let context = StepContext { query: &query, monotonic: &|| Duration::ZERO };
                let effects = set.step(TimestampMs(at), &stored, &context);
                for effect in &effects {
                    if let Effect::Write(batch) = effect {
                        stored.add(&batch.series);
                    }
                }
                out.push(show(effects));
            }
            out
        };
        let one = run(1);
        assert!(one[2].len() > 12, "{one:?}");
        for concurrency in [2, 4, 16] {
            assert_eq!(run(concurrency), one);
        }
    }
}
