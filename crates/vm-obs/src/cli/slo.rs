//! `vm-obs slo …`

use std::path::PathBuf;

use anyhow::{Context, bail};
use clap::{Args, Subcommand, ValueEnum};
use obs_types::html_escaped;
use serde_json::{Value, json};

use super::actor::ActAs;
use super::alert::fields;
use super::args::{AskServer, Format, ServerArgs};
use super::client::{Client, Parameters, encoded};
use super::human;
use super::out::Out;
use super::table::Table;

#[derive(Debug, Subcommand)]
pub(crate) enum SloCommand {
    /// Objectives with what was achieved and what is left of the error budget
    List(AskServer),
    /// One objective
    Show(ShowArgs),
    /// All objectives over a period, as a report
    Report(ReportArgs),
    /// Define an objective, or change the one of the same id; leaves a receipt
    Create(CreateArgs),
}

#[derive(Args, Debug)]
pub(crate) struct ShowArgs {
    /// Id, such as slo:anchor-latency-p99
    id: String,
    /// Another window than the objective's own, such as 7d
    #[arg(long, value_name = "DURATION")]
    period: Option<String>,
    #[command(flatten)]
    ask: AskServer,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum ReportFormat {
    #[default]
    Markdown,
    Json,
    Html,
    Table,
}

#[derive(Args, Debug)]
pub(crate) struct ReportArgs {
    /// Window of the report [default: each objective's own]
    #[arg(long, value_name = "DURATION")]
    period: Option<String>,
    #[arg(long, value_enum, default_value_t)]
    format: ReportFormat,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Args, Debug)]
pub(crate) struct CreateArgs {
    /// File with the contract or its `slo` object, YAML or JSON; - reads standard input
    #[arg(value_name = "FILE", required_unless_present = "json")]
    file: Option<PathBuf>,
    /// The contract itself, as JSON
    #[arg(long, value_name = "JSON", conflicts_with = "file")]
    json: Option<String>,
    #[command(flatten)]
    actor: ActAs,
    #[command(flatten)]
    server: ServerArgs,
}

pub(crate) async fn run(command: SloCommand, out: &mut Out) -> anyhow::Result<()> {
    match command {
        SloCommand::List(args) => {
            let client = Client::server(&args.server)?;
            let answer = client.get("/obs/slos", &Parameters::new()).await?;
            if args.format.format == Format::Json {
                return Ok(out.line(answer.text.trim_end())?);
            }
            let table = table(human::list(&answer.json, "slos"));
            Ok(table.write(args.format.format, "no objectives are defined", out)?)
        }
        SloCommand::Show(args) => {
            let client = Client::server(&args.ask.server)?;
            let mut parameters = Parameters::new();
            super::client::put(&mut parameters, "period", args.period.as_deref());
            let path = format!("/obs/slos/{}", encoded(&args.id));
            let answer = client.get(&path, &parameters).await?;
            if args.ask.format.format == Format::Json {
                return Ok(out.line(answer.text.trim_end())?);
            }
            Ok(fields(&answer.json).write(args.ask.format.format, "", out)?)
        }
        SloCommand::Report(args) => report(&args, out).await,
        SloCommand::Create(args) => create(&args, out).await,
    }
}

/// A share as percent with the digits that an objective needs: `99.95 %`.
fn percent(value: Option<&Value>) -> String {
    human::number(value)
        .filter(|v| v.is_finite())
        .map_or_else(|| "-".to_owned(), |v| format!("{} %", human::plain(v * 100.0)))
}

fn remaining(slo: &Value) -> String {
    human::number(slo.pointer("/error_budget/remaining_percent"))
        .filter(|v| v.is_finite())
        .map_or_else(|| "-".to_owned(), |v| format!("{v:.1} %"))
}

fn table(slos: &[Value]) -> Table {
    let mut table = Table::new(&[
        "id",
        "name",
        ">target",
        ">achieved",
        "status",
        ">budget left",
        "trend",
        "window",
    ]);
    for slo in slos {
        table.row([
            human::text(slo, "slo_id").to_owned(),
            human::text(slo, "name").to_owned(),
            percent(slo.get("target")),
            percent(slo.get("achieved")),
            human::text(slo, "status").to_owned(),
            remaining(slo),
            human::text(slo, "trend").to_owned(),
            human::text(slo, "window").to_owned(),
        ]);
    }
    table
}

async fn report(args: &ReportArgs, out: &mut Out) -> anyhow::Result<()> {
    let client = Client::server(&args.server)?;
    let listed = client.get("/obs/slos", &Parameters::new()).await?;
    let mut slos = human::list(&listed.json, "slos").to_vec();
    if let Some(period) = &args.period {
        obs_query::parse_duration(period).context("--period")?;
        for slo in &mut slos {
            let path = format!("/obs/slos/{}/report", encoded(human::text(slo, "slo_id")));
            *slo = client.get(&path, &vec![("period", period.clone())]).await?.json;
        }
    }
    match args.format {
        ReportFormat::Json => {
            let whole = json!({"period": args.period, "slos": slos});
            Ok(out.line(&format!("{whole:#}"))?)
        }
        ReportFormat::Table => {
            Ok(table(&slos).write(Format::Table, "no objectives are defined", out)?)
        }
        ReportFormat::Markdown => Ok(markdown(args.period.as_deref(), &slos, out)?),
        ReportFormat::Html => Ok(html(args.period.as_deref(), &slos, out)?),
    }
}

/// How many objectives are in each state, the worse ones first.
fn summary(slos: &[Value]) -> String {
    let mut states: Vec<(&str, usize)> = Vec::new();
    for slo in slos {
        let status = human::text(slo, "status");
        match states.iter_mut().find(|(s, _)| *s == status) {
            Some((_, n)) => *n += 1,
            None => states.push((status, 1)),
        }
    }
    let rank = |s: &str| ["missed", "at_risk", "no_data", "met"].iter().position(|k| *k == s);
    states.sort_by_key(|(s, _)| rank(s).unwrap_or(usize::MAX));
    let parts: Vec<String> = states.iter().map(|(s, n)| format!("{n} {s}")).collect();
    if parts.is_empty() { "no objectives are defined".to_owned() } else { parts.join(", ") }
}

fn title(period: Option<&str>) -> String {
    match period {
        Some(period) => format!("SLO report, last {period}"),
        None => "SLO report".to_owned(),
    }
}

fn span(slo: &Value) -> String {
    let part = |name: &str| {
        slo.pointer(&format!("/report_period/{name}")).and_then(Value::as_str).map(human::time)
    };
    match (part("start"), part("end")) {
        (Some(start), Some(end)) => format!("{start} to {end} UTC"),
        _ => String::new(),
    }
}

/// Consumed and whole budget in minutes, and the events behind it.
fn details(slo: &Value) -> Vec<String> {
    let number = |pointer: &str| human::number(slo.pointer(pointer)).filter(|v| v.is_finite());
    let mut out = Vec::new();
    if let (Some(used), Some(total)) =
        (number("/error_budget/consumed_minutes"), number("/error_budget/total_minutes"))
    {
        out.push(format!(
            "error budget: {used:.1} of {total:.1} minutes used, {} left",
            remaining(slo)
        ));
    }
    if let (Some(bad), Some(total)) =
        (number("/breakdown/bad_requests"), number("/breakdown/total_requests"))
    {
        out.push(format!(
            "events: {} bad of {}",
            human::plain(bad.round()),
            human::plain(total.round())
        ));
    }
    if let Some(error) = slo.get("error").and_then(Value::as_str) {
        out.push(format!("error: {error}"));
    }
    out
}

fn markdown(period: Option<&str>, slos: &[Value], out: &mut Out) -> std::io::Result<()> {
    out.line(&format!("# {}", title(period)))?;
    out.line("")?;
    out.line(&format!("{}.", summary(slos)))?;
    if slos.is_empty() {
        return Ok(());
    }
    out.line("")?;
    table(slos).write(Format::Markdown, "", out)?;
    for slo in slos {
        out.line("")?;
        out.foreign_line(&format!("## {}", human::text(slo, "name")))?;
        out.line("")?;
        if !human::text(slo, "description").is_empty() {
            out.foreign_line(&format!(
                "{}.",
                human::text(slo, "description").trim_end_matches('.')
            ))?;
            out.line("")?;
        }
        out.line(&format!("- period: {}", span(slo)))?;
        for detail in details(slo) {
            out.foreign_line(&format!("- {detail}"))?;
        }
    }
    Ok(())
}

fn html(period: Option<&str>, slos: &[Value], out: &mut Out) -> std::io::Result<()> {
    let title = html_escaped(&title(period));
    out.line("<!doctype html>")?;
    out.line(&format!("<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title}</title>"))?;
    out.line(
        "<style>body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}\
         table{border-collapse:collapse;width:100%}th,td{text-align:left;padding:.4rem .6rem;\
         border-bottom:1px solid #ccc}.missed{color:#b00020;font-weight:600}\
         .at_risk{color:#8a5a00;font-weight:600}.met{color:#0a6b2d}</style></head><body>",
    )?;
    out.line(&format!("<h1>{title}</h1><p>{}.</p>", html_escaped(&summary(slos))))?;
    out.line(
        "<table><thead><tr><th>Objective</th><th>Target</th><th>Achieved</th><th>Status</th>\
         <th>Budget left</th><th>Period</th></tr></thead><tbody>",
    )?;
    for slo in slos {
        let status = html_escaped(human::text(slo, "status"));
        out.line(&format!(
            "<tr><td>{}<br><small>{}</small></td><td>{}</td><td>{}</td>\
             <td class=\"{status}\">{status}</td><td>{}</td><td>{}</td></tr>",
            html_escaped(human::text(slo, "name")),
            html_escaped(&details(slo).join("; ")),
            percent(slo.get("target")),
            percent(slo.get("achieved")),
            remaining(slo),
            html_escaped(&span(slo)),
        ))?;
    }
    out.line("</tbody></table></body></html>")
}

async fn create(args: &CreateArgs, out: &mut Out) -> anyhow::Result<()> {
    let definitions = definitions(args)?;
    let client = Client::server(&args.server)?;
    for mut definition in definitions {
        if args.actor.is_given() {
            let slo = definition.get("slo").unwrap_or(&definition).clone();
            let id = human::text(&slo, "id");
            let known = client.get("/obs/slos", &Parameters::new()).await?;
            let known = human::list(&known.json, "slos")
                .iter()
                .any(|s| [human::text(s, "slo_id"), human::text(s, "id")].contains(&id));
            let operation = if known { "slo_update" } else { "slo_create" };
            let subject = json!({"slo": slo});
            definition = json!({"slo": slo});
            args.actor.sign(&client, operation, subject, "initiated_by", &mut definition).await?;
        }
        let answer = client.post("/obs/slos", &definition).await?;
        out.line(answer.text.trim_end())?;
    }
    Ok(())
}

/// The contracts of the file: one, or those of a list `slos`.
fn definitions(args: &CreateArgs) -> anyhow::Result<Vec<Value>> {
    let (shown, text) = match (&args.json, &args.file) {
        (Some(json), _) => ("--json".to_owned(), json.clone()),
        (None, Some(file)) if file.as_os_str() == "-" => {
            ("standard input".to_owned(), std::io::read_to_string(std::io::stdin())?)
        }
        (None, Some(file)) => {
            let shown = file.display().to_string();
            let text =
                std::fs::read_to_string(file).with_context(|| format!("cannot read {shown}"))?;
            (shown, text)
        }
        (None, None) => bail!("name a file, or give the contract with --json"),
    };
    // JSON is YAML too, but its own reader says more precisely what is wrong with it.
    let value: Value = if text.trim_start().starts_with('{') {
        serde_json::from_str(&text).with_context(|| shown.clone())?
    } else {
        serde_saphyr::from_str(&text).map_err(|e| anyhow::anyhow!("{shown}: {e}"))?
    };
    let all = match value.get("slos").and_then(Value::as_array) {
        Some(all) => all.clone(),
        None => vec![value],
    };
    if all.is_empty() || !all.iter().all(Value::is_object) {
        bail!("{shown} holds no SLO: expected an object with id, indicator, target and window");
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::out::testing::memory;

    fn slo() -> Value {
        json!({"slo_id": "slo:anchor-latency-p99", "name": "Anchor Latency <P99>",
            "description": "99th percentile anchor latency under 30 seconds", "target": 0.999,
            "window": "30d", "achieved": 0.9995, "status": "met", "trend": "stable",
            "report_period": {"start": "2025-11-06T00:00:00Z", "end": "2025-12-06T00:00:00Z"},
            "error_budget": {"total_minutes": 43.2, "consumed_minutes": 21.6, "remaining_percent": 50.0},
            "breakdown": {"total_requests": 125000, "good_requests": 124937, "bad_requests": 63}})
    }

    #[test]
    fn the_report_as_markdown() {
        let (mut out, written) = memory();
        markdown(Some("30d"), &[slo()], &mut out).unwrap();
        insta::assert_snapshot!(written.text());
    }

    #[test]
    fn html_escapes_what_came_from_outside() {
        let (mut out, written) = memory();
        html(None, &[slo()], &mut out).unwrap();
        let text = written.text();
        assert!(text.contains("Anchor Latency &lt;P99&gt;") && !text.contains("<P99>"), "{text}");
        assert!(text.contains("99.95 %") && text.ends_with("</html>\n"));
    }

    #[test]
    fn contracts_in_yaml_json_and_lists() {
        let read = |json: &str| {
            definitions(&CreateArgs {
                file: None,
                json: Some(json.to_owned()),
                actor: ActAs::default(),
                server: ServerArgs::default(),
            })
        };
        assert_eq!(read(r#"{"id": "slo:a"}"#).unwrap().len(), 1);
        assert_eq!(read("slos:\n  - id: slo:a\n  - id: slo:b\n").unwrap().len(), 2);
        assert_eq!(read("slo:\n  id: slo:a\n").unwrap()[0]["slo"]["id"], "slo:a");
        for wrong in ["", "just text", "slos: []", "{", "- 1"] {
            assert!(read(wrong).is_err(), "{wrong:?}");
        }
    }
}
