//! Faults that show only when the files are held against what is stored.

use std::collections::BTreeMap;
use std::path::Path;

use obs_exercise::doctor::{Points, Report, Telemetry, examine};
use obs_promql::testing::{MemorySource, parse_metric};
use obs_promql::{Engine, EngineOptions, Value};
use obs_types::{LabelSet, QueryContext, SeriesData, TimestampMs};

use crate::support::{Change, Fault, NOW, assert_found, edit, folder, world};

const STEP_MS: i64 = 30_000;
const BACK_MS: i64 = 4_200_000;

/// A series as `metric{labels} START SLOPE-PER-SECOND`, and its type.
const HEALTHY: &[(&str, &str, f64, f64)] = &[
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

struct Stored {
    source: MemorySource,
    engine: Engine,
    types: BTreeMap<String, String>,
}

impl Stored {
    /// `gone`: metrics that are missing; `ended`: metrics without samples in the last 20 minutes.
    fn new(gone: &[&str], ended: &[&str]) -> Self {
        let mut source = MemorySource::default();
        let mut types = BTreeMap::new();
        for (kind, series, start, slope) in HEALTHY {
            let labels = parse_metric(series).unwrap();
            let name = labels.metric_name().to_owned();
            if gone.contains(&name.as_str()) {
                continue;
            }
            let until = NOW.0 - if ended.contains(&name.as_str()) { 1_200_000 } else { 0 };
            let times: Vec<i64> = (0..=BACK_MS / STEP_MS)
                .map(|i| NOW.0 - BACK_MS + i * STEP_MS)
                .filter(|t| *t <= until)
                .collect();
            let values = times
                .iter()
                .map(|t| start + slope * ((t - NOW.0 + BACK_MS) as f64) / 1000.0)
                .collect();
            let family = name.strip_suffix("_bucket").unwrap_or(&name).to_owned();
            types.insert(family, (*kind).to_owned());
            source.append(SeriesData {
                labels,
                timestamps: times,
                values,
                ..SeriesData::default()
            });
        }
        Self { source, engine: Engine::new(EngineOptions::default()), types }
    }
}

impl Telemetry for Stored {
    fn instant(&self, expr: &str, at: TimestampMs) -> Result<Vec<(LabelSet, f64)>, String> {
        let answer = self
            .engine
            .instant(&self.source, expr, at, &QueryContext::unlimited())
            .map_err(|e| e.to_string())?;
        Ok(match answer.value {
            Value::Vector(all) => {
                all.into_iter().filter_map(|s| Some((s.labels, s.value.as_float()?))).collect()
            }
            Value::Scalar { value, .. } => vec![(LabelSet::empty(), value)],
            _ => return Err("not a vector".to_owned()),
        })
    }

    fn range(
        &self,
        expr: &str,
        from: TimestampMs,
        to: TimestampMs,
        step_ms: i64,
    ) -> Result<Vec<(LabelSet, Points)>, String> {
        let answer = self
            .engine
            .range(&self.source, expr, from, to, step_ms, &QueryContext::unlimited())
            .map_err(|e| e.to_string())?;
        let Value::Matrix(all) = answer.value else { return Err("no matrix".to_owned()) };
        Ok(all.into_iter().map(|s| (s.labels, s.floats.clone())).collect())
    }

    fn logs(&self, _: &str, _: TimestampMs, _: TimestampMs) -> Result<usize, String> {
        Ok(0)
    }

    fn traces(&self, _: &str, _: TimestampMs, _: TimestampMs) -> Result<usize, String> {
        Ok(0)
    }

    fn types(&self) -> Result<BTreeMap<String, String>, String> {
        Ok(self.types.clone())
    }

    fn label_values(&self, label: &str, metric: Option<&str>) -> Result<Vec<String>, String> {
        let selector = metric.unwrap_or("{__name__=~\".+\"}");
        let found = self.instant(&format!("group by ({label}) ({selector})"), NOW)?;
        Ok(found.iter().filter_map(|(l, _)| l.get(label).map(str::to_owned)).collect())
    }
}

fn look(dir: &Path, gone: &[&str], ended: &[&str]) -> Report {
    let mut world = world(dir);
    world.telemetry = Some(Box::new(Stored::new(gone, ended)));
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
