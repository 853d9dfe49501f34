//! Reading: streams by index, chunks by time, filter and dictionary, lines last.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use memchr::memmem::Finder;
use obs_types::{
    Direction, LabelSet, LogEntry, LogSelect, LogStream, QueryContext, SourceError, TimeRangeNs,
    TimestampNs,
};

use crate::chunk::{self, Metadata, Run};
use crate::dictionary::Needle;
use crate::error::LogsError;
use crate::filter;
use crate::head::{HeadEntry, HeadStream};
use crate::index::StreamId;
use crate::part::{Column, Part, wanted_streams};

/// The parts of a select that every line is held against.
pub(crate) struct Wanted {
    pub(crate) range: TimeRangeNs,
    pub(crate) direction: Direction,
    pub(crate) limit: Option<usize>,
    lines: Vec<(Finder<'static>, Needle)>,
    metadata: Vec<(String, String, u64)>,
}

impl Wanted {
    pub(crate) fn new(select: &LogSelect<'_>) -> Self {
        Self {
            range: select.range,
            direction: select.direction,
            limit: select.limit,
            lines: select
                .line_contains
                .iter()
                .filter(|t| !t.is_empty())
                .map(|t| (Finder::new(t.as_bytes()).into_owned(), Needle::new(t)))
                .collect(),
            metadata: select
                .metadata_equals
                .iter()
                .map(|(n, v)| (n.clone(), v.clone(), filter::key(n, v)))
                .collect(),
        }
    }

    pub(crate) fn overlaps(&self, min: i64, max: i64) -> bool {
        min < self.range.end.0 && max >= self.range.start.0
    }

    fn line_passes(&self, line: &[u8]) -> bool {
        self.lines.iter().all(|(finder, _)| finder.find(line).is_some())
    }

    fn head_passes(&self, entry: &HeadEntry) -> bool {
        self.line_passes(entry.line.as_bytes())
            && self.metadata.iter().all(|(n, v, _)| entry.metadata.get(n) == Some(v.as_str()))
    }
}

/// Entries of a stream in memory that pass, ascending; with a limit only the first in direction.
pub(crate) fn from_head(stream: &HeadStream, wanted: &Wanted) -> Vec<LogEntry> {
    let (start, end) = (wanted.range.start.0, wanted.range.end.0);
    if start >= end {
        return Vec::new();
    }
    let inside = stream
        .range((Bound::Included((start, 0)), Bound::Excluded((end, 0))))
        .filter(|(_, e)| wanted.head_passes(e))
        .map(|((t, _), e)| e.to_entry(*t));
    let limit = wanted.limit.unwrap_or(usize::MAX);
    match wanted.direction {
        Direction::Forward => inside.take(limit).collect(),
        Direction::Backward => {
            let mut out: Vec<LogEntry> = inside.rev().take(limit).collect();
            out.reverse();
            out
        }
    }
}

enum Candidate {
    Memory(LogStream),
    Chunk { part: Arc<Part>, chunk: usize },
}

struct Placed {
    min: i64,
    max: i64,
    candidate: Candidate,
}

/// The iterator behind `select`: candidates in direction, chunks unpacked one at a time.
pub(crate) struct Runs<'e> {
    wanted: Wanted,
    ids: Vec<StreamId>,
    labels: HashMap<StreamId, LabelSet>,
    /// The next one last.
    candidates: Vec<Placed>,
    ready: VecDeque<LogStream>,
    /// The best times seen so far, up to the limit; the worst of them on top.
    best: BinaryHeap<Reverse<i64>>,
    context: QueryContext,
    damaged: &'e AtomicU64,
    failed: bool,
}

impl<'e> Runs<'e> {
    pub(crate) fn new(
        wanted: Wanted,
        labels: HashMap<StreamId, LabelSet>,
        memory: Vec<LogStream>,
        parts: &[Arc<Part>],
        context: &QueryContext,
        damaged: &'e AtomicU64,
    ) -> Self {
        let mut ids: Vec<StreamId> = labels.keys().copied().collect();
        ids.sort_unstable();
        let mut candidates: Vec<Placed> = memory
            .into_iter()
            .filter_map(|stream| {
                let min = stream.entries.first()?.timestamp.0;
                let max = stream.entries.last()?.timestamp.0;
                Some(Placed { min, max, candidate: Candidate::Memory(stream) })
            })
            .collect();
        for part in parts.iter().filter(|p| wanted.overlaps(p.min, p.max)) {
            for (i, chunk) in part.chunks.iter().enumerate() {
                let info = &chunk.info;
                if wanted.overlaps(info.min, info.max) {
                    let candidate = Candidate::Chunk { part: Arc::clone(part), chunk: i };
                    candidates.push(Placed { min: info.min, max: info.max, candidate });
                }
            }
        }
        match wanted.direction {
            Direction::Forward => candidates.sort_by_key(|c| Reverse(c.min)),
            Direction::Backward => candidates.sort_by_key(|c| c.max),
        }
        Self {
            wanted,
            ids,
            labels,
            candidates,
            ready: VecDeque::new(),
            best: BinaryHeap::new(),
            context: context.clone(),
            damaged,
            failed: false,
        }
    }

    /// Times as "larger is better", so that one heap serves both directions.
    fn score(&self, t: i64) -> i64 {
        match self.wanted.direction {
            Direction::Forward => t.saturating_neg(),
            Direction::Backward => t,
        }
    }

    /// Whether no entry of the candidate can be among the first `limit`.
    fn is_beyond(&self, placed: &Placed) -> bool {
        let Some(limit) = self.wanted.limit else { return false };
        let best_possible = match self.wanted.direction {
            Direction::Forward => self.score(placed.min),
            Direction::Backward => self.score(placed.max),
        };
        limit == 0
            || (self.best.len() >= limit
                && self.best.peek().is_some_and(|Reverse(worst)| *worst >= best_possible))
    }

    fn note(&mut self, stream: &LogStream) {
        let Some(limit) = self.wanted.limit else { return };
        for entry in &stream.entries {
            self.best.push(Reverse(self.score(entry.timestamp.0)));
            if self.best.len() > limit {
                self.best.pop();
            }
        }
    }

    fn read(&self, part: &Part, chunk: usize) -> Result<Vec<LogStream>, LogsError> {
        let Some(place) = part.chunks.get(chunk) else { return Ok(Vec::new()) };
        if place.damaged.load(Ordering::Relaxed) {
            return Ok(Vec::new());
        }
        let outcome = read_chunk(part, chunk, &self.wanted, &self.ids, &self.labels);
        match outcome {
            Err(e) if e.is_corrupt() => {
                // The rest of the data is still good; the loss is counted and shown.
                if !place.damaged.swap(true, Ordering::Relaxed) {
                    self.damaged.fetch_add(1, Ordering::Relaxed);
                    tracing::error!(path = %part.path().display(), chunk, error = %e,
                        "a chunk of log lines is damaged and left out");
                }
                Ok(Vec::new())
            }
            Err(e) if e.is_not_found() => Ok(Vec::new()),
            other => other,
        }
    }
}

impl Iterator for Runs<'_> {
    type Item = Result<LogStream, SourceError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        loop {
            if let Some(stream) = self.ready.pop_front() {
                return Some(Ok(stream));
            }
            let placed = self.candidates.pop()?;
            if let Err(e) = self.context.check() {
                self.failed = true;
                return Some(Err(e));
            }
            if self.is_beyond(&placed) {
                // Candidates are in order, but ones in memory may still be better than a chunk.
                continue;
            }
            match placed.candidate {
                Candidate::Memory(stream) => {
                    self.note(&stream);
                    return Some(Ok(stream));
                }
                Candidate::Chunk { part, chunk } => match self.read(&part, chunk) {
                    Ok(streams) => {
                        for stream in streams {
                            self.note(&stream);
                            self.ready.push_back(stream);
                        }
                    }
                    Err(e) => {
                        self.failed = true;
                        return Some(Err(e.into()));
                    }
                },
            }
        }
    }
}

fn read_chunk(
    part: &Part,
    chunk: usize,
    wanted: &Wanted,
    ids: &[StreamId],
    labels: &HashMap<StreamId, LabelSet>,
) -> Result<Vec<LogStream>, LogsError> {
    let Some(place) = part.chunks.get(chunk) else { return Ok(Vec::new()) };
    let local = wanted_streams(part, ids);
    let is_wanted =
        |run: &Run| local.contains_key(&run.stream) && wanted.overlaps(run.min, run.max);
    if !place.info.runs.iter().any(is_wanted) {
        return Ok(Vec::new());
    }
    if !wanted.metadata.is_empty() {
        let bits = part.column(chunk, Column::Filter)?;
        if !wanted.metadata.iter().all(|(_, _, key)| filter::may_hold(&bits, *key)) {
            return Ok(Vec::new());
        }
    }
    if wanted.lines.iter().any(|(_, needle)| needle.prunes()) {
        let dictionary = part.column(chunk, Column::Dictionary)?;
        if !wanted.lines.iter().all(|(_, needle)| needle.may_occur(&dictionary)) {
            return Ok(Vec::new());
        }
    }
    let rows = chunk::decode_times(&part.column(chunk, Column::Times)?, &place.info)
        .ok_or_else(|| part.bad("times of a chunk"))?;
    // Late materialisation: columns are unpacked only for rows that are still in question.
    let mut picked: Vec<(&Run, Vec<usize>)> = Vec::new();
    let mut first = 0usize;
    for run in &place.info.runs {
        let range = first..first + run.count as usize;
        first = range.end;
        if !is_wanted(run) {
            continue;
        }
        let inside = |row: &usize| {
            rows.times.get(*row).is_some_and(|t| wanted.range.contains(TimestampNs(*t)))
        };
        let in_time: Vec<usize> = range.filter(inside).collect();
        if !in_time.is_empty() {
            picked.push((run, in_time));
        }
    }
    if picked.is_empty() {
        return Ok(Vec::new());
    }
    let lines = part.column(chunk, Column::Lines)?;
    let line = |row: usize| {
        let from = rows.starts.get(row).copied().unwrap_or(usize::MAX);
        let to = rows.starts.get(row + 1).copied().unwrap_or(usize::MAX);
        lines.get(from..to).ok_or_else(|| part.bad("lines of a chunk"))
    };
    let limit = wanted.limit.unwrap_or(usize::MAX);
    let limit_now = if wanted.metadata.is_empty() { limit } else { usize::MAX };
    for (_, rows) in &mut picked {
        keep_first(rows, limit_now, wanted.direction, |row| Ok(wanted.line_passes(line(row)?)))?;
    }
    picked.retain(|(_, rows)| !rows.is_empty());
    if picked.is_empty() {
        return Ok(Vec::new());
    }
    let metadata_bytes = part.column(chunk, Column::Metadata)?;
    let metadata = Metadata::decode(&metadata_bytes, &place.info)
        .ok_or_else(|| part.bad("metadata of a chunk"))?;
    let has_metadata = |row: usize| {
        wanted.metadata.iter().all(|(n, v, _)| metadata.get(row, n) == Some(v.as_str()))
    };
    let mut out = Vec::new();
    for (run, mut kept) in picked {
        if !wanted.metadata.is_empty() {
            keep_first(&mut kept, limit, wanted.direction, |row| Ok(has_metadata(row)))?;
        }
        let Some(stream) = local.get(&run.stream).and_then(|id| labels.get(id)) else { continue };
        let mut entries = Vec::with_capacity(kept.len());
        for row in kept {
            let text = std::str::from_utf8(line(row)?)
                .ok()
                .ok_or_else(|| part.bad("a line that is not UTF-8"))?;
            entries.push(LogEntry {
                timestamp: TimestampNs(rows.times.get(row).copied().unwrap_or(0)),
                line: text.to_owned(),
                metadata: metadata.row(row),
            });
        }
        if !entries.is_empty() {
            out.push(LogStream { labels: stream.clone(), entries });
        }
    }
    if wanted.direction == Direction::Backward {
        out.reverse();
    }
    Ok(out)
}

/// Keeps the first `limit` rows in `direction` that pass; the rows stay in ascending order.
fn keep_first(
    rows: &mut Vec<usize>,
    limit: usize,
    direction: Direction,
    passes: impl Fn(usize) -> Result<bool, LogsError>,
) -> Result<(), LogsError> {
    if direction == Direction::Backward {
        rows.reverse();
    }
    let mut kept = Vec::new();
    for row in rows.iter().copied() {
        if kept.len() >= limit {
            break;
        }
        if passes(row)? {
            kept.push(row);
        }
    }
    if direction == Direction::Backward {
        kept.reverse();
    }
    *rows = kept;
    Ok(())
}

/// Entries and line bytes of a run inside the range; rows are read only if the range cuts it.
pub(crate) fn count_run(
    part: &Part,
    chunk: usize,
    run_index: usize,
    range: TimeRangeNs,
    rows: &mut Option<chunk::Rows>,
) -> Result<(u64, u64), LogsError> {
    let Some(place) = part.chunks.get(chunk) else { return Ok((0, 0)) };
    let Some(run) = place.info.runs.get(run_index) else { return Ok((0, 0)) };
    if range.contains(TimestampNs(run.min)) && range.contains(TimestampNs(run.max)) {
        return Ok((u64::from(run.count), run.bytes));
    }
    if rows.is_none() {
        let times = part.column(chunk, Column::Times)?;
        *rows = Some(
            chunk::decode_times(&times, &place.info).ok_or_else(|| part.bad("times of a chunk"))?,
        );
    }
    let Some(rows) = rows else { return Ok((0, 0)) };
    let first: usize = place.info.runs.iter().take(run_index).map(|r| r.count as usize).sum();
    let (mut entries, mut bytes) = (0, 0);
    for row in first..first + run.count as usize {
        if rows.times.get(row).is_some_and(|t| range.contains(TimestampNs(*t))) {
            entries += 1;
            let start = rows.starts.get(row).copied().unwrap_or(0);
            let end = rows.starts.get(row + 1).copied().unwrap_or(start);
            bytes += (end - start) as u64;
        }
    }
    Ok((entries, bytes))
}
