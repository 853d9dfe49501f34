use std::sync::Arc;

use obs_types::{
    BucketSpan, LabelSet, MetricBatch, MetricKind, MetricMetadata, NativeHistogram, RejectReason,
    SeriesSamples, TimestampMs, stale_nan,
};
use proptest::prelude::*;
use prost::Message as _;

use super::*;
use crate::WireCaps;

fn histogram() -> NativeHistogram {
    NativeHistogram {
        schema: 1,
        count: 6.0,
        sum: 10.5,
        zero_threshold: 0.001,
        zero_count: 1.0,
        positive_spans: vec![BucketSpan { offset: -2, length: 2 }],
        positive_buckets: vec![2.0, 3.0],
        ..Default::default()
    }
}

fn batch() -> MetricBatch {
    let labels = LabelSet::from_pairs([("__name__", "x_total"), ("job", "é"), ("zz", "1")]);
    MetricBatch {
        series: vec![SeriesSamples {
            labels,
            samples: vec![(TimestampMs(-5), 1.5), (TimestampMs(10), stale_nan())],
            histograms: vec![(TimestampMs(20), Arc::new(histogram()))],
            exemplars: vec![crate::exemplar(
                LabelSet::from_pairs([("trace_id", "4bf92f3577b34da6a3ce929d0e0e4736")]),
                0.5,
                TimestampMs(11),
            )],
        }],
        metadata: vec![MetricMetadata {
            family: "x".into(),
            kind: MetricKind::Counter,
            help: "h".into(),
            unit: String::new(),
        }],
    }
}

#[test]
fn version_1_round_trips_bit_for_bit() {
    let sent = batch();
    let got = decode_v1(&encode_v1(&sent), &WireCaps::default()).unwrap();
    assert_eq!(got.outcome.rejected_count(), 0);
    assert_eq!(got.batch.metadata, sent.metadata);
    let (a, b) = (&got.batch.series[0], &sent.series[0]);
    assert_eq!(a.labels, b.labels);
    assert_eq!(a.samples[0], b.samples[0]);
    assert_eq!(a.samples[1].1.to_bits(), b.samples[1].1.to_bits());
    assert_eq!(a.exemplars, b.exemplars);
    assert_eq!(format!("{:?}", a.histograms), format!("{:?}", b.histograms));
}

#[test]
fn bad_series_are_dropped_and_the_rest_kept() {
    let label = |n: &str, v: &str| messages::Label { name: n.into(), value: v.into() };
    let series = |labels: Vec<messages::Label>| messages::TimeSeries {
        labels,
        samples: vec![messages::Sample { value: 1.0, timestamp: 1 }; 2],
        ..Default::default()
    };
    let mut bad_histogram = series(vec![label("__name__", "h")]);
    bad_histogram.histograms = vec![messages::Histogram { schema: 99, ..Default::default() }];
    let request = messages::WriteRequest {
        timeseries: vec![
            series(vec![label("zz", "1"), label("__name__", "ok"), label("empty", "")]),
            series(vec![label("job", "x")]),
            series(vec![label("__name__", "a"), label("b", "1"), label("b", "2")]),
            bad_histogram,
        ],
        metadata: vec![],
    };
    let got = decode_v1(&request.encode_to_vec(), &WireCaps::default()).unwrap();
    assert_eq!(got.batch.series.len(), 2);
    assert_eq!(got.batch.series[0].labels.to_string(), "ok{zz=\"1\"}");
    let count = |r| got.outcome.rejected.get(&r).map_or(0, |x| x.count);
    assert_eq!(count(RejectReason::MissingName), 2);
    assert_eq!(count(RejectReason::InvalidLabel), 2);
    assert_eq!(count(RejectReason::InvalidHistogram), 1);
}

#[test]
fn integer_histograms_become_absolute() {
    let wire = messages::Histogram {
        count_int: Some(6),
        zero_count_int: Some(1),
        schema: 1,
        positive_spans: vec![messages::BucketSpan { offset: 0, length: 2 }],
        positive_deltas: vec![2, 1],
        ..Default::default()
    };
    let got = histogram::from_wire(&wire).unwrap();
    assert_eq!(got.positive_buckets, [2.0, 3.0]);
    assert_eq!((got.count, got.zero_count), (6.0, 1.0));
}

#[test]
fn version_2_resolves_symbols() {
    let symbols = ["", "__name__", "x_total", "job", "a", "help text"];
    let request = messages::RequestV2 {
        symbols: symbols.map(str::to_owned).to_vec(),
        timeseries: vec![
            messages::TimeSeriesV2 {
                labels_refs: vec![1, 2, 3, 4],
                samples: vec![messages::Sample { value: 7.0, timestamp: 9 }],
                metadata: Some(messages::MetadataV2 { kind: 1, help_ref: 5, unit_ref: 0 }),
                ..Default::default()
            },
            messages::TimeSeriesV2 { labels_refs: vec![1, 99], ..Default::default() },
            messages::TimeSeriesV2 { labels_refs: vec![1], ..Default::default() },
        ],
    };
    let got = decode_v2(&request.encode_to_vec(), &WireCaps::default()).unwrap();
    assert_eq!(got.batch.series.len(), 1);
    assert_eq!(got.batch.series[0].labels.to_string(), "x_total{job=\"a\"}");
    assert_eq!(got.batch.metadata[0].help, "help text");
    assert_eq!(got.outcome.rejected_count(), 2);
}

#[test]
fn caps_hold() {
    let caps = WireCaps { messages_max: 10, ..WireCaps::default() };
    let empty_series = [0x0a, 0].repeat(11);
    assert_eq!(decode_v1(&empty_series, &caps).unwrap_err().reason(), "too_many_messages");
    let empty_v2 = [0x2a, 0].repeat(11);
    assert_eq!(decode_v2(&empty_v2, &caps).unwrap_err().reason(), "too_many_messages");
    assert_eq!(decode_v1(&[0x0a, 9, 1], &caps).unwrap_err().reason(), "malformed");
}

#[test]
fn content_types() {
    let of = |t| RemoteWriteVersion::from_content_type(t);
    assert_eq!(of(None), Some(RemoteWriteVersion::V1));
    assert_eq!(
        of(Some("application/x-protobuf;proto=io.prometheus.write.v2.Request")),
        Some(RemoteWriteVersion::V2)
    );
    assert_eq!(of(Some("application/json")), None);
    assert_eq!(of(Some("application/x-protobuf;proto=other")), None);
}

proptest! {
    #[test]
    fn any_bytes_are_refused_or_read(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        drop(decode_v1(&bytes, &WireCaps::default()));
        drop(decode_v2(&bytes, &WireCaps::default()));
    }

    #[test]
    fn damaged_requests_are_refused_or_read(at in 0_usize..200, byte in any::<u8>()) {
        let mut bytes = encode_v1(&batch());
        let at = at % bytes.len();
        bytes[at] = byte;
        drop(decode_v1(&bytes, &WireCaps::default()));
    }
}
