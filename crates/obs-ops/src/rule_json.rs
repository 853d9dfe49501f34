//! Rules and their active alerts as Prometheus' `/api/v1/rules` and `/api/v1/alerts` show them.

use obs_rules::{AlertState, Rule, RuleHealth, RuleKind, time_text};
use obs_types::{LabelSet, TimestampMs};
use serde_json::{Map, Value, json};

fn labels_json(labels: &LabelSet) -> Map<String, Value> {
    labels.iter().map(|(n, v)| (n.to_owned(), json!(v))).collect()
}

pub(crate) fn evaluated(at: Option<TimestampMs>) -> String {
    at.map_or_else(|| "0001-01-01T00:00:00Z".to_owned(), time_text)
}

fn number(v: f64) -> String {
    if v.is_nan() {
        "NaN".to_owned()
    } else if v.is_infinite() {
        if v > 0.0 { "+Inf".to_owned() } else { "-Inf".to_owned() }
    } else {
        format!("{v:e}")
    }
}

pub(crate) fn active_json(rule: &Rule) -> Vec<Value> {
    rule.active
        .values()
        .filter(|a| a.state != AlertState::Inactive)
        .map(|a| {
            json!({
                "labels": labels_json(&a.labels),
                "annotations": a.annotations,
                "state": a.state.as_str(),
                "activeAt": time_text(a.active_at),
                "value": number(a.value),
            })
        })
        .collect()
}

pub(crate) fn rule_json(rule: &Rule) -> Value {
    let error = match &rule.health {
        RuleHealth::Err(message) => Some(message),
        RuleHealth::Unknown | RuleHealth::Ok => None,
    };
    let mut out = json!({
        "name": rule.spec.name(),
        "query": rule.spec.expr,
        "labels": rule.spec.labels,
        "health": rule.health.as_str(),
        "evaluationTime": rule.evaluation_time.as_secs_f64(),
        "lastEvaluation": evaluated(rule.last_evaluation),
    });
    let Some(map) = out.as_object_mut() else { return out };
    if let Some(error) = error {
        map.insert("lastError".to_owned(), json!(error));
    }
    match &rule.spec.kind {
        RuleKind::Record { .. } => {
            map.insert("type".to_owned(), json!("recording"));
        }
        RuleKind::Alert(alert) => {
            for (name, value) in [
                ("type", json!("alerting")),
                ("state", json!(rule.state().as_str())),
                ("duration", json!(alert.hold.as_seconds_f64())),
                ("keepFiringFor", json!(alert.keep_firing.as_seconds_f64())),
                ("annotations", json!(alert.annotations)),
                ("alerts", json!(active_json(rule))),
            ] {
                map.insert(name.to_owned(), value);
            }
        }
    }
    out
}
