use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::Response;
use obs_promql::{EngineError, ParserOptions, QueryResult};
use obs_types::ErrorKind;
use serde_json::json;

use super::{answer, duration, encode, success, time, window};
use crate::params::Params;
use crate::run::run;
use crate::{ApiError, ApiState};

/// Most steps of a range query, Prometheus' limit.
const POINTS_MAX: i64 = 11_000;

impl From<EngineError> for ApiError {
    fn from(e: EngineError) -> Self {
        let kind = e.kind();
        let execution = !matches!(e, EngineError::Parse(_));
        Self { kind, message: e.to_string(), execution }
    }
}

fn timeout(params: &Params) -> Result<Option<Duration>, ApiError> {
    Ok(duration(params, "timeout")?.map(|ms| Duration::from_millis(u64::try_from(ms).unwrap_or(0))))
}

/// PromQL as it stands, or ENGINE's shorthand as the PromQL it means.
fn query_text(params: &Params) -> Result<String, ApiError> {
    let text = params.get("query").unwrap_or("");
    Ok(obs_query::expand_shorthand(text).map_or_else(|| text.to_owned(), |s| s.promql))
}

/// A large answer takes a while to write down, so this belongs on the query's own thread.
fn encoded(result: &QueryResult, limit: usize, stats: bool) -> Response {
    let mut warnings = result.warnings.clone();
    let data = encode::result(result, limit, stats, &mut warnings);
    success(&data, &warnings, &result.infos)
}

pub(super) async fn instant(State(state): State<Arc<ApiState>>, params: Params) -> Response {
    let work = async {
        let at = time(&params, "time")?.unwrap_or_else(|| state.front.now());
        let limit = params.number("limit", 0)?.unwrap_or(0);
        let query = query_text(&params)?;
        let stats = params.get("stats").is_some();
        run(&state, timeout(&params)?, move |s, context| {
            let result = s.front.instant(&query, at, context)?;
            Ok(encoded(&result, limit, stats))
        })
        .await
    };
    answer(work.await)
}

pub(super) async fn range(State(state): State<Arc<ApiState>>, params: Params) -> Response {
    let work = async {
        let missing = |name: &str| {
            ApiError::invalid(format!(
                "invalid parameter {name:?}: cannot parse \"\" to a valid timestamp"
            ))
        };
        let start = time(&params, "start")?.ok_or_else(|| missing("start"))?;
        let end = time(&params, "end")?.ok_or_else(|| missing("end"))?;
        if end < start {
            return Err(ApiError::invalid(
                "invalid parameter \"end\": end timestamp must not be before start time",
            ));
        }
        let step = duration(&params, "step")?.ok_or_else(|| {
            ApiError::invalid("invalid parameter \"step\": cannot parse \"\" to a valid duration")
        })?;
        if step <= 0 {
            return Err(ApiError::invalid(
                "invalid parameter \"step\": zero or negative query resolution step widths are not accepted. Try a positive integer",
            ));
        }
        if end.0.saturating_sub(start.0) / step > POINTS_MAX {
            return Err(ApiError::invalid(format!(
                "exceeded maximum resolution of {POINTS_MAX} points per timeseries. Try decreasing the query resolution (?step=XX)"
            )));
        }
        let limit = params.number("limit", 0)?.unwrap_or(0);
        let query = query_text(&params)?;
        let stats = params.get("stats").is_some();
        run(&state, timeout(&params)?, move |s, context| {
            let result = s.front.range(&query, start, end, step, context)?;
            Ok(encoded(&result, limit, stats))
        })
        .await
    };
    answer(work.await)
}

pub(super) async fn exemplars(State(state): State<Arc<ApiState>>, params: Params) -> Response {
    let work = async {
        let range = window(&params)?;
        let expr = obs_promql::parse(params.get("query").unwrap_or(""), &ParserOptions::default())
            .map_err(|e| ApiError::invalid(e.to_string()))?;
        let sets: Vec<_> =
            obs_promql::selectors(&expr).into_iter().map(|s| s.matchers.clone()).collect();
        let series = run(&state, None, move |s, context| {
            Ok(s.front.metrics.exemplars(&sets, range, context)?)
        })
        .await?;
        let data: Vec<_> = series
            .iter()
            .map(|s| {
                json!({
                    "seriesLabels": encode::labels_value(&s.labels),
                    "exemplars": s.exemplars.iter().map(|e| json!({
                        "labels": encode::labels_value(&e.labels),
                        "value": encode::number(e.value),
                        "timestamp": e.timestamp.as_seconds_f64(),
                    })).collect::<Vec<_>>(),
                })
            })
            .collect();
        Ok(success(&json!(data).to_string(), &[], &[]))
    };
    answer(work.await)
}

pub(super) async fn format(params: Params) -> Response {
    let work = || {
        let expr = obs_promql::parse(params.get("query").unwrap_or(""), &ParserOptions::default())
            .map_err(|e| ApiError::new(ErrorKind::InvalidInput, e.to_string()))?;
        Ok(success(&json!(obs_promql::pretty(&expr)).to_string(), &[], &[]))
    };
    answer(work())
}

pub(super) async fn parse(params: Params) -> Response {
    let work = || {
        let expr = obs_promql::parse(params.get("query").unwrap_or(""), &ParserOptions::default())
            .map_err(|e| ApiError::new(ErrorKind::InvalidInput, e.to_string()))?;
        Ok(success(&obs_promql::tree_json(&expr), &[], &[]))
    };
    answer(work())
}
