//! One task for each target: probe, store the samples and the trace, wait.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use obs_collect::receivers::Sinks;
use obs_collect::scrape::ScrapeManager;
use obs_disk::Clock;
use obs_exercise::exchange::AllowedHosts;
use obs_exercise::probe::{ProbeRequest, ProbeResult, probe};
use obs_types::{
    AttrValue, Attributes, InstrumentationScope, LabelSet, MetricBatch, Resource, SeriesSamples,
    Span, SpanId, SpanKind, SpanRecord, SpanStatus, StatusCode as SpanCode, TimestampNs, TraceId,
};
use tokio::sync::watch;

use super::{Job, OneTarget, Probes, SCRAPE_TIMEOUT, What};

/// Of the targets of one probe so many are on their way at once.
const AT_ONCE_MAX: usize = 16;

/// Starts a task for each target; all end when `stopped` says so.
pub(in crate::serve) fn schedule(
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
        ..SeriesSamples::default()
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
