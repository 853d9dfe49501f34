//! `POST /loki/api/v1/push`.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use hyper::StatusCode;
use hyper::header::{HeaderValue, RETRY_AFTER};
use obs_wire::compression::Encoding;
use obs_wire::otlp::Signal;
use obs_wire::{LokiFormat, decode_loki_push};

use super::Shared;
use super::intake::{Failure, Intake, content_encoding, content_type};

/// 204, or 400 with the reason when something was rejected (the rest is stored).
pub(super) async fn push(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let intake = Intake { shared: &shared, protocol: "loki", signal: Signal::Logs };
    let (parts, body) = request.into_parts();
    let content_type = content_type(&parts.headers);
    let Some(format) = LokiFormat::from_content_type(content_type) else {
        let got = content_type.unwrap_or("").to_owned();
        return text(&intake.refused(Failure::MediaType(got)));
    };
    // Protobuf pushes are snappy blocks and most senders do not say so.
    let default = match format {
        LokiFormat::Protobuf => Encoding::Snappy,
        LokiFormat::Json => Encoding::Identity,
    };
    let encoding = content_encoding(&parts.headers, default);
    let done = intake
        .receive(
            body,
            encoding,
            move |plain, caps, _now| decode_loki_push(plain, format, caps),
            |sinks, records| sinks.logs.append(records),
        )
        .await;
    match done {
        Err(failure) => text(&failure),
        Ok(outcome) => match outcome.rejected_text() {
            None => StatusCode::NO_CONTENT.into_response(),
            Some(why) => (StatusCode::BAD_REQUEST, obs_wire::cut_text(why) + "\n").into_response(),
        },
    }
}

fn text(failure: &Failure) -> Response {
    let mut response = (failure.status(), failure.message() + "\n").into_response();
    if let Some(seconds) = failure.retry_after() {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}
