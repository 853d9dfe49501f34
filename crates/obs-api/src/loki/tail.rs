//! Live tail over a web socket: `{"streams":[…]}` as lines arrive.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::response::Response;
use obs_logql::Value as LogValue;
use obs_types::{Direction, TimestampNs};
use serde_json::{Value, json};

use super::{answer, time};
use crate::params::Params;
use crate::run::run;
use crate::{ApiError, ApiState};

const POLL: Duration = Duration::from_millis(500);
/// Most lines of one message; what is over it is counted in `dropped_entries`.
const LINES_MAX: usize = 1_000;

pub(super) async fn tail(
    State(state): State<Arc<ApiState>>,
    upgrade: Result<WebSocketUpgrade, axum::extract::ws::rejection::WebSocketUpgradeRejection>,
    axum::extract::RawQuery(query): axum::extract::RawQuery,
) -> Response {
    let params = Params::from_encoded(query.as_deref().unwrap_or(""));
    let checked = || {
        let query = params.required("query")?.to_owned();
        obs_logql::parse_log(&query).map_err(|e| ApiError::invalid(e.to_string()))?;
        let now = state.front.now().to_ns();
        let from = time(&params, "start", &state)?
            .unwrap_or(TimestampNs(now.0.saturating_sub(3_600_000_000_000)));
        let limit = params.number("limit", 1)?.unwrap_or(100);
        Ok((query, from, limit))
    };
    match (checked(), upgrade) {
        (Err(e), _) => answer(Err(e)),
        (Ok(_), Err(_not_a_socket)) => answer(Err(ApiError::invalid("tail needs a web socket"))),
        (Ok((query, from, limit)), Ok(upgrade)) => {
            upgrade.on_upgrade(move |socket| follow(socket, state, query, from, limit))
        }
    }
}

/// Sends what is there, newest `limit` first time, then what arrives. A line is sent once: each
/// round begins right behind the newest timestamp that was sent.
async fn follow(
    mut socket: WebSocket,
    state: Arc<ApiState>,
    query: String,
    mut from: TimestampNs,
    limit: usize,
) {
    let mut first = true;
    loop {
        let end = TimestampNs(state.front.now().to_ns().0.saturating_add(1));
        let (text, start) = (query.clone(), from);
        let (direction, most) =
            if first { (Direction::Backward, limit) } else { (Direction::Forward, LINES_MAX) };
        let found = run(&state, None, move |s, context| {
            let logs = s.front.logs.as_ref();
            Ok(s.front.logql.range(
                logs,
                &text,
                start,
                end,
                1_000_000_000,
                most,
                direction,
                context,
            )?)
        })
        .await;
        first = false;
        match found {
            Ok(result) => {
                if let Some((message, newest)) = message(&result.value) {
                    from = TimestampNs(newest.saturating_add(1));
                    if socket.send(Message::Text(message.to_string().into())).await.is_err() {
                        return;
                    }
                }
            }
            Err(e) => {
                // The client is told why; whether it listens no longer matters.
                let _sent = socket.send(Message::Text(e.message.into())).await;
                return;
            }
        }
        tokio::select! {
            () = tokio::time::sleep(POLL) => {}
            received = socket.recv() => match received {
                None | Some(Err(_) | Ok(Message::Close(_))) => return,
                Some(Ok(_)) => {}
            },
        }
    }
}

fn message(value: &LogValue) -> Option<(Value, i64)> {
    let LogValue::Streams(streams) = value else { return None };
    let newest = streams.iter().flat_map(|s| s.entries.iter().map(|e| e.timestamp.0)).max()?;
    let streams: Vec<Value> = streams
        .iter()
        .map(|s| {
            let labels: serde_json::Map<String, Value> =
                s.labels.iter().map(|(n, v)| (n.to_owned(), json!(v))).collect();
            let mut entries: Vec<_> = s.entries.iter().collect();
            entries.sort_by_key(|e| e.timestamp);
            let values: Vec<Value> =
                entries.iter().map(|e| json!([e.timestamp.0.to_string(), e.line])).collect();
            json!({"stream": labels, "values": values})
        })
        .collect();
    Some((json!({"streams": streams, "dropped_entries": []}), newest))
}
