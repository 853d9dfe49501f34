//! OTLP/HTTP in JSON for traces and logs, and Loki's push in JSON.

use std::collections::BTreeMap;

use obs_types::SpanId;
use serde_json::{Map, Value, json};

use super::record::{Channel, Origin, SentLog, SentSpan};

/// The body of `POST /v1/traces`; `None` when there is nothing to send.
pub(in crate::demo) fn traces_to_otlp(spans: &[SentSpan]) -> Option<Value> {
    let groups = by_origin(spans, |s| s.origin);
    let resources: Vec<Value> = groups
        .into_iter()
        .map(|(origin, spans)| {
            let spans: Vec<Value> = spans.into_iter().map(span).collect();
            json!({
                "resource": resource(origin),
                "scopeSpans": [{"scope": {"name": origin.service}, "spans": spans}],
            })
        })
        .collect();
    (!resources.is_empty()).then(|| json!({ "resourceSpans": resources }))
}

/// The body of `POST /v1/logs`, with the lines of the services that speak OTLP.
pub(in crate::demo) fn logs_to_otlp(logs: &[SentLog]) -> Option<Value> {
    let mut groups = by_origin(logs, |l| l.origin);
    groups.retain(|origin, _| origin.channel == Channel::Otlp);
    let resources: Vec<Value> = groups
        .into_iter()
        .map(|(origin, logs)| {
            let records: Vec<Value> = logs.into_iter().map(record).collect();
            json!({
                "resource": resource(origin),
                "scopeLogs": [{"scope": {"name": origin.service}, "logRecords": records}],
            })
        })
        .collect();
    (!resources.is_empty()).then(|| json!({ "resourceLogs": resources }))
}

/// The body of `POST /loki/api/v1/push`, with the lines of the other services.
pub(in crate::demo) fn logs_to_loki(logs: &[SentLog]) -> Option<Value> {
    let mut streams = by_origin(logs, |l| l.origin);
    streams.retain(|origin, _| origin.channel != Channel::Otlp);
    let streams: Vec<Value> = streams
        .into_iter()
        .map(|(origin, logs)| {
            let values: Vec<Value> = logs.into_iter().map(entry).collect();
            json!({
                "stream": {
                    "service_name": origin.service,
                    "node": origin.node,
                    "environment": "production",
                    "region": "eu-west",
                },
                "values": values,
            })
        })
        .collect();
    (!streams.is_empty()).then(|| json!({ "streams": streams }))
}

fn by_origin<T>(items: &[T], of: impl Fn(&T) -> Origin) -> BTreeMap<Origin, Vec<&T>> {
    let mut groups: BTreeMap<Origin, Vec<&T>> = BTreeMap::new();
    for item in items {
        groups.entry(of(item)).or_default().push(item);
    }
    groups
}

fn resource(origin: Origin) -> Value {
    let text = |name: &str, value: &str| json!({"key": name, "value": {"stringValue": value}});
    json!({"attributes": [
        text("service.name", origin.service),
        text("service.instance.id", origin.instance),
        text("host.name", origin.node),
        text("deployment.environment", "production"),
        text("cloud.region", "eu-west"),
    ]})
}

fn span(s: &SentSpan) -> Value {
    let parent = if s.parent == SpanId::default() { String::new() } else { s.parent.to_string() };
    let status = match &s.error {
        Some(why) => json!({"code": 2, "message": why}),
        None => json!({"code": 1}),
    };
    let mut out = json!({
        "traceId": s.trace_id.to_string(),
        "spanId": s.span_id.to_string(),
        "parentSpanId": parent,
        "name": s.name,
        "kind": s.kind.to_otlp(),
        "startTimeUnixNano": s.start.0.to_string(),
        "endTimeUnixNano": s.end.0.to_string(),
        "attributes": attributes(&s.attributes),
        "status": status,
    });
    if let Some(why) = &s.error {
        out["events"] = json!([{
            "timeUnixNano": s.end.0.to_string(),
            "name": "exception",
            "attributes": attributes(&[("exception.message", json!(why))]),
        }]);
    }
    out
}

fn record(l: &SentLog) -> Value {
    let mut fields = l.fields.clone();
    fields.push(("caller", json!(l.origin.caller)));
    let mut out = json!({
        "timeUnixNano": l.at.0.to_string(),
        "severityNumber": l.level.number(),
        "severityText": l.level.as_str().to_uppercase(),
        "body": {"stringValue": l.message},
        "attributes": attributes(&fields),
    });
    if let Some((trace, span)) = l.span {
        out["traceId"] = json!(trace.to_string());
        out["spanId"] = json!(span.to_string());
    }
    out
}

fn attributes(fields: &[(&'static str, Value)]) -> Vec<Value> {
    fields.iter().map(|(name, value)| json!({"key": name, "value": any_value(value)})).collect()
}

fn any_value(value: &Value) -> Value {
    match value {
        Value::Bool(b) => json!({ "boolValue": b }),
        Value::Number(n) if n.is_i64() || n.is_u64() => json!({"intValue": n.to_string()}),
        Value::Number(n) => json!({ "doubleValue": n }),
        Value::Array(items) => {
            json!({"arrayValue": {"values": items.iter().map(any_value).collect::<Vec<_>>()}})
        }
        Value::String(text) => json!({ "stringValue": text }),
        other => json!({"stringValue": other.to_string()}),
    }
}

/// `[time, line]`, with the ids of the span as structured metadata where there is one.
fn entry(l: &SentLog) -> Value {
    let line = match l.origin.channel {
        Channel::LokiLogfmt => logfmt_line(l),
        Channel::LokiJson | Channel::Otlp => json_line(l),
    };
    let at = l.at.0.to_string();
    match l.span {
        Some((trace, span)) => {
            json!([at, line, {"trace_id": trace.to_string(), "span_id": span.to_string()}])
        }
        None => json!([at, line]),
    }
}

fn json_line(l: &SentLog) -> String {
    let mut object = Map::new();
    object.insert("level".into(), json!(l.level.as_str()));
    object.insert("message".into(), json!(l.message));
    object.extend(l.fields.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
    object.insert("caller".into(), json!(l.origin.caller));
    Value::Object(object).to_string()
}

fn logfmt_line(l: &SentLog) -> String {
    let mut line = format!("level={} msg={:?}", l.level.as_str(), l.message);
    for (name, value) in &l.fields {
        match value {
            Value::String(text) if !text.contains([' ', '"', '=']) => {
                line.push_str(&format!(" {name}={text}"));
            }
            other => line.push_str(&format!(" {name}={other}")),
        }
    }
    line.push_str(&format!(" caller={}", l.origin.caller));
    line
}

#[cfg(test)]
mod tests {
    use obs_types::{TimestampMs, TimestampNs};
    use obs_wire::WireCaps;

    use super::*;
    use crate::demo::model::Model;
    use crate::demo::traffic::{Batch, Traffic};

    fn batch() -> Batch {
        let start = TimestampMs(1_764_945_000_000);
        let view = Model::new(4, start).view();
        let mut traffic = Traffic::new(4, start.to_ns(), &["host", "vaultmesh"]);
        let mut all = Batch::default();
        for tick in 1..200 {
            let now = TimestampNs(start.to_ns().0 + tick * 500_000_000);
            let part = traffic.tick(now, &view);
            all.spans.extend(part.spans);
            all.logs.extend(part.logs);
        }
        all
    }

    #[test]
    fn what_is_sent_is_read_back_whole() {
        let batch = batch();
        let caps = WireCaps::default();
        let otlp = logs_to_otlp(&batch.logs).expect("OTLP lines").to_string();
        let otlp = obs_wire::otlp::decode_logs(
            otlp.as_bytes(),
            obs_wire::otlp::OtlpFormat::Json,
            &caps,
            TimestampNs(0),
        )
        .expect("readable");
        let loki = logs_to_loki(&batch.logs).expect("other lines").to_string();
        let loki = obs_wire::decode_loki_push(loki.as_bytes(), obs_wire::LokiFormat::Json, &caps)
            .expect("readable");
        assert_eq!(otlp.batch.len() + loki.batch.len(), batch.logs.len());
        assert!(otlp.batch.len() > 20 && loki.batch.len() > 20);
        let linked = |l: &&obs_types::LogRecord| l.metadata.get("trace_id").is_some();
        assert!(loki.batch.iter().any(|l| linked(&l)) && otlp.batch.iter().any(|l| linked(&l)));
        let traces = traces_to_otlp(&batch.spans).expect("spans").to_string();
        let traces = obs_wire::otlp::decode_traces(
            traces.as_bytes(),
            obs_wire::otlp::OtlpFormat::Json,
            &caps,
        )
        .expect("readable");
        assert_eq!(traces.batch.len(), batch.spans.len());
        assert!(traces.batch.iter().all(|s| s.resource.node() != ""));
    }

    #[test]
    fn lines_are_json_or_logfmt() {
        let batch = batch();
        let line = |channel| {
            let log = batch.logs.iter().find(|l| l.origin.channel == channel && l.span.is_some());
            entry(log.expect("such a line"))[1].as_str().unwrap_or_default().to_owned()
        };
        let json: Value = serde_json::from_str(&line(Channel::LokiJson)).expect("JSON");
        assert!(json["message"].is_string() && json["level"].is_string());
        let logfmt = line(Channel::LokiLogfmt);
        assert!(logfmt.starts_with("level=") && logfmt.contains(" msg=\""), "{logfmt}");
    }
}
