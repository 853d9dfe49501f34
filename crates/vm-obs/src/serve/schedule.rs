//! Which task runs how often.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use obs_collect::host::HostCollector;
use obs_collect::{FileTailer, SelfTelemetryDrain, TailConfig};

use super::ports::Addresses;
use super::tasks::{Tasks, World};
use crate::config::Config;

/// Shortest period of a task under a simulated clock.
const PERIOD_MIN: Duration = Duration::from_millis(100);

/// Starts everything that happens on its own.
pub(super) fn start(
    config: &Config,
    data: &Path,
    world: &World,
    drain: SelfTelemetryDrain,
    addresses: &Addresses,
) -> anyhow::Result<Tasks> {
    let mut tasks = Tasks::default();
    let stopper = tasks.stopper();
    let (logs, traces) = (Arc::clone(&world.sinks.logs), Arc::clone(&world.sinks.traces));
    tasks.spawn("self-observation", move || {
        let stop = || stopper.load(Ordering::Relaxed);
        drain.run(logs.as_ref(), traces.as_ref(), &stop);
    })?;
    // Periods follow the clock, so that a simulated day has as many samples as a real one, as far
    // as the machine keeps up.
    let pace = |period: Duration| world.state.clock.real(period).max(PERIOD_MIN);
    let every = |seconds: u64| pace(Duration::from_secs(seconds));
    macro_rules! task {
        ($name:literal, $period:expr, $method:ident) => {{
            let w = world.clone();
            tasks.every($name, $period, move || w.$method())?;
        }};
    }
    if let Some(period) = config.host_interval {
        let collector = HostCollector::new(&addresses.http.to_string(), &config.node);
        let w = world.clone();
        tasks.every("host-metrics", pace(period), move || w.host_metrics(&collector))?;
    }
    task!("own-metrics", every(5), own_metrics);
    task!("rules", every(15).min(Duration::from_millis(250)), rules);
    if world.inlets.any() {
        task!("inlets", every(1), inlets);
    }
    task!("objectives", every(10), objectives);
    task!("anomalies", every(10), watch);
    task!("reports", every(30), reports);
    task!("seal", every(1), seal);
    task!("seal-late", every(300), seal_late);
    task!("tiles", every(10), tiles);
    if world.anchors.is_some() {
        task!("anchors", every(5), anchor);
    }
    if world.cosigners.is_some() {
        let seconds = config.ledger.witness_interval.0.unsigned_abs().div_ceil(1_000);
        task!("witnesses", every(seconds), cosign);
    }
    task!("maintain", every(30), maintain);
    task!("room", Duration::from_secs(1), room);
    task!("storage", every(60), storage);
    for (i, tail) in config.tail.iter().enumerate() {
        let state = data.join(format!("state/tail-{i}.json"));
        let tailer = FileTailer::new(
            TailConfig {
                paths: tail.paths.clone(),
                labels: tail.labels.with("node", &config.node),
                from_start: tail.from_start,
            },
            state,
        );
        let stopper = tasks.stopper();
        let (logs, clock) = (Arc::clone(&world.sinks.logs), Arc::clone(&world.state.clock));
        tasks.spawn("file-tail", move || {
            let stop = || stopper.load(Ordering::Relaxed);
            tailer.run(&logs, &clock, Duration::from_millis(500), &stop);
        })?;
    }
    Ok(tasks)
}
