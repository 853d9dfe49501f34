//! A backup becomes a data folder again.
//!
//! 1. The manifest is checked against the hash in its own name. 2. Every file is fetched into a
//!    folder beside the target and checked. 3. The verifier looks at that folder. 4. It is renamed
//!    to the target: there is the whole restored folder, or none.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use obs_disk::{Disk, RealDisk, write_durable};
use obs_proof::hash::{blake3_of, to_hex};
use obs_proof::note::VerifierKey;
use obs_proof::verify::{Class, Code, VerifyOptions, VerifyReport, verify};
use obs_types::{BlobStore, is_blob_name};
use serde_json::Value;

use super::backup::{FOLDER, FORMAT, backups, blob_name};
use crate::OpsError;

/// What was restored, and what the verifier says of it.
#[derive(Clone, Debug)]
pub struct RestoreReport {
    pub id: String,
    pub files: u64,
    pub bytes: u64,
    pub verified: VerifyReport,
}

/// What a trial restore found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeReport {
    pub id: String,
    /// RFC 3339, when the backup was taken.
    pub created: String,
    pub files: u64,
    pub bytes: u64,
    /// Receipts that the verifier checked.
    pub receipts: u64,
}

/// What a backup says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackupFacts {
    pub id: String,
    /// RFC 3339, when it was taken.
    pub created: String,
    /// Of all its files.
    pub bytes: u64,
}

/// The newest backup of a store, without reading its files. `Err(NotFound)` if there is none.
pub fn newest(store: &dyn BlobStore) -> Result<BackupFacts, OpsError> {
    let (id, manifest) = manifest(store, None)?;
    let files = manifest.get("files").and_then(Value::as_array).into_iter().flatten();
    let bytes = files.filter_map(|f| f.get("bytes").and_then(Value::as_u64)).sum();
    Ok(BackupFacts { id, created: created(&manifest), bytes })
}

fn created(manifest: &Value) -> String {
    manifest.get("created").and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// Restores the backup `id`, or the newest, into `target`, which must not exist or be empty.
/// `log_keys` are trusted instead of those in the backup. `Err(Conflict)` for a folder with
/// anything in it; `Err(Invalid)` if a byte of the backup is another than was put, or if the
/// verifier finds tampering or missing files (files in a cold store are not looked at).
pub fn restore(
    store: &dyn BlobStore,
    id: Option<&str>,
    target: &Path,
    log_keys: Vec<VerifierKey>,
) -> Result<RestoreReport, OpsError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |e: std::io::Error| OpsError::State { path, reason: e.to_string() }
    };
    if target.exists() {
        let mut inside = std::fs::read_dir(target).map_err(failed(target))?;
        if inside.next().is_some() {
            return Err(OpsError::Conflict(format!(
                "{} is not empty; a backup is restored into an empty folder only",
                target.display()
            )));
        }
    }
    let (id, manifest) = manifest(store, id)?;
    let name = target.file_name().map_or_else(|| "data".into(), |n| n.to_string_lossy());
    let temporary = target.with_file_name(format!("{name}.restoring"));
    if temporary.exists() {
        std::fs::remove_dir_all(&temporary).map_err(failed(&temporary))?;
    }
    let outcome = fill(store, &manifest, &temporary).and_then(|(files, bytes)| {
        let mut options = VerifyOptions::new(&temporary);
        options.log_keys = log_keys;
        let verified = verify(&options).map_err(|e| OpsError::Invalid(e.to_string()))?;
        let bad = |f: &obs_proof::verify::Finding| {
            matches!(f.class, Class::Tampering | Class::Io | Class::Incomplete)
                && f.code != Code::ColdNotChecked
        };
        if let Some(finding) = verified.findings.iter().find(|f| bad(f)) {
            return Err(OpsError::Invalid(format!("the backup does not verify: {finding}")));
        }
        std::fs::rename(&temporary, target).map_err(failed(target))?;
        let parent = target.parent().filter(|p| !p.as_os_str().is_empty());
        RealDisk
            .sync_dir(parent.unwrap_or(Path::new(".")))
            .map_err(|e| OpsError::State { path: target.to_owned(), reason: e.to_string() })?;
        Ok(RestoreReport { id: id.clone(), files, bytes, verified })
    });
    if outcome.is_err() && temporary.exists() {
        std::fs::remove_dir_all(&temporary).map_err(failed(&temporary))?;
    }
    outcome
}

/// Restores the newest backup below `scratch`, verifies it and removes it again: whether there is
/// a backup that could be restored today.
pub fn probe(store: &dyn BlobStore, scratch: &Path) -> Result<ProbeReport, OpsError> {
    let (id, manifest) = manifest(store, None)?;
    let target = scratch.join(format!("restore-probe-{}", std::process::id()));
    let report = restore(store, Some(&id), &target, Vec::new())?;
    std::fs::remove_dir_all(&target)
        .map_err(|e| OpsError::State { path: target.clone(), reason: e.to_string() })?;
    Ok(ProbeReport {
        id,
        created: created(&manifest),
        files: report.files,
        bytes: report.bytes,
        receipts: report.verified.receipts,
    })
}

fn manifest(store: &dyn BlobStore, id: Option<&str>) -> Result<(String, Value), OpsError> {
    let known = backups(store)?;
    let found = match id {
        Some(id) => known.iter().find(|k| k.as_str() == id),
        None => known.last(),
    };
    let Some(id) = found else {
        let wanted = id.map_or_else(|| "no backup".to_owned(), |id| format!("no backup {id}"));
        return Err(OpsError::NotFound(format!("there is {wanted} in {}", store.address())));
    };
    let bytes = store.get(&format!("{FOLDER}/{id}.json"))?;
    let hash: String = to_hex(&blake3_of(&bytes)).chars().take(16).collect();
    let damaged = || OpsError::Invalid(format!("the list of backup {id} was changed"));
    if !id.ends_with(&hash) {
        return Err(damaged());
    }
    let manifest: Value = serde_json::from_slice(&bytes).map_err(|_e| damaged())?;
    match manifest.get("format").and_then(Value::as_str) {
        Some(FORMAT) => Ok((id.clone(), manifest)),
        other => Err(OpsError::Invalid(format!(
            "backup {id} has format {}, this version reads {FORMAT}",
            other.unwrap_or("none")
        ))),
    }
}

fn fill(store: &dyn BlobStore, manifest: &Value, folder: &Path) -> Result<(u64, u64), OpsError> {
    let disk = RealDisk;
    let (mut files, mut total) = (0, 0);
    let failed =
        |path: PathBuf, e: &dyn std::fmt::Display| OpsError::State { path, reason: e.to_string() };
    disk.create_dir_all(folder).map_err(|e| failed(folder.to_owned(), &e))?;
    for file in manifest.get("files").and_then(Value::as_array).into_iter().flatten() {
        let text = |name: &str| file.get(name).and_then(Value::as_str).unwrap_or_default();
        let (path, hash) = (text("path"), text("blake3"));
        if !is_blob_name(path) {
            return Err(OpsError::Invalid(format!("the backup names a file {path:?}")));
        }
        let bytes = store.get(&blob_name(hash))?;
        if to_hex(&blake3_of(&bytes)) != hash {
            return Err(OpsError::Invalid(format!("{path} in the backup was changed")));
        }
        let full = folder.join(path);
        if let Some(parent) = full.parent() {
            disk.create_dir_all(parent).map_err(|e| failed(full.clone(), &e))?;
        }
        write_durable(&disk, &full, &bytes).map_err(|e| failed(full.clone(), &e))?;
        let mode = file.get("mode").and_then(Value::as_u64).and_then(|m| u32::try_from(m).ok());
        std::fs::set_permissions(&full, PermissionsExt::from_mode(mode.unwrap_or(0o600) & 0o777))
            .map_err(|e| failed(full.clone(), &e))?;
        files += 1;
        total += bytes.len() as u64;
    }
    Ok((files, total))
}
