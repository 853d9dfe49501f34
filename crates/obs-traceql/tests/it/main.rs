//! The public conformance list when it is there, and our own tests of meaning.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod language;
mod metrics;
mod search;
mod structural;
mod world;

use std::path::PathBuf;

#[test]
fn conformance() {
    let root = std::env::var_os("VMOBS_VECTORS").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/vectors"),
        PathBuf::from,
    );
    let dir = root.join("traceql");
    if !dir.is_dir() {
        println!("skipped: no vectors");
        return;
    }
    let report = obs_traceql::testing::run_dir(&dir).unwrap();
    assert!(report.failures.is_empty(), "{}", report.failures.join("\n"));
    assert!(report.total > 300, "only {} cases", report.total);
}
