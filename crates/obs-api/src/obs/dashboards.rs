use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use crate::{ApiError, ApiState, InstalledDashboard};

pub(super) async fn list(State(state): State<Arc<ApiState>>) -> Json<Value> {
    let all: Vec<Value> = state
        .dashboards
        .iter()
        .map(|d| {
            json!({
                "id": d.dashboard.uid,
                "title": d.dashboard.title,
                "tags": d.dashboard.tags,
                "pack": d.pack,
                "panels": d.dashboard.panels.len(),
            })
        })
        .collect();
    Json(json!({"dashboards": all}))
}

fn find<'a>(state: &'a ApiState, id: &str) -> Result<&'a InstalledDashboard, ApiError> {
    state
        .dashboards
        .iter()
        .find(|d| d.dashboard.uid == id)
        .ok_or_else(|| ApiError::not_found(format!("there is no dashboard {id:?}")))
}

pub(super) async fn show(
    State(state): State<Arc<ApiState>>,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let found = find(&state, &id)?;
    Ok(Json(crate::dashboard_json::view(&found.dashboard)))
}

pub(super) async fn grafana(
    State(state): State<Arc<ApiState>>,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    let found = find(&state, &id)?;
    Ok(Json(found.dashboard.to_grafana()).into_response())
}
