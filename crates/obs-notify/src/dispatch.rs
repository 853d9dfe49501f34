//! Grouping: which alerts are told together, to whom, and when. No I/O, the clock is an argument.
//!
//! Invariants:
//! - A group's first message waits `group_wait`, a changed group `group_interval` since the last
//!   message, an unchanged one `repeat_interval`.
//! - An alert that resolves is told as resolved only to those who were told that it fired.
//! - A muted alert is left out; its group is looked at again each time it is due.

use std::collections::{BTreeMap, BTreeSet};

use obs_rules::{AlertRecord, AlertStatus};
use obs_types::{LabelSet, TimestampMs};

use crate::NotifyConfig;

/// One message for one receiver.
#[derive(Clone, Debug)]
pub struct Notification {
    pub receiver: String,
    /// Stable over restarts: place in the route tree and group labels.
    pub group_key: String,
    pub group_labels: LabelSet,
    /// Sorted by labels; firing and resolved ones.
    pub alerts: Vec<AlertRecord>,
}

impl Notification {
    /// `firing` while any alert fires.
    pub fn status(&self) -> &'static str {
        match self.alerts.iter().any(|a| a.status == AlertStatus::Firing) {
            true => "firing",
            false => "resolved",
        }
    }
}

#[derive(Debug)]
struct Group {
    receiver: String,
    labels: LabelSet,
    interval_ms: i64,
    repeat_ms: i64,
    alerts: BTreeMap<String, AlertRecord>,
    /// Ids told as firing by the last message.
    told: BTreeSet<String>,
    told_at: Option<TimestampMs>,
    due_at: TimestampMs,
}

/// All groups of a configuration.
#[derive(Debug)]
pub struct Dispatcher {
    config: NotifyConfig,
    groups: BTreeMap<String, Group>,
    /// What was told before a restart, until the group exists again.
    remembered: BTreeMap<String, (BTreeSet<String>, TimestampMs)>,
}

impl Dispatcher {
    pub fn new(config: NotifyConfig) -> Self {
        Self { config, groups: BTreeMap::new(), remembered: BTreeMap::new() }
    }

    pub fn config(&self) -> &NotifyConfig {
        &self.config
    }

    /// What the queue on disk knows of a group's last message.
    pub fn remember(&mut self, group_key: String, told: BTreeSet<String>, at: TimestampMs) {
        self.remembered.insert(group_key, (told, at));
    }

    /// Takes an alert that fired, changed or resolved. Pending ones are passed over.
    pub fn alert(&mut self, alert: &AlertRecord, now: TimestampMs) {
        if alert.status == AlertStatus::Pending {
            return;
        }
        let labels = alert.routing_labels();
        for (place, route) in self.config.routes_for(&labels) {
            let group_labels = match &route.group_by {
                None => labels.clone(),
                Some(names) => labels.keep(&names.iter().map(String::as_str).collect::<Vec<_>>()),
            };
            let key = format!("{place}:{{{}}}:{}", route.receiver, group_labels);
            if alert.status == AlertStatus::Resolved
                && !self.groups.contains_key(&key)
                && !self.remembered.get(&key).is_some_and(|(ids, _)| ids.contains(&alert.id))
            {
                continue;
            }
            let remembered = self.remembered.remove(&key);
            let group = self.groups.entry(key).or_insert_with(|| {
                let (told, told_at) =
                    remembered.map_or_else(Default::default, |(t, at)| (t, Some(at)));
                Group {
                    receiver: route.receiver.clone(),
                    labels: group_labels,
                    interval_ms: route.group_interval_ms,
                    repeat_ms: route.repeat_interval_ms,
                    alerts: BTreeMap::new(),
                    due_at: TimestampMs(match told_at {
                        Some(at) => at.0.saturating_add(route.group_interval_ms),
                        None => now.0.saturating_add(route.group_wait_ms),
                    }),
                    told,
                    told_at,
                }
            });
            group.alerts.insert(alert.id.clone(), alert.clone());
        }
    }

    /// The messages that are due. `muted` tells whether an alert is silenced or inhibited.
    pub fn due(
        &mut self,
        now: TimestampMs,
        muted: &dyn Fn(&AlertRecord) -> bool,
    ) -> Vec<Notification> {
        let mut out = Vec::new();
        for (key, group) in self.groups.iter_mut().filter(|(_, g)| g.due_at <= now) {
            group.due_at = TimestampMs(now.0.saturating_add(group.interval_ms));
            let mut alerts: Vec<AlertRecord> = group
                .alerts
                .values()
                .filter(|a| match a.status {
                    AlertStatus::Firing => !muted(a),
                    _ => group.told.contains(&a.id),
                })
                .cloned()
                .collect();
            group.alerts.retain(|_, a| a.status == AlertStatus::Firing);
            let firing: BTreeSet<String> = alerts
                .iter()
                .filter(|a| a.status == AlertStatus::Firing)
                .map(|a| a.id.clone())
                .collect();
            let news = alerts.iter().any(|a| a.status == AlertStatus::Resolved)
                || firing.iter().any(|id| !group.told.contains(id));
            let repeat = !firing.is_empty()
                && group.told_at.is_some_and(|at| now.0.saturating_sub(at.0) >= group.repeat_ms);
            if alerts.is_empty() || !(news || repeat) {
                continue;
            }
            alerts.sort_by(|a, b| a.labels.cmp(&b.labels).then_with(|| a.id.cmp(&b.id)));
            group.told = firing;
            group.told_at = Some(now);
            out.push(Notification {
                receiver: group.receiver.clone(),
                group_key: key.clone(),
                group_labels: group.labels.clone(),
                alerts,
            });
        }
        self.groups.retain(|_, g| !g.alerts.is_empty());
        out
    }
}
