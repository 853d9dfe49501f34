//! What `metrics:` of the configuration does, and copies of the store.

use obs_testkit::remote_write;
use serde_json::Value;

use crate::support::{Server, counter, now_ms};

fn write(server: &Server, name: &str, labels: &[(&str, &str)], t: i64, v: f64) -> (u16, String) {
    let named = [("__name__", name)];
    let labels = named.iter().chain(labels);
    let labels = labels.map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
    let body = remote_write(&[(labels, vec![(t, v)])]);
    let reply = server.client().remote_write("/api/v1/write", &body).unwrap();
    (reply.status, reply.text())
}

/// Labels and values of an instant query.
fn query(server: &Server, text: &str) -> Vec<(Value, String)> {
    let reply = server.client().query("/api/v1/query", &[("query", text)]).unwrap();
    let json = reply.json();
    let result = json["data"]["result"].as_array().unwrap_or_else(|| panic!("{json}"));
    let value = |r: &Value| r["value"][1].as_str().unwrap().to_owned();
    result.iter().map(|r| (r["metric"].clone(), value(r))).collect()
}

const CONFIG: &str = r#"
admin_api: true
host_metrics: off
enable_features: [use-start-timestamps, promql-experimental-functions]
metrics:
  series_limits: [{label: tenant, series_max: 2}, {label: tenant, value: large, series_max: 3}]
  dedup: {replica_labels: [replica], interval: 30s}
  stream_aggregation:
  - {match: ['{job="web"}'], interval: 1s, by: [job], outputs: [sum_samples, count_series], keep_input: false}
"#;

#[test]
fn limits_replicas_streams_and_copies() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("vm-obs.yaml");
    std::fs::write(&config, CONFIG).unwrap();
    let config = config.display().to_string();
    let mut server = Server::start(&folder.path().join("data"), &["--config", &config]);
    let now = now_ms();

    // A tenant's limit refuses what is new, says so, and leaves the rest alone.
    for (tenant, most) in [("small", 2), ("large", 3)] {
        for i in 0..5 {
            let i = i.to_string();
            let (status, text) =
                write(&server, "limited", &[("i", &i), ("tenant", tenant)], now, 1.0);
            let fits = i.parse::<i32>().unwrap() < most;
            assert_eq!((200..300).contains(&status), fits, "{tenant} {i}: {status} {text}");
            let reason = format!("{most} series are the limit for this tenant");
            assert!(fits || text.contains(&reason), "{text}");
        }
    }
    assert_eq!(query(&server, "count(limited)")[0].1, "5");
    let labels = ["reason=\"cardinality_limit\"", "signal=\"metrics\""];
    assert_eq!(counter(&mut server.client(), "vmobs_engine_rejected_total", &labels), 5.0);

    // Of two senders one is stored, under neither's name.
    for (replica, t, v) in
        [("a", now - 60_000, 1.0), ("b", now - 59_000, 2.0), ("b", now - 20_000, 3.0)]
    {
        let (status, text) = write(&server, "pair", &[("replica", replica)], t, v);
        assert!((200..300).contains(&status), "{text}");
    }
    let pair = query(&server, "count_over_time(pair[5m])");
    assert_eq!((pair.len(), pair[0].1.as_str()), (1, "2"));
    assert!(pair[0].0.get("replica").is_none());
    assert_eq!(counter(&mut server.client(), "vmobs_deduplicated_samples_total", &[]), 1.0);

    // Samples become an aggregate and are not stored themselves.
    for i in ["1", "2"] {
        let (status, text) = write(&server, "hits", &[("i", i), ("job", "web")], now_ms(), 4.0);
        assert!((200..300).contains(&status), "{text}");
    }
    let path = "/api/v1/query?query=sum(sum_over_time(hits:1s_by_job_sum_samples%5B5m%5D))";
    server.eventually(path, "the aggregate", |j| j["data"]["result"][0]["value"][1] == "8");
    assert!(query(&server, "hits").is_empty());

    // Since when a counter counts is stored with it.
    let nanos = |ms: i64| (ms * 1_000_000).to_string();
    let point = serde_json::json!({
        "startTimeUnixNano": nanos(now - 90_000), "timeUnixNano": nanos(now), "asInt": "7",
    });
    let counter_of = serde_json::json!({"resourceMetrics": [{"scopeMetrics": [{"metrics": [{
        "name": "begun",
        "sum": {"aggregationTemporality": 2, "isMonotonic": true, "dataPoints": [point]},
    }]}]}]});
    let reply = server.otlp().post_json("/v1/metrics", &counter_of).unwrap();
    assert_eq!(reply.status, 200, "{}", reply.text());
    let begun = |server: &Server| query(server, "start_timestamp(begun_total)")[0].1.clone();
    assert_eq!(begun(&server), ((now - 90_000) as f64 / 1_000.0).to_string());
    let features = server.client().get("/api/v1/features").unwrap().json();
    assert_eq!(features["data"]["tsdb"]["st_storage"], true);

    // Which metrics nobody asks for.
    let unused = server.verb_ok(&["metrics", "cardinality", "--unused"]);
    assert!(unused.contains("vmobs_") && unused.contains("never"), "{unused}");
    assert!(!unused.contains("limited") && !unused.contains("pair"), "{unused}");

    // Deleted samples leave at once; a copy starts a server of its own.
    let mut client = server.client();
    let path = "/api/v1/admin/tsdb/delete_series?match[]=limited%7Btenant%3D%22small%22%7D";
    assert_eq!(client.post(path, "text/plain", b"").unwrap().status, 204);
    let path = "/api/v1/admin/tsdb/clean_tombstones";
    assert_eq!(client.post(path, "text/plain", b"").unwrap().status, 204);
    let taken = client.post("/api/v1/admin/tsdb/snapshot", "text/plain", b"").unwrap();
    assert_eq!(taken.status, 200, "{}", taken.text());
    let name = taken.json()["data"]["name"].as_str().unwrap().to_owned();
    write(&server, "later", &[], now_ms(), 1.0);
    let copy = folder.path().join("data/snapshots").join(&name);
    let mut other = Server::start(&copy, &["--config", &config]);
    assert_eq!(query(&other, "count(limited)")[0].1, "3");
    assert!(query(&other, "later").is_empty());
    assert_eq!(begun(&other), begun(&server));
    assert_eq!(query(&server, "count(later)")[0].1, "1");
    other.stop();
    server.stop();
}
