//! GENESIS' guide, a command for each of its sections, against its emulated services.

use obs_testkit::{WebhookSink, wait_until};

use crate::support::{PATIENCE, Server, VM_OBS, run};

/// How many times faster than real time the world runs.
const SPEED: &str = "20";

#[test]
fn the_guides_sections_are_one_command_each_and_exit_as_the_verdict() {
    let dir = tempfile::tempdir().unwrap();
    let sink = WebhookSink::start().unwrap();
    let notify = format!(
        "route: {{receiver: sink, group_by: ['...'], group_wait: 1s, group_interval: 5s}}\n\
         receivers: [{{name: sink, webhook_configs: [{{url: '{}'}}]}}]\n",
        sink.url("/")
    );
    std::fs::write(dir.path().join("notify.yml"), notify).unwrap();
    let config = dir.path().join("vm-obs.yaml");
    // This machine's own load is no part of the deployment.
    std::fs::write(&config, "packs: [genesis]\nnotify: notify.yml\nhost_metrics: off\n").unwrap();
    let more = ["--demo", "--config", config.to_str().unwrap(), "--clock-speed", SPEED];
    let server = Server::start(&dir.path().join("data"), &more);
    let gate = |arguments: &[&str]| server.verb(&[&["gate"], arguments].concat());
    let until = |wanted: i32, arguments: &[&str]| {
        let mut last = (0, String::new());
        let found = wait_until(PATIENCE, || {
            last = gate(arguments);
            (last.0 == wanted).then_some(())
        });
        assert!(found.is_some(), "gate {}: {} {}", arguments.join(" "), last.0, last.1);
        last.1
    };

    // 7.1 and 8.1; it takes five minutes of the world until there is something to judge.
    let text = until(0, &["before"]);
    for part in ["targets", "dashboards", "ingest", "alerts", "fire-drill"] {
        assert!(text.contains(&format!("ok   {part}")), "{part}: {text}");
    }
    // 5.1, 5.2, 5.4, 4.2, 7.2.
    for (section, arguments) in [
        ("5.1", &["health"]),
        ("5.2", &["dashboards"]),
        ("5.4", &["flow"]),
        ("4.2", &["verify"]),
        ("7.2", &["during"]),
    ] {
        let (code, text) = gate(arguments);
        assert_eq!(code, 0, "{section}: {text}");
    }
    // 8.2: two days in a moment.
    let file = |name: &str| dir.path().join(name).display().to_string();
    let watch = |journal: &str, speed: &str| {
        let (journal, summary) = (file(journal), file("summary"));
        gate(&[
            "--for",
            "48h",
            "--clock-speed",
            speed,
            "--journal",
            &journal,
            "--summary",
            &summary,
        ])
    };
    let (code, text) = watch("green.jsonl", "50000");
    assert!(code == 0 && text.contains("continue"), "{code} {text}");
    // 7.3.
    let (code, text) = run(&["gate", "after", &file("green.jsonl")]);
    assert_eq!(code, 0, "{text}");
    // 5.3.
    let demo = |verb: &str| format!("{VM_OBS} demo {verb} --url {}", server.url());
    let (code, text) = gate(&[
        "alert",
        "GenesisServiceDown",
        "--break",
        &demo("break genesis-stopped"),
        "--heal",
        &demo("heal"),
    ]);
    assert!(code == 0 && text.contains("GenesisServiceDown resolved"), "{code} {text}");

    // Broken. Who takes a few failing tests for something to look into is told that; by the guide's
    // criteria it is the way back.
    let lenient = file("lenient.yaml");
    let criteria = "name: lenient\nrhythm: [{until: 1h, every: 5m}]\ncriteria: [{name: tests, query: min(genesis_test_pass_rate), green: '>=98', yellow: '>=50'}]\n";
    std::fs::write(&lenient, criteria).unwrap();
    until(0, &["during"]);
    server.verb_ok(&["demo", "break", "genesis-tests"]);
    until(1, &["during", "--profile", &lenient]);
    until(2, &["during"]);
    let (code, text) = watch("red.jsonl", "50000");
    assert!(code == 2 && text.contains("roll back"), "{code} {text}");
    let (code, text) = run(&["gate", "after", &file("red.jsonl")]);
    assert_eq!(code, 2, "{text}");
}
