//! The task that watches groups, queues messages and sends them until they are taken.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use obs_rules::{AlertRecord, AlertStatus};
use obs_types::TimestampMs;
use tokio::sync::Notify;
use tokio::task::{JoinHandle, JoinSet};

use crate::picture::{PanelRef, with_panel};
use crate::{
    Delivery, DeliveryStatus, Dispatcher, Notification, NotifyConfig, NotifyError, Queue,
    SecretUrl, Target, slack_message, webhook_message,
};

/// How often groups are looked at.
const TICK: Duration = Duration::from_millis(200);
const SEND_TIMEOUT: Duration = Duration::from_secs(15);
const BACKOFF_MS_MIN: i64 = 1_000;
const BACKOFF_MS_MAX: i64 = 300_000;
/// After this many attempts (about a day) a message is given up and logged as failed.
const ATTEMPTS_MAX: u32 = 300;
/// Headers in which providers name what they have taken.
const MESSAGE_IDS: [&str; 3] = ["x-slack-req-id", "x-request-id", "x-message-id"];
/// Most messages on their way at once.
const IN_FLIGHT_MAX: usize = 16;

/// What happened, for counters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotifyEvent {
    Queued { name: String },
    Sent { name: String },
    Retried { name: String },
    Failed { name: String },
}

/// What the notifier needs from its surroundings. The calls must not block for long.
pub trait Host: Send + Sync + 'static {
    fn now(&self) -> TimestampMs;
    /// Whether an alert is silenced or inhibited.
    fn is_muted(&self, alert: &AlertRecord, now: TimestampMs) -> bool;
    /// A target took a message about these alerts.
    fn delivered(&self, alert_ids: &[String], name: &str);
    fn count(&self, event: NotifyEvent);
    /// The panel that shows what an alert is about, where its rule names none.
    fn panel(&self, _alert: &AlertRecord) -> Option<PanelRef> {
        None
    }
}

struct State {
    dispatcher: Dispatcher,
    queue: Queue,
    /// Attempts so far and the time of the next one, by delivery.
    retry: BTreeMap<u64, (u32, TimestampMs)>,
}

/// Owner of the delivery task.
pub struct Notifier {
    state: Arc<Mutex<State>>,
    stop: Arc<Notify>,
    task: JoinHandle<()>,
    host: Arc<dyn Host>,
}

impl fmt::Debug for Notifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Notifier").finish_non_exhaustive()
    }
}

impl Notifier {
    /// Opens the queue in `dir` and starts sending, first what a crash left there. `known` are
    /// the alerts of the book, so that groups go on where they were. Needs a tokio runtime.
    pub fn start(
        config: NotifyConfig,
        dir: &Path,
        known: &[AlertRecord],
        host: Arc<dyn Host>,
    ) -> Result<Self, NotifyError> {
        let queue = Queue::open(dir)?;
        let mut dispatcher = Dispatcher::new(config);
        for (key, (told, at)) in queue.last_told() {
            dispatcher.remember(key, told, at);
        }
        for alert in known {
            dispatcher.alert(&with_panel(alert, host.panel(alert)), host.now());
        }
        let client = client()?;
        let state = Arc::new(Mutex::new(State { dispatcher, queue, retry: BTreeMap::new() }));
        let stop = Arc::new(Notify::new());
        let run = Run { state: Arc::clone(&state), host: Arc::clone(&host), client };
        let task = tokio::spawn(run.run(Arc::clone(&stop)));
        Ok(Self { state, stop, task, host })
    }

    /// Takes an alert that fired, changed or resolved.
    pub fn alert(&self, alert: &AlertRecord) {
        // Looked for before the lock is taken.
        let alert = with_panel(alert, self.host.panel(alert));
        lock(&self.state).dispatcher.alert(&alert, self.host.now());
    }

    /// Who will be told of the alert, such as `slack:ops-channel`.
    pub fn notified_names(&self, alert: &AlertRecord) -> Vec<String> {
        lock(&self.state).dispatcher.config().notified_names(&alert.routing_labels())
    }

    /// Waiting and finished deliveries, oldest first.
    pub fn deliveries(&self) -> Vec<Delivery> {
        let state = lock(&self.state);
        state.queue.log().chain(state.queue.waiting()).cloned().collect()
    }

    /// Ends the task after the messages on their way; the rest stays on disk.
    pub async fn shutdown(self) {
        self.stop.notify_one();
        if let Err(e) = self.task.await {
            tracing::error!(error = %e, "the notification task ended badly");
        }
    }
}

/// What sends messages: no redirects, so that a token goes nowhere else.
pub(crate) fn client() -> Result<reqwest::Client, NotifyError> {
    // The process may have chosen a provider already; then that one is used.
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        tracing::debug!("a TLS provider is installed already");
    }
    reqwest::Client::builder()
        .timeout(SEND_TIMEOUT)
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .map_err(|e| NotifyError::Client(e.without_url().to_string()))
}

/// How a provider answered.
pub(crate) enum Answer {
    /// With its status and, where it names one, the message's id.
    Taken(String),
    /// Not now; the same may be taken later.
    Again(String),
    Refused(String),
}

/// One message, one answer.
pub(crate) async fn post(
    client: &reqwest::Client,
    url: &SecretUrl,
    body: &serde_json::Value,
) -> Answer {
    match client.post(url.expose()).json(body).send().await {
        Ok(reply) if reply.status().is_success() => {
            let mut said = reply.status().to_string();
            let id = MESSAGE_IDS.iter().find_map(|h| reply.headers().get(*h)?.to_str().ok());
            if let Some(id) = id {
                said.push_str(&format!(", id {id}"));
            }
            Answer::Taken(said)
        }
        Ok(reply) => {
            let code = reply.status();
            let text = format!("answered {code}");
            if code.is_server_error() || matches!(code.as_u16(), 408 | 425 | 429) {
                Answer::Again(text)
            } else {
                Answer::Refused(text)
            }
        }
        Err(e) => Answer::Again(reason(e)),
    }
}

/// Without the address, which may hold a token, but with what lies beneath: refused, no such host.
fn reason(e: reqwest::Error) -> String {
    let e = e.without_url();
    let mut text = e.to_string();
    let mut source = std::error::Error::source(&e);
    while let Some(inner) = source {
        text = format!("{text}: {inner}");
        source = inner.source();
    }
    text
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Run {
    state: Arc<Mutex<State>>,
    host: Arc<dyn Host>,
    client: reqwest::Client,
}

impl Run {
    async fn run(self, stop: Arc<Notify>) {
        let run = Arc::new(self);
        let mut sending: JoinSet<(u64, Answer)> = JoinSet::new();
        let mut in_flight = std::collections::BTreeSet::new();
        loop {
            tokio::select! {
                () = stop.notified() => break,
                Some(ended) = sending.join_next() => {
                    if let Ok((id, attempt)) = ended {
                        in_flight.remove(&id);
                        run.settle(id, attempt).await;
                    }
                }
                () = tokio::time::sleep(TICK) => run.flush().await,
            }
            for delivery in run.ready() {
                if in_flight.len() >= IN_FLIGHT_MAX {
                    break;
                }
                if in_flight.insert(delivery.id) {
                    let run = Arc::clone(&run);
                    sending.spawn(async move { (delivery.id, run.send(&delivery).await) });
                }
            }
        }
        while let Some(ended) = sending.join_next().await {
            if let Ok((id, attempt)) = ended {
                run.settle(id, attempt).await;
            }
        }
    }

    /// Turns due groups into messages on disk. Off the runtime, because it syncs the file.
    async fn flush(self: &Arc<Self>) {
        let run = Arc::clone(self);
        let done = tokio::task::spawn_blocking(move || {
            let now = run.host.now();
            let host = Arc::clone(&run.host);
            let due = {
                let mut state = lock(&run.state);
                if let Err(e) = state.queue.catch_up() {
                    tracing::debug!(error = %e, "the disk still refuses the notification queue");
                }
                let due = state.dispatcher.due(now, &|a| host.is_muted(a, now));
                let config = state.dispatcher.config();
                let deliveries: Vec<Delivery> =
                    due.iter().flat_map(|n| deliveries(config, n, now)).collect();
                if deliveries.is_empty() {
                    return;
                }
                let (queued, written) = state.queue.push(deliveries);
                if let Err(e) = written {
                    tracing::error!(error = %e, "notifications are not on disk, they are sent all the same");
                }
                queued
            };
            for delivery in due {
                run.host.count(NotifyEvent::Queued { name: delivery.name });
            }
        });
        if let Err(e) = done.await {
            tracing::error!(error = %e, "looking for due notifications failed");
        }
    }

    /// Waiting messages whose time has come.
    fn ready(&self) -> Vec<Delivery> {
        let now = self.host.now();
        let state = lock(&self.state);
        let due = |d: &&Delivery| state.retry.get(&d.id).is_none_or(|(_, at)| *at <= now);
        state.queue.waiting().filter(due).cloned().collect()
    }

    async fn send(&self, delivery: &Delivery) -> Answer {
        let target = {
            let state = lock(&self.state);
            let receiver = state.dispatcher.config().receiver(&delivery.receiver);
            receiver.and_then(|r| r.targets.get(delivery.target)).cloned()
        };
        let url = match &target {
            Some(Target::Webhook { url, .. } | Target::Slack { url, .. }) => url,
            None => return Answer::Refused("the receiver is no longer configured".to_owned()),
        };
        post(&self.client, url, &delivery.body).await
    }

    async fn settle(self: &Arc<Self>, id: u64, answer: Answer) {
        let run = Arc::clone(self);
        let done = tokio::task::spawn_blocking(move || run.settle_now(id, &answer));
        if let Err(e) = done.await {
            tracing::error!(error = %e, "noting a delivery failed");
        }
    }

    fn settle_now(&self, id: u64, answer: &Answer) {
        let now = self.host.now();
        let (delivery, status) = {
            let mut state = lock(&self.state);
            let Some(delivery) = state.queue.waiting().find(|d| d.id == id).cloned() else {
                return;
            };
            let attempts = state.retry.get(&id).map_or(0, |(n, _)| *n).saturating_add(1);
            let (status, detail) = match answer {
                Answer::Taken(_) => (DeliveryStatus::Sent, ""),
                Answer::Refused(why) => (DeliveryStatus::Failed, why.as_str()),
                Answer::Again(why) if attempts >= ATTEMPTS_MAX => {
                    (DeliveryStatus::Failed, why.as_str())
                }
                Answer::Again(why) => (DeliveryStatus::Queued, why.as_str()),
            };
            if status == DeliveryStatus::Queued {
                let wait = BACKOFF_MS_MIN.saturating_mul(1 << (attempts - 1).min(16));
                let next = TimestampMs(now.0.saturating_add(wait.min(BACKOFF_MS_MAX)));
                state.retry.insert(id, (attempts, next));
                tracing::warn!(receiver = %delivery.name, attempts, reason = detail, "notification not taken, will be repeated");
            } else {
                if let Err(e) = state.queue.finish(id, status, attempts, detail, now) {
                    tracing::error!(error = %e, "delivery not noted on disk, a crash would repeat it");
                }
                state.retry.remove(&id);
                if status == DeliveryStatus::Failed {
                    tracing::error!(receiver = %delivery.name, attempts, reason = detail, "notification given up");
                }
            }
            (delivery, status)
        };
        let name = delivery.name.clone();
        match status {
            DeliveryStatus::Queued => self.host.count(NotifyEvent::Retried { name }),
            DeliveryStatus::Failed => self.host.count(NotifyEvent::Failed { name }),
            DeliveryStatus::Sent => {
                let ids: Vec<String> = delivery.firing.union(&delivery.resolved).cloned().collect();
                self.host.delivered(&ids, &name);
                self.host.count(NotifyEvent::Sent { name });
            }
        }
    }
}

fn deliveries(config: &NotifyConfig, n: &Notification, now: TimestampMs) -> Vec<Delivery> {
    let Some(receiver) = config.receiver(&n.receiver) else { return Vec::new() };
    let ids = |status: AlertStatus| {
        n.alerts.iter().filter(|a| a.status == status).map(|a| a.id.clone()).collect()
    };
    let wanted = |t: &Target| n.status() == "firing" || t.send_resolved();
    let targets = receiver.targets.iter().enumerate().filter(|(_, t)| wanted(t));
    targets
        .map(|(target, t)| Delivery {
            id: 0,
            receiver: receiver.name.clone(),
            target,
            name: t.shown_name(&receiver.name),
            group_key: n.group_key.clone(),
            at_ms: now.0,
            firing: ids(AlertStatus::Firing),
            resolved: ids(AlertStatus::Resolved),
            body: match t {
                Target::Webhook { .. } => webhook_message(n, &config.external_url),
                Target::Slack { channel, .. } => slack_message(n, channel, &config.external_url),
            },
            status: DeliveryStatus::Queued,
            attempts: 0,
            detail: String::new(),
            done_at_ms: None,
        })
        .collect()
}
