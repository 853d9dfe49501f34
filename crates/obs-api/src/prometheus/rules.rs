use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use serde_json::json;

use super::success;
use crate::ApiState;
use crate::params::Params;

pub(super) async fn rules(State(state): State<Arc<ApiState>>, params: Params) -> Response {
    let data = state.alerts.prometheus_rules(params.get("type"));
    success(&data.to_string(), &[], &[])
}

pub(super) async fn alerts(State(state): State<Arc<ApiState>>) -> Response {
    success(&state.alerts.prometheus_alerts().to_string(), &[], &[])
}

/// Notifications are delivered by vm-obs itself.
pub(super) async fn alertmanagers() -> Response {
    let data = json!({"activeAlertmanagers": [], "droppedAlertmanagers": []});
    success(&data.to_string(), &[], &[])
}
