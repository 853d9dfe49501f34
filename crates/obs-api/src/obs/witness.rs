//! C2SP tlog-witness: `POST /obs/witness/add-checkpoint` and the checkpoints that were cosigned.

use std::sync::Arc;

use axum::body::{Body, to_bytes};
use axum::extract::{Path, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use obs_ledger::{Witness, WitnessError};
use obs_proof::witness::{REQUEST_BYTES_MAX, Refusal};

use crate::run::blocking;
use crate::{ApiError, ApiState};

/// Cosigns. The answers are the protocol's: 200 with a signature line, 400, 403, 404, 409 with the
/// known size, 422.
pub(super) async fn add_checkpoint(
    State(state): State<Arc<ApiState>>,
    body: Body,
) -> Result<Response, ApiError> {
    let witness = enabled(&state)?;
    let bytes = to_bytes(body, REQUEST_BYTES_MAX).await.map_err(|_too_long| {
        ApiError::invalid(format!("the request is over {REQUEST_BYTES_MAX} bytes"))
    })?;
    let outcome = blocking(&state, move |_s| witness.add_checkpoint(&bytes)).await?;
    match outcome {
        Ok(line) => Ok(plain(StatusCode::OK, "text/plain; charset=utf-8", line)),
        Err(WitnessError::Refused(refusal)) => Ok(refused(&refusal)),
        Err(e) => Err(ApiError::new(obs_types::ErrorKind::Unavailable, e.to_string())),
    }
}

/// The last checkpoint that was cosigned, by the lower-case hex SHA-256 of its origin.
pub(super) async fn checkpoint(
    State(state): State<Arc<ApiState>>,
    Path(origin): Path<String>,
) -> Result<Response, ApiError> {
    let witness = enabled(&state)?;
    let asked = origin.clone();
    let found = blocking(&state, move |_s| witness.checkpoint(&asked)).await??;
    let note = found.ok_or_else(|| {
        ApiError::not_found(format!("no log whose origin has the hash {origin:?} was cosigned"))
    })?;
    Ok(plain(StatusCode::OK, "text/plain; charset=utf-8", note))
}

fn enabled(state: &ApiState) -> Result<Arc<Witness>, ApiError> {
    state.witness.clone().ok_or_else(|| ApiError::not_found("this node is no witness"))
}

fn refused(refusal: &Refusal) -> Response {
    let status = StatusCode::from_u16(refusal.status()).unwrap_or(StatusCode::BAD_REQUEST);
    let kind = match refusal {
        Refusal::Conflict(_) => "text/x.tlog.size",
        _ => "text/plain; charset=utf-8",
    };
    plain(status, kind, refusal.body())
}

fn plain(status: StatusCode, kind: &'static str, text: String) -> Response {
    (status, [(header::CONTENT_TYPE, HeaderValue::from_static(kind))], text).into_response()
}
