//! Log queries: lines in a direction up to a limit.

use std::collections::HashMap;

use obs_types::{
    Direction, LogSelect, LogSource, LogStream, QueryContext, SourceError, TimeRangeNs, TimestampNs,
};

use super::{QueryResult, QueryStats, ResultEntry, ResultStream, Value, pushdown};
use crate::ast::LogExpr;
use crate::error::EngineError;
use crate::labels::Labels;
use crate::pipe::{Pipeline, Processed};

/// The first slice of the range that is read; each following one is four times as long. Most
/// queries ask for the newest lines and are done within the first slices.
const FIRST_SLICE_NS: i64 = 5 * 60 * 1_000_000_000;

struct Hit {
    timestamp: TimestampNs,
    done: Processed,
}

pub(crate) fn select(
    source: &dyn LogSource,
    log: &LogExpr,
    start: TimestampNs,
    end: TimestampNs,
    limit: usize,
    direction: Direction,
    context: &QueryContext,
) -> Result<QueryResult, EngineError> {
    let pipeline = Pipeline::new(log)?;
    let whole = TimeRangeNs::new(start, end);
    let mut stats = QueryStats::default();
    let mut hits: Vec<Hit> = Vec::new();
    if limit > 0 && !whole.is_empty() {
        let line_contains = pushdown::line_contains(log);
        let metadata_equals = pushdown::metadata_equals(source, log, whole, context)?;
        let mut slice_ns = if pipeline.is_empty() { i64::MAX } else { FIRST_SLICE_NS };
        let mut rest = whole;
        while !rest.is_empty() && hits.len() < limit {
            let slice = take_slice(&mut rest, slice_ns, direction);
            slice_ns = slice_ns.saturating_mul(4);
            let wanted = limit - hits.len();
            let select = LogSelect {
                matchers: &log.matchers,
                range: slice,
                line_contains: &line_contains,
                metadata_equals: &metadata_equals,
                direction,
                limit: pipeline.is_empty().then_some(wanted),
            };
            let found = read_slice(source, &select, &pipeline, wanted, context, &mut stats)?;
            hits.extend(found);
        }
    }
    let value = Value::Streams(group(hits, &mut stats));
    Ok(QueryResult { value, stats })
}

fn take_slice(rest: &mut TimeRangeNs, length: i64, direction: Direction) -> TimeRangeNs {
    match direction {
        Direction::Forward => {
            let middle = TimestampNs(rest.start.0.saturating_add(length)).min(rest.end);
            let slice = TimeRangeNs::new(rest.start, middle);
            rest.start = middle;
            slice
        }
        Direction::Backward => {
            let middle = TimestampNs(rest.end.0.saturating_sub(length)).max(rest.start);
            let slice = TimeRangeNs::new(middle, rest.end);
            rest.end = middle;
            slice
        }
    }
}

/// The first `wanted` passing lines of the slice, in the direction of the query. Holds at most
/// twice that many at any time.
fn read_slice(
    source: &dyn LogSource,
    select: &LogSelect<'_>,
    pipeline: &Pipeline,
    wanted: usize,
    context: &QueryContext,
    stats: &mut QueryStats,
) -> Result<Vec<Hit>, SourceError> {
    let forward = select.direction == Direction::Forward;
    let mut hits: Vec<Hit> = Vec::new();
    // Once full, lines beyond this time cannot be in the answer.
    let mut border: Option<TimestampNs> = None;
    for run in source.select(select, context)? {
        context.check()?;
        let LogStream { labels, entries } = run?;
        let mut take = |entry: &obs_types::LogEntry| {
            stats.lines_read += 1;
            stats.bytes_read += entry.line.len() as u64;
            let beyond = border
                .is_some_and(|b| if forward { entry.timestamp > b } else { entry.timestamp < b });
            if beyond || !select.range.contains(entry.timestamp) {
                return;
            }
            if let Some(done) =
                pipeline.process(entry.timestamp, &labels, &entry.metadata, &entry.line)
            {
                stats.lines_passed += 1;
                hits.push(Hit { timestamp: entry.timestamp, done });
                if hits.len() >= wanted.saturating_mul(2) {
                    sort(&mut hits, forward);
                    hits.truncate(wanted);
                    border = hits.last().map(|h| h.timestamp);
                }
            }
        };
        if forward {
            entries.iter().for_each(&mut take);
        } else {
            entries.iter().rev().for_each(&mut take);
        }
    }
    sort(&mut hits, forward);
    hits.truncate(wanted);
    let bytes: usize =
        hits.iter().map(|h| h.done.line.len() + h.done.labels.size_bytes() + 64).sum();
    context.memory.grow(bytes)?;
    Ok(hits)
}

/// Stable, so that lines of one time keep the order in which they came.
fn sort(hits: &mut [Hit], forward: bool) {
    if forward {
        hits.sort_by_key(|h| h.timestamp);
    } else {
        hits.sort_by_key(|h| std::cmp::Reverse(h.timestamp));
    }
}

fn group(hits: Vec<Hit>, stats: &mut QueryStats) -> Vec<ResultStream> {
    let mut index: HashMap<Labels, usize> = HashMap::new();
    let mut out: Vec<ResultStream> = Vec::new();
    for Hit { timestamp, done } in hits {
        stats.returned += 1;
        let Processed { labels, metadata, parsed, line } = done;
        let entry = ResultEntry { timestamp, line, metadata, parsed };
        let at = *index.entry(labels).or_insert_with_key(|labels| {
            out.push(ResultStream { labels: labels.clone(), entries: Vec::new() });
            out.len() - 1
        });
        if let Some(stream) = out.get_mut(at) {
            stream.entries.push(entry);
        }
    }
    out.sort_by(|a, b| a.labels.cmp(&b.labels));
    out
}
