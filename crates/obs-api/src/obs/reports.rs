use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, RawQuery, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use obs_analysis::report::Period;
use obs_ledger::ReportKind;
use obs_ops::{RecordedReport, ReportSubmission};
use obs_types::{QueryContext, TimestampMs};
use serde_json::{Map, Value, json};

use super::periodic::{compose_report, file_report};
use crate::params::Params;
use crate::run::{blocking, run};
use crate::{ApiError, ApiState};

const BY: &str = "did:vm:user:sovereign";

/// A query for each figure and period, and 28 for each trend.
const COMPOSE_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(120);

fn unknown(kind: &str) -> ApiError {
    let known = ReportKind::ALL.map(ReportKind::as_str).join(", ");
    ApiError::not_found(format!("there is no kind of report {kind:?}; there are {known}"))
}

/// The end of the period: `at`, by default now.
fn end(params: &Params, state: &ApiState) -> Result<TimestampMs, ApiError> {
    let now = state.front.now();
    let Some(at) = params.get("at") else { return Ok(now) };
    let end = obs_query::parse_time(at, now)?.floor_to_ms();
    if end > now {
        return Err(ApiError::invalid(format!("at {at:?} is in the future")));
    }
    Ok(end)
}

/// `GET /obs/reports`: what was made, newest first.
pub(super) async fn list(
    State(state): State<Arc<ApiState>>,
    params: Params,
) -> Result<Json<Value>, ApiError> {
    let kind = params.get("kind").map(str::to_owned);
    let reports = blocking(&state, move |s| s.reports.list(kind.as_deref())).await??;
    Ok(Json(json!({"reports": reports})))
}

/// `GET /obs/reports/{kind}`: the report of now, or of the time `at`, which is not kept.
pub(super) async fn preview(
    State(state): State<Arc<ApiState>>,
    Path(kind): Path<String>,
    params: Params,
) -> Result<Response, ApiError> {
    let period = Period::from_name(&kind).ok_or_else(|| unknown(&kind))?;
    let end = end(&params, &state)?;
    let format = params.get("format").unwrap_or("json").to_owned();
    if !["json", "markdown", "md", "html"].contains(&format.as_str()) {
        return Err(ApiError::invalid(format!("format {format:?} is not json, markdown or html")));
    }
    let compose = move |s: &ApiState, _: &QueryContext| Ok(compose_report(s, period, end)?);
    let report = run(&state, Some(COMPOSE_TIMEOUT), compose).await?;
    Ok(match format.as_str() {
        "json" => Json(report.to_json()).into_response(),
        "html" => shown("html", report.to_html().into_bytes(), None),
        _ => shown("md", report.to_markdown().into_bytes(), None),
    })
}

/// `GET /obs/reports/{kind}/{file}`: a file of one that was made.
pub(super) async fn file(
    State(state): State<Arc<ApiState>>,
    Path((kind, file)): Path<(String, String)>,
) -> Result<Response, ApiError> {
    let missing = || ApiError::not_found(format!("there is no report {kind}/{file}"));
    let (name, ending) = file.rsplit_once('.').ok_or_else(missing)?;
    let (k, n, e) = (kind.clone(), name.to_owned(), ending.to_owned());
    let bytes = blocking(&state, move |s| s.reports.file(&k, &n, &e)).await??;
    let bytes = bytes.ok_or_else(missing)?;
    Ok(shown(ending, bytes, Some(&file)))
}

/// What a browser may do with a report is to show it.
fn shown(ending: &str, bytes: Vec<u8>, name: Option<&str>) -> Response {
    let kind = match ending {
        "html" => "text/html; charset=utf-8",
        "md" => "text/markdown; charset=utf-8",
        _ => "application/json",
    };
    let policy = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; sandbox";
    let mut response = (
        [
            (header::CONTENT_TYPE, kind),
            (header::CONTENT_SECURITY_POLICY, policy),
            (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        ],
        bytes,
    )
        .into_response();
    if let Some(name) = name
        && let Ok(value) = format!("inline; filename=\"{name}\"").parse()
    {
        response.headers_mut().insert(header::CONTENT_DISPOSITION, value);
    }
    response
}

/// `POST /obs/reports/{kind}`: makes and keeps a report of a period; keeps one of another kind that
/// somebody has made. Either is recorded.
pub(super) async fn create(
    State(state): State<Arc<ApiState>>,
    Path(kind): Path<String>,
    RawQuery(query): RawQuery,
    body: axum::body::Bytes,
) -> Result<Json<Value>, ApiError> {
    let params = Params::from_encoded(&query.unwrap_or_default());
    if let Some(period) = Period::from_name(&kind) {
        let end = end(&params, &state)?;
        let by = super::alerts::text(&super::alerts::object(&body)?, "initiated_by")?;
        let by = by.unwrap_or_else(|| BY.to_owned());
        let make = move |s: &ApiState, _: &QueryContext| Ok(file_report(s, period, end, &by)?);
        let (report, done) = run(&state, Some(COMPOSE_TIMEOUT), make).await?;
        let mut answer = recorded(&done);
        answer["outcome"] = json!(report.outcome());
        return Ok(Json(answer));
    }
    let kind = ReportKind::from_name(&kind).ok_or_else(|| unknown(&kind))?;
    let submission = submission(kind, &body)?;
    let done = blocking(&state, move |s| s.reports.record(submission, s.clock.now())).await??;
    Ok(Json(recorded(&done)))
}

fn recorded(done: &RecordedReport) -> Value {
    json!({
        "report_id": done.report_id,
        "report_path": done.path,
        "receipt_seq": done.receipt_seq,
    })
}

fn submission(kind: ReportKind, body: &[u8]) -> Result<ReportSubmission, ApiError> {
    const KNOWN: [&str; 7] =
        ["initiated_by", "subject", "outcome", "summary", "report", "markdown", "html"];
    let mut fields: Map<String, Value> = serde_json::from_slice(body)
        .map_err(|e| ApiError::invalid(format!("the body is no JSON object: {e}")))?;
    if let Some(other) = fields.keys().find(|k| !KNOWN.contains(&k.as_str())) {
        let known = KNOWN.join(", ");
        return Err(ApiError::invalid(format!("unknown field {other:?}; there are {known}")));
    }
    let mut text = |name: &str| match fields.remove(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(ApiError::invalid(format!("{name} must be a text"))),
    };
    let initiated_by = text("initiated_by")?.unwrap_or_else(|| BY.to_owned());
    let missing = |name: &str| ApiError::invalid(format!("{name} is missing"));
    let subject = text("subject")?.ok_or_else(|| missing("subject"))?;
    let outcome = text("outcome")?.ok_or_else(|| missing("outcome"))?;
    let (markdown, html) = (text("markdown")?, text("html")?);
    let mut object = |name: &str| match fields.remove(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Object(map)) => Ok(Some(map)),
        Some(_) => Err(ApiError::invalid(format!("{name} must be an object"))),
    };
    let summary = object("summary")?.unwrap_or_default();
    let report = object("report")?.map(Value::Object);
    Ok(ReportSubmission { kind, initiated_by, subject, outcome, summary, report, markdown, html })
}
