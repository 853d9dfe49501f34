use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use obs_archive::Signal;
use obs_ledger::LedgerError;
use obs_proof::tile::TileName;
use obs_types::TimestampMs;
use serde_json::{Value, json};

use crate::params::Params;
use crate::run::{blocking, run};
use crate::{ApiError, ApiState};

/// Most lines of one answer.
const LINES_MAX: usize = 100_000;

impl From<LedgerError> for ApiError {
    fn from(e: LedgerError) -> Self {
        Self::new(e.kind(), e.to_string())
    }
}

fn plain(text: String) -> Response {
    let kind = HeaderValue::from_static("text/plain; charset=utf-8");
    ([(header::CONTENT_TYPE, kind)], text).into_response()
}

pub(super) async fn head(State(state): State<Arc<ApiState>>) -> Result<Json<Value>, ApiError> {
    let answer = run(&state, None, |s, _context| {
        let head = s.ledger.head();
        let types = s.front.receipt_counts.update(|from, take| s.ledger.read(from, take))?;
        let hours: BTreeMap<&str, usize> = Signal::ALL
            .into_iter()
            .map(|signal| (signal.as_str(), s.archive.sealed(signal).len()))
            .collect();
        let cosigned = s.ledger.cosigned();
        let hex: String = head.root.iter().map(|b| format!("{b:02x}")).collect();
        Ok(json!({
            "origin": head.origin,
            "size": head.size,
            "root_sha256": hex,
            "root_hash": head.root_text(),
            "checkpoint": head.checkpoint,
            "log_vkey": head.log_vkey,
            "last_receipt_at": head.last_timestamp.map(obs_query::format_time),
            "receipts_by_type": types,
            "sealed_hours": hours,
            "unproven_tail": 0,
            "witnessed": cosigned.is_some(),
            "cosigned": cosigned.map(|c| json!({
                "size": c.size,
                "at": obs_query::format_time(c.at),
                "checkpoint": c.note,
                "receipts_behind": head.size.saturating_sub(c.size),
            })),
            "frozen": s.ledger.frozen(),
            "witness_vkey": s.witness.as_ref().map(|w| w.vkey()),
        }))
    })
    .await?;
    Ok(Json(answer))
}

pub(super) async fn checkpoint(State(state): State<Arc<ApiState>>) -> Result<Response, ApiError> {
    blocking(&state, |s| plain(s.ledger.head().checkpoint)).await
}

/// Bytes that are read of a file at a time.
const CHUNK_BYTES: usize = 1 << 18;

/// A file that a signed receipt speaks for, and no other.
pub(super) async fn file(
    State(state): State<Arc<ApiState>>,
    params: Params,
) -> Result<Response, ApiError> {
    let path = params.required("path")?;
    let missing =
        || ApiError::not_found(format!("no receipt speaks for a file {path:?} that is there"));
    let plain = std::path::Path::new(path)
        .components()
        .all(|c| matches!(c, std::path::Component::Normal(_)));
    if !plain || state.ledger.seal_of(path).is_none() {
        return Err(missing());
    }
    let file = tokio::fs::File::open(state.info.data_dir.join(path)).await;
    let file = file.map_err(|_e| missing())?;
    let length = file.metadata().await.map_err(|_e| missing())?.len();
    let chunks = futures_util::stream::try_unfold(file, |mut file| async move {
        let mut chunk = vec![0; CHUNK_BYTES];
        let read = tokio::io::AsyncReadExt::read(&mut file, &mut chunk).await?;
        chunk.truncate(read);
        Ok::<_, std::io::Error>((read > 0).then_some((chunk, file)))
    });
    let kind = HeaderValue::from_static("application/octet-stream");
    let headers = [(header::CONTENT_TYPE, kind), (header::CONTENT_LENGTH, length.into())];
    Ok((headers, axum::body::Body::from_stream(chunks)).into_response())
}

/// The registry of actors; empty without one.
pub(super) async fn actors(State(state): State<Arc<ApiState>>) -> Result<Response, ApiError> {
    let read = |s: &ApiState| s.disk.read(&s.info.data_dir.join(obs_ops::ACTORS_FILE));
    let bytes = blocking(&state, read).await?.unwrap_or_default();
    Ok(plain(String::from_utf8_lossy(&bytes).into_owned()))
}

/// The log's keys in the order in which they followed each other.
pub(super) async fn keys(State(state): State<Arc<ApiState>>) -> Result<Json<Value>, ApiError> {
    blocking(&state, |s| Json(keys_json(s))).await
}

fn keys_json(state: &ApiState) -> Value {
    let chain = state.ledger.key_chain();
    let mut keys: Vec<Value> = chain
        .iter()
        .map(|k| {
            json!({
                "key": k.key.to_string(),
                "since_receipt": k.since,
                "signs_until": k.until.map(|ms| obs_query::format_time(TimestampMs(ms))),
                "revoked_by_receipt": k.revoked,
            })
        })
        .collect();
    if keys.is_empty() {
        keys.extend(state.ledger.log_keys().iter().map(|k| json!({"key": k.to_string()})));
    }
    json!({"keys": keys})
}

/// Statements that the log's private key has signed: whoever has that key may change it.
pub(super) async fn change_keys(
    State(state): State<Arc<ApiState>>,
    body: axum::body::Bytes,
) -> Result<Json<Value>, ApiError> {
    let malformed = || ApiError::invalid("the body is not {\"statements\": [{…}]}");
    let body: Value = serde_json::from_slice(&body).map_err(|_e| malformed())?;
    let statements = body.get("statements").and_then(Value::as_array).ok_or_else(malformed)?;
    let statements: Option<Vec<_>> = statements.iter().map(|s| s.as_object().cloned()).collect();
    let statements = statements.ok_or_else(malformed)?;
    let answer = run(&state, None, move |s, _context| {
        let numbers = s.ledger.change_keys(statements)?;
        let mut answer = keys_json(s);
        if let Some(map) = answer.as_object_mut() {
            map.insert("receipt_seq".to_owned(), json!(numbers));
        }
        Ok(answer)
    })
    .await?;
    Ok(Json(answer))
}

/// Tiles and entry bundles of the C2SP tlog-tiles layout, from what the newest checkpoint signs.
pub(super) async fn tile(
    State(state): State<Arc<ApiState>>,
    Path(path): Path<String>,
) -> Result<Response, ApiError> {
    let missing = || ApiError::not_found(format!("the log has no tile {path:?}"));
    let name = TileName::parse(&format!("tile/{path}")).ok_or_else(missing)?;
    let bytes = run(&state, None, move |s, _context| match name.level {
        Some(_) => Ok(s.ledger.tile(name)),
        None => Ok(s.ledger.entries(name)?),
    })
    .await?
    .ok_or_else(missing)?;
    // A tile of that name never changes.
    let cache = HeaderValue::from_static("public, max-age=31536000, immutable");
    let kind = HeaderValue::from_static("application/octet-stream");
    Ok(([(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, cache)], bytes).into_response())
}

/// The parameter `seq`.
pub(super) fn sequence(params: &Params) -> Result<u64, ApiError> {
    let seq = params.required("seq")?;
    seq.parse().map_err(|_e| ApiError::invalid(format!("seq {seq:?} is not a number")))
}

pub(super) async fn proof(
    State(state): State<Arc<ApiState>>,
    params: Params,
) -> Result<Response, ApiError> {
    let seq = sequence(&params)?;
    let text = run(&state, None, move |s, _context| Ok(s.ledger.tlog_proof(seq)?)).await?;
    Ok(plain(text))
}

pub(super) async fn lines(
    State(state): State<Arc<ApiState>>,
    params: Params,
) -> Result<Response, ApiError> {
    let from = params.number("from", 0)?.unwrap_or(0) as u64;
    let limit = params.number("limit", 1)?.unwrap_or(1_000).min(LINES_MAX);
    let text = run(&state, None, move |s, _context| {
        let mut out = String::new();
        let mut count = 0;
        s.ledger.read(from, &mut |_seq, line| {
            out.push_str(line);
            out.push('\n');
            count += 1;
            count < limit
        })?;
        Ok(out)
    })
    .await?;
    let kind = HeaderValue::from_static("application/jsonl");
    Ok(([(header::CONTENT_TYPE, kind)], text).into_response())
}

pub(super) async fn verify(State(state): State<Arc<ApiState>>) -> Result<Json<Value>, ApiError> {
    let answer = run(&state, None, |s, _context| Ok((s.verify)())).await?;
    Ok(Json(answer))
}
