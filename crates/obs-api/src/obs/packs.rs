use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

use crate::ApiState;

/// What the packs hold that the server runs with.
pub(super) async fn list(State(state): State<Arc<ApiState>>) -> Json<Value> {
    Json(json!({"packs": state.packs}))
}
