use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use obs_types::{Trace, TraceId};
use obs_wire::otlp::{TraceStatus, tempo_trace, tempo_trace_by_id, trace_to_json};
use serde_json::{Value, json};

use super::answer;
use crate::run::run;
use crate::{ApiError, ApiState};

async fn load(state: &Arc<ApiState>, id: &str) -> Result<Trace, ApiError> {
    let id: TraceId =
        id.parse().map_err(|e: obs_types::ParseIdError| ApiError::invalid(e.to_string()))?;
    run(state, None, move |s, context| Ok(s.front.traces.trace(id, context)?))
        .await?
        .ok_or_else(|| ApiError::not_found("trace not found"))
}

fn wants_protobuf(headers: &HeaderMap) -> bool {
    headers
        .get(header::ACCEPT)
        .and_then(|v| v.to_str().ok())
        .is_some_and(|a| a.contains("application/protobuf"))
}

/// OTLP's `resourceSpans` alone.
fn resource_spans(trace: &Trace) -> Value {
    trace_to_json(trace).get_mut("resourceSpans").map(Value::take).unwrap_or_default()
}

fn protobuf(bytes: Vec<u8>) -> Response {
    let kind = HeaderValue::from_static("application/protobuf");
    ([(header::CONTENT_TYPE, kind)], bytes).into_response()
}

/// The trace in the form that the client takes.
async fn shown(
    state: &Arc<ApiState>,
    id: &str,
    headers: &HeaderMap,
    protobuf_of: fn(&Trace) -> Vec<u8>,
    json_of: fn(&Trace) -> Value,
) -> Response {
    answer(load(state, id).await.map(|trace| {
        if wants_protobuf(headers) {
            protobuf(protobuf_of(&trace))
        } else {
            Json(json_of(&trace)).into_response()
        }
    }))
}

pub(super) async fn v1(
    State(state): State<Arc<ApiState>>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Response {
    shown(&state, &id, &headers, tempo_trace, |t| json!({"batches": resource_spans(t)})).await
}

pub(super) async fn v2(
    State(state): State<Arc<ApiState>>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Response {
    let message = |t: &Trace| tempo_trace_by_id(t, TraceStatus::Complete, "");
    let json = |t: &Trace| json!({"trace": {"resourceSpans": resource_spans(t)}, "metrics": {}});
    shown(&state, &id, &headers, message, json).await
}
