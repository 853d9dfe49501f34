//! A run from its first request to its report.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::task::LocalSet;

use super::client::Setting;
use super::limits::{Machine, Refusal};
use super::measure::{Builtin, Metric, Recorder, Second, Tags};
use super::profile::{Profile, QueryLimit};
use super::report::{self, Outcome, QueryVerdict, Report};
use super::schedule;
use super::threshold::Aggregate;
use super::user::Shared;
use crate::exchange::{AllowedHosts, StepError, client_config};

/// How often thresholds that abort are looked at.
const JUDGE_EVERY: Duration = Duration::from_secs(1);
/// A query over the target's telemetry may take so long.
const QUERY_TIMEOUT: Duration = Duration::from_secs(10);

/// Answers a PromQL instant query with the values of its series.
pub type QueryTelemetry =
    Rc<dyn Fn(String) -> Pin<Box<dyn Future<Output = Result<Vec<f64>, String>>>>>;

/// Gets the state of the run once a second.
pub type LiveView = Box<dyn FnMut(&Live)>;

/// The run so far.
#[derive(Clone, Debug)]
pub struct Live {
    pub elapsed: Duration,
    pub total: Duration,
    /// The last whole second.
    pub second: Second,
    pub requests: u64,
    pub failed: u64,
    pub vus: u32,
    /// Seconds that were closed since the last call.
    pub new_seconds: Vec<Second>,
}

/// What a run takes beside its profile.
pub struct RunOptions {
    pub allowed: AllowedHosts,
    pub machine: Machine,
    /// Whether requests carry a W3C `traceparent`.
    pub traced: bool,
    pub seed: u64,
    pub run_id: String,
    /// RFC 3339, of the first request.
    pub started_at: String,
    /// Ends the run when it resolves.
    pub interrupt: Pin<Box<dyn Future<Output = ()>>>,
    pub live: Option<LiveView>,
    pub telemetry: Option<QueryTelemetry>,
}

impl std::fmt::Debug for RunOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RunOptions").field("run_id", &self.run_id).finish_non_exhaustive()
    }
}

/// Why a run did not begin.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    #[error(transparent)]
    Refusal(#[from] Refusal),
    #[error(transparent)]
    Profile(#[from] StepError),
}

/// Checks everything, runs the profile and reports. Nothing is sent where an error comes back.
pub async fn run(profile: Profile, options: RunOptions) -> Result<Report, RunError> {
    LocalSet::new().run_until(inner(profile, options)).await
}

/// Whether a profile may run: where it is aimed, what the machine can carry, whom it asks, and
/// whether every threshold is about something that is measured.
pub fn check(
    profile: &Profile,
    allowed: &AllowedHosts,
    machine: Machine,
    telemetry: bool,
) -> Result<(), RunError> {
    for scenario in &profile.scenarios {
        for step in &scenario.steps {
            if let Some(host) = step.host() {
                allowed.check(host).map_err(|e| Refusal(e.to_string()))?;
            }
        }
    }
    machine.check(profile)?;
    if !profile.telemetry.checks.is_empty() && !telemetry {
        let reason = "queries need a server to ask (telemetry.url or --server)";
        return Err(StepError::new("telemetry.checks", reason).into());
    }
    check_thresholds(profile, &Recorder::new(profile, Instant::now()))
}

async fn inner(profile: Profile, mut options: RunOptions) -> Result<Report, RunError> {
    check(&profile, &options.allowed, options.machine, options.telemetry.is_some())?;
    let tls = client_config(&profile.tls, &["http/1.1"])?;
    let setting = Setting { tls, allowed: options.allowed.clone() };
    let began = Instant::now();
    let total = profile.duration();
    let count = profile.scenarios.len();
    let shared = Rc::new(Shared::new(profile, setting, began, options.traced, options.seed));
    let drivers: Vec<_> = (0..count)
        .map(|i| tokio::task::spawn_local(schedule::drive(Rc::clone(&shared), i)))
        .collect();
    let mut ticks = tokio::time::interval(Duration::from_millis(100));
    let mut judged = Instant::now();
    let mut shown = 0;
    let outcome = loop {
        tokio::select! {
            () = &mut options.interrupt => break Outcome::Interrupted,
            _ = ticks.tick() => {}
        }
        if drivers.iter().all(|d| d.is_finished()) {
            break Outcome::Passed;
        }
        if judged.elapsed() < JUDGE_EVERY {
            continue;
        }
        judged = Instant::now();
        let live = look(&shared, total, &mut shown);
        if let Some(view) = &mut options.live {
            view(&live);
        }
        if let Some(reason) = broken(&shared, began, options.telemetry.as_ref()).await {
            break Outcome::Aborted(reason);
        }
    };
    shared.stopping.set(true);
    if outcome != Outcome::Passed {
        for driver in &drivers {
            driver.abort();
        }
    }
    let ended = Instant::now();
    {
        let interrupted = shared.iterations_begun.get() - shared.iterations_ended.get();
        let mut recorder = shared.recorder.borrow_mut();
        recorder.add(Builtin::InterruptedIterations, interrupted as f64, &Tags::default());
        recorder.add(Builtin::Vus, f64::from(shared.vus.get()), &Tags::default());
        recorder.add(Builtin::VusMax, f64::from(shared.vus_most.get()), &Tags::default());
        recorder.finish(ended);
    }
    let last = look(&shared, total, &mut shown);
    if let Some(view) = &mut options.live {
        view(&last);
    }
    let queries = final_queries(&shared, ended - began, &outcome, options.telemetry.as_ref()).await;
    Ok(report::build(&shared, &options, ended - began, outcome, queries))
}

/// A threshold about a metric that does not exist, or has no such aggregate, would never be kept.
fn check_thresholds(profile: &Profile, recorder: &Recorder) -> Result<(), RunError> {
    for limit in &profile.thresholds {
        let place = format!("thresholds.{}", limit.subject);
        let Some(metric) = recorder.subject(&limit.subject) else {
            let known: Vec<&str> = recorder.all().map(|(name, _)| name).collect();
            let reason = format!("no such metric; there are {}", known.join(", "));
            return Err(StepError::new(place, reason).into());
        };
        if !metric.fits(limit.threshold.aggregate) {
            let reason = format!("{:?} does not fit this kind of metric", limit.threshold.text);
            return Err(StepError::new(place, reason).into());
        }
    }
    Ok(())
}

fn look(shared: &Shared, total: Duration, shown: &mut usize) -> Live {
    let now = Instant::now();
    let mut recorder = shared.recorder.borrow_mut();
    if !shared.stopping.get() {
        recorder.advance(now, shared.vus.get());
    }
    let count = |what, aggregate| {
        recorder.builtin(what).map_or(0, |m| m.aggregate(aggregate, 1.0).max(0.0) as u64)
    };
    let failed = match recorder.builtin(Builtin::HttpReqFailed) {
        Some(Metric::Rate { yes, .. }) => *yes,
        _ => 0,
    };
    let new_seconds = recorder.seconds.get(*shown..).unwrap_or_default().to_vec();
    *shown = recorder.seconds.len();
    Live {
        elapsed: recorder.elapsed(now),
        total,
        second: recorder.seconds.last().cloned().unwrap_or_default(),
        requests: count(Builtin::HttpReqs, Aggregate::Count),
        failed,
        vus: shared.vus.get(),
        new_seconds,
    }
}

/// The first threshold that is to end the run and is not kept.
async fn broken(
    shared: &Shared,
    began: Instant,
    telemetry: Option<&QueryTelemetry>,
) -> Option<String> {
    let elapsed = began.elapsed();
    {
        let recorder = shared.recorder.borrow();
        for limit in shared.profile.thresholds.iter().filter(|l| l.abort_on_fail) {
            if elapsed < limit.delay {
                continue;
            }
            let Some(metric) = recorder.subject(&limit.subject) else { continue };
            let value = metric.aggregate(limit.threshold.aggregate, elapsed.as_secs_f64());
            // Nothing measured yet is no reason to stop.
            if !value.is_nan() && !limit.threshold.holds(value) {
                return Some(format!("{} {}: {value:.4}", limit.subject, limit.threshold.text));
            }
        }
    }
    let ask = telemetry?;
    for check in shared.profile.telemetry.checks.iter().filter(|c| c.abort_on_fail) {
        if elapsed < check.delay {
            continue;
        }
        if let Ok(values) = query(ask, check, elapsed).await
            && let Some(bad) = values.iter().find(|v| !check.threshold.holds(**v))
        {
            return Some(format!("{} {}: {bad}", check.name, check.threshold.text));
        }
    }
    None
}

async fn query(
    ask: &QueryTelemetry,
    check: &QueryLimit,
    elapsed: Duration,
) -> Result<Vec<f64>, String> {
    let window = format!("{}s", elapsed.as_secs().max(1));
    let work = ask(check.query.replace("$window", &window));
    match tokio::time::timeout(QUERY_TIMEOUT, work).await {
        Ok(answer) => answer,
        Err(_elapsed) => Err(format!("no answer within {} s", QUERY_TIMEOUT.as_secs())),
    }
}

/// After the target's last samples have come in; without data nothing is proven, so it fails.
async fn final_queries(
    shared: &Shared,
    elapsed: Duration,
    outcome: &Outcome,
    telemetry: Option<&QueryTelemetry>,
) -> Vec<QueryVerdict> {
    let Some(ask) = telemetry else { return Vec::new() };
    let plan = &shared.profile.telemetry;
    if plan.checks.is_empty() {
        return Vec::new();
    }
    if *outcome == Outcome::Passed {
        tokio::time::sleep(plan.settle).await;
    }
    let mut out = Vec::new();
    for check in &plan.checks {
        let (values, error) = match query(ask, check, elapsed + plan.settle).await {
            Ok(values) if values.is_empty() => (values, Some("no data".to_owned())),
            Ok(values) => (values, None),
            Err(e) => (Vec::new(), Some(e)),
        };
        out.push(QueryVerdict {
            name: check.name.clone(),
            query: check.query.clone(),
            threshold: check.threshold.text.clone(),
            kept: error.is_none() && values.iter().all(|v| check.threshold.holds(*v)),
            values,
            error,
        });
    }
    out
}
