//! One engine as a process on loopback with a folder of its own.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use obs_disk::{Clock, ManualClock, RealDisk, SystemClock};
use obs_metrics::{Limits, MetricsConfig, MetricsEngine, OpenMode};
use obs_testkit::{Client, Program, Usage, free_port, wait_until};
use obs_types::TimestampMs;

const PATIENCE: Duration = Duration::from_secs(60);

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
                "-search.disableCache; default: samples stay in memory for up to 5 s before they are written; no WAL"
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
        let folder = tempfile::tempdir()?;
        let data = folder.path().join("data");
        std::fs::create_dir(&data)?;
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

    /// Kills it and starts it again; seconds until `answers` says that it answers in full, `None`
    /// if it does not come to that.
    pub(crate) fn restart_after_kill(
        &mut self,
        mut answers: impl FnMut(&str) -> bool,
    ) -> anyhow::Result<Option<f64>> {
        self.program.kill()?;
        let begin = Instant::now();
        let output = self.folder.path().join("output");
        self.program = Program::start(&self.path, &self.arguments, &output)?;
        self.wait_ready()?;
        let whole = wait_until(PATIENCE, || answers(&self.address).then_some(()));
        Ok(whole.map(|()| begin.elapsed().as_secs_f64()))
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
    pub(crate) fn stop_and_weigh(&mut self) -> anyhow::Result<(u64, Option<u64>)> {
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
        let stopped = weigh(&data)?;
        let merged = match self.kind {
            Kind::VmObs => Some(merged_blocks(&data)?),
            Kind::VictoriaMetrics => Some(stopped),
            Kind::Prometheus => None,
        };
        Ok((stopped, merged))
    }
}

/// Bytes of vm-obs' metric blocks after days of waiting: the engine is opened on the folder, its
/// clock set ahead, and asked for maintenance.
fn merged_blocks(data: &Path) -> anyhow::Result<u64> {
    let later = SystemClock::new().now().0 + 3 * 24 * 3_600_000;
    let engine = MetricsEngine::open(MetricsConfig {
        dir: data.join("metrics"),
        wal_dir: data.join("wal/metrics"),
        disk: Arc::new(RealDisk),
        clock: Arc::new(ManualClock::new(TimestampMs(later))),
        mode: OpenMode::ReadWrite,
        limits: Limits::standard(),
    })?;
    engine.maintain(TimestampMs(later))?;
    Ok(engine.stats().block_bytes)
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
