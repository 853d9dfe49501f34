//! What must hold before a commit: formatting, lints, layers.

use std::path::Path;
use std::process::Command;

use anyhow::Context;

/// Runs every step even if one fails; `true` if all are good.
pub(crate) fn run(root: &Path) -> anyhow::Result<bool> {
    let steps: [&[&str]; 2] = [
        &["fmt", "--all", "--check"],
        &["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"],
    ];
    let mut good = true;
    for step in steps {
        println!("cargo {}", step.join(" "));
        good &= cargo(root, step, &[])?;
    }
    good &= crate::layers::run(root)?;
    println!("check: {}", if good { "good" } else { "something failed" });
    Ok(good)
}

/// Runs cargo in the workspace with its output on the terminal.
pub(crate) fn cargo(
    root: &Path,
    arguments: &[&str],
    environment: &[(&str, &str)],
) -> anyhow::Result<bool> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .args(arguments)
        .envs(environment.iter().copied())
        .current_dir(root)
        .status()
        .with_context(|| format!("cannot start cargo {}", arguments.join(" ")))?;
    Ok(status.success())
}
