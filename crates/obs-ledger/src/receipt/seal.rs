use std::collections::BTreeMap;

use obs_proof::hash::sha256_text;
use obs_types::{ContentHash, TimestampMs};
use serde_json::{Map, Value, json};

use super::fields::{hour_name, number, object, period, tags, time};
use super::{Receipt, ReceiptType};

/// Most gaps, and most targets with missed scrapes, that one seal lists; the rest is counted, so
/// that a bad hour still fits a line.
const GAPS_MAX: usize = 150;

/// What every seal of an hour says.
#[derive(Clone, Debug)]
pub struct SealFields {
    /// Half-open hour `[start, end)`; it must begin where the stream's last seal ended.
    pub period_start: TimestampMs,
    pub period_end: TimestampMs,
    /// 0 for the hour's own seal; later ones name the seal they follow in `link`.
    pub rev: u32,
    pub link: Option<SealLink>,
    /// Only with `rev` 0, for an hour that does not begin where the stream's last seal ended.
    pub outside: Option<OutsideChain>,
    /// Relative to the data folder.
    pub storage_path: String,
    pub content_hash: ContentHash,
    pub content_bytes: u64,
    pub records: Records,
    pub collection: Collection,
}

/// The record tree of the sealed file.
#[derive(Clone, Debug)]
pub struct Records {
    pub count: u64,
    /// SHA-256 root, see `obs_proof::record`.
    pub root: [u8; 32],
    /// `vmobs-log/1`, `vmobs-series-hour/1` or `vmobs-span/1`.
    pub leaf: String,
}

/// How a later revision stands to an earlier seal of the same stream and hour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SealRelation {
    /// Late data beside the sealed file.
    Supplements,
    /// Takes its place (compaction, redaction).
    Supersedes,
}

/// Why the first seal of an hour stands outside the chain of its stream's hours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutsideChain {
    /// Its data came after the `obs_gap` of this number, which covers the hour, was declared.
    FillsGap(u64),
    /// It lies before the stream's record, which begins with the receipt of this number.
    Precedes(u64),
}

/// Names the earlier seal and why there is another one.
#[derive(Clone, Debug)]
pub struct SealLink {
    pub relation: SealRelation,
    pub content_hash: ContentHash,
    pub reason: String,
}

/// What should have been collected in the hour and what was.
#[derive(Clone, Debug, Default)]
pub struct Collection {
    pub targets: u64,
    pub scrapes_expected: u64,
    pub scrapes_ok: u64,
    pub gaps: Vec<CollectionGap>,
    /// Targets of which fewer scrapes succeeded than were due.
    pub missed: Vec<MissedScrapes>,
    /// Items refused, by reason.
    pub rejected: BTreeMap<String, u64>,
    /// Traces left out by sampling.
    pub sampled_out: u64,
}

/// How far the scrapes of one target fell short.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MissedScrapes {
    pub target: String,
    pub expected: u64,
    pub ok: u64,
}

#[derive(Clone, Debug)]
pub struct CollectionGap {
    pub target: String,
    pub from: TimestampMs,
    pub to: TimestampMs,
}

/// `obs_metric_snapshot`.
#[derive(Clone, Debug)]
pub struct MetricSnapshot {
    pub seal: SealFields,
    pub nodes_reporting: u64,
    pub metrics_collected: u64,
    /// By ENGINE's names, such as `avg_cpu_percent`; what no series carries is left out.
    pub aggregates: BTreeMap<String, f64>,
    pub tags: Vec<String>,
}

/// `obs_log_batch`.
#[derive(Clone, Debug)]
pub struct LogBatch {
    pub seal: SealFields,
    pub log_counts: LogCounts,
    pub services_reporting: Vec<String>,
    pub tags: Vec<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogCounts {
    pub trace: u64,
    pub debug: u64,
    pub info: u64,
    pub warn: u64,
    pub error: u64,
    pub fatal: u64,
}

/// `obs_trace_batch`: the hour of all traces, significant or not.
#[derive(Clone, Debug)]
pub struct TraceBatch {
    pub seal: SealFields,
    pub traces: u64,
    pub spans: u64,
    pub error_traces: u64,
    pub services_reporting: Vec<String>,
    pub tags: Vec<String>,
}

impl Receipt {
    pub fn metric_snapshot(m: MetricSnapshot) -> Self {
        let mut fields = m.seal.fields("metrics", "snapshot_id");
        let aggregates: Map<String, Value> =
            m.aggregates.iter().map(|(name, v)| (name.clone(), number(*v))).collect();
        fields.insert("nodes_reporting".to_owned(), json!(m.nodes_reporting));
        fields.insert("metrics_collected".to_owned(), json!(m.metrics_collected));
        fields.insert("aggregates".to_owned(), Value::Object(aggregates));
        fields.insert("tags".to_owned(), tags(&["observability", "metrics", "hourly"], &m.tags));
        Self::new(ReceiptType::MetricSnapshot, fields)
    }

    pub fn log_batch(l: LogBatch) -> Self {
        let mut fields = l.seal.fields("logs", "batch_id");
        let c = l.log_counts;
        fields.insert(
            "log_counts".to_owned(),
            json!({
                "trace": c.trace, "debug": c.debug, "info": c.info,
                "warn": c.warn, "error": c.error, "fatal": c.fatal,
            }),
        );
        fields.insert("services_reporting".to_owned(), json!(l.services_reporting));
        fields.insert("tags".to_owned(), tags(&["observability", "logs", "hourly"], &l.tags));
        Self::new(ReceiptType::LogBatch, fields)
    }

    pub fn trace_batch(t: TraceBatch) -> Self {
        let mut fields = t.seal.fields("traces", "batch_id");
        fields.insert("traces".to_owned(), json!(t.traces));
        fields.insert("spans".to_owned(), json!(t.spans));
        fields.insert("error_traces".to_owned(), json!(t.error_traces));
        fields.insert("services_reporting".to_owned(), json!(t.services_reporting));
        fields.insert("tags".to_owned(), tags(&["observability", "traces", "hourly"], &t.tags));
        Self::new(ReceiptType::TraceBatch, fields)
    }
}

impl SealFields {
    fn fields(&self, stream: &str, id_name: &str) -> Map<String, Value> {
        let mut id = format!("{stream}-{}", hour_name(self.period_end));
        if self.rev > 0 {
            id.push_str(&format!(".r{}", self.rev));
        }
        let mut fields = object(json!({
            id_name: id,
            "stream": stream,
            "period": period(self.period_start, self.period_end),
            "rev": self.rev,
            "storage_path": self.storage_path,
            "content_hash": self.content_hash.to_string(),
            "content_bytes": self.content_bytes.to_string(),
            "records": {
                "count": self.records.count.to_string(),
                "root": sha256_text(&self.records.root),
                "leaf": self.records.leaf,
            },
            "collection": self.collection.value(),
        }));
        if let Some(outside) = self.outside {
            let (name, number, reason) = match outside {
                OutsideChain::FillsGap(n) => {
                    ("fills_gap", n, "data came after the gap was declared")
                }
                OutsideChain::Precedes(n) => ("precedes", n, "data of before the record began"),
            };
            fields.insert(name.to_owned(), json!(number.to_string()));
            fields.insert("reason".to_owned(), json!(reason));
        }
        if let Some(link) = &self.link {
            let name = match link.relation {
                SealRelation::Supplements => "supplements",
                SealRelation::Supersedes => "supersedes",
            };
            fields.insert(name.to_owned(), json!(link.content_hash.to_string()));
            fields.insert("reason".to_owned(), json!(link.reason));
        }
        fields
    }
}

impl Collection {
    fn value(&self) -> Value {
        let gaps: Vec<Value> = self
            .gaps
            .iter()
            .take(GAPS_MAX)
            .map(|g| json!({"target": g.target, "from": time(g.from), "to": time(g.to)}))
            .collect();
        let more = self.gaps.len().saturating_sub(GAPS_MAX);
        let missed: Vec<Value> = self
            .missed
            .iter()
            .take(GAPS_MAX)
            .map(|m| json!({"target": m.target, "expected": m.expected, "ok": m.ok}))
            .collect();
        let missed_more = self.missed.len().saturating_sub(GAPS_MAX);
        json!({
            "targets": self.targets,
            "scrapes_expected": self.scrapes_expected,
            "scrapes_ok": self.scrapes_ok,
            "gaps": gaps,
            "gaps_more": more,
            "missed": missed,
            "missed_more": missed_more,
            "rejected": self.rejected,
            "sampled_out": self.sampled_out,
        })
    }
}
