//! What happens on its own: collecting, evaluating, sealing, cleaning up. Every task has an owner
//! that stops and joins it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use obs_analysis::slo::InstantQuery;
use obs_api::ApiState;
use obs_collect::host::HostCollector;
use obs_collect::receivers::Sinks;
use obs_ledger::Cosigners;
use obs_notify::Notifier;
use obs_ops::storage::{Done, StorageService};
use obs_ops::{AlertStep, AnomalyService, DayIds, SealService};
use obs_rules::{AlertRecord, BookChange, StepContext};
use obs_types::{CancelToken, DurationMs, LabelSet, TimestampMs};

use super::anchors::Anchors;
use super::engines::Engines;
use super::held::Held;
use super::inlets::Inlets;
use super::room::Room;

/// Threads that stop together.
#[derive(Debug, Default)]
pub(super) struct Tasks {
    stop: Arc<AtomicBool>,
    threads: Vec<(String, JoinHandle<()>)>,
}

/// How long a task may sleep before it looks whether it should stop.
const NAP: Duration = Duration::from_millis(100);

impl Tasks {
    /// Runs `work` every `period` of real time on a thread of its own.
    pub(super) fn every(
        &mut self,
        name: &str,
        period: Duration,
        mut work: impl FnMut() + Send + 'static,
    ) -> anyhow::Result<()> {
        let stop = Arc::clone(&self.stop);
        self.spawn(name, move || {
            while !stop.load(Ordering::Relaxed) {
                let next = Instant::now() + period;
                work();
                while Instant::now() < next && !stop.load(Ordering::Relaxed) {
                    std::thread::sleep(NAP.min(next.saturating_duration_since(Instant::now())));
                }
            }
        })
    }

    /// Runs `work` once; it must watch [`Tasks::stopper`] itself.
    pub(super) fn spawn(
        &mut self,
        name: &str,
        work: impl FnOnce() + Send + 'static,
    ) -> anyhow::Result<()> {
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(work)?;
        self.threads.push((name.to_owned(), thread));
        Ok(())
    }

    pub(super) fn stopper(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.stop)
    }

    pub(super) fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        for (name, thread) in self.threads {
            if thread.join().is_err() {
                tracing::error!(task = name, "task panicked");
            }
        }
    }
}

/// What the periodic tasks work with.
#[derive(Clone)]
pub(super) struct World {
    pub state: Arc<ApiState>,
    pub engines: Engines,
    pub sinks: Sinks,
    pub notifier: Arc<Notifier>,
    pub seals: Arc<SealService>,
    pub storage: Arc<StorageService>,
    pub room: Arc<Room>,
    pub anomalies: Arc<AnomalyService>,
    pub running_since: TimestampMs,
    pub hot_retention: DurationMs,
    /// `None` where there are no aggregates of metrics.
    pub aggregate_retention: Option<DurationMs>,
    /// Numbers of operations.
    pub operations: Arc<DayIds>,
    /// What stands before the metrics engine.
    pub inlets: Inlets,
    /// `job` and `node` of vm-obs' own series.
    pub own_labels: LabelSet,
    /// Own and host metrics that the engine did not take yet.
    pub held: Held,
    /// Witnesses of this ledger.
    pub cosigners: Option<Arc<Cosigners>>,
    /// Places outside this node where checkpoints are kept.
    pub anchors: Option<Arc<Anchors>>,
    /// Receipts that the tiles on disk cover.
    pub tiled: Arc<AtomicU64>,
}

/// No tile was written by this process yet.
pub(super) const NOTHING_TILED: u64 = u64::MAX;

impl World {
    fn now(&self) -> TimestampMs {
        self.state.clock.now()
    }

    fn store(&self, batch: obs_types::MetricBatch, what: &str) {
        if batch.series.is_empty() {
            return;
        }
        if let Err(e) = self.sinks.metrics.append(batch) {
            tracing::warn!(what, error = %e, "samples not stored");
        }
    }

    /// Own metrics into the own engine.
    pub(super) fn own_metrics(&self) {
        let labels: Vec<(&str, &str)> = self.own_labels.iter().collect();
        let batch = self.state.registry.to_batch(self.now(), &labels);
        self.held.store(batch, "own metrics", self.sinks.metrics.as_ref());
    }

    pub(super) fn host_metrics(&self, collector: &HostCollector) {
        let batch = collector.collect(self.now());
        self.held.store(batch, "host metrics", self.sinks.metrics.as_ref());
    }

    /// Evaluates due rules, stores their samples, tells the notifier.
    pub(super) fn rules(&self) {
        let context = self.state.front.context(None, CancelToken::default());
        let clock = Arc::clone(&self.state.clock);
        let step_context = StepContext { query: &context, monotonic: &move || clock.monotonic() };
        let route = |alert: &AlertRecord| self.notifier.notified_names(alert);
        let source = self.held.over(self.state.front.metrics.as_ref());
        match self.state.alerts.step(self.now(), &source, &step_context, &route) {
            Ok(step) => self.settle(step),
            Err(e) => tracing::error!(error = %e, "rules not evaluated"),
        }
    }

    fn settle(&self, step: AlertStep) {
        self.store(step.batch, "rule results");
        for change in &step.changes {
            match change {
                BookChange::Fired(alert) | BookChange::Resolved(alert) => {
                    self.notifier.alert(alert)
                }
            }
        }
    }

    /// Gives out aggregates whose interval is over.
    pub(super) fn inlets(&self) {
        self.inlets.tick(self.now());
    }

    /// Evaluates objectives, stores their series, writes the daily report when a day begins.
    pub(super) fn objectives(&self) {
        let query = |text: &str, at: TimestampMs| self.state.front.values(text, at);
        let now = self.now();
        let batch = self.state.slos.evaluate(now, &query as &dyn InstantQuery, &self.own_labels);
        self.store(batch, "objectives");
        match self.state.slos.daily(now) {
            Ok(Some(seq)) => tracing::info!(seq, "daily SLO report recorded"),
            Ok(None) => {}
            Err(e) => tracing::error!(error = %e, "daily SLO report not written"),
        }
    }

    /// Makes the daily, weekly and monthly reports that are due.
    pub(super) fn reports(&self) {
        match self.state.make_due_reports() {
            Ok(made) if made.is_empty() => {}
            Ok(made) => tracing::info!(reports = made.join(", "), "reports made"),
            Err(e) => tracing::error!(error = %e, "report not made, it is tried again"),
        }
    }

    pub(super) fn watch(&self) {
        let query = |text: &str, at: TimestampMs| self.state.front.values(text, at);
        let open: Vec<String> = self.state.alerts.firing().into_iter().map(|a| a.id).collect();
        if let Err(e) = self.anomalies.step(self.now(), &query as &dyn InstantQuery, &open) {
            tracing::error!(error = %e, "anomalies not recorded");
        }
    }

    /// Seals hours that have ended.
    pub(super) fn seal(&self) {
        let sealed = || self.seals.seal_due(self.now(), self.running_since);
        if let Err(e) = self.storage.changing(sealed) {
            tracing::error!(error = %e, "hour not sealed, it is tried again");
        }
    }

    /// Seals late data; runs more seldom than [`World::seal`], because it compares whole hours.
    pub(super) fn seal_late(&self) {
        if let Err(e) = self.storage.changing(|| self.seals.seal_late()) {
            tracing::error!(error = %e, "late data not sealed, it is tried again");
        }
    }

    /// The Scheduler's turn.
    pub(super) fn anchor(&self) {
        if let Some(anchors) = &self.anchors {
            anchors.tick();
        }
    }

    /// Asks the witnesses of this ledger.
    pub(super) fn cosign(&self) {
        if let Some(cosigners) = &self.cosigners {
            super::witness::round(cosigners, &self.state.registry);
        }
    }

    /// The ledger's tiles beside its log, for whoever serves the folder as static files.
    pub(super) fn tiles(&self) {
        let size = self.state.ledger.head().size;
        let before = self.tiled.load(Ordering::Relaxed);
        if before == size {
            return;
        }
        // The first run compares every tile with the log.
        match self.state.ledger.write_tiles(before == NOTHING_TILED) {
            Ok(_) => self.tiled.store(size, Ordering::Relaxed),
            Err(e) => tracing::warn!(error = %e, "tiles not written, they are tried again"),
        }
    }

    /// Moves and deletes sealed files as the policy says.
    pub(super) fn storage(&self) {
        match self.storage.step(self.now()) {
            Ok(done) => told(&done, "policy"),
            Err(e) => tracing::error!(
                error = %e,
                failures = self.storage.backoff_level(),
                "sealed files not moved, they are tried again"
            ),
        }
    }

    /// Looks at the room on the disk, and makes some.
    pub(super) fn room(&self) {
        let missing = self.room.measure();
        if missing == 0 {
            return;
        }
        match self.storage.relieve(self.now(), missing) {
            Ok(done) => told(&done, "room on the disk"),
            Err(e) => tracing::error!(error = %e, "no room made, it is tried again"),
        }
    }

    /// Moves memory to blocks and lets old blocks go that are sealed.
    pub(super) fn maintain(&self) {
        self.storage.changing(|| self.move_to_blocks());
    }

    fn move_to_blocks(&self) {
        let now = self.now();
        if let Err(e) = self.engines.metrics.maintain(now) {
            tracing::error!(error = %e, "metrics not moved to blocks, tried again");
        }
        if let Err(e) = self.engines.logs.maintain(now) {
            tracing::error!(error = %e, "log lines not moved to blocks, tried again");
        }
        if let Err(e) = self.engines.traces.maintain(now) {
            tracing::error!(error = %e, "spans not moved to blocks, tried again");
        }
        if let Some(kept) = self.aggregate_retention {
            let keep = hour_floor(now.saturating_sub(kept));
            if let Err(e) = self.engines.metrics.drop_aggregates_before(keep) {
                tracing::error!(error = %e, "old aggregates not removed, tried again");
            }
        }
        // Only what is sealed, or a declared gap, may go.
        let sealed = self.seals.sealed_until().unwrap_or(TimestampMs::MIN);
        self.retain_metrics(now, sealed);
        let keep = hour_floor(now.saturating_sub(self.hot_retention)).min(sealed);
        if self.engines.boundary.load(Ordering::Acquire) < keep.0 {
            // Data may come days after its hour; what is not on record yet must get there first.
            if let Err(e) = self.seals.seal_before(keep) {
                tracing::error!(error = %e, "not all is sealed, old hours stay until it is");
                return;
            }
        }
        // The boundary moves first: from then on the archive answers for what is about to go.
        if self.engines.boundary.fetch_max(keep.0, Ordering::AcqRel) < keep.0 {
            let outcome = [
                self.engines.metrics.drop_before(keep).err().map(|e| e.to_string()),
                self.engines.logs.drop_before(keep.to_ns()).err().map(|e| e.to_string()),
                self.engines.traces.drop_before(keep.to_ns()).err().map(|e| e.to_string()),
            ];
            for error in outcome.into_iter().flatten() {
                tracing::error!(error, "old blocks not removed, tried again");
            }
        }
    }
}

fn told(done: &Done, why: &str) {
    if *done != Done::default() {
        tracing::info!(
            why,
            moved = done.moved.len(),
            deleted = done.deleted.len(),
            kept = done.kept.len(),
            bytes_freed = done.bytes_freed,
            "sealed files moved or deleted"
        );
    }
}

/// The start of the hour that holds `t`.
pub(crate) fn hour_floor(t: TimestampMs) -> TimestampMs {
    TimestampMs(t.0.div_euclid(DurationMs::HOUR.0) * DurationMs::HOUR.0)
}
