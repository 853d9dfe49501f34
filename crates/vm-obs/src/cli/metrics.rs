//! `vm-obs metrics …`

use clap::{Args, Subcommand};
use obs_types::TimestampMs;
use serde_json::Value;

use super::args::{AskSource, AskWindow, Format};
use super::client::{Client, Parameters, put};
use super::export;
use super::human;
use super::out::Out;
use super::table::Table;

#[derive(Debug, Subcommand)]
pub(crate) enum MetricsCommand {
    /// Values of a metric or PromQL expression; without either, the newest values of every node
    Query(QueryArgs),
    /// What a query would read and how its parts are evaluated, without evaluating it
    Explain(ExplainArgs),
    /// Names of metrics with category, kind and help
    List(ListArgs),
    /// Metric names by their number of series, and how often queries asked for them
    Cardinality(CardinalityArgs),
    /// Raw samples as Prometheus text, OpenMetrics, JSON lines or CSV, streamed
    Export(export::ExportArgs),
}

#[derive(Args, Debug)]
pub(crate) struct QueryArgs {
    /// Node, as brick-01 or did:vm:node:brick-01
    #[arg(long)]
    node: Option<String>,
    /// Name of a metric
    #[arg(long, conflicts_with = "query")]
    metric: Option<String>,
    /// PromQL, or the shorthand `cpu_percent > 80 for 5m`
    #[arg(long, value_name = "PROMQL")]
    query: Option<String>,
    /// Only this category: system, application, business, security, mesh
    #[arg(long)]
    category: Option<String>,
    /// Distance between points, such as 30s [default: fits the window]
    #[arg(long, value_name = "DURATION")]
    step: Option<String>,
    /// Language of the query: promql or metricsql [default: as the server is configured]
    #[arg(long, value_parser = ["promql", "metricsql"])]
    dialect: Option<String>,
    /// Show what every part of the query took instead of its values
    #[arg(long)]
    trace: bool,
    #[command(flatten)]
    ask: AskWindow,
}

#[derive(Args, Debug)]
pub(crate) struct ExplainArgs {
    /// PromQL, or the shorthand `cpu_percent > 80 for 5m`
    query: String,
    /// Distance between points, such as 30s [default: fits the window]
    #[arg(long, value_name = "DURATION")]
    step: Option<String>,
    #[command(flatten)]
    ask: AskWindow,
}

#[derive(Args, Debug)]
pub(crate) struct ListArgs {
    /// Only metrics of this node
    #[arg(long)]
    node: Option<String>,
    /// Only this category: system, application, business, security, mesh
    #[arg(long)]
    category: Option<String>,
    #[command(flatten)]
    ask: AskSource,
}

#[derive(Args, Debug)]
pub(crate) struct CardinalityArgs {
    /// Only metrics that no query has asked for since the server was started
    #[arg(long)]
    unused: bool,
    /// Most metrics that are listed, those with the most series first
    #[arg(long, default_value_t = 50, value_name = "N")]
    limit: usize,
    #[command(flatten)]
    ask: AskSource,
}

pub(crate) async fn run(command: MetricsCommand, out: &mut Out) -> anyhow::Result<()> {
    match command {
        MetricsCommand::Query(args) => query(&args, &Client::source(&args.ask.source)?, out).await,
        MetricsCommand::Explain(args) => {
            explain(&args, &Client::source(&args.ask.source)?, out).await
        }
        MetricsCommand::List(args) => list(&args, &Client::source(&args.ask.source)?, out).await,
        MetricsCommand::Cardinality(args) => {
            cardinality(&args, &Client::source(&args.ask.source)?, out).await
        }
        MetricsCommand::Export(args) => export::run(&args, out).await,
    }
}

async fn query(args: &QueryArgs, client: &Client, out: &mut Out) -> anyhow::Result<()> {
    let mut parameters = Parameters::new();
    put(&mut parameters, "node", args.node.as_deref());
    put(&mut parameters, "metric", args.metric.as_deref());
    put(&mut parameters, "query", args.query.as_deref());
    put(&mut parameters, "category", args.category.as_deref());
    put(&mut parameters, "step", args.step.as_deref());
    put(&mut parameters, "dialect", args.dialect.as_deref());
    put(&mut parameters, "trace", args.trace.then_some("1"));
    parameters.extend(args.ask.window.parameters("1h"));
    let answer = client.get("/obs/metrics", &parameters).await?;
    if args.ask.format.format == Format::Json {
        return Ok(out.line(answer.text.trim_end())?);
    }
    if args.trace {
        let mut table = Table::new(&[">ms", "part", ">series", ">points", ">samples read"]);
        if let Some(root) = answer.json.get("trace") {
            traced(root, 0, &mut table);
        }
        let none = "give --metric or --query to trace one";
        return Ok(table.write(args.ask.format.format, none, out)?);
    }
    if args.metric.is_none() && args.query.is_none() {
        return Ok(snapshots(&answer.json).write(
            args.ask.format.format,
            "no node reports metrics yet",
            out,
        )?);
    }
    for warning in human::list(&answer.json, "warnings").iter().filter_map(Value::as_str) {
        eprintln!("warning: {warning}");
    }
    let table = match args.ask.format.format {
        Format::Csv => points(&answer.json),
        _ => series(&answer.json, out.terminal),
    };
    let empty = format!(
        "no samples for {} in this window; `vm-obs metrics list` names what there is",
        human::text(&answer.json, "query")
    );
    Ok(table.write(args.ask.format.format, &empty, out)?)
}

async fn explain(args: &ExplainArgs, client: &Client, out: &mut Out) -> anyhow::Result<()> {
    let mut parameters = Parameters::new();
    put(&mut parameters, "query", Some(&args.query));
    put(&mut parameters, "step", args.step.as_deref());
    parameters.extend(args.ask.window.parameters("1h"));
    let answer = client.get("/obs/metrics/explain", &parameters).await?;
    let format = args.ask.format.format;
    if format == Format::Json {
        return Ok(out.line(answer.text.trim_end())?);
    }
    let mut table = Table::new(&["part", "as", "type", ">evaluations", ">series", "notes"]);
    if let Some(root) = answer.json.get("explanation") {
        explained(root, 0, &mut table);
    }
    Ok(table.write(format, "the query reads nothing", out)?)
}

/// One row per part of the evaluation, what it waited for indented below.
fn traced(span: &Value, depth: usize, table: &mut Table) {
    let ms = span.get("duration_msec").and_then(Value::as_f64).unwrap_or(0.0);
    table.row([
        format!("{ms:.3}"),
        format!("{}{}", "  ".repeat(depth), human::text(span, "message")),
        span.get("series").map_or_else(String::new, |v| human::cell(Some(v))),
        span.get("points").map_or_else(String::new, |v| human::cell(Some(v))),
        span.get("samples_read").map_or_else(String::new, |v| human::cell(Some(v))),
    ]);
    for child in human::list(span, "children") {
        traced(child, depth + 1, table);
    }
}

/// One row per node of the query's tree, children indented below.
fn explained(node: &Value, depth: usize, table: &mut Table) {
    let notes: Vec<&str> = human::list(node, "notes").iter().filter_map(Value::as_str).collect();
    let series = node.get("selector").and_then(|s| s.get("series"));
    table.row([
        format!("{}{}", "  ".repeat(depth), human::text(node, "text")),
        human::text(node, "node").to_owned(),
        human::text(node, "type").to_owned(),
        human::cell(node.get("evaluations")),
        series.map_or_else(String::new, |s| human::cell(Some(s))),
        notes.join("; "),
    ]);
    for child in human::list(node, "children") {
        explained(child, depth + 1, table);
    }
}

/// One row per node and metric.
fn snapshots(answer: &Value) -> Table {
    let mut table = Table::new(&["node", "metric", ">value", "time"]);
    for object in human::list(answer, "metrics") {
        let metrics = object.get("metrics").and_then(Value::as_object);
        for (name, value) in metrics.into_iter().flatten() {
            let shown = human::number(Some(value))
                .map_or_else(|| human::cell(Some(value)), |v| human::value(v, unit_of(name)));
            let time = human::time(human::text(object, "timestamp"));
            table.row([human::node(object), name.clone(), shown, time]);
        }
    }
    table
}

fn unit_of(metric: &str) -> &'static str {
    let name = metric.split('{').next().unwrap_or(metric);
    [("_percent", "percent"), ("_bytes", "bytes"), ("_seconds", "s"), ("_ms", "ms")]
        .into_iter()
        .find(|(suffix, _)| name.ends_with(suffix))
        .map_or("", |(_, unit)| unit)
}

/// A series as PromQL writes it.
pub(crate) fn series_name(series: &Value) -> String {
    let labels: Vec<String> = series
        .get("labels")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .map(|(n, v)| format!("{n}={}", Value::from(human::cell(Some(v)))))
        .collect();
    let metric = human::text(series, "metric");
    if labels.is_empty() && !metric.is_empty() {
        metric.to_owned()
    } else {
        format!("{metric}{{{}}}", labels.join(","))
    }
}

/// The values of a series that are numbers, oldest first.
pub(crate) fn values(series: &Value) -> Vec<f64> {
    human::list(series, "points").iter().filter_map(|p| human::number(p.get(1))).collect()
}

/// Smallest, mean and largest of the finite values.
pub(crate) fn shape(values: &[f64]) -> Option<(f64, f64, f64)> {
    let finite: Vec<f64> = values.iter().copied().filter(|v| v.is_finite()).collect();
    let low = finite.iter().copied().reduce(f64::min)?;
    let high = finite.iter().copied().reduce(f64::max)?;
    Some((low, finite.iter().sum::<f64>() / finite.len() as f64, high))
}

fn series(answer: &Value, terminal: bool) -> Table {
    let mut headers = vec!["series", ">last", ">min", ">avg", ">max", ">points"];
    if terminal {
        headers.push("shape");
    }
    let mut table = Table::new(&headers);
    for series in human::list(answer, "series") {
        let unit = human::text(series, "unit");
        let values = values(series);
        let show = |v: Option<f64>| v.map_or_else(|| "-".to_owned(), |v| human::value(v, unit));
        let shape = shape(&values);
        let mut row = vec![
            series_name(series),
            show(values.last().copied()),
            show(shape.map(|s| s.0)),
            show(shape.map(|s| s.1)),
            show(shape.map(|s| s.2)),
            human::list(series, "points").len().to_string(),
        ];
        if terminal {
            row.push(human::sparkline(&values, 24));
        }
        table.row(row);
    }
    table
}

/// One row per point.
fn points(answer: &Value) -> Table {
    let mut table = Table::new(&["time", "series", "value"]);
    for series in human::list(answer, "series") {
        let name = series_name(series);
        for point in human::list(series, "points") {
            table.row([human::cell(point.get(0)), name.clone(), human::cell(point.get(1))]);
        }
    }
    table
}

async fn list(args: &ListArgs, client: &Client, out: &mut Out) -> anyhow::Result<()> {
    let mut parameters = Parameters::new();
    put(&mut parameters, "node", args.node.as_deref());
    put(&mut parameters, "category", args.category.as_deref());
    let answer = client.get("/obs/metrics/names", &parameters).await?;
    if args.ask.format.format == Format::Json {
        return Ok(out.line(answer.text.trim_end())?);
    }
    let mut table = Table::new(&["metric", "category", "kind", "unit", "help"]);
    for metric in human::list(&answer.json, "metrics") {
        table.row(
            ["name", "category", "kind", "unit", "help"]
                .map(|name| human::text(metric, name).to_owned()),
        );
    }
    Ok(table.write(args.ask.format.format, "no metrics in the last hour", out)?)
}

async fn cardinality(args: &CardinalityArgs, client: &Client, out: &mut Out) -> anyhow::Result<()> {
    let mut parameters = Parameters::new();
    put(&mut parameters, "limit", Some("1000000"));
    put(&mut parameters, "le", args.unused.then_some("0"));
    let answer = client.get("/api/v1/status/metric_names_stats", &parameters).await?;
    if args.ask.format.format == Format::Json {
        return Ok(out.line(answer.text.trim_end())?);
    }
    let none = if args.unused { "every metric was asked for" } else { "no metrics in memory" };
    Ok(by_series(&answer.json, args.limit).write(args.ask.format.format, none, out)?)
}

/// Names with the most series first.
fn by_series(answer: &Value, limit: usize) -> Table {
    let count = |record: &Value, name: &str| record.get(name).and_then(Value::as_i64).unwrap_or(0);
    let mut records: Vec<&Value> = human::list(answer, "records").iter().collect();
    records.sort_by_key(|r| std::cmp::Reverse(count(r, "seriesCount")));
    let mut table = Table::new(&["metric", ">series", ">queries", "last query"]);
    for record in records.into_iter().take(limit) {
        let last = match count(record, "lastRequestTimestamp") {
            0 => "never".to_owned(),
            seconds => obs_query::format_time(TimestampMs(seconds.saturating_mul(1_000))),
        };
        table.row([
            human::text(record, "metricName").to_owned(),
            count(record, "seriesCount").to_string(),
            count(record, "requestsCount").to_string(),
            last,
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cli::out::testing::memory;

    #[test]
    fn the_largest_metrics_come_first() {
        let answer = json!({"records": [
            {"metricName": "up", "seriesCount": 3, "requestsCount": 0, "lastRequestTimestamp": 0},
            {"metricName": "go_gc", "seriesCount": 40, "requestsCount": 2,
             "lastRequestTimestamp": 1_765_031_400},
        ]});
        let (mut out, written) = memory();
        by_series(&answer, 10).write(Format::Csv, "", &mut out).unwrap();
        assert_eq!(
            written.text(),
            "metric,series,queries,last query\ngo_gc,40,2,2025-12-06T14:30:00Z\nup,3,0,never\n"
        );
    }

    #[test]
    fn series_as_table_and_as_points() {
        let answer = json!({"query": "cpu_percent", "series": [{
            "metric": "cpu_percent", "labels": {"node": "brick-01"}, "unit": "percent",
            "points": [["2025-12-06T14:30:00Z", 23.5], ["2025-12-06T14:30:15Z", 30.25],
                       ["2025-12-06T14:30:30Z", "NaN"]],
        }]});
        let (mut out, written) = memory();
        series(&answer, false).write(Format::Table, "", &mut out).unwrap();
        points(&answer).write(Format::Csv, "", &mut out).unwrap();
        insta::assert_snapshot!(written.text(), @r#"
        SERIES                         LAST     MIN      AVG      MAX  POINTS
        cpu_percent{node="brick-01"}  NaN %  23.5 %  26.88 %  30.25 %       3
        time,series,value
        2025-12-06T14:30:00Z,"cpu_percent{node=""brick-01""}",23.5
        2025-12-06T14:30:15Z,"cpu_percent{node=""brick-01""}",30.25
        2025-12-06T14:30:30Z,"cpu_percent{node=""brick-01""}",NaN
        "#);
    }
}
