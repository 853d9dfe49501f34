//! Check 1: something small in by each protocol, and out again through each API.

use std::time::{Duration, Instant};

use obs_disk::bytes::{put_bytes, put_u64};
use obs_exercise::doctor::CanaryInput;
use obs_types::TimestampMs;
use serde_json::{Value, json};

use super::live::PATIENCE;
use crate::cli::client::{Client, Parameters};

const AGAIN: Duration = Duration::from_millis(100);

pub(super) async fn run(client: &Client, now: TimestampMs) -> Vec<CanaryInput> {
    let mut out = Vec::new();
    // The value tells this run's canary from an earlier one's.
    let value = now.0;
    let ns = now.to_ns().0.to_string();
    let sent = remote_write(client, now).await;
    let query = format!("doctor_canary{{protocol=\"remote_write\"}} == {value}");
    metric(client, "remote write", sent, &query, now, &mut out).await;

    let sent = post(client, "/otlp/v1/metrics", &otlp_metric(value, &ns)).await;
    let query = format!("doctor_canary{{protocol=\"otlp\"}} == {value}");
    metric(client, "OTLP metrics", sent, &query, now, &mut out).await;

    let line = format!("canary {value}");
    let push = json!({"streams": [{
        "stream": {"service_name": "doctor", "protocol": "loki"}, "values": [[ns, line]],
    }]});
    let sent = post(client, "/loki/api/v1/push", &push).await;
    log(
        client,
        "Loki push",
        sent,
        &line,
        "{service_name=\"doctor\",protocol=\"loki\"}",
        now,
        &mut out,
    )
    .await;

    let otlp_line = format!("otlp canary {value}");
    let body = json!({"resourceLogs": [{
        "resource": resource(),
        "scopeLogs": [{"logRecords": [{"timeUnixNano": ns, "severityText": "INFO", "body": {"stringValue": otlp_line}}]}],
    }]});
    let sent = post(client, "/otlp/v1/logs", &body).await;
    log(client, "OTLP logs", sent, &otlp_line, "{service_name=\"doctor\"}", now, &mut out).await;

    let id =
        format!("{:032x}", 0xd0c7_0000_0000_0000_u128 << 64 | u128::from(value.unsigned_abs()));
    let span = json!({
        "traceId": id, "spanId": format!("{:016x}", value.unsigned_abs() | 1), "name": "canary",
        "kind": 1, "startTimeUnixNano": ns, "endTimeUnixNano": (now.to_ns().0 + 1_000_000).to_string(),
    });
    let body = json!({"resourceSpans": [{
        "resource": resource(), "scopeSpans": [{"spans": [span]}],
    }]});
    let sent = post(client, "/otlp/v1/traces", &body).await;
    for path in ["/tempo/api/traces/", "/obs/traces/"] {
        let path = format!("{path}{id}");
        let there = |json: &Value| json.to_string().contains("canary");
        put(client, "OTLP traces", sent.clone(), &path, Vec::new(), &there, &mut out).await;
    }
    out
}

fn resource() -> Value {
    json!({"attributes": [{"key": "service.name", "value": {"stringValue": "doctor"}}]})
}

fn otlp_metric(value: i64, ns: &str) -> Value {
    let point = json!({
        "timeUnixNano": ns, "asDouble": value as f64,
        "attributes": [{"key": "protocol", "value": {"stringValue": "otlp"}}],
    });
    json!({"resourceMetrics": [{
        "resource": resource(),
        "scopeMetrics": [{"metrics": [{"name": "doctor_canary", "gauge": {"dataPoints": [point]}}]}],
    }]})
}

async fn post(client: &Client, path: &str, body: &Value) -> Result<(), String> {
    send(client, path, "application/json", &[], body.to_string().into_bytes()).await
}

async fn send(
    client: &Client,
    path: &str,
    kind: &str,
    headers: &[(&str, &str)],
    body: Vec<u8>,
) -> Result<(), String> {
    let Client::Server { http, base } = client else {
        return Err("a data folder takes nothing in".to_owned());
    };
    let mut request = http.post(format!("{base}{path}")).header("content-type", kind).body(body);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = request.send().await.map_err(|e| e.to_string())?;
    let status = response.status();
    let text = response.text().await.unwrap_or_default();
    if status.is_success() { Ok(()) } else { Err(format!("{path} answered {status}: {text}")) }
}

/// Remote write 1.0, by hand: one series with one sample.
async fn remote_write(client: &Client, now: TimestampMs) -> Result<(), String> {
    // A length-delimited field is its number and what the engines call bytes.
    fn field(out: &mut Vec<u8>, number: u8, bytes: &[u8]) {
        out.push(number << 3 | 2);
        put_bytes(out, bytes);
    }
    let mut series = Vec::new();
    for (name, value) in
        [("__name__", "doctor_canary"), ("job", "doctor"), ("protocol", "remote_write")]
    {
        let mut label = Vec::new();
        field(&mut label, 1, name.as_bytes());
        field(&mut label, 2, value.as_bytes());
        field(&mut series, 1, &label);
    }
    let mut sample = vec![1 << 3 | 1];
    sample.extend_from_slice(&(now.0 as f64).to_le_bytes());
    sample.push(2 << 3);
    put_u64(&mut sample, now.0.unsigned_abs());
    field(&mut series, 2, &sample);
    let mut request = Vec::new();
    field(&mut request, 1, &series);
    let body = snap::raw::Encoder::new().compress_vec(&request).map_err(|e| e.to_string())?;
    let headers = [("content-encoding", "snappy"), ("x-prometheus-remote-write-version", "0.1.0")];
    send(client, "/api/v1/write", "application/x-protobuf", &headers, body).await
}

async fn metric(
    client: &Client,
    protocol: &str,
    sent: Result<(), String>,
    query: &str,
    now: TimestampMs,
    out: &mut Vec<CanaryInput>,
) {
    let there = |json: &Value| json.pointer("/data/result/0").is_some();
    for path in ["/api/v1/query", "/prometheus/api/v1/query"] {
        let parameters = vec![
            ("query", query.to_owned()),
            ("time", format!("{:.3}", now.as_seconds_f64() + 1.0)),
        ];
        put(client, protocol, sent.clone(), path, parameters, &there, out).await;
    }
}

async fn log(
    client: &Client,
    protocol: &str,
    sent: Result<(), String>,
    line: &str,
    selector: &str,
    now: TimestampMs,
    out: &mut Vec<CanaryInput>,
) {
    let there = |json: &Value| json.pointer("/data/result/0").is_some();
    let parameters = vec![
        ("query", format!("{selector} |= \"{line}\"")),
        ("start", (now.0 - 1_000).saturating_mul(1_000_000).to_string()),
        ("end", (now.0 + 1_000).saturating_mul(1_000_000).to_string()),
    ];
    put(client, protocol, sent, "/loki/api/v1/query_range", parameters, &there, out).await;
}

/// Asks until it is there.
async fn put(
    client: &Client,
    protocol: &str,
    sent: Result<(), String>,
    path: &str,
    parameters: Parameters,
    there: &dyn Fn(&Value) -> bool,
    out: &mut Vec<CanaryInput>,
) {
    let outcome = match sent {
        Err(e) => Err(format!("refused: {e}")),
        Ok(()) => wait(client, path, &parameters, there).await,
    };
    out.push(CanaryInput { protocol: protocol.to_owned(), api: format!("GET {path}"), outcome });
}

async fn wait(
    client: &Client,
    path: &str,
    parameters: &Parameters,
    there: &dyn Fn(&Value) -> bool,
) -> Result<i64, String> {
    let start = Instant::now();
    loop {
        let answer = client.get(path, parameters).await;
        if answer.as_ref().is_ok_and(|a| there(&a.json)) {
            return Ok(i64::try_from(start.elapsed().as_millis()).unwrap_or(i64::MAX));
        }
        if start.elapsed() > PATIENCE {
            let what = answer.map_or_else(|e| format!("{e:#}"), |_| "not there".to_owned());
            return Err(format!("{what} after {} s", PATIENCE.as_secs()));
        }
        tokio::time::sleep(AGAIN).await;
    }
}
