//! Jaeger's HTTP API v1 for reading, as its user interface and Grafana's data source call it.
//! Source: Jaeger query service; differences: `docs/compat/tempo.md`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use axum::Json;
use axum::Router;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use obs_types::{
    AttrScope, AttrValue, DurationMs, QueryContext, SpanRecord, StatusCode, TimeRangeNs,
    TimestampNs, Trace, TraceId, TraceSelect,
};
use serde_json::{Map, Value, json};

use crate::params::Params;
use crate::run::run;
use crate::{ApiError, ApiState};

const LIMIT: usize = 20;
const LIMIT_MAX: usize = 1_500;

/// The routes under `/jaeger/api`.
pub(crate) fn routes() -> Router<Arc<ApiState>> {
    Router::new()
        .route("/services", get(services))
        .route("/services/{service}/operations", get(operations))
        .route("/traces", get(search))
        .route("/traces/{id}", get(show))
        .route("/dependencies", get(dependencies))
        .fallback(|| async { answer(Err(ApiError::not_found("no such endpoint"))) })
}

/// `{"data":…,"total":…,"limit":0,"offset":0,"errors":null}`
fn success(data: Vec<Value>) -> Response {
    let total = data.len();
    Json(json!({"data": data, "total": total, "limit": 0, "offset": 0, "errors": null}))
        .into_response()
}

fn answer(result: Result<Response, ApiError>) -> Response {
    result.unwrap_or_else(|e| {
        let status = e.status();
        let errors = json!([{"code": status.as_u16(), "msg": e.message}]);
        let body = json!({"data": null, "total": 0, "limit": 0, "offset": 0, "errors": errors});
        (status, Json(body)).into_response()
    })
}

/// Everything up to now: these lists have no window in the dialect.
fn always(state: &ApiState) -> TimeRangeNs {
    TimeRangeNs::new(TimestampNs::MIN, TimestampNs(state.front.now().to_ns().0.saturating_add(1)))
}

async fn services(State(state): State<Arc<ApiState>>) -> Response {
    let work = async {
        let found = run(&state, None, |s, context| {
            let scope = AttrScope::Resource;
            Ok(s.front.traces.tag_values(scope, "service.name", always(s), context)?)
        })
        .await?;
        Ok(success(found.iter().map(|v| json!(plain(v))).collect()))
    };
    answer(work.await)
}

async fn operations(State(state): State<Arc<ApiState>>, Path(service): Path<String>) -> Response {
    let work = async {
        let names = run(&state, None, move |s, context| {
            let filter = format!("{{ resource.service.name={} }}", Value::from(service));
            let query = obs_traceql::parse(&filter)?;
            let name = obs_traceql::parse_attribute("name")?;
            let traces = s.front.traces.as_ref();
            Ok(obs_traceql::tag_values(traces, &query, &name, always(s), 5_000, context)?)
        })
        .await?;
        Ok(success(names.iter().map(|v| json!(plain(v))).collect()))
    };
    answer(work.await)
}

fn plain(value: &AttrValue) -> String {
    crate::tempo::text_and_type(value).0
}

/// Microseconds, of `start` and `end`.
fn micros(params: &Params, name: &str) -> Result<Option<TimestampNs>, ApiError> {
    params
        .get(name)
        .map(|text| {
            let us: i64 = text.parse().map_err(|_e| {
                ApiError::invalid(format!(
                    "unable to parse param '{name}': {text:?} is no number of microseconds"
                ))
            })?;
            Ok(TimestampNs(us.saturating_mul(1_000)))
        })
        .transpose()
}

/// `1.2s`, `100ms`, `50us`, in nanoseconds.
fn duration(params: &Params, name: &str) -> Result<Option<i64>, ApiError> {
    let Some(text) = params.get(name) else { return Ok(None) };
    if let Some(us) = text.strip_suffix("us").and_then(|n| n.parse::<f64>().ok()) {
        return Ok(Some((us * 1_000.0) as i64));
    }
    Ok(Some(obs_query::parse_duration(text)?.0.saturating_mul(1_000_000)))
}

/// What one span of a trace must fulfil.
struct Wanted {
    service: String,
    operation: Option<String>,
    tags: BTreeMap<String, String>,
    shortest: i64,
    longest: i64,
}

impl Wanted {
    fn from_params(params: &Params) -> Result<Self, ApiError> {
        let service = params
            .get("service")
            .ok_or_else(|| ApiError::invalid("parameter 'service' is required"))?
            .to_owned();
        let mut tags: BTreeMap<String, String> = BTreeMap::new();
        if let Some(text) = params.get("tags") {
            let parsed: Map<String, Value> = serde_json::from_str(text).map_err(|e| {
                ApiError::invalid(format!(
                    "malformed 'tags' parameter, expecting a JSON object: {e}"
                ))
            })?;
            for (name, value) in parsed {
                let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                tags.insert(name, value);
            }
        }
        for text in params.all("tag") {
            let (name, value) = text.split_once(':').ok_or_else(|| {
                ApiError::invalid(format!(
                    "malformed 'tag' parameter {text:?}, expecting key:value"
                ))
            })?;
            tags.insert(name.to_owned(), value.to_owned());
        }
        Ok(Self {
            service,
            operation: params.get("operation").filter(|o| *o != "all").map(str::to_owned),
            tags,
            shortest: duration(params, "minDuration")?.unwrap_or(0),
            longest: duration(params, "maxDuration")?.unwrap_or(i64::MAX),
        })
    }

    fn fits(&self, record: &SpanRecord) -> bool {
        let span = &record.span;
        let nanos = span.duration_ns();
        let tag = |name: &str| match name {
            "error" => Some((span.status.code == StatusCode::Error).to_string()),
            "span.kind" => Some(span.kind.as_str().to_owned()),
            _ => span
                .attributes
                .get(name)
                .or_else(|| record.resource.attributes.get(name))
                .map(plain),
        };
        record.resource.service() == self.service
            && self.operation.as_ref().is_none_or(|o| *o == span.name)
            && (self.shortest..=self.longest).contains(&nanos)
            && self.tags.iter().all(|(n, v)| tag(n).as_deref() == Some(v))
    }
}

async fn search(State(state): State<Arc<ApiState>>, params: Params) -> Response {
    let work = async {
        let ids: Vec<TraceId> = params
            .all("traceID")
            .map(|id| {
                id.parse().map_err(|e: obs_types::ParseIdError| ApiError::invalid(e.to_string()))
            })
            .collect::<Result<_, _>>()?;
        if !ids.is_empty() {
            let found = run(&state, None, move |s, context| {
                let mut found = Vec::new();
                for id in ids {
                    found.extend(s.front.traces.trace(id, context)?.as_ref().map(trace_json));
                }
                Ok(found)
            })
            .await?;
            return Ok(success(found));
        }
        let wanted = Wanted::from_params(&params)?;
        let limit = params.number("limit", 1)?.unwrap_or(LIMIT).min(LIMIT_MAX);
        let end = micros(&params, "end")?.unwrap_or_else(|| state.front.now().to_ns());
        let start = micros(&params, "start")?
            .unwrap_or(TimestampNs(end.0.saturating_sub(DurationMs::DAY.0 * 1_000_000)));
        if end < start {
            return Err(ApiError::invalid("parameter 'end' is before 'start'"));
        }
        let range = TimeRangeNs::new(start, TimestampNs(end.0.saturating_add(1)));
        let found =
            run(&state, None, move |s, context| matching(s, &wanted, range, limit, context))
                .await?;
        Ok(success(found))
    };
    answer(work.await)
}

fn matching(
    state: &ApiState,
    wanted: &Wanted,
    range: TimeRangeNs,
    limit: usize,
    context: &QueryContext,
) -> Result<Vec<Value>, ApiError> {
    let mut found = Vec::new();
    for trace in state.front.traces.select(&TraceSelect { range, all_of: &[] }, context)? {
        let trace = trace?;
        context.check()?;
        if trace.spans.iter().any(|s| wanted.fits(s)) {
            found.push(trace_json(&trace));
            if found.len() >= limit {
                break;
            }
        }
    }
    Ok(found)
}

async fn show(State(state): State<Arc<ApiState>>, Path(id): Path<String>) -> Response {
    let work = async {
        let id: TraceId =
            id.parse().map_err(|e: obs_types::ParseIdError| ApiError::invalid(e.to_string()))?;
        let trace = run(&state, None, move |s, context| Ok(s.front.traces.trace(id, context)?))
            .await?
            .ok_or_else(|| ApiError::not_found("trace not found"))?;
        Ok(success(vec![trace_json(&trace)]))
    };
    answer(work.await)
}

fn tag(name: &str, value: &AttrValue) -> Value {
    let (kind, value) = match value {
        AttrValue::Bool(b) => ("bool", json!(b)),
        AttrValue::Int(i) => ("int64", json!(i)),
        AttrValue::Double(d) if d.is_finite() => ("float64", json!(d)),
        other => ("string", json!(plain(other))),
    };
    json!({"key": name, "type": kind, "value": value})
}

fn trace_json(trace: &Trace) -> Value {
    let trace_id = trace.id.to_string();
    // One process for each different resource, numbered as first met.
    let mut resources: Vec<&SpanRecord> = Vec::new();
    let mut processes: Map<String, Value> = Map::new();
    let spans: Vec<Value> = trace
        .spans
        .iter()
        .map(|record| {
            let known = resources.iter().position(|r| r.resource == record.resource);
            let number = known.unwrap_or_else(|| {
                resources.push(record);
                let tags: Vec<Value> = record
                    .resource
                    .attributes
                    .iter()
                    .filter(|(n, _)| *n != "service.name")
                    .map(|(n, v)| tag(n, v))
                    .collect();
                let process = json!({"serviceName": record.resource.service(), "tags": tags});
                processes.insert(format!("p{}", resources.len()), process);
                resources.len() - 1
            });
            span_json(record, &trace_id, &format!("p{}", number + 1))
        })
        .collect();
    json!({"traceID": trace_id, "spans": spans, "processes": processes, "warnings": null})
}

fn span_json(record: &SpanRecord, trace_id: &str, process: &str) -> Value {
    let span = &record.span;
    let mut tags: Vec<Value> = span.attributes.iter().map(|(n, v)| tag(n, v)).collect();
    let text = |s: &str| AttrValue::Str(s.to_owned());
    tags.push(tag("span.kind", &text(span.kind.as_str())));
    if span.status.code != StatusCode::Unset {
        let code = span.status.code.as_str().to_ascii_uppercase();
        tags.push(tag("otel.status_code", &AttrValue::Str(code)));
    }
    if span.status.code == StatusCode::Error {
        tags.push(tag("error", &AttrValue::Bool(true)));
        if !span.status.message.is_empty() {
            tags.push(tag("otel.status_description", &text(&span.status.message)));
        }
    }
    let mut references: Vec<Value> = Vec::new();
    if !span.parent_span_id.is_zero() {
        references.push(json!({
            "refType": "CHILD_OF", "traceID": trace_id, "spanID": span.parent_span_id.to_string(),
        }));
    }
    references.extend(span.links.iter().map(|l| {
        json!({
            "refType": "FOLLOWS_FROM", "traceID": l.trace_id.to_string(),
            "spanID": l.span_id.to_string(),
        })
    }));
    let logs: Vec<Value> = span
        .events
        .iter()
        .map(|e| {
            let mut fields = vec![tag("event", &text(&e.name))];
            fields.extend(e.attributes.iter().map(|(n, v)| tag(n, v)));
            json!({"timestamp": e.timestamp.0.div_euclid(1_000), "fields": fields})
        })
        .collect();
    json!({
        "traceID": trace_id,
        "spanID": span.span_id.to_string(),
        "operationName": span.name,
        "references": references,
        "startTime": span.start.0.div_euclid(1_000),
        "duration": span.duration_ns() / 1_000,
        "tags": tags,
        "logs": logs,
        "processID": process,
        "warnings": null,
    })
}

/// Calls from one service to another, counted over the spans of the window.
async fn dependencies(State(state): State<Arc<ApiState>>, params: Params) -> Response {
    let work = async {
        let millis = |name: &str| params.number(name, 0);
        let now = state.front.now();
        let end = millis("endTs")?.and_then(|ms| i64::try_from(ms).ok()).unwrap_or(now.0);
        let back =
            millis("lookback")?.and_then(|ms| i64::try_from(ms).ok()).unwrap_or(DurationMs::DAY.0);
        let range = TimeRangeNs::new(
            TimestampNs(end.saturating_sub(back).saturating_mul(1_000_000)),
            TimestampNs(end.saturating_mul(1_000_000).saturating_add(1)),
        );
        let edges = run(&state, None, move |s, context| edges(s, range, context)).await?;
        let data = edges
            .iter()
            .map(|((parent, child), calls)| {
                json!({"parent": parent, "child": child, "callCount": calls})
            })
            .collect();
        Ok(success(data))
    };
    answer(work.await)
}

fn edges(
    state: &ApiState,
    range: TimeRangeNs,
    context: &QueryContext,
) -> Result<BTreeMap<(String, String), u64>, ApiError> {
    let mut edges: BTreeMap<(String, String), u64> = BTreeMap::new();
    for trace in state.front.traces.select(&TraceSelect { range, all_of: &[] }, context)? {
        let trace = trace?;
        context.check()?;
        let owner: BTreeMap<_, &str> =
            trace.spans.iter().map(|s| (s.span.span_id, s.resource.service())).collect();
        let mut seen = BTreeSet::new();
        for record in &trace.spans {
            let child = record.resource.service();
            if let Some(parent) = owner.get(&record.span.parent_span_id)
                && *parent != child
                && seen.insert(record.span.span_id)
            {
                *edges.entry(((*parent).to_owned(), child.to_owned())).or_default() += 1;
            }
        }
    }
    Ok(edges)
}
