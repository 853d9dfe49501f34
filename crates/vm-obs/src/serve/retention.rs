//! Series of metrics that are kept for another time than the rest: carried out in the engine, put
//! on record, and left behind in the data folder for whoever reads it without the configuration.

use std::path::{Path, PathBuf};

use anyhow::Context;
use obs_archive::Signal;
use obs_disk::{Disk, write_durable};
use obs_ledger::{Receipt, Retention};
use obs_metrics::RetentionDue;
use obs_query::format_time;
use obs_rules::{format_duration, parse_duration};
use obs_types::{DurationMs, RetentionRules, TimeRangeMs, TimestampMs};
use serde_json::{Value, json};

use super::tasks::World;
use crate::config::series_retention;

const REASON: &str = "metrics.retention";

fn rules_path(data: &Path) -> PathBuf {
    data.join("state/metric_retention.json")
}

/// The rules with the time from which on their series are shown.
pub(crate) fn rules_json(rules: &RetentionRules, now: TimestampMs) -> Value {
    let rules = rules.iter().map(|rule| {
        json!({
            "match": rule.text,
            "keep": format_duration(rule.keep),
            "shown_since": format_time(rule.shown_since(now)),
        })
    });
    Value::Array(rules.collect())
}

/// Notes the rules that a server runs with.
pub(super) fn save(data: &Path, disk: &dyn Disk, rules: &RetentionRules) -> anyhow::Result<()> {
    let path = rules_path(data);
    if rules.is_empty() && !path.exists() {
        return Ok(());
    }
    let listed = rules.iter();
    let listed: Vec<Value> = listed
        .map(|rule| json!({"match": rule.text, "keep": format_duration(rule.keep)}))
        .collect();
    let text = json!({"rules": listed, "standard": format_duration(rules.standard())}).to_string();
    disk.create_dir_all(&data.join("state"))?;
    if std::fs::read_to_string(&path).ok().as_deref() != Some(text.as_str()) {
        write_durable(disk, &path, text.as_bytes())?;
    }
    Ok(())
}

/// The rules of the server that last ran on the folder.
///
/// # Errors
/// Where the file does not read: to show what is gone would be worse.
pub(crate) fn load(data: &Path) -> anyhow::Result<RetentionRules> {
    let path = rules_path(data);
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(RetentionRules::default()),
        Err(e) => return Err(e).with_context(|| path.display().to_string()),
    };
    parse(&text).with_context(|| format!("{} does not hold rules of retention", path.display()))
}

fn parse(text: &str) -> anyhow::Result<RetentionRules> {
    let json: Value = serde_json::from_str(text)?;
    let age = |json: &Value, key: &str| -> anyhow::Result<DurationMs> {
        let text = json.get(key).and_then(Value::as_str).with_context(|| format!("no {key}"))?;
        parse_duration(text).map_err(anyhow::Error::msg)
    };
    let rules = json.get("rules").and_then(Value::as_array).context("no rules")?.iter();
    let rules = rules.map(|rule| {
        let selectors = rule.get("match").and_then(Value::as_array).into_iter().flatten();
        let selectors: Vec<String> =
            selectors.filter_map(|s| s.as_str().map(str::to_owned)).collect();
        series_retention(&selectors, age(rule, "keep")?)
    });
    Ok(RetentionRules::new(rules.collect::<anyhow::Result<_>>()?, age(&json, "standard")?))
}

impl World {
    /// Takes out of the engine what rules say is over, as far as it is on record.
    ///
    /// 1. What came late is sealed. 2. Receipt. 3. The samples go.
    pub(super) fn retain_metrics(&self, now: TimestampMs, sealed: TimestampMs) {
        let outcome = || -> anyhow::Result<usize> {
            let plan = self.engines.metrics.retention_plan(now, sealed)?;
            if plan.is_empty() {
                return Ok(0);
            }
            if let (Some(first), Some(end)) =
                (plan.due.iter().map(|d| d.first).min(), plan.due.iter().map(|d| d.end).max())
            {
                self.seals.seal_late_in(Signal::Metrics, TimeRangeMs::new(first, end))?;
            }
            let receipts = plan.due.iter().map(|due| self.receipt(due, now));
            self.state.ledger.append(receipts.collect())?;
            Ok(self.engines.metrics.retain(plan)?)
        };
        match outcome() {
            Ok(0) => {}
            Ok(files) => tracing::info!(files, "samples removed by metrics.retention"),
            Err(e) => tracing::error!(
                error = format!("{e:#}"),
                "metrics.retention not carried out, tried again"
            ),
        }
    }

    fn receipt(&self, due: &RetentionDue, now: TimestampMs) -> Receipt {
        let (from, to) = (format_time(due.first), format_time(due.end));
        let RetentionDue { series, samples, partitions, .. } = due;
        Receipt::retention(Retention {
            operation_id: self.operations.next(now),
            stream: Signal::Metrics.as_str().to_owned(),
            policy: format!("{}: {}", due.selectors.join(" or "), format_duration(due.keep)),
            reason: format!(
                "{REASON}: {series} series with {samples} samples left {partitions} partitions of \
                 the engine between {from} and {to}; sealed hours stay"
            ),
            deleted: Vec::new(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_come_back_from_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        let disk = obs_disk::RealDisk;
        assert!(load(folder.path()).unwrap().is_empty());
        let selectors = ["{job=\"debug\",\"a.b\"!~\"x.*\"}".to_owned(), "go_info".to_owned()];
        let rule = series_retention(&selectors, DurationMs(36 * DurationMs::HOUR.0)).unwrap();
        let rules = RetentionRules::new(vec![rule], DurationMs(365 * DurationMs::DAY.0));
        save(folder.path(), &disk, &rules).unwrap();
        assert_eq!(load(folder.path()).unwrap(), rules);
        save(folder.path(), &disk, &RetentionRules::new(Vec::new(), DurationMs::DAY)).unwrap();
        assert!(load(folder.path()).unwrap().is_empty());
        std::fs::write(rules_path(folder.path()), "{}").unwrap();
        let e = format!("{:#}", load(folder.path()).unwrap_err());
        assert!(e.contains("metric_retention.json"), "{e}");
    }
}
