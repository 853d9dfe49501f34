//! Puts a report on a server's record.

use serde_json::{Map, Value, json};

use crate::cli::client::Client;
use crate::cli::human;

/// What `POST /obs/reports/KIND` takes.
#[derive(Debug, Default)]
pub(in crate::cli) struct Record {
    pub(in crate::cli) subject: String,
    pub(in crate::cli) outcome: String,
    pub(in crate::cli) summary: Map<String, Value>,
    pub(in crate::cli) report: Option<Value>,
    pub(in crate::cli) markdown: Option<String>,
    pub(in crate::cli) html: Option<String>,
}

/// Gives a line that says where it is.
pub(in crate::cli) async fn record(
    client: &Client,
    kind: &str,
    record: Record,
) -> anyhow::Result<String> {
    let body = json!({
        "subject": record.subject, "outcome": record.outcome, "summary": record.summary,
        "report": record.report, "markdown": record.markdown, "html": record.html,
    });
    let answer = client.post(&format!("/obs/reports/{kind}"), &body).await?.json;
    let seq = answer.get("receipt_seq").and_then(Value::as_u64).unwrap_or(0);
    let place = match human::text(&answer, "report_path") {
        "" => String::new(),
        path => format!(", {path}"),
    };
    Ok(format!("{} recorded: receipt {seq}{place}", human::text(&answer, "report_id")))
}
