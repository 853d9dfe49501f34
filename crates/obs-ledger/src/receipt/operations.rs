//! What people and vm-obs itself did: acknowledgements, silences, definitions, deletions, gaps.

use obs_types::{ContentHash, TimestampMs};
use serde_json::{Map, Value, json};

use super::fields::{object, period, tags, time};
use super::{Receipt, ReceiptType};

/// `obs_alert_ack`: ENGINE's alert acknowledgement contract.
#[derive(Clone, Debug)]
pub struct AlertAck {
    pub operation_id: String,
    pub alert_id: String,
    pub acknowledged_by: String,
    pub acknowledged_at: TimestampMs,
    pub comment: String,
    pub escalation_suppressed: bool,
    pub follow_up_required: bool,
    pub follow_up_deadline: Option<TimestampMs>,
}

/// `obs_silence`: a silence was made or ended.
#[derive(Clone, Debug)]
pub struct Silence {
    pub operation_id: String,
    /// `alert_silence` or `alert_silence_expire`.
    pub operation_type: String,
    pub silence_id: String,
    pub initiated_by: String,
    /// In matcher notation, such as `node="brick-02"`.
    pub matchers: Vec<String>,
    pub starts_at: TimestampMs,
    pub ends_at: TimestampMs,
    pub reason: String,
}

/// `obs_slo_definition`: ENGINE's SLO definition contract.
#[derive(Clone, Debug)]
pub struct SloDefinition {
    pub operation_id: String,
    /// `slo_create`, `slo_update` or `slo_delete`.
    pub operation_type: String,
    pub initiated_by: String,
    pub slo: Map<String, Value>,
}

/// `obs_config_change`: rules, objectives or scraping changed.
#[derive(Clone, Debug)]
pub struct ConfigChange {
    pub operation_id: String,
    /// `rules`, `slos`, `scrape`, `packs`, `config`, …
    pub subject: String,
    pub initiated_by: String,
    /// BLAKE3 of the configuration before, `None` at the first load.
    pub old_hash: Option<ContentHash>,
    /// `None` when it was removed.
    pub new_hash: Option<ContentHash>,
    pub summary: String,
}

/// `obs_retention`: sealed files were deleted on purpose.
#[derive(Clone, Debug)]
pub struct Retention {
    pub operation_id: String,
    /// `metrics`, `logs` or `traces`.
    pub stream: String,
    /// The rule that applied, such as `logs: 365d`.
    pub policy: String,
    pub reason: String,
    pub deleted: Vec<DeletedFile>,
}

#[derive(Clone, Debug)]
pub struct DeletedFile {
    /// As in the seal, relative to the data folder.
    pub storage_path: String,
    pub content_hash: ContentHash,
}

/// `obs_gap`: hours of a stream that were never sealed, said aloud.
#[derive(Clone, Debug)]
pub struct Gap {
    pub stream: String,
    pub period_start: TimestampMs,
    pub period_end: TimestampMs,
    pub reason: String,
}

/// `obs_ledger_recovered`: what the ledger found after a crash behind its signed size.
#[derive(Clone, Debug)]
pub struct LedgerRecovered {
    /// File beside the log that holds the torn bytes; `None` if there were none.
    pub torn_file: Option<String>,
    pub bytes: u64,
    /// BLAKE3 of the torn bytes.
    pub blake3: ContentHash,
    /// Whole receipts that were kept.
    pub kept_receipts: u64,
}

impl Receipt {
    pub fn alert_ack(a: AlertAck) -> Self {
        let fields = object(json!({
            "operation_id": a.operation_id,
            "operation_type": "alert_acknowledge",
            "alert_id": a.alert_id,
            "acknowledged_by": a.acknowledged_by,
            "acknowledged_at": time(a.acknowledged_at),
            "comment": a.comment,
            "escalation_suppressed": a.escalation_suppressed,
            "follow_up_required": a.follow_up_required,
            "follow_up_deadline": a.follow_up_deadline.map_or(Value::Null, time),
            "tags": tags(&["observability", "alert", "acknowledged"], &[]),
        }));
        Self::new(ReceiptType::AlertAck, fields)
    }

    pub fn silence(s: Silence) -> Self {
        let fields = object(json!({
            "operation_id": s.operation_id,
            "operation_type": s.operation_type,
            "silence_id": s.silence_id,
            "initiated_by": s.initiated_by,
            "matchers": s.matchers,
            "starts_at": time(s.starts_at),
            "ends_at": time(s.ends_at),
            "reason": s.reason,
            "tags": tags(&["observability", "alert", "silence"], &[]),
        }));
        Self::new(ReceiptType::Silence, fields)
    }

    pub fn slo_definition(s: SloDefinition) -> Self {
        let fields = object(json!({
            "operation_id": s.operation_id,
            "operation_type": s.operation_type,
            "initiated_by": s.initiated_by,
            "slo": s.slo,
            "tags": tags(&["observability", "slo", "definition"], &[]),
        }));
        Self::new(ReceiptType::SloDefinition, fields)
    }

    pub fn config_change(c: ConfigChange) -> Self {
        let hash = |h: Option<ContentHash>| h.map(|h| h.to_string());
        let fields = object(json!({
            "operation_id": c.operation_id,
            "operation_type": "config_change",
            "subject": c.subject,
            "initiated_by": c.initiated_by,
            "old_hash": hash(c.old_hash),
            "new_hash": hash(c.new_hash),
            "summary": c.summary,
            "tags": tags(&["observability", "config"], &[]),
        }));
        Self::new(ReceiptType::ConfigChange, fields)
    }

    pub fn retention(r: Retention) -> Self {
        let deleted: Vec<Value> = r
            .deleted
            .iter()
            .map(|d| json!({"path": d.storage_path, "content_hash": d.content_hash.to_string()}))
            .collect();
        let fields = object(json!({
            "operation_id": r.operation_id,
            "operation_type": "retention",
            "stream": r.stream,
            "policy": r.policy,
            "reason": r.reason,
            "deleted": deleted,
            "tags": tags(&["observability", "retention"], &[]),
        }));
        Self::new(ReceiptType::Retention, fields)
    }

    pub fn gap(g: Gap) -> Self {
        let fields = object(json!({
            "stream": g.stream,
            "period": period(g.period_start, g.period_end),
            "reason": g.reason,
            "tags": tags(&["observability", "gap"], &[]),
        }));
        Self::new(ReceiptType::Gap, fields)
    }

    /// `fields` are a statement of `obs_proof::keys`, signed.
    pub(crate) fn key_statement(kind: ReceiptType, mut fields: Map<String, Value>) -> Self {
        fields.remove("type");
        fields.insert("tags".to_owned(), tags(&["observability", "ledger", "key"], &[]));
        Self::new(kind, fields)
    }

    pub fn ledger_recovered(r: LedgerRecovered) -> Self {
        let fields = object(json!({
            "torn_file": r.torn_file,
            "bytes": r.bytes.to_string(),
            "blake3": r.blake3.to_string(),
            "kept_receipts": r.kept_receipts.to_string(),
            "tags": tags(&["observability", "ledger", "recovered"], &[]),
        }));
        Self::new(ReceiptType::LedgerRecovered, fields)
    }
}
