use std::fs::{self, File};
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};

use super::contracts::Contracts;
use super::lines::{Ending, Lines};
use super::seals::Seals;
use super::{
    Class, Code, Depth, Finding, RecordReader, UsageError, VerifyOptions, VerifyReport, proof_file,
    trust,
};
use crate::actor::CONTRACT;
use crate::checkpoint::Checkpoint;
use crate::hash::{blake3_text, hash_eq, hash_from_text, is_blake3_text};
use crate::keys::KeyChain;
use crate::members::Members;
use crate::note::Note;
use crate::time::parse_rfc3339;
use crate::tree::Frontier;
use crate::{Blake3Tree, Hash, Sha256Tree, TreeHash};

const LOG_NAME: &str = "observability_events.jsonl";
const ROOT_NAME: &str = "ROOT.observability.txt";
/// The field `v`.
const RECEIPT_VERSION: u64 = 1;

/// Verifies hashes of files, not their records. Where `options.dir` is a file, it is verified as a
/// proof file ([`crate::vmproof`]). `Err` is a question that cannot be understood
/// (exit 4); everything else is in the report.
pub fn verify(options: &VerifyOptions) -> Result<VerifyReport, UsageError> {
    verify_with(options, None)
}

/// Like [`verify`]; a reader that decodes sealed files has their records checked as well.
pub fn verify_with(
    options: &VerifyOptions,
    reader: Option<&mut dyn RecordReader>,
) -> Result<VerifyReport, UsageError> {
    if options.dir.is_file() {
        return proof_file::verify(options);
    }
    if options.depth == Depth::Records && reader.is_none() {
        return Err(UsageError::NoDecoder);
    }
    let mut report = VerifyReport::default();
    let place = Place::find(&options.dir);
    let policy = trust::policy(options, &place.receipts, &mut report)?;
    let state = remembered(options)?;

    // The checkpoint first: what is appended meanwhile lies behind the prefix it names.
    // The cosigned one before it, or a running writer could make it the newer of the two.
    let cosigned = place.optional(&place.receipts.join(trust::COSIGNED_NAME), &mut report);
    let note = place.read(&place.receipts.join("checkpoint"), Code::CheckpointMissing, &mut report);
    let root_file = root_file(&place, &mut report);
    let newest = note.as_deref().and_then(|bytes| trust::read("checkpoint", bytes, &mut report));
    let cosigned = cosigned
        .filter(|_| note.is_some())
        .and_then(|bytes| trust::read(trust::COSIGNED_NAME, &bytes, &mut report));

    let checkpoint = newest.as_ref().map(|(_note, checkpoint)| checkpoint);
    let contracts = Contracts::open(options, &place.receipts)?;
    let mut pass = Pass::new(checkpoint, state.as_ref(), root_file, contracts);
    let prefix = cosigned.as_ref().map(|(_note, checkpoint)| checkpoint.clone());
    pass.cosigned = prefix.as_ref();
    pass.note_roots();
    match File::open(place.receipts.join(LOG_NAME)) {
        Ok(file) => {
            if let Err(e) = pass.run(BufReader::with_capacity(1 << 17, file), &mut report) {
                report.add(Finding::new(Code::IoError, e.to_string()).path(LOG_NAME));
            }
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            report.add(Finding::new(Code::LogMissing, "there is no log").path(LOG_NAME));
        }
        Err(e) => report.add(Finding::new(Code::IoError, e.to_string()).path(LOG_NAME)),
    }
    // Only the log says which keys have followed those that are pinned.
    let said = trust::Said { keys: &pass.keys, last_timestamp: pass.last_timestamp };
    let cosigned =
        trust::judge(newest.as_ref(), cosigned, policy.as_ref(), said, options, &mut report);
    pass.check_roots(&mut report);
    pass.check_state(&mut report);
    pass.check_cosigned(cosigned.as_ref(), options, &mut report);
    pass.seals.check_hours(options, &mut report);
    match &place.data {
        Some(data) if options.depth != Depth::Receipts => {
            pass.seals.check_files(data, options, reader, &mut report);
        }
        _ if pass.seals.has_files() => report.add(Finding::new(
            Code::FilesNotChecked,
            "receipts only: the sealed files were not looked at",
        )),
        _ => {}
    }
    if report.receipts == 0 {
        report.add(Finding::new(Code::NothingVerified, "no receipt was verified"));
    }
    if report.exit_code() == 0
        && let (Some(path), true, Some(note)) = (&options.state, options.state_update, &note)
    {
        remember(path, note, &mut report);
    }
    Ok(report)
}

/// Where things lie: a data folder, or a folder with the receipts alone.
struct Place {
    receipts: PathBuf,
    /// `None` where there are no sealed files to be expected.
    data: Option<PathBuf>,
    root_required: bool,
    root: PathBuf,
}

impl Place {
    fn find(dir: &Path) -> Self {
        let below = dir.join("receipts").join("observability");
        let bare = dir.join("checkpoint").exists() || dir.join(LOG_NAME).exists();
        if bare && !below.exists() {
            // Receipts beside sealed files are a data folder by another shape: look at the files.
            let data = dir.join("telemetry").is_dir().then(|| dir.to_owned());
            return Self {
                receipts: dir.to_owned(),
                data,
                root_required: false,
                root: dir.join(ROOT_NAME),
            };
        }
        Self {
            receipts: below,
            data: Some(dir.to_owned()),
            root_required: true,
            root: dir.join(ROOT_NAME),
        }
    }

    fn read(&self, path: &Path, missing: Code, report: &mut VerifyReport) -> Option<Vec<u8>> {
        let name = || path.file_name().map_or_else(String::new, |n| n.to_string_lossy().into());
        match fs::read(path) {
            Ok(bytes) => Some(bytes),
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                report.add(Finding::new(missing, format!("{} is not there", path.display())));
                None
            }
            Err(e) => {
                report.add(Finding::new(Code::IoError, e.to_string()).path(name()));
                None
            }
        }
    }
}

impl Place {
    /// A file that need not be there.
    fn optional(&self, path: &Path, report: &mut VerifyReport) -> Option<Vec<u8>> {
        if path.exists() { self.read(path, Code::CheckpointMissing, report) } else { None }
    }
}

fn root_file(place: &Place, report: &mut VerifyReport) -> Option<Hash> {
    if !place.root_required && !place.root.exists() {
        return None;
    }
    let bytes = place.read(&place.root, Code::RootFileMissing, report)?;
    let text = String::from_utf8_lossy(&bytes);
    let line = text.strip_suffix('\n').unwrap_or(&text);
    hash_from_text(ROOT_NAME, "blake3:", line)
        .map_err(|e| {
            report.add(Finding::new(Code::RootFileMismatch, e.to_string()).path(ROOT_NAME))
        })
        .ok()
}

/// The remembered checkpoint; a state file that does not exist yet is a first run.
fn remembered(options: &VerifyOptions) -> Result<Option<Checkpoint>, UsageError> {
    let Some(path) = &options.state else { return Ok(None) };
    let fail = |reason: String| UsageError::State { path: path.clone(), reason };
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == io::ErrorKind::NotFound && options.state_update => return Ok(None),
        Err(e) => return Err(fail(e.to_string())),
    };
    Note::parse(&bytes)
        .and_then(|note| Checkpoint::parse(&note.text))
        .map(Some)
        .map_err(|e| fail(e.to_string()))
}

fn remember(path: &Path, note: &[u8], report: &mut VerifyReport) {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".tmp");
    let written = fs::write(&temporary, note).and_then(|()| fs::rename(&temporary, path));
    let name = path.display().to_string();
    report.add(match written {
        Ok(()) => {
            Finding::new(Code::StateRemembered, "checkpoint kept for the next run").path(name)
        }
        Err(e) => Finding::new(Code::IoError, e.to_string()).path(name),
    });
}

/// One pass over the log.
struct Pass<'a> {
    checkpoint: Option<&'a Checkpoint>,
    state: Option<&'a Checkpoint>,
    root_file: Option<Hash>,
    /// The size at which the log had the root that the root file names.
    root_file_size: Option<u64>,
    tree: Frontier<Sha256Tree>,
    chain: Frontier<Blake3Tree>,
    /// Of `chain`.
    chain_root: Hash,
    state_root: Option<Hash>,
    cosigned: Option<&'a Checkpoint>,
    cosigned_root: Option<Hash>,
    last_timestamp: Option<i64>,
    keys: KeyChain,
    contracts: Contracts,
    seals: Seals,
}

impl<'a> Pass<'a> {
    fn new(
        checkpoint: Option<&'a Checkpoint>,
        state: Option<&'a Checkpoint>,
        root_file: Option<Hash>,
        contracts: Contracts,
    ) -> Self {
        let mut pass = Self {
            checkpoint,
            state,
            root_file,
            root_file_size: None,
            tree: Frontier::default(),
            chain: Frontier::default(),
            chain_root: Blake3Tree::empty(),
            state_root: None,
            cosigned: None,
            cosigned_root: None,
            last_timestamp: None,
            keys: KeyChain::default(),
            contracts,
            seals: Seals::default(),
        };
        pass.note_roots();
        pass
    }

    fn signed_size(&self) -> u64 {
        self.checkpoint.map_or(0, |c| c.size)
    }

    fn run(&mut self, reader: impl io::BufRead, report: &mut VerifyReport) -> io::Result<()> {
        let mut lines = Lines::new(reader);
        let signed = self.signed_size();
        while self.tree.size() < signed {
            match lines.next()? {
                Some((offset, line, Ending::Newline | Ending::TooLong)) => {
                    self.line(line, offset, report);
                }
                torn => {
                    let have = self.tree.size();
                    let detail = format!("{have} whole receipts, the checkpoint signs {signed}");
                    let offset = torn.map(|(offset, ..)| offset);
                    let mut finding = Finding::new(Code::Truncated, detail).seq(have);
                    finding.offset = offset;
                    report.add(finding);
                    let detail = format!("what is there cannot give the signed root of {signed}");
                    report.add(Finding::new(Code::RootMismatch, detail).path(LOG_NAME));
                    return Ok(());
                }
            }
        }
        report.receipts = signed;
        self.tail(&mut lines, report)
    }

    fn line(&mut self, line: &[u8], offset: u64, report: &mut VerifyReport) {
        let seq = self.tree.size();
        let chain_root = self.chain_root;
        self.tree.push(Sha256Tree::leaf(line));
        self.chain.push(Blake3Tree::leaf(line));
        // A root costs a hash for each level of the tree, so it is computed once a line.
        self.chain_root = self.chain.root();
        self.note_roots();
        let members = match Members::read(line) {
            Ok(members) => members,
            Err(e) => {
                report.add(Finding::new(Code::NotCanonical, e.to_string()).at(seq, offset));
                return;
            }
        };
        if members.number("v") != Some(RECEIPT_VERSION) {
            let detail = format!("only version {RECEIPT_VERSION} is known here");
            report.add(Finding::new(Code::UnknownVersion, detail).at(seq, offset));
        }
        let said = members.number("seq");
        if said != Some(seq) {
            let said = said.map_or_else(|| "none".to_owned(), |n| n.to_string());
            let detail = format!("receipt {seq} carries number {said}");
            report.add(Finding::new(Code::SeqOrder, detail).at(seq, offset));
        }
        if !members.text("root_hash").is_some_and(|text| is_blake3_text(&text, &chain_root)) {
            let detail = format!("receipts before {seq} give {}", blake3_text(&chain_root));
            report.add(Finding::new(Code::RootHashMismatch, detail).at(seq, offset));
        }
        let timestamp = members.text("timestamp").as_deref().and_then(parse_rfc3339);
        match (timestamp, self.last_timestamp) {
            (None, _) => {
                let detail = "no RFC 3339 timestamp";
                report.add(Finding::new(Code::TimestampBackwards, detail).at(seq, offset));
            }
            (Some(now), Some(last)) if now < last => {
                let detail = format!("{} ms before the receipt above", last - now);
                report.add(Finding::new(Code::TimestampBackwards, detail).at(seq, offset));
            }
            _ => {}
        }
        self.last_timestamp = self.last_timestamp.max(timestamp);
        // Most receipts speak of no key, no file and no contract: nobody needs their object.
        let kind = members.text("type").unwrap_or_default();
        let read = KeyChain::reads(&kind) || Seals::reads(&kind, &members) || members.has(CONTRACT);
        if !read {
            return;
        }
        let object = members.to_object();
        let origin = self.checkpoint.map_or("", |c| c.origin.as_str());
        if let Err(e) = self.keys.receipt(origin, &object, seq) {
            report.add(Finding::new(Code::KeyChainBroken, e.to_string()).at(seq, offset));
        }
        self.contracts.receipt(origin, &object, (seq, offset), timestamp, report);
        self.seals.receipt(&object, seq, timestamp, report);
    }

    /// What lies behind the signed prefix is counted and reported, never taken as proven.
    fn tail(
        &mut self,
        lines: &mut Lines<impl io::BufRead>,
        report: &mut VerifyReport,
    ) -> io::Result<()> {
        let mut newest = self.last_timestamp;
        let mut chain = self.chain.clone();
        while let Some((offset, line, ending)) = lines.next()? {
            report.tail_bytes += line.len() as u64 + u64::from(ending == Ending::Newline);
            if ending == Ending::Torn {
                report.add(
                    Finding::new(
                        Code::TornTailUnsigned,
                        format!(
                            "{} bytes of an unfinished line behind the signed size",
                            line.len()
                        ),
                    )
                    .at(self.tree.size() + report.tail_receipts, offset),
                );
                break;
            }
            report.tail_receipts += 1;
            chain.push(Blake3Tree::leaf(line));
            // A root file newer than the checkpoint that was read: the log grew meanwhile.
            if self.root_file == Some(chain.root()) {
                self.root_file_size = Some(chain.size());
            }
            let timestamp = Members::read(line)
                .ok()
                .and_then(|members| parse_rfc3339(&members.text("timestamp")?));
            newest = newest.max(timestamp);
        }
        if let (Some(newest), Some(last)) = (newest, self.last_timestamp) {
            report.tail_ms = newest.saturating_sub(last).unsigned_abs();
        }
        if report.tail_receipts > 0 {
            report.add(
                Finding::new(
                    Code::UnsignedTail,
                    "whole receipts behind the signed size: not proven",
                )
                .count(report.tail_receipts),
            );
        }
        Ok(())
    }

    fn note_roots(&mut self) {
        let size = self.tree.size();
        if self.state.is_some_and(|s| s.size == size) {
            self.state_root = Some(self.tree.root());
        }
        if self.cosigned.is_some_and(|c| c.size == size) {
            self.cosigned_root = Some(self.tree.root());
        }
        if self.root_file == Some(self.chain_root) {
            self.root_file_size = Some(size);
        }
    }

    fn check_roots(&self, report: &mut VerifyReport) {
        let Some(checkpoint) = self.checkpoint else { return };
        if self.tree.size() < checkpoint.size {
            return;
        }
        report.root = Some(self.tree.root());
        report.root_blake3 = Some(self.chain_root);
        if !hash_eq(&self.tree.root(), &checkpoint.root) {
            let detail = format!("the first {} lines do not give the signed root", checkpoint.size);
            report.add(Finding::new(Code::RootMismatch, detail).path(LOG_NAME));
        }
        // The log's key stands for these lines and their root, and the policy does not take its
        // word without witnesses: that is the verdict. What the receipts say about tree B is then
        // one more claim of the same key; it stays in the report. Any other way it is tampering.
        let signed = !report.signed_by.is_empty() && !report.has(Code::RootMismatch);
        if signed && report.has(Code::WitnessQuorumMissing) {
            for f in &mut report.findings {
                if f.code == Code::RootHashMismatch {
                    f.class = Class::Policy;
                }
            }
        }
        if self.root_file.is_none() {
            return;
        }
        match self.root_file_size {
            Some(size) if size < checkpoint.size => report.add(
                Finding::new(
                    Code::RootFileStale,
                    format!(
                        "is the root of {size} receipts, the checkpoint is of {}",
                        checkpoint.size
                    ),
                )
                .path(ROOT_NAME),
            ),
            Some(_) => {}
            None => report.add(
                Finding::new(Code::RootFileMismatch, "is no root that this log ever had")
                    .path(ROOT_NAME),
            ),
        }
    }

    fn check_state(&self, report: &mut VerifyReport) {
        let (Some(state), Some(checkpoint)) = (self.state, self.checkpoint) else { return };
        if state.origin != checkpoint.origin {
            let detail = format!("remembered {:?}, found {:?}", state.origin, checkpoint.origin);
            report.add(Finding::new(Code::InconsistentWithState, detail));
        } else if state.size > checkpoint.size {
            let detail = format!("remembered {} receipts, found {}", state.size, checkpoint.size);
            report.add(Finding::new(Code::Rollback, detail));
        } else if self.state_root.is_some_and(|root| !hash_eq(&root, &state.root)) {
            let detail = format!("the first {} receipts are not those remembered", state.size);
            report.add(Finding::new(Code::InconsistentWithState, detail));
        }
    }

    /// What witnesses have cosigned is the beginning of what is here, and not too short a one.
    fn check_cosigned(
        &self,
        cosigned: Option<&trust::Cosigned>,
        options: &VerifyOptions,
        report: &mut VerifyReport,
    ) {
        let (Some(cosigned), Some(checkpoint)) = (cosigned, self.checkpoint) else { return };
        let (size, name) = (cosigned.checkpoint.size, trust::COSIGNED_NAME);
        if cosigned.checkpoint.origin != checkpoint.origin {
            let detail = format!("is of {:?}", cosigned.checkpoint.origin);
            report.add(Finding::new(Code::WrongOrigin, detail).path(name));
        } else if size > checkpoint.size {
            let detail = format!("{size} receipts were cosigned, {} are signed", checkpoint.size);
            report.add(Finding::new(Code::Rollback, detail).path(name));
        } else if self.cosigned_root.is_some_and(|r| !hash_eq(&r, &cosigned.checkpoint.root)) {
            let detail = format!("the first {size} receipts are not those that were cosigned");
            report.add(Finding::new(Code::RootMismatch, detail).path(name));
        }
        if report.unwitnessed_receipts == 0 {
            return;
        }
        let behind = self.last_timestamp.zip(cosigned.at()).map(|(last, at)| last - at);
        let detail = match behind {
            Some(ms) => format!(
                "signed by the log alone, up to {} seconds after the last cosignature",
                ms.max(0) / 1_000
            ),
            None => "signed by the log alone".to_owned(),
        };
        report.add(
            Finding::new(Code::UnwitnessedTail, detail.clone()).count(report.unwitnessed_receipts),
        );
        if behind.is_none_or(|ms| ms > options.cosigned_within) {
            report.add(Finding::new(Code::WitnessStale, detail));
        }
    }
}
