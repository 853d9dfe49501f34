//! The verbs of the command line: all but `serve`.
//!
//! Each asks the HTTP routes of a server (`--url`), or of the same routes over a data folder
//! (`--data`), and writes the answer as a table, as the server's JSON, as CSV or as Markdown. Tables
//! are plain text without colour; bars and shapes are drawn only on a terminal. Answers go to
//! standard output, warnings and errors to standard error.

mod actor;
mod alert;
mod args;
mod audit;
mod chaos;
mod client;
mod correlate;
mod dashboard;
mod demo;
mod doctor;
mod exercise;
mod export;
mod folder;
mod gate;
mod human;
mod import;
mod ledger;
mod load;
mod logs;
mod metrics;
mod offline;
mod out;
mod pack;
mod probe;
mod prove;
mod rebuild;
mod receipts;
mod redact;
mod report;
mod rules;
mod slo;
mod status;
mod storage;
mod table;
mod trace;
mod verify;
mod verify_url;

#[cfg(test)]
mod folder_tests;
#[cfg(test)]
mod tests;

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use clap::{CommandFactory, Subcommand};

pub(crate) use client::{Client, Parameters, encoded};
pub(crate) use doctor::{examine_server, examine_server_noting};
pub(crate) use human::{cell, duration_ms, list, number, parse as parse_time, plain, text};
pub(crate) use metrics::{series_name, shape, values};

/// What can be asked of a server or a data folder.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Query, list and export metrics
    #[command(subcommand)]
    Metrics(metrics::MetricsCommand),
    /// Query, follow and search logs
    #[command(subcommand)]
    Logs(logs::LogsCommand),
    /// Show, search and analyze traces
    #[command(subcommand)]
    Trace(trace::TraceCommand),
    /// List, acknowledge and silence alerts
    #[command(subcommand)]
    Alert(alert::AlertCommand),
    /// Service level objectives
    #[command(subcommand)]
    Slo(slo::SloCommand),
    /// Dashboards
    #[command(subcommand)]
    Dashboard(dashboard::DashboardCommand),
    /// Receipts of the ledger by type, fields, node and time
    Query(receipts::QueryArgs),
    /// What happened around an instant, over all signals
    Correlate(correlate::CorrelateArgs),
    /// Verify a data folder offline; `verify --help` lists options and exit codes
    #[command(disable_help_flag = true)]
    Verify {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGS")]
        args: Vec<String>,
    },
    /// The ledger's keys: list, replace, take back
    #[command(subcommand)]
    Ledger(ledger::LedgerCommand),
    /// People and services that sign what they ask for
    #[command(subcommand)]
    Actor(actor::ActorCommand),
    /// Proofs that somebody else can check
    #[command(subcommand)]
    Prove(prove::ProveCommand),
    /// Export metrics for other systems
    #[command(subcommand)]
    Export(export::ExportCommand),
    /// Import metrics from Prometheus, VictoriaMetrics or text files into a data folder
    #[command(subcommand)]
    Import(import::ImportCommand),
    /// Check rule files and run their unit tests
    #[command(subcommand)]
    Rules(rules::RulesCommand),
    /// Packs
    #[command(subcommand)]
    Pack(pack::PackCommand),
    /// Break and heal the demo world
    #[command(subcommand)]
    Demo(demo::DemoCommand),
    /// Check that all of it works: dashboards, rules, alerts, delivery; a server or a folder
    Doctor(doctor::DoctorArgs),
    /// Report on coverage, live values, gaps and maturity of the packs; leaves a receipt
    Audit(audit::AuditArgs),
    /// Daily health check, weekly and monthly report
    #[command(subcommand)]
    Report(report::ReportCommand),
    /// Probe a target or run a transaction once
    #[command(subcommand)]
    Probe(probe::ProbeCommand),
    /// Watch a deployment and say continue (0), investigate (1) or roll back (2)
    Gate(gate::GateArgs),
    /// Run chaos experiments; a TCP proxy, single faults and probes for them
    #[command(subcommand)]
    Chaos(chaos::ChaosCommand),
    /// Load a target by a profile and judge it; exit 1 where a threshold is not kept
    Load(load::LoadArgs),
    /// Health of the server; exit 1 unless it is healthy
    Health(args::AskServer),
    /// What the server holds and how much comes in
    Status(args::AskServer),
    /// Tiers, retention, backup and restore
    #[command(subcommand)]
    Storage(storage::StorageCommand),
    /// Scrape targets
    #[command(subcommand)]
    Targets(status::TargetsCommand),
    /// Serve the MCP tools over standard input and output
    Mcp(McpArgs),
    /// Print the OpenAPI document of the HTTP API
    Openapi(args::ServerArgs),
    /// Print a completion script for a shell
    Completion {
        #[arg(value_enum)]
        shell: clap_complete::Shell,
    },
}

/// Runs one verb to its end. `Err` is what went wrong, exit code 1.
#[derive(Debug, clap::Args)]
pub(crate) struct McpArgs {
    /// Also serve the tools that acknowledge and silence alerts; each use leaves a receipt
    #[arg(long)]
    allow_writes: bool,
    /// Who stands in those receipts
    #[arg(long, value_name = "WHO", default_value = "did:vm:agent:mcp")]
    by: String,
    #[command(flatten)]
    server: args::ServerArgs,
}

pub(crate) fn run(command: Command) -> anyhow::Result<ExitCode> {
    let mut out = out::Out::stdout();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let outcome = runtime.block_on(dispatch(command, &mut out));
    // A read of standard input that is still waiting must not keep the process.
    runtime.shutdown_timeout(Duration::from_millis(100));
    let flushed = out.flush().map_err(anyhow::Error::from);
    match outcome.and_then(|code| flushed.map(|()| code)) {
        // Whoever read the output has seen enough, as in `vm-obs … | head`.
        Err(e) if is_closed_pipe(&e) => Ok(ExitCode::SUCCESS),
        other => other,
    }
}

fn is_closed_pipe(e: &anyhow::Error) -> bool {
    e.chain()
        .filter_map(|c| c.downcast_ref::<io::Error>())
        .any(|e| e.kind() == io::ErrorKind::BrokenPipe)
}

async fn dispatch(command: Command, out: &mut out::Out) -> anyhow::Result<ExitCode> {
    match command {
        Command::Metrics(command) => metrics::run(command, out).await?,
        Command::Logs(command) => logs::run(command, out).await?,
        Command::Trace(command) => trace::run(command, out).await?,
        Command::Alert(command) => alert::run(command, out).await?,
        Command::Slo(command) => slo::run(command, out).await?,
        Command::Dashboard(command) => return dashboard::run(command, out).await,
        Command::Query(args) => receipts::query(&args, out).await?,
        Command::Correlate(args) => correlate::run(&args, out).await?,
        Command::Verify { args } => return verify::run(args, out).await,
        Command::Ledger(command) => ledger::run(command, out).await?,
        Command::Actor(command) => actor::run(command, out)?,
        Command::Prove(command) => prove::run(command, out).await?,
        Command::Export(command) => export::command(command, out).await?,
        Command::Import(command) => import::run(command, out).await?,
        Command::Rules(command) => return rules::run(command, out),
        Command::Pack(command) => return pack::run(command, out).await,
        Command::Demo(command) => demo::run(command, out).await?,
        Command::Doctor(args) => return doctor::run(&args, out).await,
        Command::Audit(args) => audit::run(&args, out).await?,
        Command::Report(command) => report::run(command, out).await?,
        Command::Probe(command) => return probe::run(command, out).await,
        Command::Gate(args) => return gate::run(args, out).await,
        Command::Chaos(command) => return chaos::run(command, out).await,
        Command::Load(args) => return load::run(&args, out).await,
        Command::Health(args) => return status::health(&args, out).await,
        Command::Status(args) => status::status(&args, out).await?,
        Command::Storage(command) => return storage::run(command, out).await,
        Command::Targets(command) => status::targets(command, out).await?,
        Command::Mcp(args) => {
            let client = Client::server(&args.server)?;
            crate::mcp::run(client, args.allow_writes, args.by).await?;
        }
        Command::Openapi(args) => status::openapi(&args, out).await?,
        Command::Completion { shell } => {
            // The generator panics where it cannot write, so it writes to memory.
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut crate::Cli::command(), "vm-obs", &mut script);
            out.write_all(&script)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
