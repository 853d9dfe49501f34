//! `hour-HH.jsonl.gz`: one JSON object per line, by time, then stream, then arrival.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use obs_disk::Disk;
use obs_proof::Hash;
use obs_types::{LabelSet, LogEntry, TimestampNs};

use crate::gzip::{Member, append_member, member_bytes, read_member, read_members};
use crate::log_line::{Level, decode, encode, service_of};
use crate::parquet_file::Effort;
use crate::records::hex;
use crate::seal::LogsSummary;
use crate::{ArchiveError, SealName};

/// Without and with redacted records.
pub(crate) const FORMATS: [&str; 2] = ["vmobs-logs/1", "vmobs-logs/2"];
/// What stands for a line whose content was removed: this, the leaf hash in hex, and [`GONE_END`].
const GONE_BEGIN: &str = "{\"redacted\":\"sha256:";
const GONE_END: &str = "\"}";

/// The comment of the first member: `vmobs-logs/1 hour=2025-12-06T14 revision=0 hour_key=<hex>`,
/// or `vmobs-logs/2 … redacted=3`.
pub(crate) fn comment(name: SealName, hour_key: &str, redacted: u64) -> String {
    let [whole, with_redacted] = FORMATS;
    let (hour, revision) = (name.hour, name.revision);
    match redacted {
        0 => format!("{whole} hour={hour} revision={revision} hour_key={hour_key}"),
        n => format!(
            "{with_redacted} hour={hour} revision={revision} hour_key={hour_key} redacted={n}"
        ),
    }
}

/// One line of a sealed file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Line<'a> {
    Record(&'a str),
    /// The leaf hash of a line that is gone.
    Redacted(Hash),
}

impl<'a> Line<'a> {
    /// In a file that has redacted lines; in others every line is a record.
    fn read(text: &'a str) -> Self {
        text.strip_prefix(GONE_BEGIN)
            .and_then(|rest| rest.strip_suffix(GONE_END))
            .and_then(|hash| obs_proof::hash::hash_from_text("leaf hash", "", hash).ok())
            .map_or(Self::Record(text), Self::Redacted)
    }
}

/// Takes entries in canonical order.
pub(crate) struct LogsWriter {
    path: String,
    comment: Option<String>,
    out: Vec<u8>,
    raw: Vec<u8>,
    effort: Effort,
    /// First and last time in the member.
    times: Option<(i64, i64)>,
    last: i64,
    lines: u32,
    /// Lines per service at the time of the last entry, for unique ids.
    repeats: BTreeMap<String, u64>,
    summary: LogsSummary,
}

impl LogsWriter {
    pub(crate) fn new(path: &str, comment: String, effort: Effort) -> Self {
        Self {
            path: path.to_owned(),
            comment: Some(comment),
            out: Vec::new(),
            raw: Vec::new(),
            effort,
            times: None,
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
        self.last = time;
        Level::of(stream, entry).count_in(&mut self.summary.log_counts);
        if let Err(at) = self.summary.services_reporting.binary_search(&service) {
            self.summary.services_reporting.insert(at, service);
        }
        self.push_text(&line, Some(time))?;
        Ok(line)
    }

    /// A line as it is in another file, at that time.
    pub(crate) fn push_line(&mut self, line: &str, time: TimestampNs) -> Result<(), ArchiveError> {
        self.push_text(line, Some(time.0))
    }

    /// What is left of a line without its content.
    pub(crate) fn push_redacted(&mut self, leaf: &Hash) -> Result<(), ArchiveError> {
        self.push_text(&format!("{GONE_BEGIN}{}{GONE_END}", hex(leaf)), None)
    }

    fn push_text(&mut self, line: &str, time: Option<i64>) -> Result<(), ArchiveError> {
        if let Some(time) = time {
            self.times = Some((self.times.map_or(time, |(first, _last)| first), time));
        }
        self.lines += 1;
        self.raw.extend_from_slice(line.as_bytes());
        self.raw.push(b'\n');
        if self.raw.len() >= member_bytes(self.effort) {
            self.close_member()?;
        }
        Ok(())
    }

    fn close_member(&mut self) -> Result<(), ArchiveError> {
        let comment = self.comment.take();
        // Nothing of a member whose lines are all gone lies in any range.
        let none = if self.lines == 0 { (0, 0) } else { (i64::MAX, i64::MIN) };
        let (first, last) = self.times.take().unwrap_or(none);
        let times = (first, last, self.lines);
        append_member(&mut self.out, &self.raw, times, comment.as_deref(), self.effort)
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
    /// Lines without their content; what the file says of itself.
    redacted: u64,
}

impl LogsFile {
    pub(crate) fn open(
        disk: &Arc<dyn Disk>,
        full_path: PathBuf,
        path: &str,
    ) -> Result<Self, ArchiveError> {
        let (members, comment) = read_members(disk.as_ref(), &full_path, path)?;
        let mut words = comment.split(' ');
        let [whole, with_redacted] = FORMATS;
        let format = words.next().unwrap_or("none");
        if format != whole && format != with_redacted {
            return Err(ArchiveError::UnknownFormat {
                path: path.to_owned(),
                found: format.to_owned(),
                supported: with_redacted,
            });
        }
        let word = |name: &str| {
            let missing = || ArchiveError::corrupt(path, format!("the comment has no {name}"));
            comment.split(' ').find_map(|w| w.strip_prefix(name)).ok_or_else(missing)
        };
        let hour_key = word("hour_key=")?.to_owned();
        let redacted = match format == with_redacted {
            true => word("redacted=")?.parse().map_err(|e| ArchiveError::corrupt(path, e))?,
            false => 0,
        };
        let disk = Arc::clone(disk);
        Ok(Self { path: path.to_owned(), full_path, disk, members, hour_key, redacted })
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

    /// Lines of which the leaf hash alone is left.
    pub(crate) fn redacted(&self) -> u64 {
        self.redacted
    }

    /// The lines of a text that [`LogsFile::member_text`] gave.
    pub(crate) fn lines<'a>(&self, text: &'a str) -> impl Iterator<Item = Line<'a>> + use<'a> {
        let whole = self.redacted == 0;
        text.lines().map(move |line| if whole { Line::Record(line) } else { Line::read(line) })
    }

    /// The entries of one member in file order, each with the number of its line in the member;
    /// lines that are redacted are left out.
    pub(crate) fn entries(
        &self,
        member: &Member,
    ) -> Result<Vec<(u64, LabelSet, LogEntry)>, ArchiveError> {
        let text = self.member_text(member)?;
        let mut entries = Vec::new();
        let mut count = 0;
        for line in self.lines(&text) {
            if let Line::Record(line) = line {
                let (stream, entry) = self.decode(member, count, line)?;
                entries.push((count, stream, entry));
            }
            count += 1;
        }
        if count != u64::from(member.lines) {
            return Err(ArchiveError::corrupt(
                &self.path,
                format!("{count} lines where {} were written", member.lines),
            ));
        }
        Ok(entries)
    }

    /// Line `number` of a member, from 0.
    pub(crate) fn decode(
        &self,
        member: &Member,
        number: u64,
        line: &str,
    ) -> Result<(LabelSet, LogEntry), ArchiveError> {
        decode(line).map_err(|e| {
            let place = format!("line {} of the gzip member at byte {}", number + 1, member.offset);
            ArchiveError::corrupt(&self.path, format!("{place}: {e}"))
        })
    }
}

impl Member {
    /// Whether a line of this member can lie in `[start, end)`.
    pub(crate) fn overlaps(&self, start: TimestampNs, end: TimestampNs) -> bool {
        self.lines > 0 && self.first < end.0 && start.0 <= self.last
    }
}
