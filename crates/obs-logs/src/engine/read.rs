//! The way out: lines, streams and counts of a range.

use std::collections::HashMap;
use std::sync::atomic::Ordering;

use obs_types::{
    LabelSet, LogSelect, LogSource, LogStats, LogStream, Matcher, QueryContext, SourceError,
    TimeRangeNs,
};

use super::{LogsEngine, State};
use crate::error::LogsError;
use crate::index::StreamId;
use crate::part::Part;
use crate::select::{Runs, Wanted, count_run, from_head};

impl LogSource for LogsEngine {
    fn select<'a>(
        &'a self,
        select: &LogSelect<'_>,
        context: &QueryContext,
    ) -> Result<Box<dyn Iterator<Item = Result<LogStream, SourceError>> + Send + 'a>, SourceError>
    {
        context.check()?;
        let wanted = Wanted::new(select);
        let state = self.read();
        let labels = Self::matching(&state, select.matchers);
        let mut memory = Vec::new();
        for head in state.heads() {
            for (id, stream) in &head.streams {
                let Some(set) = labels.get(id) else { continue };
                let entries = from_head(stream, &wanted);
                if !entries.is_empty() {
                    memory.push(LogStream { labels: set.clone(), entries });
                }
            }
        }
        let runs = Runs::new(wanted, labels, memory, &state.parts, context, &self.damaged_chunks);
        drop(state);
        Ok(Box::new(runs))
    }

    fn streams(
        &self,
        matcher_sets: &[Vec<Matcher>],
        range: TimeRangeNs,
        context: &QueryContext,
    ) -> Result<Vec<LabelSet>, SourceError> {
        let (mut ids, parts, mut found) = {
            let state = self.read();
            let mut ids: Vec<StreamId> = if matcher_sets.is_empty() {
                state.index.find(&[])
            } else {
                matcher_sets.iter().flat_map(|m| state.index.find(m)).collect()
            };
            ids.sort_unstable();
            ids.dedup();
            let mut found: Vec<LabelSet> = Vec::new();
            ids.retain(|id| {
                let there = state.heads().filter_map(|h| h.streams.get(id)).any(|s| {
                    range.start < range.end
                        && s.range((range.start.0, 0)..(range.end.0, 0)).next().is_some()
                });
                if there {
                    found.extend(state.index.labels(*id).cloned());
                }
                !there
            });
            (ids, state.parts.clone(), found)
        };
        // What is left must be found in block files; a stream is done at its first line.
        for part in parts.iter().filter(|p| p.min < range.end.0 && p.max >= range.start.0) {
            if ids.is_empty() {
                break;
            }
            context.check()?;
            let mut seen: Vec<StreamId> = Vec::new();
            self.each_run(part, range, |id, count| {
                if ids.binary_search(&id).is_ok() && count()?.0 > 0 {
                    seen.push(id);
                }
                Ok(())
            })?;
            let state = self.read();
            found.extend(seen.iter().filter_map(|id| state.index.labels(*id).cloned()));
            ids.retain(|id| !seen.contains(id));
        }
        found.sort();
        found.dedup();
        Ok(found)
    }

    fn stats(
        &self,
        matchers: &[Matcher],
        range: TimeRangeNs,
        context: &QueryContext,
    ) -> Result<LogStats, SourceError> {
        let mut stats = LogStats::default();
        let mut seen: std::collections::BTreeSet<StreamId> = std::collections::BTreeSet::new();
        let (ids, parts) = {
            let state = self.read();
            let ids = state.index.find(matchers);
            for head in state.heads() {
                for (id, stream) in &head.streams {
                    if ids.binary_search(id).is_err() || range.is_empty() {
                        continue;
                    }
                    let inside = stream.range((range.start.0, 0)..(range.end.0, 0));
                    let (mut entries, mut bytes) = (0, 0);
                    for (_, entry) in inside {
                        entries += 1;
                        bytes += entry.line.len() as u64;
                    }
                    if entries > 0 {
                        seen.insert(*id);
                        stats.chunks += 1;
                        stats.entries += entries;
                        stats.bytes += bytes;
                    }
                }
            }
            (ids, state.parts.clone())
        };
        for part in parts.iter().filter(|p| p.min < range.end.0 && p.max >= range.start.0) {
            context.check()?;
            self.each_run(part, range, |id, count| {
                if ids.binary_search(&id).is_ok() {
                    let (entries, bytes) = count()?;
                    if entries > 0 {
                        seen.insert(id);
                        stats.chunks += 1;
                        stats.entries += entries;
                        stats.bytes += bytes;
                    }
                }
                Ok(())
            })?;
        }
        stats.streams = seen.len() as u64;
        Ok(stats)
    }
}

type Count<'c> = &'c mut dyn FnMut() -> Result<(u64, u64), LogsError>;

impl LogsEngine {
    fn matching(state: &State, matchers: &[Matcher]) -> HashMap<StreamId, LabelSet> {
        state
            .index
            .find(matchers)
            .into_iter()
            .filter_map(|id| Some((id, state.index.labels(id)?.clone())))
            .collect()
    }

    /// Calls `each` for the runs of the part that overlap the range, with a way to count their
    /// entries and bytes inside it. Damaged chunks are counted and passed over.
    fn each_run(
        &self,
        part: &Part,
        range: TimeRangeNs,
        mut each: impl FnMut(StreamId, Count<'_>) -> Result<(), LogsError>,
    ) -> Result<(), SourceError> {
        for (c, chunk) in part.chunks.iter().enumerate() {
            let info = &chunk.info;
            if info.min >= range.end.0 || info.max < range.start.0 {
                continue;
            }
            let mut rows = None;
            for (r, run) in info.runs.iter().enumerate() {
                if run.min >= range.end.0 || run.max < range.start.0 {
                    continue;
                }
                let Some(id) = part.streams.get(run.stream as usize) else { continue };
                match each(*id, &mut || count_run(part, c, r, range, &mut rows)) {
                    Err(e) if e.is_corrupt() => {
                        if !chunk.damaged.swap(true, Ordering::Relaxed) {
                            self.damaged_chunks.fetch_add(1, Ordering::Relaxed);
                        }
                        break;
                    }
                    Err(e) if e.is_not_found() => break,
                    other => other?,
                }
            }
        }
        Ok(())
    }
}
