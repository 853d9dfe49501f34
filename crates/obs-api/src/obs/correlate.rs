use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use obs_types::DurationMs;
use serde_json::Value;

use crate::params::Params;
use crate::run::run;
use crate::{ApiError, ApiState};

pub(super) async fn correlate(
    State(state): State<Arc<ApiState>>,
    params: Params,
) -> Result<Json<Value>, ApiError> {
    let now = state.front.now();
    let at = params.get("timestamp").map_or(Ok(now.to_ns()), |t| obs_query::parse_time(t, now))?;
    let window =
        params.get("window").map_or(Ok(DurationMs(15 * 60_000)), obs_query::parse_duration)?;
    if window.0 <= 0 || window.0 > DurationMs::DAY.0 {
        return Err(ApiError::invalid("window must be above 0 and at most 24h"));
    }
    Ok(Json(build(&state, at.floor_to_ms(), window).await?))
}

/// The time line as the portal and the command line show it.
pub(crate) async fn build(
    state: &Arc<ApiState>,
    at: obs_types::TimestampMs,
    window: DurationMs,
) -> Result<Value, ApiError> {
    run(state, None, move |s, context| {
        let read = |take: &mut dyn FnMut(u64, &str) -> bool| {
            s.ledger.read(0, take).map_err(|e| obs_types::SourceError::new(e.kind(), e.to_string()))
        };
        Ok(obs_query::gather(&s.front, at, window, &read, context)?)
    })
    .await
}
