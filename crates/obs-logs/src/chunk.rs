//! A chunk: about 1 MiB of lines of one hour, as columns. Drawing: `docs/format/logs-block.md`.

use std::collections::{BTreeMap, BTreeSet};

use obs_types::LabelSet;

use crate::head::HeadEntry;
use crate::{dictionary, filter};
use obs_disk::bytes::{Reader, put_bytes, put_i64, put_u64};

/// Consecutive entries of one stream, ascending in time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    /// Index into the file's stream table.
    pub(crate) stream: u32,
    pub(crate) count: u32,
    pub(crate) min: i64,
    pub(crate) max: i64,
    /// Bytes of the lines.
    pub(crate) bytes: u64,
}

/// What the file's directory says about a chunk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ChunkInfo {
    pub(crate) runs: Vec<Run>,
    pub(crate) min: i64,
    pub(crate) max: i64,
    pub(crate) entries: u64,
}

#[derive(Debug)]
pub(crate) struct EncodedChunk {
    pub(crate) info: ChunkInfo,
    pub(crate) times: Vec<u8>,
    pub(crate) lines: Vec<u8>,
    /// Empty if no entry has metadata; so is the filter.
    pub(crate) metadata: Vec<u8>,
    pub(crate) dictionary: Vec<u8>,
    pub(crate) filter: Vec<u8>,
}

/// Entries of one stream on their way into a chunk.
pub(crate) type RunInput<'h> = (u32, Vec<(i64, &'h HeadEntry)>);

/// Runs must not be empty.
pub(crate) fn encode(input: &[RunInput<'_>]) -> EncodedChunk {
    let mut info = ChunkInfo {
        runs: Vec::with_capacity(input.len()),
        min: i64::MAX,
        max: i64::MIN,
        entries: 0,
    };
    let (mut times, mut lines) = (Vec::new(), Vec::new());
    for (stream, entries) in input {
        let mut last: Option<i64> = None;
        let mut bytes = 0;
        for (t, entry) in entries {
            match last {
                None => put_i64(&mut times, *t),
                Some(l) => put_u64(&mut times, t.wrapping_sub(l) as u64),
            }
            last = Some(*t);
            put_u64(&mut times, entry.line.len() as u64);
            lines.extend_from_slice(entry.line.as_bytes());
            bytes += entry.line.len() as u64;
        }
        let (Some(first), Some(last)) = (entries.first(), entries.last()) else { continue };
        info.runs.push(Run {
            stream: *stream,
            count: u32::try_from(entries.len()).unwrap_or(u32::MAX),
            min: first.0,
            max: last.0,
            bytes,
        });
        info.min = info.min.min(first.0);
        info.max = info.max.max(last.0);
        info.entries += entries.len() as u64;
    }
    let all = || input.iter().flat_map(|(_, e)| e.iter().map(|(_, entry)| *entry));
    let (metadata, filter) = encode_metadata(all().map(|e| &e.metadata), info.entries);
    let dictionary = dictionary::build(all().map(|e| e.line.as_str()));
    EncodedChunk { info, times, lines, metadata, dictionary, filter }
}

fn encode_metadata<'h>(
    sets: impl Iterator<Item = &'h LabelSet>,
    entries: u64,
) -> (Vec<u8>, Vec<u8>) {
    let mut columns: BTreeMap<&str, Vec<(usize, &str)>> = BTreeMap::new();
    let mut pairs: BTreeSet<(&str, &str)> = BTreeSet::new();
    for (row, set) in sets.enumerate() {
        for (name, value) in set.iter() {
            columns.entry(name).or_default().push((row, value));
            pairs.insert((name, value));
        }
    }
    if columns.is_empty() {
        return (Vec::new(), Vec::new());
    }
    let keys: BTreeSet<u64> = pairs.into_iter().map(|(n, v)| filter::key(n, v)).collect();
    let rows = usize::try_from(entries).unwrap_or(0);
    let mut out = Vec::new();
    put_u64(&mut out, columns.len() as u64);
    for (name, values) in columns {
        put_bytes(&mut out, name.as_bytes());
        let mut present = vec![0u8; rows.div_ceil(8)];
        for (row, _) in &values {
            if let Some(byte) = present.get_mut(row / 8) {
                *byte |= 1 << (row % 8);
            }
        }
        out.extend_from_slice(&present);
        for (_, value) in &values {
            put_u64(&mut out, value.len() as u64);
        }
        for (_, value) in &values {
            out.extend_from_slice(value.as_bytes());
        }
    }
    (out, filter::build(&keys))
}

/// Times and line lengths of a chunk, row by row.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Rows {
    pub(crate) times: Vec<i64>,
    /// Where each line starts in the lines column, with the end of the last.
    pub(crate) starts: Vec<usize>,
}

/// `None` if the bytes do not agree with the directory.
pub(crate) fn decode_times(bytes: &[u8], info: &ChunkInfo) -> Option<Rows> {
    let mut c = Reader::new(bytes);
    let capacity = usize::try_from(info.entries).ok()?.min(bytes.len());
    let mut rows = Rows { times: Vec::with_capacity(capacity), starts: vec![0] };
    let mut end = 0usize;
    for run in &info.runs {
        let mut last: Option<i64> = None;
        for _ in 0..run.count {
            let t = match last {
                None => c.i64()?,
                Some(l) => l.wrapping_add(c.u64()? as i64),
            };
            last = Some(t);
            end = end.checked_add(c.usize()?)?;
            rows.times.push(t);
            rows.starts.push(end);
        }
    }
    c.rest.is_empty().then_some(rows)
}

/// Metadata columns of a chunk.
#[derive(Debug)]
pub(crate) struct Metadata<'a> {
    columns: Vec<(&'a str, Vec<Option<&'a str>>)>,
}

impl<'a> Metadata<'a> {
    pub(crate) fn decode(bytes: &'a [u8], info: &ChunkInfo) -> Option<Self> {
        let mut columns = Vec::new();
        if !bytes.is_empty() {
            let mut c = Reader::new(bytes);
            let rows = usize::try_from(info.entries).ok()?;
            for _ in 0..c.count()? {
                let name = std::str::from_utf8(c.bytes()?).ok()?;
                let present = c.take(rows.div_ceil(8))?;
                let is_present =
                    |row: usize| present.get(row / 8).is_some_and(|b| b & (1 << (row % 8)) != 0);
                let count = (0..rows).filter(|r| is_present(*r)).count();
                let lengths: Vec<usize> = (0..count).map(|_| c.usize()).collect::<Option<_>>()?;
                let mut lengths = lengths.into_iter();
                let mut values = Vec::with_capacity(rows);
                for row in 0..rows {
                    values.push(if is_present(row) {
                        Some(std::str::from_utf8(c.take(lengths.next()?)?).ok()?)
                    } else {
                        None
                    });
                }
                columns.push((name, values));
            }
            if !c.rest.is_empty() {
                return None;
            }
        }
        Some(Self { columns })
    }

    pub(crate) fn get(&self, row: usize, name: &str) -> Option<&'a str> {
        let (_, values) = self.columns.iter().find(|(n, _)| *n == name)?;
        values.get(row).copied().flatten()
    }

    pub(crate) fn row(&self, row: usize) -> LabelSet {
        if self.columns.is_empty() {
            return LabelSet::empty();
        }
        // Columns are sorted by name, so this is the set's canonical encoding.
        let mut raw = Vec::with_capacity(128);
        for (name, values) in &self.columns {
            if let Some(value) = values.get(row).copied().flatten() {
                for text in [name, value] {
                    raw.extend_from_slice(&(text.len() as u32).to_le_bytes());
                    raw.extend_from_slice(text.as_bytes());
                }
            }
        }
        LabelSet::from_bytes(&raw).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(line: &str, metadata: &[(&str, &str)]) -> HeadEntry {
        HeadEntry { line: line.into(), metadata: LabelSet::from_pairs(metadata.iter().copied()) }
    }

    #[test]
    fn columns_round_trip_and_torn_bytes_are_refused() {
        let entries = [
            entry("one", &[("a", "1"), ("b", "é")]),
            entry("", &[]),
            entry("three", &[("b", "2")]),
        ];
        let input: Vec<RunInput<'_>> = vec![
            (4, vec![(i64::MIN, &entries[0]), (i64::MAX, &entries[1])]),
            (2, vec![(-5, &entries[2])]),
        ];
        let c = encode(&input);
        assert_eq!((c.info.min, c.info.max, c.info.entries), (i64::MIN, i64::MAX, 3));
        let rows = decode_times(&c.times, &c.info).unwrap();
        assert_eq!(rows.times, [i64::MIN, i64::MAX, -5]);
        assert_eq!(rows.starts, [0, 3, 3, 8]);
        assert_eq!(c.lines, b"onethree");
        let metadata = Metadata::decode(&c.metadata, &c.info).unwrap();
        for (row, e) in entries.iter().enumerate() {
            assert_eq!(metadata.row(row), e.metadata);
        }
        assert_eq!((metadata.get(2, "b"), metadata.get(1, "b")), (Some("2"), None));
        for cut in 0..c.times.len() {
            assert_eq!(decode_times(&c.times[..cut], &c.info), None);
        }
        for cut in 1..c.metadata.len() {
            assert!(Metadata::decode(&c.metadata[..cut], &c.info).is_none(), "cut at {cut}");
        }
    }
}
