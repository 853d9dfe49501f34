use serde_json::json;

use crate::server::{NOW_S, SHARED};

const GUARDIAN: &str = "%7Bservice_name%3D%22guardian%22%7D";

fn window() -> String {
    format!("start={}000000000&end={}000000000", NOW_S - 600, NOW_S)
}

#[test]
fn streams_are_newest_first_with_nanoseconds_as_text() {
    let body = SHARED.ok(&format!("/loki/api/v1/query_range?query={GUARDIAN}&{}", window()));
    assert_eq!(body["status"], "success");
    let data = &body["data"];
    assert_eq!(data["resultType"], "streams");
    let mut values: Vec<(String, String)> = data["result"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|s| {
            assert_eq!(s["stream"]["service_name"], "guardian");
            s["values"].as_array().unwrap().clone()
        })
        .map(|v| (v[0].as_str().unwrap().to_owned(), v[1].as_str().unwrap().to_owned()))
        .collect();
    values.sort();
    assert_eq!(values.len(), 2);
    assert_eq!(values[0].0, format!("{}000000123", NOW_S - 60));
    assert_eq!(values[0].1, "Anchor cycle completed successfully");
    assert_eq!(data["stats"]["summary"]["totalEntriesReturned"], 2);
}

#[test]
fn categorized_labels_are_apart_from_the_stream() {
    let target = format!("/loki/api/v1/query_range?query={GUARDIAN}%20%7C%20json&{}", window());
    let flags = [("X-Loki-Response-Encoding-Flags", "categorize-labels")];
    let body = SHARED.request("GET", &target, &flags, b"").json();
    let data = &body["data"];
    assert_eq!(data["encodingFlags"], json!(["categorize-labels"]));
    assert_eq!(data["result"].as_array().unwrap().len(), 1, "{data}");
    let stream = &data["result"][0];
    assert_eq!(stream["stream"], json!({"node": "brick-01", "service_name": "guardian"}));
    let failed = &stream["values"][0];
    assert_eq!(failed[2]["parsed"]["msg"], "anchor failed");
    assert_eq!(failed[2]["structuredMetadata"]["detected_level"], "error");
}

#[test]
fn metric_queries_over_a_range_and_at_an_instant() {
    let rate = "sum(count_over_time(%7Bservice_name%3D~%22.%2B%22%7D%5B5m%5D))";
    let end = format!("{NOW_S}000000000");
    let body = SHARED
        .ok(&format!("/loki/api/v1/query_range?query={rate}&start={end}&end={end}&step=15000ms"));
    assert_eq!(body["data"]["resultType"], "matrix");
    assert_eq!(body["data"]["result"][0]["values"], json!([[NOW_S, "3"]]));
    let body = SHARED.ok(&format!("/loki/api/v1/query?query={rate}&time={end}"));
    assert_eq!(body["data"]["resultType"], "vector");
    assert_eq!(body["data"]["result"][0]["value"], json!([NOW_S, "3"]));
    let posted = SHARED.form("/loki/api/v1/query", &format!("query={rate}&time={end}"));
    assert_eq!(posted.json()["data"]["result"][0]["value"][1], "3");
}

/// What Grafana's data source asks first. Ten digits are seconds, as Loki reads them.
#[test]
fn the_health_query_answers_two() {
    let body = SHARED.ok("/loki/api/v1/query?query=vector(1)%2Bvector(1)&time=4000000000");
    assert_eq!(body["data"]["resultType"], "vector");
    assert_eq!(body["data"]["result"], json!([{"metric": {}, "value": [4_000_000_000_i64, "2"]}]));
}

#[test]
fn errors_are_plain_text() {
    for (target, status, part) in [
        ("query_range?query=%7B", 400, "parse error"),
        ("query_range", 400, "query"),
        ("query?query=%7Bservice_name%3D%22a%22%7D", 400, "log queries are not supported"),
        ("query_range?query=%7Ba%3D%22b%22%7D&direction=up", 400, "direction"),
        ("query_range?query=%7Ba%3D%22b%22%7D&start=9&end=2", 400, "before"),
        ("query_range?query=%7Ba%3D%22b%22%7D&step=0", 400, "step"),
        ("labels?query=%7B", 400, ""),
        ("tail?query=%7Ba%3D%22b%22%7D", 400, "socket"),
    ] {
        let answer = SHARED.get(&format!("/loki/api/v1/{target}"));
        assert_eq!(answer.status, status, "{target}: {}", answer.text());
        assert!(answer.text().contains(part), "{target}: {}", answer.text());
        assert!(answer.header("content-type").unwrap().starts_with("text/plain"));
    }
}

#[test]
fn labels_series_and_index() {
    let w = window();
    let data = |target: &str| SHARED.ok(&format!("/loki/api/v1/{target}"))["data"].clone();
    assert_eq!(data(&format!("labels?{w}")), json!(["node", "service_name"]));
    assert_eq!(data(&format!("label/service_name/values?{w}")), json!(["guardian", "treasury"]));
    assert_eq!(
        data(&format!("label/service_name/values?{w}&query={GUARDIAN}")),
        json!(["guardian"])
    );
    assert_eq!(
        data(&format!("series?{w}&match[]={GUARDIAN}")),
        json!([{"node": "brick-01", "service_name": "guardian"}])
    );
    let stats = SHARED.ok(&format!("/loki/api/v1/index/stats?{w}&query={GUARDIAN}"));
    assert_eq!((&stats["streams"], &stats["entries"]), (&json!(1), &json!(2)));
    let volume = data(&format!(
        "index/volume?{w}&query=%7Bnode%3D%22brick-01%22%7D&targetLabels=service_name"
    ));
    assert_eq!(volume["resultType"], "vector");
    assert_eq!(volume["result"][0]["metric"], json!({"service_name": "guardian"}));
}

#[test]
fn labels_and_fields_are_detected() {
    let w = window();
    let labels = SHARED.ok(&format!("/loki/api/v1/detected_labels?{w}"));
    assert_eq!(
        labels["detectedLabels"],
        json!([{"label": "node", "cardinality": 1}, {"label": "service_name", "cardinality": 2}])
    );
    let query = "%7Bnode%3D%22brick-01%22%7D";
    let fields = SHARED.ok(&format!("/loki/api/v1/detected_fields?{w}&query={query}"));
    let field = |name: &str| {
        let all = fields["fields"].as_array().unwrap();
        all.iter()
            .find(|f| f["label"] == name)
            .unwrap_or_else(|| panic!("{name}: {fields}"))
            .clone()
    };
    assert_eq!(field("attempt")["type"], "int");
    assert_eq!(field("attempt")["parsers"], json!(["json"]));
    assert_eq!(field("took")["type"], "duration");
    assert_eq!(field("ok")["type"], "boolean");
    assert_eq!(field("ok")["parsers"], json!(["logfmt"]));
    assert_eq!(field("trace_id")["parsers"], json!(null), "structured metadata");
    let values = SHARED.ok(&format!("/loki/api/v1/detected_field/amount/values?{w}&query={query}"));
    assert_eq!(values["values"], json!(["1000"]));
}

#[test]
fn tail_sends_what_is_there_first() {
    let text = SHARED.first_message(&format!("/loki/api/v1/tail?query={GUARDIAN}&limit=10"));
    let message: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(message["dropped_entries"], json!([]));
    let lines: usize = message["streams"]
        .as_array()
        .unwrap()
        .iter()
        .map(|s| {
            assert_eq!(s["stream"]["service_name"], "guardian");
            s["values"].as_array().unwrap().len()
        })
        .sum();
    assert_eq!(lines, 2, "{text}");
}

#[test]
fn the_rest_of_the_read_api() {
    let formatted = SHARED.ok("/loki/api/v1/format_query?query=%7Ba%3D%22b%22%7D%7C%3D%22x%22");
    assert_eq!(formatted["status"], "success");
    assert!(formatted["data"].as_str().unwrap().contains("|= \"x\""), "{formatted}");
    assert!(SHARED.ok("/loki/api/v1/status/buildinfo")["version"].is_string());
    assert_eq!(SHARED.ok("/loki/api/v1/drilldown-limits")["limits"]["volume_enabled"], true);
    assert_eq!(SHARED.get("/loki/ready").text().trim(), "ready");
    for absent in ["patterns", "index/volume_range", "no-such"] {
        assert_eq!(SHARED.get(&format!("/loki/api/v1/{absent}")).status, 404, "{absent}");
    }
}
