//! `vm-obs health`, `status`, `targets`, `pack`, `demo`, `correlate`, `openapi`.

use std::process::ExitCode;

use clap::{Args, Subcommand, ValueEnum};
use obs_disk::{Clock, SystemClock};
use serde_json::{Value, json};

use super::args::{Format, FormatArgs, ServerArgs, SourceArgs};
use super::client::{Client, Parameters, encoded};
use super::human;
use super::out::Out;
use super::table::Table;
use crate::packs::{self, Pack};

#[derive(Args, Debug)]
pub(crate) struct StatusArgs {
    #[command(flatten)]
    format: FormatArgs,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum TargetsCommand {
    /// Scrape targets with their health
    List(StatusArgs),
}

#[derive(Debug, Subcommand)]
pub(crate) enum PackCommand {
    /// Packs of this binary, and which of them the server runs with
    List(StatusArgs),
}

#[derive(Debug, Subcommand)]
pub(crate) enum DemoCommand {
    /// Faults of the demo world
    List(StatusArgs),
    /// Break something: pod-drift, treaty-drops, anchor-backlog, node-down
    Break {
        /// Name of the fault
        name: String,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Mend everything
    Heal {
        #[command(flatten)]
        server: ServerArgs,
    },
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum TextFormat {
    #[default]
    Text,
    Json,
}

#[derive(Args, Debug)]
pub(crate) struct CorrelateArgs {
    /// The instant in the middle, RFC 3339 [default: now]
    #[arg(long, value_name = "TIME")]
    timestamp: Option<String>,
    /// How far to both sides
    #[arg(long, default_value = "15m", value_name = "DURATION")]
    window: String,
    #[arg(long, value_enum, default_value_t)]
    format: TextFormat,
    #[command(flatten)]
    source: SourceArgs,
}

/// Exit 1 unless the server is healthy.
pub(crate) async fn health(args: &StatusArgs, out: &mut Out) -> anyhow::Result<ExitCode> {
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

pub(crate) async fn status(args: &StatusArgs, out: &mut Out) -> anyhow::Result<()> {
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

pub(crate) async fn pack(command: PackCommand, out: &mut Out) -> anyhow::Result<()> {
    let PackCommand::List(args) = command;
    let client = Client::server(&args.server)?;
    // The binary knows its packs without a server; what a server runs with is extra.
    let health = client.get("/obs/health", &Parameters::new()).await.ok().map(|a| a.json);
    let running: Option<Vec<&str>> =
        health.as_ref().map(|h| human::list(h, "packs").iter().filter_map(Value::as_str).collect());
    let mut listed = Vec::new();
    for name in packs::shipped() {
        let pack = Pack::load(&name, None)?;
        let rules: usize = pack.rules.iter().flat_map(|f| &f.groups).map(|g| g.rules.len()).sum();
        listed.push(json!({
            "name": name,
            "version": pack.manifest.version,
            "description": pack.manifest.description,
            "rules": rules,
            "slos": pack.slos.len(),
            "dashboards": pack.dashboards.len(),
            "active": running.as_ref().map(|r| r.contains(&name.as_str())),
        }));
    }
    let shipped = packs::shipped();
    for name in running.iter().flatten().filter(|n| !shipped.iter().any(|s| s == *n)) {
        listed.push(json!({"name": name, "description": "from the packs folder", "active": true}));
    }
    if args.format.format == Format::Json {
        return Ok(out.line(&json!({"packs": listed}).to_string())?);
    }
    let mut table =
        Table::new(&["pack", "version", "active", ">rules", ">slos", ">dashboards", "description"]);
    for pack in &listed {
        let active = match pack.get("active").and_then(Value::as_bool) {
            Some(true) => "yes",
            Some(false) => "no",
            None => "no server",
        };
        table.row([
            human::text(pack, "name").to_owned(),
            human::text(pack, "version").to_owned(),
            active.to_owned(),
            human::cell(pack.get("rules")),
            human::cell(pack.get("slos")),
            human::cell(pack.get("dashboards")),
            human::text(pack, "description").to_owned(),
        ]);
    }
    Ok(table.write(args.format.format, "no packs", out)?)
}

pub(crate) async fn demo(command: DemoCommand, out: &mut Out) -> anyhow::Result<()> {
    let (answer, format) = match command {
        DemoCommand::List(args) => {
            let client = Client::server(&args.server)?;
            (client.get("/obs/demo", &Parameters::new()).await?, args.format.format)
        }
        DemoCommand::Break { name, server } => {
            let path = format!("/obs/demo/break/{}", encoded(&name));
            (Client::server(&server)?.post(&path, &json!({})).await?, Format::Table)
        }
        DemoCommand::Heal { server } => {
            (Client::server(&server)?.post("/obs/demo/heal", &json!({})).await?, Format::Table)
        }
    };
    if format == Format::Json {
        return Ok(out.line(answer.text.trim_end())?);
    }
    let mut table = Table::new(&["fault", "active", "alerts", "description"]);
    for fault in human::list(&answer.json, "faults") {
        let alerts: Vec<&str> =
            human::list(fault, "alerts").iter().filter_map(Value::as_str).collect();
        let active = fault.get("active").and_then(Value::as_bool).unwrap_or(false);
        table.row([
            human::text(fault, "name").to_owned(),
            if active { "yes" } else { "no" }.to_owned(),
            alerts.join(", "),
            human::text(fault, "description").to_owned(),
        ]);
    }
    let empty = "the demo world is not running; start with `vm-obs serve --demo`";
    Ok(table.write(format, empty, out)?)
}

pub(crate) async fn correlate(args: &CorrelateArgs, out: &mut Out) -> anyhow::Result<()> {
    let client = Client::source(&args.source)?;
    let mut parameters = vec![("window", args.window.clone())];
    super::client::put(&mut parameters, "timestamp", args.timestamp.as_deref());
    let answer = client.get("/obs/correlate", &parameters).await?;
    if args.format == TextFormat::Json {
        return Ok(out.line(answer.text.trim_end())?);
    }
    for line in human::text(&answer.json, "text").lines() {
        out.foreign_line(line)?;
    }
    Ok(())
}

pub(crate) async fn openapi(server: &ServerArgs, out: &mut Out) -> anyhow::Result<()> {
    let client = Client::server(server)?;
    Ok(out.line(client.text("/obs/openapi.json", &Parameters::new()).await?.trim_end())?)
}
