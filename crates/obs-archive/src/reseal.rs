//! A sealed hour in another file, with the same record tree.
//!
//! 1. The records are read in their order and written anew: fewer bytes, or some without their
//!    content, of which the leaf hash stays. 2. The tree is computed on the way from the old file's
//!    key, so that every proof made before leads to the same root. 3. The new file is written
//!    durably, as the hour's next revision, and its tree is computed once more from what was
//!    written. Queries go on reading the old file until [`Archive::replace`].

use obs_types::{ContentHash, LabelSet, LogEntry, MetricKind, SpanRecord};

use crate::archive::Archive;
use crate::logs_file::{Line, LogsWriter, comment};
use crate::metrics_read::FamilyJson;
use crate::metrics_write::{KEY_METADATA, MetricsWriter, kind_of};
use crate::parquet_file::{Effort, KEY_HOUR_KEY};
use crate::records::{HourKey, RecordTree, seal_metadata, series_leaf, span_leaf};
use crate::redactions::Redactions;
use crate::seal::Records;
use crate::traces_file::TracesWriter;
use crate::{ArchiveError, SealName, Signal};

/// A record that may lose its content.
#[derive(Clone, Copy, Debug)]
pub enum SealedItem<'a> {
    /// All samples of one series in the hour.
    Series(&'a LabelSet),
    Line(&'a LabelSet, &'a LogEntry),
    Span(&'a SpanRecord),
}

/// A file that can take the place of another.
#[derive(Clone, Debug)]
pub struct Resealed {
    pub name: SealName,
    pub replaces: SealName,
    pub content_hash: ContentHash,
    pub content_bytes: u64,
    /// Those of the file that it replaces.
    pub records: Records,
    /// Records without their content, and how many of them had it before.
    pub redacted: u64,
    pub redacted_now: u64,
}

/// The new bytes and what they hold.
struct Rewritten {
    bytes: Vec<u8>,
    tree: Vec<u8>,
    records: Records,
    redacted: u64,
    redacted_now: u64,
}

type Choose<'a> = &'a mut dyn FnMut(SealedItem<'_>) -> bool;

impl Archive {
    /// Writes the file without the content of the records for which `redact` says yes. `None` if
    /// there are none.
    pub fn redact(
        &self,
        name: SealName,
        redact: Choose<'_>,
    ) -> Result<Option<Resealed>, ArchiveError> {
        let new = self.next_name(name)?;
        let rewritten = self.rewrite(name, new, Effort::Standard, redact)?;
        match rewritten.redacted_now {
            0 => Ok(None),
            _ => self.write_resealed(name, new, rewritten).map(Some),
        }
    }

    /// Writes the file in fewer bytes. `None` unless that takes off at least `percent_min` of them.
    pub fn compact(
        &self,
        name: SealName,
        percent_min: u64,
    ) -> Result<Option<Resealed>, ArchiveError> {
        let new = self.next_name(name)?;
        let path = self.path_of(name);
        let before = self.disk().len(&path).map_err(|source| ArchiveError::Disk {
            action: "open",
            path,
            source,
        })?;
        let rewritten = self.rewrite(name, new, Effort::High, &mut |_item| false)?;
        let saved = before.saturating_sub(rewritten.bytes.len() as u64);
        match saved > 0 && saved.saturating_mul(100) >= before.saturating_mul(percent_min) {
            true => self.write_resealed(name, new, rewritten).map(Some),
            false => Ok(None),
        }
    }

    fn rewrite(
        &self,
        old: SealName,
        new: SealName,
        effort: Effort,
        redact: Choose<'_>,
    ) -> Result<Rewritten, ArchiveError> {
        match old.signal {
            Signal::Metrics => self.rewrite_metrics(old, new, effort, redact),
            Signal::Logs => self.rewrite_logs(old, new, effort, redact),
            Signal::Traces => self.rewrite_traces(old, new, effort, redact),
        }
    }

    fn write_resealed(
        &self,
        old: SealName,
        new: SealName,
        rewritten: Rewritten,
    ) -> Result<Resealed, ArchiveError> {
        let Rewritten { bytes, tree, records, redacted, redacted_now } = rewritten;
        let (content_hash, content_bytes) = self.write_files(new, &bytes, &tree)?;
        let resealed = Resealed {
            name: new,
            replaces: old,
            content_hash,
            content_bytes,
            records,
            redacted,
            redacted_now,
        };
        match self.verify_file(&new.storage_path()) {
            Ok(found) if (found.records, found.redacted) == (records, redacted) => Ok(resealed),
            outcome => {
                self.discard(new)?;
                let path = new.storage_path();
                Err(outcome.err().unwrap_or(ArchiveError::ReadBack { path }))
            }
        }
    }

    fn rewrite_logs(
        &self,
        old: SealName,
        new: SealName,
        effort: Effort,
        redact: Choose<'_>,
    ) -> Result<Rewritten, ArchiveError> {
        let file = self.open_logs(old)?;
        let key = HourKey::from_text(&old.storage_path(), file.hour_key())?;
        let mut tree = RecordTree::new(&key, old);
        // The comment, which says how many there are, comes first in the file.
        let mut gone: Vec<bool> = Vec::new();
        for member in file.members() {
            for (number, line) in file.lines(&file.member_text(member)?).enumerate() {
                gone.push(match line {
                    Line::Redacted(_leaf) => false,
                    Line::Record(line) => {
                        let (stream, entry) = file.decode(member, number as u64, line)?;
                        redact(SealedItem::Line(&stream, &entry))
                    }
                });
            }
        }
        let redacted_now = gone.iter().filter(|g| **g).count() as u64;
        let redacted = file.redacted() + redacted_now;
        let text = comment(new, &key.text(), redacted);
        let mut writer = LogsWriter::new(&new.storage_path(), text, effort);
        let mut gone = gone.into_iter();
        for member in file.members() {
            for (number, line) in file.lines(&file.member_text(member)?).enumerate() {
                match (line, gone.next().unwrap_or(false)) {
                    (Line::Record(line), false) => {
                        let (_stream, entry) = file.decode(member, number as u64, line)?;
                        tree.push(line.as_bytes());
                        writer.push_line(line, entry.timestamp)?;
                    }
                    (Line::Record(line), true) => {
                        let leaf = tree.leaf_of_next(line.as_bytes());
                        tree.push_leaf(leaf);
                        writer.push_redacted(&leaf)?;
                    }
                    (Line::Redacted(leaf), _) => {
                        tree.push_leaf(leaf);
                        writer.push_redacted(&leaf)?;
                    }
                }
            }
        }
        let (records, tree) = tree.finish();
        let (bytes, _summary) = writer.finish()?;
        Ok(Rewritten { bytes, tree, records, redacted, redacted_now })
    }

    fn rewrite_traces(
        &self,
        old: SealName,
        new: SealName,
        effort: Effort,
        redact: Choose<'_>,
    ) -> Result<Rewritten, ArchiveError> {
        let path = new.storage_path();
        let file = self.open_traces(old)?;
        let mut rows =
            Rows::new(old, file.reader().key(KEY_HOUR_KEY)?, file.reader().redactions())?;
        let mut writer = TracesWriter::new(&path, effort)?;
        for span in file.read(None)? {
            let span = span?;
            let goes = redact(SealedItem::Span(&span));
            if rows.push(&span_leaf(&path, &span)?, goes) {
                writer.push(&span)?;
            }
        }
        let (mut rewritten, mut metadata) = rows.finish(new);
        metadata.extend(writer.metadata());
        rewritten.bytes = writer.finish(&metadata)?;
        Ok(rewritten)
    }

    fn rewrite_metrics(
        &self,
        old: SealName,
        new: SealName,
        effort: Effort,
        redact: Choose<'_>,
    ) -> Result<Rewritten, ArchiveError> {
        let path = new.storage_path();
        let file = self.open_metrics(old)?;
        let families = file.metadata()?;
        let kinds = families.iter().map(|m| (m.family.clone(), m.kind)).collect();
        let mut rows =
            Rows::new(old, file.reader().key(KEY_HOUR_KEY)?, file.reader().redactions())?;
        let mut writer = MetricsWriter::new(&path, effort)?;
        let mut used = Vec::new();
        for series in file.read((0..file.series().len()).collect(), old.hour.range_ms())? {
            let series = series?;
            let goes = redact(SealedItem::Series(&series.labels));
            if rows.push(&series_leaf(&series), goes) {
                let metric = series.labels.metric_name();
                let kind: MetricKind = kind_of(metric, &kinds);
                writer.push(&series, kind)?;
                if used.last().is_none_or(|last| last != metric) {
                    used.push(metric.to_owned());
                }
            }
        }
        // What a family's help says belongs to its series.
        let families = families.iter().filter(|m| used.iter().any(|u| u.starts_with(&m.family)));
        let families: Vec<FamilyJson> = families
            .map(|m| FamilyJson {
                family: m.family.clone(),
                kind: m.kind.as_str().to_owned(),
                help: m.help.clone(),
                unit: m.unit.clone(),
            })
            .collect();
        let families =
            serde_json::to_string(&families).map_err(|e| ArchiveError::encode(&path, e))?;
        let (mut rewritten, mut metadata) = rows.finish(new);
        metadata.extend(writer.metadata());
        metadata.push((KEY_METADATA, families));
        rewritten.bytes = writer.finish(&metadata)?;
        Ok(rewritten)
    }
}

/// The tree and the redactions of a Parquet file that is written anew, row by row.
struct Rows<'a> {
    key: HourKey,
    tree: RecordTree,
    before: &'a Redactions,
    after: Redactions,
}

impl<'a> Rows<'a> {
    fn new(old: SealName, key: &str, before: &'a Redactions) -> Result<Self, ArchiveError> {
        let key = HourKey::from_text(&old.storage_path(), key)?;
        let tree = RecordTree::new(&key, old);
        Ok(Self { key, tree, before, after: Redactions::default() })
    }

    /// Records that lost their content earlier and come next.
    fn pass_gone(&mut self) {
        while let Some(leaf) = self.before.leaf(self.tree.count()) {
            self.gone(leaf);
        }
    }

    fn gone(&mut self, leaf: obs_proof::Hash) {
        self.after.push(self.tree.count(), leaf);
        self.tree.push_leaf(leaf);
    }

    /// The next record; whether it keeps its row.
    fn push(&mut self, record: &[u8], goes: bool) -> bool {
        self.pass_gone();
        match goes {
            true => {
                let leaf = self.tree.leaf_of_next(record);
                self.gone(leaf);
            }
            false => self.tree.push(record),
        }
        !goes
    }

    /// All but the bytes, which the metadata are part of.
    fn finish(mut self, new: SealName) -> (Rewritten, Vec<(&'static str, String)>) {
        self.pass_gone();
        let (records, tree) = self.tree.finish();
        let metadata = seal_metadata(&self.key, new, &records, &self.after);
        let redacted = self.after.len();
        let redacted_now = redacted - self.before.len();
        (Rewritten { bytes: Vec::new(), tree, records, redacted, redacted_now }, metadata)
    }
}
