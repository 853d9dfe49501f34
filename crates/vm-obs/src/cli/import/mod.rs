//! `vm-obs import …`: history from elsewhere into a data folder that no server runs on.
//!
//! Lives here: reading the sources a part at a time, progress. What is read goes into the metrics
//! engine of the folder, then every hour is sealed, so that imported history is queried, verified
//! and kept like collected history.

mod blocks;
mod http;
mod store;
mod text;

use std::path::PathBuf;

use anyhow::bail;
use clap::{Args, Subcommand};
use obs_types::{LabelSet, Matcher, TimestampMs};

use super::args::WindowArgs;
use super::out::Out;
pub(super) use store::Store;

#[derive(Debug, Subcommand)]
pub(crate) enum ImportCommand {
    /// From Prometheus: its data folder, single block folders, or the address of a server, which is
    /// asked through remote read
    Prometheus(PrometheusArgs),
    /// From VictoriaMetrics: the address of a server
    Victoriametrics(ServerArgs),
    /// From files in the OpenMetrics or Prometheus text format, every sample with a timestamp
    Openmetrics(FileArgs),
}

/// The folder that is written to.
#[derive(Args, Debug)]
pub(crate) struct IntoArgs {
    /// Data folder to import into; no server may run on it [default: that of --config, else data]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Configuration of the server that will run on the folder: names its node and site
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Where to, and which samples.
#[derive(Args, Debug)]
pub(crate) struct ImportArgs {
    #[command(flatten)]
    into: IntoArgs,
    /// Only series of this selector, such as '{job="node"}'; may be repeated
    #[arg(long = "match", value_name = "SELECTOR")]
    matches: Vec<String>,
    #[command(flatten)]
    window: WindowArgs,
}

#[derive(Args, Debug)]
pub(crate) struct PrometheusArgs {
    /// Folders, or http://ADDRESS:PORT
    #[arg(required = true, value_name = "DIR|URL")]
    sources: Vec<String>,
    #[command(flatten)]
    import: ImportArgs,
}

#[derive(Args, Debug)]
pub(crate) struct ServerArgs {
    /// http://ADDRESS:PORT
    #[arg(value_name = "URL")]
    source: String,
    #[command(flatten)]
    import: ImportArgs,
}

#[derive(Args, Debug)]
pub(crate) struct FileArgs {
    /// Files; - reads standard input
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    #[command(flatten)]
    import: ImportArgs,
}

/// Which samples are wanted: `start` is included, `end` is not.
#[derive(Debug)]
struct Wanted {
    start: i64,
    end: i64,
    /// A series fits if it fits one of the sets; none is every series.
    sets: Vec<Vec<Matcher>>,
    /// As they were given.
    selectors: Vec<String>,
}

impl Wanted {
    /// Everything where nothing says which part. `bounded` needs a start, because the source cannot
    /// say where it begins.
    fn read(args: &ImportArgs, bounded: bool) -> anyhow::Result<Self> {
        let given = args.window.from.is_some() || args.window.last.is_some();
        if bounded && !given {
            bail!("say how far back: --last 30d, or --from TIME");
        }
        let (start, end) = if given || args.window.to.is_some() {
            // Without a start the window reaches as far back as there are times.
            let back = obs_types::DurationMs(i64::MAX / 2_000_000);
            let (start, end) = args.window.resolve(back)?;
            (start.floor_to_ms(), end.floor_to_ms())
        } else {
            (TimestampMs::MIN, TimestampMs::MAX)
        };
        let sets = args
            .matches
            .iter()
            .map(|text| Ok(obs_promql::parse_selector(text)?))
            .collect::<anyhow::Result<_>>()?;
        Ok(Self { start: start.0, end: end.0, sets, selectors: args.matches.clone() })
    }

    fn series(&self, labels: &LabelSet) -> bool {
        let fits = |set: &Vec<Matcher>| obs_types::matches_all(set, labels);
        self.sets.is_empty() || self.sets.iter().any(fits)
    }

    fn time(&self, t: i64) -> bool {
        self.start <= t && t < self.end
    }
}

pub(crate) async fn run(command: ImportCommand, out: &mut Out) -> anyhow::Result<()> {
    match command {
        ImportCommand::Prometheus(args) => {
            let remote = args.sources.iter().any(|s| s.contains("://"));
            if remote && args.sources.len() > 1 {
                bail!("one address at a time, or folders alone");
            }
            let wanted = Wanted::read(&args.import, remote)?;
            let mut store = Store::open(&args.import.into)?;
            for source in &args.sources {
                if remote {
                    http::prometheus(source, &wanted, &mut store).await?;
                } else {
                    blocks::import(source.as_ref(), &wanted, &mut store)?;
                }
            }
            store.finish(out)
        }
        ImportCommand::Victoriametrics(args) => {
            let wanted = Wanted::read(&args.import, true)?;
            let mut store = Store::open(&args.import.into)?;
            http::victoriametrics(&args.source, &wanted, &mut store).await?;
            store.finish(out)
        }
        ImportCommand::Openmetrics(args) => {
            let wanted = Wanted::read(&args.import, false)?;
            let mut store = Store::open(&args.import.into)?;
            for file in &args.files {
                text::import(file, &wanted, &mut store)?;
            }
            store.finish(out)
        }
    }
}
