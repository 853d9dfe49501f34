//! What an answer lacks, in the answer: every dialect gets the same `warnings`.
//!
//! A source that has to leave something out (a sealed file that is missing in the cold store) says
//! so in the query's context. Here the texts are put into the JSON object that goes out, as
//! Prometheus and Loki name them, and counted in a header for bodies of another form.

use axum::body::{Body, HttpBody as _, to_bytes};
use axum::extract::Request;
use axum::http::{HeaderName, HeaderValue, header};
use axum::middleware::Next;
use axum::response::Response;
use obs_types::Warnings;
use serde_json::{Value, json};

const HEADER: HeaderName = HeaderName::from_static("x-vmobs-warnings");
/// Larger bodies go out as they are, with the header alone.
const BODY_BYTES_MAX: usize = 256 << 20;

tokio::task_local! {
    static WARNINGS: Warnings;
}

/// The warnings of the request that runs on this task.
pub(crate) fn current() -> Warnings {
    WARNINGS.try_with(Clone::clone).unwrap_or_default()
}

pub(crate) async fn layer(request: Request, next: Next) -> Response {
    let warnings = Warnings::default();
    let response = WARNINGS.scope(warnings.clone(), next.run(request)).await;
    match warnings.list() {
        none if none.is_empty() => response,
        texts => attach(response, &texts).await,
    }
}

async fn attach(response: Response, texts: &[String]) -> Response {
    let (mut parts, body) = response.into_parts();
    parts.headers.insert(HEADER, HeaderValue::from(texts.len()));
    let is_json = parts
        .headers
        .get(header::CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok())
        .is_some_and(|kind| kind.starts_with("application/json"));
    let known = body.size_hint().exact();
    if !is_json || known.is_none_or(|bytes| bytes > BODY_BYTES_MAX as u64) {
        return Response::from_parts(parts, body);
    }
    let bytes = match to_bytes(body, BODY_BYTES_MAX).await {
        Ok(bytes) => bytes,
        Err(e) => {
            tracing::warn!(error = %e, "answer with warnings broke off");
            return Response::from_parts(parts, Body::empty());
        }
    };
    let Ok(Value::Object(mut object)) = serde_json::from_slice::<Value>(&bytes) else {
        return Response::from_parts(parts, Body::from(bytes));
    };
    match object.get_mut("warnings") {
        Some(Value::Array(own)) => own.extend(texts.iter().map(|t| json!(t))),
        _ => {
            object.insert("warnings".to_owned(), json!(texts));
        }
    }
    parts.headers.remove(header::CONTENT_LENGTH);
    Response::from_parts(parts, Body::from(Value::Object(object).to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::response::IntoResponse;
    use axum::routing::get;
    use axum::{Json, Router};
    use tower_service::Service as _;

    async fn asked(path: &str) -> (Option<String>, String) {
        async fn warned(body: Response) -> Response {
            current().add("b is left out");
            current().add("a is left out");
            body
        }
        let mut router = Router::new()
            .route("/plain", get(|| warned("text".into_response())))
            .route("/json", get(|| warned(Json(json!({"data": [1]})).into_response())))
            .route("/own", get(|| warned(Json(json!({"warnings": ["x"]})).into_response())))
            .route("/list", get(|| warned(Json(json!([1])).into_response())))
            .route("/none", get(|| async { Json(json!({})) }))
            .layer(axum::middleware::from_fn(layer));
        let request = Request::builder().uri(path).body(Body::empty()).unwrap();
        let response = router.call(request).await.unwrap();
        let count = response.headers().get(HEADER).map(|v| v.to_str().unwrap().to_owned());
        let body = to_bytes(response.into_body(), 1000).await.unwrap();
        (count, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn they_are_in_json_objects_and_counted_everywhere() {
        let two = Some("2".to_owned());
        assert_eq!(asked("/plain").await, (two.clone(), "text".to_owned()));
        let text = r#"{"data":[1],"warnings":["a is left out","b is left out"]}"#;
        assert_eq!(asked("/json").await, (two.clone(), text.to_owned()));
        let text = r#"{"warnings":["x","a is left out","b is left out"]}"#;
        assert_eq!(asked("/own").await, (two.clone(), text.to_owned()));
        assert_eq!(asked("/list").await, (two, "[1]".to_owned()));
        assert_eq!(asked("/none").await, (None, "{}".to_owned()));
    }
}
