//! `vm-obs gate`: watches a deployment, and runs the parts of GENESIS' guide as one command each.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use obs_disk::{Clock, ScaledClock, SystemClock};
use obs_exercise::doctor::{Check as Part, Report};
use obs_exercise::gate::{self, GateProfile, Header, Journal, Light, Summary, Verdict};
use serde_json::Value;

use super::args::ServerArgs;
use super::client::{Client, Parameters};
use super::exercise::{EXIT_FAILED, EXIT_INTERRUPTED, RecordArgs, Run, instant, sample};
use super::human;
use super::out::Out;

/// The deployment is to be rolled back.
const EXIT_ROLL_BACK: u8 = 2;
/// The gate could not be run.
const EXIT_NOT_RUN: u8 = 3;

#[derive(Args, Debug)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct GateArgs {
    #[command(subcommand)]
    part: Option<GatePart>,
    #[command(flatten)]
    watch: WatchArgs,
}

/// The guide's parts.
#[derive(Debug, Subcommand)]
pub(crate) enum GatePart {
    /// Is everything up: server, targets, metrics (5.1)
    Health(ServerArgs),
    /// Do all dashboards load and show data (5.2)
    Dashboards(ServerArgs),
    /// Does an alert fire, arrive and resolve when its cause is there (5.3)
    Alert(AlertArgs),
    /// Does a sample arrive through every way in, and would every alert fire (5.4)
    Flow(ServerArgs),
    /// The functional verification: health, dashboards, data flow, alerts (4.2)
    Verify(ServerArgs),
    /// May the deployment start: verification, and one check that must be green (7.1, 8.1)
    Before(OneArgs),
    /// One check, now (7.2)
    During(OneArgs),
    /// The summary of a journal (7.3)
    After {
        /// Journal of the deployment
        #[arg(value_name = "JOURNAL")]
        journal: PathBuf,
        /// Summary (JSON) of an earlier deployment to compare with
        #[arg(long, value_name = "FILE")]
        baseline: Option<PathBuf>,
    },
}

#[derive(Args, Debug)]
pub(crate) struct OneArgs {
    /// genesis, standard, or a profile file (docs/exercises.md)
    #[arg(long, value_name = "PROFILE", default_value = "genesis")]
    profile: String,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Args, Debug)]
pub(crate) struct AlertArgs {
    /// Name of the alert
    #[arg(value_name = "ALERT")]
    alert: String,
    /// Shell command that brings the cause about, such as stopping an exporter
    #[arg(long = "break", value_name = "COMMAND")]
    cause: String,
    /// Shell command that takes it away again; also run when the test fails or is interrupted
    #[arg(long, value_name = "COMMAND")]
    heal: String,
    /// How long the alert may take to fire, and to be delivered
    #[arg(long, value_name = "DURATION", default_value = "3m")]
    within: String,
    /// How long it may take to resolve
    #[arg(long, value_name = "DURATION", default_value = "2m")]
    resolve_within: String,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Args, Debug)]
pub(crate) struct WatchArgs {
    /// How long to watch
    #[arg(long = "for", value_name = "DURATION", default_value = "48h")]
    length: String,
    /// genesis, standard, or a profile file (docs/exercises.md)
    #[arg(long, value_name = "PROFILE", default_value = "genesis")]
    profile: String,
    #[command(flatten)]
    server: ServerArgs,
    /// Journal; one that is there is gone on with
    #[arg(long, value_name = "FILE", default_value = "gate-journal.jsonl")]
    journal: PathBuf,
    /// Write the closing summary as FILE.md and FILE.json
    #[arg(long, value_name = "FILE")]
    summary: Option<PathBuf>,
    /// Summary (JSON) of an earlier deployment to compare with
    #[arg(long, value_name = "FILE")]
    baseline: Option<PathBuf>,
    /// Watch on after red instead of saying `roll back` at once
    #[arg(long)]
    keep_going: bool,
    /// How many times faster than real time the watch runs, for tests and rehearsals
    #[arg(long, value_name = "FACTOR")]
    clock_speed: Option<f64>,
    /// Leave no metrics and receipts
    #[arg(long)]
    no_record: bool,
    /// Who watches, for the receipt
    #[arg(long, value_name = "DID", default_value = "did:vm:user:sovereign")]
    by: String,
}

/// Exit 0: continue; 1: investigate; 2: roll back; 3: not run; 130: interrupted, resumable.
pub(crate) async fn run(args: GateArgs, out: &mut Out) -> anyhow::Result<ExitCode> {
    let outcome = match args.part {
        None => watch(&args.watch, out).await,
        Some(part) => one(part, out).await,
    };
    outcome.or_else(|e| {
        eprintln!("vm-obs: {e:#}");
        Ok(ExitCode::from(EXIT_NOT_RUN))
    })
}

fn load_profile(name: &str) -> anyhow::Result<GateProfile> {
    let text = match gate::profile(name) {
        Some(text) => text.to_owned(),
        None => std::fs::read_to_string(name).with_context(|| {
            let names: Vec<&str> = gate::PROFILES.iter().map(|(name, _)| *name).collect();
            format!("{name:?} is neither one of {} nor a file", names.join(", "))
        })?,
    };
    Ok(GateProfile::parse(&text)?)
}

fn load_baseline(file: Option<&PathBuf>) -> anyhow::Result<Option<Value>> {
    file.map(|file| {
        let text =
            std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
        serde_json::from_slice(&text).with_context(|| format!("in {}", file.display()))
    })
    .transpose()
}

async fn ask(client: &Client, profile: &GateProfile) -> Vec<Result<Vec<f64>, String>> {
    let mut out = Vec::new();
    for criterion in &profile.criteria {
        out.push(instant(client, &criterion.query).await.map_err(|e| format!("{e:#}")));
    }
    out
}

async fn watch(args: &WatchArgs, out: &mut Out) -> anyhow::Result<ExitCode> {
    let profile = load_profile(&args.profile)?;
    let length = obs_query::parse_duration(&args.length).context("--for")?;
    anyhow::ensure!(length.0 > 0, "--for must be longer than 0");
    let length = Duration::from_millis(length.0.unsigned_abs());
    let baseline = load_baseline(args.baseline.as_ref())?;
    let clock: Arc<dyn Clock> = match args.clock_speed {
        None => Arc::new(SystemClock::new()),
        Some(speed) => Arc::new(ScaledClock::new(SystemClock::new().now(), speed)),
    };
    let client = Client::server(&args.server)?;
    // Nobody to ask is no deployment to judge.
    client.text("/-/ready", &Parameters::new()).await?;
    let record = RecordArgs { server: None, no_record: args.no_record, by: args.by.clone() };
    let stamp = |ms: i64| jiff::Timestamp::from_millisecond(ms).unwrap_or_default();
    let recorder = (!args.no_record).then(|| client.clone());
    let run = record.begin("gate", &profile.name, &client.to_string(), recorder).await?;
    let mut journal = Journal::open(
        &args.journal,
        Header {
            version: 1,
            run_id: run.id.clone(),
            profile: profile.name.clone(),
            started_at: stamp(clock.now().0).to_string(),
            for_seconds: length.as_secs_f64(),
        },
    )?;
    if let Some(verdict) = &journal.closed {
        anyhow::bail!("{} is closed already: {verdict}", args.journal.display());
    }
    // A resumed watch counts the time that nobody watched, unless it runs by another clock.
    let begun: jiff::Timestamp = journal.header.started_at.parse().context("journal")?;
    let mut begun_ms = begun.as_millisecond();
    if !journal.checks.is_empty() {
        out.line(&format!("resumed after {} checks", journal.checks.len()))?;
        if args.clock_speed.is_some() {
            let done = journal.checks.last().map_or(0.0, |c| c.elapsed_seconds);
            begun_ms = clock.now().0 - (done * 1e3) as i64;
        }
    }
    let mut interrupt = std::pin::pin!(tokio::signal::ctrl_c());
    loop {
        let now = clock.now();
        let elapsed = Duration::from_millis((now.0 - begun_ms).max(0).unsigned_abs());
        let answers = ask(&client, &profile).await;
        let at = stamp(now.0).to_string();
        let check = gate::judge(&profile, &answers, &at, elapsed.as_secs_f64());
        out.foreign_line(&check.text())?;
        std::io::Write::flush(out)?;
        run.push(&series(&run, &check)).await;
        let light = check.light;
        journal.add(check)?;
        if (light == Light::Red && !args.keep_going) || elapsed >= length {
            break;
        }
        let wait = profile.next(elapsed).min(length - elapsed).max(Duration::from_millis(1));
        tokio::select! {
            () = tokio::time::sleep(clock.real(wait)) => {}
            _ = &mut interrupt => {
                out.line(&format!("interrupted; the same command goes on with {}", args.journal.display()))?;
                run.end("interrupted", "interrupted, to be resumed", b"").await?;
                return Ok(ExitCode::from(EXIT_INTERRUPTED));
            }
        }
    }
    close(args, &run, &mut journal, baseline.as_ref(), out).await
}

fn series(run: &Run, check: &gate::Check) -> String {
    let at = obs_types::TimestampMs(jiff::Timestamp::now().as_millisecond());
    let labels = [("profile", run.name.as_str()), ("run_id", run.id.as_str())];
    let number = |light: Light| f64::from(light as u8);
    let mut text = sample("gate_light", &labels, number(check.light), at);
    for c in &check.criteria {
        let more = [labels[0], labels[1], ("criterion", c.name.as_str())];
        text.push_str(&sample("gate_criterion_light", &more, number(c.light), at));
        if let Some(value) = c.value {
            text.push_str(&sample("gate_criterion_value", &more, value, at));
        }
    }
    text
}

async fn close(
    args: &WatchArgs,
    run: &Run,
    journal: &mut Journal,
    baseline: Option<&Value>,
    out: &mut Out,
) -> anyhow::Result<ExitCode> {
    let summary = Summary::new(journal, baseline);
    let json = format!("{:#}\n", summary.json);
    if let Some(file) = &args.summary {
        for (extension, text) in [("md", &summary.markdown), ("json", &json)] {
            let file = file.with_extension(extension);
            std::fs::write(&file, text)
                .with_context(|| format!("cannot write {}", file.display()))?;
        }
    }
    journal.close(summary.verdict.as_str())?;
    out.line("")?;
    for line in summary.markdown.lines() {
        out.foreign_line(line)?;
    }
    let outcome = match summary.verdict {
        Verdict::Continue => "passed",
        Verdict::Investigate => "failed",
        Verdict::RollBack => "aborted",
    };
    let count = journal.checks.len();
    let text = format!("{} after {count} checks", summary.verdict.as_str());
    if let Some(seq) = run.end(outcome, &text, json.as_bytes()).await? {
        out.line(&format!("receipt {seq}, run {}", run.id))?;
    }
    Ok(exit_of(summary.verdict))
}

fn exit_of(verdict: Verdict) -> ExitCode {
    match verdict {
        Verdict::Continue => ExitCode::SUCCESS,
        Verdict::Investigate => ExitCode::from(EXIT_FAILED),
        Verdict::RollBack => ExitCode::from(EXIT_ROLL_BACK),
    }
}

async fn one(part: GatePart, out: &mut Out) -> anyhow::Result<ExitCode> {
    let good = match part {
        GatePart::Health(server) => parts(&server, &[Part::Targets], out).await?,
        GatePart::Dashboards(server) => parts(&server, &[Part::Dashboards], out).await?,
        GatePart::Flow(server) => {
            let all = [Part::Ingest, Part::RecordingRules, Part::Alerts, Part::FireDrill];
            parts(&server, &all, out).await?
        }
        GatePart::Verify(server) => parts(&server, &VERIFY, out).await?,
        GatePart::Before(args) => {
            let verified = parts(&args.server, &VERIFY, out).await?;
            let light = check_now(&args, out).await?;
            verified && light == Light::Green
        }
        GatePart::During(args) => {
            return Ok(exit_of(match check_now(&args, out).await? {
                Light::Green => Verdict::Continue,
                Light::Yellow => Verdict::Investigate,
                Light::Red => Verdict::RollBack,
            }));
        }
        GatePart::Alert(args) => alert(&args, out).await?,
        GatePart::After { journal, baseline } => {
            let baseline = load_baseline(baseline.as_ref())?;
            let summary = Summary::new(&Journal::read(&journal)?, baseline.as_ref());
            for line in summary.markdown.lines() {
                out.foreign_line(line)?;
            }
            return Ok(exit_of(summary.verdict));
        }
    };
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::from(EXIT_FAILED) })
}

const VERIFY: [Part; 6] = [
    Part::Targets,
    Part::Dashboards,
    Part::Ingest,
    Part::RecordingRules,
    Part::Alerts,
    Part::FireDrill,
];

/// Parts of the doctor's report, and whether none of them has a finding.
async fn parts(server: &ServerArgs, wanted: &[Part], out: &mut Out) -> anyhow::Result<bool> {
    let client = Client::server(server)?;
    let health = client.get("/obs/health", &Parameters::new()).await?.json;
    let status = human::text(&health, "status");
    let up = status != "unhealthy";
    out.foreign_line(&format!("{} server {client} is {status}", if up { "ok  " } else { "FAIL" }))?;
    let report: Report = super::doctor::report(server).await?;
    let mut good = up;
    for part in wanted {
        let ran = report.checks.iter().find(|c| c.check == *part);
        let findings: Vec<_> = report.findings.iter().filter(|f| f.check == *part).collect();
        let skipped = ran.and_then(|c| c.skipped.clone());
        let mark = if findings.is_empty() { "ok  " } else { "FAIL" };
        let why = skipped.map_or_else(String::new, |s| format!(" (not looked at: {s})"));
        out.foreign_line(&format!("{mark} {}{why}", part.id()))?;
        for f in &findings {
            out.foreign_line(&format!("     {} {}", f.code, f.subject))?;
        }
        good &= findings.is_empty();
    }
    Ok(good)
}

async fn check_now(args: &OneArgs, out: &mut Out) -> anyhow::Result<Light> {
    let profile = load_profile(&args.profile)?;
    let client = Client::server(&args.server)?;
    let answers = ask(&client, &profile).await;
    let check = gate::judge(&profile, &answers, &jiff::Timestamp::now().to_string(), 0.0);
    out.foreign_line(&check.text())?;
    Ok(check.light)
}

/// Breaks, waits for the alert and its notification, heals, waits for the end.
async fn alert(args: &AlertArgs, out: &mut Out) -> anyhow::Result<bool> {
    let time = |name: &str, text: &str| -> anyhow::Result<Duration> {
        let d = obs_query::parse_duration(text).with_context(|| name.to_owned())?;
        Ok(Duration::from_millis(d.0.unsigned_abs()))
    };
    let within = time("--within", &args.within)?;
    let resolve_within = time("--resolve-within", &args.resolve_within)?;
    let client = Client::server(&args.server)?;
    let before = firing(&client, &args.alert).await?;
    anyhow::ensure!(before.is_none(), "{} fires already", args.alert);
    out.line(&format!("ok   {} does not fire", args.alert))?;
    shell(&args.cause).await?;
    let began = tokio::time::Instant::now();
    let fired = tokio::select! {
        found = wait_for(&client, &args.alert, within, |a| a.is_some_and(delivered)) => found,
        _ = tokio::signal::ctrl_c() => Ok(false),
    };
    let took = began.elapsed();
    // Healed whatever came of it.
    let healed = shell(&args.heal).await;
    let fired = fired?;
    healed?;
    let word = if fired { "ok   " } else { "FAIL " };
    out.line(&format!(
        "{word}{} fired and was delivered ({:.1} s)",
        args.alert,
        took.as_secs_f64()
    ))?;
    let began = tokio::time::Instant::now();
    let resolved = wait_for(&client, &args.alert, resolve_within, |a| a.is_none()).await?;
    let word = if resolved { "ok   " } else { "FAIL " };
    out.line(&format!("{word}{} resolved ({:.1} s)", args.alert, began.elapsed().as_secs_f64()))?;
    Ok(fired && resolved)
}

/// The firing alert with this name.
pub(super) async fn firing(client: &Client, name: &str) -> anyhow::Result<Option<Value>> {
    let parameters = vec![("name", name.to_owned()), ("status", "firing".to_owned())];
    let answer = client.get("/obs/alerts", &parameters).await?;
    Ok(human::list(&answer.json, "alerts").first().cloned())
}

/// Whether somebody was told.
pub(super) fn delivered(alert: &Value) -> bool {
    let sent = alert.get("notified").and_then(Value::as_array);
    sent.is_some_and(|all| !all.is_empty())
}

async fn wait_for(
    client: &Client,
    name: &str,
    within: Duration,
    good: impl Fn(Option<&Value>) -> bool,
) -> anyhow::Result<bool> {
    let end = tokio::time::Instant::now() + within;
    loop {
        if good(firing(client, name).await?.as_ref()) {
            return Ok(true);
        }
        if tokio::time::Instant::now() >= end {
            return Ok(false);
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

async fn shell(command: &str) -> anyhow::Result<()> {
    let status = tokio::process::Command::new("sh").arg("-c").arg(command).status().await?;
    anyhow::ensure!(status.success(), "{command:?} ended with {status}");
    Ok(())
}
