//! What a query costs, where it is noted, and how it ends early.

use std::io::Write as _;
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use obs_api::{ApiOptions, QueryLog};
use obs_query::QueryLimits;
use obs_types::{MetricSink as _, TimestampMs};
use serde_json::{Value, json};

use crate::server::{NOW_S, SHARED, Server, one};

#[test]
fn lookback_and_stats_by_query() {
    let found = |rest: &str| {
        let at = NOW_S + 240;
        let answer = SHARED.ok(&format!("/api/v1/query?query=up&time={at}{rest}"));
        answer["data"]["result"].as_array().unwrap().len()
    };
    assert_eq!(found(""), 2);
    assert_eq!(found("&lookback_delta=1m"), 0);
    assert_eq!(found("&lookback_delta=300"), 2);
    let wrong = SHARED.get("/api/v1/query?query=up&lookback_delta=0");
    assert_eq!(wrong.status, 400, "{}", wrong.text());
    let stats = SHARED.ok("/api/v1/query?query=up&stats=all")["data"]["stats"].clone();
    assert_eq!(stats["samples"]["totalQueryableSamples"], 2);
    assert!(stats["timings"]["innerEvalTime"].as_f64().unwrap() > 0.0, "{stats}");
    assert!(stats["timings"]["execTotalTime"].as_f64().unwrap() > 0.0, "{stats}");
    assert!(SHARED.ok("/api/v1/query?query=up")["data"].get("stats").is_none());
}

#[test]
fn queries_are_noted_in_the_query_log() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("queries.jsonl");
    let log = Some(Arc::new(QueryLog::open(&path).unwrap()));
    let server = Server::with(ApiOptions { query_log: log, ..ApiOptions::default() });
    server.ok("/api/v1/query?query=up");
    server.ok("/prometheus/api/v1/query_range?query=up&start=0&end=60&step=15");
    assert_eq!(server.get("/api/v1/query?query=up%20%2B%20on(job)%20up").status, 422);
    let text = std::fs::read_to_string(&path).unwrap();
    let lines: Vec<Value> = text.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert_eq!(lines.len(), 3, "{text}");
    assert_eq!(lines[0]["ts"], "2025-12-06T14:30:00Z");
    assert_eq!(
        lines[0]["params"],
        json!({"query": "up", "start": "2025-12-06T14:30:00Z", "end": "2025-12-06T14:30:00Z", "step": 0.0})
    );
    assert_eq!(lines[0]["httpRequest"], json!({"method": "GET", "path": "/api/v1/query"}));
    assert!(lines[0]["stats"]["samples"]["peakSamples"].as_u64().unwrap() >= 2, "{}", lines[0]);
    assert_eq!(lines[1]["params"]["step"], 15.0);
    assert_eq!(lines[1]["httpRequest"]["path"], "/prometheus/api/v1/query_range");
    assert!(lines[2]["error"].as_str().unwrap().contains("many-to-many"), "{}", lines[2]);
}

/// Takes long where nothing ends it.
const SLOW: &str =
    "/api/v1/query?query=count_over_time(sum(%7B__name__%3D~%22.%2B%22%7D)%5B12h%3A10ms%5D)";

fn ask(server: &Server, target: &str) -> TcpStream {
    let mut socket = TcpStream::connect(server.address).unwrap();
    write!(socket, "GET {target} HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
    socket
}

fn until(what: &str, good: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(20);
    while !good() {
        assert!(Instant::now() < end, "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_query_ends_when_its_client_has_gone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("queries.jsonl");
    let log = Some(Arc::new(QueryLog::open(&path).unwrap()));
    let server = Server::with(ApiOptions { query_log: log, ..ApiOptions::default() });
    let free = || server.state.query_places.available_permits();
    assert_eq!(free(), 4);
    let sockets: Vec<TcpStream> = (0..4).map(|_| ask(&server, SLOW)).collect();
    until("four queries run", || free() == 0);
    // A fifth waits for a place rather than being refused, and may give up.
    let mut fifth = ask(&server, "/api/v1/query?query=up&timeout=1s");
    fifth.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    let mut byte = [0];
    assert!(std::io::Read::read(&mut fifth, &mut byte).is_err(), "no place is free");
    drop((sockets, fifth));
    until("the queries end with their clients", || free() == 4);
    let noted = std::fs::read_to_string(&path).unwrap();
    assert_eq!(noted.matches("query was canceled").count(), 4, "{noted}");
    server.ok("/api/v1/query?query=up");
}

#[test]
fn a_query_above_its_memory_ends_and_ingestion_goes_on() {
    let limits = QueryLimits { memory_bytes_max: 100_000, ..QueryLimits::STANDARD };
    let server = Server::limited(ApiOptions::default(), limits);
    let large = format!(
        "/api/v1/query_range?query=%7B__name__%3D~%22.%2B%22%7D&start={}&end={}&step=1",
        NOW_S - 1_800,
        NOW_S
    );
    let metrics = Arc::clone(&server.state.metrics);
    let sender = std::thread::spawn(move || {
        for n in 0..200 {
            let sample = vec![(TimestampMs((NOW_S - 60) * 1000 + n), 1.0)];
            let outcome = metrics.append(one(&[("__name__", "sent")], sample)).unwrap();
            assert_eq!(outcome.rejected_count(), 0);
        }
    });
    for _ in 0..5 {
        let answer = server.get(&large);
        assert_eq!(answer.status, 422, "{}", answer.text());
        let answer = answer.json();
        assert_eq!(answer["errorType"], "execution");
        let error = answer["error"].as_str().unwrap();
        assert!(error.contains("more than its memory limit of 100000 bytes"), "{error}");
    }
    sender.join().unwrap();
    // What ended gave its memory back.
    let sent = server.ok("/api/v1/query?query=count_over_time(sent%5B5m%5D)");
    assert_eq!(sent["data"]["result"][0]["value"][1], "200");
}

#[test]
fn a_timeout_ends_a_query() {
    let answer = SHARED.get(&format!("{SLOW}&timeout=50ms"));
    assert_eq!(answer.status, 503, "{}", answer.text());
    assert_eq!(answer.json()["errorType"], "timeout");
}
