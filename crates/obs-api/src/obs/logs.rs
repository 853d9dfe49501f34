use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use obs_logql::Value as LogValue;
use obs_types::{Direction, DurationMs, NodeName, TimestampNs};
use serde_json::{Map, Value, json};

use super::window;
use crate::params::Params;
use crate::run::run;
use crate::{ApiError, ApiState};

/// A search over logs.
#[derive(Clone, Debug)]
pub(crate) struct LogRequest {
    pub query: String,
    pub start: TimestampNs,
    pub end: TimestampNs,
    pub limit: usize,
    pub direction: Direction,
}

const LEVELS: [&str; 6] = ["trace", "debug", "info", "warn", "error", "fatal"];

impl LogRequest {
    pub(crate) fn from_params(params: &Params, state: &ApiState) -> Result<Self, ApiError> {
        let (start, end) = window(params, state, DurationMs::HOUR)?;
        let direction = match params.get("direction") {
            None | Some("backward") => Direction::Backward,
            Some("forward") => Direction::Forward,
            Some(other) => {
                return Err(ApiError::invalid(format!(
                    "direction {other:?} is not forward or backward"
                )));
            }
        };
        Ok(Self {
            query: query_text(params)?,
            start,
            end,
            limit: params.number("limit", 1)?.unwrap_or(100).min(5_000),
            direction,
        })
    }
}

/// The LogQL of the plain parameters (`service`, `level`, `node`, `trace_id`, `contains`). A level
/// means that level and worse.
pub(crate) fn query_text(params: &Params) -> Result<String, ApiError> {
    if let Some(query) = params.get("query") {
        return Ok(query.to_owned());
    }
    let mut selector = Vec::new();
    if let Some(service) = params.get("service") {
        selector.push(format!("service_name={}", Value::from(service)));
    }
    if let Some(node) = params.get("node") {
        let short = NodeName::new(node);
        let either = format!("(did:vm:node:)?{}", regex::escape(short.short()));
        selector.push(format!("node=~{}", Value::from(either)));
    }
    if selector.is_empty() {
        selector.push("service_name=~\".+\"".to_owned());
    }
    let mut query = format!("{{{}}}", selector.join(", "));
    if let Some(text) = params.get("contains").or_else(|| params.get("q")) {
        query.push_str(&format!(" |= {}", Value::from(text)));
    }
    if let Some(level) = params.get("level") {
        let from = LEVELS.iter().position(|l| *l == level).ok_or_else(|| {
            ApiError::invalid(format!("level {level:?} is not one of {}", LEVELS.join(", ")))
        })?;
        let mut words: Vec<&str> = LEVELS.get(from..).unwrap_or_default().to_vec();
        if words.contains(&"warn") {
            words.push("warning");
        }
        if words.contains(&"fatal") {
            words.push("critical");
        }
        query.push_str(&format!(" | detected_level=~\"{}\"", words.join("|")));
    }
    if let Some(trace) = params.get("trace_id") {
        let trace = trace.strip_prefix("trace-").unwrap_or(trace);
        query.push_str(&format!(" | trace_id={}", Value::from(trace)));
    }
    Ok(query)
}

pub(super) async fn logs(
    State(state): State<Arc<ApiState>>,
    params: Params,
) -> Result<Json<Value>, ApiError> {
    let request = LogRequest::from_params(&params, &state)?;
    let query = request.query.clone();
    let (logs, truncated) = find(&state, request).await?;
    Ok(Json(json!({"query": query, "logs": logs, "truncated": truncated})))
}

/// The lines as ENGINE 2.2 objects, in the wanted direction, and whether there were more.
pub(crate) async fn find(
    state: &Arc<ApiState>,
    request: LogRequest,
) -> Result<(Vec<Value>, bool), ApiError> {
    let limit = request.limit;
    let direction = request.direction;
    let result = run(state, None, move |s, context| {
        Ok(s.front.logql.range(
            s.front.logs.as_ref(),
            &request.query,
            request.start,
            request.end,
            60_000_000_000,
            // One more than wanted tells whether there were more.
            limit.saturating_add(1),
            request.direction,
            context,
        )?)
    })
    .await?;
    let LogValue::Streams(streams) = result.value else {
        return Err(ApiError::invalid(
            "a metric query gives series, not lines; ask /loki/api/v1/query_range for those",
        ));
    };
    let mut lines: Vec<(TimestampNs, Value)> = streams
        .iter()
        .flat_map(|s| {
            s.entries.iter().map(|e| (e.timestamp, object(e.timestamp, &s.labels, &e.line)))
        })
        .collect();
    match direction {
        Direction::Forward => lines.sort_by_key(|l| l.0),
        Direction::Backward => lines.sort_by_key(|l| std::cmp::Reverse(l.0)),
    }
    let truncated = lines.len() > limit;
    Ok((lines.into_iter().take(limit).map(|l| l.1).collect(), truncated))
}

const OWN_FIELDS: [&str; 10] = [
    "service_name",
    "node",
    "detected_level",
    "level",
    "trace_id",
    "span_id",
    "caller",
    "job",
    "__error__",
    "__error_details__",
];

/// ENGINE 2.2's log object.
fn object(t: TimestampNs, labels: &obs_logql::Labels, line: &str) -> Value {
    let get = |name: &str| labels.get(name).unwrap_or("");
    let service = match get("service_name") {
        "" => get("service"),
        name => name,
    };
    let level = match get("detected_level") {
        "" | "unknown" => get("level"),
        level => level,
    };
    let level = match level.to_ascii_lowercase().as_str() {
        "" => "info".to_owned(),
        "warning" => "warn".to_owned(),
        "critical" => "fatal".to_owned(),
        other => other.to_owned(),
    };
    let node = match get("node") {
        "" => String::new(),
        node => NodeName::new(node).did(),
    };
    let time = obs_query::format_ns(t);
    let mut out = Map::new();
    out.insert("log_id".into(), json!(format!("log:{service}:{time}")));
    out.insert("timestamp".into(), json!(time));
    out.insert("level".into(), json!(level));
    out.insert("service".into(), json!(service));
    out.insert("node".into(), json!(node));
    out.insert("message".into(), json!(line));
    let attributes: Map<String, Value> = labels
        .iter()
        .filter(|(n, _)| !OWN_FIELDS.contains(n))
        .map(|(n, v)| (n.to_owned(), json!(v)))
        .collect();
    out.insert("attributes".into(), Value::Object(attributes));
    for name in ["trace_id", "span_id", "caller"] {
        if !get(name).is_empty() {
            out.insert(name.into(), json!(get(name)));
        }
    }
    Value::Object(out)
}
