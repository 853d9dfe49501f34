use std::sync::Arc;

use obs_types::{LabelSet, MetricBatch, MetricMetadata, RejectReason, SeriesSamples, TimestampMs};
use prost::Message as _;

use super::{check_labels, histogram, kind_from_number, messages, number_from_kind, show_labels};
use crate::protobuf::{Fields, Value};
use crate::{Decoded, WireCaps, WireError};

const WHAT: &str = "remote write request";

/// Reads a `prometheus.WriteRequest`. Series with bad labels and bad histograms are dropped and
/// counted; broken protobuf refuses the whole body.
pub fn decode_v1(body: &[u8], caps: &WireCaps) -> Result<Decoded<MetricBatch>, WireError> {
    let mut out = Decoded::default();
    let mut decoder = Decoder { budget: caps.messages_max, caps, encoded: Vec::new() };
    for field in Fields::new(body) {
        match field.map_err(broken)? {
            (1, Value::Bytes(series)) => decoder.series(series, &mut out)?,
            (3, Value::Bytes(metadata)) => {
                decoder.spend()?;
                let m = messages::MetricMetadata::decode(metadata).map_err(undecodable)?;
                out.batch.metadata.push(MetricMetadata {
                    family: m.metric_family_name,
                    kind: kind_from_number(m.kind),
                    help: m.help,
                    unit: m.unit,
                });
            }
            _ => {}
        }
    }
    Ok(out)
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

fn broken(left: usize) -> WireError {
    WireError::malformed(WHAT, format!("broken field {left} bytes before the end"))
}

fn undecodable(e: prost::DecodeError) -> WireError {
    WireError::malformed(WHAT, e.to_string())
}

struct Decoder<'c> {
    budget: usize,
    caps: &'c WireCaps,
    encoded: Vec<u8>,
}

impl Decoder<'_> {
    fn spend(&mut self) -> Result<(), WireError> {
        self.budget = self
            .budget
            .checked_sub(1)
            .ok_or(WireError::TooManyMessages { what: WHAT, limit: self.caps.messages_max })?;
        Ok(())
    }

    fn series(&mut self, bytes: &[u8], out: &mut Decoded<MetricBatch>) -> Result<(), WireError> {
        self.spend()?;
        let mut pairs: Vec<(&str, &str)> = Vec::with_capacity(16);
        let mut utf8 = true;
        let mut series = SeriesSamples::default();
        let mut items = 0_u64;
        let mut bad_histogram: Option<(u64, String)> = None;
        for field in Fields::new(bytes) {
            match field.map_err(broken)? {
                (1, Value::Bytes(label)) => {
                    self.spend()?;
                    match label_pair(label)? {
                        Some(pair) => pairs.push(pair),
                        None => utf8 = false,
                    }
                }
                (2, Value::Bytes(sample)) => {
                    series.samples.push(read_sample(sample)?);
                    items += 1;
                }
                (3, Value::Bytes(exemplar)) => {
                    self.spend()?;
                    let e = messages::Exemplar::decode(exemplar).map_err(undecodable)?;
                    let pairs = e.labels.into_iter().map(|l| (l.name, l.value)).collect();
                    series.exemplars.push(crate::exemplar(
                        crate::labels::label_set(pairs),
                        e.value,
                        TimestampMs(e.timestamp),
                    ));
                }
                (4, Value::Bytes(bytes)) => {
                    self.spend()?;
                    items += 1;
                    let h = messages::Histogram::decode(bytes).map_err(undecodable)?;
                    match histogram::from_wire(&h) {
                        Ok(ok) => series.histograms.push((TimestampMs(h.timestamp), Arc::new(ok))),
                        Err(why) => bad_histogram.get_or_insert((0, why)).0 += 1,
                    }
                }
                _ => {}
            }
        }
        let checked = if utf8 { check_labels(&mut pairs) } else { Err(RejectReason::InvalidUtf8) };
        let labels = checked.and_then(|()| {
            crate::labels::encode(&mut self.encoded, pairs.iter().copied())
                .ok_or(RejectReason::InvalidLabel)
        });
        match labels {
            Ok(labels) => {
                if let Some((count, why)) = bad_histogram {
                    for _ in 0..count {
                        out.outcome
                            .reject(RejectReason::InvalidHistogram, || format!("{labels}: {why}"));
                    }
                }
                series.labels = labels;
                out.batch.series.push(series);
            }
            Err(reason) => {
                for _ in 0..items.max(1) {
                    out.outcome.reject(reason, || show_labels(&pairs));
                }
            }
        }
        Ok(())
    }
}

/// `None` when name or value is not UTF-8.
fn label_pair(bytes: &[u8]) -> Result<Option<(&str, &str)>, WireError> {
    let (mut name, mut value): (&[u8], &[u8]) = (&[], &[]);
    for field in Fields::new(bytes) {
        match field.map_err(broken)? {
            (1, Value::Bytes(b)) => name = b,
            (2, Value::Bytes(b)) => value = b,
            _ => {}
        }
    }
    Ok(std::str::from_utf8(name).ok().zip(std::str::from_utf8(value).ok()))
}

fn read_sample(bytes: &[u8]) -> Result<(TimestampMs, f64), WireError> {
    let (mut timestamp, mut value) = (0_i64, 0.0);
    for field in Fields::new(bytes) {
        match field.map_err(broken)? {
            (1, Value::Fixed64(bits)) => value = f64::from_bits(bits),
            // A protobuf int64 is its two's complement.
            (2, Value::Varint(n)) => timestamp = n as i64,
            _ => {}
        }
    }
    Ok((TimestampMs(timestamp), value))
}
