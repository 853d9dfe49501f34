//! Builds the portal from `ui/` where Node is present; otherwise a plain page takes its place that
//! says how to get it. Never fails the build: the APIs do not need the portal.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

const PLAIN_PAGE: &str = r#"<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>vm-obs</title>
<style>body{font:16px/1.5 system-ui,sans-serif;max-width:44rem;margin:4rem auto;padding:0 1rem}code{background:#8882;padding:.1em .3em}</style>
</head><body><h1>vm-obs is running</h1>
<p>This binary was built without the portal, because Node.js and npm were not found (or the packages of <code>ui/</code> could not be installed).
Install Node.js 20 or newer and build again: <code>cargo run --release</code>.</p>
<p>Everything else works: <a href="/obs/health">health</a>, <a href="/obs/alerts">alerts</a>, <a href="/obs/slos">SLOs</a>,
<a href="/obs/ledger">ledger</a>, <a href="/metrics">own metrics</a>, <a href="/obs/openapi.json">all routes</a>, and the command line: <code>vm-obs --help</code>.</p>
</body></html>
"#;

fn main() {
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default()).join("portal");
    let manifest = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default());
    let ui = manifest.join("../../ui");
    for watched in ["src", "build.mjs", "package.json", "package-lock.json", "tsconfig.json"] {
        println!("cargo::rerun-if-changed={}", ui.join(watched).display());
    }
    println!("cargo::rerun-if-env-changed=VMOBS_SKIP_PORTAL");
    let wanted = env::var_os("VMOBS_SKIP_PORTAL").is_none();
    let built = if wanted { build(&ui, &out) } else { Err("VMOBS_SKIP_PORTAL is set".to_owned()) };
    if let Err(why) = built {
        println!("cargo::warning=portal left out, a plain page takes its place: {why}");
        let plain =
            fs::create_dir_all(&out).and_then(|()| fs::write(out.join("index.html"), PLAIN_PAGE));
        if let Err(e) = plain {
            println!("cargo::warning=plain page not written: {e}");
        }
    }
}

fn build(ui: &Path, out: &Path) -> Result<(), String> {
    if !ui.join("node_modules/esbuild/package.json").exists() {
        run(ui, "npm", &["ci", "--omit=dev", "--no-audit", "--no-fund", "--loglevel=error"])?;
    }
    let out = out.to_str().ok_or("the output folder's name is not UTF-8")?;
    run(ui, "node", &["build.mjs", out])
}

fn run(folder: &Path, program: &str, arguments: &[&str]) -> Result<(), String> {
    let output = Command::new(program)
        .args(arguments)
        .current_dir(folder)
        .output()
        .map_err(|e| format!("{program}: {e}"))?;
    if output.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stderr);
    let line = text.lines().find(|l| !l.trim().is_empty()).unwrap_or("no message");
    Err(format!("{program} {}: {line}", arguments.first().unwrap_or(&"")))
}
