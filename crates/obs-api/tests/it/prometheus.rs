use serde_json::{Value, json};

use crate::server::{NOW_S, SHARED, Server, options};

fn data(target: &str) -> Value {
    let body = SHARED.ok(target);
    assert_eq!(body["status"], "success");
    body["data"].clone()
}

#[test]
fn instant_answers_by_get_post_and_under_both_prefixes() {
    let expected = json!({"resultType": "vector", "result": [
        {"metric": {"__name__": "up", "instance": "a:9100", "job": "node"}, "value": [NOW_S, "1"]},
        {"metric": {"__name__": "up", "instance": "b:9100", "job": "node"}, "value": [NOW_S, "0"]},
    ]});
    assert_eq!(data("/api/v1/query?query=up"), expected);
    assert_eq!(data(&format!("/prometheus/api/v1/query?query=up&time={NOW_S}")), expected);
    let posted = SHARED.form("/api/v1/query", "query=up&time=2025-12-06T14%3A30%3A00Z");
    assert_eq!(posted.json()["data"], expected);
    assert_eq!(posted.header("content-type").as_deref(), Some("application/json"));
    assert_eq!(
        data("/api/v1/query?query=1%2B1"),
        json!({"resultType": "scalar", "result": [NOW_S, "2"]})
    );
    assert_eq!(
        data("/api/v1/query?query=%22x%22"),
        json!({"resultType": "string", "result": [NOW_S, "x"]})
    );
}

#[test]
fn special_values_are_text_and_a_stale_series_is_absent() {
    let value = |query: &str| {
        data(&format!("/api/v1/query?query={query}"))["result"][0]["value"][1].clone()
    };
    assert_eq!(value("nan_metric"), "NaN");
    assert_eq!(value("inf_metric"), "+Inf");
    assert_eq!(value("-inf_metric"), "-Inf");
    assert_eq!(value("tiny"), "0.0000001");
    assert_eq!(data("/api/v1/query?query=gone")["result"], json!([]));
}

#[test]
fn a_range_is_inclusive_and_has_its_limits() {
    let start = NOW_S - 60;
    let target =
        |rest: &str| format!("/api/v1/query_range?query=up%7Binstance=%22a:9100%22%7D{rest}");
    assert_eq!(
        data(&target(&format!("&start={start}&end={NOW_S}&step=30"))),
        json!({"resultType": "matrix", "result": [{
            "metric": {"__name__": "up", "instance": "a:9100", "job": "node"},
            "values": [[start, "1"], [start + 30, "1"], [NOW_S, "1"]],
        }]})
    );
    let limited = SHARED.ok("/api/v1/query?query=up&limit=1");
    assert_eq!(limited["data"]["result"].as_array().unwrap().len(), 1);
    assert_eq!(limited["warnings"][0], "results truncated due to limit");
}

#[test]
fn errors_have_the_dialects_status_and_envelope() {
    let cases = [
        ("query?query=up%7B", 400, "bad_data"),
        ("query", 400, "bad_data"),
        ("query?query=up&time=yesterday", 400, "bad_data"),
        ("query?query=up&timeout=x", 400, "bad_data"),
        ("query?query=up&limit=x", 400, "bad_data"),
        ("query?query=up%20%2B%20on(job)%20up", 422, "execution"),
        ("query_range?query=up&start=10&end=5&step=1", 400, "bad_data"),
        ("query_range?query=up&start=0&end=5&step=0", 400, "bad_data"),
        ("query_range?query=up&start=0&end=20000&step=1", 400, "bad_data"),
        ("query_range?query=up&start=0&end=5", 400, "bad_data"),
        ("series", 400, "bad_data"),
        ("series?match[]=%7B%7D", 400, "bad_data"),
        ("labels?start=2&end=1", 400, "bad_data"),
        ("rules?type=other", 400, "bad_data"),
        ("nothing-here", 404, "not_found"),
    ];
    for (target, status, kind) in cases {
        let answer = SHARED.get(&format!("/api/v1/{target}"));
        assert_eq!(answer.status, status, "{target}: {}", answer.text());
        let body = answer.json();
        assert_eq!(body["status"], "error", "{target}");
        assert_eq!(body["errorType"], kind, "{target}");
        assert!(!body["error"].as_str().unwrap().is_empty());
    }
    let text = SHARED.get("/api/v1/query?query=up%7B").json()["error"].as_str().unwrap().to_owned();
    assert!(text.contains("1:4"), "the position of the mistake: {text}");
    assert_eq!(SHARED.request("PUT", "/api/v1/query?query=up", &[], b"").status, 405);
}

#[test]
fn labels_series_and_metadata() {
    assert_eq!(data("/api/v1/label/instance/values"), json!(["a:9100", "b:9100"]));
    assert_eq!(
        data("/api/v1/label/U__http_2e_status/values"),
        json!(["200"]),
        "a name beyond the classic ones"
    );
    assert_eq!(data("/api/v1/label/job/values?match[]=cpu_percent"), json!([]));
    assert_eq!(data("/api/v1/labels?match[]=up"), json!(["__name__", "instance", "job"]));
    let series = data("/api/v1/series?match[]=up&match[]=%7B%22http.requests%22%7D");
    assert_eq!(series.as_array().unwrap().len(), 3);
    assert_eq!(
        data("/api/v1/metadata?metric=up"),
        json!({"up": [{"type": "gauge", "help": "Whether the target answers.", "unit": ""}]})
    );
    assert_eq!(
        data("/api/v1/metadata?metric=up&limit_per_metric=1"),
        data("/api/v1/metadata?metric=up")
    );
    assert_eq!(SHARED.get("/api/v1/targets/metadata?match_target=%7B").status, 400);
    assert_eq!(
        SHARED.ok("/api/v1/labels?limit=1")["warnings"][0],
        "results truncated due to limit"
    );
}

#[test]
fn exemplars_lead_to_traces() {
    let query = "%7B%22http.requests%22%7D";
    let found =
        data(&format!("/api/v1/query_exemplars?query={query}&start={}&end={NOW_S}", NOW_S - 600));
    assert_eq!(
        found,
        json!([{
            "seriesLabels": {"__name__": "http.requests", "http.status": "200"},
            "exemplars": [{
                "labels": {"trace_id": crate::server::TRACE},
                "value": "0.25",
                "timestamp": NOW_S as f64 - 1.5,
            }],
        }])
    );
}

#[test]
fn tools_for_queries() {
    assert_eq!(data("/api/v1/format_query?query=sum(up)by(job)"), json!("sum by (job) (up)"));
    assert_eq!(data("/api/v1/parse_query?query=up")["type"], "vectorSelector");
}

#[test]
fn rules_alerts_and_their_filters() {
    let server = Server::start();
    server.cpu(87.3);
    server.step();
    let rules = server.ok("/api/v1/rules")["data"].clone();
    let group = &rules["groups"][0];
    assert_eq!(group["name"], "host");
    assert_eq!(group["file"], "host.yml");
    assert_eq!(group["interval"], 60.0);
    let kinds: Vec<&str> =
        group["rules"].as_array().unwrap().iter().map(|r| r["type"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["recording", "alerting", "alerting"]);
    assert_eq!(group["rules"][1]["state"], "firing");
    assert_eq!(group["rules"][1]["alerts"][0]["labels"]["alertname"], "HighCPUUsage");
    assert_eq!(group["rules"][2]["state"], "pending");
    let count = |target: &str| {
        server.ok(target)["data"]["groups"]
            .as_array()
            .unwrap()
            .iter()
            .map(|g| g["rules"].as_array().unwrap().len())
            .sum::<usize>()
    };
    assert_eq!(count("/api/v1/rules?type=record"), 2);
    assert_eq!(count("/api/v1/rules?type=alert"), 2);
    assert_eq!(count("/api/v1/rules?rule_name[]=HighCPUUsage"), 1);
    assert_eq!(count("/api/v1/rules?rule_group[]=other"), 0);
    assert_eq!(count("/api/v1/rules?match[]=%7Bseverity%3D%22critical%22%7D"), 1);
    assert_eq!(count("/api/v1/rules?match[]=%7Bseverity%3D~%22c.*%7Cw.*%22%7D"), 2);
    assert_eq!(count("/api/v1/rules?match[]=%7Bseverity%3D%22other%22%7D"), 0);
    let bare = server.ok("/api/v1/rules?exclude_alerts=true")["data"].clone();
    assert_eq!(bare["groups"][0]["rules"][1]["state"], "firing");
    assert_eq!(bare["groups"][0]["rules"][1]["alerts"], json!([]));
    let first = server.ok("/api/v1/rules?group_limit=1")["data"].clone();
    assert_eq!(first["groups"][0]["name"], "host");
    let token = first["groupNextToken"].as_str().unwrap();
    let second =
        server.ok(&format!("/api/v1/rules?group_limit=1&group_next_token={token}"))["data"].clone();
    assert_eq!(second["groups"][0]["name"], "later");
    assert_eq!(second.get("groupNextToken"), None);
    for wrong in ["group_next_token=00&group_limit=1", "group_next_token=00", "exclude_alerts=so"] {
        assert_eq!(server.get(&format!("/api/v1/rules?{wrong}")).status, 400, "{wrong}");
    }
    let alerts = server.ok("/api/v1/alerts")["data"]["alerts"].clone();
    assert_eq!(alerts.as_array().unwrap().len(), 2);
    assert!(alerts.to_string().contains("8.73e1"), "{alerts}");
    assert_eq!(
        server.ok("/api/v1/alertmanagers")["data"],
        json!({"activeAlertmanagers": [], "droppedAlertmanagers": []})
    );
}

#[test]
fn status_pages() {
    assert_eq!(data("/api/v1/status/config")["yaml"], "node: brick-01\n");
    assert_eq!(data("/api/v1/status/flags")["demo"], "false");
    assert_eq!(data("/api/v1/status/buildinfo")["version"], "3.14.0");
    assert_eq!(data("/api/v1/status/walreplay")["state"], "done");
    assert_eq!(data("/api/v1/status/runtimeinfo")["startTime"], "2025-12-06T13:30:00Z");
    assert!(data("/api/v1/status/tsdb")["headStats"]["numSeries"].as_u64().unwrap() >= 9);
    assert_eq!(data("/api/v1/features")["promql"]["subqueries"], true);
    assert_eq!(data("/api/v1/notifications"), json!([]));
    let targets = data("/api/v1/targets");
    assert_eq!(targets["activeTargets"], json!([]));
    assert_eq!(targets["droppedTargets"][0]["discoveredLabels"]["__address__"], "brick-09:9100");
    assert_eq!(targets["droppedTargetCounts"], json!({"node": 1}));
    assert_eq!(data("/api/v1/targets?state=active")["droppedTargets"], json!([]));
    assert_eq!(data("/api/v1/scrape_pools")["scrapePools"], json!(["node"]));
    assert_eq!(data("/api/v1/status/tsdb/blocks")["blocks"], json!([]));
    assert_eq!(data("/api/v1/targets/metadata"), json!([]));
}

#[test]
fn a_series_can_be_deleted() {
    let target = "/api/v1/admin/tsdb/delete_series?match[]=tiny";
    let refused = SHARED.request("POST", target, &[], b"");
    assert_eq!(refused.status, 503, "off unless switched on");
    assert_eq!(refused.json()["errorType"], "unavailable");
    let server = Server::with(options());
    assert_eq!(server.request("POST", target, &[], b"").status, 204);
    assert_eq!(server.ok("/api/v1/query?query=tiny")["data"]["result"], json!([]));
    assert_eq!(server.request("POST", "/api/v1/admin/tsdb/delete_series", &[], b"").status, 400);
}

#[test]
fn browsers_of_other_origins_may_ask() {
    let preflight = SHARED.request("OPTIONS", "/api/v1/query", &[("Origin", "http://x")], b"");
    assert_eq!(preflight.status, 204);
    assert_eq!(preflight.header("access-control-allow-origin").as_deref(), Some("*"));
    let head = SHARED.request("HEAD", "/api/v1/query?query=up", &[], b"");
    assert_eq!(head.status, 200);
    assert!(head.body.is_empty());
}

#[test]
fn the_dialect_is_chosen_by_the_request() {
    // `up` of b is 0, which the filter takes out and `default` puts back.
    let query = "query=max(up%20%3E%201)%20by%20(job)%20default%207";
    let refused = SHARED.get(&format!("/api/v1/query?{query}"));
    assert_eq!(refused.status, 400);
    let found = data(&format!("/api/v1/query?{query}&dialect=metricsql"));
    assert_eq!(found["result"], json!([{"metric": {}, "value": [NOW_S, "7"]}]));
    let steps = data("/api/v1/query?query=vector(2i)&dialect=metricsql&step=30");
    assert_eq!(steps["result"][0]["value"][1], "60");
    // The server's clock, whatever instant is asked for.
    let now = data("/api/v1/query?query=vector(now())&time=60&dialect=metricsql");
    assert_eq!(now["result"][0]["value"], json!([60, NOW_S.to_string()]));
    let windowless = "/api/v1/query_range?query=count(rate(up))&dialect=metricsql";
    let range = data(&format!("{windowless}&start={}&end={NOW_S}&step=30", NOW_S - 30));
    assert_eq!(range["result"][0]["values"][0][1], "2");
    let tree = data("/api/v1/parse_query?query=rate(up)&dialect=metricsql");
    assert_eq!(tree["func"]["name"], "rate");
    let wrong = SHARED.get("/api/v1/query?query=up&dialect=sql");
    assert_eq!(wrong.status, 400);
    assert!(wrong.text().contains("not one of promql, metricsql"), "{}", wrong.text());
    assert_eq!(SHARED.get("/api/v1/query?query=1&step=0&dialect=metricsql").status, 400);
}

#[test]
fn a_trace_says_what_every_part_took() {
    let target = format!(
        "/api/v1/query_range?query=sum(count_over_time(up%5B1m%5D))%20%2B%201&start={}&end={NOW_S}&step=30",
        NOW_S - 60
    );
    assert_eq!(SHARED.ok(&target).get("trace"), None);
    let trace = SHARED.ok(&format!("{target}&trace=1"))["trace"].clone();
    fn walk<'a>(span: &'a Value, out: &mut Vec<&'a Value>) {
        out.push(span);
        span["children"].as_array().into_iter().flatten().for_each(|c| walk(c, out));
    }
    let mut all = Vec::new();
    walk(&trace, &mut all);
    let named = |is: &dyn Fn(&str) -> bool| {
        let found = all.iter().find(|s| is(s["message"].as_str().unwrap()));
        *found.unwrap_or_else(|| panic!("{trace:#}"))
    };
    let aggregate = named(&|m| m == "sum(count_over_time(up[1m]))");
    let count = named(&|m| m == "count_over_time(up[1m])");
    assert_eq!(aggregate["children"][0], *count);
    assert_eq!((&aggregate["series"], &aggregate["points"]), (&json!(1), &json!(3)));
    assert_eq!((&count["series"], &count["series_read"]), (&json!(2), &json!(2)));
    assert!(count["samples_read"].as_u64().unwrap() >= 4, "{count}");
    named(&|m| m == "wait for a place");
    named(&|m| m.starts_with("write "));
    // A part takes at least as long as what it waited for.
    for span in &all {
        let children = span["children"].as_array().into_iter().flatten();
        let sum: f64 = children.map(|c| c["duration_msec"].as_f64().unwrap()).sum();
        assert!(span["duration_msec"].as_f64().unwrap() >= sum - 0.1, "{span:#}");
    }
}

#[test]
fn statistics_by_step_where_all_are_asked_for() {
    let target = |stats: &str| {
        format!(
            "/api/v1/query_range?query=up&start={}&end={NOW_S}&step=30&stats={stats}",
            NOW_S - 60
        )
    };
    let samples = data(&target("all"))["stats"]["samples"].clone();
    let steps = samples["totalQueryableSamplesPerStep"].as_array().unwrap();
    assert_eq!(steps.len(), 3, "{samples}");
    let sum: u64 = steps.iter().map(|s| s[1].as_u64().unwrap()).sum();
    assert_eq!(json!(sum), samples["totalQueryableSamples"]);
    let totals = data(&target("true"))["stats"]["samples"].clone();
    assert_eq!(totals.get("totalQueryableSamplesPerStep"), None);
}

/// Results and the status of a search's lines.
fn searched(target: &str) -> (Vec<Value>, Value) {
    let answer = SHARED.get(target);
    assert_eq!(answer.header("content-type").unwrap(), "application/x-ndjson; charset=utf-8");
    let text = answer.text();
    let mut lines: Vec<Value> = text.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    let status = lines.pop().unwrap();
    (lines.iter().flat_map(|l| l["results"].as_array().unwrap().clone()).collect(), status)
}

#[test]
fn names_are_searched_as_they_are_typed() {
    let (found, status) = searched("/api/v1/search/metric_names?search[]=up&sort_by=score");
    assert_eq!(found[0], json!({"name": "up"}));
    assert_eq!(status, json!({"status": "success", "has_more": false}));
    let (found, _) =
        searched("/api/v1/search/label_names?search[]=JOB&case_sensitive=false&include_score=true");
    assert_eq!(found[0], json!({"name": "job", "score": 1.0}));
    let (all, _) = searched("/api/v1/search/label_names?limit=0");
    let (one, status) = searched("/api/v1/search/label_names?limit=1&sort_by=alpha&sort_dir=dsc");
    assert!(all.len() > 1 && one.len() == 1 && status["has_more"] == true);
    assert_eq!(one[0], all[all.len() - 1]);
    let text = SHARED.get("/api/v1/search/label_names?batch_size=1&limit=2").text();
    assert_eq!(text.lines().count(), 3);
    let (values, _) = searched("/api/v1/search/label_values?label=__name__&match[]=up");
    assert_eq!(values, [json!({"value": "up"})]);
    let posted = SHARED.form("/api/v1/search/metric_names", "search[]=no_such_thing_at_all");
    assert_eq!(posted.text().lines().count(), 1);
    for wrong in [
        "label_values",
        "metric_names?fuzz_threshold=101",
        "metric_names?fuzz_alg=soundex",
        "metric_names?sort_by=size",
        "metric_names?sort_by=score&sort_dir=asc",
        "metric_names?batch_size=0",
        "metric_names?match[]=%7B",
    ] {
        assert_eq!(SHARED.get(&format!("/api/v1/search/{wrong}")).status, 400, "{wrong}");
    }
}

#[test]
fn a_job_is_shown_and_its_relabeling_step_by_step() {
    let yaml = data("/api/v1/scrape_pools/config?scrapePool=node")["yaml"].clone();
    let yaml = yaml.as_str().unwrap();
    assert!(yaml.contains("job_name: node") && yaml.contains("scrape_interval: 1m"), "{yaml}");
    assert!(!yaml.contains("hidden"), "{yaml}");
    assert_eq!(SHARED.get("/api/v1/scrape_pools/config?scrapePool=none").status, 404);
    assert_eq!(SHARED.get("/api/v1/scrape_pools/config").status, 400);
    let labels = "%7B%22__address__%22%3A%22a%3A1%22%2C%22env%22%3A%22test%22%7D";
    let steps = data(&format!("/api/v1/targets/relabel_steps?scrapePool=node&labels={labels}"));
    let steps = steps["steps"].as_array().unwrap();
    assert_eq!(steps[0]["output"]["instance"], "a:1");
    assert_eq!(steps[0]["rule"]["target_label"], "instance");
    assert_eq!((&steps[0]["keep"], &steps[1]["keep"]), (&json!(true), &json!(false)));
    let wrong = SHARED.get("/api/v1/targets/relabel_steps?scrapePool=node&labels=%5B%5D");
    assert_eq!(wrong.status, 400);
}
