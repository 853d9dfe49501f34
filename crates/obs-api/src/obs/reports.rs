use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use obs_ledger::ReportKind;
use obs_ops::ReportSubmission;
use serde_json::{Map, Value, json};

use crate::run::blocking;
use crate::{ApiError, ApiState};

const BY: &str = "did:vm:user:sovereign";

/// `POST /obs/reports/{kind}`: keeps a report that somebody has made, and records it.
pub(super) async fn create(
    State(state): State<Arc<ApiState>>,
    Path(kind): Path<String>,
    body: axum::body::Bytes,
) -> Result<Json<Value>, ApiError> {
    let kind = ReportKind::from_name(&kind).ok_or_else(|| {
        let known = ReportKind::ALL.map(ReportKind::as_str).join(", ");
        ApiError::not_found(format!("there is no kind of report {kind:?}; there are {known}"))
    })?;
    let submission = submission(kind, &body)?;
    let done = blocking(&state, move |s| s.reports.record(submission, s.clock.now())).await??;
    Ok(Json(json!({
        "report_id": done.report_id,
        "report_path": done.path,
        "receipt_seq": done.receipt_seq,
    })))
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
