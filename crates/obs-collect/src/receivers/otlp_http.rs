//! OTLP over HTTP: protobuf and JSON, partial success, `google.rpc.Status` for errors.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use obs_types::IngestOutcome;
use obs_wire::compression::Encoding;
use obs_wire::otlp::{OtlpFormat, Signal, partial_success, status_body};

use super::Shared;
use super::intake::{Failure, Input, Intake, content_encoding};
use super::otlp::grpc_code;

const PROTOCOL: &str = "otlp_http";

pub(super) async fn metrics(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    export(shared, request, Signal::Metrics).await
}

pub(super) async fn logs(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    export(shared, request, Signal::Logs).await
}

pub(super) async fn traces(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    export(shared, request, Signal::Traces).await
}

async fn export(shared: Arc<Shared>, request: Request, signal: Signal) -> Response {
    let intake = Intake::of(&shared, PROTOCOL, signal, &request);
    let (parts, body) = request.into_parts();
    let format = match intake.format(&parts.headers, OtlpFormat::from_content_type) {
        Ok(format) => format,
        Err(refused) => return failure(&refused, OtlpFormat::Json),
    };
    let encoding = content_encoding(&parts.headers, Encoding::Identity);
    match intake.store_otlp(Input::Unread(body), encoding, format).await {
        Ok(outcome) => success(signal, &outcome, format),
        Err(f) => failure(&f, format),
    }
}

fn success(signal: Signal, outcome: &IngestOutcome, format: OtlpFormat) -> Response {
    let kind = HeaderValue::from_static(format.content_type());
    ([(CONTENT_TYPE, kind)], partial_success(signal, outcome, format)).into_response()
}

fn failure(failure: &Failure, format: OtlpFormat) -> Response {
    let kind = HeaderValue::from_static(format.content_type());
    let body = status_body(grpc_code(failure), &failure.message(), format);
    failure.answer(failure.status(), ([(CONTENT_TYPE, kind)], body))
}
