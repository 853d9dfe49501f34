//! The ledger beside a running server: its key changes, actors sign, an outsider verifies.

use std::fs;

use serde_json::Value;

use crate::support::{Server, run};

#[test]
fn keys_actors_and_an_outsider() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let config = dir.path().join("vm-obs.yaml");
    fs::write(&config, "host_metrics: off\nledger: {require_signed_contracts: true}\n").unwrap();
    let mut server = Server::start(&data, &["--config", config.to_str().unwrap()]);
    let folder = data.to_str().unwrap();

    let head = server.client().get("/obs/ledger").unwrap().json();
    let first = head["log_vkey"].as_str().unwrap().to_owned();
    let rotate = ["ledger", "rotate-key", "--data", folder, "--reason", "yearly"];
    let said = server.verb_ok(&rotate);
    assert!(said.contains("; the ledger's key is vm-obs."), "{said}");
    let (code, text) = server.verb(&rotate);
    assert!(code == 1 && text.contains("two keys sign already"), "{text}");

    let key = dir.path().join("alice.key");
    let key = key.to_str().unwrap();
    let did = "did:vm:human:alice";
    let (code, text) = run(&["actor", "new", did, "-o", key, "--data", folder]);
    assert_eq!(code, 0, "{text}");
    let silence = [
        "alert",
        "silence",
        "--node",
        "brick-02",
        "--alert",
        "HighCPUUsage",
        "--duration",
        "1h",
        "--reason",
        "maintenance",
    ];
    let (code, text) = server.verb(&silence);
    assert!(code == 1 && text.contains("only signed contracts"), "{text}");
    let signed = [&silence[..], &["--as", did, "--key", key]].concat();
    let text = server.verb_ok(&signed);
    let id = text.split_whitespace().nth(1).unwrap();
    server.verb_ok(&["alert", "unsilence", id, "--as", did, "--key", key]);
    let slo = r#"{"slo": {"id": "slo:up", "name": "Up", "indicator": {"type": "availability",
        "good_query": "up == 1", "total_query": "up"}, "target": 0.999, "window": "30d"}}"#;
    let text = server.verb_ok(&["slo", "create", "--json", slo, "--as", did, "--key", key]);
    assert!(text.contains(did), "{text}");
    let (code, text) = run(&["actor", "revoke", did, "--data", folder]);
    assert_eq!(code, 0, "{text}");
    let (code, text) = server.verb(&signed);
    assert!(code == 1 && text.contains("was revoked"), "{text}");
    let url = server.url();
    let (code, text) = run(&["verify", &url, "--log-key", &first]);
    assert!(code == 0 && text.contains("KEY_ROTATED"), "{text}");
    let (code, text) = run(&["verify", &url, "--log-key", &first, "--require-witness"]);
    assert_eq!(code, 3, "{text}");
    server.stop();

    let (code, text) = run(&["verify", folder, "--log-key", &first, "--json"]);
    let report: Value = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text}"));
    assert_eq!((code, &report["contracts"]), (0, &Value::from(3)), "{text}");
    let codes: Vec<&str> =
        report["findings"].as_array().unwrap().iter().filter_map(|f| f["code"].as_str()).collect();
    assert!(codes.contains(&"KEY_ROTATED") && codes.contains(&"ACTORS_FROM_DATA"), "{codes:?}");
}
