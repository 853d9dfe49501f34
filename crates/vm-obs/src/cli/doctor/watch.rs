//! `--watch`: repeats, stores `doctor_*` series on the server, and calls the heartbeat address.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use anyhow::Context;
use obs_exercise::doctor::{Check, Report, Severity};
use obs_rules::parse_duration;
use serde_json::{Value, json};

use super::DoctorArgs;
use crate::cli::client::Client;
use crate::cli::out::Out;

/// Runs until it is stopped; `Err` only where the first run is impossible.
pub(super) async fn run(args: &DoctorArgs, out: &mut Out) -> anyhow::Result<bool> {
    let every = parse_duration(&args.every).map_err(anyhow::Error::msg).context("--every")?;
    let every = std::time::Duration::from_millis(every.0.unsigned_abs().max(1_000));
    let client = Client::server(&args.server)?;
    let mut first = true;
    loop {
        let start = tokio::time::Instant::now();
        match super::look(args).await {
            Ok(report) => {
                super::write(args, &report, out)?;
                let took = start.elapsed().as_secs_f64();
                if let Err(e) = store(&client, &report, took).await {
                    eprintln!("vm-obs: the outcome was not stored: {e:#}");
                }
                super::leave_receipt(args, &report, false).await;
                if report.is_clean() {
                    beat(args, &client).await;
                }
            }
            Err(e) if first => return Err(e),
            Err(e) => eprintln!("vm-obs: {e:#}"),
        }
        first = false;
        tokio::select! {
            () = tokio::time::sleep(every) => {}
            _ = tokio::signal::ctrl_c() => return Ok(true),
        }
    }
}

/// The series of one run, as OTLP gauges.
async fn store(client: &Client, report: &Report, took_seconds: f64) -> anyhow::Result<()> {
    let now = jiff::Timestamp::now();
    let body =
        series(report, took_seconds, now.as_second() as f64, &now.as_nanosecond().to_string());
    client.post("/otlp/v1/metrics", &body).await.map(|_| ())
}

fn series(report: &Report, took_seconds: f64, now_seconds: f64, ns: &str) -> Value {
    let mut found: BTreeMap<(Check, Severity), f64> = BTreeMap::new();
    for check in Check::ALL {
        for severity in [Severity::Critical, Severity::Warning] {
            found.insert((check, severity), 0.0);
        }
    }
    for f in &report.findings {
        *found.entry((f.check, f.severity)).or_default() += 1.0;
    }
    let text = |key: &str, value: &str| json!({"key": key, "value": {"stringValue": value}});
    let point = |value: f64, attributes: Vec<Value>| json!({"timeUnixNano": ns, "asDouble": value, "attributes": attributes});
    let findings: Vec<Value> = found
        .iter()
        .map(|((check, severity), n)| {
            point(*n, vec![text("check", check.id()), text("severity", severity.as_str())])
        })
        .collect();
    let ran: Vec<Value> = report
        .checks
        .iter()
        .map(|c| point(f64::from(u8::from(c.skipped.is_none())), vec![text("check", c.check.id())]))
        .collect();
    let gauge =
        |name: &str, points: Vec<Value>| json!({"name": name, "gauge": {"dataPoints": points}});
    json!({"resourceMetrics": [{
        "resource": {"attributes": [text("service.name", "doctor")]},
        "scopeMetrics": [{"metrics": [
            gauge("doctor_findings", findings),
            gauge("doctor_check_ran", ran),
            gauge("doctor_last_run_timestamp_seconds", vec![point(now_seconds, Vec::new())]),
            gauge("doctor_run_duration_seconds", vec![point(took_seconds, Vec::new())]),
        ]}],
    }]})
}

/// Silence at the other end says that the doctor, the server or the way there is gone.
async fn beat(args: &DoctorArgs, client: &Client) {
    let (Some(url), Client::Server { http, .. }) = (&args.heartbeat, client) else { return };
    let mut problem = String::new();
    match http.get(url).send().await {
        Ok(answer) if answer.status().is_success() => return,
        Ok(answer) => {
            // Writing to a string does not fail.
            let _written = write!(problem, "answered {}", answer.status());
        }
        // The address may hold a token.
        Err(e) => problem.push_str(&e.without_url().to_string()),
    }
    eprintln!("vm-obs: the heartbeat was not taken: {problem}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_check_and_severity_has_a_series() {
        let report = Report::default();
        let body = series(&report, 1.5, 10.0, "10000000000");
        let metrics = body["resourceMetrics"][0]["scopeMetrics"][0]["metrics"].as_array().unwrap();
        assert_eq!(metrics[0]["name"], "doctor_findings");
        let points = metrics[0]["gauge"]["dataPoints"].as_array().unwrap();
        assert_eq!(points.len(), 24);
        assert!(points.iter().all(|p| p["asDouble"] == 0.0));
        assert_eq!(metrics[3]["gauge"]["dataPoints"][0]["asDouble"], 1.5);
    }
}
