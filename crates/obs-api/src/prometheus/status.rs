use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use obs_metrics::NameCount;
use obs_query::format_time;
use serde_json::{Value, json};

use super::{answer, matchers, success, window};
use crate::params::Params;
use crate::run::run;
use crate::{ApiError, ApiState};

/// The Prometheus version whose API this is; Grafana chooses features by it.
const COMPATIBLE_WITH: &str = "3.14.0";

pub(super) async fn config(State(state): State<Arc<ApiState>>) -> Response {
    success(&json!({"yaml": state.info.config_yaml}).to_string(), &[], &[])
}

pub(super) async fn flags(State(state): State<Arc<ApiState>>) -> Response {
    let flags: BTreeMap<&str, &str> =
        state.info.flags.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
    success(&json!(flags).to_string(), &[], &[])
}

pub(super) async fn runtime(State(state): State<Arc<ApiState>>) -> Response {
    let stats = state.metrics.stats();
    let data = json!({
        "startTime": format_time(state.info.started),
        "CWD": "",
        "hostname": state.info.node,
        "serverTime": format_time(state.front.now()),
        "reloadConfigSuccess": true,
        "lastConfigTime": format_time(state.info.started),
        "corruptionCount": stats.wal_corrupt + stats.sections_corrupt + stats.blocks_quarantined,
        "goroutineCount": 0,
        "GOMAXPROCS": std::thread::available_parallelism().map_or(1, usize::from),
        "GOMEMLIMIT": 0,
        "GOGC": "",
        "GODEBUG": "",
        "storageRetention": "",
    });
    success(&data.to_string(), &[], &[])
}

pub(super) async fn build(State(state): State<Arc<ApiState>>) -> Response {
    let data = json!({
        "version": COMPATIBLE_WITH, "revision": format!("vm-obs {}", state.info.version),
        "branch": "vm-obs", "buildUser": "", "buildDate": "", "goVersion": "",
        "application": "vm-obs",
    });
    success(&data.to_string(), &[], &[])
}

fn counts(all: &[NameCount]) -> Vec<Value> {
    all.iter().map(|c| json!({"name": c.name, "value": c.count})).collect()
}

pub(super) async fn tsdb(State(state): State<Arc<ApiState>>, params: Params) -> Response {
    let work = async {
        let limit = params.number("limit", 1)?.unwrap_or(10);
        let data = run(&state, None, move |s, _context| {
            let stats = s.metrics.stats();
            let c = s.metrics.cardinality(limit);
            let (min, max) = stats.head_bounds.unwrap_or((0, 0));
            Ok(json!({
                "headStats": {
                    "numSeries": c.series, "numLabelPairs": c.label_pairs,
                    "chunkCount": stats.head_chunks, "minTime": min, "maxTime": max,
                },
                "seriesCountByMetricName": counts(&c.series_by_metric_name),
                "labelValueCountByLabelName": counts(&c.values_by_label_name),
                "memoryInBytesByLabelName": counts(&c.bytes_by_label_name),
                "seriesCountByLabelValuePair": counts(&c.series_by_label_pair),
            }))
        })
        .await?;
        Ok(success(&data.to_string(), &[], &[]))
    };
    answer(work.await)
}

/// What this server understands, in the form of Prometheus 3.8 and newer.
pub(super) async fn features() -> Response {
    let data = json!({
        "api": {
            "admin": true, "exclude_alerts": false, "label_values_match": true,
            "lifecycle": false, "otlp_write_receiver": true, "query_stats": true,
            "query_warnings": true, "remote_write_receiver": true, "search": false,
            "time_range_labels": true, "time_range_series": true,
        },
        "prometheus": {"agent_mode": false, "server_mode": true},
        "promql": {
            "at_modifier": true, "bool": true, "by": true, "group_left": true,
            "group_right": true, "ignoring": true, "negative_offset": true, "offset": true,
            "on": true, "per_query_lookback_delta": false, "subqueries": true, "without": true,
        },
    });
    success(&data.to_string(), &[], &[])
}

/// The log is replayed before the port opens, so it is always done.
pub(super) async fn wal_replay() -> Response {
    success(&json!({"min": 0, "max": 0, "current": 0, "state": "done"}).to_string(), &[], &[])
}

pub(super) async fn delete_series(State(state): State<Arc<ApiState>>, params: Params) -> Response {
    let work = async {
        let sets = matchers(&params, true)?;
        let range = window(&params)?;
        run(&state, None, move |s, _context| {
            s.metrics
                .delete_series(&sets, range)
                .map_err(|e| ApiError::new(e.kind(), e.to_string()))
        })
        .await?;
        Ok(StatusCode::NO_CONTENT.into_response())
    };
    answer(work.await)
}
