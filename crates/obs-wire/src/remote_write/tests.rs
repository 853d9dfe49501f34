use std::sync::Arc;

use obs_types::{
    BucketSpan, LabelSet, MetricBatch, MetricKind, MetricMetadata, NativeHistogram, RejectReason,
    SeriesSamples, TimestampMs, stale_nan,
};
use proptest::prelude::*;
use prost::Message as _;

use super::*;
use crate::{Decoded, WireCaps};

/// Both parts of a body together.
pub(super) fn whole(body: SentBody<'_>) -> Decoded<MetricBatch> {
    let SentBody { sent, mut rest } = body;
    let starts = sent.start_timestamps.len();
    assert!(starts == 0 || starts == sent.samples.len());
    let (batch, refused) = sent.to_batch();
    rest.batch.series.extend(batch.series);
    rest.outcome.merge(refused);
    rest
}

/// Independent of the order of series.
pub(super) fn shown(mut decoded: Decoded<MetricBatch>) -> String {
    decoded.batch.series.sort_by_cached_key(|s| format!("{s:?}"));
    let rejected: Vec<_> =
        decoded.outcome.rejected.iter().map(|(reason, r)| (*reason, r.count)).collect();
    format!("{:?} {rejected:?}", decoded.batch)
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct RequestV2 {
    #[prost(string, repeated, tag = "4")]
    pub(super) symbols: Vec<String>,
    #[prost(message, repeated, tag = "5")]
    pub(super) timeseries: Vec<TimeSeriesV2>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct TimeSeriesV2 {
    #[prost(uint32, repeated, tag = "1")]
    pub(super) labels_refs: Vec<u32>,
    #[prost(message, repeated, tag = "2")]
    pub(super) samples: Vec<SampleV2>,
    #[prost(message, repeated, tag = "3")]
    pub(super) histograms: Vec<messages::Histogram>,
    #[prost(message, repeated, tag = "4")]
    pub(super) exemplars: Vec<ExemplarV2>,
    #[prost(message, optional, tag = "5")]
    pub(super) metadata: Option<MetadataV2>,
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
pub(super) struct SampleV2 {
    #[prost(double, tag = "1")]
    pub(super) value: f64,
    #[prost(int64, tag = "2")]
    pub(super) timestamp: i64,
    #[prost(int64, tag = "3")]
    pub(super) start_timestamp: i64,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct ExemplarV2 {
    #[prost(uint32, repeated, tag = "1")]
    pub(super) labels_refs: Vec<u32>,
    #[prost(double, tag = "2")]
    pub(super) value: f64,
    #[prost(int64, tag = "3")]
    pub(super) timestamp: i64,
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
pub(super) struct MetadataV2 {
    #[prost(int32, tag = "1")]
    pub(super) kind: i32,
    #[prost(uint32, tag = "3")]
    pub(super) help_ref: u32,
    #[prost(uint32, tag = "4")]
    pub(super) unit_ref: u32,
}

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
            ..SeriesSamples::default()
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
    let mut budget = crate::caps::Budget::new("test", &WireCaps::default());
    let got = histogram::read("test", &wire.encode_to_vec(), &mut budget).unwrap().2.unwrap();
    assert_eq!(got.positive_buckets, [2.0, 3.0]);
    assert_eq!((got.count, got.zero_count), (6.0, 1.0));
}

#[test]
fn version_2_resolves_symbols() {
    let symbols = ["", "__name__", "x_total", "job", "a", "help text"];
    let request = RequestV2 {
        symbols: symbols.map(str::to_owned).to_vec(),
        timeseries: vec![
            TimeSeriesV2 {
                labels_refs: vec![1, 2, 3, 4],
                samples: vec![SampleV2 { value: 7.0, timestamp: 9, start_timestamp: 3 }],
                metadata: Some(MetadataV2 { kind: 1, help_ref: 5, unit_ref: 0 }),
                ..Default::default()
            },
            TimeSeriesV2 { labels_refs: vec![1, 99], ..Default::default() },
            TimeSeriesV2 { labels_refs: vec![1], ..Default::default() },
        ],
    };
    let got = decode_v2(&request.encode_to_vec(), &WireCaps::default()).unwrap();
    assert_eq!(got.batch.series.len(), 1);
    assert_eq!(got.batch.series[0].labels.to_string(), "x_total{job=\"a\"}");
    assert_eq!(got.batch.metadata[0].help, "help text");
    assert_eq!(got.batch.series[0].start_timestamps, [(TimestampMs(9), TimestampMs(3))]);
    assert_eq!(got.outcome.rejected_count(), 2);
}

/// A valid body of each version.
pub(crate) fn examples() -> (Vec<u8>, Vec<u8>) {
    (encode_v1(&batch()), request_v2().encode_to_vec())
}

/// Everything that version 2 can say in one series.
fn request_v2() -> RequestV2 {
    let symbols =
        ["", "__name__", "h_bucket", "job", "a", "help text", "trace_id", "4bf92f", "seconds"];
    let custom = messages::Histogram {
        count_int: Some(6),
        sum: 7.5,
        schema: -53,
        positive_spans: vec![messages::BucketSpan { offset: 0, length: 3 }],
        positive_deltas: vec![2, -1, 2],
        custom_values: vec![0.5, 1.0],
        timestamp: 9,
        ..Default::default()
    };
    RequestV2 {
        symbols: symbols.map(str::to_owned).to_vec(),
        timeseries: vec![TimeSeriesV2 {
            labels_refs: vec![3, 4, 1, 2],
            histograms: vec![custom],
            exemplars: vec![ExemplarV2 { labels_refs: vec![6, 7], value: 0.5, timestamp: 8 }],
            metadata: Some(MetadataV2 { kind: 3, help_ref: 5, unit_ref: 8 }),
            ..Default::default()
        }],
    }
}

#[test]
fn version_2_carries_custom_buckets_exemplars_and_metadata() {
    let request = request_v2();
    let got = decode_v2(&request.encode_to_vec(), &WireCaps::default()).unwrap();
    assert_eq!(got.outcome.rejected_count(), 0);
    let series = &got.batch.series[0];
    assert_eq!(series.labels.to_string(), "h_bucket{job=\"a\"}");
    let (at, histogram) = &series.histograms[0];
    assert_eq!((at.0, histogram.schema, histogram.sum), (9, -53, 7.5));
    assert_eq!(histogram.positive_buckets, [2.0, 1.0, 3.0]);
    assert_eq!(histogram.custom_values, [0.5, 1.0]);
    assert_eq!(series.exemplars[0].labels.to_string(), "{trace_id=\"4bf92f\"}");
    let metadata = &got.batch.metadata[0];
    // Metadata of a series is kept by its family.
    assert_eq!((metadata.family.as_str(), metadata.unit.as_str()), ("h", "seconds"));

    // Series may stand before the symbols that they refer to.
    let table = RequestV2 { timeseries: Vec::new(), ..request.clone() }.encode_to_vec();
    let series = RequestV2 { symbols: Vec::new(), ..request }.encode_to_vec();
    let turned = decode_v2(&[series, table].concat(), &WireCaps::default()).unwrap();
    assert_eq!(format!("{:?}", turned.batch), format!("{:?}", got.batch));
}

#[test]
fn version_2_tells_when_samples_started() {
    // As senders write them, with all fields of their usual length, and otherwise.
    let (at, start) = (1_700_000_000_000, 1_690_000_000_000);
    let sample = |timestamp, start_timestamp| SampleV2 { value: 1.5, timestamp, start_timestamp };
    let mut request = request_v2();
    request.timeseries[0].histograms.clear();
    request.timeseries[0].samples =
        vec![sample(at, start), sample(at + 1, 0), sample(at + 2, at + 3), sample(5, -7)];
    let got = decode_v2(&request.encode_to_vec(), &WireCaps::default()).unwrap();
    let series = &got.batch.series[0];
    assert_eq!(series.samples.len(), 4);
    let want = [(at, start), (5, -7)].map(|(t, start)| (TimestampMs(t), TimestampMs(start)));
    assert_eq!(series.start_timestamps, want);
    // A histogram's is field 17, which the message of version 1 does not have.
    let mut body = Vec::new();
    prost::encoding::encode_varint(17 << 3, &mut body);
    prost::encoding::encode_varint(4, &mut body);
    let histogram = [request_v2().timeseries[0].histograms[0].encode_to_vec(), body].concat();
    let mut budget = crate::caps::Budget::new("test", &WireCaps::default());
    let (at, start, read) = histogram::read("test", &histogram, &mut budget).unwrap();
    assert_eq!((at.0, start, read.is_ok()), (9, 4, true));
}

#[test]
fn version_2_counts_what_it_refuses() {
    let sample = SampleV2 { value: 1.0, timestamp: 1, start_timestamp: 0 };
    let good = request_v2().timeseries.remove(0);
    let refused = |change: &dyn Fn(&mut RequestV2)| {
        let mut request = request_v2();
        change(&mut request);
        let got = decode_v2(&request.encode_to_vec(), &WireCaps::default()).unwrap();
        let rejected = got.outcome.rejected.iter().map(|(r, n)| (*r, n.count)).collect::<Vec<_>>();
        (got.batch.series.len(), rejected)
    };
    let series =
        |change: &dyn Fn(&mut TimeSeriesV2)| refused(&|request| change(&mut request.timeseries[0]));
    let bad_exemplar = series(&|s| s.exemplars[0].labels_refs = vec![6]);
    assert_eq!(bad_exemplar, (1, vec![(RejectReason::InvalidLabel, 1)]));
    let both = series(&|s| s.samples = vec![sample]);
    assert_eq!(both, (0, vec![(RejectReason::Malformed, 2)]));
    let nothing = refused(&|request| {
        request.timeseries =
            vec![TimeSeriesV2 { labels_refs: good.labels_refs.clone(), ..Default::default() }];
    });
    assert_eq!(nothing, (0, vec![(RejectReason::Malformed, 1)]));
    let unnamed = series(&|s| s.labels_refs = vec![3, 4]);
    assert_eq!(unnamed, (0, vec![(RejectReason::MissingName, 1)]));
    let shape = series(&|s| s.histograms[0].positive_deltas = vec![1]);
    assert_eq!(shape, (1, vec![(RejectReason::InvalidHistogram, 1)]));

    let first = RequestV2 { symbols: vec!["x".into()], timeseries: Vec::new() }.encode_to_vec();
    let error = decode_v2(&first, &WireCaps::default()).unwrap_err();
    assert!(error.to_string().contains("first symbol"), "{error}");
}

#[test]
fn small_bodies_cannot_ask_for_much() {
    let caps = WireCaps { output_bytes_max: 64 << 10, ..WireCaps::default() };
    let mut request = request_v2();
    request.symbols.push("x".repeat(10_000));
    let long = request.symbols.len() as u32 - 1;
    let mut series = request.timeseries.remove(0);
    series.labels_refs = vec![1, long];
    request.timeseries = vec![series; 100];
    // Each series copies one symbol of 10 kB.
    assert_eq!(decode_v2(&request.encode_to_vec(), &caps).unwrap_err().reason(), "bomb");
    // Empty samples of 2 bytes, 16 in memory.
    let mut body = vec![0x0a];
    prost::encoding::encode_varint(60_000, &mut body);
    body.extend([0x12, 0].repeat(30_000));
    assert_eq!(decode_v1(&body, &caps).unwrap_err().reason(), "bomb");
}

#[test]
fn texts_that_are_not_utf8_cost_only_themselves() {
    let mut body = encode_v1(&batch());
    let at = body.windows(2).position(|w| w == "é".as_bytes()).unwrap();
    body[at] = 0xff;
    let got = decode_v1(&body, &WireCaps::default()).unwrap();
    assert_eq!(got.outcome.rejected[&RejectReason::InvalidUtf8].count, 3);
    assert_eq!(got.batch.metadata.len(), 1);
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
        let mut bytes = request_v2().encode_to_vec();
        let place = at % bytes.len();
        bytes[place] = byte;
        drop(decode_v2(&bytes, &WireCaps::default()));
        let mut bytes = encode_v1(&batch());
        let at = at % bytes.len();
        bytes[at] = byte;
        drop(decode_v1(&bytes, &WireCaps::default()));
    }
}
