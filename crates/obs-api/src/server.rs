use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Router};
use obs_wire::exposition::ExpositionFormat;
use tracing::Instrument;

use crate::obs::{DoctorMemory, HealthMemory};
use crate::run::blocking;
use crate::{
    ApiState, alertmanager, compress, jaeger, loki, obs, portal, prometheus, tempo, warnings,
};

/// All routes; `receivers` are those of `obs-collect` that share the port.
pub fn router(state: Arc<ApiState>, receivers: Router) -> Router {
    let pages = Router::new()
        .route("/", get(portal::page))
        .route("/portal/{*name}", get(portal::asset))
        .fallback(portal::page);
    Router::new()
        .nest("/obs", obs::routes())
        .nest("/api/v1", prometheus::routes())
        .nest("/prometheus/api/v1", prometheus::routes())
        .nest("/loki/api/v1", loki::routes())
        .nest("/tempo", tempo::routes())
        .nest("/jaeger/api", jaeger::routes())
        .nest("/alertmanager", alertmanager::routes())
        .route("/loki/ready", get(ready))
        .route("/ready", get(ready))
        .route("/-/healthy", get(|| async { "vm-obs is healthy.\n" }))
        .route("/-/ready", get(ready))
        .route("/prometheus/-/ready", get(ready))
        .route("/health", get(health))
        .route("/metrics", get(metrics))
        .route("/federate", get(prometheus::federate).layer(from_fn(prometheus::cors)))
        .route("/prometheus/federate", get(prometheus::federate))
        .with_state(Arc::clone(&state))
        .merge(receivers)
        .merge(pages)
        .layer(Extension(Arc::new(HealthMemory::default())))
        .layer(Extension(Arc::new(DoctorMemory::default())))
        .layer(Extension(Arc::new(prometheus::Notices::default())))
        .layer(from_fn(warnings::layer))
        .layer(from_fn(compress::layer))
        .layer(from_fn_with_state(state, server_time))
        .layer(from_fn(trace))
}

/// The clock of the server in milliseconds, on every answer: it may run apart from the reader's.
async fn server_time(State(state): State<Arc<ApiState>>, request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let now = HeaderValue::from(state.clock.now().0);
    response.headers_mut().insert("x-vmobs-time-ms", now);
    response
}

async fn ready() -> &'static str {
    "ready\n"
}

async fn health(
    State(state): State<Arc<ApiState>>,
    Extension(memory): Extension<Arc<HealthMemory>>,
) -> Response {
    let report = obs::health_report(&state, &memory).await;
    let status = match report.get("status").and_then(|s| s.as_str()) {
        Some("unhealthy") | None => StatusCode::SERVICE_UNAVAILABLE,
        Some(_) => StatusCode::OK,
    };
    (status, axum::Json(report)).into_response()
}

/// vm-obs' own metrics in the text format.
async fn metrics(State(state): State<Arc<ApiState>>) -> Response {
    let text = match blocking(&state, |s| s.registry.render(ExpositionFormat::Prometheus)).await {
        Ok(text) => text,
        Err(e) => return e.text(),
    };
    let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    ([(header::CONTENT_TYPE, kind)], text).into_response()
}

/// Reads that a page repeats every few seconds are not worth a span each.
fn quiet(path: &str) -> bool {
    path.starts_with("/portal/") || ["/-/ready", "/-/healthy", "/metrics", "/ready"].contains(&path)
}

/// One server span per request, so that slow reads show up in our own traces.
async fn trace(request: Request, next: Next) -> Response {
    let path = request.uri().path().to_owned();
    if quiet(&path) {
        return next.run(request).await;
    }
    let method = request.method().clone();
    let route = request
        .extensions()
        .get::<axum::extract::MatchedPath>()
        .map_or_else(|| path.clone(), |m| m.as_str().to_owned());
    let name = format!("{method} {route}");
    let span = tracing::info_span!(
        "request",
        otel.name = name,
        otel.kind = "server",
        http.method = %method,
        http.route = route,
        http.status_code = tracing::field::Empty,
        error = tracing::field::Empty,
    );
    let response = next.run(request).instrument(span.clone()).await;
    span.record("http.status_code", response.status().as_u16());
    if response.status().is_server_error() {
        span.record("error", response.status().as_str());
    }
    response
}
