//! Every line of the manual parses.

use std::sync::{Arc, Mutex};

use axum::extract::Request;
use axum::{Json, Router};
use clap::Parser;
use serde_json::{Value, json};

use super::*;

#[derive(Debug, Parser)]
#[command(name = "vm-obs")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

/// Splits as a shell does, as far as the lines below need it.
fn words(line: &str) -> Vec<String> {
    let mut out = Vec::new();
    let mut word = String::new();
    let mut quote = None;
    let mut open = false;
    for c in line.chars() {
        match (quote, c) {
            (Some(q), c) if c == q => quote = None,
            (None, '"' | '\'') => (quote, open) = (Some(c), true),
            (None, ' ') => {
                if open || !word.is_empty() {
                    out.push(std::mem::take(&mut word));
                }
                open = false;
            }
            (_, c) => word.push(c),
        }
    }
    if open || !word.is_empty() {
        out.push(word);
    }
    out
}

/// The examples of ENGINE 3.1 and 4, without redirection.
const ENGINE: &str = r#"
vm-obs metrics query --node brick-01 --metric cpu_percent --last 1h
vm-obs metrics list --node brick-01
vm-obs metrics export --from 2025-12-01 --to 2025-12-06 --format prometheus
vm-obs logs query --service guardian --level error --last 24h
vm-obs logs tail --node brick-01 --follow
vm-obs logs search "anchor failed" --from 2025-12-01
vm-obs trace show trace-abc123
vm-obs trace search --service treasury --duration ">1s" --last 24h
vm-obs trace analyze trace-abc123 --find-bottleneck
vm-obs alert list --status firing
vm-obs alert show alert-2025-12-06-001
vm-obs alert ack alert-2025-12-06-001 --comment "investigating"
vm-obs alert silence --node brick-02 --duration 1h --reason "maintenance"
vm-obs slo list
vm-obs slo show slo:anchor-latency-p99
vm-obs slo report --period 30d --format markdown
vm-obs dashboard list
vm-obs dashboard show system-overview
vm-obs dashboard export system-overview --format grafana
vm-obs query --type metric_snapshot --from 2025-12-01
vm-obs query --type log_batch --filter "log_counts.error > 0"
vm-obs query --type trace_complete --filter "duration_ms > 5000"
vm-obs query --type alert_fired,alert_resolved --node brick-02
vm-obs query --type slo_report --filter "overall_status != 'healthy'"
vm-obs query --type anomaly_detected --last 7d
vm-obs query --from 2025-12-01 --format parquet
vm-obs correlate --timestamp "2025-12-06T14:35:00Z" --window 15m
"#;

/// What goes beyond them.
const MORE: &str = r#"
vm-obs metrics query --query 'cpu_percent > 80 for 5m' --step 30s --format csv --data ./data
vm-obs metrics list --category system --format json --url http://10.0.0.1:9470
vm-obs metrics export --match '{job="node"}' --match up --last 2h --format openmetrics --data d
vm-obs logs query --query '{service_name="guardian"} |= "x"' --limit 5 --format markdown
vm-obs logs query --trace-id abc --data d
vm-obs logs tail --service guardian -f -n 5
vm-obs trace search --status error --attribute a=b --attribute c=1 --name settle --limit 3
vm-obs trace show abc --data d --format json
vm-obs alert ack a1 --comment c --by did:vm:user:x --follow-up 2025-12-06T16:00:00Z --suppress-escalation
vm-obs alert silence --alert NodeDown --matcher job=~n.* --duration 2h --reason r --by me
vm-obs alert silences
vm-obs alert unsilence s1
vm-obs slo create slo.yaml
vm-obs slo create --json '{"id":"slo:a"}'
vm-obs slo report --format html
vm-obs dashboard export system-overview --format json -o out.json
vm-obs dashboard export a.json --schema v2
vm-obs dashboard export a --saved 3
vm-obs dashboard check a.json dashboards --json --strict
vm-obs dashboard import a.json --data d --message m --by me --force
vm-obs dashboard import a.json --uid a
vm-obs dashboard versions a
vm-obs dashboard render a --panel 3 --last 6h --width 800 --height 400 --theme light --scale 2 --var job=a --var job=b -o a.png
vm-obs dashboard delete a
vm-obs query --data ./data --limit 3 --format jsonl
vm-obs correlate --window 5m --format json --data d
vm-obs verify
vm-obs verify ./data --require-witness --json
vm-obs verify --data ./data --policy policy.txt --expect-until 2025-12-06T14:00:00Z
vm-obs verify --help
vm-obs prove receipt 7 -o receipt-7.vmproof
vm-obs prove receipt 7 --tlog --data d
vm-obs prove log '{service_name="guardian"}' --time 2025-12-06T13:42:07.120Z --contains cycle -o x.vmproof
vm-obs prove log --time 1765028527120000000 --line "cycle 1 done"
vm-obs prove sample 'up{instance="brick-01:9100"}' --time 2025-12-06T13:30:00Z --revision 1
vm-obs prove span 0123456789abcdef0123456789abcdef 0123456789abcdef --time 2025-12-06T13:30:00Z
vm-obs rules check a.yml b.yml
vm-obs rules test a.test.yml
vm-obs pack list
vm-obs demo list
vm-obs demo break pod-drift
vm-obs demo heal
vm-obs health
vm-obs storage rebuild --data d --signal logs --yes
vm-obs storage redact --data d --signal traces --match '{ span.user = "x" }' --from 2025-12-06 --to 2025-12-07 --reason r --yes
vm-obs storage compact --data d --older-than 30d --gain-min 5
vm-obs status --format json
vm-obs targets list
vm-obs mcp --url http://127.0.0.1:9470
vm-obs openapi
vm-obs completion bash
"#;

#[test]
fn every_example_parses() {
    for line in ENGINE.lines().chain(MORE.lines()).filter(|l| !l.is_empty()) {
        if let Err(e) = Cli::try_parse_from(words(line)) {
            panic!("{line}\n{e}");
        }
    }
}

#[test]
fn mistakes_are_named() {
    for (line, said) in [
        ("vm-obs metrics query --last 1h --from 2025-12-01", "--from"),
        ("vm-obs metrics query --url http://x --data d", "--data"),
        ("vm-obs alert ack a1", "--comment"),
        ("vm-obs query --format yaml", "parquet"),
        ("vm-obs slo create", "FILE"),
        ("vm-obs prove receipt seven", "seven"),
        ("vm-obs nonsense", "nonsense"),
    ] {
        let e = Cli::try_parse_from(words(line)).unwrap_err().to_string();
        assert!(e.contains(said), "{line}: {e}");
    }
}

#[test]
fn clap_finds_no_fault() {
    Cli::command().debug_assert();
}

/// A stand-in that writes down what it is asked and gives one answer to everything.
async fn recorder(answer: Value) -> (String, Arc<Mutex<Vec<String>>>) {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&asked);
    let router = Router::new().fallback(move |request: Request| {
        let (kept, answer) = (Arc::clone(&kept), answer.clone());
        async move {
            let line = format!("{} {}", request.method(), request.uri());
            let body = axum::body::to_bytes(request.into_body(), 1 << 20).await.unwrap();
            let body = String::from_utf8_lossy(&body);
            kept.lock().unwrap().push(format!("{line} {body}").trim_end().to_owned());
            Json(answer)
        }
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    (url, asked)
}

/// What the verbs that change something, and those with many parameters, ask the server.
#[tokio::test]
async fn requests() {
    let (url, asked) = recorder(json!({"receipt_seq": 7, "acknowledged_by": "me"})).await;
    for line in [
        "vm-obs alert ack a/1 --comment looking --by me --follow-up 2025-12-06T16:00:00Z",
        "vm-obs alert silence --node brick-02 --alert NodeDown --matcher job=~n.* --duration 1h --reason r",
        "vm-obs alert unsilence s1",
        "vm-obs slo show slo:a --period 7d",
        "vm-obs metrics query --node brick-01 --metric cpu_percent --last 1h",
        "vm-obs trace search --service treasury --duration \">1s\" --attribute a=b --attribute c=1",
        "vm-obs logs search \"anchor failed\" --from 2025-12-01",
        "vm-obs query --type slo_report --filter \"overall_status != 'healthy'\"",
        "vm-obs demo break pod-drift",
    ] {
        let mut args = words(line);
        args.extend(["--url".to_owned(), url.clone()]);
        let (mut out, _written) = out::testing::memory();
        dispatch(Cli::try_parse_from(args).unwrap().command, &mut out).await.unwrap();
    }
    let asked = asked.lock().unwrap().join("\n");
    insta::assert_snapshot!(asked);
}
