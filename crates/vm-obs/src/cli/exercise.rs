//! What load tests, probes, chaos experiments and gates share: where they are recorded, run ids,
//! exit codes.

use std::time::Duration;

use anyhow::Context as _;
use obs_types::{ContentHash, TimestampMs};
use serde_json::{Value, json};

use super::client::{Client, Parameters, base_url};

/// What was exercised failed.
pub(super) const EXIT_FAILED: u8 = 1;
/// It could not be run: bad input, a refusal, nobody to ask.
pub(super) const EXIT_REFUSED: u8 = 2;
/// Ended by Ctrl-C.
pub(super) const EXIT_INTERRUPTED: u8 = 130;

/// Where a run is recorded.
#[derive(clap::Args, Clone, Debug, Default)]
pub(super) struct RecordArgs {
    /// vm-obs server that gets metrics and receipts of the run [default: $VMOBS_URL, else
    /// http://127.0.0.1:9470 if it answers]
    #[arg(long, value_name = "URL", help_heading = "Record")]
    pub(super) server: Option<String>,
    /// Leave no metrics and receipts anywhere
    #[arg(long, help_heading = "Record", conflicts_with = "server")]
    pub(super) no_record: bool,
    /// Who runs it, for the receipt
    #[arg(
        long,
        value_name = "DID",
        default_value = "did:vm:user:sovereign",
        help_heading = "Record"
    )]
    pub(super) by: String,
}

/// One run on record.
#[derive(Clone, Debug)]
pub(super) struct Run {
    pub(super) kind: &'static str,
    pub(super) id: String,
    pub(super) name: String,
    pub(super) target: String,
    pub(super) started: jiff::Timestamp,
    by: String,
    client: Option<Client>,
}

impl RecordArgs {
    /// The server, where one is meant and answers. A server that was named must answer.
    pub(super) async fn client(&self) -> anyhow::Result<Option<Client>> {
        if self.no_record {
            return Ok(None);
        }
        let named = self.server.is_some() || std::env::var("VMOBS_URL").is_ok();
        let client = Client::at(base_url(self.server.as_deref()))?;
        let nothing = Parameters::new();
        let asked = client.text("/-/ready", &nothing);
        match tokio::time::timeout(Duration::from_secs(5), asked).await {
            Ok(Ok(_)) => Ok(Some(client)),
            Ok(Err(e)) if named => Err(e),
            Err(_elapsed) if named => anyhow::bail!("{client} gave no answer within 5 s"),
            _ => {
                eprintln!("vm-obs: not recorded, no server at {client} (--server names another)");
                Ok(None)
            }
        }
    }

    /// Says that a run begins.
    pub(super) async fn begin(
        &self,
        kind: &'static str,
        name: &str,
        target: &str,
        client: Option<Client>,
    ) -> anyhow::Result<Run> {
        let started = jiff::Timestamp::now();
        let run = Run {
            kind,
            id: run_id(kind, name, started)?,
            name: name.to_owned(),
            target: target.to_owned(),
            started,
            by: self.by.clone(),
            client,
        };
        run.receipt(None, "running", "", None).await?;
        Ok(run)
    }
}

/// `load-smoke-20251206T140000-1f2e3d4c`
fn run_id(kind: &str, name: &str, at: jiff::Timestamp) -> anyhow::Result<String> {
    let plain: String = name
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' })
        .take(40)
        .collect();
    let stamp = at.strftime("%Y%m%dT%H%M%S");
    Ok(format!("{kind}-{}-{stamp}-{:08x}", plain.trim_matches('-'), seed()? as u32))
}

pub(super) fn seed() -> anyhow::Result<u64> {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).map_err(|e| anyhow::anyhow!("no random numbers: {e}"))?;
    Ok(u64::from_le_bytes(bytes))
}

impl Run {
    /// Says that it has ended; gives the number of the receipt where it is recorded.
    pub(super) async fn end(
        &self,
        outcome: &str,
        summary: &str,
        report: &[u8],
    ) -> anyhow::Result<Option<u64>> {
        let hash = ContentHash(obs_proof::hash::blake3_of(report));
        self.receipt(Some(jiff::Timestamp::now()), outcome, summary, Some(hash)).await
    }

    async fn receipt(
        &self,
        ended: Option<jiff::Timestamp>,
        outcome: &str,
        summary: &str,
        report: Option<ContentHash>,
    ) -> anyhow::Result<Option<u64>> {
        let Some(client) = &self.client else { return Ok(None) };
        let cut = |text: &str, most: usize| -> String {
            let mut out = String::new();
            for c in text.chars().take_while(|c| *c != '\0') {
                if out.len() + c.len_utf8() > most {
                    break;
                }
                out.push(c);
            }
            out
        };
        let body = json!({
            "exercise": self.kind, "run_id": self.id, "name": cut(&self.name, 500),
            "target": cut(&self.target, 500), "by": self.by,
            "started_at": self.started.to_string(), "ended_at": ended.map(|t| t.to_string()),
            "outcome": outcome, "summary": cut(summary, 4_000),
            "report_hash": report.map(|h| h.to_string()),
        });
        let answer =
            client.post("/obs/exercises", &body).await.context("the run is not recorded")?;
        Ok(answer.json.get("receipt_seq").and_then(Value::as_u64))
    }

    pub(super) fn client(&self) -> Option<&Client> {
        self.client.as_ref()
    }

    /// Stores lines of Prometheus' text format with timestamps; a failure is said, not fatal.
    pub(super) async fn push(&self, lines: &str) {
        if let Some(client) = &self.client
            && !lines.is_empty()
            && let Err(e) = client.push_text("/api/v1/import/prometheus", lines).await
        {
            eprintln!("vm-obs: metrics of the run were not stored: {e:#}");
        }
    }
}

/// A line of the text format; `labels` are escaped.
pub(super) fn sample(name: &str, labels: &[(&str, &str)], value: f64, at: TimestampMs) -> String {
    let labels: Vec<String> = labels
        .iter()
        .map(|(n, v)| {
            let v = v.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            format!("{n}=\"{v}\"")
        })
        .collect();
    format!("{name}{{{}}} {value} {}\n", labels.join(","), at.0)
}

/// The values of an instant query, in the order of the answer.
pub(super) async fn instant(client: &Client, query: &str) -> anyhow::Result<Vec<f64>> {
    let parameters = vec![("query", query.to_owned())];
    let answer = client.get("/api/v1/query", &parameters).await?;
    let data = answer.json.get("data").unwrap_or(&Value::Null);
    let number = |pair: Option<&Value>| pair?.get(1)?.as_str()?.parse::<f64>().ok();
    Ok(match data.get("resultType").and_then(Value::as_str) {
        Some("scalar") => number(data.get("result")).into_iter().collect(),
        Some("vector") => {
            let all = data.get("result").and_then(Value::as_array);
            all.into_iter().flatten().filter_map(|s| number(s.get("value"))).collect()
        }
        other => anyhow::bail!("{query:?} gives {other:?}, a vector or scalar is expected"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn run_ids_and_samples() {
        let at = "2025-12-06T14:00:00Z".parse().unwrap();
        let id = run_id("load", "A b/ü", at).unwrap();
        assert!(
            id.starts_with("load-a-b-20251206T140000-") || id.starts_with("load-a-b--"),
            "{id}"
        );
        let line = sample("x_total", &[("a", "q\"\\\n")], 1.5, TimestampMs(7));
        assert_eq!(line, "x_total{a=\"q\\\"\\\\\\n\"} 1.5 7\n");
    }
}
