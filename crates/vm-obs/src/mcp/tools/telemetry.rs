//! Metrics, logs and traces.

use serde_json::{Map, Value, json};

use super::{Arguments, explore, given, limit, parameters, request};
use crate::cli::{self, Client, Parameters, encoded};
use crate::mcp::answer::Answer;

pub(super) async fn metrics(arguments: &Arguments, client: &Client) -> anyhow::Result<Answer> {
    let parameters = parameters(
        arguments,
        &["metric", "query", "node", "category", "last", "from", "to", "step"],
    );
    let body = client.get("/obs/metrics", &parameters).await?.json;
    if given(arguments, "metric").is_none() && given(arguments, "query").is_none() {
        let nodes = cli::list(&body, "metrics");
        return Ok(Answer {
            summary: format!("Newest values of {} nodes.", nodes.len()),
            query: request("/obs/metrics", &parameters),
            link: "/".to_owned(),
            data: nodes.to_vec(),
            more: "name a node, or a metric",
            ..Answer::default()
        });
    }
    let points = limit(arguments, "points", 12, 200);
    let query = cli::text(&body, "query").to_owned();
    let series = cli::list(&body, "series");
    let mut reduced: Vec<Value> = series.iter().map(|s| shape_of(s, points)).collect();
    let warnings = cli::list(&body, "warnings");
    let mut summary = match series.len() {
        0 => "No samples in this window; check name, labels and window.".to_owned(),
        1 => format!("1 series, {}.", sentence(reduced.first())),
        n => format!("{n} series; the first: {}.", sentence(reduced.first())),
    };
    if !warnings.is_empty() {
        // Their text may quote names that monitored programs chose.
        summary.push_str(&format!(" {} warnings, see the data.", warnings.len()));
        reduced.insert(0, json!({"warnings": warnings}));
    }
    Ok(Answer {
        summary,
        link: explore("metrics", &query),
        query,
        data: reduced,
        more: "aggregate (sum by, topk) or name a node",
        ..Answer::default()
    })
}

/// `min 12, max 87.3, last 40.1, trend rising`
fn sentence(series: Option<&Value>) -> String {
    let field = |name: &str| {
        series.and_then(|s| cli::number(s.get(name))).map_or_else(|| "-".to_owned(), cli::plain)
    };
    format!(
        "min {}, max {}, last {}, trend {}",
        field("min"),
        field("max"),
        field("last"),
        series.map_or("-", |s| cli::text(s, "trend"))
    )
}

/// A series as min, mean, max, last, trend and a few of its points.
fn shape_of(series: &Value, points_max: usize) -> Value {
    let values = cli::values(series);
    let points = cli::list(series, "points");
    let shape = cli::shape(&values);
    // At most so many, evenly spread, the last one always.
    let stride = points.len().div_ceil(points_max).max(1);
    let some: Vec<&Value> = points.iter().rev().step_by(stride).collect();
    let some: Vec<&Value> = some.into_iter().rev().collect();
    json!({
        "series": cli::series_name(series),
        "unit": cli::text(series, "unit"),
        "min": shape.map(|s| s.0),
        "avg": shape.map(|s| s.1),
        "max": shape.map(|s| s.2),
        "last": points.last().and_then(|p| p.get(1)),
        "trend": trend(&values),
        "points_total": points.len(),
        "points": some,
    })
}

/// Whether the second half of the window lies above or below the first, measured by its spread.
pub(in crate::mcp) fn trend(values: &[f64]) -> &'static str {
    let finite: Vec<f64> = values.iter().copied().filter(|v| v.is_finite()).collect();
    let Some((low, _, high)) = cli::shape(&finite) else { return "unknown" };
    if finite.len() < 4 {
        return "unknown";
    }
    let mean = |part: &[f64]| part.iter().sum::<f64>() / part.len().max(1) as f64;
    let (first, second) = finite.split_at(finite.len() / 2);
    let moved = mean(second) - mean(first);
    match high - low {
        spread if spread <= f64::EPSILON * high.abs().max(1.0) => "constant",
        spread if moved > spread * 0.25 => "rising",
        spread if moved < -spread * 0.25 => "falling",
        _ => "steady",
    }
}

pub(super) async fn logs(arguments: &Arguments, client: &Client) -> anyhow::Result<Answer> {
    let mut parameters = parameters(
        arguments,
        &["query", "service", "level", "node", "trace_id", "contains", "last", "from", "to"],
    );
    parameters.push(("limit", limit(arguments, "limit", 20, 500).to_string()));
    let body = client.get("/obs/logs", &parameters).await?.json;
    let query = cli::text(&body, "query").to_owned();
    let logs = cli::list(&body, "logs");
    let truncated = body.get("truncated") == Some(&Value::Bool(true));
    let mut levels: Vec<(&str, usize)> = Vec::new();
    for log in logs {
        let level = cli::text(log, "level");
        match levels.iter_mut().find(|(l, _)| *l == level) {
            Some((_, n)) => *n += 1,
            None => levels.push((level, 1)),
        }
    }
    // A level is a word of the telemetry; only the known ones go into the summary.
    let known = ["trace", "debug", "info", "warn", "error", "fatal"];
    let counts: Vec<String> = levels
        .iter()
        .map(|(l, n)| format!("{n} {}", known.iter().find(|k| *k == l).unwrap_or(&"other")))
        .collect();
    let at = |log: Option<&Value>| log.map_or("", |l| cli::text(l, "timestamp")).to_owned();
    let summary = if logs.is_empty() {
        "No lines in this window; widen it or drop a filter.".to_owned()
    } else {
        format!(
            "{}{} lines ({}), newest {}, oldest {}.",
            if truncated { "The newest " } else { "" },
            logs.len(),
            counts.join(", "),
            at(logs.first()),
            at(logs.last())
        )
    };
    let data = logs
        .iter()
        .map(|l| {
            let mut l = l.clone();
            if let Some(map) = l.as_object_mut() {
                map.remove("log_id");
                map.retain(|_, v| !v.as_object().is_some_and(Map::is_empty));
            }
            l
        })
        .collect();
    Ok(Answer {
        summary,
        link: explore("logs", &query),
        query,
        data,
        more_exist: truncated,
        more: "narrow by service, level or text; set `to` for older lines",
        ..Answer::default()
    })
}

pub(super) async fn trace(arguments: &Arguments, client: &Client) -> anyhow::Result<Answer> {
    let most = limit(arguments, "limit", 20, 200);
    let Some(id) = given(arguments, "trace_id") else {
        let mut parameters =
            parameters(arguments, &["service", "name", "duration", "status", "last", "from", "to"]);
        parameters.push(("limit", most.to_string()));
        let body = client.get("/obs/traces", &parameters).await?.json;
        let traces = cli::list(&body, "traces");
        let errors = traces.iter().filter(|t| cli::text(t, "status") == "error").count();
        let longest =
            traces.iter().filter_map(|t| cli::number(t.get("duration_ms"))).fold(0.0, f64::max);
        let query = cli::text(&body, "query").to_owned();
        return Ok(Answer {
            summary: format!(
                "{} traces, {errors} with errors, the longest {}.",
                traces.len(),
                cli::duration_ms(longest)
            ),
            link: explore("traces", &query),
            query,
            data: traces.to_vec(),
            more_exist: traces.len() >= most,
            more: "narrow by service, name, duration or status",
            ..Answer::default()
        });
    };
    let path = format!("/obs/traces/{}", encoded(id));
    let none = Parameters::new();
    let trace = client.get(&path, &none).await?.json;
    let analysis = client.get(&format!("{path}/analysis"), &none).await?.json;
    let spans = cli::list(&trace, "spans");
    let mut data = vec![json!({
        "trace_id": trace.get("trace_id"),
        "name": trace.get("name"),
        "start_time": trace.get("start_time"),
        "bottleneck": analysis.get("bottleneck"),
        "critical_path": cli::list(&analysis, "critical_path").iter().take(8).collect::<Vec<_>>(),
    })];
    // The slowest spans tell most; in the answer they stand in order of time.
    let mut slowest: Vec<&Value> = spans.iter().collect();
    let own = |s: &&Value| cli::number(s.get("self_time_ms")).unwrap_or(0.0);
    slowest.sort_by(|a, b| own(b).total_cmp(&own(a)));
    slowest.truncate(most);
    slowest.sort_by_key(|s| cli::parse_time(cli::text(s, "start_time")));
    data.extend(slowest.into_iter().map(|s| {
        let mut span = Map::new();
        for name in [
            "span_id",
            "parent_span_id",
            "name",
            "service",
            "node",
            "start_time",
            "duration_ms",
            "self_time_ms",
            "status",
            "status_message",
            "attributes",
        ] {
            let value = s.get(name).cloned().unwrap_or(Value::Null);
            let empty = value == json!("") || value.as_object().is_some_and(Map::is_empty);
            if !value.is_null() && !empty {
                span.insert(name.to_owned(), value);
            }
        }
        Value::Object(span)
    }));
    let share = cli::cell(analysis.pointer("/bottleneck/share_percent"));
    let duration = cli::duration_ms(cli::number(trace.get("duration_ms")).unwrap_or(0.0));
    let errors = spans.iter().filter(|s| cli::text(s, "status") == "error").count();
    Ok(Answer {
        summary: format!(
            "Trace of {duration}, {} spans, {errors} with errors; the bottleneck takes {} % of it.",
            spans.len(),
            if share.is_empty() { "0" } else { &share }
        ),
        query: request(&path, &none),
        link: format!("/trace/{}", encoded(cli::text(&trace, "trace_id"))),
        data,
        total: Some(spans.len() + 1),
        more: "the spans with the most time of their own are kept; raise limit for others",
        ..Answer::default()
    })
}
