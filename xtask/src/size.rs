//! The stand-alone verifier is handed to auditors, so it stays small.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, bail};

/// Of the program as it is shipped.
const VERIFIER_BYTES_MAX: u64 = 3_000_000;

/// Builds `vm-obs-verify` as it is shipped and weighs it.
pub(crate) fn run(root: &Path) -> anyhow::Result<bool> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .args(["build", "--profile", "dist", "-p", "vm-obs-verify"])
        .current_dir(root)
        .status()
        .context("cannot start cargo")?;
    if !status.success() {
        bail!("vm-obs-verify does not build: {status}");
    }
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), Into::into);
    let path = target.join("dist/vm-obs-verify");
    let bytes = std::fs::metadata(&path).with_context(|| path.display().to_string())?.len();
    println!("vm-obs-verify: {bytes} bytes, at most {VERIFIER_BYTES_MAX}");
    Ok(bytes <= VERIFIER_BYTES_MAX)
}
