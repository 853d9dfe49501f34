use std::collections::BTreeSet;
use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use obs_collect::scrape::TargetStatus;
use obs_query::format_time;
use serde_json::{Value, json};

use super::labels::found_metadata;
use super::{answer, encode, success};
use crate::params::Params;
use crate::{ApiError, ApiState};

fn active(t: &TargetStatus) -> Value {
    json!({
        "discoveredLabels": encode::labels_value(&t.target.discovered),
        "labels": encode::labels_value(&t.target.labels),
        "scrapePool": t.job,
        "scrapeUrl": t.target.url,
        "globalUrl": t.target.url,
        "lastError": t.last_error,
        "lastScrape": t.last_scrape.map_or_else(|| "0001-01-01T00:00:00Z".to_owned(), format_time),
        "lastScrapeDuration": t.last_duration_ms / 1000.0,
        "health": t.health.as_str(),
        "scrapeInterval": format!("{}s", t.interval_ms as f64 / 1000.0),
        "scrapeTimeout": format!("{}s", t.timeout_ms as f64 / 1000.0),
    })
}

pub(super) async fn targets(State(state): State<Arc<ApiState>>, params: Params) -> Response {
    let pool = params.get("scrapePool");
    let wanted = params.get("state").unwrap_or("any");
    let all: Vec<Value> = (state.targets)()
        .iter()
        .filter(|t| pool.is_none_or(|p| p == t.job) && wanted != "dropped")
        .map(active)
        .collect();
    let (kept, counts) = (state.dropped_targets)();
    let dropped: Vec<Value> = kept
        .iter()
        .filter(|t| pool.is_none_or(|p| p == t.job) && wanted != "active")
        .map(|t| {
            json!({
                "discoveredLabels": encode::labels_value(&t.discovered),
                "scrapePool": t.job,
            })
        })
        .collect();
    let data = json!({
        "activeTargets": all, "droppedTargets": dropped, "droppedTargetCounts": counts,
    });
    success(&data.to_string(), &[], &[])
}

pub(super) async fn pools(State(state): State<Arc<ApiState>>) -> Response {
    let pools: BTreeSet<String> = (state.targets)().into_iter().map(|t| t.job).collect();
    success(&json!({"scrapePools": pools}).to_string(), &[], &[])
}

/// Metadata of the metrics that targets expose; vm-obs keeps it by metric, so every target of the
/// answer carries the same.
pub(super) async fn metadata(State(state): State<Arc<ApiState>>, params: Params) -> Response {
    let work = async {
        let limit = params.number("limit", 0)?.unwrap_or(usize::MAX);
        let wanted = params
            .get("match_target")
            .map(|text| {
                obs_promql::parse_selector(text).map_err(|e| {
                    ApiError::invalid(format!("invalid parameter \"match_target\": {e}"))
                })
            })
            .transpose()?
            .unwrap_or_default();
        let found = found_metadata(&state, &params).await?;
        let mut targets = (state.targets)();
        targets.retain(|t| wanted.iter().all(|m| m.matches_labels(&t.target.labels)));
        let data: Vec<Value> = found
            .iter()
            .flat_map(|m| {
                targets.iter().map(move |t| {
                    json!({
                        "target": encode::labels_value(&t.target.labels),
                        "metric": m.family, "type": m.kind.as_str(),
                        "help": m.help, "unit": m.unit,
                    })
                })
            })
            .take(limit)
            .collect();
        Ok(success(&json!(data).to_string(), &[], &[]))
    };
    answer(work.await)
}
