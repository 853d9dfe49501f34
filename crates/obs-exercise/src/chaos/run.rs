//! The order of a run.
//!
//! 1. What killed runs left behind is undone.
//! 2. The steady state holds, or nothing is done.
//! 3. A guard process waits for our end.
//! 4. The method runs, until it is over, a stop probe breaks, or somebody interrupts.
//! 5. The steady state is asked again.
//! 6. Rollbacks run, and every undo step that is left.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::rc::Rc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::experiment::{Activity, Experiment, Kind, Provider, Strategy};
use super::tolerance::Seen;
use super::undo::{UndoJournal, leftovers, replay};
use crate::exchange::{AllowedHosts, Request, TlsForm, client_config, exchange};

/// How often stop probes are asked.
const STOP_EVERY: Duration = Duration::from_secs(1);

/// Answers a vm-obs probe: whether it holds.
pub type AskServer = Rc<dyn Fn(Value) -> Pin<Box<dyn Future<Output = Result<bool, String>>>>>;

/// What a run takes beside its experiment.
pub struct ChaosRequest {
    /// Where undo journals are.
    pub state_dir: PathBuf,
    pub run_id: String,
    pub allowed: AllowedHosts,
    /// This program, for its guard and for what holds resources.
    pub own_program: PathBuf,
    pub interrupt: Pin<Box<dyn Future<Output = ()>>>,
    pub ask: Option<AskServer>,
    /// Gets each event as it happens.
    pub on_event: Box<dyn FnMut(&Event)>,
}

impl std::fmt::Debug for ChaosRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ChaosRequest").field("run_id", &self.run_id).finish_non_exhaustive()
    }
}

/// One entry of a run's time line.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// RFC 3339.
    pub at: String,
    /// hypothesis, action, probe, undo, rollback, stop
    pub kind: &'static str,
    pub name: String,
    pub good: bool,
    pub text: String,
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Passed,
    /// The steady state, or an expectation of the method, did not hold.
    Deviated(String),
    /// By a stop probe.
    Stopped(String),
    Interrupted,
}

impl Outcome {
    pub fn name(&self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Deviated(_) => "failed",
            Self::Stopped(_) => "aborted",
            Self::Interrupted => "interrupted",
        }
    }
}

/// What a run found.
#[derive(Clone, Debug)]
pub struct ChaosReport {
    pub outcome: Outcome,
    pub events: Vec<Event>,
    /// Undo steps that did not work: somebody has to look.
    pub problems: Vec<String>,
}

impl ChaosReport {
    pub fn json(&self) -> Value {
        json!({
            "version": 1,
            "outcome": self.outcome.name(),
            "reason": match &self.outcome {
                Outcome::Deviated(why) | Outcome::Stopped(why) => json!(why),
                _ => Value::Null,
            },
            "problems": self.problems,
            "events": self.events.iter().map(|e| json!({
                "at": e.at, "kind": e.kind, "name": e.name, "good": e.good, "text": e.text,
            })).collect::<Vec<_>>(),
        })
    }
}

struct Runner<'a> {
    experiment: &'a Experiment,
    allowed: AllowedHosts,
    own_program: PathBuf,
    ask: Option<AskServer>,
    events: Vec<Event>,
    on_event: Box<dyn FnMut(&Event)>,
    /// Faults in the background: when they end, and their undo steps.
    pending: Vec<(Instant, String, Vec<u64>)>,
    background: Vec<tokio::task::JoinHandle<(String, Seen)>>,
    /// What the method expected and did not see.
    deviation: Option<String>,
}

/// Runs the experiment. Err says why it did not begin.
pub async fn run(experiment: &Experiment, request: ChaosRequest) -> Result<ChaosReport, String> {
    let ChaosRequest { state_dir, run_id, allowed, own_program, interrupt, ask, on_event } =
        request;
    let mut runner = Runner {
        experiment,
        allowed,
        own_program,
        ask,
        events: Vec::new(),
        on_event,
        pending: Vec::new(),
        background: Vec::new(),
        deviation: None,
    };
    for left in leftovers(&state_dir) {
        for said in replay(&left).await? {
            runner.event("undo", "left behind", said.starts_with("undone"), &said);
        }
    }
    if let Some(broken) = runner.steady_state().await {
        return Err(format!("there is no steady state to begin from: {broken}"));
    }
    let mut journal = UndoJournal::create(&state_dir, &run_id)
        .map_err(|e| format!("cannot write to {}: {e}", state_dir.display()))?;
    let guard = Guard::start(&runner.own_program, journal.path())?;
    let (ask, allowed) = (runner.ask.clone(), runner.allowed.clone());
    let ended = {
        let method = runner.method(&mut journal);
        let stop = watch_stop(&experiment.stop, ask.as_ref(), &allowed);
        tokio::select! {
            outcome = method => outcome.err().map(Outcome::Deviated),
            why = stop => Some(Outcome::Stopped(why)),
            () = interrupt => Some(Outcome::Interrupted),
        }
    };
    if let Some(Outcome::Stopped(why)) = &ended {
        runner.event("stop", "stopped", false, why);
    }
    for task in runner.background.drain(..) {
        task.abort();
    }
    let outcome = match ended {
        Some(early) => early,
        None => match (runner.deviation.take(), runner.steady_state().await) {
            (Some(why), _) | (None, Some(why)) => Outcome::Deviated(why),
            (None, None) => Outcome::Passed,
        },
    };
    runner.rollbacks(&outcome).await;
    let problems = journal.undo_all().await;
    let word =
        if problems.is_empty() { "everything is undone" } else { "not everything is undone" };
    runner.event("undo", "end", problems.is_empty(), word);
    guard.end();
    Ok(ChaosReport { outcome, events: runner.events, problems })
}

impl Runner<'_> {
    fn event(&mut self, kind: &'static str, name: &str, good: bool, text: &str) {
        let event = Event {
            at: jiff::Timestamp::now().to_string(),
            kind,
            name: name.to_owned(),
            good,
            text: text.to_owned(),
        };
        (self.on_event)(&event);
        self.events.push(event);
    }

    /// The first probe that is not within its tolerance.
    async fn steady_state(&mut self) -> Option<String> {
        for probe in &self.experiment.hypothesis {
            let (good, text) = judged(probe, self.ask.as_ref(), &self.allowed).await;
            self.event("hypothesis", &probe.name, good, &text);
            if !good {
                return Some(format!("{}: {text}", probe.name));
            }
        }
        None
    }

    async fn method(&mut self, journal: &mut UndoJournal) -> Result<(), String> {
        for activity in &self.experiment.method {
            self.sleep(activity.pauses.before, journal).await;
            match (&activity.provider, activity.kind) {
                (Provider::Fault(fault), _) => {
                    let begun = fault
                        .begin(journal, &self.experiment.limits, &self.allowed, &self.own_program)
                        .await;
                    let steps = match begun {
                        Ok(steps) => steps,
                        Err(e) => {
                            self.event("action", &activity.name, false, &e);
                            return Err(format!("{}: {e}", activity.name));
                        }
                    };
                    let text = format!("{} {}", fault.form.fault, fault.target());
                    self.event("action", &activity.name, true, &text);
                    let until = Instant::now() + fault.duration;
                    self.pending.push((until, activity.name.clone(), steps));
                    if !activity.background {
                        self.sleep(fault.duration, journal).await;
                    }
                }
                (_, Kind::Action) if activity.background => {
                    let (activity, allowed) = (activity.clone(), self.allowed.clone());
                    self.event("action", &activity.name, true, "in the background");
                    self.background.push(tokio::spawn(async move {
                        let seen = see_plain(&activity.provider, &allowed).await;
                        (activity.name, seen)
                    }));
                }
                (_, kind) => {
                    // A probe may wait for minutes; faults end in their time all the same.
                    let (ask, allowed) = (self.ask.clone(), self.allowed.clone());
                    let mut asked = std::pin::pin!(judged(activity, ask.as_ref(), &allowed));
                    let (good, text) = loop {
                        let next = self.pending.iter().map(|(at, _, _)| *at).min();
                        let due = async {
                            match next {
                                Some(at) => tokio::time::sleep_until(at.into()).await,
                                None => std::future::pending().await,
                            }
                        };
                        tokio::select! {
                            seen = &mut asked => break seen,
                            () = due => self.undo_due(journal).await,
                        }
                    };
                    let shown = if kind == Kind::Action { "action" } else { "probe" };
                    self.event(shown, &activity.name, good, &text);
                    let expected = activity.tolerance.is_some()
                        || matches!(activity.provider, Provider::Ask(_));
                    if !good && kind == Kind::Action {
                        return Err(format!("{}: {text}", activity.name));
                    }
                    if !good && expected && self.deviation.is_none() {
                        self.deviation = Some(format!("{}: {text}", activity.name));
                    }
                }
            }
            self.sleep(activity.pauses.after, journal).await;
        }
        // Faults in the background have their time.
        while let Some(last) = self.pending.iter().map(|(at, _, _)| *at).max() {
            self.sleep(last.saturating_duration_since(Instant::now()), journal).await;
        }
        for task in std::mem::take(&mut self.background) {
            if let Ok((name, seen)) = task.await {
                let good = !matches!(seen, Seen::Failed(_));
                self.event("action", &name, good, &format!("{seen:?}"));
            }
        }
        Ok(())
    }

    /// Sleeps, and ends background faults whose time is over meanwhile.
    async fn sleep(&mut self, length: Duration, journal: &mut UndoJournal) {
        let end = Instant::now() + length;
        loop {
            let next = self.pending.iter().map(|(at, _, _)| *at).min();
            let until = next.map_or(end, |n| n.min(end));
            tokio::time::sleep_until(until.into()).await;
            self.undo_due(journal).await;
            if Instant::now() >= end {
                return;
            }
        }
    }

    async fn undo_due(&mut self, journal: &mut UndoJournal) {
        let now = Instant::now();
        let due: Vec<_> = self.pending.extract_if(.., |(at, _, _)| *at <= now).collect();
        for (_, name, steps) in due {
            let mut problem = None;
            for step in steps {
                problem = journal.undo(step).await.err().or(problem);
            }
            let text = problem.clone().unwrap_or_else(|| "undone".to_owned());
            self.event("undo", &name, problem.is_none(), &text);
        }
    }

    async fn rollbacks(&mut self, outcome: &Outcome) {
        let wanted = match self.experiment.strategy {
            Strategy::Always => true,
            Strategy::Never => false,
            Strategy::Deviated => matches!(outcome, Outcome::Deviated(_)),
            Strategy::Default => *outcome != Outcome::Interrupted,
        };
        if !wanted {
            return;
        }
        for activity in &self.experiment.rollbacks {
            let (good, text) = judged(activity, self.ask.as_ref(), &self.allowed).await;
            self.event("rollback", &activity.name, good, &text);
        }
    }
}

/// Ends with the first stop probe that no longer holds; never without any.
async fn watch_stop(stop: &[Activity], ask: Option<&AskServer>, allowed: &AllowedHosts) -> String {
    if stop.is_empty() {
        std::future::pending::<()>().await;
    }
    loop {
        tokio::time::sleep(STOP_EVERY).await;
        for probe in stop {
            let (good, text) = judged(probe, ask, allowed).await;
            if !good {
                return format!("{}: {text}", probe.name);
            }
        }
    }
}

/// Whether what was seen is within the tolerance; without one, whether it worked.
async fn judged(
    activity: &Activity,
    ask: Option<&AskServer>,
    allowed: &AllowedHosts,
) -> (bool, String) {
    let seen = match (&activity.provider, ask) {
        (Provider::Ask(question), Some(ask)) => match ask(question.clone()).await {
            Ok(holds) => Seen::Holds(holds),
            Err(e) => Seen::Failed(e),
        },
        (Provider::Ask(_), None) => Seen::Failed("there is no server to ask (--server)".to_owned()),
        (provider, _) => see_plain(provider, allowed).await,
    };
    let good = match &activity.tolerance {
        Some(tolerance) => tolerance.holds(&seen),
        None => match &seen {
            Seen::Holds(holds) => *holds,
            Seen::Process { status, .. } => *status == 0,
            Seen::Http { status, .. } => *status < 400,
            Seen::Failed(_) => false,
        },
    };
    let text = match seen {
        Seen::Http { status, .. } => format!("status {status}"),
        Seen::Process { status, stdout } => format!("exit {status} {}", stdout.trim()),
        Seen::Holds(holds) => if holds { "holds" } else { "does not hold" }.to_owned(),
        Seen::Failed(e) => e,
    };
    (good, text)
}

async fn see_plain(provider: &Provider, allowed: &AllowedHosts) -> Seen {
    let outcome = match provider {
        Provider::Http { method, url, headers, body, timeout } => {
            http(method, url, headers, body, *timeout, allowed).await
        }
        Provider::Process { path, arguments, timeout } => process(path, arguments, *timeout).await,
        Provider::Fault(_) | Provider::Ask(_) => Err("only in a method".to_owned()),
    };
    outcome.unwrap_or_else(Seen::Failed)
}

async fn http(
    method: &str,
    url: &str,
    headers: &[(String, String)],
    body: &str,
    timeout: Duration,
    allowed: &AllowedHosts,
) -> Result<Seen, String> {
    let mut map = hyper::HeaderMap::new();
    for (name, value) in headers {
        let name: hyper::header::HeaderName =
            name.parse().map_err(|e| format!("header {name:?}: {e}"))?;
        map.insert(name, value.parse().map_err(|e| format!("header: {e}"))?);
    }
    let request = Request {
        method: method.parse().map_err(|_e| format!("{method:?} is no method"))?,
        uri: url.parse().map_err(|e| format!("{url:?}: {e}"))?,
        headers: map,
        body: bytes::Bytes::from(body.to_owned()),
    };
    let tls = client_config(&TlsForm::default(), &["http/1.1"]).map_err(|e| e.to_string())?;
    let reply = exchange(&request, &tls, allowed, timeout, 1 << 20).await?;
    Ok(Seen::Http {
        status: reply.status.as_u16(),
        body: String::from_utf8_lossy(&reply.body).into_owned(),
    })
}

async fn process(path: &str, arguments: &[String], timeout: Duration) -> Result<Seen, String> {
    let child = tokio::process::Command::new(path)
        .args(arguments)
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|e| format!("cannot run {path}: {e}"))?;
    let output = tokio::time::timeout(timeout, child.wait_with_output())
        .await
        .map_err(|_elapsed| format!("{path} was not done within {} s", timeout.as_secs_f64()))?
        .map_err(|e| e.to_string())?;
    Ok(Seen::Process {
        status: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
    })
}

/// A process that outlives us only to undo: the end of its standard input is our end.
struct Guard(std::process::Child);

impl Guard {
    fn start(own_program: &Path, journal: &Path) -> Result<Self, String> {
        use std::os::unix::process::CommandExt;
        std::process::Command::new(own_program)
            .args(["chaos", "guard"])
            .arg(journal)
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::null())
            // Ctrl-C is for us alone.
            .process_group(0)
            .spawn()
            .map(Self)
            .map_err(|e| format!("cannot start the guard {}: {e}", own_program.display()))
    }

    fn end(mut self) {
        drop(self.0.stdin.take());
        // Nothing is left to undo, so it ends at once.
        let _status = self.0.wait();
    }
}
