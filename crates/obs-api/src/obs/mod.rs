//! vm-obs' own routes (ENGINE 3.1) under `/obs`; described by `openapi.rs`.

mod alerts;
mod anchors;
mod anomalies;
mod correlate;
mod dashboards;
mod doctor;
mod exercises;
mod health;
mod ledger;
mod logs;
mod metrics;
mod packs;
mod periodic;
mod pictures;
mod proof;
mod receipts;
mod reports;
mod runbooks;
mod slos;
mod targets;
mod traces;
mod witness;

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::response::Response;
use axum::routing::{delete, get, post};
use obs_types::{DurationMs, TimestampNs};

use crate::params::Params;
use crate::{ApiError, ApiState, openapi};

pub(crate) use doctor::DoctorMemory;
pub(crate) use health::{HealthMemory, report as health_report};
pub use periodic::ReportOptions;

/// The routes under `/obs`.
pub(crate) fn routes() -> Router<Arc<ApiState>> {
    let board =
        get(dashboards::show).put(dashboards::replace).delete(dashboards::delete).layer(big());
    Router::new()
        .route("/metrics", get(metrics::metrics))
        .route("/metrics/explain", get(metrics::explain))
        .route("/metrics/names", get(metrics::names))
        .route("/logs", get(logs::logs))
        .route("/traces", get(traces::list))
        .route("/traces/{id}", get(traces::show))
        .route("/traces/{id}/analysis", get(traces::analysis))
        .route("/alerts", get(alerts::list))
        .route("/alerts/silence", post(alerts::silence))
        .route("/alerts/{id}", get(alerts::show))
        .route("/alerts/{id}/ack", post(alerts::ack))
        .route("/silences", get(alerts::silences))
        .route("/silences/{id}", delete(alerts::expire))
        .route("/slos", get(slos::list).post(slos::create))
        .route("/slos/{id}", get(slos::show))
        .route("/slos/{id}/report", get(slos::show))
        .route("/slos/{id}/recompute", get(slos::recompute))
        .route("/slos/{id}/burndown", get(slos::burn_down))
        .route("/anomalies", get(anomalies::list))
        .route("/receipts", get(receipts::list))
        .route("/exercises", get(exercises::list).post(exercises::record))
        .route("/correlate", get(correlate::correlate))
        .route("/ledger", get(ledger::head))
        .route("/ledger/checkpoint", get(ledger::checkpoint))
        .route("/ledger/file", get(ledger::file))
        .route("/ledger/actors", get(ledger::actors))
        .route("/ledger/keys", get(ledger::keys).post(ledger::change_keys))
        .route("/ledger/proof", get(ledger::proof))
        .route("/ledger/receipts.jsonl", get(ledger::lines))
        .route("/ledger/tile/{*path}", get(ledger::tile))
        .route("/ledger/verify", post(ledger::verify))
        .route("/anchors", get(anchors::list))
        .route("/witness/add-checkpoint", post(witness::add_checkpoint))
        .route("/witness/{origin}/checkpoint", get(witness::checkpoint))
        .route("/proof/log", get(proof::log))
        .route("/proof/sample", get(proof::sample))
        .route("/proof/span", get(proof::span))
        .route("/proof/receipt", get(proof::receipt))
        .route("/dashboards", get(dashboards::list).post(dashboards::create).layer(big()))
        .route("/dashboards/check", post(dashboards::check).layer(big()))
        .route("/dashboards/{id}", board)
        .route("/dashboards/{id}/render.png", get(pictures::dashboard))
        .route("/dashboards/{id}/panels/{panel}", get(pictures::panel))
        .route("/dashboards/{id}/versions", get(dashboards::versions))
        .route("/dashboards/{id}/grafana", get(dashboards::grafana))
        .route("/runbooks", get(runbooks::list))
        .route("/runbooks/{id}", get(runbooks::show))
        .route("/packs", get(packs::list))
        .route("/reports", get(reports::list))
        .route("/reports/{kind}", get(reports::preview).post(reports::create))
        .route("/reports/{kind}/{file}", get(reports::file))
        .route("/doctor", get(doctor::last).post(doctor::run))
        .route("/targets", get(targets::list))
        .route("/health", get(health::health))
        .route("/demo", get(targets::demo))
        .route("/demo/break/{fault}", post(targets::demo_break))
        .route("/demo/heal", post(targets::demo_heal))
        .route("/openapi.json", get(openapi::document))
        .fallback(unknown)
}

/// Dashboards are larger than what a body usually is.
fn big() -> DefaultBodyLimit {
    DefaultBodyLimit::max(obs_ops::DASHBOARD_BYTES_MAX + 1)
}

async fn unknown(request: axum::extract::Request) -> Response {
    use axum::response::IntoResponse;
    ApiError::not_found(format!("no such route: {}", request.uri().path())).into_response()
}

/// `last`, `from` and `to`; an hour by default.
fn window(
    params: &Params,
    state: &ApiState,
    default_back: DurationMs,
) -> Result<(TimestampNs, TimestampNs), ApiError> {
    Ok(obs_query::parse_window(
        params.get("last"),
        params.get("from"),
        params.get("to"),
        default_back,
        state.front.now(),
    )?)
}
