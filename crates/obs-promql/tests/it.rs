//! Prometheus' public PromQL test files, read from the folder named by `VMOBS_VECTORS`.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

mod differential;
mod metricsql;
mod mutations;

use std::path::PathBuf;

/// Evaluations that passed when this was last raised; fewer is a regression.
const PASSED_MIN: usize = 1854;

fn vectors() -> PathBuf {
    let root = std::env::var_os("VMOBS_VECTORS").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/vectors"),
        PathBuf::from,
    );
    root.join("promql")
}

#[test]
fn public_vectors_pass() {
    let dir = vectors();
    if !dir.is_dir() {
        println!("skipped: no vectors");
        return;
    }
    let report = obs_promql::testing::run_dir(&dir).unwrap();
    for f in &report.failures {
        println!("{f}");
    }
    println!("score: {}/{}", report.passed, report.total);
    assert!(report.passed >= PASSED_MIN, "{} of {} passed", report.passed, report.total);
}
