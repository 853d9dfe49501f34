use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use obs_promql::{SampleValue, Value as PromValue};
use obs_types::QueryContext;
use serde_json::{Value, json};

use crate::ApiState;
use crate::run::run;

/// Below this the disk counts as nearly full.
const FREE_BYTES_MIN: u64 = 256 << 20;

pub(super) async fn health(State(state): State<Arc<ApiState>>) -> Json<Value> {
    Json(report(&state).await)
}

/// The health of every part, and the rates at which telemetry comes in.
pub(crate) async fn report(state: &Arc<ApiState>) -> Value {
    match run(state, None, |s, context| Ok(build(s, context))).await {
        Ok(report) => report,
        Err(e) => json!({
            "status": "unhealthy", "version": state.info.version,
            "components": [{"name": "query", "status": "unhealthy", "detail": e.message}],
        }),
    }
}

fn build(s: &ApiState, context: &QueryContext) -> Value {
    let now = s.front.now();
    let mut components = Vec::new();
    let mut worst = 0;
    let mut put = |name: &str, level: usize, detail: String| {
        worst = worst.max(level);
        let status = ["healthy", "degraded", "unhealthy"].get(level).copied().unwrap_or("unhealthy");
        components.push(json!({"name": name, "status": status, "detail": detail}));
    };
    let metrics = s.metrics.stats();
    let logs = s.logs.stats();
    let traces = s.traces.stats();
    put("metrics engine", 0, format!("{} series in memory", metrics.head_series));
    put("log engine", 0, format!("{} streams", logs.streams));
    put("trace engine", 0, format!("{} blocks", traces.blocks));
    let damaged = metrics.blocks_quarantined + logs.quarantined_blocks + traces.blocks_corrupt;
    if damaged > 0 {
        put("blocks", 1, format!("{damaged} damaged blocks are left out of queries"));
    }
    let archive = s.archive.stats();
    put(
        "archive",
        usize::from(archive.unreadable_files > 0),
        format!("{} sealed files, {} unreadable", archive.sealed_files, archive.unreadable_files),
    );
    let head = s.ledger.head();
    put("ledger", 0, format!("{} receipts", head.size));
    let free = s.disk.free_bytes(&s.info.data_dir).ok();
    let low = free.is_some_and(|f| f < FREE_BYTES_MIN);
    put(
        "disk",
        if low { 2 } else { 0 },
        free.map_or_else(|| "free space unknown".to_owned(), |f| format!("{} MiB free", f >> 20)),
    );
    let targets = (s.targets)();
    let down = targets.iter().filter(|t| t.health == obs_collect::scrape::Health::Down).count();
    put(
        "scrape targets",
        usize::from(down > 0),
        format!("{} targets, {down} down", targets.len()),
    );
    let (firing, pending) = s.alerts.counts();
    let failing = s.alerts.failing_rules();
    if failing > 0 {
        put("rules", 1, format!("{failing} rules fail to evaluate"));
    } else {
        put("rules", 0, "all rules evaluate".to_owned());
    }
    let uptime = (now.0 - s.info.started.0).max(0) as f64 / 1000.0;
    let rate = |signal: &str| {
        instant(s, &format!("sum(rate(vmobs_ingested_items_total{{signal=\"{signal}\"}}[1m]))"), context)
    };
    json!({
        "status": (["healthy", "degraded", "unhealthy"].get(worst).copied().unwrap_or("unhealthy")),
        "version": s.info.version,
        "uptime_seconds": uptime,
        "now": obs_query::format_time(now),
        "node": s.info.node,
        "components": components,
        "ingest": {
            "samples_per_second": rate("metrics"),
            "log_lines_per_second": rate("logs"),
            "spans_per_second": rate("traces"),
            "rejected_total": instant(s, "sum(vmobs_ingest_rejected_total)", context),
        },
        "storage": {
            "metrics": {"series": metrics.head_series, "bytes": metrics.block_bytes + metrics.wal_bytes},
            "logs": {"streams": logs.streams, "bytes": logs.block_bytes + logs.head_bytes},
            "traces": {"blocks": traces.blocks, "bytes": traces.block_bytes + traces.wal_bytes},
            "free_bytes": free,
        },
        "alerts": {"firing": firing, "pending": pending},
        "ledger": {"size": head.size},
        "packs": s.info.packs,
        "demo": s.demo.is_some(),
    })
}

/// The single value of an expression, 0 where it gives none.
fn instant(s: &ApiState, query: &str, context: &QueryContext) -> f64 {
    match s.front.instant(query, s.front.now(), context).map(|r| r.value) {
        Ok(PromValue::Vector(all)) => match all.first().map(|v| &v.value) {
            Some(SampleValue::Float(v)) if v.is_finite() => *v,
            _ => 0.0,
        },
        _ => 0.0,
    }
}
