//! `vm-obs probe`: probes once, runs a transaction, checks a probes file.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use obs_exercise::exchange::AllowedHosts;
use obs_exercise::probe::{Modules, ProbeRequest, ProbeResult, probe};

use super::exercise::{EXIT_FAILED, EXIT_REFUSED, RecordArgs};
use super::out::Out;
use crate::serve::{Probes, debug_text};

#[derive(Debug, Subcommand)]
pub(crate) enum ProbeCommand {
    /// Probe a target once and print its metrics; exit 1 where the probe fails
    Once(OnceArgs),
    /// Run the transactions of a probes file once; exit 1 where one fails
    Flow(FlowArgs),
    /// Check a probes file
    Check {
        /// Probes file (docs/exercises.md)
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
}

#[derive(Args, Debug)]
pub(crate) struct OnceArgs {
    /// What the module takes: an address, host:port, a path
    #[arg(value_name = "TARGET")]
    target: String,
    /// Module, built in or of --modules
    #[arg(long, value_name = "NAME", default_value = "http_2xx")]
    module: String,
    /// Modules file of the blackbox exporter
    #[arg(long, value_name = "FILE")]
    modules: Option<PathBuf>,
    /// Host other than loopback that may be probed; may be repeated
    #[arg(long, value_name = "HOST")]
    allow_host: Vec<String>,
    /// Longest that it may take
    #[arg(long, value_name = "DURATION", default_value = "10s")]
    timeout: String,
    /// Print what the probe did too
    #[arg(long)]
    debug: bool,
}

#[derive(Args, Debug)]
pub(crate) struct FlowArgs {
    /// Probes file (docs/exercises.md)
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Only the transaction with this name
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    #[command(flatten)]
    record: RecordArgs,
}

/// Exit 0: it worked; 1: it did not; 2: not run.
pub(crate) async fn run(command: ProbeCommand, out: &mut Out) -> anyhow::Result<ExitCode> {
    let outcome = match command {
        ProbeCommand::Once(args) => once(&args, out).await,
        ProbeCommand::Flow(args) => flow(&args, out).await,
        ProbeCommand::Check { file } => check(&file, out),
    };
    match outcome {
        Ok(true) => Ok(ExitCode::SUCCESS),
        Ok(false) => Ok(ExitCode::from(EXIT_FAILED)),
        Err(e) => {
            eprintln!("vm-obs: {e:#}");
            Ok(ExitCode::from(EXIT_REFUSED))
        }
    }
}

async fn once(args: &OnceArgs, out: &mut Out) -> anyhow::Result<bool> {
    let mut modules = Modules::standard();
    if let Some(file) = &args.modules {
        let text = std::fs::read_to_string(file)
            .with_context(|| format!("cannot read {}", file.display()))?;
        modules.extend(Modules::parse(&text).with_context(|| format!("in {}", file.display()))?);
    }
    let module = modules.get(&args.module).with_context(|| {
        let known: Vec<&str> = modules.names().collect();
        format!("there is no module {:?}; there are {}", args.module, known.join(", "))
    })?;
    let timeout = obs_query::parse_duration(&args.timeout).context("--timeout")?;
    let request = ProbeRequest {
        target: &args.target,
        module,
        allowed: &AllowedHosts::new(args.allow_host.clone()),
        timeout: Duration::from_millis(timeout.0.unsigned_abs().max(1)),
        trace: None,
    };
    let result = probe(&request).await;
    print(&result, args.debug.then_some(args.module.as_str()), out)?;
    Ok(result.success)
}

fn print(result: &ProbeResult, debug: Option<&str>, out: &mut Out) -> anyhow::Result<()> {
    let text = match debug {
        Some(module) => debug_text(result, module),
        None => result.exposition(),
    };
    for line in text.lines() {
        out.foreign_line(line)?;
    }
    Ok(())
}

async fn flow(args: &FlowArgs, out: &mut Out) -> anyhow::Result<bool> {
    let probes = Probes::open(Some(&args.file), &[])?;
    let flows = probes.transactions(args.name.as_deref());
    anyhow::ensure!(!flows.is_empty(), "{} has no such transaction", args.file.display());
    let client = args.record.client().await?;
    let mut all = true;
    for flow in flows {
        let run = args.record.begin("probe", &flow.name, &flow.target, client.clone()).await?;
        let result = flow.run(&probes.allowed, None).await;
        let seconds = result.value("probe_duration_seconds").unwrap_or(0.0);
        let word = if result.success { "passed" } else { "failed" };
        out.foreign_line(&format!("{word}  {} ({seconds:.3} s)", flow.name))?;
        for phase in result.phases() {
            let mark = if phase.failed { "FAIL" } else { "ok  " };
            let ms = phase.took.as_secs_f64() * 1e3;
            out.foreign_line(&format!("  {mark} {} ({ms:.1} ms)", phase.name))?;
        }
        for line in result.log() {
            out.foreign_line(&format!("  {line}"))?;
        }
        run.end(word, &result.log().join("; "), result.exposition().as_bytes()).await?;
        all &= result.success;
    }
    Ok(all)
}

fn check(file: &std::path::Path, out: &mut Out) -> anyhow::Result<bool> {
    let probes = Probes::open(Some(file), &[])?;
    out.line(&format!(
        "{}: {} scheduled, modules {}",
        file.display(),
        probes.scheduled(),
        probes.modules.names().collect::<Vec<_>>().join(", ")
    ))?;
    Ok(true)
}
