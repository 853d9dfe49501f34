//! Prometheus remote read: the request, and its two forms of answer.
//!
//! Bodies are plain protobuf here; the request and the sampled answer travel in a raw snappy block.
//! Source: Prometheus remote read API 1.0 and its `prompb` schema.

use obs_types::{LabelSet, MatchOp, Matcher, MetricBatch, NativeHistogram, SeriesData};
use prost::Message as _;

use crate::protobuf::{Fields, Shape, Value, check_shape};
use crate::remote_write::{histogram, messages};
use crate::tsdb::{ChunkEncoding, encode_float_histogram, encode_xor};
use crate::{Decoded, WireCaps, WireError};

const WHAT: &str = "remote read request";

/// Most samples of one chunk, as Prometheus cuts them.
const CHUNK_SAMPLES_MAX: usize = 120;
/// A frame is closed when it is larger.
const FRAME_BYTES: usize = 1 << 20;

static LEAF: Shape = Shape(&[]);
static QUERY: Shape = Shape(&[(3, &LEAF), (4, &LEAF)]);
static REQUEST: Shape = Shape(&[(1, &QUERY)]);

/// The form of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadResponseType {
    Samples,
    StreamedXorChunks,
}

impl ReadResponseType {
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Samples => "application/x-protobuf",
            Self::StreamedXorChunks => {
                "application/x-streamed-protobuf; proto=prometheus.ChunkedReadResponse"
            }
        }
    }
}

/// Which series, and when; both ends are included.
#[derive(Clone, Debug, PartialEq)]
pub struct ReadQuery {
    pub start_ms: i64,
    pub end_ms: i64,
    pub matchers: Vec<Matcher>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct ReadRequest {
    pub queries: Vec<ReadQuery>,
    /// The first of those that the client takes and we know.
    pub response_type: ReadResponseType,
}

mod wire {
    use super::messages::{Label, TimeSeries};

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct ReadRequest {
        #[prost(message, repeated, tag = "1")]
        pub(super) queries: Vec<Query>,
        #[prost(int32, repeated, tag = "2")]
        pub(super) accepted_response_types: Vec<i32>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Query {
        #[prost(int64, tag = "1")]
        pub(super) start_timestamp_ms: i64,
        #[prost(int64, tag = "2")]
        pub(super) end_timestamp_ms: i64,
        #[prost(message, repeated, tag = "3")]
        pub(super) matchers: Vec<LabelMatcher>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct LabelMatcher {
        #[prost(int32, tag = "1")]
        pub(super) kind: i32,
        #[prost(string, tag = "2")]
        pub(super) name: String,
        #[prost(string, tag = "3")]
        pub(super) value: String,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct ReadResponse {
        #[prost(message, repeated, tag = "1")]
        pub(super) results: Vec<QueryResult>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct QueryResult {
        #[prost(message, repeated, tag = "1")]
        pub(super) timeseries: Vec<TimeSeries>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct ChunkedReadResponse {
        #[prost(message, repeated, tag = "1")]
        pub(super) chunked_series: Vec<ChunkedSeries>,
        #[prost(int64, tag = "2")]
        pub(super) query_index: i64,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct ChunkedSeries {
        #[prost(message, repeated, tag = "1")]
        pub(super) labels: Vec<Label>,
        #[prost(message, repeated, tag = "2")]
        pub(super) chunks: Vec<Chunk>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Chunk {
        #[prost(int64, tag = "1")]
        pub(super) min_time_ms: i64,
        #[prost(int64, tag = "2")]
        pub(super) max_time_ms: i64,
        #[prost(int32, tag = "3")]
        pub(super) kind: i32,
        #[prost(bytes = "vec", tag = "4")]
        pub(super) data: Vec<u8>,
    }
}

/// Reads a `prometheus.ReadRequest`.
pub fn decode_request(body: &[u8], caps: &WireCaps) -> Result<ReadRequest, WireError> {
    check_shape(WHAT, body, &REQUEST, caps)?;
    let request =
        wire::ReadRequest::decode(body).map_err(|e| WireError::malformed(WHAT, e.to_string()))?;
    let queries = request.queries.into_iter().enumerate().map(|(n, query)| {
        let matchers = query.matchers.into_iter().map(|m| {
            let op = match m.kind {
                0 => MatchOp::Equal,
                1 => MatchOp::NotEqual,
                2 => MatchOp::Regex,
                3 => MatchOp::NotRegex,
                other => {
                    let message = format!("query {n}: there is no matcher type {other}");
                    return Err(WireError::malformed(WHAT, message));
                }
            };
            Matcher::new(m.name, op, m.value)
                .map_err(|e| WireError::malformed(WHAT, format!("query {n}: {e}")))
        });
        Ok(ReadQuery {
            start_ms: query.start_timestamp_ms,
            end_ms: query.end_timestamp_ms,
            matchers: matchers.collect::<Result<_, WireError>>()?,
        })
    });
    let known = |number: &i32| match number {
        0 => Some(ReadResponseType::Samples),
        1 => Some(ReadResponseType::StreamedXorChunks),
        _ => None,
    };
    let response_type = match request.accepted_response_types.as_slice() {
        [] => ReadResponseType::Samples,
        accepted => accepted.iter().find_map(known).ok_or_else(|| WireError::Unsupported {
            what: "remote read response types",
            value: format!("{accepted:?}"),
        })?,
    };
    Ok(ReadRequest { queries: queries.collect::<Result<_, _>>()?, response_type })
}

/// Writes a `prometheus.ReadRequest`, not compressed.
pub fn encode_request(request: &ReadRequest) -> Vec<u8> {
    let matcher = |m: &Matcher| wire::LabelMatcher {
        kind: match m.op() {
            MatchOp::Equal => 0,
            MatchOp::NotEqual => 1,
            MatchOp::Regex => 2,
            MatchOp::NotRegex => 3,
        },
        name: m.name().to_owned(),
        value: m.value().to_owned(),
    };
    let queries = request.queries.iter().map(|q| wire::Query {
        start_timestamp_ms: q.start_ms,
        end_timestamp_ms: q.end_ms,
        matchers: q.matchers.iter().map(matcher).collect(),
    });
    let accepted = match request.response_type {
        ReadResponseType::Samples => 0,
        ReadResponseType::StreamedXorChunks => 1,
    };
    wire::ReadRequest { queries: queries.collect(), accepted_response_types: vec![accepted] }
        .encode_to_vec()
}

/// Reads a sampled answer: the series of each query. A result has the shape of a write request, so
/// what is wrong with single series is dropped and counted as there.
pub fn decode_results(
    body: &[u8],
    caps: &WireCaps,
) -> Result<Vec<Decoded<MetricBatch>>, WireError> {
    let mut out = Vec::new();
    for field in Fields::new(body) {
        let (number, value) = field.map_err(|left| {
            let message = format!("broken field {left} bytes before the end");
            WireError::malformed("remote read response", message)
        })?;
        if let (1, Value::Bytes(result)) = (number, value) {
            out.push(crate::remote_write::decode_v1(result, caps)?);
        }
    }
    Ok(out)
}

fn labels(set: &LabelSet) -> Vec<messages::Label> {
    set.iter().map(|(n, v)| messages::Label { name: n.to_owned(), value: v.to_owned() }).collect()
}

/// The series of one query as part of a `prometheus.ReadResponse`; such parts one after another,
/// in the order of the queries, are the message.
pub fn encode_result(series: &[SeriesData]) -> Vec<u8> {
    let timeseries = series.iter().map(|s| messages::TimeSeries {
        labels: labels(&s.labels),
        samples: s
            .timestamps
            .iter()
            .zip(&s.values)
            .map(|(timestamp, value)| messages::Sample { value: *value, timestamp: *timestamp })
            .collect(),
        exemplars: Vec::new(),
        histograms: histograms(s).map(|(t, h)| histogram::to_wire(h, t)).collect(),
    });
    let result = wire::QueryResult { timeseries: timeseries.collect() };
    wire::ReadResponse { results: vec![result] }.encode_to_vec()
}

fn histograms(series: &SeriesData) -> impl Iterator<Item = (i64, &NativeHistogram)> {
    let column = &series.histograms;
    column.timestamps.iter().copied().zip(column.values.iter().map(AsRef::as_ref))
}

/// The frames of one series in the streamed form: each a length, a CRC-32C in big endian, and a
/// `prometheus.ChunkedReadResponse`.
pub fn encode_frames(query_index: usize, series: &SeriesData) -> Vec<u8> {
    let mut chunks = chunks(series);
    chunks.sort_by_key(|c| (c.min_time_ms, c.max_time_ms));
    let mut out = Vec::new();
    let mut part: Vec<wire::Chunk> = Vec::new();
    let mut bytes = 0;
    let mut chunks = chunks.into_iter().peekable();
    while let Some(chunk) = chunks.next() {
        bytes += chunk.data.len();
        part.push(chunk);
        if bytes < FRAME_BYTES && chunks.peek().is_some() {
            continue;
        }
        bytes = 0;
        let message = wire::ChunkedReadResponse {
            chunked_series: vec![wire::ChunkedSeries {
                labels: labels(&series.labels),
                chunks: std::mem::take(&mut part),
            }],
            query_index: query_index as i64,
        }
        .encode_to_vec();
        prost::encoding::encode_varint(message.len() as u64, &mut out);
        out.extend_from_slice(&crc32c::crc32c(&message).to_be_bytes());
        out.extend_from_slice(&message);
    }
    out
}

/// Floats and histograms in chunks of their own; they may overlap in time where a series holds
/// both.
fn chunks(series: &SeriesData) -> Vec<wire::Chunk> {
    let chunk = |min: i64, max: i64, encoding: ChunkEncoding, data: Vec<u8>| wire::Chunk {
        min_time_ms: min,
        max_time_ms: max,
        kind: i32::from(encoding.number()),
        data,
    };
    let mut out = Vec::new();
    let floats: Vec<(i64, f64)> =
        series.timestamps.iter().copied().zip(series.values.iter().copied()).collect();
    for part in floats.chunks(CHUNK_SAMPLES_MAX) {
        if let [(min, _), ..] = part
            && let [.., (max, _)] = part
        {
            out.push(chunk(*min, *max, ChunkEncoding::Xor, encode_xor(part)));
        }
    }
    let histograms: Vec<(i64, &NativeHistogram)> = histograms(series).collect();
    for part in histograms.chunk_by(|a, b| same_shape(a.1, b.1)) {
        for part in part.chunks(CHUNK_SAMPLES_MAX) {
            if let [(min, _), ..] = part
                && let [.., (max, _)] = part
            {
                let data = encode_float_histogram(part);
                out.push(chunk(*min, *max, ChunkEncoding::FloatHistogram, data));
            }
        }
    }
    out
}

/// Whether `b` may follow `a` in a chunk. A counter that falls begins a chunk of its own, because
/// within one it is taken not to.
fn same_shape(a: &NativeHistogram, b: &NativeHistogram) -> bool {
    a.schema == b.schema
        && a.zero_threshold.to_bits() == b.zero_threshold.to_bits()
        && a.positive_spans == b.positive_spans
        && a.negative_spans == b.negative_spans
        && a.custom_values == b.custom_values
        && a.is_stale() == b.is_stale()
        && (a.counter_reset_hint == obs_types::CounterResetHint::Gauge)
            == (b.counter_reset_hint == obs_types::CounterResetHint::Gauge)
        && b.counter_reset_hint != obs_types::CounterResetHint::Reset
        && (b.counter_reset_hint == obs_types::CounterResetHint::Gauge || !falls(a, b))
}

fn falls(a: &NativeHistogram, b: &NativeHistogram) -> bool {
    let any = |a: &[f64], b: &[f64]| a.iter().zip(b).any(|(a, b)| b < a);
    b.count < a.count
        || b.zero_count < a.zero_count
        || any(&a.positive_buckets, &b.positive_buckets)
        || any(&a.negative_buckets, &b.negative_buckets)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use obs_types::{BucketSpan, HistogramColumn};

    use super::*;
    use crate::tsdb::{Chunk, Samples};

    fn request(types: Vec<i32>, kind: i32, value: &str) -> Vec<u8> {
        wire::ReadRequest {
            queries: vec![wire::Query {
                start_timestamp_ms: -5,
                end_timestamp_ms: 7,
                matchers: vec![wire::LabelMatcher {
                    kind,
                    name: "job".to_owned(),
                    value: value.to_owned(),
                }],
            }],
            accepted_response_types: types,
        }
        .encode_to_vec()
    }

    #[test]
    fn requests_and_what_is_wrong_with_them() {
        let caps = WireCaps::default();
        let read = |body: &[u8]| decode_request(body, &caps);
        let plain = read(&request(vec![], 0, "node")).unwrap();
        assert_eq!(plain.response_type, ReadResponseType::Samples);
        assert_eq!(plain.queries[0].start_ms, -5);
        assert_eq!(plain.queries[0].matchers, [Matcher::equal("job", "node")]);
        let streamed = read(&request(vec![9, 1, 0], 3, "n.*")).unwrap();
        assert_eq!(streamed.response_type, ReadResponseType::StreamedXorChunks);
        assert_eq!(read(&encode_request(&streamed)), Ok(streamed));
        for (body, says) in [
            (request(vec![9], 0, "a"), "[9]"),
            (request(vec![], 4, "a"), "matcher type 4"),
            (request(vec![], 2, "("), "query 0"),
            (vec![0x0a, 9, 1], "malformed"),
        ] {
            let e = read(&body).unwrap_err().to_string();
            assert!(e.contains(says), "{e}");
        }
        let tight = WireCaps { messages_max: 1, ..caps };
        assert_eq!(
            decode_request(&request(vec![], 0, "a"), &tight).unwrap_err().reason(),
            "too_many_messages"
        );
    }

    fn series() -> SeriesData {
        let histogram = |count: f64| {
            Arc::new(NativeHistogram {
                schema: 1,
                zero_threshold: 0.001,
                zero_count: 1.0,
                count,
                sum: count * 1.5,
                positive_spans: vec![BucketSpan { offset: -2, length: 2 }],
                positive_buckets: vec![count - 2.0, 1.0],
                ..NativeHistogram::default()
            })
        };
        SeriesData {
            labels: LabelSet::from_pairs([("__name__", "mixed"), ("job", "node")]),
            timestamps: (0..300).map(|i| i * 15_000).collect(),
            values: (0..300).map(|i| f64::from(i) / 7.0).collect(),
            histograms: HistogramColumn {
                timestamps: vec![5_000_000, 5_015_000, 5_030_000],
                // The last falls: a counter reset.
                values: vec![histogram(5.0), histogram(9.0), histogram(4.0)],
                start_timestamps: Vec::new(),
            },
            ..SeriesData::default()
        }
    }

    #[test]
    fn sampled_answers_hold_every_sample() {
        let series = series();
        let body = [encode_result(std::slice::from_ref(&series)), encode_result(&[])].concat();
        let read = wire::ReadResponse::decode(body.as_slice()).unwrap();
        assert_eq!(read.results.len(), 2);
        let got = &read.results[0].timeseries[0];
        assert_eq!(got.labels[1].value, "node");
        assert_eq!(got.samples.len(), 300);
        assert_eq!(got.samples[299].value, 299.0 / 7.0);
        assert_eq!(got.histograms.len(), 3);
        assert_eq!(got.histograms[1].count_float, Some(9.0));
        assert!(read.results[1].timeseries.is_empty());
        let decoded = decode_results(&body, &WireCaps::default()).unwrap();
        assert_eq!(decoded.len(), 2);
        let got = &decoded[0].batch.series[0];
        assert_eq!((got.samples.len(), got.histograms.len()), (300, 3));
        assert_eq!(got.labels, series.labels);
        assert!(decode_results(&[0x0a, 9], &WireCaps::default()).is_err());
    }

    #[test]
    fn streamed_answers_hold_every_sample_in_checked_frames() {
        let series = series();
        let bytes = encode_frames(3, &series);
        let mut rest = bytes.as_slice();
        let (mut floats, mut histograms) = (Vec::new(), Vec::new());
        while !rest.is_empty() {
            let length = prost::encoding::decode_varint(&mut rest).unwrap() as usize;
            let (sum, after) = rest.split_at(4);
            let (message, after) = after.split_at(length);
            rest = after;
            assert_eq!(sum, crc32c::crc32c(message).to_be_bytes());
            assert!(Fields::new(message).any(|f| matches!(f, Ok((2, Value::Varint(3))))));
            let frame = wire::ChunkedReadResponse::decode(message).unwrap();
            for chunk in &frame.chunked_series[0].chunks {
                let encoding =
                    ChunkEncoding::from_number(u8::try_from(chunk.kind).unwrap()).unwrap();
                let chunk = Chunk { encoding, data: &chunk.data, offset: 0 };
                match chunk.samples("frame").unwrap() {
                    Samples::Floats(all) => floats.extend(all),
                    Samples::Histograms(all) => histograms.push(all),
                }
            }
        }
        let expected: Vec<(i64, f64)> =
            series.timestamps.iter().copied().zip(series.values.iter().copied()).collect();
        assert_eq!(floats, expected);
        let counts: Vec<Vec<f64>> =
            histograms.iter().map(|c| c.iter().map(|(_, h)| h.count).collect()).collect();
        assert_eq!(counts, [vec![5.0, 9.0], vec![4.0]], "the reset begins a chunk");
        assert_eq!(histograms[0][1].1.positive_buckets, [7.0, 1.0]);
        assert_eq!(histograms[0][0].1.positive_spans, [BucketSpan { offset: -2, length: 2 }]);
    }
}
