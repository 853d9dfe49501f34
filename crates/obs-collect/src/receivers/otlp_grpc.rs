//! OTLP over gRPC. The three methods are unary, so the framing is read here by hand: the limits of
//! unpacked size, messages and nesting then hold for gRPC as they do for HTTP, before any message
//! is built. Source: gRPC over HTTP/2.

use std::convert::Infallible;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use axum::routing::post;
use bytes::{BufMut as _, Bytes, BytesMut};
use http_body_util::StreamBody;
use hyper::HeaderMap;
use hyper::body::Frame;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use obs_types::IngestOutcome;
use obs_wire::WireError;
use obs_wire::compression::Encoding;
use obs_wire::otlp::{OtlpFormat, Signal, partial_success};

use super::Shared;
use super::intake::{Failure, Input, Intake, read_body};
use super::otlp::grpc_code;

const PROTOCOL: &str = "otlp_grpc";
/// Compression flag and big-endian length in front of a message.
const PREFIX_BYTES: usize = 5;

pub(super) fn routes() -> Router<Arc<Shared>> {
    Router::new()
        .route(
            "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
            post(|state, request| export(state, request, Signal::Metrics)),
        )
        .route(
            "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
            post(|state, request| export(state, request, Signal::Logs)),
        )
        .route(
            "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
            post(|state, request| export(state, request, Signal::Traces)),
        )
}

async fn export(State(shared): State<Arc<Shared>>, request: Request, signal: Signal) -> Response {
    let intake = Intake::of(&shared, PROTOCOL, signal, &request);
    match receive(&intake, request).await {
        Ok(outcome) => success(&partial_success(signal, &outcome, OtlpFormat::Protobuf)),
        Err(failure) => trailers_only(grpc_code(&failure), &failure.message()),
    }
}

async fn receive(intake: &Intake<'_>, request: Request) -> Result<IngestOutcome, Failure> {
    let (parts, body) = request.into_parts();
    intake.format(&parts.headers, |kind| {
        let kind = kind?;
        (kind == "application/grpc" || kind.starts_with("application/grpc+proto")).then_some(())
    })?;
    let limits = &intake.shared.limits;
    let bytes_max = limits.caps.compressed_bytes_max.saturating_add(PREFIX_BYTES);
    let framed = async {
        let body = read_body(body, bytes_max, limits.body_timeout).await?;
        message(&body, &parts.headers).map_err(Failure::Wire)
    };
    let (body, encoding) = framed.await.map_err(|failure| intake.refused(failure))?;
    intake.store_otlp(Input::Read(body), Ok(encoding), OtlpFormat::Protobuf).await
}

/// The one message of a unary call, and how it is compressed.
fn message(body: &Bytes, headers: &HeaderMap) -> Result<(Bytes, Encoding), WireError> {
    let malformed = |message: String| WireError::Malformed { what: "gRPC message", message };
    let Some((prefix, rest)) = body.split_first_chunk::<PREFIX_BYTES>() else {
        return Err(malformed(format!("{} bytes, a message has at least 5", body.len())));
    };
    let [flag, length @ ..] = *prefix;
    let length = u32::from_be_bytes(length) as usize;
    if length != rest.len() {
        return Err(malformed(format!("prefix says {length} bytes, {} came", rest.len())));
    }
    let encoding = match flag {
        0 => Encoding::Identity,
        1 => {
            let name = headers.get("grpc-encoding").and_then(|v| v.to_str().ok());
            match Encoding::from_header(name)? {
                Encoding::Identity => {
                    return Err(malformed("compressed, but grpc-encoding is missing".into()));
                }
                other => other,
            }
        }
        other => return Err(malformed(format!("compression flag {other}"))),
    };
    Ok((body.slice(PREFIX_BYTES..), encoding))
}

fn success(message: &[u8]) -> Response {
    let mut data = BytesMut::with_capacity(PREFIX_BYTES + message.len());
    data.put_u8(0);
    data.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    data.put_slice(message);
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    let frames = [Ok::<_, Infallible>(Frame::data(data.freeze())), Ok(Frame::trailers(trailers))];
    head(Response::new(Body::new(StreamBody::new(futures_util::stream::iter(frames)))))
}

/// An error: status and message stand in the headers and there is no body.
fn trailers_only(code: i32, message: &str) -> Response {
    let mut response = head(Response::new(Body::empty()));
    let headers = response.headers_mut();
    headers.insert("grpc-status", HeaderValue::from(code));
    if let Ok(value) = HeaderValue::try_from(percent_encoded(message)) {
        headers.insert("grpc-message", value);
    }
    response
}

fn head(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert("grpc-accept-encoding", HeaderValue::from_static("identity,gzip,zstd,deflate"));
    response
}

/// gRPC's message encoding: everything but printable ASCII, and `%`, as `%XX`. Long messages are
/// cut, because header lists are limited by the other side.
fn percent_encoded(message: &str) -> String {
    message
        .bytes()
        .take(1024)
        .map(|b| match b {
            b' '..=b'~' if b != b'%' => char::from(b).to_string(),
            other => format!("%{other:02X}"),
        })
        .collect()
}
