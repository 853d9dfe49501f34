use std::collections::HashMap;

use base64::Engine as _;
use obs_types::{AttrValue, Attributes};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, KeyValue, KeyValueList};

/// Names become unique: the last value of a name wins and takes the place of the first.
pub fn attributes_from_otlp(pairs: Vec<KeyValue>) -> Attributes {
    let mut out: Vec<(String, AttrValue)> = Vec::with_capacity(pairs.len());
    let mut places: HashMap<String, usize> = HashMap::with_capacity(pairs.len());
    for pair in pairs {
        let value = value_from_otlp(pair.value);
        match places.get(&pair.key) {
            Some(at) => out[*at].1 = value,
            None => {
                places.insert(pair.key.clone(), out.len());
                out.push((pair.key, value));
            }
        }
    }
    Attributes(out)
}

/// An absent value is the empty string.
pub(super) fn value_from_otlp(value: Option<AnyValue>) -> AttrValue {
    match value.and_then(|v| v.value) {
        Some(Value::StringValue(s)) => AttrValue::Str(s),
        Some(Value::BoolValue(b)) => AttrValue::Bool(b),
        Some(Value::IntValue(i)) => AttrValue::Int(i),
        Some(Value::DoubleValue(d)) => AttrValue::Double(d),
        Some(Value::BytesValue(b)) => AttrValue::Bytes(b),
        Some(Value::ArrayValue(a)) => {
            AttrValue::Array(a.values.into_iter().map(|v| value_from_otlp(Some(v))).collect())
        }
        Some(Value::KvlistValue(l)) => AttrValue::Map(
            l.values.into_iter().map(|p| (p.key, value_from_otlp(p.value))).collect(),
        ),
        // References into a string table belong to profiles.
        Some(Value::StringValueStrindex(_)) | None => AttrValue::Str(String::new()),
    }
}

pub fn attributes_to_otlp(attributes: &Attributes) -> Vec<KeyValue> {
    attributes.iter().map(|(name, value)| pair_to_otlp(name, value)).collect()
}

fn pair_to_otlp(name: &str, value: &AttrValue) -> KeyValue {
    KeyValue { key: name.to_owned(), value: Some(value_to_otlp(value)), ..Default::default() }
}

fn value_to_otlp(value: &AttrValue) -> AnyValue {
    let value = match value {
        AttrValue::Str(s) => Value::StringValue(s.clone()),
        AttrValue::Bool(b) => Value::BoolValue(*b),
        AttrValue::Int(i) => Value::IntValue(*i),
        AttrValue::Double(d) => Value::DoubleValue(*d),
        AttrValue::Bytes(b) => Value::BytesValue(b.clone()),
        AttrValue::Array(all) => {
            Value::ArrayValue(ArrayValue { values: all.iter().map(value_to_otlp).collect() })
        }
        AttrValue::Map(all) => Value::KvlistValue(KeyValueList {
            values: all.iter().map(|(n, v)| pair_to_otlp(n, v)).collect(),
        }),
    };
    AnyValue { value: Some(value) }
}

/// Plain JSON: bytes as base64, numbers that JSON cannot write as text.
pub fn value_to_json(value: &AttrValue) -> serde_json::Value {
    use serde_json::Value as Json;
    match value {
        AttrValue::Str(s) => Json::String(s.clone()),
        AttrValue::Bool(b) => Json::Bool(*b),
        AttrValue::Int(i) => Json::from(*i),
        AttrValue::Double(d) => serde_json::Number::from_f64(*d)
            .map_or_else(|| Json::String(crate::float::format_float(*d)), Json::Number),
        AttrValue::Bytes(b) => Json::String(base64::engine::general_purpose::STANDARD.encode(b)),
        AttrValue::Array(all) => Json::Array(all.iter().map(value_to_json).collect()),
        AttrValue::Map(all) => {
            Json::Object(all.iter().map(|(n, v)| (n.clone(), value_to_json(v))).collect())
        }
    }
}

/// As a label value or a log line: scalars as they are, containers as compact JSON.
pub fn value_to_text(value: &AttrValue) -> String {
    match value {
        AttrValue::Str(s) => s.clone(),
        AttrValue::Double(d) => crate::float::format_float(*d),
        other => crate::json::value_text(&value_to_json(other)),
    }
}
