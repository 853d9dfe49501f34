//! Seeded mutations of valid bodies through every decoder of request and scrape bodies: each is
//! refused or read, none panics, and what comes out is bounded by the caps. A failure names decoder,
//! body and round, and comes again with the same seed.

use obs_types::{AttrValue, Attributes, LabelSet, LogRecord, MetricBatch, SpanRecord, TimestampNs};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message as _;

use crate::compression::{Encoding, decompress, snappy_compress};
use crate::exposition::{ExpositionFormat, ParseCaps, ProtobufOptions, parse, parse_protobuf};
use crate::otlp::{DeltaLimits, DeltaState, OtlpFormat};
use crate::{JsonLineFields, LokiFormat, WireCaps};

const ROUNDS: u64 = 300;
const CAPS: WireCaps = WireCaps {
    compressed_bytes_max: 32 << 10,
    output_bytes_max: 32 << 10,
    nesting_max: 16,
    messages_max: 2000,
    labels_max: 32,
};
/// What decoded items may take: a multiple of the body's limit, because a number of one byte takes
/// eight in memory and an empty item has its struct.
const DECODED_BYTES_MAX: usize = 64 * CAPS.output_bytes_max;

/// xorshift64*: small, and the same everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }
}

/// A few changes of the kinds that break parsers.
fn mutate(body: &[u8], others: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    let mut out = body.to_vec();
    for _ in 0..=random.below(4) {
        let at = random.below(out.len());
        let end = (at + random.below(24)).min(out.len());
        match random.below(8) {
            0 if at < out.len() => out[at] ^= 1 << random.below(8),
            1 if at < out.len() => {
                let bytes = [0, 1, 0x7f, 0x80, 0xff, b'{', b'"', b'\n', b'[', b'\\', b'9', b'e'];
                out[at] = bytes[random.below(bytes.len())];
            }
            2 => out.truncate(at),
            3 => drop(out.drain(at..end)),
            4 => {
                let part = out[at..end].repeat(1 + random.below(64));
                out.splice(at..at, part).for_each(drop);
            }
            // A length or number beyond all reason.
            5 => {
                let huge = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
                out.splice(at..end.min(at + 1), huge).for_each(drop);
            }
            6 => {
                let other = &others[random.below(others.len())];
                let from = random.below(other.len());
                out.splice(at.., other[from..].iter().copied()).for_each(drop);
            }
            _ => out.extend(std::iter::repeat_n(b'[', random.below(64))),
        }
    }
    out.truncate(CAPS.output_bytes_max);
    out
}

/// `decode` gives the bytes that came out, 0 for a refusal.
fn replay(name: &str, bodies: &[Vec<u8>], decode: impl Fn(&[u8]) -> usize) {
    for (place, body) in bodies.iter().enumerate() {
        assert!(decode(body) > 0, "{name}: body {place} is not valid to begin with");
        for round in 1..=ROUNDS {
            let mut random = Random(round.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ place as u64);
            let changed = mutate(body, bodies, &mut random);
            let run = std::panic::AssertUnwindSafe(|| decode(&changed));
            let bytes = std::panic::catch_unwind(run)
                .unwrap_or_else(|_| panic!("{name}: body {place}, round {round}: {changed:?}"));
            assert!(
                bytes <= DECODED_BYTES_MAX,
                "{name}: body {place}, round {round}: {} bytes became {bytes}",
                changed.len()
            );
        }
    }
}

fn set(labels: &LabelSet) -> usize {
    labels.as_bytes().len()
}

fn of_metrics(batch: &MetricBatch) -> usize {
    let series = batch.series.iter().map(|s| {
        let histograms: usize = s.histograms.iter().map(|(_, h)| h.size_bytes()).sum();
        let exemplars: usize = s.exemplars.iter().map(|e| set(&e.labels) + 64).sum();
        64 + set(&s.labels) + 16 * s.samples.len() + histograms + exemplars
    });
    let metadata = batch.metadata.iter().map(|m| 80 + m.family.len() + m.help.len() + m.unit.len());
    series.sum::<usize>() + metadata.sum::<usize>()
}

fn of_logs(records: &[LogRecord]) -> usize {
    records.iter().map(|r| 64 + set(&r.stream) + set(&r.metadata) + r.line.len()).sum()
}

fn of_spans(spans: &[SpanRecord]) -> usize {
    let value = |v: &AttrValue| format!("{v:?}").len();
    let all = |a: &Attributes| a.iter().map(|(n, v)| n.len() + value(v)).sum::<usize>();
    spans.iter().map(|s| 128 + s.span.name.len() + all(&s.span.attributes)).sum()
}

/// Bytes that came out of a decoder's answer.
fn size<T>(
    decoded: Result<crate::Decoded<T>, crate::WireError>,
    of: impl Fn(&T) -> usize,
) -> usize {
    decoded.map_or(0, |d| of(&d.batch) + d.outcome.rejected_text().map_or(0, |t| t.len()))
}

const NOW: TimestampNs = TimestampNs(1_700_000_000_000_000_000);

#[test]
fn exposition() {
    let size = |e: &crate::exposition::Exposition| {
        let floats: usize = e.series.iter().map(|s| 64 + set(&s.labels)).sum();
        let native: usize =
            e.histograms.iter().map(|h| set(&h.labels) + h.histogram.size_bytes()).sum();
        floats + native + e.metadata.len() * 80
    };
    let caps = ParseCaps {
        input_bytes_max: CAPS.output_bytes_max,
        line_bytes_max: 4096,
        samples_max: CAPS.messages_max,
        labels_max: CAPS.labels_max,
    };
    let text = |format| move |body: &[u8]| parse(body, format, caps).as_ref().map_or(0, size);
    let prometheus = "# HELP a_total he\\nlp \\\\ \n# TYPE a_total counter\n\
        a_total{x=\"1\",y=\"q\\\"\\n\"} 5 1700000000000\n# TYPE h histogram\n\
        h_bucket{le=\"0.5\"} 2\nh_bucket{le=\"+Inf\"} 3\nh_sum 1e-3\nh_count 3\n\
        {\"u.t\",\"l.b\"=\"é\"} NaN\n";
    replay("text", &[prometheus.into()], text(ExpositionFormat::Prometheus));
    let open = "# TYPE a counter\n# UNIT a_seconds seconds\n# HELP a h\n\
        a_total{x=\"1\"} 5 1700000000.5 # {trace_id=\"ab\"} 0.5 1.5\na_created 1\n\
        # TYPE s summary\ns{quantile=\"0.5\"} 1\ns_sum 2\ns_count 3\n# EOF\n";
    replay("OpenMetrics", &[open.into()], text(ExpositionFormat::OpenMetrics));
    let strict = "# TYPE a counter\n# HELP a h\na_total{x=\"1\"} 5 # {t=\"ab\"} 0.5\n# EOF\n";
    replay("strict OpenMetrics", &[strict.into()], text(ExpositionFormat::OpenMetricsStrict));
    let options = ProtobufOptions { native: true, classic_with_native: true };
    let bodies = [crate::exposition::example_protobuf()];
    replay("protobuf", &bodies, |body| {
        parse_protobuf(body, options, caps).as_ref().map_or(0, size)
    });
}

#[test]
fn remote_write_and_read() {
    use crate::remote_write::{decode_v1, decode_v2, examples};
    let (v1, v2) = examples();
    replay("remote write 1.0", std::slice::from_ref(&v1), |b| {
        size(decode_v1(b, &CAPS), of_metrics)
    });
    replay("remote write 1.0, labels as sent", std::slice::from_ref(&v1), |b| {
        let read = crate::remote_write::read_sent_v1(b, &CAPS);
        read.map_or(0, |r| r.sent.samples.len() * 16 + of_metrics(&r.rest.batch))
    });
    replay("remote write 2.0", std::slice::from_ref(&v2), |b| {
        size(decode_v2(b, &CAPS), of_metrics)
    });
    replay("remote write 2.0, labels as sent", std::slice::from_ref(&v2), |b| {
        let mut spelled = Vec::new();
        let read = crate::remote_write::read_sent_v2(b, &CAPS, &mut spelled);
        let counted = read.map_or(0, |r| r.sent.samples.len() * 16 + of_metrics(&r.rest.batch));
        counted + spelled.len()
    });
    let packed = [snappy_compress(&v1).unwrap(), snappy_compress(&v2).unwrap()];
    replay("snappy", &packed, |b| decompress(b, Encoding::Snappy, &CAPS).map_or(0, |p| p.len()));
}

const METRICS: &str = r#"{"resourceMetrics":[{"resource":{"attributes":[
    {"key":"service.name","value":{"stringValue":"a"}},{"key":"host","value":{"intValue":"7"}}]},
    "scopeMetrics":[{"metrics":[
    {"name":"s","unit":"By","sum":{"isMonotonic":true,"aggregationTemporality":1,"dataPoints":[
        {"startTimeUnixNano":"1000","timeUnixNano":"2000","asInt":"5",
         "attributes":[{"key":"k","value":{"arrayValue":{"values":[{"boolValue":true}]}}}]}]}},
    {"name":"g","gauge":{"dataPoints":[{"timeUnixNano":"2000","asDouble":1.5}]}},
    {"name":"h","histogram":{"aggregationTemporality":2,"dataPoints":[{"timeUnixNano":"2000",
        "count":"3","sum":2.5,"explicitBounds":[1,2],"bucketCounts":["1","1","1"]}]}},
    {"name":"e","exponentialHistogram":{"aggregationTemporality":1,"dataPoints":[
        {"startTimeUnixNano":"1000","timeUnixNano":"2000","count":"6","sum":2.5,"scale":3,
         "zeroCount":"1","zeroThreshold":0.1,"positive":{"offset":-3,"bucketCounts":["1","0","4"]}}]}},
    {"name":"y","summary":{"dataPoints":[{"timeUnixNano":"2000","count":"1","sum":1,
        "quantileValues":[{"quantile":0.5,"value":1}]}]}}]}]}]}"#;
const LOGS: &str = r#"{"resourceLogs":[{"resource":{"attributes":[
    {"key":"service.name","value":{"stringValue":"a"}}]},"scopeLogs":[{"logRecords":[
    {"timeUnixNano":"7","severityText":"INFO","body":{"kvlistValue":{"values":[
        {"key":"a","value":{"doubleValue":1.5}}]}},
     "attributes":[{"key":"n","value":{"kvlistValue":{"values":[
        {"key":"m","value":{"stringValue":"x"}}]}}}]}]}]}]}"#;
const TRACES: &str = r#"{"resourceSpans":[{"scopeSpans":[{"scope":{"name":"lib"},"spans":[
    {"traceId":"5b8efff798038103d269b633813fc60c","spanId":"eee19b7ec3c1b174","name":"x","kind":2,
     "startTimeUnixNano":"1","endTimeUnixNano":"2","status":{"code":2,"message":"m"},
     "attributes":[{"key":"n","value":{"intValue":"3"}}],
     "events":[{"timeUnixNano":"1","name":"e"}]}]}]}]}"#;

#[test]
fn otlp() {
    use crate::otlp::{decode_logs, decode_metrics, decode_traces};
    let protobuf = [
        serde_json::from_str::<ExportMetricsServiceRequest>(METRICS).unwrap().encode_to_vec(),
        serde_json::from_str::<ExportLogsServiceRequest>(LOGS).unwrap().encode_to_vec(),
        serde_json::from_str::<ExportTraceServiceRequest>(TRACES).unwrap().encode_to_vec(),
    ];
    let json = [METRICS, LOGS, TRACES].map(|t| t.as_bytes().to_vec());
    // One state over all rounds, so that totals meet every kind of point.
    let deltas = DeltaState::new(DeltaLimits { bytes_max: 64 << 10, ..DeltaLimits::default() });
    for (format, [metrics, logs, traces]) in
        [(OtlpFormat::Protobuf, protobuf), (OtlpFormat::Json, json)]
    {
        replay("OTLP metrics", &[metrics], |b| {
            size(decode_metrics(b, format, &CAPS, &deltas, NOW), of_metrics)
        });
        replay("OTLP logs", &[logs], |b| size(decode_logs(b, format, &CAPS, NOW), |r| of_logs(r)));
        replay("OTLP traces", &[traces], |b| {
            size(decode_traces(b, format, &CAPS), |s| of_spans(s))
        });
    }
    assert!(deltas.stats().bytes <= 64 << 10, "{:?}", deltas.stats());
}

#[test]
fn json_and_loki() {
    use crate::{
        decode_engine_logs, decode_engine_metrics, decode_engine_traces, decode_json_lines,
        decode_loki_push,
    };
    let lines = b"{\"_msg\":\"x\",\"_time\":\"2025-12-06T14:30:00Z\",\"a\":{\"b\":[1,2.5]}}\n{\"message\":\"y\"}\n";
    let fields = JsonLineFields::default();
    replay("JSON lines", &[lines.to_vec()], |b| {
        size(decode_json_lines(b, &fields, &CAPS, NOW), |r| of_logs(r))
    });
    let push = br#"{"streams":[{"stream":{"a":"b"},"values":[["5","x",{"k":"v"}],["6","y"]]}]}"#;
    replay("Loki JSON", &[push.to_vec()], |b| {
        size(decode_loki_push(b, LokiFormat::Json, &CAPS), |r| of_logs(r))
    });
    // One stream `{a="b"}` with one entry: time 1 s, line "x".
    let push = b"\x0a\x12\x0a\x07{a=\"b\"}\x12\x07\x0a\x02\x08\x01\x12\x01x";
    replay("Loki protobuf", &[push.to_vec()], |b| {
        size(decode_loki_push(b, LokiFormat::Protobuf, &CAPS), |r| of_logs(r))
    });
    let metrics = br#"[{"node":"n","metrics":{"cpu_percent":1.5,"x":{"y":2}}}]"#;
    replay("ENGINE metrics", &[metrics.to_vec()], |b| {
        size(decode_engine_metrics(b, &CAPS, NOW), of_metrics)
    });
    let logs = br#"[{"message":"m","service":"s","level":"info","fields":{"a":1}}]"#;
    replay("ENGINE logs", &[logs.to_vec()], |b| {
        size(decode_engine_logs(b, &CAPS, NOW), |r| of_logs(r))
    });
    let traces = br#"{"trace_id":"trace-abc123","start_time":"2025-12-06T14:30:00Z","name":"t"}"#;
    replay("ENGINE traces", &[traces.to_vec()], |b| {
        size(decode_engine_traces(b, &CAPS), |s| of_spans(s))
    });
}
