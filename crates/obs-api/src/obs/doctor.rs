//! The doctor's report, for the portal.

use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::State;
use axum::{Extension, Json};
use obs_types::ErrorKind;
use serde_json::{Value, json};

use crate::{ApiError, ApiState};

/// The last report of this process, and one run at a time.
#[derive(Debug, Default)]
pub(crate) struct DoctorMemory {
    last: Mutex<Option<Value>>,
    running: tokio::sync::Mutex<()>,
}

fn answer(report: Option<&Value>, at: Option<&str>) -> Json<Value> {
    Json(json!({"report": report, "run_at": at}))
}

pub(super) async fn last(Extension(memory): Extension<Arc<DoctorMemory>>) -> Json<Value> {
    let last = memory.last.lock().unwrap_or_else(PoisonError::into_inner);
    last.clone().map_or_else(|| answer(None, None), Json)
}

/// Runs it; whoever asks while one runs gets that one's report.
pub(super) async fn run(
    State(state): State<Arc<ApiState>>,
    Extension(memory): Extension<Arc<DoctorMemory>>,
) -> Result<Json<Value>, ApiError> {
    let Some(doctor) = &state.doctor else {
        return Err(ApiError::new(ErrorKind::Unavailable, "the doctor needs a running server"));
    };
    let Ok(_one) = memory.running.try_lock() else {
        let _ended = memory.running.lock().await;
        return Ok(last(Extension(Arc::clone(&memory))).await);
    };
    let report = doctor().await.map_err(|e| ApiError::new(ErrorKind::Unavailable, e))?;
    let at = obs_query::format_time(state.front.now());
    let Json(done) = answer(Some(&report), Some(&at));
    *memory.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(done.clone());
    Ok(Json(done))
}
