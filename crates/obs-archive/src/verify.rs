//! Checks one sealed file from its own bytes, without the engine and without any secret.

use std::path::Path;
use std::sync::Arc;

use obs_disk::Disk;
use obs_types::{ContentHash, LabelSet};

use crate::logs_file::{Line, LogsFile};
use crate::metrics_read::MetricsFile;
use crate::parquet_file::{KEY_COUNT, KEY_HOUR, KEY_HOUR_KEY, KEY_REVISION, KEY_ROOT, SealReader};
use crate::records::{HourKey, RecordTree, content_hash, series_leaf, span_leaf};
use crate::redactions::Redactions;
use crate::seal::Records;
use crate::traces_file::TracesFile;
use crate::{ArchiveError, SealName, Signal};

/// What a sealed file says now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VerifiedSeal {
    pub name: SealName,
    pub content_hash: ContentHash,
    pub content_bytes: u64,
    /// Recomputed from the rows, not read from the file's metadata.
    pub records: Records,
    /// Of them without their content: their leaf hashes were taken from the file.
    pub redacted: u64,
}

/// Hashes the file and recomputes its record tree from the decoded rows. `Err(Corrupt)` if the
/// file cannot be decoded, or if its own metadata or its side file name another root. Whether the
/// hash and the root are the ones in the ledger is for the caller to compare.
pub fn verify_seal(
    disk: &Arc<dyn Disk>,
    data_dir: &Path,
    storage_path: &str,
) -> Result<VerifiedSeal, ArchiveError> {
    let name = SealName::from_storage_path(storage_path)
        .filter(|name| name.storage_path() == storage_path)
        .ok_or_else(|| ArchiveError::NotASeal { path: storage_path.to_owned() })?;
    let full_path = data_dir.join(storage_path);
    let bytes = disk.read(&full_path).map_err(|source| ArchiveError::Disk {
        action: "read",
        path: full_path.clone(),
        source,
    })?;
    let Read { records, side, redacted } = match name.signal {
        Signal::Metrics => metrics(disk, data_dir, name)?,
        Signal::Logs => logs(disk, data_dir, name)?,
        Signal::Traces => traces(disk, data_dir, name)?,
    };
    let tree_path = data_dir.join(name.tree_path());
    if disk.exists(&tree_path) {
        let stored = disk.read(&tree_path).map_err(|source| ArchiveError::Disk {
            action: "read",
            path: tree_path,
            source,
        })?;
        if stored != side {
            return Err(ArchiveError::corrupt(
                &name.tree_path(),
                "the record tree is not that of the sealed file",
            ));
        }
    }
    Ok(VerifiedSeal {
        name,
        content_hash: content_hash(&bytes),
        content_bytes: bytes.len() as u64,
        records,
        redacted,
    })
}

/// What the rows of a file give.
struct Read {
    records: Records,
    side: Vec<u8>,
    redacted: u64,
}

fn metrics(disk: &Arc<dyn Disk>, data_dir: &Path, name: SealName) -> Result<Read, ArchiveError> {
    let path = name.storage_path();
    let mut keep = |labels: LabelSet| labels;
    let file = Arc::new(MetricsFile::open(disk, data_dir.join(&path), &path, &mut keep)?);
    let all = (0..file.series().len()).collect();
    let leaves = file.read(all, name.hour.range_ms())?.map(|series| Ok(series_leaf(&series?)));
    tree_of_rows(leaves, file.reader(), name)
}

fn traces(disk: &Arc<dyn Disk>, data_dir: &Path, name: SealName) -> Result<Read, ArchiveError> {
    let path = name.storage_path();
    let file = TracesFile::open(disk, data_dir.join(&path), &path)?;
    let leaves = file.read(None)?.map(|span| span_leaf(&path, &span?));
    tree_of_rows(leaves, file.reader(), name)
}

fn logs(disk: &Arc<dyn Disk>, data_dir: &Path, name: SealName) -> Result<Read, ArchiveError> {
    let path = name.storage_path();
    let file = LogsFile::open(disk, data_dir.join(&path), &path)?;
    let mut tree = RecordTree::new(&HourKey::from_text(&path, file.hour_key())?, name);
    let mut redacted = 0;
    for member in file.members() {
        for line in file.lines(&file.member_text(member)?) {
            match line {
                Line::Record(line) => tree.push(line.as_bytes()),
                Line::Redacted(leaf) => {
                    redacted += 1;
                    tree.push_leaf(leaf);
                }
            }
        }
    }
    if redacted != file.redacted() {
        let reason = format!("{redacted} lines are redacted, it says {}", file.redacted());
        return Err(ArchiveError::corrupt(&path, reason));
    }
    let (records, side) = tree.finish();
    Ok(Read { records, side, redacted })
}

/// The rows must lead to what the footer says of them, and the footer must be of this hour: a
/// file that was moved to another hour's name is not that hour's seal.
fn tree_of_rows(
    leaves: impl Iterator<Item = Result<Vec<u8>, ArchiveError>>,
    reader: &SealReader,
    name: SealName,
) -> Result<Read, ArchiveError> {
    let key = HourKey::from_text(&name.storage_path(), reader.key(KEY_HOUR_KEY)?)?;
    let mut tree = RecordTree::new(&key, name);
    let redactions = reader.redactions();
    for (row, leaf) in leaves.enumerate() {
        let record = redactions.record_in(row as u64);
        push_gone(&mut tree, redactions, record);
        tree.push(&leaf?);
    }
    push_gone(&mut tree, redactions, u64::MAX);
    let (records, side) = tree.finish();
    for (key, want) in [
        (KEY_HOUR, name.hour.end_text()),
        (KEY_REVISION, name.revision.to_string()),
        (KEY_COUNT, records.count.to_string()),
        (KEY_ROOT, records.root_text()),
    ] {
        let found = reader.key(key)?;
        if found != want {
            return Err(ArchiveError::corrupt(
                &name.storage_path(),
                format!("metadata {key} is {found}, the file's name and rows give {want}"),
            ));
        }
    }
    Ok(Read { records, side, redacted: redactions.len() })
}

/// Adds the redacted records that come next, up to `record`.
fn push_gone(tree: &mut RecordTree, redactions: &Redactions, record: u64) {
    while tree.count() < record
        && let Some(leaf) = redactions.leaf(tree.count())
    {
        tree.push_leaf(leaf);
    }
}
