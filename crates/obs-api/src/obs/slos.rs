use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use obs_analysis::slo::evaluate;
use serde_json::{Value, json};

use crate::params::Params;
use crate::run::run;
use crate::{ApiError, ApiState};

const BY: &str = "did:vm:user:sovereign";

impl From<obs_ops::OpsError> for ApiError {
    fn from(e: obs_ops::OpsError) -> Self {
        Self::new(e.kind(), e.to_string())
    }
}

pub(super) async fn list(State(state): State<Arc<ApiState>>) -> Json<Value> {
    Json(json!({"slos": state.slos.list()}))
}

/// One objective; `period` evaluates it now over another window.
pub(super) async fn show(
    State(state): State<Arc<ApiState>>,
    Path(id): Path<String>,
    params: Params,
) -> Result<Json<Value>, ApiError> {
    let missing = || ApiError::not_found(format!("there is no SLO {id:?}"));
    let Some(period) = params.get("period") else {
        return state.slos.get(&id).map(Json).ok_or_else(missing);
    };
    let mut slo = state.slos.definition(&id).ok_or_else(missing)?;
    slo.window = obs_query::parse_duration(period)?;
    let report = run(&state, None, move |s, _context| {
        evaluate(&slo, s.front.now(), &|query: &str, at| s.front.values(query, at))
            .map(|r| r.to_json())
            .map_err(|e| ApiError::invalid(e.to_string()))
    })
    .await?;
    Ok(Json(report))
}

pub(super) async fn create(
    State(state): State<Arc<ApiState>>,
    body: axum::body::Bytes,
) -> Result<Json<Value>, ApiError> {
    let definition: Value = serde_json::from_slice(&body)
        .map_err(|e| ApiError::invalid(format!("the body is not JSON: {e}")))?;
    let by = definition.get("initiated_by").and_then(Value::as_str).unwrap_or(BY).to_owned();
    let (mut contract, seq) = run(&state, None, move |s, _context| {
        let signed = definition.get("contract");
        Ok(s.slos.create(&definition, &by, signed, s.front.now())?)
    })
    .await?;
    if let Some(map) = contract.as_object_mut() {
        map.insert("receipt_seq".to_owned(), json!(seq));
    }
    Ok(Json(contract))
}
