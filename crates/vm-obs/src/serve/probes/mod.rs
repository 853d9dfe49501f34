//! Probes by schedule, stored as samples and traces, and `/probe` for those who scrape probes.

mod file;
mod objectives;
mod route;
mod run;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use obs_collect::scrape::{ScrapeManager, TargetStatus};
use obs_exercise::exchange::AllowedHosts;
use obs_exercise::probe::{Module, Modules, Transaction};
use obs_types::LabelSet;

pub(crate) use file::check_pack_probes;
use file::{FileForm, jobs, pack_jobs};
pub(super) use objectives::Objectives;
pub(crate) use route::debug;
pub(super) use route::router;
pub(super) use run::schedule;

/// Where a scrape says nothing: what the exporter does.
const SCRAPE_TIMEOUT: Duration = Duration::from_millis(119_500);
/// Most targets of one probe of scraped targets.
const SCRAPED_TARGETS_MAX: usize = 200;

#[derive(Debug)]
enum What {
    Module(Box<Module>),
    Flow(Box<Transaction>),
}

/// Where a probe goes.
#[derive(Debug)]
enum Where {
    Address(String),
    /// Every target that is scraped and bears these labels, at this path.
    Scraped {
        labels: Vec<(String, String)>,
        path: String,
    },
}

/// Runs of one target.
#[derive(Debug, Default)]
struct Counts {
    runs: AtomicU64,
    failures: AtomicU64,
}

/// One target, or those that are scraped, with its schedule.
#[derive(Debug)]
struct Job {
    to: Where,
    what: What,
    interval: Duration,
    /// `job`, `module` and the user's own; `instance` where the target is known.
    labels: LabelSet,
    /// By target.
    counts: Mutex<BTreeMap<String, Arc<Counts>>>,
}

impl Job {
    fn new(to: Where, what: What, interval: Duration, labels: LabelSet) -> Arc<Self> {
        Arc::new(Self { to, what, interval, labels, counts: Mutex::default() })
    }

    fn counts(&self, target: &str) -> Arc<Counts> {
        let mut all = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(all.entry(target.to_owned()).or_default())
    }

    /// Address and labels of each target, and the host that is allowed because it is scraped.
    fn targets(&self, scraper: &ScrapeManager) -> Vec<OneTarget> {
        let (wanted, path) = match &self.to {
            Where::Address(target) => {
                let (target, labels) = (target.clone(), self.labels.clone());
                return vec![OneTarget { target, labels, scraped_host: None }];
            }
            Where::Scraped { labels, path } => (labels, path),
        };
        let statuses = scraper.statuses();
        let bears = |t: &TargetStatus| {
            wanted.iter().all(|(name, value)| t.target.labels.get(name) == Some(value.as_str()))
        };
        let chosen = statuses.iter().filter(|t| bears(t)).take(SCRAPED_TARGETS_MAX);
        chosen.filter_map(|t| self.scraped_target(t, path)).collect()
    }

    fn scraped_target(&self, status: &TargetStatus, path: &str) -> Option<OneTarget> {
        let uri: axum::http::Uri = status.target.url.parse().ok()?;
        let authority = uri.authority()?;
        let mut labels = status.target.labels.to_builder();
        for (name, value) in self.labels.iter() {
            labels.set(name, value);
        }
        Some(OneTarget {
            target: format!("{}://{authority}{path}", uri.scheme_str()?),
            labels: labels.build(),
            scraped_host: Some(authority.host().to_owned()),
        })
    }
}

/// One run's target.
struct OneTarget {
    target: String,
    labels: LabelSet,
    /// What is scraped may be probed.
    scraped_host: Option<String>,
}

/// Modules, who may be probed, and what is probed by schedule.
#[derive(Debug)]
pub(crate) struct Probes {
    pub(crate) modules: Modules,
    pub(crate) allowed: AllowedHosts,
    jobs: Vec<Arc<Job>>,
}

impl Probes {
    /// The probes of packs, each with the name of its file, and those of the configuration's file.
    /// Without one: the standard modules and loopback only.
    pub(crate) fn open(file: Option<&Path>, packs: &[(String, String)]) -> anyhow::Result<Self> {
        let mut probes = Self::of_file(file)?;
        for (shown, text) in packs {
            probes.jobs.extend(pack_jobs(shown, text)?);
        }
        Ok(probes)
    }

    fn of_file(file: Option<&Path>) -> anyhow::Result<Self> {
        let mut modules = Modules::standard();
        let Some(file) = file else {
            return Ok(Self { modules, allowed: AllowedHosts::default(), jobs: Vec::new() });
        };
        let text = std::fs::read_to_string(file)
            .with_context(|| format!("cannot read {}", file.display()))?;
        let folder = file.parent().unwrap_or(Path::new("."));
        let form: FileForm = serde_saphyr::from_str(&text)
            .map_err(|e| anyhow::anyhow!("{e}"))
            .with_context(|| format!("in {}", file.display()))?;
        if let Some(own) = &form.modules_file {
            let own = folder.join(own);
            let text = std::fs::read_to_string(&own)
                .with_context(|| format!("cannot read {}", own.display()))?;
            modules.extend(Modules::parse(&text).with_context(|| format!("in {}", own.display()))?);
        }
        let allowed = AllowedHosts::new(form.allow_hosts.clone());
        Objectives::of_file(&file.display().to_string(), &text)?;
        let jobs = jobs(form, &modules).with_context(|| format!("in {}", file.display()))?;
        Ok(Self { modules, allowed, jobs })
    }

    /// The transactions with this name, or all.
    pub(crate) fn transactions(&self, name: Option<&str>) -> Vec<&Transaction> {
        let flows = self.jobs.iter().filter_map(|job| match &job.what {
            What::Flow(flow) => Some(flow.as_ref()),
            What::Module(_) => None,
        });
        flows.filter(|flow| name.is_none_or(|n| n == flow.name)).collect()
    }

    /// How many targets and transactions have a schedule.
    pub(crate) fn scheduled(&self) -> usize {
        self.jobs.len()
    }
}
