//! Live values of a metric: by row and instance, against its target and its drift.

use std::collections::{BTreeMap, BTreeSet};

use obs_types::{LabelSet, METRIC_NAME, TimestampMs};

use super::input::{Limits, MetricInput, ValueInput};
use super::report::{MetricReport, ValueRow, ValueStatus};
use crate::doctor::Telemetry;

/// Rows of a metric that are shown.
const ROWS_MAX: usize = 12;
/// Lines of a plot.
const LINES_MAX: usize = 8;
/// Points of a plot's line.
const POINTS: i64 = 120;
/// What tells instances apart, the first that a series has.
const INSTANCE: [&str; 2] = ["instance", "pod"];
/// Labels that say where a target is, and nothing about the value.
const OF_TARGETS: [&str; 12] = [
    METRIC_NAME,
    "instance",
    "job",
    "pod",
    "node",
    "service",
    "environment",
    "region",
    "mesh_node",
    "role",
    "cluster",
    "namespace",
];

/// When and how far back.
#[derive(Clone, Copy, Debug)]
pub(super) struct When {
    pub(super) now: TimestampMs,
    pub(super) period_ms: i64,
}

/// What is asked for a metric: a name for the rows and the query, the first of which is plotted.
fn questions(metric: &MetricInput) -> Vec<(&'static str, String)> {
    let name = &metric.name;
    match metric.kind.as_str() {
        // What a counter's own labels tell apart belongs on a dashboard.
        "counter" => vec![
            ("per second", format!("sum by (instance) (rate({name}[5m]))")),
            ("total", format!("sum by (instance) ({name})")),
        ],
        "histogram" => [("p95", 0.95), ("p50", 0.5), ("p99", 0.99)]
            .into_iter()
            .map(|(row, q)| {
                let buckets = format!("sum by (instance, le) (rate({name}_bucket[5m]))");
                (row, format!("histogram_quantile({q}, {buckets})"))
            })
            .collect(),
        "summary" => vec![("per second", format!("sum by (instance) (rate({name}_count[5m]))"))],
        _ => vec![("", name.clone())],
    }
}

/// The query that shows whether a metric is exposed at all.
fn presence(metric: &MetricInput) -> String {
    match metric.kind.as_str() {
        "histogram" | "summary" => format!("{}_count", metric.name),
        _ => metric.name.clone(),
    }
}

pub(super) fn metric(metric: &MetricInput, when: When, telemetry: &dyn Telemetry) -> MetricReport {
    let there =
        telemetry.instant(&presence(metric), when.now).is_ok_and(|series| !series.is_empty());
    let mut report = MetricReport {
        name: metric.name.clone(),
        kind: metric.kind.clone(),
        unit: metric.unit.clone(),
        help: metric.help.clone(),
        target: metric.target,
        status: if metric.on_event { ValueStatus::NoEvent } else { ValueStatus::NoData },
        drift: None,
        rows: Vec::new(),
        rows_more: 0,
        plot: Vec::new(),
    };
    if !there {
        return report;
    }
    for (index, (row, query)) in questions(metric).into_iter().enumerate() {
        let series = telemetry.instant(&query, when.now).unwrap_or_default();
        // A quantile of nothing is no number.
        let series: Vec<_> = series.into_iter().filter(|(_, v)| !v.is_nan()).collect();
        // Only a gauge's own values can be held against a target.
        let own = row.is_empty();
        report.rows.extend(rows(&series, row, metric.target.filter(|_| own)));
        if index == 0 {
            report.plot = plot(&query, when, telemetry);
        }
    }
    settle(&mut report, metric.drift);
    report
}

/// A figure that a pack computes.
pub(super) fn computed(value: &ValueInput, when: When, telemetry: &dyn Telemetry) -> MetricReport {
    let series = telemetry.instant(&value.query, when.now).unwrap_or_default();
    let series: Vec<_> = series.into_iter().filter(|(_, v)| !v.is_nan()).collect();
    let mut report = MetricReport {
        name: value.name.clone(),
        kind: "computed".to_owned(),
        unit: value.unit.clone(),
        help: value.query.clone(),
        target: value.target,
        status: ValueStatus::NoData,
        drift: None,
        rows: rows(&series, "", value.target),
        rows_more: 0,
        plot: Vec::new(),
    };
    if !report.rows.is_empty() {
        report.plot = plot(&value.query, when, telemetry);
        settle(&mut report, None);
    }
    report
}

fn instance_of(labels: &LabelSet) -> String {
    INSTANCE.iter().find_map(|n| labels.get(n)).unwrap_or_default().to_owned()
}

/// One row for all series that differ in their instance only.
fn rows(series: &[(LabelSet, f64)], name: &str, target: Option<Limits>) -> Vec<ValueRow> {
    let mut rows: BTreeMap<String, BTreeMap<String, f64>> = BTreeMap::new();
    for (labels, value) in series {
        let mut text: Vec<String> = labels
            .iter()
            .filter(|(n, _)| !OF_TARGETS.contains(n))
            .map(|(n, v)| format!("{n}={}", serde_json::Value::from(v)))
            .collect();
        if !name.is_empty() {
            text.insert(0, name.to_owned());
        }
        rows.entry(text.join(", ")).or_default().insert(instance_of(labels), *value);
    }
    rows.into_iter()
        .map(|(labels, values)| {
            let status = match target {
                None => ValueStatus::Tracking,
                Some(limits) if values.values().all(|v| within(*v, limits)) => ValueStatus::Healthy,
                Some(_) => ValueStatus::OutOfRange,
            };
            ValueRow { labels, values, status }
        })
        .collect()
}

pub(super) fn within(v: f64, (low, high): Limits) -> bool {
    low.is_none_or(|l| v >= l) && high.is_none_or(|h| v <= h)
}

/// Difference of a row's instances.
fn spread(row: &ValueRow) -> f64 {
    let low = row.values.values().copied().fold(f64::INFINITY, f64::min);
    let high = row.values.values().copied().fold(f64::NEG_INFINITY, f64::max);
    if low.is_finite() && high.is_finite() { high - low } else { 0.0 }
}

/// The status of the whole from its rows, then as many rows as are shown, the worst first.
fn settle(report: &mut MetricReport, drift_max: Option<f64>) {
    if let Some(max) = drift_max {
        for row in &mut report.rows {
            if spread(row) > max && row.status != ValueStatus::OutOfRange {
                row.status = ValueStatus::Diverging;
            }
        }
        report.drift = report.rows.iter().map(spread).max_by(f64::total_cmp);
    }
    let worst = [ValueStatus::OutOfRange, ValueStatus::Diverging, ValueStatus::Healthy];
    let has = |s: ValueStatus| report.rows.iter().any(|r| r.status == s);
    report.status = worst.into_iter().find(|s| has(*s)).unwrap_or(ValueStatus::Tracking);
    let rank = |r: &ValueRow| worst.iter().position(|s| *s == r.status).unwrap_or(worst.len());
    report.rows.sort_by_key(rank);
    report.rows_more = report.rows.len().saturating_sub(ROWS_MAX);
    report.rows.truncate(ROWS_MAX);
}

fn plot(query: &str, when: When, telemetry: &dyn Telemetry) -> Vec<(String, Vec<(i64, f64)>)> {
    let step = (when.period_ms / POINTS).max(1_000);
    let from = TimestampMs(when.now.0.saturating_sub(when.period_ms));
    let all = telemetry.range(query, from, when.now, step).unwrap_or_default();
    // The legend names what differs between the lines.
    let varying: BTreeSet<&str> = all
        .iter()
        .flat_map(|(l, _)| l.iter().map(|(n, _)| n))
        .filter(|n| *n != METRIC_NAME)
        .filter(|n| all.iter().any(|(l, _)| l.get(n) != all.first().and_then(|(f, _)| f.get(n))))
        .collect();
    // One of these names the target well enough.
    let targets: Vec<&str> =
        varying.iter().copied().filter(|n| OF_TARGETS.contains(n) || *n == "pod").collect();
    let shown: Vec<&str> = varying
        .iter()
        .copied()
        .filter(|n| !targets.contains(n) || targets.iter().min_by_key(|t| rank(t)) == Some(n))
        .collect();
    all.iter()
        .take(LINES_MAX)
        .map(|(labels, points)| {
            let name: Vec<&str> = shown.iter().filter_map(|n| labels.get(n)).collect();
            (name.join(" "), points.clone())
        })
        .collect()
}

fn rank(label: &str) -> usize {
    ["pod", "mesh_node", "instance", "node"].iter().position(|n| *n == label).unwrap_or(9)
}
