//! JSON over HTTP: `/insert/jsonline` for log shippers, `/obs/ingest/…` for ENGINE's objects.
//! The answer is always `{"accepted":n,"rejected":n,"reasons":{reason:{count,example}}}`, or
//! `{"error":"…"}`; the status is 400 only when nothing at all was stored.

use std::sync::Arc;

use axum::extract::{Query, Request, State};
use axum::response::{IntoResponse, Response};
use axum::{Json, extract::rejection::QueryRejection};
use hyper::StatusCode;
use obs_types::IngestOutcome;
use obs_wire::compression::Encoding;
use obs_wire::otlp::Signal;
use obs_wire::{
    JsonLineFields, WireCaps, decode_engine_logs, decode_engine_metrics, decode_engine_traces,
    decode_json_lines,
};
use serde::Deserialize;
use serde_json::{Map, json};

use super::Shared;
use super::intake::{Failure, Input, Intake, content_encoding};
use crate::attest::strip;

/// Comma-separated field names that come before the built-in ones.
#[derive(Debug, Default, Deserialize)]
pub(super) struct LineParameters {
    _msg_field: Option<String>,
    _time_field: Option<String>,
    _stream_fields: Option<String>,
}

impl LineParameters {
    fn fields(&self) -> JsonLineFields {
        let names = |text: &Option<String>| -> Vec<String> {
            let all = text.as_deref().unwrap_or("").split(',').map(str::trim);
            all.filter(|n| !n.is_empty()).map(str::to_owned).collect()
        };
        let mut out = JsonLineFields::default();
        out.message.splice(0..0, names(&self._msg_field));
        out.time.splice(0..0, names(&self._time_field));
        out.stream = names(&self._stream_fields);
        out
    }
}

pub(super) async fn lines(
    State(shared): State<Arc<Shared>>,
    parameters: Result<Query<LineParameters>, QueryRejection>,
    request: Request,
) -> Response {
    let intake = Intake::of(&shared, "jsonline", Signal::Logs, &request);
    let fields = match parameters {
        Ok(Query(parameters)) => parameters.fields(),
        Err(e) => return answer(Err(intake.refused(Failure::Body(e.to_string())))),
    };
    let encoding = content_encoding(request.headers(), Encoding::Identity);
    let done = intake
        .store(
            Input::Unread(request.into_body()),
            encoding,
            move |plain, caps, now| {
                let mut decoded = decode_json_lines(plain, &fields, caps, now)?;
                strip(&mut decoded.batch);
                Ok(decoded)
            },
            |sinks, records| sinks.logs.append(records),
        )
        .await;
    answer(done)
}

pub(super) async fn logs(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let intake = Intake::of(&shared, "json", Signal::Logs, &request);
    let encoding = content_encoding(request.headers(), Encoding::Identity);
    let store = |sinks: &super::Sinks, records| sinks.logs.append(records);
    let body = Input::Unread(request.into_body());
    let decode = |plain: &[u8], caps: &WireCaps, now| {
        let mut decoded = decode_engine_logs(plain, caps, now)?;
        strip(&mut decoded.batch);
        Ok(decoded)
    };
    answer(intake.store(body, encoding, decode, store).await)
}

pub(super) async fn metrics(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let intake = Intake::of(&shared, "json", Signal::Metrics, &request);
    let encoding = content_encoding(request.headers(), Encoding::Identity);
    let store = |sinks: &super::Sinks, batch| sinks.metrics.append(batch);
    let body = Input::Unread(request.into_body());
    answer(intake.store(body, encoding, decode_engine_metrics, store).await)
}

pub(super) async fn traces(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let intake = Intake::of(&shared, "json", Signal::Traces, &request);
    let encoding = content_encoding(request.headers(), Encoding::Identity);
    let done = intake
        .store(
            Input::Unread(request.into_body()),
            encoding,
            |plain, caps, _now| decode_engine_traces(plain, caps),
            |sinks, spans| sinks.traces.append(spans),
        )
        .await;
    answer(done)
}

fn answer(done: Result<IngestOutcome, Failure>) -> Response {
    let outcome = match done {
        Ok(outcome) => outcome,
        Err(failure) => {
            return failure.answer(failure.status(), Json(json!({"error": failure.message()})));
        }
    };
    let rejected = outcome.rejected_count();
    let reasons: Map<String, serde_json::Value> = outcome
        .rejected
        .iter()
        .map(|(reason, r)| {
            (
                reason.as_str().to_owned(),
                json!({"count": r.count, "example": obs_wire::cut_text(r.example.clone())}),
            )
        })
        .collect();
    let status = if outcome.accepted == 0 && rejected > 0 {
        StatusCode::BAD_REQUEST
    } else {
        StatusCode::OK
    };
    let body = json!({"accepted": outcome.accepted, "rejected": rejected, "reasons": reasons});
    (status, Json(body)).into_response()
}
