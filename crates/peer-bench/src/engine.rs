//! One engine as a process on loopback with a folder of its own.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::Context;
use obs_testkit::{Client, Program, Usage, free_port, wait_until};

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
        let mut running = Program::start(program, &arguments, &folder.path().join("output"))?;
        let ready = wait_until(PATIENCE, || {
            if !matches!(running.ended(), Ok(None)) {
                return Some(false);
            }
            let path = if kind == Kind::VictoriaMetrics { "/health" } else { "/-/ready" };
            Client::new(address.clone()).get(path).ok().filter(|r| r.status == 200).map(|_| true)
        });
        anyhow::ensure!(ready == Some(true), "not ready:\n{}", running.output_tail());
        Ok(Self { kind, program: running, address, version, folder })
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

    /// Stops it in order and weighs its folder.
    pub(crate) fn stop_and_weigh(&mut self) -> anyhow::Result<u64> {
        self.program.stop(PATIENCE)?;
        weigh(&self.folder.path().join("data"))
    }
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
