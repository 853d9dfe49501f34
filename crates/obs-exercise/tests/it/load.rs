//! Load tests against a server of the test's own.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use obs_exercise::exchange::AllowedHosts;
use obs_exercise::load::{Machine, Outcome, Profile, Report, RunError, RunOptions, run};

use crate::server::{Asked, Server, reply};

fn options() -> RunOptions {
    RunOptions {
        allowed: AllowedHosts::default(),
        machine: Machine { descriptors: 4_096, memory_bytes: 4 << 30 },
        traced: true,
        seed: 7,
        run_id: "load-test".into(),
        started_at: "2025-12-06T14:00:00Z".into(),
        interrupt: Box::pin(std::future::pending()),
        live: None,
        telemetry: None,
    }
}

async fn load(server: &Server, yaml: &str) -> Report {
    let profile = Profile::parse(yaml, Some(&server.url())).unwrap();
    run(profile, options()).await.unwrap()
}

async fn plain() -> Server {
    Server::start(|_| async { reply("200 OK", "", "ok") }).await
}

fn count(report: &Report, metric: &str) -> f64 {
    report.value(metric, "count").unwrap()
}

/// A server that stands still for a second is felt by every request due in that second: with 400
/// requests a second over 4 s the largest 1 % of the latencies are the 16 first ones behind the
/// stall, so p99 is 1 s less 16/400 s.
#[tokio::test]
async fn a_stall_of_a_second_is_seen_by_everybody_behind_it() {
    let began = Arc::new(Mutex::new(None::<Instant>));
    let stall = (Duration::from_millis(1_500), Duration::from_millis(2_500));
    let server = Server::start(move |_| {
        let first = *began.lock().unwrap().get_or_insert_with(Instant::now);
        async move {
            if (stall.0..stall.1).contains(&first.elapsed()) {
                tokio::time::sleep_until((first + stall.1).into()).await;
            }
            reply("200 OK", "", "ok")
        }
    })
    .await;
    let yaml = "
scenarios:
- {name: a, executor: constant-arrival-rate, rate: 400, duration: 4s, pre_allocated_vus: 5,
   max_vus: 40, steps: [{name: root, url: /}]}";
    let report = load(&server, yaml).await;
    assert_eq!(count(&report, "http_reqs"), 1_600.0);
    let p99 = report.value("http_req_duration", "p99").unwrap();
    let expected = 1_000.0 * (1.0 - 16.0 / 400.0);
    assert!((p99 / expected - 1.0).abs() < 0.02, "p99 {p99} ms, expected {expected}");
    // What a closed loop would have said: 40 users waited, everybody else was never asked.
    let service = report.value("http_req_service_time", "p95").unwrap();
    assert!(service < 200.0, "service time p95 {service} ms");
    assert_eq!(server.count(), 1_600);
}

#[tokio::test]
async fn every_executor_does_what_it_says() {
    let server = plain().await;
    for (executor, least, most) in [
        ("shared-iterations, vus: 4, iterations: 37", 37.0, 37.0),
        ("per-vu-iterations, vus: 4, iterations: 5", 20.0, 20.0),
        ("constant-vus, vus: 2, duration: 300ms", 2.0, f64::MAX),
        ("ramping-vus, start_vus: 1, stages: [{duration: 400ms, target: 5}]", 2.0, f64::MAX),
        ("constant-arrival-rate, rate: 100, duration: 500ms", 50.0, 50.0),
        ("ramping-arrival-rate, start_rate: 0, stages: [{duration: 1s, target: 100}]", 50.0, 50.0),
    ] {
        let yaml = format!("scenarios: [{{name: a, steps: [{{url: /}}], executor: {executor}}}]");
        let report = load(&server, &yaml).await;
        let seen = count(&report, "iterations");
        assert!((least..=most).contains(&seen), "{executor}: {seen}");
        assert_eq!(report.outcome, Outcome::Passed, "{executor}");
        assert_eq!(report.json["errors"], serde_json::json!({}), "{executor}");
    }
}

#[tokio::test]
async fn flows_extract_check_record_and_carry_a_trace() {
    let seen: Arc<Mutex<Vec<Asked>>> = Arc::default();
    let all = Arc::clone(&seen);
    let server = Server::start(move |asked| {
        all.lock().unwrap().push(asked.clone());
        async move {
            match asked.path() {
                "/login" => reply("201 Created", "x-kind: a\r\n", r#"{"token": "t1", "n": 5}"#),
                "/cart/t1" => reply("200 OK", "", "empty"),
                _ => reply("404 Not Found", "", ""),
            }
        }
    })
    .await;
    let yaml = "
vars: {user: alice}
scenarios:
- name: shop
  executor: shared-iterations
  iterations: 3
  tags: {area: shop}
  steps:
  - {name: login, method: POST, url: /login, body: '{\"user\": \"${user}\"}', extract: {token: {jsonpath: $.token}},
     checks: [{status: 201}, {header: x-kind, equals: b}], record: [{metric: cart_size, jsonpath: $.n}]}
  - {name: cart, url: '/cart/${token}', checks: [{body: true, contains: empty}]}
thresholds:
  checks: ['rate>0.6']
  'checks{name:cart}': ['rate==1']
  'http_reqs{area:shop}': ['count==6']
  cart_size: ['max<=5', 'avg>4']
  http_req_failed: ['rate<0.01']
  'http_req_duration{status:404}': ['count<1']";
    let report = load(&server, yaml).await;
    assert_eq!(report.outcome, Outcome::Passed, "{}", report.text());
    assert_eq!(report.value("checks", "yes"), Some(6.0));
    let asked = seen.lock().unwrap();
    assert_eq!(asked[0].body, br#"{"user": "alice"}"#);
    let traces: std::collections::BTreeSet<&str> =
        asked.iter().map(|a| a.header("traceparent").unwrap()).collect();
    assert_eq!(traces.len(), 6);
    let prefix = report.json["trace_id_prefix"].as_str().unwrap();
    assert!(traces.iter().all(|t| t.starts_with(&format!("00-{prefix}")) && t.len() == 55));
}

#[tokio::test]
async fn broken_thresholds_fail_and_may_end_the_run() {
    let server = Server::start(|_| async { reply("500 Oh", "", "") }).await;
    let scenario = "scenarios: [{name: a, steps: [{url: /}], executor: constant-arrival-rate, rate: 50, duration: ";
    let report = load(
        &server,
        &format!("{scenario}500ms}}]\nthresholds: {{http_req_failed: ['rate<0.5']}}"),
    )
    .await;
    assert_eq!(report.outcome, Outcome::Failed(vec!["http_req_failed rate<0.5".into()]));
    let began = Instant::now();
    let yaml = format!(
        "{scenario}60s}}]\nthresholds: {{http_req_failed: [{{threshold: 'rate<0.5', abort_on_fail: true, delay: 500ms}}]}}"
    );
    let report = load(&server, &yaml).await;
    assert!(matches!(report.outcome, Outcome::Aborted(_)), "{:?}", report.outcome);
    assert!(began.elapsed() < Duration::from_secs(10));
    assert!(count(&report, "http_reqs") >= 25.0);
}

#[tokio::test]
async fn queries_over_telemetry_are_thresholds_and_need_data() {
    let server = plain().await;
    let yaml = "
scenarios: [{name: a, steps: [{url: /}], executor: shared-iterations, iterations: 2}]
telemetry:
  checks:
  - {name: errors, query: 'rate(errors_total[$window])', threshold: 'value<1'}
  - {name: nothing, query: absent_metric, threshold: 'value<1'}";
    let profile = Profile::parse(yaml, Some(&server.url())).unwrap();
    let mut with = options();
    with.telemetry = Some(std::rc::Rc::new(|query: String| {
        Box::pin(async move {
            assert!(!query.contains('$'), "{query}");
            Ok(if query.starts_with("rate") { vec![0.5] } else { Vec::new() })
        })
    }));
    let report = run(profile.clone(), with).await.unwrap();
    assert_eq!(report.outcome, Outcome::Failed(vec!["nothing value<1".into()]));
    let e = run(profile, options()).await.unwrap_err();
    assert!(e.to_string().contains("server to ask"), "{e}");
}

#[tokio::test]
async fn an_interrupt_keeps_what_was_measured() {
    let server = plain().await;
    let yaml = "scenarios: [{name: a, steps: [{url: /}], executor: constant-vus, duration: 1h}]";
    let profile = Profile::parse(yaml, Some(&server.url())).unwrap();
    let mut with = options();
    with.interrupt = Box::pin(tokio::time::sleep(Duration::from_millis(1_300)));
    let report = run(profile, with).await.unwrap();
    assert_eq!(report.outcome, Outcome::Interrupted);
    assert!(count(&report, "http_reqs") > 0.0 && !report.seconds.is_empty());
}

#[tokio::test]
async fn what_fails_is_counted_by_reason_and_dropped_work_is_not_hidden() {
    let refused = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        format!("http://{}", listener.local_addr().unwrap())
    };
    let yaml =
        "scenarios: [{name: a, steps: [{url: /}], executor: shared-iterations, iterations: 4}]";
    let profile = Profile::parse(yaml, Some(&refused)).unwrap();
    let report = run(profile, options()).await.unwrap();
    assert_eq!(report.json["errors"]["connect: connection refused"], 4);
    assert_eq!(report.value("http_req_failed", "rate"), Some(1.0));

    let slow = Server::start(|_| async {
        tokio::time::sleep(Duration::from_secs(30)).await;
        reply("200 OK", "", "")
    })
    .await;
    let yaml = "
timeout: 300ms
scenarios:
- {name: a, steps: [{url: /}], executor: constant-arrival-rate, rate: 100, duration: 500ms, max_vus: 2,
   graceful_stop: 100ms}";
    let report = load(&slow, yaml).await;
    let (done, dropped) = (count(&report, "iterations"), count(&report, "dropped_iterations"));
    let cut = count(&report, "interrupted_iterations");
    assert_eq!(done + dropped + cut, 50.0, "{done} {dropped} {cut}");
    assert!(dropped > 40.0 && report.json["errors"]["timeout"].as_u64().unwrap() >= 2);
}

#[tokio::test]
async fn what_must_not_run_is_refused_before_the_first_request() {
    let server = plain().await;
    let scenario = "scenarios: [{name: a, steps: [{url: URL}], executor: constant-vus, duration: 1s, vus: VUS}]";
    for (url, vus, more, says) in [
        ("http://192.0.2.1/", "1", "", "--allow-host 192.0.2.1"),
        ("/", "100000", "", "descriptors"),
        ("/", "1", "\nthresholds: {http_req_dration: ['p(95)<1']}", "no such metric"),
        ("/", "1", "\nthresholds: {http_req_duration: ['rate<1']}", "does not fit"),
    ] {
        let yaml = scenario.replace("URL", url).replace("VUS", vus) + more;
        let profile = Profile::parse(&yaml, Some(&server.url())).unwrap();
        let e: RunError = run(profile, options()).await.unwrap_err();
        assert!(e.to_string().contains(says), "{url}: {e}");
    }
    assert_eq!(server.count(), 0);
}
