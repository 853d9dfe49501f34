use std::io::Read as _;

use serde_json::json;

use crate::server::{NOW, SHARED, Server};

#[test]
fn large_answers_are_compressed_where_the_client_takes_it() {
    let target = "/obs/openapi.json";
    let plain = SHARED.get(target);
    assert_eq!(plain.header("content-encoding"), None);
    assert_eq!(plain.header("vary").as_deref(), Some("accept-encoding"));
    let packed = SHARED.request("GET", target, &[("Accept-Encoding", "gzip, br")], b"");
    assert_eq!(packed.header("content-encoding").as_deref(), Some("gzip"));
    assert!(packed.body.len() * 3 < plain.body.len(), "{} bytes", packed.body.len());
    let mut text = Vec::new();
    flate2::read::GzDecoder::new(packed.body.as_slice()).read_to_end(&mut text).unwrap();
    assert_eq!(text, plain.body);
    let small = SHARED.request("GET", "/-/ready", &[("Accept-Encoding", "gzip")], b"");
    assert_eq!(small.header("content-encoding"), None);
}

#[test]
fn zstd_where_the_client_prefers_it() {
    let target = "/obs/openapi.json";
    let packed = SHARED.request("GET", target, &[("Accept-Encoding", "gzip, zstd")], b"");
    assert_eq!(packed.header("content-encoding").as_deref(), Some("zstd"));
    assert_eq!(zstd::decode_all(packed.body.as_slice()).unwrap(), SHARED.get(target).body);
}

#[test]
fn every_answer_tells_the_servers_time() {
    for target in ["/-/healthy", "/api/v1/query?query=up", "/obs/health", "/no-such"] {
        let told = SHARED.get(target).header("x-vmobs-time-ms");
        assert_eq!(told, Some(NOW.0.to_string()), "{target}");
    }
}

#[test]
fn what_is_not_healthy_is_notified_and_over_again() {
    let server = Server::start();
    assert_eq!(server.ok("/api/v1/notifications")["data"], json!([]));
    let mut live = server.listen("/api/v1/notifications/live");
    server
        .state
        .registry
        .counter("vmobs_ingest_batches_refused_total", "refused", &[("signal", "metrics")])
        .inc();
    let told = server.ok("/api/v1/notifications")["data"].clone();
    assert_eq!(told[0]["active"], true);
    assert_eq!(told[0]["date"], "2025-12-06T14:30:00Z");
    assert!(told[0]["text"].as_str().unwrap().starts_with("ingest: "), "{told}");
    let event = live.event();
    assert_eq!(event, told[0]);
    server.clock.advance(std::time::Duration::from_secs(301));
    assert_eq!(live.event()["active"], false);
    assert_eq!(server.ok("/api/v1/notifications")["data"], json!([]));
}

#[test]
fn health_is_degraded_with_a_reason_and_recovers() {
    let server = Server::start();
    let refused = server.state.registry.counter(
        "vmobs_ingest_batches_refused_total",
        "refused",
        &[("signal", "metrics")],
    );
    let health = server.ok("/obs/health");
    assert_eq!(health["status"], "healthy", "{health}");
    assert_eq!(health["uptime_seconds"], 3600.0);
    assert_eq!(health["packs"][0], "host");
    refused.inc();
    let health = server.ok("/obs/health");
    assert_eq!(health["status"], "degraded");
    let ingest = health["components"]
        .as_array()
        .unwrap()
        .iter()
        .find(|c| c["name"] == "ingest")
        .unwrap()
        .clone();
    assert!(ingest["detail"].as_str().unwrap().contains("refused"), "{ingest}");
    assert_eq!(server.get("/health").status, 200, "degraded still serves");
    server.clock.advance(std::time::Duration::from_secs(301));
    assert_eq!(server.ok("/obs/health")["status"], "healthy");
}

#[test]
fn an_alert_receipt_that_is_owed_shows_in_health() {
    let server = Server::start();
    server.cpu(99.0);
    server.disk.set_budget(Some(server.disk.used_bytes()));
    server.step();
    let health = server.ok("/obs/health");
    assert_eq!(health["status"], "degraded");
    assert!(health.to_string().contains("alert receipts"), "{health}");
    assert_eq!(health["alerts"]["firing"], 1);
    server.disk.set_budget(None);
    server.clock.advance(std::time::Duration::from_secs(60));
    server.step();
    assert!(!server.ok("/obs/health").to_string().contains("alert receipts"));
}

#[test]
fn probes_own_metrics_and_the_page() {
    assert_eq!(SHARED.get("/-/healthy").status, 200);
    assert_eq!(SHARED.get("/-/ready").text(), "ready\n");
    let metrics = SHARED.get("/metrics");
    assert!(metrics.header("content-type").unwrap().starts_with("text/plain; version=0.0.4"));
    let page = SHARED.request("GET", "/alerts", &[("Accept", "text/html")], b"");
    assert_eq!(page.status, 200);
    assert!(page.header("content-security-policy").unwrap().contains("default-src 'self'"));
    let other = SHARED.request("GET", "/no-such", &[("Accept", "application/json")], b"");
    assert_eq!(other.status, 404);
    assert_eq!(SHARED.get("/portal/no-such.js").status, 404);
}
