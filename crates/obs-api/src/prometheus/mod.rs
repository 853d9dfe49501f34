//! Prometheus' HTTP API, as its Grafana data source and `promtool` call it.
//! Source: Prometheus 3 HTTP API; differences: `docs/compat/prometheus.md`.

mod admin;
mod encode;
mod features;
mod federate;
mod labels;
mod notifications;
mod query;
mod read;
mod rules;
mod search;
mod status;
mod targets;

use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use obs_query::Dialect;
use obs_types::{ErrorKind, Matcher, TimeRangeMs, TimestampMs};

use serde_json::Value;

use crate::params::Params;
use crate::{ApiError, ApiState, openapi};

pub(crate) use encode::{histogram_json, labels_value, number, span_json};
pub(crate) use federate::federate;
pub(crate) use notifications::Notices;

/// The routes under `/api/v1`.
pub(crate) fn routes() -> Router<Arc<ApiState>> {
    Router::new()
        .route("/query", get(query::instant).post(query::instant))
        .route("/query_range", get(query::range).post(query::range))
        .route("/query_exemplars", get(query::exemplars).post(query::exemplars))
        .route("/format_query", get(query::format).post(query::format))
        .route("/parse_query", get(query::parse).post(query::parse))
        .route("/series", get(labels::series).post(labels::series))
        .route("/labels", get(labels::names).post(labels::names))
        .route("/label/{name}/values", get(labels::values))
        .route("/metadata", get(labels::metadata))
        .route("/targets", get(targets::targets))
        .route("/scrape_pools", get(targets::pools))
        .route("/scrape_pools/config", get(targets::pool_config))
        .route("/targets/metadata", get(targets::metadata))
        .route("/targets/relabel_steps", get(targets::relabeling))
        .route("/search/metric_names", get(search::metric_names).post(search::metric_names))
        .route("/search/label_names", get(search::label_names).post(search::label_names))
        .route("/search/label_values", get(search::label_values).post(search::label_values))
        .route("/rules", get(rules::rules))
        .route("/alerts", get(rules::alerts))
        .route("/alertmanagers", get(rules::alertmanagers))
        .route("/notifications", get(notifications::notifications))
        .route("/notifications/live", get(notifications::live))
        .route("/features", get(features::features))
        .route("/openapi.yaml", get(openapi::prometheus_document))
        .route("/read", post(read::read))
        .route("/status/config", get(status::config))
        .route("/status/flags", get(status::flags))
        .route("/status/runtimeinfo", get(status::runtime))
        .route("/status/buildinfo", get(status::build))
        .route("/status/tsdb", get(status::tsdb))
        .route("/status/tsdb/blocks", get(status::tsdb_blocks))
        .route("/status/walreplay", get(status::wal_replay))
        .route("/status/self_metrics", get(status::self_metrics))
        .route("/admin/tsdb/delete_series", post(admin::delete_series).put(admin::delete_series))
        .route("/admin/tsdb/snapshot", post(admin::snapshot).put(admin::snapshot))
        .route(
            "/admin/tsdb/clean_tombstones",
            post(admin::clean_tombstones).put(admin::clean_tombstones),
        )
        .route("/status/metric_names_stats", get(status::metric_names_stats))
        .fallback(unknown)
        .layer(axum::middleware::from_fn(cors))
}

/// Browsers of other origins may read, as with Prometheus' default `--web.cors.origin=.*`; there
/// is nothing here that a cookie would unlock.
pub(crate) async fn cors(request: Request, next: axum::middleware::Next) -> Response {
    let preflight = request.method() == axum::http::Method::OPTIONS;
    let mut response =
        if preflight { StatusCode::NO_CONTENT.into_response() } else { next.run(request).await };
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    headers.insert(
        header::ACCESS_CONTROL_ALLOW_METHODS,
        HeaderValue::from_static("GET, POST, OPTIONS"),
    );
    headers.insert(
        header::ACCESS_CONTROL_ALLOW_HEADERS,
        HeaderValue::from_static("Accept, Authorization, Content-Type, Origin"),
    );
    response
}

async fn unknown(request: Request) -> Response {
    ApiError::not_found(format!("no such endpoint: {}", request.uri().path())).prometheus()
}

/// `{"status":"success","data":…}`, with warnings and infos where there are any.
pub(crate) fn success(data: &str, warnings: &[String], infos: &[String]) -> Response {
    success_with(data, warnings, infos, None)
}

/// [`success`] with the trace of a query.
fn success_with(
    data: &str,
    warnings: &[String],
    infos: &[String],
    trace: Option<&Value>,
) -> Response {
    let mut body = String::with_capacity(data.len() + 64);
    body.push_str(r#"{"status":"success","data":"#);
    body.push_str(data);
    for (name, notes) in [("warnings", warnings), ("infos", infos)] {
        if !notes.is_empty() {
            body.push_str(&format!(",\"{name}\":{}", serde_json::json!(notes)));
        }
    }
    if let Some(trace) = trace {
        body.push_str(&format!(",\"trace\":{trace}"));
    }
    body.push('}');
    ([(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], body).into_response()
}

pub(crate) fn answer(result: Result<Response, ApiError>) -> Response {
    result.unwrap_or_else(|e| e.prometheus())
}

/// RFC 3339 or Unix seconds, as Prometheus' own parser reads them.
fn time(params: &Params, name: &str) -> Result<Option<TimestampMs>, ApiError> {
    let Some(text) = params.get(name) else { return Ok(None) };
    let wrong = || {
        ApiError::invalid(format!(
            "invalid parameter {name:?}: cannot parse {text:?} to a valid timestamp"
        ))
    };
    if let Ok(seconds) = text.parse::<f64>() {
        let ms = (seconds * 1000.0).round();
        return if ms.is_finite() && ms.abs() < 9.2e18 {
            Ok(Some(TimestampMs(ms as i64)))
        } else {
            Err(wrong())
        };
    }
    obs_query::parse_time(text, TimestampMs(0))
        .map(|t| Some(t.floor_to_ms()))
        .map_err(|_source| wrong())
}

/// Seconds or a Prometheus duration, in milliseconds.
fn duration(params: &Params, name: &str) -> Result<Option<i64>, ApiError> {
    let Some(text) = params.get(name) else { return Ok(None) };
    let ms = match text.parse::<f64>() {
        Ok(seconds) if seconds.is_finite() && seconds.abs() < 1e13 => (seconds * 1000.0) as i64,
        Ok(_) => {
            return Err(ApiError::invalid(format!(
                "invalid parameter {name:?}: cannot parse {text:?} to a valid duration. It overflows int64"
            )));
        }
        Err(_) => {
            obs_query::parse_duration(text)
                .map_err(|_source| {
                    ApiError::invalid(format!(
                        "invalid parameter {name:?}: cannot parse {text:?} to a valid duration"
                    ))
                })?
                .0
        }
    };
    Ok(Some(ms))
}

/// The language that the request names.
pub(crate) fn dialect(params: &Params) -> Result<Option<Dialect>, ApiError> {
    let Some(text) = params.get("dialect") else { return Ok(None) };
    Dialect::from_text(text).map(Some).ok_or_else(|| {
        let known: Vec<&str> = Dialect::ALL.iter().map(|d| d.as_str()).collect();
        ApiError::invalid(format!(
            "invalid parameter \"dialect\": {text:?} is not one of {}",
            known.join(", ")
        ))
    })
}

/// `match[]` selectors; `required` refuses none at all.
fn matchers(params: &Params, required: bool) -> Result<Vec<Vec<Matcher>>, ApiError> {
    let sets: Vec<Vec<Matcher>> = params
        .all("match[]")
        .map(|text| {
            obs_promql::parse_selector(text)
                .map_err(|e| ApiError::invalid(format!("invalid parameter \"match[]\": {e}")))
        })
        .collect::<Result<_, _>>()?;
    if required && sets.is_empty() {
        return Err(ApiError::invalid("no match[] parameter provided"));
    }
    if sets.iter().any(|set| set.iter().all(Matcher::matches_empty)) {
        return Err(ApiError::invalid(
            "invalid parameter \"match[]\": match[] must contain at least one non-empty matcher",
        ));
    }
    Ok(sets)
}

/// `start` and `end`, both inclusive in this dialect; open where they are not given.
fn window(params: &Params) -> Result<TimeRangeMs, ApiError> {
    let start = time(params, "start")?.unwrap_or(TimestampMs::MIN);
    let end = time(params, "end")?.unwrap_or(TimestampMs::MAX);
    if end < start {
        return Err(ApiError::new(
            ErrorKind::InvalidInput,
            "end timestamp must not be before start time",
        ));
    }
    Ok(TimeRangeMs::new(start, TimestampMs(end.0.saturating_add(1))))
}
