//! Building label sets without a builder's strings.

use obs_types::{Exemplar, LabelSet, TimestampMs};

/// `pairs` sorted by name and unique; empty values are left out. `None` if they are not so.
pub(crate) fn encode<'a>(
    buffer: &mut Vec<u8>,
    pairs: impl Iterator<Item = (&'a str, &'a str)>,
) -> Option<LabelSet> {
    buffer.clear();
    for (name, value) in pairs.filter(|(_, v)| !v.is_empty()) {
        for text in [name, value] {
            buffer.extend_from_slice(&u32::try_from(text.len()).ok()?.to_le_bytes());
            buffer.extend_from_slice(text.as_bytes());
        }
    }
    LabelSet::from_bytes(buffer)
}

/// An exemplar with the ids that its labels carry.
pub fn exemplar(labels: LabelSet, value: f64, timestamp: TimestampMs) -> Exemplar {
    let first = |names: &[&str]| names.iter().find_map(|n| labels.get(n));
    let trace_id = first(&["trace_id", "traceID"]).and_then(|v| v.parse().ok());
    let span_id = first(&["span_id", "spanID"]).and_then(|v| v.parse().ok());
    Exemplar { labels, value, timestamp, trace_id, span_id }
}
