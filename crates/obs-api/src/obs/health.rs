use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::State;
use axum::{Extension, Json};
use obs_archive::Signal;
use obs_promql::{SampleValue, Value as PromValue};
use obs_types::{
    CancelToken, DurationMs, QueryContext, TimeRangeMs, TimeRangeNs, TimestampMs, TraceSelect,
};
use obs_wire::exposition::Family;
use serde_json::{Value, json};

use crate::ApiState;
use crate::run::blocking;

/// Below this the disk counts as nearly full.
const FREE_BYTES_MIN: u64 = 256 << 20;

/// How long a counter that rose keeps its part degraded.
const RISE_MS: i64 = 5 * 60_000;
/// Longest that a health report waits for an engine.
const PATIENCE: Duration = Duration::from_secs(5);

/// What earlier reports saw, to tell that a counter rises. Kept in memory because a full disk also
/// refuses vm-obs' own samples.
#[derive(Debug, Default)]
pub(crate) struct HealthMemory {
    refused: Mutex<Rise>,
    rejected: Mutex<Rise>,
}

#[derive(Debug, Default)]
struct Rise {
    value: f64,
    at: Option<TimestampMs>,
}

/// Whether the counter rose within [`RISE_MS`]; before the first report it was 0.
fn rises(rise: &Mutex<Rise>, value: f64, now: TimestampMs) -> bool {
    let mut rise = rise.lock().unwrap_or_else(PoisonError::into_inner);
    if value > rise.value {
        rise.at = Some(now);
    }
    rise.value = value;
    rise.at.is_some_and(|at| now.0.saturating_sub(at.0) < RISE_MS)
}

pub(super) async fn health(
    State(state): State<Arc<ApiState>>,
    Extension(memory): Extension<Arc<HealthMemory>>,
) -> Json<Value> {
    Json(report(&state, &memory).await)
}

/// The health of every part, and the rates at which telemetry comes in. `degraded` where something
/// is refused, damaged or failing; `unhealthy` only where reads fail.
pub(crate) async fn report(state: &Arc<ApiState>, memory: &Arc<HealthMemory>) -> Value {
    let memory = Arc::clone(memory);
    let report = blocking(state, move |s| {
        let context = s.front.context(Some(PATIENCE), CancelToken::default());
        build(s, &memory, &context)
    });
    match report.await {
        Ok(report) => report,
        Err(e) => json!({
            "status": "unhealthy", "version": state.info.version,
            "components": [{"name": "query", "status": "unhealthy", "detail": e.message}],
        }),
    }
}

/// One small real read from each engine; the error is the reason.
fn reads(s: &ApiState, context: &QueryContext) -> [Result<(), String>; 3] {
    let now = s.front.now();
    let range = TimeRangeMs::new(now.saturating_sub(DurationMs::MINUTE), now);
    let range_ns = TimeRangeNs::new(range.start.to_ns(), range.end.to_ns());
    let metrics = s.front.instant("vmobs_build_info", now, context);
    let logs = s.front.logs.streams(&[], range_ns, context);
    let traces = s
        .front
        .traces
        .select(&TraceSelect { range: range_ns, all_of: &[] }, context)
        .and_then(|mut found| found.next().transpose());
    [
        metrics.map(|_| ()).map_err(|e| e.to_string()),
        logs.map(|_| ()).map_err(|e| e.to_string()),
        traces.map(|_| ()).map_err(|e| e.to_string()),
    ]
}

/// The sum over all series of one of the process' own counters.
fn own_counter(families: &[Family], name: &str) -> f64 {
    families
        .iter()
        .filter(|f| f.name == name || f.name == name.strip_suffix("_total").unwrap_or(name))
        .flat_map(|f| &f.samples)
        .map(|s| s.value)
        .filter(|v| v.is_finite())
        .fold(0.0, |sum, v| sum + v)
}

fn build(s: &ApiState, memory: &HealthMemory, context: &QueryContext) -> Value {
    let now = s.front.now();
    let mut components = Vec::new();
    let mut worst = 0;
    let mut put = |name: &str, level: usize, detail: String| {
        worst = worst.max(level);
        let status =
            ["healthy", "degraded", "unhealthy"].get(level).copied().unwrap_or("unhealthy");
        components.push(json!({"name": name, "status": status, "detail": detail}));
    };
    let metrics = s.metrics.stats();
    let logs = s.logs.stats();
    let traces = s.traces.stats();
    let details = [
        ("metrics engine", format!("{} series in memory", metrics.head_series)),
        ("log engine", format!("{} streams", logs.streams)),
        ("trace engine", format!("{} blocks", traces.blocks)),
    ];
    for ((name, detail), read) in details.into_iter().zip(reads(s, context)) {
        match read {
            Ok(()) => put(name, 0, detail),
            Err(reason) => put(name, 2, format!("reads fail: {reason}")),
        }
    }
    let families = s.registry.gather();
    let refused = own_counter(&families, "vmobs_ingest_batches_refused_total");
    let rejected = own_counter(&families, "vmobs_ingest_rejected_total");
    if rises(&memory.refused, refused, now) {
        put(
            "ingest",
            1,
            format!("storage refused batches, {refused} since the start: disk full or overloaded"),
        );
    } else if rises(&memory.rejected, rejected, now) {
        put(
            "ingest",
            1,
            format!(
                "data is rejected, {rejected} items since the start; reasons in vmobs_ingest_rejected_total"
            ),
        );
    } else {
        put("ingest", 0, "everything is accepted".to_owned());
    }
    let owed = s.alerts.owed_receipts();
    if owed > 0 {
        put("alert receipts", 1, format!("{owed} receipts could not be written yet"));
    }
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
    match s.ledger.frozen() {
        None => put("ledger", 0, format!("{} receipts", head.size)),
        Some(reason) => put("ledger", 1, format!("takes no more receipts: {reason}")),
    }
    if let Some((level, detail)) = super::anchors::health(s) {
        put("anchors", level, detail);
    }
    let free = s.disk.free_bytes(&s.info.data_dir).ok();
    let low = free.is_some_and(|f| f < FREE_BYTES_MIN);
    put(
        "disk",
        usize::from(low),
        free.map_or_else(|| "free space unknown".to_owned(), |f| format!("{} MiB free", f >> 20)),
    );
    let targets = (s.targets)();
    let down = targets.iter().filter(|t| t.health == obs_collect::scrape::Health::Down).count();
    put("scrape targets", usize::from(down > 0), format!("{} targets, {down} down", targets.len()));
    let (firing, pending) = s.alerts.counts();
    let failing = s.alerts.failing_rules();
    if failing > 0 {
        put("rules", 1, format!("{failing} rules fail to evaluate"));
    } else {
        put("rules", 0, "all rules evaluate".to_owned());
    }
    let uptime = (now.0 - s.info.started.0).max(0) as f64 / 1000.0;
    let sealed_metrics = s.archive.sealed_span(Signal::Metrics).map(|(first, last)| {
        json!({
            "start": obs_query::format_time(first.start()),
            "end": obs_query::format_time(last.end()),
            "missing_hours": s.archive.gaps(Signal::Metrics, first, last).len(),
        })
    });
    let rate = |signal: &str| {
        instant(
            s,
            &format!("sum(rate(vmobs_ingested_items_total{{signal=\"{signal}\"}}[1m]))"),
            context,
        )
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
            "rejected_total": rejected,
        },
        "storage": {
            "metrics": {"series": metrics.head_series, "bytes": metrics.block_bytes + metrics.wal_bytes},
            "logs": {"streams": logs.streams, "bytes": logs.block_bytes + logs.head_bytes},
            "traces": {"blocks": traces.blocks, "bytes": traces.block_bytes + traces.wal_bytes},
            "damaged_blocks": damaged,
            "sealed_files": archive.sealed_files,
            "sealed_metrics": sealed_metrics,
            "unreadable_sealed_files": archive.unreadable_files,
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
            // Adding zero turns a negative zero into a plain one.
            Some(SampleValue::Float(v)) if v.is_finite() => *v + 0.0,
            _ => 0.0,
        },
        _ => 0.0,
    }
}
