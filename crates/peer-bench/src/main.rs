//! Side-by-side benchmarks: the same load and the same questions to vm-obs and to real peers, one
//! after the other in one run on one machine.
//!
//! A figure is only worth something beside the others of its run; absolute numbers of different
//! machines or days are not compared. Answers are compared before they are timed.

#![expect(clippy::print_stdout, reason = "a tool that speaks to the terminal")]

mod engine;
mod inside;
mod load;
mod promql;
mod queries;
mod questions;
mod report;
mod workload;

use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context;
use clap::Parser;

use engine::{Engine, Kind};
use report::{Measured, Report};
use workload::{Shape, Size, Workload};

/// Loads that peers take too are kept below this: prometheus needs seconds for each million.
const SAMPLES_MAX: usize = 30_000_000;

/// Benchmarks against real peers.
#[derive(Debug, Parser)]
#[command(name = "peer-bench")]
enum Scenario {
    /// A remote-write load, then queries
    Metrics(MetricsArgs),
    /// A remote-write load through vm-obs' receive path inside this program, without queries
    Inside(InsideArgs),
    /// Prometheus' range query benchmark, beside prometheus
    Promql(promql::PromqlArgs),
}

#[derive(Debug, clap::Args)]
struct InsideArgs {
    #[command(flatten)]
    load: LoadArgs,
    /// Build a label set for every series of every body
    #[arg(long)]
    label_sets: bool,
}

/// What is sent.
#[derive(Debug, clap::Args)]
struct LoadArgs {
    /// What is sent
    #[arg(long, value_enum, default_value_t = Shape::Load)]
    workload: Shape,
    #[command(flatten)]
    size: Size,
    /// Connections that send side by side
    #[arg(long, default_value_t = 2)]
    senders: usize,
    /// Series in one request
    #[arg(long, default_value_t = 1_000)]
    batch: usize,
    /// Seed of the values
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

impl LoadArgs {
    /// Ends now, on the clock that every peer reads.
    fn workload(&self) -> anyhow::Result<Workload> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis();
        let load = Workload::new(self.workload, self.size, self.seed, i64::try_from(now)?);
        println!("{} samples in {} series", load.sample_count(), load.series_count());
        Ok(load)
    }
}

/// To whom it is sent, and what is asked then.
#[derive(Debug, clap::Args)]
struct MetricsArgs {
    /// The vm-obs program
    #[arg(long, value_name = "PATH", default_value = "target/release/vm-obs")]
    vm_obs: PathBuf,
    #[command(flatten)]
    load: LoadArgs,
    /// How often each query is asked at most
    #[arg(long, default_value_t = 50)]
    repeat: usize,
    /// Another program for a peer: prometheus=PATH or victoria-metrics=PATH; PATH `off` leaves it
    /// out. Workload d leaves prometheus out unless it is given here
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
    match Scenario::parse() {
        Scenario::Metrics(args) => compare(&args),
        Scenario::Promql(args) => promql::run(&args),
        Scenario::Inside(InsideArgs { load, label_sets }) => {
            inside::run(&load.workload()?, load.senders, load.batch, label_sets)
        }
    }
}

fn compare(args: &MetricsArgs) -> anyhow::Result<()> {
    let programs = programs(args)?;
    let load = args.load.workload()?;
    anyhow::ensure!(
        programs.len() == 1 || load.sample_count() <= SAMPLES_MAX,
        "{} samples: at most {SAMPLES_MAX} where peers take part; `--peer NAME=off` leaves one out",
        load.sample_count()
    );
    let queries = questions::questions(&load);

    let mut measured: Vec<Measured> = Vec::new();
    for (kind, program) in programs {
        println!("{}: {}", kind.name(), program.display());
        let mut engine = Engine::start(kind, &program)
            .with_context(|| format!("cannot start {}", program.display()))?;
        measured.push(measure(&mut engine, &load, &queries, args)?);
    }
    let report = Report::new(&load, args.load.senders, args.load.batch, &queries, measured);
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
    load: &Workload,
    queries: &[queries::Query],
    args: &MetricsArgs,
) -> anyhow::Result<Measured> {
    let idle_load = engine.idle_load();
    let begin = std::time::Instant::now();
    let before = engine.usage();
    let mut seconds = 0.0;
    for wave in load.feed(args.load.senders, args.load.batch) {
        seconds += load::send(engine.address(), engine.write_path(), &wave)?;
    }
    engine.make_visible()?;
    let after_load = engine.usage();
    // What it uses anyway, own telemetry above all, also while samples were being made here.
    let idle = idle_load * begin.elapsed().as_secs_f64();
    let answers = queries::ask(engine.address(), queries, args.repeat)?;
    let after_queries = engine.usage();
    engine.settle();
    let restart =
        engine.restart_after_kill(|address| queries::is_whole(address, queries, &answers))?;
    let weight = engine.stop_and_weigh()?;
    Ok(Measured {
        name: engine.kind().name(),
        version: engine.version().to_owned(),
        settings: engine.kind().settings(),
        samples_per_second: load.sample_count() as f64 / seconds,
        idle_load,
        load_cpu_seconds: after_load.cpu_seconds - before.cpu_seconds - idle,
        merge_cpu_seconds: weight.merge_cpu_seconds,
        query_cpu_seconds: after_queries.cpu_seconds - after_load.cpu_seconds,
        load_peak_memory_bytes: after_load.peak_memory_bytes,
        peak_memory_bytes: after_queries.peak_memory_bytes,
        ready_seconds: restart.ready,
        restart_seconds: restart.whole,
        bytes_on_disk: weight.stopped,
        // Half a load weighs less.
        bytes_merged: weight.merged.filter(|_| restart.whole.is_some()),
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
        let unasked = !args.peer.iter().any(|given| given.starts_with(kind.name()));
        if args.load.workload == Shape::D && kind == Kind::Prometheus && unasked {
            println!("{}: left out of this workload", kind.name());
        } else if path.exists() {
            out.push((kind, path));
        } else {
            println!("{}: skipped, {} is not there", kind.name(), path.display());
        }
    }
    Ok(out)
}
