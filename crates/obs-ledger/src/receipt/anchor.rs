use obs_proof::Hash;
use obs_proof::hash::sha256_text;
use obs_types::{ContentHash, TimestampMs};
use serde_json::{Value, json};

use super::fields::{object, tags, time};
use super::{Receipt, ReceiptType};

/// `obs_anchor`: a checkpoint stands in a place that this node does not control, or was promised
/// to.
#[derive(Clone, Debug)]
pub struct AnchorReceipt {
    /// Name of the anchor in the configuration.
    pub anchor: String,
    /// `file`, `git`, `rfc3161` or `opentimestamps`.
    pub kind: String,
    /// Folder or address.
    pub target: String,
    /// Of the checkpoint.
    pub size: u64,
    pub root: Hash,
    /// `anchored`, or `promised`, which proves nothing yet.
    pub status: String,
    /// The time that somebody else names, where one does.
    pub anchored_at: Option<TimestampMs>,
    /// The proof's file, relative to the data folder; checked like a sealed file.
    pub proof_path: String,
    pub content_hash: ContentHash,
}

impl Receipt {
    pub fn anchor(a: AnchorReceipt) -> Self {
        let fields = object(json!({
            "anchor": a.anchor,
            "kind": a.kind,
            "target": a.target,
            "checkpoint": {"size": a.size.to_string(), "root": sha256_text(&a.root)},
            "status": a.status,
            "anchored_at": a.anchored_at.map_or(Value::Null, time),
            "proof_path": a.proof_path,
            "content_hash": a.content_hash.to_string(),
            "tags": tags(&["observability", "ledger", "anchor"], &[]),
        }));
        Self::new(ReceiptType::Anchor, fields)
    }
}
