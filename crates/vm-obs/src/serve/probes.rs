//! Probes by schedule, stored as samples and traces, and `/probe` for those who scrape probes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use axum::Router;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use obs_collect::receivers::Sinks;
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

/// One target with its schedule.
#[derive(Debug)]
struct Job {
    target: String,
    what: What,
    interval: Duration,
    /// `job`, `instance`, `module` and the user's own.
    labels: LabelSet,
    runs: AtomicU64,
    failures: AtomicU64,
}

/// Modules, who may be probed, and what is probed by schedule.
#[derive(Debug)]
pub(crate) struct Probes {
    pub(crate) modules: Modules,
    pub(crate) allowed: AllowedHosts,
    jobs: Vec<Arc<Job>>,
}

impl Probes {
    /// Without a file: the standard modules, loopback only, nothing by schedule.
    pub(crate) fn open(file: Option<&Path>) -> anyhow::Result<Self> {
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

fn jobs(form: FileForm, modules: &Modules) -> anyhow::Result<Vec<Arc<Job>>> {
    let interval = |text: Option<&str>| -> anyhow::Result<Duration> {
        let d = obs_query::parse_duration(text.unwrap_or(INTERVAL)).context("interval")?;
        anyhow::ensure!(d.0 >= 100, "interval: must be at least 100ms");
        Ok(Duration::from_millis(d.0.unsigned_abs()))
    };
    let labels = |own: BTreeMap<String, String>, job: &str, instance: &str, module: &str| {
        LabelSet::from_iter(own).with("job", job).with("instance", instance).with("module", module)
    };
    let mut out = Vec::new();
    for (i, p) in form.probes.into_iter().enumerate() {
        let place = || format!("probes[{i}]");
        anyhow::ensure!(!p.name.is_empty(), "{}: a probe needs a name", place());
        anyhow::ensure!(!p.targets.is_empty(), "{}: targets are missing", place());
        let module_name = p.module.as_deref().unwrap_or("http_2xx");
        let module = modules
            .get(module_name)
            .with_context(|| format!("{}: there is no module {module_name:?}", place()))?;
        let interval = interval(p.interval.as_deref()).with_context(place)?;
        for target in &p.targets {
            out.push(Arc::new(Job {
                target: target.clone(),
                what: What::Module(Box::new(module.clone())),
                interval,
                labels: labels(p.labels.clone(), &p.name, target, module_name),
                runs: AtomicU64::new(0),
                failures: AtomicU64::new(0),
            }));
        }
    }
    for (i, t) in form.transactions.into_iter().enumerate() {
        let place = format!("transactions[{i}]");
        let interval = interval(t.interval.as_deref()).with_context(|| place.clone())?;
        let flow = Transaction::check(t.flow, &format!("{place}.flow"))?;
        let instance = if flow.target.is_empty() { &flow.name } else { &flow.target };
        out.push(Arc::new(Job {
            target: flow.target.clone(),
            labels: labels(t.labels, &flow.name, instance, "transaction"),
            what: What::Flow(Box::new(flow)),
            interval,
            runs: AtomicU64::new(0),
            failures: AtomicU64::new(0),
        }));
    }
    Ok(out)
}

/// Starts a task for each target; all end when `stopped` says so.
pub(super) fn schedule(
    probes: &Arc<Probes>,
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
                once(&probes, &job, &sinks, &clock, &resource).await;
            }
        }));
    }
    out
}

async fn once(
    probes: &Probes,
    job: &Arc<Job>,
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
    let result = match &job.what {
        What::Module(module) => {
            let request = ProbeRequest {
                target: &job.target,
                module,
                allowed: &probes.allowed,
                timeout: job.interval.min(SCRAPE_TIMEOUT),
                trace: Some(parent),
            };
            probe(&request).await
        }
        What::Flow(flow) => flow.run(&probes.allowed, Some(parent)).await,
    };
    let runs = job.runs.fetch_add(1, Ordering::Relaxed) + 1;
    let failed = u64::from(!result.success);
    let failures = job.failures.fetch_add(failed, Ordering::Relaxed) + failed;
    if !result.success {
        let why = result.log().iter().rev().find(|l| !l.contains("Probe failed"));
        tracing::warn!(target_of_probe = job.target, reason = why, "probe failed");
    }
    let batch = batch(job, &result, [runs, failures], clock.now());
    let spans = spans(job, &result, resource, (trace_id, span_id), began, began_ns);
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
    job: &Job,
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
        let mut all = job.labels.with("__name__", name);
        for (label, value) in labels {
            all = all.with(label, value);
        }
        out.push(series(all, value));
    }
    for (name, total) in ["probe_runs_total", "probe_failures_total"].into_iter().zip(totals) {
        out.push(series(job.labels.with("__name__", name), total as f64));
    }
    MetricBatch { series: out, metadata: Vec::new() }
}

/// The probe as a root, its phases or steps below it.
fn spans(
    job: &Job,
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
    let label = |name: &str| job.labels.get(name).unwrap_or_default().to_owned();
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

    fn open(yaml: &str) -> anyhow::Result<Probes> {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("probes.yaml");
        std::fs::write(&file, yaml).unwrap();
        Probes::open(Some(&file))
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
        ] {
            let e = format!("{:#}", open(yaml).unwrap_err());
            assert!(e.contains(says), "{yaml}: {e}");
        }
    }
}
