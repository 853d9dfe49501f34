//! The tools that change something: each leaves a receipt with the actor's name.

use serde_json::{Value, json};

use super::{Arguments, given};
use crate::cli::{self, Client, encoded};
use crate::mcp::answer::Answer;

pub(super) async fn ack(
    arguments: &Arguments,
    client: &Client,
    actor: &str,
) -> anyhow::Result<Answer> {
    let id = given(arguments, "alert_id").unwrap_or_default();
    let path = format!("/obs/alerts/{}/ack", encoded(id));
    let comment = given(arguments, "comment").unwrap_or_default();
    let body = client.post(&path, &json!({"by": actor, "comment": comment})).await?.json;
    Ok(done("The alert is acknowledged", &path, "/alerts", &body))
}

pub(super) async fn silence(
    arguments: &Arguments,
    client: &Client,
    actor: &str,
) -> anyhow::Result<Answer> {
    let matchers: Vec<Value> = given(arguments, "alert")
        .map(|name| json!({"name": "alertname", "op": "=", "value": name}))
        .into_iter()
        .collect();
    let request = json!({
        "by": actor,
        "node": given(arguments, "node"),
        "matchers": matchers,
        "duration": given(arguments, "duration"),
        "reason": given(arguments, "reason"),
    });
    let path = "/obs/alerts/silence";
    let body = client.post(path, &request).await?.json;
    Ok(done("Notifications are held back", path, "/alerts", &body))
}

fn done(what: &str, path: &str, link: &str, body: &Value) -> Answer {
    let receipt = body.get("receipt_seq").and_then(Value::as_u64);
    Answer {
        summary: format!("{what}; receipt {}.", cli::cell(body.get("receipt_seq"))),
        query: format!("POST {path}"),
        link: link.to_owned(),
        data: vec![body.clone()],
        receipt,
        ..Answer::default()
    }
}
