//! The dead man's switch: an address outside is called as long as this server does its work.
//! Somebody there notices when the calls stop, whatever the reason.

use std::sync::Arc;
use std::time::Duration;

use obs_api::ApiState;
use obs_collect::registry::Registry;
use obs_types::{CancelToken, DurationMs, TimestampMs};
use tokio::sync::watch;

use crate::config::Heartbeat;

/// Rules and own samples older than this are no work.
const FRESH: DurationMs = DurationMs(90_000);
const TIMEOUT: Duration = Duration::from_secs(15);

/// Runs until `stopped` says so.
pub(super) async fn run(
    settings: Heartbeat,
    state: Arc<ApiState>,
    registry: Arc<Registry>,
    mut stopped: watch::Receiver<bool>,
) {
    let client = reqwest::Client::builder()
        .timeout(TIMEOUT)
        .redirect(reqwest::redirect::Policy::none())
        .build();
    let client = match client {
        Ok(client) => client,
        Err(e) => {
            tracing::error!(error = %e.without_url(), "no heartbeat is sent");
            return;
        }
    };
    let every = Duration::from_millis(settings.every.0.unsigned_abs());
    loop {
        tokio::select! {
            () = tokio::time::sleep(every) => {}
            _ = stopped.wait_for(|s| *s) => return,
        }
        let outcome = beat(&client, &settings, &state).await;
        let count = |outcome: &str| {
            registry
                .counter(
                    "vmobs_heartbeats_total",
                    "Calls of the dead man's switch: sent, refused at the other end, or withheld because something stands still.",
                    &[("outcome", outcome)],
                )
                .inc();
        };
        match outcome {
            Ok(()) => count("sent"),
            Err(Missed::Refused(why)) => {
                count("refused");
                tracing::warn!(reason = why, "heartbeat not taken");
            }
            Err(Missed::Withheld(why)) => {
                count("withheld");
                tracing::error!(
                    reason = why,
                    "heartbeat withheld: this server does not do its work"
                );
            }
        }
    }
}

enum Missed {
    Refused(String),
    Withheld(String),
}

async fn beat(
    client: &reqwest::Client,
    settings: &Heartbeat,
    state: &Arc<ApiState>,
) -> Result<(), Missed> {
    let looked = Arc::clone(state);
    let works = tokio::task::spawn_blocking(move || works(&looked)).await;
    works.map_err(|e| Missed::Withheld(e.to_string()))?.map_err(Missed::Withheld)?;
    // The address may hold a token, so no message repeats it.
    match client.get(&settings.url).send().await {
        Ok(answer) if answer.status().is_success() => Ok(()),
        Ok(answer) => Err(Missed::Refused(format!("answered {}", answer.status()))),
        Err(e) => Err(Missed::Refused(e.without_url().to_string())),
    }
}

/// Whether samples that were just stored come back, rules are evaluated, and the ledger takes
/// receipts.
fn works(state: &ApiState) -> Result<(), String> {
    let now = state.clock.now();
    let context = state.front.context(Some(TIMEOUT), CancelToken::default());
    let own = "max(timestamp(vmobs_build_info{job=\"vm-obs\"}))";
    let stored = state.front.instant(own, now, &context).map_err(|e| e.to_string())?;
    let stored = match stored.value {
        obs_promql::Value::Vector(all) => all.first().and_then(|s| s.value.as_float()),
        _ => None,
    };
    let stored = stored.ok_or("no sample of its own comes back")?;
    fresh("the newest own sample", TimestampMs((stored * 1000.0) as i64), now)?;
    if let Some(evaluated) = state.alerts.last_evaluation() {
        fresh("the last evaluation of rules", evaluated, now)?;
    }
    match state.ledger.frozen() {
        Some(reason) => Err(format!("the ledger takes no receipts: {reason}")),
        None => Ok(()),
    }
}

fn fresh(what: &str, at: TimestampMs, now: TimestampMs) -> Result<(), String> {
    let age = now.0.saturating_sub(at.0);
    if age > FRESH.0 {
        return Err(format!("{what} is {} s old", age / 1000));
    }
    Ok(())
}
