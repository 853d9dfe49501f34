//! `vm-obs alert …`

use anyhow::bail;
use clap::{Args, Subcommand};
use obs_disk::{Clock, SystemClock};
use obs_types::{NodeName, TimestampMs};
use serde_json::{Map, Value, json};

use super::actor::ActAs;
use super::args::{AskServer, Format, ServerArgs};
use super::client::{Client, Parameters, encoded, put};
use super::human;
use super::out::Out;
use super::table::Table;

#[derive(Debug, Subcommand)]
pub(crate) enum AlertCommand {
    /// Alerts, newest first
    List(ListArgs),
    /// One alert with its rule, value and acknowledgement
    Show(ShowArgs),
    /// Acknowledge a firing alert; leaves a receipt
    Ack(AckArgs),
    /// Hold back notifications for a while; leaves a receipt
    Silence(SilenceArgs),
    /// Silences with their state
    Silences(SilencesArgs),
    /// End a silence now
    Unsilence(UnsilenceArgs),
}

#[derive(Args, Debug)]
pub(crate) struct ListArgs {
    /// firing, pending or resolved
    #[arg(long)]
    status: Option<String>,
    /// critical, high, warning or info
    #[arg(long)]
    severity: Option<String>,
    /// Node, as brick-01 or did:vm:node:brick-01
    #[arg(long)]
    node: Option<String>,
    /// Name of the alert
    #[arg(long)]
    name: Option<String>,
    #[command(flatten)]
    ask: AskServer,
}

#[derive(Args, Debug)]
pub(crate) struct ShowArgs {
    /// Alert id, such as alert-2025-12-06-001
    id: String,
    #[command(flatten)]
    ask: AskServer,
}

#[derive(Args, Debug)]
pub(crate) struct AckArgs {
    /// Alert id
    id: String,
    /// What is being done about it
    #[arg(long)]
    comment: String,
    /// Who acknowledges [default: did:vm:user:sovereign]
    #[arg(long, value_name = "WHO")]
    by: Option<String>,
    /// Time until which somebody follows up
    #[arg(long, value_name = "DEADLINE")]
    follow_up: Option<String>,
    /// Tell nobody further while it is acknowledged
    #[arg(long)]
    suppress_escalation: bool,
    #[command(flatten)]
    actor: ActAs,
    #[command(flatten)]
    ask: AskServer,
}

#[derive(Args, Debug)]
pub(crate) struct SilenceArgs {
    /// Alerts of this node
    #[arg(long)]
    node: Option<String>,
    /// Alerts of this name
    #[arg(long, value_name = "NAME")]
    alert: Option<String>,
    /// Label test: NAME=VALUE, NAME!=VALUE, NAME=~REGEX, NAME!~REGEX; may be repeated
    #[arg(long, value_name = "MATCHER")]
    matcher: Vec<String>,
    /// How long, such as 1h
    #[arg(long)]
    duration: String,
    /// Why
    #[arg(long)]
    reason: String,
    /// Who silences [default: did:vm:user:sovereign]
    #[arg(long, value_name = "WHO")]
    by: Option<String>,
    #[command(flatten)]
    actor: ActAs,
    #[command(flatten)]
    ask: AskServer,
}

#[derive(Args, Debug)]
pub(crate) struct SilencesArgs {
    #[command(flatten)]
    ask: AskServer,
}

#[derive(Args, Debug)]
pub(crate) struct UnsilenceArgs {
    /// Silence id
    id: String,
    #[command(flatten)]
    actor: ActAs,
    #[command(flatten)]
    server: ServerArgs,
}

pub(crate) async fn run(command: AlertCommand, out: &mut Out) -> anyhow::Result<()> {
    match command {
        AlertCommand::List(args) => list(&args, &Client::server(&args.ask.server)?, out).await,
        AlertCommand::Show(args) => show(&args, &Client::server(&args.ask.server)?, out).await,
        AlertCommand::Ack(args) => ack(&args, &Client::server(&args.ask.server)?, out).await,
        AlertCommand::Silence(args) => {
            silence(&args, &Client::server(&args.ask.server)?, out).await
        }
        AlertCommand::Silences(args) => {
            silences(&args, &Client::server(&args.ask.server)?, out).await
        }
        AlertCommand::Unsilence(args) => {
            let client = Client::server(&args.server)?;
            let mut body = json!({});
            let subject = json!({"silence_id": args.id});
            args.actor.sign(&client, "alert_silence_expire", subject, "by", &mut body).await?;
            let path = format!("/obs/silences/{}", encoded(&args.id));
            let answer = client.delete(&path, &body).await?;
            let seq = human::cell(answer.json.get("receipt_seq"));
            Ok(out.line(&format!("silence {} has ended, receipt {seq}", args.id))?)
        }
    }
}

async fn list(args: &ListArgs, client: &Client, out: &mut Out) -> anyhow::Result<()> {
    let mut parameters = Parameters::new();
    put(&mut parameters, "status", args.status.as_deref());
    put(&mut parameters, "severity", args.severity.as_deref());
    put(&mut parameters, "node", args.node.as_deref());
    put(&mut parameters, "name", args.name.as_deref());
    let answer = client.get("/obs/alerts", &parameters).await?;
    if args.ask.format.format == Format::Json {
        return Ok(out.line(answer.text.trim_end())?);
    }
    let now = SystemClock::new().now();
    let mut table =
        Table::new(&["id", "name", "severity", "status", "node", ">value", "since", "note"]);
    for alert in human::list(&answer.json, "alerts") {
        // A pending alert has not fired; its condition holds since then.
        let fired = ["fired_at", "active_at"]
            .into_iter()
            .map(|name| human::text(alert, name))
            .find(|t| !t.is_empty())
            .unwrap_or_default();
        let fired = if args.ask.format.format == Format::Table {
            human::age(fired, now)
        } else {
            fired.to_owned()
        };
        table.row([
            human::text(alert, "alert_id").to_owned(),
            human::text(alert, "name").to_owned(),
            human::text(alert, "severity").to_owned(),
            human::text(alert, "status").to_owned(),
            human::node(alert),
            value(alert),
            fired,
            note(alert),
        ]);
    }
    Ok(table.write(args.ask.format.format, "no alerts", out)?)
}

fn value(alert: &Value) -> String {
    human::number(alert.get("current_value")).map_or_else(String::new, human::plain)
}

fn note(alert: &Value) -> String {
    let mut notes = Vec::new();
    if let Some(ack) = alert.get("acknowledged").filter(|a| a.is_object()) {
        notes.push(format!("acknowledged by {}", human::text(ack, "by")));
    }
    if alert.get("silenced") == Some(&Value::Bool(true)) {
        notes.push("silenced".to_owned());
    }
    notes.join(", ")
}

async fn show(args: &ShowArgs, client: &Client, out: &mut Out) -> anyhow::Result<()> {
    let path = format!("/obs/alerts/{}", encoded(&args.id));
    let answer = client.get(&path, &Parameters::new()).await?;
    if args.ask.format.format == Format::Json {
        return Ok(out.line(answer.text.trim_end())?);
    }
    fields(&answer.json).write(args.ask.format.format, "", out)?;
    Ok(())
}

/// A record as names and values, inner objects flattened, empty values left out.
pub(crate) fn fields(record: &Value) -> Table {
    fn walk(prefix: &str, value: &Value, table: &mut Table) {
        match value {
            Value::Object(map) => {
                for (name, inner) in map {
                    let name =
                        if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
                    walk(&name, inner, table);
                }
            }
            Value::Null => {}
            Value::Array(all) if all.iter().all(|v| !v.is_object() && !v.is_array()) => {
                let all: Vec<String> = all.iter().map(|v| human::cell(Some(v))).collect();
                table.row([prefix.to_owned(), all.join(", ")]);
            }
            other => table.row([prefix.to_owned(), human::cell(Some(other))]),
        }
    }
    let mut table = Table::new(&["field", "value"]);
    walk("", record, &mut table);
    table
}

async fn ack(args: &AckArgs, client: &Client, out: &mut Out) -> anyhow::Result<()> {
    let mut body = Map::new();
    body.insert("comment".to_owned(), json!(args.comment));
    if let Some(by) = &args.by {
        body.insert("by".to_owned(), json!(by));
    }
    body.insert("escalation_suppressed".to_owned(), json!(args.suppress_escalation));
    body.insert("follow_up_required".to_owned(), json!(args.follow_up.is_some()));
    if let Some(deadline) = &args.follow_up {
        body.insert("follow_up_deadline".to_owned(), json!(deadline));
    }
    let path = format!("/obs/alerts/{}/ack", encoded(&args.id));
    let deadline = args.follow_up.as_deref().map(instant).transpose()?;
    let subject = json!({
        "alert_id": args.id,
        "comment": args.comment,
        "escalation_suppressed": args.suppress_escalation,
        "follow_up_required": args.follow_up.is_some(),
        "follow_up_deadline": deadline,
    });
    let mut body = Value::Object(body);
    args.actor.sign(client, "alert_acknowledge", subject, "by", &mut body).await?;
    let answer = client.post(&path, &body).await?;
    if args.ask.format.format == Format::Json {
        return Ok(out.line(answer.text.trim_end())?);
    }
    Ok(out.line(&format!(
        "{} acknowledged by {}, {}, receipt {}",
        args.id,
        human::text(&answer.json, "acknowledged_by"),
        human::text(&answer.json, "operation_id"),
        human::cell(answer.json.get("receipt_seq")),
    ))?)
}

/// `NAME=VALUE` and its three relatives.
fn matcher(text: &str) -> anyhow::Result<Value> {
    let at = text.find(['=', '!']);
    let (name, rest) = at.and_then(|at| text.split_at_checked(at)).unwrap_or((text, ""));
    let found = ["=~", "!~", "!=", "="]
        .into_iter()
        .find_map(|op| rest.strip_prefix(op).map(|value| (op, value)));
    match found {
        Some((op, value)) if !name.trim().is_empty() => {
            let value = value.trim().trim_matches('"');
            Ok(json!({"name": name.trim(), "op": op, "value": value}))
        }
        _ => bail!("matcher {text:?} is not NAME=VALUE, NAME!=VALUE, NAME=~REGEX or NAME!~REGEX"),
    }
}

async fn silence(args: &SilenceArgs, client: &Client, out: &mut Out) -> anyhow::Result<()> {
    let mut matchers: Vec<Value> =
        args.matcher.iter().map(|m| matcher(m)).collect::<anyhow::Result<_>>()?;
    if let Some(name) = &args.alert {
        matchers.push(json!({"name": "alertname", "op": "=", "value": name}));
    }
    if args.node.is_none() && matchers.is_empty() {
        bail!("say which alerts: --node, --alert or --matcher");
    }
    let mut body = Map::new();
    if let Some(node) = &args.node {
        body.insert("node".to_owned(), json!(node));
    }
    body.insert("matchers".to_owned(), Value::Array(matchers));
    body.insert("duration".to_owned(), json!(args.duration));
    body.insert("reason".to_owned(), json!(args.reason));
    if let Some(by) = &args.by {
        body.insert("by".to_owned(), json!(by));
    }
    let mut body = Value::Object(body);
    if args.actor.is_given() {
        sign_silence(args, client, &mut body).await?;
    }
    let answer = client.post("/obs/alerts/silence", &body).await?;
    if args.ask.format.format == Format::Json {
        return Ok(out.line(answer.text.trim_end())?);
    }
    let silence = answer.json.get("silence").unwrap_or(&Value::Null);
    Ok(out.line(&format!(
        "silence {} until {}, receipt {}",
        human::text(silence, "id"),
        human::time(human::text(silence, "ends_at")),
        human::cell(answer.json.get("receipt_seq")),
    ))?)
}

/// The actor signs the times themselves, so they are fixed here; the server writes a node as the
/// matcher that is put first here.
async fn sign_silence(args: &SilenceArgs, client: &Client, body: &mut Value) -> anyhow::Result<()> {
    let starts = SystemClock::new().now();
    let ends = TimestampMs(starts.0.saturating_add(obs_query::parse_duration(&args.duration)?.0));
    let node = args.node.as_deref().map(|n| NodeName::new(n).short().to_owned());
    let node = node.map(|n| json!({"name": "node", "op": "=", "value": n}));
    let given = human::list(body, "matchers");
    let matchers: Vec<String> = node
        .iter()
        .chain(given)
        .map(|m| {
            let (name, op) = (human::text(m, "name"), human::text(m, "op"));
            format!("{name}{op}{:?}", human::text(m, "value"))
        })
        .collect();
    let subject = json!({
        "matchers": matchers,
        "starts_at": obs_proof::time::format_rfc3339(starts.0),
        "ends_at": obs_proof::time::format_rfc3339(ends.0),
        "reason": args.reason,
    });
    if let Some(map) = body.as_object_mut() {
        map.insert("starts_at".to_owned(), json!(obs_proof::time::format_rfc3339(starts.0)));
    }
    args.actor.sign(client, "alert_silence", subject, "by", body).await
}

/// A time as receipts spell it.
fn instant(text: &str) -> anyhow::Result<String> {
    let at = obs_query::parse_time(text, SystemClock::new().now())?.floor_to_ms();
    Ok(obs_proof::time::format_rfc3339(at.0))
}

async fn silences(args: &SilencesArgs, client: &Client, out: &mut Out) -> anyhow::Result<()> {
    let answer = client.get("/obs/silences", &Parameters::new()).await?;
    if args.ask.format.format == Format::Json {
        return Ok(out.line(answer.text.trim_end())?);
    }
    let mut table = Table::new(&["id", "status", "matchers", "ends", "by", "reason"]);
    for silence in human::list(&answer.json, "silences") {
        let matchers: Vec<String> = human::list(silence, "matchers")
            .iter()
            .map(|m| ["name", "op", "value"].map(|f| human::text(m, f)).concat())
            .collect();
        table.row([
            human::text(silence, "id").to_owned(),
            human::text(silence, "status").to_owned(),
            matchers.join(", "),
            human::time(human::text(silence, "ends_at")),
            human::text(silence, "created_by").to_owned(),
            human::text(silence, "reason").to_owned(),
        ]);
    }
    Ok(table.write(args.ask.format.format, "no silences", out)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matchers() {
        let read = |text: &str| matcher(text).map(|m| m.to_string()).unwrap_or_default();
        assert_eq!(read("job=node"), r#"{"name":"job","op":"=","value":"node"}"#);
        assert_eq!(read("job!~\"a=b\""), r#"{"name":"job","op":"!~","value":"a=b"}"#);
        assert_eq!(read("a=~x"), r#"{"name":"a","op":"=~","value":"x"}"#);
        for wrong in ["", "job", "=x", "job!"] {
            assert!(matcher(wrong).is_err(), "{wrong}");
        }
    }
}
