//! Exercises as a user runs them: against a service of the test's own, recorded in a server.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::support::{Server, VM_OBS, outcome, run};

/// A service that answers every request with `ok`; gives its address.
pub(crate) fn service() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for socket in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let mut socket = socket;
                let mut buffer = [0; 4096];
                while matches!(socket.read(&mut buffer), Ok(n) if n > 0) {
                    let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
                    if socket.write_all(answer).is_err() {
                        return;
                    }
                }
            });
        }
    });
    address
}

#[test]
fn a_load_test_is_judged_reported_and_recorded() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(&dir.path().join("data"), &[]);
    let (json, html) = (dir.path().join("run.json"), dir.path().join("run.html"));
    let (json, html) = (json.to_str().unwrap(), html.to_str().unwrap());
    let target = service();
    let load = |more: &[&str]| {
        let fixed = ["load", "ci", "--duration", "2s", "--url", &target, "--server"];
        run(&[&fixed[..], &[server.url().as_str()], more].concat())
    };
    let (code, text) = load(&["--json", json, "--html", html]);
    assert_eq!(code, 0, "{text}");
    let report: Value = serde_json::from_slice(&std::fs::read(json).unwrap()).unwrap();
    assert_eq!(report["outcome"], "passed");
    assert_eq!(report["metrics"]["http_reqs"]["count"], 40.0);
    assert!(std::fs::read_to_string(html).unwrap().contains("<svg"));

    let runs = server.eventually("/obs/exercises?last=1h", "the run", |v| {
        v["exercises"].as_array().is_some_and(|all| all.len() == 1)
    });
    let recorded = &runs["exercises"][0];
    assert_eq!(recorded["outcome"], "passed");
    let bytes = std::fs::read(json).unwrap();
    let hash = format!("blake3:{}", blake3_hex(&bytes));
    assert_eq!(recorded["report_hash"], hash.as_str());
    let query = "/api/v1/query?query=max(load_http_reqs_total)";
    server.eventually(query, "the run's samples", |v| v["data"]["result"][0]["value"][1] == "40");

    let (code, text) = load(&["--baseline", json, "--tolerance", "100000"]);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("p95 ms:"), "{text}");
}

/// From the report's own bytes, by the same crate that the ledger uses.
fn blake3_hex(bytes: &[u8]) -> String {
    obs_proof::hash::blake3_of(bytes).iter().map(|b| format!("{b:02x}")).collect()
}

#[test]
fn what_is_not_allowed_is_refused_and_ctrl_c_keeps_what_was_measured() {
    let (code, text) = run(&["load", "smoke", "--url", "http://192.0.2.1/", "--no-record"]);
    assert_eq!(code, 2, "{text}");
    assert!(text.contains("--allow-host 192.0.2.1"), "{text}");

    let dir = tempfile::tempdir().unwrap();
    let json = dir.path().join("run.json");
    let child = Command::new(VM_OBS)
        .args(["load", "soak", "--no-record", "--url", &service(), "--json"])
        .arg(&json)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    std::thread::sleep(Duration::from_millis(2_500));
    let killed = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(killed.success());
    let (code, text) = outcome(&child.wait_with_output().unwrap());
    assert_eq!(code, 130, "{text}");
    let report: Value = serde_json::from_slice(&std::fs::read(&json).unwrap()).unwrap();
    assert_eq!(report["outcome"], "interrupted");
    assert!(report["metrics"]["http_reqs"]["count"].as_f64().unwrap() > 10.0);
}

#[test]
fn a_gate_of_48_hours_takes_seconds_by_a_fast_clock() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(&dir.path().join("data"), &[]);
    let (journal, summary) = (dir.path().join("journal"), dir.path().join("summary"));
    let profile = dir.path().join("profile.yaml");
    let write = |green: &str| {
        let text = format!(
            "name: p\nrhythm: [{{until: 12h, every: 30m}}, {{until: 24h, every: 1h}}, {{until: 48h, every: 2h}}]\ncriteria: [{{name: one, query: vector(1), green: '{green}'}}]\n"
        );
        std::fs::write(&profile, text).unwrap();
    };
    write("==1");
    let gate = || {
        server.verb(&[
            "gate",
            "--for",
            "48h",
            "--clock-speed",
            "20000",
            "--profile",
            profile.to_str().unwrap(),
            "--journal",
            journal.to_str().unwrap(),
            "--summary",
            summary.to_str().unwrap(),
        ])
    };
    let (code, text) = gate();
    assert_eq!(code, 0, "{text}");
    let json: Value =
        serde_json::from_slice(&std::fs::read(summary.with_extension("json")).unwrap()).unwrap();
    assert_eq!(json["verdict"], "continue");
    assert!(json["checks"].as_u64().unwrap() >= 6, "{json}");
    let lines = std::fs::read_to_string(&journal).unwrap();
    // Somebody ended it in the middle: the verdict and half of the checks are gone.
    let half: Vec<&str> = lines.lines().take(6).collect();
    std::fs::write(&journal, half.join("\n") + "\n").unwrap();
    let (code, text) = gate();
    assert!(code == 0 && text.contains("resumed after 5 checks"), "{text}");
    let runs = server.eventually("/obs/exercises?last=1h", "both runs", |v| {
        v["exercises"].as_array().is_some_and(|all| all.len() == 2)
    });
    assert_eq!(runs["exercises"][0]["exercise"], "gate");

    std::fs::remove_file(&journal).unwrap();
    write("==2");
    let (code, text) = gate();
    assert!(code == 2 && text.contains("roll back"), "{code} {text}");
}

#[test]
fn probes_run_by_schedule_and_are_answered_like_the_exporters() {
    let dir = tempfile::tempdir().unwrap();
    let target = service();
    std::fs::write(
        dir.path().join("probes.yaml"),
        format!(
            "probes: [{{name: portal, targets: ['http://{target}/'], interval: 300ms}}]\n\
             transactions: [{{interval: 300ms, flow: {{name: visit, target: 'http://{target}', steps: [{{url: /, checks: [{{body: true, equals: ok}}]}}]}}}}]\n"
        ),
    )
    .unwrap();
    let config = dir.path().join("vm-obs.yaml");
    std::fs::write(&config, "probes: probes.yaml\n").unwrap();
    let server = Server::start(&dir.path().join("data"), &["--config", config.to_str().unwrap()]);
    for query in [
        "probe_success{job=\"portal\",module=\"http_2xx\"} == 1",
        "probe_step_success{job=\"visit\"} == 1",
        "probe_runs_total{job=\"portal\"} > 2",
        "probe_failures_total{job=\"portal\"} == 0",
    ] {
        let path = format!(
            "/api/v1/query?query={}",
            query
                .replace(' ', "%20")
                .replace('=', "%3D")
                .replace('"', "%22")
                .replace('{', "%7B")
                .replace('}', "%7D")
                .replace('>', "%3E")
        );
        server.eventually(&path, query, |v| {
            v["data"]["result"].as_array().is_some_and(|r| !r.is_empty())
        });
    }
    server.eventually("/obs/traces?service=vm-obs-probe&last=5m", "traces of probes", |v| {
        v["traces"].as_array().is_some_and(|t| !t.is_empty())
    });
    let reply = server.client().get(&format!("/probe?target={target}&debug=true")).unwrap().text();
    assert!(reply.contains("Logs for the probe") && reply.contains("probe_success 1"), "{reply}");
    let (code, text) = run(&["probe", "once", &target]);
    assert!(code == 0 && text.contains("probe_http_status_code 200"), "{text}");
}

#[test]
fn reports_are_shown_kept_listed_and_made_by_themselves() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("vm-obs.yaml");
    // Ten minutes a second, from just before a day ends.
    let text = "reports: {daily: '00:10', weekly: off, monthly: off, figures: [{section: capacity, name: One <b>, query: vector(1), most: 0}]}\n";
    std::fs::write(&config, text).unwrap();
    let data = dir.path().join("data");
    let server = Server::start(
        &data,
        &[
            "--config",
            config.to_str().unwrap(),
            "--clock-start",
            "2025-12-05T23:50:00Z",
            "--clock-speed",
            "600",
        ],
    );
    let made = server.eventually("/obs/reports?kind=daily", "the daily report", |v| {
        v["reports"].as_array().is_some_and(|r| !r.is_empty())
    });
    let first = made["reports"].as_array().unwrap().last().unwrap();
    assert_eq!(first["summary"]["period_end"], "2025-12-06T00:10:00Z", "{made}");
    assert_eq!(first["files"], serde_json::json!(["json", "md", "html"]));
    let name = first["name"].as_str().unwrap();
    let html = server.client().get(&format!("/obs/reports/daily/{name}.html")).unwrap();
    assert!(html.text().contains("One &lt;b&gt;"), "{}", html.text());
    assert_eq!(server.client().get("/obs/reports/daily/..%2Fx.md").unwrap().status, 404);

    let (code, text) = server.verb(&["report", "weekly"]);
    assert!(code == 0 && text.contains("# Weekly report of"), "{text}");
    assert!(
        text.contains("## Alert tuning") && text.contains("One &lt;b> is 1, at most 0"),
        "{text}"
    );
    let (code, text) = server.verb(&["report", "monthly", "--keep", "--format", "json"]);
    assert!(code == 0 && text.contains("kept as monthly-"), "{text}");
    let (code, text) = server.verb(&["report", "list"]);
    assert!(code == 0 && text.contains("monthly-") && text.contains(name), "{text}");
    let (code, text) = server.verb(&["report", "show", name]);
    assert!(code == 0 && text.contains("# Daily health check of"), "{text}");
    let (code, text) = server.verb(&["report", "daily", "--at", "2099-01-01"]);
    assert!(code != 0 && text.contains("in the future"), "{text}");
    drop(server);
    let (code, text) = run(&["verify", data.to_str().unwrap()]);
    assert_eq!(code, 0, "{text}");
    let (code, text) = run(&["report", "daily", "--data", data.to_str().unwrap()]);
    assert!(code == 0 && text.contains("# Daily health check of"), "{text}");
}

#[test]
fn an_objective_of_a_probe_burns_its_budget_and_alerts() {
    let dir = tempfile::tempdir().unwrap();
    let up = service();
    let down = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let probe = |name: &str, target: &str| {
        format!(
            "  - {{name: {name}, targets: ['http://{target}/'], interval: 200ms, slo: {{target: 0.99, window: 1d, latency: {{below: 2s, target: 0.9}}}}}}\n"
        )
    };
    let probes = format!("probes:\n{}{}", probe("shop", &up), probe("portal", &down.to_string()));
    std::fs::write(dir.path().join("probes.yaml"), probes).unwrap();
    let config = dir.path().join("vm-obs.yaml");
    let text = "packs: []\nhost_metrics: off\nevaluation_interval: 200ms\nprobes: probes.yaml\n";
    std::fs::write(&config, text).unwrap();
    let server = Server::start(&dir.path().join("data"), &["--config", config.to_str().unwrap()]);
    let status = |id: &str, wanted: &str| {
        server.eventually(&format!("/obs/slos/slo:probe-{id}"), wanted, |v| v["status"] == wanted)
    };
    let missed = status("portal-availability", "missed");
    assert_eq!(missed["achieved"], 0.0, "{missed}");
    assert_eq!(status("shop-availability", "met")["achieved"], 1.0);
    status("portal-latency", "missed");
    status("shop-latency", "met");
    let found = server.eventually("/obs/alerts?status=firing", "the burn alert", |v| {
        v["alerts"].as_array().is_some_and(|all| !all.is_empty())
    });
    for alert in found["alerts"].as_array().unwrap() {
        assert_eq!(alert["name"], "ProbeErrorBudgetBurn", "{alert}");
        assert!(alert["labels"]["slo"].as_str().unwrap().starts_with("slo:probe-portal-"));
    }

    // A mistake is named before anything runs.
    std::fs::write(
        dir.path().join("probes.yaml"),
        "probes: [{name: shop, targets: ['http://127.0.0.1:1/'], slo: {target: 99}}]\n",
    )
    .unwrap();
    let (code, said) = run(&["probe", "check", dir.path().join("probes.yaml").to_str().unwrap()]);
    assert!(code != 0 && said.contains("slo:probe-shop-availability"), "{code}: {said}");
}
