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

pub(super) async fn v1(
    State(state): State<Arc<ApiState>>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Response {
    let work = async {
        let trace = load(&state, &id).await?;
        Ok(if wants_protobuf(&headers) {
            protobuf(tempo_trace(&trace))
        } else {
            Json(json!({"batches": resource_spans(&trace)})).into_response()
        })
    };
    answer(work.await)
}

pub(super) async fn v2(
    State(state): State<Arc<ApiState>>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Response {
    let work = async {
        let trace = load(&state, &id).await?;
        Ok(if wants_protobuf(&headers) {
            protobuf(tempo_trace_by_id(&trace, TraceStatus::Complete, ""))
        } else {
            Json(json!({
                "trace": {"resourceSpans": resource_spans(&trace)},
                "metrics": {},
            }))
            .into_response()
        })
    };
    answer(work.await)
}
