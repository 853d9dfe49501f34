//! `vm-obs dashboard …`

use clap::{Args, Subcommand, ValueEnum};
use serde_json::Value;

use super::args::{AskServer, Format, OutputArgs, ServerArgs};
use super::client::{Client, Parameters, encoded};
use super::human;
use super::out::Out;
use super::table::Table;

#[derive(Debug, Subcommand)]
pub(crate) enum DashboardCommand {
    /// Installed dashboards
    List(AskServer),
    /// One dashboard with its panels and their queries
    Show(ShowArgs),
    /// One dashboard as a file, for Grafana or as vm-obs sees it
    Export(ExportArgs),
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

#[derive(Args, Debug)]
pub(crate) struct ExportArgs {
    /// Id, such as system-overview
    id: String,
    #[arg(long, value_enum, default_value_t)]
    format: ExportFormat,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    server: ServerArgs,
}

pub(crate) async fn run(command: DashboardCommand, out: &mut Out) -> anyhow::Result<()> {
    match command {
        DashboardCommand::List(args) => list(&args, out).await,
        DashboardCommand::Show(args) => show(&args, out).await,
        DashboardCommand::Export(args) => export(&args, out).await,
    }
}

async fn list(args: &AskServer, out: &mut Out) -> anyhow::Result<()> {
    let client = Client::server(&args.server)?;
    let answer = client.get("/obs/dashboards", &Parameters::new()).await?;
    if args.format.format == Format::Json {
        return Ok(out.line(answer.text.trim_end())?);
    }
    let mut table = Table::new(&["id", "title", "pack", ">panels", "tags"]);
    for dashboard in human::list(&answer.json, "dashboards") {
        let tags: Vec<&str> =
            human::list(dashboard, "tags").iter().filter_map(Value::as_str).collect();
        table.row([
            human::text(dashboard, "id").to_owned(),
            human::text(dashboard, "title").to_owned(),
            human::text(dashboard, "pack").to_owned(),
            human::cell(dashboard.get("panels")),
            tags.join(", "),
        ]);
    }
    Ok(table.write(args.format.format, "no dashboards are installed", out)?)
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
    let client = Client::server(&args.server)?;
    let tail = if args.format == ExportFormat::Grafana { "/grafana" } else { "" };
    let path = format!("/obs/dashboards/{}{tail}", encoded(&args.id));
    let answer = client.get(&path, &Parameters::new()).await?;
    let text = format!("{:#}\n", answer.json);
    args.output.write(text.as_bytes(), out)
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
