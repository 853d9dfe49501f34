//! Routes that change what is stored; refused unless the operator has switched them on.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use obs_types::ErrorKind;

use super::{answer, matchers, window};
use crate::params::Params;
use crate::run::run;
use crate::{ApiError, ApiState};

fn allowed(state: &ApiState) -> Result<(), ApiError> {
    if state.options.admin {
        return Ok(());
    }
    Err(ApiError::new(ErrorKind::Unavailable, "admin APIs disabled: set `admin_api: true`"))
}

pub(super) async fn delete_series(State(state): State<Arc<ApiState>>, params: Params) -> Response {
    let work = async {
        allowed(&state)?;
        let sets = matchers(&params, true)?;
        let range = window(&params)?;
        run(&state, None, move |s, _context| {
            s.metrics
                .delete_series(&sets, range)
                .map_err(|e| ApiError::new(e.kind(), e.to_string()))
        })
        .await?;
        Ok(StatusCode::NO_CONTENT.into_response())
    };
    answer(work.await)
}
