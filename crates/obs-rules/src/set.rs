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
