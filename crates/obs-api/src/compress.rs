//! Gzip or zstd for large text answers, where the client takes it.

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

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Coding {
    Gzip,
    Zstd,
}

impl Coding {
    fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        }
    }

    fn pack(self, bytes: &[u8]) -> std::io::Result<Vec<u8>> {
        match self {
            Self::Gzip => {
                let packed = Vec::with_capacity(bytes.len() / 4);
                let mut encoder = GzEncoder::new(packed, Compression::fast());
                encoder.write_all(bytes)?;
                encoder.finish()
            }
            Self::Zstd => zstd::bulk::compress(bytes, 1),
        }
    }
}

/// The coding that the client prefers; of equal ones zstd, which takes less time. A weight of 0
/// refuses a coding, `*` stands for those that are not named.
fn accepted(headers: &HeaderMap) -> Option<Coding> {
    let mut weights: [Option<f32>; 2] = [None, None];
    let mut others = 0.0;
    let codings = headers
        .get_all(header::ACCEPT_ENCODING)
        .iter()
        .filter_map(|v| v.to_str().ok())
        .flat_map(|v| v.split(','));
    for coding in codings {
        let mut parts = coding.split(';').map(str::trim);
        let name = parts.next().unwrap_or("").to_ascii_lowercase();
        let weight = parts.find_map(|p| p.strip_prefix("q=")?.parse().ok()).unwrap_or(1.0);
        match name.as_str() {
            "zstd" => weights[0] = Some(weight),
            "gzip" => weights[1] = Some(weight),
            "*" => others = weight,
            _ => {}
        }
    }
    let [zstd, gzip] = weights;
    // Clients that say `*` mean what every client can read.
    let (zstd, gzip) = (zstd.unwrap_or(0.0), gzip.unwrap_or(others));
    if zstd > 0.0 && zstd >= gzip {
        Some(Coding::Zstd)
    } else {
        (gzip > 0.0).then_some(Coding::Gzip)
    }
}

fn is_text(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or("");
    kind.starts_with("text/")
        || kind.starts_with("application/json")
        || kind.starts_with("application/jsonl")
        || kind.starts_with("application/javascript")
        || kind.starts_with("image/svg")
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
    let Some(coding) = wanted else {
        return Response::from_parts(parts, body);
    };
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
        tokio::task::spawn_blocking(move || coding.pack(&copy)).await.ok().and_then(Result::ok)
    } else {
        coding.pack(&bytes).ok()
    };
    match packed {
        Some(packed) => {
            parts.headers.remove(header::CONTENT_LENGTH);
            parts.headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(coding.name()));
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
        assert_eq!(of("gzip"), Some(Coding::Gzip));
        assert_eq!(of("br, gzip;q=0.8"), Some(Coding::Gzip));
        assert_eq!(of("*"), Some(Coding::Gzip));
        assert_eq!(of("gzip, zstd"), Some(Coding::Zstd));
        assert_eq!(of("gzip, zstd;q=0.5"), Some(Coding::Gzip));
        assert_eq!(of("zstd;q=0, *;q=0.1"), Some(Coding::Gzip));
        assert_eq!(of("gzip;q=0, br"), None);
        assert_eq!(of("identity"), None);
        assert_eq!(accepted(&HeaderMap::new()), None);
    }
}
