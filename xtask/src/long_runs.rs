//! Starts what takes longer than a test may: soaks and measurements.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Subcommand;

use crate::check::cargo;
use crate::faults;

/// Long runs that look for lost data and for alerts that stay silent.
#[derive(Debug, Subcommand)]
pub(crate) enum Soak {
    /// Kill the server at random moments while all signals are written; what was acknowledged must
    /// be there after the restart
    Crash {
        /// How often it is killed
        #[arg(long, default_value_t = 200)]
        rounds: u32,
        /// First seed; round N uses SEED + N
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
    /// Random queries answered by Prometheus 2.42 and by this engine must agree
    Differential {
        /// How many queries
        #[arg(long, default_value_t = 5000)]
        queries: u32,
        /// Seed of the first; query N uses SEED + N
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
    /// Every fault of the demo world, one at a time in each stack: its alerts fire, are delivered,
    /// and resolve
    Alerts {
        /// How many times faster than real time; a busy machine needs less, or scrapes come too late
        #[arg(long, default_value_t = 10)]
        speed: u32,
    },
    /// Damage a small metrics store at every byte, with several patterns: noticed, set aside, the
    /// rest served
    Corruption,
    /// Each system call of append, seal and anchor fails or kills the process once, under strace;
    /// what was acknowledged must be there after the restart, and the folder must verify
    Faults {
        /// Every n-th call
        #[arg(long, default_value_t = 1)]
        stride: usize,
        /// Calls of one kind, from the first
        #[arg(long, default_value_t = 1000)]
        limit: usize,
        /// Runs at a time
        #[arg(long, default_value_t = 2)]
        jobs: usize,
        /// Only errors, or only kills
        #[arg(long)]
        only: Option<faults::Injection>,
        /// The program [default: the debug build]
        #[arg(long, value_name = "FILE")]
        binary: Option<PathBuf>,
    },
}

/// Measurements.
#[derive(Debug, Subcommand)]
pub(crate) enum Bench {
    /// Side by side with other engines on this machine
    #[command(subcommand)]
    Peers(Peers),
    /// What the load generator sends from one core, in a closed loop and at an arrival rate
    Load {
        /// How long each of the two runs
        #[arg(long, default_value_t = 10)]
        seconds: u64,
        /// Arrivals a second
        #[arg(long, default_value_t = 20_000)]
        rate: u64,
        /// Measure the unoptimised build
        #[arg(long)]
        debug: bool,
    },
    /// Prometheus' 152 range queries, answered over HTTP by vm-obs and by prometheus
    Promql {
        /// Passed on to `peer-bench promql`; `--help` lists them
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
}

/// What is measured.
#[derive(Debug, Subcommand)]
pub(crate) enum Peers {
    /// The same remote-write load into each engine, then the same queries
    Metrics {
        /// Passed on to `peer-bench metrics`; `--help` lists them
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
}

pub(crate) fn soak(root: &Path, soak: &Soak) -> anyhow::Result<bool> {
    match soak {
        Soak::Crash { rounds, seed } => cargo(
            root,
            &["test", "-p", "vm-obs", "--test", "e2e", "--", "--nocapture", "crash::"],
            &[
                ("VMOBS_CRASH_ROUNDS", rounds.to_string().as_str()),
                ("VMOBS_CRASH_SEED", seed.to_string().as_str()),
            ],
        ),
        Soak::Differential { queries, seed } => cargo(
            root,
            &["test", "-p", "obs-promql", "--test", "it", "--", "--nocapture", "differential::"],
            &[
                ("VMOBS_DIFFERENTIAL_QUERIES", queries.to_string().as_str()),
                ("VMOBS_DIFFERENTIAL_SEED", seed.to_string().as_str()),
            ],
        ),
        Soak::Alerts { speed } => cargo(
            root,
            &["test", "-p", "vm-obs", "--test", "e2e", "--", "--nocapture", "alerts::"],
            &[("VMOBS_ALERTS", "all"), ("VMOBS_ALERT_SPEED", speed.to_string().as_str())],
        ),
        Soak::Faults { stride, limit, jobs, only, binary } => {
            let debug = target(root).join("debug/vm-obs");
            anyhow::ensure!(
                binary.is_some() || cargo(root, &["build", "-p", "vm-obs"], &[])?,
                "vm-obs does not build"
            );
            faults::run(binary.as_ref().unwrap_or(&debug), (*stride).max(1), *limit, *jobs, *only)
        }
        Soak::Corruption => cargo(
            root,
            &["test", "--release", "-p", "obs-metrics", "--test", "it", "--", "corruption::"],
            &[("VMOBS_CORRUPTION", "all")],
        ),
    }
}

fn target(root: &Path) -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| root.join("target"), |dir| root.join(PathBuf::from(dir)))
}

pub(crate) fn bench(root: &Path, bench: &Bench) -> anyhow::Result<bool> {
    let (scenario, arguments) = match bench {
        Bench::Peers(Peers::Metrics { arguments }) => ("metrics", arguments),
        Bench::Promql { arguments } => ("promql", arguments),
        Bench::Load { seconds, rate, debug } => return bench_load(root, *seconds, *rate, *debug),
    };
    let target = target(root);
    let release = target.join("release/vm-obs");
    let debug = target.join("debug/vm-obs");
    let binary = if release.exists() {
        release
    } else {
        println!(
            "{} is missing: measuring a debug build, whose figures say nothing about speed; \
             `cargo build --release` first",
            release.display()
        );
        anyhow::ensure!(
            debug.exists() || cargo(root, &["build", "-p", "vm-obs"], &[])?,
            "vm-obs does not build"
        );
        debug
    };
    let optimised = binary.parent().is_some_and(|p| p.ends_with("release"));
    let binary = binary.display().to_string();
    let mut command = vec!["run", "--quiet", "-p", "peer-bench"];
    if optimised {
        command.push("--release");
    }
    command.extend(["--", scenario, "--vm-obs", &binary]);
    command.extend(arguments.iter().map(String::as_str));
    cargo(root, &command, &[])
}

/// The example is built with the whole workspace selected: alone it would ask other features of the
/// crates that it shares with the rest, and all of them would be compiled again.
fn bench_load(root: &Path, seconds: u64, rate: u64, debug: bool) -> anyhow::Result<bool> {
    let mut build = vec!["build", "--quiet", "--workspace", "--example", "load_bench"];
    if !debug {
        build.push("--release");
    }
    anyhow::ensure!(cargo(root, &build, &[])?, "the load generator does not build");
    let profile = if debug { "debug" } else { "release" };
    let program = target(root).join(profile).join("examples/load_bench");
    let status = std::process::Command::new(&program)
        .args([seconds.to_string(), rate.to_string()])
        .status()
        .with_context(|| program.display().to_string())?;
    Ok(status.success())
}
