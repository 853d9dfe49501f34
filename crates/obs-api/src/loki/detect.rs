//! What labels and fields lie in a selection, found by looking at its newest lines.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use obs_types::{Direction, LogSelect, QueryContext, TimeRangeNs};
use serde_json::{Value, json};

use super::labels::streams;
use super::{answer, window};
use crate::params::Params;
use crate::run::run;
use crate::{ApiError, ApiState};

const LINES: usize = 1_000;

#[derive(Default)]
struct Field {
    values: BTreeSet<String>,
    /// Empty: structured metadata.
    parsers: BTreeSet<&'static str>,
}

pub(super) async fn labels(State(state): State<Arc<ApiState>>, params: Params) -> Response {
    let work = async {
        let all = streams(&state, &params, params.all("query")).await?;
        let mut seen: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for (name, value) in all.iter().flat_map(|s| s.iter()) {
            seen.entry(name).or_default().insert(value);
        }
        let found: Vec<Value> = seen
            .iter()
            .map(|(name, values)| json!({"label": name, "cardinality": values.len()}))
            .collect();
        Ok(Json(json!({"detectedLabels": found})).into_response())
    };
    answer(work.await)
}

pub(super) async fn fields(State(state): State<Arc<ApiState>>, params: Params) -> Response {
    let work = async {
        let limit = params.number("limit", 1)?.unwrap_or(1000);
        let found: Vec<Value> = detect(&state, &params)
            .await?
            .iter()
            .take(limit)
            .map(|(name, field)| {
                let parsers =
                    if field.parsers.is_empty() { Value::Null } else { json!(field.parsers) };
                json!({
                    "label": name,
                    "type": kind(&field.values),
                    "cardinality": field.values.len(),
                    "parsers": parsers,
                })
            })
            .collect();
        Ok(Json(json!({"fields": found, "limit": limit})).into_response())
    };
    answer(work.await)
}

pub(super) async fn values(
    State(state): State<Arc<ApiState>>,
    Path(name): Path<String>,
    params: Params,
) -> Response {
    let work = async {
        let limit = params.number("limit", 1)?.unwrap_or(1000);
        let found = detect(&state, &params).await?;
        let values: Vec<&String> =
            found.get(&name).map(|f| f.values.iter().take(limit).collect()).unwrap_or_default();
        Ok(Json(json!({"values": values, "limit": limit})).into_response())
    };
    answer(work.await)
}

fn kind(values: &BTreeSet<String>) -> &'static str {
    let all = |test: fn(&str) -> bool| !values.is_empty() && values.iter().all(|v| test(v));
    if all(|v| v.parse::<i64>().is_ok()) {
        "int"
    } else if all(|v| v.parse::<f64>().is_ok()) {
        "float"
    } else if all(|v| matches!(v, "true" | "false")) {
        "boolean"
    } else if all(|v| obs_query::parse_duration(v).is_ok()) {
        "duration"
    } else {
        "string"
    }
}

async fn detect(
    state: &Arc<ApiState>,
    params: &Params,
) -> Result<BTreeMap<String, Field>, ApiError> {
    let range = window(params, state)?;
    // A whole pipeline may be given; its selector decides which lines are looked at.
    let matchers = params
        .get("query")
        .map(|q| {
            obs_logql::parse(q)
                .map(|e| obs_logql::matchers(&e).into_iter().next().unwrap_or_default())
                .map_err(|e| ApiError::invalid(e.to_string()))
        })
        .transpose()?
        .unwrap_or_default();
    run(state, None, move |s, context| sample(s, &matchers, range, context)).await
}

fn sample(
    state: &ApiState,
    matchers: &[obs_types::Matcher],
    range: TimeRangeNs,
    context: &QueryContext,
) -> Result<BTreeMap<String, Field>, ApiError> {
    let select = LogSelect {
        matchers,
        range,
        line_contains: &[],
        metadata_equals: &[],
        direction: Direction::Backward,
        limit: Some(LINES),
    };
    let mut fields: BTreeMap<String, Field> = BTreeMap::new();
    let mut lines = 0;
    'all: for stream in state.front.logs.select(&select, context)? {
        for entry in stream?.entries.iter().rev() {
            for (name, value) in entry.metadata.iter() {
                fields.entry(name.to_owned()).or_default().values.insert(value.to_owned());
            }
            parse_line(&entry.line, &mut fields);
            lines += 1;
            if lines >= LINES {
                break 'all;
            }
        }
    }
    Ok(fields)
}

fn parse_line(line: &str, fields: &mut BTreeMap<String, Field>) {
    let mut put = |name: &str, value: String, parser: &'static str| {
        let field = fields.entry(name.to_owned()).or_default();
        field.values.insert(value);
        field.parsers.insert(parser);
    };
    if line.starts_with('{') {
        if let Ok(Value::Object(map)) = serde_json::from_str::<Value>(line) {
            for (name, value) in &map {
                match value {
                    Value::String(s) => put(name, s.clone(), "json"),
                    Value::Number(_) | Value::Bool(_) => put(name, value.to_string(), "json"),
                    Value::Null | Value::Array(_) | Value::Object(_) => {}
                }
            }
        }
        return;
    }
    for word in line.split_whitespace() {
        if let Some((name, value)) = word.split_once('=')
            && !name.is_empty()
            && name.chars().all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c))
        {
            put(name, value.trim_matches('"').to_owned(), "logfmt");
        }
    }
}
