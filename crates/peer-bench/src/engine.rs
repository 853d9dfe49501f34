//! One engine as a process on loopback with a folder of its own.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use obs_disk::{BlockReader, Clock, ManualClock, RealDisk, SystemClock};
use obs_metrics::{Limits, MetricsConfig, MetricsEngine, OpenMode};
use obs_testkit::{Client, Program, Usage, free_port, wait_until};
use obs_types::TimestampMs;

const PATIENCE: Duration = Duration::from_secs(60);
/// How long a fresh engine is watched doing nothing.
const IDLE: Duration = Duration::from_secs(5);

/// Twice the 5 s after which victoria-metrics writes what came in.
const SETTLE: Duration = Duration::from_secs(10);

/// Seconds from a start after a kill.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Restart {
    /// Until it says that it is ready.
    pub(crate) ready: f64,
    /// Until it answers every question as before; `None` if it does not come to that.
    pub(crate) whole: Option<f64>,
}

/// What an engine leaves on disk.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Weight {
    /// After an ordered stop.
    pub(crate) stopped: u64,
    /// When everything is merged, without what only serves a restart; where that can be had.
    pub(crate) merged: Option<u64>,
    /// CPU seconds of that merging, where it was not the engine's own process that did it.
    pub(crate) merge_cpu_seconds: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    VmObs,
    Prometheus,
    VictoriaMetrics,
}

impl Kind {
    /// Also the name of the program.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::VmObs => "vm-obs",
            Self::Prometheus => "prometheus",
            Self::VictoriaMetrics => "victoria-metrics",
        }
    }

    /// What a reader must know to compare: above all, when a sample is safe.
    pub(crate) fn settings(self) -> &'static str {
        match self {
            Self::VmObs => {
                "default: a request is answered after its WAL record is synced (group commit); no packs, no host metrics"
            }
            Self::Prometheus => {
                "--web.enable-remote-write-receiver; default: WAL pages are written, not synced, before the answer"
            }
            Self::VictoriaMetrics => {
                "-search.disableCache, sizes after a forced merge; default: samples stay in memory for up to 5 s before they are written; no WAL"
            }
        }
    }
}

/// A running engine.
#[derive(Debug)]
pub(crate) struct Engine {
    kind: Kind,
    path: PathBuf,
    arguments: Vec<String>,
    program: Program,
    address: String,
    version: String,
    /// Holds the data; gone with the engine.
    folder: tempfile::TempDir,
}

impl Engine {
    /// Starts it and waits until it answers.
    pub(crate) fn start(kind: Kind, program: &Path) -> anyhow::Result<Self> {
        Self::start_in(kind, program, tempfile::tempdir()?)
    }

    /// vm-obs on a folder into which it has imported an OpenMetrics file: its receivers take no
    /// sample that is older than a day.
    pub(crate) fn start_with_history(program: &Path, history: &Path) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let output = Command::new(program)
            .args(["import", "openmetrics"])
            .arg(history)
            .arg("--data")
            .arg(folder.path().join("data"))
            .output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        anyhow::ensure!(output.status.success(), "import: {}", said.trim());
        Self::start_in(Kind::VmObs, program, folder)
    }

    fn start_in(kind: Kind, program: &Path, folder: tempfile::TempDir) -> anyhow::Result<Self> {
        let data = folder.path().join("data");
        std::fs::create_dir_all(&data)?;
        let address = format!("127.0.0.1:{}", free_port()?);
        let data_text = data.display().to_string();
        let config = folder.path().join("config.yml");
        let arguments: Vec<String> = match kind {
            Kind::VmObs => {
                std::fs::write(&config, "packs: []\nhost_metrics: off\n")?;
                [
                    "serve",
                    "--config",
                    &config.display().to_string(),
                    "--data",
                    &data_text,
                    "--http",
                    &address,
                    "--otlp-grpc",
                    "127.0.0.1:0",
                    "--otlp-http",
                    "127.0.0.1:0",
                ]
                .map(str::to_owned)
                .to_vec()
            }
            Kind::Prometheus => {
                std::fs::write(&config, "global: {}\n")?;
                vec![
                    format!("--config.file={}", config.display()),
                    format!("--storage.tsdb.path={data_text}"),
                    format!("--web.listen-address={address}"),
                    "--web.enable-remote-write-receiver".to_owned(),
                    "--log.level=warn".to_owned(),
                ]
            }
            Kind::VictoriaMetrics => vec![
                format!("-storageDataPath={data_text}"),
                format!("-httpListenAddr={address}"),
                "-retentionPeriod=10y".to_owned(),
                "-search.disableCache".to_owned(),
                "-search.latencyOffset=0s".to_owned(),
                "-loggerLevel=WARN".to_owned(),
            ],
        };
        let version = version(kind, program);
        let running = Program::start(program, &arguments, &folder.path().join("output"))?;
        let path = program.to_owned();
        let mut out = Self { kind, path, arguments, program: running, address, version, folder };
        out.wait_ready()?;
        Ok(out)
    }

    fn wait_ready(&mut self) -> anyhow::Result<()> {
        let path = if self.kind == Kind::VictoriaMetrics { "/health" } else { "/-/ready" };
        let (program, address) = (&mut self.program, &self.address);
        let ready = wait_until(PATIENCE, || {
            if !matches!(program.ended(), Ok(None)) {
                return Some(false);
            }
            let reply = Client::new(address.clone()).get(path).ok()?;
            (reply.status == 200).then_some(true)
        });
        anyhow::ensure!(ready == Some(true), "not ready:\n{}", self.program.output_tail());
        Ok(())
    }

    /// Waits until what it keeps in memory alone by design is on disk: the kill is to show how it
    /// starts again, and what is weighed afterwards must be all of the load.
    pub(crate) fn settle(&self) {
        if self.kind == Kind::VictoriaMetrics {
            std::thread::sleep(SETTLE);
        }
    }

    /// Kills it and starts it again, until `answers` says that it answers in full.
    pub(crate) fn restart_after_kill(
        &mut self,
        mut answers: impl FnMut(&str) -> bool,
    ) -> anyhow::Result<Restart> {
        self.program.kill()?;
        let begin = Instant::now();
        let output = self.folder.path().join("output");
        self.program = Program::start(&self.path, &self.arguments, &output)?;
        self.wait_ready()?;
        let ready = begin.elapsed().as_secs_f64();
        let whole = wait_until(PATIENCE, || answers(&self.address).then_some(()));
        Ok(Restart { ready, whole: whole.map(|()| begin.elapsed().as_secs_f64()) })
    }

    /// CPU seconds per second while nobody asks anything.
    pub(crate) fn idle_load(&self) -> f64 {
        let (before, begin) = (self.usage().cpu_seconds, Instant::now());
        std::thread::sleep(IDLE);
        (self.usage().cpu_seconds - before) / begin.elapsed().as_secs_f64()
    }

    pub(crate) fn kind(&self) -> Kind {
        self.kind
    }

    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    pub(crate) fn version(&self) -> &str {
        &self.version
    }

    pub(crate) fn write_path(&self) -> &'static str {
        "/api/v1/write"
    }

    pub(crate) fn usage(&self) -> Usage {
        self.program.usage()
    }

    /// Makes what was acknowledged visible to queries, where the engine needs to be asked.
    pub(crate) fn make_visible(&self) -> anyhow::Result<()> {
        if self.kind == Kind::VictoriaMetrics {
            let reply = Client::new(self.address.clone()).get("/internal/force_flush")?;
            anyhow::ensure!(reply.status == 200, "force_flush answers {}", reply.status);
        }
        Ok(())
    }

    /// Stops it in order and weighs its folder; then, where that can be had, as it is when
    /// everything is merged: blocks and index.
    pub(crate) fn stop_and_weigh(&mut self) -> anyhow::Result<Weight> {
        let data = self.folder.path().join("data");
        if self.kind == Kind::VictoriaMetrics {
            let reply = Client::new(self.address.clone()).get("/internal/force_merge")?;
            anyhow::ensure!(reply.status == 200, "force_merge answers {}", reply.status);
            // It merges in the background; done when the folder keeps its weight.
            let mut last = 0;
            wait_until(PATIENCE, || {
                std::thread::sleep(Duration::from_secs(2));
                let now = weigh(&data).unwrap_or(0);
                (std::mem::replace(&mut last, now) == now).then_some(())
            });
        }
        self.program.stop(PATIENCE)?;
        // Written bytes may have no blocks yet.
        Command::new("sync").arg("-f").arg(&data).status()?;
        let stopped = weigh(&data)?;
        let (merged, merge_cpu_seconds) = match self.kind {
            Kind::VmObs => {
                let before = own_cpu_seconds();
                let bytes = merged_blocks(&data)?;
                (Some(bytes), own_cpu_seconds() - before)
            }
            // Beside these it keeps caches, which only serve a restart.
            Kind::VictoriaMetrics => {
                (Some(weigh(&data.join("data"))? + weigh(&data.join("indexdb"))?), 0.0)
            }
            Kind::Prometheus => (None, 0.0),
        };
        Ok(Weight { stopped, merged, merge_cpu_seconds })
    }
}

/// CPU seconds of this process.
pub(crate) fn own_cpu_seconds() -> f64 {
    obs_testkit::usage_of(std::process::id()).cpu_seconds
}

/// Bytes of vm-obs' metric blocks after days of waiting: the engine is opened on the folder, its
/// clock set ahead, and asked for maintenance.
pub(crate) fn merged_blocks(data: &Path) -> anyhow::Result<u64> {
    let later = SystemClock::new().now().0 + 3 * 24 * 3_600_000;
    let engine = open_metrics(data, Arc::new(ManualClock::new(TimestampMs(later))))?;
    engine.maintain(TimestampMs(later))?;
    // The first run wrote the hours; a day's hours are merged by the next.
    engine.maintain(TimestampMs(later))?;
    print_sections(&data.join("metrics"))?;
    Ok(engine.stats().block_bytes)
}

/// The metrics engine of a data folder, in this process.
pub(crate) fn open_metrics(
    data: &Path,
    clock: Arc<dyn Clock>,
) -> anyhow::Result<Arc<MetricsEngine>> {
    Ok(MetricsEngine::open(MetricsConfig {
        dir: data.join("metrics"),
        wal_dir: data.join("wal/metrics"),
        disk: Arc::new(RealDisk),
        clock,
        mode: OpenMode::ReadWrite,
        limits: Limits::standard(),
    })?)
}

/// What the kinds of sections of the blocks in a folder take together.
fn print_sections(dir: &Path) -> anyhow::Result<()> {
    let mut sums: BTreeMap<String, u64> = BTreeMap::new();
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        if path.extension().is_none_or(|e| e != "blk") {
            continue;
        }
        let Ok(block) = BlockReader::open(Arc::new(RealDisk), &path, *b"METR") else { continue };
        for section in block.sections() {
            let kind = section.name.trim_end_matches(|c: char| c.is_ascii_digit());
            *sums.entry(kind.to_owned()).or_default() += section.len;
        }
    }
    let shown: Vec<String> = sums.iter().map(|(kind, n)| format!("{kind} {n}")).collect();
    println!("bytes by kind of section: {}", shown.join(", "));
    Ok(())
}

fn version(kind: Kind, program: &Path) -> String {
    let flag = if kind == Kind::VictoriaMetrics { "-version" } else { "--version" };
    let Ok(output) = Command::new(program).arg(flag).output() else { return "unknown".to_owned() };
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    let line = text.lines().next().unwrap_or_default().trim();
    if line.is_empty() { packaged_version(kind) } else { line.to_owned() }
}

/// Debian builds VictoriaMetrics without a version of its own; the package has one.
fn packaged_version(kind: Kind) -> String {
    Command::new("dpkg-query")
        .args(["-W", "-f", "${Package} ${Version}", kind.name()])
        .output()
        .ok()
        .map(|o| String::from_utf8_lossy(&o.stdout).into_owned())
        .filter(|text| !text.is_empty())
        .unwrap_or_else(|| "unknown".to_owned())
}

/// Bytes of all files below a folder, as allocated on disk: a file with holes counts what it holds.
fn weigh(folder: &Path) -> anyhow::Result<u64> {
    use std::os::unix::fs::MetadataExt;
    let mut total = 0;
    let mut todo = vec![folder.to_owned()];
    while let Some(next) = todo.pop() {
        for entry in std::fs::read_dir(&next).with_context(|| next.display().to_string())? {
            let entry = entry?;
            let metadata = entry.metadata()?;
            if metadata.is_dir() {
                todo.push(entry.path());
            } else {
                total += metadata.blocks() * 512;
            }
        }
    }
    Ok(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_weighs_what_its_files_take() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("a")).unwrap();
        std::fs::write(folder.path().join("a/b"), vec![7; 100_000]).unwrap();
        let bytes = weigh(folder.path()).unwrap();
        assert!((100_000..200_000).contains(&bytes), "{bytes}");
    }
}
