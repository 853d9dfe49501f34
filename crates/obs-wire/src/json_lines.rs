//! Logs as JSON, one object a line: what Fluent Bit, Vector and most loggers can send.

use obs_types::{LabelSet, LogRecord, NodeName, RejectReason, TimestampNs};
use serde_json::{Map, Value};

use crate::json::{flatten, value_text};
use crate::labels::{Flat, label_set};
use crate::{Decoded, WireCaps, WireError, timestamp_from_json};

const WHAT: &str = "JSON lines";

/// Which fields mean what. The first that is present wins; names are those of the object's top.
#[derive(Clone, Debug)]
pub struct JsonLineFields {
    pub message: Vec<String>,
    pub time: Vec<String>,
    /// Fields that become stream labels under their own name, besides service and node.
    pub stream: Vec<String>,
}

impl Default for JsonLineFields {
    fn default() -> Self {
        let own = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect();
        Self {
            message: own(&["_msg", "message", "msg", "log", "line"]),
            time: own(&["_time", "timestamp", "time", "ts", "@timestamp", "date"]),
            stream: Vec::new(),
        }
    }
}

const SERVICE: [&str; 4] = ["service_name", "service.name", "service", "app"];
const NODE: [&str; 5] = ["node", "host.name", "hostname", "host", "k8s.node.name"];

/// Reads lines; one that is no JSON object is dropped and counted, the others are kept.
pub fn decode_json_lines(
    body: &[u8],
    fields: &JsonLineFields,
    caps: &WireCaps,
    now: TimestampNs,
) -> Result<Decoded<Vec<LogRecord>>, WireError> {
    let mut out: Decoded<Vec<LogRecord>> = Decoded::default();
    let mut count = 0;
    for (i, line) in body.split(|b| *b == b'\n').enumerate() {
        let line = line.trim_ascii();
        if line.is_empty() {
            continue;
        }
        count += 1;
        if count > caps.messages_max {
            return Err(WireError::TooManyMessages { what: WHAT, limit: caps.messages_max });
        }
        let read = crate::json::check_shape(WHAT, line, caps)
            .map_err(|e| e.to_string())
            .and_then(|()| {
                serde_json::from_slice::<Map<String, Value>>(line).map_err(|e| e.to_string())
            })
            .and_then(|object| log_from_object(object, fields, now));
        match read {
            Ok(record) => out.batch.push(record),
            Err(why) => {
                out.outcome.reject(RejectReason::Malformed, || format!("line {}: {why}", i + 1));
            }
        }
    }
    Ok(out)
}

/// One object as a log record: message, time, service and node are taken out, every other field
/// becomes structured metadata (objects flattened with `_`). Without a message field the whole
/// object is the line; without a time field it is stamped `now`.
pub fn log_from_object(
    mut object: Map<String, Value>,
    fields: &JsonLineFields,
    now: TimestampNs,
) -> Result<LogRecord, String> {
    let first = |names: &[String], object: &Map<String, Value>| {
        names.iter().find(|n| object.get(*n).is_some_and(|v| !v.is_null())).cloned()
    };
    let time_field = first(&fields.time, &object);
    let at = match &time_field {
        None => now,
        Some(name) => {
            let value = object.get(name).unwrap_or(&Value::Null);
            timestamp_from_json(value)
                .ok_or_else(|| format!("field {name:?} is no time: {value}"))?
        }
    };
    let line = match first(&fields.message, &object) {
        // `shift_remove` keeps the order of what is left, which the metadata text shows.
        Some(name) => value_text(&object.shift_remove(&name).unwrap_or_default()),
        None => Value::Object(object.clone()).to_string(),
    };
    if let Some(name) = time_field {
        object.shift_remove(&name);
    }
    let mut stream = Flat::new();
    if let Some(labels @ Value::Object(_)) = object.shift_remove("_stream") {
        flatten("", &labels, &mut stream)?;
    }
    if let Some(service) = take_text(&mut object, &SERVICE) {
        stream.put("service_name", service)?;
    }
    if let Some(node) = take_text(&mut object, &NODE) {
        stream.put("node", NodeName::new(&node).short().to_owned())?;
    }
    for name in &fields.stream {
        if let Some(value) = object.shift_remove(name) {
            stream.put(&crate::otlp::label_name(name), value_text(&value))?;
        }
    }
    let (stream, metadata) = (label_set(stream.pairs), metadata(object)?);
    Ok(LogRecord { timestamp: at, stream, line, metadata })
}

fn take_text(object: &mut Map<String, Value>, names: &[&str]) -> Option<String> {
    let name = names.iter().find(|n| object.get(**n).is_some_and(Value::is_string))?;
    object.shift_remove(*name).map(|v| value_text(&v)).filter(|v| !v.is_empty())
}

fn metadata(mut object: Map<String, Value>) -> Result<LabelSet, String> {
    let mut flat = Flat::new();
    // ENGINE's log objects carry free fields under `attributes`; they stand beside the others.
    if let Some(attributes) = object.shift_remove("attributes") {
        let prefix = if attributes.is_object() { "" } else { "attributes" };
        flatten(prefix, &attributes, &mut flat)?;
    }
    flatten("", &Value::Object(object), &mut flat)?;
    for (name, value) in &mut flat.pairs {
        if matches!(name.as_str(), "trace_id" | "span_id") {
            *value = crate::engine::canonical_id(name, value);
        }
    }
    // Fields of the object itself win over attributes of the same name.
    Ok(label_set(flat.pairs))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn lines(body: &str) -> Decoded<Vec<LogRecord>> {
        let fields = JsonLineFields::default();
        decode_json_lines(body.as_bytes(), &fields, &WireCaps::default(), TimestampNs(5)).unwrap()
    }

    #[test]
    fn fields_find_their_place() {
        let got = lines(concat!(
            r#"{"msg":"hello","time":"2025-12-06T14:30:15Z","level":"warn","service":"api","host":"h1","http":{"status":500}}"#,
            "\n\nnot json\n[1]\n",
            r#"{"a":1}"#,
            "\n",
            r#"{"msg":"x","ts":"never"}"#,
        ));
        assert_eq!(got.outcome.rejected[&RejectReason::Malformed].count, 3);
        assert!(got.outcome.rejected_text().unwrap().contains("line 3"));
        let first = &got.batch[0];
        assert_eq!(first.line, "hello");
        assert_eq!(first.stream.to_string(), "{node=\"h1\", service_name=\"api\"}");
        assert_eq!(first.metadata.to_string(), "{http_status=\"500\", level=\"warn\"}");
        assert_eq!(got.batch[1].line, r#"{"a":1}"#);
        assert_eq!(got.batch[1].timestamp, TimestampNs(5));
    }

    #[test]
    fn engine_logs_are_read_as_they_are() {
        let got = lines(
            r#"{"log_id":"log:guardian:x","timestamp":"2025-12-06T14:30:15.123Z","level":"info","service":"guardian","node":"did:vm:node:brick-01","message":"done","attributes":{"receipts_anchored":47,"scrolls_included":["a","b"]},"trace_id":"trace-abc123...","span_id":"span-def456...","caller":"anchor.go:234"}"#,
        );
        let log = &got.batch[0];
        assert_eq!(log.stream.to_string(), "{node=\"brick-01\", service_name=\"guardian\"}");
        assert_eq!(log.metadata.get("trace_id"), Some("00000000000000000000000000abc123"));
        assert_eq!(log.metadata.get("receipts_anchored"), Some("47"));
        assert_eq!(log.metadata.get("scrolls_included"), Some(r#"["a","b"]"#));
        assert_eq!(log.metadata.get("log_id"), Some("log:guardian:x"));
    }

    proptest! {
        #[test]
        fn any_bytes_are_refused_or_read(body in proptest::collection::vec(any::<u8>(), 0..200)) {
            let fields = JsonLineFields::default();
            drop(decode_json_lines(&body, &fields, &WireCaps::default(), TimestampNs(0)));
        }

        #[test]
        fn odd_objects_are_refused_or_read(
            object in r#"\{("(ts|msg|_stream|attributes|service|trace_id)":("x"|1e400|-1|null|\{\}|\[\[\]\]),?){0,4}\}"#,
        ) {
            let fields = JsonLineFields::default();
            drop(decode_json_lines(object.as_bytes(), &fields, &WireCaps::default(), TimestampNs(0)));
        }
    }
}
