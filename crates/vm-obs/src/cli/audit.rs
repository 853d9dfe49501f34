//! `vm-obs audit`: coverage, live values, gaps and score of a server's packs, as a report.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::{Args, ValueEnum};
use obs_exercise::audit::{
    self, AuditInput, AuditReport, ObjectiveState, PackInput, Told, to_html, to_markdown,
};
use obs_exercise::doctor::{Report, World};
use serde_json::Value;

use super::args::ServerArgs;
use super::client::{Client, Parameters};
use super::doctor::{self, Record, Remote};
use super::human;
use super::out::Out;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum AuditFormat {
    Markdown,
    Html,
    Json,
}

#[derive(Args, Debug)]
pub(crate) struct AuditArgs {
    /// Only this pack; may be repeated [default: all that the server runs with]
    #[arg(long, value_name = "NAME")]
    pack: Vec<String>,
    /// How far back plots go
    #[arg(long, value_name = "DURATION", default_value = "1h")]
    period: String,
    /// How to write it on standard output [default: markdown, where no --out is given]
    #[arg(long, value_enum, value_name = "FORMAT")]
    format: Option<AuditFormat>,
    /// File to write, by its ending .md, .html or .json; may be repeated
    #[arg(long, value_name = "FILE")]
    out: Vec<PathBuf>,
    /// An earlier audit as JSON; what has changed since stands in the report
    #[arg(long, value_name = "FILE")]
    compare: Option<PathBuf>,
    /// Leave no receipt on the server
    #[arg(long)]
    no_receipt: bool,
    #[command(flatten)]
    server: ServerArgs,
}

pub(crate) async fn run(args: &AuditArgs, out: &mut Out) -> anyhow::Result<()> {
    let files: Vec<(&PathBuf, AuditFormat)> =
        args.out.iter().map(|p| Ok((p, by_ending(p)?))).collect::<anyhow::Result<_>>()?;
    let earlier = args.compare.as_ref().map(read_earlier).transpose()?;
    let client = Client::server(&args.server)?;
    let mut report = look(args, client.clone()).await?;
    report.since = earlier.map(|e| audit::compare(&e, &report));
    for (path, format) in files {
        std::fs::write(path, shown(&report, format)?)
            .with_context(|| path.display().to_string())?;
    }
    let standard = AuditFormat::Markdown;
    if let Some(format) = args.format.or_else(|| args.out.is_empty().then_some(standard)) {
        for line in shown(&report, format)?.lines() {
            out.foreign_line(line)?;
        }
    }
    if args.no_receipt {
        return Ok(());
    }
    let packs: Vec<&str> = report.packs.iter().map(|p| p.name.as_str()).collect();
    let record = Record {
        subject: packs.join(", "),
        outcome: format!("{:.1}/10", report.score),
        summary: report.figures(),
        report: Some(serde_json::to_value(&report)?),
        markdown: Some(to_markdown(&report)),
        html: Some(to_html(&report)),
    };
    let line = doctor::record(&client, "audit", record)
        .await
        .context("the audit is not on record (--no-receipt asks for none)")?;
    eprintln!("vm-obs: {line}");
    Ok(())
}

fn by_ending(path: &Path) -> anyhow::Result<AuditFormat> {
    match path.extension().and_then(|e| e.to_str()) {
        Some("md") => Ok(AuditFormat::Markdown),
        Some("html") => Ok(AuditFormat::Html),
        Some("json") => Ok(AuditFormat::Json),
        _ => bail!("--out {}: expected a name that ends in .md, .html or .json", path.display()),
    }
}

fn read_earlier(path: &PathBuf) -> anyhow::Result<AuditReport> {
    let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    let report: AuditReport = serde_json::from_str(&text)
        .with_context(|| format!("{}: expected an audit as JSON", path.display()))?;
    if report.version != audit::VERSION {
        let (found, known) = (report.version, audit::VERSION);
        bail!("{}: version {found}, this program reads {known}", path.display());
    }
    Ok(report)
}

fn shown(report: &AuditReport, format: AuditFormat) -> anyhow::Result<String> {
    Ok(match format {
        AuditFormat::Markdown => to_markdown(report),
        AuditFormat::Html => to_html(report),
        AuditFormat::Json => serde_json::to_string_pretty(report)? + "\n",
    })
}

async fn look(args: &AuditArgs, client: Client) -> anyhow::Result<AuditReport> {
    let period = obs_query::parse_duration(&args.period).context("--period")?;
    if period.0 < 60_000 {
        bail!("--period {}: expected at least 1m", args.period);
    }
    let none = Parameters::new();
    let packs = packs(&client.get("/obs/packs", &none).await?.json, &args.pack)?;
    let rules = client.get("/api/v1/rules", &none).await?.json;
    let slos = client.get("/obs/slos", &none).await?.json;
    let world = doctor::world(&client).await?;
    let (targets, now, told) = (world.targets.clone().unwrap_or_default(), world.now, told(&world));
    let place = client.to_string();
    let doctor: Report = doctor::examine_with(world, Some(client.clone())).await?;
    let input = AuditInput {
        place,
        now,
        period_ms: period.0,
        packs,
        targets,
        alerts: alerts(&rules),
        objectives: human::list(&slos, "slos").iter().map(objective).collect(),
        told,
        doctor,
    };
    let handle = tokio::runtime::Handle::current();
    let task =
        tokio::task::spawn_blocking(move || audit::examine(&input, &Remote { client, handle }));
    Ok(task.await?)
}

/// Those asked for, or all; `Err` names what there is.
fn packs(json: &Value, only: &[String]) -> anyhow::Result<Vec<PackInput>> {
    let all: Vec<PackInput> =
        serde_json::from_value(json.get("packs").cloned().unwrap_or_default())
            .context("GET /obs/packs: not what vm-obs answers")?;
    let known: Vec<&str> = all.iter().map(|p| p.name.as_str()).collect();
    if let Some(missing) = only.iter().find(|n| !known.contains(&n.as_str())) {
        bail!("the server does not run with pack {missing:?}; it has {}", known.join(", "));
    }
    Ok(all.into_iter().filter(|p| only.is_empty() || only.contains(&p.name)).collect())
}

/// State of each alerting rule, by the pack that its file begins with.
fn alerts(json: &Value) -> BTreeMap<(String, String), String> {
    let mut out = BTreeMap::new();
    let groups = json.pointer("/data/groups").and_then(Value::as_array).into_iter().flatten();
    for group in groups {
        let pack = human::text(group, "file").split('/').next().unwrap_or_default();
        for rule in human::list(group, "rules") {
            if human::text(rule, "type") == "alerting" {
                let key = (pack.to_owned(), human::text(rule, "name").to_owned());
                out.insert(key, human::text(rule, "state").to_owned());
            }
        }
    }
    out
}

fn objective(json: &Value) -> (String, ObjectiveState) {
    let state = ObjectiveState {
        target: human::number(json.get("target")),
        achieved: human::number(json.get("achieved")),
        status: human::text(json, "status").to_owned(),
        remaining_percent: human::number(json.pointer("/error_budget/remaining_percent")),
        error: json.get("error").and_then(Value::as_str).map(str::to_owned),
    };
    (human::text(json, "slo_id").to_owned(), state)
}

fn told(world: &World) -> Told {
    match &world.notify {
        Some(notify) => {
            let ways = notify.integrations.values().map(Vec::len).sum();
            if ways > 0 {
                Told::Receivers(ways)
            } else {
                Told::Nobody(format!("no receiver of {} has a way out", notify.path))
            }
        }
        None => {
            let why = world.absent.get("notify").cloned();
            Told::Nobody(why.unwrap_or_else(|| "no `notify` in the configuration".to_owned()))
        }
    }
}
