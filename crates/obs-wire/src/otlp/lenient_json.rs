//! JSON that protobuf's mapping allows and the derived reader refuses: empty lists left out
//! (`"arrayValue":{}`), enum names, nulls, and numbers as text.

use serde_json::{Map, Number, Value};

/// Brings the object into the one spelling that the derived reader knows.
pub(super) fn repair(value: &mut Value) {
    match value {
        Value::Array(all) => all.iter_mut().for_each(repair),
        Value::Object(map) => {
            repair_object(map);
            map.values_mut().for_each(repair);
        }
        _ => {}
    }
}

fn repair_object(map: &mut Map<String, Value>) {
    for (name, value) in map.iter_mut() {
        match (name.as_str(), &mut *value) {
            ("arrayValue" | "kvlistValue", Value::Object(list)) => {
                list.entry("values").or_insert_with(|| Value::Array(Vec::new()));
            }
            (
                "kind" | "aggregationTemporality" | "severityNumber" | "code",
                Value::String(text),
            ) => {
                if let Some(number) = enum_number(text) {
                    *value = Value::from(number);
                }
            }
            (
                "asDouble"
                | "doubleValue"
                | "sum"
                | "min"
                | "max"
                | "zeroThreshold"
                | "flags"
                | "droppedAttributesCount"
                | "droppedEventsCount"
                | "droppedLinksCount"
                | "scale"
                | "offset",
                Value::String(text),
            ) => {
                if let Some(number) = number(text) {
                    *value = Value::Number(number);
                }
            }
            ("explicitBounds", Value::Array(all)) => {
                for bound in all {
                    if let Some(n) = bound.as_str().and_then(number) {
                        *bound = Value::Number(n);
                    }
                }
            }
            _ => {}
        }
    }
    // Protobuf reads null as if the field were absent.
    map.retain(|_, v| !v.is_null());
}

fn number(text: &str) -> Option<Number> {
    match text.parse::<i64>() {
        Ok(n) => Some(Number::from(n)),
        Err(_not_whole) => text.parse().ok().and_then(Number::from_f64),
    }
}

fn enum_number(name: &str) -> Option<i32> {
    use opentelemetry_proto::tonic::{logs, metrics, trace};
    metrics::v1::AggregationTemporality::from_str_name(name)
        .map(|e| e as i32)
        .or_else(|| trace::v1::span::SpanKind::from_str_name(name).map(|e| e as i32))
        .or_else(|| trace::v1::status::StatusCode::from_str_name(name).map(|e| e as i32))
        .or_else(|| logs::v1::SeverityNumber::from_str_name(name).map(|e| e as i32))
        .or_else(|| name.parse().ok())
}
