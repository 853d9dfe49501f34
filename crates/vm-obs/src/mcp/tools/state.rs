//! Alerts, objectives and vm-obs' own health.

use serde_json::{Map, Value, json};

use super::{Arguments, given, limit, parameters, request};
use crate::cli::{self, Client, Parameters, encoded};
use crate::mcp::answer::Answer;

pub(super) async fn alerts(arguments: &Arguments, client: &Client) -> anyhow::Result<Answer> {
    if let Some(id) = given(arguments, "alert_id") {
        let path = format!("/obs/alerts/{}", encoded(id));
        let alert = client.get(&path, &Parameters::new()).await?.json;
        let status = cli::text(&alert, "status").to_owned();
        return Ok(Answer {
            summary: format!("The alert is {status}, fired at {}.", cli::text(&alert, "fired_at")),
            query: request(&path, &Parameters::new()),
            link: format!("/alerts?id={}", encoded(id)),
            data: vec![alert],
            ..Answer::default()
        });
    }
    let mut parameters = parameters(arguments, &["severity", "node", "name"]);
    let status = given(arguments, "status");
    if let Some(status) = status.filter(|s| *s != "all") {
        parameters.push(("status", status.to_owned()));
    }
    let body = client.get("/obs/alerts", &parameters).await?.json;
    let mut all: Vec<Value> = cli::list(&body, "alerts").to_vec();
    if status.is_none() {
        all.retain(|a| cli::text(a, "status") != "resolved");
    }
    let count = |status: &str| all.iter().filter(|a| cli::text(a, "status") == status).count();
    let critical = all
        .iter()
        .filter(|a| cli::text(a, "status") == "firing" && cli::text(a, "severity") == "critical")
        .count();
    let acknowledged =
        all.iter().filter(|a| a.get("acknowledged").is_some_and(Value::is_object)).count();
    let summary = format!(
        "{} firing ({critical} critical), {} pending, {} resolved; {acknowledged} acknowledged.",
        count("firing"),
        count("pending"),
        count("resolved")
    );
    let most = limit(arguments, "limit", 20, 200);
    let total = all.len();
    all.truncate(most);
    Ok(Answer {
        summary,
        query: request("/obs/alerts", &parameters),
        link: "/alerts".to_owned(),
        data: all,
        total: Some(total),
        more: "narrow by status, severity, node or name",
        ..Answer::default()
    })
}

pub(super) async fn slos(arguments: &Arguments, client: &Client) -> anyhow::Result<Answer> {
    if let Some(id) = given(arguments, "slo_id") {
        let path = format!("/obs/slos/{}", encoded(id));
        let parameters = parameters(arguments, &["period"]);
        let slo = client.get(&path, &parameters).await?.json;
        let percent = |name: &str| {
            cli::number(slo.get(name)).map_or_else(|| "-".to_owned(), |v| cli::plain(v * 100.0))
        };
        return Ok(Answer {
            summary: format!(
                "Status {}: achieved {} % of target {} %, {} % of the error budget left.",
                cli::text(&slo, "status"),
                percent("achieved"),
                percent("target"),
                cli::cell(slo.pointer("/error_budget/remaining_percent")),
            ),
            query: request(&path, &parameters),
            link: "/slos".to_owned(),
            data: vec![slo],
            ..Answer::default()
        });
    }
    let body = client.get("/obs/slos", &Parameters::new()).await?.json;
    let mut all: Vec<Value> = cli::list(&body, "slos").to_vec();
    let rank = |s: &Value| {
        ["missed", "at_risk", "no_data", "met"]
            .iter()
            .position(|k| *k == cli::text(s, "status"))
            .unwrap_or(2)
    };
    all.sort_by_key(rank);
    let count = |status: &str| all.iter().filter(|s| cli::text(s, "status") == status).count();
    let summary = format!(
        "{} objectives: {} met, {} at risk, {} missed.",
        all.len(),
        count("met"),
        count("at_risk"),
        count("missed")
    );
    let data = all
        .iter()
        .map(|s| {
            let mut out = Map::new();
            for name in ["slo_id", "name", "target", "achieved", "status", "trend", "window"] {
                out.insert(name.to_owned(), s.get(name).cloned().unwrap_or(Value::Null));
            }
            out.insert(
                "budget_remaining_percent".to_owned(),
                s.pointer("/error_budget/remaining_percent").cloned().unwrap_or(Value::Null),
            );
            Value::Object(out)
        })
        .collect();
    Ok(Answer {
        summary,
        query: request("/obs/slos", &Parameters::new()),
        link: "/slos".to_owned(),
        data,
        more: "ask for one by slo_id",
        ..Answer::default()
    })
}

pub(super) async fn health(client: &Client) -> anyhow::Result<Answer> {
    let none = Parameters::new();
    let health = client.get("/obs/health", &none).await?.json;
    let ledger = client.get("/obs/ledger", &none).await?.json;
    let number = |pointer: &str| cli::number(health.pointer(pointer)).unwrap_or(0.0);
    let summary = format!(
        "vm-obs {} is {}: {} firing and {} pending alerts, {} samples/s, {} log lines/s, {} spans/s, {} receipts.",
        cli::text(&health, "version"),
        cli::text(&health, "status"),
        number("/alerts/firing"),
        number("/alerts/pending"),
        number("/ingest/samples_per_second").round(),
        number("/ingest/log_lines_per_second").round(),
        number("/ingest/spans_per_second").round(),
        cli::cell(ledger.get("size")),
    );
    let ledger = json!({
        "size": ledger.get("size"),
        "root_hash": ledger.get("root_hash"),
        "last_receipt_at": ledger.get("last_receipt_at"),
        "sealed_hours": ledger.get("sealed_hours"),
        "log_vkey": ledger.get("log_vkey"),
    });
    Ok(Answer {
        summary,
        query: request("/obs/health", &none),
        link: "/".to_owned(),
        data: vec![json!({"health": health, "ledger": ledger})],
        ..Answer::default()
    })
}
