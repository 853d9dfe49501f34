use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use obs_query::{Filter, ReceiptQuery, parse_duration, parse_time, select_receipts};
use obs_types::{NodeName, TimestampNs};
use serde_json::{Value, json};

use crate::params::Params;
use crate::run::run;
use crate::{ApiError, ApiState};

/// The query that the parameters ask for. Without `last` and `from` it covers everything.
pub(crate) fn query(params: &Params, state: &ApiState) -> Result<ReceiptQuery, ApiError> {
    let now = state.front.now();
    let from = match (params.get("from"), params.get("last")) {
        (Some(from), _) => Some(parse_time(from, now)?),
        (None, Some(last)) => {
            let back = parse_duration(last)?.0.saturating_mul(1_000_000);
            Some(TimestampNs(now.to_ns().0.saturating_sub(back)))
        }
        (None, None) => None,
    };
    Ok(ReceiptQuery {
        types: params.get("type").map(ReceiptQuery::types_from_text).unwrap_or_default(),
        filter: params.get("filter").map(Filter::parse).transpose()?,
        node: params.get("node").map(NodeName::new),
        from,
        to: params.get("to").map(|t| parse_time(t, now)).transpose()?,
        limit: params.number("limit", 1)?,
        ascending: params.get("order") == Some("asc"),
    })
}

pub(crate) async fn find(
    state: &Arc<ApiState>,
    query: ReceiptQuery,
) -> Result<(Vec<Value>, usize), ApiError> {
    run(state, None, move |s, _context| {
        select_receipts(&query, |take| s.ledger.read(0, take)).map_err(ApiError::from)
    })
    .await
}

pub(super) async fn list(
    State(state): State<Arc<ApiState>>,
    params: Params,
) -> Result<Json<Value>, ApiError> {
    let mut query = query(&params, &state)?;
    query.limit = Some(query.limit.unwrap_or(100));
    let (receipts, total) = find(&state, query).await?;
    Ok(Json(json!({"receipts": receipts, "total": total})))
}
