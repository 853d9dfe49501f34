//! `vm-obs chaos`: runs experiments, a proxy for them, and single faults and probes.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use obs_exercise::chaos::{
    self, AskServer, ChaosReport, ChaosRequest, Experiment, Fault, FaultForm, Limits, Outcome,
    UndoJournal, proxy,
};
use obs_exercise::exchange::AllowedHosts;
use obs_exercise::load::Threshold;
use serde_json::{Value, json};

use super::client::{Client, Parameters, base_url};
use super::exercise::{
    EXIT_FAILED, EXIT_INTERRUPTED, EXIT_REFUSED, RecordArgs, Run, instant, sample,
};
use super::gate::{delivered, firing};
use super::human;
use super::out::Out;

#[derive(Debug, Subcommand)]
pub(crate) enum ChaosCommand {
    /// Run an experiment
    Run(RunArgs),
    /// Check an experiment file
    Validate {
        /// Chaos Toolkit's JSON or YAML (docs/exercises.md)
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// Print an experiment for Chaos Toolkit
    Export {
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// Runs on record
    List {
        #[command(flatten)]
        server: super::args::ServerArgs,
        /// How far back
        #[arg(long, value_name = "DURATION", default_value = "7d")]
        last: String,
    },
    /// Show the report of a run
    Report {
        /// File of `chaos run --json`
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// A TCP proxy with Toxiproxy's HTTP API
    Proxy(ProxyArgs),
    /// One fault, for its duration; undone in any case
    Fault {
        /// As in an experiment: '{"fault": "pause", "process": "portal", "duration": "5s"}'
        #[arg(value_name = "JSON")]
        fault: String,
        #[command(flatten)]
        state: StateArgs,
    },
    /// One probe: exit 0 where it holds, 1 where not
    Probe {
        /// As in an experiment: '{"probe": "promql", "query": "up", "threshold": ">=1"}'
        #[arg(value_name = "JSON")]
        probe: String,
        #[command(flatten)]
        server: super::args::ServerArgs,
    },
    /// Undo what a killed run left behind
    Undo(StateArgs),
    /// Holds a resource until standard input ends
    #[command(hide = true)]
    Hold { kind: String, amount: u64 },
    /// Undoes a journal when standard input ends
    #[command(hide = true)]
    Guard { journal: PathBuf },
}

#[derive(Args, Clone, Debug)]
pub(crate) struct StateArgs {
    /// Folder of undo journals [default: vm-obs-chaos below the folder for temporary files]
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    /// Host other than loopback that may be touched; may be repeated
    #[arg(long, value_name = "HOST")]
    allow_host: Vec<String>,
}

#[derive(Args, Debug)]
pub(crate) struct RunArgs {
    /// Chaos Toolkit's JSON or YAML (docs/exercises.md)
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Write the report as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    #[command(flatten)]
    state: StateArgs,
    #[command(flatten)]
    record: RecordArgs,
}

#[derive(Args, Debug)]
pub(crate) struct ProxyArgs {
    /// Address of the API
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:8474")]
    listen: std::net::SocketAddr,
    /// Host other than loopback that may stand behind a proxy; may be repeated
    #[arg(long, value_name = "HOST")]
    allow_host: Vec<String>,
    /// NAME=LISTEN=UPSTREAM; may be repeated
    #[arg(long = "proxy", value_name = "PROXY")]
    proxies: Vec<String>,
}

impl StateArgs {
    fn folder(&self) -> PathBuf {
        self.state.clone().unwrap_or_else(|| std::env::temp_dir().join("vm-obs-chaos"))
    }

    fn allowed(&self) -> AllowedHosts {
        AllowedHosts::new(self.allow_host.clone())
    }
}

/// Exit 0: the steady state held; 1: it did not, or the run was stopped; 2: not run; 130: Ctrl-C.
pub(crate) async fn run(command: ChaosCommand, out: &mut Out) -> anyhow::Result<ExitCode> {
    let outcome = match command {
        ChaosCommand::Run(args) => experiment(&args, out).await,
        ChaosCommand::Validate { file } => validate(&file, out),
        ChaosCommand::Export { file } => export(&file, out),
        ChaosCommand::List { server, last } => list(&server, &last, out).await,
        ChaosCommand::Report { file } => report(&file, out),
        ChaosCommand::Proxy(args) => serve_proxy(&args, out).await,
        ChaosCommand::Fault { fault, state } => one_fault(&fault, &state, out).await,
        ChaosCommand::Probe { probe, server } => {
            let client = Client::server(&server)?;
            let question = serde_json::from_str(&probe).context("the probe is no JSON")?;
            match answer(&client, &question).await {
                Ok(true) => Ok(ExitCode::SUCCESS),
                Ok(false) => Ok(ExitCode::from(EXIT_FAILED)),
                Err(e) => Err(e),
            }
        }
        ChaosCommand::Undo(state) => undo(&state, out).await,
        ChaosCommand::Hold { kind, amount } => {
            chaos::hold(&kind, amount)?;
            Ok(ExitCode::SUCCESS)
        }
        ChaosCommand::Guard { journal } => guard(&journal).await,
    };
    outcome.or_else(|e| {
        eprintln!("vm-obs: {e:#}");
        Ok(ExitCode::from(EXIT_REFUSED))
    })
}

fn load(file: &Path) -> anyhow::Result<Experiment> {
    let text =
        std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    Experiment::parse(&text).with_context(|| format!("in {}", file.display()))
}

fn validate(file: &Path, out: &mut Out) -> anyhow::Result<ExitCode> {
    let experiment = load(file)?;
    out.foreign_line(&format!(
        "{}: {} probes of the steady state, {} steps, {} rollbacks",
        experiment.title,
        experiment.hypothesis.len(),
        experiment.method.len(),
        experiment.rollbacks.len()
    ))?;
    Ok(ExitCode::SUCCESS)
}

fn export(file: &Path, out: &mut Out) -> anyhow::Result<ExitCode> {
    out.line(&format!("{:#}", load(file)?.export()))?;
    Ok(ExitCode::SUCCESS)
}

async fn list(
    server: &super::args::ServerArgs,
    last: &str,
    out: &mut Out,
) -> anyhow::Result<ExitCode> {
    let client = Client::server(server)?;
    let answer = client.get("/obs/exercises", &vec![("last", last.to_owned())]).await?;
    let runs = human::list(&answer.json, "exercises");
    let mut any = false;
    for run in runs.iter().filter(|r| human::text(r, "exercise") == "chaos") {
        any = true;
        out.foreign_line(&format!(
            "{}  {:<11}  {}  {}  receipt {}",
            human::text(run, "started_at"),
            human::text(run, "outcome"),
            human::text(run, "name"),
            human::text(run, "summary"),
            human::cell(run.get("receipt_seq"))
        ))?;
    }
    if !any {
        out.line("no chaos experiment in this window")?;
    }
    Ok(ExitCode::SUCCESS)
}

fn report(file: &Path, out: &mut Out) -> anyhow::Result<ExitCode> {
    let text = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    let report: Value =
        serde_json::from_slice(&text).with_context(|| format!("in {}", file.display()))?;
    out.foreign_line(&format!(
        "# {}: {}",
        human::text(&report, "title"),
        human::text(&report, "outcome")
    ))?;
    if let Some(reason) = report.get("reason").and_then(Value::as_str) {
        out.foreign_line(reason)?;
    }
    for event in human::list(&report, "timeline") {
        out.foreign_line(&format!(
            "{}  {:<10}  {}  {}",
            human::text(event, "at"),
            human::text(event, "kind"),
            human::text(event, "name"),
            human::text(event, "text")
        ))?;
    }
    for slo in human::list(&report, "budgets") {
        out.foreign_line(&format!(
            "{}: error budget {} % before, {} % after",
            human::text(slo, "id"),
            human::cell(slo.get("before_percent")),
            human::cell(slo.get("after_percent"))
        ))?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn experiment(args: &RunArgs, out: &mut Out) -> anyhow::Result<ExitCode> {
    let experiment = load(&args.file)?;
    let client = args.record.client().await?;
    // Probes ask the server that was named even where nothing is recorded.
    let asked = match &client {
        Some(client) => client.clone(),
        None => Client::at(base_url(args.record.server.as_deref()))?,
    };
    let before = match &client {
        Some(client) => budgets(client).await,
        None => Vec::new(),
    };
    let run =
        args.record.begin("chaos", &experiment.title, &experiment.target(), client.clone()).await?;
    let request = ChaosRequest {
        state_dir: args.state.folder(),
        run_id: run.id.clone(),
        allowed: args.state.allowed(),
        own_program: std::env::current_exe()?,
        interrupt: Box::pin(async {
            // Without a handler Ctrl-C still ends the process; then the guard undoes.
            let _handled = tokio::signal::ctrl_c().await;
        }),
        ask: Some(asker(asked)),
        on_event: Box::new(|e| {
            let mark = if e.good { "ok  " } else { "FAIL" };
            let line = format!("{}  {mark} {:<10} {}: {}", e.at, e.kind, e.name, e.text);
            eprintln!("{}", super::out::printable(&line));
        }),
    };
    let report = match chaos::run(&experiment, request).await {
        Ok(report) => report,
        Err(e) => {
            run.end("aborted", &e, b"").await?;
            anyhow::bail!("refused: {e}");
        }
    };
    let json = joined(&experiment, &run, &report, &before).await;
    let bytes = format!("{json:#}\n").into_bytes();
    if let Some(file) = &args.json {
        std::fs::write(file, &bytes).with_context(|| format!("cannot write {}", file.display()))?;
    }
    let at = obs_types::TimestampMs(jiff::Timestamp::now().as_millisecond());
    let labels = [("experiment", run.name.as_str()), ("run_id", run.id.as_str())];
    let passed = f64::from(u8::from(report.outcome == Outcome::Passed));
    run.push(&sample("chaos_experiment_passed", &labels, passed, at)).await;
    let reason = match &report.outcome {
        Outcome::Deviated(why) | Outcome::Stopped(why) => format!(": {why}"),
        _ => String::new(),
    };
    let text = format!("{}{reason}", report.outcome.name());
    out.foreign_line(&text)?;
    for problem in &report.problems {
        out.foreign_line(&format!("NOT UNDONE: {problem}"))?;
    }
    if let Some(seq) = run.end(report.outcome.name(), &text, &bytes).await? {
        out.line(&format!("receipt {seq}, run {}", run.id))?;
    }
    Ok(match report.outcome {
        Outcome::Passed if report.problems.is_empty() => ExitCode::SUCCESS,
        Outcome::Interrupted => ExitCode::from(EXIT_INTERRUPTED),
        _ => ExitCode::from(EXIT_FAILED),
    })
}

/// The run's events with the alerts of its time on one line, and what it cost the budgets.
async fn joined(
    experiment: &Experiment,
    run: &Run,
    report: &ChaosReport,
    before: &[(String, f64)],
) -> Value {
    let mut json = report.json();
    let mut timeline: Vec<Value> = human::list(&json, "events").to_vec();
    let mut after = Vec::new();
    if let Some(client) = run.client() {
        let began = run.started.to_string();
        for alert in alerts(client).await {
            for (field, word) in [("fired_at", "fired"), ("resolved_at", "resolved")] {
                let at = human::text(&alert, field);
                if at >= began.as_str() {
                    timeline.push(json!({
                        "at": at, "kind": "alert", "name": human::text(&alert, "name"),
                        "good": word == "resolved", "text": word,
                    }));
                }
            }
        }
        after = budgets(client).await;
    }
    timeline.sort_by(|a, b| human::text(a, "at").cmp(human::text(b, "at")));
    let budgets: Vec<Value> = before
        .iter()
        .map(|(id, percent)| {
            let now = after.iter().find(|(other, _)| other == id).map(|(_, p)| *p);
            json!({"id": id, "before_percent": percent, "after_percent": now})
        })
        .collect();
    if let Some(map) = json.as_object_mut() {
        map.insert("title".into(), json!(experiment.title));
        map.insert("run_id".into(), json!(run.id));
        map.insert("timeline".into(), json!(timeline));
        map.insert("budgets".into(), json!(budgets));
    }
    json
}

async fn alerts(client: &Client) -> Vec<Value> {
    match client.get("/obs/alerts", &Parameters::new()).await {
        Ok(answer) => human::list(&answer.json, "alerts").to_vec(),
        Err(e) => {
            eprintln!("vm-obs: alerts are missing on the time line: {e:#}");
            Vec::new()
        }
    }
}

/// Objectives with what is left of their error budgets, percent.
async fn budgets(client: &Client) -> Vec<(String, f64)> {
    let Ok(answer) = client.get("/obs/slos", &Parameters::new()).await else { return Vec::new() };
    let left = |slo: &Value| {
        human::number(slo.get("error_budget_remaining_percent"))
            .or_else(|| human::number(slo.pointer("/error_budget/remaining_percent")))
    };
    human::list(&answer.json, "slos")
        .iter()
        .filter_map(|slo| {
            let id = match human::text(slo, "slo_id") {
                "" => human::text(slo, "id"),
                id => id,
            };
            Some((id.to_owned(), left(slo)?))
        })
        .collect()
}

fn asker(client: Client) -> AskServer {
    Rc::new(move |question| {
        let client = client.clone();
        Box::pin(async move { answer(&client, &question).await.map_err(|e| format!("{e:#}")) })
    })
}

/// Whether a vm-obs probe holds.
async fn answer(client: &Client, question: &Value) -> anyhow::Result<bool> {
    let text = |name: &str| human::text(question, name);
    match text("probe") {
        "promql" => {
            let threshold = Threshold::parse(&format!("value{}", text("threshold")))?;
            let values = instant(client, text("query")).await?;
            // Without data nothing is known to be well.
            Ok(!values.is_empty() && values.iter().all(|v| threshold.holds(*v)))
        }
        "slo" => {
            let least = human::number(question.get("budget_above")).unwrap_or(0.0);
            let all = budgets(client).await;
            let found = all.iter().find(|(id, _)| id == text("slo"));
            let (_, left) = found.with_context(|| format!("no budget of {:?}", text("slo")))?;
            Ok(*left > least)
        }
        "alert" => {
            let within = match text("within") {
                "" => Duration::ZERO,
                given => Duration::from_millis(obs_query::parse_duration(given)?.0.unsigned_abs()),
            };
            let wants_resolved = text("state") == "resolved";
            let told = question.get("delivered").and_then(Value::as_bool).unwrap_or(true);
            let end = tokio::time::Instant::now() + within;
            loop {
                let alert = firing(client, text("alert")).await?;
                let good = match &alert {
                    None => wants_resolved,
                    Some(alert) => !wants_resolved && (!told || delivered(alert)),
                };
                if good {
                    return Ok(true);
                }
                if tokio::time::Instant::now() >= end {
                    return Ok(false);
                }
                tokio::time::sleep(Duration::from_millis(250)).await;
            }
        }
        other => anyhow::bail!("probe {other:?} is not promql, slo or alert"),
    }
}

async fn one_fault(text: &str, state: &StateArgs, out: &mut Out) -> anyhow::Result<ExitCode> {
    let form: FaultForm = serde_json::from_str(text).context("the fault is no JSON of one")?;
    let limits = Limits::default();
    let fault = Fault::check(form, "fault", &limits)?;
    let name = format!("fault-{}", std::process::id());
    let mut journal = UndoJournal::create(&state.folder(), &name)?;
    let own = std::env::current_exe()?;
    let begun = fault.begin(&mut journal, &limits, &state.allowed(), &own).await;
    if begun.is_ok() {
        out.foreign_line(&format!(
            "{} {} for {:?}",
            fault.form.fault,
            fault.target(),
            fault.duration
        ))?;
        std::io::Write::flush(out)?;
        tokio::select! {
            () = tokio::time::sleep(fault.duration) => {}
            _ = tokio::signal::ctrl_c() => {}
        }
    }
    let problems = journal.undo_all().await;
    begun.map_err(anyhow::Error::msg)?;
    anyhow::ensure!(problems.is_empty(), "not undone: {}", problems.join("; "));
    Ok(ExitCode::SUCCESS)
}

async fn undo(state: &StateArgs, out: &mut Out) -> anyhow::Result<ExitCode> {
    for left in chaos::leftovers(&state.folder()) {
        for said in chaos::replay(&left).await.map_err(anyhow::Error::msg)? {
            out.foreign_line(&said)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn guard(journal: &Path) -> anyhow::Result<ExitCode> {
    let read = tokio::task::spawn_blocking(|| {
        let mut rest = Vec::new();
        std::io::Read::read_to_end(&mut std::io::stdin(), &mut rest)
    });
    read.await??;
    // A journal that is gone was undone by its run.
    if journal.exists() {
        chaos::replay(journal).await.map_err(anyhow::Error::msg)?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn serve_proxy(args: &ProxyArgs, out: &mut Out) -> anyhow::Result<ExitCode> {
    let proxies = Arc::new(proxy::Proxies::new(AllowedHosts::new(args.allow_host.clone())));
    for given in &args.proxies {
        let parts: Vec<&str> = given.split('=').collect();
        let [name, listen, upstream] = parts.as_slice() else {
            anyhow::bail!("--proxy {given:?} is not NAME=LISTEN=UPSTREAM");
        };
        let made = proxies.create(name, listen, upstream, true).await?;
        out.foreign_line(&format!("{name}: {} -> {upstream}", made.listen()))?;
    }
    let listener = tokio::net::TcpListener::bind(args.listen)
        .await
        .with_context(|| format!("cannot listen on {}", args.listen))?;
    out.line(&format!("api: {}", listener.local_addr()?))?;
    std::io::Write::flush(out)?;
    let stopped = async {
        let _handled = tokio::signal::ctrl_c().await;
    };
    axum::serve(listener, proxy::router(proxies)).with_graceful_shutdown(stopped).await?;
    Ok(ExitCode::SUCCESS)
}
