//! The sealed files themselves: size, hash, and records where somebody decodes them.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Component, Path};

use super::seals::Seals;
use super::{Code, Depth, Finding, VerifyOptions, VerifyReport};
use crate::Hash;
use crate::hash::{blake3_text, sha256_text};
use crate::record::{RecordScope, RecordTreeBuilder};

/// A sealed file as its receipt describes it.
#[derive(Clone, Debug)]
pub struct SealedFile {
    pub seq: u64,
    /// Relative to the data folder.
    pub path: String,
    pub content_hash: String,
    pub content_bytes: Option<u64>,
    /// Of a seal of an hour; a report has none.
    pub stream: Option<String>,
    /// RFC 3339 end of the hour.
    pub hour: Option<String>,
    /// Leaf kind, such as `vmobs-log/1`.
    pub leaf: Option<String>,
    pub record_count: Option<u64>,
    pub record_root: Option<Hash>,
    /// Records of which the file has the leaf hash alone.
    pub redacted: u64,
    /// Half-open, milliseconds.
    pub(super) period: Option<(i64, i64)>,
}

/// Takes the records of a sealed file in their order.
pub trait RecordSink {
    /// The key of the salts, as the file holds it; comes before the records.
    fn begin(&mut self, hour_key: Hash);
    /// The bytes of the record's leaf.
    fn record(&mut self, record: &[u8]);
    /// The leaf hash of a record whose content was removed.
    fn redacted(&mut self, leaf: Hash);
}

/// What a reader made of a sealed file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordsRead {
    /// It does not know this kind of file.
    Unknown,
    /// The sink has got all records.
    Streamed,
    /// It built the record tree itself.
    Tree {
        count: u64,
        root: Hash,
        /// Of them without their content.
        redacted: u64,
    },
}

/// Decodes sealed files, so that their records can be checked and not only their bytes. This
/// crate knows no Parquet and no gzip; whoever does brings one of these.
pub trait RecordReader {
    /// `Err` says why the file cannot be decoded.
    fn read(
        &mut self,
        path: &Path,
        file: &SealedFile,
        sink: &mut dyn RecordSink,
    ) -> Result<RecordsRead, String>;

    /// The bytes of a file that was moved to a cold store; `None` if this reader reads none.
    fn cold(&mut self, file: &SealedFile) -> Option<io::Result<Box<dyn Read>>> {
        let _not_here = file;
        None
    }
}

impl Seals {
    /// Hashes every file that is asked for.
    pub(super) fn check_files(
        &self,
        data_dir: &Path,
        options: &VerifyOptions,
        mut reader: Option<&mut dyn RecordReader>,
        report: &mut VerifyReport,
    ) {
        let (from, to) = (options.from.unwrap_or(i64::MIN), options.to.unwrap_or(i64::MAX));
        let required = options.depth == Depth::Records;
        let decode = options.depth != Depth::Files;
        for file in &self.files {
            if file.period.is_some_and(|(start, end)| end <= from || start >= to) {
                continue;
            }
            if !is_plain_path(&file.path) {
                let finding = Finding::new(Code::BadPath, "leads out of the data folder");
                report.add(finding.seq(file.seq).path(&file.path));
                continue;
            }
            let mut path = data_dir.join(&file.path);
            let mut hashed = hash_file(&path);
            if hashed.as_ref().is_err_and(|e| e.kind() == io::ErrorKind::NotFound)
                && let Some(store) = self.cold_store(file)
            {
                let cold = reader.as_deref_mut().and_then(|r| r.cold(file));
                hashed = match (cold, &options.cold) {
                    (Some(opened), _) => opened.and_then(hash_bytes),
                    (None, Some(folder)) => {
                        path = folder.join(&file.path);
                        hash_file(&path)
                    }
                    (None, None) => {
                        let detail = format!("was moved to {store}; --cold names a copy of it");
                        let finding = Finding::new(Code::ColdNotChecked, detail);
                        report.add(finding.seq(file.seq).path(&file.path));
                        continue;
                    }
                };
            }
            match hashed {
                Ok((hash, bytes)) => {
                    check_content(file, &hash, bytes, report);
                    if let (Some(reader), true, true) =
                        (reader.as_deref_mut(), file.record_root.is_some(), decode)
                    {
                        check_records(&path, file, reader, required, report);
                    }
                }
                Err(e) if e.kind() == io::ErrorKind::NotFound => self.missing(file, report),
                Err(e) => report
                    .add(Finding::new(Code::IoError, e.to_string()).seq(file.seq).path(&file.path)),
            }
        }
        self.unreceipted(data_dir, report);
    }

    /// The store that a receipt says the file was moved to, unless it was deleted on purpose.
    fn cold_store(&self, file: &SealedFile) -> Option<&str> {
        let moved = self.moved.get(&(file.path.clone(), file.content_hash.clone()));
        moved.filter(|_| !self.declared(file)).map(String::as_str)
    }

    fn declared(&self, file: &SealedFile) -> bool {
        self.deleted.contains(&(file.path.clone(), file.content_hash.clone()))
            || self.superseded.contains(&file.content_hash)
    }

    fn missing(&self, file: &SealedFile, report: &mut VerifyReport) {
        let finding = match self.declared(file) {
            true => Finding::new(Code::DeclaredDeletion, "deleted, as a receipt says"),
            false => Finding::new(Code::FileMissing, "sealed, and not there"),
        };
        report.add(finding.seq(file.seq).path(&file.path));
    }

    /// Files among the sealed ones that no signed receipt speaks for: written a moment ago, or
    /// put there by somebody.
    fn unreceipted(&self, data_dir: &Path, report: &mut VerifyReport) {
        let known: BTreeSet<&str> = self.files.iter().map(|f| f.path.as_str()).collect();
        let mut found = Vec::new();
        walk(data_dir, "telemetry", 4, &mut found);
        for path in found {
            let side_file = path.ends_with(".mt") || path.ends_with(".tmp");
            if !side_file && !known.contains(path.as_str()) {
                report.add(
                    Finding::new(Code::UnreceiptedFile, "no signed receipt speaks for it")
                        .path(path),
                );
            }
        }
    }
}

fn is_plain_path(path: &str) -> bool {
    !path.is_empty() && Path::new(path).components().all(|c| matches!(c, Component::Normal(_)))
}

fn hash_file(path: &Path) -> io::Result<(Hash, u64)> {
    hash_bytes(File::open(path)?)
}

fn hash_bytes(mut file: impl Read) -> io::Result<(Hash, u64)> {
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; 1 << 18];
    let mut bytes = 0;
    loop {
        let read = file.read(&mut buffer)?;
        match buffer.get(..read) {
            None | Some([]) => return Ok((*hasher.finalize().as_bytes(), bytes)),
            Some(part) => hasher.update(part),
        };
        bytes += read as u64;
    }
}

fn check_content(file: &SealedFile, hash: &Hash, bytes: u64, report: &mut VerifyReport) {
    report.files += 1;
    report.file_bytes += bytes;
    if blake3_text(hash) != file.content_hash {
        report.add(
            Finding::new(
                Code::ContentMismatch,
                format!("is {}, its receipt says {}", blake3_text(hash), file.content_hash),
            )
            .seq(file.seq)
            .path(&file.path),
        );
    }
    if let Some(want) = file.content_bytes.filter(|want| *want != bytes) {
        report.add(
            Finding::new(Code::SizeMismatch, format!("has {bytes} bytes, its receipt says {want}"))
                .seq(file.seq)
                .path(&file.path),
        );
    }
}

#[derive(Debug)]
struct TreeSink {
    scope: RecordScope,
    builder: Option<RecordTreeBuilder>,
    redacted: u64,
}

impl RecordSink for TreeSink {
    fn begin(&mut self, hour_key: Hash) {
        self.builder = Some(RecordTreeBuilder::new(self.scope.clone(), hour_key));
    }

    fn record(&mut self, record: &[u8]) {
        if let Some(builder) = &mut self.builder {
            builder.push(record);
        }
    }

    fn redacted(&mut self, leaf: Hash) {
        self.redacted += 1;
        if let Some(builder) = &mut self.builder {
            builder.push_leaf(leaf);
        }
    }
}

fn check_records(
    path: &Path,
    file: &SealedFile,
    reader: &mut dyn RecordReader,
    required: bool,
    report: &mut VerifyReport,
) {
    let part = |p: &Option<String>| p.clone().unwrap_or_default();
    let scope = RecordScope::new(part(&file.leaf), part(&file.stream), part(&file.hour));
    let mut sink = TreeSink { scope, builder: None, redacted: 0 };
    let unreadable = |reason: String| Finding::new(Code::RecordsUnreadable, reason);
    let outcome = match (reader.read(path, file, &mut sink), sink.builder) {
        (Ok(RecordsRead::Tree { count, root, redacted }), _) => Ok((count, root, redacted)),
        (Ok(RecordsRead::Streamed), Some(builder)) => {
            let tree = builder.finish();
            Ok((tree.count, tree.root, sink.redacted))
        }
        (Ok(RecordsRead::Streamed), None) => Err(unreadable("holds no hour key".to_owned())),
        (Ok(RecordsRead::Unknown), _) if required => {
            Err(Finding::new(Code::RecordsNotChecked, "no decoder for this kind of file"))
        }
        (Ok(RecordsRead::Unknown), _) => return,
        (Err(reason), _) => Err(unreadable(reason)),
    };
    let finding = match outcome {
        Ok((count, root, redacted)) => {
            // A leaf hash says where a record was; it is no record that was checked.
            report.records += count.saturating_sub(redacted);
            let same = Some(count) == file.record_count && Some(root) == file.record_root;
            let detail = match (same, redacted == file.redacted) {
                (true, true) => return,
                (true, false) => {
                    format!("{redacted} of its records are redacted, {} on record", file.redacted)
                }
                (false, _) => format!(
                    "its {count} records give {}, which is not the sealed root",
                    sha256_text(&root)
                ),
            };
            Finding::new(Code::RecordsMismatch, detail)
        }
        Err(finding) => finding,
    };
    report.add(finding.seq(file.seq).path(&file.path));
}

/// Files below `dir/relative`, sorted, as paths relative to `dir`.
fn walk(dir: &Path, relative: &str, depth: u32, out: &mut Vec<String>) {
    let mut names: Vec<(String, bool)> = std::fs::read_dir(dir.join(relative))
        .into_iter()
        .flatten()
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let is_dir = entry.file_type().ok()?.is_dir();
            Some((entry.file_name().into_string().ok()?, is_dir))
        })
        .collect();
    names.sort();
    for (name, is_dir) in names {
        let path = format!("{relative}/{name}");
        match is_dir {
            true if depth > 0 => walk(dir, &path, depth - 1, out),
            true => {}
            false => out.push(path),
        }
    }
}
