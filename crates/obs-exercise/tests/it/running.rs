//! Faults of a running system.

use obs_exercise::doctor::{
    CanaryInput, Check, DeliveryInput, HeadroomInput, LedgerInput, ObjectiveInput, Recomputed,
    SilenceInput, StorageInput, TargetInput, World, examine,
};
use obs_types::TimestampMs;

use crate::support::{Change, NOW, assert_found, folder, world};

fn healthy(dir: &std::path::Path) -> World {
    let mut world = world(dir);
    world.canaries = Some(vec![CanaryInput {
        protocol: "remote write".to_owned(),
        api: "GET /api/v1/query".to_owned(),
        outcome: Ok(12),
    }]);
    world.targets = Some(vec![TargetInput {
        job: "genesis-orchestration".to_owned(),
        instance: "localhost:8000".to_owned(),
        health: "up".to_owned(),
        last_error: String::new(),
        last_scrape: Some(TimestampMs(NOW.0 - 4_000)),
        interval_ms: 15_000,
    }]);
    world.deliveries = Some(vec![DeliveryInput {
        receiver: "critical".to_owned(),
        integration: "webhook".to_owned(),
        outcome: Ok("200".to_owned()),
    }]);
    world.objectives = Some(vec![ObjectiveInput {
        id: "slo-treaty".to_owned(),
        has_data: Some(true),
        error: None,
        settling: false,
        queries: vec!["sum(increase(treaty_requests_total[1h]))".to_owned()],
        recomputed: Some(Recomputed {
            engine: (99.0, 100.0),
            sealed: (99.0, 100.000_000_000_01),
            window: "two hours".to_owned(),
        }),
    }]);
    world.ledger = Some(LedgerInput { size: 100, problems: Vec::new() });
    world.storage = Some(StorageInput {
        sealed_files: 3,
        unsealed_hours: Some(0),
        restore: Some(Ok("backup 1 restored".to_owned())),
        backup_age_ms: Some(86_400_000),
        ..StorageInput::default()
    });
    world.headroom = Some(HeadroomInput {
        clock_skew_ms: Some(40),
        disk_free_bytes: Some(50 << 30),
        disk_bytes_per_day: Some(1e9),
        series: Some(5_000),
        series_max: Some(1_000_000),
        largest_metrics: vec![("up".to_owned(), 20)],
        rejected: Some(0.0),
    });
    world
}

type Seed = (&'static str, &'static str, &'static str, fn(&mut World));

const FAULTS: &[Seed] = &[
    ("remote write does not come back", "canary-lost", "remote write", |w| {
        w.canaries.as_mut().unwrap()[0].outcome = Err("no value within 10 s".to_owned());
    }),
    ("exporter stopped", "target-down", "localhost:8000", |w| {
        let t = &mut w.targets.as_mut().unwrap()[0];
        t.health = "down".to_owned();
        t.last_error = "connection refused".to_owned();
    }),
    ("scraping stands still", "target-late", "localhost:8000", |w| {
        w.targets.as_mut().unwrap()[0].last_scrape = Some(TimestampMs(NOW.0 - 300_000));
    }),
    ("receiver that refuses", "receiver-refuses", "critical (webhook)", |w| {
        w.deliveries.as_mut().unwrap()[0].outcome = Err("503".to_owned());
    }),
    ("objective that counts nothing", "objective-no-data", "slo-treaty", |w| {
        w.objectives.as_mut().unwrap()[0].has_data = Some(false);
    }),
    ("objective that cannot be computed", "objective-fails", "slo-treaty", |w| {
        w.objectives.as_mut().unwrap()[0].error = Some("parse error".to_owned());
    }),
    ("an objective over a counter as it is", "objective-counts-counter", "slo-treaty", |w| {
        let o = &mut w.objectives.as_mut().unwrap()[0];
        o.queries = vec!["sum(sum_over_time((sum(treaty_requests_total))[1h:1m]))".to_owned()];
    }),
    ("sealed files that tell another story", "objective-differs", "slo-treaty", |w| {
        let o = &mut w.objectives.as_mut().unwrap()[0];
        o.recomputed.as_mut().unwrap().sealed = (97.0, 100.0);
    }),
    ("ledger that was edited", "ledger-does-not-verify", "ledger", |w| {
        w.ledger.as_mut().unwrap().problems = vec!["root differs at receipt 7".to_owned()];
    }),
    ("sealed file that is damaged", "sealed-file-unreadable", "data folder", |w| {
        w.storage.as_mut().unwrap().unreadable_files = 1;
    }),
    ("blocks that are damaged", "blocks-damaged", "data folder", |w| {
        w.storage.as_mut().unwrap().damaged_blocks = 2;
    }),
    ("sealing that stands still", "hours-unsealed", "data folder", |w| {
        w.storage.as_mut().unwrap().unsealed_hours = Some(4);
    }),
    ("a backup that cannot be restored", "restore-fails", "data folder", |w| {
        w.storage.as_mut().unwrap().restore = Some(Err("hour-14.parquet: bad magic".to_owned()));
    }),
    ("a backup of last month", "backup-old", "data folder", |w| {
        w.storage.as_mut().unwrap().backup_age_ms = Some(30 * 86_400_000);
    }),
    ("clock skew", "clock-skew", "clock", |w| {
        w.headroom.as_mut().unwrap().clock_skew_ms = Some(-95_000);
    }),
    ("disk nearly full", "disk-nearly-full", "disk", |w| {
        w.headroom.as_mut().unwrap().disk_free_bytes = Some(200 << 20);
    }),
    ("disk full within days", "disk-nearly-full", "disk", |w| {
        w.headroom.as_mut().unwrap().disk_bytes_per_day = Some(40e9);
    }),
    ("series near their limit", "series-near-limit", "series", |w| {
        w.headroom.as_mut().unwrap().series = Some(900_000);
    }),
    ("one metric with a label without bounds", "cardinality", "http_requests_total", |w| {
        let h = w.headroom.as_mut().unwrap();
        h.series = Some(90_000);
        h.largest_metrics = vec![("http_requests_total".to_owned(), 80_000)];
    }),
    ("data is refused", "data-rejected", "ingest", |w| {
        w.headroom.as_mut().unwrap().rejected = Some(12.0);
    }),
    ("silence that was forgotten", "alert-silenced", "TreatyRttHigh", |w| {
        w.silences.push(SilenceInput {
            id: "silence-1".to_owned(),
            matchers: vec!["alertname=\"TreatyRttHigh\"".to_owned()],
            ends_at: TimestampMs(NOW.0 + 400 * 86_400_000),
            by: "did:vm:user:sovereign".to_owned(),
        });
    }),
];

#[test]
fn a_healthy_system_gives_nothing() {
    let dir = folder(Change::default());
    let report = examine(&healthy(dir.path()));
    assert!(report.is_clean(), "{}", report.to_text());
    assert_eq!(report.counts(), (Check::ALL.len(), 0), "{}", report.to_text());
}

#[test]
fn each_fault_is_found_and_named() {
    let dir = folder(Change::default());
    for (name, code, subject, seed) in FAULTS {
        let mut world = healthy(dir.path());
        seed(&mut world);
        assert_found(name, &examine(&world), code, subject);
    }
}

#[test]
fn the_json_holds_all_of_the_report() {
    let dir = folder(Change::default());
    let mut world = healthy(dir.path());
    FAULTS[1].3(&mut world);
    let report = examine(&world);
    let json = report.to_json();
    assert_eq!(json["version"], 1);
    assert_eq!(json["clean"], false);
    assert_eq!(json["counts"]["findings"], 1);
    assert_eq!(json["checks"].as_array().unwrap().len(), 12);
    let finding = &json["findings"][0];
    assert_eq!(finding["check"], "targets");
    assert_eq!(finding["code"], "target-down");
    assert_eq!(finding["severity"], "critical");
    assert_eq!(finding["evidence"][0]["query"], "GET /api/v1/targets");
    assert_eq!(finding["fixable"], false);
}
