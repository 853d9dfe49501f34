//! The native routes, with ENGINE's JSON.

use serde_json::{Value, json};

use crate::server::{SHARED, Server, TRACE};

fn keys(value: &Value) -> Vec<&str> {
    let mut names: Vec<&str> = value.as_object().unwrap().keys().map(String::as_str).collect();
    names.sort_unstable();
    names
}

#[test]
fn metrics_as_engine_2_1() {
    let body = SHARED.ok("/obs/metrics?node=brick-01");
    assert_eq!(
        body["metrics"],
        json!([{
            "metric_id": "metric:brick-01:cpu:2025-12-06T14:30:00Z",
            "node": "did:vm:node:brick-01",
            "timestamp": "2025-12-06T14:30:00Z",
            "metrics": {"cpu_percent": 23.5, "memory_percent": 67.2, "goroutines": 156.0},
            "labels": {"environment": "production", "region": "eu-west", "service": "guardian"},
            "collection_method": "prometheus_scrape",
            "scrape_duration_ms": null,
        }])
    );
    let query =
        SHARED.ok("/obs/metrics?node=did:vm:node:brick-01&metric=cpu_percent&last=2m&step=1m");
    let series = &query["series"][0];
    assert_eq!(series["metric"], "cpu_percent");
    assert_eq!(series["node"], "did:vm:node:brick-01");
    assert_eq!(series["unit"], "percent");
    assert_eq!(series["points"][2], json!(["2025-12-06T14:30:00Z", 23.5]));
    let short = SHARED.ok("/obs/metrics?query=cpu_percent%20%3E%2080%20for%205m&last=5m");
    assert!(short["shorthand"].is_string());
    assert!(short["query"].as_str().unwrap().contains("cpu_percent"));
    let explained = SHARED.ok("/obs/metrics/explain?query=sum(up)&last=2m&step=1m");
    assert_eq!(explained["explanation"]["node"], "aggregation", "{explained}");
    assert_eq!(explained["explanation"]["children"][0]["selector"]["series"], explained["series"]);
    assert!(explained["series"].as_u64() > Some(0), "{explained}");
    assert_eq!(SHARED.get("/obs/metrics/explain?query=sum(").status, 400);
    assert_eq!(SHARED.get("/obs/metrics/explain").status, 400);
    assert_eq!(SHARED.get("/obs/metrics?category=none").status, 400);
    let names = SHARED.ok("/obs/metrics/names?category=system");
    assert!(names.to_string().contains("\"cpu_percent\""), "{names}");
}

#[test]
fn logs_as_engine_2_2() {
    let body = SHARED.ok("/obs/logs?service=guardian&level=info&last=1h");
    let log = &body["logs"][1];
    assert_eq!(log["timestamp"], "2025-12-06T14:29:00.000000123Z");
    assert_eq!(log["log_id"], "log:guardian:2025-12-06T14:29:00.000000123Z");
    assert_eq!(log["level"], "info");
    assert_eq!(log["service"], "guardian");
    assert_eq!(log["node"], "did:vm:node:brick-01");
    assert_eq!(log["message"], "Anchor cycle completed successfully");
    assert!(log["trace_id"].as_str().unwrap().contains(TRACE), "{log}");
    for field in ["attributes", "span_id"] {
        assert!(!log[field].is_null(), "{field}: {log}");
    }
    assert_eq!(body["truncated"], false);
    let errors = SHARED.ok("/obs/logs?level=error");
    assert_eq!(errors["logs"].as_array().unwrap().len(), 1);
    let limited = SHARED.ok("/obs/logs?limit=1");
    assert_eq!(
        (limited["logs"].as_array().unwrap().len(), &limited["truncated"]),
        (1, &json!(true))
    );
    let of_trace = SHARED.ok(&format!("/obs/logs?trace_id=trace-{TRACE}"));
    assert_eq!(of_trace["logs"].as_array().unwrap().len(), 1);
    for (target, part) in [
        ("level=loud", "loud"),
        ("direction=up", "direction"),
        ("query=%7B", "parse error"),
        ("from=2025-12-07&to=2025-12-06", "before it starts"),
        ("limit=0", "limit"),
    ] {
        let answer = SHARED.get(&format!("/obs/logs?{target}"));
        assert_eq!(answer.status, 400, "{target}");
        let error = answer.json()["error"].clone();
        assert_eq!(error["kind"], "invalid_input");
        assert!(error["message"].as_str().unwrap().contains(part), "{error}");
    }
}

#[test]
fn traces_as_engine_2_3() {
    let list = SHARED.ok("/obs/traces?service=portal&duration=%3E1s");
    let found = &list["traces"][0];
    assert_eq!(found["trace_id"], TRACE, "{list}");
    assert_eq!(found["name"], "http_request");
    assert_eq!(found["duration_ms"], 2340);
    assert_eq!(found["span_count"], 3);
    assert_eq!(found["error_count"], 1);
    let trace = SHARED.ok(&format!("/obs/traces/trace-{TRACE}"));
    assert_eq!(trace["start_time"], "2025-12-06T14:28:00Z");
    assert_eq!(trace["end_time"], "2025-12-06T14:28:02.340Z");
    assert_eq!(trace["status"], "error");
    assert!(trace["tags"].is_array());
    let span = &trace["spans"][1];
    assert_eq!(span["parent_span_id"], trace["spans"][0]["span_id"]);
    assert!(trace["spans"][0]["parent_span_id"].is_null());
    assert_eq!(span["name"], "validate_settlement");
    assert_eq!(span["service"], "treasury-engine");
    assert_eq!(span["node"], "did:vm:node:brick-01");
    assert_eq!(span["duration_ms"], 150);
    assert_eq!(span["attributes"]["http.status_code"], 200);
    let analysis = SHARED.ok(&format!("/obs/traces/{TRACE}/analysis"));
    assert_eq!(analysis["bottleneck"]["name"], "anchor_request", "{analysis}");
    assert_eq!(analysis["bottleneck"]["self_time_ms"], 2000.0);
    assert_eq!(SHARED.get("/obs/traces/abc").status, 404);
    assert_eq!(SHARED.get("/obs/traces/nonsense").status, 400);
    assert_eq!(SHARED.get("/obs/traces?duration=~1s").status, 400);
}

#[test]
fn alerts_acks_and_silences_as_engine_2_4_and_3_2() {
    let server = Server::start();
    server.cpu(87.3);
    server.step();
    let alerts = server.ok("/obs/alerts?status=firing");
    let alert = &alerts["alerts"][0];
    assert_eq!(alerts["alerts"].as_array().unwrap().len(), 1);
    let id = "alert-2025-12-06-001";
    assert_eq!(alert["alert_id"], id);
    assert_eq!(alert["name"], "HighCPUUsage");
    assert_eq!(alert["severity"], "warning");
    assert_eq!(alert["status"], "firing");
    assert_eq!(alert["fired_at"], "2025-12-06T14:30:00Z");
    assert_eq!(alert["node"], "did:vm:node:brick-02");
    assert_eq!(alert["rule"]["threshold"], 80);
    assert_eq!(alert["current_value"], 87.3);
    assert_eq!(alert["labels"], json!({"region": "eu-west"}));
    assert_eq!(alert["annotations"]["summary"], "CPU usage above 80%");
    assert_eq!(alert["acknowledged"], Value::Null);
    assert_eq!(server.ok("/obs/alerts?status=pending")["alerts"].as_array().unwrap().len(), 1);
    assert_eq!(server.ok("/obs/alerts?node=brick-02")["alerts"][0]["alert_id"], id);
    assert_eq!(server.get("/obs/alerts?status=odd").status, 400);
    assert_eq!(server.ok(&format!("/obs/alerts/{id}"))["alert_id"], id);
    assert_eq!(server.get("/obs/alerts/none").status, 404);

    let ack = server.post(
        &format!("/obs/alerts/{id}/ack"),
        &json!({"comment": "investigating", "follow_up_required": true,
            "follow_up_deadline": "2025-12-06T16:00:00Z", "escalation_suppressed": true}),
    );
    assert_eq!(
        ack.json(),
        json!({
            "operation_id": "obs-op-2025-12-06-001",
            "operation_type": "alert_acknowledge",
            "alert_id": id,
            "acknowledged_by": "did:vm:user:sovereign",
            "acknowledged_at": "2025-12-06T14:30:00Z",
            "comment": "investigating",
            "escalation_suppressed": true,
            "follow_up_required": true,
            "follow_up_deadline": "2025-12-06T16:00:00Z",
            "receipt_seq": 1,
        })
    );
    assert_eq!(server.post("/obs/alerts/none/ack", &json!({})).status, 404);
    assert_eq!(server.post(&format!("/obs/alerts/{id}/ack"), &json!([1])).status, 400);
    assert_eq!(server.post(&format!("/obs/alerts/{id}/ack"), &json!({"comment": 1})).status, 400);

    let silence = server
        .post(
            "/obs/alerts/silence",
            &json!({"node": "brick-02", "duration": "1h", "reason": "maintenance"}),
        )
        .json();
    assert_eq!(silence["silence"]["status"], "active");
    assert_eq!(silence["silence"]["ends_at"], "2025-12-06T15:30:00Z");
    assert_eq!(silence["receipt_seq"], 2);
    assert_eq!(server.ok(&format!("/obs/alerts/{id}"))["silenced"], true);
    assert_eq!(server.post("/obs/alerts/silence", &json!({"node": "x"})).status, 400);
    assert_eq!(server.post("/obs/alerts/silence", &json!({"duration": "1h"})).status, 400);
    let silence_id = server.ok("/obs/silences")["silences"][0]["id"].as_str().unwrap().to_owned();
    let ended = server.request("DELETE", &format!("/obs/silences/{silence_id}"), &[], b"");
    assert_eq!(ended.json(), json!({"expired": true, "receipt_seq": 3}));
    assert_eq!(server.request("DELETE", "/obs/silences/none", &[], b"").status, 404);
}

#[test]
fn receipts_and_the_ledger() {
    let server = Server::start();
    server.cpu(87.3);
    server.step();
    let silence = json!({"node": "brick-02", "duration": "1h", "reason": "maintenance"});
    for _ in 0..2 {
        assert_eq!(server.post("/obs/alerts/silence", &silence).status, 200);
    }
    let fired = server.ok("/obs/receipts?type=alert_fired,alert_resolved&node=brick-02");
    assert_eq!(fired["total"], 1);
    let receipt = &fired["receipts"][0];
    for field in [
        "type",
        "alert_id",
        "timestamp",
        "name",
        "severity",
        "node",
        "rule_expression",
        "current_value",
        "threshold",
        "notifications_sent",
        "tags",
        "root_hash",
    ] {
        assert!(!receipt[field].is_null(), "{field}: {receipt}");
    }
    let filtered = server.ok("/obs/receipts?filter=severity%20%3D%3D%20%27warning%27");
    assert_eq!(filtered["total"], 1);
    let last = server.ok("/obs/receipts?limit=1");
    assert_eq!((&last["total"], &last["receipts"][0]["seq"]), (&json!(3), &json!(2)));
    let bad = server.get("/obs/receipts?filter=severity%20%3D%3D");
    assert_eq!(bad.status, 400);
    assert!(bad.json()["error"]["message"].as_str().unwrap().contains("column"));

    let head = server.ok("/obs/ledger");
    assert_eq!(head["size"], 3);
    assert_eq!(head["receipts_by_type"], json!({"obs_alert_fired": 1, "obs_silence": 2}));
    assert!(head["root_hash"].as_str().unwrap().starts_with("blake3:"));
    assert_eq!(server.post("/obs/alerts/silence", &silence).status, 200);
    assert_eq!(server.ok("/obs/ledger")["receipts_by_type"]["obs_silence"], 3, "counts go on");
    let note = server.get("/obs/ledger/checkpoint").text();
    assert!(note.starts_with("vm-obs.test/brick-01/observability\n4\n"), "{note}");
    let lines = server.get("/obs/ledger/receipts.jsonl?from=1&limit=2").text();
    assert_eq!(lines.lines().count(), 2);
    let proof = server.get("/obs/ledger/proof?seq=0");
    assert!(proof.text().starts_with("c2sp.org/tlog-proof"), "{}", proof.text());
    assert_eq!(server.get("/obs/ledger/proof?seq=9").status, 404);
    assert_eq!(server.get("/obs/ledger/proof?seq=x").status, 400);
    let verified = server.request("POST", "/obs/ledger/verify", &[], b"");
    assert_eq!(verified.json()["exit_code"], 0);
}

#[test]
fn tiles_proofs_and_cosignatures() {
    let server = Server::start();
    let silence = json!({"node": "brick-02", "duration": "1h", "reason": "maintenance"});
    for _ in 0..3 {
        assert_eq!(server.post("/obs/alerts/silence", &silence).status, 200);
    }
    let ledger = &server.state.ledger;
    let tile = server.get("/obs/ledger/tile/0/000.p/3");
    assert_eq!((tile.status, tile.body.len()), (200, 3 * 32));
    let entries = server.get("/obs/ledger/tile/entries/000.p/2");
    let lines = obs_proof::tile::read_entries(&entries.body).unwrap();
    assert_eq!(lines[1], ledger.line(1).unwrap().as_bytes());
    for missing in ["0/000", "0/000.p/4", "1/000.p/1", "entries/000.p/4", "0/0", "x", "0/..%2f"] {
        assert_eq!(server.get(&format!("/obs/ledger/tile/{missing}")).status, 404, "{missing}");
    }

    let receipt = server.get("/obs/proof/receipt?seq=1").text();
    let proof = obs_proof::vmproof::VmProof::parse(&receipt).unwrap();
    assert_eq!(proof.receipt, ledger.line(1).unwrap());
    for (path, status) in [
        ("receipt?seq=9", 404),
        ("receipt?seq=x", 400),
        ("log?time=2025-12-06T14:20:00Z", 404),
        ("log", 400),
        ("log?time=yesterday", 400),
        ("log?time=now&query=%7Bx", 400),
        ("sample?time=now", 400),
        ("sample?time=now&series=up", 404),
        ("span?trace=abc&span=xyz", 400),
        ("span?trace=abc&span=def", 404),
    ] {
        assert_eq!(server.get(&format!("/obs/proof/{path}")).status, status, "{path}");
    }

    let ask = |old: u64| {
        let request = ledger.witness_request(&ledger.head().checkpoint, old).unwrap();
        let body = request.to_string();
        server.request("POST", "/obs/witness/add-checkpoint", &[], body.as_bytes())
    };
    assert_eq!(server.ok("/obs/ledger")["witnessed"], false);
    let cosigned = ask(0);
    assert_eq!(cosigned.status, 200);
    assert!(cosigned.text().starts_with("— vm-obs.test/brick-01/witness "), "{}", cosigned.text());
    let conflict = ask(0);
    assert_eq!((conflict.status, conflict.text()), (409, "3\n".to_owned()));
    assert_eq!(conflict.header("content-type").as_deref(), Some("text/x.tlog.size"));
    let bad = server.request("POST", "/obs/witness/add-checkpoint", &[], b"old 0\n\nnonsense");
    assert_eq!(bad.status, 400);
    let origin = obs_proof::hash::sha256_of(b"vm-obs.test/brick-01/observability");
    let path = format!("/obs/witness/{}/checkpoint", obs_proof::hash::to_hex(&origin));
    assert!(server.get(&path).text().contains("\n3\n"));
    assert_eq!(server.get("/obs/witness/00/checkpoint").status, 404);

    let mut note = obs_proof::note::Note::parse(ledger.head().checkpoint.as_bytes()).unwrap();
    let vkey = server.ok("/obs/ledger")["witness_vkey"].as_str().unwrap().to_owned();
    let key = obs_proof::note::VerifierKey::parse(&vkey).unwrap();
    let line = obs_proof::witness::cosignature_in(&cosigned.text(), &note.text, &key).unwrap();
    note.signatures.push(line);
    ledger.store_cosigned(&note, &[&key]).unwrap();
    let head = server.ok("/obs/ledger");
    assert_eq!((&head["witnessed"], &head["cosigned"]["size"]), (&json!(true), &json!(3)));
    assert!(server.get("/obs/ledger/checkpoint").text().contains("brick-01/witness"));

    let anchors = server.ok("/obs/anchors");
    assert_eq!((&anchors["enabled"], &anchors["queue_depth"]), (&json!(true), &json!(3)));
    server.state.anchors.as_ref().unwrap().tick().unwrap();
    let anchors = server.ok("/obs/anchors");
    assert_eq!((&anchors["queue_depth"], &anchors["backoff_level"]), (&json!(0), &json!(0)));
    assert_eq!(anchors["anchors"][0]["anchored"], 3);
    let health = server.ok("/obs/health");
    let parts = health["components"].as_array().unwrap();
    let anchors = parts.iter().find(|c| c["name"] == "anchors").unwrap();
    assert_eq!(anchors["status"], "healthy");
}

#[test]
fn slos_as_engine_2_5_and_3_2() {
    let server = Server::start();
    let slo = json!({
        "id": "slo:up", "name": "Up", "description": "targets answer",
        "indicator": {"type": "availability", "good_query": "up == 1", "total_query": "count(up)"},
        "target": 0.999, "window": "30d",
    });
    let made = server.post("/obs/slos", &json!({"slo": slo})).json();
    assert_eq!(made["operation_type"], "slo_create");
    assert_eq!(made["slo"], slo);
    assert_eq!(made["initiated_by"], "did:vm:user:sovereign");
    assert_eq!(made["receipt_seq"], 0);
    let one = server.ok("/obs/slos/slo:up");
    for field in
        ["slo_id", "name", "description", "target", "window", "status", "error_budget", "trend"]
    {
        assert!(!one[field].is_null(), "{field}: {one}");
    }
    assert!(keys(&one).contains(&"achieved"));
    assert_eq!(server.ok("/obs/slos")["slos"].as_array().unwrap().len(), 1);
    let report = server.ok("/obs/slos/up/report?period=10m");
    assert_eq!(report["slo_id"], "slo:up");
    assert!(report["report_period"]["start"].is_string(), "{report}");
    assert_eq!(server.get("/obs/slos/none").status, 404);
    assert_eq!(server.get("/obs/slos/none/report?period=1h").status, 404);
    assert_eq!(server.get("/obs/slos/up/report?period=x").status, 400);
    assert_eq!(server.post("/obs/slos", &json!({"slo": {"id": "x"}})).status, 400);
}

#[test]
fn correlation_anomalies_targets_dashboards_and_the_demo() {
    let line = SHARED.ok("/obs/correlate?timestamp=2025-12-06T14:30:00Z&window=5m");
    assert!(line["text"].as_str().unwrap().contains("[log] guardian"), "{line}");
    assert_eq!(SHARED.get("/obs/correlate?window=0s").status, 400);
    assert_eq!(SHARED.get("/obs/correlate?window=25h").status, 400);
    assert_eq!(SHARED.ok("/obs/anomalies")["anomalies"], json!([]));
    assert_eq!(SHARED.ok("/obs/targets")["targets"], json!([]));
    assert_eq!(SHARED.ok("/obs/dashboards")["dashboards"], json!([]));
    assert_eq!(SHARED.get("/obs/dashboards/none").status, 404);
    assert_eq!(SHARED.ok("/obs/demo"), json!({"enabled": false, "faults": []}));
    assert_eq!(SHARED.request("POST", "/obs/demo/heal", &[], b"").status, 404);
    assert_eq!(SHARED.get("/obs/none").json()["error"]["kind"], "not_found");
    assert_eq!(SHARED.ok("/obs/openapi.json")["openapi"], "3.1.0");
}
