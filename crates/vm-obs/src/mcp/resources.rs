//! What a client can attach to a conversation: dashboards, objectives, runbooks.

use anyhow::bail;
use rmcp::model::{Resource, ResourceContents};
use serde_json::{Value, json};

use crate::cli::{self, Client, Parameters, encoded};

const SCHEME: &str = "vmobs://";

/// Kind in the address, route, list in its answer, id and title of an item.
const KINDS: [(&str, &str, &str, &str, &str); 3] = [
    ("dashboards", "/obs/dashboards", "dashboards", "id", "title"),
    ("slos", "/obs/slos", "slos", "slo_id", "name"),
    ("runbooks", "/obs/runbooks", "runbooks", "id", "title"),
];

fn mime(kind: &str) -> &'static str {
    if kind == "runbooks" { "text/markdown" } else { "application/json" }
}

/// Everything of every kind, sorted by address.
pub(super) async fn list(client: &Client) -> anyhow::Result<Vec<Resource>> {
    let mut all = Vec::new();
    for (kind, path, list, id, title) in KINDS {
        let body = client.get(path, &Parameters::new()).await?.json;
        for item in cli::list(&body, list) {
            let uri = format!("{SCHEME}{kind}/{}", encoded(cli::text(item, id)));
            let title = cli::text(item, title);
            all.push(
                Resource::new(uri, cli::text(item, id))
                    .with_title(title)
                    .with_mime_type(mime(kind)),
            );
        }
    }
    all.sort_by(|a, b| a.uri.cmp(&b.uri));
    Ok(all)
}

/// The contents behind an address of [`list`]; `None` where it is no such address.
pub(super) async fn read(uri: &str, client: &Client) -> anyhow::Result<Option<ResourceContents>> {
    let Some((kind, id)) = uri.strip_prefix(SCHEME).and_then(|rest| rest.split_once('/')) else {
        return Ok(None);
    };
    let Some((kind, path, ..)) = KINDS.iter().find(|(k, ..)| *k == kind) else {
        return Ok(None);
    };
    if id.is_empty() || id.contains(['/', '?', '#']) {
        bail!("{uri}: expected one name behind {SCHEME}{kind}/");
    }
    let path = format!("{path}/{id}");
    let text = match *kind {
        "runbooks" => client.text(&path, &Parameters::new()).await?,
        "dashboards" => {
            let body = client.get(&path, &Parameters::new()).await?.json;
            format!("{:#}", outline(&body))
        }
        _ => format!("{:#}", client.get(&path, &Parameters::new()).await?.json),
    };
    Ok(Some(ResourceContents::text(text, uri).with_mime_type(mime(kind))))
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
