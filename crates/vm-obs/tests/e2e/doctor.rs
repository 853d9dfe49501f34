//! The doctor over the demo world: nothing while it is healthy, the fault once it is broken.

use std::time::Instant;

use serde_json::Value;

use crate::support::{PATIENCE, Server, run};
use obs_testkit::{WebhookSink, free_port, wait_until};

fn report(server: &Server, more: &[&str]) -> (i32, Value) {
    let (code, text) = server.verb(&[&["doctor", "--json"], more].concat());
    let json = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text}"));
    (code, json)
}

fn codes(report: &Value) -> Vec<String> {
    let all = report["findings"].as_array().unwrap();
    all.iter().map(|f| format!("{} {}", f["code"].as_str().unwrap(), f["subject"])).collect()
}

fn notify(url: &str) -> String {
    format!(
        "route: {{receiver: ops, group_wait: 1s}}\n\
         receivers: [{{name: ops, webhook_configs: [{{url: '{url}', send_resolved: true}}]}}]\n"
    )
}

#[test]
fn the_demo_world_is_healthy_until_a_node_is_down() {
    let dir = tempfile::tempdir().unwrap();
    let sink = WebhookSink::start().unwrap();
    let file = |name: &str| dir.path().join(name);
    std::fs::write(file("notify.yml"), notify(&sink.url("/alerts"))).unwrap();
    std::fs::write(file("beat"), sink.url("/beat")).unwrap();
    let config =
        "notify: notify.yml\nheartbeat: {url_file: beat, every: 1s}\nstorage: {backup: backups}\n";
    std::fs::write(file("vm-obs.yaml"), config).unwrap();
    let config = file("vm-obs.yaml").display().to_string();
    let server = Server::start(&file("data"), &["--demo", "--config", &config]);
    // The first samples and rule evaluations take a while, objectives some minutes.
    let mut last = Vec::new();
    let clean = wait_until(PATIENCE * 5, || {
        let (_, json) = report(&server, &["--read-only"]);
        last = codes(&json);
        last.is_empty().then_some(json)
    });
    assert!(clean.is_some(), "{last:#?}");

    server.verb_ok(&["storage", "backup"]);
    let start = Instant::now();
    let (_, json) = report(&server, &["--deliver"]);
    println!("the doctor took {:?}", start.elapsed());
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
        "delivery-drill",
        "resolve-path",
        "objectives",
        "ledger",
        "storage",
        "headroom",
    ] {
        assert!(ran(check), "{check}: {json:#}");
    }

    assert!(json.to_string().contains("was restored on trial"), "{json:#}");
    let drills: Vec<String> = sink
        .received()
        .iter()
        .filter(|(_, body)| body.to_string().contains("[DRILL]"))
        .map(|(_, body)| body["status"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(drills, ["firing", "resolved"]);
    assert!(json.to_string().contains("took the drill: 200 OK"), "{json:#}");
    // Read-only runs leave nothing behind, this one did.
    let receipts = server.verb_ok(&["query", "--type", "obs_doctor", "--format", "json"]);
    let receipts: Value = serde_json::from_str(&receipts).unwrap();
    let receipts = receipts["receipts"].as_array().unwrap();
    assert_eq!(receipts.len(), 1, "{receipts:#?}");
    assert_eq!(receipts[0]["outcome"], "0 findings");
    let kept = server.data.join(receipts[0]["report_path"].as_str().unwrap());
    let kept: Value = serde_json::from_str(&std::fs::read_to_string(kept).unwrap()).unwrap();
    assert_eq!(kept["clean"], true);
    // The dead man's switch is called while all of this works.
    let beat =
        wait_until(PATIENCE, || sink.received().iter().any(|(p, _)| p == "/beat").then_some(()));
    assert!(beat.is_some(), "the heartbeat is not sent");

    // A byte of the backup changes, and it is no backup any more.
    let blobs = file("backups/blobs");
    let folder = std::fs::read_dir(&blobs).unwrap().next().unwrap().unwrap().path();
    let blob = std::fs::read_dir(folder).unwrap().next().unwrap().unwrap().path();
    let mut bytes = std::fs::read(&blob).unwrap();
    bytes.push(0);
    std::fs::write(&blob, bytes).unwrap();
    let (code, json) = report(&server, &["--no-receipt"]);
    assert_eq!(code, 1, "{json:#}");
    let fails = codes(&json).iter().any(|c| c.starts_with("restore-fails"));
    assert!(fails, "{json:#}");

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

    // A receiver that nobody listens at is found only where a message is sent.
    let port = free_port().unwrap();
    std::fs::write(
        empty.path().join("alertmanager.yml"),
        notify(&format!("http://127.0.0.1:{port}/")),
    )
    .unwrap();
    std::fs::write(
        empty.path().join("rules.yml"),
        "groups:\n- name: g\n  rules:\n  - {alert: A, expr: up == 0}\n",
    )
    .unwrap();
    let folder = empty.path().to_str().unwrap();
    let (_, text) = run(&["doctor", folder]);
    assert!(!text.contains("receiver-refuses"), "{text}");
    let (code, text) = run(&["doctor", folder, "--deliver"]);
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("receiver-refuses: ops (webhook:ops)"), "{text}");
}
