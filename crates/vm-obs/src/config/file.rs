use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use obs_archive::RetentionPolicy;
use obs_ops::Watch;
use obs_types::LabelSet;
use serde::Deserialize;

use super::metrics::MetricsForm;
use super::reports::ReportsForm;
use super::storage::StorageForm;
use super::{
    AttestationSettings, Config, Heartbeat, LedgerSettings, McpAccess, Tail, address, duration,
    machine_name,
};

/// Queries that run at a time where nothing else is said.
const QUERY_PLACES: usize = 8;
/// Each has a thread of its own.
const QUERY_PLACES_MAX: usize = 1000;

/// `vm-obs.yaml`. Every key may be left out; durations are written as `30s`, `5m`, `7d`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct FileForm {
    /// Data folder. Example: `data: /var/lib/vm-obs`
    data: Option<PathBuf>,
    /// Address of portal and APIs. Example: `http: 127.0.0.1:9470`
    http: Option<String>,
    /// Address of OTLP over gRPC. Example: `otlp_grpc: 127.0.0.1:4317`
    otlp_grpc: Option<String>,
    /// Address of OTLP over HTTP. Example: `otlp_http: 127.0.0.1:4318`
    otlp_http: Option<String>,
    /// Name of this node; the machine's name by default. Example: `node: brick-01`
    node: Option<String>,
    /// First part of the ledger's origin. Example: `site: aurora-staging`
    site: Option<String>,
    /// Packs that are on. Example: `packs: [host, vaultmesh]`
    packs: Option<Vec<String>>,
    /// Folder with packs of your own. Example: `packs_dir: ./packs`
    packs_dir: Option<PathBuf>,
    /// An existing Prometheus configuration, read as it is. Example: `prometheus: prometheus.yml`
    prometheus: Option<PathBuf>,
    /// Rule files; the last part may hold `*`. Example: `rule_files: [rules/*.yml]`
    rule_files: Vec<PathBuf>,
    /// SLO files. Example: `slo_files: [slos/*.yml]`
    slo_files: Vec<PathBuf>,
    /// Dashboard files (Grafana JSON). Example: `dashboards: [dashboards/*.json]`
    dashboards: Vec<PathBuf>,
    /// Grafana's provisioning folder (`dashboards/*.yaml`, `datasources/*.yaml`), read as it is and
    /// watched. Example: `grafana_provisioning: grafana/provisioning`
    grafana_provisioning: Option<PathBuf>,
    /// Log files to follow. Example: `tail: [{paths: [/var/log/app/*.log], labels: {service_name: app}}]`
    tail: Vec<TailForm>,
    /// Routes and receivers of notifications. Example: `notify: notify.yml`
    notify: Option<PathBuf>,
    /// Probes by schedule, and modules for `/probe`. Example: `probes: probes.yaml`
    probes: Option<PathBuf>,
    /// How often host metrics are read; `off` switches them off. Example: `host_metrics: 5s`
    host_metrics: Option<String>,
    /// How often rules are evaluated that set no interval. Example: `evaluation_interval: 15s`
    evaluation_interval: Option<String>,
    /// How long after its end an hour is sealed. Example: `seal_delay: 5m`
    seal_delay: Option<String>,
    /// How long the engines keep data; older is read from sealed hours. Example: `hot_retention: 7d`
    hot_retention: Option<String>,
    /// How long 1h aggregates of metrics are kept, a year by default; `off` for none.
    /// Example: `aggregate_retention: 5y`
    aggregate_retention: Option<String>,
    /// Where sealed hours lie and for how long; see `docs/storage.md`.
    /// Example: `storage: {cold: 's3://vm-obs/brick-01', logs: {keep: 1y}}`
    storage: StorageForm,
    /// Limits on metrics and what is done to samples before they are stored.
    /// Example: `metrics: {series_limits: [{label: job, series_max: 100000}]}`
    metrics: MetricsForm,
    /// Witnesses of this node's ledger, and logs that it is a witness of.
    /// Example: `ledger: {policy: trust/policy.txt, cosign: trust/logs.txt}`
    ledger: LedgerForm,
    /// Signatures of senders, checked as their telemetry comes in.
    attestation: AttestationForm,
    /// Whether `/api/v1/admin/tsdb/*` may delete samples. Example: `admin_api: true`
    admin_api: bool,
    /// File that gets one JSON line per PromQL query. Example: `query_log_file: queries.jsonl`
    query_log_file: Option<PathBuf>,
    /// Most queries that run at a time, 1 to 1000; the others wait. Example: `query_concurrency_max: 8`
    query_concurrency_max: Option<usize>,
    /// Longest that a query may run. Example: `query_timeout: 2m`
    query_timeout: Option<String>,
    /// Called with GET every interval while samples come back and rules are evaluated, so that
    /// somebody outside notices silence. `url_file` holds the address where it is a secret.
    /// Example: `heartbeat: {url_file: /etc/vm-obs/heartbeat.url, every: 1m}`
    heartbeat: Option<HeartbeatForm>,
    /// When daily, weekly and monthly reports are made (UTC; `off` for none), and figures of your
    /// own in them; see `docs/reports.md`. Example: `reports: {daily: 06:00, weekly: monday 06:00}`
    reports: ReportsForm,
    /// Language of metric queries that name none: promql or metricsql. Rules are PromQL.
    /// Example: `promql_dialect: metricsql`
    promql_dialect: Option<String>,
    /// Parts of PromQL that are off unless switched on, by the names of Prometheus' feature flags.
    /// Example: `enable_features: [promql-experimental-functions, use-start-timestamps]`
    enable_features: Vec<String>,
    /// Queries watched for anomalies, beside those of the packs.
    anomalies: Vec<WatchForm>,
    /// Who may use the MCP server at `/mcp`, and for what.
    /// Example: `mcp: {token_file: mcp.tokens, allow_writes: true}`
    mcp: McpForm,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct McpForm {
    /// File with a line `NAME TOKEN` for each caller. Without it only loopback is served.
    token_file: Option<PathBuf>,
    /// Whether alerts may be acknowledged and silenced by tools.
    allow_writes: bool,
    /// Names under which clients reach the server, beside its address. Example: `hosts: [obs.example.org]`
    hosts: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct LedgerForm {
    /// C2SP tlog-policy: its witnesses that have an address are asked to cosign the ledger.
    policy: Option<PathBuf>,
    /// C2SP tlog-policy: checkpoints of its logs are cosigned when they are sent here.
    cosign: Option<PathBuf>,
    /// Places outside this node for checkpoints. Example: `anchors: anchors.yaml`
    anchors: Option<PathBuf>,
    /// Whether acknowledgements, silences and objectives must be signed by an actor of the
    /// registry. Example: `require_signed_contracts: true`
    require_signed_contracts: bool,
    /// How often witnesses are asked. Example: `witness_interval: 60s`
    witness_interval: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct AttestationForm {
    /// What becomes of what is signed and does not hold: `keep` (and mark it) or `refuse`.
    on_failure: Option<String>,
    /// PEM files with the certificates of collectors that sign log records.
    certificates: Vec<PathBuf>,
    /// File with the base64 of the secret that collectors share with this node, for HMAC-SHA256.
    hmac_key: Option<PathBuf>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct HeartbeatForm {
    url: Option<String>,
    url_file: Option<PathBuf>,
    #[serde(default)]
    every: Option<String>,
}

impl HeartbeatForm {
    fn check(self, folder: &Path) -> anyhow::Result<Heartbeat> {
        let url = match (self.url, self.url_file) {
            (Some(url), None) => url,
            (None, Some(file)) => {
                let file = folder.join(file);
                let text = std::fs::read_to_string(&file).with_context(|| {
                    format!("heartbeat.url_file: cannot read {}", file.display())
                })?;
                text.trim().to_owned()
            }
            _ => bail!("heartbeat: expected one of url and url_file"),
        };
        let rest = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
        if rest.is_none_or(|r| r.is_empty() || r.contains(char::is_whitespace)) {
            // The text itself may be the secret.
            bail!("heartbeat: the address is not an http or https address");
        }
        Ok(Heartbeat {
            url,
            every: duration("heartbeat.every", self.every.as_deref().unwrap_or("1m"))?,
        })
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TailForm {
    paths: Vec<PathBuf>,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    #[serde(default)]
    from_start: bool,
}

/// Also the form of a pack's `anomalies.yml`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct WatchForm {
    metric: String,
    query: Option<String>,
    peers: Option<f64>,
}

impl WatchForm {
    pub(crate) fn check(self) -> Watch {
        Watch {
            query: self.query.unwrap_or_else(|| self.metric.clone()),
            metric: self.metric,
            peers: self.peers,
        }
    }
}

impl FileForm {
    pub(super) fn check(self, folder: &Path, yaml: &str) -> anyhow::Result<Config> {
        let here = |p: PathBuf| folder.join(p);
        let all = |list: Vec<PathBuf>| list.into_iter().map(here).collect::<Vec<_>>();
        let node = self.node.unwrap_or_else(machine_name);
        let site = self.site.unwrap_or_else(|| "local".to_owned());
        for (key, text) in [("node", &node), ("site", &site)] {
            let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
            if text.is_empty() || !text.chars().all(plain) {
                bail!("{key}: {text:?} may hold only letters, digits, '-', '_' and '.'");
            }
        }
        let host_interval = match self.host_metrics.as_deref() {
            Some("off") => None,
            text => Some(Duration::from_millis(
                duration("host_metrics", text.unwrap_or("5s"))?.0.unsigned_abs(),
            )),
        };
        let aggregate_retention = match self.aggregate_retention.as_deref() {
            Some("off") => None,
            Some(text) => Some(duration("aggregate_retention", text)?),
            None => Some(RetentionPolicy::AGGREGATES),
        };
        let hot_retention = match self.hot_retention.as_deref() {
            Some(text) => duration("hot_retention", text)?,
            None => RetentionPolicy::HOT,
        };
        let storage = self.storage.check(folder, hot_retention)?;
        let query_concurrency_max = self.query_concurrency_max.unwrap_or(QUERY_PLACES);
        if !(1..=QUERY_PLACES_MAX).contains(&query_concurrency_max) {
            bail!("query_concurrency_max: {query_concurrency_max} is not 1 to {QUERY_PLACES_MAX}");
        }
        let promql_dialect = match self.promql_dialect.as_deref() {
            None => obs_query::Dialect::default(),
            Some(text) => obs_query::Dialect::from_text(text)
                .with_context(|| format!("promql_dialect: {text:?} is not promql or metricsql"))?,
        };
        let mut promql_options = obs_promql::EngineOptions::default();
        for name in &self.enable_features {
            obs_query::enable_feature(&mut promql_options, name)
                .map_err(|e| anyhow::anyhow!("enable_features: {e}"))?;
        }
        let tail = self
            .tail
            .into_iter()
            .map(|t| Tail {
                paths: all(t.paths),
                labels: LabelSet::from_iter(t.labels),
                from_start: t.from_start,
            })
            .collect();
        Ok(Config {
            data: self.data.map_or_else(|| PathBuf::from("data"), here),
            http: address("http", self.http.as_deref().unwrap_or("127.0.0.1:9470"))?,
            otlp_grpc: address("otlp_grpc", self.otlp_grpc.as_deref().unwrap_or("127.0.0.1:4317"))?,
            otlp_http: address("otlp_http", self.otlp_http.as_deref().unwrap_or("127.0.0.1:4318"))?,
            node,
            site,
            packs: self.packs.unwrap_or_else(|| vec!["host".to_owned()]),
            packs_dir: self.packs_dir.map(here),
            prometheus: self.prometheus.map(here),
            rule_files: all(self.rule_files),
            slo_files: all(self.slo_files),
            dashboards: all(self.dashboards),
            grafana_provisioning: self.grafana_provisioning.map(here),
            tail,
            notify: self.notify.map(here),
            probes: self.probes.map(here),
            host_interval,
            evaluation_interval: duration(
                "evaluation_interval",
                self.evaluation_interval.as_deref().unwrap_or("15s"),
            )?,
            seal_delay: duration("seal_delay", self.seal_delay.as_deref().unwrap_or("5m"))?,
            hot_retention,
            aggregate_retention,
            metrics: self
                .metrics
                .check(aggregate_retention.is_some(), storage.policy.metrics.keep)?,
            storage,
            ledger: LedgerSettings {
                policy: self.ledger.policy.map(here),
                cosign: self.ledger.cosign.map(here),
                anchors: self.ledger.anchors.map(here),
                require_signed_contracts: self.ledger.require_signed_contracts,
                witness_interval: duration(
                    "ledger.witness_interval",
                    self.ledger.witness_interval.as_deref().unwrap_or("60s"),
                )?,
            },
            attestation: AttestationSettings {
                refuse: match self.attestation.on_failure.as_deref() {
                    None | Some("keep") => false,
                    Some("refuse") => true,
                    Some(other) => {
                        bail!("attestation.on_failure: {other:?} is neither keep nor refuse")
                    }
                },
                certificates: all(self.attestation.certificates),
                hmac_key: self.attestation.hmac_key.map(here),
            },
            admin_api: self.admin_api,
            query_log_file: self.query_log_file.map(here),
            query_concurrency_max,
            query_timeout: duration(
                "query_timeout",
                self.query_timeout.as_deref().unwrap_or("2m"),
            )?,
            heartbeat: self.heartbeat.map(|h| h.check(folder)).transpose()?,
            reports: self.reports.check()?,
            promql_dialect,
            promql_options,
            watches: self.anomalies.into_iter().map(WatchForm::check).collect(),
            mcp: McpAccess {
                token_file: self.mcp.token_file.map(here),
                allow_writes: self.mcp.allow_writes,
                hosts: self.mcp.hosts,
            },
            yaml: yaml.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use obs_types::DurationMs;

    #[test]
    fn a_full_file_and_an_empty_one() {
        let c = Config::parse(
            "http: 127.0.0.1:0\nnode: brick-01\npacks: [host, vaultmesh]\ntail: [{paths: [a.log], labels: {service_name: a}}]\nhost_metrics: off\nseal_delay: 1m\n",
            Path::new("/etc/vm-obs"),
        )
        .unwrap();
        assert_eq!(c.http.port(), 0);
        assert_eq!(c.tail[0].paths, [PathBuf::from("/etc/vm-obs/a.log")]);
        assert_eq!(c.host_interval, None);
        assert_eq!(c.aggregate_retention, Some(DurationMs(5 * 365 * DurationMs::DAY.0)));
        let c = Config::parse("aggregate_retention: off\n", Path::new(".")).unwrap();
        assert_eq!(c.aggregate_retention, None);
        let c = Config::parse("ledger: {cosign: logs.txt}\n", Path::new("/etc/vm-obs")).unwrap();
        assert_eq!(c.ledger.cosign, Some(PathBuf::from("/etc/vm-obs/logs.txt")));
        assert_eq!(Config::parse("", Path::new(".")).unwrap().packs, ["host"]);
    }

    #[test]
    fn mistakes_say_where_and_what_was_expected() {
        for (text, wants) in [
            ("htp: 1\n", ["line 1", "htp"]),
            ("http: nonsense\n", ["http", "ADDRESS:PORT"]),
            ("seal_delay: 5 minutes\n", ["seal_delay", "a duration such as"]),
            ("node: 'a b'\n", ["node", "letters"]),
            ("attestation: {on_failure: drop}\n", ["attestation.on_failure", "refuse"]),
            ("ledger: {witness_interval: 0s}\n", ["ledger.witness_interval", "longer"]),
            ("query_concurrency_max: 0\n", ["query_concurrency_max", "1 to 1000"]),
            ("aggregate_retention: never\n", ["aggregate_retention", "a duration such as"]),
            ("enable_features: [warp]\n", ["enable_features", "use-start-timestamps"]),
            ("heartbeat: {every: 1m}\n", ["heartbeat", "url_file"]),
            ("heartbeat: {url: 'ftp://x'}\n", ["heartbeat", "http"]),
            ("query_timeout: 0s\n", ["query_timeout", "longer than 0"]),
            ("promql_dialect: sql\n", ["promql_dialect", "promql or metricsql"]),
        ] {
            let e = format!("{:#}", Config::parse(text, Path::new(".")).unwrap_err());
            assert!(wants.iter().all(|w| e.contains(w)), "{e}");
        }
    }
}
