use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use obs_promql::{SampleValue, Value as PromValue};
use obs_query::{Category, Dialect, category_of, expand_shorthand, format_time};
use obs_types::{
    DurationMs, ErrorKind, LabelSet, METRIC_NAME, MetricKind, NodeName, QueryContext, TimeRangeMs,
    TimestampMs,
};
use serde_json::{Map, Value, json};

use super::window;
use crate::params::Params;
use crate::prometheus::{dialect, number, span_json};
use crate::run::run;
use crate::{ApiError, ApiState};

/// ENGINE 2.1's fields, as the pack `host` records them for every node.
const FIELDS: [&str; 7] = [
    "cpu_percent",
    "memory_percent",
    "disk_percent",
    "network_rx_bytes",
    "network_tx_bytes",
    "open_file_descriptors",
    "goroutines",
];

/// A query over metrics.
#[derive(Clone, Debug)]
pub(crate) struct MetricRequest {
    /// PromQL or ENGINE's shorthand.
    pub query: String,
    pub start: TimestampMs,
    pub end: TimestampMs,
    pub step_ms: i64,
    pub dialect: Option<Dialect>,
    /// Adds what every part of the query took.
    pub trace: bool,
}

impl MetricRequest {
    /// `None` if neither `query` nor `metric` is given.
    pub(crate) fn from_params(params: &Params, state: &ApiState) -> Result<Option<Self>, ApiError> {
        let Some(query) = query_text(params) else { return Ok(None) };
        let (start, end) = window(params, state, DurationMs::HOUR)?;
        let (start, end) = (start.floor_to_ms(), end.floor_to_ms());
        let span = end.0 - start.0;
        let step_ms = match params.get("step") {
            Some(text) => obs_query::parse_duration(text)?.0,
            None => [1, 5, 10, 15, 30, 60, 300, 900, 1800, 3600, 21_600, 86_400]
                .into_iter()
                .map(|s| s * 1000)
                .find(|s| span / s <= 240)
                .unwrap_or(86_400_000),
        };
        if step_ms <= 0 || span / step_ms > 11_000 {
            return Err(ApiError::invalid("step must be positive and give at most 11000 points"));
        }
        let (dialect, trace) = (dialect(params)?, params.flag("trace"));
        Ok(Some(Self { query, start, end, step_ms, dialect, trace }))
    }
}

/// The PromQL of `metric` and `node`, or `query` as it stands.
pub(crate) fn query_text(params: &Params) -> Option<String> {
    if let Some(query) = params.get("query") {
        return Some(query.to_owned());
    }
    let metric = params.get("metric")?;
    Some(match params.get("node") {
        Some(node) => {
            let either = format!("(did:vm:node:)?{}", regex::escape(NodeName::new(node).short()));
            format!("{metric}{{node=~{}}}", Value::from(either))
        }
        None => metric.to_owned(),
    })
}

fn unit_of(metric: &str) -> &'static str {
    let metric = metric.strip_suffix("_total").unwrap_or(metric);
    for (suffix, unit) in [
        ("_percent", "percent"),
        ("_bytes", "bytes"),
        ("_seconds", "s"),
        ("_ms", "ms"),
        ("_ratio", "percentunit"),
    ] {
        if metric.ends_with(suffix) {
            return unit;
        }
    }
    ""
}

fn node_of(labels: &LabelSet) -> Option<String> {
    labels.get("node").map(|n| NodeName::new(n).did())
}

fn labels_json(labels: &LabelSet) -> Map<String, Value> {
    labels
        .iter()
        .filter(|(n, _)| *n != METRIC_NAME)
        .map(|(n, v)| (n.to_owned(), json!(v)))
        .collect()
}

/// A number, or Prometheus' text for what JSON cannot hold.
fn float_json(v: f64) -> Value {
    if v.is_finite() { json!(v) } else { json!(number(v)) }
}

pub(super) async fn metrics(
    State(state): State<Arc<ApiState>>,
    params: Params,
) -> Result<Json<Value>, ApiError> {
    if let Some(request) = MetricRequest::from_params(&params, &state)? {
        return Ok(Json(find(&state, request).await?));
    }
    let node = params.get("node").map(NodeName::new);
    let category = category(&params)?;
    let objects =
        run(&state, None, move |s, context| snapshots(s, node.as_ref(), category, context)).await?;
    Ok(Json(json!({"metrics": objects})))
}

/// What a query would read and how its parts are evaluated, without evaluating it.
pub(super) async fn explain(
    State(state): State<Arc<ApiState>>,
    params: Params,
) -> Result<Json<Value>, ApiError> {
    let request = MetricRequest::from_params(&params, &state)?
        .ok_or_else(|| ApiError::invalid("expected query or metric"))?;
    let promql = expand_shorthand(&request.query).map_or(request.query, |s| s.promql);
    let text = promql.clone();
    let over = (request.start, request.end, request.step_ms);
    let explained = run(&state, None, move |s, context| {
        Ok(s.front.engine(None, request.dialect).explain(
            s.front.metrics.as_ref(),
            &text,
            over,
            context,
        )?)
    })
    .await?;
    let tree: Value = serde_json::from_str(&explained.to_json())
        .map_err(|e| ApiError::new(ErrorKind::Bug, format!("explanation: {e}")))?;
    Ok(Json(json!({
        "query": promql,
        "start": format_time(request.start),
        "end": format_time(request.end),
        "step": DurationMs(request.step_ms).as_seconds_f64(),
        "series": explained.series(),
        "explanation": tree,
    })))
}

fn category(params: &Params) -> Result<Option<Category>, ApiError> {
    params
        .get("category")
        .map(|c| {
            Category::from_text(c).ok_or_else(|| {
                let known: Vec<&str> = Category::ALL.iter().map(|c| c.as_str()).collect();
                ApiError::invalid(format!("category {c:?} is not one of {}", known.join(", ")))
            })
        })
        .transpose()
}

/// The answer with series for a query.
pub(crate) async fn find(state: &Arc<ApiState>, request: MetricRequest) -> Result<Value, ApiError> {
    let shorthand = expand_shorthand(&request.query);
    let promql = shorthand.as_ref().map_or_else(|| request.query.clone(), |s| s.promql.clone());
    let text = promql.clone();
    let result = run(state, None, move |s, context| {
        let mut engine = s.front.engine(None, request.dialect);
        if request.trace {
            engine = Cow::Owned(engine.with_trace());
        }
        let over = (request.start, request.end, request.step_ms);
        Ok(engine.range(s.front.metrics.as_ref(), &text, over.0, over.1, over.2, context)?)
    })
    .await?;
    let series: Vec<Value> = match &result.value {
        PromValue::Matrix(all) => all
            .iter()
            .map(|s| {
                let mut points: Vec<(i64, Value)> =
                    s.floats.iter().map(|(t, v)| (*t, float_json(*v))).collect();
                points.extend(
                    s.histograms.iter().map(|(t, h)| (*t, crate::prometheus::histogram_json(h))),
                );
                points.sort_by_key(|p| p.0);
                let points: Vec<Value> = points
                    .into_iter()
                    .map(|(t, v)| json!([format_time(TimestampMs(t)), v]))
                    .collect();
                let name = s.labels.metric_name();
                json!({
                    "metric": name,
                    "labels": labels_json(&s.labels),
                    "node": node_of(&s.labels),
                    "unit": unit_of(name),
                    "points": points,
                })
            })
            .collect(),
        PromValue::Scalar { .. } | PromValue::String { .. } | PromValue::Vector(_) => Vec::new(),
    };
    let mut answer = json!({
        "query": promql,
        "shorthand": shorthand.map(|_| request.query),
        "series": series,
        "warnings": result.warnings,
    });
    if let (Some(trace), Some(answer)) = (&result.trace, answer.as_object_mut()) {
        answer.insert("trace".to_owned(), span_json(trace));
    }
    Ok(answer)
}

/// ENGINE 2.1's object for each node: its fields, or every metric of a category.
fn snapshots(
    state: &ApiState,
    node: Option<&NodeName>,
    category: Option<Category>,
    context: &QueryContext,
) -> Result<Vec<Value>, ApiError> {
    let now = state.front.now();
    let selector = match category {
        None => format!("{{__name__=~\"{}|scrape_duration_seconds\"}}", FIELDS.join("|")),
        Some(_) => "{__name__=~\".+\", node!=\"\"}".to_owned(),
    };
    let result = state.front.instant(&selector, now, context)?;
    let PromValue::Vector(samples) = &result.value else { return Ok(Vec::new()) };
    let mut nodes: BTreeMap<String, Snapshot> = BTreeMap::new();
    for sample in samples {
        let Some(name) = sample.labels.get("node").map(NodeName::new) else { continue };
        if node.is_some_and(|n| *n != name) {
            continue;
        }
        let SampleValue::Float(value) = &sample.value else { continue };
        let metric = sample.labels.metric_name();
        let snapshot = nodes.entry(name.short().to_owned()).or_default();
        if metric == "scrape_duration_seconds" {
            snapshot.scrape_ms = Some((value * 1000.0).round());
            continue;
        }
        if category.is_some_and(|c| category_of(metric) != c) {
            continue;
        }
        let labels = labels_json(&sample.labels);
        for (name, value) in &labels {
            if ["environment", "region", "service", "job", "instance"].contains(&name.as_str()) {
                snapshot.labels.entry(name.clone()).or_insert_with(|| value.clone());
            }
        }
        let rest = sample.labels.without(&[METRIC_NAME, "node", "job", "instance"]);
        let key = if category.is_none() || rest.is_empty() {
            metric.to_owned()
        } else {
            format!("{metric}{rest}")
        };
        snapshot.metrics.insert(key, float_json(*value));
    }
    let time = format_time(TimestampMs(now.0.div_euclid(1000) * 1000));
    Ok(nodes
        .into_iter()
        .filter(|(_, s)| !s.metrics.is_empty())
        .map(|(node, s)| {
            let subject = if s.metrics.contains_key("cpu_percent") { "cpu" } else { "all" };
            json!({
                "metric_id": format!("metric:{node}:{subject}:{time}"),
                "node": NodeName::new(&node).did(),
                "timestamp": time,
                "metrics": s.metrics,
                "labels": s.labels,
                "collection_method": "prometheus_scrape",
                "scrape_duration_ms": s.scrape_ms,
            })
        })
        .collect())
}

#[derive(Default)]
struct Snapshot {
    metrics: BTreeMap<String, Value>,
    labels: Map<String, Value>,
    scrape_ms: Option<f64>,
}

pub(super) async fn names(
    State(state): State<Arc<ApiState>>,
    params: Params,
) -> Result<Json<Value>, ApiError> {
    let node = params.get("node").map(NodeName::new);
    let category = category(&params)?;
    let now = state.front.now();
    let answer = run(&state, None, move |s, context| {
        let range = TimeRangeMs::new(now.saturating_sub(DurationMs::HOUR), TimestampMs(now.0 + 1));
        let sets = match &node {
            Some(n) => {
                let either = format!("(did:vm:node:)?{}", regex::escape(n.short()));
                let matcher = obs_types::Matcher::new("node", obs_types::MatchOp::Regex, either)
                    .map_err(|e| ApiError::invalid(e.to_string()))?;
                vec![vec![matcher]]
            }
            None => Vec::new(),
        };
        let names: BTreeSet<String> =
            s.front.metrics.label_values(METRIC_NAME, &sets, range, context)?.into_iter().collect();
        let metadata: BTreeMap<String, _> =
            s.front.metrics.metadata(None)?.into_iter().map(|m| (m.family.clone(), m)).collect();
        let listed: Vec<Value> = names
            .iter()
            .filter(|n| category.is_none_or(|c| category_of(n) == c))
            .map(|name| {
                let family = ["", "_total", "_bucket", "_count", "_sum"]
                    .iter()
                    .find_map(|suffix| metadata.get(name.strip_suffix(suffix)?));
                let kind = family.map_or(MetricKind::Unknown, |m| m.kind);
                let kind = match kind {
                    MetricKind::Unknown if name.ends_with("_total") => MetricKind::Counter,
                    other => other,
                };
                json!({
                    "name": name,
                    "category": category_of(name).as_str(),
                    "kind": kind.as_str(),
                    "help": family.map_or("", |m| m.help.as_str()),
                    "unit": unit_of(name),
                })
            })
            .collect();
        Ok(json!({"metrics": listed}))
    })
    .await?;
    Ok(Json(answer))
}
