//! The real program under strace: one system call of one kind fails (EIO) or kills the process
//! (SIGKILL) at its n-th call, while lines are appended, an hour is sealed and checkpoints are
//! anchored. After each: a start without faults, every acknowledged line is there, the folder
//! verifies.
//!
//! strace counts the calls of each thread for itself: at `n` the n-th call of every thread that
//! gets so far is hit.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use obs_testkit::{Client, Program, logs_push, wait_until};
use serde_json::Value;

/// Those that change something on a disk, or that a file is opened or read with.
const CALLS: [&str; 9] = [
    "openat",
    "mkdir",
    "pwrite64",
    "fdatasync",
    "fsync",
    "rename",
    "unlink",
    "ftruncate",
    "pread64",
];
/// 2025-12-06T13:59:50Z: the hour ends ten simulated seconds after the start.
const CLOCK_START: &str = "2025-12-06T13:59:50Z";
const CLOCK_START_NS: i64 = 1_765_029_590_000_000_000;
const CLOCK_SPEED: &str = "20";
/// Of the second start, when everything of the first is past.
const CLOCK_LATER: &str = "2025-12-06T14:30:00Z";
/// How long a broken server is fed: long enough for seal and anchor.
const FED: Duration = Duration::from_millis(2_500);
const PATIENCE: Duration = Duration::from_secs(120);

/// What is injected at the n-th call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Injection {
    Eio,
    Kill,
}

impl Injection {
    fn text(self) -> &'static str {
        match self {
            Self::Eio => "error=EIO",
            Self::Kill => "signal=SIGKILL",
        }
    }
}

/// One run of the matrix.
struct Fault<'c> {
    call: &'c str,
    injection: Injection,
    /// At which call.
    n: usize,
}

/// Runs the matrix: every `stride`-th call, at most `limit` of one kind, `jobs` at a time;
/// `only` says what is injected. Prints
/// one line for each kind of call; false if anything was lost.
pub(crate) fn run(
    binary: &Path,
    stride: usize,
    limit: usize,
    jobs: usize,
    only: Option<Injection>,
) -> anyhow::Result<bool> {
    ensure!(
        Command::new("strace").arg("--version").output().is_ok(),
        "strace is not installed; `apt-get install strace`"
    );
    let folder = scratch()?;
    let counts = count_calls(binary, &folder.join("counted"))?;
    let kinds: Vec<(&str, Injection, usize)> = counts
        .iter()
        .flat_map(|(call, most)| {
            let kinds = [Injection::Eio, Injection::Kill].into_iter();
            let kinds = kinds.filter(|i| only.is_none_or(|only| only == *i));
            kinds.map(|i| (call.as_str(), i, *most))
        })
        .collect();
    let faults: Vec<Fault<'_>> = kinds
        .iter()
        .flat_map(|(call, injection, most)| {
            let calls = (1..=(*most).min(limit)).step_by(stride);
            calls.map(|n| Fault { call, injection: *injection, n })
        })
        .collect();
    let outcomes = all(binary, &folder, &faults, jobs)?;
    let mut bad = 0_usize;
    for (call, injection, most) in kinds {
        let (mut done, mut hit, mut acknowledged) = (0, 0, 0);
        let of_kind = |f: &Fault<'_>| f.call == call && f.injection == injection;
        for (fault, outcome) in faults.iter().zip(&outcomes).filter(|(f, _)| of_kind(f)) {
            match outcome {
                Ok(outcome) => {
                    done += 1;
                    hit += usize::from(outcome.hit);
                    acknowledged += outcome.acknowledged;
                }
                Err(e) => {
                    bad += 1;
                    println!("LOST {call} {injection:?} at call {}: {e:#}", fault.n);
                }
            }
        }
        println!(
            "{call:<10} {injection:?}: {done} runs of up to {most} calls, {hit} hit, \
             {acknowledged} acknowledged lines, all there"
        );
        // Threads differ from run to run, so that the last calls may not come.
        if hit * 2 < done {
            bad += 1;
            println!("NOT TRIED {call} {injection:?}: too few were hit");
        }
    }
    println!("{} passed, {bad} failed", faults.len().saturating_sub(bad));
    if bad == 0 {
        std::fs::remove_dir_all(&folder)?;
    } else {
        println!("folders of failed runs: {}", folder.display());
    }
    Ok(bad == 0)
}

/// The outcome of each; a run mostly waits, so that several go on side by side. Every hundredth
/// says how far it is.
fn all(
    binary: &Path,
    folder: &Path,
    faults: &[Fault<'_>],
    jobs: usize,
) -> anyhow::Result<Vec<anyhow::Result<Outcome>>> {
    let (next, ended) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let slots: Vec<Mutex<Option<anyhow::Result<Outcome>>>> =
        faults.iter().map(|_| Mutex::new(None)).collect();
    std::thread::scope(|scope| {
        for _ in 0..jobs.max(1) {
            scope.spawn(|| {
                while let Some((fault, slot)) = {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    faults.get(at).zip(slots.get(at))
                } {
                    let Fault { call, injection, n } = *fault;
                    let place = folder.join(format!("{call}-{injection:?}-{n}"));
                    let outcome = one(binary, &place, call, injection, n);
                    *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(outcome);
                    let done = ended.fetch_add(1, Ordering::Relaxed) + 1;
                    if done.is_multiple_of(100) {
                        eprintln!("{done} of {} runs", faults.len());
                    }
                }
            });
        }
    });
    slots
        .into_iter()
        .map(|slot| slot.into_inner().unwrap_or_else(PoisonError::into_inner))
        .map(|outcome| outcome.context("a run was left out"))
        .collect()
}

fn scratch() -> anyhow::Result<PathBuf> {
    let folder = std::env::temp_dir().join(format!("vm-obs-faults-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    Ok(folder)
}

/// A folder for one run, with its configuration.
fn prepare(folder: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(folder.join("data"))?;
    std::fs::write(
        folder.join("vm-obs.yaml"),
        "packs: []\nhost_metrics: off\nseal_delay: 1s\nnode: brick-01\nledger: {anchors: anchors.yaml}\n",
    )?;
    let anchors = format!(
        "anchors:\n  - {{name: files, kind: file, dir: {}, interval: 15s}}\n",
        folder.join("anchors").display()
    );
    std::fs::write(folder.join("anchors.yaml"), anchors)?;
    Ok(())
}

fn arguments(folder: &Path, clock_start: &str) -> Vec<String> {
    let (data, config) = (folder.join("data"), folder.join("vm-obs.yaml"));
    let mut out = vec!["serve".to_owned()];
    for (flag, value) in [
        ("--data", data.display().to_string()),
        ("--config", config.display().to_string()),
        ("--http", "127.0.0.1:0".to_owned()),
        ("--otlp-grpc", "127.0.0.1:0".to_owned()),
        ("--otlp-http", "127.0.0.1:0".to_owned()),
        ("--clock-start", clock_start.to_owned()),
        ("--clock-speed", CLOCK_SPEED.to_owned()),
    ] {
        out.extend([flag.to_owned(), value]);
    }
    out
}

/// How often one thread makes each call in a run without faults.
fn count_calls(binary: &Path, folder: &Path) -> anyhow::Result<BTreeMap<String, usize>> {
    prepare(folder)?;
    let log = folder.join("strace.log");
    let mut server = start(binary, folder, &["-e", &format!("trace={}", CALLS.join(","))], &log)?;
    let address = ready(&mut server, folder)?;
    feed(&mut server, &address.context("the server without faults does not start")?);
    stop(&mut server)?;
    let text = std::fs::read_to_string(&log)?;
    let mut counts: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for line in text.lines() {
        // `PID call(…`
        let Some((pid, rest)) = line.split_once(' ') else { continue };
        let rest = rest.trim_start();
        if let Some(call) =
            CALLS.iter().find(|c| rest.strip_prefix(**c).is_some_and(|r| r.starts_with('(')))
        {
            *counts.entry((call, pid)).or_default() += 1;
        }
    }
    let mut most = BTreeMap::new();
    for ((call, _pid), n) in counts {
        let slot: &mut usize = most.entry(call.to_owned()).or_default();
        *slot = (*slot).max(n);
    }
    for (call, n) in &most {
        println!("{call:<10} up to {n} calls in one thread");
    }
    Ok(most)
}

/// The server as strace's child.
fn start(binary: &Path, folder: &Path, strace: &[&str], log: &Path) -> anyhow::Result<Program> {
    let mut all: Vec<String> = ["-f", "-o"].map(str::to_owned).to_vec();
    all.push(log.display().to_string());
    all.extend(strace.iter().map(ToString::to_string));
    all.push(binary.display().to_string());
    all.extend(arguments(folder, CLOCK_START));
    Ok(Program::start("strace", &all, &folder.join("output"))?)
}

/// The address once it answers; `None` if it ended before.
fn ready(server: &mut Program, folder: &Path) -> anyhow::Result<Option<String>> {
    let addresses = folder.join("data/addresses.json");
    let began = Instant::now();
    loop {
        if let Ok(bytes) = std::fs::read(&addresses)
            && let Ok(found) = serde_json::from_slice::<Value>(&bytes)
            && let Some(address) = found["http"].as_str()
        {
            return Ok(Some(address.to_owned()));
        }
        if server.ended()?.is_some() {
            return Ok(None);
        }
        if began.elapsed() > PATIENCE {
            bail!("neither ready nor ended:\n{}", server.output_tail());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Pushes lines until the time is over or the server is gone; those that were acknowledged.
fn feed(server: &mut Program, address: &str) -> Vec<String> {
    let mut client = Client::new(address).with_timeout(Duration::from_secs(5));
    let mut out = Vec::new();
    let began = Instant::now();
    for number in 0_i64.. {
        if began.elapsed() > FED || server.ended().ok().flatten().is_some() {
            break;
        }
        let line = format!("line {number}");
        // Some before the end of the hour, some after it.
        let at = CLOCK_START_NS + number * 400_000_000;
        let body = logs_push(&[("app", "faults")], &[(at, line.clone())]);
        if let Ok(reply) = client.post_json("/loki/api/v1/push", &body)
            && (200..300).contains(&reply.status)
        {
            out.push(line);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    out
}

/// SIGTERM to the traced program, which strace does not pass on.
fn stop(server: &mut Program) -> anyhow::Result<()> {
    let children = format!("/proc/{0}/task/{0}/children", server.id());
    let child = std::fs::read_to_string(children).unwrap_or_default();
    for pid in child.split_whitespace() {
        Command::new("kill").args(["-TERM", pid]).stderr(Stdio::null()).status()?;
    }
    let ended = wait_until(PATIENCE, || server.ended().ok().flatten());
    if ended.is_none() {
        // A server that cannot end in order any more is killed, as an operator would.
        for pid in child.split_whitespace() {
            Command::new("kill").args(["-KILL", pid]).stderr(Stdio::null()).status()?;
        }
        server.kill()?;
    }
    Ok(())
}

struct Outcome {
    hit: bool,
    acknowledged: usize,
}

fn one(
    binary: &Path,
    folder: &Path,
    call: &str,
    injection: Injection,
    n: usize,
) -> anyhow::Result<Outcome> {
    prepare(folder)?;
    let log = folder.join("strace.log");
    let inject = format!("inject={call}:{}:when={n}", injection.text());
    let trace = format!("trace={call}");
    let mut server = start(binary, folder, &["-e", &trace, "-e", &inject], &log)?;
    let acknowledged = match ready(&mut server, folder)? {
        Some(address) => feed(&mut server, &address),
        None => Vec::new(),
    };
    stop(&mut server)?;
    drop(server);
    let text = std::fs::read(&log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let hit = text.contains("(INJECTED)") || text.contains("killed by SIGKILL");

    // The same folder without faults.
    let addresses = folder.join("data/addresses.json");
    if addresses.exists() {
        std::fs::remove_file(&addresses)?;
    }
    let mut again =
        Program::start(binary, arguments(folder, CLOCK_LATER), &folder.join("output-again"))?;
    let address = ready(&mut again, folder)?;
    let Some(address) = address else { bail!("no recovery:\n{}", again.output_tail()) };
    let mut client = Client::new(address);
    let there = lines(&mut client)?;
    for line in &acknowledged {
        ensure!(
            there.contains(line),
            "{line:?} was acknowledged and is lost; {} are there",
            there.len()
        );
    }
    let status = again.stop(PATIENCE)?;
    ensure!(status.success(), "the recovered server ends with {status}");
    let verified = Command::new(binary)
        .args(["verify", &folder.join("data").display().to_string()])
        .output()?;
    ensure!(
        verified.status.success(),
        "it does not verify:\n{}",
        String::from_utf8_lossy(&verified.stdout)
    );
    std::fs::remove_dir_all(folder)?;
    Ok(Outcome { hit, acknowledged: acknowledged.len() })
}

fn lines(client: &mut Client) -> anyhow::Result<Vec<String>> {
    let (start, end) = (CLOCK_START_NS - 1, CLOCK_START_NS + 3_600_000_000_000);
    let reply = client.query(
        "/loki/api/v1/query_range",
        &[
            ("query", "{app=\"faults\"}"),
            ("start", &start.to_string()),
            ("end", &end.to_string()),
            ("limit", "5000"),
        ],
    )?;
    ensure!(reply.status == 200, "{}: {}", reply.status, reply.text());
    let json = reply.json();
    let streams = json["data"]["result"].as_array().cloned().unwrap_or_default();
    let values = streams.iter().flat_map(|s| s["values"].as_array().into_iter().flatten());
    Ok(values.filter_map(|v| v[1].as_str().map(str::to_owned)).collect())
}
