use std::collections::BTreeMap;

use obs_types::TimestampMs;
use serde_json::json;

use super::fields::{number, object, optional_number, tags, time};
use super::{Receipt, ReceiptType};

/// `obs_alert_fired`.
#[derive(Clone, Debug)]
pub struct AlertFired {
    pub alert_id: String,
    pub name: String,
    pub severity: String,
    /// `did:vm:node:…`, or empty where the alert is about no node.
    pub node: String,
    pub rule_expression: String,
    pub current_value: f64,
    /// `None` where the expression has no plain threshold.
    pub threshold: Option<f64>,
    pub notifications_sent: Vec<String>,
    pub fired_at: TimestampMs,
    pub labels: BTreeMap<String, String>,
    /// Added to `observability`, `alert`, `fired`.
    pub tags: Vec<String>,
}

/// `obs_alert_resolved`.
#[derive(Clone, Debug)]
pub struct AlertResolved {
    pub alert_id: String,
    pub name: String,
    pub node: String,
    pub fired_at: TimestampMs,
    pub resolved_at: TimestampMs,
    /// `automatic`, or who.
    pub resolved_by: String,
    /// `None` where the expression no longer gives a value.
    pub resolution_value: Option<f64>,
    pub acknowledged: bool,
    pub acknowledged_by: Option<String>,
    pub root_cause: Option<String>,
    /// Added to `observability`, `alert`, `resolved`.
    pub tags: Vec<String>,
}

impl Receipt {
    pub fn alert_fired(a: AlertFired) -> Self {
        let fields = object(json!({
            "alert_id": a.alert_id,
            "name": a.name,
            "severity": a.severity,
            "node": a.node,
            "rule_expression": a.rule_expression,
            "current_value": number(a.current_value),
            "threshold": optional_number(a.threshold),
            "notifications_sent": a.notifications_sent,
            "fired_at": time(a.fired_at),
            "labels": a.labels,
            "tags": tags(&["observability", "alert", "fired"], &a.tags),
        }));
        Self::new(ReceiptType::AlertFired, fields)
    }

    /// `duration_minutes` is whole minutes, cut.
    pub fn alert_resolved(a: AlertResolved) -> Self {
        let lasted_ms = a.resolved_at.0.saturating_sub(a.fired_at.0).max(0);
        let fields = object(json!({
            "alert_id": a.alert_id,
            "name": a.name,
            "node": a.node,
            "fired_at": time(a.fired_at),
            "resolved_at": time(a.resolved_at),
            "duration_minutes": lasted_ms / 60_000,
            "resolved_by": a.resolved_by,
            "resolution_value": optional_number(a.resolution_value),
            "acknowledged": a.acknowledged,
            "acknowledged_by": a.acknowledged_by,
            "root_cause": a.root_cause,
            "tags": tags(&["observability", "alert", "resolved"], &a.tags),
        }));
        Self::new(ReceiptType::AlertResolved, fields)
    }
}
