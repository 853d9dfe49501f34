//! What the ledger hears of alerts, acknowledgements and silences.

use std::collections::{BTreeMap, BTreeSet};

use obs_ledger::{AlertAck, AlertFired, AlertResolved, Ledger, Receipt};
use obs_rules::{AckContract, AlertBook, AlertFilter, AlertRecord, BookChange, Silence};
use obs_types::TimestampMs;
use serde_json::Value;

use super::Route;
use crate::OpsError;

/// Receipts that the book says must exist and the ledger does not hold, oldest first.
pub(super) fn unrecorded(book: &AlertBook, ledger: &Ledger) -> Result<Vec<Receipt>, OpsError> {
    let mut known: BTreeSet<(bool, String)> = BTreeSet::new();
    ledger.read(0, &mut |_seq, line| {
        for (fired, kind) in [(true, "obs_alert_fired"), (false, "obs_alert_resolved")] {
            if line.contains(kind)
                && let Ok(receipt) = serde_json::from_str::<Value>(line)
                && receipt.get("type").and_then(Value::as_str) == Some(kind)
                && let Some(id) = receipt.get("alert_id").and_then(Value::as_str)
            {
                known.insert((fired, id.to_owned()));
            }
        }
        true
    })?;
    let notified = |a: &AlertRecord| a.notified.clone();
    let mut all = book.list(&AlertFilter::default());
    all.reverse();
    let mut missing: Vec<(TimestampMs, Receipt)> = Vec::new();
    for alert in all {
        if let Some(at) = alert.fired_at
            && !known.contains(&(true, alert.id.clone()))
        {
            missing.push((at, receipt(&BookChange::Fired(alert.clone()), &notified)));
        }
        if let Some(at) = alert.resolved_at
            && !known.contains(&(false, alert.id.clone()))
        {
            missing.push((at, receipt(&BookChange::Resolved(alert), &notified)));
        }
    }
    missing.sort_by_key(|(at, _)| *at);
    Ok(missing.into_iter().map(|(_, receipt)| receipt).collect())
}

pub(super) fn ack_receipt(contract: &AckContract) -> Receipt {
    Receipt::alert_ack(AlertAck {
        operation_id: contract.operation_id.clone(),
        alert_id: contract.alert_id.clone(),
        acknowledged_by: contract.acknowledged_by.clone(),
        acknowledged_at: contract.acknowledged_at,
        comment: contract.comment.clone(),
        escalation_suppressed: contract.escalation_suppressed,
        follow_up_required: contract.follow_up_required,
        follow_up_deadline: contract.follow_up_deadline,
    })
}

pub(super) fn silence_receipt(
    silence: &Silence,
    operation_type: &str,
    by: &str,
    id: String,
) -> Receipt {
    let matchers = &silence.matchers;
    Receipt::silence(obs_ledger::Silence {
        operation_id: id,
        operation_type: operation_type.to_owned(),
        silence_id: silence.id.clone(),
        initiated_by: by.to_owned(),
        matchers: matchers.iter().map(|m| format!("{}{}{:?}", m.name, m.op, m.value)).collect(),
        starts_at: silence.starts_at,
        ends_at: silence.ends_at,
        reason: silence.reason.clone(),
    })
}

pub(super) fn receipt(change: &BookChange, route: Route<'_>) -> Receipt {
    let finite = |v: f64| if v.is_finite() { v } else { 0.0 };
    match change {
        BookChange::Fired(a) => Receipt::alert_fired(AlertFired {
            alert_id: a.id.clone(),
            name: a.name.clone(),
            severity: a.severity.clone(),
            node: a.node.did(),
            rule_expression: obs_rules::show_expression(
                &a.rule.expression,
                obs_types::DurationMs(0),
            ),
            current_value: finite(a.current_value),
            threshold: a.rule.threshold.filter(|t| t.is_finite()),
            notifications_sent: route(a),
            fired_at: a.fired_at.unwrap_or(a.active_at),
            labels: a
                .labels
                .iter()
                .map(|(n, v)| (n.to_owned(), v.to_owned()))
                .collect::<BTreeMap<_, _>>(),
            tags: Vec::new(),
        }),
        BookChange::Resolved(a) => Receipt::alert_resolved(AlertResolved {
            alert_id: a.id.clone(),
            name: a.name.clone(),
            node: a.node.did(),
            fired_at: a.fired_at.unwrap_or(a.active_at),
            resolved_at: a.resolved_at.unwrap_or(a.active_at),
            resolved_by: "automatic".to_owned(),
            resolution_value: Some(a.current_value).filter(|v| v.is_finite()),
            acknowledged: a.acknowledged.is_some(),
            acknowledged_by: a.acknowledged.as_ref().map(|k| k.by.clone()),
            root_cause: None,
            tags: Vec::new(),
        }),
    }
}
