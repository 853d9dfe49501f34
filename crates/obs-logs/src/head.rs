//! Lines that are in the WAL but in no block file yet.

use std::collections::BTreeMap;

use obs_types::{LabelSet, LogEntry, LogRecord, TimestampMs, TimestampNs};

use crate::index::StreamId;

/// What a line costs besides its text.
const ENTRY_BYTES: usize = 96;

#[derive(Clone, Debug)]
pub(crate) struct HeadEntry {
    pub(crate) line: String,
    pub(crate) metadata: LabelSet,
}

/// Ordered by time, then arrival.
pub(crate) type HeadStream = BTreeMap<(i64, u64), HeadEntry>;

#[derive(Debug, Default)]
pub(crate) struct Head {
    pub(crate) streams: BTreeMap<StreamId, HeadStream>,
    pub(crate) bytes: usize,
    pub(crate) entries: u64,
    /// Wall time when the first of these lines came.
    pub(crate) oldest_arrival: Option<TimestampMs>,
    arrivals: u64,
}

impl Head {
    pub(crate) fn is_empty(&self) -> bool {
        self.entries == 0
    }

    pub(crate) fn push(&mut self, id: StreamId, record: LogRecord, now: TimestampMs) {
        self.bytes += entry_bytes(&record);
        self.entries += 1;
        self.arrivals += 1;
        self.oldest_arrival.get_or_insert(now);
        self.streams.entry(id).or_default().insert(
            (record.timestamp.0, self.arrivals),
            HeadEntry { line: record.line, metadata: record.metadata },
        );
    }
}

pub(crate) fn entry_bytes(record: &LogRecord) -> usize {
    record.line.len() + record.metadata.as_bytes().len() + ENTRY_BYTES
}

impl HeadEntry {
    pub(crate) fn to_entry(&self, timestamp: i64) -> LogEntry {
        LogEntry {
            timestamp: TimestampNs(timestamp),
            line: self.line.clone(),
            metadata: self.metadata.clone(),
        }
    }
}
