//! OTLP over HTTP: protobuf and JSON, partial success, `google.rpc.Status` for errors.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use hyper::StatusCode;
use hyper::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use obs_types::IngestOutcome;
use obs_wire::compression::Encoding;
use obs_wire::otlp::{
    OtlpFormat, Signal, decode_logs, decode_metrics, decode_traces, partial_success, status_body,
};

use super::Shared;
use super::intake::{Failure, Intake, content_encoding, content_type};

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
    let intake = Intake { shared: &shared, protocol: PROTOCOL, signal };
    let (parts, body) = request.into_parts();
    let content_type = content_type(&parts.headers);
    let Some(format) = OtlpFormat::from_content_type(content_type) else {
        let got = content_type.unwrap_or("").to_owned();
        return failure(&intake.refused(Failure::MediaType(got)), OtlpFormat::Json);
    };
    let encoding = content_encoding(&parts.headers, Encoding::Identity);
    let done = match signal {
        Signal::Metrics => {
            intake
                .receive(
                    body,
                    encoding,
                    move |plain, caps, _now| decode_metrics(plain, format, caps),
                    |sinks, batch| sinks.metrics.append(batch),
                )
                .await
        }
        Signal::Logs => {
            intake
                .receive(
                    body,
                    encoding,
                    move |plain, caps, now| decode_logs(plain, format, caps, now),
                    |sinks, records| sinks.logs.append(records),
                )
                .await
        }
        Signal::Traces => {
            intake
                .receive(
                    body,
                    encoding,
                    move |plain, caps, _now| decode_traces(plain, format, caps),
                    |sinks, spans| sinks.traces.append(spans),
                )
                .await
        }
    };
    match done {
        Ok(outcome) => success(signal, &outcome, format),
        Err(f) => failure(&f, format),
    }
}

fn success(signal: Signal, outcome: &IngestOutcome, format: OtlpFormat) -> Response {
    let kind = HeaderValue::from_static(format.content_type());
    ([(CONTENT_TYPE, kind)], partial_success(signal, outcome, format)).into_response()
}

fn failure(failure: &Failure, format: OtlpFormat) -> Response {
    let status = failure.status();
    let kind = HeaderValue::from_static(format.content_type());
    let body = status_body(grpc_code(failure), &failure.message(), format);
    let mut response = (status, [(CONTENT_TYPE, kind)], body).into_response();
    if let Some(seconds) = failure.retry_after() {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

/// gRPC's status number of a failure. Overload is `UNAVAILABLE`, because clients do not repeat
/// `RESOURCE_EXHAUSTED` without further details.
pub(super) fn grpc_code(failure: &Failure) -> i32 {
    const INVALID_ARGUMENT: i32 = 3;
    const RESOURCE_EXHAUSTED: i32 = 8;
    const UNIMPLEMENTED: i32 = 12;
    const INTERNAL: i32 = 13;
    const UNAVAILABLE: i32 = 14;
    match failure.status() {
        StatusCode::PAYLOAD_TOO_LARGE => RESOURCE_EXHAUSTED,
        StatusCode::UNSUPPORTED_MEDIA_TYPE => UNIMPLEMENTED,
        StatusCode::TOO_MANY_REQUESTS
        | StatusCode::SERVICE_UNAVAILABLE
        | StatusCode::REQUEST_TIMEOUT => UNAVAILABLE,
        StatusCode::INTERNAL_SERVER_ERROR => INTERNAL,
        _ => INVALID_ARGUMENT,
    }
}
