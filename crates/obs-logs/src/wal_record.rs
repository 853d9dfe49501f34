//! One WAL record: a batch of log records with the batch's sequence number.
//!
//! `version u8 = 1, sequence, count of label sets, their bytes, count of entries, then per entry:
//! stream index, metadata index, timestamp (delta to the one before), line`. Integers are varints.

use std::collections::HashMap;

use obs_types::{LabelSet, LogRecord, TimestampNs};

use obs_disk::bytes::{Reader, put_bytes, put_i64, put_u64};

const VERSION: u8 = 1;

pub(crate) fn encode(sequence: u64, records: &[LogRecord]) -> Vec<u8> {
    let mut sets: HashMap<&LabelSet, u64> = HashMap::new();
    let mut table: Vec<&LabelSet> = Vec::new();
    let mut entries = Vec::with_capacity(records.iter().map(|r| r.line.len() + 16).sum());
    let mut last = 0i64;
    for r in records {
        for set in [&r.stream, &r.metadata] {
            let index = *sets.entry(set).or_insert_with(|| {
                table.push(set);
                table.len() as u64 - 1
            });
            put_u64(&mut entries, index);
        }
        put_i64(&mut entries, r.timestamp.0.wrapping_sub(last));
        last = r.timestamp.0;
        put_bytes(&mut entries, r.line.as_bytes());
    }
    let mut out = vec![VERSION];
    put_u64(&mut out, sequence);
    put_u64(&mut out, table.len() as u64);
    for set in table {
        put_bytes(&mut out, set.as_bytes());
    }
    put_u64(&mut out, records.len() as u64);
    out.extend_from_slice(&entries);
    out
}

/// `None` if the bytes are no such record.
pub(crate) fn decode(bytes: &[u8]) -> Option<(u64, Vec<LogRecord>)> {
    let mut c = Reader::new(bytes);
    if c.take(1)? != [VERSION] {
        return None;
    }
    let sequence = c.u64()?;
    let table: Vec<LabelSet> =
        (0..c.count()?).map(|_| LabelSet::from_bytes(c.bytes()?)).collect::<Option<_>>()?;
    let count = c.count()?;
    let mut records = Vec::with_capacity(count);
    let mut last = 0i64;
    for _ in 0..count {
        let stream = table.get(c.usize()?)?.clone();
        let metadata = table.get(c.usize()?)?.clone();
        last = last.wrapping_add(c.i64()?);
        let line = String::from_utf8(c.bytes()?.to_vec()).ok()?;
        records.push(LogRecord { timestamp: TimestampNs(last), stream, line, metadata });
    }
    c.rest.is_empty().then_some((sequence, records))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trips_and_refuses_torn_bytes() {
        let record = |t, app: &str, line: &str| LogRecord {
            timestamp: TimestampNs(t),
            stream: LabelSet::from_pairs([("app", app)]),
            line: line.into(),
            metadata: LabelSet::from_pairs([("trace_id", "ab")]),
        };
        let records = [record(5, "a", "x"), record(i64::MIN, "b", "é"), record(i64::MAX, "a", "")];
        let bytes = encode(9, &records);
        assert_eq!(decode(&bytes), Some((9, records.to_vec())));
        for cut in 0..bytes.len() {
            assert_eq!(decode(&bytes[..cut]), None, "cut at {cut}");
        }
    }
}
