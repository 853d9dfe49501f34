use std::sync::Arc;
use std::time::Instant;

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use obs_types::Direction;
use serde_json::json;

use super::{answer, encode, time, window};
use crate::params::Params;
use crate::run::run;
use crate::{ApiError, ApiState};

const LIMIT: usize = 100;
const POINTS_MAX: i64 = 11_000;

fn direction(params: &Params) -> Result<Direction, ApiError> {
    match params.get("direction").map(str::to_ascii_lowercase).as_deref() {
        None | Some("backward") => Ok(Direction::Backward),
        Some("forward") => Ok(Direction::Forward),
        Some(other) => Err(ApiError::invalid(format!("invalid direction {other:?}"))),
    }
}

fn categorized(headers: &HeaderMap) -> bool {
    headers
        .get_all("x-loki-response-encoding-flags")
        .iter()
        .filter_map(|v| v.to_str().ok())
        .any(|v| v.split(',').any(|f| f.trim() == "categorize-labels"))
}

/// Seconds or a duration, in nanoseconds.
fn step_ns(params: &Params, name: &str) -> Result<Option<i64>, ApiError> {
    let Some(text) = params.get(name) else { return Ok(None) };
    let ns = match text.parse::<f64>() {
        Ok(seconds) if seconds.is_finite() && seconds < 1e9 => (seconds * 1e9) as i64,
        _ => obs_query::parse_duration(text)?.0.saturating_mul(1_000_000),
    };
    if ns <= 0 {
        return Err(ApiError::invalid(format!("{name} must be a positive duration")));
    }
    Ok(Some(ns))
}

pub(super) async fn instant(
    State(state): State<Arc<ApiState>>,
    headers: HeaderMap,
    params: Params,
) -> Response {
    let work = async {
        let at = time(&params, "time", &state)?.unwrap_or_else(|| state.front.now().to_ns());
        let limit = params.number("limit", 0)?.unwrap_or(LIMIT);
        let direction = direction(&params)?;
        let query = params.required("query")?.to_owned();
        let categorized = categorized(&headers);
        run(&state, None, move |s, context| {
            let began = Instant::now();
            let logs = s.front.logs.as_ref();
            let result = s.front.logql.instant(logs, &query, at, limit, direction, context)?;
            let seconds = began.elapsed().as_secs_f64();
            Ok(Json(encode::body(&result, categorized, direction, seconds)).into_response())
        })
        .await
    };
    answer(work.await)
}

pub(super) async fn range(
    State(state): State<Arc<ApiState>>,
    headers: HeaderMap,
    params: Params,
) -> Response {
    let work = async {
        let range = window(&params, &state)?;
        let limit = params.number("limit", 0)?.unwrap_or(LIMIT);
        let direction = direction(&params)?;
        let query = params.required("query")?.to_owned();
        let length = range.end.0.saturating_sub(range.start.0);
        let step = match step_ns(&params, "step")? {
            Some(step) => step,
            // Loki's own default: about 250 steps, at least a second.
            None => (length / 250 / 1_000_000_000).max(1) * 1_000_000_000,
        };
        if length / step > POINTS_MAX {
            return Err(ApiError::invalid(format!(
                "exceeded maximum resolution of {POINTS_MAX} points per time series. Try increasing the value of the step parameter"
            )));
        }
        let categorized = categorized(&headers);
        run(&state, None, move |s, context| {
            let began = Instant::now();
            let logs = s.front.logs.as_ref();
            let result = s.front.logql.range(
                logs,
                &query,
                range.start,
                range.end,
                step,
                limit,
                direction,
                context,
            )?;
            let seconds = began.elapsed().as_secs_f64();
            Ok(Json(encode::body(&result, categorized, direction, seconds)).into_response())
        })
        .await
    };
    answer(work.await)
}

pub(super) async fn format(params: Params) -> Response {
    let work = || {
        let expr = obs_logql::parse(params.required("query")?)
            .map_err(|e| ApiError::invalid(e.to_string()))?;
        Ok(Json(json!({"status": "success", "data": expr.to_string()})).into_response())
    };
    answer(work())
}
