use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use obs_collect::scrape::TargetStatus;
use serde_json::{Map, Value, json};

use crate::params::Params;
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
        return Err(no_fault(demo.as_ref(), &fault));
    }
    tracing::warn!(fault, "demo world broken on purpose");
    Ok(Json(json!({"faults": demo.faults()})))
}

fn no_fault(demo: &dyn crate::DemoControl, name: &str) -> ApiError {
    let faults = demo.faults();
    let known: Vec<&str> = faults.iter().filter_map(|f| f.get("name")?.as_str()).collect();
    ApiError::not_found(format!("there is no fault {name:?}; there are {}", known.join(", ")))
}

/// Everything, or the fault that `fault` names.
pub(super) async fn demo_heal(
    State(state): State<Arc<ApiState>>,
    params: Params,
) -> Result<Json<Value>, ApiError> {
    let demo = control(&state)?;
    match params.get("fault") {
        None => demo.heal(),
        Some(fault) if demo.heal_fault(fault) => {}
        Some(fault) => return Err(no_fault(demo.as_ref(), fault)),
    }
    tracing::info!(fault = params.get("fault"), "demo world healed");
    Ok(Json(json!({"faults": demo.faults()})))
}
