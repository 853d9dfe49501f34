use serde_json::json;

use crate::server::{NOW, SHARED, TRACE};

#[test]
fn services_and_operations() {
    let services = SHARED.ok("/jaeger/api/services");
    assert_eq!(services["data"], json!(["guardian", "portal", "treasury-engine"]));
    assert_eq!(services["total"], 3);
    let operations = SHARED.ok("/jaeger/api/services/portal/operations");
    assert_eq!(operations["data"], json!(["http_request"]));
}

#[test]
fn a_trace_has_processes_references_and_microseconds() {
    let body = SHARED.ok(&format!("/jaeger/api/traces/{TRACE}"));
    let trace = &body["data"][0];
    assert_eq!(trace["traceID"], TRACE);
    let root = &trace["spans"][0];
    assert_eq!(root["operationName"], "http_request");
    assert_eq!(root["startTime"], (NOW.0 - 120_000) * 1_000);
    assert_eq!(root["duration"], 2_340_000);
    assert_eq!(root["references"], json!([]));
    let process = root["processID"].as_str().unwrap();
    assert_eq!(trace["processes"][process]["serviceName"], "portal");
    assert_eq!(
        trace["processes"][process]["tags"],
        json!([{"key": "node", "type": "string", "value": "brick-01"}])
    );
    let failed = &trace["spans"][2];
    assert_eq!(
        failed["references"],
        json!([{"refType": "CHILD_OF", "traceID": TRACE, "spanID": "0000000000000001"}])
    );
    let tags = failed["tags"].as_array().unwrap();
    for tag in [
        json!({"key": "http.status_code", "type": "int64", "value": 200}),
        json!({"key": "error", "type": "bool", "value": true}),
        json!({"key": "span.kind", "type": "string", "value": "internal"}),
    ] {
        assert!(tags.contains(&tag), "{tag} in {failed}");
    }
}

#[test]
fn search_by_service_operation_tags_and_duration() {
    let found = |rest: &str| {
        let target = format!("/jaeger/api/traces?{rest}");
        SHARED.ok(&target)["data"].as_array().unwrap().len()
    };
    assert_eq!(found("service=portal"), 1);
    assert_eq!(found("service=portal&operation=other"), 0);
    assert_eq!(found("service=guardian&tags=%7B%22error%22%3A%22true%22%7D"), 1);
    assert_eq!(found("service=portal&tags=%7B%22error%22%3A%22true%22%7D"), 0, "another span");
    assert_eq!(found("service=portal&tag=http.status_code:200&minDuration=2s&maxDuration=3s"), 1);
    assert_eq!(found("service=portal&minDuration=3s"), 0);
    let before = (NOW.0 - 600_000) * 1_000;
    assert_eq!(found(&format!("service=portal&start=0&end={before}")), 0);
    assert_eq!(found(&format!("traceID={TRACE}&traceID=abc")), 1);
}

#[test]
fn dependencies_and_errors() {
    let body = SHARED.ok(&format!("/jaeger/api/dependencies?endTs={}&lookback=3600000", NOW.0));
    assert_eq!(
        body["data"],
        json!([
            {"parent": "portal", "child": "guardian", "callCount": 1},
            {"parent": "portal", "child": "treasury-engine", "callCount": 1},
        ])
    );
    for (target, status) in [
        ("traces", 400),
        ("traces?service=a&tags=x", 400),
        ("traces?service=a&start=x", 400),
        ("traces?service=a&minDuration=x", 400),
        ("traces/abc", 404),
        ("traces/nonsense", 400),
        ("none", 404),
    ] {
        let answer = SHARED.get(&format!("/jaeger/api/{target}"));
        assert_eq!(answer.status, status, "{target}");
        let body = answer.json();
        assert_eq!(body["errors"][0]["code"], status);
        assert!(!body["errors"][0]["msg"].as_str().unwrap().is_empty());
    }
}
