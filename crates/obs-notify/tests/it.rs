//! Delivery over loopback: a sink that refuses first, a restart in between, silence, resolution.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use obs_notify::{Host, Notification, Notifier, NotifyConfig, NotifyEvent, PanelRef, Queue};
use obs_rules::{AlertRecord, AlertStatus, RuleInfo};
use obs_types::{DurationMs, LabelSet, NodeName, TimestampMs};
use serde_json::Value;

#[derive(Clone, Default)]
struct Sink {
    bodies: Arc<Mutex<Vec<Value>>>,
    refuse: Arc<AtomicUsize>,
}

async fn take(State(sink): State<Sink>, body: String) -> StatusCode {
    let left = sink.refuse.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1));
    if left.is_ok() {
        return StatusCode::SERVICE_UNAVAILABLE;
    }
    sink.bodies.lock().unwrap().push(serde_json::from_str(&body).unwrap());
    StatusCode::OK
}

async fn sink(refuse: usize) -> (Sink, String) {
    let sink = Sink { refuse: Arc::new(AtomicUsize::new(refuse)), ..Sink::default() };
    let app = Router::new().route("/hook/s3cret", post(take)).with_state(sink.clone());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    (sink, format!("http://{address}/hook/s3cret"))
}

#[derive(Default)]
struct TestHost {
    now: AtomicI64,
    muted: Mutex<bool>,
    delivered: Mutex<Vec<(Vec<String>, String)>>,
    events: Mutex<Vec<NotifyEvent>>,
}

impl Host for TestHost {
    /// Every look at the clock moves it on, so that back-off passes without waiting.
    fn now(&self) -> TimestampMs {
        TimestampMs(self.now.fetch_add(500, Ordering::SeqCst))
    }
    fn is_muted(&self, _alert: &AlertRecord, _now: TimestampMs) -> bool {
        *self.muted.lock().unwrap()
    }
    fn delivered(&self, alert_ids: &[String], name: &str) {
        self.delivered.lock().unwrap().push((alert_ids.to_vec(), name.to_owned()));
    }
    fn count(&self, event: NotifyEvent) {
        self.events.lock().unwrap().push(event);
    }
    fn panel(&self, _alert: &AlertRecord) -> Option<PanelRef> {
        Some(PanelRef { dashboard: "nodes".to_owned(), panel: 4 })
    }
}

/// Addresses of the picture: by the host, by the rule, and none that leads elsewhere.
#[tokio::test]
async fn a_message_tells_where_the_picture_is() {
    let (sink, url) = sink(0).await;
    let dir = tempfile::tempdir().unwrap();
    let host = Arc::new(TestHost::default());
    let notifier = Notifier::start(config(&url), dir.path(), &[], host.clone()).unwrap();
    let mut named = alert("alert-1970-01-01-002", AlertStatus::Firing);
    named.active_at = TimestampMs(7_200_000);
    named.fired_at = Some(TimestampMs(7_320_000));
    notifier.alert(&named);
    until("both targets took it", || host.delivered.lock().unwrap().len() == 2).await;
    let bodies = sink.bodies.lock().unwrap().clone();
    let hook = bodies.iter().find(|b| b["version"] == "4").unwrap();
    let told = &hook["alerts"][0];
    let window = "from=3600&to=7920";
    assert_eq!(
        told["imageURL"],
        format!("http://obs.example/obs/dashboards/nodes/panels/4.png?{window}")
    );
    assert_eq!(told["panelURL"], format!("http://obs.example/dashboards/nodes?panel=4&{window}"));
    assert_eq!(told["dashboardURL"], format!("http://obs.example/dashboards/nodes?{window}"));
    // What names the panel is no text for people.
    assert_eq!(told["annotations"], serde_json::json!({"summary": "Node down"}));
    assert_eq!(hook["commonAnnotations"], told["annotations"]);
    let slack = bodies.iter().find(|b| b.get("attachments").is_some()).unwrap();
    assert_eq!(slack["attachments"][0]["image_url"], told["imageURL"]);
    notifier.shutdown().await;

    let by_rule = |uid: &str| {
        let mut a = alert("alert-1970-01-01-003", AlertStatus::Firing);
        a.annotations.insert("__dashboardUid__".to_owned(), uid.to_owned());
        a.annotations.insert("__panelId__".to_owned(), "9".to_owned());
        let n = Notification {
            receiver: "ops".to_owned(),
            group_key: "k".to_owned(),
            group_labels: LabelSet::empty(),
            alerts: vec![a],
        };
        obs_notify::webhook_message(&n, "http://obs.example")["alerts"][0]["imageURL"].clone()
    };
    assert!(by_rule("mine").as_str().unwrap().contains("/mine/panels/9.png"));
    assert_eq!(by_rule("../../alerts?x="), Value::Null);
}

fn alert(id: &str, status: AlertStatus) -> AlertRecord {
    AlertRecord {
        id: id.to_owned(),
        name: "NodeDown".to_owned(),
        severity: "critical".to_owned(),
        status,
        active_at: TimestampMs(0),
        fired_at: Some(TimestampMs(1000)),
        resolved_at: (status == AlertStatus::Resolved).then_some(TimestampMs(5000)),
        node: NodeName::new("brick-02"),
        rule: RuleInfo {
            file: "f".to_owned(),
            group: "g".to_owned(),
            name: "NodeDown".to_owned(),
            expression: "up == 0 for 2m".to_owned(),
            threshold: Some(0.0),
            hold: DurationMs(120_000),
        },
        current_value: 0.0,
        labels: LabelSet::from_pairs([("alertname", "NodeDown"), ("severity", "critical")]),
        annotations: BTreeMap::from([("summary".to_owned(), "Node down".to_owned())]),
        notified: Vec::new(),
        acknowledged: None,
    }
}

fn config(url: &str) -> NotifyConfig {
    let text = format!(
        "route: {{receiver: ops, group_by: [alertname], group_wait: 0s, group_interval: 1s}}\n\
         receivers:\n- name: ops\n  webhook_configs: [{{url: \"{url}\"}}]\n  \
         slack_configs: [{{api_url: \"{url}\", channel: \"#ops-channel\"}}]\n"
    );
    NotifyConfig::parse("notify.yml", &text, "http://obs.example").unwrap()
}

async fn until(what: &str, done: impl Fn() -> bool) {
    for _ in 0..200 {
        if done() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("never happened: {what}");
}

#[tokio::test]
async fn fires_and_resolves_through_a_sink_that_refuses_first() {
    let (sink, url) = sink(2).await;
    let dir = tempfile::tempdir().unwrap();
    let host = Arc::new(TestHost::default());
    let notifier = Notifier::start(config(&url), dir.path(), &[], host.clone()).unwrap();
    let firing = alert("alert-1970-01-01-001", AlertStatus::Firing);
    assert_eq!(notifier.notified_names(&firing), ["slack:ops-channel", "webhook:ops"]);
    notifier.alert(&firing);
    until("both targets took it", || host.delivered.lock().unwrap().len() == 2).await;
    notifier.alert(&alert("alert-1970-01-01-001", AlertStatus::Resolved));
    until("both heard the end", || host.delivered.lock().unwrap().len() == 4).await;
    notifier.shutdown().await;

    let bodies = sink.bodies.lock().unwrap();
    let hooks: Vec<&Value> = bodies.iter().filter(|b| b["version"] == "4").collect();
    assert_eq!(hooks.len(), 2);
    assert_eq!(hooks[0]["status"], "firing");
    assert_eq!(hooks[0]["groupLabels"]["alertname"], "NodeDown");
    assert_eq!(hooks[0]["alerts"][0]["endsAt"], "0001-01-01T00:00:00Z");
    assert_eq!(hooks[0]["alerts"][0]["labels"]["node"], "brick-02");
    assert_eq!(hooks[1]["status"], "resolved");
    assert_eq!(hooks[1]["alerts"][0]["endsAt"], "1970-01-01T00:00:05Z");
    let slack = bodies.iter().find(|b| b["channel"] == "#ops-channel").unwrap();
    assert!(slack["text"].as_str().unwrap().contains("[FIRING:1] NodeDown"));
    let events = host.events.lock().unwrap();
    assert_eq!(events.iter().filter(|e| matches!(e, NotifyEvent::Retried { .. })).count(), 2);
    let file = std::fs::read_to_string(dir.path().join("notifications.jsonl")).unwrap();
    assert!(!file.contains("s3cret"), "no address on disk");
}

#[tokio::test]
async fn what_was_queued_is_sent_after_a_restart_and_only_once() {
    let dir = tempfile::tempdir().unwrap();
    let host = Arc::new(TestHost::default());
    let firing = alert("alert-1970-01-01-001", AlertStatus::Firing);
    {
        let (_, url) = sink(usize::MAX).await;
        let notifier = Notifier::start(config(&url), dir.path(), &[], host.clone()).unwrap();
        notifier.alert(&firing);
        until("refused once", || !host.events.lock().unwrap().is_empty()).await;
        notifier.shutdown().await;
    }
    // A torn line, as a power cut leaves it.
    let path = dir.path().join("notifications.jsonl");
    let mut text = std::fs::read(&path).unwrap();
    text.extend_from_slice(b"{\"queued\":{\"id\":9");
    std::fs::write(&path, text).unwrap();
    assert_eq!(Queue::open(dir.path()).unwrap().waiting().count(), 2);

    let (sink, url) = sink(0).await;
    let known = [firing.clone()];
    let notifier = Notifier::start(config(&url), dir.path(), &known, host.clone()).unwrap();
    until("sent after the restart", || host.delivered.lock().unwrap().len() == 2).await;
    let before = host.now.load(Ordering::SeqCst);
    notifier.alert(&firing);
    until("several group intervals pass", || host.now.load(Ordering::SeqCst) > before + 10_000)
        .await;
    notifier.shutdown().await;
    assert_eq!(sink.bodies.lock().unwrap().len(), 2, "the restart repeats nothing");
}

#[tokio::test]
async fn a_silenced_alert_is_told_when_the_silence_ends() {
    let (sink, url) = sink(0).await;
    let dir = tempfile::tempdir().unwrap();
    let host = Arc::new(TestHost::default());
    *host.muted.lock().unwrap() = true;
    let notifier = Notifier::start(config(&url), dir.path(), &[], host.clone()).unwrap();
    notifier.alert(&alert("alert-1970-01-01-001", AlertStatus::Firing));
    until("several group intervals pass", || host.now.load(Ordering::SeqCst) > 5_000).await;
    assert!(sink.bodies.lock().unwrap().is_empty());
    *host.muted.lock().unwrap() = false;
    until("told afterwards", || sink.bodies.lock().unwrap().len() == 2).await;
    notifier.shutdown().await;
}

#[tokio::test]
async fn a_drill_is_marked_told_twice_and_says_who_refuses() {
    let (taken, url) = sink(0).await;
    let (refusing, refused_url) = sink(9).await;
    let yaml = format!(
        "route: {{receiver: ops}}\nreceivers:\n\
         - {{name: ops, webhook_configs: [{{url: '{url}'}}, {{url: '{url}', send_resolved: false}}]}}\n\
         - {{name: night, slack_configs: [{{api_url: '{refused_url}', channel: '#night'}}]}}\n"
    );
    let config = NotifyConfig::parse("notify.yml", &yaml, "http://portal").unwrap();
    let done = obs_notify::drill(&config, TimestampMs(1_000)).await.unwrap();
    let names: Vec<&str> = done.iter().map(|d| d.name.as_str()).collect();
    assert_eq!(names, ["webhook:ops", "webhook:ops", "slack:night"]);
    assert!(done[0].outcome.as_ref().unwrap().starts_with("200"), "{done:?}");
    let refused = done[2].outcome.as_ref().unwrap_err();
    assert!(refused.contains("firing") && refused.contains("503"), "{refused}");
    assert!(!refused.contains("s3cret"), "{refused}");
    let bodies = taken.bodies.lock().unwrap();
    let told: Vec<&str> = bodies.iter().map(|b| b["status"].as_str().unwrap()).collect();
    assert_eq!(told, ["firing", "resolved", "firing"]);
    for body in bodies.iter() {
        assert!(body["alerts"][0]["labels"]["alertname"].as_str().unwrap().contains("[DRILL]"));
    }
    assert!(refusing.bodies.lock().unwrap().is_empty());
}
