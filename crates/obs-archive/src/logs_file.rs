//! `hour-HH.jsonl.gz`: one JSON object per line, by time, then stream, then arrival.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use obs_disk::Disk;
use obs_types::{LabelSet, LogEntry, TimestampNs};

use crate::gzip::{MEMBER_BYTES, Member, append_member, read_member, read_members};
use crate::log_line::{Level, decode, encode, service_of};
use crate::seal::LogsSummary;
use crate::{ArchiveError, Hour};

pub(crate) const FORMAT: &str = "vmobs-logs/1";

/// The comment of the first member: `vmobs-logs/1 hour=2025-12-06T14 revision=0 hour_key=<hex>`.
pub(crate) fn comment(hour: Hour, revision: u32, hour_key: &str) -> String {
    format!("{FORMAT} hour={hour} revision={revision} hour_key={hour_key}")
}

/// Takes entries in canonical order.
pub(crate) struct LogsWriter {
    path: String,
    comment: Option<String>,
    out: Vec<u8>,
    raw: Vec<u8>,
    first: i64,
    last: i64,
    lines: u32,
    /// Lines per service at the time of the last entry, for unique ids.
    repeats: BTreeMap<String, u64>,
    summary: LogsSummary,
}

impl LogsWriter {
    pub(crate) fn new(path: &str, comment: String) -> Self {
        Self {
            path: path.to_owned(),
            comment: Some(comment),
            out: Vec::new(),
            raw: Vec::new(),
            first: 0,
            last: 0,
            lines: 0,
            repeats: BTreeMap::new(),
            summary: LogsSummary::default(),
        }
    }

    /// Returns the line, which is the record's leaf.
    pub(crate) fn push(
        &mut self,
        stream: &LabelSet,
        entry: &LogEntry,
    ) -> Result<String, ArchiveError> {
        let time = entry.timestamp.0;
        if time != self.last {
            self.repeats.clear();
        }
        let service = service_of(stream, entry);
        let repeat = self.repeats.entry(service.clone()).or_insert(0);
        let line = encode(stream, entry, &service, *repeat);
        *repeat += 1;
        if self.lines == 0 {
            self.first = time;
        }
        self.last = time;
        self.lines += 1;
        self.raw.extend_from_slice(line.as_bytes());
        self.raw.push(b'\n');
        Level::of(stream, entry).count_in(&mut self.summary.log_counts);
        if let Err(at) = self.summary.services_reporting.binary_search(&service) {
            self.summary.services_reporting.insert(at, service);
        }
        if self.raw.len() >= MEMBER_BYTES {
            self.close_member()?;
        }
        Ok(line)
    }

    fn close_member(&mut self) -> Result<(), ArchiveError> {
        let comment = self.comment.take();
        let times = (self.first, self.last, self.lines);
        append_member(&mut self.out, &self.raw, times, comment.as_deref())
            .map_err(|e| ArchiveError::encode(&self.path, e))?;
        self.raw.clear();
        self.lines = 0;
        Ok(())
    }

    pub(crate) fn finish(mut self) -> Result<(Vec<u8>, LogsSummary), ArchiveError> {
        // An hour without lines still is a file, with one empty member.
        if self.lines > 0 || self.comment.is_some() {
            self.close_member()?;
        }
        Ok((self.out, self.summary))
    }
}

/// An open logs file: where its members lie and what times they hold.
pub(crate) struct LogsFile {
    path: String,
    full_path: PathBuf,
    disk: Arc<dyn Disk>,
    members: Vec<Member>,
    hour_key: String,
}

impl LogsFile {
    pub(crate) fn open(
        disk: &Arc<dyn Disk>,
        full_path: PathBuf,
        path: &str,
    ) -> Result<Self, ArchiveError> {
        let (members, comment) = read_members(disk.as_ref(), &full_path, path)?;
        let mut words = comment.split(' ');
        match words.next() {
            Some(FORMAT) => {}
            found => {
                return Err(ArchiveError::UnknownFormat {
                    path: path.to_owned(),
                    found: found.unwrap_or("none").to_owned(),
                    supported: FORMAT,
                });
            }
        }
        let hour_key = words
            .find_map(|w| w.strip_prefix("hour_key="))
            .ok_or_else(|| ArchiveError::corrupt(path, "the comment has no hour_key"))?
            .to_owned();
        Ok(Self { path: path.to_owned(), full_path, disk: Arc::clone(disk), members, hour_key })
    }

    /// Hex.
    pub(crate) fn hour_key(&self) -> &str {
        &self.hour_key
    }

    pub(crate) fn members(&self) -> &[Member] {
        &self.members
    }

    pub(crate) fn member_text(&self, member: &Member) -> Result<String, ArchiveError> {
        read_member(self.disk.as_ref(), &self.full_path, &self.path, member)
    }

    /// The entries of one member in file order.
    pub(crate) fn entries(
        &self,
        member: &Member,
    ) -> Result<Vec<(LabelSet, LogEntry)>, ArchiveError> {
        let text = self.member_text(member)?;
        let mut entries = Vec::new();
        for (i, line) in text.lines().enumerate() {
            entries.push(decode(line).map_err(|e| {
                ArchiveError::corrupt(
                    &self.path,
                    format!("line {} of the gzip member at byte {}: {e}", i + 1, member.offset),
                )
            })?);
        }
        if entries.len() != member.lines as usize {
            return Err(ArchiveError::corrupt(
                &self.path,
                format!("{} lines where {} were written", entries.len(), member.lines),
            ));
        }
        Ok(entries)
    }
}

impl Member {
    /// Whether a line of this member can lie in `[start, end)`.
    pub(crate) fn overlaps(&self, start: TimestampNs, end: TimestampNs) -> bool {
        self.lines > 0 && self.first < end.0 && start.0 <= self.last
    }
}
