//! What a client can attach to a conversation: alerts, dashboards, objectives, runbooks, and by
//! templates what there is of a metric, a label or a service. Alerts, dashboards, objectives and
//! runbooks can be subscribed to.
#![expect(deprecated, reason = "clients of the protocol before 2026-07-28 set a log level")]

use anyhow::bail;
use rmcp::model::{LoggingLevel, Resource, ResourceContents, ResourceTemplate};
use serde_json::{Map, Value, json};

use super::catalog::Condition;
use super::tools;
use crate::cli::{self, Client, Parameters, encoded};

const SCHEME: &str = "vmobs://";

/// The alerts that fire or are pending, as one resource.
const ALERTS: &str = "vmobs://alerts";

/// A kind of resources with its name between scheme and item.
pub(super) struct Kind {
    pub(super) name: &'static str,
    /// Name of the template's variable.
    pub(super) variable: &'static str,
    title: &'static str,
    description: &'static str,
    mime: &'static str,
    /// Where the items of the kind are listed, if they are.
    listed: Option<Listed>,
}

/// Route, list in its answer, id and title of an item.
struct Listed {
    path: &'static str,
    list: &'static str,
    id: &'static str,
    title: &'static str,
}

const JSON: &str = "application/json";

/// All kinds, sorted by name.
pub(super) const KINDS: [Kind; 7] = [
    Kind {
        name: "alerts",
        variable: "alert_id",
        title: "Alert",
        description: "One alert in full",
        mime: JSON,
        listed: None,
    },
    Kind {
        name: "dashboards",
        variable: "dashboard",
        title: "Dashboard",
        description: "Titles, kinds and queries of its panels",
        mime: JSON,
        listed: Some(Listed {
            path: "/obs/dashboards",
            list: "dashboards",
            id: "id",
            title: "title",
        }),
    },
    Kind {
        name: "labels",
        variable: "label",
        title: "Label",
        description: "Its values among the metrics of the last hours",
        mime: JSON,
        listed: None,
    },
    Kind {
        name: "metrics",
        variable: "metric",
        title: "Metric",
        description: "Its series of the last hour, reduced to shape",
        mime: JSON,
        listed: None,
    },
    Kind {
        name: "runbooks",
        variable: "runbook",
        title: "Runbook",
        description: "What to do when its alert fires",
        mime: "text/markdown",
        listed: Some(Listed { path: "/obs/runbooks", list: "runbooks", id: "id", title: "title" }),
    },
    Kind {
        name: "services",
        variable: "service",
        title: "Service",
        description: "What it has logged at level warn and worse in the last hour",
        mime: JSON,
        listed: None,
    },
    Kind {
        name: "slos",
        variable: "slo",
        title: "Objective",
        description: "Target, achieved, error budget and burn of an objective",
        mime: JSON,
        listed: Some(Listed { path: "/obs/slos", list: "slos", id: "slo_id", title: "name" }),
    },
];

pub(super) fn templates() -> Vec<ResourceTemplate> {
    KINDS
        .iter()
        .map(|k| {
            ResourceTemplate::new(format!("{SCHEME}{}/{{{}}}", k.name, k.variable), k.name)
                .with_title(k.title)
                .with_description(k.description)
                .with_mime_type(k.mime)
        })
        .collect()
}

/// Everything that is listed, sorted by address.
pub(super) async fn list(client: &Client) -> anyhow::Result<Vec<Resource>> {
    let mut all = vec![
        Resource::new(ALERTS, "alerts")
            .with_title("Alerts that fire or are pending")
            .with_mime_type(JSON),
    ];
    for kind in &KINDS {
        let Some(listed) = &kind.listed else { continue };
        let body = client.get(listed.path, &Parameters::new()).await?.json;
        for item in cli::list(&body, listed.list) {
            let id = cli::text(item, listed.id);
            let uri = format!("{SCHEME}{}/{}", kind.name, encoded(id));
            let title = cli::text(item, listed.title);
            all.push(Resource::new(uri, id).with_title(title).with_mime_type(kind.mime));
        }
    }
    all.sort_by(|a, b| a.uri.cmp(&b.uri));
    Ok(all)
}

/// Kind and name of the item; `None` where it is no address of ours.
fn parsed(uri: &str) -> anyhow::Result<Option<(&'static Kind, String)>> {
    let Some((kind, id)) = uri.strip_prefix(SCHEME).and_then(|rest| rest.split_once('/')) else {
        return Ok(None);
    };
    let Some(kind) = KINDS.iter().find(|k| k.name == kind) else { return Ok(None) };
    let id = decoded(id).filter(|id| !id.is_empty() && !id.chars().any(char::is_control));
    match id {
        Some(id) => Ok(Some((kind, id))),
        None => bail!("{uri}: expected one name behind {SCHEME}{}/", kind.name),
    }
}

/// The text behind one segment of an address; `None` where it is more than one, or not UTF-8.
fn decoded(segment: &str) -> Option<String> {
    if segment.contains(['/', '?', '#']) {
        return None;
    }
    let mut out = Vec::with_capacity(segment.len());
    let mut bytes = segment.bytes();
    while let Some(b) = bytes.next() {
        if b != b'%' {
            out.push(b);
            continue;
        }
        let digit = |b: Option<u8>| char::from(b?).to_digit(16);
        let value = digit(bytes.next())? * 16 + digit(bytes.next())?;
        out.push(u8::try_from(value).ok()?);
    }
    String::from_utf8(out).ok()
}

/// What a tool answers, marked as every answer of a tool is.
async fn by_tool(
    tool: &str,
    arguments: Value,
    client: &Client,
    actor: &str,
) -> anyhow::Result<String> {
    let arguments = arguments.as_object().cloned().unwrap_or_else(Map::new);
    let shown = tools::call(tool, &arguments, client, actor, None).await?;
    Ok(format!("{:#}", shown.object))
}

/// The contents behind an address; `None` where it is no such address.
pub(super) async fn read(
    uri: &str,
    client: &Client,
    actor: &str,
) -> anyhow::Result<Option<ResourceContents>> {
    if uri == ALERTS {
        let text = by_tool("obs_alert_status", json!({}), client, actor).await?;
        return Ok(Some(ResourceContents::text(text, uri).with_mime_type(JSON)));
    }
    let Some((kind, id)) = parsed(uri)? else { return Ok(None) };
    let path = |of: &str| format!("{of}/{}", encoded(&id));
    let none = Parameters::new();
    let text = match kind.name {
        "alerts" => by_tool("obs_alert_status", json!({"alert_id": id}), client, actor).await?,
        "metrics" => by_tool("obs_metrics_query", json!({"metric": id}), client, actor).await?,
        "services" => {
            let asked = json!({"service": id, "level": "warn"});
            by_tool("obs_logs_search", asked, client, actor).await?
        }
        "labels" => {
            let body = client.get(&label_values(&id), &none).await?.json;
            format!("{:#}", json!({"label": id, "untrusted_data": cli::list(&body, "data")}))
        }
        "runbooks" => client.text(&path("/obs/runbooks"), &none).await?,
        "dashboards" => {
            let body = client.get(&path("/obs/dashboards"), &none).await?.json;
            format!("{:#}", outline(&body))
        }
        _ => format!("{:#}", client.get(&path("/obs/slos"), &none).await?.json),
    };
    Ok(Some(ResourceContents::text(text, uri).with_mime_type(kind.mime)))
}

pub(super) fn label_values(label: &str) -> String {
    format!("/api/v1/label/{}/values", encoded(label))
}

/// What a subscriber of the address is told of when it changes: state, acknowledgement and silence
/// of alerts, status of an objective, contents of what people write. `None` where it is no address
/// of ours.
pub(super) async fn state(uri: &str, client: &Client) -> anyhow::Result<Option<String>> {
    let none = Parameters::new();
    if uri == ALERTS {
        let body = client.get("/obs/alerts", &none).await?.json;
        let all: Vec<Value> = cli::list(&body, "alerts").iter().map(standing).collect();
        return Ok(Some(Value::from(all).to_string()));
    }
    let Some((kind, id)) = parsed(uri)? else { return Ok(None) };
    let path = format!("/obs/{}/{}", kind.name, encoded(&id));
    Ok(Some(match kind.name {
        "alerts" => standing(&client.get(&path, &none).await?.json).to_string(),
        "slos" => cli::text(&client.get(&path, &none).await?.json, "status").to_owned(),
        "dashboards" | "runbooks" => client.text(&path, &none).await?,
        other => bail!(
            "{uri}: {other} change all the time; alerts, dashboards, runbooks and slos can be \
             subscribed to"
        ),
    }))
}

/// What of an alert is news when it changes; its value is not.
fn standing(alert: &Value) -> Value {
    let names = ["alert_id", "status", "severity", "acknowledged", "silenced"];
    let kept = names.iter().filter_map(|n| Some(((*n).to_owned(), alert.get(*n)?.clone())));
    Value::Object(kept.collect())
}

/// The alerts that are not over, for log messages. Names and ids are from rule files.
pub(super) async fn conditions(client: &Client) -> anyhow::Result<Vec<Condition>> {
    let body = client.get("/obs/alerts", &Parameters::new()).await?.json;
    let alerts = cli::list(&body, "alerts").iter();
    Ok(alerts
        .filter(|a| cli::text(a, "status") != "resolved")
        .map(|a| Condition {
            id: cli::text(a, "alert_id").to_owned(),
            level: level(cli::text(a, "status"), cli::text(a, "severity")),
            data: json!({
                "alert": cli::text(a, "name"),
                "alert_id": cli::text(a, "alert_id"),
                "status": cli::text(a, "status"),
                "severity": cli::text(a, "severity"),
                "resource": format!("{SCHEME}alerts/{}", encoded(cli::text(a, "alert_id"))),
            }),
        })
        .collect())
}

fn level(status: &str, severity: &str) -> LoggingLevel {
    match (status, severity) {
        ("pending", _) => LoggingLevel::Notice,
        (_, "critical") => LoggingLevel::Critical,
        (_, "high") => LoggingLevel::Error,
        (_, "info") => LoggingLevel::Info,
        _ => LoggingLevel::Warning,
    }
}

/// A dashboard as what it shows: titles, kinds and queries of its panels.
fn outline(dashboard: &Value) -> Value {
    let panels: Vec<Value> = cli::list(dashboard, "panels")
        .iter()
        .map(|p| {
            json!({
                "title": p.get("title"),
                "kind": p.get("kind").or_else(|| p.get("type")),
                "description": p.get("description"),
                "queries": p.get("targets").or_else(|| p.get("queries")),
            })
        })
        .collect();
    json!({"title": dashboard.get("title"), "id": dashboard.get("id"), "panels": panels})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_names_one_item() {
        for (uri, kind, id) in [
            ("vmobs://slos/slo%3Aavailability%2Fapi", "slos", "slo:availability/api"),
            ("vmobs://metrics/job:up:sum", "metrics", "job:up:sum"),
            ("vmobs://services/z%C3%BCrich", "services", "zürich"),
        ] {
            let (found, name) = parsed(uri).unwrap().unwrap();
            assert_eq!((found.name, name.as_str()), (kind, id));
        }
        for wrong in [
            "vmobs://slos/",
            "vmobs://slos/a/b",
            "vmobs://slos/a?b",
            "vmobs://slos/%0a",
            "vmobs://slos/%ff",
            "vmobs://slos/%4",
            "vmobs://slos/a#b",
        ] {
            assert!(parsed(wrong).is_err(), "{wrong}");
        }
        for foreign in ["vmobs://nothing/a", "http://slos/a", "vmobs:slos"] {
            assert!(parsed(foreign).unwrap().is_none(), "{foreign}");
        }
    }

    #[test]
    fn the_worse_an_alert_the_louder_it_is() {
        assert_eq!(level("firing", "critical"), LoggingLevel::Critical);
        assert_eq!(level("firing", "warning"), LoggingLevel::Warning);
        assert_eq!(level("pending", "critical"), LoggingLevel::Notice);
    }
}
