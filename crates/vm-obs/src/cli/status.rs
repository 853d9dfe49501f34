//! `vm-obs health`, `status`, `targets`, `openapi`: the server itself.

use std::process::ExitCode;

use clap::Subcommand;
use obs_disk::{Clock, SystemClock};
use serde_json::{Value, json};

use super::args::{AskServer, Format, ServerArgs};
use super::client::{Client, Parameters};
use super::human;
use super::out::Out;
use super::table::Table;

#[derive(Debug, Subcommand)]
pub(crate) enum TargetsCommand {
    /// Scrape targets with their health
    List(AskServer),
}

/// Exit 1 unless the server is healthy.
pub(crate) async fn health(args: &AskServer, out: &mut Out) -> anyhow::Result<ExitCode> {
    let client = Client::server(&args.server)?;
    let answer = client.get("/obs/health", &Parameters::new()).await?;
    let status = human::text(&answer.json, "status");
    if args.format.format == Format::Json {
        out.line(answer.text.trim_end())?;
    } else {
        if args.format.format == Format::Table {
            out.line(&format!(
                "{status}  {client}  version {}",
                human::text(&answer.json, "version")
            ))?;
            out.line("")?;
        }
        components(&answer.json).write(args.format.format, "", out)?;
    }
    Ok(if status == "healthy" { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn components(health: &Value) -> Table {
    let mut table = Table::new(&["component", "status", "detail"]);
    for component in human::list(health, "components") {
        table.row(["name", "status", "detail"].map(|f| human::text(component, f).to_owned()));
    }
    table
}

pub(crate) async fn status(args: &AskServer, out: &mut Out) -> anyhow::Result<()> {
    let client = Client::server(&args.server)?;
    let health = client.get("/obs/health", &Parameters::new()).await?.json;
    let ledger = client.get("/obs/ledger", &Parameters::new()).await?.json;
    if args.format.format == Format::Json {
        return Ok(out.line(&json!({"health": health, "ledger": ledger}).to_string())?);
    }
    let number = |pointer: &str| human::number(health.pointer(pointer)).unwrap_or(0.0);
    let mut table = Table::new(&["what", "value"]);
    let mut row = |what: &str, value: String| table.row([what.to_owned(), value]);
    row("server", client.to_string());
    row("status", human::text(&health, "status").to_owned());
    row("version", human::text(&health, "version").to_owned());
    row("running for", human::duration_ms(number("/uptime_seconds") * 1e3));
    row("samples", format!("{}/s", human::plain(number("/ingest/samples_per_second").round())));
    row("log lines", format!("{}/s", human::plain(number("/ingest/log_lines_per_second").round())));
    row("spans", format!("{}/s", human::plain(number("/ingest/spans_per_second").round())));
    row("rejected", human::plain(number("/ingest/rejected_total")));
    for signal in ["metrics", "logs", "traces"] {
        row(
            &format!("{signal} on disk"),
            human::bytes(number(&format!("/storage/{signal}/bytes"))),
        );
    }
    row("free on disk", human::bytes(number("/storage/free_bytes")));
    row(
        "alerts",
        format!("{} firing, {} pending", number("/alerts/firing"), number("/alerts/pending")),
    );
    let hours = |signal: &str| human::cell(ledger.pointer(&format!("/sealed_hours/{signal}")));
    row("receipts", human::cell(ledger.get("size")));
    row(
        "sealed hours",
        format!("{} metrics, {} logs, {} traces", hours("metrics"), hours("logs"), hours("traces")),
    );
    row("ledger root", human::text(&ledger, "root_hash").to_owned());
    row("log key", human::text(&ledger, "log_vkey").to_owned());
    let packs: Vec<&str> = human::list(&health, "packs").iter().filter_map(Value::as_str).collect();
    row("packs", packs.join(", "));
    Ok(table.write(args.format.format, "", out)?)
}

pub(crate) async fn targets(command: TargetsCommand, out: &mut Out) -> anyhow::Result<()> {
    let TargetsCommand::List(args) = command;
    let client = Client::server(&args.server)?;
    let answer = client.get("/obs/targets", &Parameters::new()).await?;
    if args.format.format == Format::Json {
        return Ok(out.line(answer.text.trim_end())?);
    }
    let now = SystemClock::new().now();
    let mut table = Table::new(&["job", "instance", "health", "last scrape", ">took", "error"]);
    for target in human::list(&answer.json, "targets") {
        let took = human::number(target.get("scrape_duration_ms"));
        table.row([
            human::text(target, "job").to_owned(),
            human::text(target, "instance").to_owned(),
            human::text(target, "health").to_owned(),
            human::age(human::text(target, "last_scrape"), now),
            took.map_or_else(String::new, human::duration_ms),
            human::text(target, "last_error").to_owned(),
        ]);
    }
    Ok(table.write(args.format.format, "nothing is scraped", out)?)
}

pub(crate) async fn openapi(server: &ServerArgs, out: &mut Out) -> anyhow::Result<()> {
    let client = Client::server(server)?;
    Ok(out.line(client.text("/obs/openapi.json", &Parameters::new()).await?.trim_end())?)
}
