use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use obs_ops::{AckRequest, AlertFilter, SilenceRequest};
use obs_query::{parse_duration, parse_time};
use obs_rules::{AlertStatus, SilenceMatcher};
use serde_json::{Value, json};

use crate::params::Params;
use crate::run::blocking;
use crate::{ApiError, ApiState};

pub(super) const BY: &str = "did:vm:user:sovereign";

pub(super) async fn list(
    State(state): State<Arc<ApiState>>,
    params: Params,
) -> Result<Json<Value>, ApiError> {
    let status = params
        .get("status")
        .map(|s| {
            AlertStatus::from_text(s).ok_or_else(|| {
                ApiError::invalid(format!("status {s:?} is not firing, pending or resolved"))
            })
        })
        .transpose()?;
    let filter = AlertFilter {
        status,
        severity: params.get("severity").map(str::to_owned),
        node: params.get("node").map(str::to_owned),
        name: params.get("name").map(str::to_owned),
    };
    let alerts = blocking(&state, move |s| s.alerts.list(&filter, s.front.now())).await?;
    Ok(Json(json!({"alerts": alerts})))
}

pub(super) async fn show(
    State(state): State<Arc<ApiState>>,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let name = id.clone();
    blocking(&state, move |s| s.alerts.get(&name, s.front.now()))
        .await?
        .map(Json)
        .ok_or_else(|| ApiError::not_found(format!("there is no alert {id:?}")))
}

pub(super) fn object(body: &Bytes) -> Result<Value, ApiError> {
    if body.is_empty() {
        return Ok(json!({}));
    }
    match serde_json::from_slice(body) {
        Ok(value @ Value::Object(_)) => Ok(value),
        Ok(_) => Err(ApiError::invalid("the body must be a JSON object")),
        Err(e) => Err(ApiError::invalid(format!("the body is not JSON: {e}"))),
    }
}

pub(super) fn text(body: &Value, name: &str) -> Result<Option<String>, ApiError> {
    match body.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(s)) => Ok(Some(s.clone())),
        Some(_) => Err(ApiError::invalid(format!("field {name:?} must be a text"))),
    }
}

fn flag(body: &Value, name: &str) -> Result<bool, ApiError> {
    match body.get(name) {
        None | Some(Value::Null) => Ok(false),
        Some(Value::Bool(b)) => Ok(*b),
        Some(_) => Err(ApiError::invalid(format!("field {name:?} must be true or false"))),
    }
}

fn with_receipt(mut value: Value, seq: u64) -> Json<Value> {
    if let Some(map) = value.as_object_mut() {
        map.insert("receipt_seq".to_owned(), json!(seq));
    }
    Json(value)
}

pub(super) async fn ack(
    State(state): State<Arc<ApiState>>,
    Path(id): Path<String>,
    body: Bytes,
) -> Result<Json<Value>, ApiError> {
    let body = object(&body)?;
    let now = state.front.now();
    let request = AckRequest {
        by: text(&body, "by")?.unwrap_or_else(|| BY.to_owned()),
        comment: text(&body, "comment")?.unwrap_or_default(),
        escalation_suppressed: flag(&body, "escalation_suppressed")?,
        follow_up_required: flag(&body, "follow_up_required")?,
        follow_up_deadline: text(&body, "follow_up_deadline")?
            .map(|t| parse_time(&t, now).map(|t| t.floor_to_ms()))
            .transpose()?,
    };
    let signed = body.get("contract").cloned();
    let ack = move |s: &ApiState| s.alerts.ack(&id, request, signed.as_ref(), now);
    let (contract, seq) = blocking(&state, ack).await??;
    Ok(with_receipt(contract, seq))
}

fn matchers(body: &Value) -> Result<Vec<SilenceMatcher>, ApiError> {
    let mut all = Vec::new();
    for given in body.get("matchers").and_then(Value::as_array).into_iter().flatten() {
        let name = text(given, "name")?.unwrap_or_default();
        if name.is_empty() {
            return Err(ApiError::invalid("a matcher needs a name"));
        }
        all.push(SilenceMatcher {
            name,
            op: text(given, "op")?.unwrap_or_else(|| "=".to_owned()),
            value: text(given, "value")?.unwrap_or_default(),
        });
    }
    Ok(all)
}

pub(super) async fn silence(
    State(state): State<Arc<ApiState>>,
    body: Bytes,
) -> Result<Json<Value>, ApiError> {
    let body = object(&body)?;
    let now = state.front.now();
    let duration = text(&body, "duration")?
        .ok_or_else(|| ApiError::invalid("field \"duration\" is missing, for example \"1h\""))?;
    let request = SilenceRequest {
        node: text(&body, "node")?,
        matchers: matchers(&body)?,
        starts_at: text(&body, "starts_at")?
            .map(|t| parse_time(&t, now).map(|t| t.floor_to_ms()))
            .transpose()?,
        duration_ms: parse_duration(&duration)?.0,
        reason: text(&body, "reason")?.unwrap_or_default(),
        created_by: text(&body, "by")?.unwrap_or_else(|| BY.to_owned()),
    };
    let signed = body.get("contract").cloned();
    let silence = move |s: &ApiState| s.alerts.silence(request, signed.as_ref(), now);
    let (silence, seq) = blocking(&state, silence).await??;
    Ok(with_receipt(json!({"silence": silence}), seq))
}

pub(super) async fn silences(State(state): State<Arc<ApiState>>) -> Result<Json<Value>, ApiError> {
    let silences = blocking(&state, |s| s.alerts.silences(s.front.now())).await?;
    Ok(Json(json!({"silences": silences})))
}

pub(super) async fn expire(
    State(state): State<Arc<ApiState>>,
    Path(id): Path<String>,
    body: Bytes,
) -> Result<Json<Value>, ApiError> {
    let body = object(&body)?;
    let now = state.front.now();
    let by = text(&body, "by")?.unwrap_or_else(|| BY.to_owned());
    let signed = body.get("contract").cloned();
    let expire = move |s: &ApiState| s.alerts.expire_silence(&id, &by, signed.as_ref(), now);
    let seq = blocking(&state, expire).await??;
    Ok(with_receipt(json!({"expired": true}), seq))
}
