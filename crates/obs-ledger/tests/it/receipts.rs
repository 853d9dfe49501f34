//! Each type's receipts against its JSON Schema, and against the fields that ENGINE names.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use obs_disk::FakeDisk;
use obs_ledger::{
    AlertAck, AlertResolved, AnchorReceipt, AnomalyDetected, ConfigChange, DeletedFile, Exercise,
    FiledReport, Gap, Ledger, LedgerRecovered, MovedFile, Receipt, ReceiptType, Records,
    ReportKind, Reseal, ResealCause, Retention, SealLink, SealRelation, Silence, SloDefinition,
    SloReport, SloResult, TierMove, TraceBatch, TraceComplete,
};
use obs_types::{TimestampMs, TimestampNs, TraceId};
use serde_json::{Map, Value, json};

use crate::support::{
    DATA, HOUR, HOUR_13, alert, clock, config, hash, lines, log_batch, metric_snapshot, seal,
    verify_fake,
};

fn map(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        other => panic!("{other}"),
    }
}

/// At least one receipt of every type, odd values included.
fn samples() -> Vec<Receipt> {
    let t = TimestampMs(HOUR_13);
    let revised = |relation| {
        let mut seal = seal("logs", 0, 1, "telemetry/logs/2025-12-06/hour-14.r1.jsonl.gz", b"late");
        seal.link = Some(SealLink { relation, content_hash: hash(b"logs"), reason: "late".into() });
        seal
    };
    let mut aggregates_nan = obs_ledger::MetricSnapshot {
        seal: seal("metrics", 1, 0, "telemetry/metrics/2025-12-06/hour-15.parquet", b"metrics"),
        nodes_reporting: 0,
        metrics_collected: 0,
        aggregates: BTreeMap::new(),
        tags: vec!["observability".into(), "more".into()],
    };
    aggregates_nan.aggregates.insert("max_cpu_percent".into(), f64::NAN);
    vec![
        metric_snapshot(seal(
            "metrics",
            0,
            0,
            "telemetry/metrics/2025-12-06/hour-14.parquet",
            b"m",
        )),
        Receipt::metric_snapshot(aggregates_nan),
        log_batch(seal("logs", 0, 0, "telemetry/logs/2025-12-06/hour-14.jsonl.gz", b"logs")),
        log_batch(revised(SealRelation::Supplements)),
        Receipt::trace_batch(TraceBatch {
            seal: {
                let mut s =
                    seal("traces", 0, 0, "telemetry/traces/2025-12-06/hour-14.parquet", b"t");
                s.records.leaf = "vmobs-span/1".into();
                s
            },
            traces: 12,
            spans: 48,
            error_traces: 1,
            services_reporting: vec!["portal".into()],
            tags: Vec::new(),
        }),
        Receipt::trace_complete(TraceComplete {
            trace_id: TraceId([0x4b; 16]),
            name: "treasury_settlement".into(),
            start: TimestampNs(1_765_031_400_000_000_001),
            end: TimestampNs(1_765_031_402_345_000_001),
            duration_ms: 2345,
            status: "ok".into(),
            span_count: 4,
            services_involved: vec!["portal".into(), "treasury-engine".into()],
            nodes_involved: vec!["portal-01".into()],
            triggered_by: Some("did:vm:user:sovereign".into()),
            business_context: map(json!({"settlement_id": "settle-2025-12-06-001"})),
            tags: vec!["treasury".into(), "settlement".into()],
        }),
        Receipt::anchor(AnchorReceipt {
            anchor: "tsa".into(),
            kind: "rfc3161".into(),
            target: "http://tsa.example".into(),
            size: 7,
            root: [7; 32],
            status: "anchored".into(),
            anchored_at: Some(t),
            proof_path: "receipts/observability/anchors/7-tsa.tsr".into(),
            content_hash: hash(b"token"),
        }),
        Receipt::filed_report(FiledReport {
            kind: ReportKind::Audit,
            operation_id: "obs-op-2025-12-06-004".into(),
            report_id: "audit-2025-12-06-001".into(),
            initiated_by: "did:vm:user:sovereign".into(),
            subject: "host, vaultmesh".into(),
            outcome: "8.5/10".into(),
            summary: map(json!({"score": 8.5, "large": u64::MAX})),
            report: Some(("reports/audit/audit-2025-12-06-001.json".into(), hash(b"audit"))),
        }),
        Receipt::filed_report(FiledReport {
            kind: ReportKind::Doctor,
            operation_id: "obs-op-2025-12-06-005".into(),
            report_id: "doctor-2025-12-06-001".into(),
            initiated_by: "did:vm:user:sovereign".into(),
            subject: "http://127.0.0.1:9470".into(),
            outcome: "0 findings".into(),
            summary: map(json!({"findings": 0})),
            report: None,
        }),
        Receipt::filed_report(FiledReport {
            kind: ReportKind::Weekly,
            operation_id: "obs-op-2025-12-06-006".into(),
            report_id: "weekly-2025-12-06-001".into(),
            initiated_by: "did:vm:node:brick-01".into(),
            subject: "brick-01".into(),
            outcome: "healthy".into(),
            summary: map(json!({"period_end": "2025-12-06T00:00:00Z"})),
            report: Some(("reports/weekly/weekly-2025-12-06-001.json".into(), hash(b"week"))),
        }),
        alert(1),
        Receipt::alert_resolved(AlertResolved {
            alert_id: "alert-2025-12-06-001".into(),
            name: "HighCPUUsage".into(),
            node: "did:vm:node:brick-02".into(),
            fired_at: t,
            resolved_at: TimestampMs(HOUR_13 + 35 * 60_000 + 59_999),
            resolved_by: "automatic".into(),
            resolution_value: Some(f64::INFINITY),
            acknowledged: true,
            acknowledged_by: Some("did:vm:user:sovereign".into()),
            root_cause: None,
            tags: Vec::new(),
        }),
        Receipt::slo_report(SloReport {
            period_start: TimestampMs(HOUR_13 - 30 * 24 * HOUR),
            period_end: t,
            slos: vec![SloResult {
                slo_id: "slo:anchor-latency-p99".into(),
                target: 0.999,
                achieved: None,
                status: "no_data".into(),
            }],
            overall_status: "healthy".into(),
            error_budget_status: "sufficient".into(),
            report_path: "reports/slo/2025-12-06.json".into(),
            content_hash: Some(hash(b"report")),
            tags: Vec::new(),
        }),
        Receipt::anomaly_detected(AnomalyDetected {
            anomaly_id: "anomaly-2025-12-06-001".into(),
            detected_at: t,
            detection_method: "statistical".into(),
            metric: "treasury.receipts_per_minute".into(),
            node: "did:vm:node:brick-01".into(),
            expected_min: 10.0,
            expected_max: 50.0,
            observed_value: 2.0,
            deviation_sigma: 4.2,
            confidence: 0.98,
            possible_causes: vec!["network partition".into()],
            correlated_events: vec!["alert-2025-12-06-001".into()],
            tags: vec!["treasury".into()],
        }),
        Receipt::alert_ack(AlertAck {
            operation_id: "obs-op-2025-12-06-001".into(),
            alert_id: "alert-2025-12-06-001".into(),
            acknowledged_by: "did:vm:user:sovereign".into(),
            acknowledged_at: t,
            comment: "Investigating".into(),
            escalation_suppressed: true,
            follow_up_required: true,
            follow_up_deadline: Some(TimestampMs(HOUR_13 + HOUR)),
        }),
        Receipt::silence(Silence {
            operation_id: "obs-op-2".into(),
            operation_type: "alert_silence".into(),
            silence_id: "silence-1".into(),
            initiated_by: "did:vm:user:sovereign".into(),
            matchers: vec!["node=\"brick-02\"".into()],
            starts_at: t,
            ends_at: TimestampMs(HOUR_13 + HOUR),
            reason: "maintenance".into(),
        }),
        Receipt::slo_definition(SloDefinition {
            operation_id: "obs-op-2025-12-06-002".into(),
            operation_type: "slo_create".into(),
            initiated_by: "did:vm:user:sovereign".into(),
            slo: map(json!({"id": "slo:oracle-availability", "target": 0.999, "window": "30d"})),
        }),
        Receipt::config_change(ConfigChange {
            operation_id: "obs-op-3".into(),
            subject: "rules".into(),
            initiated_by: "vm-obs".into(),
            old_hash: None,
            new_hash: Some(hash(b"rules")),
            summary: "3 groups, 12 rules".into(),
        }),
        Receipt::retention(Retention {
            operation_id: "obs-op-4".into(),
            stream: "logs".into(),
            policy: "logs: 365d".into(),
            reason: "older than the policy keeps".into(),
            deleted: vec![DeletedFile {
                storage_path: "telemetry/logs/2025-12-06/hour-14.jsonl.gz".into(),
                content_hash: hash(b"logs"),
            }],
        }),
        Receipt::tier_move(TierMove {
            operation_id: "obs-op-5".into(),
            stream: "logs".into(),
            store: "s3://bucket/prefix".into(),
            policy: "logs: warm 30d".into(),
            moved: vec![MovedFile {
                storage_path: "telemetry/logs/2025-12-06/hour-14.jsonl.gz".into(),
                content_hash: hash(b"logs"),
                content_bytes: 4,
                parts_hash: hash(b"logs"),
            }],
        }),
        Receipt::reseal(Reseal {
            operation_id: "obs-op-6".into(),
            cause: ResealCause::Redaction,
            initiated_by: "did:vm:user:sovereign".into(),
            reason: "a password in two lines".into(),
            stream: "logs".into(),
            period_start: TimestampMs(HOUR_13),
            period_end: TimestampMs(HOUR_13 + HOUR),
            rev: 2,
            storage_path: "telemetry/logs/2025-12-06/hour-14.r2.jsonl.gz".into(),
            content_hash: hash(b"logs without two lines"),
            content_bytes: 22,
            records: Records { count: 3, root: [7; 32], leaf: "vmobs-log/1".into() },
            redacted: 2,
            replaced_path: "telemetry/logs/2025-12-06/hour-14.jsonl.gz".into(),
            replaced_hash: hash(b"logs"),
        }),
        Receipt::gap(Gap {
            stream: "metrics".into(),
            period_start: TimestampMs(HOUR_13 + 2 * HOUR),
            period_end: TimestampMs(HOUR_13 + 4 * HOUR),
            reason: "vm-obs did not run".into(),
        }),
        Receipt::exercise(Exercise {
            operation_id: "obs-op-5".into(),
            exercise: "chaos".into(),
            run_id: "chaos-1".into(),
            name: "kill the portal".into(),
            target: "portal".into(),
            initiated_by: "did:vm:user:sovereign".into(),
            started_at: t,
            ended_at: None,
            outcome: "running".into(),
            summary: String::new(),
            report_hash: None,
        }),
        Receipt::ledger_recovered(LedgerRecovered {
            torn_file: None,
            bytes: 0,
            blake3: hash(b""),
            kept_receipts: 2,
        }),
    ]
}

fn written() -> (FakeDisk, Vec<Value>) {
    let disk = FakeDisk::new();
    let ledger = Ledger::open(config(Arc::new(disk.clone()), clock(), Path::new(DATA))).unwrap();
    ledger.append(samples()).unwrap();
    crate::keys::rotate(&disk, &ledger, 0, true).unwrap();
    let lines = lines(&ledger).iter().map(|l| serde_json::from_str(l).unwrap()).collect();
    (disk, lines)
}

#[test]
fn every_type_fits_its_schema() {
    let (_disk, receipts) = written();
    for kind in ReceiptType::ALL {
        let schema: Value = serde_json::from_str(kind.json_schema()).unwrap();
        let validator = jsonschema::validator_for(&schema).unwrap();
        let mine: Vec<&Value> = receipts.iter().filter(|r| r["type"] == kind.as_str()).collect();
        assert!(!mine.is_empty(), "a sample of {kind}");
        for receipt in mine {
            let errors: Vec<String> = validator
                .iter_errors(receipt)
                .map(|e| format!("{e} at {}", e.instance_path()))
                .collect();
            assert!(errors.is_empty(), "{kind}: {errors:?}\n{receipt}");
            // A schema that takes anything would prove nothing.
            let mut more = receipt.clone();
            more["surprise"] = json!(1);
            assert!(!validator.is_valid(&more), "{kind} takes unknown fields");
            let mut less = map(receipt.clone());
            less.remove("root_hash");
            assert!(!validator.is_valid(&Value::Object(less)), "{kind} without root_hash");
        }
        assert_eq!(ReceiptType::from_name(kind.as_str()), Some(kind));
        assert_eq!(ReceiptType::from_name(kind.as_str().strip_prefix("obs_").unwrap()), Some(kind));
    }
    assert_eq!(ReceiptType::from_name("nonsense"), None);
}

/// ENGINE 3.2, field by field.
#[test]
fn engine_fields_are_all_there() {
    let (_disk, receipts) = written();
    let fields: [(&str, &[&str]); 7] = [
        (
            "obs_metric_snapshot",
            &[
                "snapshot_id",
                "period",
                "nodes_reporting",
                "metrics_collected",
                "aggregates",
                "storage_path",
                "content_hash",
            ],
        ),
        (
            "obs_log_batch",
            &[
                "batch_id",
                "period",
                "log_counts",
                "services_reporting",
                "storage_path",
                "content_hash",
            ],
        ),
        (
            "obs_trace_complete",
            &[
                "trace_id",
                "name",
                "duration_ms",
                "status",
                "span_count",
                "services_involved",
                "nodes_involved",
                "triggered_by",
                "business_context",
            ],
        ),
        (
            "obs_alert_fired",
            &[
                "alert_id",
                "name",
                "severity",
                "node",
                "rule_expression",
                "current_value",
                "threshold",
                "notifications_sent",
            ],
        ),
        (
            "obs_alert_resolved",
            &[
                "alert_id",
                "name",
                "fired_at",
                "duration_minutes",
                "resolved_by",
                "resolution_value",
                "acknowledged",
                "acknowledged_by",
                "root_cause",
            ],
        ),
        (
            "obs_slo_report",
            &[
                "report_id",
                "period",
                "slos",
                "overall_status",
                "error_budget_status",
                "report_path",
            ],
        ),
        (
            "obs_anomaly_detected",
            &[
                "anomaly_id",
                "detection_method",
                "metric",
                "node",
                "expected_range",
                "observed_value",
                "deviation_sigma",
                "confidence",
                "possible_causes",
                "correlated_events",
            ],
        ),
    ];
    for (kind, names) in fields {
        let receipt = receipts.iter().find(|r| r["type"] == kind).unwrap();
        for name in ["type", "timestamp", "tags", "root_hash"].iter().chain(names) {
            assert!(receipt.get(name).is_some(), "{kind}.{name}");
        }
    }
    let of = |kind: &str| receipts.iter().find(|r| r["type"] == kind).unwrap();
    assert_eq!(of("obs_metric_snapshot")["snapshot_id"], "metrics-2025-12-06-14");
    assert_eq!(of("obs_metric_snapshot")["tags"], json!(["observability", "metrics", "hourly"]));
    assert_eq!(of("obs_alert_resolved")["duration_minutes"], 35);
    assert_eq!(of("obs_alert_resolved")["resolution_value"], "+Inf");
    assert_eq!(of("obs_slo_report")["report_id"], "slo-report-2025-12-06");
    assert_eq!(of("obs_alert_fired")["tags"], json!(["observability", "alert", "fired", "cpu"]));
}

#[test]
fn the_verifier_reads_hours_gaps_and_deletions_from_them() {
    let (disk, _receipts) = written();
    let report = verify_fake(&disk);
    let metrics = report.hours.iter().find(|h| h.stream == "metrics").unwrap();
    assert_eq!((metrics.from, metrics.until), (HOUR_13, HOUR_13 + 4 * HOUR));
    let found: Vec<String> = report.findings.iter().map(|f| f.name()).collect();
    assert!(found.iter().any(|f| f == "DECLARED_GAP"), "{report}");
    assert!(found.iter().any(|f| f == "DECLARED_DELETION"), "{report}");
    // The other sealed files were never written here.
    assert_eq!(report.exit_code(), 2, "{report}");
    assert!(found.iter().all(|f| f != "PERIOD_GAP" && f != "SEAL_LINK_BROKEN"), "{report}");
}
