//! Workspace automation: `cargo xtask layers | conformance | check | verifier-size | soak | bench`.
//!
//! Lives here: checks of the workspace itself and the start of long runs. Not here: tests (`./test`
//! runs those) and the measured programs (`peer-bench`).

#![expect(clippy::print_stdout, reason = "a tool that speaks to the terminal")]

mod check;
mod conformance;
mod faults;
mod layers;
mod long_runs;
mod size;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;

/// Checks and long runs of the vm-obs workspace.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask")]
enum Task {
    /// Check that dependencies between crates only point downwards
    Layers,
    /// Run public test vectors and close with `score: PASSED/TOTAL`
    Conformance {
        suite: conformance::Suite,
        /// Folder with the vectors [default: ../shared/vectors/SUITE]
        dir: Option<PathBuf>,
    },
    /// Formatting, lints as errors, layers
    Check,
    /// Build the stand-alone verifier as it is shipped and weigh it
    VerifierSize,
    /// Long runs that look for lost data
    #[command(subcommand)]
    Soak(long_runs::Soak),
    /// Measurements
    #[command(subcommand)]
    Bench(long_runs::Bench),
}

fn main() -> anyhow::Result<ExitCode> {
    let root = root();
    let good = match Task::parse() {
        Task::Layers => layers::run(root)?,
        Task::Conformance { suite, dir } => conformance::run(root, suite, dir)?,
        Task::Check => check::run(root)?,
        Task::VerifierSize => size::run(root)?,
        Task::Soak(soak) => long_runs::soak(root, &soak)?,
        Task::Bench(bench) => long_runs::bench(root, &bench)?,
    };
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The folder of the workspace.
fn root() -> &'static Path {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here)
}
