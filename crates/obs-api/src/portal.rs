//! The portal's files, embedded; every page address gives the same document, the script does the
//! rest.

use axum::extract::Path;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use rust_embed::Embed;

#[derive(Embed)]
#[folder = "$OUT_DIR/portal"]
struct Assets;

/// Nothing is loaded from elsewhere, and the page cannot be framed.
const POLICY: &str = "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; frame-ancestors 'none'";

fn file(name: &str) -> Option<Response> {
    let asset = Assets::get(name)?;
    let kind = mime_guess::from_path(name).first_or_octet_stream();
    let mut response = asset.data.into_owned().into_response();
    let headers = response.headers_mut();
    if let Ok(value) = HeaderValue::from_str(kind.as_ref()) {
        headers.insert(header::CONTENT_TYPE, value);
    }
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    Some(response)
}

pub(crate) async fn asset(Path(name): Path<String>) -> Response {
    file(&name).unwrap_or_else(|| (StatusCode::NOT_FOUND, "no such file").into_response())
}

/// The document, for every address that is a page and not an API.
pub(crate) async fn page(headers: HeaderMap) -> Response {
    let browser = headers
        .get(header::ACCEPT)
        .and_then(|v| v.to_str().ok())
        .is_none_or(|a| a.contains("text/html") || a.contains("*/*"));
    match file("index.html") {
        Some(page) if browser => page,
        _ => (StatusCode::NOT_FOUND, "not found").into_response(),
    }
}
