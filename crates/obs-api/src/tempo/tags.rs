use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use obs_traceql::Attribute;
use obs_types::{AttrScope, AttrValue};
use serde_json::{Value, json};

use super::{answer, text_and_type, window};
use crate::params::Params;
use crate::run::run;
use crate::{ApiError, ApiState};

const INTRINSICS: [&str; 8] = [
    "duration",
    "kind",
    "name",
    "rootName",
    "rootServiceName",
    "status",
    "statusMessage",
    "traceDuration",
];

fn scope_text(scope: AttrScope) -> &'static str {
    match scope {
        AttrScope::Any | AttrScope::Span => "span",
        AttrScope::Resource => "resource",
        AttrScope::Event => "event",
        AttrScope::Link => "link",
        AttrScope::Instrumentation => "instrumentation",
        AttrScope::Intrinsic => "intrinsic",
    }
}

async fn names(
    state: &Arc<ApiState>,
    params: &Params,
) -> Result<BTreeMap<&'static str, Vec<String>>, ApiError> {
    let range = window(params, state)?;
    let found =
        run(state, None, move |s, context| Ok(s.front.traces.tag_names(range, context)?)).await?;
    let mut scopes: BTreeMap<&'static str, Vec<String>> = BTreeMap::new();
    for (scope, name) in found {
        scopes.entry(scope_text(scope)).or_default().push(name);
    }
    scopes.insert("intrinsic", INTRINSICS.iter().map(|n| (*n).to_owned()).collect());
    if let Some(wanted) = params.get("scope").filter(|s| *s != "none") {
        scopes.retain(|scope, _| *scope == wanted);
    }
    Ok(scopes)
}

pub(super) async fn names_v1(State(state): State<Arc<ApiState>>, params: Params) -> Response {
    let work = async {
        let mut all: Vec<String> = names(&state, &params)
            .await?
            .into_iter()
            .filter(|(scope, _)| *scope != "intrinsic")
            .flat_map(|(_, n)| n)
            .collect();
        all.sort();
        all.dedup();
        Ok(Json(json!({"tagNames": all})).into_response())
    };
    answer(work.await)
}

pub(super) async fn names_v2(State(state): State<Arc<ApiState>>, params: Params) -> Response {
    let work = async {
        let scopes: Vec<Value> = names(&state, &params)
            .await?
            .iter()
            .map(|(name, tags)| json!({"name": name, "tags": tags}))
            .collect();
        Ok(Json(json!({"scopes": scopes})).into_response())
    };
    answer(work.await)
}

/// The UI encodes the tag twice; the router has undone it once.
fn attribute(tag: &str) -> Result<Attribute, ApiError> {
    let encoded = format!("t={}", tag.replace('+', "%2B"));
    let once = Params::from_encoded(&encoded);
    let tag = once.get("t").unwrap_or(tag).to_owned();
    obs_traceql::parse_attribute(&tag)
        // The older route names attributes bare.
        .or_else(|_bare| obs_traceql::parse_attribute(&format!(".{tag}")))
        .map_err(|e| ApiError::invalid(format!("tag {tag:?}: {e}")))
}

async fn values(
    state: &Arc<ApiState>,
    tag: &str,
    params: &Params,
) -> Result<Vec<AttrValue>, ApiError> {
    let range = window(params, state)?;
    let attribute = attribute(tag)?;
    let limit = params.number("limit", 0)?.unwrap_or(5_000);
    // A filter that is still being typed does not parse; then every span counts.
    let query = params
        .get("q")
        .and_then(|q| obs_traceql::parse(q).ok())
        .map_or_else(|| obs_traceql::parse("{}"), Ok)?;
    run(state, None, move |s, context| {
        let traces = s.front.traces.as_ref();
        Ok(obs_traceql::tag_values(traces, &query, &attribute, range, limit, context)?)
    })
    .await
}

pub(super) async fn values_v1(
    State(state): State<Arc<ApiState>>,
    Path(tag): Path<String>,
    params: Params,
) -> Response {
    let work = async {
        let found = values(&state, &tag, &params).await?;
        let texts: Vec<String> = found.iter().map(|v| text_and_type(v).0).collect();
        Ok(Json(json!({"tagValues": texts})).into_response())
    };
    answer(work.await)
}

pub(super) async fn values_v2(
    State(state): State<Arc<ApiState>>,
    Path(tag): Path<String>,
    params: Params,
) -> Response {
    let work = async {
        let intrinsic = tag.strip_prefix("span:").unwrap_or(&tag);
        let keyword = matches!(intrinsic, "status" | "kind");
        let duration = matches!(intrinsic, "duration" | "traceDuration") || tag == "trace:duration";
        let found = values(&state, &tag, &params).await?;
        let typed: Vec<Value> = found
            .iter()
            .map(|v| {
                let (text, kind) = text_and_type(v);
                let kind = match (keyword, duration) {
                    (true, _) => "keyword",
                    (false, true) => "duration",
                    (false, false) => kind,
                };
                json!({"type": kind, "value": text})
            })
            .collect();
        Ok(Json(json!({"tagValues": typed})).into_response())
    };
    answer(work.await)
}
