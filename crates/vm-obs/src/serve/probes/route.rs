//! `/probe` for those who scrape probes.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use obs_exercise::probe::{ProbeRequest, ProbeResult, probe};
use serde::Deserialize;

use super::{Probes, SCRAPE_TIMEOUT};

/// What of a scrape's timeout is left for the way back.
const TIMEOUT_OFFSET: Duration = Duration::from_millis(500);

/// `/probe?target=&module=&debug=true`, as the exporter answers it.
pub(in crate::serve) fn router(probes: Arc<Probes>) -> Router {
    Router::new().route("/probe", get(handle)).with_state(probes)
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Parameters {
    target: String,
    module: String,
    debug: String,
}

async fn handle(
    State(probes): State<Arc<Probes>>,
    Query(parameters): Query<Parameters>,
    headers: HeaderMap,
) -> Response {
    let refuse = |text: String| (StatusCode::BAD_REQUEST, text + "\n").into_response();
    let name = if parameters.module.is_empty() { "http_2xx" } else { &parameters.module };
    let Some(module) = probes.modules.get(name) else {
        return refuse(format!("Unknown module {name:?}"));
    };
    if parameters.target.is_empty() {
        return refuse("Target parameter is missing".to_owned());
    }
    let timeout = match headers.get("x-prometheus-scrape-timeout-seconds") {
        None => SCRAPE_TIMEOUT,
        Some(value) => {
            let seconds = value.to_str().ok().and_then(|v| v.parse::<f64>().ok());
            let Some(seconds) = seconds.filter(|s| (0.0..=86_400.0).contains(s)) else {
                return refuse("Failed to parse timeout from Prometheus header".to_owned());
            };
            let whole = Duration::from_secs_f64(seconds);
            whole.checked_sub(TIMEOUT_OFFSET).filter(|d| !d.is_zero()).unwrap_or(whole)
        }
    };
    let request = ProbeRequest {
        target: &parameters.target,
        module,
        allowed: &probes.allowed,
        timeout,
        trace: None,
    };
    let result = probe(&request).await;
    let metrics = result.exposition();
    let text = match parameters.debug.as_str() {
        "true" => debug(&result, name),
        _ => metrics,
    };
    let kind = "text/plain; version=0.0.4; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], text).into_response()
}

/// The log of a probe, its metrics and its module's name, as a page of text.
pub(crate) fn debug(result: &ProbeResult, module: &str) -> String {
    format!(
        "Logs for the probe:\n{}\n\n\nMetrics that would have been returned:\n{}\n\nModule:\n{module}\n",
        result.log().join("\n"),
        result.exposition()
    )
}
