//! Collects one hour of metrics in canonical order.

use std::collections::{BTreeMap, BTreeSet};

use obs_types::{
    LabelSet, METRIC_NAME, MatchOp, Matcher, MetricKind, MetricMetadata, NodeName, QueryContext,
    SeriesData, SeriesSelect, SeriesSource, SourceError, TimeRangeMs,
};

use crate::archive::{Archive, Built};
use crate::metrics_read::FamilyJson;
use crate::metrics_write::{KEY_METADATA, MetricsWriter, kind_of, series_order};
use crate::parquet_file::Effort;
use crate::records::{RecordTree, series_leaf};
use crate::redactions::Redactions;
use crate::seal::{Aggregates, MetricsSummary, SealDetails};
use crate::{ArchiveError, SealName};

/// Metric names fetched at once: bounds what is held to some hundred names' series, and still
/// asks the engine only a few times an hour.
const NAMES_PER_SELECT: usize = 64;

const RECEIPT_COUNTERS: [&str; 4] = [
    "vmobs_receipts_total",
    "vmobs_ledger_receipts_total",
    "receipts_emitted_total",
    "guardian_receipts_emitted_total",
];
const ANCHOR_COUNTERS: [&str; 3] = [
    "vmobs_anchors_completed_total",
    "anchors_completed_total",
    "guardian_anchors_completed_total",
];
const ANCHOR_ATTEMPTS: &str = "scheduler_anchor_attempts_total";
const ANCHOR_FAILURES: &str = "scheduler_anchor_failures_total";

pub(crate) fn build(
    archive: &Archive,
    name: SealName,
    source: &dyn SeriesSource,
) -> Result<Built, ArchiveError> {
    let path = name.storage_path();
    let failed = |source| ArchiveError::Source { signal: name.signal, hour: name.hour, source };
    let context = QueryContext::unlimited();
    let range = name.hour.range_ms();
    let families: BTreeMap<String, MetricMetadata> =
        source.metadata(None).map_err(failed)?.into_iter().map(|m| (m.family.clone(), m)).collect();
    let kinds: BTreeMap<String, MetricKind> =
        families.iter().map(|(family, m)| (family.clone(), m.kind)).collect();

    let mut earlier = Vec::new();
    for revision in archive.earlier(name) {
        earlier.push(archive.open_metrics(revision)?);
    }

    let key = archive.hour_key(name);
    let mut records = RecordTree::new(&key, name);
    let mut writer = MetricsWriter::new(&path, Effort::Standard)?;
    let mut summary = Summary::default();
    let mut used = BTreeSet::new();
    let names = source.label_values(METRIC_NAME, &[], range, &context).map_err(failed)?;
    for matchers in name_matchers(&names) {
        let mut batch = select(source, &matchers, range, &context).map_err(failed)?;
        batch.sort_by(|a, b| series_order(&a.labels, &b.labels));
        for mut series in batch {
            for file in &earlier {
                let at = file
                    .series()
                    .binary_search_by(|other| series_order(&other.labels, &series.labels));
                if let Ok(at) = at {
                    for sealed in file.read(vec![at], range)? {
                        subtract(&mut series, &sealed?);
                    }
                }
            }
            if series.sample_count() == 0 {
                continue;
            }
            let metric = series.labels.metric_name();
            let kind = kind_of(metric, &kinds);
            used.extend(families.keys().filter(|family| metric.starts_with(family.as_str())));
            records.push(&series_leaf(&series));
            summary.add(&series);
            writer.push(&series, kind)?;
        }
    }
    let (records, tree) = records.finish();

    let used: Vec<FamilyJson> = used
        .into_iter()
        .filter_map(|family| families.get(family))
        .map(|m| FamilyJson {
            family: m.family.clone(),
            kind: m.kind.as_str().to_owned(),
            help: m.help.clone(),
            unit: m.unit.clone(),
        })
        .collect();
    let mut metadata = crate::records::seal_metadata(&key, name, &records, &Redactions::default());
    metadata.extend(writer.metadata());
    let families = serde_json::to_string(&used).map_err(|e| ArchiveError::encode(&path, e))?;
    metadata.push((KEY_METADATA, families));
    let bytes = writer.finish(&metadata)?;
    Ok(Built { bytes, tree, records, details: SealDetails::Metrics(summary.finish()) })
}

/// Selectors that together take every series once, in order of metric name: first those without
/// a name, then the names a group at a time.
fn name_matchers(names: &[String]) -> Vec<Vec<Matcher>> {
    let mut all = vec![vec![Matcher::equal(METRIC_NAME, "")]];
    for group in names.chunks(NAMES_PER_SELECT) {
        let alternatives: Vec<String> = group.iter().map(|n| escape(n)).collect();
        match Matcher::new(METRIC_NAME, MatchOp::Regex, alternatives.join("|")) {
            Ok(matcher) => all.push(vec![matcher]),
            // A group too large for the regex engine is taken name by name.
            Err(_) => all.extend(group.iter().map(|n| vec![Matcher::equal(METRIC_NAME, n)])),
        }
    }
    all
}

fn escape(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    for c in name.chars() {
        if c.is_ascii() && !c.is_ascii_alphanumeric() && c != '_' && c != ':' {
            out.push_str(&format!("\\x{{{:x}}}", u32::from(c)));
        } else {
            out.push(c);
        }
    }
    out
}

fn select(
    source: &dyn SeriesSource,
    matchers: &[Matcher],
    range: TimeRangeMs,
    context: &QueryContext,
) -> Result<Vec<SeriesData>, SourceError> {
    let select = SeriesSelect { matchers, range, function: None, step_ms: None };
    source
        .select(&select, context)?
        .map(|series| {
            series.map(|mut series| {
                // A source may give more of a series than was asked for.
                retain(&mut series, |t| range.contains(obs_types::TimestampMs(t)));
                series
            })
        })
        .collect()
}

/// Keeps the samples whose time `keep` accepts.
pub(crate) fn retain(series: &mut SeriesData, keep: impl Fn(i64) -> bool) {
    let keeps: Vec<bool> = series.timestamps.iter().map(|t| keep(*t)).collect();
    if !keeps.iter().all(|k| *k) {
        let filter = |i: &mut usize| {
            let at = *i;
            *i += 1;
            keeps.get(at).copied().unwrap_or(false)
        };
        let (mut i, mut j, mut k) = (0, 0, 0);
        series.timestamps.retain(|_| filter(&mut i));
        series.values.retain(|_| filter(&mut j));
        series.start_timestamps.retain(|_| filter(&mut k));
    }
    let histograms = &mut series.histograms;
    if !histograms.timestamps.iter().all(|t| keep(*t)) {
        let times = std::mem::take(&mut histograms.timestamps);
        let values = std::mem::take(&mut histograms.values);
        for (t, value) in times.into_iter().zip(values).filter(|(t, _)| keep(*t)) {
            histograms.timestamps.push(t);
            histograms.values.push(value);
        }
    }
}

/// Removes the samples that are sealed already; the sealed one wins over another value.
fn subtract(series: &mut SeriesData, sealed: &SeriesData) {
    let sealed_at = |t: i64| {
        sealed.timestamps.binary_search(&t).is_ok()
            || sealed.histograms.timestamps.binary_search(&t).is_ok()
    };
    retain(series, |t| !sealed_at(t));
}

#[derive(Default)]
struct Summary {
    nodes: BTreeSet<String>,
    series: u64,
    samples: u64,
    cpu: Mean,
    memory: Mean,
    receipts: Option<f64>,
    anchors: Option<f64>,
    anchor_attempts: Option<f64>,
    anchor_failures: f64,
}

#[derive(Default)]
struct Mean {
    sum: f64,
    count: u64,
    max: Option<f64>,
}

impl Mean {
    fn add(&mut self, values: &[f64]) {
        for v in values.iter().filter(|v| v.is_finite()) {
            self.sum += v;
            self.count += 1;
            self.max = Some(self.max.map_or(*v, |m| m.max(*v)));
        }
    }

    fn average(&self) -> Option<f64> {
        (self.count > 0).then(|| self.sum / self.count as f64)
    }
}

impl Summary {
    fn add(&mut self, series: &SeriesData) {
        self.series += 1;
        self.samples += series.sample_count() as u64;
        self.nodes.extend(node_of(&series.labels));
        let name = series.labels.metric_name();
        match name {
            "cpu_percent" => self.cpu.add(&series.values),
            "memory_percent" => self.memory.add(&series.values),
            ANCHOR_ATTEMPTS => {
                *self.anchor_attempts.get_or_insert(0.0) += increase(&series.values);
            }
            ANCHOR_FAILURES => self.anchor_failures += increase(&series.values),
            n if RECEIPT_COUNTERS.contains(&n) => {
                *self.receipts.get_or_insert(0.0) += increase(&series.values);
            }
            n if ANCHOR_COUNTERS.contains(&n) => {
                *self.anchors.get_or_insert(0.0) += increase(&series.values);
            }
            _ => {}
        }
    }

    fn finish(self) -> MetricsSummary {
        let count = |v: f64| v.round().max(0.0) as u64;
        let attempts = self.anchor_attempts.map(|attempts| attempts - self.anchor_failures);
        MetricsSummary {
            nodes: self.nodes.into_iter().collect(),
            series: self.series,
            metrics_collected: self.samples,
            aggregates: Aggregates {
                avg_cpu_percent: self.cpu.average(),
                max_cpu_percent: self.cpu.max,
                avg_memory_percent: self.memory.average(),
                total_receipts_emitted: self.receipts.map(count),
                total_anchors_completed: self.anchors.or(attempts).map(count),
            },
        }
    }
}

/// How much a counter grew between the first and the last sample; a fall is a reset to zero.
fn increase(values: &[f64]) -> f64 {
    let mut last: Option<f64> = None;
    let mut sum = 0.0;
    for v in values.iter().copied().filter(|v| v.is_finite()) {
        sum += match last {
            Some(l) if v >= l => v - l,
            Some(_) => v,
            None => 0.0,
        };
        last = Some(v);
    }
    sum
}

fn node_of(labels: &LabelSet) -> Option<String> {
    if let Some(node) = labels.get("node").or_else(|| labels.get("host_name")) {
        return Some(NodeName::new(node).short().to_owned());
    }
    let instance = labels.get("instance")?;
    let host = instance.rsplit_once(':').map_or(instance, |(host, _)| host);
    (!host.is_empty()).then(|| host.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_that_restarts_keeps_its_increase() {
        assert_eq!(increase(&[5.0, 8.0, 2.0, 3.0]), 6.0);
        assert_eq!(increase(&[f64::NAN, 5.0, obs_types::stale_nan(), 6.0]), 1.0);
        assert_eq!(increase(&[]), 0.0);
    }

    #[test]
    fn names_with_special_characters_are_matched_literally() {
        let names = vec!["a.b".to_owned(), "é{x}|y".to_owned(), "plain_total".to_owned()];
        let matchers = name_matchers(&names);
        let hit =
            |name: &str| matchers.iter().filter(|m| m.iter().all(|m| m.matches(name))).count();
        assert!(names.iter().all(|n| hit(n) == 1));
        assert_eq!(hit(""), 1);
        assert_eq!(hit("axb"), 0);
    }

    #[test]
    fn nodes_come_from_node_or_instance() {
        let node = |n: &str, v: &str| node_of(&LabelSet::from_pairs([(n, v)]));
        assert_eq!(node("node", "did:vm:node:brick-01").as_deref(), Some("brick-01"));
        assert_eq!(node("instance", "brick-02:9100").as_deref(), Some("brick-02"));
        assert_eq!(node("job", "x"), None);
    }
}
