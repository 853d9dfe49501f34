//! `prometheus.yml`, as it is: the file form, and its checked form.
//!
//! Keys that Prometheus knows and vm-obs does not act on are accepted and reported as notices, so
//! that an existing file loads; keys that Prometheus does not know are refused with their line.

mod discovery;
mod forms;
mod http;
mod job;
mod limits;
mod relabel;
mod sections;
mod shown;
mod units;

use std::path::{Path, PathBuf};
use std::time::Duration;

use obs_types::LabelSet;

use self::discovery::valid_label_name;
use self::forms::{FileForm, JobForm, JobsForm};
use self::job::Defaults;
pub(crate) use self::units::duration;

pub(crate) use self::discovery::parse_target_groups;
pub use self::discovery::{
    Discovery, DnsDiscovery, DnsKind, FileDiscovery, HttpDiscovery, KubernetesDiscovery,
    KubernetesRole, KubernetesSelector, TargetGroup, read_target_groups,
};
pub use self::http::{
    HttpSettings, OAuth2Settings, ProxySettings, Secret, TlsSettings, TlsVersion,
};
pub use self::job::ScrapeJob;
pub use self::limits::{ScrapeFormats, ScrapeLimits};
pub use self::units::expand_glob;

#[derive(Clone, Debug, thiserror::Error)]
#[error("{}: {message}", path.display())]
pub struct ScrapeConfigError {
    pub path: PathBuf,
    pub message: String,
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
        let mut notices = Vec::new();
        let defaults = Defaults::default();
        let checker = Checker { folder, defaults, notices: &mut notices };
        let mut config = checker.config(form).map_err(fail)?;
        config.notices = notices;
        Ok(config)
    }

    /// Reads the scrape jobs of a pack's or a `scrape_config_files` file.
    pub fn load_jobs(path: &Path) -> Result<Vec<ScrapeJob>, ScrapeConfigError> {
        Ok(Self::load(path)?.jobs)
    }
}

/// What checking one file needs.
struct Checker<'n> {
    folder: PathBuf,
    defaults: Defaults,
    notices: &'n mut Vec<String>,
}

impl Checker<'_> {
    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    fn config(mut self, form: FileForm) -> Result<PrometheusConfig, String> {
        for (name, value) in [
            ("alerting", &form.alerting),
            ("remote_write", &form.remote_write),
            ("remote_read", &form.remote_read),
            ("storage", &form.storage),
            ("tracing", &form.tracing),
            ("otlp", &form.otlp),
            ("runtime", &form.runtime),
        ] {
            if let Some(value) = value {
                sections::check(name, value)?;
                self.notices.push(format!("section {name:?} is not used"));
            }
        }
        let mut global = form.global.unwrap_or_default();
        if let Some(bad) = global.external_labels.keys().find(|n| !valid_label_name(n)) {
            return Err(format!("{bad:?} is not a valid label name"));
        }
        if let Some(text) = &global.rule_query_offset {
            duration("rule_query_offset", text)?;
        }
        if global.query_log_file.is_some() {
            self.notices.push("global: query_log_file is not written".into());
        }
        self.defaults = Defaults {
            interval: global.scrape_interval.take(),
            timeout: global.scrape_timeout.take(),
            limits: global.limits(),
        };
        self.check_defaults()?;
        let mut jobs: Vec<ScrapeJob> = Vec::new();
        self.jobs(form.scrape_configs.unwrap_or_default(), &mut jobs)?;
        for pattern in form.scrape_config_files.unwrap_or_default() {
            if pattern.rsplit_once('/').is_some_and(|(folder, _)| folder.contains('*')) {
                return Err(format!("invalid scrape config file path {pattern:?}"));
            }
            for file in expand_glob(&self.path(&pattern)) {
                self.included(&file, &mut jobs).map_err(|e| format!("{}: {e}", file.display()))?;
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
            external_labels: LabelSet::from_iter(global.external_labels),
            evaluation_interval: global
                .evaluation_interval
                .as_deref()
                .map(|t| duration("evaluation_interval", t))
                .transpose()?,
            notices: Vec::new(),
        })
    }

    /// Mistakes in `global` count even if every job says otherwise.
    fn check_defaults(&self) -> Result<(), String> {
        let defaults = &self.defaults;
        let time = |key: &str, text: &Option<String>, default: &str| {
            duration(key, text.as_deref().unwrap_or(default))
        };
        let interval = time("scrape_interval", &defaults.interval, "1m")?;
        let timeout = time("scrape_timeout", &defaults.timeout, "10s")?;
        if defaults.timeout.is_some() && timeout > interval {
            return Err("global scrape timeout greater than scrape interval".into());
        }
        limits::check(defaults.limits.clone()).map(drop).map_err(|e| format!("global: {e}"))
    }

    fn jobs(&mut self, forms: Vec<JobForm>, jobs: &mut Vec<ScrapeJob>) -> Result<(), String> {
        for form in forms {
            let name = form.job_name.clone();
            if jobs.iter().any(|j| j.name == name) {
                return Err(format!("found multiple scrape configs with job name {name:?}"));
            }
            let job = self.job(form).map_err(|e| format!("scrape config {name:?}: {e}"))?;
            jobs.push(job);
        }
        Ok(())
    }

    /// Jobs of a file of `scrape_config_files`: `global` holds for them too, names of files are
    /// relative to their own.
    fn included(&mut self, file: &Path, jobs: &mut Vec<ScrapeJob>) -> Result<(), String> {
        let text = std::fs::read_to_string(file).map_err(|e| e.to_string())?;
        let form: JobsForm = serde_saphyr::from_str(&text).map_err(|e| e.to_string())?;
        let mut checker = Checker {
            folder: file.parent().unwrap_or(Path::new(".")).to_owned(),
            defaults: self.defaults.clone(),
            notices: &mut *self.notices,
        };
        checker.jobs(form.scrape_configs.unwrap_or_default(), jobs)
    }
}

#[cfg(test)]
pub(crate) mod testing {
    use super::{Path, PrometheusConfig, ScrapeJob};

    /// A job named `a` with further lines of YAML.
    pub(crate) fn job(lines: &str) -> ScrapeJob {
        let text = format!("scrape_configs:\n- job_name: a\n{lines}");
        PrometheusConfig::parse(&text, Path::new("p.yml")).unwrap().jobs.remove(0)
    }
}

#[cfg(test)]
mod tests;
