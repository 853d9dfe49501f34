//! What lies where.

use std::collections::BTreeMap;

use obs_archive::{Hour, Kept, Signal, Tier};
use obs_proof::time::format_rfc3339;
use serde_json::{Value, json};

use super::Catalog;
use super::catalog::Entry;

/// One line of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TierRow {
    /// `hot`, `warm` or `cold`.
    pub tier: &'static str,
    /// `metrics`, `logs` or `traces`.
    pub signal: &'static str,
    /// `all`, or `errors` where retention has kept only those.
    pub kept: &'static str,
    pub files: u64,
    pub bytes: u64,
    /// Sealed hours, revisions counted once; 0 for the hot tier.
    pub hours: u64,
    /// Milliseconds since the epoch: start of the oldest and end of the newest hour.
    pub oldest: Option<i64>,
    pub newest: Option<i64>,
}

/// The table and what concerns all of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StorageStatus {
    pub rows: Vec<TierRow>,
    /// Files deleted by policy since the ledger began.
    pub deleted_files: u64,
    /// Address of the cold store, where there is one.
    pub store: Option<String>,
    pub free_bytes: Option<u64>,
    pub total_bytes: Option<u64>,
    /// `ok`, `high` or `critical`.
    pub watermark: &'static str,
    pub backoff_level: u32,
    pub last_error: Option<String>,
}

impl StorageStatus {
    /// Warm and cold rows.
    pub fn rows_of(catalog: &Catalog) -> Vec<TierRow> {
        let mut groups: BTreeMap<(Tier, Signal, bool), Vec<&Entry>> = BTreeMap::new();
        for entry in catalog.entries() {
            let key = (entry.tier, entry.name.signal, entry.kept == Kept::Errors);
            groups.entry(key).or_default().push(entry);
        }
        groups
            .into_iter()
            .map(|((tier, signal, errors), entries)| {
                let mut hours: Vec<Hour> = entries.iter().map(|e| e.name.hour).collect();
                hours.sort();
                hours.dedup();
                TierRow {
                    tier: if tier == Tier::Warm { "warm" } else { "cold" },
                    signal: signal.as_str(),
                    kept: if errors { "errors" } else { "all" },
                    files: entries.len() as u64,
                    bytes: entries.iter().map(|e| e.content_bytes).sum(),
                    hours: hours.len() as u64,
                    oldest: hours.first().map(|h| h.start().0),
                    newest: hours.last().map(|h| h.end().0),
                }
            })
            .collect()
    }

    pub fn to_json(&self) -> Value {
        let time = |t: Option<i64>| t.map(format_rfc3339);
        let rows: Vec<Value> = self
            .rows
            .iter()
            .map(|r| {
                json!({
                    "tier": r.tier, "signal": r.signal, "kept": r.kept, "files": r.files,
                    "bytes": r.bytes, "hours": r.hours,
                    "oldest": time(r.oldest), "newest": time(r.newest),
                })
            })
            .collect();
        json!({
            "tiers": rows,
            "deleted_files": self.deleted_files,
            "cold_store": self.store,
            "free_bytes": self.free_bytes,
            "total_bytes": self.total_bytes,
            "watermark": self.watermark,
            "cold_backoff_level": self.backoff_level,
            "last_error": self.last_error,
        })
    }
}
