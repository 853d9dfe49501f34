//! The configuration file and its checked form.

mod file;
mod metrics;
mod reports;
mod storage;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use obs_types::{DurationMs, LabelSet};

pub(crate) use file::{FileForm, WatchForm};
pub(crate) use metrics::{MetricsSettings, series_retention};
pub(crate) use reports::ReportSettings;
pub(crate) use storage::{StorageConfig, StoreConfig};

/// What a server runs with.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub data: PathBuf,
    pub http: SocketAddr,
    pub otlp_grpc: SocketAddr,
    pub otlp_http: SocketAddr,
    /// Name of this node in labels and receipts.
    pub node: String,
    /// First part of the ledger's origin.
    pub site: String,
    pub packs: Vec<String>,
    /// Folder with packs of the user's own; see [`Config::pack_folders`].
    pub packs_dir: Option<PathBuf>,
    pub prometheus: Option<PathBuf>,
    pub rule_files: Vec<PathBuf>,
    pub slo_files: Vec<PathBuf>,
    pub dashboards: Vec<PathBuf>,
    pub grafana_provisioning: Option<PathBuf>,
    pub tail: Vec<Tail>,
    pub notify: Option<PathBuf>,
    pub probes: Option<PathBuf>,
    pub host_interval: Option<Duration>,
    pub evaluation_interval: DurationMs,
    pub seal_delay: DurationMs,
    pub hot_retention: DurationMs,
    /// How long 1h aggregates of metrics are kept; `None` where there are none.
    pub aggregate_retention: Option<DurationMs>,
    pub metrics: MetricsSettings,
    pub storage: StorageConfig,
    pub ledger: LedgerSettings,
    pub attestation: AttestationSettings,
    pub admin_api: bool,
    pub query_log_file: Option<PathBuf>,
    pub query_concurrency_max: usize,
    pub query_timeout: DurationMs,
    pub promql_dialect: obs_query::Dialect,
    pub promql_options: obs_promql::EngineOptions,
    pub watches: Vec<obs_ops::Watch>,
    pub mcp: McpAccess,
    pub heartbeat: Option<Heartbeat>,
    pub reports: ReportSettings,
    /// The file as it was read, for the status page.
    pub yaml: String,
}

/// Who cosigns this node's ledger, and whose ledgers it cosigns.
#[derive(Clone, Debug)]
pub(crate) struct LedgerSettings {
    pub policy: Option<PathBuf>,
    pub cosign: Option<PathBuf>,
    /// Where checkpoints are anchored; read again when it changes.
    pub anchors: Option<PathBuf>,
    pub witness_interval: DurationMs,
    /// Whether actors must sign what they ask for.
    pub require_signed_contracts: bool,
}

/// Who may use the MCP server over HTTP, and for what.
#[derive(Clone, Debug, Default)]
pub(crate) struct McpAccess {
    pub token_file: Option<PathBuf>,
    pub allow_writes: bool,
    /// Names of the server beside its address.
    pub hosts: Vec<String>,
}

/// The dead man's switch.
#[derive(Clone)]
pub(crate) struct Heartbeat {
    /// May hold a token.
    pub url: String,
    pub every: DurationMs,
}

impl std::fmt::Debug for Heartbeat {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Heartbeat").field("every", &self.every).finish_non_exhaustive()
    }
}

/// Whose signatures on telemetry are known, beside the nodes of the registry.
#[derive(Clone, Debug)]
pub(crate) struct AttestationSettings {
    pub refuse: bool,
    pub certificates: Vec<PathBuf>,
    pub hmac_key: Option<PathBuf>,
}

/// Files to follow.
#[derive(Clone, Debug)]
pub(crate) struct Tail {
    pub paths: Vec<PathBuf>,
    pub labels: LabelSet,
    pub from_start: bool,
}

impl Config {
    /// Reads a file; relative paths in it are taken from its folder.
    pub(crate) fn load(path: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read {}", path.display()))?;
        let folder = path.parent().unwrap_or(Path::new(".")).to_owned();
        Self::parse(&text, &folder).with_context(|| format!("in {}", path.display()))
    }

    /// Where packs are looked for before the binary's: `packs_dir`, then those installed in the data
    /// folder.
    pub(crate) fn pack_folders(&self) -> Vec<PathBuf> {
        self.packs_dir.iter().cloned().chain([crate::packs::folder_in(&self.data)]).collect()
    }

    /// What a server without a file runs with.
    pub(crate) fn standard() -> anyhow::Result<Self> {
        Self::parse("", Path::new("."))
    }

    /// The name of this node's ledger.
    pub(crate) fn origin(&self) -> String {
        format!("vm-obs.{}/{}/observability", self.site, self.node)
    }

    pub(crate) fn parse(text: &str, folder: &Path) -> anyhow::Result<Self> {
        let form: FileForm = if text.trim().is_empty() {
            FileForm::default()
        } else {
            serde_saphyr::from_str(text).map_err(|e| anyhow::anyhow!("{e}"))?
        };
        form.check(folder, text)
    }
}

fn address(key: &str, text: &str) -> anyhow::Result<SocketAddr> {
    text.parse()
        .with_context(|| format!("{key}: {text:?} is not ADDRESS:PORT, for example 127.0.0.1:9470"))
}

pub(crate) fn duration(key: &str, text: &str) -> anyhow::Result<DurationMs> {
    let d = obs_query::parse_duration(text).with_context(|| key.to_owned())?;
    if d.0 <= 0 {
        bail!("{key}: {text:?} must be longer than 0");
    }
    Ok(d)
}

/// `brick-01`, from the machine.
fn machine_name() -> String {
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let short = name.split('.').next().unwrap_or("").to_owned();
    if short.is_empty() { "localhost".to_owned() } else { short }
}
