//! What the checks look at. A world is filled from a folder ([`super::folder`]) or from a server.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use obs_collect::scrape::PrometheusConfig;
use obs_notify::NotifyConfig;
use obs_rules::RuleFile;
use obs_types::{LabelSet, TimestampMs};

use super::Finding;

/// One series of a range query: milliseconds and values.
pub type Points = Vec<(i64, f64)>;

/// Asks for telemetry. Errors are the text that the data source gave.
pub trait Telemetry: Send {
    /// A scalar is one sample without labels.
    fn instant(&self, expr: &str, at: TimestampMs) -> Result<Vec<(LabelSet, f64)>, String>;
    fn range(
        &self,
        expr: &str,
        from: TimestampMs,
        to: TimestampMs,
        step_ms: i64,
    ) -> Result<Vec<(LabelSet, Points)>, String>;
    /// Lines or series that a LogQL query gives in the window.
    fn logs(&self, expr: &str, from: TimestampMs, to: TimestampMs) -> Result<usize, String>;
    /// Traces or series that a TraceQL query gives in the window.
    fn traces(&self, expr: &str, from: TimestampMs, to: TimestampMs) -> Result<usize, String>;
    /// Type of each metric family that says one: `counter`, `gauge`, `histogram`, `summary`.
    fn types(&self) -> Result<BTreeMap<String, String>, String>;
    /// Values of a label over the series of the last hour; `metric` narrows them.
    fn label_values(&self, label: &str, metric: Option<&str>) -> Result<Vec<String>, String>;
}

/// A rule file and whether anything loads it.
#[derive(Clone, Debug)]
pub struct RuleInput {
    pub path: String,
    /// Empty over a server, which shows rules and no files.
    pub text: String,
    /// The error names line and mistake.
    pub rules: Result<RuleFile, String>,
    /// Whether a configuration names the file; a file that none names is never evaluated.
    pub loaded: bool,
}

#[derive(Clone, Debug, Default)]
pub struct DashboardInput {
    pub path: String,
    pub text: String,
    /// Whether Grafana (or the server) is given the file; the reason where it is not.
    pub not_provisioned: Option<String>,
    /// Where it can be mended.
    pub file: Option<PathBuf>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DataSource {
    pub name: String,
    pub uid: String,
    /// `prometheus`, `loki`, `tempo`, …
    pub kind: String,
    pub is_default: bool,
    pub url: String,
}

/// A way out of a receiver: `webhook`, `slack`, `email`, ….
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Integration {
    pub kind: String,
    /// Where it is sent, without secrets; empty if that is not an address.
    pub address: String,
    pub send_resolved: bool,
}

/// Routes and receivers, whoever wrote them.
#[derive(Clone, Debug)]
pub struct NotifyInput {
    pub path: String,
    pub text: String,
    pub config: NotifyConfig,
    /// By receiver.
    pub integrations: BTreeMap<String, Vec<Integration>>,
    /// Time intervals that cover all of the week, by name.
    pub always_on_intervals: Vec<String>,
    /// Routes that such an interval mutes, as the receiver of the route and the interval.
    pub muted_routes: Vec<(String, String)>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct SilenceInput {
    pub id: String,
    /// In matcher notation, such as `node="brick-02"`.
    pub matchers: Vec<String>,
    pub ends_at: TimestampMs,
    pub by: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TargetInput {
    pub job: String,
    pub instance: String,
    /// `up`, `down` or `unknown`.
    pub health: String,
    pub last_error: String,
    pub last_scrape: Option<TimestampMs>,
    pub interval_ms: i64,
}

/// One way in and one way out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CanaryInput {
    /// Such as `remote write`.
    pub protocol: String,
    /// Such as `GET /api/v1/query`.
    pub api: String,
    /// The error, or the milliseconds until the value came back as it was sent.
    pub outcome: Result<i64, String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeliveryInput {
    pub receiver: String,
    pub integration: String,
    /// The provider's answer, or why there is none.
    pub outcome: Result<String, String>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct ObjectiveInput {
    pub id: String,
    /// Whether anything is counted in its window; `None` while it is too early to tell.
    pub has_data: Option<bool>,
    /// Why it cannot be computed.
    pub error: Option<String>,
    /// The server is so young that its series may still be to come.
    pub settling: bool,
    /// PromQL that counts its events.
    pub queries: Vec<String>,
    /// Its events counted twice over the sealed hours; `None` where nobody did.
    pub recomputed: Option<Recomputed>,
}

/// Events of an objective over the same hours.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Recomputed {
    /// Good and all, as queries see them.
    pub engine: (f64, f64),
    /// Good and all, from the sealed files alone.
    pub sealed: (f64, f64),
    /// The hours, in words.
    pub window: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LedgerInput {
    pub size: u64,
    /// What the verifier found wrong.
    pub problems: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct StorageInput {
    pub sealed_files: u64,
    pub unreadable_files: u64,
    /// Hours that should be sealed and are not; `None` if nobody counted them.
    pub unsealed_hours: Option<u64>,
    /// Blocks that are left out of queries.
    pub damaged_blocks: u64,
    /// The newest backup, restored on trial and verified: its error, or what came back.
    pub restore: Option<Result<String, String>>,
    /// How old the newest backup is, in milliseconds.
    pub backup_age_ms: Option<i64>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct HeadroomInput {
    /// The server's clock minus ours, in milliseconds.
    pub clock_skew_ms: Option<i64>,
    pub disk_free_bytes: Option<u64>,
    /// Growth of the data per day.
    pub disk_bytes_per_day: Option<f64>,
    pub series: Option<u64>,
    pub series_max: Option<u64>,
    /// Metric and series count, largest first.
    pub largest_metrics: Vec<(String, u64)>,
    /// Items that were refused or dropped since the start.
    pub rejected: Option<f64>,
}

/// Everything the checks may ask for. What is `None` was not available, for the reason in
/// [`World::absent`], and its checks are skipped.
pub struct World {
    pub place: String,
    pub now: TimestampMs,
    /// Set by the reader of a folder: what is wrong with how the files are put together.
    pub found_by_reader: Vec<Finding>,
    pub scrape: Option<(String, PrometheusConfig)>,
    pub rules: Vec<RuleInput>,
    pub dashboards: Option<Vec<DashboardInput>>,
    pub data_sources: Option<Vec<DataSource>>,
    pub notify: Option<NotifyInput>,
    pub silences: Vec<SilenceInput>,
    pub targets: Option<Vec<TargetInput>>,
    pub telemetry: Option<Box<dyn Telemetry>>,
    pub canaries: Option<Vec<CanaryInput>>,
    pub deliveries: Option<Vec<DeliveryInput>>,
    pub objectives: Option<Vec<ObjectiveInput>>,
    pub ledger: Option<LedgerInput>,
    pub storage: Option<StorageInput>,
    pub headroom: Option<HeadroomInput>,
    /// Why something is `None`, by the check's id or `telemetry`, `notify`; `ways-out`: those of
    /// receivers that the delivery drill could not use.
    pub absent: BTreeMap<&'static str, String>,
}

impl World {
    /// A world in which nothing is known.
    pub fn empty(place: impl Into<String>, now: TimestampMs) -> Self {
        Self {
            place: place.into(),
            now,
            found_by_reader: Vec::new(),
            scrape: None,
            rules: Vec::new(),
            dashboards: None,
            data_sources: None,
            notify: None,
            silences: Vec::new(),
            targets: None,
            telemetry: None,
            canaries: None,
            deliveries: None,
            objectives: None,
            ledger: None,
            storage: None,
            headroom: None,
            absent: BTreeMap::new(),
        }
    }

    /// Why `what` is absent.
    pub(crate) fn why(&self, what: &str) -> String {
        self.absent.get(what).cloned().unwrap_or_else(|| "not available here".to_owned())
    }

    /// Rules of all files that are read, loaded or not, with their file.
    pub(crate) fn rule_files(&self) -> impl Iterator<Item = (&RuleInput, &RuleFile)> {
        self.rules.iter().filter_map(|r| r.rules.as_ref().ok().map(|f| (r, f)))
    }
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("World")
            .field("place", &self.place)
            .field("rules", &self.rules.len())
            .field("dashboards", &self.dashboards.as_ref().map(Vec::len))
            .finish_non_exhaustive()
    }
}
