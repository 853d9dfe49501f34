//! `GET /obs/anchors`: how the places outside this node stand.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

use crate::run::blocking;
use crate::{ApiError, ApiState};

/// From this back-off level on something is wrong for several minutes.
const DEGRADED_LEVEL: u8 = 3;

pub(super) async fn list(State(state): State<Arc<ApiState>>) -> Result<Json<Value>, ApiError> {
    blocking(&state, |s| Json(answer(s))).await
}

fn answer(s: &ApiState) -> Value {
    let Some(scheduler) = &s.anchors else { return json!({"enabled": false, "anchors": []}) };
    let stats = scheduler.stats();
    let anchors: Vec<Value> = scheduler
        .anchors()
        .into_iter()
        .map(|a| {
            json!({
                "name": a.name,
                "kind": a.kind,
                "target": a.target,
                "anchored": a.anchored,
                "promised": a.promised,
                "last": a.last.map(obs_query::format_time),
                "backoff_level": a.backoff_level,
                "error": a.error,
                "due": obs_query::format_time(a.due),
            })
        })
        .collect();
    json!({
        "enabled": true,
        "attempts": stats.attempts,
        "failures": stats.failures,
        "backoff_level": stats.backoff_level,
        "config_reloads": stats.config_reloads,
        "uptime_seconds": stats.uptime_ms as f64 / 1_000.0,
        "last_anchor": stats.last_anchor.map(obs_query::format_time),
        "queue_depth": stats.queue_depth,
        "anchors": anchors,
    })
}

/// Level and words of the health component; `None` where nothing is to be anchored.
pub(super) fn health(s: &ApiState) -> Option<(usize, String)> {
    let scheduler = s.anchors.as_ref()?;
    let anchors = scheduler.anchors();
    let failing = anchors.iter().find(|a| a.backoff_level >= DEGRADED_LEVEL);
    Some(match failing {
        None => {
            let depth = scheduler.stats().queue_depth;
            (0, format!("{} anchors, {depth} receipts waiting", anchors.len()))
        }
        Some(a) => {
            let reason = a.error.as_deref().unwrap_or("no reason given");
            (1, format!("{} fails, back-off level {}: {reason}", a.name, a.backoff_level))
        }
    })
}
