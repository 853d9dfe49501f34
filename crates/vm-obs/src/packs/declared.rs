//! `metrics.yml`: what the services of a pack expose.

use anyhow::{anyhow, ensure};
use serde::Deserialize;

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(crate) enum MetricType {
    Gauge,
    Counter,
    Histogram,
    Summary,
}

impl MetricType {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Gauge => "gauge",
            Self::Counter => "counter",
            Self::Histogram => "histogram",
            Self::Summary => "summary",
        }
    }
}

/// Two bounds, each of which may be left open as `null`.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq)]
pub(crate) struct Limits(pub Option<f64>, pub Option<f64>);

impl Limits {
    /// `[low, high]`
    pub(crate) fn to_json(self) -> serde_json::Value {
        serde_json::json!([self.0, self.1])
    }

    fn is_sound(self) -> bool {
        match self {
            Self(None, None) => false,
            Self(Some(low), Some(high)) => low < high,
            Self(..) => true,
        }
    }
}

/// A metric that rules and dashboards may read.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Declared {
    /// Of a histogram without `_bucket`, `_sum` and `_count`.
    pub name: String,
    #[serde(rename = "type")]
    pub kind: MetricType,
    /// Such as `seconds`, `percent`; empty for plain numbers.
    #[serde(default)]
    pub unit: String,
    #[serde(default)]
    pub labels: Vec<String>,
    /// Least and greatest value that is possible.
    #[serde(default)]
    pub range: Option<(f64, f64)>,
    /// Where the value should lie; the audit holds live values against it.
    #[serde(default)]
    pub target: Option<Limits>,
    /// By how much instances may differ.
    #[serde(default)]
    pub drift: Option<f64>,
    /// The series appear with the first event that they count, so that none is no gap.
    #[serde(default)]
    pub on_event: bool,
    pub help: String,
    /// Where the metric is described.
    #[serde(default)]
    pub source: String,
}

impl Declared {
    /// `file` is for messages.
    pub(super) fn parse(file: &str, text: &str) -> anyhow::Result<Vec<Self>> {
        let list: Vec<Self> = serde_saphyr::from_str(text).map_err(|e| anyhow!("{file}: {e}"))?;
        for (index, metric) in list.iter().enumerate() {
            let name = &metric.name;
            let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
            ensure!(
                !name.is_empty()
                    && name.chars().all(plain)
                    && !name.starts_with(|c: char| c.is_ascii_digit()),
                "{file}: {name:?} is not a metric name: expected letters, digits, '_' and ':'"
            );
            ensure!(
                metric.range.is_none_or(|(low, high)| low < high),
                "{file}: range of {name}: expected [least, greatest]"
            );
            ensure!(
                metric.target.is_none_or(Limits::is_sound),
                "{file}: target of {name}: expected [least, greatest], one of them may be null"
            );
            let possible = metric.range.is_none_or(|(low, high)| {
                metric.target.is_none_or(|Limits(from, to)| {
                    from.is_none_or(|f| f <= high) && to.is_none_or(|t| t >= low)
                })
            });
            ensure!(possible, "{file}: target of {name}: no value of its range lies in it");
            ensure!(
                metric.drift.is_none_or(|d| d > 0.0 && d.is_finite()),
                "{file}: drift of {name}: expected a number above 0"
            );
            ensure!(
                list.iter().take(index).all(|m| m.name != *name),
                "{file}: {name} is declared twice"
            );
        }
        Ok(list)
    }

    /// The series that a scrape of it gives.
    pub(super) fn series(&self) -> Vec<String> {
        let with =
            |suffixes: &[&str]| suffixes.iter().map(|s| format!("{}{s}", self.name)).collect();
        match self.kind {
            MetricType::Gauge | MetricType::Counter => with(&[""]),
            MetricType::Histogram => with(&["_bucket", "_sum", "_count"]),
            MetricType::Summary => with(&["", "_sum", "_count"]),
        }
    }
}
