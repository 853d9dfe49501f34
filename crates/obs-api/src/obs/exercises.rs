use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use obs_ops::ExerciseRequest;
use obs_types::DurationMs;
use serde_json::{Value, json};

use super::alerts::{BY, object, text};
use crate::params::Params;
use crate::run::blocking;
use crate::{ApiError, ApiState};

pub(super) async fn list(
    State(state): State<Arc<ApiState>>,
    params: Params,
) -> Result<Json<Value>, ApiError> {
    let (from, to) = super::window(&params, &state, DurationMs::DAY)?;
    let (from, to) = (from.floor_to_ms(), to.floor_to_ms());
    let all = blocking(&state, move |s| s.exercises.list(from, to)).await??;
    Ok(Json(json!({"exercises": all})))
}

pub(super) async fn record(
    State(state): State<Arc<ApiState>>,
    body: Bytes,
) -> Result<Json<Value>, ApiError> {
    let body = object(&body)?;
    let now = state.front.now();
    let given = |name: &str| text(&body, name).map(Option::unwrap_or_default);
    let time = |name: &str| -> Result<_, ApiError> {
        let given = text(&body, name)?;
        Ok(given.map(|t| obs_query::parse_time(&t, now)).transpose()?.map(|t| t.floor_to_ms()))
    };
    let report_hash = text(&body, "report_hash")?
        .map(|h| h.parse().map_err(|e| ApiError::invalid(format!("report_hash {h:?}: {e}"))))
        .transpose()?;
    let request = ExerciseRequest {
        exercise: given("exercise")?,
        run_id: given("run_id")?,
        name: given("name")?,
        target: given("target")?,
        by: text(&body, "by")?.unwrap_or_else(|| BY.to_owned()),
        started_at: time("started_at")?,
        ended_at: time("ended_at")?,
        outcome: text(&body, "outcome")?.unwrap_or_else(|| "running".to_owned()),
        summary: given("summary")?,
        report_hash,
    };
    let seq = blocking(&state, move |s| s.exercises.record(request, now)).await??;
    Ok(Json(json!({"receipt_seq": seq})))
}
