//! Tempo's read API, as its Grafana data source calls it.
//! Source: Tempo 2/3 HTTP API; differences: `docs/compat/tempo.md`.

mod metrics;
mod search;
mod tags;
mod trace;

use std::sync::Arc;

use axum::Router;
use axum::response::Response;
use axum::routing::get;
use obs_traceql::TraceQlError;
use obs_types::{AttrValue, DurationMs, TimeRangeNs, TimestampNs};
use serde_json::{Value, json};

use crate::params::Params;
use crate::{ApiError, ApiState};

/// The routes under `/tempo`.
pub(crate) fn routes() -> Router<Arc<ApiState>> {
    Router::new()
        .route("/api/echo", get(|| async { "echo" }))
        .route("/ready", get(|| async { "ready" }))
        .route("/api/status/buildinfo", get(build))
        .route("/api/traces/{id}", get(trace::v1))
        .route("/api/v2/traces/{id}", get(trace::v2))
        .route("/api/search", get(search::search))
        .route("/api/search/tags", get(tags::names_v1))
        .route("/api/v2/search/tags", get(tags::names_v2))
        .route("/api/search/tag/{tag}/values", get(tags::values_v1))
        .route("/api/v2/search/tag/{tag}/values", get(tags::values_v2))
        .route("/api/metrics/query_range", get(metrics::range))
        .route("/api/metrics/query", get(metrics::instant))
        .fallback(unknown)
}

/// A client must not take the portal's page for an answer.
async fn unknown() -> Response {
    ApiError::not_found("404 page not found").text()
}

impl From<TraceQlError> for ApiError {
    fn from(e: TraceQlError) -> Self {
        Self::new(e.kind(), e.to_string())
    }
}

async fn build() -> axum::Json<Value> {
    axum::Json(
        json!({"version": "2.9.0", "revision": env!("CARGO_PKG_VERSION"), "branch": "vm-obs"}),
    )
}

fn answer(result: Result<Response, ApiError>) -> Response {
    result.unwrap_or_else(|e| e.text())
}

/// `start` and `end` in Unix seconds; the last hour by default.
fn window(params: &Params, state: &ApiState) -> Result<TimeRangeNs, ApiError> {
    let now = state.front.now();
    let read = |name: &str| {
        params.get(name).map(|t| Ok::<_, ApiError>(obs_query::parse_time(t, now)?)).transpose()
    };
    let end = read("end")?.unwrap_or_else(|| now.to_ns());
    let start = read("start")?
        .unwrap_or_else(|| TimestampNs(end.0.saturating_sub(DurationMs::HOUR.0 * 1_000_000)));
    if end < start {
        return Err(ApiError::invalid("end must not be before start"));
    }
    // The dialect's seconds include their whole second.
    Ok(TimeRangeNs::new(start, TimestampNs(end.0.saturating_add(1_000_000_000))))
}

/// An attribute value as OTLP's JSON writes it.
fn any_value(value: &AttrValue) -> Value {
    match value {
        AttrValue::Str(s) => json!({"stringValue": s}),
        AttrValue::Bool(b) => json!({"boolValue": b}),
        AttrValue::Int(i) => json!({"intValue": i.to_string()}),
        AttrValue::Double(d) => json!({"doubleValue": d}),
        AttrValue::Bytes(b) => {
            let hex: String = b.iter().map(|b| format!("{b:02x}")).collect();
            json!({"stringValue": hex})
        }
        AttrValue::Array(all) => {
            json!({"arrayValue": {"values": all.iter().map(any_value).collect::<Vec<_>>()}})
        }
        AttrValue::Map(all) => {
            let values: Vec<Value> =
                all.iter().map(|(k, v)| json!({"key": k, "value": any_value(v)})).collect();
            json!({"kvlistValue": {"values": values}})
        }
    }
}

fn key_values(pairs: &[(String, AttrValue)]) -> Vec<Value> {
    pairs.iter().map(|(k, v)| json!({"key": k, "value": any_value(v)})).collect()
}

/// An attribute value as plain text, and its TraceQL type.
pub(crate) fn text_and_type(value: &AttrValue) -> (String, &'static str) {
    match value {
        AttrValue::Str(s) => (s.clone(), "string"),
        AttrValue::Bool(b) => (b.to_string(), "bool"),
        AttrValue::Int(i) => (i.to_string(), "int"),
        AttrValue::Double(d) => (d.to_string(), "float"),
        AttrValue::Bytes(_) | AttrValue::Array(_) | AttrValue::Map(_) => {
            (any_value(value).to_string(), "string")
        }
    }
}
