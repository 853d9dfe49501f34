//! What a run found, as JSON and as text for a terminal.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use super::measure::{Builtin, Metric, Second};
use super::run::RunOptions;
use super::user::Shared;

/// A generator that is later than this is measuring itself, milliseconds.
const LATENESS_MAX_MS: f64 = 10.0;
/// Of the JSON.
const VERSION: u32 = 1;

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Passed,
    /// Thresholds that were not kept.
    Failed(Vec<String>),
    /// By a threshold that ends the run.
    Aborted(String),
    /// By whoever ran it.
    Interrupted,
}

impl Outcome {
    pub fn name(&self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed(_) => "failed",
            Self::Aborted(_) => "aborted",
            Self::Interrupted => "interrupted",
        }
    }
}

/// What a query over the target's telemetry said.
#[derive(Clone, Debug)]
pub(crate) struct QueryVerdict {
    pub(crate) name: String,
    pub(crate) query: String,
    pub(crate) threshold: String,
    pub(crate) kept: bool,
    pub(crate) values: Vec<f64>,
    pub(crate) error: Option<String>,
}

/// The report of a run.
#[derive(Clone, Debug)]
pub struct Report {
    pub outcome: Outcome,
    pub run_id: String,
    pub seconds: Vec<Second>,
    pub json: Value,
}

/// NaN is no JSON.
fn number(v: f64) -> Value {
    if v.is_finite() { json!(v) } else { Value::Null }
}

pub(super) fn build(
    shared: &Shared,
    options: &RunOptions,
    took: Duration,
    outcome: Outcome,
    queries: Vec<QueryVerdict>,
) -> Report {
    let recorder = shared.recorder.borrow();
    let profile = &shared.profile;
    let seconds = took.as_secs_f64().max(1e-9);
    let mut failed = Vec::new();
    let mut thresholds = Vec::new();
    for limit in &profile.thresholds {
        let value = recorder
            .subject(&limit.subject)
            .map_or(f64::NAN, |m| m.aggregate(limit.threshold.aggregate, seconds));
        let kept = limit.threshold.holds(value);
        if !kept {
            failed.push(format!("{} {}", limit.subject, limit.threshold.text));
        }
        thresholds.push(json!({
            "metric": limit.subject, "threshold": limit.threshold.text,
            "value": number(value), "kept": kept,
        }));
    }
    let telemetry: Vec<Value> = queries
        .iter()
        .map(|q| {
            if !q.kept {
                failed.push(format!("{} {}", q.name, q.threshold));
            }
            json!({
                "name": q.name, "query": q.query, "threshold": q.threshold, "kept": q.kept,
                "values": q.values.iter().map(|v| number(*v)).collect::<Vec<_>>(),
                "error": q.error,
            })
        })
        .collect();
    let outcome = match outcome {
        Outcome::Passed if !failed.is_empty() => Outcome::Failed(failed),
        other => other,
    };
    let metrics: BTreeMap<&str, Value> =
        recorder.all().map(|(name, metric)| (name, metric.json(seconds))).collect();
    let steps: Vec<Value> = recorder
        .steps
        .iter()
        .map(|s| {
            let statuses: BTreeMap<String, u64> =
                s.statuses.iter().map(|(status, n)| (status.to_string(), *n)).collect();
            json!({
                "scenario": s.scenario, "name": s.name, "requests": s.duration.count(),
                "failed": s.failed, "statuses": statuses, "duration_ms": s.duration.json(),
                "checks": s.checks.iter().map(|(name, kept, broken)| json!({
                    "name": name, "kept": kept, "broken": broken,
                })).collect::<Vec<_>>(),
            })
        })
        .collect();
    let mut warnings = Vec::new();
    let late = recorder.lateness.percentile(99.0);
    if late > LATENESS_MAX_MS {
        warnings.push(format!(
            "the generator itself began 1 % of the iterations more than {late:.1} ms late: this \
             machine was too busy for the rate"
        ));
    }
    let histogram = match recorder.builtin(Builtin::HttpReqDuration) {
        Some(Metric::Trend(trend)) => trend.buckets(),
        _ => Vec::new(),
    };
    let json = json!({
        "version": VERSION,
        "name": profile.name,
        "run_id": options.run_id,
        "target": profile.target,
        "started_at": options.started_at,
        "duration_seconds": seconds,
        "outcome": outcome.name(),
        "reason": match &outcome {
            Outcome::Passed => Value::Null,
            Outcome::Failed(all) => json!(all.join("; ")),
            Outcome::Aborted(why) => json!(why),
            Outcome::Interrupted => json!("interrupted"),
        },
        "trace_id_prefix": format!("{:016x}", shared.trace_prefix),
        "scenarios": profile.scenarios.iter().map(|s| json!({
            "name": s.name, "executor": s.executor.name(),
            "duration_seconds": s.executor.duration().as_secs_f64(),
            "vus_max": s.executor.vus_max(), "rate_max": s.executor.rate_max(),
        })).collect::<Vec<_>>(),
        "metrics": metrics,
        "thresholds": thresholds,
        "telemetry": telemetry,
        "steps": steps,
        "errors": recorder.errors,
        "generator": {"lateness_ms": recorder.lateness.json()},
        "warnings": warnings,
        "seconds": recorder.seconds.iter().map(|s| json!({
            "at": s.at, "requests": s.requests, "failed": s.failed, "iterations": s.iterations,
            "dropped": s.dropped, "vus": s.vus, "p50_ms": number(s.p50), "p95_ms": number(s.p95),
            "p99_ms": number(s.p99), "received_bytes": s.received_bytes,
        })).collect::<Vec<_>>(),
        "latency_histogram_us": histogram,
    });
    Report { outcome, run_id: options.run_id.clone(), seconds: recorder.seconds.clone(), json }
}

impl Report {
    /// A metric's aggregate out of the report, such as `http_req_duration` and `p99`.
    pub fn value(&self, metric: &str, aggregate: &str) -> Option<f64> {
        self.json.get("metrics")?.get(metric)?.get(aggregate)?.as_f64()
    }

    /// One line about the whole run.
    pub fn summary(&self) -> String {
        let v = |metric: &str, aggregate: &str| self.value(metric, aggregate).unwrap_or(0.0);
        format!(
            "{}: {} requests ({:.1}/s), {:.2} % failed, p50 {:.2} ms, p95 {:.2} ms, p99 {:.2} ms, \
             {} dropped",
            self.outcome.name(),
            v("http_reqs", "count"),
            v("http_reqs", "rate"),
            v("http_req_failed", "rate") * 100.0,
            v("http_req_duration", "med"),
            v("http_req_duration", "p95"),
            v("http_req_duration", "p99"),
            v("dropped_iterations", "count"),
        )
    }

    /// The report for a terminal.
    pub fn text(&self) -> String {
        let mut out = Vec::new();
        let list = |name: &str| self.json.get(name).and_then(Value::as_array).cloned();
        let text = |v: &Value, name: &str| {
            v.get(name).and_then(Value::as_str).unwrap_or_default().to_owned()
        };
        let num = |v: &Value, path: &str| v.pointer(path).and_then(Value::as_f64).unwrap_or(0.0);
        for step in list("steps").into_iter().flatten() {
            out.push(format!(
                "{}  {}: {} requests, {} failed, p50 {:.2} ms, p95 {:.2} ms, p99 {:.2} ms, max {:.2} ms",
                text(&step, "scenario"),
                text(&step, "name"),
                num(&step, "/requests"),
                num(&step, "/failed"),
                num(&step, "/duration_ms/med"),
                num(&step, "/duration_ms/p95"),
                num(&step, "/duration_ms/p99"),
                num(&step, "/duration_ms/max"),
            ));
            for check in step.get("checks").and_then(Value::as_array).into_iter().flatten() {
                let broken = num(check, "/broken");
                let mark = if broken == 0.0 { "ok  " } else { "FAIL" };
                let all = num(check, "/kept") + broken;
                out.push(format!(
                    "  {mark} {} ({} of {all})",
                    text(check, "name"),
                    num(check, "/kept")
                ));
            }
        }
        if let Some(errors) = self.json.get("errors").and_then(Value::as_object) {
            out.extend(errors.iter().map(|(reason, n)| format!("  error {n} times: {reason}")));
        }
        for t in list("thresholds").into_iter().flatten() {
            let mark = if t.get("kept") == Some(&json!(true)) { "ok  " } else { "FAIL" };
            let value = t.get("value").map_or_else(String::new, ToString::to_string);
            out.push(format!("{mark} {} {} ({value})", text(&t, "metric"), text(&t, "threshold")));
        }
        for t in list("telemetry").into_iter().flatten() {
            let mark = if t.get("kept") == Some(&json!(true)) { "ok  " } else { "FAIL" };
            let found = match t.get("error").and_then(Value::as_str) {
                Some(e) => e.to_owned(),
                None => t.get("values").map_or_else(String::new, ToString::to_string),
            };
            out.push(format!("{mark} {} {} ({found})", text(&t, "name"), text(&t, "threshold")));
        }
        for warning in list("warnings").into_iter().flatten() {
            out.push(format!("warning: {}", warning.as_str().unwrap_or_default()));
        }
        if let Some(reason) = self.json.get("reason").and_then(Value::as_str) {
            out.push(format!("{}: {reason}", self.outcome.name()));
        }
        out.push(self.summary());
        out.join("\n")
    }
}
