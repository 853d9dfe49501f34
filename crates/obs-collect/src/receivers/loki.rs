//! `POST /loki/api/v1/push`.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use hyper::StatusCode;
use obs_wire::compression::Encoding;
use obs_wire::otlp::Signal;
use obs_wire::{LokiFormat, decode_loki_push};

use super::Shared;
use super::intake::{Failure, Input, Intake, content_encoding};

/// 204, or 400 with the reason when something was rejected (the rest is stored).
pub(super) async fn push(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let intake = Intake { shared: &shared, protocol: "loki", signal: Signal::Logs };
    let (parts, body) = request.into_parts();
    let format = match intake.format(&parts.headers, LokiFormat::from_content_type) {
        Ok(format) => format,
        Err(refused) => return text(&refused),
    };
    // Protobuf pushes are snappy blocks and most senders do not say so.
    let default = match format {
        LokiFormat::Protobuf => Encoding::Snappy,
        LokiFormat::Json => Encoding::Identity,
    };
    let encoding = content_encoding(&parts.headers, default);
    let done = intake
        .store(
            Input::Unread(body),
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
    failure.answer(failure.status(), failure.message() + "\n")
}
