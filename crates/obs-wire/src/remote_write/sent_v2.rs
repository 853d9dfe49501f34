//! Version 2 for sinks that know their series already. Labels are references into a table of each
//! body's own; spelled out they are the same bytes each time.

use obs_types::{
    LabelSet, METRIC_NAME, MetricBatch, RejectReason, SentBatch, SentLabels, SentSeries,
};

use super::sent::{SAMPLE_BYTES, SentBody};
use super::series::{Reader, check_labels, collector, read_sample, show_labels};
use super::v2::{Symbols, WHAT, read_metadata, read_series, resolve, symbols};
use crate::protobuf::{Fields, Value, broken, varints};
use crate::{Decoded, WireCaps, WireError};

/// As [`super::decode_v2`], but leaves the labels of plain series (float samples and metadata)
/// unread: what is wrong with them is told by the form of the batch. `spelled` is room for them.
pub fn read_sent_v2<'b>(
    body: &[u8],
    caps: &WireCaps,
    spelled: &'b mut Vec<u8>,
) -> Result<SentBody<'b>, WireError> {
    let mut reader = Reader::new(WHAT, caps);
    let symbols = symbols(&mut reader, body)?;
    let mut references = Vec::with_capacity(64);
    let mut sent = SentBatch::new(&LabelsV2);
    let mut series = Vec::new();
    let mut collect = collector(&mut series);
    // Where the labels of each plain series end, and how many samples it has.
    let mut plain: Vec<(usize, usize)> = Vec::new();
    spelled.clear();
    for field in Fields::new(body) {
        if let (5, Value::Bytes(one)) = field.map_err(|left| broken(WHAT, left))? {
            references.clear();
            let place = (&mut *spelled, &mut sent);
            match take_plain(&mut reader, &symbols, &mut references, one, place)? {
                Some(samples) => plain.push((spelled.len(), samples)),
                None => read_series(&mut reader, &symbols, &mut references, one, &mut collect)?,
            }
        }
    }
    drop(collect);
    let mut rest_of_labels: &'b [u8] = spelled;
    let mut begin = 0;
    for (end, samples) in plain {
        let (labels, later) = rest_of_labels.split_at_checked(end - begin).unwrap_or_default();
        sent.series.push(SentSeries { labels, samples });
        (rest_of_labels, begin) = (later, end);
    }
    let rest = reader.rest;
    let batch = MetricBatch { series, metadata: rest.metadata };
    Ok(SentBody { sent, rest: Decoded { batch, outcome: rest.outcome } })
}

/// Adds the series if it has samples and nothing else but labels and metadata, and its labels can
/// be resolved; returns how many samples. `None`, and nothing is added, if not.
fn take_plain<'s>(
    reader: &mut Reader<'s>,
    symbols: &Symbols<'s>,
    references: &mut Vec<u64>,
    series: &'s [u8],
    (spelled, out): (&mut Vec<u8>, &mut SentBatch<'_>),
) -> Result<Option<usize>, WireError> {
    let mut count = 0;
    for field in Fields::new(series) {
        match field {
            Ok((1, _) | (5, Value::Bytes(_))) => {}
            Ok((2, Value::Bytes(_))) => count += 1,
            // Whatever it is, broken or more than is looked for here.
            _ => return Ok(None),
        }
    }
    if count == 0 {
        return Ok(None);
    }
    let before = out.samples.len();
    let mut metadata = None;
    for field in Fields::new(series) {
        match field.map_err(|left| broken(WHAT, left))? {
            (1, value) => varints(WHAT, value, &mut reader.budget, references)?,
            (2, Value::Bytes(sample)) => {
                reader.budget.spend(SAMPLE_BYTES)?;
                let (at, value, start) = read_sample(WHAT, sample)?;
                let start = if start <= at.0 { start } else { 0 };
                if start != 0 && out.start_timestamps.is_empty() {
                    out.start_timestamps.resize(out.samples.len(), 0);
                }
                out.samples.push((at, value));
                if start != 0 || !out.start_timestamps.is_empty() {
                    out.start_timestamps.push(start);
                }
            }
            (5, Value::Bytes(bytes)) => metadata = Some(bytes),
            _ => {}
        }
    }
    reader.pairs.clear();
    if resolve(symbols, references, &mut reader.pairs).is_err() {
        out.samples.truncate(before);
        out.start_timestamps.truncate(before);
        references.clear();
        return Ok(None);
    }
    reader.spend_many(1 + usize::from(metadata.is_some()))?;
    reader.budget.spend(reader.pairs.iter().map(|(n, v)| n.len() + v.len() + 8).sum())?;
    for text in reader.pairs.iter().flat_map(|(n, v)| [n, v]) {
        // A body's lengths fit: they are capped far below that.
        let len = u32::try_from(text.len()).unwrap_or(u32::MAX);
        spelled.extend_from_slice(&len.to_le_bytes());
        spelled.extend_from_slice(text.as_bytes());
    }
    let name = reader.pairs.iter().find(|(n, _)| *n == METRIC_NAME).map(|(_, v)| *v);
    if let (Some(name), Some(bytes)) = (name, metadata) {
        read_metadata(reader, symbols, name, bytes)?;
    }
    Ok(Some(count))
}

/// Names and values in the order of the references, each a length (4 bytes, little-endian) and text.
struct LabelsV2;

impl SentLabels for LabelsV2 {
    fn read(&self, sent: &[u8]) -> Result<LabelSet, RejectReason> {
        let mut pairs = pairs_of(sent).ok_or(RejectReason::InvalidLabel)?;
        check_labels(&mut pairs)?;
        LabelSet::from_sorted(&mut Vec::with_capacity(sent.len()), pairs)
            .ok_or(RejectReason::InvalidLabel)
    }

    fn show(&self, sent: &[u8]) -> String {
        show_labels(&pairs_of(sent).unwrap_or_default())
    }
}

fn pairs_of(mut sent: &[u8]) -> Option<Vec<(&str, &str)>> {
    let mut text = || {
        let (len, rest) = sent.split_first_chunk::<4>()?;
        let (text, rest) = rest.split_at_checked(u32::from_le_bytes(*len) as usize)?;
        sent = rest;
        std::str::from_utf8(text).ok()
    };
    let mut pairs = Vec::with_capacity(16);
    while let Some(name) = text() {
        pairs.push((name, text()?));
    }
    sent.is_empty().then_some(pairs)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use prost::Message as _;

    use super::super::decode_v2;
    use super::super::messages::Histogram;
    use super::super::tests::{
        self, ExemplarV2, MetadataV2, RequestV2, SampleV2, TimeSeriesV2, shown,
    };
    use super::*;

    fn whole(body: &[u8], caps: &WireCaps) -> Result<Decoded<MetricBatch>, WireError> {
        let mut spelled = vec![7];
        read_sent_v2(body, caps, &mut spelled).map(tests::whole)
    }

    fn any_body() -> impl Strategy<Value = Vec<u8>> {
        let symbols = ["", "__name__", "a_total", "job", "bü", "help", "x", "le"];
        let time = || prop_oneof![Just(1_700_000_000_000_i64), -5_i64..100, any::<i64>()];
        let start = prop_oneof![2 => Just(0), 2 => Just(1_600_000_000_000_i64), 1 => any::<i64>()];
        let sample =
            (time(), start, any::<u64>()).prop_map(|(timestamp, start_timestamp, bits)| SampleV2 {
                value: f64::from_bits(bits),
                timestamp,
                start_timestamp,
            });
        let usual = Just(vec![1, 2, 3, 4]);
        let labels = prop_oneof![3 => usual, 2 => proptest::collection::vec(0_u32..10, 0..7)];
        let metadata = proptest::option::of((0..9, 0_u32..10, 0_u32..10)).prop_map(|m| {
            m.map(|(kind, help_ref, unit_ref)| MetadataV2 { kind, help_ref, unit_ref })
        });
        let odd = prop_oneof![8 => Just(0), 1 => Just(1), 1 => Just(2)];
        let samples = proptest::collection::vec(sample, 0..4);
        let series =
            (labels, samples, metadata, odd).prop_map(|(labels_refs, samples, metadata, odd)| {
                TimeSeriesV2 {
                    labels_refs,
                    samples,
                    metadata,
                    histograms: vec![Histogram::default(); usize::from(odd == 1)],
                    exemplars: vec![ExemplarV2::default(); usize::from(odd == 2)],
                }
            });
        proptest::collection::vec(series, 0..5).prop_map(move |timeseries| {
            let symbols = symbols.map(str::to_owned).to_vec();
            RequestV2 { symbols, timeseries }.encode_to_vec()
        })
    }

    proptest! {
        #[test]
        fn two_parts_are_the_whole(body in any_body(), cut in any::<proptest::sample::Index>()) {
            let caps = WireCaps::default();
            let want = decode_v2(&body, &caps).unwrap();
            prop_assert_eq!(shown(whole(&body, &caps).unwrap()), shown(want));
            let broken = &body[..cut.index(body.len() + 1)];
            prop_assert_eq!(whole(broken, &caps).is_ok(), decode_v2(broken, &caps).is_ok());
        }

        #[test]
        fn any_change_is_read_alike(body in any_body(), at in any::<proptest::sample::Index>(), bit in 0..8) {
            let mut body = body;
            if !body.is_empty() {
                let at = at.index(body.len());
                body[at] ^= 1_u8 << bit;
            }
            let caps = WireCaps::default();
            match (whole(&body, &caps), decode_v2(&body, &caps)) {
                (Ok(got), Ok(want)) => prop_assert_eq!(shown(got), shown(want)),
                (Err(_), Err(_)) => {}
                (got, want) => prop_assert!(false, "{got:?} for {want:?}"),
            }
        }
    }

    #[test]
    fn the_same_labels_are_the_same_bytes_whatever_the_table() {
        let body = |symbols: &[&str], labels_refs: &[u32]| {
            let samples = vec![SampleV2 { value: 1.0, timestamp: 5, start_timestamp: 0 }];
            let labels_refs = labels_refs.to_vec();
            let series = TimeSeriesV2 { labels_refs, samples, ..TimeSeriesV2::default() };
            let symbols = symbols.iter().map(|s| (*s).to_owned()).collect();
            RequestV2 { symbols, timeseries: vec![series] }.encode_to_vec()
        };
        let (mut a, mut b) = (Vec::new(), Vec::new());
        let first = body(&["", "__name__", "m", "job", "x"], &[1, 2, 3, 4]);
        let second = body(&["", "other", "x", "job", "m", "__name__"], &[5, 4, 3, 2]);
        let caps = WireCaps::default();
        let first = read_sent_v2(&first, &caps, &mut a).unwrap().sent;
        let second = read_sent_v2(&second, &caps, &mut b).unwrap().sent;
        assert_eq!(first.series[0].labels, second.series[0].labels);
        let labels = first.form.read(first.series[0].labels).unwrap();
        assert_eq!(labels.to_string(), "m{job=\"x\"}");
    }

    #[test]
    fn one_long_symbol_cannot_be_spelled_without_end() {
        let caps = WireCaps { output_bytes_max: 16 << 10, ..WireCaps::default() };
        let samples = vec![SampleV2 { value: 1.0, timestamp: 5, start_timestamp: 0 }];
        let one = TimeSeriesV2 { labels_refs: vec![1, 2], samples, ..TimeSeriesV2::default() };
        let symbols = vec![String::new(), "__name__".to_owned(), "x".repeat(4_000)];
        let body = RequestV2 { symbols, timeseries: vec![one; 100] }.encode_to_vec();
        let mut spelled = Vec::new();
        let e = read_sent_v2(&body, &caps, &mut spelled).unwrap_err();
        assert!(matches!(e, WireError::Bomb { .. }), "{e}");
    }
}
