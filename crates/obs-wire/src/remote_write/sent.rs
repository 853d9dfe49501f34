//! Version 1 for sinks that know their series already: labels stay as they lie in the body. What a
//! body is read into here is the same for version 2.

use obs_types::{
    LabelSet, MetricBatch, RejectReason, SentBatch, SentLabels, SentSeries, TimestampMs,
};

use super::series::{Reader, check_labels, collector, show_labels, usual_sample};
use super::v1::{WHAT, label_pair, read_metadata, read_series};
use crate::protobuf::{Fields, Value, broken};
use crate::{Decoded, WireCaps, WireError};

pub(super) const SAMPLE_BYTES: usize = size_of::<(TimestampMs, f64)>();

/// A body in two parts.
#[derive(Debug)]
pub struct SentBody<'b> {
    /// Series of float samples, written as all senders write them.
    pub sent: SentBatch<'b>,
    /// All other series, metadata, and what was dropped.
    pub rest: Decoded<MetricBatch>,
}

/// As [`super::decode_v1`], but leaves the labels of plain series unread: what is wrong with them
/// is told by the form of the batch.
pub fn read_sent_v1<'b>(body: &'b [u8], caps: &WireCaps) -> Result<SentBody<'b>, WireError> {
    let mut reader = Reader::new(WHAT, caps);
    let mut sent = SentBatch::new(&LabelsV1);
    let mut series = Vec::new();
    let mut collect = collector(&mut series);
    for field in Fields::new(body) {
        match field.map_err(|left| broken(WHAT, left))? {
            (1, Value::Bytes(one)) => {
                let plain = take_plain(&mut reader, one, &mut sent)?;
                if !plain {
                    read_series(&mut reader, one, &mut collect)?;
                }
            }
            (3, Value::Bytes(metadata)) => read_metadata(&mut reader, metadata)?,
            _ => {}
        }
    }
    drop(collect);
    let rest = reader.rest;
    let batch = MetricBatch { series, metadata: rest.metadata };
    Ok(SentBody { sent, rest: Decoded { batch, outcome: rest.outcome } })
}

/// Adds the series if it is of labels and float samples in that order, all in their usual form;
/// `false`, and nothing is added, if not.
fn take_plain<'b>(
    reader: &mut Reader<'b>,
    series: &'b [u8],
    out: &mut SentBatch<'b>,
) -> Result<bool, WireError> {
    let Some((labels, label_count)) = labels_in_front(series) else { return Ok(false) };
    let mut rest = series.get(labels.len()..).unwrap_or_default();
    let before = out.samples.len();
    while let Some((&[0x12, len], tail)) = rest.split_first_chunk::<2>()
        && let Some((sample, tail)) = tail.split_at_checked(usize::from(len))
        && let Some(sample) = usual_sample(sample)
    {
        out.samples.push(sample);
        rest = tail;
    }
    let samples = out.samples.len() - before;
    if samples == 0 || !rest.is_empty() {
        out.samples.truncate(before);
        return Ok(false);
    }
    reader.spend_many(1 + label_count)?;
    reader.budget.spend(labels.len() + 2 * label_count + samples * SAMPLE_BYTES)?;
    out.series.push(SentSeries { labels, samples });
    Ok(true)
}

/// The label fields at the beginning, and how many. Each is key, length, name with key and length,
/// value with key and length, all lengths below 128. `None` if one of that form is cut.
fn labels_in_front(series: &[u8]) -> Option<(&[u8], usize)> {
    let (mut at, mut count) = (0, 0);
    let mut rest = series;
    while let Some((&[0x0a, len, 0x0a, name_len], tail)) = rest.split_first_chunk::<4>() {
        let name_len = usize::from(name_len);
        let Some(&[0x12, value_len]) = tail.get(name_len..)?.first_chunk::<2>() else { break };
        let value_len = usize::from(value_len);
        let whole = 4 + name_len + value_len;
        if len >= 128 || name_len >= 128 || value_len >= 128 || usize::from(len) != whole {
            break;
        }
        at += 2 + whole;
        count += 1;
        rest = series.get(at..)?;
    }
    Some((series.get(..at)?, count))
}

/// Label fields as [`labels_in_front`] found them.
struct LabelsV1;

impl SentLabels for LabelsV1 {
    fn read(&self, sent: &[u8]) -> Result<LabelSet, RejectReason> {
        let mut pairs = pairs_of(sent)?;
        check_labels(&mut pairs)?;
        LabelSet::from_sorted(&mut Vec::with_capacity(sent.len() + 64), pairs)
            .ok_or(RejectReason::InvalidLabel)
    }

    fn show(&self, sent: &[u8]) -> String {
        show_labels(&pairs_of(sent).unwrap_or_default())
    }
}

fn pairs_of(sent: &[u8]) -> Result<Vec<(&str, &str)>, RejectReason> {
    let mut pairs = Vec::with_capacity(16);
    for field in Fields::new(sent) {
        let Ok((_, Value::Bytes(label))) = field else { return Err(RejectReason::InvalidLabel) };
        match label_pair(label) {
            Ok(Some(pair)) => pairs.push(pair),
            Ok(None) => return Err(RejectReason::InvalidUtf8),
            Err(_broken) => return Err(RejectReason::InvalidLabel),
        }
    }
    Ok(pairs)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use prost::Message as _;

    use super::super::tests::{self, shown};
    use super::super::{decode_v1, messages};
    use super::*;

    fn whole(body: &[u8]) -> Result<Decoded<MetricBatch>, WireError> {
        read_sent_v1(body, &WireCaps::default()).map(tests::whole)
    }

    fn any_body() -> impl Strategy<Value = Vec<u8>> {
        let name = prop_oneof![Just("__name__"), Just("a"), Just("bb"), Just("")];
        let label = (name, "[x-zé]{0,20}");
        let time = prop_oneof![Just(1_700_000_000_000_i64), -5_i64..100, any::<i64>()];
        let sample = (time, any::<u64>());
        let odd = prop_oneof![9 => Just(false), 1 => Just(true)];
        let series =
            (proptest::collection::vec(label, 0..5), proptest::collection::vec(sample, 0..4), odd)
                .prop_map(|(labels, samples, odd)| messages::TimeSeries {
                    labels: labels
                        .into_iter()
                        .map(|(n, v)| messages::Label { name: n.into(), value: v })
                        .collect(),
                    samples: samples
                        .into_iter()
                        .map(|(timestamp, bits)| messages::Sample {
                            timestamp,
                            value: f64::from_bits(bits),
                        })
                        .collect(),
                    histograms: vec![messages::Histogram::default(); usize::from(odd)],
                    ..Default::default()
                });
        proptest::collection::vec(series, 0..5).prop_map(|timeseries| {
            messages::WriteRequest { timeseries, ..Default::default() }.encode_to_vec()
        })
    }

    proptest! {
        #[test]
        fn two_parts_are_the_whole(body in any_body(), cut in any::<proptest::sample::Index>()) {
            let want = decode_v1(&body, &WireCaps::default()).unwrap();
            prop_assert_eq!(shown(whole(&body).unwrap()), shown(want));
            let broken = &body[..cut.index(body.len() + 1)];
            let caps = WireCaps::default();
            prop_assert_eq!(whole(broken).is_ok(), decode_v1(broken, &caps).is_ok());
        }

        #[test]
        fn any_change_is_read_alike(body in any_body(), at in any::<proptest::sample::Index>(), bit in 0..8) {
            let mut body = body;
            if !body.is_empty() {
                let at = at.index(body.len());
                body[at] ^= 1_u8 << bit;
            }
            match (whole(&body), decode_v1(&body, &WireCaps::default())) {
                (Ok(got), Ok(want)) => prop_assert_eq!(shown(got), shown(want)),
                (Err(_), Err(_)) => {}
                (got, want) => prop_assert!(false, "{got:?} for {want:?}"),
            }
        }
    }
}
