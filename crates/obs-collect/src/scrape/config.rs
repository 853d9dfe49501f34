//! `prometheus.yml`, as it is: the file form, and its checked form.
//!
//! Keys that Prometheus knows and vm-obs does not act on are accepted and reported as notices, so
//! that an existing file loads; keys that Prometheus does not know are refused with their line.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use obs_types::LabelSet;
use serde::Deserialize;

use super::relabel::{Action, RelabelRule, anchored};

#[derive(Clone, Debug, thiserror::Error)]
#[error("{}: {message}", path.display())]
pub struct ScrapeConfigError {
    pub path: PathBuf,
    pub message: String,
}

/// A checked scrape job.
#[derive(Clone, Debug)]
pub struct ScrapeJob {
    pub name: String,
    pub interval: Duration,
    pub timeout: Duration,
    pub metrics_path: String,
    pub scheme: String,
    pub params: Vec<(String, String)>,
    pub honor_labels: bool,
    pub honor_timestamps: bool,
    /// Bytes of a scrape's body; 0 is no limit beyond the built-in one.
    pub body_bytes_max: u64,
    /// Samples of a scrape after relabeling; 0 is no limit.
    pub sample_limit: usize,
    pub label_limit: usize,
    pub label_name_length_limit: usize,
    pub label_value_length_limit: usize,
    pub target_limit: usize,
    pub basic_auth: Option<(String, Secret)>,
    pub authorization: Option<(String, Secret)>,
    pub ca_file: Option<PathBuf>,
    pub insecure_skip_verify: bool,
    pub follow_redirects: bool,
    pub static_targets: Vec<TargetGroup>,
    pub file_sd: Vec<FileDiscovery>,
    pub relabel: Vec<RelabelRule>,
    pub metric_relabel: Vec<RelabelRule>,
}

/// Targets with their common labels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetGroup {
    pub targets: Vec<String>,
    pub labels: LabelSet,
}

/// Files that list target groups; read again every `refresh`.
#[derive(Clone, Debug)]
pub struct FileDiscovery {
    /// Paths whose last component may hold one `*`.
    pub files: Vec<PathBuf>,
    pub refresh: Duration,
}

/// A secret, or the file that holds it; never printed.
#[derive(Clone)]
pub enum Secret {
    Text(String),
    File(PathBuf),
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("<secret>")
    }
}

impl Secret {
    /// The secret; a file is read at each use, so that rotation needs no reload.
    pub fn read(&self) -> std::io::Result<String> {
        match self {
            Self::Text(s) => Ok(s.clone()),
            Self::File(path) => Ok(std::fs::read_to_string(path)?.trim().to_owned()),
        }
    }
}

/// What a `prometheus.yml` asks for.
#[derive(Clone, Debug, Default)]
pub struct PrometheusConfig {
    pub jobs: Vec<ScrapeJob>,
    /// Absolute, globs not yet expanded.
    pub rule_files: Vec<PathBuf>,
    pub external_labels: LabelSet,
    pub evaluation_interval: Option<Duration>,
    /// What the file asks for and vm-obs does not do, one line each.
    pub notices: Vec<String>,
}

type Yaml = serde_json::Value;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileForm {
    #[serde(default)]
    global: GlobalForm,
    #[serde(default)]
    scrape_configs: Option<Vec<JobForm>>,
    #[serde(default)]
    rule_files: Option<Vec<String>>,
    scrape_config_files: Option<Vec<String>>,
    runtime: Option<Yaml>,
    alerting: Option<Yaml>,
    remote_write: Option<Yaml>,
    remote_read: Option<Yaml>,
    storage: Option<Yaml>,
    tracing: Option<Yaml>,
    otlp: Option<Yaml>,
}

/// The limits that `global` and a job share; a job's own value wins.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct GlobalForm {
    scrape_interval: Option<String>,
    scrape_timeout: Option<String>,
    evaluation_interval: Option<String>,
    rule_query_offset: Option<String>,
    external_labels: BTreeMap<String, String>,
    query_log_file: Option<String>,
    scrape_failure_log_file: Option<String>,
    body_size_limit: Option<Yaml>,
    sample_limit: Option<usize>,
    target_limit: Option<usize>,
    label_limit: Option<usize>,
    label_name_length_limit: Option<usize>,
    label_value_length_limit: Option<usize>,
    keep_dropped_targets: Option<usize>,
    metric_name_validation_scheme: Option<String>,
    metric_name_escaping_scheme: Option<String>,
    scrape_protocols: Option<Vec<String>>,
    scrape_native_histograms: Option<bool>,
    convert_classic_histograms_to_nhcb: Option<bool>,
    always_scrape_classic_histograms: Option<bool>,
    extra_scrape_metrics: Option<bool>,
}

#[derive(Deserialize)]
struct JobForm {
    job_name: String,
    scrape_interval: Option<String>,
    scrape_timeout: Option<String>,
    metrics_path: Option<String>,
    scheme: Option<String>,
    #[serde(default)]
    params: BTreeMap<String, Vec<String>>,
    #[serde(default)]
    honor_labels: bool,
    honor_timestamps: Option<bool>,
    body_size_limit: Option<Yaml>,
    sample_limit: Option<usize>,
    target_limit: Option<usize>,
    label_limit: Option<usize>,
    label_name_length_limit: Option<usize>,
    label_value_length_limit: Option<usize>,
    basic_auth: Option<BasicAuthForm>,
    authorization: Option<AuthorizationForm>,
    bearer_token: Option<String>,
    bearer_token_file: Option<String>,
    tls_config: Option<TlsForm>,
    follow_redirects: Option<bool>,
    static_configs: Option<Vec<GroupForm>>,
    file_sd_configs: Option<Vec<FileSdForm>>,
    relabel_configs: Option<Vec<RelabelForm>>,
    metric_relabel_configs: Option<Vec<RelabelForm>>,
    #[serde(flatten)]
    rest: BTreeMap<String, Yaml>,
}

/// Keys of a job that Prometheus knows and vm-obs does not act on.
const JOB_KEYS_PASSIVE: [&str; 18] = [
    "oauth2",
    "proxy_url",
    "proxy_from_environment",
    "no_proxy",
    "proxy_connect_header",
    "http_headers",
    "enable_http2",
    "enable_compression",
    "track_timestamps_staleness",
    "scrape_protocols",
    "fallback_scrape_protocol",
    "scrape_native_histograms",
    "native_histogram_bucket_limit",
    "native_histogram_min_bucket_factor",
    "convert_classic_histograms_to_nhcb",
    "always_scrape_classic_histograms",
    "keep_dropped_targets",
    "scrape_failure_log_file",
];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BasicAuthForm {
    username: Option<String>,
    username_file: Option<String>,
    password: Option<String>,
    password_file: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AuthorizationForm {
    #[serde(rename = "type")]
    kind: Option<String>,
    credentials: Option<String>,
    credentials_file: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TlsForm {
    ca: Option<String>,
    cert: Option<String>,
    key: Option<String>,
    ca_file: Option<String>,
    cert_file: Option<String>,
    key_file: Option<String>,
    server_name: Option<String>,
    #[serde(default)]
    insecure_skip_verify: bool,
    min_version: Option<String>,
    max_version: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GroupForm {
    #[serde(default)]
    targets: Vec<String>,
    #[serde(default)]
    labels: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileSdForm {
    files: Vec<String>,
    refresh_interval: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RelabelForm {
    source_labels: Option<Vec<String>>,
    separator: Option<String>,
    target_label: Option<String>,
    regex: Option<String>,
    modulus: Option<u64>,
    replacement: Option<String>,
    action: Option<String>,
}

impl PrometheusConfig {
    /// Reads and checks a file; relative paths in it are taken from its folder.
    pub fn load(path: &Path) -> Result<Self, ScrapeConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|e| ScrapeConfigError { path: path.to_owned(), message: e.to_string() })?;
        Self::parse(&text, path)
    }

    /// As [`Self::load`], from text; `path` is for messages and relative names.
    pub fn parse(text: &str, path: &Path) -> Result<Self, ScrapeConfigError> {
        let fail = |message: String| ScrapeConfigError { path: path.to_owned(), message };
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        let form: FileForm = serde_saphyr::from_str(text).map_err(|e| fail(e.to_string()))?;
        let folder = path.parent().unwrap_or(Path::new(".")).to_owned();
        Checker { folder }.config(form).map_err(fail)
    }

    /// Reads the scrape jobs of a pack's or a `scrape_config_files` file.
    pub fn load_jobs(path: &Path) -> Result<Vec<ScrapeJob>, ScrapeConfigError> {
        Ok(Self::load(path)?.jobs)
    }
}

/// Reads a `file_sd` file: a list of `{targets, labels}` in YAML or JSON.
pub fn read_target_groups(path: &Path) -> Result<Vec<TargetGroup>, ScrapeConfigError> {
    let fail = |message: String| ScrapeConfigError { path: path.to_owned(), message };
    let text = std::fs::read_to_string(path).map_err(|e| fail(e.to_string()))?;
    let groups: Vec<GroupForm> = serde_saphyr::from_str(&text).map_err(|e| fail(e.to_string()))?;
    groups.into_iter().map(|g| group(g).map_err(fail)).collect()
}

fn group(form: GroupForm) -> Result<TargetGroup, String> {
    let labels = form.labels.unwrap_or_default();
    for (name, value) in &labels {
        if !valid_label_name(name) {
            return Err(format!("{name:?} is not a valid label name"));
        }
        if value.contains('\0') {
            return Err(format!("label {name:?} has an invalid value"));
        }
    }
    for target in &form.targets {
        check_target(target)?;
    }
    Ok(TargetGroup { targets: form.targets, labels: LabelSet::from_iter(labels) })
}

fn check_target(target: &str) -> Result<(), String> {
    if target.contains('/') {
        return Err(format!("{target:?} is not a valid hostname: it is an address, not a URL"));
    }
    if target.is_empty() {
        return Err("empty target".to_owned());
    }
    Ok(())
}

/// UTF-8 names are allowed since Prometheus 3; only the empty one is not.
fn valid_label_name(name: &str) -> bool {
    !name.is_empty()
}

struct Checker {
    folder: PathBuf,
}

impl Checker {
    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    fn config(&self, form: FileForm) -> Result<PrometheusConfig, String> {
        let mut notices = Vec::new();
        for (name, value) in [
            ("alerting", &form.alerting),
            ("remote_write", &form.remote_write),
            ("remote_read", &form.remote_read),
            ("storage", &form.storage),
            ("tracing", &form.tracing),
            ("otlp", &form.otlp),
            ("runtime", &form.runtime),
        ] {
            if value.is_some() {
                notices.push(format!("section {name:?} is not used"));
            }
        }
        let global = &form.global;
        self.check_global(global)?;
        let mut jobs: Vec<ScrapeJob> = Vec::new();
        for job in form.scrape_configs.unwrap_or_default() {
            let name = job.job_name.clone();
            if jobs.iter().any(|j| j.name == name) {
                return Err(format!("found multiple scrape configs with job name {name:?}"));
            }
            let checked = self
                .job(job, global, &mut notices)
                .map_err(|e| format!("scrape config {name:?}: {e}"))?;
            jobs.push(checked);
        }
        for pattern in form.scrape_config_files.unwrap_or_default() {
            for file in expand_glob(&self.path(&pattern)) {
                let more = PrometheusConfig::load(&file).map_err(|e| e.to_string())?;
                for job in more.jobs {
                    if jobs.iter().any(|j| j.name == job.name) {
                        return Err(format!(
                            "found multiple scrape configs with job name {:?}",
                            job.name
                        ));
                    }
                    jobs.push(job);
                }
            }
        }
        let mut rule_files = Vec::new();
        for pattern in form.rule_files.unwrap_or_default() {
            let name = pattern.rsplit('/').next().unwrap_or(&pattern);
            if !name.contains('*') && pattern.contains('*') {
                return Err(format!("invalid rule file path {pattern:?}"));
            }
            rule_files.push(self.path(&pattern));
        }
        Ok(PrometheusConfig {
            jobs,
            rule_files,
            external_labels: LabelSet::from_iter(global.external_labels.clone()),
            evaluation_interval: global
                .evaluation_interval
                .as_deref()
                .map(|t| duration("evaluation_interval", t))
                .transpose()?,
            notices,
        })
    }

    fn check_global(&self, global: &GlobalForm) -> Result<(), String> {
        if let Some(bad) = global.external_labels.keys().find(|n| !valid_label_name(n)) {
            return Err(format!("{bad:?} is not a valid label name"));
        }
        for (name, value) in [
            ("rule_query_offset", &global.rule_query_offset),
            ("scrape_interval", &global.scrape_interval),
            ("scrape_timeout", &global.scrape_timeout),
        ] {
            if let Some(text) = value {
                duration(name, text)?;
            }
        }
        check_scheme(
            "metric_name_validation_scheme",
            global.metric_name_validation_scheme.as_deref(),
            &["utf8", "legacy"],
        )?;
        check_scheme(
            "metric_name_escaping_scheme",
            global.metric_name_escaping_scheme.as_deref(),
            &["allow-utf-8", "underscores", "dots", "values"],
        )?;
        if let Some(protocols) = &global.scrape_protocols {
            check_protocols(protocols)?;
        }
        // Known, and of no effect here.
        let _passive = (
            &global.query_log_file,
            &global.scrape_failure_log_file,
            global.keep_dropped_targets,
            global.scrape_native_histograms,
            global.convert_classic_histograms_to_nhcb,
            global.always_scrape_classic_histograms,
            global.extra_scrape_metrics,
        );
        Ok(())
    }

    fn job(
        &self,
        form: JobForm,
        global: &GlobalForm,
        notices: &mut Vec<String>,
    ) -> Result<ScrapeJob, String> {
        if form.job_name.is_empty() {
            return Err("job_name is empty".to_owned());
        }
        for (key, value) in &form.rest {
            if let Some(kind) = key.strip_suffix("_sd_configs") {
                notices.push(format!(
                    "job {:?}: {kind} discovery is not available; list its targets through file_sd_configs",
                    form.job_name
                ));
            } else if !JOB_KEYS_PASSIVE.contains(&key.as_str())
                && ![
                    "metric_name_validation_scheme",
                    "metric_name_escaping_scheme",
                    "extra_scrape_metrics",
                ]
                .contains(&key.as_str())
            {
                return Err(format!("field {key} not found in scrape_configs"));
            }
            check_passive(key, value)?;
        }
        let interval = duration(
            "scrape_interval",
            form.scrape_interval.as_deref().or(global.scrape_interval.as_deref()).unwrap_or("1m"),
        )?;
        let timeout = match (&form.scrape_timeout, &global.scrape_timeout) {
            (Some(t), _) => duration("scrape_timeout", t)?,
            (None, Some(t)) => duration("scrape_timeout", t)?.min(interval),
            (None, None) => Duration::from_secs(10).min(interval),
        };
        if timeout > interval {
            return Err("scrape timeout greater than scrape interval".to_owned());
        }
        if interval.is_zero() {
            return Err("scrape interval is zero".to_owned());
        }
        let size = |v: &Option<Yaml>| v.as_ref().map(size_limit).transpose();
        let auth_count = usize::from(form.basic_auth.is_some())
            + usize::from(form.authorization.is_some())
            + usize::from(form.rest.contains_key("oauth2"))
            + usize::from(form.bearer_token.is_some() || form.bearer_token_file.is_some());
        if auth_count > 1 {
            return Err(
                "at most one of basic_auth, oauth2, authorization & bearer_token must be configured"
                    .to_owned(),
            );
        }
        let scheme = form.scheme.unwrap_or_else(|| "http".to_owned());
        if !["http", "https"].contains(&scheme.as_str()) {
            return Err(format!("scheme {scheme:?} is neither http nor https"));
        }
        Ok(ScrapeJob {
            interval,
            timeout,
            metrics_path: form.metrics_path.unwrap_or_else(|| "/metrics".to_owned()),
            scheme,
            params: form
                .params
                .into_iter()
                .flat_map(|(n, vs)| vs.into_iter().map(move |v| (n.clone(), v)))
                .collect(),
            honor_labels: form.honor_labels,
            honor_timestamps: form.honor_timestamps.unwrap_or(true),
            body_bytes_max: size(&form.body_size_limit)?
                .or(size(&global.body_size_limit)?)
                .unwrap_or(0),
            sample_limit: form.sample_limit.or(global.sample_limit).unwrap_or(0),
            label_limit: form.label_limit.or(global.label_limit).unwrap_or(0),
            label_name_length_limit: form
                .label_name_length_limit
                .or(global.label_name_length_limit)
                .unwrap_or(0),
            label_value_length_limit: form
                .label_value_length_limit
                .or(global.label_value_length_limit)
                .unwrap_or(0),
            target_limit: form.target_limit.or(global.target_limit).unwrap_or(0),
            basic_auth: form.basic_auth.map(|b| self.basic_auth(b)).transpose()?,
            authorization: self.authorization(
                form.authorization,
                form.bearer_token,
                form.bearer_token_file,
            )?,
            ca_file: form
                .tls_config
                .as_ref()
                .and_then(|t| t.ca_file.as_deref())
                .map(|f| self.path(f)),
            insecure_skip_verify: form.tls_config.as_ref().is_some_and(|t| t.insecure_skip_verify),
            follow_redirects: form.follow_redirects.unwrap_or(true),
            static_targets: {
                check_tls(form.tls_config.as_ref())?;
                form.static_configs
                    .unwrap_or_default()
                    .into_iter()
                    .map(group)
                    .collect::<Result<_, _>>()?
            },
            file_sd: form
                .file_sd_configs
                .unwrap_or_default()
                .into_iter()
                .map(|f| self.file_sd(f))
                .collect::<Result<_, _>>()?,
            relabel: relabel_rules(form.relabel_configs)?,
            metric_relabel: relabel_rules(form.metric_relabel_configs)?,
            name: form.job_name,
        })
    }

    fn basic_auth(&self, form: BasicAuthForm) -> Result<(String, Secret), String> {
        let username = match (form.username, form.username_file) {
            (Some(_), Some(_)) => {
                return Err(
                    "at most one of basic_auth username & username_file must be configured".into(),
                );
            }
            (Some(u), None) => u,
            (None, Some(f)) => std::fs::read_to_string(self.path(&f))
                .map_err(|e| format!("username_file {f:?}: {e}"))?
                .trim()
                .to_owned(),
            (None, None) => String::new(),
        };
        let password = match (form.password, form.password_file) {
            (Some(_), Some(_)) => {
                return Err(
                    "at most one of basic_auth password & password_file must be configured".into(),
                );
            }
            (_, Some(f)) => Secret::File(self.path(&f)),
            (p, None) => Secret::Text(p.unwrap_or_default()),
        };
        Ok((username, password))
    }

    fn authorization(
        &self,
        form: Option<AuthorizationForm>,
        token: Option<String>,
        token_file: Option<String>,
    ) -> Result<Option<(String, Secret)>, String> {
        let (kind, text, file) = match form {
            Some(f) => (f.kind, f.credentials, f.credentials_file),
            None => (None, token, token_file),
        };
        let kind = kind.unwrap_or_else(|| "Bearer".to_owned());
        if kind.eq_ignore_ascii_case("basic") {
            return Err(
                "authorization type cannot be set to \"basic\", use \"basic_auth\" instead".into(),
            );
        }
        match (text, file) {
            (Some(_), Some(_)) => Err(
                "at most one of authorization credentials & credentials_file must be configured"
                    .into(),
            ),
            (Some(t), None) => Ok(Some((kind, Secret::Text(t)))),
            (None, Some(f)) => Ok(Some((kind, Secret::File(self.path(&f))))),
            (None, None) => Ok(None),
        }
    }

    fn file_sd(&self, form: FileSdForm) -> Result<FileDiscovery, String> {
        if form.files.is_empty() {
            return Err("file service discovery config must contain at least one path name".into());
        }
        for file in &form.files {
            let name = file.rsplit('/').next().unwrap_or(file);
            let known = [".json", ".yml", ".yaml"].iter().any(|e| name.ends_with(e));
            if !known
                || name.matches('*').count() > 1
                || file.matches('*').count() > name.matches('*').count()
            {
                return Err(format!("path name {file:?} is not valid for file discovery"));
            }
        }
        Ok(FileDiscovery {
            files: form.files.iter().map(|f| self.path(f)).collect(),
            refresh: form
                .refresh_interval
                .as_deref()
                .map_or(Ok(Duration::from_secs(30)), |t| duration("refresh_interval", t))?,
        })
    }
}

fn check_scheme(key: &str, value: Option<&str>, known: &[&str]) -> Result<(), String> {
    match value {
        Some(v) if !known.contains(&v) => {
            Err(format!("unknown {key} {v:?}, expected one of {known:?}"))
        }
        _ => Ok(()),
    }
}

const PROTOCOLS: [&str; 5] = [
    "PrometheusProto",
    "OpenMetricsText0.0.1",
    "OpenMetricsText1.0.0",
    "PrometheusText0.0.4",
    "PrometheusText1.0.0",
];

fn check_protocols(all: &[String]) -> Result<(), String> {
    if all.is_empty() {
        return Err("scrape_protocols cannot be empty".to_owned());
    }
    for (i, protocol) in all.iter().enumerate() {
        if !PROTOCOLS.contains(&protocol.as_str()) {
            return Err(format!("unknown scrape protocol {protocol:?}, supported: {PROTOCOLS:?}"));
        }
        if all.iter().take(i).any(|p| p == protocol) {
            return Err(format!("duplicated protocol in scrape_protocols: {protocol:?}"));
        }
    }
    Ok(())
}

/// Values of keys that have no effect here are still checked where Prometheus would refuse them.
fn check_passive(key: &str, value: &Yaml) -> Result<(), String> {
    let text = value.as_str();
    match key {
        "scrape_protocols" => {
            let all: Vec<String> = value
                .as_array()
                .map(|a| a.iter().filter_map(|v| v.as_str().map(str::to_owned)).collect())
                .unwrap_or_default();
            check_protocols(&all)
        }
        "fallback_scrape_protocol" => match text {
            Some(p) if PROTOCOLS.contains(&p) => Ok(()),
            _ => Err(format!("invalid fallback_scrape_protocol {value}")),
        },
        "metric_name_validation_scheme" => check_scheme(key, text, &["utf8", "legacy"]),
        "metric_name_escaping_scheme" => {
            check_scheme(key, text, &["allow-utf-8", "underscores", "dots", "values"])
        }
        _ => Ok(()),
    }
}

fn check_tls(form: Option<&TlsForm>) -> Result<(), String> {
    let Some(tls) = form else { return Ok(()) };
    let cert = tls.cert.is_some() || tls.cert_file.is_some();
    let key = tls.key.is_some() || tls.key_file.is_some();
    if cert != key {
        return Err("exactly one of key or key_file must be configured when a client certificate is configured".into());
    }
    if tls.ca.is_some() && tls.ca_file.is_some() {
        return Err("at most one of ca and ca_file must be configured".into());
    }
    for version in [&tls.min_version, &tls.max_version].into_iter().flatten() {
        if !["TLS10", "TLS11", "TLS12", "TLS13"].contains(&version.as_str()) {
            return Err(format!("unknown TLS version: {version}"));
        }
    }
    let _passive = &tls.server_name;
    Ok(())
}

fn relabel_rules(forms: Option<Vec<RelabelForm>>) -> Result<Vec<RelabelRule>, String> {
    forms.unwrap_or_default().into_iter().map(relabel_rule).collect()
}

fn relabel_rule(form: RelabelForm) -> Result<RelabelRule, String> {
    let action_text = form.action.as_deref().unwrap_or("replace");
    let action = Action::from_text(action_text)
        .ok_or_else(|| format!("unknown relabel action {action_text:?}"))?;
    let target_label = form.target_label.unwrap_or_default();
    let needs_target = matches!(
        action,
        Action::Replace
            | Action::HashMod
            | Action::Lowercase
            | Action::Uppercase
            | Action::KeepEqual
            | Action::DropEqual
    );
    if needs_target && target_label.is_empty() {
        return Err(format!(
            "relabel configuration for {action_text} action requires 'target_label' value"
        ));
    }
    if action == Action::HashMod && form.modulus.is_none_or(|m| m == 0) {
        return Err("relabel configuration for hashmod requires non-zero modulus".into());
    }
    if matches!(action, Action::LabelDrop | Action::LabelKeep)
        && (form.source_labels.is_some()
            || !target_label.is_empty()
            || form.modulus.is_some()
            || form.separator.is_some()
            || form.replacement.is_some())
    {
        return Err(format!("{action_text} action requires only 'regex', and no other fields"));
    }
    if matches!(action, Action::KeepEqual | Action::DropEqual)
        && (form.regex.is_some()
            || form.modulus.is_some()
            || form.separator.is_some()
            || form.replacement.is_some())
    {
        return Err(format!(
            "{action_text} action requires only 'source_labels' and `target_label`, and no other fields"
        ));
    }
    if matches!(action, Action::HashMod | Action::Lowercase | Action::Uppercase)
        && target_label.contains('$')
    {
        return Err(format!("{target_label:?} is invalid 'target_label' for {action_text} action"));
    }
    if let Some(bad) = form.source_labels.iter().flatten().find(|n| !valid_label_name(n)) {
        return Err(format!("{bad:?} is not a valid label name"));
    }
    let pattern = form.regex.unwrap_or_else(|| "(.*)".to_owned());
    Ok(RelabelRule {
        source_labels: form.source_labels.unwrap_or_default(),
        separator: form.separator.unwrap_or_else(|| ";".to_owned()),
        target_label,
        regex: anchored(&pattern).map_err(|e| format!("relabel regex {pattern:?}: {e}"))?,
        modulus: form.modulus.unwrap_or(0),
        replacement: form.replacement.unwrap_or_else(|| "$1".to_owned()),
        action,
    })
}

/// A duration as Prometheus writes it: units in falling order, each once.
pub(crate) fn duration(key: &str, text: &str) -> Result<Duration, String> {
    let wrong = || format!("{key}: not a valid duration string: {text:?}");
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let mut rest = text;
    let mut total: u64 = 0;
    let mut last = u64::MAX;
    if rest.is_empty() {
        return Err(wrong());
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
        let (number, tail) = rest.split_at_checked(digits).ok_or_else(wrong)?;
        let length = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at_checked(length).ok_or_else(wrong)?;
        let factor: u64 = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            "w" => 604_800_000,
            "y" => 31_536_000_000,
            _ => return Err(wrong()),
        };
        let number: u64 = number.parse().map_err(|_e| wrong())?;
        if factor >= last {
            return Err(wrong());
        }
        last = factor;
        total = number.checked_mul(factor).and_then(|n| n.checked_add(total)).ok_or_else(wrong)?;
        rest = tail;
    }
    Ok(Duration::from_millis(total))
}

/// `15MB` and the like (powers of 1024), or a plain number of bytes.
fn size_limit(value: &Yaml) -> Result<u64, String> {
    let wrong = || format!("body_size_limit {value} is not a size such as 15MB");
    if let Some(n) = value.as_u64() {
        return Ok(n);
    }
    let text = value.as_str().ok_or_else(wrong)?;
    let split = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(split).ok_or_else(wrong)?;
    let shift = match unit {
        "" | "B" => 0,
        "KB" | "KiB" => 10,
        "MB" | "MiB" => 20,
        "GB" | "GiB" => 30,
        "TB" | "TiB" => 40,
        _ => return Err(wrong()),
    };
    let number: f64 = number.parse().map_err(|_e| wrong())?;
    Ok((number * (1_u64 << shift) as f64) as u64)
}

/// The files of a path whose last component may hold `*`; sorted. A path without one is itself.
pub fn expand_glob(pattern: &Path) -> Vec<PathBuf> {
    let name = pattern.file_name().and_then(|n| n.to_str()).unwrap_or("").to_owned();
    if !name.contains('*') {
        return if pattern.exists() { vec![pattern.to_owned()] } else { Vec::new() };
    }
    let parts: Vec<&str> = name.split('*').collect();
    let folder = pattern.parent().unwrap_or(Path::new("."));
    let mut found: Vec<PathBuf> = std::fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .filter(|e| e.file_name().to_str().is_some_and(|n| matches_parts(n, &parts)))
        .map(|e| e.path())
        .collect();
    found.sort();
    found
}

fn matches_parts(name: &str, parts: &[&str]) -> bool {
    let (Some(first), Some(last)) = (parts.first(), parts.last()) else { return false };
    let Some(mut rest) = name.strip_prefix(first) else { return false };
    for part in parts.get(1..parts.len() - 1).unwrap_or_default() {
        match rest.find(part).and_then(|at| rest.get(at + part.len()..)) {
            Some(tail) => rest = tail,
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<PrometheusConfig, String> {
        PrometheusConfig::parse(text, Path::new("prometheus.yml")).map_err(|e| e.to_string())
    }

    #[test]
    fn a_usual_file() {
        let c = parse(
            "global: {scrape_interval: 15s, external_labels: {region: eu}}\nrule_files: [rules/*.yml]\nscrape_configs:\n- job_name: node\n  static_configs:\n  - targets: ['127.0.0.1:9100']\n    labels: {node: brick-01}\n  metric_relabel_configs:\n  - {source_labels: [__name__], regex: 'go_.*', action: drop}\n- job_name: k8s\n  kubernetes_sd_configs: [{role: pod}]\n",
        )
        .unwrap();
        assert_eq!(c.jobs.len(), 2);
        assert_eq!(c.jobs[0].interval, Duration::from_secs(15));
        assert_eq!(c.jobs[0].timeout, Duration::from_secs(10));
        assert_eq!(c.jobs[0].static_targets[0].labels.get("node"), Some("brick-01"));
        assert!(c.notices[0].contains("kubernetes discovery"));
        assert_eq!(c.external_labels.get("region"), Some("eu"));
    }

    #[test]
    fn mistakes_name_file_and_cause() {
        for (text, want) in [
            ("scrape_configs:\n- job_name: a\n  scrape_intervall: 3s\n", "scrape_intervall"),
            ("globall: {}\n", "globall"),
            ("scrape_configs:\n- job_name: a\n- job_name: a\n", "multiple scrape configs"),
            (
                "scrape_configs:\n- {job_name: a, scrape_interval: 5s, scrape_timeout: 6s}\n",
                "greater than",
            ),
            (
                "scrape_configs:\n- job_name: a\n  relabel_configs:\n  - {regex: '(', target_label: x}\n",
                "relabel regex",
            ),
            (
                "scrape_configs:\n- job_name: a\n  static_configs: [{targets: ['http://x/']}]\n",
                "not a valid hostname",
            ),
        ] {
            let e = parse(text).unwrap_err();
            assert!(e.contains(want) && e.contains("prometheus.yml"), "{e}");
        }
        let e = parse("global:\n  scrape_interval: 15s\n  nonsense: 1\n").unwrap_err();
        assert!(e.contains("line 3"), "{e}");
    }

    #[test]
    fn durations_are_strict() {
        assert_eq!(duration("x", "1h30m"), Ok(Duration::from_secs(5400)));
        for bad in ["", "5", "30m1h", "1h1h", "-5s", "1.5h"] {
            assert!(duration("x", bad).is_err(), "{bad}");
        }
    }
}
