use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use obs_query::ReceiptQuery;
use obs_types::{DurationMs, NodeName};
use serde_json::{Value, json};

use super::{receipts, window};
use crate::params::Params;
use crate::{ApiError, ApiState};

/// Recorded anomalies, newest first; a day by default.
pub(super) async fn list(
    State(state): State<Arc<ApiState>>,
    params: Params,
) -> Result<Json<Value>, ApiError> {
    let (start, end) = window(&params, &state, DurationMs::DAY)?;
    let query = ReceiptQuery {
        types: vec!["obs_anomaly_detected".to_owned()],
        node: params.get("node").map(NodeName::new),
        from: Some(start),
        to: Some(end),
        limit: Some(params.number("limit", 1)?.unwrap_or(200)),
        ..ReceiptQuery::default()
    };
    let (anomalies, _) = receipts::find(&state, query).await?;
    Ok(Json(json!({"anomalies": anomalies})))
}
