//! Routes that change what is stored; refused unless the operator has switched them on.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use obs_query::format_time;
use obs_types::ErrorKind;
use serde_json::json;

use super::{answer, matchers, success, window};
use crate::params::Params;
use crate::run::run;
use crate::{ApiError, ApiState};

fn allowed(state: &ApiState) -> Result<(), ApiError> {
    if state.options.admin {
        return Ok(());
    }
    Err(ApiError::new(ErrorKind::Unavailable, "admin APIs disabled: set `admin_api: true`"))
}

pub(super) async fn delete_series(State(state): State<Arc<ApiState>>, params: Params) -> Response {
    let work = async {
        allowed(&state)?;
        let sets = matchers(&params, true)?;
        let range = window(&params)?;
        run(&state, None, move |s, _context| {
            s.metrics
                .delete_series(&sets, range)
                .map_err(|e| ApiError::new(e.kind(), e.to_string()))
        })
        .await?;
        Ok(StatusCode::NO_CONTENT.into_response())
    };
    answer(work.await)
}

/// Puts a copy of the metrics into `snapshots/NAME` of the data folder; a server whose `data` is
/// that folder starts with them.
pub(super) async fn snapshot(State(state): State<Arc<ApiState>>, params: Params) -> Response {
    let work = async {
        allowed(&state)?;
        let skip_head = match params.get("skip_head") {
            None | Some("" | "false" | "0") => false,
            Some("true" | "1") => true,
            Some(other) => {
                return Err(ApiError::invalid(format!(
                    "invalid parameter \"skip_head\": {other:?} is not true or false"
                )));
            }
        };
        let name = run(&state, None, move |s, _context| {
            let now = s.clock.now();
            let stamp: String =
                format_time(now).chars().take(19).filter(|c| !"-:".contains(*c)).collect();
            let name = format!("{stamp}Z-{:016x}", now.0);
            let all = s.info.data_dir.join("snapshots");
            let (unfinished, folder) = (all.join(format!("{name}.tmp")), all.join(&name));
            let failed =
                |e: obs_metrics::MetricsError| ApiError::new(e.kind(), format!("snapshot: {e}"));
            s.metrics.backup(&unfinished.join("metrics"), skip_head).map_err(failed)?;
            s.disk.sync_dir(&unfinished).map_err(|e| failed(e.into()))?;
            s.disk.rename(&unfinished, &folder).map_err(|e| failed(e.into()))?;
            s.disk.sync_dir(&all).map_err(|e| failed(e.into()))?;
            Ok(name)
        })
        .await?;
        Ok(success(&json!({"name": name}).to_string(), &[], &[]))
    };
    answer(work.await)
}

/// Deleted samples leave the disk now instead of when their block is merged.
pub(super) async fn clean_tombstones(State(state): State<Arc<ApiState>>) -> Response {
    let work = async {
        allowed(&state)?;
        run(&state, None, move |s, _context| {
            s.metrics.clean_tombstones().map_err(|e| ApiError::new(e.kind(), e.to_string()))
        })
        .await?;
        Ok(StatusCode::NO_CONTENT.into_response())
    };
    answer(work.await)
}
