//! The files of a log, read and recovered.
//!
//! Invariants: what the checkpoint signs is never changed here; bytes behind it are either whole
//! canonical receipts that fit the chain (kept) or moved aside into a `.torn` file; a log that is
//! shorter than or different from what this node signed is refused, because repairing it is what
//! somebody who tampered with it would need.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use obs_disk::{Disk, DiskFile, remove_stale_temporaries, write_durable};
use obs_proof::checkpoint::Checkpoint;
use obs_proof::hash::{blake3_text, hash_eq, to_hex};
use obs_proof::keys::KeyChain;
use obs_proof::note::{Note, VerifierKey};
use obs_proof::tree::{Frontier, Tree};
use obs_proof::{Blake3Tree, Hash, Sha256Tree, TreeHash, canonical, time};
use serde_json::{Map, Value};

use crate::{Cosigned, LedgerConfig, LedgerError, LedgerMode};

pub(crate) const LOG_NAME: &str = "observability_events.jsonl";
pub(crate) const CHECKPOINT_NAME: &str = "checkpoint";
const COSIGNED_NAME: &str = "checkpoint.cosigned";
pub(crate) const ROOT_NAME: &str = "ROOT.observability.txt";
const SECOND_COPY_NAME: &str = "ledger.checkpoint";
const CHUNK_BYTES: usize = 1 << 20;

/// What a log holds, in memory: both trees and where its lines end.
#[derive(Debug)]
pub(crate) struct LogState {
    /// Tree A, whole, for proofs: 64 bytes a receipt.
    pub(crate) tree: Tree<Sha256Tree>,
    /// Tree B.
    pub(crate) chain: Frontier<Blake3Tree>,
    /// Where line `i` starts; one more entry for the end.
    pub(crate) offsets: Vec<u64>,
    /// Of the last receipt; no receipt may be earlier.
    pub(crate) last_timestamp: i64,
    /// The keys that followed each other, as the receipts say.
    pub(crate) keys: KeyChain,
    /// Path of each sealed file, report and proof of an anchor, and the number of the newest
    /// receipt that speaks for it, so that a proof need not read the log.
    pub(crate) files: BTreeMap<String, u64>,
    origin: String,
}

/// What recovery found behind the signed size.
#[derive(Debug, Default)]
pub(crate) struct Tail {
    pub(crate) kept: u64,
    /// Torn files that no receipt mentions yet: name and bytes.
    pub(crate) unreported: Vec<(String, Vec<u8>)>,
}

/// An opened log.
#[derive(Debug)]
pub(crate) struct OpenLog {
    pub(crate) state: LogState,
    /// The signed note as it is on disk, and what it says.
    pub(crate) note: String,
    pub(crate) checkpoint: Checkpoint,
    /// Root of tree B over what the checkpoint covers.
    pub(crate) root_blake3: Hash,
    /// The newest checkpoint that witnesses have cosigned.
    pub(crate) cosigned: Option<Cosigned>,
    pub(crate) tail: Tail,
    /// `None` when reading only.
    pub(crate) file: Option<Arc<dyn DiskFile>>,
}

impl LogState {
    pub(crate) fn new(origin: &str) -> Self {
        Self {
            origin: origin.to_owned(),
            keys: KeyChain::default(),
            files: BTreeMap::new(),
            tree: Tree::default(),
            chain: Frontier::default(),
            offsets: vec![0],
            last_timestamp: i64::MIN,
        }
    }

    pub(crate) fn size(&self) -> u64 {
        self.tree.size()
    }

    /// Bytes of all lines with their newlines.
    pub(crate) fn end(&self) -> u64 {
        self.offsets.last().copied().unwrap_or(0)
    }

    pub(crate) fn push(&mut self, line: &[u8]) {
        if let Some(object) = object_with(line, KEY_MARK) {
            // What does not hold changes nothing here; saying so aloud is the verifier's work.
            if let Err(e) = self.keys.receipt(&self.origin, &object, self.size()) {
                tracing::error!(seq = self.size(), error = %e, "a key statement is not followed");
            }
        }
        if let Some(object) = object_with(line, FILE_MARK) {
            // Its own path, not one that a list in it names.
            let of = |name: &&str| object.get(*name).and_then(Value::as_str);
            let path = ["storage_path", "report_path", "proof_path"].iter().find_map(of);
            self.files.extend(path.map(|p| (p.to_owned(), self.size())));
        }
        self.tree.push(Sha256Tree::leaf(line));
        self.chain.push(Blake3Tree::leaf(line));
        self.offsets.push(self.end() + line.len() as u64 + 1);
    }

    /// Whether a line behind the signed size is one that this ledger wrote at this place.
    fn continues(&self, line: &[u8]) -> Option<i64> {
        let object = canonical::check_line(line).ok()?;
        let timestamp = time::parse_rfc3339(object.get("timestamp")?.as_str()?)?;
        let fits = object.get("seq")?.as_u64()? == self.size()
            && object.get("root_hash")?.as_str()? == blake3_text(&self.chain.root())
            && timestamp >= self.last_timestamp;
        fits.then_some(timestamp)
    }
}

pub(crate) fn log_path(config: &LedgerConfig) -> PathBuf {
    config.dir.join(LOG_NAME)
}

pub(crate) fn checkpoint_path(config: &LedgerConfig) -> PathBuf {
    config.dir.join(CHECKPOINT_NAME)
}

fn cosigned_path(config: &LedgerConfig) -> PathBuf {
    config.dir.join(COSIGNED_NAME)
}

fn second_copy_path(config: &LedgerConfig) -> PathBuf {
    config.state_dir.join(SECOND_COPY_NAME)
}

/// Whether nothing of a log is there yet: the only state in which a key may be made.
pub(crate) fn is_untouched(config: &LedgerConfig) -> Result<bool, LedgerError> {
    let log = log_path(config);
    let has_lines = config.disk.exists(&log) && config.disk.len(&log)? > 0;
    let signed = [checkpoint_path(config), cosigned_path(config), second_copy_path(config)];
    Ok(!has_lines && !signed.iter().any(|p| config.disk.exists(p)))
}

/// The commit point: after this the checkpoint counts.
pub(crate) fn write_checkpoint(config: &LedgerConfig, note: &str) -> Result<(), LedgerError> {
    Ok(write_durable(&*config.disk, &checkpoint_path(config), note.as_bytes())?)
}

/// What witnesses have cosigned, durably.
pub(crate) fn write_cosigned(config: &LedgerConfig, note: &str) -> Result<(), LedgerError> {
    Ok(write_durable(&*config.disk, &cosigned_path(config), note.as_bytes())?)
}

/// What follows from the checkpoint: ENGINE's root file and the second copy. A crash before it
/// loses nothing, the next start writes it again.
pub(crate) fn write_derived(
    config: &LedgerConfig,
    note: &str,
    root: &Hash,
) -> Result<(), LedgerError> {
    let disk = &*config.disk;
    let text = format!("{}\n", blake3_text(root));
    let path = config.data_dir.join(ROOT_NAME);
    if disk.read(&path).ok().as_deref() != Some(text.as_bytes()) {
        write_durable(disk, &path, text.as_bytes())?;
    }
    let second = second_copy_path(config);
    if disk.read(&second).ok().as_deref() != Some(note.as_bytes()) {
        write_durable(disk, &second, note.as_bytes())?;
    }
    Ok(())
}

/// Why the files are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Opening {
    /// The process begins: what lies behind the checkpoint is what a crash left.
    Start,
    /// A commit of this process failed and its callers were told so: what lies behind the
    /// checkpoint is cut away, so that their next attempt does not stand there twice.
    Retry {
        /// A sync of the log failed: it is copied to a new file, because the system may have
        /// dropped bytes that still read well.
        sync_failed: bool,
    },
}

/// Opens and, if allowed to write, recovers. `keys` are those whose checkpoints count.
pub(crate) fn open(
    config: &LedgerConfig,
    keys: &[VerifierKey],
    opening: Opening,
) -> Result<OpenLog, LedgerError> {
    let disk = &*config.disk;
    // The copy first: a reader beside a running writer would else see a copy of something newer
    // than the checkpoint it just read, and take that for a rollback.
    let second = read_checkpoint(config, &second_copy_path(config), keys)?;
    let cosigned = read_checkpoint(config, &cosigned_path(config), keys)?;
    let (note, checkpoint) = read_checkpoint(config, &checkpoint_path(config), keys)?
        .ok_or_else(|| LedgerError::CheckpointMissing { path: checkpoint_path(config) })?;
    // What this node once signed, by its own copy and by the one that others have cosigned.
    let earlier: Vec<&Checkpoint> =
        [&second, &cosigned].into_iter().flatten().map(|e| &e.1).collect();
    if let Some(seen) = earlier.iter().find(|seen| seen.size > checkpoint.size) {
        let path = checkpoint_path(config);
        return Err(LedgerError::RolledBack { path, have: checkpoint.size, seen: seen.size });
    }

    let path = log_path(config);
    let mut lines = Lines::open(disk, &path)?;
    let mut state = LogState::new(&config.origin);
    let mut reported: Vec<String> = Vec::new();
    let mut last_line = Vec::new();
    while state.size() < checkpoint.size {
        let Some(line) = lines.next()? else {
            let (have, signed) = (state.size(), checkpoint.size);
            return Err(LedgerError::Shortened { path, have, signed });
        };
        state.push(&line);
        reported.extend(torn_file_of(&line));
        last_line = line;
    }
    let forked = |signed: u64| LedgerError::Forked { path: path.clone(), signed };
    if !hash_eq(&state.tree.root(), &checkpoint.root) {
        return Err(forked(checkpoint.size));
    }
    for seen in earlier {
        if !hash_eq(&state.tree.root_at(seen.size)?, &seen.root) {
            return Err(forked(seen.size));
        }
    }
    if checkpoint.size > 0 {
        state.last_timestamp = canonical::check_line(&last_line)
            .ok()
            .and_then(|object| time::parse_rfc3339(object.get("timestamp")?.as_str()?))
            .ok_or_else(|| forked(checkpoint.size))?;
    }
    let mut out = OpenLog {
        root_blake3: state.chain.root(),
        state,
        note,
        checkpoint,
        cosigned: cosigned.and_then(|(note, checkpoint)| Cosigned::read(note, &checkpoint)),
        tail: Tail::default(),
        file: None,
    };
    if config.mode == LedgerMode::ReadWrite {
        out.recover_tail(config, &mut lines, reported, opening)?;
    }
    Ok(out)
}

impl OpenLog {
    /// 1. Keep whole lines that continue the chain. 2. Save the rest durably as `.torn`. 3. Cut
    ///    the file at its signed end and write the kept lines anew: after a failed sync nobody
    ///    knows whether what can be read is on the disk, so it is not trusted. 4. Sync.
    fn recover_tail(
        &mut self,
        config: &LedgerConfig,
        lines: &mut Lines<'_>,
        mut reported: Vec<String>,
        opening: Opening,
    ) -> Result<(), LedgerError> {
        let disk = &*config.disk;
        let path = log_path(config);
        let signed_end = self.state.end();
        let mut kept = Vec::new();
        while opening == Opening::Start
            && let Some(line) = lines.next()?
        {
            let Some(timestamp) = self.state.continues(&line) else { break };
            self.state.push(&line);
            self.state.last_timestamp = timestamp;
            reported.extend(torn_file_of(&line));
            kept.extend_from_slice(&line);
            kept.push(b'\n');
            self.tail.kept += 1;
        }
        let kept_end = self.state.end();
        let len = if disk.exists(&path) { disk.len(&path)? } else { 0 };
        if opening == Opening::Start && len > kept_end {
            let torn = read_range(disk, &path, kept_end, len)?;
            let hash = to_hex(blake3_of(&torn).get(..4).unwrap_or_default());
            let name = format!("{LOG_NAME}.{kept_end}-{hash}.torn");
            write_durable(disk, &config.dir.join(&name), &torn)?;
        }
        let copied = opening == Opening::Retry { sync_failed: true };
        if copied {
            copy_durably(disk, &path, signed_end, &kept)?;
        }
        let file = disk.open_append(&path)?;
        if !copied && len > signed_end {
            file.truncate(signed_end)?;
            file.append(&kept)?;
            file.sync()?;
        }
        if read_range(disk, &path, signed_end, kept_end)? != kept {
            return Err(LedgerError::ReadBack { path, offset: signed_end });
        }
        disk.sync_dir(&config.dir)?;
        self.file = Some(file);
        for entry in disk.list(&config.dir)? {
            if entry.name.ends_with(".torn") && !reported.contains(&entry.name) {
                let bytes = disk.read(&config.dir.join(&entry.name))?;
                self.tail.unreported.push((entry.name, bytes));
            }
        }
        Ok(())
    }
}

/// Makes the folders and removes what interrupted writes left.
pub(crate) fn prepare(config: &LedgerConfig) -> Result<(), LedgerError> {
    let disk = &*config.disk;
    for dir in [&config.data_dir, &config.dir, &config.state_dir] {
        disk.create_dir_all(dir)?;
    }
    for dir in [&config.dir, &config.state_dir] {
        // A new folder lasts once the one above it is synced, up to the data folder.
        for above in dir.ancestors().skip(1) {
            disk.sync_dir(above)?;
            if above == config.data_dir || !above.starts_with(&config.data_dir) {
                break;
            }
        }
    }
    remove_stale_temporaries(disk, &config.dir)?;
    for name in [ROOT_NAME, SECOND_COPY_NAME] {
        for dir in [&config.data_dir, &config.state_dir] {
            let temporary = dir.join(format!("{name}.tmp"));
            if disk.exists(&temporary) {
                disk.remove(&temporary)?;
            }
        }
    }
    Ok(())
}

fn read_checkpoint(
    config: &LedgerConfig,
    path: &Path,
    keys: &[VerifierKey],
) -> Result<Option<(String, Checkpoint)>, LedgerError> {
    let bytes = match config.disk.read(path) {
        Ok(bytes) => bytes,
        Err(e) if e.is_not_found() => return Ok(None),
        Err(e) => return Err(e.into()),
    };
    let fail = |source| LedgerError::Checkpoint { path: path.to_owned(), source };
    let note = Note::parse(&bytes).map_err(fail)?;
    note.verify(&keys.iter().collect::<Vec<_>>()).map_err(fail)?;
    let checkpoint = Checkpoint::parse(&note.text).map_err(fail)?;
    if checkpoint.origin != config.origin {
        return Err(LedgerError::Origin {
            path: path.to_owned(),
            found: checkpoint.origin,
            expected: config.origin.clone(),
        });
    }
    Ok(Some((note.to_string(), checkpoint)))
}

/// Replaces a file by a new one with its first `len` bytes and then `tail`.
fn copy_durably(disk: &dyn Disk, path: &Path, len: u64, tail: &[u8]) -> Result<(), LedgerError> {
    let temporary = path.with_extension("jsonl.tmp");
    let file = disk.create(&temporary)?;
    let mut at = 0;
    while at < len {
        let chunk = (len - at).min(CHUNK_BYTES as u64);
        file.append(&disk.read_at(path, at, chunk as usize)?)?;
        at += chunk;
    }
    file.append(tail)?;
    file.sync()?;
    disk.rename(&temporary, path)?;
    Ok(disk.sync_dir(path.parent().unwrap_or(Path::new("")))?)
}

/// The `.torn` file that a line reports, if it is a recovery receipt.
fn torn_file_of(line: &[u8]) -> Option<String> {
    object_with(line, b"obs_ledger_recovered")?.get("torn_file")?.as_str().map(str::to_owned)
}

/// What the types of key statements begin with.
const KEY_MARK: &[u8] = b"\"obs_key_";

/// What the names of members with such a path end with.
const FILE_MARK: &[u8] = b"_path\":\"";

/// Parses a line if these bytes occur in it.
fn object_with(line: &[u8], mark: &[u8]) -> Option<Map<String, Value>> {
    memchr::memmem::find(line, mark)?;
    canonical::check_line(line).ok()
}

pub(crate) fn blake3_of(bytes: &[u8]) -> Hash {
    obs_proof::hash::blake3_of(bytes)
}

pub(crate) fn read_range(
    disk: &dyn Disk,
    path: &Path,
    from: u64,
    to: u64,
) -> Result<Vec<u8>, LedgerError> {
    let mut out = Vec::new();
    let mut at = from;
    while at < to {
        let len = (to - at).min(CHUNK_BYTES as u64) as usize;
        out.extend(disk.read_at(path, at, len)?);
        at += len as u64;
    }
    Ok(out)
}

/// Whole lines of a file, without holding it in memory.
#[derive(Debug)]
pub(crate) struct Lines<'a> {
    disk: &'a dyn Disk,
    path: PathBuf,
    at: u64,
    end: u64,
    buffer: Vec<u8>,
    consumed: usize,
}

impl<'a> Lines<'a> {
    pub(crate) fn open(disk: &'a dyn Disk, path: &Path) -> Result<Self, LedgerError> {
        let end = if disk.exists(path) { disk.len(path)? } else { 0 };
        Ok(Self::range(disk, path, 0, end))
    }

    pub(crate) fn range(disk: &'a dyn Disk, path: &Path, at: u64, end: u64) -> Self {
        Self { disk, path: path.to_owned(), at, end, buffer: Vec::new(), consumed: 0 }
    }

    /// The next line without its newline; `None` at the end or before a line without one. A line
    /// that is longer than any receipt ends the reading: it is none of ours.
    pub(crate) fn next(&mut self) -> Result<Option<Vec<u8>>, LedgerError> {
        loop {
            let rest = self.buffer.get(self.consumed..).unwrap_or_default();
            if let Some(len) = rest.iter().position(|b| *b == b'\n') {
                let line = rest.get(..len).unwrap_or_default().to_vec();
                self.consumed += len + 1;
                return Ok(Some(line));
            }
            if self.at >= self.end || rest.len() > canonical::LINE_BYTES_MAX {
                return Ok(None);
            }
            self.buffer.drain(..self.consumed);
            self.consumed = 0;
            let len = (self.end - self.at).min(CHUNK_BYTES as u64) as usize;
            self.buffer.extend(self.disk.read_at(&self.path, self.at, len)?);
            self.at += len as u64;
        }
    }
}
