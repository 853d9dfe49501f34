//! The data folder that history goes into.
//!
//! The engine takes samples of any age here, because no server runs on the folder. Every few
//! million samples it is closed and opened as a server would, which moves them to blocks. At the
//! end every hour is sealed and recorded: a seal is what outlives the hot retention.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use anyhow::{Context, bail};
use obs_archive::{Hour, Signal};
use obs_disk::{Clock, DataLock, Disk, RealDisk, SystemClock};
use obs_ledger::{Collection, Ledger, LedgerConfig, LedgerMode};
use obs_ops::{SealService, SealSettings};
use obs_query::{QueryFront, QueryLimits, format_time};
use obs_types::{
    DurationMs, IngestOutcome, MetricBatch, MetricSink, SeriesSamples, TimeRangeMs, TimestampMs,
};

use super::IntoArgs;
use crate::cli::out::Out;
use crate::config::Config;
use crate::serve::{Access, Engines};

/// Samples of one append.
const BATCH_SAMPLES: usize = 50_000;
/// Samples that the engine may hold before they are moved to blocks.
const HELD_MAX: u64 = 8_000_000;
/// Late enough for everything.
const ANY_AGE: DurationMs = DurationMs(i64::MAX / 4);

/// An open data folder, and what came in so far.
pub(in crate::cli) struct Store {
    data: PathBuf,
    disk: Arc<dyn Disk>,
    clock: Arc<dyn Clock>,
    engines: Engines,
    ledger: Arc<Ledger>,
    seal_delay: DurationMs,
    /// Hours between these instants are sealed already.
    sealed: Option<(TimestampMs, TimestampMs)>,
    /// Whether something came in for one of them.
    late: bool,
    batch: MetricBatch,
    batch_samples: usize,
    held: u64,
    /// The oldest and the newest time that came in.
    span: Option<(TimestampMs, TimestampMs)>,
    outcome: IngestOutcome,
    _lock: DataLock,
}

impl Store {
    pub(in crate::cli) fn open(args: &IntoArgs) -> anyhow::Result<Self> {
        let config = match &args.config {
            Some(path) => Config::load(path)?,
            None => Config::standard()?,
        };
        let data = args.data.clone().unwrap_or_else(|| config.data.clone());
        std::fs::create_dir_all(&data)
            .with_context(|| format!("cannot create {}", data.display()))?;
        let data = std::fs::canonicalize(&data)?;
        let lock = DataLock::acquire(&data)
            .context("a server runs on the folder; stop it, or import into a folder of its own")?;
        let disk: Arc<dyn Disk> = Arc::new(RealDisk);
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let engines = open(&data, &disk, &clock, Some(ANY_AGE))?;
        let ledger = Ledger::open(LedgerConfig::in_data_dir(
            &data,
            Arc::clone(&disk),
            Arc::clone(&clock),
            config.origin(),
            LedgerMode::ReadWrite,
        ))?;
        crate::storage::learn(&ledger, &engines.archive)?;
        let sealed = engines.archive.sealed_span(Signal::Metrics);
        Ok(Self {
            sealed: sealed.map(|(first, last)| (first.start(), last.end())),
            late: false,
            ledger: Arc::new(ledger),
            seal_delay: config.seal_delay,
            data,
            disk,
            clock,
            engines,
            batch: MetricBatch::default(),
            batch_samples: 0,
            held: 0,
            span: None,
            outcome: IngestOutcome::default(),
            _lock: lock,
        })
    }

    /// Samples stored so far.
    pub(in crate::cli) fn stored(&self) -> u64 {
        self.outcome.accepted
    }

    /// What the folder held when it was opened: sealed hours, and the engine behind them.
    pub(in crate::cli) fn front(&self) -> QueryFront {
        let until = self.sealed.map_or(TimestampMs::MIN, |(_, until)| until);
        self.engines.boundary.store(until.0, Ordering::Release);
        self.engines.front(&self.clock, QueryLimits::STANDARD)
    }

    pub(in crate::cli) fn now(&self) -> TimestampMs {
        self.clock.now()
    }

    pub(in crate::cli) fn metadata(&mut self, all: Vec<obs_types::MetricMetadata>) {
        self.batch.metadata.extend(all);
    }

    /// Samples of one series. `Err` where one lies before the folder's first sealed hour: hours are
    /// recorded in order.
    pub(in crate::cli) fn add(&mut self, series: SeriesSamples) -> anyhow::Result<()> {
        let times = series.samples.iter().map(|s| s.0).chain(series.histograms.iter().map(|s| s.0));
        let mut count = 0;
        let mut span: Option<(TimestampMs, TimestampMs)> = None;
        for t in times {
            count += 1;
            span = Some(span.map_or((t, t), |(first, last)| (first.min(t), last.max(t))));
        }
        let Some((first, last)) = span else { return Ok(()) };
        if let Some((from, until)) = self.sealed {
            if first < from {
                bail!(
                    "{} at {}: the sealed hours of {} begin at {}, and none can be put before them; \
                     import into a folder of its own, or what is newer with --from {}",
                    series.labels,
                    format_time(first),
                    self.data.display(),
                    format_time(from),
                    format_time(from),
                );
            }
            self.late |= first < until;
        }
        self.span = Some(self.span.map_or((first, last), |(f, l)| (f.min(first), l.max(last))));
        self.batch_samples += count;
        self.batch.series.push(series);
        if self.batch_samples >= BATCH_SAMPLES { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> anyhow::Result<()> {
        let batch = std::mem::take(&mut self.batch);
        self.held += std::mem::take(&mut self.batch_samples) as u64;
        if !batch.series.is_empty() || !batch.metadata.is_empty() {
            let outcome = self.engines.metrics.append(batch).context("the engine takes no more")?;
            self.outcome.merge(outcome);
        }
        if self.held >= HELD_MAX {
            self.move_to_blocks()?;
            self.engines = open(&self.data, &self.disk, &self.clock, Some(ANY_AGE))?;
        }
        Ok(())
    }

    /// With the limits of a server everything older than two hours is due for a block.
    fn move_to_blocks(&mut self) -> anyhow::Result<()> {
        self.held = 0;
        self.engines.shutdown();
        self.engines = open(&self.data, &self.disk, &self.clock, None)?;
        self.engines.metrics.maintain(self.clock.now()).context("cannot write blocks")?;
        Ok(())
    }

    /// Stores what is left, seals every hour that came in, and says what was done.
    pub(in crate::cli) fn finish(mut self, out: &mut Out) -> anyhow::Result<()> {
        self.flush()?;
        self.move_to_blocks()?;
        let sealed = match self.span {
            Some((first, last)) => self.seal(first, last)?,
            None => 0,
        };
        self.engines.shutdown();
        self.ledger.shutdown()?;
        let hours = if sealed == 1 { "hour" } else { "hours" };
        out.line(&format!(
            "{} samples imported into {}, {sealed} {hours} sealed",
            self.outcome.accepted,
            self.data.display()
        ))?;
        for (reason, rejected) in &self.outcome.rejected {
            eprintln!(
                "warning: {} samples not taken, {}: {}",
                rejected.count,
                reason.as_str(),
                rejected.example
            );
        }
        Ok(())
    }

    /// Day by day, so that there is progress to tell. What comes after the newest sample is left to
    /// the server: it declares the gap or seals on.
    fn seal(&self, first: TimestampMs, last: TimestampMs) -> anyhow::Result<usize> {
        crate::storage::learn(&self.ledger, &self.engines.archive)?;
        let seals = SealService::open(SealSettings {
            data_dir: self.data.clone(),
            disk: Arc::clone(&self.disk),
            archive: Arc::clone(&self.engines.archive),
            ledger: Arc::clone(&self.ledger),
            metrics: self.engines.metrics.clone(),
            logs: self.engines.logs.clone(),
            traces: self.engines.traces.clone(),
            delay: self.seal_delay,
            // Nothing was to be collected in hours that are imported.
            collection: Box::new(|_signal, _hour| Collection::default()),
        })?;
        let before = self.engines.archive.sealed(Signal::Metrics).len();
        let until = self.sealed.map_or(TimestampMs::MIN, |(_, until)| until);
        if self.late {
            eprintln!("adding to sealed hours from {} on", format_time(first));
            seals.seal_late_in(Signal::Metrics, TimeRangeMs::new(first, until))?;
        }
        if last < until {
            return Ok(self.engines.archive.sealed(Signal::Metrics).len() - before);
        }
        let begin = first.max(until);
        let hour = |t: TimestampMs| {
            Hour::containing(t)
                .with_context(|| format!("{} ms lies in no hour that can be sealed", t.0))
        };
        let start = hour(begin)?;
        let end = hour(last)?.end().saturating_add(self.seal_delay).min(self.clock.now());
        let mut at = start.start();
        while at < end {
            at = at.saturating_add(DurationMs(24 * DurationMs::HOUR.0)).min(end);
            seals.seal_due(at, start.start())?;
            eprintln!("sealed up to {}", format_time(at));
        }
        Ok(self.engines.archive.sealed(Signal::Metrics).len() - before)
    }
}

fn open(
    data: &std::path::Path,
    disk: &Arc<dyn Disk>,
    clock: &Arc<dyn Clock>,
    window: Option<DurationMs>,
) -> anyhow::Result<Engines> {
    let mut limits = obs_metrics::Limits::standard();
    limits.out_of_order_window = window.unwrap_or(limits.out_of_order_window);
    Engines::open_with(data, disk, clock, Access::ReadWrite, None, limits)
}
