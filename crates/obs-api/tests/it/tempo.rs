use serde_json::json;

use crate::server::{NOW, NOW_S, SHARED, TRACE};

fn window() -> String {
    format!("start={}&end={NOW_S}", NOW_S - 600)
}

#[test]
fn it_is_alive() {
    let echo = SHARED.get("/tempo/api/echo");
    assert_eq!((echo.status, echo.text().as_str()), (200, "echo"));
    assert!(SHARED.ok("/tempo/api/status/buildinfo")["version"].is_string());
}

#[test]
fn search_gives_matched_spans_and_service_stats() {
    let body =
        SHARED.ok(&format!("/tempo/api/search?q=%7Bstatus%3Derror%7D&limit=5&spss=2&{}", window()));
    let trace = &body["traces"][0];
    assert_eq!(trace["traceID"], TRACE);
    assert_eq!(trace["rootServiceName"], "portal");
    assert_eq!(trace["rootTraceName"], "http_request");
    assert_eq!(trace["startTimeUnixNano"], (NOW.0 - 120_000).to_string() + "000000");
    assert_eq!(trace["durationMs"], 2340);
    let set = &trace["spanSets"][0];
    assert_eq!(set["matched"], 1);
    assert_eq!(set["spans"][0]["spanID"], "0000000000000003");
    assert_eq!(set["spans"][0]["durationNanos"], "2000000000");
    assert_eq!(trace["serviceStats"]["guardian"], json!({"spanCount": 1, "errorCount": 1}));
    let none = SHARED.ok(&format!("/tempo/api/search?q=%7Bname%3D%22nothing%22%7D&{}", window()));
    assert_eq!(none["traces"], json!([]));
    let legacy = SHARED
        .ok(&format!("/tempo/api/search?tags=service.name%3Dportal&minDuration=1s&{}", window()));
    assert_eq!(legacy["traces"][0]["traceID"], TRACE);
}

#[test]
fn a_trace_by_id_in_both_versions_and_encodings() {
    let spans = |value: &serde_json::Value| {
        value
            .as_array()
            .unwrap()
            .iter()
            .flat_map(|r| r["scopeSpans"].as_array().unwrap())
            .map(|s| s["spans"].as_array().unwrap().len())
            .sum::<usize>()
    };
    let v1 = SHARED.ok(&format!("/tempo/api/traces/{TRACE}"));
    assert_eq!(spans(&v1["batches"]), 3);
    let v2 = SHARED.ok(&format!("/tempo/api/v2/traces/{TRACE}"));
    assert_eq!(spans(&v2["trace"]["resourceSpans"]), 3);
    let accept = [("Accept", "application/protobuf")];
    for version in ["", "v2/"] {
        let target = format!("/tempo/api/{version}traces/{TRACE}");
        let answer = SHARED.request("GET", &target, &accept, b"");
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("content-type").as_deref(), Some("application/protobuf"));
        let name = b"validate_settlement";
        assert!(answer.body.windows(name.len()).any(|w| w == name));
    }
    assert_eq!(SHARED.get("/tempo/api/traces/abc").status, 404);
    assert_eq!(SHARED.get("/tempo/api/v2/traces/not-hex").status, 400);
}

#[test]
fn tags_by_scope() {
    let w = window();
    let v1 = SHARED.ok(&format!("/tempo/api/search/tags?{w}"));
    assert_eq!(v1["tagNames"], json!(["http.method", "http.status_code", "node", "service.name"]));
    let v2 = SHARED.ok(&format!("/tempo/api/v2/search/tags?{w}"));
    let scope = |name: &str| {
        let all = v2["scopes"].as_array().unwrap();
        all.iter().find(|s| s["name"] == name).unwrap()["tags"].clone()
    };
    assert_eq!(scope("resource"), json!(["node", "service.name"]));
    assert_eq!(scope("span"), json!(["http.method", "http.status_code"]));
    assert!(scope("intrinsic").as_array().unwrap().contains(&json!("duration")));
    let one = SHARED.ok(&format!("/tempo/api/v2/search/tags?scope=resource&{w}"));
    assert_eq!(one["scopes"].as_array().unwrap().len(), 1);
}

#[test]
fn tag_values_have_their_type() {
    let w = window();
    let values = |tag: &str| {
        SHARED.ok(&format!("/tempo/api/v2/search/tag/{tag}/values?{w}"))["tagValues"].clone()
    };
    let services = json!([
        {"type": "string", "value": "guardian"},
        {"type": "string", "value": "portal"},
        {"type": "string", "value": "treasury-engine"},
    ]);
    assert_eq!(values("resource.service.name"), services);
    // Grafana encodes the tag twice.
    assert_eq!(values("resource%252Eservice%252Ename"), services);
    assert_eq!(values(".http.status_code"), json!([{"type": "int", "value": "200"}]));
    let statuses = values("status");
    assert!(
        statuses.as_array().unwrap().contains(&json!({"type": "keyword", "value": "error"})),
        "{statuses}"
    );
    let kinds = values("kind");
    assert!(
        kinds.as_array().unwrap().contains(&json!({"type": "keyword", "value": "server"})),
        "{kinds}"
    );
    let v1 = SHARED.ok(&format!("/tempo/api/search/tag/service.name/values?{w}"));
    assert_eq!(v1["tagValues"], json!(["guardian", "portal", "treasury-engine"]));
    let filtered = SHARED.ok(&format!(
        "/tempo/api/v2/search/tag/resource.service.name/values?q=%7Bstatus%3Derror%7D&{w}"
    ));
    assert_eq!(filtered["tagValues"], json!([{"type": "string", "value": "guardian"}]));
}

#[test]
fn metrics_of_traces() {
    let body = SHARED.ok(&format!(
        "/tempo/api/metrics/query_range?q=%7B%7D%20%7C%20count_over_time()%20by(resource.service.name)&step=600s&{}",
        window()
    ));
    let series = body["series"].as_array().unwrap();
    assert_eq!(series.len(), 3, "{body}");
    let total: f64 = series
        .iter()
        .flat_map(|s| s["samples"].as_array().unwrap())
        .map(|s| s["value"].as_f64().unwrap())
        .sum();
    assert_eq!(total, 3.0, "{body}");
    assert_eq!(series[0]["labels"][0]["key"], "resource.service.name");
    assert!(series[0]["samples"][0]["timestampMs"].is_string());
    let instant = SHARED
        .ok(&format!("/tempo/api/metrics/query?q=%7B%7D%20%7C%20count_over_time()&{}", window()));
    assert_eq!(instant["series"][0]["value"], 3.0, "{instant}");
}

#[test]
fn errors_are_plain_text() {
    for target in
        ["search?q=%7B", "search?start=9&end=2", "metrics/query_range", "metrics/query?q=%7B%7D"]
    {
        let answer = SHARED.get(&format!("/tempo/api/{target}"));
        assert_eq!(answer.status, 400, "{target}: {}", answer.text());
        assert!(answer.header("content-type").unwrap().starts_with("text/plain"));
    }
}
