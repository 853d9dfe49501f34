//! Engines written anew, beside those that they replace.
//!
//! 1. New engines are filled below `DATA/refill` ([`Refill`]), while the old ones stay as they are.
//! 2. `refill/READY`, durable, says which signals have a new one: from here on those count.
//! 3. Folder by folder the old one is set aside and the new one takes its place.
//! 4. `refill` goes.
//!
//! A process that dies before 2 has changed nothing; after it, the next one that opens the folder
//! for writing goes on with 3 ([`finish`]). Hourly aggregates of metrics stay: nothing else holds
//! them.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail, ensure};
use obs_archive::Signal;
use obs_disk::{Clock, Disk, RealDisk, write_durable};
use obs_types::{
    Direction, DurationMs, IngestOutcome, LabelSet, LogEntry, LogRecord, LogSelect, LogSink,
    LogSource, MetricBatch, MetricSink, QueryContext, SeriesData, SeriesSamples, SeriesSelect,
    SeriesSource, SpanRecord, TimeRangeMs, TimeRangeNs, TimestampMs, TraceSelect, TraceSink,
    TraceSource,
};

use crate::serve::{ANY_AGE, Access, open_logs, open_metrics, open_traces};

const FOLDER: &str = "refill";
const READY: &str = "refill/READY";
const AGGREGATES: &str = "metrics/aggregates";
/// Lines and spans of one append, samples of one series batch.
const BATCH: usize = 20_000;
/// Samples that the engine may hold before they are moved to blocks.
const HELD_MAX: usize = 8_000_000;

/// What becomes of the old files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Old {
    /// They stay below `set-aside-TIME`.
    Keep,
    /// They hold what must go.
    Remove,
}

/// New engines in the making.
pub(crate) struct Refill<'a> {
    data: &'a Path,
    scratch: PathBuf,
    disk: Arc<dyn Disk>,
    clock: &'a Arc<dyn Clock>,
    signals: Vec<Signal>,
}

impl<'a> Refill<'a> {
    /// Begins anew: what an earlier attempt left unfinished is thrown away.
    pub(crate) fn begin(data: &'a Path, clock: &'a Arc<dyn Clock>) -> anyhow::Result<Self> {
        finish(data)?;
        let scratch = data.join(FOLDER);
        remove_folder(&scratch)?;
        fs::create_dir_all(scratch.join("wal"))
            .with_context(|| format!("cannot create {}", scratch.display()))?;
        Ok(Self { data, scratch, disk: Arc::new(RealDisk), clock, signals: Vec::new() })
    }

    /// Fills a log engine with the lines that `keep` says yes to; gives how many.
    pub(crate) fn logs(
        &mut self,
        from: &dyn LogSource,
        range: TimeRangeNs,
        keep: &mut dyn FnMut(&LabelSet, &LogEntry) -> bool,
    ) -> anyhow::Result<u64> {
        let mut limits = obs_logs::Limits::standard();
        limits.past_max = ANY_AGE;
        let engine = open_logs(&self.scratch, &self.disk, self.clock, Access::ReadWrite, limits)?;
        let select = LogSelect {
            matchers: &[],
            range,
            line_contains: &[],
            metadata_equals: &[],
            direction: Direction::Forward,
            limit: None,
        };
        let context = QueryContext::unlimited();
        let mut stored = IngestOutcome::default();
        let mut batch = Vec::new();
        for run in from.select(&select, &context)? {
            let run = run?;
            for entry in run.entries {
                if range.contains(entry.timestamp) && keep(&run.labels, &entry) {
                    batch.push(LogRecord {
                        timestamp: entry.timestamp,
                        stream: run.labels.clone(),
                        line: entry.line,
                        metadata: entry.metadata,
                    });
                }
            }
            if batch.len() >= BATCH {
                stored.merge(engine.append(std::mem::take(&mut batch))?);
                engine.maintain(self.clock.now())?;
            }
        }
        stored.merge(engine.append(batch)?);
        engine.shutdown()?;
        self.filled(Signal::Logs, &context, &stored)
    }

    /// As [`Refill::logs`], spans.
    pub(crate) fn traces(
        &mut self,
        from: &dyn TraceSource,
        range: TimeRangeNs,
        keep: &mut dyn FnMut(&SpanRecord) -> bool,
    ) -> anyhow::Result<u64> {
        let mut limits = obs_traces::TraceLimits::standard();
        limits.past_max = ANY_AGE;
        let engine = open_traces(&self.scratch, &self.disk, self.clock, Access::ReadWrite, limits)?;
        let context = QueryContext::unlimited();
        let mut stored = IngestOutcome::default();
        let mut batch = Vec::new();
        for trace in from.select(&TraceSelect { range, all_of: &[] }, &context)? {
            batch.extend(trace?.spans.into_iter().filter(|span| keep(span)));
            if batch.len() >= BATCH {
                stored.merge(engine.append(std::mem::take(&mut batch))?);
                engine.maintain(self.clock.now())?;
            }
        }
        stored.merge(engine.append(batch)?);
        engine.shutdown()?;
        self.filled(Signal::Traces, &context, &stored)
    }

    /// As [`Refill::logs`], samples, hour by hour: a series' samples of one hour are one batch.
    /// `keep` is asked for each series and the end of the hour.
    pub(crate) fn metrics(
        &mut self,
        from: &dyn SeriesSource,
        range: TimeRangeMs,
        keep: &dyn Fn(&LabelSet, TimestampMs) -> bool,
    ) -> anyhow::Result<u64> {
        let any_age = || {
            let mut limits = obs_metrics::Limits::standard();
            limits.out_of_order_window = DurationMs(i64::MAX / 4);
            limits
        };
        let open =
            |limits| open_metrics(&self.scratch, &self.disk, self.clock, Access::ReadWrite, limits);
        let mut engine = open(any_age())?;
        let context = QueryContext::unlimited();
        let mut stored = IngestOutcome::default();
        let metadata = from.metadata(None)?;
        stored.merge(engine.append(MetricBatch { metadata, ..MetricBatch::default() })?);
        let mut start = range.start;
        let mut held = 0;
        loop {
            let end = start.saturating_add(DurationMs::HOUR).min(range.end);
            let select = SeriesSelect {
                matchers: &[],
                range: TimeRangeMs::new(start, end),
                function: None,
                step_ms: None,
            };
            let mut batch = MetricBatch::default();
            let mut samples = 0;
            for series in from.select(&select, &context)? {
                let series = series?;
                if !keep(&series.labels, end) {
                    continue;
                }
                samples += series.sample_count();
                batch.series.push(samples_of(series));
                if samples >= BATCH {
                    held += std::mem::take(&mut samples);
                    stored.merge(engine.append(std::mem::take(&mut batch))?);
                }
            }
            held += samples;
            stored.merge(engine.append(batch)?);
            start = end;
            let done = start >= range.end;
            if done || held >= HELD_MAX {
                // An engine opened as a server opens it moves old hours to blocks.
                engine.shutdown();
                engine = open(obs_metrics::Limits::standard())?;
                engine.maintain(self.clock.now()).context("cannot write blocks")?;
                held = 0;
                if done {
                    break;
                }
                engine.shutdown();
                engine = open(any_age())?;
            }
        }
        engine.shutdown();
        self.filled(Signal::Metrics, &context, &stored)
    }

    /// Nothing may be left out silently: neither a sealed file that cannot be read, which queries
    /// go on without, nor an item that the engine does not take.
    fn filled(
        &mut self,
        signal: Signal,
        context: &QueryContext,
        stored: &IngestOutcome,
    ) -> anyhow::Result<u64> {
        let warnings = context.warnings.list();
        ensure!(warnings.is_empty(), "not all {signal} can be read: {}", warnings.join("; "));
        if let Some((reason, rejected)) = stored.rejected.iter().next() {
            let (reason, n) = (reason.as_str(), rejected.count);
            bail!("{n} items of {signal} not taken, {reason}: {}", rejected.example);
        }
        self.signals.push(signal);
        Ok(stored.accepted)
    }

    /// The new engines take their places; gives the folder with the old ones, if they are kept.
    pub(crate) fn commit(self, old: Old) -> anyhow::Result<Option<String>> {
        sync_all(&self.scratch)?;
        let mut time = self.clock.now().0;
        while self.data.join(format!("set-aside-{time}")).exists() {
            time += 1;
        }
        let aside = format!("set-aside-{time}");
        let word = if old == Old::Keep { "keep" } else { "remove" };
        let mut text = format!("{word} {aside}\n");
        for signal in &self.signals {
            text.push_str(&format!("{signal}\n"));
        }
        write_durable(self.disk.as_ref(), &self.data.join(READY), text.as_bytes())?;
        finish(self.data)?;
        Ok((old == Old::Keep && self.data.join(&aside).exists()).then_some(aside))
    }
}

/// Goes on with an exchange that was decided and not finished; does nothing where there is none.
pub(crate) fn finish(data: &Path) -> anyhow::Result<()> {
    let ready = data.join(READY);
    let text = match fs::read_to_string(&ready) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(e).with_context(|| format!("cannot read {}", ready.display())),
    };
    let mut lines = text.lines();
    let (old, aside) = match lines.next().and_then(|line| line.split_once(' ')) {
        Some(("keep", aside)) => (Old::Keep, data.join(aside)),
        Some(("remove", aside)) => (Old::Remove, data.join(aside)),
        _ => bail!("{} does not say what becomes of the old engines", ready.display()),
    };
    for signal in lines {
        for folder in [signal.to_owned(), format!("wal/{signal}")] {
            exchange(data, &aside, &folder)?;
        }
    }
    let (kept, place) = (aside.join(AGGREGATES), data.join(AGGREGATES));
    // The new engine may have made an empty one.
    fs::remove_dir(&place).ok();
    if kept.exists() && !place.exists() {
        rename(&kept, &place)?;
        sync_folder(&data.join("metrics"))?;
    }
    if old == Old::Remove {
        remove_folder(&aside)?;
    }
    remove_folder(&data.join(FOLDER))?;
    sync_folder(data)
}

fn exchange(data: &Path, aside: &Path, folder: &str) -> anyhow::Result<()> {
    let (new, place, aside) =
        (data.join(FOLDER).join(folder), data.join(folder), aside.join(folder));
    if !new.exists() {
        return Ok(());
    }
    for path in [&place, &aside] {
        let parent = path.parent().unwrap_or(data);
        fs::create_dir_all(parent)
            .with_context(|| format!("cannot create {}", parent.display()))?;
    }
    if place.exists() {
        rename(&place, &aside)?;
        sync_folder(aside.parent().unwrap_or(data))?;
    }
    rename(&new, &place)?;
    sync_folder(place.parent().unwrap_or(data))
}

fn rename(from: &Path, to: &Path) -> anyhow::Result<()> {
    fs::rename(from, to)
        .with_context(|| format!("cannot move {} to {}", from.display(), to.display()))
}

fn remove_folder(folder: &Path) -> anyhow::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            Err(e).with_context(|| format!("cannot remove {}", folder.display()))
        }
        _ => Ok(()),
    }
}

fn sync_folder(folder: &Path) -> anyhow::Result<()> {
    RealDisk.sync_dir(folder).with_context(|| format!("cannot sync {}", folder.display()))
}

/// Every file and folder below, on stable storage.
fn sync_all(folder: &Path) -> anyhow::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        match path.is_dir() {
            true => sync_all(&path)?,
            false => fs::File::open(&path)?.sync_all()?,
        }
    }
    sync_folder(folder)
}

fn samples_of(series: SeriesData) -> SeriesSamples {
    let time = TimestampMs;
    let started = |times: &[i64], starts: &[i64]| -> Vec<(TimestampMs, TimestampMs)> {
        let known = times.iter().zip(starts).filter(|(_at, start)| **start != 0);
        known.map(|(at, start)| (time(*at), time(*start))).collect()
    };
    let mut start_timestamps = started(&series.timestamps, &series.start_timestamps);
    let histograms = series.histograms;
    start_timestamps.extend(started(&histograms.timestamps, &histograms.start_timestamps));
    SeriesSamples {
        labels: series.labels,
        samples: series.timestamps.into_iter().map(time).zip(series.values).collect(),
        histograms: histograms.timestamps.into_iter().map(time).zip(histograms.values).collect(),
        exemplars: Vec::new(),
        start_timestamps,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder where an exchange is decided: old and new engines as plain files.
    fn decided(old: &str) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let put = |path: &str, text: &str| {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        for folder in ["metrics", "wal/metrics", "logs", "wal/logs"] {
            put(&format!("{folder}/a"), "old");
            put(&format!("refill/{folder}/a"), "new");
        }
        put("metrics/aggregates/b", "kept");
        fs::create_dir(dir.path().join("refill/metrics/aggregates")).unwrap();
        put("traces/a", "untouched");
        put(READY, &format!("{old} set-aside-1\nmetrics\nlogs\n"));
        dir
    }

    fn check(dir: &Path, aside: bool) {
        let read = |path: &str| fs::read_to_string(dir.join(path)).unwrap_or_default();
        for folder in ["metrics", "wal/metrics", "logs", "wal/logs"] {
            assert_eq!(read(&format!("{folder}/a")), "new", "{folder}");
            let old = read(&format!("set-aside-1/{folder}/a"));
            assert_eq!(old, if aside { "old" } else { "" }, "{folder}");
        }
        assert_eq!(
            (read("metrics/aggregates/b").as_str(), read("traces/a").as_str()),
            ("kept", "untouched")
        );
        assert!(!dir.join(FOLDER).exists());
    }

    #[test]
    fn an_exchange_that_stopped_anywhere_is_finished() {
        for old in ["keep", "remove"] {
            // After each rename of the whole exchange.
            let steps = [
                ("metrics", "set-aside-1/metrics"),
                ("refill/metrics", "metrics"),
                ("wal/metrics", "set-aside-1/wal/metrics"),
                ("refill/wal/metrics", "wal/metrics"),
                ("logs", "set-aside-1/logs"),
                ("refill/logs", "logs"),
                ("wal/logs", "set-aside-1/wal/logs"),
                ("refill/wal/logs", "wal/logs"),
            ];
            for done in 0..=steps.len() {
                let dir = decided(old);
                for (from, to) in &steps[..done] {
                    let to = dir.path().join(to);
                    fs::create_dir_all(to.parent().unwrap()).unwrap();
                    fs::rename(dir.path().join(from), to).unwrap();
                }
                finish(dir.path()).unwrap();
                check(dir.path(), old == "keep");
                finish(dir.path()).unwrap();
                check(dir.path(), old == "keep");
            }
        }
    }

    #[test]
    fn what_is_not_decided_changes_nothing() {
        let dir = decided("keep");
        fs::remove_file(dir.path().join(READY)).unwrap();
        finish(dir.path()).unwrap();
        assert_eq!(fs::read_to_string(dir.path().join("logs/a")).unwrap(), "old");
        let clock: Arc<dyn Clock> = Arc::new(obs_disk::SystemClock::new());
        let refill = Refill::begin(dir.path(), &clock).unwrap();
        assert!(!refill.scratch.join("logs").exists(), "left by an earlier attempt");
    }
}
