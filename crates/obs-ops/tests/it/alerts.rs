use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use obs_disk::{Clock, Disk, FakeDisk, ManualClock, write_durable};
use obs_ledger::Ledger;
use obs_ops::{
    AckRequest, AlertFilter, AlertService, AlertStep, DayIds, SilenceMatcher, SilenceRequest,
};
use obs_proof::actor::Contract;
use obs_proof::note::{KeyKind, SignerKey};
use obs_rules::{AlertRecord, AlertStatus, GroupOptions, ReadOptions, RuleFile, StepContext};
use obs_types::{DurationMs, LabelSet, NodeName, QueryContext, TimestampMs};
use serde_json::{Value, json};

use crate::world::{World, open_ledger, receipts};

const RULES: &str = r#"
groups:
  - name: host
    interval: 15s
    rules:
      - alert: HighCPUUsage
        expr: cpu_percent > 80
        for: 30s
        labels: {severity: warning}
        annotations: {summary: "CPU at {{ $value }} on {{ $labels.node }}"}
"#;

fn open(data: &Path, disk: &Arc<dyn Disk>, ledger: &Arc<Ledger>, now: TimestampMs) -> AlertService {
    let rules = RuleFile::parse("host.yml", RULES, ReadOptions::default()).unwrap();
    let operations = DayIds::from_ledger(ledger, "obs-op-", "operation_id").unwrap();
    AlertService::open(
        data.to_owned(),
        Arc::clone(disk),
        Arc::clone(ledger),
        Arc::new(operations),
        &NodeName::new("brick-01"),
        GroupOptions {
            interval: DurationMs(15_000),
            query_offset: DurationMs(0),
            external_labels: LabelSet::empty(),
            external_url: "http://127.0.0.1:9470".to_owned(),
        },
        &[rules],
        Vec::new(),
        now,
    )
    .unwrap()
}

fn here(world: &World) -> AlertService {
    open(world.dir.path(), &world.parts.disk, &world.parts.ledger, world.now())
}

fn channel(_: &AlertRecord) -> Vec<String> {
    vec!["slack:ops-channel".to_owned()]
}

fn step(world: &World, service: &AlertService) -> AlertStep {
    let query = QueryContext::unlimited();
    let clock: &ManualClock = &world.clock;
    let context = StepContext { query: &query, monotonic: &|| clock.monotonic() };
    service.step(world.now(), world.parts.metrics.as_ref(), &context, &channel).unwrap()
}

/// `steps` evaluations, 15 seconds apart, with one CPU value; gives how many changes there were.
fn run(world: &World, service: &AlertService, value: f64, steps: usize) -> usize {
    let mut changes = 0;
    for _ in 0..steps {
        world.clock.advance(Duration::from_secs(15));
        world.sample(&[("__name__", "cpu_percent"), ("node", "brick-02")], world.now(), value);
        changes += step(world, service).changes.len();
    }
    changes
}

fn only(service: &AlertService, world: &World) -> Value {
    let mut all = service.list(&AlertFilter::default(), world.now());
    assert_eq!(all.len(), 1, "{all:?}");
    all.remove(0)
}

#[test]
fn fires_once_survives_a_restart_is_acked_silenced_and_resolves() {
    let world = World::new();
    let service = here(&world);
    assert_eq!(run(&world, &service, 87.3, 2), 0);
    assert_eq!(service.counts(), (0, 1), "pending for 30 s first");
    assert_eq!(run(&world, &service, 87.3, 3), 1);
    let fired = world.receipts("obs_alert_fired");
    assert_eq!(fired.len(), 1);
    let r = &fired[0];
    assert_eq!(r["alert_id"], "alert-2025-12-06-001");
    assert_eq!(r["name"], "HighCPUUsage");
    assert_eq!(r["severity"], "warning");
    assert_eq!(r["node"], "did:vm:node:brick-02");
    assert_eq!(r["rule_expression"], "cpu_percent > 80 for 30s");
    assert_eq!(r["current_value"], 87.3);
    assert_eq!(r["threshold"], 80);
    assert_eq!(r["notifications_sent"][0], "slack:ops-channel");
    drop(service);

    let world = world.restart();
    let service = here(&world);
    assert_eq!(run(&world, &service, 90.0, 3), 0, "it fires still, not again");
    assert_eq!(service.counts(), (1, 0));
    assert_eq!(world.receipts("obs_alert_fired").len(), 1);

    let ack = AckRequest {
        by: "did:vm:user:sovereign".to_owned(),
        comment: "investigating".to_owned(),
        escalation_suppressed: true,
        follow_up_required: false,
        follow_up_deadline: None,
    };
    let (contract, seq) =
        service.ack("alert-2025-12-06-001", ack.clone(), None, world.now()).unwrap();
    assert_eq!(contract["operation_id"], "obs-op-2025-12-06-001");
    assert_eq!(contract["operation_type"], "alert_acknowledge");
    assert_eq!(seq, 1);
    assert!(service.ack("alert-2025-12-06-009", ack, None, world.now()).is_err());
    assert_eq!(world.receipts("obs_alert_ack").len(), 1);

    let request = SilenceRequest {
        node: Some("did:vm:node:brick-02".to_owned()),
        duration_ms: 3_600_000,
        reason: "maintenance".to_owned(),
        created_by: "did:vm:user:sovereign".to_owned(),
        ..SilenceRequest::default()
    };
    let (silence, _) = service.silence(request, None, world.now()).unwrap();
    let record = service.record("alert-2025-12-06-001").unwrap();
    assert!(service.is_muted(&record, world.now()));
    let alert = only(&service, &world);
    assert_eq!(alert["silenced"], true);
    assert_eq!(alert["acknowledged"]["comment"], "investigating");
    let routed = service.routed(world.now());
    assert_eq!(routed[0].silenced_by, [silence["id"].as_str().unwrap()]);
    service
        .expire_silence(silence["id"].as_str().unwrap(), "did:vm:user:sovereign", None, world.now())
        .unwrap();
    assert!(!service.is_muted(&record, world.now()));

    assert_eq!(run(&world, &service, 42.1, 2), 1);
    let resolved = &world.receipts("obs_alert_resolved")[0];
    assert_eq!(resolved["resolved_by"], "automatic");
    assert_eq!(resolved["acknowledged"], true);
    assert_eq!(resolved["acknowledged_by"], "did:vm:user:sovereign");
    assert_eq!(resolved["fired_at"], r["timestamp"]);
    assert_eq!(only(&service, &world)["status"], AlertStatus::Resolved.as_str());
    world.assert_verifies();
}

#[test]
fn operation_ids_are_never_given_twice() {
    let world = World::new();
    let service = here(&world);
    let request = || SilenceRequest {
        node: Some("brick-02".to_owned()),
        duration_ms: 60_000,
        ..SilenceRequest::default()
    };
    service.silence(request(), None, world.now()).unwrap();
    drop(service);
    let world = world.restart();
    let service = here(&world);
    service.silence(request(), None, world.now()).unwrap();
    let mut ids = BTreeMap::new();
    world
        .parts
        .ledger
        .read(0, &mut |seq, line| {
            let receipt: Value = serde_json::from_str(line).unwrap();
            ids.insert(receipt["operation_id"].as_str().unwrap().to_owned(), seq);
            true
        })
        .unwrap();
    assert_eq!(ids.keys().collect::<Vec<_>>(), ["obs-op-2025-12-06-001", "obs-op-2025-12-06-002"]);
}

#[test]
fn a_full_disk_delays_the_receipt_and_not_the_alert() {
    let world = World::new();
    let fake = Arc::new(FakeDisk::new());
    let disk: Arc<dyn Disk> = fake.clone();
    let ledger = open_ledger(world.dir.path(), &disk, &world.clock);
    let service = open(world.dir.path(), &disk, &ledger, world.now());
    fake.set_budget(Some(fake.used_bytes()));
    assert_eq!(run(&world, &service, 99.0, 4), 1, "the notifier is told");
    assert_eq!(ledger.head().size, 0);
    assert_eq!(service.owed_receipts(), 1);
    fake.set_budget(None);
    assert_eq!(run(&world, &service, 99.0, 1), 0);
    assert_eq!(service.owed_receipts(), 0);
    assert_eq!(receipts(&ledger, "obs_alert_fired").len(), 1);
}

#[test]
fn a_crash_before_the_receipt_is_made_good_at_the_next_start() {
    let world = World::new();
    let service = here(&world);
    run(&world, &service, 99.0, 4);
    run(&world, &service, 1.0, 2);
    drop(service);
    // A ledger that never heard of the alert stands for one that a crash kept from hearing.
    let other = tempfile::tempdir().unwrap();
    let ledger = open_ledger(other.path(), &world.parts.disk, &world.clock);
    let service = open(world.dir.path(), &world.parts.disk, &ledger, world.now());
    let (fired, resolved) =
        (receipts(&ledger, "obs_alert_fired"), receipts(&ledger, "obs_alert_resolved"));
    assert_eq!(fired[0]["alert_id"], resolved[0]["alert_id"]);
    assert!(fired[0]["seq"].as_u64() < resolved[0]["seq"].as_u64(), "{fired:?} {resolved:?}");
    assert_eq!(ledger.head().size, 2);
    drop(service);
    let _again = open(world.dir.path(), &world.parts.disk, &ledger, world.now());
    assert_eq!(ledger.head().size, 2, "only what is missing is written");
}

/// Whoever signs is checked before anything changes; whoever does not is refused once that is
/// asked for.
#[test]
fn signed_contracts() {
    const DID: &str = "did:vm:human:alice";
    let world = World::new();
    let service = here(&world);
    let key = SignerKey::from_seed(DID, KeyKind::Ed25519, &[1; 32]).unwrap();
    let actors = world.dir.path().join(obs_ops::ACTORS_FILE);
    let registry = format!("actor {}\n", key.verifier());
    world.parts.disk.create_dir_all(actors.parent().unwrap()).unwrap();
    write_durable(&*world.parts.disk, &actors, registry.as_bytes()).unwrap();
    let now = world.now();
    let request = |by: &str| SilenceRequest {
        matchers: vec![SilenceMatcher {
            name: "node".to_owned(),
            op: "=".to_owned(),
            value: "brick-02".to_owned(),
        }],
        duration_ms: 60_000,
        reason: "maintenance".to_owned(),
        created_by: by.to_owned(),
        ..SilenceRequest::default()
    };
    let contract = |reason: &str, issued_at: i64| {
        let subject = json!({
            "matchers": ["node=\"brick-02\""],
            "starts_at": obs_proof::time::format_rfc3339(now.0),
            "ends_at": obs_proof::time::format_rfc3339(now.0 + 60_000),
            "reason": reason,
        });
        let contract = Contract {
            origin: world.parts.ledger.head().origin,
            operation_type: "alert_silence".to_owned(),
            initiated_by: DID.to_owned(),
            issued_at,
            subject: subject.as_object().unwrap().clone(),
        };
        Value::Object(contract.sign(&key).unwrap())
    };
    let refused = |by: &str, signed: Option<&Value>| {
        let e = service.silence(request(by), signed, now).unwrap_err();
        assert!(service.silences(now).len() <= 1, "nothing has changed");
        e.to_string()
    };
    let good = contract("maintenance", now.0 - 1_000);
    assert!(refused("did:vm:human:bob", Some(&good)).contains("initiated_by"));
    assert!(refused(DID, Some(&contract("another", now.0))).contains("reason"));
    assert!(refused(DID, Some(&contract("maintenance", now.0 - 301_000))).contains("301 s ago"));
    let (_silence, seq) = service.silence(request(DID), Some(&good), now).unwrap();
    assert!(refused(DID, Some(&good)).contains("used before"));
    assert_eq!(world.receipts("obs_silence")[0]["seq"], seq);
    service.require_signed_contracts(true);
    assert!(refused(DID, None).contains("--as"));
    let id = service.silences(now)[0]["id"].as_str().unwrap().to_owned();
    assert!(service.expire_silence(&id, DID, None, now).is_err());
    assert_eq!(service.silences(now)[0]["status"], "active");
    drop(service);
    let world = world.restart();
    let service = here(&world);
    let again = service.silence(request(DID), Some(&good), now).unwrap_err().to_string();
    assert!(again.contains("used before"), "also after a restart: {again}");
    world.assert_verifies();
    assert_eq!(world.verify().contracts, 1);
}
