//! `kill -9` at any moment loses nothing that was acknowledged.
//!
//! Each round writes all three signals at once from three connections, kills the server at a moment
//! that its seed decides, starts it again on the same folder and looks for every write that was
//! answered with success. The folder stays the same for all rounds, so recovery meets what earlier
//! recoveries left. `VMOBS_CRASH_ROUNDS` and `VMOBS_CRASH_SEED` choose how many and which.

use std::collections::BTreeSet;
use std::time::Duration;

use obs_testkit::{Client, HttpError, Reply, Seeded, logs_push, remote_write, trace_export};
use serde_json::{Value, json};

use crate::support::{Server, now_ms, run};

/// What was answered with success in one round.
#[derive(Debug, Default)]
struct Acknowledged {
    round: u64,
    /// Millisecond and value of each sample.
    samples: Vec<(i64, f64)>,
    lines: Vec<String>,
    trace_ids: Vec<String>,
}

fn number(variable: &str, standard: u64) -> u64 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(standard)
}

#[test]
fn killed_at_any_moment_nothing_acknowledged_is_lost() {
    let rounds = number("VMOBS_CRASH_ROUNDS", 10);
    let first_seed = number("VMOBS_CRASH_SEED", 1);
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let mut all: Vec<Acknowledged> = Vec::new();
    let mut total = 0;
    for round in 0..rounds {
        let seed = first_seed + round;
        let server = Server::start(&data, &[]);
        if let Some(last) = all.last() {
            check(&server, last, seed - 1);
        }
        leave_a_receipt(&server, round);
        let acknowledged = write_and_kill(server, round, seed);
        total +=
            acknowledged.samples.len() + acknowledged.lines.len() + acknowledged.trace_ids.len();
        all.push(acknowledged);
    }
    let mut server = Server::start(&data, &[]);
    for (acknowledged, seed) in all.iter().zip(first_seed..) {
        check(&server, acknowledged, seed);
    }
    println!("{rounds} kills, {total} acknowledged writes, none lost");
    assert!(total as u64 > rounds, "hardly anything was written: {total} in {rounds} rounds");
    server.stop();
    let (code, text) = run(&["verify", &data.display().to_string()]);
    assert_eq!(code, 0, "after {rounds} kills the folder does not verify:\n{text}");
}

/// A silence, which stands in the ledger when it is answered; those of earlier rounds must be there.
fn leave_a_receipt(server: &Server, round: u64) {
    let mut client = server.client();
    let head = client.get("/obs/ledger").unwrap().json();
    assert!(head["size"].as_u64() >= Some(round), "receipts are lost: {head}");
    let silence = json!({"node": "brick-09", "duration": "1h", "reason": format!("round {round}"), "by": "e2e"});
    let reply = client.post_json("/obs/alerts/silence", &silence).unwrap();
    assert_eq!(reply.status, 200, "{}", reply.text());
}

/// Writes from three threads until the kill; what was acknowledged.
fn write_and_kill(mut server: Server, round: u64, seed: u64) -> Acknowledged {
    let mut random = Seeded::new(seed);
    let wait = Duration::from_millis(30 + random.below(700));
    let (http, otlp) = (server.http.clone(), server.otlp_http.clone());
    std::thread::scope(|scope| {
        let samples = scope.spawn({
            let http = http.clone();
            move || write_samples(&http, round)
        });
        let lines = scope.spawn(move || write_lines(&http, round));
        let traces = scope.spawn(move || write_traces(&otlp, round));
        std::thread::sleep(wait);
        server.program.kill().unwrap();
        Acknowledged {
            round,
            samples: samples.join().unwrap(),
            lines: lines.join().unwrap(),
            trace_ids: traces.join().unwrap(),
        }
    })
}

/// Writes until the server is killed: what `write` sent and the server acknowledged, by number.
fn until_killed<T>(
    address: &str,
    what: &str,
    mut write: impl FnMut(&mut Client, i64) -> (T, Result<Reply, HttpError>),
) -> Vec<T> {
    let mut client = Client::new(address);
    let mut out = Vec::new();
    for number in 0_i64.. {
        match write(&mut client, number) {
            (sent, Ok(reply)) if (200..300).contains(&reply.status) => out.push(sent),
            (_, Ok(reply)) => panic!("{what}: {}: {}", reply.status, reply.text()),
            (_, Err(_killed)) => break,
        }
    }
    out
}

fn write_samples(address: &str, round: u64) -> Vec<(i64, f64)> {
    let start = now_ms() - 10_000;
    until_killed(address, "remote write", |client, number| {
        let sample = (start + number, number as f64);
        let labels = vec![
            ("__name__".to_owned(), "crash_sequence".to_owned()),
            ("round".to_owned(), round.to_string()),
        ];
        let body = remote_write(&[(labels, vec![sample])]);
        (sample, client.remote_write("/api/v1/write", &body))
    })
}

fn write_lines(address: &str, round: u64) -> Vec<String> {
    until_killed(address, "push", |client, number| {
        let line = format!("round {round} line {number}");
        let labels = [("service_name", "crash"), ("round", &round.to_string())];
        let body = logs_push(&labels, &[(now_ms() * 1_000_000 + number, line.clone())]);
        (line, client.post_json("/loki/api/v1/push", &body))
    })
}

fn write_traces(address: &str, round: u64) -> Vec<String> {
    until_killed(address, "traces", |client, number| {
        let id = format!("{:016x}{:016x}", round + 1, number + 1);
        let body = trace_export("crash", &id, now_ms() * 1_000_000, 2);
        let reply = client.post_json("/v1/traces", &body);
        (id, reply)
    })
}

/// Everything acknowledged must be there; more may be, because a write can be stored and its answer
/// lost.
fn check(server: &Server, acknowledged: &Acknowledged, seed: u64) {
    let mut client = server.client();
    let round = acknowledged.round;
    let place = format!("seed {seed}, round {round}");

    let query = format!("crash_sequence{{round=\"{round}\"}}[2h]");
    let reply = client.query("/api/v1/query", &[("query", &query)]).unwrap();
    assert_eq!(reply.status, 200, "{}", reply.text());
    let stored: BTreeSet<(i64, String)> = reply.json()["data"]["result"][0]["values"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|pair| {
            let time = (pair[0].as_f64().unwrap() * 1000.0).round() as i64;
            (time, pair[1].as_str().unwrap().to_owned())
        })
        .collect();
    for (time, value) in &acknowledged.samples {
        assert!(
            stored.contains(&(*time, value.to_string())),
            "{place}: sample {value} at {time} is lost"
        );
    }

    let mut lines = BTreeSet::new();
    let query = format!("{{service_name=\"crash\", round=\"{round}\"}}");
    let start = (now_ms() - 7_200_000).to_string() + "000000";
    let reply = client
        .query(
            "/loki/api/v1/query_range",
            &[("query", &query), ("start", &start), ("limit", "5000"), ("direction", "forward")],
        )
        .unwrap();
    assert_eq!(reply.status, 200, "{}", reply.text());
    for stream in reply.json()["data"]["result"].as_array().into_iter().flatten() {
        for entry in stream["values"].as_array().into_iter().flatten() {
            lines.insert(entry[1].as_str().unwrap().to_owned());
        }
    }
    for line in &acknowledged.lines {
        assert!(lines.contains(line), "{place}: {line:?} is lost; {} lines are there", lines.len());
    }

    for id in &acknowledged.trace_ids {
        let reply = client.get(&format!("/obs/traces/{id}")).unwrap();
        let spans = reply.json()["spans"].as_array().map_or(0, Vec::len);
        let start: Value = reply.json()["start_time"].clone();
        assert_eq!((reply.status, spans), (200, 3), "{place}: trace {id} (start {start}) is lost");
    }
}
