use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;

use obs_archive::Archive;
use obs_collect::registry::Registry;
use obs_collect::scrape::{DroppedTarget, ScrapeJob, TargetStatus};
use obs_disk::{Clock, Disk};
use obs_ledger::anchor::Scheduler;
use obs_ledger::{Ledger, Witness};
use obs_logs::LogsEngine;
use obs_metrics::MetricsEngine;
use obs_ops::{AlertService, DashboardService, ExerciseService, ReportService, SloService};
use obs_query::QueryFront;
use obs_traces::TracesEngine;
use obs_types::{LabelSet, TimestampMs};
use serde_json::Value;
use tokio::sync::Semaphore;

use crate::{QueryLog, ReportOptions};

/// What the demo world can be told.
pub trait DemoControl: Send + Sync {
    /// `{name, description, active, alerts}` of every fault.
    fn faults(&self) -> Vec<Value>;
    /// `false` if there is no such fault.
    fn break_fault(&self, name: &str) -> bool;
    /// One fault; `false` if there is none of this name.
    fn heal_fault(&self, name: &str) -> bool;
    fn heal(&self);
}

/// One run of the doctor over this server: its report, or why it could not run.
pub type Doctor =
    Box<dyn Fn() -> Pin<Box<dyn Future<Output = Result<Value, String>> + Send>> + Send + Sync>;

/// What the server is, for status routes.
#[derive(Clone, Debug)]
pub struct ServerInfo {
    pub version: &'static str,
    pub started: TimestampMs,
    pub node: String,
    pub packs: Vec<String>,
    /// The effective configuration as YAML, secrets masked.
    pub config_yaml: String,
    pub flags: Vec<(String, String)>,
    pub data_dir: std::path::PathBuf,
}

/// What the operator has chosen for the routes.
#[derive(Clone, Debug, Default)]
pub struct ApiOptions {
    /// Whether `admin/tsdb/*` may delete.
    pub admin: bool,
    /// Where PromQL queries are noted.
    pub query_log: Option<Arc<QueryLog>>,
    /// Labels that federation adds to series that lack them.
    pub external_labels: LabelSet,
    pub reports: ReportOptions,
}

/// What is to be done about an alert, in markdown.
#[derive(Clone, Debug)]
pub struct Runbook {
    /// `PACK.NAME`
    pub id: String,
    pub pack: String,
    pub text: String,
}

impl Runbook {
    /// Its first heading, otherwise its id.
    pub fn title(&self) -> &str {
        let heading = self.text.lines().find_map(|l| l.strip_prefix("# "));
        heading.map_or(self.id.as_str(), str::trim)
    }
}

/// Dropped targets that are kept to be shown, and the number of all by job.
pub type DroppedTargets = (Vec<DroppedTarget>, BTreeMap<String, usize>);

/// Everything that the routes work with.
#[expect(missing_debug_implementations, reason = "engines and closures are not printable")]
pub struct ApiState {
    pub front: QueryFront,
    pub clock: Arc<dyn Clock>,
    pub disk: Arc<dyn Disk>,
    pub metrics: Arc<MetricsEngine>,
    pub logs: Arc<LogsEngine>,
    pub traces: Arc<TracesEngine>,
    pub archive: Arc<Archive>,
    pub ledger: Arc<Ledger>,
    /// Cosigns checkpoints of other logs; `None` where this node is asked to for none.
    pub witness: Option<Arc<Witness>>,
    /// Keeps checkpoints in places outside this node; `None` where none is configured.
    pub anchors: Option<Arc<Scheduler>>,
    pub alerts: Arc<AlertService>,
    pub slos: Arc<SloService>,
    pub dashboards: Arc<DashboardService>,
    pub reports: Arc<ReportService>,
    /// What each pack holds, as `GET /obs/packs` shows it.
    pub packs: Vec<Value>,
    /// Sorted by id.
    pub runbooks: Vec<Runbook>,
    pub exercises: Arc<ExerciseService>,
    pub registry: Arc<Registry>,
    pub targets: Box<dyn Fn() -> Vec<TargetStatus> + Send + Sync>,
    /// Targets that relabeling dropped, and how many there are by job.
    pub dropped_targets: Box<dyn Fn() -> DroppedTargets + Send + Sync>,
    /// The scrape jobs as they run.
    pub scrape_jobs: Box<dyn Fn() -> Vec<ScrapeJob> + Send + Sync>,
    /// Looks whether everything works; `None` where no server runs.
    pub doctor: Option<Doctor>,
    /// Verifies the data folder; the answer of `POST /obs/ledger/verify`.
    pub verify: Box<dyn Fn() -> Value + Send + Sync>,
    pub demo: Option<Arc<dyn DemoControl>>,
    pub info: ServerInfo,
    pub options: ApiOptions,
    /// Places for queries that run at a time.
    pub query_places: Arc<Semaphore>,
}
