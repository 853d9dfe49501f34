//! Prometheus' search routes: names and values that go with what somebody typed, as a stream of
//! JSON lines whose last one holds the status.
//! Source: Prometheus 3 HTTP API, "Searching metric names, label names and label values".

mod fuzzy;

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use obs_types::{METRIC_NAME, Matcher, MetricMetadata, QueryContext, SeriesSource, TimeRangeMs};
use serde_json::{Value, json};

use self::fuzzy::{Algorithm, Filter};
use super::{answer, matchers, window};
use crate::params::Params;
use crate::run::run;
use crate::{ApiError, ApiState};

const TERMS_MAX: usize = 32;
const LIMIT_DEFAULT: usize = 100;

/// What is searched.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Subject {
    Metrics,
    Labels,
    ValuesOf(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    /// By name, as the engine gives them.
    Alphabetic,
    Backwards,
    /// The best first, equal ones by name.
    Score,
}

/// A search as it was asked for.
struct Search {
    subject: Subject,
    filter: Filter,
    order: Order,
    sets: Vec<Vec<Matcher>>,
    range: TimeRangeMs,
    /// Most results; 0 for all.
    limit: usize,
    /// Most results of one line.
    batch: usize,
    with_score: bool,
    with_metadata: bool,
}

impl Search {
    fn of(params: &Params, subject: Subject) -> Result<Self, ApiError> {
        let terms: Vec<String> =
            params.all("search[]").filter(|t| !t.is_empty()).map(str::to_owned).collect();
        if terms.len() > TERMS_MAX {
            return Err(ApiError::invalid(format!(
                "invalid parameter \"search[]\": {} terms, at most {TERMS_MAX}",
                terms.len()
            )));
        }
        let threshold = params.number("fuzz_threshold", 0)?.unwrap_or(0);
        if threshold > 100 {
            return Err(ApiError::invalid(
                "invalid parameter \"fuzz_threshold\": it must be from 0 to 100",
            ));
        }
        let algorithm =
            params.get("fuzz_alg").map(Algorithm::from_text).transpose()?.unwrap_or_default();
        let case_sensitive =
            params.get("case_sensitive").is_none_or(|_| params.flag("case_sensitive"));
        Ok(Self {
            filter: Filter::new(terms, algorithm, threshold, case_sensitive),
            order: order(params)?,
            sets: matchers(params, false)?,
            range: window(params)?,
            limit: params.number("limit", 0)?.unwrap_or(LIMIT_DEFAULT),
            batch: params.number("batch_size", 1)?.unwrap_or(LIMIT_DEFAULT),
            with_score: params.flag("include_score"),
            with_metadata: subject == Subject::Metrics && params.flag("include_metadata"),
            subject,
        })
    }

    /// The lines of the answer.
    fn lines(
        &self,
        source: &dyn SeriesSource,
        context: &QueryContext,
    ) -> Result<String, obs_types::SourceError> {
        let names = match &self.subject {
            Subject::Metrics => source.label_values(METRIC_NAME, &self.sets, self.range, context),
            Subject::Labels => source.label_names(&self.sets, self.range, context),
            Subject::ValuesOf(name) => source.label_values(name, &self.sets, self.range, context),
        }?;
        let mut found: Vec<(String, f64)> = names
            .into_iter()
            .filter_map(|name| self.filter.score(&name).map(|score| (name, score)))
            .collect();
        match self.order {
            Order::Alphabetic => found.sort_by(|a, b| a.0.cmp(&b.0)),
            Order::Backwards => found.sort_by(|a, b| b.0.cmp(&a.0)),
            Order::Score => found.sort_by(|a, b| b.1.total_cmp(&a.1).then_with(|| a.0.cmp(&b.0))),
        }
        let has_more = self.limit > 0 && found.len() > self.limit;
        if has_more {
            found.truncate(self.limit);
        }
        let metadata: BTreeMap<String, MetricMetadata> = if self.with_metadata {
            source.metadata(None)?.into_iter().map(|m| (m.family.to_string(), m)).collect()
        } else {
            BTreeMap::new()
        };
        let mut out = String::new();
        for batch in found.chunks(self.batch) {
            let results: Vec<Value> =
                batch.iter().map(|(name, score)| self.result(name, *score, &metadata)).collect();
            out.push_str(&json!({"results": results}).to_string());
            out.push('\n');
        }
        out.push_str(&json!({"status": "success", "has_more": has_more}).to_string());
        out.push('\n');
        Ok(out)
    }

    fn result(&self, name: &str, score: f64, metadata: &BTreeMap<String, MetricMetadata>) -> Value {
        let key = if matches!(self.subject, Subject::ValuesOf(_)) { "value" } else { "name" };
        let mut out = json!({key: name});
        if self.with_score {
            out["score"] = json!(score);
        }
        // Series of a histogram or summary carry their family's metadata.
        let stems = ["", "_bucket", "_count", "_sum", "_total"];
        let of = stems.iter().find_map(|s| metadata.get(name.strip_suffix(s)?));
        if let Some(m) = of {
            out["type"] = json!(m.kind.as_str());
            out["help"] = json!(m.help);
            out["unit"] = json!(m.unit);
        }
        out
    }
}

fn order(params: &Params) -> Result<Order, ApiError> {
    let direction = params.get("sort_dir");
    match (params.get("sort_by"), direction) {
        (None | Some("alpha"), None | Some("asc")) => Ok(Order::Alphabetic),
        (Some("alpha"), Some("dsc")) => Ok(Order::Backwards),
        (Some("score"), None) => Ok(Order::Score),
        (Some("score") | None, Some(_)) => Err(ApiError::invalid(
            "invalid parameter \"sort_dir\": it goes with sort_by=alpha only",
        )),
        (Some("alpha"), Some(other)) => Err(ApiError::invalid(format!(
            "invalid parameter \"sort_dir\": {other:?} is neither asc nor dsc"
        ))),
        (Some(other), _) => Err(ApiError::invalid(format!(
            "invalid parameter \"sort_by\": {other:?} is neither alpha nor score"
        ))),
    }
}

async fn search(
    state: &Arc<ApiState>,
    params: &Params,
    subject: Subject,
) -> Result<Response, ApiError> {
    let search = Search::of(params, subject)?;
    let lines =
        run(state, None, move |s, context| Ok(search.lines(s.front.metrics.as_ref(), context)?))
            .await?;
    let kind = HeaderValue::from_static("application/x-ndjson; charset=utf-8");
    Ok(([(header::CONTENT_TYPE, kind)], lines).into_response())
}

pub(super) async fn metric_names(State(state): State<Arc<ApiState>>, params: Params) -> Response {
    answer(search(&state, &params, Subject::Metrics).await)
}

pub(super) async fn label_names(State(state): State<Arc<ApiState>>, params: Params) -> Response {
    answer(search(&state, &params, Subject::Labels).await)
}

pub(super) async fn label_values(State(state): State<Arc<ApiState>>, params: Params) -> Response {
    let work = async {
        let label = params.required("label")?.to_owned();
        search(&state, &params, Subject::ValuesOf(label)).await
    };
    answer(work.await)
}
