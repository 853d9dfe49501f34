//! A sealed hour in another file.

use obs_proof::hash::sha256_text;
use obs_types::{ContentHash, TimestampMs};
use serde_json::json;

use super::fields::{object, period, tags};
use super::seal::Records;
use super::{Receipt, ReceiptType};

/// `obs_reseal`: a file with the records of an earlier seal takes its place. The record tree is the
/// same, so proofs made before go on to hold.
#[derive(Clone, Debug)]
pub struct Reseal {
    pub operation_id: String,
    pub cause: ResealCause,
    /// DID of who asked for it.
    pub initiated_by: String,
    pub reason: String,
    /// `metrics`, `logs` or `traces`.
    pub stream: String,
    /// The hour, as in the seal.
    pub period_start: TimestampMs,
    pub period_end: TimestampMs,
    /// Above those of all files of the hour.
    pub rev: u32,
    /// Relative to the data folder.
    pub storage_path: String,
    pub content_hash: ContentHash,
    pub content_bytes: u64,
    /// Exactly those of the seal that it replaces.
    pub records: Records,
    /// Records of which the file has the leaf hash alone, those of earlier redactions included.
    pub redacted: u64,
    /// The file that goes.
    pub replaced_path: String,
    pub replaced_hash: ContentHash,
}

/// Why a sealed file is written anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResealCause {
    /// The same records in fewer bytes.
    Compaction,
    /// Records lose their content.
    Redaction,
}

impl ResealCause {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Compaction => "compaction",
            Self::Redaction => "redaction",
        }
    }
}

impl Receipt {
    pub fn reseal(r: Reseal) -> Self {
        let fields = object(json!({
            "operation_id": r.operation_id,
            "operation_type": "reseal",
            "cause": r.cause.as_str(),
            "initiated_by": r.initiated_by,
            "reason": r.reason,
            "stream": r.stream,
            "period": period(r.period_start, r.period_end),
            "rev": r.rev,
            "storage_path": r.storage_path,
            "content_hash": r.content_hash.to_string(),
            "content_bytes": r.content_bytes.to_string(),
            "records": {
                "count": r.records.count.to_string(),
                "root": sha256_text(&r.records.root),
                "leaf": r.records.leaf,
            },
            "redacted": r.redacted.to_string(),
            "replaces": {
                "path": r.replaced_path,
                "content_hash": r.replaced_hash.to_string(),
            },
            "tags": tags(&["observability", "storage", r.cause.as_str()], &[]),
        }));
        Self::new(ReceiptType::Reseal, fields)
    }
}
