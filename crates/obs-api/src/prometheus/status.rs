use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use obs_metrics::NameCount;
use obs_query::format_time;
use obs_types::{LabelSet, MatchOp, Matcher, MetricKind};
use obs_wire::exposition::FamilySample;
use serde_json::{Value, json};

use super::{answer, success};
use crate::params::Params;
use crate::run::{blocking, run};
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

/// Blocks in Prometheus' form; `ulid` is their name here, and `level` how often they were merged.
pub(super) async fn tsdb_blocks(State(state): State<Arc<ApiState>>) -> Response {
    let blocks: Vec<Value> = state
        .metrics
        .block_infos()
        .iter()
        .map(|b| {
            json!({
                "ulid": b.name, "minTime": b.min_time, "maxTime": b.max_time.saturating_add(1),
                "version": 1,
                "stats": {"numSamples": b.samples, "numSeries": b.series, "numBytes": b.bytes},
                "compaction": {"level": b.generation + 1, "sources": [b.name]},
            })
        })
        .collect();
    success(&json!({"blocks": blocks}).to_string(), &[], &[])
}

/// How often metrics were asked for since the start, the least asked first: the shape of
/// VictoriaMetrics' route, with the number of series in memory.
pub(super) async fn metric_names_stats(
    State(state): State<Arc<ApiState>>,
    params: Params,
) -> Response {
    let work = async {
        let limit = params.number("limit", 1)?.unwrap_or(1_000);
        let most = params.number("le", 0)?;
        let pattern = params.get("match_pattern").unwrap_or("");
        // Unlike PromQL's, this pattern may match anywhere in a name.
        let wanted = Matcher::new("name", MatchOp::Regex, format!(".*(?:{pattern}).*"))
            .map_err(|e| ApiError::invalid(format!("invalid parameter \"match_pattern\": {e}")))?;
        let body = blocking(&state, move |s| {
            let mut all = s.metrics.name_usage();
            let total = all.len();
            all.retain(|u| wanted.matches(&u.name));
            all.retain(|u| most.is_none_or(|most| u.queries <= most as u64));
            all.sort_by(|a, b| (a.queries, b.series, &a.name).cmp(&(b.queries, a.series, &b.name)));
            let records: Vec<Value> = all
                .iter()
                .take(limit)
                .map(|u| {
                    json!({
                        "metricName": u.name,
                        "requestsCount": u.queries,
                        "lastRequestTimestamp": u.last_query.map_or(0, |t| t.0 / 1_000),
                        "seriesCount": u.series,
                    })
                })
                .collect();
            json!({
                "status": "success",
                "statsCollectedSince": s.info.started.0 / 1_000,
                "statsCollectedRecordsTotal": total,
                "records": records,
            })
        })
        .await?;
        Ok(axum::Json(body).into_response())
    };
    answer(work.await)
}

/// The log is replayed before the port opens, so it is always done.
pub(super) async fn wal_replay() -> Response {
    success(&json!({"min": 0, "max": 0, "current": 0, "state": "done"}).to_string(), &[], &[])
}

/// One metric of a family in the JSON form of Prometheus' protobuf exposition.
fn metric_json(kind: MetricKind, samples: &[&FamilySample]) -> Value {
    let number = |v: f64| if v.is_finite() { json!(v) } else { json!(super::number(v)) };
    let first = samples.first();
    let value = number(first.map_or(f64::NAN, |s| s.value));
    let labels: Vec<Value> = first
        .into_iter()
        .flat_map(|s| s.labels.iter())
        .filter(|(n, _)| *n != "le")
        .map(|(n, v)| json!({"name": n, "value": v}))
        .collect();
    let of = |suffix: &'static str| samples.iter().filter(move |s| s.suffix == suffix);
    let (name, content) = match kind {
        MetricKind::Counter => ("counter", json!({"value": value})),
        MetricKind::Gauge => ("gauge", json!({"value": value})),
        MetricKind::Histogram => {
            // A protobuf uint64 is a text in JSON.
            let count = |v: f64| (v as u64).to_string();
            let buckets: Vec<Value> = of("_bucket")
                .map(|b| {
                    let bound = b.labels.get("le").and_then(|le| le.parse().ok());
                    json!({
                        "cumulativeCount": count(b.value),
                        "upperBound": number(bound.unwrap_or(f64::INFINITY)),
                    })
                })
                .collect();
            let content = json!({
                "sampleCount": count(of("_count").map(|s| s.value).sum()),
                "sampleSum": number(of("_sum").map(|s| s.value).sum()),
                "bucket": buckets,
            });
            ("histogram", content)
        }
        _ => ("untyped", json!({"value": value})),
    };
    let mut metric = serde_json::Map::new();
    if !labels.is_empty() {
        metric.insert("label".to_owned(), json!(labels));
    }
    metric.insert(name.to_owned(), content);
    Value::Object(metric)
}

/// vm-obs' own metrics, without a scrape; `metric_name_pattern` is anchored as PromQL's patterns.
pub(super) async fn self_metrics(State(state): State<Arc<ApiState>>, params: Params) -> Response {
    let work = async {
        let pattern = params.get("metric_name_pattern").unwrap_or(".*");
        let wanted = Matcher::new("name", MatchOp::Regex, pattern)
            .map_err(|e| ApiError::invalid(e.to_string()))?;
        let data = blocking(&state, move |s| {
            s.registry
                .gather()
                .iter()
                .filter(|f| wanted.matches(&f.name))
                .map(|f| {
                    let mut metrics: BTreeMap<LabelSet, Vec<&FamilySample>> = BTreeMap::new();
                    for sample in &f.samples {
                        metrics.entry(sample.labels.without(&["le"])).or_default().push(sample);
                    }
                    let all: Vec<Value> =
                        metrics.values().map(|samples| metric_json(f.kind, samples)).collect();
                    let kind = match f.kind {
                        MetricKind::Unknown => "UNTYPED".to_owned(),
                        kind => kind.as_str().to_uppercase(),
                    };
                    json!({"name": f.name, "help": f.help, "type": kind, "metric": all})
                })
                .collect::<Vec<Value>>()
        })
        .await?;
        Ok(success(&json!(data).to_string(), &[], &[]))
    };
    answer(work.await)
}
