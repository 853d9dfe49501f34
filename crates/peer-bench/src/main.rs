//! Side-by-side benchmarks: the same load and the same questions to vm-obs and to real peers, one
//! after the other in one run on one machine.
//!
//! A figure is only worth something beside the others of its run; absolute numbers of different
//! machines or days are not compared. Answers are compared before they are timed.

#![expect(clippy::print_stdout, reason = "a tool that speaks to the terminal")]

mod engine;
mod load;
mod queries;
mod report;

use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context;
use clap::Parser;
use obs_testkit::MetricLoad;

use engine::{Engine, Kind};
use report::{Measured, Report};

/// Benchmarks against real peers.
#[derive(Debug, Parser)]
#[command(name = "peer-bench")]
enum Scenario {
    /// A remote-write load, then queries
    Metrics(MetricsArgs),
}

/// What is sent and to whom.
#[derive(Debug, clap::Args)]
struct MetricsArgs {
    /// The vm-obs program
    #[arg(long, value_name = "PATH", default_value = "target/release/vm-obs")]
    vm_obs: PathBuf,
    /// Number of series
    #[arg(long, default_value_t = 5_000)]
    series: usize,
    /// Samples of each series
    #[arg(long, default_value_t = 240)]
    samples: usize,
    /// Seconds between samples
    #[arg(long, default_value_t = 15)]
    step: i64,
    /// Connections that send side by side
    #[arg(long, default_value_t = 2)]
    senders: usize,
    /// Series in one request
    #[arg(long, default_value_t = 1_000)]
    batch: usize,
    /// How often each query is asked
    #[arg(long, default_value_t = 50)]
    repeat: usize,
    /// Seed of the values
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Another program for a peer: prometheus=PATH or victoria-metrics=PATH; PATH `off` leaves it out
    #[arg(long, value_name = "NAME=PATH")]
    peer: Vec<String>,
    /// Write the figures as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write the tables as Markdown
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
}

fn main() -> anyhow::Result<()> {
    let Scenario::Metrics(args) = Scenario::parse();
    anyhow::ensure!(args.series > 0 && args.samples > 1 && args.step > 0, "nothing to send");
    let programs = programs(&args)?;
    let step_ms = args.step * 1000;
    // The load ends now, on the clock that every peer reads.
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis();
    let span_ms = args.samples as i64 * step_ms;
    let load = MetricLoad {
        series: args.series,
        samples: args.samples,
        step_ms,
        // Whole steps, so that range queries of all engines use the same instants.
        start_ms: (i64::try_from(now)? - span_ms) / step_ms * step_ms,
        seed: args.seed,
    };
    println!("making {} samples in {} series", load.sample_count(), load.series);
    let bodies = load.bodies(args.senders, args.batch);
    let queries = queries::queries(&load);

    let mut measured: Vec<Measured> = Vec::new();
    for (kind, program) in programs {
        println!("{}: {}", kind.name(), program.display());
        let mut engine = Engine::start(kind, &program)
            .with_context(|| format!("cannot start {}", program.display()))?;
        measured.push(measure(&mut engine, &bodies, &queries, &load, args.repeat)?);
    }
    let report = Report::new(&load, args.senders, args.batch, &queries, measured);
    let markdown = report.markdown();
    println!("\n{markdown}");
    if let Some(path) = &args.markdown {
        std::fs::write(path, &markdown).with_context(|| path.display().to_string())?;
    }
    if let Some(path) = &args.json {
        let text = serde_json::to_string_pretty(&report.json())?;
        std::fs::write(path, text + "\n").with_context(|| path.display().to_string())?;
    }
    Ok(())
}

fn measure(
    engine: &mut Engine,
    bodies: &[Vec<Vec<u8>>],
    queries: &[queries::Query],
    load: &MetricLoad,
    repeat: usize,
) -> anyhow::Result<Measured> {
    let before = engine.usage();
    let seconds = load::send(engine.address(), engine.write_path(), bodies)?;
    let after_load = engine.usage();
    engine.make_visible()?;
    let answers = queries::ask(engine.address(), queries, load, repeat)?;
    let after_queries = engine.usage();
    let peak = after_queries.peak_memory_bytes;
    let restart_seconds =
        engine.restart_after_kill(|address| queries::is_whole(address, queries, &answers))?;
    let (bytes_on_disk, bytes_merged) = engine.stop_and_weigh()?;
    Ok(Measured {
        name: engine.kind().name(),
        version: engine.version().to_owned(),
        settings: engine.kind().settings(),
        samples_per_second: load.sample_count() as f64 / seconds,
        load_cpu_seconds: after_load.cpu_seconds - before.cpu_seconds,
        query_cpu_seconds: after_queries.cpu_seconds - after_load.cpu_seconds,
        peak_memory_bytes: peak,
        restart_seconds,
        bytes_on_disk,
        bytes_merged,
        answers,
    })
}

/// vm-obs first, then the peers that are there.
fn programs(args: &MetricsArgs) -> anyhow::Result<Vec<(Kind, PathBuf)>> {
    anyhow::ensure!(
        args.vm_obs.exists(),
        "{} is missing: `cargo build --release` first",
        args.vm_obs.display()
    );
    if !args.vm_obs.components().any(|part| part.as_os_str() == "release") {
        println!("note: {} is no release build", args.vm_obs.display());
    }
    let mut out = vec![(Kind::VmObs, args.vm_obs.clone())];
    for kind in [Kind::Prometheus, Kind::VictoriaMetrics] {
        let mut path = PathBuf::from("/usr/bin").join(kind.name());
        for given in &args.peer {
            let (name, value) = given
                .split_once('=')
                .with_context(|| format!("--peer {given}: expected NAME=PATH"))?;
            anyhow::ensure!(
                name == Kind::Prometheus.name() || name == Kind::VictoriaMetrics.name(),
                "--peer {name}: known are prometheus and victoria-metrics"
            );
            if name == kind.name() {
                path = PathBuf::from(value);
            }
        }
        if path.exists() {
            out.push((kind, path));
        } else {
            println!("{}: skipped, {} is not there", kind.name(), path.display());
        }
    }
    Ok(out)
}
