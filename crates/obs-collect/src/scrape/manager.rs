use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::StreamExt;
use obs_disk::Clock;
use obs_types::{LabelSet, MetricBatch, MetricSink};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::collection::CollectionLog;
use super::config::{PrometheusConfig, ScrapeJob, TargetGroup, expand_glob, read_target_groups};
use super::round::{self, Round};
use super::target::{Health, Skip, Target, TargetStatus, populate};

/// Bytes of a scrape's body where the job sets no limit of its own.
const BODY_BYTES_MAX: u64 = 64 << 20;
/// A simulated clock may ask for more scrapes than there is time for.
const INTERVAL_MIN: Duration = Duration::from_millis(100);
const ACCEPT: &str =
    "application/openmetrics-text;version=1.0.0;q=0.8,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";

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

type Statuses = Arc<Mutex<BTreeMap<(String, String), TargetStatus>>>;

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
        lock(&self.statuses).clear();
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
        lock(&self.statuses).values().cloned().collect()
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

/// Keeps one task per target of a job and adjusts them to what discovery finds.
async fn run_job(
    job: ScrapeJob,
    external: LabelSet,
    settings: ScrapeSettings,
    statuses: Statuses,
    mut stopped: watch::Receiver<bool>,
) {
    let client = match client(&job, &settings.user_agent) {
        Ok(client) => client,
        Err(e) => {
            tracing::error!(job = job.name, error = %e, "scrape job cannot start");
            return;
        }
    };
    let job = Arc::new(job);
    let refresh = job.file_sd.iter().map(|f| f.refresh).min();
    let mut tasks: BTreeMap<String, (Target, watch::Sender<bool>, JoinHandle<()>)> =
        BTreeMap::new();
    let mut files: BTreeMap<PathBuf, Vec<TargetGroup>> = BTreeMap::new();
    loop {
        read_files(&job, &mut files);
        let wanted = targets(&job, &external, files.values().flatten());
        let gone: Vec<String> = tasks
            .iter()
            .filter(|(url, (t, _, _))| wanted.get(*url) != Some(t))
            .map(|(url, _)| url.clone())
            .collect();
        for url in gone {
            if let Some((_, stop, task)) = tasks.remove(&url) {
                stop.send_replace(true);
                log_end(task.await);
                lock(&statuses).remove(&(job.name.clone(), url));
            }
        }
        for (url, target) in wanted {
            if tasks.contains_key(&url) {
                continue;
            }
            lock(&statuses).insert(
                (job.name.clone(), url.clone()),
                TargetStatus {
                    job: job.name.clone(),
                    target: target.clone(),
                    health: Health::Unknown,
                    last_error: String::new(),
                    last_scrape: None,
                    last_duration_ms: 0.0,
                    interval_ms: job.interval.as_millis() as i64,
                    timeout_ms: job.timeout.as_millis() as i64,
                },
            );
            let (stop, target_stopped) = watch::channel(false);
            let task = tokio::spawn(run_target(
                Arc::clone(&job),
                target.clone(),
                client.clone(),
                settings.clone(),
                Arc::clone(&statuses),
                target_stopped,
            ));
            tasks.insert(url, (target, stop, task));
        }
        let wait = async {
            match refresh {
                Some(period) => tokio::time::sleep(period.max(Duration::from_millis(100))).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = wait => {}
            _ = stopped.wait_for(|s| *s) => break,
        }
    }
    for (_, stop, _) in tasks.values() {
        stop.send_replace(true);
    }
    for (_, (_, _, task)) in tasks {
        log_end(task.await);
    }
}

fn log_end(end: Result<(), tokio::task::JoinError>) {
    if let Err(e) = end {
        tracing::error!(error = %e, "scrape task ended badly");
    }
}

/// Reads the discovery files; one that cannot be read keeps its last good content.
fn read_files(job: &ScrapeJob, files: &mut BTreeMap<PathBuf, Vec<TargetGroup>>) {
    let mut seen = BTreeSet::new();
    for path in job.file_sd.iter().flat_map(|f| &f.files).flat_map(|f| expand_glob(f)) {
        match read_target_groups(&path) {
            Ok(groups) => {
                files.insert(path.clone(), groups);
            }
            Err(e) => tracing::warn!(job = job.name, error = %e, "discovery file not read"),
        }
        seen.insert(path);
    }
    files.retain(|path, _| seen.contains(path));
}

fn targets<'a>(
    job: &'a ScrapeJob,
    external: &LabelSet,
    discovered: impl Iterator<Item = &'a TargetGroup>,
) -> BTreeMap<String, Target> {
    let mut wanted = BTreeMap::new();
    for group in job.static_targets.iter().chain(discovered) {
        for address in &group.targets {
            match populate(job, address, &group.labels, external) {
                Ok(target) => {
                    wanted.insert(target.url.clone(), target);
                }
                Err(Skip::Dropped) => {}
                Err(Skip::Invalid(why)) => {
                    tracing::warn!(job = job.name, address, why, "target left out");
                }
            }
        }
    }
    if job.target_limit > 0 && wanted.len() > job.target_limit {
        tracing::error!(
            job = job.name,
            targets = wanted.len(),
            limit = job.target_limit,
            "target limit exceeded, nothing of this job is scraped"
        );
        wanted.clear();
    }
    wanted
}

fn client(job: &ScrapeJob, user_agent: &str) -> Result<reqwest::Client, String> {
    crate::install_crypto();
    let mut builder = reqwest::Client::builder()
        .user_agent(user_agent)
        .timeout(job.timeout)
        .tls_danger_accept_invalid_certs(job.insecure_skip_verify)
        .redirect(if job.follow_redirects {
            reqwest::redirect::Policy::limited(10)
        } else {
            reqwest::redirect::Policy::none()
        });
    if let Some(path) = &job.ca_file {
        let pem = std::fs::read(path).map_err(|e| format!("{}: {e}", path.display()))?;
        let certificates =
            reqwest::Certificate::from_pem_bundle(&pem).map_err(|e| e.to_string())?;
        builder = builder.tls_certs_merge(certificates);
    }
    builder.build().map_err(|e| e.to_string())
}

/// A share of the interval that depends on the target alone, so that scrapes spread evenly and a
/// restart keeps the rhythm.
fn offset(target: &Target, interval: Duration) -> Duration {
    let hash = xxhash_rust::xxh3::xxh3_64(target.url.as_bytes());
    let nanos = u64::try_from(interval.as_nanos()).unwrap_or(u64::MAX).max(1);
    Duration::from_nanos(hash % nanos)
}

async fn run_target(
    job: Arc<ScrapeJob>,
    target: Target,
    client: reqwest::Client,
    settings: ScrapeSettings,
    statuses: Statuses,
    mut stopped: watch::Receiver<bool>,
) {
    let name = format!("{}/{}", job.name, target.labels.get("instance").unwrap_or(""));
    let mut before: BTreeSet<LabelSet> = BTreeSet::new();
    // The first scrape comes soon; the spreading matters for the rhythm, not for the start.
    let interval = settings.clock.real(job.interval).max(INTERVAL_MIN);
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
        let fetched = tokio::select! {
            r = fetch(&job, &target, &client) => r,
            _ = stopped.wait_for(|s| *s) => break,
        };
        let seconds = started.elapsed().as_secs_f64();
        let outcome: Result<Round, String> = fetched.and_then(|(body, content_type)| {
            round::read_body(&job, &target, &body, &content_type, now, &before)
        });
        let mut batch = match &outcome {
            Ok(r) => r.batch.clone(),
            Err(_) => round::all_stale(&before, now),
        };
        batch.series.extend(round::synthetic(&target, now, seconds, outcome.as_ref().ok()));
        let error = store(&settings, batch).await.err().or_else(|| outcome.as_ref().err().cloned());
        settings.collection.record(&name, now, error.is_none());
        before = outcome.map(|r| r.tracked).unwrap_or_default();
        if let Some(status) = lock(&statuses).get_mut(&(job.name.clone(), target.url.clone())) {
            status.health = if error.is_none() { Health::Up } else { Health::Down };
            status.last_error = error.unwrap_or_default();
            status.last_scrape = Some(now);
            status.last_duration_ms = seconds * 1000.0;
        }
    }
    let now = settings.clock.now();
    let mut batch = round::all_stale(&before, now);
    batch.series.extend(round::synthetic_stale(&target, now));
    if let Err(e) = store(&settings, batch).await {
        tracing::warn!(target = name, error = e, "stale markers not stored");
    }
}

async fn store(settings: &ScrapeSettings, batch: MetricBatch) -> Result<(), String> {
    let sink = Arc::clone(&settings.sink);
    let outcome = tokio::task::spawn_blocking(move || sink.append(batch))
        .await
        .map_err(|e| e.to_string())?
        .map_err(|e| e.to_string())?;
    if let Some(text) = outcome.rejected_text() {
        tracing::debug!(rejected = text, "samples of a scrape rejected");
    }
    Ok(())
}

/// The body and its content type; compressed bodies are unpacked by the client, and the cap holds
/// for what comes out.
async fn fetch(
    job: &ScrapeJob,
    target: &Target,
    client: &reqwest::Client,
) -> Result<(Vec<u8>, String), String> {
    let seconds = job.timeout.as_secs_f64().to_string();
    let mut request = client
        .get(&target.url)
        .header("Accept", ACCEPT)
        .header("X-Prometheus-Scrape-Timeout-Seconds", seconds);
    if let Some((user, password)) = &job.basic_auth {
        let password = password.read().map_err(|e| format!("password file: {e}"))?;
        request = request.basic_auth(user, Some(password));
    }
    if let Some((kind, secret)) = &job.authorization {
        let secret = secret.read().map_err(|e| format!("credentials file: {e}"))?;
        request = request.header("Authorization", format!("{kind} {secret}"));
    }
    let response = request.send().await.map_err(|e| plain(&e))?;
    if !response.status().is_success() {
        return Err(format!("server returned HTTP status {}", response.status()));
    }
    let content_type = response
        .headers()
        .get("content-type")
        .and_then(|v| v.to_str().ok())
        .unwrap_or("text/plain")
        .to_owned();
    let max = if job.body_bytes_max > 0 { job.body_bytes_max } else { BODY_BYTES_MAX } as usize;
    let mut body = Vec::new();
    let mut chunks = response.bytes_stream();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|e| plain(&e))?;
        if body.len() + chunk.len() > max {
            return Err(format!("body size limit exceeded: more than {max} bytes"));
        }
        body.extend_from_slice(&chunk);
    }
    Ok((body, content_type))
}

/// The innermost cause, without the URL that the status shows anyway.
fn plain(e: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = e;
    while let Some(next) = cause.source() {
        cause = next;
    }
    if e.is_timeout() { "context deadline exceeded".to_owned() } else { cause.to_string() }
}
