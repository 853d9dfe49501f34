//! Prometheus' API of the real binary: what the configuration switches on, and Prometheus itself
//! reading through remote read.

use std::path::Path;
use std::process::Command;

use obs_testkit::{Client, Program, free_port, remote_write, wait_until};
use serde_json::Value;

use crate::support::{PATIENCE, Server, now_ms, serve_fails};

fn write(server: &Server, name: &str, samples: Vec<(i64, f64)>) {
    let labels =
        vec![("__name__".to_owned(), name.to_owned()), ("job".to_owned(), "read".to_owned())];
    let body = remote_write(&[(labels, samples)]);
    let reply = server.client().remote_write("/api/v1/write", &body).unwrap();
    assert!((200..300).contains(&reply.status), "{}", reply.text());
}

#[test]
fn the_configuration_switches_the_admin_api_and_the_query_log_on() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("vm-obs.yaml");
    let text = "admin_api: true\nquery_log_file: queries.jsonl\nquery_concurrency_max: 2\nquery_timeout: 30s\n";
    std::fs::write(&config, text).unwrap();
    let config_text = config.display().to_string();
    let server = Server::start(&folder.path().join("data"), &["--config", &config_text]);
    write(&server, "deleted", vec![(now_ms(), 1.0)]);
    let mut client = server.client();
    let found = client.query("/api/v1/query", &[("query", "deleted")]).unwrap();
    assert_eq!(found.json()["data"]["result"][0]["value"][1], "1", "{}", found.text());
    let path = "/api/v1/admin/tsdb/delete_series?match[]=deleted";
    assert_eq!(client.post(path, "text/plain", b"").unwrap().status, 204);
    let found = client.query("/api/v1/query", &[("query", "deleted")]).unwrap();
    assert_eq!(found.json()["data"]["result"], Value::Array(Vec::new()));
    let log = std::fs::read_to_string(folder.path().join("queries.jsonl")).unwrap();
    let lines: Vec<Value> = log.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert_eq!(lines.len(), 2, "{log}");
    assert_eq!(lines[0]["params"]["query"], "deleted");
    assert_eq!(lines[0]["httpRequest"]["clientIP"], "127.0.0.1");

    let wrong = folder.path().join("wrong.yaml");
    std::fs::write(&wrong, "query_log_file: no/such/folder/queries.jsonl\n").unwrap();
    let wrong = wrong.display().to_string();
    let (_, message) = serve_fails(&folder.path().join("other"), &["--config", &wrong]);
    assert!(message.contains("query_log_file"), "{message}");
}

fn start_prometheus(folder: &Path, read_url: &str, port: u16) -> Option<Program> {
    if Command::new("prometheus").arg("--version").output().is_err() {
        eprintln!("skipped: prometheus is not installed");
        return None;
    }
    let config = folder.join("prometheus.yml");
    let text = format!("remote_read:\n- url: {read_url}\n  read_recent: true\n");
    std::fs::write(&config, text).unwrap();
    let arguments = [
        format!("--config.file={}", config.display()),
        format!("--storage.tsdb.path={}", folder.join("prometheus-data").display()),
        format!("--web.listen-address=127.0.0.1:{port}"),
    ];
    Some(Program::start("prometheus", &arguments, &folder.join("prometheus.output")).unwrap())
}

#[test]
fn prometheus_reads_through_remote_read() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(&folder.path().join("data"), &[]);
    let now = now_ms() / 1000 * 1000;
    let samples: Vec<(i64, f64)> =
        (0..400).map(|i| (now - (400 - i) * 5_000, i as f64 / 3.0)).collect();
    write(&server, "read_by_prometheus", samples.clone());
    let port = free_port().unwrap();
    let read_url = format!("{}/api/v1/read", server.url());
    let Some(_prometheus) = start_prometheus(folder.path(), &read_url, port) else { return };
    let mut client = Client::new(format!("127.0.0.1:{port}"));
    let query = [("query", "read_by_prometheus[40m]")];
    let answer = wait_until(PATIENCE, || {
        let reply = client.query("/api/v1/query", &query).ok()?;
        (reply.status == 200).then(|| reply.json())
    })
    .unwrap();
    let values = answer["data"]["result"][0]["values"].as_array().unwrap();
    let read: Vec<(i64, f64)> = values
        .iter()
        .map(|pair| {
            let time = (pair[0].as_f64().unwrap() * 1000.0).round() as i64;
            (time, pair[1].as_str().unwrap().parse().unwrap())
        })
        .collect();
    assert_eq!(read, samples);
    assert_eq!(answer["data"]["result"][0]["metric"]["job"], "read");
}
