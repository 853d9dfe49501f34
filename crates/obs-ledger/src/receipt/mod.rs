//! Receipts: typed constructors in, canonical lines out.
//!
//! What a constructor makes lacks `v`, `seq`, `timestamp` and `root_hash`: those are given at the
//! durable append and nowhere else. A seal also gets `checkpoint_seen` and `clock` there.

mod alert;
mod anchor;
mod anomaly;
mod exercise;
mod fields;
mod operations;
mod report;
mod reseal;
mod seal;
mod slo;
mod tier;
mod trace;
mod types;

pub use alert::{AlertFired, AlertResolved};
pub use anchor::AnchorReceipt;
pub use anomaly::AnomalyDetected;
pub use exercise::Exercise;
pub use operations::{
    AlertAck, ConfigChange, DeletedFile, Gap, LedgerRecovered, Retention, Silence, SloDefinition,
};
pub use report::{FiledReport, ReportKind};
pub use reseal::{Reseal, ResealCause};
pub use seal::{
    Collection, CollectionGap, LogBatch, LogCounts, MetricSnapshot, MissedScrapes, OutsideChain,
    Records, SealFields, SealLink, SealRelation, TraceBatch,
};
pub use slo::{SloReport, SloResult};
pub use tier::{MovedFile, TierMove};
pub use trace::TraceComplete;
pub use types::ReceiptType;

use obs_proof::canonical::{CanonicalError, INTEGER_MAX, object_to_line};
use obs_proof::hash::{blake3_text, sha256_text};
use obs_proof::time::format_rfc3339;
use obs_types::TimestampMs;
use serde_json::{Map, Value, json};

/// Version of the receipt rules, the field `v`.
pub(crate) const RECEIPT_VERSION: u64 = 1;

/// A receipt before it has its place in the log.
#[derive(Clone, Debug, PartialEq)]
pub struct Receipt {
    kind: ReceiptType,
    fields: Map<String, Value>,
}

/// What only the ledger knows when a receipt is appended.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) seq: u64,
    /// Milliseconds since the epoch, never before the receipt above.
    pub(crate) timestamp: i64,
    /// Root of the BLAKE3 tree over all receipts before this one.
    pub(crate) root_hash: [u8; 32],
    pub(crate) seen: Seen,
    /// How far wall time has moved against monotonic time since the ledger was opened.
    pub(crate) clock_step_ms: i64,
    pub(crate) uptime_ms: u64,
}

/// The checkpoint that a seal names as older than itself: the newest that witnesses have cosigned,
/// or the newest of all where none has been.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) size: u64,
    pub(crate) root: [u8; 32],
    pub(crate) cosigned_at: Option<TimestampMs>,
}

impl Receipt {
    pub(crate) fn new(kind: ReceiptType, fields: Map<String, Value>) -> Self {
        Self { kind, fields }
    }

    /// With the signed contract of the actor who asked for it, a DSSE envelope
    /// (`obs_proof::actor`).
    pub fn with_contract(mut self, envelope: Option<Map<String, Value>>) -> Self {
        if let Some(envelope) = envelope {
            self.fields.insert(obs_proof::actor::CONTRACT.to_owned(), Value::Object(envelope));
        }
        self
    }

    pub fn kind(&self) -> ReceiptType {
        self.kind
    }

    /// Without the fields that the ledger adds.
    pub fn fields(&self) -> &Map<String, Value> {
        &self.fields
    }

    /// Whether it fits: integers exact, line not too long, whatever place it gets.
    pub(crate) fn check(&self) -> Result<(), CanonicalError> {
        self.line(&Place {
            seq: INTEGER_MAX,
            timestamp: 253_402_300_799_999,
            root_hash: [0; 32],
            seen: Seen {
                size: u64::MAX,
                root: [0; 32],
                cosigned_at: Some(TimestampMs(253_402_300_799_999)),
            },
            clock_step_ms: i64::MIN,
            uptime_ms: u64::MAX,
        })
        .map(|_line| ())
    }

    /// The canonical line, without newline.
    pub(crate) fn line(&self, place: &Place) -> Result<String, CanonicalError> {
        let mut object = self.fields.clone();
        object.insert("v".to_owned(), json!(RECEIPT_VERSION));
        object.insert("type".to_owned(), json!(self.kind.as_str()));
        object.insert("seq".to_owned(), json!(place.seq));
        object.insert("timestamp".to_owned(), json!(format_rfc3339(place.timestamp)));
        object.insert("root_hash".to_owned(), json!(blake3_text(&place.root_hash)));
        if self.kind.is_seal() {
            object.insert(
                "checkpoint_seen".to_owned(),
                json!({
                    "size": place.seen.size.to_string(),
                    "root": sha256_text(&place.seen.root),
                    "cosig_time": place.seen.cosigned_at.map(|at| format_rfc3339(at.0)),
                }),
            );
            object.insert(
                "clock".to_owned(),
                json!({
                    "step_ms": place.clock_step_ms.to_string(),
                    "uptime_ms": place.uptime_ms.to_string(),
                }),
            );
        }
        object_to_line(&object)
    }
}
