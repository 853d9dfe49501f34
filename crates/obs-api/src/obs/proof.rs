//! `/obs/proof/…`: proof files (`docs/format/vmproof.md`) of one log line, one series' hour, one
//! span, one receipt.
//!
//! Nothing is handed out that does not hold: the ledger checks a proof file before it gives it.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use obs_archive::{ArchiveError, Hour, SealName, SealedRecord, Signal};
use obs_types::{LabelSet, SeriesSource, SpanId, TimestampNs, TraceId, matches_all};

use crate::params::Params;
use crate::run::run;
use crate::{ApiError, ApiState};

/// Series named in an answer that asks to say which one is meant.
const NAMED_MAX: usize = 10;

impl From<ArchiveError> for ApiError {
    fn from(e: ArchiveError) -> Self {
        Self::new(e.kind(), e.to_string())
    }
}

/// A line by its instant: `time`, and as far as needed `query` (a stream selector), `line` (all of
/// it) or `contains`.
pub(super) async fn log(
    State(state): State<Arc<ApiState>>,
    params: Params,
) -> Result<Response, ApiError> {
    let at = instant(&state, params.required("time")?)?;
    let matchers = match params.get("query") {
        Some(query) => {
            obs_logql::parse_selector(query).map_err(|e| ApiError::invalid(e.to_string()))?
        }
        None => Vec::new(),
    };
    let line = params.get("line").map(str::to_owned);
    let part = params.get("contains").map(str::to_owned);
    let text = run(&state, None, move |s, _context| {
        let found = s.archive.prove_log(at, &mut |stream, entry| {
            matches_all(&matchers, stream)
                && line.as_ref().is_none_or(|l| entry.line == *l)
                && part.as_ref().is_none_or(|p| entry.line.contains(p.as_str()))
        })?;
        let found = found
            .ok_or_else(|| missing(s, Signal::Logs, Hour::containing_ns(at), "no such line"))?;
        proof_file(s, found)
    })
    .await?;
    Ok(file("log", text))
}

/// The samples of one series in the hour of `time`; `series` is a selector that only that series
/// matches. `revision` names a file of late data.
pub(super) async fn sample(
    State(state): State<Arc<ApiState>>,
    params: Params,
) -> Result<Response, ApiError> {
    let at = instant(&state, params.required("time")?)?;
    let matchers = obs_promql::parse_selector(params.required("series")?)
        .map_err(|e| ApiError::invalid(e.to_string()))?;
    let revision = params.number("revision", 0)?;
    let revision = revision
        .map(|r| u32::try_from(r).map_err(|_e| ApiError::invalid(format!("revision {r}"))))
        .transpose()?;
    let text = run(&state, None, move |s, context| {
        let hour = Hour::containing_ns(at)
            .ok_or_else(|| ApiError::invalid("the time lies in no hour of the calendar"))?;
        let found =
            SeriesSource::series(s.archive.as_ref(), &[matchers], hour.range_ms(), context)?;
        let labels = only(s, hour, &found)?;
        let names = s.archive.sealed(Signal::Metrics);
        let revisions = names
            .iter()
            .filter(|n| n.hour == hour && revision.is_none_or(|r| n.revision == r))
            .map(|n| n.revision);
        for revision in revisions {
            if let Some(record) = s.archive.prove_series(hour, revision, labels)? {
                return proof_file(s, record);
            }
        }
        Err(ApiError::not_found(format!("{labels} has no samples in that revision of the hour")))
    })
    .await?;
    Ok(file("sample", text))
}

/// A span by `trace` and `span`; `time` (its end) spares looking through all hours.
pub(super) async fn span(
    State(state): State<Arc<ApiState>>,
    params: Params,
) -> Result<Response, ApiError> {
    let bad_id = |e: obs_types::ParseIdError| ApiError::invalid(e.to_string());
    let trace: TraceId = params.required("trace")?.parse().map_err(bad_id)?;
    let span: SpanId = params.required("span")?.parse().map_err(bad_id)?;
    let at = params.get("time").map(|t| instant(&state, t)).transpose()?;
    let text = run(&state, None, move |s, _context| {
        let hour = at.and_then(Hour::containing_ns);
        let found = s
            .archive
            .prove_span(hour, trace, span)?
            .ok_or_else(|| missing(s, Signal::Traces, hour, "no such span"))?;
        proof_file(s, found)
    })
    .await?;
    Ok(file("span", text))
}

/// A receipt by `seq`.
pub(super) async fn receipt(
    State(state): State<Arc<ApiState>>,
    params: Params,
) -> Result<Response, ApiError> {
    let seq = super::ledger::sequence(&params)?;
    let text =
        run(&state, None, move |s, _context| Ok(s.ledger.proof_file(seq, None)?.to_string()))
            .await?;
    Ok(file(&format!("receipt-{seq}"), text))
}

fn instant(state: &ApiState, text: &str) -> Result<TimestampNs, ApiError> {
    Ok(obs_query::parse_time(text, state.front.now())?)
}

fn file(name: &str, text: String) -> Response {
    let kind = HeaderValue::from_static("text/plain; charset=utf-8");
    let disposition = format!("attachment; filename=\"{name}.vmproof\"");
    let mut response = ([(header::CONTENT_TYPE, kind)], text).into_response();
    if let Ok(value) = HeaderValue::from_str(&disposition) {
        response.headers_mut().insert(header::CONTENT_DISPOSITION, value);
    }
    response
}

/// The record with the receipt that seals its file.
fn proof_file(s: &ApiState, record: SealedRecord) -> Result<String, ApiError> {
    let path = record.name.storage_path();
    let seq = s.ledger.seal_of(&path).ok_or_else(|| {
        ApiError::not_found(format!("{path} is sealed and its receipt is not written yet"))
    })?;
    Ok(s.ledger.proof_file(seq, Some(record.proven))?.to_string())
}

/// What is not in the archive, and whether it cannot be there yet.
fn missing(s: &ApiState, signal: Signal, hour: Option<Hour>, what: &str) -> ApiError {
    let sealed = |h: Hour| s.archive.sealed(signal).contains(&SealName::new(signal, h, 0));
    ApiError::not_found(match hour {
        Some(h) if !sealed(h) => format!(
            "the {signal} of the hour that ends at {} are not sealed: a proof needs a sealed hour",
            h.end_text()
        ),
        Some(h) => format!("{what} in the sealed hour that ends at {}", h.end_text()),
        None => format!("{what} in any sealed hour"),
    })
}

fn only<'a>(s: &ApiState, hour: Hour, found: &'a [LabelSet]) -> Result<&'a LabelSet, ApiError> {
    match found {
        [one] => Ok(one),
        [] => Err(missing(s, Signal::Metrics, Some(hour), "no such series")),
        many => {
            let named: Vec<String> = many.iter().take(NAMED_MAX).map(LabelSet::to_string).collect();
            Err(ApiError::invalid(format!(
                "{} series match, name one of them: {}",
                many.len(),
                named.join(" ")
            )))
        }
    }
}
