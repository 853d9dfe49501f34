use obs_types::{ContentHash, TimestampMs};
use serde_json::{Value, json};

use super::fields::{object, tags, time};
use super::{Receipt, ReceiptType};

/// `obs_exercise`: a probe transaction, load test, chaos experiment or deployment gate was begun or
/// has ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Exercise {
    pub operation_id: String,
    /// `probe`, `load`, `chaos` or `gate`.
    pub exercise: String,
    /// What both receipts of a run share.
    pub run_id: String,
    pub name: String,
    /// What it was aimed at, empty where nothing is.
    pub target: String,
    pub initiated_by: String,
    pub started_at: TimestampMs,
    /// `None` says that it has only begun.
    pub ended_at: Option<TimestampMs>,
    /// `running`, `passed`, `failed`, `aborted` or `interrupted`.
    pub outcome: String,
    pub summary: String,
    /// BLAKE3 of the report's bytes.
    pub report_hash: Option<ContentHash>,
}

impl Receipt {
    pub fn exercise(e: Exercise) -> Self {
        let phase = if e.ended_at.is_some() { "ended" } else { "started" };
        let fields = object(json!({
            "operation_id": e.operation_id,
            "operation_type": "exercise",
            "exercise": e.exercise,
            "phase": phase,
            "run_id": e.run_id,
            "name": e.name,
            "target": e.target,
            "initiated_by": e.initiated_by,
            "started_at": time(e.started_at),
            "ended_at": e.ended_at.map_or(Value::Null, time),
            "outcome": e.outcome,
            "summary": e.summary,
            "report_hash": e.report_hash.map(|h| h.to_string()),
            "tags": tags(&["observability", "exercise"], &[e.exercise]),
        }));
        Self::new(ReceiptType::Exercise, fields)
    }
}
