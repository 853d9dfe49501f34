//! Attributes, events, links and spans in OTLP/JSON: 64-bit integers are strings, ids hex, bytes
//! base64, and floats that JSON lacks are `"NaN"`, `"Infinity"`, `"-Infinity"`.
//! Source: opentelemetry-proto, `opentelemetry/proto/common/v1`, JSON mapping of proto3.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use obs_types::{
    AttrValue, Attributes, InstrumentationScope, Resource, Span, SpanEvent, SpanLink, SpanRecord,
    TimestampNs,
};
use serde_json::{Map, Value, json};

/// Deeper values than any SDK builds are refused instead of using up the stack.
const DEPTH_MAX: usize = 64;

pub(crate) fn value_json(value: &AttrValue) -> Value {
    match value {
        AttrValue::Str(s) => json!({ "stringValue": s }),
        AttrValue::Bool(b) => json!({ "boolValue": b }),
        AttrValue::Int(i) => json!({ "intValue": i.to_string() }),
        AttrValue::Double(d) => json!({ "doubleValue": double_json(*d) }),
        AttrValue::Bytes(b) => json!({ "bytesValue": STANDARD.encode(b) }),
        AttrValue::Array(items) => {
            json!({ "arrayValue": { "values": items.iter().map(value_json).collect::<Vec<_>>() } })
        }
        AttrValue::Map(items) => json!({ "kvlistValue": { "values": pairs_json(items) } }),
    }
}

fn double_json(d: f64) -> Value {
    serde_json::Number::from_f64(d).map_or_else(
        || {
            let text = if d.is_nan() {
                "NaN"
            } else if d > 0.0 {
                "Infinity"
            } else {
                "-Infinity"
            };
            Value::String(text.to_owned())
        },
        Value::Number,
    )
}

fn pairs_json(pairs: &[(String, AttrValue)]) -> Value {
    pairs.iter().map(|(key, value)| json!({ "key": key, "value": value_json(value) })).collect()
}

/// `[{"key":"a","value":{"stringValue":"x"}}]` in the order sent.
pub(crate) fn attributes_json(attributes: &Attributes) -> Value {
    pairs_json(&attributes.0)
}

pub(crate) fn scope_json(scope: &InstrumentationScope) -> Value {
    json!({
        "name": scope.name,
        "version": scope.version,
        "attributes": attributes_json(&scope.attributes),
    })
}

pub(crate) fn events_json(events: &[SpanEvent]) -> Value {
    events
        .iter()
        .map(|e| {
            json!({
                "timeUnixNano": e.timestamp.0.to_string(),
                "name": e.name,
                "attributes": attributes_json(&e.attributes),
            })
        })
        .collect()
}

pub(crate) fn links_json(links: &[SpanLink]) -> Value {
    links
        .iter()
        .map(|l| {
            json!({
                "traceId": l.trace_id.to_string(),
                "spanId": l.span_id.to_string(),
                "traceState": l.trace_state,
                "attributes": attributes_json(&l.attributes),
            })
        })
        .collect()
}

/// The span with who produced it; every field is always present. This is what a record leaf
/// holds, after canonicalisation.
pub(crate) fn span_record_json(record: &SpanRecord) -> Value {
    let Span { status, .. } = &record.span;
    let span = &record.span;
    json!({
        "resource": { "attributes": attributes_json(&record.resource.attributes) },
        "scope": scope_json(&record.scope),
        "span": {
            "traceId": span.trace_id.to_string(),
            "spanId": span.span_id.to_string(),
            "parentSpanId": if span.parent_span_id.is_zero() { String::new() }
                            else { span.parent_span_id.to_string() },
            "traceState": span.trace_state,
            "flags": span.flags,
            "name": span.name,
            "kind": span.kind.to_otlp(),
            "startTimeUnixNano": span.start.0.to_string(),
            "endTimeUnixNano": span.end.0.to_string(),
            "attributes": attributes_json(&span.attributes),
            "events": events_json(&span.events),
            "links": links_json(&span.links),
            "status": { "code": status.code.to_otlp(), "message": status.message },
        },
    })
}

/// What [`attributes_json`] gave, as text.
pub(crate) fn parse_attributes(text: &str) -> Result<Attributes, String> {
    let value: Value = serde_json::from_str(text).map_err(|e| e.to_string())?;
    attributes_of(&value)
}

pub(crate) fn parse_resource(text: &str) -> Result<Resource, String> {
    Ok(Resource { attributes: parse_attributes(text)? })
}

pub(crate) fn parse_scope(text: &str) -> Result<InstrumentationScope, String> {
    let value: Value = serde_json::from_str(text).map_err(|e| e.to_string())?;
    let map = object(&value)?;
    Ok(InstrumentationScope {
        name: string(map, "name")?,
        version: string(map, "version")?,
        attributes: attributes_of(field(map, "attributes")?)?,
    })
}

pub(crate) fn parse_events(text: &str) -> Result<Vec<SpanEvent>, String> {
    let value: Value = serde_json::from_str(text).map_err(|e| e.to_string())?;
    array(&value)?
        .iter()
        .map(|item| {
            let map = object(item)?;
            let time = string(map, "timeUnixNano")?;
            Ok(SpanEvent {
                timestamp: TimestampNs(time.parse().map_err(|_e| format!("time {time:?}"))?),
                name: string(map, "name")?,
                attributes: attributes_of(field(map, "attributes")?)?,
            })
        })
        .collect()
}

pub(crate) fn parse_links(text: &str) -> Result<Vec<SpanLink>, String> {
    let value: Value = serde_json::from_str(text).map_err(|e| e.to_string())?;
    array(&value)?
        .iter()
        .map(|item| {
            let map = object(item)?;
            Ok(SpanLink {
                trace_id: string(map, "traceId")?.parse().map_err(|e| format!("{e}"))?,
                span_id: string(map, "spanId")?.parse().map_err(|e| format!("{e}"))?,
                trace_state: string(map, "traceState")?,
                attributes: attributes_of(field(map, "attributes")?)?,
            })
        })
        .collect()
}

fn attributes_of(value: &Value) -> Result<Attributes, String> {
    pairs_of(value, DEPTH_MAX).map(Attributes)
}

fn pairs_of(value: &Value, depth: usize) -> Result<Vec<(String, AttrValue)>, String> {
    array(value)?
        .iter()
        .map(|item| {
            let map = object(item)?;
            Ok((string(map, "key")?, value_of(field(map, "value")?, depth)?))
        })
        .collect()
}

fn value_of(value: &Value, depth: usize) -> Result<AttrValue, String> {
    let depth = depth.checked_sub(1).ok_or("an attribute nests too deep")?;
    let (kind, inner) = object(value)?.iter().next().ok_or("an attribute without value")?;
    Ok(match kind.as_str() {
        "stringValue" => AttrValue::Str(text(inner)?.to_owned()),
        "boolValue" => AttrValue::Bool(inner.as_bool().ok_or("boolValue is no boolean")?),
        "intValue" => {
            let digits = text(inner)?;
            AttrValue::Int(digits.parse().map_err(|_e| format!("intValue is {digits:?}"))?)
        }
        "doubleValue" => AttrValue::Double(match inner {
            Value::Number(n) => n.as_f64().ok_or("doubleValue is no double")?,
            other => match text(other)? {
                "NaN" => f64::NAN,
                "Infinity" => f64::INFINITY,
                "-Infinity" => f64::NEG_INFINITY,
                wrong => return Err(format!("doubleValue is {wrong:?}")),
            },
        }),
        "bytesValue" => AttrValue::Bytes(STANDARD.decode(text(inner)?).map_err(|e| e.to_string())?),
        "arrayValue" => AttrValue::Array(
            array(field(object(inner)?, "values")?)?
                .iter()
                .map(|v| value_of(v, depth))
                .collect::<Result<_, String>>()?,
        ),
        "kvlistValue" => AttrValue::Map(pairs_of(field(object(inner)?, "values")?, depth)?),
        other => return Err(format!("an attribute of kind {other:?}")),
    })
}

fn object(value: &Value) -> Result<&Map<String, Value>, String> {
    value.as_object().ok_or_else(|| format!("{value} is no object"))
}

fn array(value: &Value) -> Result<&Vec<Value>, String> {
    value.as_array().ok_or_else(|| format!("{value} is no array"))
}

fn field<'a>(map: &'a Map<String, Value>, name: &str) -> Result<&'a Value, String> {
    map.get(name).ok_or_else(|| format!("{name} is missing"))
}

fn text(value: &Value) -> Result<&str, String> {
    value.as_str().ok_or_else(|| format!("{value} is no string"))
}

fn string(map: &Map<String, Value>, name: &str) -> Result<String, String> {
    text(field(map, name)?).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_attribute_round_trips() {
        let attributes = Attributes(vec![
            ("s".into(), AttrValue::Str("ünïcode \"q\" \u{0}".into())),
            ("b".into(), AttrValue::Bool(false)),
            ("i".into(), AttrValue::Int(i64::MIN)),
            ("d".into(), AttrValue::Double(-0.0)),
            ("inf".into(), AttrValue::Double(f64::NEG_INFINITY)),
            ("bytes".into(), AttrValue::Bytes(vec![0, 255, 7])),
            (
                "nest".into(),
                AttrValue::Array(vec![AttrValue::Map(vec![("k".into(), AttrValue::Int(1))])]),
            ),
        ]);
        let text = attributes_json(&attributes).to_string();
        let back = parse_attributes(&text).unwrap();
        assert_eq!(back, attributes);
        match back.get("d") {
            Some(AttrValue::Double(d)) => assert_eq!(d.to_bits(), (-0.0_f64).to_bits()),
            other => panic!("{other:?}"),
        }
        let nan = Attributes(vec![("n".into(), AttrValue::Double(f64::NAN))]);
        match parse_attributes(&attributes_json(&nan).to_string()).unwrap().get("n") {
            Some(AttrValue::Double(d)) => assert!(d.is_nan()),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn wrong_json_is_an_error() {
        for text in ["", "{}", "[1]", r#"[{"key":"a"}]"#, r#"[{"key":"a","value":{}}]"#] {
            assert!(parse_attributes(text).is_err(), "{text}");
        }
        let deep = format!(
            r#"[{{"key":"a","value":{}{{"boolValue":true}}{}}}]"#,
            r#"{"arrayValue":{"values":["#.repeat(30),
            "]}}".repeat(30),
        );
        assert!(parse_attributes(&deep).is_ok());
    }
}
