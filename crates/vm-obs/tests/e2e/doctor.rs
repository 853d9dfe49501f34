//! The doctor over the demo world: nothing while it is healthy, the fault once it is broken.

use std::time::Instant;

use serde_json::Value;

use crate::support::{PATIENCE, Server, run};
use obs_testkit::wait_until;

fn report(server: &Server, more: &[&str]) -> (i32, Value) {
    let (code, text) = server.verb(&[&["doctor", "--json"], more].concat());
    let json = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text}"));
    (code, json)
}

fn codes(report: &Value) -> Vec<String> {
    let all = report["findings"].as_array().unwrap();
    all.iter().map(|f| format!("{} {}", f["code"].as_str().unwrap(), f["subject"])).collect()
}

#[test]
fn the_demo_world_is_healthy_until_a_node_is_down() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(&dir.path().join("data"), &["--demo"]);
    // The first samples and rule evaluations take a while, objectives some minutes.
    let mut last = Vec::new();
    let clean = wait_until(PATIENCE * 5, || {
        let (_, json) = report(&server, &["--read-only"]);
        last = codes(&json);
        last.is_empty().then_some(json)
    });
    assert!(clean.is_some(), "{last:#?}");

    let start = Instant::now();
    let (_, json) = report(&server, &[]);
    assert!(start.elapsed().as_secs() < 60, "took {:?}", start.elapsed());
    assert_eq!(codes(&json), Vec::<String>::new());
    let ran = |check: &str| {
        let all = json["checks"].as_array().unwrap();
        all.iter().find(|c| c["check"] == check).unwrap()["state"] == "ran"
    };
    for check in [
        "ingest",
        "targets",
        "dashboards",
        "recording-rules",
        "alerts",
        "fire-drill",
        "resolve-path",
        "objectives",
        "ledger",
    ] {
        assert!(ran(check), "{check}: {json:#}");
    }

    server.verb_ok(&["demo", "break", "node-down"]);
    let found = wait_until(PATIENCE, || {
        let (code, json) = report(&server, &["--read-only"]);
        let down = codes(&json).iter().any(|c| c.starts_with("target-down"));
        (code == 1 && down).then_some(json)
    });
    assert!(found.is_some(), "the node that is down is not found");
}

#[test]
fn a_folder_gives_its_exit_codes() {
    let healthy = concat!(env!("CARGO_MANIFEST_DIR"), "/../obs-exercise/tests/it/healthy");
    let (code, text) = run(&["doctor", healthy]);
    assert_eq!(code, 0, "{text}");
    assert!(text.lines().last().unwrap().starts_with("0 findings, "), "{text}");
    let empty = tempfile::tempdir().unwrap();
    let (code, text) = run(&["doctor", empty.path().to_str().unwrap()]);
    assert_eq!(code, 2, "{text}");
    std::fs::write(
        empty.path().join("rules.yml"),
        "groups:\n- name: g\n  rules:\n  - {alert: A, expr: up > 1}\n",
    )
    .unwrap();
    let (code, text) = run(&["doctor", empty.path().to_str().unwrap()]);
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("alert-cannot-fire: A") && text.contains("rules.yml:4"), "{text}");
}
