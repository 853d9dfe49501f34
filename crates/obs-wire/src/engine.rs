//! The JSON objects of ENGINE 2.1 (metrics), 2.2 (logs) and 2.3 (traces), as senders post them: one
//! object, an array, or objects one after the other.

use std::sync::Arc;

use obs_types::{
    AttrValue, Attributes, InstrumentationScope, LabelSetBuilder, LogRecord, METRIC_NAME,
    MetricBatch, NodeName, RejectReason, Resource, SeriesSamples, Span, SpanId, SpanKind,
    SpanRecord, SpanStatus, StatusCode, TimestampNs, TraceId,
};
use serde_json::{Map, Value};

use crate::caps::Budget;
use crate::json::value_text;
use crate::{Decoded, JsonLineFields, WireCaps, WireError, log_from_object, timestamp_from_json};

const WHAT: &str = "JSON objects";

type Object = Map<String, Value>;

fn objects(body: &[u8], caps: &WireCaps) -> Result<Vec<Value>, WireError> {
    crate::json::check_shape(WHAT, body, caps)?;
    let mut out = Vec::new();
    for value in serde_json::Deserializer::from_slice(body).into_iter::<Value>() {
        match value.map_err(|e| WireError::malformed(WHAT, e.to_string()))? {
            Value::Array(all) => out.extend(all),
            other => out.push(other),
        }
    }
    Ok(out)
}

/// Reads every object with `read`; one that is refused is counted with its place.
fn decode<T: Default>(
    body: &[u8],
    caps: &WireCaps,
    reason: RejectReason,
    mut read: impl FnMut(Object, &mut T) -> Result<(), String>,
) -> Result<Decoded<T>, WireError> {
    let mut out: Decoded<T> = Decoded::default();
    for (i, value) in objects(body, caps)?.into_iter().enumerate() {
        let done = match value {
            Value::Object(object) => read(object, &mut out.batch),
            other => Err(format!("expected an object, got {other}")),
        };
        if let Err(why) = done {
            out.outcome.reject(reason, || format!("object {}: {why}", i + 1));
        }
    }
    Ok(out)
}

/// ENGINE 2.1. Every entry of `metrics` is one sample of a series with the object's labels and the
/// short name of its `node`.
pub fn decode_engine_metrics(
    body: &[u8],
    caps: &WireCaps,
    now: TimestampNs,
) -> Result<Decoded<MetricBatch>, WireError> {
    let mut budget = Budget::new("JSON metrics", caps);
    decode(body, caps, RejectReason::Malformed, |object, batch: &mut MetricBatch| {
        let at = time(&object, "timestamp")?.unwrap_or(now).floor_to_ms();
        let mut labels = LabelSetBuilder::new();
        if let Some(Value::Object(given)) = object.get("labels") {
            if given.len() > caps.labels_max {
                return Err(format!("{} labels, {} allowed", given.len(), caps.labels_max));
            }
            for (name, value) in given {
                labels.set(crate::otlp::label_name(name), value_text(value));
            }
        }
        if let Some(node) = object.get("node").and_then(Value::as_str) {
            labels.set("node", NodeName::new(node).short());
        }
        let Some(Value::Object(metrics)) = object.get("metrics") else {
            return Err("\"metrics\" is no object".into());
        };
        // All or nothing: half an object would be a measurement that nobody made.
        let mut series = Vec::with_capacity(metrics.len());
        for (name, value) in metrics {
            let number = match value {
                Value::Number(n) => n.as_f64(),
                Value::String(s) => crate::float::parse_go_float(s),
                _ => None,
            }
            .ok_or_else(|| format!("metric {name:?} is no number: {value}"))?;
            let name = crate::otlp::metric_name(name, "", obs_types::MetricKind::Unknown);
            if name.is_empty() {
                return Err("metric without a name".into());
            }
            let mut labels = labels.clone();
            labels.set(METRIC_NAME, name);
            let labels = labels.build();
            budget.spend(labels.as_bytes().len()).map_err(|e| e.to_string())?;
            series.push(SeriesSamples {
                labels,
                samples: vec![(at, number)],
                ..Default::default()
            });
        }
        batch.series.extend(series);
        Ok(())
    })
}

/// ENGINE 2.2; any other log object is read as a JSON line is.
pub fn decode_engine_logs(
    body: &[u8],
    caps: &WireCaps,
    now: TimestampNs,
) -> Result<Decoded<Vec<LogRecord>>, WireError> {
    let fields = JsonLineFields::default();
    decode(body, caps, RejectReason::Malformed, |object, batch: &mut Vec<LogRecord>| {
        batch.push(log_from_object(object, &fields, now)?);
        Ok(())
    })
}

/// ENGINE 2.3. `service` and `node` of a span make its resource; the trace's `status` goes to its
/// root span, where it has none of its own; `tags` become the root's attribute `tags`. A trace
/// without spans becomes one span.
pub fn decode_engine_traces(
    body: &[u8],
    caps: &WireCaps,
) -> Result<Decoded<Vec<SpanRecord>>, WireError> {
    decode(body, caps, RejectReason::InvalidSpan, |object, batch: &mut Vec<SpanRecord>| {
        batch.extend(trace(&object)?);
        Ok(())
    })
}

/// Ids as the documents write them: `trace-` and `span-` prefixes, and a trailing ellipsis.
fn id_text(text: &str) -> &str {
    text.trim().trim_end_matches(['.', '…'])
}

/// The id in hexadecimal of full length where it is one, else the text unchanged.
pub(crate) fn canonical_id(name: &str, text: &str) -> String {
    let id = id_text(text);
    let canonical = if name == "span_id" {
        id.parse::<SpanId>().map(|id| id.to_string())
    } else {
        id.parse::<TraceId>().map(|id| id.to_string())
    };
    canonical.unwrap_or_else(|_| text.to_owned())
}

fn text<'a>(object: &'a Object, name: &str) -> &'a str {
    object.get(name).and_then(Value::as_str).unwrap_or("")
}

/// `None` where the field is missing or null.
fn time(object: &Object, name: &str) -> Result<Option<TimestampNs>, String> {
    match object.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => timestamp_from_json(value)
            .map(Some)
            .ok_or_else(|| format!("{name:?} is no time: {value}")),
    }
}

fn trace(object: &Object) -> Result<Vec<SpanRecord>, String> {
    let trace_id: TraceId = id_text(text(object, "trace_id"))
        .parse()
        .map_err(|e: obs_types::ParseIdError| e.to_string())?;
    if trace_id.is_zero() {
        return Err("trace id is zero".into());
    }
    let start = time(object, "start_time")?;
    let mut spans = Vec::new();
    match object.get("spans") {
        Some(Value::Array(all)) => {
            for span in all {
                let Value::Object(span) = span else {
                    return Err(format!("span is no object: {span}"));
                };
                spans.push(span_record(span, trace_id, start)?);
            }
        }
        None | Some(Value::Null) => {}
        Some(other) => return Err(format!("\"spans\" is no array: {other}")),
    }
    if spans.is_empty() {
        let mut lone = object.clone();
        let last8 = trace_id.0.last_chunk::<8>().copied().unwrap_or_default();
        lone.insert("span_id".into(), SpanId(last8).to_string().into());
        spans.push(span_record(&lone, trace_id, start)?);
    }
    let root = spans.iter().position(|s| s.span.parent_span_id.is_zero()).unwrap_or(0);
    if let Some(SpanRecord { span: root, .. }) = spans.get_mut(root) {
        if root.status.code == StatusCode::Unset {
            root.status.code = status(text(object, "status"));
        }
        for name in ["tags", "name"] {
            match object.get(name) {
                Some(Value::String(s)) if *s == root.name => {}
                Some(value) => {
                    let name = if name == "name" { "trace.name" } else { name };
                    root.attributes.0.retain(|(n, _)| n != name);
                    root.attributes.0.push((name.to_owned(), attribute(value)));
                }
                None => {}
            }
        }
    }
    Ok(spans)
}

fn span_record(
    object: &Object,
    trace_id: TraceId,
    trace_start: Option<TimestampNs>,
) -> Result<SpanRecord, String> {
    let id = |name: &str| -> Result<SpanId, String> {
        match id_text(text(object, name)) {
            "" => Ok(SpanId::default()),
            id => id.parse().map_err(|e: obs_types::ParseIdError| e.to_string()),
        }
    };
    let span_id = id("span_id")?;
    if span_id.is_zero() {
        return Err("span without an id".into());
    }
    let start = time(object, "start_time")?.or(trace_start).ok_or("span without a start_time")?;
    let end = match (time(object, "end_time")?, object.get("duration_ms").and_then(Value::as_f64)) {
        (Some(end), _) => end,
        // Saturates: a float casts to the nearest i64.
        (None, Some(ms)) => TimestampNs(start.0.saturating_add((ms * 1e6).round() as i64)),
        (None, None) => start,
    };
    let attributes = match object.get("attributes") {
        Some(Value::Object(map)) => {
            Attributes(map.iter().map(|(n, v)| (n.clone(), attribute(v))).collect())
        }
        _ => Attributes::default(),
    };
    let mut resource = Attributes::default();
    for (field, name) in [("service", "service.name"), ("node", "node")] {
        let value = text(object, field);
        if !value.is_empty() {
            let value = if field == "node" {
                NodeName::new(value).short().to_owned()
            } else {
                value.to_owned()
            };
            resource.0.push((name.to_owned(), AttrValue::Str(value)));
        }
    }
    let kind = match text(object, "kind").to_ascii_lowercase().as_str() {
        "internal" => SpanKind::Internal,
        "server" => SpanKind::Server,
        "client" => SpanKind::Client,
        "producer" => SpanKind::Producer,
        "consumer" => SpanKind::Consumer,
        _ => SpanKind::Unspecified,
    };
    Ok(SpanRecord {
        resource: Arc::new(Resource { attributes: resource }),
        scope: Arc::new(InstrumentationScope::default()),
        span: Span {
            trace_id,
            span_id,
            parent_span_id: id("parent_span_id")?,
            name: text(object, "name").to_owned(),
            kind,
            start,
            end,
            status: SpanStatus { code: status(text(object, "status")), message: String::new() },
            attributes,
            ..Default::default()
        },
    })
}

fn status(text: &str) -> StatusCode {
    match text.to_ascii_lowercase().as_str() {
        "ok" => StatusCode::Ok,
        "error" => StatusCode::Error,
        _ => StatusCode::Unset,
    }
}

fn attribute(value: &Value) -> AttrValue {
    match value {
        Value::Null => AttrValue::Str(String::new()),
        Value::Bool(b) => AttrValue::Bool(*b),
        Value::String(s) => AttrValue::Str(s.clone()),
        Value::Number(n) => match n.as_i64() {
            Some(i) => AttrValue::Int(i),
            None => AttrValue::Double(n.as_f64().unwrap_or(f64::NAN)),
        },
        Value::Array(all) => AttrValue::Array(all.iter().map(attribute).collect()),
        Value::Object(map) => {
            AttrValue::Map(map.iter().map(|(n, v)| (n.clone(), attribute(v))).collect())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn caps() -> WireCaps {
        WireCaps::default()
    }

    #[test]
    fn metrics_objects_become_series() {
        let body =
            br#"{"metric_id":"m","node":"did:vm:node:brick-01","timestamp":"2025-12-06T14:30:00Z",
            "metrics":{"cpu_percent":23.5,"goroutines":156},"labels":{"region":"eu-west"}}
            {"metrics":{"a":"x"}} {"metrics":[]} 7"#;
        let got = decode_engine_metrics(body, &caps(), TimestampNs(0)).unwrap();
        let shown: Vec<String> = got.batch.series.iter().map(|s| s.labels.to_string()).collect();
        assert_eq!(
            shown,
            [
                "cpu_percent{node=\"brick-01\", region=\"eu-west\"}",
                "goroutines{node=\"brick-01\", region=\"eu-west\"}"
            ]
        );
        assert_eq!(got.batch.series[0].samples[0].1, 23.5);
        assert_eq!(got.outcome.rejected[&RejectReason::Malformed].count, 3);
    }

    #[test]
    fn trace_objects_become_spans() {
        let body = br#"[{"trace_id":"trace-abc123...","name":"treasury_settlement",
            "start_time":"2025-12-06T14:30:00.000Z","duration_ms":2345,"status":"ok",
            "spans":[
              {"span_id":"span-001","parent_span_id":null,"name":"http_request","service":"portal",
               "node":"did:vm:node:portal-01","start_time":"2025-12-06T14:30:00.000Z","duration_ms":2340,
               "attributes":{"http.status_code":200}},
              {"span_id":"span-002","parent_span_id":"span-001","name":"validate","service":"t",
               "start_time":"2025-12-06T14:30:00.100Z","duration_ms":150}],
            "tags":["treasury"]},
            {"trace_id":"xyz"}, {"trace_id":"1","spans":[{"span_id":"1"}]}]"#;
        let got = decode_engine_traces(body, &caps()).unwrap();
        assert_eq!(got.batch.len(), 2);
        let root = &got.batch[0];
        assert_eq!(root.span.trace_id, "trace-abc123".parse().unwrap());
        assert_eq!(root.resource.service(), "portal");
        assert_eq!(root.resource.node(), "portal-01");
        assert_eq!(root.span.duration_ns(), 2_340_000_000);
        assert_eq!(root.span.status.code, StatusCode::Ok);
        assert_eq!(root.span.attributes.get_str("trace.name"), Some("treasury_settlement"));
        assert_eq!(got.batch[1].span.parent_span_id, root.span.span_id);
        assert_eq!(got.outcome.rejected[&RejectReason::InvalidSpan].count, 2);
    }

    proptest! {
        #[test]
        fn odd_objects_are_refused_or_read(
            body in r#"\[?\{("(trace_id|spans|span_id|start_time|duration_ms|metrics|labels|node)":("x"|"1"|1e300|-1|null|\{"a":1\}|\[\{"span_id":"1"\}\]),?){0,6}\}\]?"#,
        ) {
            drop(decode_engine_metrics(body.as_bytes(), &caps(), TimestampNs(0)));
            drop(decode_engine_logs(body.as_bytes(), &caps(), TimestampNs(0)));
            drop(decode_engine_traces(body.as_bytes(), &caps()));
        }
    }
}
