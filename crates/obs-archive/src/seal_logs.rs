//! Collects one hour of logs in canonical order, a minute at a time.

use std::collections::BTreeMap;

use obs_types::{
    Direction, LabelSet, LogEntry, LogSelect, LogSource, QueryContext, SourceError, TimeRangeNs,
    TimestampNs,
};

use crate::archive::{Archive, Built};
use crate::log_line::Level;
use crate::logs_file::{LogsFile, LogsWriter, comment};
use crate::parquet_file::Effort;
use crate::records::RecordTree;
use crate::seal::SealDetails;
use crate::{ArchiveError, SealName};

/// Time is the first key of the order, so minutes can be collected one after the other and only
/// one of them is held.
const SLICE_NS: i64 = 60_000_000_000;

pub(crate) fn build(
    archive: &Archive,
    name: SealName,
    source: &dyn LogSource,
) -> Result<Built, ArchiveError> {
    let mut earlier = Vec::new();
    for revision in archive.earlier(name) {
        earlier.push(archive.open_logs(revision)?);
    }
    let key = archive.hour_key(name);
    let mut records = RecordTree::new(&key, name);
    let text = comment(name, &key.text(), 0);
    let mut writer = LogsWriter::new(&name.storage_path(), text, Effort::Standard);
    let hour = name.hour.range_ns();
    let mut start = hour.start;
    while start < hour.end {
        let end = TimestampNs(start.0.saturating_add(SLICE_NS)).min(hour.end);
        let slice = TimeRangeNs::new(start, end);
        let mut entries = collect(source, slice).map_err(|source| ArchiveError::Source {
            signal: name.signal,
            hour: name.hour,
            source,
        })?;
        if !earlier.is_empty() {
            subtract(&mut entries, &earlier, slice)?;
        }
        for (stream, entry) in &entries {
            records.push(writer.push(stream, entry)?.as_bytes());
        }
        start = end;
    }
    let (records, tree) = records.finish();
    let (bytes, summary) = writer.finish()?;
    Ok(Built { bytes, tree, records, details: SealDetails::Logs(summary) })
}

/// The lines of level error and above in some files of the hour, in canonical order.
pub(crate) fn extract(
    archive: &Archive,
    name: SealName,
    files: &[SealName],
) -> Result<Built, ArchiveError> {
    let mut entries = Vec::new();
    for file in files {
        let file = archive.open_logs(*file)?;
        for member in file.members() {
            let kept = file.entries(member)?.into_iter().map(|(_line, s, e)| (s, e));
            entries.extend(kept.filter(|(s, e)| Level::of(s, e).is_error()));
        }
    }
    sort(&mut entries);
    let key = archive.hour_key(name);
    let mut records = RecordTree::new(&key, name);
    let text = comment(name, &key.text(), 0);
    let mut writer = LogsWriter::new(&name.storage_path(), text, Effort::Standard);
    for (stream, entry) in &entries {
        records.push(writer.push(stream, entry)?.as_bytes());
    }
    let (records, tree) = records.finish();
    let (bytes, summary) = writer.finish()?;
    Ok(Built { bytes, tree, records, details: SealDetails::Logs(summary) })
}

/// By time, then stream; what is equal in both stays in order of arrival.
fn collect(
    source: &dyn LogSource,
    range: TimeRangeNs,
) -> Result<Vec<(LabelSet, LogEntry)>, SourceError> {
    let select = LogSelect {
        matchers: &[],
        range,
        line_contains: &[],
        metadata_equals: &[],
        direction: Direction::Forward,
        limit: None,
    };
    let mut entries = Vec::new();
    for run in source.select(&select, &QueryContext::unlimited())? {
        let run = run?;
        let inside = run.entries.into_iter().filter(|e| range.contains(e.timestamp));
        entries.extend(inside.map(|e| (run.labels.clone(), e)));
    }
    sort(&mut entries);
    Ok(entries)
}

fn sort(entries: &mut [(LabelSet, LogEntry)]) {
    entries.sort_by(|(a_stream, a), (b_stream, b)| {
        a.timestamp.cmp(&b.timestamp).then_with(|| a_stream.cmp(b_stream))
    });
}

/// Removes as many copies of each entry as are sealed already.
fn subtract(
    entries: &mut Vec<(LabelSet, LogEntry)>,
    earlier: &[std::sync::Arc<LogsFile>],
    range: TimeRangeNs,
) -> Result<(), ArchiveError> {
    let key = |stream: &LabelSet, e: &LogEntry| {
        (e.timestamp, stream.clone(), e.line.clone(), e.metadata.clone())
    };
    let mut sealed: BTreeMap<_, u64> = BTreeMap::new();
    for file in earlier {
        for member in file.members().iter().filter(|m| m.overlaps(range.start, range.end)) {
            for (_line, stream, entry) in file.entries(member)? {
                if range.contains(entry.timestamp) {
                    *sealed.entry(key(&stream, &entry)).or_insert(0) += 1;
                }
            }
        }
    }
    entries.retain(|(stream, entry)| match sealed.get_mut(&key(stream, entry)) {
        Some(copies) if *copies > 0 => {
            *copies -= 1;
            false
        }
        _ => true,
    });
    Ok(())
}
