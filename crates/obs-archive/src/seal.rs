use std::collections::BTreeMap;

use obs_types::{ContentHash, TimeRangeMs, TimestampNs, TraceId};

use crate::{Hour, SealName, Signal};

/// What was written for one hour of one signal: all that its receipt needs.
#[derive(Clone, Debug)]
pub struct Seal {
    pub name: SealName,
    /// `telemetry/metrics/2025-12-06/hour-14.parquet`, relative to the data folder.
    pub storage_path: String,
    /// BLAKE3 of the file, read back from disk.
    pub content_hash: ContentHash,
    pub content_bytes: u64,
    pub records: Records,
    pub details: SealDetails,
}

/// The record tree over a sealed file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Records {
    pub count: u64,
    /// RFC 6962 SHA-256 root.
    pub root: [u8; 32],
    /// The leaf kind, e.g. `vmobs-log/1`.
    pub leaf: &'static str,
}

#[derive(Clone, Debug)]
pub enum SealDetails {
    Metrics(MetricsSummary),
    Logs(LogsSummary),
    Traces(TracesSummary),
}

/// For `obs_metric_snapshot`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MetricsSummary {
    /// Short names, sorted, from the label `node`, else from the host part of `instance`.
    pub nodes: Vec<String>,
    pub series: u64,
    /// Samples, histograms included.
    pub metrics_collected: u64,
    pub aggregates: Aggregates,
}

/// Each is `None` where no series carries it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Aggregates {
    /// Mean and maximum over all samples of `cpu_percent`.
    pub avg_cpu_percent: Option<f64>,
    pub max_cpu_percent: Option<f64>,
    pub avg_memory_percent: Option<f64>,
    /// Increase within the hour, resets counted, summed over series.
    pub total_receipts_emitted: Option<u64>,
    pub total_anchors_completed: Option<u64>,
}

/// For `obs_log_batch`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogsSummary {
    pub log_counts: LogCounts,
    /// Sorted, unique.
    pub services_reporting: Vec<String>,
}

/// Lines by ENGINE's six levels; a line that names no level counts as `info`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogCounts {
    pub trace: u64,
    pub debug: u64,
    pub info: u64,
    pub warn: u64,
    pub error: u64,
    pub fatal: u64,
}

/// For `obs_trace_batch` and `obs_trace_complete`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TracesSummary {
    /// Traces that ended in this hour or have a span that did.
    pub traces: u64,
    pub spans: u64,
    /// Traces with an error status on any span.
    pub error_traces: u64,
    /// Sorted, unique.
    pub services_reporting: Vec<String>,
    /// Traces that ended in this hour and get a receipt of their own; by end, then id.
    pub significant: Vec<SignificantTrace>,
}

/// Why a trace has its own receipt: the first three rules of ENGINE 6.3.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Significance {
    Error,
    /// Longer than 5 s.
    Slow,
    /// Touches treasury, identity or offsec.
    Sensitive,
}

/// The fields of `obs_trace_complete`.
#[derive(Clone, Debug, PartialEq)]
pub struct SignificantTrace {
    pub trace_id: TraceId,
    /// The last end of its spans.
    pub timestamp: TimestampNs,
    pub start: TimestampNs,
    /// The root span's name.
    pub name: String,
    pub duration_ms: u64,
    /// `ok` or `error`.
    pub status: &'static str,
    pub span_count: u64,
    /// In order of first appearance.
    pub services_involved: Vec<String>,
    /// Short names in order of first appearance.
    pub nodes_involved: Vec<String>,
    /// Who started it, e.g. `did:vm:user:sovereign`, where an attribute says so.
    pub triggered_by: Option<String>,
    /// From attributes `business_context.*` and `business.*`, and a few well-known keys.
    pub business_context: BTreeMap<String, serde_json::Value>,
    /// Never empty, sorted.
    pub reasons: Vec<Significance>,
    /// `observability`, `trace`, then the reasons and sensitive services.
    pub tags: Vec<String>,
}

impl Seal {
    pub fn signal(&self) -> Signal {
        self.name.signal
    }

    pub fn hour(&self) -> Hour {
        self.name.hour
    }

    pub fn revision(&self) -> u32 {
        self.name.revision
    }

    pub fn period(&self) -> TimeRangeMs {
        self.name.hour.range_ms()
    }

    pub fn metrics(&self) -> Option<&MetricsSummary> {
        match &self.details {
            SealDetails::Metrics(m) => Some(m),
            SealDetails::Logs(_) | SealDetails::Traces(_) => None,
        }
    }

    pub fn logs(&self) -> Option<&LogsSummary> {
        match &self.details {
            SealDetails::Logs(l) => Some(l),
            SealDetails::Metrics(_) | SealDetails::Traces(_) => None,
        }
    }

    pub fn traces(&self) -> Option<&TracesSummary> {
        match &self.details {
            SealDetails::Traces(t) => Some(t),
            SealDetails::Metrics(_) | SealDetails::Logs(_) => None,
        }
    }
}

impl Records {
    /// `sha256:<hex>`, as receipts write it.
    pub fn root_text(&self) -> String {
        format!("sha256:{}", crate::records::hex(&self.root))
    }
}

impl MetricsSummary {
    pub fn nodes_reporting(&self) -> u64 {
        self.nodes.len() as u64
    }
}

impl LogCounts {
    pub fn total(&self) -> u64 {
        self.trace + self.debug + self.info + self.warn + self.error + self.fatal
    }

    /// In ENGINE's order.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
        [
            ("trace", self.trace),
            ("debug", self.debug),
            ("info", self.info),
            ("warn", self.warn),
            ("error", self.error),
            ("fatal", self.fatal),
        ]
        .into_iter()
    }
}

impl Significance {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Slow => "slow",
            Self::Sensitive => "sensitive",
        }
    }
}
