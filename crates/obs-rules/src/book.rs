//! The alert book: ENGINE 2.4's alert objects over their whole life.
//!
//! Invariants:
//! - An alert keeps its id from the moment it fires; a second life of the same labels gets a new
//!   id. Ids count from 001 on each UTC day and are never given twice, also after a restart.
//! - `apply` reports each firing and each resolution exactly once.
//! - Acks and silences never change whether an alert fires, only whether it is notified.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use obs_types::{LabelSet, NodeName, TimestampMs};
use serde_json::{Map, Value, json};

use crate::duration::format_duration;
use crate::time::{day_text, time_text};
use crate::{
    AlertEvent, InhibitRule, RuleInfo, RulesError, Silence, SilenceRequest, SilenceStatus,
    Transition,
};

/// Resolved alerts kept for listing; the ledger keeps all of them.
const RESOLVED_MAX: usize = 10_000;

/// Longest comment of an ack, in bytes.
const COMMENT_BYTES_MAX: usize = 4096;

/// The severity of a rule that names none.
const SEVERITY_DEFAULT: &str = "warning";

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum AlertStatus {
    Pending,
    Firing,
    Resolved,
}

impl AlertStatus {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Firing => "firing",
            Self::Resolved => "resolved",
        }
    }

    pub fn from_text(text: &str) -> Option<Self> {
        [Self::Pending, Self::Firing, Self::Resolved].into_iter().find(|s| s.as_str() == text)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acknowledgement {
    pub by: String,
    pub at: TimestampMs,
    pub comment: String,
    pub escalation_suppressed: bool,
    pub follow_up_deadline: Option<TimestampMs>,
}

/// One alert as ENGINE 2.4 tells it.
#[derive(Clone, Debug, PartialEq)]
pub struct AlertRecord {
    /// `alert-2025-12-06-001`; `pending-…` until it fires.
    pub id: String,
    pub name: String,
    pub severity: String,
    pub status: AlertStatus,
    /// Since when the condition held.
    pub active_at: TimestampMs,
    pub fired_at: Option<TimestampMs>,
    pub resolved_at: Option<TimestampMs>,
    pub node: NodeName,
    pub rule: RuleInfo,
    pub current_value: f64,
    /// All of them, with `alertname` and `severity`; ENGINE's object leaves those two and `node` out.
    pub labels: LabelSet,
    pub annotations: BTreeMap<String, String>,
    /// Receivers that took a notification, such as `slack:ops-channel`, in order of delivery.
    pub notified: Vec<String>,
    pub acknowledged: Option<Acknowledgement>,
}

impl AlertRecord {
    /// The labels with `severity` and `node` filled in, as routes and silences see them.
    pub fn routing_labels(&self) -> LabelSet {
        let mut labels = self.labels.to_builder();
        if labels.get("severity").is_none() {
            labels.set("severity", self.severity.clone());
        }
        if labels.get("node").is_none() {
            labels.set("node", self.node.short());
        }
        labels.build()
    }

    /// ENGINE 2.4's object.
    pub fn to_json(&self, silenced: bool) -> Value {
        let labels: Map<String, Value> = self
            .labels
            .iter()
            .filter(|(n, _)| !matches!(*n, "alertname" | "severity" | "node"))
            .map(|(n, v)| (n.to_owned(), v.into()))
            .collect();
        let acknowledged = self.acknowledged.as_ref().map(|a| {
            json!({
                "by": a.by,
                "at": time_text(a.at),
                "comment": a.comment,
                "escalation_suppressed": a.escalation_suppressed,
                "follow_up_deadline": a.follow_up_deadline.map(time_text),
            })
        });
        json!({
            "alert_id": self.id,
            "name": self.name,
            "severity": self.severity,
            "status": self.status.as_str(),
            "fired_at": self.fired_at.map(time_text),
            "node": self.node.did(),
            "rule": {
                "expression": self.rule.expression,
                "threshold": self.rule.threshold.map(number),
                "duration": format_duration(self.rule.hold),
            },
            "current_value": number(self.current_value),
            "labels": labels,
            "annotations": self.annotations,
            "notified": self.notified,
            "acknowledged": acknowledged,
            "silenced": silenced,
            "active_at": time_text(self.active_at),
            "resolved_at": self.resolved_at.map(time_text),
        })
    }
}

/// `80`, not `80.0`; what JSON cannot hold is text.
fn number(v: f64) -> Value {
    if v.fract() == 0.0 && v.abs() < 9e15 {
        return json!(v as i64);
    }
    serde_json::Number::from_f64(v)
        .map_or_else(|| Value::String(crate::number::go_float(v)), Value::Number)
}

/// What became of an event.
#[derive(Clone, Debug, PartialEq)]
pub enum BookChange {
    Fired(AlertRecord),
    Resolved(AlertRecord),
}

/// Which alerts to list; what is `None` matches all.
#[derive(Clone, Debug, Default)]
pub struct AlertFilter {
    pub status: Option<AlertStatus>,
    pub severity: Option<String>,
    /// Either spelling.
    pub node: Option<String>,
    pub name: Option<String>,
}

#[derive(Clone, Debug, Default)]
pub struct AckRequest {
    pub by: String,
    pub comment: String,
    pub escalation_suppressed: bool,
    pub follow_up_required: bool,
    pub follow_up_deadline: Option<TimestampMs>,
}

/// ENGINE 3.2's alert acknowledgement contract.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AckContract {
    pub operation_id: String,
    pub alert_id: String,
    pub acknowledged_by: String,
    pub acknowledged_at: TimestampMs,
    pub comment: String,
    pub escalation_suppressed: bool,
    pub follow_up_required: bool,
    pub follow_up_deadline: Option<TimestampMs>,
}

impl AckContract {
    pub fn to_json(&self) -> Value {
        json!({
            "operation_id": self.operation_id,
            "operation_type": "alert_acknowledge",
            "alert_id": self.alert_id,
            "acknowledged_by": self.acknowledged_by,
            "acknowledged_at": time_text(self.acknowledged_at),
            "comment": self.comment,
            "escalation_suppressed": self.escalation_suppressed,
            "follow_up_required": self.follow_up_required,
            "follow_up_deadline": self.follow_up_deadline.map(time_text),
        })
    }
}

/// Numbers within a UTC day.
#[derive(Clone, Debug, Default)]
pub(crate) struct DayCounter {
    day: String,
    last: u64,
}

impl DayCounter {
    /// A clock that steps back over midnight goes on counting on the later day, so no id repeats.
    fn next(&mut self, now: TimestampMs) -> (String, u64) {
        let day = day_text(now);
        if day > self.day {
            self.day = day;
            self.last = 0;
        }
        self.last += 1;
        (self.day.clone(), self.last)
    }
}

/// All alerts, acks and silences of an instance.
#[derive(Clone, Debug)]
pub struct AlertBook {
    /// Stands in where an alert's labels name no node, as for an aggregate over all of them.
    own_node: NodeName,
    pub(crate) alert_ids: DayCounter,
    pub(crate) operation_ids: DayCounter,
    pub(crate) silence_ids: DayCounter,
    /// Pending and firing alerts by rule and labels.
    pub(crate) active: BTreeMap<Key, AlertRecord>,
    /// Oldest first.
    pub(crate) resolved: VecDeque<AlertRecord>,
    pub(crate) silences: BTreeMap<String, Silence>,
    inhibit: Vec<InhibitRule>,
}

/// File, group and labels: the same labels from two groups are two alerts.
pub(crate) type Key = (String, String, LabelSet);

impl AlertBook {
    pub fn new(own_node: NodeName) -> Self {
        Self {
            own_node,
            alert_ids: DayCounter::default(),
            operation_ids: DayCounter::default(),
            silence_ids: DayCounter::default(),
            active: BTreeMap::new(),
            resolved: VecDeque::new(),
            silences: BTreeMap::new(),
            inhibit: Vec::new(),
        }
    }

    pub fn set_inhibit_rules(&mut self, rules: Vec<InhibitRule>) {
        self.inhibit = rules;
    }

    /// Takes what a rule group reported. Firing twice or resolving what does not fire gives `None`.
    pub fn apply(&mut self, event: &AlertEvent) -> Option<BookChange> {
        let key = (event.rule.file.clone(), event.rule.group.clone(), event.alert.labels.clone());
        match event.transition {
            Transition::Dropped => {
                if self.active.get(&key).is_some_and(|a| a.status == AlertStatus::Pending) {
                    self.active.remove(&key);
                }
                None
            }
            Transition::Pending => {
                self.active.entry(key).or_insert_with(|| record(event, &self.own_node));
                None
            }
            Transition::Updated => {
                // An alert of a restored group that the book does not know yet still counts.
                let known = self.active.entry(key).or_insert_with(|| record(event, &self.own_node));
                known.current_value = event.alert.value;
                known.annotations.clone_from(&event.alert.annotations);
                known.rule.clone_from(&event.rule);
                if known.status == AlertStatus::Pending && event.alert.fired_at.is_some() {
                    return Some(fire(known, event, &mut self.alert_ids));
                }
                None
            }
            Transition::Fired => {
                let known = self.active.entry(key).or_insert_with(|| record(event, &self.own_node));
                if known.status == AlertStatus::Firing {
                    return None;
                }
                Some(fire(known, event, &mut self.alert_ids))
            }
            Transition::Resolved => {
                let mut known = self.active.remove(&key)?;
                if known.status != AlertStatus::Firing {
                    return None;
                }
                known.status = AlertStatus::Resolved;
                known.resolved_at = Some(event.at);
                known.current_value = event.alert.value;
                self.resolved.push_back(known.clone());
                while self.resolved.len() > RESOLVED_MAX {
                    self.resolved.pop_front();
                }
                Some(BookChange::Resolved(known))
            }
        }
    }

    /// Newest first: by the time of firing (or of becoming pending), then by id.
    pub fn list(&self, filter: &AlertFilter) -> Vec<AlertRecord> {
        let node = filter.node.as_deref().map(NodeName::new);
        let mut found: Vec<AlertRecord> = self
            .active
            .values()
            .chain(&self.resolved)
            .filter(|a| filter.status.is_none_or(|s| s == a.status))
            .filter(|a| filter.severity.as_ref().is_none_or(|s| *s == a.severity))
            .filter(|a| filter.name.as_ref().is_none_or(|n| *n == a.name))
            .filter(|a| node.as_ref().is_none_or(|n| *n == a.node))
            .cloned()
            .collect();
        found.sort_by(|a, b| {
            let time = |r: &AlertRecord| r.fired_at.unwrap_or(r.active_at);
            time(b).cmp(&time(a)).then_with(|| b.id.cmp(&a.id))
        });
        found
    }

    pub fn get(&self, id: &str) -> Option<&AlertRecord> {
        self.active.values().chain(&self.resolved).find(|a| a.id == id)
    }

    /// Alerts that fire right now, sorted by rule and labels.
    pub fn firing(&self) -> impl Iterator<Item = &AlertRecord> {
        self.active.values().filter(|a| a.status == AlertStatus::Firing)
    }

    /// (firing, pending)
    pub fn counts(&self) -> (usize, usize) {
        let firing = self.firing().count();
        (firing, self.active.len() - firing)
    }

    /// Acknowledges a firing alert; a second ack replaces the first.
    pub fn ack(
        &mut self,
        id: &str,
        request: AckRequest,
        now: TimestampMs,
    ) -> Result<AckContract, RulesError> {
        if request.comment.len() > COMMENT_BYTES_MAX {
            return Err(RulesError::BadAck(format!(
                "comment has {} bytes, at most {COMMENT_BYTES_MAX} are kept",
                request.comment.len()
            )));
        }
        if request.follow_up_deadline.is_some_and(|d| d <= now) {
            return Err(RulesError::BadAck("follow_up_deadline is in the past".to_owned()));
        }
        let Some(alert) = self.active.values_mut().find(|a| a.id == id) else {
            return Err(match self.resolved.iter().any(|a| a.id == id) {
                true => RulesError::AlertResolved(id.to_owned()),
                false => RulesError::AlertNotFound(id.to_owned()),
            });
        };
        if alert.status != AlertStatus::Firing {
            return Err(RulesError::BadAck(format!("{id} is pending, it has not fired")));
        }
        alert.acknowledged = Some(Acknowledgement {
            by: request.by.clone(),
            at: now,
            comment: request.comment.clone(),
            escalation_suppressed: request.escalation_suppressed,
            follow_up_deadline: request.follow_up_deadline,
        });
        Ok(AckContract {
            operation_id: self.next_operation_id(now),
            alert_id: id.to_owned(),
            acknowledged_by: request.by,
            acknowledged_at: now,
            comment: request.comment,
            escalation_suppressed: request.escalation_suppressed,
            follow_up_required: request.follow_up_required || request.follow_up_deadline.is_some(),
            follow_up_deadline: request.follow_up_deadline,
        })
    }

    /// `obs-op-2025-12-06-001`, for every explicit operation of ENGINE 3.2.
    pub fn next_operation_id(&mut self, now: TimestampMs) -> String {
        let (day, number) = self.operation_ids.next(now);
        format!("obs-op-{day}-{number:03}")
    }

    /// Notes that a receiver took a notification of the alert; unknown ids are passed over.
    pub fn record_notified(&mut self, id: &str, receiver: &str) {
        let found = self.active.values_mut().chain(&mut self.resolved).find(|a| a.id == id);
        if let Some(alert) = found
            && !alert.notified.iter().any(|n| n == receiver)
        {
            alert.notified.push(receiver.to_owned());
        }
    }

    pub fn add_silence(
        &mut self,
        request: SilenceRequest,
        now: TimestampMs,
    ) -> Result<Silence, RulesError> {
        let mut ids = self.silence_ids.clone();
        let (day, number) = ids.next(now);
        let silence = Silence::new(format!("silence-{day}-{number:03}"), request, now)?;
        self.silence_ids = ids;
        self.silences.insert(silence.id.clone(), silence.clone());
        Ok(silence)
    }

    /// Ends a silence now; an expired one stays expired.
    pub fn expire_silence(&mut self, id: &str, now: TimestampMs) -> Result<Silence, RulesError> {
        let silence =
            self.silences.get_mut(id).ok_or_else(|| RulesError::SilenceNotFound(id.to_owned()))?;
        silence.expire(now);
        Ok(silence.clone())
    }

    /// Newest first, expired ones last.
    pub fn silences(&self, now: TimestampMs) -> Vec<Silence> {
        let mut all: Vec<Silence> = self.silences.values().cloned().collect();
        all.sort_by(|a, b| {
            let expired = |s: &Silence| s.status(now) == SilenceStatus::Expired;
            (expired(a), b.starts_at, &b.id).cmp(&(expired(b), a.starts_at, &a.id))
        });
        all
    }

    /// Ids of the active silences that match, sorted.
    pub fn silenced_by(&self, alert: &AlertRecord, now: TimestampMs) -> Vec<String> {
        let labels = alert.routing_labels();
        self.silences
            .values()
            .filter(|s| s.status(now) == SilenceStatus::Active && s.matches(&labels))
            .map(|s| s.id.clone())
            .collect()
    }

    /// Ids of the firing alerts that inhibit this one, sorted.
    pub fn inhibited_by(&self, alert: &AlertRecord) -> Vec<String> {
        let target = alert.routing_labels();
        let mut ids: BTreeSet<String> = BTreeSet::new();
        for source in self.firing().filter(|s| s.id != alert.id) {
            let labels = source.routing_labels();
            if self.inhibit.iter().any(|rule| rule.mutes(&labels, &target)) {
                ids.insert(source.id.clone());
            }
        }
        ids.into_iter().collect()
    }
}

fn record(event: &AlertEvent, own_node: &NodeName) -> AlertRecord {
    let labels = &event.alert.labels;
    let node = labels
        .get("node")
        .map(NodeName::new)
        .or_else(|| labels.get("instance").map(|i| NodeName::new(host(i))))
        .unwrap_or_else(|| own_node.clone());
    AlertRecord {
        id: format!("pending-{:016x}", labels.stable_hash()),
        name: event.rule.name.clone(),
        severity: labels.get("severity").unwrap_or(SEVERITY_DEFAULT).to_owned(),
        status: AlertStatus::Pending,
        active_at: event.alert.active_at,
        fired_at: None,
        resolved_at: None,
        node,
        rule: event.rule.clone(),
        current_value: event.alert.value,
        labels: labels.clone(),
        annotations: event.alert.annotations.clone(),
        notified: Vec::new(),
        acknowledged: None,
    }
}

fn fire(known: &mut AlertRecord, event: &AlertEvent, ids: &mut DayCounter) -> BookChange {
    let fired_at = event.alert.fired_at.unwrap_or(event.at);
    let (day, number) = ids.next(fired_at);
    known.id = format!("alert-{day}-{number:03}");
    known.status = AlertStatus::Firing;
    known.fired_at = Some(fired_at);
    known.current_value = event.alert.value;
    known.annotations.clone_from(&event.alert.annotations);
    BookChange::Fired(known.clone())
}

/// `brick-01:9100` → `brick-01`, `[::1]:9100` → `::1`.
fn host(instance: &str) -> &str {
    if let Some((inside, _)) = instance.strip_prefix('[').and_then(|r| r.split_once(']')) {
        return inside;
    }
    match instance.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') && port.chars().all(|c| c.is_ascii_digit()) => {
            host
        }
        _ => instance,
    }
}

mod state;

#[cfg(test)]
mod tests;
