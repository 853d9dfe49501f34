//! A copy of a data folder in a store, taken while the server writes.
//!
//! Objects: `blobs/HH/HASH` (a file's bytes by their BLAKE3, so that a second backup puts only what
//! is new) and `backups/TIME-HASH.json` (which files make one backup, and their hashes).
//!
//! Order, so that every copy is one that a crash could have left: the second copy of the
//! checkpoint, its root and cosignature before the checkpoint, the checkpoint before the log it
//! signs, the log before the files and states it speaks of, write-ahead logs before the blocks that
//! their records move to. The caller keeps files from being moved to blocks or deleted meanwhile.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use obs_disk::Disk;
use obs_proof::hash::{blake3_of, to_hex};
use obs_proof::time::format_rfc3339;
use obs_types::{BlobError, BlobStore, TimestampMs};
use serde_json::{Value, json};

use super::Catalog;
use crate::OpsError;

pub(super) const FORMAT: &str = "vmobs-backup/1";
pub(super) const FOLDER: &str = "backups";
/// A file that grows or goes while it is copied is looked at again this often.
const ATTEMPTS: usize = 5;

/// What a backup put.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BackupReport {
    /// Names the backup in the store.
    pub id: String,
    pub files: u64,
    pub bytes: u64,
    /// Of those, what the store did not have yet.
    pub new_files: u64,
    pub new_bytes: u64,
}

struct Copied {
    path: String,
    bytes: u64,
    hash: String,
    mode: u32,
}

/// Copies the folder to the store. `catalog` saves reading sealed files again that the store has.
pub fn backup(
    data_dir: &Path,
    disk: &dyn Disk,
    catalog: &Catalog,
    store: &dyn BlobStore,
    now: TimestampMs,
) -> Result<BackupReport, OpsError> {
    let mut have: BTreeSet<String> = store.list("blobs")?.into_iter().map(|b| b.name).collect();
    let mut report = BackupReport::default();
    let mut files: Vec<Copied> = Vec::new();
    for rank in 0..RANKS {
        let mut attempt = 0;
        let copied = loop {
            attempt += 1;
            match copy_rank(data_dir, disk, rank, catalog, store, &mut have, &mut report) {
                // Gone between the listing and the copy: the folder looks different now.
                Err(Trouble::Vanished(_)) if attempt < ATTEMPTS => {}
                Err(Trouble::Vanished(path)) => {
                    return Err(OpsError::Conflict(format!("{path} changes while it is copied")));
                }
                Err(Trouble::Other(e)) => return Err(e),
                Ok(copied) => break copied,
            }
        };
        files.extend(copied);
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    report.files = files.len() as u64;
    report.bytes = files.iter().map(|f| f.bytes).sum();
    let listed: Vec<Value> = files
        .iter()
        .map(|f| json!({"path": f.path, "bytes": f.bytes, "blake3": f.hash, "mode": f.mode}))
        .collect();
    let manifest = json!({
        "format": FORMAT,
        "created": format_rfc3339(now.0),
        "cold_stores": catalog.stores(),
        "files": listed,
    });
    let text = format!("{manifest:#}\n");
    let time: String =
        format_rfc3339(now.0).chars().filter(|c| c.is_ascii_alphanumeric()).collect();
    let hash: String = to_hex(&blake3_of(text.as_bytes())).chars().take(16).collect();
    report.id = format!("{time}-{hash}");
    match store.put_new(&format!("{FOLDER}/{}.json", report.id), text.as_bytes()) {
        Ok(()) | Err(BlobError::Exists { .. }) => Ok(report),
        Err(e) => Err(e.into()),
    }
}

/// Ids of the backups in a store, oldest first.
pub fn backups(store: &dyn BlobStore) -> Result<Vec<String>, OpsError> {
    let names = store.list(FOLDER)?.into_iter();
    let id = |name: String| {
        name.strip_prefix("backups/").and_then(|n| n.strip_suffix(".json")).map(str::to_owned)
    };
    Ok(names.filter_map(|b| id(b.name)).collect())
}

pub(super) fn blob_name(hash: &str) -> String {
    let start: String = hash.chars().take(2).collect();
    format!("blobs/{start}/{hash}")
}

const RANKS: usize = 8;

/// When a file is copied; `None` for what belongs to one run of one process.
fn rank(path: &str) -> Option<usize> {
    let first = path.split('/').next().unwrap_or_default();
    if ["LOCK", "addresses.json", "cache", "lost+found"].contains(&first) || path.ends_with(".tmp")
    {
        return None;
    }
    Some(match path {
        "state/ledger.checkpoint" | "ROOT.observability.txt" => 0,
        "receipts/observability/checkpoint.cosigned" => 1,
        "receipts/observability/checkpoint" => 2,
        "receipts/observability/observability_events.jsonl" => 3,
        _ => match first {
            "receipts" => 4,
            "wal" => 6,
            "metrics" | "logs" | "traces" => 7,
            _ => 5,
        },
    })
}

enum Trouble {
    Vanished(String),
    Other(OpsError),
}

fn copy_rank(
    data_dir: &Path,
    disk: &dyn Disk,
    wanted: usize,
    catalog: &Catalog,
    store: &dyn BlobStore,
    have: &mut BTreeSet<String>,
    report: &mut BackupReport,
) -> Result<Vec<Copied>, Trouble> {
    let mut paths = Vec::new();
    walk(data_dir, disk, "", &mut paths).map_err(Trouble::Other)?;
    paths.retain(|path| rank(path) == Some(wanted));
    paths.sort();
    let mut out = Vec::new();
    for path in paths {
        let full = data_dir.join(&path);
        let mode = std::fs::metadata(&full).map_or(0o600, |m| m.permissions().mode() & 0o777);
        if let Some(entry) = catalog.entries.get(&path) {
            let hash = to_hex(&entry.content_hash.0);
            if have.contains(&blob_name(&hash)) && disk.exists(&full) {
                out.push(Copied { path, bytes: entry.content_bytes, hash, mode });
                continue;
            }
        }
        let bytes = match disk.read(&full) {
            Ok(bytes) => bytes,
            Err(e) if e.is_not_found() => return Err(Trouble::Vanished(path)),
            Err(e) => {
                let reason = e.to_string();
                return Err(Trouble::Other(OpsError::State { path: full, reason }));
            }
        };
        let hash = to_hex(&blake3_of(&bytes));
        let name = blob_name(&hash);
        if !have.contains(&name) {
            match store.put_new(&name, &bytes) {
                Ok(()) => {
                    report.new_files += 1;
                    report.new_bytes += bytes.len() as u64;
                }
                Err(BlobError::Exists { .. }) => {}
                Err(e) => return Err(Trouble::Other(e.into())),
            }
            have.insert(name);
        }
        out.push(Copied { path, bytes: bytes.len() as u64, hash, mode });
    }
    Ok(out)
}

fn walk(
    data_dir: &Path,
    disk: &dyn Disk,
    folder: &str,
    out: &mut Vec<String>,
) -> Result<(), OpsError> {
    let full = data_dir.join(folder);
    let listed = disk
        .list(&full)
        .map_err(|e| OpsError::State { path: full.clone(), reason: e.to_string() })?;
    for entry in listed {
        let path = if folder.is_empty() { entry.name } else { format!("{folder}/{}", entry.name) };
        if !entry.is_dir {
            out.push(path);
        } else if rank(&path).is_some() {
            walk(data_dir, disk, &path, out)?;
        }
    }
    Ok(())
}
