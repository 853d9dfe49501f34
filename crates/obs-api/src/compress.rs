//! Gzip for large text answers, where the client takes it.

use std::io::Write as _;

use axum::body::{Body, HttpBody as _};
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use flate2::Compression;
use flate2::write::GzEncoder;
use http_body_util::BodyExt as _;
use obs_types::ErrorKind;

use crate::ApiError;

/// Below this a packet is saved at most.
const BYTES_MIN: u64 = 1_400;
/// Above this compressing takes long enough to keep it off the threads that serve sockets.
const BYTES_INLINE_MAX: u64 = 64 << 10;

/// `gzip` or `*` is accepted and not with weight 0.
fn accepted(headers: &HeaderMap) -> bool {
    headers
        .get_all(header::ACCEPT_ENCODING)
        .iter()
        .filter_map(|v| v.to_str().ok())
        .flat_map(|v| v.split(','))
        .any(|coding| {
            let mut parts = coding.split(';').map(str::trim);
            let name = parts.next().unwrap_or("");
            let refused = parts.any(|p| {
                p.strip_prefix("q=").is_some_and(|q| q.parse::<f32>().is_ok_and(|q| q <= 0.0))
            });
            (name.eq_ignore_ascii_case("gzip") || name == "*") && !refused
        })
}

fn is_text(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or("");
    kind.starts_with("text/")
        || kind.starts_with("application/json")
        || kind.starts_with("application/jsonl")
        || kind.starts_with("application/javascript")
        || kind.starts_with("image/svg")
}

fn gzip(bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(bytes.len() / 4), Compression::fast());
    encoder.write_all(bytes)?;
    encoder.finish()
}

/// Compresses answers whose whole body is known; streams and sockets pass through.
pub(crate) async fn layer(request: Request, next: Next) -> Response {
    let wanted = accepted(request.headers());
    let response = next.run(request).await;
    let size = response.body().size_hint().exact();
    let fits = size.is_some_and(|s| s >= BYTES_MIN)
        && is_text(response.headers())
        && !response.headers().contains_key(header::CONTENT_ENCODING);
    if !fits {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    parts.headers.append(header::VARY, HeaderValue::from_static("accept-encoding"));
    if !wanted {
        return Response::from_parts(parts, body);
    }
    let bytes = match body.collect().await {
        Ok(all) => all.to_bytes(),
        // A body in memory does not fail; were it to, the client gets the error and no half.
        Err(e) => {
            tracing::warn!(error = %e, "answer body ended early");
            return ApiError::new(ErrorKind::Bug, "the answer could not be written")
                .into_response();
        }
    };
    let packed = if size.is_some_and(|s| s > BYTES_INLINE_MAX) {
        let copy = bytes.clone();
        tokio::task::spawn_blocking(move || gzip(&copy)).await.ok().and_then(Result::ok)
    } else {
        gzip(&bytes).ok()
    };
    match packed {
        Some(packed) => {
            parts.headers.remove(header::CONTENT_LENGTH);
            parts.headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            Response::from_parts(parts, Body::from(packed))
        }
        None => Response::from_parts(parts, Body::from(bytes)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_where_the_client_takes_it() {
        let of = |text: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static(text));
            accepted(&headers)
        };
        assert!(of("gzip"));
        assert!(of("br, gzip;q=0.8"));
        assert!(of("*"));
        assert!(!of("gzip;q=0, br"));
        assert!(!of("identity"));
        assert!(!accepted(&HeaderMap::new()));
    }
}
