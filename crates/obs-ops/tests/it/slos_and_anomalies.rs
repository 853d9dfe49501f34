use std::sync::{Arc, Mutex};
use std::time::Duration;

use obs_analysis::slo::InstantQuery;
use obs_ops::{AnomalyService, SloService, Watch};
use obs_types::{LabelSet, TimestampMs};
use serde_json::json;

use crate::world::{World, minutes};

fn open(world: &World) -> SloService {
    SloService::open(
        world.dir.path().to_owned(),
        Arc::clone(&world.parts.disk),
        Arc::clone(&world.parts.ledger),
        world.operations(),
        Vec::new(),
        world.now(),
    )
    .unwrap()
}

/// 1000 requests, of which `bad` were bad, whatever the window.
fn requests(bad: f64) -> impl InstantQuery {
    move |query: &str, _at: TimestampMs| -> Result<Vec<(LabelSet, f64)>, String> {
        let value = if query.contains("good") { 1000.0 - bad } else { 1000.0 };
        Ok(vec![(LabelSet::empty(), value)])
    }
}

#[test]
fn an_objective_is_created_kept_evaluated_and_reported_daily() {
    let world = World::new();
    let service = open(&world);
    let definition = json!({
        "operation_type": "slo_create",
        "slo": {
            "id": "slo:oracle-availability", "name": "Oracle Availability",
            "description": "Oracle service uptime",
            "indicator": {
                "type": "availability",
                "good_query": "oracle_requests_good_total",
                "total_query": "oracle_requests_total",
            },
            "target": 0.999, "window": "30d",
        },
    });
    let (contract, seq) =
        service.create(&definition, "did:vm:user:sovereign", None, world.now()).unwrap();
    assert_eq!(contract["operation_id"], "obs-op-2025-12-06-001");
    assert_eq!(contract["operation_type"], "slo_create");
    assert_eq!(contract["initiated_by"], "did:vm:user:sovereign");
    assert_eq!(contract["slo"], definition["slo"]);
    assert_eq!(seq, 0);
    assert_eq!(service.list()[0]["status"], "no_data");
    assert!(service.create(&json!({"slo": {"id": "x"}}), "me", None, world.now()).is_err());
    assert!(service.create(&json!([1]), "me", None, world.now()).is_err());
    assert_eq!(world.parts.ledger.head().size, 1, "a refused definition leaves no receipt");
    drop(service);

    let world = world.restart();
    let service = open(&world);
    assert_eq!(service.list().len(), 1, "definitions survive a restart");
    let labels = LabelSet::from_pairs([("job", "vm-obs")]);
    let batch = service.evaluate(world.now(), &requests(2.0), &labels);
    assert!(batch.series.iter().all(|s| s.labels.get("job") == Some("vm-obs")));
    assert!(
        batch.series.iter().any(|s| s.labels.metric_name() == "slo_error_budget_remaining_percent")
    );
    let slo = service.get("oracle-availability").unwrap();
    assert_eq!(slo["slo_id"], "slo:oracle-availability");
    assert_eq!(slo["achieved"], 0.998);
    assert_eq!(slo["status"], "missed", "0.998 is below 0.999");
    assert_eq!(slo["breakdown"]["bad_requests"], 2);

    assert_eq!(service.daily(world.now()).unwrap(), None, "today has only begun");
    world.advance(minutes(12 * 60));
    assert!(service.daily(world.now()).unwrap().is_some());
    assert_eq!(service.daily(world.now()).unwrap(), None, "once a day");
    let report = &world.receipts("obs_slo_report")[0];
    assert_eq!(report["report_id"], "slo-report-2025-12-07");
    assert_eq!(report["report_path"], "reports/slo/2025-12-07.json");
    assert_eq!(report["slos"][0]["slo_id"], "slo:oracle-availability");
    assert_eq!(report["slos"][0]["status"], "missed");
    for extension in ["json", "md", "html"] {
        assert!(world.dir.path().join(format!("reports/slo/2025-12-07.{extension}")).exists());
    }
    drop(service);
    let world = world.restart();
    let service = open(&world);
    service.evaluate(world.now(), &requests(0.0), &labels);
    assert_eq!(service.daily(world.now()).unwrap(), None, "a restart does not repeat the report");
    let (again, _) = service.create(&definition, "me", None, world.now()).unwrap();
    assert_eq!(again["operation_type"], "slo_update");
    assert_eq!(again["operation_id"], "obs-op-2025-12-07-001");
    world.assert_verifies();
}

#[test]
fn a_query_that_fails_keeps_the_last_report_and_shows_why() {
    let world = World::new();
    let service = open(&world);
    let slo = json!({
        "id": "slo:a", "name": "A", "description": "",
        "indicator": {"type": "availability", "good_query": "good", "total_query": "total"},
        "target": 0.99, "window": "7d",
    });
    service.create(&slo, "me", None, world.now()).unwrap();
    service.evaluate(world.now(), &requests(1.0), &LabelSet::empty());
    let broken = |_: &str, _: TimestampMs| -> Result<Vec<(LabelSet, f64)>, String> {
        Err("unexpected end of input".to_owned())
    };
    let batch = service.evaluate(world.now(), &broken, &LabelSet::empty());
    assert!(batch.series.is_empty());
    let shown = service.get("slo:a").unwrap();
    assert_eq!(shown["achieved"], 0.999);
    assert!(shown["error"].as_str().unwrap().contains("unexpected end"));
}

fn watch() -> Vec<Watch> {
    vec![Watch {
        metric: "treasury.receipts_per_minute".to_owned(),
        query: "treasury_receipts_per_minute".to_owned(),
        peers: None,
    }]
}

/// A steady series, then `last`; gives how many anomalies the service recorded.
fn watch_until(world: &World, service: &AnomalyService, last: f64) -> usize {
    let value = Mutex::new(0.0);
    let query = |_: &str, _: TimestampMs| -> Result<Vec<(LabelSet, f64)>, String> {
        let labels = LabelSet::from_pairs([("node", "brick-01")]);
        Ok(vec![(labels, *value.lock().unwrap())])
    };
    let mut found = 0;
    for i in 0..600_u32 {
        world.clock.advance(Duration::from_secs(15));
        *value.lock().unwrap() = 30.0 + f64::from(i * 7 % 5);
        found += service.step(world.now(), &query, &[]).unwrap().len();
    }
    assert_eq!(found, 0, "the steady series is normal");
    for _ in 0..12 {
        world.clock.advance(Duration::from_secs(15));
        *value.lock().unwrap() = last;
        let open = ["alert-2025-12-06-001".to_owned()];
        found += service.step(world.now(), &query, &open).unwrap().len();
    }
    found
}

#[test]
fn an_anomaly_is_recorded_with_its_range_and_a_new_id() {
    let world = World::new();
    let service = AnomalyService::open(Arc::clone(&world.parts.ledger), watch()).unwrap();
    assert!(watch_until(&world, &service, 400.0) >= 1);
    let first = world.receipts("obs_anomaly_detected");
    let r = &first[0];
    assert_eq!(r["anomaly_id"], "anomaly-2025-12-06-001");
    assert_eq!(r["metric"], "treasury.receipts_per_minute");
    assert_eq!(r["node"], "did:vm:node:brick-01");
    assert_eq!(r["observed_value"], 400);
    assert!(r["expected_range"]["max"].as_f64().unwrap() < 400.0);
    assert!(r["deviation_sigma"].as_f64().unwrap() > 3.0);
    assert_eq!(r["correlated_events"][0], "alert-2025-12-06-001");
    assert!(!r["possible_causes"].as_array().unwrap().is_empty());

    let world = world.restart();
    let service = AnomalyService::open(Arc::clone(&world.parts.ledger), watch()).unwrap();
    assert!(watch_until(&world, &service, 400.0) >= 1);
    let all = world.receipts("obs_anomaly_detected");
    let mut ids: Vec<&str> = all.iter().map(|r| r["anomaly_id"].as_str().unwrap()).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), all.len(), "ids are not given again");
    world.assert_verifies();
}
