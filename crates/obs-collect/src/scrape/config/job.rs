//! One scrape job, checked.

use std::path::PathBuf;
use std::time::Duration;

use super::Checker;
use super::discovery::{FileDiscovery, TargetGroup, group};
use super::forms::{GlobalForm, JOB_KEYS_PASSIVE, JobForm, Yaml};
use super::http::{Secret, check_tls};
use super::relabel::relabel_rules;
use super::units::{duration, size_limit};
use crate::scrape::relabel::RelabelRule;

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

impl Checker {
    pub(super) fn job(
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
}

pub(super) fn check_scheme(key: &str, value: Option<&str>, known: &[&str]) -> Result<(), String> {
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

pub(super) fn check_protocols(all: &[String]) -> Result<(), String> {
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
