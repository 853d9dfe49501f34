//! Sends the demo world's logs and traces to the server, as its services would.

use std::sync::Arc;
use std::time::Duration;

use reqwest::Client;
use serde_json::Value;
use tokio::time::MissedTickBehavior;

use super::Inner;
use super::traffic::{self, TICKS_PER_SECOND};

/// A server that does not answer for so long gets the next tick's lines instead.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Where to send.
#[derive(Clone, Debug)]
pub(super) struct Destinations {
    pub(super) traces: String,
    pub(super) logs: String,
    pub(super) loki: String,
}

impl Destinations {
    pub(super) fn new(otlp_http: &str, loki: &str) -> Self {
        let (otlp_http, loki) = (otlp_http.trim_end_matches('/'), loki.trim_end_matches('/'));
        Self {
            traces: format!("{otlp_http}/v1/traces"),
            logs: format!("{otlp_http}/v1/logs"),
            loki: format!("{loki}/loki/api/v1/push"),
        }
    }
}

/// Ticks in real time until the task is aborted.
pub(super) async fn run(world: Arc<Inner>, to: Destinations) {
    let client = match Client::builder().timeout(TIMEOUT).no_proxy().build() {
        Ok(client) => client,
        Err(e) => {
            tracing::warn!(error = %e, "the demo world cannot send");
            return;
        }
    };
    let mut ticks = tokio::time::interval(Duration::from_secs_f64(1.0 / TICKS_PER_SECOND));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let batch = world.tick();
        let bodies = [
            (&to.traces, traffic::traces_to_otlp(&batch.spans)),
            (&to.logs, traffic::logs_to_otlp(&batch.logs)),
            (&to.loki, traffic::logs_to_loki(&batch.logs)),
        ];
        for (url, body) in bodies {
            if let Some(body) = body {
                post(&client, url, &body).await;
            }
        }
    }
}

/// What cannot be delivered is lost, as with any sender that keeps no queue.
async fn post(client: &Client, url: &str, body: &Value) {
    match client.post(url).json(body).send().await {
        Ok(answer) if !answer.status().is_success() => {
            tracing::debug!(url, status = answer.status().as_u16(), "demo data refused");
        }
        Ok(_) => {}
        Err(e) => tracing::debug!(url, error = %e, "demo data not delivered"),
    }
}
