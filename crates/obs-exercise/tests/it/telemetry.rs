//! Faults that show only when the files are held against what is stored.

use std::path::Path;

use obs_exercise::doctor::{Report, examine};

use crate::stored::{Line, Stored, metric};
use crate::support::{Change, Fault, NOW, assert_found, edit, folder, world};

/// What a set-up stores where all is well.
const HEALTHY: &[Line] = &[
    ("gauge", "up{job=\"genesis-orchestration\",instance=\"localhost:8000\"}", 1.0, 0.0),
    ("gauge", "up{job=\"aurora\",instance=\"localhost:9109\"}", 1.0, 0.0),
    (
        "gauge",
        "genesis_tests_total{job=\"genesis-orchestration\",instance=\"localhost:8000\"}",
        50.0,
        0.0,
    ),
    (
        "gauge",
        "genesis_test_pass_rate{job=\"genesis-orchestration\",instance=\"localhost:8000\"}",
        99.5,
        0.0,
    ),
    (
        "counter",
        "genesis_errors_total{job=\"genesis-orchestration\",instance=\"localhost:8000\"}",
        3.0,
        0.001,
    ),
    (
        "histogram",
        "genesis_operation_duration_seconds_bucket{job=\"genesis-orchestration\",le=\"0.1\"}",
        0.0,
        9.0,
    ),
    (
        "histogram",
        "genesis_operation_duration_seconds_bucket{job=\"genesis-orchestration\",le=\"0.5\"}",
        0.0,
        9.9,
    ),
    (
        "histogram",
        "genesis_operation_duration_seconds_bucket{job=\"genesis-orchestration\",le=\"+Inf\"}",
        0.0,
        10.0,
    ),
    ("gauge", "treaty_fill_rate{treaty_id=\"AURORA-AKASH-001\"}", 95.0, 0.0),
    ("gauge", "treaty_rtt_ms{treaty_id=\"AURORA-AKASH-001\"}", 118.7, 0.0),
    ("counter", "treaty_requests_total{treaty_id=\"AURORA-AKASH-001\"}", 1100.0, 5.0),
    ("counter", "treaty_dropped_requests_total{treaty_id=\"AURORA-AKASH-001\"}", 55.0, 0.1),
    ("gauge", "treaty:drop_rate:5m", 0.02, 0.0),
    ("gauge", "treaty:fill_rate:avg", 95.0, 0.0),
    ("gauge", "psi_field_prediction_error{pod=\"psi-field-0\"}", 0.063, 0.0),
    ("gauge", "psi_field_prediction_error{pod=\"psi-field-1\"}", 0.071, 0.0),
];

fn look(dir: &Path, gone: &[&str], ended: &[&str]) -> Report {
    let mut world = world(dir);
    let kept = HEALTHY.iter().filter(|(_, series, ..)| !gone.contains(&metric(series)));
    let stored = Stored::new(NOW, kept, |name| if ended.contains(&name) { 1_200_000 } else { 0 });
    world.telemetry = Some(Box::new(stored));
    examine(&world)
}

const ALERTS: &str = "alerts.yml";
const AURORA: &str = "dashboards/aurora.json";
const GENESIS: &str = "dashboards/genesis.json";

/// With everything stored as it should be.
const FAULTS: &[Fault] = &[
    edit(
        "threshold a hundred times too small",
        "alert-unit-mismatch",
        "TreatyFillRateLow",
        &[(ALERTS, "treaty_fill_rate < 80", "treaty_fill_rate < 0.80")],
    ),
    edit(
        "threshold a hundred times too large",
        "alert-unit-mismatch",
        "TreatyDropRateHigh",
        &[(ALERTS, "treaty:drop_rate:5m > 0.10", "treaty:drop_rate:5m > 10")],
    ),
    edit(
        "seconds against milliseconds",
        "alert-unit-mismatch",
        "TreatyRttHigh",
        &[(ALERTS, "treaty_rtt_ms > 250", "treaty_rtt_ms > 0.25")],
    ),
    edit(
        "gauge recorded as histogram",
        "gauge-as-histogram",
        "treaty:rtt:p95",
        &[(
            "recording.yml",
            "      - record: treaty:fill_rate:avg",
            "      - record: treaty:rtt:p95\n        expr: histogram_quantile(0.95, rate(treaty_rtt_ms_bucket[5m]))\n      - record: treaty:fill_rate:avg",
        )],
    ),
    edit(
        "gauge drawn as histogram",
        "gauge-as-histogram",
        "Round trip",
        &[(
            AURORA,
            "\"expr\": \"treaty_rtt_ms\"",
            "\"expr\": \"histogram_quantile(0.95, rate(treaty_rtt_ms_bucket[5m]))\"",
        )],
    ),
    edit(
        "rate of a gauge",
        "rate-of-gauge",
        "HighErrorRate",
        &[(ALERTS, "rate(genesis_errors_total[5m]) > 0.5", "rate(genesis_tests_total[5m]) > 0.5")],
    ),
    edit(
        "counter without a rate",
        "counter-without-rate",
        "Requests dropped",
        &[(AURORA, "rate(treaty_dropped_requests_total[5m])", "treaty_dropped_requests_total")],
    ),
    edit(
        "metric name with a slip",
        "alert-no-series",
        "TreatyRttHigh",
        &[(ALERTS, "treaty_rtt_ms > 250", "treaty_rtt_milliseconds > 250")],
    ),
    edit(
        "label value with a slip",
        "alert-no-series",
        "GenesisServiceDown",
        &[(ALERTS, "up{job=\"genesis-orchestration\"}", "up{job=\"genesis\"}")],
    ),
    edit(
        "sides that share no labels",
        "alert-sides-unmatched",
        "TreatyRttHigh",
        &[(ALERTS, "treaty_rtt_ms > 250", "treaty_rtt_ms / genesis_tests_total > 250")],
    ),
    edit(
        "panel of a metric that nobody exposes",
        "panel-no-data",
        "Round trip",
        &[(AURORA, "\"expr\": \"treaty_rtt_ms\"", "\"expr\": \"scheduler_backoff_level\"")],
    ),
    edit(
        "panel in the wrong unit",
        "panel-unit",
        "Fill rate",
        &[(AURORA, "\"unit\": \"percent\"", "\"unit\": \"percentunit\"")],
    ),
    edit(
        "variable that finds nothing",
        "variable-empty",
        "$job",
        &[(GENESIS, "label_values(up, job)", "label_values(up, cluster)")],
    ),
    edit(
        "recording rule over nothing",
        "recording-rule-empty",
        "scheduler:level:max",
        &[(
            "recording.yml",
            "      - record: treaty:fill_rate:avg",
            "      - record: scheduler:level:max\n        expr: max(scheduler_backoff_level)\n      - record: treaty:fill_rate:avg",
        )],
    ),
    edit(
        "recording rule that is not evaluated",
        "recording-rule-empty",
        "treaty:rtt:max",
        &[(
            "recording.yml",
            "      - record: treaty:fill_rate:avg",
            "      - record: treaty:rtt:max\n        expr: max(treaty_rtt_ms)\n      - record: treaty:fill_rate:avg",
        )],
    ),
    edit(
        "message with a label that no series has",
        "template-label-missing",
        "TreatyFillRateLow",
        &[(ALERTS, "$labels.treaty_id", "$labels.treaty")],
    ),
];

#[test]
fn the_healthy_folder_with_its_telemetry_gives_nothing() {
    let dir = folder(Change::default());
    let report = look(dir.path(), &[], &[]);
    assert!(report.is_clean(), "{}", report.to_text());
}

#[test]
fn each_fault_is_found_and_named() {
    crate::support::assert_faults(FAULTS, |dir| look(dir, &[], &[]));
}

#[test]
fn an_exporter_that_stopped_is_named() {
    let dir = folder(Change::default());
    // Everything of genesis' exporter ended twenty minutes ago.
    let report = look(dir.path(), &[], &["genesis_test_pass_rate"]);
    let of = |code: &str| report.findings.iter().find(|f| f.code == code).unwrap();
    assert!(of("panel-no-data").cause.contains("its exporter stopped"), "{}", report.to_text());
    assert_eq!(of("alert-no-series").subject, "TestPassRateLow");
    let report = look(dir.path(), &["psi_field_prediction_error"], &[]);
    assert_found("not deployed", &report, "alert-no-series", "PodDrift");
}
