//! An hour goes its way: sealed, backed up, cold, missed, restored.

use std::path::Path;

use obs_testkit::logs_push;
use serde_json::Value;

use crate::support::{Server, now_ms, run};

/// Of the lines, 2025-12-06T13:58:30Z.
const AT_NS: i64 = 1_765_029_510_000_000_000;

fn server(data: &Path, config: &Path, clock: &str) -> Server {
    let config = config.display().to_string();
    let more = ["--config", &config, "--clock-start", clock, "--clock-speed", "30"];
    Server::start(data, &more)
}

/// The lines of that hour, and the answer.
fn lines(server: &Server) -> (Vec<String>, Value) {
    let mut client = server.client();
    let (start, end) = ((AT_NS - 60_000_000_000).to_string(), (AT_NS + 60_000_000_000).to_string());
    let query = [("query", "{app=\"tiers\"}"), ("start", &start), ("end", &end)];
    let json = client.query("/loki/api/v1/query_range", &query).unwrap().json();
    let streams = json["data"]["result"].as_array().cloned().unwrap_or_default();
    let values = streams.iter().flat_map(|s| s["values"].as_array().into_iter().flatten());
    let mut lines: Vec<String> = values.filter_map(|v| v[1].as_str().map(str::to_owned)).collect();
    lines.sort();
    (lines, json)
}

fn rows<'a>(status: &'a Value, tier: &str, signal: &str) -> Vec<&'a Value> {
    let all = status["tiers"].as_array().into_iter().flatten();
    all.filter(|r| r["tier"] == tier && r["signal"] == signal).collect()
}

#[test]
fn an_hour_is_sealed_backed_up_moved_missed_and_restored() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let config = at("vm-obs.yaml");
    std::fs::write(
        &config,
        "packs: []\nhost_metrics: off\nnode: brick-01\nseal_delay: 1s\nstorage: {cold: cold, backup: backups}\n",
    )
    .unwrap();
    let data = at("data");
    let mut first = server(&data, &config, "2025-12-06T13:58:00Z");
    let pushed = [(AT_NS, "all is well".to_owned()), (AT_NS + 1, "it broke".to_owned())];
    let reply =
        first.client().post_json("/loki/api/v1/push", &logs_push(&[("app", "tiers")], &pushed));
    assert_eq!(reply.unwrap().status, 204);
    let warm =
        |v: &Value| ["metrics", "logs", "traces"].iter().all(|s| !rows(v, "warm", s).is_empty());
    first.eventually("/obs/storage", "the sealed hour", warm);
    let text = first.verb_ok(&["storage", "status"]);
    assert!(text.contains("hot") && text.contains("warm") && text.contains("cold store"), "{text}");
    let text = first.verb_ok(&["storage", "backup"]);
    assert!(text.contains("backup 20251206T"), "{text}");
    let again = first.verb_ok(&["storage", "backup"]);
    assert!(again.contains("of them new"), "{again}");
    first.stop();

    // Forty days later.
    let mut later = server(&data, &config, "2026-01-15T14:02:00Z");
    let moved = |v: &Value| {
        !rows(v, "cold", "logs").is_empty()
            && rows(v, "warm", "metrics").iter().all(|r| r["hours"] == 1)
    };
    later.eventually("/obs/storage", "the cold hour", moved);
    let object = at("cold/telemetry/logs/2025-12-06/hour-14.jsonl.gz");
    assert!(object.exists() && !data.join("telemetry/logs/2025-12-06/hour-14.jsonl.gz").exists());
    let (found, json) = lines(&later);
    assert_eq!(found, ["all is well", "it broke"], "{json}");
    assert_eq!(json.get("warnings"), None);
    let away = at("away");
    std::fs::rename(&object, &away).unwrap();
    std::fs::remove_dir_all(data.join("cache")).unwrap();
    let (found, json) = lines(&later);
    assert_eq!(found, Vec::<String>::new());
    assert!(json["warnings"].to_string().contains("hour-14.jsonl.gz is left out"), "{json}");
    std::fs::rename(&away, &object).unwrap();
    later.stop();
    let data_text = data.display().to_string();
    let (code, text) = run(&["verify", &data_text]);
    assert!(code == 2 && text.contains("COLD_NOT_CHECKED"), "{text}");
    let (code, text) = run(&["storage", "verify", "--data", &data_text]);
    assert_eq!(code, 0, "{text}");
    let (code, text) = run(&["verify", &data_text, "--cold", &at("cold").display().to_string()]);
    assert_eq!(code, 0, "{text}");
    let (code, text) = run(&["storage", "status", "--data", &data_text]);
    assert!(code == 0 && text.contains("cold"), "{text}");
    let (code, text) = run(&["storage", "cleanup", "--data", &data_text]);
    assert_eq!(code, 0, "{text}");

    // The backup answers as the first server did.
    let restored = at("restored");
    let store = at("backups").display().to_string();
    let arguments = ["storage", "restore", "--from", &store, &restored.display().to_string()];
    let (code, text) = run(&arguments);
    assert!(code == 0 && text.contains("OK"), "{text}");
    let (code, text) = run(&arguments);
    assert!(code != 0 && text.contains("not empty"), "{text}");
    let mut third = server(&restored, &config, "2025-12-06T14:10:00Z");
    assert_eq!(lines(&third).0, ["all is well", "it broke"]);
    third.stop();
    let (code, text) = run(&["verify", &restored.display().to_string()]);
    assert_eq!(code, 0, "{text}");
    let (code, text) =
        run(&["storage", "probe", &store, "--scratch", &folder.path().display().to_string()]);
    assert!(code == 0 && text.contains("can be restored"), "{text}");
}

/// Of a line a minute and a half before the end of the last hour but one, so that a whole hour has
/// gone by since.
fn recent_ns() -> i64 {
    let hour_ms = 3_600_000;
    (now_ms() / hour_ms * hour_ms - hour_ms - 90_000) * 1_000_000
}

/// The answers that must not change: lines, a trace, samples of one hour.
fn answers(server: &Server, at_ns: i64) -> String {
    let mut client = server.client();
    let (start, end) = ((at_ns - 60_000_000_000).to_string(), (at_ns + 60_000_000_000).to_string());
    let query = [("query", "{app=\"kept\"}"), ("start", &start), ("end", &end)];
    let logs = client.query("/loki/api/v1/query_range", &query).unwrap().json();
    let seconds = (at_ns / 1_000_000_000 + 80).to_string();
    let query = [("query", "count_over_time(vmobs_build_info[5m])"), ("time", seconds.as_str())];
    let metrics = client.query("/api/v1/query", &query).unwrap().json();
    let mut lines = logs["data"]["result"].to_string();
    assert!(lines.contains("all is well"), "{logs}");
    let samples = metrics["data"]["result"].to_string();
    assert!(samples.contains("value"), "{metrics}");
    lines.push_str(&samples);
    lines
}

/// An hour is sealed; then a line of it is redacted, the engines' files are lost and made anew, and
/// everything else answers and verifies as before.
#[test]
fn a_line_is_redacted_and_lost_engines_are_rebuilt() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("vm-obs.yaml");
    std::fs::write(&config, "packs: []\nhost_metrics: off\nnode: brick-01\nseal_delay: 1s\n")
        .unwrap();
    let data = folder.path().join("data");
    let at = recent_ns();
    let time = |ns: i64| jiff::Timestamp::from_nanosecond(i128::from(ns)).unwrap().to_string();
    let mut first = server(&data, &config, &time(at));
    let pushed = [(at, "all is well".to_owned()), (at + 1, "password=hunter2".to_owned())];
    let reply =
        first.client().post_json("/loki/api/v1/push", &logs_push(&[("app", "kept")], &pushed));
    assert_eq!(reply.unwrap().status, 204);
    let warm =
        |v: &Value| ["metrics", "logs", "traces"].iter().all(|s| !rows(v, "warm", s).is_empty());
    first.eventually("/obs/storage", "the sealed hour", warm);
    let proof = |server: &Server, ns: i64, name: &str| {
        let file = folder.path().join(name).display().to_string();
        let at = time(ns);
        let (code, text) =
            server.verb(&["prove", "log", "{app=\"kept\"}", "--time", &at, "-o", &file]);
        (code, text, file)
    };
    let (code, text, kept) = proof(&first, at, "kept.vmproof");
    assert_eq!(code, 0, "{text}");
    let before = answers(&first, at);
    assert!(before.contains("hunter2"));
    first.stop();

    let path = data.display().to_string();
    let (from, to) = (time(at - 1_000_000_000), time(at + 60_000_000_000));
    let redact = |more: &[&str]| {
        let fixed = ["storage", "redact", "--data", &path, "--signal", "logs", "--match"];
        let what = ["{app=\"kept\"} |= \"password=\"", "--from", &from, "--to", &to];
        run(&[&fixed[..], &what, &["--reason", "credentials"], more].concat())
    };
    let (code, text) = redact(&[]);
    assert!(code == 0 && text.contains("1 sealed records match, 1 in the engine"), "{text}");
    let (code, text) = redact(&["--yes"]);
    assert!(code == 0 && text.contains("1 sealed records are redacted in 1 files"), "{text}");
    let (code, text) = redact(&["--yes"]);
    assert!(code == 0 && text.contains("0 sealed records match, 0 in the engine"), "{text}");
    let (code, text) = run(&["verify", &path]);
    assert!(code == 0 && text.contains("REDACTED:1"), "{text}");
    let grep = std::process::Command::new("grep").args(["-r", "hunter2", &path]).output().unwrap();
    assert!(grep.stdout.is_empty(), "{}", String::from_utf8_lossy(&grep.stdout));
    let keys = data.join("receipts/observability/keys");
    let key = std::fs::read_dir(keys).unwrap().next().unwrap().unwrap().path();
    let key = key.display().to_string();
    let (code, text) = run(&["verify", &kept, "--log-key", &key]);
    assert_eq!(code, 0, "a proof made before: {text}");

    let mut second = server(&data, &config, &time(at + 600_000_000_000));
    let left = answers(&second, at);
    assert!(!left.contains("hunter2"), "{left}");
    let (code, text, again) = proof(&second, at, "again.vmproof");
    assert_eq!(code, 0, "{text}");
    let (code, text) = run(&["verify", &again, "--log-key", &key]);
    assert_eq!(code, 0, "{text}");
    let (code, text, _file) = proof(&second, at + 1, "gone.vmproof");
    assert_ne!(code, 0, "{text}");
    let (code, text) = run(&["storage", "rebuild", "--data", &path]);
    assert!(code != 0 && text.contains("a server runs on the folder"), "{text}");
    second.stop();

    for engine in ["logs", "metrics", "traces", "wal"] {
        std::fs::remove_dir_all(data.join(engine)).unwrap();
    }
    // Killed on the way: nothing of it counts.
    std::fs::create_dir_all(data.join("refill/logs")).unwrap();
    std::fs::write(data.join("refill/logs/half"), "half").unwrap();
    let (code, text) = run(&["storage", "rebuild", "--data", &path]);
    assert!(code == 0 && text.contains("logs     is missing") && text.contains("--yes"), "{text}");
    let (code, text) = run(&["storage", "rebuild", "--data", &path, "--yes"]);
    assert!(code == 0 && text.contains("items from sealed hours"), "{text}");
    assert!(text.contains("declared a gap"), "{text}");
    let (code, text) = run(&["verify", &path]);
    assert!(code == 0 && text.contains("DECLARED_GAP"), "{text}");
    let (code, text) = run(&["storage", "rebuild", "--data", &path]);
    assert!(code == 0 && text.contains("all engines can be opened"), "{text}");
    let config_text = config.display().to_string();
    let mut third = Server::start(&data, &["--config", &config_text]);
    assert_eq!(answers(&third, at), left);
    third.stop();
    let (code, text) = run(&["verify", &path]);
    assert_eq!(code, 0, "{text}");
}
