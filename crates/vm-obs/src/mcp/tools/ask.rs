//! What happened together, what there is to ask for, what a query costs, whether it all holds.

use anyhow::{Context as _, bail};
use obs_exercise::doctor::{Check, Report};
use obs_proof::vmproof::VmProof;
use serde_json::{Value, json};

use super::{Arguments, explore, given, limit, parameters, request};
use crate::cli::{self, Client, Parameters};
use crate::mcp::answer::Answer;
use crate::mcp::catalog::Turn;

pub(super) async fn correlate(arguments: &Arguments, client: &Client) -> anyhow::Result<Answer> {
    let parameters = parameters(arguments, &["timestamp", "window"]);
    let body = client.get("/obs/correlate", &parameters).await?.json;
    let most = limit(arguments, "limit", 40, 200);
    // The most telling stay, in order of time; the time line itself holds the quiet ones too.
    let mut entries: Vec<&Value> = cli::list(&body, "entries").iter().collect();
    let total = entries.len();
    let score = |e: &&Value| cli::number(e.get("score")).unwrap_or(0.0);
    entries.sort_by(|a, b| score(b).total_cmp(&score(a)));
    entries.truncate(most);
    entries.sort_by_key(|e| cli::parse_time(cli::text(e, "time")));
    let kinds = ["alert", "anomaly", "config", "log", "metric", "receipt", "trace"];
    let counts: Vec<String> = kinds
        .iter()
        .map(|k| (k, entries.iter().filter(|e| cli::text(e, "kind") == *k).count()))
        .filter(|(_, n)| *n > 0)
        .map(|(k, n)| format!("{n} of kind {k}"))
        .collect();
    let (at, window) = (cli::text(&body, "timestamp"), cli::text(&body, "window"));
    let summary = match entries.len() {
        0 => format!("Nothing of note within {window} of {at}."),
        n => format!("{n} events within {window} of {at}: {}.", counts.join(", ")),
    };
    let link = format!("/correlate?timestamp={}&window={}", cli::encoded(at), cli::encoded(window));
    Ok(Answer {
        summary,
        query: request("/obs/correlate", &parameters),
        link,
        data: entries.into_iter().cloned().collect(),
        total: Some(total),
        more: "narrow the window, or move timestamp",
        ..Answer::default()
    })
}

/// What can be discovered: kind, route, the list in its answer, where the portal shows it.
const DISCOVERED: [(&str, &str, &str, &str); 6] = [
    ("metrics", "/obs/metrics/names", "metrics", "/explore/metrics"),
    ("services", "/loki/api/v1/label/service_name/values", "data", "/services"),
    ("dashboards", "/obs/dashboards", "dashboards", "/dashboards"),
    ("slos", "/obs/slos", "slos", "/slos"),
    ("targets", "/obs/targets", "targets", "/targets"),
    ("runbooks", "/obs/runbooks", "runbooks", "/alerts"),
];

pub(super) async fn discover(arguments: &Arguments, client: &Client) -> anyhow::Result<Answer> {
    let kind = given(arguments, "kind").unwrap_or("metrics");
    let Some((_, path, list, link)) = DISCOVERED.iter().find(|(k, ..)| *k == kind) else {
        let known: Vec<&str> = DISCOVERED.iter().map(|(k, ..)| *k).collect();
        bail!("argument \"kind\" is {kind:?}, known are {}", known.join(", "));
    };
    let body = client.get(path, &Parameters::new()).await?.json;
    let contains = given(arguments, "contains").map(str::to_lowercase);
    let all = cli::list(&body, list);
    let mut found: Vec<Value> = all
        .iter()
        .filter(|item| {
            contains.as_ref().is_none_or(|part| item.to_string().to_lowercase().contains(part))
        })
        .map(|item| brief(kind, item))
        .collect();
    let total = found.len();
    found.truncate(limit(arguments, "limit", 50, 500));
    Ok(Answer {
        summary: format!("{total} of {} {kind}.", all.len()),
        query: request(path, &Parameters::new()),
        link: (*link).to_owned(),
        data: found,
        total: Some(total),
        more: "filter with contains, or raise limit",
        ..Answer::default()
    })
}

/// The fields by which one is chosen.
fn brief(kind: &str, item: &Value) -> Value {
    let names: &[&str] = match kind {
        "metrics" => &["name", "kind", "unit", "help"],
        "dashboards" => &["id", "title", "pack"],
        "slos" => &["slo_id", "name", "target", "status"],
        "targets" => &["job", "instance", "health", "last_error", "labels"],
        "runbooks" => &["id", "title", "pack"],
        _ => return item.clone(),
    };
    let full = |v: &Value| !v.is_null() && *v != json!("");
    let kept = names.iter().filter_map(|n| Some(((*n).to_owned(), item.get(*n)?.clone())));
    Value::Object(kept.filter(|(_, v)| full(v)).collect())
}

pub(super) async fn explain(arguments: &Arguments, client: &Client) -> anyhow::Result<Answer> {
    let parameters = parameters(arguments, &["query", "last", "from", "to", "step"]);
    let body = client.get("/obs/metrics/explain", &parameters).await?.json;
    let query = cli::text(&body, "query").to_owned();
    let step = cli::number(body.get("step")).unwrap_or(0.0);
    let summary = format!(
        "Would read {} series from {} to {} every {} s.",
        cli::cell(body.get("series")),
        cli::text(&body, "start"),
        cli::text(&body, "end"),
        cli::plain(step)
    );
    Ok(Answer {
        summary,
        link: explore("metrics", &query),
        query,
        data: body.get("explanation").cloned().into_iter().collect(),
        ..Answer::default()
    })
}

/// Most findings of a verification or of the doctor in an answer.
const FINDINGS_MAX: usize = 20;

pub(super) async fn verify(arguments: &Arguments, client: &Client) -> anyhow::Result<Answer> {
    let what = given(arguments, "what").unwrap_or("ledger");
    let (path, names): (&str, &[&str]) = match what {
        "ledger" => return whole_ledger(client).await,
        "receipt" => ("/obs/proof/receipt", &["seq"]),
        "log" => ("/obs/proof/log", &["time", "query", "line", "contains"]),
        "sample" => ("/obs/proof/sample", &["series", "time"]),
        "span" => ("/obs/proof/span", &["trace", "span", "time"]),
        other => {
            bail!("argument \"what\" is {other:?}, known are ledger, receipt, log, sample, span")
        }
    };
    let mut parameters = parameters(arguments, names);
    if let Some(seq) = arguments.get("seq").and_then(Value::as_u64).filter(|_| what == "receipt") {
        parameters.push(("seq", seq.to_string()));
    }
    let file = client.text(path, &parameters).await?;
    let proof = VmProof::parse(&file).context("the server's proof cannot be read")?;
    let checkpoint = proof.check().context("the server's proof does not hold")?;
    let receipt: Value = serde_json::from_str(&proof.receipt)?;
    let id = file.trim_end().rsplit(' ').next().unwrap_or_default().to_owned();
    Ok(Answer {
        summary: format!(
            "The {what} is proved: receipt {} leads to the root of a checkpoint over {} receipts. \
             The signature on it is for whoever holds the log's key to check: \
             vm-obs-verify FILE.vmproof --log-key KEY.",
            proof.tlog.index, checkpoint.size
        ),
        query: request(path, &parameters),
        link: "/ledger".to_owned(),
        data: vec![json!({
            "proof_sha256": id,
            "proof_bytes": file.len(),
            "receipt": receipt,
            "record": proof.record.as_ref().map(|r| json!({
                "kind": r.scope.kind, "hour": r.scope.hour, "index": r.proof.index,
                "of": r.proof.count,
            })),
        })],
        receipt: Some(proof.tlog.index),
        ..Answer::default()
    })
}

async fn whole_ledger(client: &Client) -> anyhow::Result<Answer> {
    let path = "/obs/ledger/verify";
    let body = client.post(path, &Value::Null).await?.json;
    let mut findings = cli::list(&body, "findings").to_vec();
    let total = findings.len();
    findings.truncate(FINDINGS_MAX);
    Ok(Answer {
        summary: format!(
            "The server's own check of its ledger says {}: {total} findings. It is the server's \
             word; `vm-obs verify DIR` checks without it.",
            cli::text(&body, "verdict")
        ),
        query: format!("POST {path}"),
        link: "/ledger".to_owned(),
        data: findings,
        total: Some(total),
        more: "vm-obs verify DIR --json has all",
        ..Answer::default()
    })
}

pub(super) async fn doctor(
    arguments: &Arguments,
    client: &Client,
    turn: Option<&Turn>,
) -> anyhow::Result<Answer> {
    let report = examined(client, turn).await?;
    let (ran, skipped) = report.counts();
    let body = report.to_json();
    let check = given(arguments, "check");
    let of = |f: &&Value| check.is_none_or(|c| cli::text(f, "check") == c);
    let mut findings: Vec<Value> =
        cli::list(&body, "findings").iter().filter(of).cloned().collect();
    let total = findings.len();
    findings.truncate(FINDINGS_MAX);
    Ok(Answer {
        summary: format!(
            "{total} findings by {ran} checks; {skipped} checks were left out. Nothing was written \
             or sent."
        ),
        query: "vm-obs doctor --read-only".to_owned(),
        link: "/".to_owned(),
        data: findings,
        total: Some(total),
        more: "name one check",
        ..Answer::default()
    })
}

/// The doctor's report; `turn` hears of each check as it begins.
async fn examined(client: &Client, turn: Option<&Turn>) -> anyhow::Result<Report> {
    let Some(turn) = turn else { return cli::examine_server(client).await };
    let (begins, mut begun) = tokio::sync::mpsc::unbounded_channel();
    let examined = cli::examine_server_noting(client, move |check| {
        let _nobody_listens = begins.send(check);
    });
    let told = async {
        let all = Check::ALL.len();
        turn.progress(0.0, all as f64, "reading").await;
        while let Some(check) = begun.recv().await {
            let at = Check::ALL.iter().position(|c| *c == check).unwrap_or_default();
            turn.progress(at as f64 + 0.5, all as f64, check.id()).await;
        }
        turn.progress(all as f64, all as f64, "done").await;
    };
    tokio::join!(examined, told).0
}
