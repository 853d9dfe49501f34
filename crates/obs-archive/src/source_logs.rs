//! Sealed logs as a [`LogSource`]: members outside the range are skipped by their headers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use obs_types::{
    Direction, LabelSet, LogEntry, LogSelect, LogSource, LogStats, LogStream, Matcher,
    QueryContext, SourceError, TimeRangeNs, TimestampNs, matches_all,
};

use crate::archive::Archive;
use crate::gzip::Member;
use crate::logs_file::LogsFile;
use crate::{Hour, SealName, Signal};

impl Archive {
    fn log_names(&self, range: TimeRangeNs) -> Vec<SealName> {
        if range.is_empty() {
            return Vec::new();
        }
        let from = Hour::containing_ns(range.start);
        let to = Hour::containing_ns(TimestampNs(range.end.0.saturating_sub(1)));
        self.names_between(Signal::Logs, from, to)
    }

    /// Calls `each` with every entry in the range, in file order.
    fn each_entry(
        &self,
        range: TimeRangeNs,
        context: &QueryContext,
        each: &mut dyn FnMut(LabelSet, LogEntry),
    ) -> Result<(), SourceError> {
        for name in self.log_names(range) {
            let Some(file) = self.or_skip(context, name, self.open_logs(name)) else { continue };
            for member in file.members().iter().filter(|m| m.overlaps(range.start, range.end)) {
                context.check()?;
                let Some(entries) = self.or_skip(context, name, file.entries(member)) else {
                    continue;
                };
                for (_line, stream, entry) in entries {
                    if range.contains(entry.timestamp) {
                        each(stream, entry);
                    }
                }
            }
        }
        Ok(())
    }
}

impl LogSource for Archive {
    fn select<'a>(
        &'a self,
        select: &LogSelect<'_>,
        context: &QueryContext,
    ) -> Result<Box<dyn Iterator<Item = Result<LogStream, SourceError>> + Send + 'a>, SourceError>
    {
        let mut names = self.log_names(select.range);
        if select.direction == Direction::Backward {
            // Hours backwards, revisions of one hour still in order.
            names.sort_by_key(|n| (std::cmp::Reverse(n.hour), n.revision));
        }
        Ok(Box::new(Runs {
            archive: self,
            names: names.into_iter(),
            members: Vec::new().into_iter(),
            file: None,
            ready: Vec::new().into_iter(),
            matchers: select.matchers.to_vec(),
            range: select.range,
            line_contains: select.line_contains.to_vec(),
            metadata_equals: select.metadata_equals.to_vec(),
            direction: select.direction,
            limit: select.limit,
            taken: 0,
            context: context.clone(),
        }))
    }

    fn streams(
        &self,
        matcher_sets: &[Vec<Matcher>],
        range: TimeRangeNs,
        context: &QueryContext,
    ) -> Result<Vec<LabelSet>, SourceError> {
        let mut streams = BTreeSet::new();
        self.each_entry(range, context, &mut |stream, _| {
            let wanted =
                matcher_sets.is_empty() || matcher_sets.iter().any(|set| matches_all(set, &stream));
            if wanted {
                streams.insert(stream);
            }
        })?;
        Ok(streams.into_iter().collect())
    }

    fn stats(
        &self,
        matchers: &[Matcher],
        range: TimeRangeNs,
        context: &QueryContext,
    ) -> Result<LogStats, SourceError> {
        let mut stats = LogStats::default();
        let mut streams = BTreeSet::new();
        self.each_entry(range, context, &mut |stream, entry| {
            if matches_all(matchers, &stream) {
                stats.entries += 1;
                stats.bytes += entry.line.len() as u64;
                streams.insert(stream);
            }
        })?;
        stats.streams = streams.len() as u64;
        for name in self.log_names(range) {
            if let Some(file) = self.or_skip(context, name, self.open_logs(name)) {
                stats.chunks +=
                    file.members().iter().filter(|m| m.overlaps(range.start, range.end)).count()
                        as u64;
            }
        }
        Ok(stats)
    }
}

/// Members one after the other; a member gives one run per stream.
struct Runs<'a> {
    archive: &'a Archive,
    names: std::vec::IntoIter<SealName>,
    members: std::vec::IntoIter<Member>,
    file: Option<(SealName, Arc<LogsFile>)>,
    ready: std::vec::IntoIter<LogStream>,
    matchers: Vec<Matcher>,
    range: TimeRangeNs,
    line_contains: Vec<String>,
    metadata_equals: Vec<(String, String)>,
    direction: Direction,
    limit: Option<usize>,
    taken: usize,
    context: QueryContext,
}

impl Runs<'_> {
    fn wanted(&self, stream: &LabelSet, entry: &LogEntry) -> bool {
        self.range.contains(entry.timestamp)
            && matches_all(&self.matchers, stream)
            && self.line_contains.iter().all(|text| entry.line.contains(text.as_str()))
            && self
                .metadata_equals
                .iter()
                .all(|(name, value)| entry.metadata.get(name) == Some(value.as_str()))
    }

    /// The next file's members; false when there is no further file to look into.
    fn next_file(&mut self) -> bool {
        let Some(name) = self.names.next() else { return false };
        // Files of one hour may interleave in time, so a limit can stop only between hours.
        let hour_changes = self.file.as_ref().is_some_and(|(last, _)| last.hour != name.hour);
        if hour_changes && self.limit.is_some_and(|limit| self.taken >= limit) {
            return false;
        }
        if let Some(file) = self.archive.or_skip(&self.context, name, self.archive.open_logs(name))
        {
            let mut members: Vec<Member> = file
                .members()
                .iter()
                .filter(|m| m.overlaps(self.range.start, self.range.end))
                .copied()
                .collect();
            if self.direction == Direction::Backward {
                members.reverse();
            }
            self.members = members.into_iter();
            self.file = Some((name, file));
        }
        true
    }

    fn read(&mut self, member: &Member) -> Vec<LogStream> {
        let Some((name, file)) = &self.file else { return Vec::new() };
        let Some(entries) = self.archive.or_skip(&self.context, *name, file.entries(member)) else {
            return Vec::new();
        };
        let mut runs: BTreeMap<LabelSet, Vec<LogEntry>> = BTreeMap::new();
        for (_line, stream, entry) in entries {
            if self.wanted(&stream, &entry) {
                self.taken += 1;
                runs.entry(stream).or_default().push(entry);
            }
        }
        runs.into_iter().map(|(labels, entries)| LogStream { labels, entries }).collect()
    }
}

impl Iterator for Runs<'_> {
    type Item = Result<LogStream, SourceError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(run) = self.ready.next() {
                return Some(Ok(run));
            }
            if let Err(e) = self.context.check() {
                self.names = Vec::new().into_iter();
                self.members = Vec::new().into_iter();
                return Some(Err(e));
            }
            match self.members.next() {
                Some(member) => self.ready = self.read(&member).into_iter(),
                None if self.next_file() => {}
                None => return None,
            }
        }
    }
}
