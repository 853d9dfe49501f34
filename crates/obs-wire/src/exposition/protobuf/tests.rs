use obs_types::BucketSpan;
use proptest::prelude::*;

use super::*;

fn field(number: u64, bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    prost::encoding::encode_varint(number << 3 | 2, &mut out);
    prost::encoding::encode_varint(bytes.len() as u64, &mut out);
    out.extend_from_slice(bytes);
    out
}

fn number(number: u64, value: u64) -> Vec<u8> {
    let mut out = Vec::new();
    prost::encoding::encode_varint(number << 3, &mut out);
    prost::encoding::encode_varint(value, &mut out);
    out
}

fn double(number: u64, value: f64) -> Vec<u8> {
    let mut out = Vec::new();
    prost::encoding::encode_varint(number << 3 | 1, &mut out);
    out.extend_from_slice(&value.to_le_bytes());
    out
}

fn pair(name: &str, value: &str) -> Vec<u8> {
    field(1, &[field(1, name.as_bytes()), field(2, value.as_bytes())].concat())
}

fn family(name: &str, kind: u64, metric: &[Vec<u8>]) -> Vec<u8> {
    let body = [field(1, name.as_bytes()), number(3, kind), field(4, &metric.concat())];
    let body = body.concat();
    let mut out = Vec::new();
    prost::encoding::encode_varint(body.len() as u64, &mut out);
    out.extend(body);
    out
}

fn exemplar(value: f64) -> Vec<u8> {
    [pair("trace_id", "ab"), double(2, value), field(3, &number(1, 7))].concat()
}

/// One family of each kind; the histogram has classic buckets and native ones.
pub(crate) fn body() -> Vec<u8> {
    let bucket = |count, bound| [number(1, count), double(2, bound)].concat();
    let histogram = [
        number(1, 6),
        double(2, 7.5),
        field(3, &[bucket(2, 0.5), field(3, &exemplar(0.25))].concat()),
        field(3, &bucket(5, 1.0)),
        number(5, 6),
        double(6, 0.001),
        number(7, 1),
        field(12, &[number(1, 3), number(2, 2)].concat()),
        field(13, &[4, 1]),
    ]
    .concat();
    let quantile = [double(1, 1.0), double(2, 3.5)].concat();
    let summary = [number(1, 4), double(2, 9.0), field(3, &quantile)].concat();
    [
        family(
            "c_total",
            0,
            &[
                pair("a", "x"),
                field(3, &[double(1, 3.0), field(2, &exemplar(1.0))].concat()),
                number(6, 55),
            ],
        ),
        family("g", 1, &[field(2, &double(1, -1.5))]),
        family("s", 2, &[field(4, &summary)]),
        family("h", 4, &[field(7, &histogram)]),
    ]
    .concat()
}

fn names(exposition: &Exposition) -> Vec<String> {
    exposition.series.iter().map(|s| format!("{} {}", s.labels, s.value)).collect()
}

#[test]
fn every_kind_is_read() {
    let native = ProtobufOptions { native: true, classic_with_native: false };
    let got = parse_protobuf(&body(), native, ParseCaps::default()).unwrap();
    assert_eq!(
        names(&got),
        ["c_total{a=\"x\"} 3", "g -1.5", "s{quantile=\"1.0\"} 3.5", "s_sum 9", "s_count 4"]
    );
    assert_eq!(got.series[0].timestamp, Some(TimestampMs(55)));
    let exemplar = got.series[0].exemplar.as_ref().unwrap();
    assert_eq!((exemplar.value, exemplar.timestamp), (1.0, Some(TimestampMs(7000))));
    let kinds: Vec<&str> = got.metadata.iter().map(|m| m.kind.as_str()).collect();
    assert_eq!(kinds, ["counter", "gauge", "summary", "histogram"]);

    let [h] = &got.histograms[..] else { panic!("{:?}", got.histograms) };
    let native = &h.histogram;
    assert_eq!((native.schema, native.count, native.sum), (3, 6.0, 7.5));
    assert_eq!(native.positive_spans, [BucketSpan { offset: -2, length: 2 }]);
    assert_eq!(native.positive_buckets, [2.0, 1.0]);
    // The native form has no exemplars of its own, so those of the buckets stand.
    assert_eq!(h.exemplars[0].value, 0.25);
}

#[test]
fn classic_buckets_on_request_or_alone() {
    let classic = [
        "h_bucket{le=\"0.5\"} 2",
        "h_bucket{le=\"1.0\"} 5",
        "h_bucket{le=\"+Inf\"} 6",
        "h_sum 7.5",
        "h_count 6",
    ];
    let both = ProtobufOptions { native: true, classic_with_native: true };
    let got = parse_protobuf(&body(), both, ParseCaps::default()).unwrap();
    assert_eq!((&names(&got)[5..], got.histograms.len()), (&classic.map(str::to_owned)[..], 1));
    let alone = ProtobufOptions::default();
    let got = parse_protobuf(&body(), alone, ParseCaps::default()).unwrap();
    assert_eq!((&names(&got)[5..], got.histograms.len()), (&classic.map(str::to_owned)[..], 0));
}

#[test]
fn mistakes_and_limits_are_told() {
    let read = |body: &[u8], caps| {
        parse_protobuf(body, ProtobufOptions::default(), caps).unwrap_err().to_string()
    };
    let caps = ParseCaps::default();
    assert!(read(&[9, 1], caps).contains("broken field"));
    let twice = family("g", 1, &[pair("a", "x"), pair("a", "y"), field(2, &double(1, 1.0))]);
    assert!(read(&twice, caps).contains("repeat a name"));
    assert!(read(&family("", 1, &[]), caps).contains("without a name"));
    let few = ParseCaps { samples_max: 3, ..caps };
    assert!(read(&body(), few).contains("more than 3"));
    let few = ParseCaps { labels_max: 0, ..caps };
    assert!(read(&body(), few).contains("more labels"));
    let few = ParseCaps { input_bytes_max: 10, ..caps };
    assert!(read(&body(), few).contains("limit of 10"));
}

proptest! {
    #[test]
    fn damaged_bodies_are_refused_or_read(
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut bytes = body();
        for (place, byte) in changes {
            let at = place.index(bytes.len());
            bytes[at] = byte;
        }
        let options = ProtobufOptions { native: true, classic_with_native: true };
        drop(parse_protobuf(&bytes, options, ParseCaps::default()));
        bytes.truncate(cut.index(bytes.len()));
        drop(parse_protobuf(&bytes, options, ParseCaps::default()));
    }
}

#[test]
fn start_timestamps_are_read_of_what_counts() {
    let at = |field_number| field(field_number, &[number(1, 5), number(2, 6_000_000)].concat());
    let bucket = [number(1, 2), double(2, 1.0)].concat();
    let histogram = [number(1, 2), double(2, 7.5), field(3, &bucket), at(15)].concat();
    let native = [number(1, 1), double(6, 0.5), number(7, 1), at(15)].concat();
    let summary = [number(1, 4), double(2, 2.0), at(4)].concat();
    let body = [
        family("c", 0, &[field(3, &[double(1, 1.0), at(3)].concat())]),
        family("g", 1, &[field(2, &[double(1, 1.0), at(3)].concat())]),
        family("s", 2, &[field(4, &summary)]),
        family("h", 4, &[field(7, &histogram)]),
        family("n", 4, &[field(7, &native)]),
    ]
    .concat();
    let options = ProtobufOptions { native: true, classic_with_native: false };
    let got = parse_protobuf(&body, options, ParseCaps::default()).unwrap();
    for s in &got.series {
        let want = (s.labels.metric_name() != "g").then_some(TimestampMs(5_006));
        assert_eq!(s.start, want, "{}", s.labels);
    }
    assert_eq!(got.series.len(), 1 + 1 + 2 + 4);
    assert_eq!(got.histograms[0].start, Some(TimestampMs(5_006)));
}
