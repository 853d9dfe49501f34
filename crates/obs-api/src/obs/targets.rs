use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use obs_collect::scrape::TargetStatus;
use serde_json::{Map, Value, json};

use crate::{ApiError, ApiState};

pub(super) async fn list(State(state): State<Arc<ApiState>>) -> Json<Value> {
    let targets: Vec<Value> = (state.targets)().iter().map(target).collect();
    Json(json!({"targets": targets}))
}

fn target(t: &TargetStatus) -> Value {
    let labels: Map<String, Value> = t
        .target
        .labels
        .iter()
        .filter(|(n, _)| !["job", "instance"].contains(n))
        .map(|(n, v)| (n.to_owned(), json!(v)))
        .collect();
    json!({
        "job": t.job,
        "instance": t.target.labels.get("instance").unwrap_or(""),
        "url": t.target.url,
        "health": t.health.as_str(),
        "last_scrape": t.last_scrape.map(obs_query::format_time),
        "last_error": t.last_error,
        "scrape_duration_ms": t.last_duration_ms,
        "labels": labels,
    })
}

pub(super) async fn demo(State(state): State<Arc<ApiState>>) -> Json<Value> {
    let faults = state.demo.as_ref().map(|d| d.faults()).unwrap_or_default();
    Json(json!({"enabled": state.demo.is_some(), "faults": faults}))
}

fn control(state: &ApiState) -> Result<&Arc<dyn crate::DemoControl>, ApiError> {
    state.demo.as_ref().ok_or_else(|| {
        ApiError::not_found("the demo world is not running; start with `vm-obs serve --demo`")
    })
}

pub(super) async fn demo_break(
    State(state): State<Arc<ApiState>>,
    Path(fault): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let demo = control(&state)?;
    if !demo.break_fault(&fault) {
        let known: Vec<String> = demo
            .faults()
            .iter()
            .filter_map(|f| f.get("name").and_then(Value::as_str).map(str::to_owned))
            .collect();
        return Err(ApiError::not_found(format!(
            "there is no fault {fault:?}; there are {}",
            known.join(", ")
        )));
    }
    tracing::warn!(fault, "demo world broken on purpose");
    Ok(Json(json!({"faults": demo.faults()})))
}

pub(super) async fn demo_heal(State(state): State<Arc<ApiState>>) -> Result<Json<Value>, ApiError> {
    let demo = control(&state)?;
    demo.heal();
    tracing::info!("demo world healed");
    Ok(Json(json!({"faults": demo.faults()})))
}
