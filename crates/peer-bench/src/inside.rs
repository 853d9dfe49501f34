//! The way of a remote write through this program, without a server around it: unpack, read, log,
//! store. For profiles, and for what a server adds.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, ensure};
use obs_archive::{Archive, Hour, column_bytes};
use obs_disk::{RealDisk, SystemClock};
use obs_metrics::MetricsEngine;
use obs_types::{MetricSink, TimestampMs};
use obs_wire::WireCaps;
use obs_wire::compression::{Encoding, decompress_into};
use obs_wire::remote_write::{decode_v1, read_sent_v1};

use crate::engine::{merged_blocks, open_metrics, own_cpu_seconds};
use crate::workload::Workload;

/// Prints what the load costs.
/// `sets` builds a label set for every series of every body, as protocols do whose labels are not
/// sent the same each time.
pub(crate) fn run(load: &Workload, senders: usize, batch: usize, sets: bool) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let data = folder.path();
    let engine = open_metrics(data, Arc::new(SystemClock::new()))?;
    let (mut seconds, mut cpu) = (0.0, 0.0);
    for wave in load.feed(senders, batch) {
        let (begin, before) = (Instant::now(), own_cpu_seconds());
        std::thread::scope(|scope| {
            let sent: Vec<_> =
                wave.iter().map(|bodies| scope.spawn(|| take(&engine, bodies, sets))).collect();
            sent.into_iter().try_for_each(|s| s.join().ok().context("a sender panicked")?)
        })?;
        seconds += begin.elapsed().as_secs_f64();
        cpu += own_cpu_seconds() - before;
    }
    let millions = load.sample_count() as f64 / 1e6;
    println!("{:.2} M samples/s, {:.3} CPU s per M", millions / seconds, cpu / millions);
    let stats = engine.stats();
    println!(
        "head bytes per series, as estimated: {}",
        stats.head_bytes / load.series_count() as u64
    );
    seal(data, &engine, load)?;
    drop(engine);
    reopen(data)?;
    let before = own_cpu_seconds();
    let bytes = merged_blocks(data)?;
    let samples = load.sample_count() as f64;
    println!(
        "{:.4} bytes per sample in blocks, {:.3} CPU s per M to start, write and merge them",
        bytes as f64 / samples,
        (own_cpu_seconds() - before) / millions
    );
    Ok(())
}

fn take(engine: &MetricsEngine, bodies: &[Vec<u8>], sets: bool) -> anyhow::Result<()> {
    let (caps, mut buffer) = (WireCaps::default(), Vec::new());
    for body in bodies {
        let plain = decompress_into(body, Encoding::Snappy, &caps, &mut buffer)?;
        let outcome = if sets {
            engine.append(decode_v1(plain, &caps)?.batch)?
        } else {
            engine.append_sent(&read_sent_v1(plain, &caps)?.sent)?
        };
        ensure!(outcome.rejected_count() == 0, "{:?}", outcome.rejected_text());
    }
    Ok(())
}

/// Seals the hours of the load and prints what the columns of their files take.
fn seal(data: &Path, engine: &MetricsEngine, load: &Workload) -> anyhow::Result<()> {
    let archive = Archive::open(data, Arc::new(RealDisk), [1; 32])?;
    let (mut hour, before) =
        (Hour::containing(TimestampMs(load.start_ms)).context("no such hour")?, own_cpu_seconds());
    let mut columns: BTreeMap<String, u64> = BTreeMap::new();
    let mut bytes = 0;
    while hour.range_ms().start.0 <= load.end_ms() {
        let seal = archive.seal_metrics(hour, 0, engine)?;
        let file = std::fs::read(data.join(&seal.storage_path))?;
        bytes += file.len();
        for (name, n) in column_bytes(file)? {
            *columns.entry(name).or_default() += n;
        }
        hour = hour.next();
    }
    let samples = load.sample_count() as f64;
    let of = |names: &[&str]| names.iter().filter_map(|n| columns.get(*n)).sum::<u64>() as f64;
    let dictionary = of(&["metric", "labels", "series_id", "kind"]);
    println!(
        "sealed Parquet: {:.4} bytes per sample, {:.4} of them times and {:.4} values, {:.4} the series dictionary; {:.3} CPU s per M",
        bytes as f64 / samples,
        of(&["timestamp"]) / samples,
        of(&["value"]) / samples,
        dictionary / samples,
        (own_cpu_seconds() - before) / samples * 1e6,
    );
    Ok(())
}

/// As after a kill: nothing was shut down.
fn reopen(data: &Path) -> anyhow::Result<()> {
    let (begin, before) = (Instant::now(), own_cpu_seconds());
    let engine = open_metrics(data, Arc::new(SystemClock::new()))?;
    println!(
        "start: {:.2} s, {:.2} CPU s, {} series",
        begin.elapsed().as_secs_f64(),
        own_cpu_seconds() - before,
        engine.stats().head_series
    );
    Ok(())
}
