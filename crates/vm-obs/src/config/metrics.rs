//! `metrics:` of the configuration: limits, deduplication, aggregation of streams.

use anyhow::{Context, bail};
use obs_metrics::{DedupConfig, LabelLimit, Limits, StreamOutput, StreamRule};
use obs_types::{DurationMs, RetentionRules, SeriesRetention};
use serde::Deserialize;

use super::duration;

/// What metrics are stored with.
#[derive(Clone, Debug)]
pub(crate) struct MetricsSettings {
    pub limits: Limits,
    pub dedup: Option<DedupConfig>,
    pub streams: Vec<StreamRule>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct MetricsForm {
    /// Most series in memory; new ones above that are refused. Example: `series_max: 2000000`
    series_max: Option<usize>,
    /// Most series with the same value of a label: for every value, or for one.
    /// Example: `series_limits: [{label: job, series_max: 100000}, {label: tenant, value: acme, series_max: 5000}]`
    series_limits: Vec<SeriesLimitForm>,
    /// Most labels of a series. Example: `labels_max: 64`
    labels_max: Option<usize>,
    /// Longest label name, bytes. Example: `label_name_bytes_max: 1024`
    label_name_bytes_max: Option<usize>,
    /// Longest label value, bytes. Example: `label_value_bytes_max: 4096`
    label_value_bytes_max: Option<usize>,
    /// Estimated bytes of what is in memory; above that writes are refused until there is room.
    /// Example: `head_bytes_max: 2147483648`
    head_bytes_max: Option<usize>,
    /// How late samples may come. Example: `out_of_order_window: 2h`
    out_of_order_window: Option<String>,
    /// Several senders of the same series. Example: `dedup: {replica_labels: [replica], interval: 30s}`
    dedup: Option<DedupForm>,
    /// Series that are kept for a shorter or a longer time than the rest (`storage.metrics.keep`);
    /// of several that fit the shortest time counts.
    /// Example: `retention: [{match: ['{job="debug"}'], keep: 7d}]`
    retention: Vec<RetentionForm>,
    /// Aggregates made of samples as they come.
    /// Example: `stream_aggregation: [{match: ['{job="web"}'], interval: 1m, by: [job], outputs: [total]}]`
    stream_aggregation: Vec<StreamForm>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SeriesLimitForm {
    label: String,
    value: Option<String>,
    series_max: usize,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RetentionForm {
    /// Selectors; a series fits if it fits one of them.
    r#match: Vec<String>,
    /// At least an hour.
    keep: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct DedupForm {
    /// Labels that tell the senders apart; they are not stored.
    replica_labels: Vec<String>,
    /// How long the one that leads must be silent before another takes over; 30s by default.
    interval: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct StreamForm {
    /// Selectors; a series fits if it fits one of them.
    r#match: Vec<String>,
    interval: String,
    #[serde(default)]
    by: Vec<String>,
    #[serde(default)]
    without: Vec<String>,
    /// `total`, `increase`, `sum_samples`, `count_samples`, `count_series`, `min`, `max`, `avg`,
    /// `last`, `quantiles(0.5, 0.99)`
    outputs: Vec<String>,
    /// Whether the samples themselves are stored too; yes by default.
    keep_input: Option<bool>,
}

fn within(key: &str, value: Option<usize>, standard: usize, most: usize) -> anyhow::Result<usize> {
    let value = value.unwrap_or(standard);
    if !(1..=most).contains(&value) {
        bail!("metrics.{key}: {value} is not 1 to {most}");
    }
    Ok(value)
}

impl MetricsForm {
    /// `keep` is how long series are kept of which nothing else is said.
    pub(super) fn check(
        self,
        aggregate_hours: bool,
        keep: DurationMs,
    ) -> anyhow::Result<MetricsSettings> {
        let standard = Limits::standard();
        let series_max =
            within("series_max", self.series_max, standard.series_max, u32::MAX as usize)?;
        let mut series_max_by_label: Vec<LabelLimit> = Vec::new();
        for limit in self.series_limits {
            let SeriesLimitForm { label, value, series_max: most } = limit;
            let key = "metrics.series_limits";
            if label.is_empty() {
                bail!("{key}: a label without a name");
            }
            if most == 0 {
                bail!("{key}: series_max of {label} is not 1 or more");
            }
            let same = |l: &LabelLimit| l.label == label && l.value == value;
            if series_max_by_label.iter().any(same) {
                let of = value.map_or_else(|| "every value".to_owned(), |v| format!("{v:?}"));
                bail!("{key}: {label} has two limits for {of}");
            }
            series_max_by_label.push(LabelLimit { label, value, series_max: most });
        }
        let out_of_order_window = match &self.out_of_order_window {
            Some(text) => duration("metrics.out_of_order_window", text)?,
            None => standard.out_of_order_window,
        };
        if out_of_order_window > DurationMs::DAY {
            bail!("metrics.out_of_order_window: more than 1d; older samples are imported");
        }
        let rules = self.retention.into_iter().enumerate().map(|(i, form)| {
            form.check().with_context(|| format!("metrics.retention, entry {}", i + 1))
        });
        let retention = RetentionRules::new(rules.collect::<anyhow::Result<_>>()?, keep);
        let limits = Limits {
            series_max,
            series_max_by_label,
            labels_max: within("labels_max", self.labels_max, standard.labels_max, 1_000)?,
            label_name_bytes_max: within(
                "label_name_bytes_max",
                self.label_name_bytes_max,
                standard.label_name_bytes_max,
                1 << 16,
            )?,
            label_value_bytes_max: within(
                "label_value_bytes_max",
                self.label_value_bytes_max,
                standard.label_value_bytes_max,
                1 << 20,
            )?,
            head_bytes_max: within(
                "head_bytes_max",
                self.head_bytes_max,
                standard.head_bytes_max,
                1 << 40,
            )?,
            out_of_order_window,
            aggregate_hours,
            retention,
            ..standard
        };
        let dedup = self.dedup.map(|form| form.check(series_max)).transpose()?;
        let rules = self.stream_aggregation.into_iter().enumerate();
        let streams = rules
            .map(|(i, form)| {
                form.check(series_max)
                    .with_context(|| format!("metrics.stream_aggregation, entry {}", i + 1))
            })
            .collect::<anyhow::Result<_>>()?;
        Ok(MetricsSettings { limits, dedup, streams })
    }
}

/// A rule of these selectors.
///
/// # Errors
/// Where there is none, or one that does not parse.
pub(crate) fn series_retention(
    selectors: &[String],
    keep: DurationMs,
) -> anyhow::Result<SeriesRetention> {
    if selectors.is_empty() {
        bail!("match may not be empty");
    }
    let parsed = selectors.iter().map(|text| Ok(obs_promql::parse_selector(text)?));
    Ok(SeriesRetention {
        selectors: parsed.collect::<anyhow::Result<_>>()?,
        text: selectors.to_vec(),
        keep,
    })
}

impl RetentionForm {
    fn check(self) -> anyhow::Result<SeriesRetention> {
        let keep = duration("keep", &self.keep)?;
        if keep < DurationMs::HOUR {
            bail!("keep: {} is less than 1h", self.keep);
        }
        series_retention(&self.r#match, keep)
    }
}

impl DedupForm {
    fn check(self, series_max: usize) -> anyhow::Result<DedupConfig> {
        if self.replica_labels.is_empty() || self.replica_labels.iter().any(String::is_empty) {
            bail!("metrics.dedup.replica_labels: name the labels that tell the senders apart");
        }
        let text = self.interval.as_deref().unwrap_or("30s");
        let interval = duration("metrics.dedup.interval", text)?;
        Ok(DedupConfig { replica_labels: self.replica_labels, interval, series_max })
    }
}

impl StreamForm {
    fn check(self, series_max: usize) -> anyhow::Result<StreamRule> {
        if self.r#match.is_empty() || self.outputs.is_empty() {
            bail!("match and outputs may not be empty");
        }
        if !self.by.is_empty() && !self.without.is_empty() {
            bail!("by and without exclude each other");
        }
        let matches = self
            .r#match
            .iter()
            .map(|text| Ok(obs_promql::parse_selector(text)?))
            .collect::<anyhow::Result<_>>()?;
        let outputs = self.outputs.iter().map(|o| StreamOutput::parse(o));
        let outputs = outputs.collect::<Result<_, _>>().map_err(anyhow::Error::msg)?;
        Ok(StreamRule {
            matches,
            interval: duration("interval", &self.interval)?,
            interval_text: self.interval,
            by: self.by,
            without: self.without,
            outputs,
            keep_input: self.keep_input.unwrap_or(true),
            series_max,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use obs_types::DurationMs;

    use super::super::Config;

    #[test]
    fn limits_and_inlets_are_read() {
        let text = r#"
metrics:
  series_max: 5000
  series_limits: [{label: job, series_max: 100}, {label: job, value: node, series_max: 900}]
  out_of_order_window: 30m
  retention: [{match: ['{job="debug"}', 'go_memstats'], keep: 7d}, {match: ['{job="bill"}'], keep: 5y}]
  dedup: {replica_labels: [replica]}
  stream_aggregation:
  - {match: ['{job="web"}'], interval: 1m, by: [job], outputs: [total, 'quantiles(0.5, 0.9)'], keep_input: false}
"#;
        let m = Config::parse(text, Path::new(".")).unwrap().metrics;
        assert_eq!((m.limits.series_max, m.limits.labels_max), (5_000, 64));
        assert_eq!(m.limits.series_max_by_label[1].value.as_deref(), Some("node"));
        assert_eq!(m.limits.out_of_order_window.0, 1_800_000);
        assert!(m.limits.aggregate_hours);
        let rules = &m.limits.retention;
        assert_eq!(rules.standard(), DurationMs(365 * DurationMs::DAY.0));
        let shown: Vec<String> = rules.iter().map(|r| r.text.join(" or ")).collect();
        assert_eq!(shown, ["{job=\"debug\"} or go_memstats", "{job=\"bill\"}"]);
        assert!(rules.hold_longer());
        assert_eq!(m.dedup.unwrap().interval.0, 30_000);
        assert!(!m.streams[0].keep_input && m.streams[0].outputs.len() == 2);
    }

    #[test]
    fn mistakes_name_the_key_and_the_limit() {
        for (text, wants) in [
            ("series_max: 0", ["metrics.series_max", "1 to"]),
            ("labels_max: 5000", ["metrics.labels_max", "1000"]),
            ("series_limits: [{label: job, series_max: 0}]", ["series_limits", "1 or more"]),
            ("out_of_order_window: 3d", ["out_of_order_window", "1d"]),
            ("retention: [{match: [up], keep: 5m}]", ["metrics.retention, entry 1", "1h"]),
            ("retention: [{match: ['{'], keep: 5d}]", ["metrics.retention, entry 1", "unexpected"]),
            ("dedup: {replica_labels: []}", ["metrics.dedup", "tell the senders apart"]),
            (
                "stream_aggregation: [{match: ['{'], interval: 1m, outputs: [total]}]",
                ["entry 1", "unexpected"],
            ),
            (
                "stream_aggregation: [{match: [up], interval: 1m, outputs: [sum]}]",
                ["entry 1", "sum_samples"],
            ),
        ] {
            let text = format!("metrics: {{{text}}}\n");
            let e = format!("{:#}", Config::parse(&text, Path::new(".")).unwrap_err());
            assert!(wants.iter().all(|w| e.contains(w)), "{e}");
        }
    }
}
