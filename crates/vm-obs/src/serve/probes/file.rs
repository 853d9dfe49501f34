//! The probes file, of a pack or of the configuration, and the jobs in it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use obs_exercise::probe::{Modules, Transaction, TransactionForm};
use obs_types::LabelSet;
use serde::Deserialize;

use super::objectives::{self, Objectives, SloForm};
use super::{Job, What, Where};

const INTERVAL: &str = "30s";

/// The probes file. Example: `docs/exercises.md`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct FileForm {
    /// A modules file of the blackbox exporter.
    pub(super) modules_file: Option<PathBuf>,
    /// Hosts other than loopback that may be probed.
    pub(super) allow_hosts: Vec<String>,
    probes: Vec<ProbeForm>,
    transactions: Vec<FlowForm>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ProbeForm {
    name: String,
    module: Option<String>,
    targets: Vec<String>,
    /// In place of targets: those that are scraped and bear these labels, wherever they are.
    scraped: BTreeMap<String, String>,
    /// What is asked of them. Example: `path: /health`
    path: Option<String>,
    interval: Option<String>,
    labels: BTreeMap<String, String>,
    /// What is wanted of it. Example: `slo: {target: 0.999, window: 30d}`
    slo: Option<SloForm>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct FlowForm {
    interval: Option<String>,
    labels: BTreeMap<String, String>,
    /// What is wanted of it, as for a probe.
    slo: Option<SloForm>,
    flow: TransactionForm,
}

/// A pack's `probes.yml`: the form of the configuration's file without what is the operator's alone.
pub(super) fn pack_jobs(shown: &str, text: &str) -> anyhow::Result<Vec<Arc<Job>>> {
    let form: FileForm =
        serde_saphyr::from_str(text).map_err(|e| anyhow::anyhow!("{shown}: {e}"))?;
    let own = form.modules_file.is_some() || !form.allow_hosts.is_empty();
    anyhow::ensure!(!own, "{shown}: modules_file and allow_hosts are not for packs");
    Objectives::of_file(shown, text)?;
    jobs(form, &Modules::standard()).with_context(|| shown.to_owned())
}

/// Whether a pack's `probes.yml` can be scheduled.
pub(crate) fn check_pack_probes(shown: &str, text: &str) -> anyhow::Result<()> {
    pack_jobs(shown, text).map(|_| ())
}

impl Objectives {
    /// Those of the probes in the file `shown`.
    pub(in crate::serve) fn of_file(shown: &str, text: &str) -> anyhow::Result<Self> {
        let form: FileForm =
            serde_saphyr::from_str(text).map_err(|e| anyhow::anyhow!("{shown}: {e}"))?;
        let probes = form.probes.iter().map(|p| (p.name.as_str(), p.slo.as_ref()));
        let flows = form.transactions.iter().map(|t| (t.flow.name.as_str(), t.slo.as_ref()));
        let wanted: Vec<(&str, &SloForm)> =
            probes.chain(flows).filter_map(|(name, slo)| Some((name, slo?))).collect();
        objectives::of(shown, &wanted)
    }
}

pub(super) fn jobs(form: FileForm, modules: &Modules) -> anyhow::Result<Vec<Arc<Job>>> {
    let interval = |text: Option<&str>| -> anyhow::Result<Duration> {
        let d = obs_query::parse_duration(text.unwrap_or(INTERVAL)).context("interval")?;
        anyhow::ensure!(d.0 >= 100, "interval: must be at least 100ms");
        Ok(Duration::from_millis(d.0.unsigned_abs()))
    };
    let labels = |own: BTreeMap<String, String>, job: &str, module: &str| {
        LabelSet::from_iter(own).with("job", job).with("module", module)
    };
    let mut out = Vec::new();
    for (i, p) in form.probes.into_iter().enumerate() {
        let place = || format!("probes[{i}]");
        anyhow::ensure!(!p.name.is_empty(), "{}: a probe needs a name", place());
        let both = p.targets.is_empty() == p.scraped.is_empty();
        anyhow::ensure!(!both, "{}: targets are missing (or `scraped`, not both)", place());
        let path = p.path.as_deref().unwrap_or("/");
        anyhow::ensure!(path.starts_with('/'), "{}: path must begin with /", place());
        let pointless = p.path.is_some() && p.scraped.is_empty();
        anyhow::ensure!(!pointless, "{}: path goes with `scraped`", place());
        let module_name = p.module.as_deref().unwrap_or("http_2xx");
        let module = modules
            .get(module_name)
            .with_context(|| format!("{}: there is no module {module_name:?}", place()))?;
        let interval = interval(p.interval.as_deref()).with_context(place)?;
        let own = labels(p.labels, &p.name, module_name);
        for target in &p.targets {
            let what = What::Module(Box::new(module.clone()));
            let labels = own.with("instance", target);
            out.push(Job::new(Where::Address(target.clone()), what, interval, labels));
        }
        if !p.scraped.is_empty() {
            let to =
                Where::Scraped { labels: p.scraped.into_iter().collect(), path: path.to_owned() };
            out.push(Job::new(to, What::Module(Box::new(module.clone())), interval, own));
        }
    }
    for (i, t) in form.transactions.into_iter().enumerate() {
        let place = format!("transactions[{i}]");
        let interval = interval(t.interval.as_deref()).with_context(|| place.clone())?;
        let flow = Transaction::check(t.flow, &format!("{place}.flow"))?;
        let instance = if flow.target.is_empty() { &flow.name } else { &flow.target };
        let labels = labels(t.labels, &flow.name, "transaction").with("instance", instance);
        let to = Where::Address(flow.target.clone());
        out.push(Job::new(to, What::Flow(Box::new(flow)), interval, labels));
    }
    Ok(out)
}
