//! `prometheus.yml`, as it is: the file form, and its checked form.
//!
//! Keys that Prometheus knows and vm-obs does not act on are accepted and reported as notices, so
//! that an existing file loads; keys that Prometheus does not know are refused with their line.

mod discovery;
mod forms;
mod http;
mod job;
mod relabel;
mod units;

use std::path::{Path, PathBuf};
use std::time::Duration;

use obs_types::LabelSet;

use self::discovery::valid_label_name;
use self::forms::{FileForm, GlobalForm};
use self::job::{check_protocols, check_scheme};
use self::units::duration;

pub use self::discovery::{FileDiscovery, TargetGroup, read_target_groups};
pub use self::http::Secret;
pub use self::job::ScrapeJob;
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
        Checker { folder }.config(form).map_err(fail)
    }

    /// Reads the scrape jobs of a pack's or a `scrape_config_files` file.
    pub fn load_jobs(path: &Path) -> Result<Vec<ScrapeJob>, ScrapeConfigError> {
        Ok(Self::load(path)?.jobs)
    }
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
}
