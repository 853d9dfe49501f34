//! Signed requests and signed log records on their way through the receivers.

use obs_proof::note::{KeyKind, SignerKey};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message as _;
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};

use super::tests::Server;
use crate::attest::{AttestSettings, Attestation, Certificate, SIGNATURE_HEADER, batch_text};

const DID: &str = "did:vm:node:brick-02";
/// Of the receivers' clock.
const NOW: i64 = 1_000_000;
const LINE: &str =
    r#"{"streams": [{"stream": {"app": "x"}, "values": [["1000000000000", "hi"]]}]}"#;

fn node() -> SignerKey {
    SignerKey::from_seed(DID, KeyKind::Ed25519, &[2; 32]).unwrap()
}

fn attestation(dir: &std::path::Path, refuse: bool, certificates: Vec<Certificate>) -> Attestation {
    let actors = dir.join("actors.txt");
    std::fs::write(&actors, format!("actor {}\n", node().verifier())).unwrap();
    Attestation::new(AttestSettings {
        actors,
        certificates,
        hmac_key: Some(b"secret".to_vec()),
        refuse,
    })
}

fn header(key: &SignerKey, path: &str, time: i64, body: &str) -> String {
    let signature = key.sign(&batch_text(path, time, body.as_bytes()), 0).signature;
    let signature = obs_proof::hash::to_base64(&signature);
    format!("keyid={}#{:08x},time={time},sig={signature}", key.name(), key.verifier().id())
}

fn shown(server: &Server) -> String {
    server.registry.render(obs_wire::exposition::ExpositionFormat::Prometheus)
}

fn counted(server: &Server, by: &str, outcome: &str) -> bool {
    let text = shown(server);
    text.contains(&format!("vmobs_attestation_total{{by=\"{by}\",outcome=\"{outcome}\"}} 1"))
}

#[tokio::test]
async fn requests_that_a_node_has_signed() {
    const PATH: &str = "/loki/api/v1/push";
    let dir = tempfile::tempdir().unwrap();
    let other = SignerKey::from_seed(DID, KeyKind::Ed25519, &[3; 32]).unwrap();
    let cases = [
        ("verified", Some(header(&node(), PATH, NOW, LINE)), 204),
        ("failed", Some(header(&node(), PATH, NOW, "another body")), 403),
        ("failed", Some(header(&node(), "/v1/logs", NOW, LINE)), 403),
        ("failed", Some(header(&node(), PATH, NOW - 900_001, LINE)), 403),
        ("failed", Some("nonsense".to_owned()), 403),
        ("unknown_key", Some(header(&other, PATH, NOW, LINE)), 403),
        ("unsigned", None, 204),
    ];
    for (outcome, header, refused_status) in cases {
        for refuse in [false, true] {
            let server = Server::start_attested(attestation(dir.path(), refuse, Vec::new())).await;
            let line = LINE.replace("\"hi\"", "\"hi\", {\"vmobs_attestation\": \"verified\"}");
            // Whoever signs sends what he signed; the unsigned one claims to be attested.
            let body = if header.is_some() { LINE.to_owned() } else { line };
            let mut request = server.post(PATH).header("content-type", "application/json");
            if let Some(header) = &header {
                request = request.header(SIGNATURE_HEADER, header);
            }
            let (status, _, _) = server.send(request.body(body)).await;
            let want = if refuse { refused_status } else { 204 };
            assert_eq!(status, want, "{outcome} {header:?}");
            assert!(counted(&server, "batch", outcome), "{outcome}: {}", shown(&server));
            let logs = server.memory.logs.lock().unwrap();
            let marked = logs.first().and_then(|r| r.metadata.get("vmobs_attestation"));
            let marked = marked.map(str::to_owned);
            let expected = (outcome != "unsigned" && want == 204).then(|| outcome.to_owned());
            assert_eq!(marked, expected, "{outcome}");
        }
    }
}

fn tlv(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let body = parts.concat();
    let mut out = vec![tag];
    match u8::try_from(body.len()) {
        Ok(len) if len < 0x80 => out.push(len),
        Ok(len) => out.extend([0x81, len]),
        Err(_long) => out.extend([0x82, (body.len() >> 8) as u8, body.len() as u8]),
    }
    out.extend(body);
    out
}

/// As much of a certificate as anybody looks at.
fn certificate(public_key: &[u8]) -> (Certificate, String) {
    let empty = tlv(0x30, &[]);
    let key = tlv(0x30, &[&empty, &tlv(0x03, &[&[0], public_key])]);
    let version = tlv(0xa0, &[&tlv(0x02, &[&[2]])]);
    let serial = tlv(0x02, &[&[1]]);
    let body = tlv(0x30, &[&version, &serial, &empty, &empty, &empty, &empty, &key]);
    let der = tlv(0x30, &[&body, &empty, &tlv(0x03, &[&[0]])]);
    let pem = format!(
        "-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n",
        obs_proof::hash::to_base64(&der)
    );
    let fingerprint = obs_proof::hash::sha256_text(&obs_proof::hash::sha256_of(&der));
    (Certificate::read_pem(&pem).unwrap().remove(0), fingerprint)
}

fn text(key: &str, value: &str) -> KeyValue {
    let value = Some(AnyValue { value: Some(Any::StringValue(value.to_owned())) });
    KeyValue { key: key.to_owned(), value, ..KeyValue::default() }
}

/// One record, signed over the payload that its sender made of it.
fn signed_record(algorithm: &str, certificate: &str, body: &str, signature: &[u8]) -> Vec<u8> {
    let record = LogRecord {
        time_unix_nano: 1_000_000_000_000,
        body: Some(AnyValue { value: Some(Any::StringValue(body.to_owned())) }),
        attributes: vec![
            text("user", "u1"),
            text("audit.integrity.value", &obs_proof::hash::to_base64(signature)),
        ],
        ..LogRecord::default()
    };
    let resource = Resource {
        attributes: vec![
            text("service.name", "audit"),
            text("audit.integrity.algorithm", algorithm),
            text("audit.integrity.certificate", certificate),
        ],
        ..Resource::default()
    };
    let scope = ScopeLogs { log_records: vec![record], ..ScopeLogs::default() };
    let logs = ResourceLogs {
        resource: Some(resource),
        scope_logs: vec![scope],
        ..ResourceLogs::default()
    };
    ExportLogsServiceRequest { resource_logs: vec![logs] }.encode_to_vec()
}

#[tokio::test]
async fn log_records_that_a_collector_has_signed() {
    let payload = r#"{"attributes":{"user":{"stringValue":"u1"}},"body":"login","timestamp":"1000000000000"}"#;
    let ed = SignerKey::from_seed("x", KeyKind::Ed25519, &[7; 32]).unwrap();
    let vkey = ed.verifier().to_string();
    let raw = obs_proof::hash::from_base64("key", vkey.rsplit('+').next().unwrap()).unwrap();
    let (ed_certificate, ed_name) = certificate(&raw[1..]);
    let random = ring::rand::SystemRandom::new();
    let algorithm = &ECDSA_P256_SHA256_ASN1_SIGNING;
    let pkcs8 = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
    let ec = EcdsaKeyPair::from_pkcs8(algorithm, pkcs8.as_ref(), &random).unwrap();
    let (ec_certificate, ec_name) = certificate(ec.public_key().as_ref());
    let ec_signature = ec.sign(&random, payload.as_bytes()).unwrap();
    let hmac = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, b"secret");
    let mac = ring::hmac::sign(&hmac, payload.as_bytes());
    let ed_signature = ed.sign(payload, 0).signature;
    let dir = tempfile::tempdir().unwrap();
    for (what, algorithm, certificate, body, signature, outcome) in [
        ("Ed25519", "EdDSA", ed_name.as_str(), "login", &ed_signature[..], "verified"),
        ("P-256", "ES256", ec_name.as_str(), "login", ec_signature.as_ref(), "verified"),
        ("MAC", "HMAC-SHA256", "", "login", mac.as_ref(), "verified"),
        ("changed", "EdDSA", ed_name.as_str(), "logout", &ed_signature[..], "failed"),
        ("another way", "ES256", ed_name.as_str(), "login", &ed_signature[..], "failed"),
        ("no such way", "none", ed_name.as_str(), "login", &ed_signature[..], "failed"),
        ("nobody's", "EdDSA", "sha256:00", "login", &ed_signature[..], "unknown_key"),
    ] {
        for refuse in [false, true] {
            let known = vec![ed_certificate.clone(), ec_certificate.clone()];
            let server = Server::start_attested(attestation(dir.path(), refuse, known)).await;
            let request = server.post("/v1/logs").header("content-type", "application/x-protobuf");
            let body = signed_record(algorithm, certificate, body, signature);
            let (status, _, _) = server.send(request.body(body)).await;
            assert_eq!(status, 200, "{what}");
            assert!(counted(&server, "record", outcome), "{what}: {}", shown(&server));
            let logs = server.memory.logs.lock().unwrap();
            assert_eq!(logs.len(), usize::from(!refuse || outcome == "verified"), "{what}");
            if let Some(record) = logs.first() {
                assert_eq!(record.metadata.get("vmobs_attestation"), Some(outcome), "{what}");
            }
        }
    }
    assert!(
        Certificate::read_pem("").is_err()
            && Certificate::read_pem(
                "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----"
            )
            .is_err()
    );
}
