//! What each tool asks and how the answer is reduced.

mod act;
mod ask;
mod state;
mod telemetry;

use anyhow::bail;
use serde_json::{Map, Value};

use super::answer::{Ledger, Shown, TOKENS_MAX};
use super::catalog::Turn;
use crate::cli::{self, Client, Parameters, encoded};

#[cfg(test)]
pub(super) use telemetry::trend;

type Arguments = Map<String, Value>;

/// Calls a tool of [`super::schema::TOOLS`]; the arguments are checked already. `actor` is who
/// stands in the receipts of tools that change something, `turn` hears how far a long call is.
pub(super) async fn call(
    name: &str,
    arguments: &Arguments,
    client: &Client,
    actor: &str,
    turn: Option<&Turn>,
) -> anyhow::Result<Shown> {
    let answer = match name {
        "obs_metrics_query" => telemetry::metrics(arguments, client).await?,
        "obs_logs_search" => telemetry::logs(arguments, client).await?,
        "obs_trace_get" => telemetry::trace(arguments, client).await?,
        "obs_alert_status" => state::alerts(arguments, client).await?,
        "obs_slo_summary" => state::slos(arguments, client).await?,
        "obs_health_check" => state::health(client).await?,
        "obs_correlate" => ask::correlate(arguments, client).await?,
        "obs_discover" => ask::discover(arguments, client).await?,
        "obs_explain_query" => ask::explain(arguments, client).await?,
        "obs_verify" => ask::verify(arguments, client).await?,
        "obs_doctor" => ask::doctor(arguments, client, turn).await?,
        "obs_alert_ack" => act::ack(arguments, client, actor).await?,
        "obs_alert_silence" => act::silence(arguments, client, actor).await?,
        _ => bail!("there is no tool {name:?}"),
    };
    // Whoever asks for more items by number wants them.
    let asked = ["limit", "points"].iter().any(|n| arguments.get(*n).is_some_and(Value::is_u64));
    let tokens = if asked { TOKENS_MAX * 4 } else { TOKENS_MAX };
    Ok(answer.show(client.base().unwrap_or_default(), tokens, ledger(client).await))
}

/// Where the ledger stood when the answer was given, so that it can be held against a proof.
async fn ledger(client: &Client) -> Option<Ledger> {
    let head = client.get("/obs/ledger", &Parameters::new()).await.ok()?.json;
    Some(Ledger {
        size: head.get("size")?.as_u64()?,
        root: cli::text(&head, "root_hash").to_owned(),
    })
}

fn given<'a>(arguments: &'a Arguments, name: &str) -> Option<&'a str> {
    arguments.get(name).and_then(Value::as_str).filter(|v| !v.is_empty())
}

fn limit(arguments: &Arguments, name: &str, default: usize, max: usize) -> usize {
    let asked = arguments.get(name).and_then(Value::as_u64);
    asked.and_then(|n| usize::try_from(n).ok()).unwrap_or(default).clamp(1, max)
}

/// The arguments of these names as parameters of the route.
fn parameters(arguments: &Arguments, names: &[&'static str]) -> Parameters {
    names.iter().filter_map(|name| given(arguments, name).map(|v| (*name, v.to_owned()))).collect()
}

/// As a person would write the request down.
fn request(path: &str, parameters: &Parameters) -> String {
    let query: Vec<String> =
        parameters.iter().map(|(n, v)| format!("{n}={}", encoded(v))).collect();
    if query.is_empty() { format!("GET {path}") } else { format!("GET {path}?{}", query.join("&")) }
}

/// Where the explorer shows a query.
fn explore(language: &str, query: &str) -> String {
    format!("/explore/{language}?query={}", encoded(query))
}
