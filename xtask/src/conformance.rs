//! Public test vectors, run where they lie; nothing of them is in this repository.

use std::path::{Path, PathBuf};

use anyhow::Context;

/// Which vectors.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(crate) enum Suite {
    Promql,
    Logql,
    Traceql,
    Ledger,
}

impl Suite {
    fn folder(self) -> &'static str {
        match self {
            Self::Promql => "promql",
            Self::Logql => "logql",
            Self::Traceql => "traceql",
            Self::Ledger => "ledger",
        }
    }
}

/// Counts and one line per vector that failed.
struct Outcome {
    passed: usize,
    total: usize,
    failures: Vec<String>,
}

/// Runs a suite; `false` if something failed or nothing was found.
pub(crate) fn run(root: &Path, suite: Suite, dir: Option<PathBuf>) -> anyhow::Result<bool> {
    let dir = dir.unwrap_or_else(|| default_dir(root, suite));
    anyhow::ensure!(
        dir.is_dir(),
        "{} is not a folder: name the folder with the vectors, or set VMOBS_VECTORS",
        dir.display()
    );
    let cannot = || format!("cannot run the vectors in {}", dir.display());
    let outcome = match suite {
        Suite::Promql => {
            let r = obs_promql::testing::run_dir(&dir).with_context(cannot)?;
            Outcome { passed: r.passed, total: r.total, failures: r.failures }
        }
        Suite::Logql => {
            let r = obs_logql::testing::run_dir(&dir).with_context(cannot)?;
            let failures = r.failures.iter().map(ToString::to_string).collect();
            Outcome { passed: r.passed, total: r.total, failures }
        }
        Suite::Traceql => {
            let r = obs_traceql::testing::run_dir(&dir).with_context(cannot)?;
            Outcome { passed: r.passed, total: r.total, failures: r.failures }
        }
        Suite::Ledger => {
            let r = obs_proof::testing::run_dir(&dir);
            Outcome { passed: r.passed, total: r.total, failures: r.failures }
        }
    };
    for failure in &outcome.failures {
        println!("FAIL {failure}");
    }
    println!("score: {}/{}", outcome.passed, outcome.total);
    Ok(outcome.total > 0 && outcome.passed == outcome.total)
}

fn default_dir(root: &Path, suite: Suite) -> PathBuf {
    match std::env::var_os("VMOBS_VECTORS") {
        Some(vectors) => PathBuf::from(vectors).join(suite.folder()),
        None => root.join("../shared/vectors").join(suite.folder()),
    }
}
