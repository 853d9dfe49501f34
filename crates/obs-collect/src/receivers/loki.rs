//! `POST /loki/api/v1/push`.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use obs_wire::compression::Encoding;
use obs_wire::otlp::Signal;
use obs_wire::{LokiFormat, decode_loki_push};

use super::Shared;
use super::intake::{Input, Intake, content_encoding, plain_answer};
use crate::attest::strip;

/// 204, or 400 with the reason when something was rejected (the rest is stored).
pub(super) async fn push(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let intake = Intake::of(&shared, "loki", Signal::Logs, &request);
    let (parts, body) = request.into_parts();
    let format = match intake.format(&parts.headers, LokiFormat::from_content_type) {
        Ok(format) => format,
        Err(refused) => return refused.plain(),
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
            move |plain, caps, _now| {
                let mut decoded = decode_loki_push(plain, format, caps)?;
                strip(&mut decoded.batch);
                Ok(decoded)
            },
            |sinks, records| sinks.logs.append(records),
        )
        .await;
    plain_answer(done)
}
