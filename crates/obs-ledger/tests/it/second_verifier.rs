//! `docs/audit/verify.py`, written from the format page alone, and the verifier of `obs-proof`
//! give the same answer.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use obs_proof::verify::{Class, Parsed, VerifyOptions, verify};

use crate::tamper::{CHECKPOINT, LOG, path_of, small_store};

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

pub(crate) fn python() -> bool {
    Command::new("python3").arg("--version").output().is_ok_and(|o| o.status.success())
}

/// Exit code and findings (without notes) of both verifiers.
pub(crate) type Answer = (u8, BTreeSet<String>);

pub(crate) fn second(dir: &Path, args: &[String]) -> Answer {
    let script = repository().join("docs/audit/verify.py");
    let out = Command::new("python3").arg(script).arg(dir).args(args).output().unwrap();
    let text = String::from_utf8(out.stdout).unwrap();
    let code = out.status.code().and_then(|c| u8::try_from(c).ok()).unwrap();
    assert!(text.contains(&format!("exit {code}:")), "{text}{:?}", out.stderr);
    let bad = text.lines().filter_map(|l| l.strip_prefix("bad  "));
    (code, bad.filter_map(|l| l.split(' ').next()).map(str::to_owned).collect())
}

pub(crate) fn first(dir: &Path, args: &[String]) -> Answer {
    let words = std::iter::once(dir.display().to_string()).chain(args.iter().cloned());
    let Ok(Parsed::Run(mut options)) = VerifyOptions::parse(words) else { panic!("{args:?}") };
    options.state_update = false;
    let report = verify(&options).unwrap();
    let bad = report.findings.iter().filter(|f| f.class != Class::Note);
    (report.exit_code(), bad.map(|f| f.code.to_string()).collect())
}

#[test]
fn both_agree_on_every_published_tamper_case() {
    let vectors = std::env::var_os("VMOBS_VECTORS")
        .map_or_else(|| repository().join("../shared/vectors"), PathBuf::from)
        .join("ledger/vmobs-proposal-kat");
    if !vectors.is_dir() {
        println!("skipped: no vectors");
        return;
    }
    if !python() {
        println!("skipped: no python3");
        return;
    }
    let cases = fs::read(vectors.join("tamper/cases.json")).unwrap();
    let cases: serde_json::Value = serde_json::from_slice(&cases).unwrap();
    let cases = cases.get("cases").unwrap().as_array().unwrap();
    assert_eq!(cases.len(), 16);
    for case in cases {
        let text = |name: &str| case.get(name).and_then(serde_json::Value::as_str);
        let dir = vectors.join("tamper").join(text("case").unwrap());
        let mut args =
            vec!["--policy".to_owned(), vectors.join("policy.txt").display().to_string()];
        for arg in case.get("args").and_then(serde_json::Value::as_array).into_iter().flatten() {
            let arg = arg.as_str().unwrap();
            let path = dir.join(arg);
            args.push(if path.exists() { path.display().to_string() } else { arg.to_owned() });
        }
        let (theirs, ours) = (second(&dir, &args), first(&dir, &args));
        assert_eq!(theirs, ours, "{case}");
        assert_eq!(Some(u64::from(theirs.0)), case.get("exit").unwrap().as_u64(), "{case}");
        if let Some(code) = text("finding").filter(|f| !f.contains("TAIL")) {
            assert!(theirs.1.contains(code), "{case}: {theirs:?}");
        }
    }
}

#[test]
fn both_agree_on_a_fresh_ledger_and_on_damage_to_it() {
    if !python() {
        println!("skipped: no python3");
        return;
    }
    let dir = small_store();
    let same = |args: &[&str]| {
        let args: Vec<String> = args.iter().map(|a| (*a).to_owned()).collect();
        let (theirs, ours) = (second(dir.path(), &args), first(dir.path(), &args));
        assert_eq!(theirs, ours, "{args:?}");
        theirs.0
    };
    assert_eq!(same(&[]), 0);
    assert_eq!(same(&["--require-witness"]), 3);
    assert_eq!(same(&["--expect-until", "2025-12-06T15:00:00Z"]), 2);
    for file in [LOG, CHECKPOINT, &path_of("logs", 1), "ROOT.observability.txt"] {
        let path = dir.path().join(file);
        let bytes = fs::read(&path).unwrap();
        let mut bad = bytes.clone();
        bad[bytes.len() / 3] ^= 1;
        fs::write(&path, &bad).unwrap();
        assert_ne!(same(&[]), 0, "{file} changed");
        fs::remove_file(&path).unwrap();
        assert_ne!(same(&[]), 0, "{file} removed");
        fs::write(&path, &bytes).unwrap();
    }
}

#[test]
fn both_agree_on_cosigned_checkpoints() {
    if !python() {
        println!("skipped: no python3");
        return;
    }
    let (dir, policy) = crate::witness::cosigned_store();
    let file = dir.path().join("policy.txt");
    fs::write(&file, &policy).unwrap();
    let same = |more: &[&str]| {
        let mut args = vec!["--policy".to_owned(), file.display().to_string()];
        args.extend(more.iter().map(|a| (*a).to_owned()));
        let (theirs, ours) = (second(dir.path(), &args), first(dir.path(), &args));
        assert_eq!(theirs, ours, "{more:?}");
        theirs.0
    };
    assert_eq!(same(&[]), 0);
    assert_eq!(same(&["--require-witness"]), 0);
    assert_eq!(same(&["--cosigned-within", "1s"]), 3);
    let path = dir.path().join("receipts/observability/checkpoint.cosigned");
    let good = fs::read(&path).unwrap();
    for at in (0..good.len()).step_by(17) {
        let mut bad = good.clone();
        bad[at] ^= 1;
        fs::write(&path, &bad).unwrap();
        assert_ne!(same(&[]), 0, "byte {at}");
    }
    fs::remove_file(&path).unwrap();
    assert_eq!(same(&[]), 3);
    let newest = fs::read(dir.path().join(CHECKPOINT)).unwrap();
    fs::write(&path, &newest).unwrap();
    assert_eq!(same(&[]), 3, "signed by the log, cosigned by nobody");
    // What was cosigned is more than what is there: the newest checkpoint was taken back.
    fs::write(&path, &newest).unwrap();
    fs::write(dir.path().join(CHECKPOINT), &good).unwrap();
    assert_eq!(same(&[]), 1);
}

#[test]
fn both_agree_on_proof_files() {
    if !python() {
        println!("skipped: no python3");
        return;
    }
    let (text, key) = crate::tiles::log_line_proof();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("line.vmproof");
    let same = |bytes: &[u8], args: &[&str]| {
        fs::write(&file, bytes).unwrap();
        let args: Vec<String> = args.iter().map(|a| (*a).to_owned()).collect();
        let (theirs, ours) = (second(&file, &args), first(&file, &args));
        assert_eq!(theirs, ours, "{}", String::from_utf8_lossy(bytes));
        theirs.0
    };
    let with_key = ["--log-key", key.as_str()];
    assert_eq!(same(text.as_bytes(), &with_key), 0);
    assert_eq!(same(text.as_bytes(), &[]), 2);
    assert_eq!(same(text.as_bytes(), &[&with_key[..], &["--require-witness"]].concat()), 3);
    assert_eq!(same(&text.as_bytes()[..text.len() / 2], &with_key), 1);
    // Changed by somebody who writes the closing hash anew.
    let (body, _hash) = text.rsplit_once("sha256 ").unwrap();
    for (from, to) in [
        ("text {", "text  {"),
        ("stream logs", "stream metrics"),
        ("index 2\n", "index 1\n"),
        ("count 3", "count 4"),
        ("hour 2025-12-06T14", "hour 2025-12-06T15"),
        ("\"seq\":1", "\"seq\":2"),
        ("receipt {", "receipt  {"),
    ] {
        let bad = body.replacen(from, to, 1);
        assert_ne!(bad, body, "{from}");
        let hash = obs_proof::hash::to_hex(&sha256(bad.as_bytes()));
        assert_eq!(same(format!("{bad}sha256 {hash}\n").as_bytes(), &with_key), 1, "{from}");
    }
}

/// Plain SHA-256 by way of a program that every system with Python has: Python.
fn sha256(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let code = "import hashlib,sys; print(hashlib.sha256(sys.stdin.buffer.read()).hexdigest())";
    let mut child = Command::new("python3")
        .args(["-c", code])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(bytes).unwrap();
    let out = child.wait_with_output().unwrap();
    obs_proof::hash::from_hex("digest", String::from_utf8(out.stdout).unwrap().trim()).unwrap()
}
