//! One record of a sealed hour with its path to the root in the hour's receipt.
//!
//! 1. The record's number in the file is found. 2. The leaves of its run of 256 are hashed anew
//!    from the file. 3. The side file has the roots of all runs, from which the rest of the path
//!    follows; where it is missing or of other bytes, the whole tree is computed again.
//!
//! The receipt and the checkpoint are the ledger's: `obs_proof::vmproof::VmProof::new` joins both.

use std::ops::Range;
use std::sync::Arc;

use obs_proof::Hash;
use obs_proof::record::{RecordScope, RecordTree, RecordTreeBuilder, salt};
use obs_proof::vmproof::ProvenRecord;
use obs_types::{LabelSet, LogEntry, SpanId, TimestampNs, TraceId};

use crate::logs_file::{Line, LogsFile};
use crate::metrics_read::MetricsFile;
use crate::parquet_file::KEY_HOUR_KEY;
use crate::records::{leaf_kind, series_leaf, span_leaf};
use crate::redactions::Redactions;
use crate::traces_file::TracesFile;
use crate::{Archive, ArchiveError, Hour, SealName, Signal};

/// A record and the sealed file that holds it; that file's path names its receipt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealedRecord {
    pub name: SealName,
    pub proven: ProvenRecord,
}

impl Archive {
    /// The first line at that instant for which `is_it` says yes, by revision, then file order.
    /// `None` if there is none in the sealed hour, or the hour is not sealed.
    pub fn prove_log(
        &self,
        at: TimestampNs,
        is_it: &mut dyn FnMut(&LabelSet, &LogEntry) -> bool,
    ) -> Result<Option<SealedRecord>, ArchiveError> {
        let hour = Hour::containing_ns(at);
        for name in
            self.names_between(Signal::Logs, hour, hour).into_iter().filter(|_| hour.is_some())
        {
            let file = self.open_logs(name)?;
            let mut first = 0_u64;
            let until = TimestampNs(at.0.saturating_add(1));
            for member in file.members() {
                if member.overlaps(at, until) {
                    for (line, stream, entry) in &file.entries(member)? {
                        if entry.timestamp == at && is_it(stream, entry) {
                            return self.prove(name, first + line).map(Some);
                        }
                    }
                }
                first += u64::from(member.lines);
            }
        }
        Ok(None)
    }

    /// All samples of one series in one sealed hour; `labels` with the metric's name. Late data
    /// is in a revision of its own: `revision` says which (0 is the hour's seal).
    pub fn prove_series(
        &self,
        hour: Hour,
        revision: u32,
        labels: &LabelSet,
    ) -> Result<Option<SealedRecord>, ArchiveError> {
        let name = SealName::new(Signal::Metrics, hour, revision);
        if !self.sealed(Signal::Metrics).contains(&name) {
            return Ok(None);
        }
        let file = self.open_metrics(name)?;
        let row = file.series().iter().position(|s| s.labels == *labels);
        let redactions = file.reader().redactions();
        row.map(|row| self.prove(name, redactions.record_in(row as u64))).transpose()
    }

    /// One span, in whichever sealed hour it ended; looks at every hour unless one is given.
    pub fn prove_span(
        &self,
        hour: Option<Hour>,
        trace: TraceId,
        span: SpanId,
    ) -> Result<Option<SealedRecord>, ArchiveError> {
        for name in self.names_between(Signal::Traces, hour, hour) {
            let file = self.open_traces(name)?;
            let Some(found) = file.find(trace) else { continue };
            let before = rows_before(&file, name, trace)?;
            for (i, record) in file.read(Some(&[found]))?.enumerate() {
                if record?.span.span_id == span {
                    let record = file.reader().redactions().record_in(before + i as u64);
                    return self.prove(name, record).map(Some);
                }
            }
        }
        Ok(None)
    }

    /// Record `index` of a sealed file, from 0 in file order. `Err(Corrupt)` if there is none.
    pub fn prove(&self, name: SealName, index: u64) -> Result<SealedRecord, ArchiveError> {
        let path = name.storage_path();
        let corrupt = |e: obs_proof::ProofError| ArchiveError::corrupt(&path, e);
        let file = self.sealed_file(name)?;
        let hour_key =
            obs_proof::hash::hash_from_text("hour key", "", &file.hour_key()?).map_err(corrupt)?;
        let scope =
            RecordScope::new(leaf_kind(name.signal), name.signal.as_str(), name.hour.end_text());
        let tree = match self.side_file(name) {
            Some(tree) => tree,
            None => file.tree(&scope, hour_key)?,
        };
        let range = tree.block_range(index).map_err(corrupt)?;
        let records = file.records(range.clone())?;
        let leaves = range.clone().zip(&records).map(|(i, record)| match record {
            Stored::Record(bytes) => scope.leaf(&salt(&hour_key, i), bytes),
            Stored::Redacted(leaf) => *leaf,
        });
        let block: Vec<Hash> = leaves.collect();
        let proof = match tree.prove(index, &hour_key, &block) {
            Ok(proof) => proof,
            // A side file of other records is as good as none.
            Err(_) => {
                file.tree(&scope, hour_key)?.prove(index, &hour_key, &block).map_err(corrupt)?
            }
        };
        let at = usize::try_from(index - range.start).unwrap_or(usize::MAX);
        match records.into_iter().nth(at) {
            Some(Stored::Record(record)) => {
                Ok(SealedRecord { name, proven: ProvenRecord { scope, proof, record } })
            }
            Some(Stored::Redacted(_leaf)) => Err(ArchiveError::Redacted { path, index }),
            None => Err(ArchiveError::corrupt(&path, format!("record {index} is missing"))),
        }
    }

    fn side_file(&self, name: SealName) -> Option<RecordTree> {
        let bytes = self.disk.read(&self.data_dir.join(name.tree_path())).ok()?;
        RecordTree::from_sidecar(&bytes).ok()
    }

    fn sealed_file(&self, name: SealName) -> Result<SealedFile, ArchiveError> {
        Ok(match name.signal {
            Signal::Metrics => SealedFile::Metrics(self.open_metrics(name)?, name),
            Signal::Logs => SealedFile::Logs(self.open_logs(name)?),
            Signal::Traces => SealedFile::Traces(self.open_traces(name)?, name),
        })
    }
}

/// A record as the file has it.
enum Stored {
    /// The bytes of its leaf.
    Record(Vec<u8>),
    /// Its content was removed.
    Redacted(Hash),
}

/// The records of any sealed file by number.
enum SealedFile {
    Metrics(Arc<MetricsFile>, SealName),
    Logs(Arc<LogsFile>),
    Traces(Arc<TracesFile>, SealName),
}

impl SealedFile {
    fn hour_key(&self) -> Result<String, ArchiveError> {
        match self {
            Self::Metrics(file, _) => file.reader().key(KEY_HOUR_KEY).map(str::to_owned),
            Self::Logs(file) => Ok(file.hour_key().to_owned()),
            Self::Traces(file, _) => file.reader().key(KEY_HOUR_KEY).map(str::to_owned),
        }
    }

    fn count(&self) -> u64 {
        let gone = self.redactions().map_or(0, Redactions::len);
        gone + match self {
            Self::Metrics(file, _) => file.series().len() as u64,
            Self::Logs(file) => file.members().iter().map(|m| u64::from(m.lines)).sum(),
            Self::Traces(file, _) => file.reader().row_count() as u64,
        }
    }

    /// Of a Parquet file; a line that is gone has its place among the others.
    fn redactions(&self) -> Option<&Redactions> {
        match self {
            Self::Metrics(file, _) => Some(file.reader().redactions()),
            Self::Logs(_) => None,
            Self::Traces(file, _) => Some(file.reader().redactions()),
        }
    }

    /// The records in `range`; fewer if the file ends before.
    fn records(&self, range: Range<u64>) -> Result<Vec<Stored>, ArchiveError> {
        let range = range.start..range.end.min(self.count());
        let Some(redactions) = self.redactions() else { return self.lines(range) };
        let rows = redactions.rows_before(range.start)..redactions.rows_before(range.end);
        let mut rows = self.rows(rows)?.into_iter();
        let stored = range.filter_map(|record| match redactions.leaf(record) {
            Some(leaf) => Some(Stored::Redacted(leaf)),
            None => rows.next().map(Stored::Record),
        });
        Ok(stored.collect())
    }

    fn lines(&self, range: Range<u64>) -> Result<Vec<Stored>, ArchiveError> {
        let Self::Logs(file) = self else { return Ok(Vec::new()) };
        let mut out = Vec::new();
        let mut first = 0_u64;
        for member in file.members() {
            let lines = u64::from(member.lines);
            if first < range.end && first + lines > range.start {
                for (i, line) in file.lines(&file.member_text(member)?).enumerate() {
                    if range.contains(&(first + i as u64)) {
                        out.push(match line {
                            Line::Record(text) => Stored::Record(text.as_bytes().to_vec()),
                            Line::Redacted(leaf) => Stored::Redacted(leaf),
                        });
                    }
                }
            }
            first += lines;
        }
        Ok(out)
    }

    /// The leaves' bytes of some rows of a Parquet file.
    fn rows(&self, range: Range<u64>) -> Result<Vec<Vec<u8>>, ArchiveError> {
        let mut out = Vec::new();
        match self {
            Self::Metrics(file, name) => {
                let chosen = (range.start as usize..range.end as usize).collect();
                for series in file.read(chosen, name.hour.range_ms())? {
                    out.push(series_leaf(&series?));
                }
            }
            Self::Logs(_) => {}
            Self::Traces(file, name) => {
                let (traces, before) = traces_around(file, *name, &range)?;
                let path = name.storage_path();
                for (i, record) in file.read(Some(&traces))?.enumerate() {
                    if range.contains(&(before + i as u64)) {
                        out.push(span_leaf(&path, &record?)?);
                    }
                }
            }
        }
        Ok(out)
    }

    /// The whole tree, 4,096 records at a time.
    fn tree(&self, scope: &RecordScope, hour_key: Hash) -> Result<RecordTree, ArchiveError> {
        const STEP: u64 = 4_096;
        let mut builder = RecordTreeBuilder::new(scope.clone(), hour_key);
        let count = self.count();
        let mut at = 0;
        while at < count {
            for record in self.records(at..(at + STEP).min(count))? {
                match record {
                    Stored::Record(bytes) => builder.push(&bytes),
                    Stored::Redacted(leaf) => builder.push_leaf(leaf),
                }
            }
            at += STEP;
        }
        Ok(builder.finish())
    }
}

/// Spans of each trace in file order.
fn trace_rows(file: &TracesFile, name: SealName) -> Result<Vec<u64>, ArchiveError> {
    let text = file.reader().key(crate::traces_file::KEY_TRACE_ROWS)?;
    text.split(',')
        .filter(|part| !part.is_empty())
        .map(|part| part.parse().map_err(|e| ArchiveError::corrupt(&name.storage_path(), e)))
        .collect()
}

fn rows_before(file: &TracesFile, name: SealName, trace: TraceId) -> Result<u64, ArchiveError> {
    let rows = trace_rows(file, name)?;
    Ok(file.traces().iter().zip(rows).take_while(|(t, _)| t.id < trace).map(|(_, n)| n).sum())
}

/// The traces with a span in `range`, and how many spans lie before the first of them.
fn traces_around(
    file: &TracesFile,
    name: SealName,
    range: &Range<u64>,
) -> Result<(Vec<crate::traces_file::IndexedTrace>, u64), ArchiveError> {
    let (mut at, mut before, mut out) = (0_u64, 0_u64, Vec::new());
    for (trace, rows) in file.traces().iter().zip(trace_rows(file, name)?) {
        if at < range.end && at + rows > range.start {
            if out.is_empty() {
                before = at;
            }
            out.push(*trace);
        }
        at += rows;
    }
    Ok((out, before))
}

#[cfg(test)]
mod tests;
