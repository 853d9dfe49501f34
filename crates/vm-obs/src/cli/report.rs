//! `vm-obs report`: the daily health check, weekly and monthly reports.

use std::path::PathBuf;

use anyhow::{Context, bail};
use clap::{Args, Subcommand, ValueEnum};
use serde_json::json;

use super::args::{AskSource, Format, SourceArgs};
use super::client::{Client, Parameters, encoded, put};
use super::human;
use super::out::Out;
use super::table::Table;

#[derive(Debug, Subcommand)]
pub(crate) enum ReportCommand {
    /// Health check of a day: nodes, alerts, performance, capacity
    Daily(MakeArgs),
    /// A week: performance, security events, capacity with forecast, advice on alerts
    Weekly(MakeArgs),
    /// A month, with what should be reviewed: dashboards, retention, rules, large metrics
    Monthly(MakeArgs),
    /// Reports that were made, newest first
    List(ListArgs),
    /// One that was made, such as daily-2025-12-06-001
    Show(ShowArgs),
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum ReportFormat {
    #[default]
    Markdown,
    Html,
    Json,
}

impl ReportFormat {
    fn ending(self) -> &'static str {
        match self {
            Self::Markdown => "md",
            Self::Html => "html",
            Self::Json => "json",
        }
    }
}

#[derive(Args, Debug)]
pub(crate) struct MakeArgs {
    /// End of the period [default: now]
    #[arg(long, value_name = "TIME")]
    at: Option<String>,
    #[arg(long, value_enum, default_value_t)]
    format: ReportFormat,
    /// File to write to instead of standard output
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Keep it on the server, with a receipt
    #[arg(long, conflicts_with = "data")]
    keep: bool,
    #[command(flatten)]
    source: SourceArgs,
}

#[derive(Args, Debug)]
pub(crate) struct ListArgs {
    /// Only daily, weekly, monthly, audit, doctor or slo
    #[arg(long, value_name = "KIND")]
    kind: Option<String>,
    #[command(flatten)]
    ask: AskSource,
}

#[derive(Args, Debug)]
pub(crate) struct ShowArgs {
    id: String,
    #[arg(long, value_enum, default_value_t)]
    format: ReportFormat,
    #[command(flatten)]
    source: SourceArgs,
}

pub(crate) async fn run(command: ReportCommand, out: &mut Out) -> anyhow::Result<()> {
    match command {
        ReportCommand::Daily(args) => make("daily", &args, out).await,
        ReportCommand::Weekly(args) => make("weekly", &args, out).await,
        ReportCommand::Monthly(args) => make("monthly", &args, out).await,
        ReportCommand::List(args) => list(&args, out).await,
        ReportCommand::Show(args) => show(&args, out).await,
    }
}

async fn make(kind: &str, args: &MakeArgs, out: &mut Out) -> anyhow::Result<()> {
    let client = Client::source(&args.source)?;
    let mut parameters = Parameters::new();
    put(&mut parameters, "at", args.at.as_deref());
    let text = if args.keep {
        let at = args.at.as_ref().map_or_else(String::new, |t| format!("?at={}", encoded(t)));
        let made = client.post(&format!("/obs/reports/{kind}{at}"), &json!({})).await?.json;
        let id = human::text(&made, "report_id").to_owned();
        let seq = made.get("receipt_seq").cloned().unwrap_or_default();
        eprintln!("vm-obs: kept as {id}, receipt {seq}");
        let path = format!("/obs/reports/{kind}/{id}.{}", args.format.ending());
        client.text(&path, &Parameters::new()).await?
    } else {
        put(&mut parameters, "format", Some(args.format.ending()));
        client.text(&format!("/obs/reports/{kind}"), &parameters).await?
    };
    match &args.out {
        Some(path) => {
            std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
        }
        None => print(&text, out),
    }
}

fn print(text: &str, out: &mut Out) -> anyhow::Result<()> {
    text.lines().try_for_each(|line| out.foreign_line(line)).map_err(anyhow::Error::from)
}

async fn list(args: &ListArgs, out: &mut Out) -> anyhow::Result<()> {
    let client = Client::source(&args.ask.source)?;
    let mut parameters = Parameters::new();
    put(&mut parameters, "kind", args.kind.as_deref());
    let answer = client.get("/obs/reports", &parameters).await?;
    if args.ask.format.format == Format::Json {
        return Ok(out.line(answer.text.trim_end())?);
    }
    let mut table = Table::new(&["id", "kind", "made at", "subject", "outcome", ">receipt"]);
    for r in human::list(&answer.json, "reports") {
        table.row([
            human::text(r, "report_id").to_owned(),
            human::text(r, "kind").to_owned(),
            human::text(r, "timestamp").to_owned(),
            human::text(r, "subject").to_owned(),
            human::text(r, "outcome").to_owned(),
            r.get("receipt_seq").map(ToString::to_string).unwrap_or_default(),
        ]);
    }
    Ok(table.write(args.ask.format.format, "no report was made yet", out)?)
}

async fn show(args: &ShowArgs, out: &mut Out) -> anyhow::Result<()> {
    let (kind, name) = match args.id.strip_prefix("slo-report-") {
        Some(day) => ("slo", day),
        None => (args.id.split('-').next().unwrap_or_default(), args.id.as_str()),
    };
    if kind.is_empty() {
        bail!("{:?} is no id of a report; `vm-obs report list` shows them", args.id);
    }
    let file = format!("{name}.{}", args.format.ending());
    let path = format!("/obs/reports/{}/{}", encoded(kind), encoded(&file));
    print(&Client::source(&args.source)?.text(&path, &Parameters::new()).await?, out)
}
