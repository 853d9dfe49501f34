//! What the ledger says of every sealed file: its place, and whether it was deleted.

use std::collections::{BTreeMap, BTreeSet};

use obs_archive::{Archive, ColdFile, Kept, RetentionPolicy, SealName, SealedFile, Step, Tier};
use obs_ledger::Ledger;
use obs_proof::hash::hash_from_text;
use obs_types::{ContentHash, TimestampMs};
use serde_json::Value;

use crate::OpsError;

/// Reason in the receipt of a seal that holds what retention keeps longer.
pub(crate) const KEPT_REASON: &str = "retention keeps errors longer";

/// One sealed file that is not deleted.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    pub name: SealName,
    pub content_hash: ContentHash,
    pub content_bytes: u64,
    /// Log lines, spans or series.
    pub records: u64,
    /// Root of the record tree; `None` where the receipt names none.
    pub root: Option<[u8; 32]>,
    /// Records that have lost their content.
    pub redacted: u64,
    pub tier: Tier,
    pub kept: Kept,
    /// What retention kept of it is sealed, and its deletion is not on record yet.
    pub reduced: bool,
}

/// Sealed files by storage path, as far as the ledger was read.
#[derive(Debug, Default)]
pub struct Catalog {
    next: u64,
    pub(super) entries: BTreeMap<String, Entry>,
    /// Objects of the cold store, side files included.
    pub(super) cold: BTreeMap<String, ColdFile>,
    /// Addresses of the stores that files were moved to.
    pub(super) stores: BTreeSet<String>,
    /// Deleted by policy, or replaced by a file with the same records.
    pub(super) gone: BTreeSet<String>,
    /// Local files that are cold or gone and were not looked for since.
    pub(super) to_remove: BTreeSet<String>,
    /// Of `gone`, what was replaced.
    replaced: u64,
}

impl Catalog {
    /// Reads the whole ledger.
    pub fn read(ledger: &Ledger) -> Result<Self, OpsError> {
        let mut catalog = Self::default();
        catalog.update(ledger)?;
        Ok(catalog)
    }

    /// Reads what came since.
    pub fn update(&mut self, ledger: &Ledger) -> Result<(), OpsError> {
        let from = self.next;
        ledger.read(from, &mut |seq, line| {
            self.next = seq + 1;
            let speaks_of_files = ["\"storage_path\":", "\"obs_retention\"", "\"obs_tier_move\""]
                .iter()
                .any(|part| line.contains(part));
            if speaks_of_files && let Ok(receipt) = serde_json::from_str::<Value>(line) {
                self.learn(&receipt);
            }
            true
        })?;
        Ok(())
    }

    /// Files that are not deleted, by storage path.
    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.values()
    }

    /// Addresses of the stores that files were moved to, sorted.
    pub fn stores(&self) -> Vec<String> {
        self.stores.iter().cloned().collect()
    }

    /// Tells an archive what lies in the cold store and what it must not read any more.
    pub fn apply(&self, archive: &Archive) -> Result<(), OpsError> {
        if let Some(cold) = archive.cold() {
            for (path, file) in &self.cold {
                cold.insert(path, *file);
            }
        }
        let gone = self.gone.iter().filter_map(|path| SealName::from_storage_path(path));
        let reduced = self.entries.values().filter(|e| e.reduced).map(|e| e.name);
        archive.replace(&gone.chain(reduced).collect::<Vec<_>>(), None);
        Ok(archive.refresh()?)
    }

    /// Files that were deleted by policy since the ledger began.
    pub fn deleted_count(&self) -> u64 {
        self.gone.len() as u64 - self.replaced
    }

    /// What a policy asks for at `now`; `has_cold` says whether files can be moved.
    pub fn plan(&self, now: TimestampMs, policy: &RetentionPolicy, has_cold: bool) -> Vec<Step> {
        obs_archive::plan(now, policy, has_cold, &self.files())
    }

    /// As retention's plan wants them.
    pub(super) fn files(&self) -> Vec<SealedFile> {
        let live = self.entries.values().filter(|e| !e.reduced);
        live.map(|e| SealedFile {
            name: e.name,
            tier: e.tier,
            kept: e.kept,
            bytes: e.content_bytes,
        })
        .collect()
    }

    fn learn(&mut self, receipt: &Value) {
        let text = |name: &str| receipt.get(name).and_then(Value::as_str);
        match text("type").unwrap_or_default() {
            "obs_metric_snapshot" | "obs_log_batch" | "obs_trace_batch" => {
                let errors = text("supersedes").is_some() && text("reason") == Some(KEPT_REASON);
                let kept = if errors { Kept::Errors } else { Kept::All };
                if let Some(entry) = entry_of(receipt, kept) {
                    self.sealed(entry);
                }
            }
            "obs_reseal" => {
                let path = receipt.pointer("/replaces/path").and_then(Value::as_str);
                let old = path.and_then(|path| self.entries.remove(path));
                let (kept, reduced) = old.map_or((Kept::All, false), |e| (e.kept, e.reduced));
                if let Some(entry) = entry_of(receipt, kept) {
                    let entry = Entry { reduced, ..entry };
                    self.entries.insert(entry.name.storage_path(), entry);
                }
                if let Some(path) = path {
                    self.replaced += u64::from(self.let_go(path));
                }
            }
            "obs_tier_move" => {
                self.stores.extend(text("store").map(str::to_owned));
                for item in receipt.get("moved").and_then(Value::as_array).into_iter().flatten() {
                    self.moved(item);
                }
            }
            "obs_retention" => {
                for item in receipt.get("deleted").and_then(Value::as_array).into_iter().flatten() {
                    let path = item.get("path").and_then(Value::as_str).unwrap_or_default();
                    self.entries.remove(path);
                    self.let_go(path);
                }
            }
            _ => {}
        }
    }

    /// The file is looked for no more, and removed where it still is.
    fn let_go(&mut self, path: &str) -> bool {
        self.to_remove.extend([path.to_owned(), format!("{path}.mt")]);
        self.gone.insert(path.to_owned())
    }

    fn sealed(&mut self, entry: Entry) {
        if entry.kept == Kept::Errors {
            let name = entry.name;
            for other in self.entries.values_mut() {
                other.reduced |= other.kept == Kept::All
                    && (other.name.signal, other.name.hour) == (name.signal, name.hour)
                    && other.name.revision < name.revision;
            }
        }
        self.entries.insert(entry.name.storage_path(), entry);
    }

    fn moved(&mut self, item: &Value) {
        let text = |name: &str| item.get(name).and_then(Value::as_str);
        let hash = |name: &str| text(name).and_then(|h| h.parse::<ContentHash>().ok());
        let (Some(path), Some(content_hash), Some(parts_hash), Some(content_bytes)) = (
            text("path"),
            hash("content_hash"),
            hash("parts_hash"),
            text("content_bytes").and_then(|n| n.parse().ok()),
        ) else {
            return;
        };
        self.cold.insert(path.to_owned(), ColdFile { content_hash, content_bytes, parts_hash });
        self.to_remove.insert(path.to_owned());
        if let Some(entry) = self.entries.get_mut(path) {
            entry.tier = Tier::Cold;
        }
    }
}

/// The file of which a seal or a reseal speaks, on the local disk.
fn entry_of(receipt: &Value, kept: Kept) -> Option<Entry> {
    let text = |pointer: &str| receipt.pointer(pointer).and_then(Value::as_str);
    let number = |pointer: &str| text(pointer)?.parse::<u64>().ok();
    let root = text("/records/root");
    Some(Entry {
        name: SealName::from_storage_path(text("/storage_path")?)?,
        content_hash: text("/content_hash")?.parse().ok()?,
        content_bytes: number("/content_bytes").unwrap_or(0),
        records: number("/records/count").unwrap_or(0),
        root: root.and_then(|r| hash_from_text("records root", "sha256:", r).ok()),
        redacted: number("/redacted").unwrap_or(0),
        tier: Tier::Warm,
        kept,
        reduced: false,
    })
}
