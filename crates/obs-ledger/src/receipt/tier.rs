//! Sealed files that changed their place.

use obs_types::ContentHash;
use serde_json::{Value, json};

use super::fields::{object, tags};
use super::{Receipt, ReceiptType};

/// `obs_tier_move`: sealed files lie in the cold store now, read back from there before this was
/// written; the local ones are removed after it.
#[derive(Clone, Debug)]
pub struct TierMove {
    pub operation_id: String,
    /// `metrics`, `logs` or `traces`.
    pub stream: String,
    /// Address of the store, without credentials.
    pub store: String,
    /// The rule that applied, such as `logs: warm 30d`.
    pub policy: String,
    pub moved: Vec<MovedFile>,
}

#[derive(Clone, Debug)]
pub struct MovedFile {
    /// As in the seal, relative to the data folder; also the object's name.
    pub storage_path: String,
    pub content_hash: ContentHash,
    pub content_bytes: u64,
    /// BLAKE3 of the object `PATH.parts`, the hashes of its 256 KiB parts; `content_hash` where the
    /// file is one part.
    pub parts_hash: ContentHash,
}

impl Receipt {
    pub fn tier_move(t: TierMove) -> Self {
        let moved: Vec<Value> = t
            .moved
            .iter()
            .map(|m| {
                json!({
                    "path": m.storage_path,
                    "content_hash": m.content_hash.to_string(),
                    "content_bytes": m.content_bytes.to_string(),
                    "parts_hash": m.parts_hash.to_string(),
                })
            })
            .collect();
        let fields = object(json!({
            "operation_id": t.operation_id,
            "operation_type": "tier_move",
            "stream": t.stream,
            "from": "warm",
            "to": "cold",
            "store": t.store,
            "policy": t.policy,
            "moved": moved,
            "tags": tags(&["observability", "storage", "cold"], &[]),
        }));
        Self::new(ReceiptType::TierMove, fields)
    }
}
