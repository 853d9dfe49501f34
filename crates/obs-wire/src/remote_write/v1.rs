use obs_types::{LabelSet, MetricBatch, MetricMetadata, RejectReason, TimestampMs};
use prost::Message as _;

use super::series::{Reader, Rest, SeriesView, collect, reject};
use super::{histogram, kind_from_number, messages, number_from_kind};
use crate::protobuf::{Fields, Value, broken};
use crate::{Decoded, WireCaps, WireError};

pub(super) const WHAT: &str = "remote write request";

/// Reads a `prometheus.WriteRequest`. Series with bad labels and bad histograms are dropped and
/// counted; broken protobuf refuses the whole body.
pub fn decode_v1(body: &[u8], caps: &WireCaps) -> Result<Decoded<MetricBatch>, WireError> {
    collect(|visit| read_v1(body, caps, visit))
}

/// As [`decode_v1`], but shows each series in turn instead of copying it. What was shown before an
/// `Err` does not count.
pub fn read_v1(
    body: &[u8],
    caps: &WireCaps,
    visit: &mut dyn FnMut(SeriesView<'_>),
) -> Result<Rest, WireError> {
    let mut reader = Reader::new(WHAT, caps);
    for field in Fields::new(body) {
        match field.map_err(|left| broken(WHAT, left))? {
            (1, Value::Bytes(series)) => read_series(&mut reader, series, visit)?,
            (3, Value::Bytes(metadata)) => read_metadata(&mut reader, metadata)?,
            _ => {}
        }
    }
    Ok(reader.rest)
}

pub(super) fn read_series<'b>(
    reader: &mut Reader<'b>,
    bytes: &'b [u8],
    visit: &mut dyn FnMut(SeriesView<'_>),
) -> Result<(), WireError> {
    reader.spend()?;
    reader.begin();
    let mut labels = Ok(());
    for field in Fields::new(bytes) {
        match field.map_err(|left| broken(WHAT, left))? {
            (1, Value::Bytes(label)) => {
                reader.spend()?;
                match label_pair(label)? {
                    Some(pair) => reader.pairs.push(pair),
                    None => labels = Err(RejectReason::InvalidUtf8),
                }
            }
            (2, Value::Bytes(sample)) => reader.sample(sample)?,
            (3, Value::Bytes(exemplar)) => read_exemplar(reader, exemplar)?,
            (4, Value::Bytes(histogram)) => reader.histogram(histogram)?,
            _ => {}
        }
    }
    reader.finish(labels, visit)
}

fn read_exemplar<'b>(reader: &mut Reader<'b>, bytes: &'b [u8]) -> Result<(), WireError> {
    reader.spend()?;
    let mut pairs = Ok(Vec::new());
    let (mut value, mut at) = (0.0, TimestampMs(0));
    for field in Fields::new(bytes) {
        match field.map_err(|left| broken(WHAT, left))? {
            (1, Value::Bytes(label)) => {
                reader.spend()?;
                match (label_pair(label)?, &mut pairs) {
                    (Some(pair), Ok(pairs)) => pairs.push(pair),
                    _ => pairs = Err(RejectReason::InvalidUtf8),
                }
            }
            (2, Value::Fixed64(bits)) => value = f64::from_bits(bits),
            (3, Value::Varint(n)) => at = TimestampMs(n as i64),
            _ => {}
        }
    }
    reader.exemplar(pairs, value, at)
}

pub(super) fn read_metadata(reader: &mut Reader<'_>, bytes: &[u8]) -> Result<(), WireError> {
    reader.spend()?;
    let mut kind = 0;
    let mut texts: [&[u8]; 3] = [&[]; 3];
    for field in Fields::new(bytes) {
        match field.map_err(|left| broken(WHAT, left))? {
            (1, Value::Varint(n)) => kind = n,
            (2, Value::Bytes(b)) => texts[0] = b,
            (4, Value::Bytes(b)) => texts[1] = b,
            (5, Value::Bytes(b)) => texts[2] = b,
            _ => {}
        }
    }
    let read = texts.map(|t| std::str::from_utf8(t).ok());
    let [Some(family), Some(help), Some(unit)] = read else {
        let example = || format!("metadata of {:?}", String::from_utf8_lossy(texts[0]));
        reject(&mut reader.rest.outcome, RejectReason::InvalidUtf8, 1, example);
        return Ok(());
    };
    reader.rest.metadata.push(MetricMetadata {
        family: family.to_owned(),
        kind: kind_from_number(kind),
        help: help.to_owned(),
        unit: unit.to_owned(),
    });
    Ok(())
}

/// `None` when name or value is not UTF-8.
pub(super) fn label_pair(bytes: &[u8]) -> Result<Option<(&str, &str)>, WireError> {
    let (mut name, mut value): (&[u8], &[u8]) = (&[], &[]);
    // What every sender writes: name, then value, both shorter than 128 bytes.
    let short = || {
        let (&[10, length], rest) = bytes.split_first_chunk::<2>()? else { return None };
        let (name, rest) = rest.split_at_checked(usize::from(length))?;
        let (&[18, length], value) = rest.split_first_chunk::<2>()? else { return None };
        (name.len() < 128 && value.len() < 128 && value.len() == usize::from(length))
            .then_some((name, value))
    };
    match short() {
        Some(pair) => (name, value) = pair,
        None => {
            for field in Fields::new(bytes) {
                match field.map_err(|left| broken(WHAT, left))? {
                    (1, Value::Bytes(b)) => name = b,
                    (2, Value::Bytes(b)) => value = b,
                    _ => {}
                }
            }
        }
    }
    Ok(std::str::from_utf8(name).ok().zip(std::str::from_utf8(value).ok()))
}

/// Writes a `prometheus.WriteRequest`, not compressed.
pub fn encode_v1(batch: &MetricBatch) -> Vec<u8> {
    let labels = |set: &LabelSet| -> Vec<messages::Label> {
        set.iter()
            .map(|(n, v)| messages::Label { name: n.to_owned(), value: v.to_owned() })
            .collect()
    };
    let request = messages::WriteRequest {
        timeseries: batch
            .series
            .iter()
            .map(|s| messages::TimeSeries {
                labels: labels(&s.labels),
                samples: s
                    .samples
                    .iter()
                    .map(|(t, value)| messages::Sample { value: *value, timestamp: t.0 })
                    .collect(),
                exemplars: s
                    .exemplars
                    .iter()
                    .map(|e| messages::Exemplar {
                        labels: labels(&e.labels),
                        value: e.value,
                        timestamp: e.timestamp.0,
                    })
                    .collect(),
                histograms: s.histograms.iter().map(|(t, h)| histogram::to_wire(h, t.0)).collect(),
            })
            .collect(),
        metadata: batch
            .metadata
            .iter()
            .map(|m| messages::MetricMetadata {
                kind: number_from_kind(m.kind),
                metric_family_name: m.family.clone(),
                help: m.help.clone(),
                unit: m.unit.clone(),
            })
            .collect(),
    };
    request.encode_to_vec()
}
