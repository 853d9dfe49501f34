//! History from elsewhere: a folder of Prometheus, a running Prometheus and VictoriaMetrics, text
//! files; then sealed, verified, exported and queried through a server.

use std::path::{Path, PathBuf};
use std::process::Command;

use obs_testkit::{Client, Program, SeriesSamples, free_port, remote_write, wait_until};
use serde_json::Value;

use crate::support::{PATIENCE, Server, VM_OBS, now_ms, run};

const SERIES: i64 = 6;
const SAMPLES: i64 = 300;

/// The first sample: between five and six hours ago, at a full minute.
fn start_ms() -> i64 {
    now_ms() / 60_000 * 60_000 - 6 * 3_600_000 + 1_800_000
}

fn value(series: i64, i: i64) -> f64 {
    if series % 2 == 0 { (i * series) as f64 } else { (i as f64 / 7.0).sin() }
}

/// Five hours of history, one sample a minute.
fn openmetrics(start: i64) -> String {
    let mut text = String::from("# HELP load Load of a node.\n# TYPE load gauge\n");
    for series in 0..SERIES {
        for i in 0..SAMPLES {
            let t = start / 1000 + i * 60;
            text.push_str(&format!("load{{node=\"brick-0{series}\"}} {} {t}\n", value(series, i)));
        }
    }
    text + "# EOF\n"
}

fn absent(program: &str) -> bool {
    let absent = Command::new(program).arg("--version").output().is_err();
    if absent {
        eprintln!("skipped: {program} is not installed");
    }
    absent
}

fn ok(arguments: &[&str]) -> String {
    let (code, text) = run(arguments);
    assert_eq!(code, 0, "vm-obs {}: {text}", arguments.join(" "));
    text
}

/// The folder holds every sample, verifies, and a server over it answers as before.
fn holds_everything(data: &Path, start: i64, name: &str) {
    let shown = data.display().to_string();
    let from = obs_query_time(start);
    let arguments = ["metrics", "export", "--data", &shown, "--from", &from, "--format", "json"];
    let exported = ok(&arguments);
    let mut seen = 0;
    for line in exported.lines().filter(|l| l.starts_with('{')) {
        let object: Value = serde_json::from_str(line).unwrap();
        if object["metric"]["__name__"] != name {
            continue;
        }
        let node = object["metric"]["node"].as_str().unwrap();
        let series: i64 = node.trim_start_matches("brick-0").parse().unwrap();
        let times = object["timestamps"].as_array().unwrap();
        let values = object["values"].as_array().unwrap();
        assert_eq!(times.len() as i64, SAMPLES, "{node}");
        for (i, (t, v)) in (0..).zip(times.iter().zip(values)) {
            assert_eq!(t.as_i64(), Some(start + i * 60_000));
            assert_eq!(v.as_f64(), Some(value(series, i)), "{node} at {t}");
        }
        seen += 1;
    }
    assert_eq!(seen, SERIES, "{exported}");
    ok(&["verify", &shown]);
    let server = Server::start(data, &[]);
    let report = ok(&["verify", &server.url(), "--records", "--json"]);
    let report: Value = serde_json::from_str(&report).unwrap();
    let (files, records) = (report["files"].as_u64(), report["records"].as_u64());
    assert!(files >= Some(5) && records > Some(0), "from the server: {report}");
    let at = (start / 1000 + 150 * 60).to_string();
    let query = format!("count_over_time({name}{{node=\"brick-03\"}}[10m])");
    let reply =
        server.client().query("/api/v1/query", &[("query", &query), ("time", &at)]).unwrap();
    assert_eq!(reply.json()["data"]["result"][0]["value"][1], "10", "{}", reply.text());
}

fn obs_query_time(ms: i64) -> String {
    (ms / 1000).to_string()
}

#[test]
fn a_folder_of_prometheus() {
    if absent("promtool") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let start = start_ms();
    let (text, blocks) = (folder.path().join("in.om"), folder.path().join("prometheus"));
    std::fs::write(&text, openmetrics(start)).unwrap();
    let made = Command::new("promtool")
        .args(["tsdb", "create-blocks-from", "openmetrics"])
        .args([&text, &blocks])
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let data = folder.path().join("data");
    let (from, to) = (blocks.display().to_string(), data.display().to_string());
    let said = ok(&["import", "prometheus", &from, "--data", &to]);
    assert!(said.contains("1800 samples imported"), "{said}");
    assert!(said.contains("block 1/"), "progress: {said}");
    holds_everything(&data, start, "load");

    // Once more changes nothing; what lies before the sealed hours is refused.
    ok(&["import", "prometheus", &from, "--data", &to]);
    holds_everything(&data, start, "load");
    let early = folder.path().join("early.om");
    std::fs::write(&early, format!("early 1 {}\n# EOF\n", start / 1000 - 7200)).unwrap();
    let (code, said) = run(&["import", "openmetrics", &early.display().to_string(), "--data", &to]);
    assert_ne!(code, 0);
    assert!(said.contains("none can be put before them"), "{said}");

    let index = std::fs::read_dir(&blocks)
        .unwrap()
        .map(|e| e.unwrap().path().join("index"))
        .find(|p: &PathBuf| p.is_file())
        .unwrap();
    let mut bytes = std::fs::read(&index).unwrap();
    bytes[20] ^= 1;
    std::fs::write(&index, bytes).unwrap();
    let other = folder.path().join("other").display().to_string();
    let (code, said) = run(&["import", "prometheus", &from, "--data", &other]);
    assert_ne!(code, 0);
    assert!(said.contains("index at byte") && said.contains("checksum"), "{said}");
}

#[test]
fn text_files_and_what_is_wrong_with_them() {
    let folder = tempfile::tempdir().unwrap();
    let start = start_ms();
    let file = folder.path().join("history.om");
    std::fs::write(&file, openmetrics(start)).unwrap();
    let data = folder.path().join("data");
    let (from, to) = (file.display().to_string(), data.display().to_string());
    let said = ok(&["import", "openmetrics", &from, "--data", &to]);
    assert!(said.contains("1800 samples imported"), "{said}");
    holds_everything(&data, start, "load");

    let other = folder.path().join("other").display().to_string();
    for (text, says) in [
        ("load 1\n# EOF\n", "has no timestamp"),
        ("load 1 1765029600\nload{ 1 1765029660\n# EOF\n", "line 2"),
    ] {
        std::fs::write(&file, text).unwrap();
        let (code, said) = run(&["import", "openmetrics", &from, "--data", &other]);
        assert_ne!(code, 0, "{text}");
        assert!(said.contains(says) && said.contains("history.om"), "{said}");
    }
}

fn load() -> Vec<u8> {
    let start = start_ms();
    let all: Vec<SeriesSamples> = (0..SERIES)
        .map(|series| {
            let labels = vec![
                ("__name__".to_owned(), "load".to_owned()),
                ("node".to_owned(), format!("brick-0{series}")),
            ];
            let samples = (0..SAMPLES).map(|i| (start + i * 60_000, value(series, i))).collect();
            (labels, samples)
        })
        .collect();
    remote_write(&all)
}

#[test]
fn a_running_victoriametrics() {
    if absent("victoria-metrics") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (start, port) = (start_ms(), free_port().unwrap());
    let body = load();
    let arguments = [
        format!("-storageDataPath={}", folder.path().join("vm").display()),
        format!("-httpListenAddr=127.0.0.1:{port}"),
        "-search.latencyOffset=0s".to_owned(),
        "-retentionPeriod=10y".to_owned(),
    ];
    let output = folder.path().join("vm.output");
    let _peer = Program::start("victoria-metrics", &arguments, &output).unwrap();
    let mut client = Client::new(format!("127.0.0.1:{port}"));
    wait_until(PATIENCE, || {
        client.remote_write("/api/v1/write", &body).ok().filter(|r| r.status == 204)
    })
    .unwrap();
    let last = (start / 1000 + (SAMPLES - 1) * 60).to_string();
    wait_until(PATIENCE, || {
        let query = [("query", "count(count_over_time(load[5h]))"), ("time", last.as_str())];
        let reply = client.query("/api/v1/query", &query).ok()?;
        let json = reply.json();
        let count = json["data"]["result"][0]["value"][1].as_str()?;
        (count.parse() == Ok(SERIES)).then_some(())
    })
    .unwrap();
    let data = folder.path().join("data");
    let (url, to) = (format!("http://127.0.0.1:{port}"), data.display().to_string());
    let said =
        ok(&["import", "victoriametrics", &url, "--data", &to, "--last", "7h", "--match", "load"]);
    assert!(said.contains("1800 samples imported"), "{said}");
    let (code, said) = run(&["import", "victoriametrics", &url, "--data", &to]);
    assert!(code != 0 && said.contains("say how far back"), "{said}");
}

/// vm-obs answers remote read as Prometheus does.
#[test]
fn a_server_through_remote_read() {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("source");
    let file = folder.path().join("history.om");
    let start = start_ms();
    std::fs::write(&file, openmetrics(start)).unwrap();
    ok(&[
        "import",
        "openmetrics",
        &file.display().to_string(),
        "--data",
        &source.display().to_string(),
    ]);
    let server = Server::start(&source, &[]);
    let data = folder.path().join("data");
    let to = data.display().to_string();
    let said = ok(&[
        "import",
        "prometheus",
        &server.url(),
        "--data",
        &to,
        "--last",
        "7h",
        "--match",
        "load",
    ]);
    assert!(said.contains("1800 samples imported"), "{said}");
    holds_everything(&data, start, "load");
}

#[test]
fn recording_rules_over_imported_history() {
    let folder = tempfile::tempdir().unwrap();
    let start = start_ms();
    let (file, rules) = (folder.path().join("history.om"), folder.path().join("rules.yml"));
    std::fs::write(&file, openmetrics(start)).unwrap();
    let text = "groups:\n- name: sums\n  interval: 1m\n  rules:\n  - record: load:sum\n    expr: sum(load)\n  - record: load:sum:max\n    expr: max_over_time(load:sum[30m])\n";
    std::fs::write(&rules, text).unwrap();
    let data = folder.path().join("data");
    let (from, to) = (file.display().to_string(), data.display().to_string());
    ok(&["import", "openmetrics", &from, "--data", &to]);
    let (rules, since) = (rules.display().to_string(), (start / 1000).to_string());
    let until = (start / 1000 + (SAMPLES - 1) * 60).to_string();
    let arguments = ["rules", "backfill", &rules, "--data", &to, "--from", &since, "--to", &until];
    let said = ok(&arguments);
    assert!(said.contains("load:sum:max: 1 series up to"), "{said}");
    assert!(said.contains("600 samples imported"), "{said}");
    ok(&["verify", &to]);
    let server = Server::start(&data, &[]);
    let at = (start / 1000 + 100 * 60).to_string();
    for query in ["load:sum - sum(load)", "load:sum:max - max_over_time(load:sum[30m])"] {
        let asked = [("query", query), ("time", at.as_str())];
        let reply = server.client().query("/api/v1/query", &asked).unwrap();
        assert_eq!(reply.json()["data"]["result"][0]["value"][1], "0", "{query}: {}", reply.text());
    }
    let (code, said) = run(&["rules", "backfill", &rules, "--data", &to]);
    assert!(code != 0 && said.contains("say how far back"), "{said}");
}

/// What is exported goes back in: by Prometheus' own tool, by VictoriaMetrics, by any Parquet reader.
#[test]
fn exports_are_read_by_others() {
    let folder = tempfile::tempdir().unwrap();
    let start = start_ms();
    let file = folder.path().join("history.om");
    std::fs::write(&file, openmetrics(start)).unwrap();
    let data = folder.path().join("data");
    let (from, to) = (file.display().to_string(), data.display().to_string());
    ok(&["import", "openmetrics", &from, "--data", &to]);
    let export = |form: &str| {
        let output = Command::new(VM_OBS)
            .args(["export", form, "--data", &to, "--last", "7h", "--match", "load"])
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    };
    let text = String::from_utf8(export("openmetrics")).unwrap();
    assert!(text.starts_with("# HELP load Load of a node.\n# TYPE load gauge\n"), "{text}");
    assert_eq!(text.lines().filter(|l| l.starts_with("load{")).count() as i64, SERIES * SAMPLES);
    if !absent("promtool") {
        let (again, blocks) = (folder.path().join("again.om"), folder.path().join("again"));
        std::fs::write(&again, &text).unwrap();
        let made = Command::new("promtool")
            .args(["tsdb", "create-blocks-from", "openmetrics"])
            .args([&again, &blocks])
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    }
    let lines = String::from_utf8(export("victoriametrics-jsonl")).unwrap();
    assert_eq!(lines.lines().count() as i64, SERIES, "{lines}");
    let first: Value = serde_json::from_str(lines.lines().next().unwrap()).unwrap();
    assert_eq!(first["metric"]["__name__"], "load");
    assert_eq!(first["values"].as_array().map(Vec::len), Some(SAMPLES as usize));
    let parquet = export("parquet");
    assert!(parquet.starts_with(b"PAR1") && parquet.ends_with(b"PAR1"));
    assert!(parquet.len() < lines.len() / 2, "{} bytes", parquet.len());
}
