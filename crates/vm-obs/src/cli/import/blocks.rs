//! Prometheus' data folder: its blocks, oldest first, series by series.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail};
use obs_query::format_time;
use obs_types::{SeriesSamples, TimestampMs};
use obs_wire::tsdb::{Index, IndexSeries, Samples, Tombstones, chunk_at, read_tombstones};
use serde_json::Value;

use super::Wanted;
use super::store::Store;

/// A block and the time that it covers, from its `meta.json`.
struct Block {
    folder: PathBuf,
    min_ms: i64,
    max_ms: i64,
}

/// `folder` is Prometheus' `--storage.tsdb.path`, or one block of it.
pub(super) fn import(folder: &Path, wanted: &Wanted, store: &mut Store) -> anyhow::Result<()> {
    let blocks = find(folder)?;
    let total = blocks.len();
    for (number, block) in blocks.iter().enumerate() {
        let name = block.folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if block.max_ms < wanted.start || block.min_ms >= wanted.end {
            eprintln!("block {}/{total} {name}: outside the window", number + 1);
            continue;
        }
        let series = read(block, wanted, store).with_context(|| format!("block {name}"))?;
        eprintln!(
            "block {}/{total} {name}, {} to {}: {series} series, {} samples so far",
            number + 1,
            format_time(TimestampMs(block.min_ms)),
            format_time(TimestampMs(block.max_ms)),
            store.stored(),
        );
    }
    if folder.join("wal").is_dir() {
        eprintln!(
            "note: {} also holds a log with samples that are in no block yet, up to the last three \
             hours; Prometheus writes them to a block when asked for a snapshot \
             (POST /api/v1/admin/tsdb/snapshot)",
            folder.display()
        );
    }
    Ok(())
}

fn find(folder: &Path) -> anyhow::Result<Vec<Block>> {
    let mut blocks = Vec::new();
    if folder.join("index").is_file() {
        blocks.push(meta(folder)?);
    } else {
        let entries = std::fs::read_dir(folder)
            .with_context(|| format!("cannot read {}", folder.display()))?;
        for entry in entries {
            let path = entry?.path();
            if path.join("index").is_file() {
                blocks.push(meta(&path)?);
            }
        }
    }
    if blocks.is_empty() {
        bail!("{} holds no block of Prometheus (a folder with index and chunks)", folder.display());
    }
    blocks.sort_by_key(|b| (b.min_ms, b.max_ms));
    Ok(blocks)
}

fn meta(folder: &Path) -> anyhow::Result<Block> {
    let path = folder.join("meta.json");
    let text = std::fs::read_to_string(&path)
        .with_context(|| format!("cannot read {}", path.display()))?;
    let meta: Value = serde_json::from_str(&text).with_context(|| path.display().to_string())?;
    let time = |name: &str| {
        meta.get(name)
            .and_then(Value::as_i64)
            .with_context(|| format!("{}: {name} is missing", path.display()))
    };
    Ok(Block { folder: folder.to_owned(), min_ms: time("minTime")?, max_ms: time("maxTime")? })
}

/// The chunk file that was read last: series lie in it one after another.
#[derive(Default)]
struct Segments {
    folder: PathBuf,
    open: Option<(u32, String, Vec<u8>)>,
}

impl Segments {
    fn get(&mut self, number: u32) -> anyhow::Result<(&str, &[u8])> {
        if self.open.as_ref().is_none_or(|(open, _, _)| *open != number) {
            let path = self.folder.join(format!("{:06}", u64::from(number) + 1));
            let bytes =
                std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
            self.open = Some((number, path.display().to_string(), bytes));
        }
        match &self.open {
            Some((_, name, bytes)) => Ok((name, bytes)),
            None => bail!("no chunk file is open"),
        }
    }
}

/// How many series were wanted.
fn read(block: &Block, wanted: &Wanted, store: &mut Store) -> anyhow::Result<usize> {
    let path = block.folder.join("index");
    let bytes = std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let name = path.display().to_string();
    let index = Index::open(&name, &bytes)?;
    let path = block.folder.join("tombstones");
    let tombstones = match std::fs::read(&path) {
        Ok(bytes) => read_tombstones(&path.display().to_string(), &bytes)?,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Tombstones::new(),
        Err(e) => return Err(e).with_context(|| format!("cannot read {}", path.display())),
    };
    let mut segments = Segments { folder: block.folder.join("chunks"), open: None };
    let mut count = 0;
    for series in index.series() {
        let series = series?;
        if wanted.series(&series.labels) {
            count += 1;
            let samples = samples(&series, &mut segments, &tombstones, wanted)
                .with_context(|| series.labels.to_string())?;
            store.add(samples)?;
        }
    }
    Ok(count)
}

fn samples(
    series: &IndexSeries,
    segments: &mut Segments,
    tombstones: &Tombstones,
    wanted: &Wanted,
) -> anyhow::Result<SeriesSamples> {
    let deleted = tombstones.get(&series.reference).map(Vec::as_slice).unwrap_or_default();
    let keep =
        |t: i64| wanted.time(t) && !deleted.iter().any(|(from, to)| (*from..=*to).contains(&t));
    let mut out = SeriesSamples { labels: series.labels.clone(), ..SeriesSamples::default() };
    for meta in &series.chunks {
        if meta.max_ms < wanted.start || meta.min_ms >= wanted.end {
            continue;
        }
        let (name, bytes) = segments.get(meta.segment)?;
        match chunk_at(name, bytes, meta.offset)?.samples(name)? {
            Samples::Floats(all) => out.samples.extend(
                all.into_iter().filter(|(t, _)| keep(*t)).map(|(t, v)| (TimestampMs(t), v)),
            ),
            Samples::Histograms(all) => out.histograms.extend(
                all.into_iter()
                    .filter(|(t, _)| keep(*t))
                    .map(|(t, h)| (TimestampMs(t), Arc::new(h))),
            ),
        }
    }
    // Chunks of samples that came late overlap.
    out.samples.sort_by_key(|s| s.0);
    out.histograms.sort_by_key(|s| s.0);
    Ok(out)
}
