//! OpenTelemetry's integrity attributes: a log record that its sender has signed.
//!
//! The record's attribute `audit.integrity.value` is a signature, in base64, over canonical JSON
//! (RFC 8785) of the record without its `audit.integrity.*` attributes; the resource's
//! `audit.integrity.algorithm` and `audit.integrity.certificate` say how and by whom. Every scalar
//! is an object of one member that names its type, times and integers are decimal strings.
//! Source: the collector's signing processor, section "Signed payload".

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::logs::v1 as proto;
use opentelemetry_proto::tonic::resource::v1::Resource;
use serde_json::{Map, Value, json};

use super::logs::hex;

const PREFIX: &str = "audit.integrity.";
const VALUE: &str = "audit.integrity.value";
const ALGORITHM: &str = "audit.integrity.algorithm";
const CERTIFICATE: &str = "audit.integrity.certificate";

/// What a record says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IntegrityClaim {
    /// What is signed.
    pub payload: Vec<u8>,
    /// Signature or MAC.
    pub value: Vec<u8>,
    /// `EdDSA`, `ES256`, `RS256`, `RS512` or `HMAC-SHA256`, as the resource says it.
    pub algorithm: String,
    /// `sha256:<hex>` of the certificate's DER, or the DER itself in base64; empty for a MAC.
    pub certificate: String,
}

/// What came of checking a signature of a sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    Verified,
    Failed,
    /// Signed by somebody whom nobody here knows.
    UnknownKey,
}

impl Verdict {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Verified => "verified",
            Self::Failed => "failed",
            Self::UnknownKey => "unknown_key",
        }
    }
}

/// Checks the claims of a request's records.
pub trait IntegrityCheck {
    /// `None` is a record without a claim. `Err` refuses the record, saying why.
    fn judge(&self, claim: Option<&IntegrityClaim>) -> Result<Option<Verdict>, String>;
}

/// The claim of a record, if it makes one; what cannot be read of it is left empty and fails.
pub(super) fn claim(
    resource: Option<&Resource>,
    record: &proto::LogRecord,
) -> Option<IntegrityClaim> {
    let value = text(&record.attributes, VALUE)?;
    let of_resource = |name| {
        let attributes = resource.map_or(&[][..], |r| &r.attributes);
        text(attributes, name).unwrap_or_default().to_owned()
    };
    Some(IntegrityClaim {
        payload: payload(record),
        value: STANDARD.decode(value).unwrap_or_default(),
        algorithm: of_resource(ALGORITHM),
        certificate: of_resource(CERTIFICATE),
    })
}

fn text<'a>(attributes: &'a [KeyValue], name: &str) -> Option<&'a str> {
    let found = attributes.iter().find(|a| a.key == name)?;
    match found.value.as_ref()?.value.as_ref()? {
        Any::StringValue(s) => Some(s),
        _ => None,
    }
}

fn payload(record: &proto::LogRecord) -> Vec<u8> {
    let mut out = Map::new();
    let mut put = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            out.insert(name.to_owned(), value);
        }
    };
    let some = |s: &str| (!s.is_empty()).then(|| json!(s));
    let time = |t: u64| (t > 0).then(|| json!(t.to_string()));
    let id = |b: &[u8]| b.iter().any(|b| *b != 0).then(|| json!(hex(b)));
    put("event_name", some(&record.event_name));
    let body = match record.body.as_ref().and_then(|b| b.value.as_ref()) {
        Some(Any::StringValue(s)) => Some(json!(s)),
        _ => None,
    };
    put("body", body);
    put("timestamp", time(record.time_unix_nano));
    put("observed_timestamp", time(record.observed_time_unix_nano));
    put("trace_id", id(&record.trace_id));
    put("span_id", id(&record.span_id));
    let attributes: Map<String, Value> = record
        .attributes
        .iter()
        .filter(|a| !a.key.starts_with(PREFIX))
        .map(|a| (a.key.clone(), tagged(a.value.as_ref())))
        .collect();
    put("attributes", (!attributes.is_empty()).then_some(Value::Object(attributes)));
    // A number that JSON cannot hold leaves nothing to sign, so the claim fails.
    serde_json_canonicalizer::to_vec(&Value::Object(out)).unwrap_or_default()
}

fn tagged(value: Option<&AnyValue>) -> Value {
    match value.and_then(|v| v.value.as_ref()) {
        Some(Any::StringValue(s)) => json!({"stringValue": s}),
        Some(Any::IntValue(n)) => json!({"intValue": n.to_string()}),
        Some(Any::DoubleValue(x)) => json!({"doubleValue": x}),
        Some(Any::BoolValue(b)) => json!({"boolValue": b}),
        Some(Any::BytesValue(b)) => json!({"bytesValue": STANDARD.encode(b)}),
        Some(Any::ArrayValue(list)) => list.values.iter().map(|v| tagged(Some(v))).collect(),
        Some(Any::KvlistValue(map)) => Value::Object(
            map.values.iter().map(|kv| (kv.key.clone(), tagged(kv.value.as_ref()))).collect(),
        ),
        _ => Value::Null,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attribute(key: &str, value: Any) -> KeyValue {
        KeyValue {
            key: key.to_owned(),
            value: Some(AnyValue { value: Some(value) }),
            ..KeyValue::default()
        }
    }

    #[test]
    fn the_signed_payload() {
        let record = proto::LogRecord {
            time_unix_nano: 1_714_041_600_000_000_000,
            body: Some(AnyValue { value: Some(Any::StringValue("login".into())) }),
            event_name: "user.login.success".into(),
            severity_text: "INFO".into(),
            trace_id: vec![0; 16],
            span_id: vec![0xab; 8],
            attributes: vec![
                attribute("n", Any::IntValue(i64::MAX)),
                attribute("actor", Any::StringValue("u1".into())),
                attribute("ok", Any::BoolValue(true)),
                attribute("ratio", Any::DoubleValue(0.5)),
                attribute(VALUE, Any::StringValue("c2ln".into())),
                attribute("audit.integrity.signer", Any::StringValue("collector".into())),
            ],
            ..proto::LogRecord::default()
        };
        let resource = Resource {
            attributes: vec![attribute(ALGORITHM, Any::StringValue("EdDSA".into()))],
            ..Resource::default()
        };
        let claim = claim(Some(&resource), &record).unwrap();
        let want = r#"{"attributes":{"actor":{"stringValue":"u1"},"n":{"intValue":"9223372036854775807"},"ok":{"boolValue":true},"ratio":{"doubleValue":0.5}},"body":"login","event_name":"user.login.success","span_id":"abababababababab","timestamp":"1714041600000000000"}"#;
        assert_eq!(String::from_utf8(claim.payload).unwrap(), want);
        assert_eq!((claim.value, claim.algorithm.as_str()), (b"sig".to_vec(), "EdDSA"));
        assert_eq!(super::claim(None, &proto::LogRecord::default()), None);
    }
}
