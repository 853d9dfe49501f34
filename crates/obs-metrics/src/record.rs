//! One batch in the write-ahead log, column by column. Drawing: `docs/format/metrics-wal.md`.
//!
//! A record names series by number; a number is defined (with its label bytes) in the first
//! records of an epoch that use it. Each epoch therefore stands for itself, and a log can be cut
//! between epochs without a checkpoint.

use std::cell::RefCell;
use std::sync::Arc;

use obs_types::{
    Exemplar, LabelSet, MetricKind, MetricMetadata, NativeHistogram, SpanId, TimestampMs, TraceId,
};

use crate::histogram::{get_histogram, put_histogram};
use crate::starts::Runs;
use obs_disk::bytes::{Reader, put_bytes, put_f64, put_i64, put_u64};
use zstd::bulk::{Compressor, Decompressor};

const VERSION: u8 = 1;
/// With start timestamps behind the rest; written only where there are some.
const VERSION_STARTED: u8 = 2;
/// Most bytes of an unpacked record; a limit against damaged lengths.
const RAW_MAX: usize = 512 << 20;
/// Shorter records are not worth packing.
const PACK_MIN: usize = 1 << 10;
const PACK_LEVEL: i32 = 1;

/// Collects the columns of one record.
#[derive(Debug, Default)]
pub(crate) struct RecordWriter {
    definitions: Vec<u8>,
    definition_count: u64,
    series: Vec<u8>,
    series_count: u64,
    last_id: i64,
    times: Vec<u8>,
    last_t: i64,
    values: Vec<u8>,
    histograms: Vec<u8>,
    histogram_count: u64,
    exemplars: Vec<u8>,
    exemplar_count: u64,
    metadata: Vec<u8>,
    metadata_count: u64,
    starts: Runs,
    histogram_starts: Runs,
}

/// What stands before the columns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct RecordHead {
    /// Numbers of series hold within one epoch.
    pub(crate) epoch: u64,
    /// Flushes that had begun when the record was written; see `maintain.rs`.
    pub(crate) flush: u64,
    /// Oldest time that a late sample could have then, so that replay decides alike.
    pub(crate) late_floor: i64,
}

/// A record read back.
#[derive(Debug, Default)]
pub(crate) struct Record {
    pub(crate) head: RecordHead,
    pub(crate) definitions: Vec<(u32, LabelSet)>,
    /// Series number and how many of `samples` are its.
    pub(crate) series: Vec<(u32, usize)>,
    pub(crate) samples: Vec<(i64, f64)>,
    pub(crate) histograms: Vec<(u32, i64, Arc<NativeHistogram>)>,
    pub(crate) exemplars: Vec<(LabelSet, Exemplar)>,
    pub(crate) metadata: Vec<MetricMetadata>,
    /// Of the samples and of the histograms, in their order.
    pub(crate) starts: Runs,
    pub(crate) histogram_starts: Runs,
}

impl RecordWriter {
    /// With room for so many series and samples.
    pub(crate) fn reserve(&mut self, series: usize, samples: usize) {
        // Ids and times mostly differ by little from those before.
        self.series.reserve(series * 3);
        self.times.reserve(series * 6 + samples);
        self.values.reserve(samples * 8);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.definition_count + self.series_count + self.histogram_count == 0
            && self.exemplar_count + self.metadata_count == 0
    }

    pub(crate) fn define(&mut self, id: u32, labels: &LabelSet) {
        put_u64(&mut self.definitions, u64::from(id));
        put_bytes(&mut self.definitions, labels.as_bytes());
        self.definition_count += 1;
    }

    /// `start_of` says the start timestamp of the sample at a time, 0 if it is unknown; `None` if
    /// those of all are.
    pub(crate) fn samples(
        &mut self,
        id: u32,
        samples: &[(TimestampMs, f64)],
        start_of: Option<&dyn Fn(TimestampMs) -> i64>,
    ) {
        match start_of {
            Some(start_of) => samples.iter().for_each(|(t, _)| self.starts.add(start_of(*t), 1)),
            None => self.starts.add(0, samples.len() as u64),
        }
        put_i64(&mut self.series, i64::from(id) - self.last_id);
        self.last_id = i64::from(id);
        put_u64(&mut self.series, samples.len() as u64);
        self.series_count += 1;
        for (t, v) in samples {
            put_i64(&mut self.times, t.0.wrapping_sub(self.last_t));
            self.last_t = t.0;
            put_f64(&mut self.values, *v);
        }
    }

    pub(crate) fn histogram(&mut self, id: u32, t: i64, h: &NativeHistogram, start: i64) {
        self.histogram_starts.add(start, 1);
        put_u64(&mut self.histograms, u64::from(id));
        put_i64(&mut self.histograms, t);
        put_histogram(&mut self.histograms, h);
        self.histogram_count += 1;
    }

    pub(crate) fn exemplar(&mut self, series: &LabelSet, e: &Exemplar) {
        put_bytes(&mut self.exemplars, series.as_bytes());
        put_bytes(&mut self.exemplars, e.labels.as_bytes());
        put_f64(&mut self.exemplars, e.value);
        put_i64(&mut self.exemplars, e.timestamp.0);
        put_bytes(&mut self.exemplars, e.trace_id.as_ref().map_or(&[][..], |id| &id.0));
        put_bytes(&mut self.exemplars, e.span_id.as_ref().map_or(&[][..], |id| &id.0));
        self.exemplar_count += 1;
    }

    pub(crate) fn metadata(&mut self, m: &MetricMetadata) {
        for text in [&m.family, m.kind.as_str(), &m.help, &m.unit] {
            put_bytes(&mut self.metadata, text.as_bytes());
        }
        self.metadata_count += 1;
    }

    pub(crate) fn finish(&self, head: RecordHead) -> Vec<u8> {
        let mut body = Vec::with_capacity(64 + self.values.len() * 2 + self.definitions.len());
        put_u64(&mut body, head.epoch);
        put_u64(&mut body, head.flush);
        put_i64(&mut body, head.late_floor);
        for (count, column) in [
            (self.definition_count, &self.definitions),
            (self.series_count, &self.series),
            (self.values.len() as u64 / 8, &self.times),
        ] {
            put_u64(&mut body, count);
            put_bytes(&mut body, column);
        }
        body.extend_from_slice(&self.values);
        for (count, column) in [
            (self.histogram_count, &self.histograms),
            (self.exemplar_count, &self.exemplars),
            (self.metadata_count, &self.metadata),
        ] {
            put_u64(&mut body, count);
            put_bytes(&mut body, column);
        }
        let started = self.starts.is_known() || self.histogram_starts.is_known();
        if started {
            self.starts.put(&mut body);
            self.histogram_starts.put(&mut body);
        }
        let mut out = vec![if started { VERSION_STARTED } else { VERSION }];
        let packed = if body.len() < PACK_MIN { None } else { pack(&body) };
        match packed.filter(|p| p.len() < body.len()) {
            Some(packed) => {
                out.push(1);
                put_u64(&mut out, body.len() as u64);
                out.extend_from_slice(&packed);
            }
            None => {
                out.push(0);
                out.extend_from_slice(&body);
            }
        }
        out
    }
}

/// `None` where packing fails, which it does only for lack of memory.
fn pack(body: &[u8]) -> Option<Vec<u8>> {
    thread_local! {
        // Making a compressor costs more than packing a record.
        static PACKER: RefCell<Option<Compressor<'static>>> = const { RefCell::new(None) };
    }
    PACKER.with_borrow_mut(|packer| {
        if packer.is_none() {
            *packer = Compressor::new(PACK_LEVEL).ok();
        }
        packer.as_mut()?.compress(body).ok()
    })
}

/// `None` if the bytes are not those of a packed body of at most that length.
fn unpack(packed: &[u8], len: usize) -> Option<Vec<u8>> {
    thread_local! {
        static UNPACKER: RefCell<Option<Decompressor<'static>>> = const { RefCell::new(None) };
    }
    UNPACKER.with_borrow_mut(|unpacker| {
        if unpacker.is_none() {
            *unpacker = Decompressor::new().ok();
        }
        unpacker.as_mut()?.decompress(packed, len).ok()
    })
}

impl Record {
    /// `None` if the bytes are not a record of a version that we know.
    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        let mut r = Reader::new(bytes);
        let version = r.byte()?;
        if !(VERSION..=VERSION_STARTED).contains(&version) {
            return None;
        }
        let started = version == VERSION_STARTED;
        match r.byte()? {
            0 => Self::read_body(r, started),
            1 => {
                let len = usize::try_from(r.u64()?).ok().filter(|n| *n <= RAW_MAX)?;
                Self::read_body(Reader::new(&unpack(r.rest, len)?), started)
            }
            _ => None,
        }
    }

    fn read_body(mut r: Reader<'_>, started: bool) -> Option<Self> {
        let head = RecordHead { epoch: r.u64()?, flush: r.u64()?, late_floor: r.i64()? };
        let mut out = Self { head, ..Self::default() };

        let (n, mut c) = column(&mut r)?;
        for _ in 0..n {
            out.definitions.push((c.u32()?, LabelSet::from_bytes(c.bytes()?)?));
        }

        let (n, mut c) = column(&mut r)?;
        let (mut id, mut of_series) = (0_i64, 0_usize);
        for _ in 0..n {
            id = id.checked_add(c.i64()?)?;
            let count = usize::try_from(c.u64()?).ok()?;
            of_series = of_series.checked_add(count)?;
            out.series.push((u32::try_from(id).ok()?, count));
        }

        let (n, mut c) = column(&mut r)?;
        let mut values = Reader::new(r.take(n.checked_mul(8)?)?);
        if of_series != n {
            return None;
        }
        let mut t = 0_i64;
        out.samples.reserve(n);
        for _ in 0..n {
            t = t.wrapping_add(c.i64()?);
            out.samples.push((t, values.f64()?));
        }

        let (n, mut c) = column(&mut r)?;
        for _ in 0..n {
            out.histograms.push((c.u32()?, c.i64()?, Arc::new(get_histogram(&mut c)?)));
        }
        let (n, mut c) = column(&mut r)?;
        for _ in 0..n {
            let series = LabelSet::from_bytes(c.bytes()?)?;
            let labels = LabelSet::from_bytes(c.bytes()?)?;
            let (value, timestamp) = (c.f64()?, TimestampMs(c.i64()?));
            let trace_id = c.bytes()?.first_chunk().map(|b| TraceId(*b));
            let span_id = c.bytes()?.first_chunk().map(|b| SpanId(*b));
            out.exemplars.push((series, Exemplar { labels, value, timestamp, trace_id, span_id }));
        }
        let (n, mut c) = column(&mut r)?;
        for _ in 0..n {
            let (family, kind) = (c.str()?.to_owned(), MetricKind::from_text(c.str()?)?);
            let (help, unit) = (c.str()?.to_owned(), c.str()?.to_owned());
            out.metadata.push(MetricMetadata { family, kind, help, unit });
        }
        if started {
            out.starts = Runs::get(&mut r, out.samples.len())?;
            out.histogram_starts = Runs::get(&mut r, out.histograms.len())?;
        }
        r.rest.is_empty().then_some(out)
    }
}

fn column<'a>(r: &mut Reader<'a>) -> Option<(usize, Reader<'a>)> {
    let n = usize::try_from(r.u64()?).ok()?;
    let bytes = r.bytes()?;
    (n <= bytes.len()).then_some((n, Reader::new(bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample_record(count: u32, started: bool) -> (RecordHead, Vec<u8>) {
        let head = RecordHead { epoch: 7, flush: 3, late_floor: -5 };
        let mut w = RecordWriter::default();
        for id in 1..=count {
            w.define(id, &LabelSet::from_pairs([("__name__", format!("m{id}"))]));
            let samples = [(TimestampMs(1_000), 1.5), (TimestampMs(2_000), obs_types::stale_nan())];
            w.samples(id, &samples, started.then_some(&|t: TimestampMs| t.0 - 1_000));
        }
        let start = if started { 9 } else { 0 };
        let h = NativeHistogram { count: 4.0, ..NativeHistogram::default() };
        w.histogram(1, 3_000, &h, start);
        let exemplar = Exemplar {
            labels: LabelSet::from_pairs([("trace_id", "1")]),
            value: 2.0,
            timestamp: TimestampMs(9),
            trace_id: Some(TraceId([1; 16])),
            span_id: None,
        };
        w.exemplar(&LabelSet::from_pairs([("a", "b")]), &exemplar);
        w.metadata(&MetricMetadata {
            family: "m1".into(),
            kind: MetricKind::Counter,
            help: "x".into(),
            unit: String::new(),
        });
        (head, w.finish(head))
    }

    #[test]
    fn small_and_packed_records_come_back() {
        for (count, started) in [(2, false), (500, false), (2, true), (500, true)] {
            let (head, bytes) = sample_record(count, started);
            assert_eq!(bytes[0], 1 + u8::from(started));
            let r = Record::read(&bytes).unwrap();
            assert_eq!(r.head, head);
            assert_eq!(r.definitions.len(), count as usize);
            assert_eq!(r.series.last(), Some(&(count, 2)));
            assert_eq!(r.samples.len(), 2 * count as usize);
            assert!(r.samples[0] == (1_000, 1.5) && obs_types::is_stale(r.samples[1].1));
            assert_eq!(r.histograms[0].2.count, 4.0);
            assert_eq!(r.exemplars[0].1.trace_id, Some(TraceId([1; 16])));
            assert_eq!(r.metadata[0].kind, MetricKind::Counter);
            let starts: Vec<i64> = r.starts.into_starts().take(r.samples.len() + 1).collect();
            let want = if started { [0, 1_000] } else { [0, 0] };
            assert_eq!(starts[..4], [want, want].concat());
            assert_eq!(starts.last(), Some(&0));
            let want = if started { 9 } else { 0 };
            assert_eq!(r.histogram_starts.into_starts().next(), Some(want));
        }
    }

    #[test]
    fn cut_or_changed_records_never_panic() {
        let (_, bytes) = sample_record(3, true);
        for at in 0..bytes.len() {
            assert!(Record::read(&bytes[..at]).is_none(), "cut at {at}");
            for mask in [1, 0x80, 0xff] {
                let mut changed = bytes.clone();
                changed[at] ^= mask;
                Record::read(&changed);
            }
        }
    }
}
