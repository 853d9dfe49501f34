use std::collections::BTreeMap;

use obs_types::{SpanRecord, TimeRangeNs, TimestampMs, TraceId};

use crate::summary::Summary;

/// Spans that are in the log and not yet in a block.
#[derive(Debug, Default)]
pub(crate) struct Head {
    pub(crate) traces: BTreeMap<TraceId, HeadTrace>,
    pub(crate) summary: Summary,
    pub(crate) spans: usize,
    /// Rough size in memory.
    pub(crate) bytes: usize,
    /// First start and last end, nanoseconds; `None` while empty.
    pub(crate) bounds: Option<(i64, i64)>,
    /// When its first span came.
    pub(crate) since: Option<TimestampMs>,
}

#[derive(Debug)]
pub(crate) struct HeadTrace {
    pub(crate) spans: Vec<SpanRecord>,
    pub(crate) start: i64,
    pub(crate) end: i64,
}

impl Head {
    pub(crate) fn insert(&mut self, record: SpanRecord, bytes: usize, now: TimestampMs) {
        let (start, end) = (record.span.start.0, record.span.end.0.max(record.span.start.0));
        self.summary.add(&record);
        self.spans += 1;
        self.bytes += bytes;
        self.since.get_or_insert(now);
        self.bounds = Some(match self.bounds {
            Some((a, b)) => (a.min(start), b.max(end)),
            None => (start, end),
        });
        let trace = self.traces.entry(record.span.trace_id).or_insert_with(|| HeadTrace {
            spans: Vec::new(),
            start,
            end,
        });
        trace.start = trace.start.min(start);
        trace.end = trace.end.max(end);
        trace.spans.push(record);
    }

    pub(crate) fn overlaps(&self, range: TimeRangeNs) -> bool {
        self.bounds.is_some_and(|(start, end)| bounds_overlap(start, end, range))
    }
}

/// Whether something from `start` to `end`, both included, meets the half-open range.
pub(crate) fn bounds_overlap(start: i64, end: i64, range: TimeRangeNs) -> bool {
    start < range.end.0 && end >= range.start.0
}

/// Whether a span meets the half-open range: it begins inside, or began before and ends inside or
/// later.
pub(crate) fn span_overlaps(record: &SpanRecord, range: TimeRangeNs) -> bool {
    let (start, end) = (record.span.start.0, record.span.end.0);
    start < range.end.0 && (start >= range.start.0 || end > range.start.0)
}
