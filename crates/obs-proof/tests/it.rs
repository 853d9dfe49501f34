//! Published vectors against this crate. They are read from the folder that `VMOBS_VECTORS` names
//! (default `../shared/vectors` beside the workspace).

use std::path::{Path, PathBuf};

fn vectors() -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let dir = std::env::var_os("VMOBS_VECTORS")
        .map_or_else(|| root.join("../shared/vectors"), PathBuf::from)
        .join("ledger");
    dir.is_dir().then_some(dir)
}

#[test]
fn every_published_vector_gives_its_answer() {
    let Some(dir) = vectors() else {
        println!("skipped: no vectors");
        return;
    };
    let report = obs_proof::testing::run_dir(&dir);
    println!("{}", report.score());
    assert!(report.failures.is_empty(), "{}\n{}", report.score(), report.failures.join("\n"));
    assert!(report.total > 1_500, "{} vectors are too few to be all of them", report.total);
}
