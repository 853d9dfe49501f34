use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use obs_collect::scrape::{ScrapeJob, TargetStatus, relabel_steps};
use obs_query::format_time;
use obs_types::{ErrorKind, LabelSet};
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
    let pools: BTreeSet<String> = (state.scrape_jobs)().into_iter().map(|job| job.name).collect();
    success(&json!({"scrapePools": pools}).to_string(), &[], &[])
}

/// The job that the request names.
fn pool(state: &ApiState, params: &Params) -> Result<ScrapeJob, ApiError> {
    let name = params.required("scrapePool")?;
    (state.scrape_jobs)()
        .into_iter()
        .find(|job| job.name == name)
        .ok_or_else(|| ApiError::not_found(format!("unknown scrape pool: {name:?}")))
}

/// A job as its file could have it, with what was left to defaults written out.
pub(super) async fn pool_config(State(state): State<Arc<ApiState>>, params: Params) -> Response {
    answer(pool(&state, &params).and_then(|job| {
        let yaml = serde_saphyr::to_string(&job.shown())
            .map_err(|e| ApiError::new(ErrorKind::Bug, e.to_string()))?;
        Ok(success(&json!({"yaml": yaml}).to_string(), &[], &[]))
    }))
}

/// What each relabeling rule of a job makes of the labels that the request gives.
pub(super) async fn relabeling(State(state): State<Arc<ApiState>>, params: Params) -> Response {
    let work = || {
        let job = pool(&state, &params)?;
        let labels: BTreeMap<String, String> = serde_json::from_str(params.required("labels")?)
            .map_err(|e| ApiError::invalid(format!("invalid parameter \"labels\": {e}")))?;
        let labels = LabelSet::from_pairs(labels);
        let steps: Vec<Value> = relabel_steps(&labels, &job.relabel)
            .iter()
            .map(|s| {
                json!({
                    "rule": s.rule.shown(),
                    "output": encode::labels_value(&s.output),
                    "keep": s.keep,
                })
            })
            .collect();
        Ok(success(&json!({"steps": steps}).to_string(), &[], &[]))
    };
    answer(work())
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
