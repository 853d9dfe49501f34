//! The book as JSON, for `DATA/state`.

use obs_types::{DurationMs, LabelSet, NodeName, TimestampMs};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;

use super::{Acknowledgement, AlertBook, AlertRecord, AlertStatus, DayCounter};
use crate::{RuleInfo, RulesError, Silence};

const VERSION: u64 = 1;

#[derive(Serialize, Deserialize)]
struct SavedBook {
    version: u64,
    alert_ids: (String, u64),
    operation_ids: (String, u64),
    silence_ids: (String, u64),
    active: Vec<SavedAlert>,
    resolved: Vec<SavedAlert>,
    silences: Vec<Value>,
}

#[derive(Serialize, Deserialize)]
struct SavedAlert {
    id: String,
    name: String,
    severity: String,
    status: String,
    active_at_ms: i64,
    fired_at_ms: Option<i64>,
    resolved_at_ms: Option<i64>,
    node: String,
    file: String,
    group: String,
    expression: String,
    threshold: Option<f64>,
    hold_ms: i64,
    /// Bits, because JSON has no infinity and no NaN.
    value_bits: u64,
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
    notified: Vec<String>,
    acknowledged: Option<SavedAck>,
}

#[derive(Serialize, Deserialize)]
struct SavedAck {
    by: String,
    at_ms: i64,
    comment: String,
    escalation_suppressed: bool,
    follow_up_deadline_ms: Option<i64>,
}

impl AlertBook {
    /// Everything that must survive a restart, except the inhibition rules (configuration).
    pub fn to_json(&self) -> Value {
        let pair = |c: &DayCounter| (c.day.clone(), c.last);
        let book = SavedBook {
            version: VERSION,
            alert_ids: pair(&self.alert_ids),
            operation_ids: pair(&self.operation_ids),
            silence_ids: pair(&self.silence_ids),
            active: self.active.values().map(save).collect(),
            resolved: self.resolved.iter().map(save).collect(),
            silences: self.silences.values().map(Silence::save).collect(),
        };
        json!(book)
    }

    /// Reads what [`AlertBook::to_json`] gave; `Err` names what is wrong, nothing is half-read.
    pub fn from_json(own_node: NodeName, value: Value) -> Result<Self, RulesError> {
        let bad = |e: serde_json::Error| RulesError::BadState(e.to_string());
        let saved: SavedBook = serde_json::from_value(value).map_err(bad)?;
        if saved.version != VERSION {
            return Err(RulesError::BadState(format!(
                "version {} is not {VERSION}",
                saved.version
            )));
        }
        let counter = |(day, last): (String, u64)| DayCounter { day, last };
        let mut book = Self::new(own_node);
        book.alert_ids = counter(saved.alert_ids);
        book.operation_ids = counter(saved.operation_ids);
        book.silence_ids = counter(saved.silence_ids);
        for alert in saved.active {
            let alert = load(alert)?;
            let key = (alert.rule.file.clone(), alert.rule.group.clone(), alert.labels.clone());
            book.active.insert(key, alert);
        }
        book.resolved = saved.resolved.into_iter().map(load).collect::<Result<_, _>>()?;
        for silence in saved.silences {
            let silence = Silence::load(silence)?;
            book.silences.insert(silence.id.clone(), silence);
        }
        Ok(book)
    }
}

fn save(alert: &AlertRecord) -> SavedAlert {
    SavedAlert {
        id: alert.id.clone(),
        name: alert.name.clone(),
        severity: alert.severity.clone(),
        status: alert.status.as_str().to_owned(),
        active_at_ms: alert.active_at.0,
        fired_at_ms: alert.fired_at.map(|t| t.0),
        resolved_at_ms: alert.resolved_at.map(|t| t.0),
        node: alert.node.short().to_owned(),
        file: alert.rule.file.clone(),
        group: alert.rule.group.clone(),
        expression: alert.rule.expression.clone(),
        threshold: alert.rule.threshold,
        hold_ms: alert.rule.hold.0,
        value_bits: alert.current_value.to_bits(),
        labels: alert.labels.iter().map(|(n, v)| (n.to_owned(), v.to_owned())).collect(),
        annotations: alert.annotations.clone(),
        notified: alert.notified.clone(),
        acknowledged: alert.acknowledged.as_ref().map(|a| SavedAck {
            by: a.by.clone(),
            at_ms: a.at.0,
            comment: a.comment.clone(),
            escalation_suppressed: a.escalation_suppressed,
            follow_up_deadline_ms: a.follow_up_deadline.map(|t| t.0),
        }),
    }
}

fn load(saved: SavedAlert) -> Result<AlertRecord, RulesError> {
    let status = AlertStatus::from_text(&saved.status)
        .ok_or_else(|| RulesError::BadState(format!("alert status {:?}", saved.status)))?;
    Ok(AlertRecord {
        id: saved.id,
        severity: saved.severity,
        status,
        active_at: TimestampMs(saved.active_at_ms),
        fired_at: saved.fired_at_ms.map(TimestampMs),
        resolved_at: saved.resolved_at_ms.map(TimestampMs),
        node: NodeName::new(&saved.node),
        rule: RuleInfo {
            file: saved.file,
            group: saved.group,
            name: saved.name.clone(),
            expression: saved.expression,
            threshold: saved.threshold,
            hold: DurationMs(saved.hold_ms),
        },
        name: saved.name,
        current_value: f64::from_bits(saved.value_bits),
        labels: LabelSet::from_pairs(saved.labels),
        annotations: saved.annotations,
        notified: saved.notified,
        acknowledged: saved.acknowledged.map(|a| Acknowledgement {
            by: a.by,
            at: TimestampMs(a.at_ms),
            comment: a.comment,
            escalation_suppressed: a.escalation_suppressed,
            follow_up_deadline: a.follow_up_deadline_ms.map(TimestampMs),
        }),
    })
}
