use obs_types::{TimestampNs, TraceId};
use serde_json::{Map, Value, json};

use super::fields::{exact_map, object, tags};
use super::{Receipt, ReceiptType};

/// `obs_trace_complete`: a trace that matters has ended.
#[derive(Clone, Debug)]
pub struct TraceComplete {
    pub trace_id: TraceId,
    /// The root span's name.
    pub name: String,
    pub start: TimestampNs,
    pub end: TimestampNs,
    pub duration_ms: u64,
    /// `ok` or `error`.
    pub status: String,
    pub span_count: u64,
    pub services_involved: Vec<String>,
    pub nodes_involved: Vec<String>,
    /// A `did:vm:…` name, where an attribute says so.
    pub triggered_by: Option<String>,
    pub business_context: Map<String, Value>,
    /// Added to `observability`, `trace`.
    pub tags: Vec<String>,
}

impl Receipt {
    pub fn trace_complete(t: TraceComplete) -> Self {
        let fields = object(json!({
            "trace_id": t.trace_id.to_string(),
            "name": t.name,
            "start_unix_nano": t.start.0.to_string(),
            "end_unix_nano": t.end.0.to_string(),
            "duration_ms": t.duration_ms,
            "status": t.status,
            "span_count": t.span_count,
            "services_involved": t.services_involved,
            "nodes_involved": t.nodes_involved,
            "triggered_by": t.triggered_by,
            "business_context": exact_map(t.business_context),
            "tags": tags(&["observability", "trace"], &t.tags),
        }));
        Self::new(ReceiptType::TraceComplete, fields)
    }
}
