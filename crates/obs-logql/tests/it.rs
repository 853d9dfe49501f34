//! Conformance with the reference's own scripts, where they are at hand.

use std::path::{Path, PathBuf};

use obs_logql::testing::run_dir;

/// What passes today; a change may only raise it.
const PASSED_LEAST: usize = 876;

fn vectors() -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let folder = match std::env::var_os("VMOBS_VECTORS") {
        Some(path) => root.join(path),
        None => root.join("../shared/vectors"),
    };
    Some(folder.join("logql")).filter(|f| f.is_dir())
}

#[test]
fn reference_scripts() {
    let Some(folder) = vectors() else {
        println!("skipped: no vectors");
        return;
    };
    let report = run_dir(&folder).unwrap();
    for failure in &report.failures {
        println!("{failure}");
    }
    println!("passed {} of {}", report.passed, report.total);
    assert!(report.passed >= PASSED_LEAST, "{} of {} passed", report.passed, report.total);
}
