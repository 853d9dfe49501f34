//! A pack's unit tests, and its way into a data folder.
//!
//! Invariant: `packs/NAME` of a data folder is at any time a whole pack that passed check and
//! tests, or absent: a new one is written beside it and takes its place by renaming.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use obs_rules::unittest::{self, Report, TestOptions};

use super::{Files, check, folder_files};

/// Where a data folder keeps its packs.
pub(crate) fn folder_in(data: &Path) -> PathBuf {
    data.join("packs")
}

/// Runs the rule unit tests of a pack; only those whose name contains `run`, where it is given. The
/// files are laid out in a temporary folder, because tests name their rule files by path.
pub(crate) fn run_tests(name: &str, files: &Files, run: Option<String>) -> anyhow::Result<Report> {
    let mut key = [0; 8];
    getrandom::fill(&mut key)?;
    let unique = u64::from_le_bytes(key);
    let folder = std::env::temp_dir().join(format!("vm-obs-pack-{unique:016x}"));
    let laid_out = folder.join(name);
    let report = write(&laid_out, files).map(|()| {
        let tests = files.keys().filter(|p| p.starts_with("tests/") && super::is_yaml(p));
        let paths: Vec<PathBuf> = tests.map(|p| laid_out.join(p)).collect();
        let mut report =
            unittest::run_files(&paths, &TestOptions { run, ..TestOptions::default() });
        let prefix = format!("{}/", folder.display());
        for file in &mut report.files {
            file.path = file.path.replace(&prefix, "");
            file.error = file.error.take().map(|e| e.replace(&prefix, ""));
        }
        report
    });
    remove(&folder)?;
    report
}

/// Copies the pack of a folder into `DATA/packs`. Refused as a whole if it has a mistake or a
/// failing test; then what was there stays. Says whether it took the place of an earlier one.
pub(crate) fn install(folder: &Path, data: &Path) -> anyhow::Result<(String, bool)> {
    let folder = std::fs::canonicalize(folder).with_context(|| folder.display().to_string())?;
    let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let files = folder_files(&folder)?;
    let packs = folder_in(data);
    let findings = check(&name, &files, std::slice::from_ref(&packs));
    if !findings.is_empty() {
        let list: Vec<String> = findings.iter().map(ToString::to_string).collect();
        bail!("pack {name} is not installed:\n{}", list.join("\n"));
    }
    let report = run_tests(&name, &files, None)?;
    if !report.passed() {
        let (_, failed) = report.counts();
        bail!("pack {name} is not installed: {failed} unit tests fail; see `vm-obs pack test`");
    }
    std::fs::create_dir_all(&packs).with_context(|| packs.display().to_string())?;
    let (place, fresh, old) =
        (packs.join(&name), packs.join(format!(".{name}.new")), packs.join(format!(".{name}.old")));
    for leftover in [&fresh, &old] {
        remove(leftover)?;
    }
    write(&fresh, &files)?;
    let replaces = place.exists();
    if replaces {
        std::fs::rename(&place, &old).with_context(|| place.display().to_string())?;
    }
    if let Err(e) = std::fs::rename(&fresh, &place) {
        if replaces {
            std::fs::rename(&old, &place).context("the earlier pack is now in .NAME.old")?;
        }
        return Err(e).with_context(|| place.display().to_string());
    }
    std::fs::File::open(&packs)?.sync_all()?;
    remove(&old)?;
    Ok((name, replaces))
}

fn remove(folder: &Path) -> anyhow::Result<()> {
    if folder.exists() {
        std::fs::remove_dir_all(folder).with_context(|| folder.display().to_string())?;
    }
    Ok(())
}

/// Writes and syncs every file.
pub(super) fn write(folder: &Path, files: &Files) -> anyhow::Result<()> {
    use std::io::Write;
    for (path, text) in files {
        let path = folder.join(path);
        let parent = path.parent().unwrap_or(folder);
        std::fs::create_dir_all(parent).with_context(|| parent.display().to_string())?;
        let shown = || path.display().to_string();
        let mut file = std::fs::File::create(&path).with_context(shown)?;
        file.write_all(text.as_bytes()).with_context(shown)?;
        file.sync_all().with_context(shown)?;
    }
    Ok(())
}
