use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use obs_types::LabelSet;
use serde_json::{Value, json};

use super::{answer, selectors, window};
use crate::params::Params;
use crate::prometheus::labels_value;
use crate::run::run;
use crate::{ApiError, ApiState};

fn success(data: Value) -> Response {
    Json(json!({"status": "success", "data": data})).into_response()
}

/// The streams of the request's window and of the selectors in `texts`.
pub(super) async fn streams(
    state: &Arc<ApiState>,
    params: &Params,
    texts: impl Iterator<Item = &str>,
) -> Result<Vec<LabelSet>, ApiError> {
    let range = window(params, state)?;
    let sets = selectors(texts)?;
    run(state, None, move |s, context| Ok(s.front.logs.streams(&sets, range, context)?)).await
}

/// Answers with what `data` makes of the streams that `query`, `match` and `match[]` select.
async fn of_streams(
    state: &Arc<ApiState>,
    params: &Params,
    data: impl FnOnce(&[LabelSet]) -> Value,
) -> Response {
    let texts = params.all("query").chain(params.all("match[]")).chain(params.all("match"));
    answer(streams(state, params, texts).await.map(|all| success(data(&all))))
}

pub(super) async fn names(State(state): State<Arc<ApiState>>, params: Params) -> Response {
    of_streams(&state, &params, |all| {
        let names: BTreeSet<&str> = all.iter().flat_map(|s| s.iter().map(|(n, _)| n)).collect();
        json!(names)
    })
    .await
}

pub(super) async fn values(
    State(state): State<Arc<ApiState>>,
    Path(name): Path<String>,
    params: Params,
) -> Response {
    of_streams(&state, &params, |all| {
        let values: BTreeSet<&str> = all.iter().filter_map(|s| s.get(&name)).collect();
        json!(values)
    })
    .await
}

pub(super) async fn series(State(state): State<Arc<ApiState>>, params: Params) -> Response {
    of_streams(&state, &params, |all| all.iter().map(labels_value).collect()).await
}

pub(super) async fn stats(State(state): State<Arc<ApiState>>, params: Params) -> Response {
    let work = async {
        let range = window(&params, &state)?;
        let matchers = selectors(params.all("query"))?.into_iter().next().unwrap_or_default();
        let stats = run(&state, None, move |s, context| {
            Ok(s.front.logs.stats(&matchers, range, context)?)
        })
        .await?;
        Ok(Json(json!({
            "streams": stats.streams, "chunks": stats.chunks,
            "bytes": stats.bytes, "entries": stats.entries,
        }))
        .into_response())
    };
    answer(work.await)
}

/// Bytes by stream, or by the labels in `targetLabels`, largest first.
pub(super) async fn volume(State(state): State<Arc<ApiState>>, params: Params) -> Response {
    let work = async {
        let range = window(&params, &state)?;
        let matchers = selectors(params.all("query"))?.into_iter().next().unwrap_or_default();
        let wanted: Vec<String> = params
            .get("targetLabels")
            .map(|t| t.split(',').map(|n| n.trim().to_owned()).collect())
            .unwrap_or_default();
        let limit = params.number("limit", 1)?.unwrap_or(100);
        let volumes = run(&state, None, move |s, context| {
            let mut volumes: BTreeMap<LabelSet, u64> = BTreeMap::new();
            for labels in s.front.logs.streams(&[matchers], range, context)? {
                let exact: Vec<_> =
                    labels.iter().map(|(n, v)| obs_types::Matcher::equal(n, v)).collect();
                let bytes = s.front.logs.stats(&exact, range, context)?.bytes;
                let key = if wanted.is_empty() {
                    labels
                } else {
                    labels.keep(&wanted.iter().map(String::as_str).collect::<Vec<_>>())
                };
                *volumes.entry(key).or_default() += bytes;
            }
            Ok(volumes)
        })
        .await?;
        let mut sorted: Vec<_> = volumes.into_iter().collect();
        sorted.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        let at = range.end.0 / 1_000_000_000;
        let result: Vec<Value> = sorted
            .iter()
            .take(limit)
            .map(|(labels, bytes)| {
                json!({"metric": labels_value(labels), "value": [at, bytes.to_string()]})
            })
            .collect();
        Ok(success(json!({"resultType": "vector", "result": result})))
    };
    answer(work.await)
}

pub(super) async fn build() -> Response {
    Json(json!({"version": "3.8.0", "revision": env!("CARGO_PKG_VERSION"), "branch": "vm-obs", "goVersion": ""}))
        .into_response()
}

pub(super) async fn limits() -> Response {
    Json(json!({"limits": {
        "discover_log_levels": true, "discover_service_name": ["service_name"],
        "max_entries_limit_per_query": 5000, "max_query_series": 500,
        "retention_period": "0s", "volume_enabled": true, "volume_max_series": 1000,
    }, "pattern_ingester_enabled": false, "version": "3.8.0"}))
    .into_response()
}
