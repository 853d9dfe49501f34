//! Opens the data folder: engines, archive, and the front over them.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicI64;

use anyhow::Context;
use obs_analysis::slo::Slo;
use obs_archive::{Archive, ColdTier};
use obs_disk::{Clock, Disk, WalConfig};
use obs_ledger::Ledger;
use obs_logs::LogsEngine;
use obs_metrics::MetricsEngine;
use obs_ops::{AlertService, DayIds, ReportService, SloService};
use obs_query::{QueryFront, QueryLimits, Retained, TieredLogs, TieredMetrics, TieredTraces};
use obs_rules::{GroupOptions, InhibitRule, RuleFile};
use obs_traces::TracesEngine;
use obs_types::{DurationMs, NodeName, RetentionRules, SeriesSource, TimestampMs};

use super::retention;
use super::tasks::hour_floor;
use crate::refill;

/// Whether the data folder may be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    ReadWrite,
    ReadOnly,
}

/// Late enough for everything.
pub(crate) const ANY_AGE: DurationMs = DurationMs(i64::MAX / 4_000_000);

/// The three engines and the archive of one data folder.
#[derive(Clone)]
pub(crate) struct Engines {
    pub metrics: Arc<MetricsEngine>,
    pub logs: Arc<LogsEngine>,
    pub traces: Arc<TracesEngine>,
    pub archive: Arc<Archive>,
    /// The oldest instant that the engines still hold; before it the archive answers.
    pub boundary: Arc<AtomicI64>,
    /// Series of metrics that are kept for another time than the rest.
    pub retention: Arc<RetentionRules>,
}

impl Engines {
    /// Opens or creates everything below `data`; replays the write-ahead logs. Rules of retention
    /// are those of the server that last ran there.
    pub(crate) fn open(
        data: &Path,
        disk: &Arc<dyn Disk>,
        clock: &Arc<dyn Clock>,
        access: Access,
    ) -> anyhow::Result<Self> {
        let retention = retention::load(data)?;
        let limits = obs_metrics::Limits { retention, ..obs_metrics::Limits::standard() };
        Self::open_with(data, disk, clock, access, None, limits)
    }

    /// [`Self::open`] with other limits on samples, and how long the engines keep what they hold:
    /// lines and spans that are older than that when they come are refused, because they could
    /// neither stay nor get on record. `None` keeps everything and takes lines and spans of any age.
    pub(crate) fn open_with(
        data: &Path,
        disk: &Arc<dyn Disk>,
        clock: &Arc<dyn Clock>,
        access: Access,
        hot_retention: Option<DurationMs>,
        limits: obs_metrics::Limits,
    ) -> anyhow::Result<Self> {
        if access == Access::ReadWrite {
            refill::finish(data)?;
        }
        let hot_since = hot_retention
            .map_or(TimestampMs::MIN, |kept| hour_floor(clock.now().saturating_sub(kept)));
        let mut log_limits = obs_logs::Limits::standard();
        let mut trace_limits = obs_traces::TraceLimits::standard();
        match hot_retention {
            Some(kept) => {
                log_limits.past_max = log_limits.past_max.min(kept);
                trace_limits.past_max = trace_limits.past_max.min(kept);
            }
            None => {
                log_limits.past_max = ANY_AGE;
                trace_limits.past_max = ANY_AGE;
            }
        }
        let retention = Arc::new(limits.retention.clone());
        let metrics = open_metrics(data, disk, clock, access, limits)?;
        let logs = open_logs(data, disk, clock, access, log_limits)?;
        let traces = open_traces(data, disk, clock, access, trace_limits)?;
        // Whoever knows a cold store connects it.
        let cold = ColdTier::new(None, data.join("cache"), Arc::clone(disk), 0);
        let key = seal_key(data, access)?;
        let archive = Archive::open_tiered(data, Arc::clone(disk), key, Arc::new(cold))
            .context("cannot open the archive")?;
        Ok(Self {
            metrics,
            logs,
            traces,
            archive: Arc::new(archive),
            boundary: Arc::new(AtomicI64::new(hot_since.0)),
            retention,
        })
    }

    /// Hot engines and archive as one.
    pub(crate) fn front(&self, clock: &Arc<dyn Clock>, limits: QueryLimits) -> QueryFront {
        let boundary = || Arc::clone(&self.boundary);
        let (metrics, logs, traces) =
            (self.metrics.clone(), self.logs.clone(), self.traces.clone());
        let archive = || self.archive.clone();
        let mut metrics: Arc<dyn SeriesSource> = Arc::new(
            TieredMetrics::new(metrics, archive(), boundary())
                .holding_longer(self.retention.hold_longer()),
        );
        if !self.retention.is_empty() {
            metrics =
                Arc::new(Retained::new(metrics, Arc::clone(&self.retention), Arc::clone(clock)));
        }
        QueryFront::new(
            metrics,
            Arc::new(TieredLogs::new(logs, archive(), boundary())),
            Arc::new(TieredTraces::new(traces, archive(), boundary())),
            Arc::clone(clock),
            limits,
        )
        .with_boundary(boundary())
    }

    /// Writes what is in memory and closes the logs.
    pub(crate) fn shutdown(&self) {
        self.metrics.shutdown();
        if let Err(e) = self.logs.shutdown() {
            tracing::error!(error = %e, "log engine not closed cleanly; its log is replayed at the next start");
        }
        if let Err(e) = self.traces.shutdown() {
            tracing::error!(error = %e, "trace engine not closed cleanly; its log is replayed at the next start");
        }
    }
}

/// The metrics engine of a data folder.
pub(crate) fn open_metrics(
    data: &Path,
    disk: &Arc<dyn Disk>,
    clock: &Arc<dyn Clock>,
    access: Access,
    limits: obs_metrics::Limits,
) -> anyhow::Result<Arc<MetricsEngine>> {
    MetricsEngine::open(obs_metrics::MetricsConfig {
        dir: data.join("metrics"),
        wal_dir: data.join("wal/metrics"),
        disk: Arc::clone(disk),
        clock: Arc::clone(clock),
        mode: match access {
            Access::ReadWrite => obs_metrics::OpenMode::ReadWrite,
            Access::ReadOnly => obs_metrics::OpenMode::ReadOnly,
        },
        limits,
    })
    .context("cannot open the metrics engine")
}

/// The log engine of a data folder.
pub(crate) fn open_logs(
    data: &Path,
    disk: &Arc<dyn Disk>,
    clock: &Arc<dyn Clock>,
    access: Access,
    limits: obs_logs::Limits,
) -> anyhow::Result<Arc<LogsEngine>> {
    LogsEngine::open(obs_logs::LogsConfig {
        dir: data.join("logs"),
        wal_dir: data.join("wal/logs"),
        disk: Arc::clone(disk),
        clock: Arc::clone(clock),
        mode: match access {
            Access::ReadWrite => obs_logs::OpenMode::ReadWrite,
            Access::ReadOnly => obs_logs::OpenMode::ReadOnly,
        },
        limits,
    })
    .context("cannot open the log engine")
}

/// The trace engine of a data folder.
pub(crate) fn open_traces(
    data: &Path,
    disk: &Arc<dyn Disk>,
    clock: &Arc<dyn Clock>,
    access: Access,
    limits: obs_traces::TraceLimits,
) -> anyhow::Result<Arc<TracesEngine>> {
    TracesEngine::open(obs_traces::TracesConfig {
        dir: data.join("traces"),
        wal_dir: data.join("wal/traces"),
        disk: Arc::clone(disk),
        clock: Arc::clone(clock),
        mode: match access {
            Access::ReadWrite => obs_traces::OpenMode::ReadWrite,
            Access::ReadOnly => obs_traces::OpenMode::ReadOnly,
        },
        wal: WalConfig::standard(),
        limits,
    })
    .context("cannot open the trace engine")
}

/// What alerts and objectives are opened with, beside the data folder and its ledger.
pub(crate) struct ServiceSettings<'a> {
    pub node: NodeName,
    pub options: GroupOptions,
    pub rules: &'a [RuleFile],
    pub inhibit: Vec<InhibitRule>,
    pub slos: Vec<Slo>,
    pub now: TimestampMs,
}

/// Alerts, objectives and reports with the state that the data folder holds of them.
pub(crate) fn open_services(
    data: &Path,
    disk: &Arc<dyn Disk>,
    ledger: &Arc<Ledger>,
    operations: Arc<DayIds>,
    settings: ServiceSettings<'_>,
) -> anyhow::Result<(Arc<AlertService>, Arc<SloService>, Arc<ReportService>)> {
    let alerts = AlertService::open(
        data.to_owned(),
        Arc::clone(disk),
        Arc::clone(ledger),
        Arc::clone(&operations),
        &settings.node,
        settings.options,
        settings.rules,
        settings.inhibit,
        settings.now,
    )?;
    let slos = SloService::open(
        data.to_owned(),
        Arc::clone(disk),
        Arc::clone(ledger),
        Arc::clone(&operations),
        settings.slos,
        settings.now,
    )?;
    let reports =
        ReportService::open(data.to_owned(), Arc::clone(disk), Arc::clone(ledger), operations)?;
    Ok((Arc::new(alerts), Arc::new(slos), Arc::new(reports)))
}

/// The secret that salts record trees; made at the first start. A reader without it can still read
/// and verify, because every sealed file carries its own hour key.
pub(crate) fn seal_key(data: &Path, access: Access) -> anyhow::Result<[u8; 32]> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;

    let path = data.join("state/seal.key");
    if let Ok(bytes) = std::fs::read(&path) {
        return bytes
            .try_into()
            .map_err(|_wrong| anyhow::anyhow!("{} does not hold 32 bytes", path.display()));
    }
    if access == Access::ReadOnly {
        return Ok([0; 32]);
    }
    let mut key = [0; 32];
    getrandom::fill(&mut key).map_err(|e| anyhow::anyhow!("no random bytes: {e}"))?;
    std::fs::create_dir_all(data.join("state"))?;
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&path)
        .with_context(|| format!("cannot create {}", path.display()))?;
    file.write_all(&key)?;
    file.sync_all()?;
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use obs_disk::{ManualClock, RealDisk};
    use obs_types::{LabelSet, LogRecord, LogSink};

    const NOW: TimestampMs = TimestampMs(1_765_031_234_567);

    fn open(data: &Path, hot: Option<DurationMs>) -> Engines {
        let disk: Arc<dyn Disk> = Arc::new(RealDisk);
        let clock: Arc<dyn Clock> = Arc::new(ManualClock::new(NOW));
        let limits = obs_metrics::Limits::standard();
        Engines::open_with(data, &disk, &clock, Access::ReadWrite, hot, limits).unwrap()
    }

    fn takes(engines: &Engines, age: DurationMs) -> bool {
        let record = LogRecord {
            timestamp: NOW.saturating_sub(age).to_ns(),
            stream: LabelSet::from_pairs([("service_name", "guardian")]),
            line: format!("{} ms old", age.0),
            metadata: LabelSet::empty(),
        };
        engines.logs.append(vec![record]).unwrap().accepted == 1
    }

    /// The archive answers before the first whole hour of the hot retention, and what is older than
    /// that when it comes is refused: it could neither stay nor get on record.
    #[test]
    fn hot_retention_bounds_what_the_engines_answer_and_take() {
        let dir = tempfile::tempdir().unwrap();
        for days in [2, 7, 30] {
            let hot = DurationMs(days * DurationMs::DAY.0);
            let engines = open(&dir.path().join(days.to_string()), Some(hot));
            let boundary = engines.boundary.load(std::sync::atomic::Ordering::Acquire);
            assert_eq!(boundary, hour_floor(NOW.saturating_sub(hot)).0);
            assert!(boundary <= NOW.0 - hot.0 && NOW.0 - hot.0 - boundary < DurationMs::HOUR.0);
            let most = obs_logs::Limits::standard().past_max.min(hot);
            assert!(takes(&engines, DurationMs(most.0 - 1_000)), "{days} days");
            assert!(!takes(&engines, DurationMs(most.0 + 1_000)), "{days} days");
            assert!(!takes(&engines, DurationMs(hot.0 + 1_000)), "{days} days");
            engines.shutdown();
        }
    }

    #[test]
    fn without_a_hot_retention_everything_is_taken_and_kept() {
        let dir = tempfile::tempdir().unwrap();
        let engines = open(dir.path(), None);
        let boundary = engines.boundary.load(std::sync::atomic::Ordering::Acquire);
        assert_eq!(boundary, TimestampMs::MIN.0);
        assert!(takes(&engines, DurationMs(3_000 * DurationMs::DAY.0)));
        engines.shutdown();
    }

    /// What an interrupted exchange has decided counts before anything is opened.
    #[test]
    fn an_exchange_that_was_decided_is_finished_first() {
        let dir = tempfile::tempdir().unwrap();
        let engines = open(dir.path(), None);
        assert!(takes(&engines, DurationMs(1_000)));
        engines.shutdown();
        std::fs::create_dir_all(dir.path().join("refill/logs")).unwrap();
        std::fs::create_dir_all(dir.path().join("refill/wal/logs")).unwrap();
        std::fs::write(dir.path().join("refill/READY"), "keep set-aside-1\nlogs\n").unwrap();
        let engines = open(dir.path(), None);
        let stats = engines.logs.stats();
        assert_eq!(stats.head_entries + stats.block_entries, 0, "the new engine is empty");
        assert!(
            dir.path().join("set-aside-1/logs").exists() && !dir.path().join("refill").exists()
        );
        engines.shutdown();
    }
}
