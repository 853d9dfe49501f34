//! Probes by schedule, stored as samples and traces, and `/probe` for those who scrape probes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use axum::Router;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use futures_util::StreamExt as _;
use obs_collect::receivers::Sinks;
use obs_collect::scrape::{ScrapeManager, TargetStatus};
use obs_disk::Clock;
use obs_exercise::exchange::AllowedHosts;
use obs_exercise::probe::{
    Module, Modules, ProbeRequest, ProbeResult, Transaction, TransactionForm, probe,
};
use obs_types::{
    AttrValue, Attributes, InstrumentationScope, LabelSet, MetricBatch, Resource, SeriesSamples,
    Span, SpanId, SpanKind, SpanRecord, SpanStatus, StatusCode as SpanCode, TimestampNs, TraceId,
};
use serde::Deserialize;
use tokio::sync::watch;

/// Where a scrape says nothing: what the exporter does.
const SCRAPE_TIMEOUT: Duration = Duration::from_millis(119_500);
/// What of a scrape's timeout is left for the way back.
const TIMEOUT_OFFSET: Duration = Duration::from_millis(500);
const INTERVAL: &str = "30s";
/// Most targets of one probe of scraped targets.
const SCRAPED_TARGETS_MAX: usize = 200;
/// Of which so many are on their way at once.
const AT_ONCE_MAX: usize = 16;

/// The probes file. Example: `docs/exercises.md`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct FileForm {
    /// A modules file of the blackbox exporter.
    modules_file: Option<PathBuf>,
    /// Hosts other than loopback that may be probed.
    allow_hosts: Vec<String>,
    probes: Vec<ProbeForm>,
    transactions: Vec<FlowForm>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct ProbeForm {
    name: String,
    module: Option<String>,
    targets: Vec<String>,
    /// In place of targets: those that are scraped and bear these labels, wherever they are.
    scraped: BTreeMap<String, String>,
    /// What is asked of them. Example: `path: /health`
    path: Option<String>,
    interval: Option<String>,
    labels: BTreeMap<String, String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct FlowForm {
    interval: Option<String>,
    labels: BTreeMap<String, String>,
    flow: TransactionForm,
}

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

/// A pack's `probes.yml`: the form of the configuration's file without what is the operator's alone.
fn pack_jobs(shown: &str, text: &str) -> anyhow::Result<Vec<Arc<Job>>> {
    let form: FileForm =
        serde_saphyr::from_str(text).map_err(|e| anyhow::anyhow!("{shown}: {e}"))?;
    let own = form.modules_file.is_some() || !form.allow_hosts.is_empty();
    anyhow::ensure!(!own, "{shown}: modules_file and allow_hosts are not for packs");
    jobs(form, &Modules::standard()).with_context(|| shown.to_owned())
}

/// Whether a pack's `probes.yml` can be scheduled.
pub(crate) fn check_pack_probes(shown: &str, text: &str) -> anyhow::Result<()> {
    pack_jobs(shown, text).map(|_| ())
}

fn jobs(form: FileForm, modules: &Modules) -> anyhow::Result<Vec<Arc<Job>>> {
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

/// Starts a task for each target; all end when `stopped` says so.
pub(super) fn schedule(
    probes: &Arc<Probes>,
    scraper: &Arc<ScrapeManager>,
    sinks: &Sinks,
    clock: &Arc<dyn Clock>,
    node: &str,
    stopped: &watch::Receiver<bool>,
) -> Vec<tokio::task::JoinHandle<()>> {
    let count = probes.jobs.len().max(1) as u32;
    let mut out = Vec::new();
    for (i, job) in probes.jobs.iter().enumerate() {
        let (probes, job, sinks) = (Arc::clone(probes), Arc::clone(job), sinks.clone());
        let (clock, mut stopped) = (Arc::clone(clock), stopped.clone());
        let scraper = Arc::clone(scraper);
        let resource = Arc::new(Resource {
            attributes: Attributes(vec![
                ("service.name".to_owned(), AttrValue::Str("vm-obs-probe".to_owned())),
                ("node".to_owned(), AttrValue::Str(node.to_owned())),
            ]),
        });
        let period = clock.real(job.interval).max(Duration::from_millis(100));
        // Spread over the interval, so that probes do not all fall on one instant.
        let first = period * (i as u32) / count;
        out.push(tokio::spawn(async move {
            let start = tokio::time::Instant::now() + first;
            let mut ticks = tokio::time::interval_at(start, period);
            ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
            loop {
                tokio::select! {
                    _ = ticks.tick() => {}
                    _ = stopped.wait_for(|s| *s) => return,
                }
                let runs = job.targets(&scraper).into_iter();
                let runs = runs.map(|t| once(&probes, &job, t, &sinks, &clock, &resource));
                futures_util::stream::iter(runs).buffer_unordered(AT_ONCE_MAX).count().await;
            }
        }));
    }
    out
}

async fn once(
    probes: &Probes,
    job: &Arc<Job>,
    to: OneTarget,
    sinks: &Sinks,
    clock: &Arc<dyn Clock>,
    resource: &Arc<Resource>,
) {
    let mut ids = [0; 24];
    if let Err(e) = getrandom::fill(&mut ids) {
        tracing::warn!(error = %e, "a probe goes without a trace");
    }
    let (trace, span) = ids.split_at(16);
    let trace_id = TraceId(trace.try_into().unwrap_or_default());
    let span_id = SpanId(span.try_into().unwrap_or_default());
    let parent = (u128::from_be_bytes(trace_id.0), u64::from_be_bytes(span_id.0));
    let (began, began_ns) = (Instant::now(), clock.now_ns());
    let own = to.scraped_host.map(|host| AllowedHosts::new([host]));
    let result = match &job.what {
        What::Module(module) => {
            let request = ProbeRequest {
                target: &to.target,
                module,
                allowed: own.as_ref().unwrap_or(&probes.allowed),
                timeout: job.interval.min(SCRAPE_TIMEOUT),
                trace: Some(parent),
            };
            probe(&request).await
        }
        What::Flow(flow) => flow.run(&probes.allowed, Some(parent)).await,
    };
    let counts = job.counts(&to.target);
    let runs = counts.runs.fetch_add(1, Ordering::Relaxed) + 1;
    let failed = u64::from(!result.success);
    let failures = counts.failures.fetch_add(failed, Ordering::Relaxed) + failed;
    if !result.success {
        let why = result.log().iter().rev().find(|l| !l.contains("Probe failed"));
        tracing::warn!(target_of_probe = to.target, reason = why, "probe failed");
    }
    let batch = batch(&to.labels, &result, [runs, failures], clock.now());
    let spans = spans(&to.labels, &result, resource, (trace_id, span_id), began, began_ns);
    let sinks = sinks.clone();
    let stored = tokio::task::spawn_blocking(move || {
        if let Err(e) = sinks.metrics.append(batch) {
            tracing::warn!(error = %e, "samples of a probe not stored");
        }
        if let Err(e) = sinks.traces.append(spans) {
            tracing::warn!(error = %e, "trace of a probe not stored");
        }
    });
    if let Err(e) = stored.await {
        tracing::error!(error = %e, "storing a probe panicked");
    }
}

fn batch(
    own: &LabelSet,
    result: &ProbeResult,
    totals: [u64; 2],
    now: obs_types::TimestampMs,
) -> MetricBatch {
    let series = |labels: LabelSet, value: f64| SeriesSamples {
        labels,
        samples: vec![(now, value)],
        histograms: Vec::new(),
        exemplars: Vec::new(),
    };
    let mut out = Vec::new();
    for (name, labels, value) in result.samples() {
        let mut all = own.with("__name__", name);
        for (label, value) in labels {
            all = all.with(label, value);
        }
        out.push(series(all, value));
    }
    for (name, total) in ["probe_runs_total", "probe_failures_total"].into_iter().zip(totals) {
        out.push(series(own.with("__name__", name), total as f64));
    }
    MetricBatch { series: out, metadata: Vec::new() }
}

/// The probe as a root, its phases or steps below it.
fn spans(
    labels: &LabelSet,
    result: &ProbeResult,
    resource: &Arc<Resource>,
    (trace_id, root): (TraceId, SpanId),
    began: Instant,
    began_ns: TimestampNs,
) -> Vec<SpanRecord> {
    let ns = |d: Duration| i64::try_from(d.as_nanos()).unwrap_or(i64::MAX);
    let scope = Arc::new(InstrumentationScope { name: "probe".to_owned(), ..Default::default() });
    let status = |failed: bool| SpanStatus {
        code: if failed { SpanCode::Error } else { SpanCode::Unset },
        message: String::new(),
    };
    let record =
        |span: Span| SpanRecord { resource: Arc::clone(resource), scope: Arc::clone(&scope), span };
    let label = |name: &str| labels.get(name).unwrap_or_default().to_owned();
    let attributes = Attributes(
        [("probe.job", "job"), ("probe.target", "instance"), ("probe.module", "module")]
            .into_iter()
            .map(|(attribute, name)| (attribute.to_owned(), AttrValue::Str(label(name))))
            .collect(),
    );
    let took = result.value("probe_duration_seconds").unwrap_or(0.0);
    let mut out = vec![record(Span {
        trace_id,
        span_id: root,
        name: format!("probe {}", label("job")),
        kind: SpanKind::Client,
        start: began_ns,
        end: TimestampNs(began_ns.0.saturating_add((took * 1e9) as i64)),
        status: status(!result.success),
        attributes,
        ..Span::default()
    })];
    for (i, phase) in result.phases().iter().enumerate() {
        let start = began_ns.0.saturating_add(ns(phase.began.saturating_duration_since(began)));
        // Different for every phase, and never the root's.
        let id = u64::from_be_bytes(root.0).wrapping_add(i as u64 + 1).max(1);
        out.push(record(Span {
            trace_id,
            span_id: SpanId(id.to_be_bytes()),
            parent_span_id: root,
            name: phase.name.clone(),
            kind: SpanKind::Internal,
            start: TimestampNs(start),
            end: TimestampNs(start.saturating_add(ns(phase.took))),
            status: status(phase.failed),
            ..Span::default()
        }));
    }
    out
}

/// `/probe?target=&module=&debug=true`, as the exporter answers it.
pub(super) fn router(probes: Arc<Probes>) -> Router {
    Router::new().route("/probe", get(handle)).with_state(probes)
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Parameters {
    target: String,
    module: String,
    debug: String,
}

async fn handle(
    State(probes): State<Arc<Probes>>,
    Query(parameters): Query<Parameters>,
    headers: HeaderMap,
) -> Response {
    let refuse = |text: String| (StatusCode::BAD_REQUEST, text + "\n").into_response();
    let name = if parameters.module.is_empty() { "http_2xx" } else { &parameters.module };
    let Some(module) = probes.modules.get(name) else {
        return refuse(format!("Unknown module {name:?}"));
    };
    if parameters.target.is_empty() {
        return refuse("Target parameter is missing".to_owned());
    }
    let timeout = match headers.get("x-prometheus-scrape-timeout-seconds") {
        None => SCRAPE_TIMEOUT,
        Some(value) => {
            let seconds = value.to_str().ok().and_then(|v| v.parse::<f64>().ok());
            let Some(seconds) = seconds.filter(|s| (0.0..=86_400.0).contains(s)) else {
                return refuse("Failed to parse timeout from Prometheus header".to_owned());
            };
            let whole = Duration::from_secs_f64(seconds);
            whole.checked_sub(TIMEOUT_OFFSET).filter(|d| !d.is_zero()).unwrap_or(whole)
        }
    };
    let request = ProbeRequest {
        target: &parameters.target,
        module,
        allowed: &probes.allowed,
        timeout,
        trace: None,
    };
    let result = probe(&request).await;
    let metrics = result.exposition();
    let text = match parameters.debug.as_str() {
        "true" => debug(&result, name),
        _ => metrics,
    };
    let kind = "text/plain; version=0.0.4; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], text).into_response()
}

/// The log of a probe, its metrics and its module's name, as a page of text.
pub(crate) fn debug(result: &ProbeResult, module: &str) -> String {
    format!(
        "Logs for the probe:\n{}\n\n\nMetrics that would have been returned:\n{}\n\nModule:\n{module}\n",
        result.log().join("\n"),
        result.exposition()
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use obs_collect::scrape::{Health, Target};

    fn open(yaml: &str) -> anyhow::Result<Probes> {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("probes.yaml");
        std::fs::write(&file, yaml).unwrap();
        Probes::open(Some(&file), &[])
    }

    #[test]
    fn a_pack_probes_what_is_scraped_and_chooses_no_hosts() {
        let text = "probes: [{name: canary, scraped: {service: shop}, path: /buy}]";
        let probes =
            Probes::open(None, &[("shop/probes.yml".to_owned(), text.to_owned())]).unwrap();
        let status = TargetStatus {
            job: "k8s".to_owned(),
            target: Target {
                url: "http://10.0.0.7:8000/metrics?x=1".to_owned(),
                labels: LabelSet::from_pairs([
                    ("job", "k8s"),
                    ("instance", "shop-0:8000"),
                    ("service", "shop"),
                ]),
                discovered: LabelSet::empty(),
                interval: Duration::from_secs(30),
                timeout: Duration::from_secs(10),
            },
            health: Health::Unknown,
            last_error: String::new(),
            last_scrape: None,
            last_duration_ms: 0.0,
            interval_ms: 0,
            timeout_ms: 0,
        };
        let one = probes.jobs[0].scraped_target(&status, "/buy").unwrap();
        assert_eq!(one.target, "http://10.0.0.7:8000/buy");
        let label = |name: &str| one.labels.get(name);
        assert_eq!(
            (label("job"), label("instance"), label("service"), label("module")),
            (Some("canary"), Some("shop-0:8000"), Some("shop"), Some("http_2xx"))
        );
        assert_eq!(one.scraped_host.as_deref(), Some("10.0.0.7"));
        let e = check_pack_probes("p/probes.yml", "allow_hosts: ['*']").unwrap_err().to_string();
        assert!(e.contains("p/probes.yml") && e.contains("not for packs"), "{e}");
    }

    #[test]
    fn a_file_and_its_mistakes() {
        let probes = open(
            "probes: [{name: portal, targets: ['http://127.0.0.1:1/', 'http://127.0.0.1:2/'], interval: 5s, labels: {team: a}}]
transactions: [{flow: {name: login, target: 'http://127.0.0.1:1', steps: [{url: /}]}}]",
        )
        .unwrap();
        assert_eq!(probes.scheduled(), 3);
        assert_eq!(probes.transactions(Some("login")).len(), 1);
        let labels = &probes.jobs[0].labels;
        assert_eq!(
            (labels.get("job"), labels.get("instance"), labels.get("team")),
            (Some("portal"), Some("http://127.0.0.1:1/"), Some("a"))
        );
        for (yaml, says) in [
            ("probes: [{name: a, targets: [b], module: nope}]", "probes[0]"),
            ("probes: [{name: a}]", "targets"),
            ("probes: [{name: a, targets: [b], interval: 1ms}]", "100ms"),
            (
                "transactions: [{flow: {name: a, steps: [{url: /}]}}]",
                "transactions[0].flow.steps[0]",
            ),
            ("modules_file: nope.yml", "nope.yml"),
            ("probes: [{name: a, targets: [b], scraped: {service: c}}]", "not both"),
            ("probes: [{name: a, targets: [b], path: /c}]", "goes with"),
            ("probes: [{name: a, scraped: {service: c}, path: c}]", "begin with /"),
        ] {
            let e = format!("{:#}", open(yaml).unwrap_err());
            assert!(e.contains(says), "{yaml}: {e}");
        }
    }
}
