//! The routes over a data folder that no server runs on, or that one runs on and is left alone.
//!
//! Everything is opened for reading: no lock is taken, nothing is written, and what is seen is
//! what was durable at the opening.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use anyhow::{Context, bail};
use axum::Router;
use obs_api::{ApiOptions, ApiState, ServerInfo};
use obs_archive::{Archive, Signal};
use obs_collect::registry::Registry;
use obs_disk::{Clock, Disk, RealDisk, SystemClock};
use obs_ledger::{Ledger, LedgerConfig, LedgerMode};
use obs_ops::{DashboardService, DayIds, ExerciseService};
use obs_query::QueryLimits;
use obs_rules::GroupOptions;
use obs_types::{DurationMs, LabelSet, NodeName, TimestampMs};
use tokio::sync::Semaphore;

use crate::serve::{Access, Engines, ServiceSettings, open_services, query_checker};

/// Queries that run at a time; a command asks one question.
const QUERY_PLACES: usize = 2;

/// The routes; those that would change something fail.
pub(crate) fn router(dir: &Path) -> anyhow::Result<Router> {
    let data = std::fs::canonicalize(dir)
        .with_context(|| format!("there is no data folder {}", dir.display()))?;
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let now = clock.now();
    let ledger = Arc::new(open_ledger(&data, &disk, &clock, LedgerMode::ReadOnly)?);
    let engines = Engines::open(&data, &disk, &clock, Access::ReadOnly)?;
    crate::storage::learn(&ledger, &engines.archive)?;
    engines.boundary.store(sealed_until(&engines.archive).0, Ordering::Release);
    let operations = Arc::new(DayIds::from_ledger(&ledger, "obs-op-", "operation_id")?);
    let node = NodeName::new("local");
    let exercises = ExerciseService::new(Arc::clone(&ledger), Arc::clone(&operations));
    let (alerts, slos, reports) = open_services(
        &data,
        &disk,
        &ledger,
        Arc::clone(&operations),
        ServiceSettings {
            node: node.clone(),
            options: GroupOptions {
                interval: DurationMs::MINUTE,
                query_offset: DurationMs(0),
                external_labels: LabelSet::empty(),
                external_url: String::new(),
            },
            rules: &[],
            inhibit: Vec::new(),
            slos: Vec::new(),
            now,
        },
    )?;
    let dashboards = DashboardService::open(
        &data,
        Arc::clone(&disk),
        Arc::clone(&ledger),
        operations,
        query_checker(),
        Vec::new(),
    )?;
    let state = ApiState {
        front: engines.front(&clock, QueryLimits::STANDARD),
        clock: Arc::clone(&clock),
        disk: Arc::clone(&disk),
        metrics: Arc::clone(&engines.metrics),
        logs: Arc::clone(&engines.logs),
        traces: Arc::clone(&engines.traces),
        archive: Arc::clone(&engines.archive),
        ledger,
        witness: None,
        anchors: None,
        alerts,
        slos,
        dashboards: Arc::new(dashboards),
        reports,
        packs: Vec::new(),
        runbooks: Vec::new(),
        doctor: None,
        exercises: Arc::new(exercises),
        registry: Arc::new(Registry::new()),
        targets: Box::new(Vec::new),
        dropped_targets: Box::new(Default::default),
        scrape_jobs: Box::new(Vec::new),
        // The verb `verify` asks the verifier itself.
        verify: Box::new(|| serde_json::Value::Null),
        demo: None,
        info: ServerInfo {
            version: env!("CARGO_PKG_VERSION"),
            started: now,
            node: node.short().to_owned(),
            packs: Vec::new(),
            config_yaml: String::new(),
            flags: Vec::new(),
            data_dir: data,
        },
        options: ApiOptions::default(),
        query_places: Arc::new(Semaphore::new(QUERY_PLACES)),
    };
    Ok(obs_api::router(Arc::new(state), Router::new()))
}

/// The ledger of a data folder.
pub(crate) fn open_ledger(
    data: &Path,
    disk: &Arc<dyn Disk>,
    clock: &Arc<dyn Clock>,
    mode: LedgerMode,
) -> anyhow::Result<Ledger> {
    let path = data.join("receipts/observability/checkpoint");
    let Ok(note) = std::fs::read_to_string(&path) else {
        bail!(
            "{} is not a data folder of vm-obs: {} cannot be read",
            data.display(),
            path.display()
        );
    };
    // The first line of a checkpoint is its origin. Whether the note is signed by the key beside
    // it is for the verifier to say, not for a reader.
    let origin = note.lines().next().unwrap_or_default();
    Ledger::open(LedgerConfig::in_data_dir(data, Arc::clone(disk), Arc::clone(clock), origin, mode))
        .with_context(|| format!("cannot open the ledger below {}", data.display()))
}

/// The end of the last hour that is sealed for every signal. Before it the archive is complete,
/// however short the hot retention of the server was; after it the engines hold everything.
fn sealed_until(archive: &Archive) -> TimestampMs {
    Signal::ALL
        .into_iter()
        .map(|signal| archive.sealed_span(signal).map_or(TimestampMs::MIN, |(_, last)| last.end()))
        .min()
        .unwrap_or(TimestampMs::MIN)
}
