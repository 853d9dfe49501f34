//! `vm-obs load`: runs a profile against a target, shows it live, judges, reports and records it.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;
use std::rc::Rc;

use anyhow::Context as _;
use clap::Args;
use obs_exercise::exchange::AllowedHosts;
use obs_exercise::load::{
    self, Comparison, Live, Machine, Outcome, Profile, QueryTelemetry, Report, RunOptions, Second,
    Verdict,
};
use obs_query::parse_duration;
use obs_types::TimestampMs;
use serde_json::{Value, json};

use super::client::Client;
use super::exercise::{self, EXIT_FAILED, EXIT_INTERRUPTED, EXIT_REFUSED, RecordArgs, Run, sample};
use super::out::Out;

/// Seconds that the live line draws.
const SHAPE_SECONDS: usize = 30;

#[derive(Args, Clone, Debug)]
pub(crate) struct LoadArgs {
    /// smoke, load, stress, spike, soak, ci, or a profile file (docs/exercises.md)
    #[arg(value_name = "PROFILE")]
    profile: String,
    /// Target, such as http://127.0.0.1:8080; goes before the profile's own
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// Host other than loopback that may be loaded; may be repeated
    #[arg(long, value_name = "HOST")]
    allow_host: Vec<String>,
    /// Stretch or shrink the profile to this length
    #[arg(long, value_name = "DURATION")]
    duration: Option<String>,
    /// Scale arrival rates so that the highest is this many a second
    #[arg(long, value_name = "RATE")]
    rate: Option<f64>,
    /// Write the report as JSON, for later --baseline
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write the report as an HTML page with plots
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Compare with the JSON report of an earlier run; exit 1 where something got worse
    #[arg(long, value_name = "FILE")]
    baseline: Option<PathBuf>,
    /// Change against the baseline that is nothing, in percent
    #[arg(long, value_name = "PERCENT", default_value_t = 5.0, requires = "baseline")]
    tolerance: f64,
    /// Send no W3C traceparent
    #[arg(long)]
    no_trace: bool,
    /// Print the built-in profile instead of running it
    #[arg(long)]
    show: bool,
    #[command(flatten)]
    record: RecordArgs,
}

/// Exit 0: all thresholds kept; 1: one was not, or worse than the baseline; 2: not run; 130: Ctrl-C.
pub(crate) async fn run(args: &LoadArgs, out: &mut Out) -> anyhow::Result<ExitCode> {
    match inner(args, out).await {
        Ok(code) => Ok(code),
        Err(e) => {
            eprintln!("vm-obs: {e:#}");
            Ok(ExitCode::from(EXIT_REFUSED))
        }
    }
}

async fn inner(args: &LoadArgs, out: &mut Out) -> anyhow::Result<ExitCode> {
    let text = match load::preset(&args.profile) {
        Some(text) => text.to_owned(),
        None => std::fs::read_to_string(&args.profile).with_context(|| {
            let names: Vec<&str> = load::PRESETS.iter().map(|(name, _)| *name).collect();
            format!("{:?} is neither one of {} nor a file", args.profile, names.join(", "))
        })?,
    };
    if args.show {
        out.line(text.trim_end())?;
        return Ok(ExitCode::SUCCESS);
    }
    let profile = profile(args, &text)?;
    let baseline = args
        .baseline
        .as_ref()
        .map(|file| -> anyhow::Result<Value> {
            let text =
                std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
            serde_json::from_slice(&text).with_context(|| format!("in {}", file.display()))
        })
        .transpose()?;
    let client = args.record.client().await?;
    let telemetry = match (&profile.telemetry.url, &client) {
        (Some(url), _) => Some(asker(Client::at(url.trim_end_matches('/').to_owned())?)),
        (None, Some(client)) => Some(asker(client.clone())),
        (None, None) => None,
    };
    let machine = Machine::here();
    let allowed = AllowedHosts::new(args.allow_host.clone());
    // A refusal leaves no receipt: nothing happened.
    load::check(&profile, &allowed, machine, telemetry.is_some())?;
    let run = args.record.begin("load", &profile.name, &profile.target, client).await?;
    let (pusher, live) = watch(&run, profile.name.clone(), out.columns);
    let options = RunOptions {
        allowed,
        machine,
        traced: !args.no_trace,
        seed: exercise::seed()?,
        run_id: run.id.clone(),
        started_at: run.started.to_string(),
        interrupt: Box::pin(async {
            // Without a handler Ctrl-C still ends the process, only less cleanly.
            let _handled = tokio::signal::ctrl_c().await;
        }),
        live: Some(live),
        telemetry,
    };
    let report = load::run(profile, options).await?;
    pusher.await?;
    finish(args, &run, &report, baseline.as_ref(), out).await
}

fn profile(args: &LoadArgs, text: &str) -> anyhow::Result<Profile> {
    let mut profile = Profile::parse(text, args.url.as_deref())?;
    if let Some(length) = &args.duration {
        let wanted = parse_duration(length).context("--duration")?;
        if wanted.0 <= 0 {
            anyhow::bail!("--duration must be longer than 0");
        }
        profile.stretch(std::time::Duration::from_millis(wanted.0.unsigned_abs()));
    }
    if let Some(rate) = args.rate {
        if !rate.is_finite() || rate <= 0.0 {
            anyhow::bail!("--rate must be above 0");
        }
        profile.scale_rate(rate);
    }
    Ok(profile)
}

fn asker(client: Client) -> QueryTelemetry {
    Rc::new(move |query| {
        let client = client.clone();
        Box::pin(
            async move { exercise::instant(&client, &query).await.map_err(|e| format!("{e:#}")) },
        )
    })
}

/// Shows each second on a terminal and stores it as samples.
fn watch(run: &Run, test: String, columns: usize) -> (tokio::task::JoinHandle<()>, load::LiveView) {
    let (sender, mut lines) = tokio::sync::mpsc::unbounded_channel::<String>();
    let pushing = run.clone();
    let task = tokio::spawn(async move {
        while let Some(mut batch) = lines.recv().await {
            while let Ok(more) = lines.try_recv() {
                batch.push_str(&more);
            }
            pushing.push(&batch).await;
        }
    });
    let terminal = std::io::stderr().is_terminal();
    let (id, started) = (run.id.clone(), run.started.as_millisecond());
    let mut totals = Totals::default();
    let mut shape: Vec<f64> = Vec::new();
    let view: load::LiveView = Box::new(move |live: &Live| {
        let mut text = String::new();
        for second in &live.new_seconds {
            totals.add(second, &test, &id, started, &mut text);
            shape.push(second.requests as f64);
        }
        // The receiver ends with the run.
        let _sent = sender.send(text);
        if terminal {
            let keep = shape.len().saturating_sub(SHAPE_SECONDS);
            shape.drain(..keep);
            let line = live_line(live, &shape);
            let line: String = line.chars().take(columns.saturating_sub(1)).collect();
            let end = if live.elapsed >= live.total { "\n" } else { "" };
            eprint!("\r\x1b[2K{line}{end}");
        }
    });
    (task, view)
}

fn live_line(live: &Live, shape: &[f64]) -> String {
    let s = &live.second;
    let ms = |v: f64| if v.is_finite() { format!("{v:.1}") } else { "-".to_owned() };
    format!(
        "{:>4}/{} s  {}/s  {} users  p50 {} p95 {} p99 {} ms  {} failed  {}",
        live.elapsed.as_secs(),
        live.total.as_secs(),
        s.requests,
        live.vus,
        ms(s.p50),
        ms(s.p95),
        ms(s.p99),
        live.failed,
        super::human::sparkline(shape, SHAPE_SECONDS),
    )
}

/// Running sums, so that the stored counters only grow.
#[derive(Default)]
struct Totals {
    requests: u64,
    failed: u64,
    iterations: u64,
    dropped: u64,
    received_bytes: u64,
}

impl Totals {
    fn add(&mut self, s: &Second, test: &str, run: &str, started: i64, out: &mut String) {
        self.requests += s.requests;
        self.failed += s.failed;
        self.iterations += s.iterations;
        self.dropped += s.dropped;
        self.received_bytes += s.received_bytes;
        let at = TimestampMs(started + (s.at as i64 + 1) * 1_000);
        let labels = [("test", test), ("run_id", run)];
        for (name, value) in [
            ("load_http_reqs_total", self.requests as f64),
            ("load_http_req_failed_total", self.failed as f64),
            ("load_iterations_total", self.iterations as f64),
            ("load_dropped_iterations_total", self.dropped as f64),
            ("load_data_received_bytes_total", self.received_bytes as f64),
            ("load_vus", f64::from(s.vus)),
        ] {
            out.push_str(&sample(name, &labels, value, at));
        }
        for (quantile, ms) in [("0.5", s.p50), ("0.95", s.p95), ("0.99", s.p99)] {
            if ms.is_finite() {
                let labels = [labels[0], labels[1], ("quantile", quantile)];
                out.push_str(&sample("load_http_req_duration_seconds", &labels, ms / 1e3, at));
            }
        }
    }
}

async fn finish(
    args: &LoadArgs,
    run: &Run,
    report: &Report,
    baseline: Option<&Value>,
    out: &mut Out,
) -> anyhow::Result<ExitCode> {
    let compared: Vec<Comparison> = match baseline {
        Some(before) => load::compare(before, &report.json, args.tolerance / 100.0)
            .map_err(anyhow::Error::msg)?,
        None => Vec::new(),
    };
    let worse = compared.iter().any(|c| c.verdict == Verdict::Worse);
    let mut json = report.json.clone();
    if baseline.is_some()
        && let Some(map) = json.as_object_mut()
    {
        map.insert(
            "baseline".into(),
            json!(compared.iter().map(Comparison::json).collect::<Vec<_>>()),
        );
    }
    let bytes = format!("{json:#}\n").into_bytes();
    let page = load::html(&json, &compared);
    for (file, content) in [(&args.json, bytes.as_slice()), (&args.html, page.as_bytes())] {
        if let Some(file) = file {
            std::fs::write(file, content)
                .with_context(|| format!("cannot write {}", file.display()))?;
        }
    }
    for line in report.text().lines() {
        out.foreign_line(line)?;
    }
    for c in &compared {
        out.line(&c.text())?;
    }
    let outcome = match report.outcome.name() {
        "passed" if worse => "failed",
        other => other,
    };
    run.push(&summary(report, run)).await;
    if let Some(seq) = run.end(outcome, &report.summary(), &bytes).await? {
        out.line(&format!("receipt {seq}, run {}", run.id))?;
    }
    Ok(match report.outcome {
        Outcome::Passed if !worse => ExitCode::SUCCESS,
        Outcome::Interrupted => ExitCode::from(EXIT_INTERRUPTED),
        _ => ExitCode::from(EXIT_FAILED),
    })
}

/// Thresholds and the user's own metrics, once at the end.
fn summary(report: &Report, run: &Run) -> String {
    let at = TimestampMs(jiff::Timestamp::now().as_millisecond());
    let labels = [("test", run.name.as_str()), ("run_id", run.id.as_str())];
    let passed = f64::from(u8::from(report.outcome == Outcome::Passed));
    let mut out = sample("load_test_passed", &labels, passed, at);
    for t in report.json.get("thresholds").and_then(Value::as_array).into_iter().flatten() {
        let text = |f: &str| t.get(f).and_then(Value::as_str).unwrap_or_default();
        let more =
            [labels[0], labels[1], ("metric", text("metric")), ("threshold", text("threshold"))];
        let kept = f64::from(u8::from(t.get("kept") == Some(&json!(true))));
        out.push_str(&sample("load_threshold_kept", &more, kept, at));
    }
    let metrics = report.json.get("metrics").and_then(Value::as_object);
    for (name, metric) in metrics.into_iter().flatten() {
        for (aggregate, value) in metric.as_object().into_iter().flatten() {
            if let Some(value) = value.as_f64() {
                let more = [labels[0], labels[1], ("metric", name), ("aggregate", aggregate)];
                out.push_str(&sample("load_metric", &more, value, at));
            }
        }
    }
    out
}
