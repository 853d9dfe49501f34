//! Loki's read API, as its Grafana data source and Drilldown call it.
//! Source: Loki 3 HTTP API; differences: `docs/compat/loki.md`.

mod detect;
mod encode;
mod labels;
mod query;
mod tail;

use std::sync::Arc;

use axum::Router;
use axum::response::Response;
use axum::routing::get;
use obs_types::{DurationMs, Matcher, TimeRangeNs, TimestampNs};

use crate::params::Params;
use crate::{ApiError, ApiState};

/// The routes under `/loki/api/v1`.
pub(crate) fn routes() -> Router<Arc<ApiState>> {
    Router::new()
        .route("/query", get(query::instant).post(query::instant))
        .route("/query_range", get(query::range).post(query::range))
        .route("/labels", get(labels::names).post(labels::names))
        .route("/label", get(labels::names).post(labels::names))
        .route("/label/{name}/values", get(labels::values).post(labels::values))
        .route("/series", get(labels::series).post(labels::series))
        .route("/index/stats", get(labels::stats).post(labels::stats))
        .route("/index/volume", get(labels::volume).post(labels::volume))
        .route("/detected_labels", get(detect::labels).post(detect::labels))
        .route("/detected_fields", get(detect::fields).post(detect::fields))
        .route("/detected_field/{name}/values", get(detect::values).post(detect::values))
        .route("/format_query", get(query::format).post(query::format))
        .route("/tail", get(tail::tail))
        .route("/status/buildinfo", get(labels::build))
        .route("/drilldown-limits", get(labels::limits))
        .fallback(unknown)
}

/// A client must not take the portal's page for an answer.
async fn unknown() -> Response {
    ApiError::not_found("404 page not found").text()
}

impl From<obs_logql::EngineError> for ApiError {
    fn from(e: obs_logql::EngineError) -> Self {
        Self::new(e.kind(), e.to_string())
    }
}

pub(crate) fn answer(result: Result<Response, ApiError>) -> Response {
    result.unwrap_or_else(|e| e.text())
}

/// Nanoseconds, seconds or RFC 3339.
fn time(params: &Params, name: &str, state: &ApiState) -> Result<Option<TimestampNs>, ApiError> {
    params.get(name).map(|t| Ok(obs_query::parse_time(t, state.front.now())?)).transpose()
}

/// `start`, `end` and `since`; the last hour by default. Half-open.
fn window(params: &Params, state: &ApiState) -> Result<TimeRangeNs, ApiError> {
    let end = time(params, "end", state)?.unwrap_or_else(|| state.front.now().to_ns());
    let since = params.get("since").map(obs_query::parse_duration).transpose()?;
    let back = since.unwrap_or(DurationMs::HOUR).0.saturating_mul(1_000_000);
    let start = time(params, "start", state)?.unwrap_or(TimestampNs(end.0.saturating_sub(back)));
    if end < start {
        return Err(ApiError::invalid("end timestamp must not be before start time"));
    }
    Ok(TimeRangeNs::new(start, end))
}

/// A stream selector parameter as a matcher set; none at all is every stream.
fn selectors<'a>(texts: impl Iterator<Item = &'a str>) -> Result<Vec<Vec<Matcher>>, ApiError> {
    texts
        .filter(|t| !t.is_empty() && *t != "{}")
        .map(|t| obs_logql::parse_selector(t).map_err(|e| ApiError::invalid(e.to_string())))
        .collect()
}
