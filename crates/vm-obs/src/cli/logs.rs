//! `vm-obs logs …`

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::time::Duration;

use clap::{Args, Subcommand};
use obs_types::{DurationMs, TimestampNs};
use serde_json::Value;

use super::args::{AskWindow, Format, ServerArgs};
use super::client::{Client, Parameters, put};
use super::human;
use super::out::Out;
use super::table::Table;

/// How often `tail --follow` asks.
const POLL: Duration = Duration::from_secs(1);
/// Lines that one request takes; more come with the next, at once.
const POLL_LINES: usize = 2_000;
/// How late a line may arrive, in nanoseconds, and still be shown: senders push in batches.
const LATE_NS: i64 = 10_000_000_000;

#[derive(Debug, Subcommand)]
pub(crate) enum LogsCommand {
    /// Log lines by service, level, node, trace, or LogQL
    Query(QueryArgs),
    /// The newest lines; --follow goes on as they come
    Tail(TailArgs),
    /// Log lines that contain a text
    Search(SearchArgs),
}

/// Which lines are meant.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct LineArgs {
    /// Service that wrote the line
    #[arg(long)]
    service: Option<String>,
    /// This level and worse: trace, debug, info, warn, error, fatal
    #[arg(long)]
    level: Option<String>,
    /// Node, as brick-01 or did:vm:node:brick-01
    #[arg(long)]
    node: Option<String>,
}

impl LineArgs {
    fn put(&self, parameters: &mut Parameters) {
        put(parameters, "service", self.service.as_deref());
        put(parameters, "level", self.level.as_deref());
        put(parameters, "node", self.node.as_deref());
    }
}

#[derive(Args, Debug)]
pub(crate) struct QueryArgs {
    #[command(flatten)]
    lines: LineArgs,
    /// Lines of this trace
    #[arg(long, value_name = "ID")]
    trace_id: Option<String>,
    /// LogQL; a metric query such as rate(…) gives series
    #[arg(long, value_name = "LOGQL", conflicts_with_all = ["service", "level", "node", "trace_id"])]
    query: Option<String>,
    /// Most lines
    #[arg(long, default_value_t = 100, value_name = "N")]
    limit: usize,
    #[command(flatten)]
    ask: AskWindow,
}

#[derive(Args, Debug)]
pub(crate) struct SearchArgs {
    /// Text that the lines contain, as it stands
    text: String,
    #[command(flatten)]
    lines: LineArgs,
    /// Most lines
    #[arg(long, default_value_t = 100, value_name = "N")]
    limit: usize,
    #[command(flatten)]
    ask: AskWindow,
}

#[derive(Args, Debug)]
pub(crate) struct TailArgs {
    #[command(flatten)]
    lines: LineArgs,
    /// LogQL instead of service, level and node
    #[arg(long, value_name = "LOGQL", conflicts_with_all = ["service", "level", "node"])]
    query: Option<String>,
    /// Go on with new lines until interrupted
    #[arg(long, short)]
    follow: bool,
    /// How many of the newest lines to begin with
    #[arg(long, short = 'n', default_value_t = 20, value_name = "N")]
    limit: usize,
    #[command(flatten)]
    server: ServerArgs,
}

pub(crate) async fn run(command: LogsCommand, out: &mut Out) -> anyhow::Result<()> {
    match command {
        LogsCommand::Query(args) => {
            let client = Client::source(&args.ask.source)?;
            let mut parameters = Parameters::new();
            args.lines.put(&mut parameters);
            put(&mut parameters, "trace_id", args.trace_id.as_deref());
            put(&mut parameters, "query", args.query.as_deref());
            parameters.extend(args.ask.window.parameters("1h"));
            match args.query.as_deref() {
                // A query for lines begins with its stream selector; everything else computes.
                Some(query) if !query.trim_start().starts_with('{') => {
                    series(query, &args, &client, out).await
                }
                _ => show(parameters, args.limit, args.ask.format.format, &client, out).await,
            }
        }
        LogsCommand::Search(args) => {
            let client = Client::source(&args.ask.source)?;
            let mut parameters = Parameters::new();
            args.lines.put(&mut parameters);
            parameters.push(("contains", args.text.clone()));
            parameters.extend(args.ask.window.parameters("24h"));
            show(parameters, args.limit, args.ask.format.format, &client, out).await
        }
        LogsCommand::Tail(args) => tail(&args, &Client::server(&args.server)?, out).await,
    }
}

async fn show(
    mut parameters: Parameters,
    limit: usize,
    format: Format,
    client: &Client,
    out: &mut Out,
) -> anyhow::Result<()> {
    parameters.push(("limit", limit.to_string()));
    let answer = client.get("/obs/logs", &parameters).await?;
    let logs = human::list(&answer.json, "logs");
    match format {
        Format::Json => out.line(answer.text.trim_end())?,
        Format::Table if logs.is_empty() => {
            out.line(&format!("no lines for {}", human::text(&answer.json, "query")))?;
        }
        // The newest line comes last, where the eye is.
        Format::Table => logs.iter().rev().try_for_each(|l| out.foreign_line(&line(l)))?,
        Format::Csv | Format::Markdown => table(logs).write(format, "", out)?,
    }
    if answer.json.get("truncated") == Some(&Value::Bool(true)) && format == Format::Table {
        eprintln!("only the newest {} lines; --limit and --from show more", logs.len());
    }
    Ok(())
}

/// `2025-12-06 14:30:15.123 INFO  guardian@brick-01 Anchor cycle completed backend=bitcoin`
pub(crate) fn line(log: &Value) -> String {
    let node = human::node(log);
    let at = if node.is_empty() { String::new() } else { format!("@{node}") };
    let attributes: String = log
        .get("attributes")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .map(|(n, v)| format!(" {n}={}", human::cell(Some(v))))
        .collect();
    let trace = match human::text(log, "trace_id") {
        "" => String::new(),
        id => format!(" trace_id={id}"),
    };
    format!(
        "{} {:<5} {}{at} {}{attributes}{trace}",
        human::time(human::text(log, "timestamp")),
        human::text(log, "level").to_uppercase(),
        human::text(log, "service"),
        human::text(log, "message"),
    )
}

fn table(logs: &[Value]) -> Table {
    let mut table = Table::new(&["timestamp", "level", "service", "node", "message", "trace_id"]);
    for log in logs {
        table.row([
            human::text(log, "timestamp").to_owned(),
            human::text(log, "level").to_owned(),
            human::text(log, "service").to_owned(),
            human::node(log),
            human::text(log, "message").to_owned(),
            human::text(log, "trace_id").to_owned(),
        ]);
    }
    table
}

/// A metric query over logs: series, through the route that Grafana asks.
async fn series(
    query: &str,
    args: &QueryArgs,
    client: &Client,
    out: &mut Out,
) -> anyhow::Result<()> {
    let (start, end) = args.ask.window.resolve(DurationMs::HOUR)?;
    let parameters = vec![
        ("query", query.to_owned()),
        ("start", start.0.to_string()),
        ("end", end.0.to_string()),
    ];
    let answer = client.get("/loki/api/v1/query_range", &parameters).await?;
    if args.ask.format.format == Format::Json {
        return Ok(out.line(answer.text.trim_end())?);
    }
    let mut table = Table::new(&["series", ">last", ">min", ">avg", ">max", ">points"]);
    let result = answer.json.pointer("/data/result").and_then(Value::as_array);
    for series in result.into_iter().flatten() {
        let values: Vec<f64> =
            human::list(series, "values").iter().filter_map(|p| human::number(p.get(1))).collect();
        let shown = |v: Option<f64>| v.map_or_else(|| "-".to_owned(), human::plain);
        let shape = super::metrics::shape(&values);
        let labels = serde_json::json!({"labels": series.get("metric")});
        table.row([
            super::metrics::series_name(&labels),
            shown(values.last().copied()),
            shown(shape.map(|s| s.0)),
            shown(shape.map(|s| s.1)),
            shown(shape.map(|s| s.2)),
            values.len().to_string(),
        ]);
    }
    Ok(table.write(args.ask.format.format, &format!("no values for {query}"), out)?)
}

async fn tail(args: &TailArgs, client: &Client, out: &mut Out) -> anyhow::Result<()> {
    let mut parameters = Parameters::new();
    args.lines.put(&mut parameters);
    put(&mut parameters, "query", args.query.as_deref());
    let mut first = parameters.clone();
    first.extend([("last", "1h".to_owned()), ("limit", args.limit.to_string())]);
    let mut follower = Follower::default();
    let answer = client.get("/obs/logs", &first).await?;
    let mut newest_first = human::list(&answer.json, "logs").to_vec();
    newest_first.reverse();
    for log in follower.fresh(newest_first) {
        out.foreign_line(&line(&log))?;
    }
    out.flush()?;
    if !args.follow {
        return Ok(());
    }
    let mut failures = 0;
    loop {
        tokio::time::sleep(POLL).await;
        match poll(&parameters, &mut follower, client, out).await {
            Ok(()) => failures = 0,
            // Nobody reads any more; that is not the server's failure.
            Err(e) if e.downcast_ref::<std::io::Error>().is_some() => return Err(e),
            // A server that restarts comes back; the position is kept.
            Err(e) if failures < 30 => {
                if failures == 0 {
                    eprintln!("vm-obs: {e:#}; trying again");
                }
                failures += 1;
            }
            Err(e) => return Err(e),
        }
    }
}

/// Shows what came since the last time.
async fn poll(
    parameters: &Parameters,
    follower: &mut Follower,
    client: &Client,
    out: &mut Out,
) -> anyhow::Result<()> {
    let mut from = follower.from();
    loop {
        let mut asked = parameters.clone();
        asked.push(("direction", "forward".to_owned()));
        asked.push(("limit", POLL_LINES.to_string()));
        match from {
            Some(at) => asked.push(("from", obs_query::format_ns(at))),
            None => asked.push(("last", "1m".to_owned())),
        }
        let answer = client.get("/obs/logs", &asked).await?;
        let logs = human::list(&answer.json, "logs");
        let last = logs.last().and_then(|l| human::parse(human::text(l, "timestamp")));
        let truncated = answer.json.get("truncated") == Some(&Value::Bool(true));
        for log in follower.fresh(logs.to_vec()) {
            out.foreign_line(&line(&log))?;
        }
        out.flush()?;
        match last {
            // More lines of one instant than a request takes: the rest of them is passed over.
            Some(last) if truncated && from == Some(last) => {
                from = Some(TimestampNs(last.0.saturating_add(1)));
            }
            Some(last) if truncated => from = Some(last),
            _ => return Ok(()),
        }
    }
}

/// Remembers what was shown, so that asking again for the last seconds repeats no line and loses
/// none that arrived late.
#[derive(Debug, Default)]
struct Follower {
    /// What is older was left out on purpose.
    floor: Option<TimestampNs>,
    seen: BTreeMap<TimestampNs, BTreeSet<String>>,
}

impl Follower {
    /// Where to ask from.
    fn from(&self) -> Option<TimestampNs> {
        let (newest, _) = self.seen.last_key_value()?;
        let late = TimestampNs(newest.0.saturating_sub(LATE_NS));
        Some(self.floor.map_or(late, |floor| late.max(floor)))
    }

    /// The lines, oldest first, that were not handed out before.
    fn fresh(&mut self, logs: Vec<Value>) -> Vec<Value> {
        let mut out = Vec::new();
        for log in logs {
            let Some(at) = human::parse(human::text(&log, "timestamp")) else { continue };
            let floor = *self.floor.get_or_insert(at);
            if at >= floor && self.seen.entry(at).or_default().insert(log.to_string()) {
                out.push(log);
            }
        }
        if let Some(from) = self.from() {
            self.seen = self.seen.split_off(&from);
            self.floor = Some(from);
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn log(at: &str, message: &str) -> Value {
        json!({"timestamp": at, "level": "error", "service": "guardian",
               "node": "did:vm:node:brick-01", "message": message,
               "attributes": {"backend": "bitcoin"}, "trace_id": "ab12"})
    }

    #[test]
    fn a_line_reads_like_a_line() {
        insta::assert_snapshot!(
            line(&log("2025-12-06T14:30:15.123Z", "anchor failed")),
            @"2025-12-06 14:30:15.123 ERROR guardian@brick-01 anchor failed backend=bitcoin trace_id=ab12"
        );
    }

    #[test]
    fn following_repeats_nothing_and_loses_nothing() {
        let mut follower = Follower::default();
        let mut shown = |lines: &[(&str, &str)]| -> Vec<String> {
            let logs =
                lines.iter().map(|(second, m)| log(&format!("2025-12-06T14:30:{second}Z"), m));
            let fresh = follower.fresh(logs.collect());
            fresh.iter().map(|l| human::text(l, "message").to_owned()).collect()
        };
        assert_eq!(shown(&[("15", "a"), ("15", "b")]), ["a", "b"]);
        // The same instants again, with a line that arrived meanwhile and a younger one.
        assert_eq!(shown(&[("15", "a"), ("15", "b"), ("15", "c"), ("17.5", "d")]), ["c", "d"]);
        // Late by a second.
        assert_eq!(shown(&[("16.5", "late"), ("17.5", "d")]), ["late"]);
        // From before the first line: left out by the limit of the beginning.
        assert!(shown(&[("14", "older")]).is_empty());
        assert_eq!(shown(&[("40", "much later")]), ["much later"]);
        assert!(shown(&[("17.5", "d")]).is_empty(), "too late to be told from a repetition");
        assert_eq!(follower.seen.len(), 1, "what is past is forgotten");
    }
}
