//! `vm-obs storage rebuild`: engines anew from sealed hours, where their own files are lost or
//! damaged.
//!
//! 1. Every sealed file that is needed has the hash of its receipt, or nothing is done.
//! 2. New engines take the sealed hours of the hot retention; older ones stay in the archive alone,
//!    as always.
//! 3. Hours that have ended and were not sealed went with the old files: they are declared a gap.
//! 4. The new engines take their places ([`crate::refill`]); the old files are set aside.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{bail, ensure};
use clap::Args;
use obs_archive::Signal;
use obs_disk::{Clock, SystemClock};
use obs_ops::storage::Catalog;
use obs_types::{ContentHash, DurationMs, TimeRangeMs, TimeRangeNs, TimestampMs};

use super::folder::HeldFolder;
use super::human;
use super::out::Out;
use crate::config::Config;
use crate::refill::{Old, Refill};
use crate::serve::{
    ANY_AGE, Access, hour_floor, open_logs, open_metrics, open_traces, retention_rules,
};

/// What is said of hours that went with the old files.
const REASON: &str = "engine rebuilt from sealed hours; what was not sealed is lost";

#[derive(Args, Debug)]
pub(crate) struct RebuildArgs {
    /// Data folder that no server runs on
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// Configuration; its hot_retention says how far back the engines reach
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// metrics, logs or traces; may be repeated [default: engines that are missing or cannot be
    /// opened]
    #[arg(long, value_name = "SIGNAL", value_parser = signal)]
    signal: Vec<Signal>,
    /// Do it; without it nothing is changed
    #[arg(long)]
    yes: bool,
}

pub(super) fn signal(text: &str) -> Result<Signal, String> {
    Signal::from_text(text).ok_or_else(|| format!("{text:?} is not metrics, logs or traces"))
}

pub(super) fn run(args: &RebuildArgs, out: &mut Out) -> anyhow::Result<()> {
    let config = match &args.config {
        Some(file) => Config::load(file)?,
        None => Config::standard()?,
    };
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let folder = HeldFolder::open(&args.data, &config, clock)?;
    rebuild(&folder, config.hot_retention, &args.signal, args.yes, out)?;
    folder.ledger.shutdown()?;
    Ok(())
}

/// [`run`] over an open folder.
pub(super) fn rebuild(
    folder: &HeldFolder,
    hot_retention: DurationMs,
    signals: &[Signal],
    yes: bool,
    out: &mut Out,
) -> anyhow::Result<()> {
    let chosen = match signals {
        [] => lost(folder, out)?,
        some => some.to_vec(),
    };
    if chosen.is_empty() {
        return Ok(
            out.line("all engines can be opened; --signal names one to rebuild all the same")?
        );
    }
    let now = folder.clock.now();
    let from = hour_floor(now.saturating_sub(hot_retention));
    // Series may be kept for longer than the rest, or for a shorter time than sealed hours.
    let rules = retention_rules(&folder.data)?;
    let first = folder.archive.sealed_span(Signal::Metrics).map_or(from, |(hour, _)| hour.start());
    let since = |signal| match signal {
        Signal::Metrics if rules.hold_longer() => first.min(from),
        _ => from,
    };
    for signal in &chosen {
        check_files(folder, *signal, since(*signal), out)?;
    }
    if !yes {
        return Ok(out.line("nothing was changed; --yes does it")?);
    }
    let archive = Arc::clone(&folder.archive);
    let seals = folder.seals(archive.clone(), archive.clone(), archive.clone())?;
    let mut refill = Refill::begin(&folder.data, &folder.clock)?;
    for signal in &chosen {
        let until = archive.sealed_span(*signal).map_or(from, |(_, last)| last.end().max(from));
        let range = TimeRangeMs::new(from, until);
        let range_ns = TimeRangeNs::new(range.start.to_ns(), range.end.to_ns());
        let count = match signal {
            Signal::Metrics => {
                let range = TimeRangeMs::new(since(Signal::Metrics), until);
                refill.metrics(archive.as_ref(), range, &|labels, end| {
                    (end > from || rules.holds(labels)) && end > rules.shown_since(labels, now)
                })?
            }
            Signal::Logs => refill.logs(archive.as_ref(), range_ns, &mut |_, _| true)?,
            Signal::Traces => refill.traces(archive.as_ref(), range_ns, &mut |_| true)?,
        };
        out.line(&format!("{signal:<8} {count} items from sealed hours"))?;
    }
    // On record before the old files go: hours that are empty from now on must not look sealed.
    for signal in &chosen {
        let gap = seals.declare_lost(*signal, now, REASON)?;
        if !gap.is_empty() {
            out.line(&format!("{signal:<8} hours since the last seal are lost, declared a gap"))?;
        }
    }
    match refill.commit(Old::Keep)? {
        Some(aside) => {
            out.line(&format!("old files are in {aside}; remove it when all is well"))?
        }
        None => out.line("there were no old files")?,
    }
    Ok(())
}

/// Signals whose engine is not there although hours are sealed, or cannot be opened.
fn lost(folder: &HeldFolder, out: &mut Out) -> anyhow::Result<Vec<Signal>> {
    let mut found = Vec::new();
    for signal in Signal::ALL {
        let missing = !folder.data.join(signal.as_str()).exists();
        let (data, disk, clock) = (&folder.data, &folder.disk, &folder.clock);
        let read = Access::ReadOnly;
        let mut log_limits = obs_logs::Limits::standard();
        log_limits.past_max = ANY_AGE;
        let opened = match signal {
            _ if missing => Ok(()),
            Signal::Metrics => {
                open_metrics(data, disk, clock, read, obs_metrics::Limits::standard()).map(|_| ())
            }
            Signal::Logs => open_logs(data, disk, clock, read, log_limits).map(|_| ()),
            Signal::Traces => {
                let limits = obs_traces::TraceLimits::standard();
                open_traces(data, disk, clock, read, limits).map(|_| ())
            }
        };
        match opened {
            Err(e) => out.line(&format!("{signal:<8} cannot be opened: {e:#}"))?,
            Ok(()) if missing && folder.archive.sealed_span(signal).is_some() => {
                out.line(&format!("{signal:<8} is missing"))?;
            }
            Ok(()) => continue,
        }
        found.push(signal);
    }
    Ok(found)
}

/// Hashes what the new engine will be made of; says how far it is.
fn check_files(
    folder: &HeldFolder,
    signal: Signal,
    from: TimestampMs,
    out: &mut Out,
) -> anyhow::Result<()> {
    let catalog = Catalog::read(&folder.ledger)?;
    let files: Vec<_> = catalog
        .entries()
        .filter(|e| !e.reduced && e.name.signal == signal && e.name.hour.end() > from)
        .collect();
    let (mut bytes, mut bad) = (0, Vec::new());
    for (i, entry) in files.iter().enumerate() {
        let path = entry.name.storage_path();
        match folder.archive.disk().read(&folder.data.join(&path)) {
            Ok(read) if ContentHash(obs_proof::hash::blake3_of(&read)) == entry.content_hash => {
                bytes += read.len();
            }
            Ok(_changed) => bad.push(format!("{path}: its bytes are not those of its receipt")),
            Err(e) => bad.push(format!("{path}: {e}")),
        }
        if (i + 1) % 100 == 0 {
            eprintln!("{signal}: {} of {} sealed files checked", i + 1, files.len());
        }
    }
    if !bad.is_empty() {
        bail!(
            "nothing was changed, because not all that is sealed can be trusted:\n{}",
            bad.join("\n")
        );
    }
    ensure!(
        folder.archive.problems().is_empty(),
        "sealed files cannot be read: {:?}",
        folder.archive.problems()
    );
    let (count, bytes) = (files.len(), human::bytes(bytes as f64));
    Ok(out
        .line(&format!("{signal:<8} {count} sealed files, {bytes}, are those of their receipts"))?)
}
