//! `vm-obs trace …`

use std::collections::{BTreeMap, BTreeSet};

use clap::{Args, Subcommand};
use serde_json::Value;

use super::args::{AskSource, AskWindow, Format};
use super::client::{Client, Parameters, encoded, put};
use super::human;
use super::out::Out;
use super::table::Table;

#[derive(Debug, Subcommand)]
pub(crate) enum TraceCommand {
    /// One trace as a tree of spans with their durations
    Show(ShowArgs),
    /// Traces by service, name, duration, status, attributes or TraceQL
    Search(SearchArgs),
    /// Where the time of a trace went: its critical path and bottleneck
    Analyze(AnalyzeArgs),
}

#[derive(Args, Debug)]
pub(crate) struct ShowArgs {
    /// Trace id, also with the prefix trace-
    id: String,
    #[command(flatten)]
    ask: AskSource,
}

#[derive(Args, Debug)]
pub(crate) struct SearchArgs {
    /// Service of some span
    #[arg(long)]
    service: Option<String>,
    /// Name of some span
    #[arg(long)]
    name: Option<String>,
    /// Duration of some span, such as ">1s", "<200ms"
    #[arg(long, value_name = "COMPARISON")]
    duration: Option<String>,
    /// Status of some span: ok, error, unset
    #[arg(long)]
    status: Option<String>,
    /// Attribute of some span; may be repeated
    #[arg(long, value_name = "NAME=VALUE")]
    attribute: Vec<String>,
    /// TraceQL instead of the above
    #[arg(long, value_name = "TRACEQL",
          conflicts_with_all = ["service", "name", "duration", "status", "attribute"])]
    query: Option<String>,
    /// Most traces
    #[arg(long, default_value_t = 50, value_name = "N")]
    limit: usize,
    #[command(flatten)]
    ask: AskWindow,
}

#[derive(Args, Debug)]
pub(crate) struct AnalyzeArgs {
    /// Trace id, also with the prefix trace-
    id: String,
    /// Only the bottleneck, without the whole critical path
    #[arg(long)]
    find_bottleneck: bool,
    #[command(flatten)]
    ask: AskSource,
}

pub(crate) async fn run(command: TraceCommand, out: &mut Out) -> anyhow::Result<()> {
    match command {
        TraceCommand::Show(args) => {
            let client = Client::source(&args.ask.source)?;
            let path = format!("/obs/traces/{}", encoded(&args.id));
            let answer = client.get(&path, &Parameters::new()).await?;
            match args.ask.format.format {
                Format::Json => Ok(out.line(answer.text.trim_end())?),
                Format::Table => Ok(tree(&answer.json, out)?),
                format => Ok(spans(&answer.json).write(format, "", out)?),
            }
        }
        TraceCommand::Search(args) => search(&args, out).await,
        TraceCommand::Analyze(args) => analyze(&args, out).await,
    }
}

async fn search(args: &SearchArgs, out: &mut Out) -> anyhow::Result<()> {
    let client = Client::source(&args.ask.source)?;
    let mut parameters = Parameters::new();
    put(&mut parameters, "service", args.service.as_deref());
    put(&mut parameters, "name", args.name.as_deref());
    put(&mut parameters, "duration", args.duration.as_deref());
    put(&mut parameters, "status", args.status.as_deref());
    put(&mut parameters, "query", args.query.as_deref());
    parameters.extend(args.attribute.iter().map(|a| ("attribute", a.clone())));
    parameters.push(("limit", args.limit.to_string()));
    parameters.extend(args.ask.window.parameters("1h"));
    let answer = client.get("/obs/traces", &parameters).await?;
    if args.ask.format.format == Format::Json {
        return Ok(out.line(answer.text.trim_end())?);
    }
    let mut table = Table::new(&[
        "trace",
        "start",
        "service",
        "name",
        ">duration",
        "status",
        ">spans",
        ">errors",
    ]);
    for trace in human::list(&answer.json, "traces") {
        table.row([
            human::text(trace, "trace_id").to_owned(),
            human::time(human::text(trace, "start_time")),
            human::text(trace, "service").to_owned(),
            human::text(trace, "name").to_owned(),
            duration(trace),
            human::text(trace, "status").to_owned(),
            human::cell(trace.get("span_count")),
            human::cell(trace.get("error_count")),
        ]);
    }
    let empty = format!("no traces for {}", human::text(&answer.json, "query"));
    Ok(table.write(args.ask.format.format, &empty, out)?)
}

fn duration(span: &Value) -> String {
    human::duration_ms(human::number(span.get("duration_ms")).unwrap_or(0.0))
}

async fn analyze(args: &AnalyzeArgs, out: &mut Out) -> anyhow::Result<()> {
    let client = Client::source(&args.ask.source)?;
    let path = format!("/obs/traces/{}/analysis", encoded(&args.id));
    let answer = client.get(&path, &Parameters::new()).await?;
    if args.ask.format.format == Format::Json {
        return Ok(out.line(answer.text.trim_end())?);
    }
    if args.find_bottleneck && args.ask.format.format == Format::Table {
        let Some(step) = answer.json.get("bottleneck").filter(|b| b.is_object()) else {
            return Ok(out.line("the trace has no span that took any time")?);
        };
        out.foreign_line(&format!(
            "bottleneck: {} in {} took {} of its own ({} % of the trace), span {}",
            human::text(step, "name"),
            human::text(step, "service"),
            human::duration_ms(human::number(step.get("self_time_ms")).unwrap_or(0.0)),
            human::cell(step.get("share_percent")),
            human::text(step, "span_id"),
        ))?;
        return match human::text(&answer.json, "reason") {
            "" => Ok(()),
            reason => Ok(out.foreign_line(&format!("why: {reason}"))?),
        };
    }
    if args.ask.format.format == Format::Table {
        for line in human::text(&answer.json, "text").lines() {
            out.foreign_line(line)?;
        }
        return Ok(());
    }
    let mut table = Table::new(&["span", "service", "name", ">self time", ">share %"]);
    for step in human::list(&answer.json, "critical_path") {
        table.row([
            human::text(step, "span_id").to_owned(),
            human::text(step, "service").to_owned(),
            human::text(step, "name").to_owned(),
            human::duration_ms(human::number(step.get("self_time_ms")).unwrap_or(0.0)),
            human::cell(step.get("share_percent")),
        ]);
    }
    Ok(table.write(args.ask.format.format, "", out)?)
}

fn spans(trace: &Value) -> Table {
    let mut table = Table::new(&[
        "span_id",
        "parent_span_id",
        "service",
        "node",
        "name",
        "start_time",
        ">duration_ms",
        "status",
    ]);
    for span in human::list(trace, "spans") {
        table.row([
            human::text(span, "span_id").to_owned(),
            human::text(span, "parent_span_id").to_owned(),
            human::text(span, "service").to_owned(),
            human::node(span),
            human::text(span, "name").to_owned(),
            human::text(span, "start_time").to_owned(),
            human::cell(span.get("duration_ms")),
            human::text(span, "status").to_owned(),
        ]);
    }
    table
}

/// A span as a row of the tree.
struct Row<'a> {
    prefix: String,
    span: &'a Value,
}

/// The spans in the order of the tree, children by start. A span whose parent is missing stands at
/// the root; one of a cycle too, each once.
fn rows<'a>(spans: &'a [Value], ascii: bool) -> Vec<Row<'a>> {
    let ids: BTreeSet<&str> = spans.iter().map(|s| human::text(s, "span_id")).collect();
    let mut children: BTreeMap<&str, Vec<&Value>> = BTreeMap::new();
    let mut open: Vec<(&Value, String, String)> = Vec::new();
    for span in spans {
        let parent = human::text(span, "parent_span_id");
        if parent.is_empty() || !ids.contains(parent) || parent == human::text(span, "span_id") {
            open.push((span, String::new(), String::new()));
        } else {
            children.entry(parent).or_default().push(span);
        }
    }
    open.reverse();
    let (branch, last_branch, pass, blank) =
        if ascii { ("|- ", "`- ", "|  ", "   ") } else { ("├─ ", "└─ ", "│  ", "   ") };
    let mut done: BTreeSet<&str> = BTreeSet::new();
    let mut out = Vec::new();
    let mut rest = spans.iter();
    loop {
        let Some((span, prefix, below)) = open.pop() else {
            // What only a cycle reaches is shown all the same.
            let Some(left) = rest.find(|s| !done.contains(human::text(s, "span_id"))) else {
                return out;
            };
            open.push((left, String::new(), String::new()));
            continue;
        };
        if !done.insert(human::text(span, "span_id")) {
            continue;
        }
        let mut inner: Vec<&Value> =
            children.get(human::text(span, "span_id")).cloned().unwrap_or_default();
        inner.sort_by_key(|s| human::parse(human::text(s, "start_time")));
        let last = inner.len();
        for (i, child) in inner.into_iter().enumerate().rev() {
            let (mine, under) = if i + 1 == last { (last_branch, blank) } else { (branch, pass) };
            open.push((child, format!("{below}{mine}"), format!("{below}{under}")));
        }
        out.push(Row { prefix, span });
    }
}

fn tree(trace: &Value, out: &mut Out) -> std::io::Result<()> {
    let spans = human::list(trace, "spans");
    let total = human::number(trace.get("duration_ms")).unwrap_or(0.0);
    out.foreign_line(&format!(
        "trace {}  {}  {}  {}  {} spans  {}",
        human::text(trace, "trace_id"),
        human::text(trace, "name"),
        human::duration_ms(total),
        human::text(trace, "status"),
        spans.len(),
        human::time(human::text(trace, "start_time")),
    ))?;
    let begin = human::parse(human::text(trace, "start_time"));
    let rows = rows(spans, !out.terminal);
    let title = |r: &Row<'_>| {
        let mark = if human::text(r.span, "status") == "error" { " [error]" } else { "" };
        let name = human::text(r.span, "name");
        format!("{}{}: {name}{mark}", r.prefix, human::text(r.span, "service"))
    };
    let width = rows.iter().map(|r| title(r).chars().count()).max().unwrap_or(0).min(60);
    for row in &rows {
        let start = human::parse(human::text(row.span, "start_time"));
        let offset = match (begin, start) {
            (Some(a), Some(b)) => (b.0.saturating_sub(a.0)) as f64 / 1e6,
            _ => 0.0,
        };
        let length = human::number(row.span.get("duration_ms")).unwrap_or(0.0);
        let bar = bar(offset, length, total, 24, out.terminal);
        out.foreign_line(
            format!(
                "{:<width$}  {:>9}  {:>10}  {bar}",
                title(row),
                human::duration_ms(length),
                format!("+{}", human::duration_ms(offset)),
            )
            .trim_end(),
        )?;
        let message = human::text(row.span, "status_message");
        if !message.is_empty() {
            out.foreign_line(&format!(
                "{:indent$}  ! {message}",
                "",
                indent = row.prefix.chars().count()
            ))?;
        }
    }
    Ok(())
}

/// Where in the trace the span lies.
fn bar(offset: f64, length: f64, total: f64, width: usize, terminal: bool) -> String {
    let (full, gap) = if terminal { ('━', ' ') } else { ('=', '.') };
    if total <= 0.0 {
        return full.to_string();
    }
    let place = |ms: f64| ((ms / total).clamp(0.0, 1.0) * width as f64) as usize;
    let from = place(offset).min(width.saturating_sub(1));
    let to = place(offset + length).clamp(from + 1, width.max(from + 1));
    (0..width).map(|i| if (from..to).contains(&i) { full } else { gap }).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cli::out::testing::memory;

    fn span(id: &str, parent: Option<&str>, name: &str, at_ms: u32, ms: u32) -> Value {
        json!({"span_id": id, "parent_span_id": parent, "name": name, "service": "portal",
               "start_time": format!("2025-12-06T14:30:{:02}.{:03}Z", at_ms / 1000, at_ms % 1000),
               "duration_ms": ms, "status": "ok", "status_message": ""})
    }

    #[test]
    fn a_trace_is_a_tree() {
        let trace = json!({"trace_id": "abc", "name": "treasury_settlement", "status": "ok",
            "start_time": "2025-12-06T14:30:00Z", "duration_ms": 2345, "spans": [
            span("4", Some("1"), "anchor_request", 300, 2000),
            span("1", None, "http_request", 0, 2340),
            span("3", Some("2"), "emit_receipt", 250, 50),
            span("2", Some("1"), "validate", 100, 150),
        ]});
        let (mut out, written) = memory();
        tree(&trace, &mut out).unwrap();
        insta::assert_snapshot!(written.text(), @"
        trace abc  treasury_settlement  2.35 s  ok  4 spans  2025-12-06 14:30:00
        portal: http_request           2.34 s       +0 ms  =======================.
        |- portal: validate            150 ms     +100 ms  .=......................
        |  `- portal: emit_receipt      50 ms     +250 ms  ..=.....................
        `- portal: anchor_request         2 s     +300 ms  ...====================.
        ");
    }

    #[test]
    fn cycles_and_lost_parents_end() {
        let spans = [
            span("a", Some("b"), "x", 0, 1),
            span("b", Some("a"), "y", 0, 1),
            span("c", Some("gone"), "z", 0, 1),
            span("d", Some("d"), "self", 0, 1),
        ];
        assert_eq!(rows(&spans, true).len(), 4);
    }
}
