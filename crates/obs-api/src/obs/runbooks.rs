//! `/obs/runbooks`: what the packs say is to be done about an alert.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use crate::{ApiError, ApiState};

pub(super) async fn list(State(state): State<Arc<ApiState>>) -> Json<Value> {
    let all: Vec<Value> = state
        .runbooks
        .iter()
        .map(|r| json!({"id": r.id, "title": r.title(), "pack": r.pack}))
        .collect();
    Json(json!({"runbooks": all}))
}

/// The text itself, as markdown.
pub(super) async fn show(
    State(state): State<Arc<ApiState>>,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    let found = state.runbooks.iter().find(|r| r.id == id);
    let found = found.ok_or_else(|| ApiError::not_found(format!("there is no runbook {id:?}")))?;
    Ok(([(header::CONTENT_TYPE, "text/markdown; charset=utf-8")], found.text.clone())
        .into_response())
}
