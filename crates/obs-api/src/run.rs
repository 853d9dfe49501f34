//! Queries run on blocking threads, a bounded number at a time, and end when the client leaves.

use std::sync::Arc;
use std::time::Duration;

use obs_types::{CancelToken, ErrorKind, QueryContext};
use tokio::sync::OwnedSemaphorePermit;

use crate::{ApiError, ApiState};

/// Cancels a query when whoever waits for it is gone.
#[derive(Debug)]
pub(crate) struct CancelOnDrop(pub(crate) CancelToken);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

/// Waits for one of the places in which queries run.
pub(crate) async fn place(state: &ApiState) -> Result<OwnedSemaphorePermit, ApiError> {
    Arc::clone(&state.query_places)
        .acquire_owned()
        .await
        .map_err(|_closed| ApiError::new(ErrorKind::Unavailable, "the server is stopping"))
}

/// Runs `work` with a fresh context. Waits for a free place rather than refusing; dropping the
/// future (the client went away) cancels the query.
pub(crate) async fn run<T: Send + 'static>(
    state: &Arc<ApiState>,
    timeout: Option<Duration>,
    work: impl FnOnce(&ApiState, &QueryContext) -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    let place = place(state).await?;
    let cancel = CancelToken::default();
    let guard = CancelOnDrop(cancel.clone());
    let state = Arc::clone(state);
    let warnings = crate::warnings::current();
    let answer = tokio::task::spawn_blocking(move || {
        let context = QueryContext { warnings, ..state.front.context(timeout, cancel) };
        let answer = work(&state, &context);
        drop(place);
        answer
    })
    .await
    .map_err(|e| ApiError::new(ErrorKind::Bug, format!("query failed: {e}")))?;
    drop(guard);
    answer
}

/// Runs work on the thread that serves the socket: only what is known to end in well under a
/// millisecond.
pub(crate) fn run_here<T>(
    state: &ApiState,
    timeout: Option<Duration>,
    work: impl FnOnce(&ApiState, &QueryContext) -> Result<T, ApiError>,
) -> Result<T, ApiError> {
    work(state, &state.front.context(timeout, CancelToken::default()))
}

/// Runs short work that may wait for a lock or the disk, away from the threads that serve sockets
/// and without waiting for a query's place.
pub(crate) async fn blocking<T: Send + 'static>(
    state: &Arc<ApiState>,
    work: impl FnOnce(&ApiState) -> T + Send + 'static,
) -> Result<T, ApiError> {
    let state = Arc::clone(state);
    tokio::task::spawn_blocking(move || work(&state))
        .await
        .map_err(|e| ApiError::new(ErrorKind::Bug, format!("request failed: {e}")))
}
