use super::*;
use crate::{ActiveAlert, AlertState, SilenceMatcher, parse_time};
use obs_types::{DurationMs, Matcher};

fn at(text: &str) -> TimestampMs {
    parse_time(text).unwrap()
}

fn event(transition: Transition, when: &str, node: &str, value: f64) -> AlertEvent {
    let firing = matches!(transition, Transition::Fired | Transition::Resolved);
    AlertEvent {
        transition,
        at: at(when),
        alert: ActiveAlert {
            state: AlertState::Firing,
            labels: LabelSet::from_pairs([
                ("alertname", "HighCPUUsage"),
                ("severity", "warning"),
                ("node", node),
                ("environment", "production"),
                ("region", "eu-west"),
            ]),
            annotations: BTreeMap::from([(
                "summary".to_owned(),
                "CPU usage above 80% for 5 minutes".to_owned(),
            )]),
            value,
            active_at: at("2025-12-06T14:30:00Z"),
            fired_at: firing.then(|| at(when)),
            resolved_at: None,
            keep_firing_since: None,
        },
        rule: RuleInfo {
            file: "host.yml".to_owned(),
            group: "host".to_owned(),
            name: "HighCPUUsage".to_owned(),
            expression: "cpu_percent > 80 for 5m".to_owned(),
            threshold: Some(80.0),
            hold: DurationMs(300_000),
        },
    }
}

fn book() -> AlertBook {
    AlertBook::new(NodeName::new("brick-01"))
}

#[test]
fn the_object_is_engines() {
    let mut book = book();
    book.apply(&event(Transition::Pending, "2025-12-06T14:30:00Z", "brick-02", 81.0));
    assert_eq!(book.counts(), (0, 1));
    let fired = book.apply(&event(Transition::Fired, "2025-12-06T14:35:00Z", "brick-02", 87.3));
    let Some(BookChange::Fired(alert)) = fired else { panic!("{fired:?}") };
    book.record_notified(&alert.id, "slack:ops-channel");
    book.record_notified(&alert.id, "slack:ops-channel");
    insta::assert_json_snapshot!(book.get("alert-2025-12-06-001").unwrap().to_json(false), @r#"
    {
      "alert_id": "alert-2025-12-06-001",
      "name": "HighCPUUsage",
      "severity": "warning",
      "status": "firing",
      "fired_at": "2025-12-06T14:35:00Z",
      "node": "did:vm:node:brick-02",
      "rule": {
        "expression": "cpu_percent > 80 for 5m",
        "threshold": 80,
        "duration": "5m"
      },
      "current_value": 87.3,
      "labels": {
        "environment": "production",
        "region": "eu-west"
      },
      "annotations": {
        "summary": "CPU usage above 80% for 5 minutes"
      },
      "notified": [
        "slack:ops-channel"
      ],
      "acknowledged": null,
      "silenced": false,
      "active_at": "2025-12-06T14:30:00Z",
      "resolved_at": null
    }
    "#);
}

#[test]
fn fires_and_resolves_once_and_ids_never_repeat() {
    let mut book = book();
    let fired = event(Transition::Fired, "2025-12-06T14:35:00Z", "brick-02", 87.3);
    assert!(book.apply(&fired).is_some());
    assert!(book.apply(&fired).is_none());
    let other = event(Transition::Fired, "2025-12-06T14:36:00Z", "brick-03", 90.0);
    assert!(book.apply(&other).is_some());

    // A restart in between: the restored book still knows both.
    let mut book = AlertBook::from_json(NodeName::new("brick-01"), book.to_json()).unwrap();
    assert!(book.apply(&fired).is_none());
    let resolved = event(Transition::Resolved, "2025-12-06T15:10:00Z", "brick-02", 42.1);
    let Some(BookChange::Resolved(alert)) = book.apply(&resolved) else { panic!() };
    assert_eq!((alert.id.as_str(), alert.current_value), ("alert-2025-12-06-001", 42.1));
    assert!(book.apply(&resolved).is_none());

    let again = event(Transition::Fired, "2025-12-06T16:00:00Z", "brick-02", 91.0);
    let Some(BookChange::Fired(alert)) = book.apply(&again) else { panic!() };
    assert_eq!(alert.id, "alert-2025-12-06-003");
    let ids: Vec<String> = book.list(&AlertFilter::default()).into_iter().map(|a| a.id).collect();
    assert_eq!(ids, ["alert-2025-12-06-003", "alert-2025-12-06-002", "alert-2025-12-06-001"]);
    let only = AlertFilter {
        node: Some("did:vm:node:brick-02".to_owned()),
        status: Some(AlertStatus::Firing),
        ..AlertFilter::default()
    };
    assert_eq!(book.list(&only).len(), 1);
}

#[test]
fn an_ack_is_engines_contract() {
    let mut book = book();
    book.apply(&event(Transition::Fired, "2025-12-06T14:35:00Z", "brick-02", 87.3));
    let request = AckRequest {
        by: "did:vm:user:sovereign".to_owned(),
        comment: "Investigating".to_owned(),
        escalation_suppressed: true,
        follow_up_required: false,
        follow_up_deadline: Some(at("2025-12-06T16:00:00Z")),
    };
    let now = at("2025-12-06T14:40:00Z");
    let contract = book.ack("alert-2025-12-06-001", request.clone(), now).unwrap();
    insta::assert_json_snapshot!(contract.to_json(), @r#"
    {
      "operation_id": "obs-op-2025-12-06-001",
      "operation_type": "alert_acknowledge",
      "alert_id": "alert-2025-12-06-001",
      "acknowledged_by": "did:vm:user:sovereign",
      "acknowledged_at": "2025-12-06T14:40:00Z",
      "comment": "Investigating",
      "escalation_suppressed": true,
      "follow_up_required": true,
      "follow_up_deadline": "2025-12-06T16:00:00Z"
    }
    "#);
    assert!(matches!(
        book.ack("alert-2025-12-06-009", request.clone(), now),
        Err(RulesError::AlertNotFound(_))
    ));
    let late = at("2025-12-06T17:00:00Z");
    assert!(matches!(
        book.ack("alert-2025-12-06-001", request.clone(), late),
        Err(RulesError::BadAck(_))
    ));
    book.apply(&event(Transition::Resolved, "2025-12-06T15:10:00Z", "brick-02", 42.1));
    assert!(matches!(
        book.ack("alert-2025-12-06-001", request, now),
        Err(RulesError::AlertResolved(_))
    ));
    assert_eq!(book.next_operation_id(now), "obs-op-2025-12-06-002");
}

#[test]
fn silences_and_inhibition_name_who_mutes() {
    let mut book = book();
    book.apply(&event(Transition::Fired, "2025-12-06T14:35:00Z", "brick-02", 87.3));
    let now = at("2025-12-06T14:36:00Z");
    let request = SilenceRequest {
        node: Some("brick-02".to_owned()),
        matchers: vec![SilenceMatcher {
            name: "alertname".to_owned(),
            op: "=~".to_owned(),
            value: "High.*".to_owned(),
        }],
        duration_ms: 3_600_000,
        reason: "maintenance".to_owned(),
        ..SilenceRequest::default()
    };
    let id = book.add_silence(request, now).unwrap().id;
    assert_eq!(id, "silence-2025-12-06-001");
    let mut book = AlertBook::from_json(NodeName::new("brick-01"), book.to_json()).unwrap();
    let alert = book.get("alert-2025-12-06-001").unwrap().clone();
    assert_eq!(book.silenced_by(&alert, now), [id.as_str()]);
    assert!(book.silenced_by(&alert, at("2025-12-06T15:36:00Z")).is_empty());
    book.expire_silence(&id, now).unwrap();
    assert!(book.silenced_by(&alert, now).is_empty());
    assert!(book.expire_silence("silence-x", now).is_err());

    book.set_inhibit_rules(vec![InhibitRule {
        source: vec![Matcher::equal("node", "brick-03")],
        target: vec![Matcher::equal("node", "brick-02")],
        equal: vec!["alertname".to_owned()],
    }]);
    assert!(book.inhibited_by(&alert).is_empty());
    book.apply(&event(Transition::Fired, "2025-12-06T14:37:00Z", "brick-03", 99.0));
    assert_eq!(book.inhibited_by(&alert), ["alert-2025-12-06-002"]);
}

#[test]
fn damaged_state_is_an_error() {
    for text in ["null", "{}", r#"{"version":9}"#] {
        let value = serde_json::from_str(text).unwrap();
        assert!(AlertBook::from_json(NodeName::new("a"), value).is_err(), "{text}");
    }
}
