//! The record tree of a seal: which bytes are a leaf, and the keys that salt them.

use obs_proof::Hash;
use obs_proof::record::{
    LEAF_LOG, LEAF_SERIES, LEAF_SPAN, RecordScope, RecordTreeBuilder, hour_key, salt,
};
use obs_types::{ContentHash, LabelSet, NativeHistogram, SeriesData, SpanRecord};

use crate::metrics_write::{Sample, merged, reset_text};
use crate::otlp_json::span_record_json;
use crate::parquet_file::{
    KEY_COUNT, KEY_FORMAT, KEY_HOUR, KEY_HOUR_KEY, KEY_LEAF, KEY_REDACTED, KEY_REVISION, KEY_ROOT,
};
use crate::redactions::Redactions;
use crate::seal::Records;
use crate::{ArchiveError, SealName, Signal, logs_file, metrics_write, traces_file};

/// Lower-case hex.
pub(crate) use obs_proof::hash::to_hex as hex;

/// Salts one sealed file's leaves; it lies in that file, so whoever holds the file can recompute
/// its tree.
#[derive(Clone, Copy)]
pub(crate) struct HourKey([u8; 32]);

impl HourKey {
    pub(crate) fn derive(seal_key: &[u8; 32], name: SealName) -> Self {
        Self(hour_key(seal_key, name.signal.as_str(), &name.hour.end_text(), name.revision))
    }

    pub(crate) fn from_text(path: &str, text: &str) -> Result<Self, ArchiveError> {
        obs_proof::hash::hash_from_text("hour key", "", text)
            .map(Self)
            .map_err(|e| ArchiveError::corrupt(path, e))
    }

    pub(crate) fn text(&self) -> String {
        hex(&self.0)
    }
}

pub(crate) fn content_hash(bytes: &[u8]) -> ContentHash {
    ContentHash(*blake3::hash(bytes).as_bytes())
}

pub(crate) fn leaf_kind(signal: Signal) -> &'static str {
    match signal {
        Signal::Metrics => LEAF_SERIES,
        Signal::Logs => LEAF_LOG,
        Signal::Traces => LEAF_SPAN,
    }
}

/// Adds records in file order.
pub(crate) struct RecordTree {
    kind: &'static str,
    key: HourKey,
    scope: RecordScope,
    builder: RecordTreeBuilder,
}

impl RecordTree {
    pub(crate) fn new(key: &HourKey, name: SealName) -> Self {
        let kind = leaf_kind(name.signal);
        let scope = RecordScope::new(kind, name.signal.as_str(), name.hour.end_text());
        let builder = RecordTreeBuilder::new(scope.clone(), key.0);
        Self { kind, key: *key, scope, builder }
    }

    /// The leaf hash of a record that would come next.
    pub(crate) fn leaf_of_next(&self, record: &[u8]) -> Hash {
        self.scope.leaf(&salt(&self.key.0, self.builder.count()), record)
    }

    pub(crate) fn count(&self) -> u64 {
        self.builder.count()
    }

    /// Adds a record of which the leaf hash alone is left.
    pub(crate) fn push_leaf(&mut self, leaf: Hash) {
        self.builder.push_leaf(leaf);
    }

    pub(crate) fn push(&mut self, record: &[u8]) {
        self.builder.push(record);
    }

    /// The tree's summary and its side file.
    pub(crate) fn finish(self) -> (Records, Vec<u8>) {
        let tree = self.builder.finish();
        let records = Records { count: tree.count, root: tree.root, leaf: self.kind };
        (records, tree.to_sidecar())
    }
}

/// The metadata keys that every Parquet seal has.
pub(crate) fn seal_metadata(
    key: &HourKey,
    name: SealName,
    records: &Records,
    redactions: &Redactions,
) -> Vec<(&'static str, String)> {
    let [whole, redacted] = match name.signal {
        Signal::Metrics => metrics_write::FORMATS,
        Signal::Logs => logs_file::FORMATS,
        Signal::Traces => traces_file::FORMATS,
    };
    let mut metadata = vec![
        (KEY_FORMAT, if redactions.is_empty() { whole } else { redacted }.to_owned()),
        (KEY_HOUR, name.hour.end_text()),
        (KEY_REVISION, name.revision.to_string()),
        (KEY_HOUR_KEY, key.text()),
        (KEY_LEAF, records.leaf.to_owned()),
        (KEY_COUNT, records.count.to_string()),
        (KEY_ROOT, records.root_text()),
    ];
    if !redactions.is_empty() {
        metadata.push((KEY_REDACTED, redactions.text()));
    }
    metadata
}

/// `vmobs-series-hour/1`: labels by name as (u32 length, bytes) pairs behind their count, then
/// the samples by time. A float is 0, i64 ms, f64 bits, i64 start ms (0 unknown); a histogram is
/// 1, i64 ms, then its fields. Integers are big-endian like the tree's own lengths.
pub(crate) fn series_leaf(series: &SeriesData) -> Vec<u8> {
    let mut out = Vec::with_capacity(64 + series.sample_count() * 25);
    put_labels(&mut out, &series.labels);
    for sample in merged(series) {
        match sample {
            Sample::Float(t, value, start) => {
                out.push(0);
                out.extend_from_slice(&t.to_be_bytes());
                out.extend_from_slice(&value.to_bits().to_be_bytes());
                out.extend_from_slice(&start.to_be_bytes());
            }
            Sample::Histogram(t, histogram) => {
                out.push(1);
                out.extend_from_slice(&t.to_be_bytes());
                put_histogram(&mut out, histogram);
            }
        }
    }
    out
}

fn put_len(out: &mut Vec<u8>, len: usize) {
    out.extend_from_slice(&u32::try_from(len).unwrap_or(u32::MAX).to_be_bytes());
}

fn put_labels(out: &mut Vec<u8>, labels: &LabelSet) {
    put_len(out, labels.len());
    for (name, value) in labels.iter() {
        for text in [name, value] {
            put_len(out, text.len());
            out.extend_from_slice(text.as_bytes());
        }
    }
}

fn put_histogram(out: &mut Vec<u8>, h: &NativeHistogram) {
    let reset = reset_text(h.counter_reset_hint);
    put_len(out, reset.len());
    out.extend_from_slice(reset.as_bytes());
    out.extend_from_slice(&h.schema.to_be_bytes());
    for v in [h.zero_threshold, h.zero_count, h.count, h.sum] {
        out.extend_from_slice(&v.to_bits().to_be_bytes());
    }
    for spans in [&h.positive_spans, &h.negative_spans] {
        put_len(out, spans.len());
        for span in spans {
            out.extend_from_slice(&span.offset.to_be_bytes());
            out.extend_from_slice(&span.length.to_be_bytes());
        }
    }
    for values in [&h.positive_buckets, &h.negative_buckets, &h.custom_values] {
        put_len(out, values.len());
        for v in values {
            out.extend_from_slice(&v.to_bits().to_be_bytes());
        }
    }
}

/// `vmobs-span/1`: canonical OTLP/JSON of the span with its resource and scope.
pub(crate) fn span_leaf(path: &str, record: &SpanRecord) -> Result<Vec<u8>, ArchiveError> {
    obs_proof::canonical::to_string(&span_record_json(record))
        .map(String::into_bytes)
        .map_err(|e| ArchiveError::encode(path, e))
}
