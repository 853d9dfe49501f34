//! `vm-obs dashboard …`

mod file;
mod render;

use std::path::Path;
use std::process::ExitCode;

use clap::{Args, Subcommand, ValueEnum};
use serde_json::Value;

use super::args::{AskServer, Format, OutputArgs, ServerArgs};
use super::client::{Client, Parameters, encoded, put};
use super::human;
use super::out::Out;
use super::table::Table;

#[derive(Debug, Subcommand)]
pub(crate) enum DashboardCommand {
    /// Installed dashboards
    List(AskServer),
    /// One dashboard with its panels and their queries
    Show(ShowArgs),
    /// Every problem of dashboard files with path and line; exit code 1 if one is an error
    Check(file::CheckArgs),
    /// Save dashboard files in a server or a data folder, with a receipt for each
    Import(file::ImportArgs),
    /// One dashboard as a file, for Grafana or as vm-obs sees it
    Export(ExportArgs),
    /// A picture (PNG) of a dashboard or one of its panels, drawn by the server
    Render(render::RenderArgs),
    /// Who saved a dashboard when
    Versions(ShowArgs),
    /// Delete what was saved; what a pack or file brings is shown again
    Delete(DeleteArgs),
}

#[derive(Args, Debug)]
pub(crate) struct ShowArgs {
    /// Id, such as system-overview
    id: String,
    #[command(flatten)]
    ask: AskServer,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum ExportFormat {
    /// Grafana's dashboard JSON
    #[default]
    Grafana,
    Json,
}

/// A generation of Grafana's JSON.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Schema {
    /// What Grafana 8 and later read: `panels` with `gridPos`
    #[default]
    Classic,
    /// Grafana 12 and later: `elements` and a `layout`
    V2,
}

#[derive(Args, Debug)]
pub(crate) struct DeleteArgs {
    /// Id, such as system-overview
    id: String,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Args, Debug)]
pub(crate) struct ExportArgs {
    /// Id, such as system-overview, or a file to convert
    #[arg(value_name = "ID|FILE")]
    id: String,
    #[arg(long, value_enum, default_value_t)]
    format: ExportFormat,
    /// Generation of Grafana's JSON
    #[arg(long, value_enum, default_value_t)]
    schema: Schema,
    /// An earlier version instead of the one shown
    #[arg(long, value_name = "N")]
    saved: Option<u64>,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    server: ServerArgs,
}

pub(crate) async fn run(command: DashboardCommand, out: &mut Out) -> anyhow::Result<ExitCode> {
    match command {
        DashboardCommand::List(args) => list(&args, out).await?,
        DashboardCommand::Show(args) => show(&args, out).await?,
        DashboardCommand::Check(args) => return file::check(&args, out),
        DashboardCommand::Import(args) => return file::import(&args, out).await,
        DashboardCommand::Export(args) => export(&args, out).await?,
        DashboardCommand::Render(args) => render::run(&args, out).await?,
        DashboardCommand::Versions(args) => versions(&args, out).await?,
        DashboardCommand::Delete(args) => delete(&args, out).await?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn list(args: &AskServer, out: &mut Out) -> anyhow::Result<()> {
    let client = Client::server(&args.server)?;
    let answer = client.get("/obs/dashboards", &Parameters::new()).await?;
    if args.format.format == Format::Json {
        return Ok(out.line(answer.text.trim_end())?);
    }
    let mut table = Table::new(&["id", "title", "from", ">panels", ">version", "tags"]);
    for dashboard in human::list(&answer.json, "dashboards") {
        let tags: Vec<&str> =
            human::list(dashboard, "tags").iter().filter_map(Value::as_str).collect();
        table.row([
            human::text(dashboard, "id").to_owned(),
            human::text(dashboard, "title").to_owned(),
            origin(dashboard),
            human::cell(dashboard.get("panels")),
            human::cell(dashboard.get("version").filter(|v| v.as_u64() != Some(0))),
            tags.join(", "),
        ]);
    }
    table.write(args.format.format, "no dashboards are installed", out)?;
    for faulty in human::list(&answer.json, "faulty") {
        let problem = human::list(faulty, "problems").first().cloned().unwrap_or_default();
        out.foreign_line(&format!(
            "{}:{}: {}",
            human::text(faulty, "file"),
            human::cell(problem.get("line")),
            human::text(&problem, "message")
        ))?;
    }
    Ok(())
}

/// `pack host`, a file, or `saved`.
fn origin(dashboard: &Value) -> String {
    match human::text(dashboard, "origin") {
        "pack" => format!("pack {}", human::text(dashboard, "pack")),
        "file" => human::text(dashboard, "file").to_owned(),
        other => other.to_owned(),
    }
}

async fn show(args: &ShowArgs, out: &mut Out) -> anyhow::Result<()> {
    let client = Client::server(&args.ask.server)?;
    let path = format!("/obs/dashboards/{}", encoded(&args.id));
    let answer = client.get(&path, &Parameters::new()).await?;
    if args.ask.format.format == Format::Json {
        return Ok(out.line(answer.text.trim_end())?);
    }
    if args.ask.format.format == Format::Table {
        let title = human::text(&answer.json, "title");
        let id = encoded(human::text(&answer.json, "id"));
        let link = client.base().map_or_else(String::new, |b| format!("  {b}/dashboards/{id}"));
        out.foreign_line(&format!("{title}{link}"))?;
        out.line("")?;
    }
    Ok(panels(&answer.json).write(args.ask.format.format, "the dashboard has no panels", out)?)
}

/// One row per query; a panel without one has a row of its own.
fn panels(dashboard: &Value) -> Table {
    let mut table = Table::new(&["panel", "kind", "unit", "language", "query"]);
    for panel in human::list(dashboard, "panels") {
        let cells = ["title", "kind", "unit"].map(|f| human::text(panel, f).to_owned());
        let queries = human::list(panel, "queries");
        if queries.is_empty() {
            table.row(cells.iter().cloned().chain([String::new(), String::new()]));
        }
        for query in queries {
            let language = human::text(query, "language").to_owned();
            let expr: Vec<&str> = human::text(query, "expr").split_whitespace().collect();
            table.row(cells.iter().cloned().chain([language, expr.join(" ")]));
        }
    }
    table
}

async fn export(args: &ExportArgs, out: &mut Out) -> anyhow::Result<()> {
    let schema = match (args.format, args.schema) {
        (ExportFormat::Json, _) => "view",
        (ExportFormat::Grafana, Schema::Classic) => "classic",
        (ExportFormat::Grafana, Schema::V2) => "v2",
    };
    let file = Path::new(&args.id);
    let json = if file.is_file() {
        file::converted(file, schema)?
    } else {
        let client = Client::server(&args.server)?;
        let tail = if args.format == ExportFormat::Grafana { "/grafana" } else { "" };
        let path = format!("/obs/dashboards/{}{tail}", encoded(&args.id));
        let mut parameters = Parameters::new();
        put(&mut parameters, "schema", (schema != "view").then_some(schema));
        put(&mut parameters, "version", args.saved.map(|n| n.to_string()).as_deref());
        client.get(&path, &parameters).await?.json
    };
    args.output.write(format!("{json:#}\n").as_bytes(), out)
}

async fn versions(args: &ShowArgs, out: &mut Out) -> anyhow::Result<()> {
    let client = Client::server(&args.ask.server)?;
    let path = format!("/obs/dashboards/{}/versions", encoded(&args.id));
    let answer = client.get(&path, &Parameters::new()).await?;
    if args.ask.format.format == Format::Json {
        return Ok(out.line(answer.text.trim_end())?);
    }
    let mut table = Table::new(&[">version", "saved", "by", "message"]);
    for v in human::list(&answer.json, "versions") {
        let cells = ["saved_at", "by", "message"].map(|f| human::text(v, f).to_owned());
        table.row(std::iter::once(human::cell(v.get("version"))).chain(cells));
    }
    Ok(table.write(args.ask.format.format, "it was never saved here", out)?)
}

async fn delete(args: &DeleteArgs, out: &mut Out) -> anyhow::Result<()> {
    let client = Client::server(&args.server)?;
    let path = format!("/obs/dashboards/{}", encoded(&args.id));
    let answer = client.delete(&path, &serde_json::json!({})).await?.json;
    let instead = match answer.get("shown_instead").and_then(Value::as_str) {
        Some(origin) => format!("; the one of the {origin} is shown again"),
        None => String::new(),
    };
    let seq = human::cell(answer.get("receipt_seq"));
    Ok(out.line(&format!("{} deleted, receipt {seq}{instead}", args.id))?)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cli::out::testing::memory;

    #[test]
    fn panels_with_their_queries() {
        let dashboard = json!({"panels": [
            {"title": "CPU", "kind": "timeseries", "unit": "percent",
             "queries": [{"language": "promql", "expr": "avg(\n  cpu_percent)"}]},
            {"title": "Notes", "kind": "text", "unit": "", "queries": []},
        ]});
        let (mut out, written) = memory();
        panels(&dashboard).write(Format::Csv, "", &mut out).unwrap();
        assert_eq!(
            written.text(),
            "panel,kind,unit,language,query\nCPU,timeseries,percent,promql,avg( cpu_percent)\nNotes,text,,,\n"
        );
    }
}
