use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use obs_analysis::slo::{self, Events, Slo, count_events, evaluate};
use obs_archive::Signal;
use obs_query::{QueryFront, QueryLimits};
use obs_types::{DurationMs, TimestampMs};
use serde_json::{Value, json};

use crate::params::Params;
use crate::run::run;
use crate::{ApiError, ApiState};

const BY: &str = "did:vm:user:sovereign";

impl From<obs_ops::OpsError> for ApiError {
    fn from(e: obs_ops::OpsError) -> Self {
        Self::new(e.kind(), e.to_string())
    }
}

pub(super) async fn list(State(state): State<Arc<ApiState>>) -> Json<Value> {
    Json(json!({"slos": state.slos.list()}))
}

/// One objective; `period` evaluates it now over another window.
pub(super) async fn show(
    State(state): State<Arc<ApiState>>,
    Path(id): Path<String>,
    params: Params,
) -> Result<Json<Value>, ApiError> {
    let Some(period) = params.get("period") else {
        return state.slos.get(&id).map(Json).ok_or_else(|| missing(&id));
    };
    let mut slo = definition(&state, &id)?;
    slo.window = obs_query::parse_duration(period)?;
    let report = run(&state, None, move |s, _context| {
        evaluate(&slo, s.front.now(), &|query: &str, at| s.front.values(query, at))
            .map(|r| r.to_json())
            .map_err(|e| ApiError::invalid(e.to_string()))
    })
    .await?;
    Ok(Json(report))
}

fn missing(id: &str) -> ApiError {
    ApiError::not_found(format!("there is no SLO {id:?}"))
}

fn definition(state: &ApiState, id: &str) -> Result<Slo, ApiError> {
    state.slos.definition(id).ok_or_else(|| missing(id))
}

/// What was left of an objective's error budget, slice by slice of its window.
pub(super) async fn burn_down(
    State(state): State<Arc<ApiState>>,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let slo = definition(&state, &id)?;
    let answer = run(&state, None, move |s, _context| {
        slo::burn_down(&slo, s.front.now(), &|query: &str, at| s.front.values(query, at))
            .map(|curve| curve.to_json())
            .map_err(|e| ApiError::invalid(e.to_string()))
    })
    .await?;
    Ok(Json(answer))
}

/// Most of an objective's window that is counted again.
const RECOMPUTED_MS_MAX: i64 = 6 * 3_600_000;
/// Instant selectors look so far back, which the first sealed hour cannot.
const LOOKBACK_MS: i64 = 5 * 60_000;

/// One objective's events over the sealed hours, once as every query sees them and once from the
/// sealed files alone. `window` is `null` while nothing is sealed.
pub(super) async fn recompute(
    State(state): State<Arc<ApiState>>,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let slo = definition(&state, &id)?;
    let answer = run(&state, None, move |s, _context| {
        let Some((from, to)) = sealed_window(s, slo.window.0) else {
            return Ok(json!({"slo_id": slo.id, "window": null, "engine": null, "sealed": null}));
        };
        let files = QueryFront::new(
            Arc::clone(&s.archive) as _,
            Arc::clone(&s.archive) as _,
            Arc::clone(&s.archive) as _,
            Arc::clone(&s.clock),
            QueryLimits::STANDARD,
        );
        let count = |front: &QueryFront| {
            count_events(&slo, DurationMs(to.0 - from.0), to, &|q: &str, at| front.values(q, at))
                .map_err(|e| ApiError::invalid(e.to_string()))
        };
        let (engine, sealed) = (count(&s.front)?, count(&files)?);
        let shown = |e: Events| json!({"good": e.good, "total": e.total});
        Ok(json!({
            "slo_id": slo.id,
            "window": {"start": obs_query::format_time(from), "end": obs_query::format_time(to)},
            "engine": shown(engine),
            "sealed": shown(sealed),
        }))
    })
    .await?;
    Ok(Json(answer))
}

/// The end of the sealed metrics and as much before it as the files hold without a hole, to whole
/// minutes; the sample at the end itself belongs to the next hour.
fn sealed_window(s: &ApiState, window_ms: i64) -> Option<(TimestampMs, TimestampMs)> {
    let (first, last) = s.archive.sealed_span(Signal::Metrics)?;
    let whole = s.archive.gaps(Signal::Metrics, first, last).last().map_or(first, |h| h.next());
    let to = TimestampMs(last.end().0 - 1);
    let from = (whole.start().0 + LOOKBACK_MS).max(last.end().0 - window_ms.min(RECOMPUTED_MS_MAX));
    (from < to.0).then_some((TimestampMs(from - 1), to))
}

pub(super) async fn create(
    State(state): State<Arc<ApiState>>,
    body: axum::body::Bytes,
) -> Result<Json<Value>, ApiError> {
    let definition: Value = serde_json::from_slice(&body)
        .map_err(|e| ApiError::invalid(format!("the body is not JSON: {e}")))?;
    let by = definition.get("initiated_by").and_then(Value::as_str).unwrap_or(BY).to_owned();
    let (mut contract, seq) = run(&state, None, move |s, _context| {
        let signed = definition.get("contract");
        Ok(s.slos.create(&definition, &by, signed, s.front.now())?)
    })
    .await?;
    if let Some(map) = contract.as_object_mut() {
        map.insert("receipt_seq".to_owned(), json!(seq));
    }
    Ok(Json(contract))
}
