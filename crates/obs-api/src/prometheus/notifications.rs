//! What the server has to tell about itself: the parts that are not healthy.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Extension;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use obs_query::format_time;
use obs_types::TimestampMs;
use serde_json::{Value, json};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::success;
use crate::ApiState;
use crate::obs::{HealthMemory, health_report};

/// Most who listen at a time, as in Prometheus.
const SUBSCRIBERS_MAX: usize = 16;
/// How often a subscriber's state is looked at.
const POLL: Duration = Duration::from_secs(2);

/// Since when each part has been unwell, and the places of subscribers.
#[derive(Debug)]
pub(crate) struct Notices {
    since: Mutex<BTreeMap<String, TimestampMs>>,
    places: Arc<Semaphore>,
}

impl Default for Notices {
    fn default() -> Self {
        Self { since: Mutex::default(), places: Arc::new(Semaphore::new(SUBSCRIBERS_MAX)) }
    }
}

/// Notifications by the part that they are about.
type Current = BTreeMap<String, Value>;

async fn current(state: &Arc<ApiState>, notices: &Notices, memory: &Arc<HealthMemory>) -> Current {
    let report = health_report(state, memory).await;
    let now = state.front.now();
    let mut since = notices.since.lock().unwrap_or_else(PoisonError::into_inner);
    let text = |part: &Value, name: &str| {
        part.get(name).and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    let unwell: BTreeMap<String, String> = report
        .get("components")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter(|part| text(part, "status") != "healthy")
        .map(|part| (text(part, "name"), text(part, "detail")))
        .collect();
    since.retain(|name, _| unwell.contains_key(name));
    unwell
        .into_iter()
        .map(|(name, detail)| {
            let began = *since.entry(name.clone()).or_insert(now);
            let text = format!("{name}: {detail}");
            let notice = json!({"text": text, "date": format_time(began), "active": true});
            (name, notice)
        })
        .collect()
}

pub(super) async fn notifications(
    State(state): State<Arc<ApiState>>,
    Extension(notices): Extension<Arc<Notices>>,
    Extension(memory): Extension<Arc<HealthMemory>>,
) -> Response {
    let all: Vec<Value> = current(&state, &notices, &memory).await.into_values().collect();
    success(&json!(all).to_string(), &[], &[])
}

struct Subscriber {
    state: Arc<ApiState>,
    notices: Arc<Notices>,
    memory: Arc<HealthMemory>,
    known: Current,
    waiting: Vec<Value>,
    first: bool,
    _place: OwnedSemaphorePermit,
}

impl Subscriber {
    /// The next notification: those that are active at first, then changes. One that is over comes
    /// once more, no longer active.
    async fn next(&mut self) -> Value {
        loop {
            if let Some(notice) = self.waiting.pop() {
                return notice;
            }
            if !std::mem::take(&mut self.first) {
                tokio::time::sleep(POLL).await;
            }
            let now = current(&self.state, &self.notices, &self.memory).await;
            let over = self.known.iter().filter(|(name, _)| !now.contains_key(*name));
            let mut changes: Vec<Value> = over
                .map(|(_, notice)| {
                    let mut notice = notice.clone();
                    if let Some(active) = notice.get_mut("active") {
                        *active = json!(false);
                    }
                    notice
                })
                .collect();
            let new = now.iter().filter(|(name, _)| !self.known.contains_key(*name));
            changes.extend(new.map(|(_, notice)| notice.clone()));
            changes.reverse();
            (self.known, self.waiting) = (now, changes);
        }
    }
}

/// Server-sent events, one a notification; 204 where too many listen already.
pub(super) async fn live(
    State(state): State<Arc<ApiState>>,
    Extension(notices): Extension<Arc<Notices>>,
    Extension(memory): Extension<Arc<HealthMemory>>,
) -> Response {
    let Ok(place) = Arc::clone(&notices.places).try_acquire_owned() else {
        return StatusCode::NO_CONTENT.into_response();
    };
    let subscriber = Subscriber {
        state,
        notices,
        memory,
        known: Current::new(),
        waiting: Vec::new(),
        first: true,
        _place: place,
    };
    let events = stream::unfold(subscriber, |mut subscriber| async move {
        let notice = subscriber.next().await;
        Some((Ok::<_, Infallible>(Event::default().data(notice.to_string())), subscriber))
    });
    Sse::new(events).keep_alive(KeepAlive::default()).into_response()
}
