use std::collections::HashMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use obs_analysis::bottleneck::{History, find_bottleneck};
use obs_traceql::TraceMatch;
use obs_types::{AttrValue, Attributes, DurationMs, NodeName, SpanId, TimeRangeNs, Trace, TraceId};
use serde_json::{Map, Value, json};

use super::window;
use crate::params::Params;
use crate::run::run;
use crate::{ApiError, ApiState};

/// The TraceQL of the plain parameters (`service`, `name`, `duration`, `status`, `attribute`).
pub(crate) fn query_text(params: &Params) -> Result<String, ApiError> {
    if let Some(query) = params.get("query") {
        return Ok(query.to_owned());
    }
    let mut tests: Vec<String> = Vec::new();
    if let Some(service) = params.get("service") {
        tests.push(format!("resource.service.name={}", Value::from(service)));
    }
    if let Some(name) = params.get("name") {
        tests.push(format!("name={}", Value::from(name)));
    }
    if let Some(status) = params.get("status") {
        if !["ok", "error", "unset"].contains(&status) {
            return Err(ApiError::invalid(format!("status {status:?} is not ok, error or unset")));
        }
        tests.push(format!("status={status}"));
    }
    if let Some(duration) = params.get("duration") {
        let (op, value) = match duration.find(|c: char| c.is_ascii_digit()) {
            Some(at) => duration.split_at(at),
            None => (duration, ""),
        };
        let op = match op.trim() {
            "" => ">=",
            known @ (">" | ">=" | "<" | "<=" | "=") => known,
            other => {
                return Err(ApiError::invalid(format!(
                    "duration operator {other:?} is not one of > >= < <= ="
                )));
            }
        };
        obs_query::parse_duration(value)?;
        tests.push(format!("duration{op}{value}"));
    }
    for attribute in params.all("attribute").filter(|a| !a.is_empty()) {
        let (name, value) = attribute.split_once('=').ok_or_else(|| {
            ApiError::invalid(format!("attribute {attribute:?} is not NAME=VALUE"))
        })?;
        let quoted = Value::from(value);
        // A value that reads as a number or truth value may be stored as either.
        let typed = value.parse::<f64>().is_ok() || matches!(value, "true" | "false");
        tests.push(if typed {
            format!("(.{name}={value} || .{name}={quoted})")
        } else {
            format!(".{name}={quoted}")
        });
    }
    Ok(format!("{{ {} }}", tests.join(" && ")))
}

pub(super) async fn list(
    State(state): State<Arc<ApiState>>,
    params: Params,
) -> Result<Json<Value>, ApiError> {
    let (start, end) = window(&params, &state, DurationMs::HOUR)?;
    let limit = params.number("limit", 1)?.unwrap_or(50);
    let text = query_text(&params)?;
    let traces = search(&state, &text, TimeRangeNs::new(start, end), limit).await?;
    Ok(Json(json!({"query": text, "traces": traces})))
}

/// Newest traces that the query keeps, as summaries.
pub(crate) async fn search(
    state: &Arc<ApiState>,
    text: &str,
    range: TimeRangeNs,
    limit: usize,
) -> Result<Vec<Value>, ApiError> {
    let query = obs_traceql::parse(text)?;
    let found = run(state, None, move |s, context| {
        Ok(obs_traceql::search(s.front.traces.as_ref(), &query, range, limit, 1, context)?)
    })
    .await?;
    Ok(found.iter().map(summary).collect())
}

fn summary(t: &TraceMatch) -> Value {
    let errors: u64 = t.services.iter().map(|s| s.error_count).sum();
    json!({
        "trace_id": t.trace_id.to_string(),
        "name": t.root_name,
        "service": t.root_service,
        "start_time": obs_query::format_ns(t.start),
        "duration_ms": millis(t.duration_ns),
        "status": if errors > 0 { "error" } else { "ok" },
        "span_count": t.services.iter().map(|s| s.span_count).sum::<u64>(),
        "services": t.services.iter().map(|s| s.service.as_str()).collect::<Vec<_>>(),
        "error_count": errors,
    })
}

/// Milliseconds with microseconds; whole numbers stay whole.
fn millis(ns: i64) -> Value {
    if ns % 1_000_000 == 0 { json!(ns / 1_000_000) } else { json!((ns / 1_000) as f64 / 1_000.0) }
}

pub(crate) async fn load(state: &Arc<ApiState>, id: &str) -> Result<Trace, ApiError> {
    let parsed: TraceId =
        id.parse().map_err(|e: obs_types::ParseIdError| ApiError::invalid(e.to_string()))?;
    run(state, None, move |s, context| Ok(s.front.traces.trace(parsed, context)?))
        .await?
        .ok_or_else(|| ApiError::not_found(format!("trace {id} is not stored")))
}

pub(super) async fn show(
    State(state): State<Arc<ApiState>>,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    Ok(Json(object(&load(&state, &id).await?)))
}

fn plain(value: &AttrValue) -> Value {
    match value {
        AttrValue::Str(s) => json!(s),
        AttrValue::Bool(b) => json!(b),
        AttrValue::Int(i) => json!(i),
        AttrValue::Double(d) => json!(d),
        AttrValue::Bytes(b) => json!(b.iter().map(|b| format!("{b:02x}")).collect::<String>()),
        AttrValue::Array(all) => all.iter().map(plain).collect::<Vec<_>>().into(),
        AttrValue::Map(all) => {
            Value::Object(all.iter().map(|(k, v)| (k.clone(), plain(v))).collect())
        }
    }
}

fn attributes(a: &Attributes) -> Map<String, Value> {
    a.iter().map(|(k, v)| (k.to_owned(), plain(v))).collect()
}

/// ENGINE 2.3's trace object, with more detail on each span.
pub(crate) fn object(trace: &Trace) -> Value {
    let itself: HashMap<SpanId, i64> = find_bottleneck(trace, &History::new())
        .steps
        .iter()
        .map(|s| (s.span_id, s.self_ns))
        .collect();
    let spans: Vec<Value> = trace
        .spans
        .iter()
        .map(|r| {
            let s = &r.span;
            let parent = (!s.parent_span_id.is_zero()).then(|| s.parent_span_id.to_string());
            let node = r.resource.node();
            let events: Vec<Value> = s
                .events
                .iter()
                .map(|e| json!({"timestamp": obs_query::format_ns(e.timestamp), "name": e.name, "attributes": attributes(&e.attributes)}))
                .collect();
            json!({
                "span_id": s.span_id.to_string(),
                "parent_span_id": parent,
                "name": s.name,
                "service": r.resource.service(),
                "node": if node.is_empty() { String::new() } else { NodeName::new(node).did() },
                "start_time": obs_query::format_ns(s.start),
                "end_time": obs_query::format_ns(s.end),
                "duration_ms": millis(s.duration_ns()),
                "self_time_ms": millis(itself.get(&s.span_id).copied().unwrap_or(0)),
                "kind": s.kind.as_str(),
                "status": s.status.code.as_str(),
                "status_message": s.status.message,
                "attributes": attributes(&s.attributes),
                "resource": attributes(&r.resource.attributes),
                "events": events,
            })
        })
        .collect();
    let root = trace.root();
    let (start, end) = trace.bounds().unwrap_or_default();
    let mut tags: Vec<&str> = trace.services();
    tags.retain(|t| !t.is_empty());
    json!({
        "trace_id": trace.id.to_string(),
        "name": root.map_or("", |r| r.span.name.as_str()),
        "start_time": obs_query::format_ns(start),
        "end_time": obs_query::format_ns(end),
        "duration_ms": millis(trace.duration_ns()),
        "status": if trace.has_error() { "error" } else { "ok" },
        "spans": spans,
        "tags": tags,
    })
}

pub(super) async fn analysis(
    State(state): State<Arc<ApiState>>,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let trace = load(&state, &id).await?;
    Ok(Json(analyze(&trace)))
}

/// The critical path and what took longest on it.
pub(crate) fn analyze(trace: &Trace) -> Value {
    let found = find_bottleneck(trace, &History::new());
    let total = found.duration_ns.max(1) as f64;
    let step = |s: &obs_analysis::bottleneck::Step, ns: i64| {
        json!({
            "span_id": s.span_id.to_string(),
            "name": s.name,
            "service": s.service,
            "self_time_ms": millis(ns),
            "share_percent": (ns as f64 / total * 1000.0).round() / 10.0,
        })
    };
    let path: Vec<Value> = found
        .path
        .iter()
        .filter_map(|p| Some(step(found.steps.get(p.step)?, p.end.0 - p.start.0)))
        .collect();
    json!({
        "trace_id": trace.id.to_string(),
        "bottleneck": found.slowest_step().map(|s| step(s, s.critical_ns)),
        "reason": found.reason,
        "critical_path": path,
        "text": found.to_text(),
    })
}
