//! Loki's push requests in JSON and protobuf, after decompression.

use obs_types::{LabelSet, LogRecord, RejectReason, TimestampNs};
use prost::Message as _;
use serde::Deserialize;
use serde_json::Value;

use crate::labels::label_set;
use crate::protobuf::{Shape, check_shape};
use crate::{Decoded, WireCaps, WireError, parse_loki_labels};

const WHAT: &str = "Loki push request";

/// How a push is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LokiFormat {
    /// Also when there is no `Content-Type`; always a raw snappy block.
    Protobuf,
    Json,
}

impl LokiFormat {
    /// `None` for other media types (415).
    pub fn from_content_type(content_type: Option<&str>) -> Option<Self> {
        let essence = content_type.unwrap_or("").split(';').next()?.trim().to_ascii_lowercase();
        match essence.as_str() {
            "" | "application/x-protobuf" | "application/protobuf" => Some(Self::Protobuf),
            "application/json" => Some(Self::Json),
            _ => None,
        }
    }
}

/// Reads a push. Streams with bad labels and entries with times that cannot be held are dropped
/// and counted; a body of the wrong shape (a timestamp that is no string, in JSON) is refused.
pub fn decode_loki_push(
    body: &[u8],
    format: LokiFormat,
    caps: &WireCaps,
) -> Result<Decoded<Vec<LogRecord>>, WireError> {
    match format {
        LokiFormat::Protobuf => decode_protobuf(body, caps),
        LokiFormat::Json => decode_json(body, caps),
    }
}

#[derive(Clone, PartialEq, prost::Message)]
struct PushRequest {
    #[prost(message, repeated, tag = "1")]
    streams: Vec<PushStream>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct PushStream {
    #[prost(string, tag = "1")]
    labels: String,
    #[prost(message, repeated, tag = "2")]
    entries: Vec<PushEntry>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct PushEntry {
    #[prost(message, optional, tag = "1")]
    timestamp: Option<PushTime>,
    #[prost(string, tag = "2")]
    line: String,
    #[prost(message, repeated, tag = "3")]
    structured_metadata: Vec<PushPair>,
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
struct PushTime {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanos: i32,
}

#[derive(Clone, PartialEq, prost::Message)]
struct PushPair {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    value: String,
}

static LEAF: Shape = Shape(&[]);
static ENTRY: Shape = Shape(&[(1, &LEAF), (3, &LEAF)]);
static STREAM: Shape = Shape(&[(2, &ENTRY)]);
static REQUEST: Shape = Shape(&[(1, &STREAM)]);

fn decode_protobuf(body: &[u8], caps: &WireCaps) -> Result<Decoded<Vec<LogRecord>>, WireError> {
    check_shape(WHAT, body, &REQUEST, caps)?;
    let request =
        PushRequest::decode(body).map_err(|e| WireError::malformed(WHAT, e.to_string()))?;
    let mut out: Decoded<Vec<LogRecord>> = Decoded::default();
    for stream in request.streams {
        let Some(labels) =
            checked(parse_loki_labels(&stream.labels), stream.entries.len(), &mut out)
        else {
            continue;
        };
        for entry in stream.entries {
            let time = entry.timestamp.unwrap_or_default();
            let at = time
                .seconds
                .checked_mul(1_000_000_000)
                .and_then(|ns| ns.checked_add(i64::from(time.nanos)));
            let Some(at) = at else {
                out.outcome.reject(RejectReason::Malformed, || {
                    format!("entry of {labels} at {} s", time.seconds)
                });
                continue;
            };
            out.batch.push(LogRecord {
                timestamp: TimestampNs(at),
                stream: labels.clone(),
                line: entry.line,
                metadata: label_set(
                    entry
                        .structured_metadata
                        .into_iter()
                        .filter(|p| !p.name.is_empty())
                        .map(|p| (p.name, p.value))
                        .collect(),
                ),
            });
        }
    }
    Ok(out)
}

fn checked(
    labels: Result<LabelSet, WireError>,
    entries: usize,
    out: &mut Decoded<Vec<LogRecord>>,
) -> Option<LabelSet> {
    let why = match labels {
        Ok(labels) if !labels.is_empty() => return Some(labels),
        Ok(_) => "stream without labels".to_owned(),
        Err(e) => e.to_string(),
    };
    for _ in 0..entries.max(1) {
        out.outcome.reject(RejectReason::InvalidLabel, || why.clone());
    }
    None
}

#[derive(Deserialize)]
struct JsonPush {
    streams: Vec<JsonStream>,
}

#[derive(Deserialize)]
struct JsonStream {
    #[serde(default)]
    stream: Option<serde_json::Map<String, Value>>,
    #[serde(default)]
    values: Vec<Vec<Value>>,
    /// The older shape: a label string with entries.
    #[serde(default)]
    labels: Option<String>,
    #[serde(default)]
    entries: Vec<JsonEntry>,
}

#[derive(Deserialize)]
struct JsonEntry {
    #[serde(alias = "timestamp")]
    ts: String,
    line: String,
}

fn decode_json(body: &[u8], caps: &WireCaps) -> Result<Decoded<Vec<LogRecord>>, WireError> {
    crate::json::check_shape(WHAT, body, caps)?;
    let request: JsonPush =
        serde_json::from_slice(body).map_err(|e| WireError::malformed(WHAT, e.to_string()))?;
    let mut out: Decoded<Vec<LogRecord>> = Decoded::default();
    for (at, stream) in request.streams.into_iter().enumerate() {
        let place = |entry: usize| format!("streams[{at}].values[{entry}]");
        // The whole body is judged before a stream is dropped, so that a client's mistake in
        // shape is told at once.
        let mut records = Vec::with_capacity(stream.values.len() + stream.entries.len());
        for (i, value) in stream.values.into_iter().enumerate() {
            records.push(
                json_entry(value)
                    .map_err(|m| WireError::malformed(WHAT, format!("{}: {m}", place(i))))?,
            );
        }
        for entry in stream.entries {
            let at = crate::timestamp_from_text(&entry.ts)
                .ok_or_else(|| WireError::malformed(WHAT, format!("time {:?}", entry.ts)))?;
            records.push((at, entry.line, LabelSet::empty()));
        }
        let labels = match (stream.stream, stream.labels) {
            (Some(map), _) => json_labels(&map),
            (None, Some(text)) => parse_loki_labels(&text),
            (None, None) => Ok(LabelSet::empty()),
        };
        let Some(labels) = checked(labels, records.len(), &mut out) else { continue };
        out.batch.extend(records.into_iter().map(|(timestamp, line, metadata)| LogRecord {
            timestamp,
            stream: labels.clone(),
            line,
            metadata,
        }));
    }
    Ok(out)
}

fn json_labels(map: &serde_json::Map<String, Value>) -> Result<LabelSet, WireError> {
    let pair = |(name, value): (&String, &Value)| match value {
        Value::String(s) if !name.is_empty() => Ok((name.clone(), s.clone())),
        _ => Err(WireError::malformed("stream label", format!("{name:?}: {value}"))),
    };
    map.iter().map(pair).collect::<Result<Vec<_>, _>>().map(label_set)
}

/// `["<nanoseconds>", "line", {metadata}]`.
fn json_entry(value: Vec<Value>) -> Result<(TimestampNs, String, LabelSet), String> {
    let mut parts = value.into_iter();
    let at = match parts.next() {
        Some(Value::String(ns)) => {
            ns.parse::<i64>().map(TimestampNs).map_err(|e| format!("timestamp {ns:?}: {e}"))?
        }
        other => {
            return Err(format!(
                "timestamp must be a string of nanoseconds, got {}",
                other.unwrap_or_default()
            ));
        }
    };
    let Some(Value::String(line)) = parts.next() else {
        return Err("second element must be the line, a string".into());
    };
    let metadata = match parts.next() {
        None | Some(Value::Null) => LabelSet::empty(),
        Some(Value::Object(map)) => json_labels(&map).map_err(|e| e.to_string())?,
        Some(other) => return Err(format!("structured metadata must be an object, got {other}")),
    };
    Ok((at, line, metadata))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn json(body: &str) -> Result<Decoded<Vec<LogRecord>>, WireError> {
        decode_loki_push(body.as_bytes(), LokiFormat::Json, &WireCaps::default())
    }

    #[test]
    fn json_pushes_are_read() {
        let got = json(concat!(
            r#"{"streams":[{"stream":{"app":"a"},"values":[["10","x"],["11","y",{"trace_id":"t"}]]},"#,
            r#"{"stream":{},"values":[["1","z"]]},"#,
            r#"{"labels":"{b=\"c\"}","entries":[{"ts":"1970-01-01T00:00:01Z","line":"old"}]}]}"#,
        ))
        .unwrap();
        assert_eq!(got.batch.len(), 3);
        assert_eq!(got.batch[1].metadata.get("trace_id"), Some("t"));
        assert_eq!(got.batch[2].timestamp, TimestampNs(1_000_000_000));
        assert_eq!(got.outcome.rejected[&RejectReason::InvalidLabel].count, 1);
    }

    #[test]
    fn wrong_shapes_are_refused_with_their_place() {
        for (body, want) in [
            (
                r#"{"streams":[{"stream":{"a":"b"},"values":[["1","x"],[2,"y"]]}]}"#,
                "streams[0].values[1]: timestamp must be a string",
            ),
            (r#"{"streams":[{"stream":{"a":"b"},"values":[["x","y"]]}]}"#, "timestamp \"x\""),
            (r#"{"streams":[{"stream":{"a":"b"},"values":[["1"]]}]}"#, "must be the line"),
            (r#"{"streams":7}"#, "line 1 column"),
            (r#"{"#, "line 1 column"),
        ] {
            let got = json(body).unwrap_err().to_string();
            assert!(got.contains(want), "{body}: {got}");
        }
    }

    fn push() -> PushRequest {
        PushRequest {
            streams: vec![
                PushStream {
                    labels: "{app=\"a\"}".into(),
                    entries: vec![
                        PushEntry {
                            timestamp: Some(PushTime { seconds: 1, nanos: 5 }),
                            line: "x".into(),
                            structured_metadata: vec![PushPair {
                                name: "k".into(),
                                value: "v".into(),
                            }],
                        },
                        PushEntry {
                            timestamp: Some(PushTime { seconds: i64::MAX, nanos: 0 }),
                            ..Default::default()
                        },
                    ],
                },
                PushStream { labels: "{app".into(), entries: vec![PushEntry::default(); 2] },
            ],
        }
    }

    #[test]
    fn protobuf_pushes_are_read_and_bad_streams_dropped() {
        let body = push().encode_to_vec();
        let got = decode_loki_push(&body, LokiFormat::Protobuf, &WireCaps::default()).unwrap();
        assert_eq!(got.batch.len(), 1);
        assert_eq!(got.batch[0].timestamp, TimestampNs(1_000_000_005));
        assert_eq!(got.batch[0].metadata.get("k"), Some("v"));
        assert_eq!(got.outcome.rejected[&RejectReason::InvalidLabel].count, 2);
        assert_eq!(got.outcome.rejected[&RejectReason::Malformed].count, 1);
        let caps = WireCaps { messages_max: 3, ..WireCaps::default() };
        let refused = decode_loki_push(&body, LokiFormat::Protobuf, &caps).unwrap_err();
        assert_eq!(refused.reason(), "too_many_messages");
    }

    proptest! {
        #[test]
        fn damaged_pushes_are_refused_or_read(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
            let mut body = push().encode_to_vec();
            let at = at.index(body.len());
            body[at] = byte;
            for format in [LokiFormat::Protobuf, LokiFormat::Json] {
                drop(decode_loki_push(&body, format, &WireCaps::default()));
            }
        }
    }
}
