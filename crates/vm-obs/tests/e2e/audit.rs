//! The audit of the demo world: whole, on record, and what has changed when something breaks.

use serde_json::Value;

use crate::support::{PATIENCE, Server};
use obs_testkit::wait_until;

/// Metrics without data, alerts that do not work, and targets that do not answer.
fn not_covered(report: &Value) -> Vec<String> {
    let mut out = Vec::new();
    for service in report["services"].as_array().unwrap() {
        let of = |part: &str| service[part].as_array().unwrap().iter();
        let metrics = of("metrics").filter(|m| m["status"] == "no_data").map(|m| &m["name"]);
        let broken =
            |a: &&Value| !a["state"].is_string() || !a["problems"].as_array().unwrap().is_empty();
        let alerts = of("alerts").filter(broken);
        let targets = of("targets").filter(|t| t["up"] != true).map(|t| &t["instance"]);
        out.extend(metrics.chain(alerts).chain(targets).map(Value::to_string));
    }
    out
}

#[test]
fn an_audit_is_whole_on_record_and_compared() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(&dir.path().join("data"), &["--demo"]);
    let file = |name: &str| dir.path().join(name).display().to_string();
    let (json, html) = (file("audit.json"), file("audit.html"));
    let read = |path: &str| -> Value {
        serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
    };
    // Rates need two scrapes, alerts an evaluation.
    let mut open = Vec::new();
    let covered = wait_until(PATIENCE, || {
        let (code, text) =
            server.verb(&["audit", "--no-receipt", "--period", "5m", "--out", &json]);
        assert_eq!(code, 0, "{text}");
        let report = read(&json);
        open = not_covered(&report);
        open.is_empty().then_some(report)
    })
    .unwrap_or_else(|| panic!("not exposed or not working: {open:?}"));
    let services = covered["services"].as_array().unwrap();
    assert!(services.len() >= 18, "{}", services.len());
    let psi = services.iter().find(|s| s["name"] == "psi-field").unwrap();
    assert_eq!(psi["metrics"].as_array().unwrap().len(), 8);
    assert!(covered["score"].as_f64().unwrap() > 5.0);
    assert_eq!(covered["gaps"][0]["subject"], "Notifications");

    // Markdown on standard output, HTML in a file, and a receipt with the report's hash.
    let text =
        server.verb_ok(&["audit", "--pack", "vaultmesh", "--format", "markdown", "--out", &html]);
    for wanted in ["| ψ-Field (vaultmesh, L3) | 8/8 |", "psi_field_prediction_error", "audit-"] {
        assert!(text.contains(wanted), "{wanted}: {text}");
    }
    let page = std::fs::read_to_string(&html).unwrap();
    assert!(page.matches("<svg").count() >= 20, "{} plots", page.matches("<svg").count());
    let receipts = server.verb_ok(&["query", "--type", "obs_audit", "--format", "json"]);
    assert!(receipts.contains("reports/audit/audit-"), "{receipts}");
    let receipts: Value = serde_json::from_str(&receipts).unwrap();
    let receipt = &receipts["receipts"][0];
    assert_eq!(receipt["subject"], "vaultmesh");
    let kept = server.data.join(receipt["report_path"].as_str().unwrap());
    let kept: Value = serde_json::from_str(&std::fs::read_to_string(kept).unwrap()).unwrap();
    assert_eq!(kept["packs"][0]["name"], "vaultmesh");

    server.verb_ok(&["demo", "break", "scheduler-stopped"]);
    server.eventually(
        "/api/v1/query?query=up%7Bservice%3D%22scheduler%22%7D",
        "the scheduler is down",
        |j| j.pointer("/data/result/0/value/1").is_some_and(|v| v == "0"),
    );
    let after = server.verb_ok(&["audit", "--no-receipt", "--compare", &json]);
    for wanted in [
        "Scheduler: scheduler:9110 does not answer any more",
        "**Scheduler**: down: 0 of 6 metrics, no target answers: scheduler:9110",
        "kubectl apply -k services/scheduler/k8s/",
    ] {
        assert!(after.contains(wanted), "{wanted}: {after}");
    }
    let (code, text) = server.verb(&["audit", "--pack", "shop"]);
    assert!(code != 0 && text.contains("\"shop\"") && text.contains("genesis"), "{text}");
}
