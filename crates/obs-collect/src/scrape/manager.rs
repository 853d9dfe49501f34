use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use obs_disk::Clock;
use obs_types::{
    CanonicalLabels, IngestError, IngestOutcome, LabelSet, MetricBatch, MetricSink, SentBatch,
    SentSeries, SeriesSamples,
};
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};

use super::collection::CollectionLog;
use super::config::{PrometheusConfig, ScrapeJob, TargetGroup};
use super::discovery;
use super::http::{FetchError, HttpClient, fetch};
use super::protocol::accept;
use super::round::{self, JobSeries, Known, Reading};
use super::target::{DroppedTarget, Health, Skip, Target, TargetStatus, populate};

/// Bytes of a scrape's body where the job sets no limit of its own.
const BODY_BYTES_MAX: usize = 64 << 20;
/// A simulated clock may ask for more scrapes than there is time for.
const INTERVAL_MIN: Duration = Duration::from_millis(100);

/// What the manager works with.
#[derive(Clone)]
pub struct ScrapeSettings {
    pub sink: Arc<dyn MetricSink>,
    pub clock: Arc<dyn Clock>,
    pub collection: Arc<CollectionLog>,
    pub user_agent: String,
}

impl std::fmt::Debug for ScrapeSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ScrapeSettings")
            .field("user_agent", &self.user_agent)
            .finish_non_exhaustive()
    }
}

/// What the tasks tell about targets.
#[derive(Debug, Default)]
struct Told {
    /// By job and key of the target.
    active: BTreeMap<(String, String), TargetStatus>,
    /// By job: how many were dropped, and as many of them as `keep_dropped_targets` allows (0 is
    /// all).
    dropped: BTreeMap<String, (usize, VecDeque<DroppedTarget>)>,
    jobs: Vec<ScrapeJob>,
}

type Statuses = Arc<Mutex<Told>>;

/// Scrapes the targets of all jobs, each in its own task; follows file discovery and reloads.
#[derive(Debug)]
pub struct ScrapeManager {
    settings: ScrapeSettings,
    statuses: Statuses,
    running: tokio::sync::Mutex<Vec<(watch::Sender<bool>, JoinHandle<()>)>>,
}

impl ScrapeManager {
    pub fn new(settings: ScrapeSettings) -> Self {
        Self { settings, statuses: Arc::default(), running: tokio::sync::Mutex::new(Vec::new()) }
    }

    /// Replaces the running jobs by those of `config`. Targets that are in both lose no more than
    /// the scrape that was under way.
    pub async fn apply(&self, config: &PrometheusConfig) {
        let mut running = self.running.lock().await;
        stop_all(&mut running).await;
        *lock(&self.statuses) = Told { jobs: config.jobs.clone(), ..Told::default() };
        for job in &config.jobs {
            let (stop, stopped) = watch::channel(false);
            let task = tokio::spawn(run_job(
                job.clone(),
                config.external_labels.clone(),
                self.settings.clone(),
                Arc::clone(&self.statuses),
                stopped,
            ));
            running.push((stop, task));
        }
    }

    /// Ends every task and waits for it.
    pub async fn shutdown(&self) {
        stop_all(&mut *self.running.lock().await).await;
    }

    /// Every target with its last scrape, ordered by job, then URL.
    pub fn statuses(&self) -> Vec<TargetStatus> {
        lock(&self.statuses).active.values().cloned().collect()
    }

    /// The jobs as they run, in the order of the configuration.
    pub fn jobs(&self) -> Vec<ScrapeJob> {
        lock(&self.statuses).jobs.clone()
    }

    /// Targets that relabeling dropped, ordered by job, and how many each job dropped in all.
    pub fn dropped(&self) -> (Vec<DroppedTarget>, BTreeMap<String, usize>) {
        let told = lock(&self.statuses);
        let kept = told.dropped.values().flat_map(|(_, kept)| kept).cloned().collect();
        (kept, told.dropped.iter().map(|(job, (n, _))| (job.clone(), *n)).collect())
    }
}

async fn stop_all(running: &mut Vec<(watch::Sender<bool>, JoinHandle<()>)>) {
    for (stop, _) in running.iter() {
        stop.send_replace(true);
    }
    for (_, task) in running.drain(..) {
        if let Err(e) = task.await {
            tracing::error!(error = %e, "scrape task ended badly");
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// What the tasks of one job share.
struct Job {
    job: ScrapeJob,
    client: HttpClient,
    accept: String,
    settings: ScrapeSettings,
    statuses: Statuses,
    series: JobSeries,
}

struct Running {
    target: Target,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

/// Keeps one task per target of a job and adjusts them to what discovery finds.
async fn run_job(
    job: ScrapeJob,
    external: LabelSet,
    settings: ScrapeSettings,
    statuses: Statuses,
    mut stopped: watch::Receiver<bool>,
) {
    // Targets may have a timeout of their own, so none is set for all.
    let client = match HttpClient::new(&job.http, &settings.user_agent, None, job.compression) {
        Ok(client) => client,
        Err(e) => {
            tracing::error!(job = job.name, error = %e, "scrape job cannot start");
            return;
        }
    };
    let (found, mut news) = mpsc::channel(1);
    let mut sources = JoinSet::new();
    for (place, source) in job.discovery.iter().enumerate() {
        let (name, agent) = (job.name.clone(), settings.user_agent.clone());
        sources.spawn(discovery::run(source.clone(), place, name, agent, found.clone()));
    }
    drop(found);
    let mut groups: Vec<Vec<TargetGroup>> = vec![Vec::new(); job.discovery.len()];
    let accept = accept(&job.formats);
    let series = JobSeries::new(0);
    let shared = Arc::new(Job { job, client, accept, settings, statuses, series });
    // `target_limit` fails every scrape of the job rather than choosing some.
    let over = watch::Sender::new(None);
    let mut tasks: BTreeMap<String, Running> = BTreeMap::new();
    loop {
        let wanted = targets(&shared, &external, groups.iter().flatten());
        let (count, limit) = (wanted.len(), shared.job.limits.targets);
        let forced = (limit > 0 && count > limit)
            .then(|| format!("target_limit exceeded (number of targets: {count}, limit: {limit})"));
        over.send_if_modified(|o| std::mem::replace(o, forced.clone()) != forced);
        adjust(&shared, &mut tasks, wanted, &over).await;
        let change = async {
            match news.recv().await {
                Some(change) => change,
                // Nothing is discovered: what is static stays.
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            (place, found) = change => {
                if let Some(known) = groups.get_mut(place) {
                    *known = found;
                }
            }
            _ = stopped.wait_for(|s| *s) => break,
        }
    }
    sources.shutdown().await;
    for running in tasks.values() {
        running.stop.send_replace(true);
    }
    for running in tasks.into_values() {
        log_end(running.task.await);
    }
}

/// Ends the tasks of targets that are gone, starts those of new ones.
async fn adjust(
    shared: &Arc<Job>,
    tasks: &mut BTreeMap<String, Running>,
    wanted: BTreeMap<String, Target>,
    over: &watch::Sender<Option<String>>,
) {
    let ended = tasks.extract_if(.., |key, r| wanted.get(key) != Some(&r.target));
    let ended: Vec<(String, Running)> = ended.collect();
    for (_, running) in &ended {
        running.stop.send_replace(true);
    }
    let name = &shared.job.name;
    for (key, running) in ended {
        log_end(running.task.await);
        lock(&shared.statuses).active.remove(&(name.clone(), key));
    }
    for (key, target) in wanted {
        if tasks.contains_key(&key) {
            continue;
        }
        let status = TargetStatus {
            job: name.clone(),
            health: Health::Unknown,
            last_error: String::new(),
            last_scrape: None,
            last_duration_ms: 0.0,
            interval_ms: target.interval.as_millis() as i64,
            timeout_ms: target.timeout.as_millis() as i64,
            target: target.clone(),
        };
        lock(&shared.statuses).active.insert((name.clone(), key.clone()), status);
        let (stop, stopped) = watch::channel(false);
        let run =
            run_target(Arc::clone(shared), key.clone(), target.clone(), over.subscribe(), stopped);
        tasks.insert(key, Running { target, stop, task: tokio::spawn(run) });
    }
}

fn log_end(end: Result<(), tokio::task::JoinError>) {
    if let Err(e) = end {
        tracing::error!(error = %e, "scrape task ended badly");
    }
}

/// The targets by a key that two of equal address and different labels do not share.
fn targets<'a>(
    shared: &'a Job,
    external: &LabelSet,
    discovered: impl Iterator<Item = &'a TargetGroup>,
) -> BTreeMap<String, Target> {
    let job = &shared.job;
    let mut wanted = BTreeMap::new();
    let (mut dropped, mut kept) = (0, VecDeque::new());
    for group in job.static_targets.iter().chain(discovered) {
        for address in &group.targets {
            match populate(job, address, &group.labels, external) {
                Ok(target) => {
                    wanted.insert(format!("{} {}", target.url, target.labels), target);
                }
                Err(Skip::Dropped(discovered)) => {
                    dropped += 1;
                    if job.limits.dropped_targets == 0 || kept.len() < job.limits.dropped_targets {
                        kept.push_back(DroppedTarget { job: job.name.clone(), discovered });
                    }
                }
                Err(Skip::Invalid(why)) => {
                    tracing::warn!(job = job.name, address, why, "target left out");
                }
            }
        }
    }
    lock(&shared.statuses).dropped.insert(job.name.clone(), (dropped, kept));
    wanted
}

/// A share of the interval that depends on the target alone, so that scrapes spread evenly and a
/// restart keeps the rhythm.
fn offset(target: &Target, interval: Duration) -> Duration {
    let hash = xxhash_rust::xxh3::xxh3_64(target.url.as_bytes());
    let nanos = u64::try_from(interval.as_nanos()).unwrap_or(u64::MAX).max(1);
    Duration::from_nanos(hash % nanos)
}

async fn run_target(
    shared: Arc<Job>,
    key: String,
    target: Target,
    over: watch::Receiver<Option<String>>,
    mut stopped: watch::Receiver<bool>,
) {
    let (job, settings) = (&shared.job, &shared.settings);
    let name = format!("{}/{}", job.name, target.labels.get("instance").unwrap_or(""));
    let mut before = Known::new();
    let cache = Mutex::default();
    // The first scrape comes soon; the spreading matters for the rhythm, not for the start.
    let interval = settings.clock.real(target.interval).max(INTERVAL_MIN);
    let first = offset(&target, interval.min(Duration::from_secs(2)));
    let mut ticks = tokio::time::interval_at(tokio::time::Instant::now() + first, interval);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            _ = stopped.wait_for(|s| *s) => break,
        }
        let now = settings.clock.now();
        let started = tokio::time::Instant::now();
        let forced = over.borrow().clone();
        let scrape = async {
            match forced {
                Some(why) => Err(FetchError::Other(why)),
                None => {
                    match tokio::time::timeout(target.timeout, scrape(&shared, &target)).await {
                        Ok(fetched) => fetched,
                        Err(_elapsed) => Err(FetchError::Other("context deadline exceeded".into())),
                    }
                }
            }
        };
        let fetched = tokio::select! {
            r = scrape => r,
            _ = stopped.wait_for(|s| *s) => break,
        };
        let seconds = started.elapsed().as_secs_f64();
        let job_series = &shared.series;
        let reading =
            Reading { job, target: &target, now, before: &before, job_series, cache: &cache };
        let mut round = match fetched {
            Ok((body, kind)) => reading.body(&body, kind.as_deref()),
            Err(e) => {
                let bytes = if matches!(e, FetchError::TooLarge(_)) { -1 } else { 0 };
                reading.failed(e.to_string(), bytes)
            }
        };
        let mut batch = std::mem::take(&mut round.batch);
        batch.series.extend(round::report(&reading, seconds, &round));
        if round.refused > 0 {
            tracing::warn!(
                job = job.name,
                target = name,
                refused = round.refused,
                limit = job.limits.series,
                "new series beyond series_limit refused"
            );
        }
        let stored = store(settings, batch).await;
        let error = stored.err().or(round.error);
        settings.collection.record(&name, now, error.is_none());
        before = round.known;
        let mut told = lock(&shared.statuses);
        if let Some(status) = told.active.get_mut(&(job.name.clone(), key.clone())) {
            status.health = if error.is_none() { Health::Up } else { Health::Down };
            status.last_error = error.unwrap_or_default();
            status.last_scrape = Some(now);
            status.last_duration_ms = seconds * 1000.0;
        }
    }
    let now = settings.clock.now();
    let mut batch = round::all_stale(&before, now);
    let job_series = &shared.series;
    let reading = Reading { job, target: &target, now, before: &before, job_series, cache: &cache };
    batch.series.extend(round::report_stale(&reading));
    shared.series.fetch_sub(before.len(), Ordering::Relaxed);
    if let Err(e) = store(settings, batch).await {
        tracing::warn!(target = name, error = e, "stale markers not stored");
    }
}

/// Series of plain samples go to the sink by the bytes of their labels, which are the same in each
/// scrape.
fn append(sink: &dyn MetricSink, batch: MetricBatch) -> Result<IngestOutcome, IngestError> {
    let is_plain = |s: &SeriesSamples| s.histograms.is_empty() && s.exemplars.is_empty();
    let (plain, rest): (Vec<_>, Vec<_>) = batch.series.into_iter().partition(is_plain);
    let mut sent = SentBatch::new(&CanonicalLabels);
    let started = plain.iter().any(|s| !s.start_timestamps.is_empty());
    for series in &plain {
        let labels = series.labels.as_bytes();
        sent.series.push(SentSeries { labels, samples: series.samples.len() });
        sent.samples.extend(&series.samples);
        if started {
            let start_of = |t| series.start_timestamps.iter().find(|(at, _)| *at == t);
            let starts = series.samples.iter().map(|(t, _)| start_of(*t).map_or(0, |(_, s)| s.0));
            sent.start_timestamps.extend(starts);
        }
    }
    let mut outcome = sink.append_sent(&sent)?;
    if !rest.is_empty() || !batch.metadata.is_empty() {
        outcome.merge(sink.append(MetricBatch { series: rest, metadata: batch.metadata })?);
    }
    Ok(outcome)
}

async fn store(settings: &ScrapeSettings, batch: MetricBatch) -> Result<(), String> {
    let sink = Arc::clone(&settings.sink);
    let outcome = tokio::task::spawn_blocking(move || append(sink.as_ref(), batch))
        .await
        .map_err(|e| e.to_string())?
        .map_err(|e| e.to_string())?;
    if let Some(text) = outcome.rejected_text() {
        tracing::debug!(rejected = text, "samples of a scrape rejected");
    }
    Ok(())
}

async fn scrape(shared: &Job, target: &Target) -> Result<(Vec<u8>, Option<String>), FetchError> {
    let request = shared
        .client
        .get(&target.url)
        .await
        .map_err(FetchError::Other)?
        .header("Accept", &shared.accept)
        .header("X-Prometheus-Scrape-Timeout-Seconds", target.timeout.as_secs_f64().to_string());
    let limit = usize::try_from(shared.job.limits.body_bytes).unwrap_or(usize::MAX);
    fetch(request, if limit > 0 { limit } else { BODY_BYTES_MAX }).await
}
