use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{Path, State};
use axum::response::Response;
use obs_types::{Matcher, MetricMetadata, QueryContext, SeriesSource, SourceError, TimeRangeMs};
use serde::Serialize;
use serde_json::{Value, json};

use super::{answer, encode, matchers, success, window};
use crate::params::Params;
use crate::run::run;
use crate::{ApiError, ApiState};

/// Which series, and when.
struct Selection {
    sets: Vec<Vec<Matcher>>,
    range: TimeRangeMs,
}

/// Cuts to the request's `limit` and says so.
fn limited<T>(mut all: Vec<T>, params: &Params) -> Result<(Vec<T>, Vec<String>), ApiError> {
    let limit = params.number("limit", 0)?.unwrap_or(0);
    if limit > 0 && all.len() > limit {
        all.truncate(limit);
        return Ok((all, vec!["results truncated due to limit".to_owned()]));
    }
    Ok((all, Vec::new()))
}

/// Answers with what `ask` finds of the request's selectors and window, cut to its limit.
async fn listed<T: Serialize + Send + 'static>(
    state: &Arc<ApiState>,
    params: &Params,
    selectors_required: bool,
    ask: impl FnOnce(&dyn SeriesSource, &Selection, &QueryContext) -> Result<Vec<T>, SourceError>
    + Send
    + 'static,
) -> Result<Response, ApiError> {
    let selection =
        Selection { sets: matchers(params, selectors_required)?, range: window(params)? };
    let found =
        run(state, None, move |s, context| Ok(ask(s.front.metrics.as_ref(), &selection, context)?))
            .await?;
    let (found, warnings) = limited(found, params)?;
    Ok(success(&json!(found).to_string(), &warnings, &[]))
}

pub(super) async fn series(State(state): State<Arc<ApiState>>, params: Params) -> Response {
    let found = listed(&state, &params, true, |source, of, context| {
        let found = source.series(&of.sets, of.range, context)?;
        Ok(found.iter().map(encode::labels_value).collect())
    });
    answer(found.await)
}

pub(super) async fn names(State(state): State<Arc<ApiState>>, params: Params) -> Response {
    let found = listed(&state, &params, false, |source, of, context| {
        source.label_names(&of.sets, of.range, context)
    });
    answer(found.await)
}

/// A label name in the path may be escaped as `U__…` (UTF-8 names).
fn unescape(name: &str) -> Option<String> {
    let Some(rest) = name.strip_prefix("U__") else { return Some(name.to_owned()) };
    let mut out = String::new();
    let mut chars = rest.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '_' {
            out.push(c);
            continue;
        }
        if chars.peek() == Some(&'_') {
            chars.next();
            out.push('_');
            continue;
        }
        let hex: String = chars.by_ref().take_while(|c| *c != '_').collect();
        out.push(char::from_u32(u32::from_str_radix(&hex, 16).ok()?)?);
    }
    Some(out)
}

pub(super) async fn values(
    State(state): State<Arc<ApiState>>,
    Path(name): Path<String>,
    params: Params,
) -> Response {
    let Some(name) = unescape(&name).filter(|n| !n.is_empty()) else {
        return ApiError::invalid(format!("invalid label name: {name:?}")).prometheus();
    };
    let found = listed(&state, &params, false, move |source, of, context| {
        source.label_values(&name, &of.sets, of.range, context)
    });
    answer(found.await)
}

/// Type, help and unit of every family, or of the one that the request names.
pub(super) async fn found_metadata(
    state: &Arc<ApiState>,
    params: &Params,
) -> Result<Vec<MetricMetadata>, ApiError> {
    let metric = params.get("metric").map(str::to_owned);
    run(state, None, move |s, _context| Ok(s.front.metrics.metadata(metric.as_deref())?)).await
}

pub(super) async fn metadata(State(state): State<Arc<ApiState>>, params: Params) -> Response {
    let work = async {
        let limit = params.number("limit", 0)?.unwrap_or(usize::MAX);
        let each = params.number("limit_per_metric", 1)?.unwrap_or(usize::MAX);
        let found = found_metadata(&state, &params).await?;
        let mut families: BTreeMap<&str, Vec<Value>> = BTreeMap::new();
        for m in &found {
            let family = families.entry(&m.family).or_default();
            if family.len() < each {
                family.push(json!({"type": m.kind.as_str(), "help": m.help, "unit": m.unit}));
            }
        }
        let data: BTreeMap<_, _> = families.into_iter().take(limit).collect();
        Ok(success(&json!(data).to_string(), &[], &[]))
    };
    answer(work.await)
}

#[cfg(test)]
mod tests {
    use super::unescape;

    #[test]
    fn utf8_names_in_the_path() {
        assert_eq!(unescape("job").as_deref(), Some("job"));
        assert_eq!(unescape("U__http_2e_status__code").as_deref(), Some("http.status_code"));
        assert_eq!(unescape("U___zz_"), None);
    }
}
