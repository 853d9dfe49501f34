//! Telemetry of a server, asked for over HTTP: any Prometheus for metrics, vm-obs for the rest.

use std::collections::BTreeMap;

use obs_exercise::doctor::{Points, Telemetry};
use obs_types::{LabelSet, TimestampMs};
use serde_json::Value;
use tokio::runtime::Handle;

use crate::cli::client::{Answer, Client, Parameters, encoded};
use crate::cli::human;

pub(in crate::cli) struct Remote {
    pub(in crate::cli) client: Client,
    /// The runtime drives the connection; the checks run in a thread beside it.
    pub(in crate::cli) handle: Handle,
}

impl Remote {
    fn get(&self, path: &str, parameters: &Parameters) -> Result<Value, String> {
        let answer: anyhow::Result<Answer> =
            self.handle.block_on(self.client.get(path, parameters));
        answer.map(|a| a.json).map_err(|e| format!("{e:#}"))
    }
}

fn seconds(t: TimestampMs) -> String {
    format!("{:.3}", t.as_seconds_f64())
}

fn labels(metric: Option<&Value>) -> LabelSet {
    let pairs = metric.and_then(Value::as_object).into_iter().flatten();
    LabelSet::from_pairs(pairs.filter_map(|(n, v)| Some((n.clone(), v.as_str()?.to_owned()))))
}

/// `[seconds, "value"]`
fn point(value: &Value) -> Option<(i64, f64)> {
    let time = value.get(0)?.as_f64()?;
    let text = value.get(1)?.as_str()?;
    let number = match text {
        "+Inf" => f64::INFINITY,
        "-Inf" => f64::NEG_INFINITY,
        other => other.parse().ok()?,
    };
    Some(((time * 1000.0).round() as i64, number))
}

impl Telemetry for Remote {
    fn instant(&self, expr: &str, at: TimestampMs) -> Result<Vec<(LabelSet, f64)>, String> {
        let json =
            self.get("/api/v1/query", &vec![("query", expr.to_owned()), ("time", seconds(at))])?;
        let result = json.pointer("/data/result").unwrap_or(&Value::Null);
        if json.pointer("/data/resultType").and_then(Value::as_str) == Some("scalar") {
            return Ok(point(result).map(|(_, v)| (LabelSet::empty(), v)).into_iter().collect());
        }
        let all = result.as_array().into_iter().flatten();
        Ok(all
            .map(|s| {
                // A native histogram counts as there; its value is no number.
                let value = s.get("value").and_then(point).map_or(f64::NAN, |p| p.1);
                (labels(s.get("metric")), value)
            })
            .collect())
    }

    fn range(
        &self,
        expr: &str,
        from: TimestampMs,
        to: TimestampMs,
        step_ms: i64,
    ) -> Result<Vec<(LabelSet, Points)>, String> {
        let json = self.get(
            "/api/v1/query_range",
            &vec![
                ("query", expr.to_owned()),
                ("start", seconds(from)),
                ("end", seconds(to)),
                ("step", format!("{:.3}", step_ms as f64 / 1000.0)),
            ],
        )?;
        let all = json.pointer("/data/result").and_then(Value::as_array).into_iter().flatten();
        Ok(all
            .map(|s| {
                let points = human::list(s, "values").iter().filter_map(point).collect();
                (labels(s.get("metric")), points)
            })
            .collect())
    }

    fn logs(&self, expr: &str, from: TimestampMs, to: TimestampMs) -> Result<usize, String> {
        let json = self.get(
            "/loki/api/v1/query_range",
            &vec![
                ("query", expr.to_owned()),
                ("start", from.to_ns().0.to_string()),
                ("end", to.to_ns().0.to_string()),
                ("limit", "1".to_owned()),
            ],
        )?;
        Ok(json.pointer("/data/result").and_then(Value::as_array).map_or(0, Vec::len))
    }

    fn traces(&self, expr: &str, from: TimestampMs, to: TimestampMs) -> Result<usize, String> {
        let json = self.get(
            "/tempo/api/search",
            &vec![
                ("q", expr.to_owned()),
                ("start", (from.0 / 1000).to_string()),
                ("end", (to.0 / 1000).to_string()),
                ("limit", "1".to_owned()),
            ],
        )?;
        Ok(human::list(&json, "traces").len())
    }

    fn types(&self) -> Result<BTreeMap<String, String>, String> {
        let json = self.get("/api/v1/metadata", &Parameters::new())?;
        let all = json.get("data").and_then(Value::as_object).into_iter().flatten();
        Ok(all
            .filter_map(|(name, found)| {
                Some((name.clone(), found.get(0)?.get("type")?.as_str()?.to_owned()))
            })
            .collect())
    }

    fn label_values(&self, label: &str, metric: Option<&str>) -> Result<Vec<String>, String> {
        let mut parameters = Parameters::new();
        parameters.extend(metric.map(|m| ("match[]", m.to_owned())));
        let json = self.get(&format!("/api/v1/label/{}/values", encoded(label)), &parameters)?;
        let all = human::list(&json, "data").iter();
        Ok(all.filter_map(|v| v.as_str().map(str::to_owned)).collect())
    }
}
