//! What a session hears without asking: changes of the resources that it subscribed to, and log
//! messages from the level on that it set.
//!
//! One task looks for each session that wants to hear something, and ends with it. It asks as any
//! client does, so that it works over standard input too, where the server is elsewhere.
#![expect(deprecated, reason = "clients of the protocol before 2026-07-28 set a log level")]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use rmcp::model::{
    LoggingLevel, LoggingMessageNotificationParam, ResourceUpdatedNotificationParam,
};
use rmcp::service::Peer;
use rmcp::{ErrorData, RoleServer};
use serde_json::json;

use super::catalog::{Catalog, Condition};

/// How often is looked; alerts are evaluated less often.
pub(super) const WATCH_INTERVAL: Duration = Duration::from_secs(2);
/// Most subscriptions of a session: each is a request of its own at every look.
pub(super) const SUBSCRIPTIONS_MAX: usize = 64;

/// What one client wants to hear.
#[derive(Debug, Default)]
pub(super) struct Session {
    level: Mutex<Option<LoggingLevel>>,
    /// The state last told of, by address; empty: it could not be had.
    subscribed: Mutex<BTreeMap<String, String>>,
    watched: AtomicBool,
}

/// Severities in the order of RFC 5424, the worst last.
fn rank(level: LoggingLevel) -> u8 {
    match level {
        LoggingLevel::Debug => 0,
        LoggingLevel::Info => 1,
        LoggingLevel::Notice => 2,
        LoggingLevel::Warning => 3,
        LoggingLevel::Error => 4,
        LoggingLevel::Critical => 5,
        LoggingLevel::Alert => 6,
        LoggingLevel::Emergency => 7,
    }
}

impl Session {
    pub(super) fn set_level(&self, level: LoggingLevel) {
        *self.level.lock().unwrap_or_else(PoisonError::into_inner) = Some(level);
    }

    /// A client that has set no level hears nothing.
    pub(super) fn hears(&self, level: LoggingLevel) -> bool {
        let least = *self.level.lock().unwrap_or_else(PoisonError::into_inner);
        least.is_some_and(|least| rank(level) >= rank(least))
    }

    fn logs(&self) -> bool {
        self.level.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    fn subscriptions(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, String>> {
        self.subscribed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `state` is what the client can see now, so that only what comes later is told.
    pub(super) fn subscribe(&self, uri: String, state: String) -> Result<(), ErrorData> {
        let mut all = self.subscriptions();
        if !all.contains_key(&uri) && all.len() >= SUBSCRIPTIONS_MAX {
            return Err(ErrorData::invalid_params(
                format!("a session has at most {SUBSCRIPTIONS_MAX} subscriptions"),
                None,
            ));
        }
        all.insert(uri, state);
        Ok(())
    }

    pub(super) fn unsubscribe(&self, uri: &str) {
        self.subscriptions().remove(uri);
    }

    /// Whether the state is another than the one last told of, and still wanted.
    fn is_news(&self, uri: &str, state: &str) -> bool {
        match self.subscriptions().get_mut(uri) {
            Some(known) if known != state => {
                state.clone_into(known);
                true
            }
            _ => false,
        }
    }

    /// Starts the task that looks, once.
    pub(super) fn watch<C: Catalog>(
        self: &Arc<Self>,
        catalog: &C,
        peer: &Peer<RoleServer>,
        every: Duration,
    ) {
        if !self.watched.swap(true, Ordering::AcqRel) {
            tokio::spawn(look(catalog.clone(), Arc::downgrade(self), peer.clone(), every));
        }
    }
}

/// Looks until the client has gone.
async fn look<C: Catalog>(
    catalog: C,
    session: Weak<Session>,
    peer: Peer<RoleServer>,
    every: Duration,
) {
    let mut known = None;
    loop {
        tokio::time::sleep(every).await;
        let Some(session) = session.upgrade() else { return };
        if peer.is_transport_closed() {
            return;
        }
        let uris: Vec<String> = session.subscriptions().keys().cloned().collect();
        for uri in uris {
            // What is gone is news too.
            let state = catalog.state(&uri).await.unwrap_or_default();
            if session.is_news(&uri, &state) {
                let told = ResourceUpdatedNotificationParam::new(uri);
                let _gone = peer.notify_resource_updated(told).await;
            }
        }
        if session.logs() {
            let now = catalog.conditions().await;
            for told in news(&mut known, now) {
                if session.hears(told.level) {
                    let _gone = peer.notify_logging_message(told).await;
                }
            }
        }
    }
}

/// The messages that lead from the conditions `known` to those of `now`; the first look tells
/// nothing. The end of a condition is told as loud as the condition was.
fn news(
    known: &mut Option<BTreeMap<String, Condition>>,
    now: Vec<Condition>,
) -> Vec<LoggingMessageNotificationParam> {
    let now: BTreeMap<String, Condition> = now.into_iter().map(|c| (c.id.clone(), c)).collect();
    let mut told = Vec::new();
    if let Some(before) = known {
        for (id, condition) in &now {
            if before.get(id) != Some(condition) {
                told.push(message(condition, condition.data.clone()));
            }
        }
        for condition in before.iter().filter(|(id, _)| !now.contains_key(*id)).map(|(_, c)| c) {
            told.push(message(condition, json!({"over": condition.data})));
        }
    }
    *known = Some(now);
    told
}

fn message(condition: &Condition, data: serde_json::Value) -> LoggingMessageNotificationParam {
    LoggingMessageNotificationParam::new(condition.level, data).with_logger("alerts")
}

/// One look at the subscriptions of `states`: the addresses whose state is another than before.
pub(super) async fn changed<C: Catalog>(
    catalog: &C,
    states: &mut BTreeMap<String, String>,
) -> Vec<String> {
    let mut changed = Vec::new();
    for (uri, known) in states {
        let state = catalog.state(uri).await.unwrap_or_default();
        if *known != state {
            *known = state;
            changed.push(uri.clone());
        }
    }
    changed
}

#[cfg(test)]
mod tests {
    use super::*;

    fn condition(id: &str, level: LoggingLevel, status: &str) -> Condition {
        Condition { id: id.to_owned(), level, data: json!({"status": status}) }
    }

    #[test]
    fn conditions_are_told_when_they_begin_change_and_end() {
        let mut known = None;
        let old = condition("a", LoggingLevel::Critical, "firing");
        assert_eq!(news(&mut known, vec![old.clone()]).len(), 0, "what was there is no news");
        assert_eq!(news(&mut known, vec![old.clone()]).len(), 0);
        let told = news(&mut known, vec![old, condition("b", LoggingLevel::Warning, "pending")]);
        assert_eq!(told.len(), 1);
        assert_eq!(told[0].data, json!({"status": "pending"}));
        let told = news(&mut known, vec![condition("b", LoggingLevel::Warning, "firing")]);
        assert_eq!(told.len(), 2);
        assert_eq!(told[0].data, json!({"status": "firing"}));
        assert_eq!(told[1].data, json!({"over": {"status": "firing"}}));
        assert_eq!(told[1].level, LoggingLevel::Critical);
    }

    #[test]
    fn a_session_hears_from_its_level_on_and_what_it_subscribed_to() {
        let session = Session::default();
        assert!(!session.hears(LoggingLevel::Emergency), "no level was set");
        session.set_level(LoggingLevel::Warning);
        assert!(session.hears(LoggingLevel::Error) && session.hears(LoggingLevel::Warning));
        assert!(!session.hears(LoggingLevel::Notice));
        session.subscribe("vmobs://alerts".to_owned(), "1".to_owned()).unwrap();
        assert!(!session.is_news("vmobs://alerts", "1"));
        assert!(session.is_news("vmobs://alerts", "2"));
        assert!(!session.is_news("vmobs://alerts", "2"), "told once");
        session.unsubscribe("vmobs://alerts");
        assert!(!session.is_news("vmobs://alerts", "3"));
        for i in 0..SUBSCRIPTIONS_MAX {
            session.subscribe(format!("vmobs://slos/{i}"), String::new()).unwrap();
        }
        assert!(session.subscribe("vmobs://slos/0".to_owned(), "again".to_owned()).is_ok());
        let e = session.subscribe("vmobs://alerts".to_owned(), String::new()).unwrap_err();
        assert!(e.message.contains("at most 64"), "{}", e.message);
    }
}
