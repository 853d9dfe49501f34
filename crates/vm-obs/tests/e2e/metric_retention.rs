//! Series of some selectors are gone sooner than the rest: from answers, from the engine, not from
//! the record.

use std::path::Path;

use obs_testkit::remote_write;
use serde_json::Value;

use crate::support::{Server, counter, run};

/// Of the samples, 2025-12-06T13:58:30Z.
const AT_MS: i64 = 1_765_029_510_000;

fn server(data: &Path, config: &Path, clock: &str) -> Server {
    let config = config.display().to_string();
    let more = ["--config", &config, "--clock-start", clock, "--clock-speed", "30"];
    Server::start(data, &more)
}

/// The values of `job` among the samples and among the labels of that minute.
fn jobs(server: &Server) -> [Vec<String>; 2] {
    let at = (AT_MS / 1000 + 1).to_string();
    let mut client = server.client();
    let query = [("query", "kept"), ("time", at.as_str())];
    let json = client.query("/api/v1/query", &query).unwrap().json();
    let found = json["data"]["result"].as_array().unwrap_or_else(|| panic!("{json}")).iter();
    let mut found: Vec<String> =
        found.map(|s| s["metric"]["job"].as_str().unwrap().to_owned()).collect();
    found.sort();
    let range = [("match[]", "kept"), ("start", "1765029500"), ("end", at.as_str())];
    let json = client.query("/api/v1/label/job/values", &range).unwrap().json();
    let listed = json["data"].as_array().unwrap_or_else(|| panic!("{json}")).iter();
    [found, listed.map(|v| v.as_str().unwrap().to_owned()).collect()]
}

#[test]
fn what_a_rule_cuts_is_gone_from_answers_and_engine_and_stays_on_record() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("vm-obs.yaml");
    let text = "packs: []\nhost_metrics: off\nseal_delay: 1s\nmetrics:\n  retention: [{match: ['{job=\"debug\"}'], keep: 2h}]\n";
    std::fs::write(&config, text).unwrap();
    let data = folder.path().join("data");
    let mut first = server(&data, &config, "2025-12-06T13:58:00Z");
    for job in ["debug", "web"] {
        let labels = [("__name__", "kept"), ("job", job)];
        let labels = labels.map(|(n, v)| (n.to_owned(), v.to_owned())).to_vec();
        let body = remote_write(&[(labels, vec![(AT_MS, 1.0)])]);
        let reply = first.client().remote_write("/api/v1/write", &body).unwrap();
        assert_eq!(reply.status / 100, 2, "{}", reply.text());
    }
    assert_eq!(jobs(&first), [["debug", "web"], ["debug", "web"]]);
    let sealed = |v: &Value| {
        let tiers = v["tiers"].as_array().into_iter().flatten();
        tiers.filter(|r| r["tier"] == "warm" && r["signal"] == "metrics").count() == 1
    };
    first.eventually("/obs/storage", "the sealed hour", sealed);
    first.stop();

    // Three and a half hours later the hour is in a block.
    let mut later = server(&data, &config, "2025-12-06T17:30:00Z");
    assert_eq!(jobs(&later), [["web"], ["web"]]);
    let taken = |v: &Value| v.to_string().contains("{job=\\\"debug\\\"}: 2h");
    let path = "/obs/receipts?type=obs_retention";
    let receipts = later.eventually(path, "the receipt of the deletion", taken).to_string();
    assert!(receipts.contains("1 series with 1 samples left 1 partitions"), "{receipts}");
    let name = "vmobs_metrics_retention_samples_total";
    assert_eq!(counter(&mut later.client(), name, &[]), 1.0);
    let status = later.verb_ok(&["storage", "status"]);
    let rule = "metrics retention  {job=\"debug\"}: 2h, shown since 2025-12-06T15:";
    assert!(status.contains(rule), "{status}");
    later.stop();

    // Whoever reads the folder, or the sealed hour in the place of the engine, sees it no more.
    let shown = data.display().to_string();
    let export = ["metrics", "export", "--data", &shown, "--from", "2025-12-06T13:00:00Z"];
    let (code, text) = run(&[&export[..], &["--match", "kept", "--format", "json"]].concat());
    assert!(code == 0 && text.contains("web") && !text.contains("debug"), "{text}");
    let mut archive = server(&data, &config, "2025-12-15T14:30:00Z");
    assert_eq!(jobs(&archive), [["web"], ["web"]]);
    archive.stop();
    let (code, text) = run(&["verify", &shown, "--records"]);
    assert_eq!(code, 0, "{text}");
}
