//! The demo world from start to verification: data on every route, verb and tool, a break that
//! fires, is told, acknowledged and resolved, sealed hours, receipts that verify, and a verifier that
//! notices one changed byte.
//!
//! The clock runs 20 times as fast as the real one and begins shortly before a full hour, so that a
//! rule's three minutes and the end of an hour pass within the test.

mod folder;
mod mcp;

use std::path::{Path, PathBuf};

use obs_testkit::{Client, WebhookSink, wait_until};
use serde_json::{Value, json};

use crate::support::{PATIENCE, Server, run, shorten};

const CLOCK: [&str; 4] = ["--clock-start", "2025-12-06T14:50:00Z", "--clock-speed", "20"];
const CONFIG: &str = "seal_delay: 1m\nnotify: notify.yml\nnode: brick-00\n";

fn some(value: &Value) -> bool {
    match value {
        Value::Array(list) => !list.is_empty(),
        Value::Object(map) => !map.is_empty(),
        Value::Null => false,
        _ => true,
    }
}

#[test]
fn the_demo_world_from_start_to_verification() {
    let folder = tempfile::tempdir().unwrap();
    let sink = WebhookSink::start().unwrap();
    let config = folder.path().join("vm-obs.yaml");
    std::fs::write(&config, CONFIG).unwrap();
    std::fs::write(
        folder.path().join("notify.yml"),
        format!(
            "route: {{receiver: ops, group_by: [alertname], group_wait: 1s, group_interval: 5s, repeat_interval: 4h}}\n\
             receivers:\n- name: ops\n  webhook_configs: [{{url: '{}', send_resolved: true}}]\n",
            sink.url("/hook")
        ),
    )
    .unwrap();
    let data = folder.path().join("data");
    let config = config.display().to_string();
    let mut server =
        Server::start(&data, &[&["--demo", "--config", &config], CLOCK.as_slice()].concat());

    data_arrives(&server);
    server.verb_ok(&["demo", "break", "pod-drift"]);
    let trace_id = native_routes(&server);
    prometheus_routes(&server);
    loki_routes(&server);
    tempo_routes(&server, &trace_id);
    verbs(&server, &trace_id);
    mcp::tools(&server, &trace_id);
    alert_fires_and_resolves(&server, &sink);
    hours_are_sealed(&server);
    let reply = server.client().post("/obs/ledger/verify", "application/json", b"{}").unwrap();
    assert_eq!(reply.json()["exit_code"], 0, "{}", reply.text());
    server.stop();

    let data = data.display().to_string();
    let (code, text) = run(&["verify", &data]);
    assert_eq!(code, 0, "{text}");
    let (code, text) = run(&["verify", "--data", &data]);
    assert_eq!(code, 0, "{text}");
    folder::offline_verbs(&data);
    folder::a_changed_byte_is_noticed(Path::new(&data));
}

fn data_arrives(server: &Server) {
    server.eventually("/obs/metrics?metric=psi_field_density&last=10m", "scraped metrics", |v| {
        some(&v["series"])
    });
    server.eventually("/obs/logs?last=10m&service=guardian", "logs", |v| some(&v["logs"]));
    server.eventually("/obs/traces?last=10m&service=portal", "traces", |v| some(&v["traces"]));
    server.eventually("/obs/metrics?metric=node_load1&last=10m", "host metrics", |v| {
        some(&v["series"])
    });
    // A share of time needs two readings.
    server.eventually(
        "/obs/metrics?metric=cpu_percent&node=brick-01&last=1h",
        "shares of processor time",
        |v| some(&v["series"]),
    );
    server.eventually("/obs/logs?last=30m&service=vm-obs", "own logs", |v| some(&v["logs"]));
    server.eventually("/obs/traces?last=30m&service=vm-obs", "own traces", |v| some(&v["traces"]));
}

/// Every `/obs` route that only reads; returns the id of a trace with several spans.
fn native_routes(server: &Server) -> String {
    for (path, member) in [
        ("/obs/metrics?last=10m", "metrics"),
        ("/obs/metrics?query=sum(up)&last=10m", "series"),
        ("/obs/metrics/names", "metrics"),
        ("/obs/logs?last=10m&level=info", "logs"),
        ("/obs/slos", "slos"),
        ("/obs/dashboards", "dashboards"),
        ("/obs/dashboards/system-overview", "panels"),
        ("/obs/dashboards/system-overview/grafana", "panels"),
        ("/obs/targets", "targets"),
        ("/obs/demo", "faults"),
        ("/obs/health", "components"),
        ("/obs/correlate?window=5m", "entries"),
        ("/obs/ledger", "origin"),
        ("/obs/openapi.json", "paths"),
        ("/obs/receipts", "receipts"),
    ] {
        server.eventually(path, "native route", |v| some(&v[member]));
    }
    for (path, member) in [
        ("/obs/alerts", "alerts"),
        ("/obs/silences", "silences"),
        ("/obs/anomalies?last=1h", "anomalies"),
    ] {
        server.eventually(path, "native route", |v| v[member].is_array());
    }
    let found = server
        .eventually("/obs/traces?last=10m&limit=100", "linked traces", |v| linked(v).is_some());
    let id = linked(&found).unwrap();
    let trace = server.eventually(&format!("/obs/traces/{id}"), "one trace", |v| some(&v["spans"]));
    assert!(trace["spans"].as_array().unwrap().len() > 2, "{trace}");
    for field in
        ["trace_id", "name", "start_time", "end_time", "duration_ms", "status", "spans", "tags"]
    {
        assert!(trace.get(field).is_some(), "{field} is missing in {trace}");
    }
    server.eventually(&format!("/obs/traces/{id}/analysis"), "analysis", |v| {
        some(&v["critical_path"])
    });

    let slos = server.eventually("/obs/slos", "objectives", |v| some(&v["slos"]));
    let slo = slos["slos"][0]["slo_id"].as_str().unwrap();
    server.eventually(&format!("/obs/slos/{slo}"), "one objective", |v| some(&v["target"]));
    server.eventually(&format!("/obs/slos/{slo}/report?period=7d"), "report", |v| {
        some(&v["error_budget"])
    });

    let mut client = server.client();
    for path in ["/obs/ledger/checkpoint", "/obs/ledger/proof?seq=0", "/obs/ledger/receipts.jsonl"]
    {
        let reply = client.get(path).unwrap();
        assert!(reply.status == 200 && !reply.body.is_empty(), "{path}: {}", reply.text());
    }
    let page = client.get("/").unwrap();
    assert!(page.status == 200 && page.text().contains("<html"), "{}", shorten(&page.text()));
    id
}

/// A trace over several services.
fn linked(answer: &Value) -> Option<String> {
    let traces = answer["traces"].as_array()?;
    let linked = traces.iter().find(|t| t["span_count"].as_u64() > Some(2))?;
    linked["trace_id"].as_str().map(str::to_owned)
}

fn prometheus_routes(server: &Server) {
    let mut client = server.client();
    let now = client.query("/api/v1/query", &[("query", "time()")]).unwrap().json();
    let now = now["data"]["result"][0].as_f64().unwrap();
    let (start, end) = ((now - 300.0).to_string(), now.to_string());
    for (path, parameters) in [
        ("query", vec![("query", "sum by (job) (up)")]),
        ("query_range", vec![("query", "up"), ("start", &start), ("end", &end), ("step", "60")]),
        ("series", vec![("match[]", "up")]),
        ("labels", vec![]),
        ("label/job/values", vec![]),
        ("metadata", vec![("limit", "10")]),
        ("targets", vec![]),
        ("rules", vec![]),
        ("alerts", vec![]),
        ("status/buildinfo", vec![]),
        ("status/config", vec![]),
        ("status/flags", vec![]),
        ("status/runtimeinfo", vec![]),
        ("status/tsdb", vec![]),
        ("format_query", vec![("query", "sum(up)")]),
        ("parse_query", vec![("query", "sum(up)")]),
    ] {
        for prefix in ["/api/v1", "/prometheus/api/v1"] {
            let reply = client.query(&format!("{prefix}/{path}"), &parameters).unwrap();
            let json = reply.json();
            assert_eq!(reply.status, 200, "{prefix}/{path}: {}", reply.text());
            assert_eq!(json["status"], "success", "{prefix}/{path}");
            let filled = json["data"].get("result").unwrap_or(&json["data"]);
            assert!(some(filled), "{prefix}/{path} is empty: {}", reply.text());
        }
    }
    let reply = client.get("/api/v1/query_exemplars?query=up&start=0&end=1").unwrap();
    assert_eq!(reply.json()["status"], "success", "{}", reply.text());
}

fn loki_routes(server: &Server) {
    let mut client = server.client();
    for (path, parameters, member) in [
        ("query_range", vec![("query", "{service_name=~\".+\"}"), ("limit", "5")], "/data/result"),
        (
            "query_range",
            vec![("query", "sum(rate({service_name=~\".+\"}[5m]))"), ("step", "60")],
            "/data/result",
        ),
        (
            "query",
            vec![("query", "sum by (service_name) (count_over_time({service_name=~\".+\"}[5m]))")],
            "/data/result",
        ),
        ("labels", vec![], "/data"),
        ("label/service_name/values", vec![], "/data"),
        ("series", vec![("match[]", "{service_name=\"guardian\"}")], "/data"),
        ("index/stats", vec![("query", "{service_name=\"guardian\"}")], "/entries"),
        ("index/volume", vec![("query", "{service_name=~\".+\"}")], "/data/result"),
        ("detected_labels", vec![], "/detectedLabels"),
        ("detected_fields", vec![("query", "{service_name=\"guardian\"}")], "/fields"),
        ("format_query", vec![("query", "{a=\"b\"}")], "/data"),
        ("status/buildinfo", vec![], "/version"),
    ] {
        filled(&mut client, &format!("/loki/api/v1/{path}"), &parameters, member);
    }
}

/// The answer is a success, and its `member` holds something.
fn filled(client: &mut Client, path: &str, parameters: &[(&str, &str)], member: &str) {
    let reply = client.query(path, parameters).unwrap();
    let json = reply.json();
    let filled = json.pointer(member).is_some_and(some);
    assert!(reply.status == 200 && filled, "{path} {parameters:?}: {}", shorten(&reply.text()));
}

fn tempo_routes(server: &Server, trace_id: &str) {
    let mut client = server.client();
    let id = trace_id.trim_start_matches("trace-");
    assert_eq!(client.get("/tempo/api/echo").unwrap().text(), "echo");
    for (path, parameters, member) in [
        (format!("traces/{id}"), vec![], "/batches"),
        (format!("v2/traces/{id}"), vec![], "/trace"),
        (
            "search".to_owned(),
            vec![("q", "{ resource.service.name != \"\" }"), ("limit", "5")],
            "/traces",
        ),
        ("search/tags".to_owned(), vec![], "/tagNames"),
        ("v2/search/tags".to_owned(), vec![], "/scopes"),
        ("search/tag/service.name/values".to_owned(), vec![], "/tagValues"),
        ("v2/search/tag/resource.service.name/values".to_owned(), vec![], "/tagValues"),
        ("metrics/query_range".to_owned(), vec![("q", "{ } | rate()"), ("step", "60s")], "/series"),
        ("status/buildinfo".to_owned(), vec![], "/version"),
    ] {
        filled(&mut client, &format!("/tempo/api/{path}"), &parameters, member);
    }
}

/// Every verb of the command line that reads, against the server.
fn verbs(server: &Server, trace_id: &str) {
    for (arguments, says) in [
        (
            vec![
                "metrics",
                "query",
                "--node",
                "brick-01",
                "--metric",
                "cpu_percent",
                "--last",
                "1h",
            ],
            "brick-01",
        ),
        (vec!["metrics", "query", "--query", "sum(up)", "--last", "10m"], ""),
        (vec!["metrics", "list", "--node", "brick-01"], "node_"),
        (
            vec![
                "metrics",
                "export",
                "--from",
                "2025-12-06",
                "--to",
                "2025-12-07",
                "--format",
                "prometheus",
                "--match",
                "up",
            ],
            "up{",
        ),
        (vec!["logs", "query", "--service", "guardian", "--last", "24h"], "guardian"),
        (vec!["logs", "tail", "--node", "brick-01"], ""),
        (vec!["logs", "search", "anchor", "--from", "2025-12-01"], "anchor"),
        (vec!["trace", "show", trace_id], "ms"),
        (vec!["trace", "search", "--duration", ">1ms", "--last", "24h"], ""),
        (vec!["trace", "analyze", trace_id, "--find-bottleneck"], ""),
        (vec!["alert", "list"], ""),
        (vec!["slo", "list"], "slo:"),
        (vec!["slo", "show", "slo:anchor-latency-p99"], "slo:anchor-latency-p99"),
        (vec!["slo", "report", "--period", "30d", "--format", "markdown"], "|"),
        (vec!["dashboard", "list"], "system-overview"),
        (vec!["dashboard", "show", "system-overview"], ""),
        (vec!["dashboard", "export", "system-overview", "--format", "grafana"], "schemaVersion"),
        (
            vec![
                "query",
                "--type",
                "trace_complete",
                "--filter",
                "duration_ms > 0",
                "--format",
                "json",
            ],
            "receipts",
        ),
        (vec!["correlate", "--window", "15m"], "Timeline around"),
        (vec!["targets", "list"], "psi-field"),
        (vec!["pack", "list"], "vaultmesh"),
        (vec!["demo", "list"], "pod-drift"),
        (vec!["status"], "receipts"),
        (vec!["openapi"], "openapi"),
        (vec!["prove", "receipt", "0"], "tlog-proof"),
    ] {
        let text = server.verb_ok(&arguments);
        assert!(
            text.contains(says) && !text.trim().is_empty(),
            "vm-obs {}: {}",
            arguments.join(" "),
            shorten(&text)
        );
    }
    let slo = json!({"operation_type": "slo_create", "initiated_by": "did:vm:user:sovereign", "slo": {
        "id": "slo:e2e", "name": "E2E", "description": "made by a test",
        "indicator": {"type": "availability", "good_query": "oracle_up == 1", "total_query": "count(oracle_up)"},
        "target": 0.99, "window": "7d"}});
    let text = server.verb_ok(&["slo", "create", "--json", &slo.to_string()]);
    assert!(text.contains("slo:e2e"), "{text}");
    let (code, text) = server.verb(&["metrics", "query", "--query", "sum("]);
    assert!(code != 0 && text.contains("parse"), "{text}");
    let (code, text) = run(&["status", "--url", "http://127.0.0.1:1"]);
    assert!(code != 0 && text.contains("127.0.0.1:1"), "{text}");
    let rules = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../packs");
    for pack in ["host", "vaultmesh"] {
        let mut files: Vec<PathBuf> = std::fs::read_dir(rules.join(pack).join("tests"))
            .unwrap()
            .map(|e| e.unwrap().path())
            .collect();
        files.sort();
        for file in files {
            let (code, text) = run(&["rules", "test", &file.display().to_string()]);
            assert_eq!(code, 0, "{}: {text}", file.display());
        }
    }
}

/// Fired, delivered, acknowledged, healed, resolved, delivered again; each with its receipt.
fn alert_fires_and_resolves(server: &Server, sink: &WebhookSink) {
    let firing =
        server.eventually("/obs/alerts?status=firing&name=PsiFieldPodDrift", "the alert", |v| {
            some(&v["alerts"])
        });
    let alert = &firing["alerts"][0];
    for field in [
        "alert_id",
        "name",
        "severity",
        "status",
        "fired_at",
        "rule",
        "current_value",
        "labels",
        "annotations",
        "notified",
    ] {
        assert!(alert.get(field).is_some(), "{field} is missing in {alert}");
    }
    let id = alert["alert_id"].as_str().unwrap();
    delivered(sink, "firing");
    server.eventually(&format!("/obs/alerts/{id}"), "who was told", |v| {
        v["notified"].to_string().contains("webhook:ops")
    });
    assert!(server.verb_ok(&["alert", "list", "--status", "firing"]).contains("PsiFieldPodDrift"));
    assert!(server.verb_ok(&["alert", "show", id]).contains("PsiFieldPodDrift"));
    server.verb_ok(&["alert", "ack", id, "--comment", "investigating"]);
    let acked =
        server.eventually(&format!("/obs/alerts/{id}"), "the ack", |v| some(&v["acknowledged"]));
    assert_eq!(acked["acknowledged"]["comment"], "investigating");
    server.verb_ok(&[
        "alert",
        "silence",
        "--node",
        "brick-02",
        "--duration",
        "1h",
        "--reason",
        "maintenance",
    ]);
    let silences = server.eventually("/obs/silences", "the silence", |v| some(&v["silences"]));
    assert_eq!(silences["silences"][0]["reason"], "maintenance");

    server.verb_ok(&["demo", "heal"]);
    server.eventually(&format!("/obs/alerts/{id}"), "the end of the alert", |v| {
        v["status"] == "resolved"
    });
    delivered(sink, "resolved");
    for (kind, says) in [("alert_fired", "rule_expression"), ("alert_resolved", "investigating")] {
        let path = format!("/obs/receipts?type={kind}&limit=1000");
        let receipts = server.eventually(&path, "receipts", |v| {
            v["receipts"].as_array().is_some_and(|all| all.iter().any(|r| r["alert_id"] == id))
        });
        let of_alert =
            receipts["receipts"].as_array().unwrap().iter().find(|r| r["alert_id"] == id).unwrap();
        let text = of_alert.to_string();
        assert!(text.contains(says) || text.contains("acknowledged_by"), "{text}");
        assert!(of_alert["root_hash"].as_str().is_some_and(|h| h.starts_with("blake3:")), "{text}");
    }
}

fn delivered(sink: &WebhookSink, status: &str) {
    let found = wait_until(PATIENCE, || {
        sink.received().into_iter().find(|(path, body)| {
            path == "/hook"
                && body["alerts"].as_array().into_iter().flatten().any(|a| {
                    a["labels"]["alertname"] == "PsiFieldPodDrift" && a["status"] == status
                })
        })
    });
    assert!(
        found.is_some(),
        "PsiFieldPodDrift was never delivered as {status}: {:?}",
        sink.received()
    );
}

fn hours_are_sealed(server: &Server) {
    let head = server.eventually("/obs/ledger", "sealed hours", |v| {
        ["metrics", "logs", "traces"].iter().all(|s| v["sealed_hours"][s].as_u64() > Some(0))
    });
    for kind in ["obs_metric_snapshot", "obs_log_batch"] {
        assert!(head["receipts_by_type"][kind].as_u64() > Some(0), "{kind}: {head}");
    }
    let text = server.verb_ok(&["query", "--type", "metric_snapshot", "--format", "jsonl"]);
    let receipt: Value = serde_json::from_str(text.lines().next().unwrap_or_default()).unwrap();
    for field in [
        "snapshot_id",
        "period",
        "nodes_reporting",
        "metrics_collected",
        "aggregates",
        "storage_path",
        "content_hash",
        "tags",
        "root_hash",
    ] {
        assert!(receipt.get(field).is_some(), "{field} is missing in {receipt}");
    }
    // The sealed files alone give an objective the same events as the engines.
    let slo = server.eventually("/obs/slos/slo:treaty-fill-rate/recompute", "recomputed", |v| {
        v["window"].is_object() && v["sealed"]["total"].as_f64() > Some(0.0)
    });
    for part in ["good", "total"] {
        let of = |side: &str| slo[side][part].as_f64().unwrap();
        let (engine, sealed) = (of("engine"), of("sealed"));
        assert!((engine - sealed).abs() <= 1e-9 * engine.max(1.0), "{slo:#}");
    }
}
