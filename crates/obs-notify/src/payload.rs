//! Message bodies: Alertmanager's webhook version 4 and Slack's incoming webhook.

use std::collections::BTreeMap;

use obs_rules::{AlertRecord, AlertStatus, time_text};
use obs_types::LabelSet;
use serde_json::{Value, json};

use crate::{Notification, picture};

/// An end time that Go writes for "not yet".
const NEVER: &str = "0001-01-01T00:00:00Z";

/// The webhook body, version 4.
pub fn webhook_message(n: &Notification, external_url: &str) -> Value {
    let alerts: Vec<Value> = n.alerts.iter().map(|a| alert(a, external_url)).collect();
    json!({
        "version": "4",
        "groupKey": n.group_key,
        "truncatedAlerts": 0,
        "status": n.status(),
        "receiver": n.receiver,
        "groupLabels": map(&n.group_labels),
        "commonLabels": common(n.alerts.iter().map(|a| map(&labels(a)))),
        "commonAnnotations": common(n.alerts.iter().map(|a| picture::shown(&a.annotations))),
        "externalURL": external_url,
        "alerts": alerts,
    })
}

/// A Slack message with one attachment.
pub fn slack_message(n: &Notification, channel: &str, external_url: &str) -> Value {
    let firing = n.alerts.iter().filter(|a| a.status == AlertStatus::Firing).count();
    let word = if firing > 0 { format!("FIRING:{firing}") } else { "RESOLVED".to_owned() };
    let names: std::collections::BTreeSet<&str> =
        n.alerts.iter().map(|a| a.name.as_str()).collect();
    let title = format!("[{word}] {}", names.into_iter().collect::<Vec<_>>().join(", "));
    let lines: Vec<String> = n
        .alerts
        .iter()
        .map(|a| {
            let summary = a.annotations.get("summary").map_or(a.name.as_str(), String::as_str);
            format!("{} {} on {}: {summary}", a.status.as_str(), a.id, a.node)
        })
        .collect();
    let worst = n.alerts.iter().any(|a| a.severity == "critical");
    let color = match (firing > 0, worst) {
        (false, _) => "good",
        (true, true) => "danger",
        (true, false) => "warning",
    };
    let mut message = json!({
        "text": title,
        "attachments": [{
            "color": color,
            "title": title,
            "title_link": format!("{external_url}/alerts"),
            "text": lines.join("\n"),
            "fallback": title,
        }],
    });
    // The first firing one, otherwise the first that is over.
    let mut pictured = n.alerts.iter().filter(|a| a.status == AlertStatus::Firing).chain(&n.alerts);
    if let Some(found) = pictured.find_map(|a| picture::addresses(a, external_url))
        && let Some(attachment) = message.pointer_mut("/attachments/0")
    {
        attachment["image_url"] = found.image.into();
    }
    if !channel.is_empty()
        && let Some(fields) = message.as_object_mut()
    {
        fields.insert("channel".to_owned(), channel.into());
    }
    message
}

fn labels(a: &AlertRecord) -> LabelSet {
    a.routing_labels()
}

fn alert(a: &AlertRecord, external_url: &str) -> Value {
    let resolved = a.status == AlertStatus::Resolved;
    let mut message = json!({
        "status": if resolved { "resolved" } else { "firing" },
        "labels": map(&labels(a)),
        "annotations": picture::shown(&a.annotations),
        "startsAt": time_text(a.fired_at.unwrap_or(a.active_at)),
        "endsAt": a.resolved_at.map_or_else(|| NEVER.to_owned(), time_text),
        "generatorURL": format!("{external_url}/alerts/{}", a.id),
        "fingerprint": format!("{:016x}", a.labels.stable_hash()),
    });
    // As Grafana's webhook names them.
    if let Some(found) = picture::addresses(a, external_url) {
        message["dashboardURL"] = found.dashboard.into();
        message["panelURL"] = found.panel.into();
        message["imageURL"] = found.image.into();
    }
    message
}

fn map(labels: &LabelSet) -> BTreeMap<String, String> {
    labels.iter().map(|(n, v)| (n.to_owned(), v.to_owned())).collect()
}

fn common(maps: impl Iterator<Item = BTreeMap<String, String>>) -> BTreeMap<String, String> {
    maps.reduce(|mut a, b| {
        a.retain(|k, v| b.get(k) == Some(v));
        a
    })
    .unwrap_or_default()
}
