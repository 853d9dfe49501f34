use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use obs_traceql::{MetricSeries, MetricsRange};
use serde_json::{Value, json};

use super::{answer, any_value, window};
use crate::params::Params;
use crate::run::run;
use crate::{ApiError, ApiState};

fn labels(s: &MetricSeries) -> Vec<Value> {
    s.labels.iter().map(|(k, v)| json!({"key": k, "value": any_value(v)})).collect()
}

/// `{name="value"}` of a series, as the dialect's `promLabels`.
fn prom_labels(s: &MetricSeries) -> String {
    let inner: Vec<String> =
        s.labels.iter().map(|(k, v)| format!("{k}={:?}", super::text_and_type(v).0)).collect();
    format!("{{{}}}", inner.join(", "))
}

pub(super) async fn range(State(state): State<Arc<ApiState>>, params: Params) -> Response {
    let work = async {
        let window = window(&params, &state)?;
        let query = obs_traceql::parse(params.required("q")?)?;
        let (start, end) = (window.start.floor_to_ms(), window.end.floor_to_ms());
        let step_ms = match params.get("step") {
            Some(text) => match text.parse::<f64>() {
                Ok(seconds) if seconds.is_finite() => (seconds * 1000.0) as i64,
                _ => obs_query::parse_duration(text)?.0,
            },
            None => ((end.0 - start.0) / 100 / 1000).max(1) * 1000,
        };
        if step_ms <= 0 {
            return Err(ApiError::invalid("step must be positive"));
        }
        let exemplars_max = params.number("exemplars", 0)?.unwrap_or(100);
        let found = run(&state, None, move |s, context| {
            let range = MetricsRange { start, end, step_ms, exemplars_max };
            Ok(obs_traceql::metrics_range(s.front.traces.as_ref(), &query, &range, context)?)
        })
        .await?;
        let series: Vec<Value> = found
            .iter()
            .map(|s| {
                let samples: Vec<Value> = s
                    .samples
                    .iter()
                    .map(|(t, v)| json!({"timestampMs": t.0.to_string(), "value": v}))
                    .collect();
                let exemplars: Vec<Value> = s
                    .exemplars
                    .iter()
                    .map(|e| {
                        json!({
                            "labels": [{"key": "trace:id", "value": {"stringValue": e.trace_id.to_string()}}],
                            "value": e.value, "timestampMs": e.timestamp.0.to_string(),
                        })
                    })
                    .collect();
                json!({"labels": labels(s), "promLabels": prom_labels(s), "samples": samples, "exemplars": exemplars})
            })
            .collect();
        Ok(Json(json!({"series": series, "metrics": {"completedJobs": 1, "totalJobs": 1}}))
            .into_response())
    };
    answer(work.await)
}

pub(super) async fn instant(State(state): State<Arc<ApiState>>, params: Params) -> Response {
    let work = async {
        let window = window(&params, &state)?;
        let query = obs_traceql::parse(params.required("q")?)?;
        let found = run(&state, None, move |s, context| {
            let (start, end) = (window.start.floor_to_ms(), window.end.floor_to_ms());
            Ok(obs_traceql::metrics_instant(s.front.traces.as_ref(), &query, start, end, context)?)
        })
        .await?;
        let series: Vec<Value> = found
            .iter()
            .filter_map(|s| {
                let (_, value) = s.samples.last()?;
                Some(json!({"labels": labels(s), "promLabels": prom_labels(s), "value": value}))
            })
            .collect();
        Ok(Json(json!({"series": series, "metrics": {"completedJobs": 1, "totalJobs": 1}}))
            .into_response())
    };
    answer(work.await)
}
