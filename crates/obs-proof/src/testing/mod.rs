//! Conformance: runs a folder of published vectors through this crate.
//!
//! The folder is `vectors/ledger` and stays outside the repository; each part names where its
//! vectors come from. Used by the crate's integration test and by `cargo xtask conformance ledger`.

mod jcs;
mod kat;
mod logs;
mod merkle;
mod notes;
mod opentimestamps;
mod signatures;

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

/// How many vectors gave the expected answer.
#[derive(Clone, Debug, Default)]
pub struct Report {
    pub passed: usize,
    pub total: usize,
    /// Name of the vector and what went wrong.
    pub failures: Vec<String>,
}

impl Report {
    /// `score: PASSED/TOTAL`, the closing line of a conformance run.
    pub fn score(&self) -> String {
        format!("score: {}/{}", self.passed, self.total)
    }

    fn check(&mut self, name: impl std::fmt::Display, outcome: Result<(), String>) {
        self.total += 1;
        match outcome {
            Ok(()) => self.passed += 1,
            Err(why) => self.failures.push(format!("{name}: {why}")),
        }
    }

    fn equal<T: PartialEq + std::fmt::Debug>(
        &mut self,
        name: impl std::fmt::Display,
        got: T,
        want: T,
    ) {
        let outcome = match got == want {
            true => Ok(()),
            false => Err(format!("got {got:?}, want {want:?}")),
        };
        self.check(name, outcome);
    }
}

/// Runs one folder of vectors; `Err` if it cannot be read.
type Part = fn(&Path, &mut Report) -> Result<(), String>;

/// Runs everything below `dir`. A part whose folder is missing counts as a failure: a run that
/// checked nothing must not look like a good one.
pub fn run_dir(dir: &Path) -> Report {
    let mut report = Report::default();
    let parts: [(&str, Part); 10] = [
        ("rfc6962-proofs", merkle::run),
        ("tessera-log", logs::run_tessera),
        ("sunlight-mirror", logs::run_sunlight),
        ("c2sp", notes::run),
        ("blake3", signatures::run_blake3),
        ("jcs", jcs::run),
        ("ed25519", signatures::run_ed25519),
        ("opentimestamps", opentimestamps::run),
        ("vmobs-proposal-kat", kat::run_answers),
        ("vmobs-proposal-kat", kat::run_tampered),
    ];
    for (name, run) in parts {
        let before = report.total;
        if let Err(why) = run(&dir.join(name), &mut report) {
            report.check(name, Err(why));
        } else if report.total == before {
            report.check(name, Err("no vectors found".to_owned()));
        }
    }
    report
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    fs::read(path).map_err(|e| format!("{}: {e}", path.display()))
}

fn read_text(path: &Path) -> Result<String, String> {
    String::from_utf8(read(path)?).map_err(|e| format!("{}: {e}", path.display()))
}

fn read_json(path: &Path) -> Result<Value, String> {
    serde_json::from_slice(&read(path)?).map_err(|e| format!("{}: {e}", path.display()))
}

/// All files below a folder that end in `.json`, sorted.
fn json_files(dir: &Path) -> Result<Vec<PathBuf>, String> {
    let mut out = Vec::new();
    let entries = fs::read_dir(dir).map_err(|e| format!("{}: {e}", dir.display()))?;
    for entry in entries {
        let path = entry.map_err(|e| e.to_string())?.path();
        if path.is_dir() {
            out.extend(json_files(&path)?);
        } else if path.extension().is_some_and(|e| e == "json") {
            out.push(path);
        }
    }
    out.sort();
    Ok(out)
}

fn text<'a>(value: &'a Value, name: &str) -> Result<&'a str, String> {
    value.get(name).and_then(Value::as_str).ok_or_else(|| format!("no text {name}"))
}

fn number(value: &Value, name: &str) -> Result<u64, String> {
    value.get(name).and_then(Value::as_u64).ok_or_else(|| format!("no number {name}"))
}

fn list<'a>(value: &'a Value, name: &str) -> Result<&'a [Value], String> {
    value
        .get(name)
        .and_then(Value::as_array)
        .map(Vec::as_slice)
        .ok_or_else(|| format!("no list {name}"))
}

fn texts<'a>(value: &'a Value, name: &str) -> Result<Vec<&'a str>, String> {
    list(value, name)?
        .iter()
        .map(|v| v.as_str().ok_or_else(|| format!("{name}: no text")))
        .collect()
}

fn hex(text: &str) -> Result<Vec<u8>, String> {
    crate::hash::from_hex("vector", text).map_err(|e| e.to_string())
}

fn hash(bytes: &[u8]) -> Result<crate::Hash, String> {
    crate::hash::hash_from_slice("vector", bytes).map_err(|e| e.to_string())
}

fn hex_hash(text: &str) -> Result<crate::Hash, String> {
    hash(&hex(text)?)
}

fn base64(text: &str) -> Result<Vec<u8>, String> {
    crate::hash::from_base64("vector", text).map_err(|e| e.to_string())
}
