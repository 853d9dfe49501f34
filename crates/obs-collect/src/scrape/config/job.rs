//! One scrape job, checked.

use std::time::Duration;

use super::Checker;
use super::discovery::{Discovery, TargetGroup, dns_sd, group};
use super::forms::{JobForm, LimitsForm};
use super::http::HttpSettings;
use super::limits::{ScrapeFormats, ScrapeLimits, check, protocol};
use super::relabel::relabel_rules;
use super::units::duration;
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
    /// Series with times of their own are marked stale too when they vanish.
    pub track_timestamps_staleness: bool,
    pub compression: bool,
    pub limits: ScrapeLimits,
    pub formats: ScrapeFormats,
    pub http: HttpSettings,
    pub static_targets: Vec<TargetGroup>,
    pub discovery: Vec<Discovery>,
    pub relabel: Vec<RelabelRule>,
    pub metric_relabel: Vec<RelabelRule>,
}

/// What `global` gives to jobs that do not say otherwise.
#[derive(Clone, Debug, Default)]
pub(super) struct Defaults {
    pub(super) interval: Option<String>,
    pub(super) timeout: Option<String>,
    pub(super) limits: LimitsForm,
}

impl Checker<'_> {
    pub(super) fn job(&mut self, mut form: JobForm) -> Result<ScrapeJob, String> {
        if form.job_name.is_empty() {
            return Err("job_name is empty".to_owned());
        }
        if let Some(key) = form.foreign() {
            return Err(format!(
                "{key} is not supported; list its targets through file_sd_configs or http_sd_configs"
            ));
        }
        let (interval, timeout) = self.times(&form)?;
        let scheme = form.scheme.take().unwrap_or_else(|| "http".to_owned());
        if !["http", "https"].contains(&scheme.as_str()) {
            return Err(format!("scheme {scheme:?} is neither http nor https"));
        }
        let own = form.limits();
        if own.scrape_failure_log_file.is_some() {
            self.notices
                .push(format!("job {:?}: scrape_failure_log_file is not written", form.job_name));
        }
        let (mut limits, mut formats) = check(own.or(&self.defaults.limits))?;
        limits.native_histogram_buckets = form.native_histogram_bucket_limit.unwrap_or(0);
        limits.series = form.series_limit.unwrap_or(0);
        formats.bucket_factor_min = form.native_histogram_min_bucket_factor.unwrap_or(0.0);
        formats.fallback = form.fallback_scrape_protocol.as_deref().map(protocol).transpose()?;
        let http = form.http();
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
            track_timestamps_staleness: form.track_timestamps_staleness,
            compression: form.enable_compression.unwrap_or(true),
            limits,
            formats,
            http: self.http(http)?,
            static_targets: each(form.static_configs, |form| {
                group(form.ok_or("empty or null section in static_configs")?)
            })?,
            discovery: [
                each(form.file_sd_configs, |f| Ok(Discovery::File(self.file_sd(f)?)))?,
                each(form.http_sd_configs, |f| Ok(Discovery::Http(self.http_sd(f)?)))?,
                each(form.dns_sd_configs, |f| Ok(Discovery::Dns(dns_sd(f)?)))?,
                each(form.kubernetes_sd_configs, |f| {
                    Ok(Discovery::Kubernetes(self.kubernetes_sd(f)?))
                })?,
            ]
            .concat(),
            relabel: relabel_rules(form.relabel_configs)?,
            metric_relabel: relabel_rules(form.metric_relabel_configs)?,
            name: form.job_name,
        })
    }

    fn times(&self, form: &JobForm) -> Result<(Duration, Duration), String> {
        let defaults = &self.defaults;
        let interval = form.scrape_interval.as_deref().or(defaults.interval.as_deref());
        let interval = duration("scrape_interval", interval.unwrap_or("1m"))?;
        let timeout = match (&form.scrape_timeout, &defaults.timeout) {
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
        Ok((interval, timeout))
    }
}

fn each<F, T>(
    forms: Option<Vec<F>>,
    check: impl FnMut(F) -> Result<T, String>,
) -> Result<Vec<T>, String> {
    forms.unwrap_or_default().into_iter().map(check).collect()
}
