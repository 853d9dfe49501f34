//! `vm-obs storage redact` and `storage compact`: sealed files written anew.
//!
//! Redaction: 1. what came late is sealed, so that nothing comes back from the engine later. 2. The
//! engine is written anew without the records, if it holds any ([`crate::refill`]). 3. The sealed
//! files lose their content, each with an `obs_reseal` receipt. A run that dies is done again: each
//! step finds what is left to do.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, bail, ensure};
use clap::Args;
use obs_archive::{SealedItem, Signal};
use obs_disk::{Clock, SystemClock};
use obs_logql::Pipeline;
use obs_ops::storage::{ResealReport, ResealRequest};
use obs_traceql::match_trace;
use obs_types::{
    Direction, DurationMs, LabelSet, LogEntry, LogSelect, LogSource, QueryContext, SpanRecord,
    TimeRangeMs, TimeRangeNs, TimestampNs, Trace, TraceSelect, TraceSource, matches_all,
};

use super::args::WindowArgs;
use super::folder::HeldFolder;
use super::out::Out;
use super::{human, rebuild};
use crate::config::Config;
use crate::refill::{Old, Refill};
use crate::serve::{ANY_AGE, Access, open_logs, open_traces};

#[derive(Args, Debug)]
pub(crate) struct RedactArgs {
    /// Data folder that no server runs on
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// Configuration of its server: names the cold store
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// logs or traces
    #[arg(long, value_name = "SIGNAL", value_parser = rebuild::signal)]
    signal: Signal,
    /// LogQL selector with filters, such as '{service_name="auth"} |= "password="'; of traces a
    /// TraceQL filter that is asked of each span by itself, such as '{ span.user = "x" }'
    #[arg(long = "match", value_name = "QUERY")]
    query: String,
    #[command(flatten)]
    window: WindowArgs,
    /// Why; stands in the receipts for good, so it must not repeat what is removed
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// DID of who asks for it
    #[arg(long, value_name = "DID", default_value = "did:vm:user:operator")]
    by: String,
    /// Do it; without it the records are counted
    #[arg(long)]
    yes: bool,
}

#[derive(Args, Debug)]
pub(crate) struct CompactArgs {
    /// Data folder that no server runs on
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// Configuration of its server: names the cold store
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Only hours that ended so long ago
    #[arg(long, value_name = "DURATION", default_value = "7d")]
    older_than: String,
    /// Least gain for which a file is written anew, per cent of its bytes
    #[arg(long, value_name = "PERCENT", default_value_t = 2)]
    gain_min: u64,
    /// DID of who asks for it
    #[arg(long, value_name = "DID", default_value = "did:vm:user:operator")]
    by: String,
}

fn config_of(file: Option<&PathBuf>) -> anyhow::Result<Config> {
    file.map_or_else(Config::standard, |file| Config::load(file))
}

pub(super) fn compact(args: &CompactArgs, out: &mut Out) -> anyhow::Result<()> {
    let config = config_of(args.config.as_ref())?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let age = crate::config::duration("--older-than", &args.older_than)?;
    let folder = HeldFolder::open(&args.data, &config, clock)?;
    let archive = Arc::clone(&folder.archive);
    // Removes what never got a receipt.
    drop(folder.seals(archive.clone(), archive.clone(), archive)?);
    let storage = folder.storage(&config)?;
    let now = folder.clock.now();
    for signal in Signal::ALL {
        let request = ResealRequest {
            signal,
            range: TimeRangeMs::new(obs_types::TimestampMs::MIN, now.saturating_sub(age)),
            initiated_by: args.by.clone(),
            reason: "the same records in fewer bytes".to_owned(),
        };
        let report = storage.compact(&request, args.gain_min, now)?;
        let (files, saved) = (report.resealed.len(), human::bytes(report.bytes_saved as f64));
        out.line(&format!("{signal:<8} {files} files written anew, {saved} less"))?;
        say_rest(&report, out)?;
    }
    folder.ledger.shutdown()?;
    Ok(())
}

fn say_rest(report: &ResealReport, out: &mut Out) -> anyhow::Result<()> {
    for path in &report.waiting {
        out.line(&format!("left for another time: {path} waits for a receipt"))?;
    }
    for path in &report.left_in_cold {
        out.line(&format!("still in the cold store, removed at the next step: {path}"))?;
    }
    Ok(())
}

pub(super) fn redact(args: &RedactArgs, out: &mut Out) -> anyhow::Result<()> {
    let config = config_of(args.config.as_ref())?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let folder = HeldFolder::open(&args.data, &config, clock)?;
    run(&folder, &config, args, out)?;
    folder.ledger.shutdown()?;
    Ok(())
}

/// [`redact`] over an open folder.
pub(super) fn run(
    folder: &HeldFolder,
    config: &Config,
    args: &RedactArgs,
    out: &mut Out,
) -> anyhow::Result<()> {
    ensure!(
        args.window.from.is_some() || args.window.last.is_some(),
        "--from or --last is missing"
    );
    let signal = args.signal;
    let (start, end) = args.window.resolve(DurationMs::HOUR)?;
    let chosen = &Chosen::parse(signal, &args.query, TimeRangeNs::new(start, end))?;
    let sealed_until = folder.archive.sealed_span(signal).map(|(_, last)| last.end());
    let until = sealed_until.with_context(|| format!("no hour of {signal} is sealed"))?;
    if chosen.range.end > until.to_ns() {
        bail!(
            "only sealed hours can be redacted: --to must not be after {}, the end of the last one",
            obs_proof::time::format_rfc3339(until.0)
        );
    }
    let hot = Hot::open(folder, signal)?;
    let sealed = chosen.count_sealed(folder)?;
    let held = hot.count(chosen)?;
    out.line(&format!("{sealed} sealed records match, {held} in the engine"))?;
    if !args.yes {
        return Ok(out.line("nothing was changed; --yes does it")?);
    }
    let range = TimeRangeMs::new(
        chosen.range.start.floor_to_ms(),
        TimestampNs(chosen.range.end.0.saturating_add(999_999)).floor_to_ms(),
    );
    hot.seals(folder)?.seal_late_in(signal, range)?;
    if held > 0 {
        let mut refill = Refill::begin(&folder.data, &folder.clock)?;
        hot.without(chosen, &mut refill)?;
        drop(hot);
        refill.commit(Old::Remove)?;
        out.line(&format!("{held} records are gone from the engine"))?;
    }
    let storage = folder.storage(config)?;
    let request =
        ResealRequest { signal, range, initiated_by: args.by.clone(), reason: args.reason.clone() };
    let mut choose = |item: SealedItem<'_>| chosen.has(item).unwrap_or(false);
    let report = storage.redact(&request, &mut choose, folder.clock.now())?;
    // Parts of cold files that were read lately.
    for entry in folder.disk.list(&folder.data.join("cache"))? {
        if !entry.is_dir {
            folder.disk.remove(&folder.data.join("cache").join(entry.name))?;
        }
    }
    let files = report.resealed.len();
    out.line(&format!("{} sealed records are redacted in {files} files", report.redacted))?;
    say_rest(&report, out)?;
    if !report.resealed.is_empty() {
        out.line("backups made before still hold them")?;
    }
    Ok(())
}

/// Which records are to go.
struct Chosen {
    range: TimeRangeNs,
    what: What,
}

enum What {
    Lines(Pipeline),
    Spans(Box<obs_traceql::Query>),
}

impl Chosen {
    fn parse(signal: Signal, query: &str, range: TimeRangeNs) -> anyhow::Result<Self> {
        ensure!(!range.is_empty(), "the window is empty");
        let what = match signal {
            Signal::Logs => match obs_logql::parse(query).context("--match")? {
                obs_logql::Expr::Log(log) => What::Lines(Pipeline::new(&log).context("--match")?),
                obs_logql::Expr::Metric(_) => bail!("--match: a query of lines is wanted"),
            },
            Signal::Traces => {
                let query = obs_traceql::parse(query).context("--match")?;
                let nothing = Trace { id: obs_types::TraceId::default(), spans: Vec::new() };
                match_trace(&query, &nothing, 1).context("--match")?;
                What::Spans(Box::new(query))
            }
            Signal::Metrics => bail!(
                "metrics are not redacted: hourly aggregates and rules' results would go on telling \
                 what the samples did"
            ),
        };
        Ok(Self { range, what })
    }

    fn has(&self, item: SealedItem<'_>) -> anyhow::Result<bool> {
        match item {
            SealedItem::Line(stream, entry) => Ok(self.line(stream, entry)),
            SealedItem::Span(span) => self.span(span),
            SealedItem::Series(_labels) => Ok(false),
        }
    }

    fn line(&self, stream: &LabelSet, entry: &LogEntry) -> bool {
        let What::Lines(pipeline) = &self.what else { return false };
        self.range.contains(entry.timestamp)
            && matches_all(pipeline.matchers(), stream)
            && pipeline.process(entry.timestamp, stream, &entry.metadata, &entry.line).is_some()
    }

    fn span(&self, span: &SpanRecord) -> anyhow::Result<bool> {
        let What::Spans(query) = &self.what else { return Ok(false) };
        if !self.range.contains(span.span.end) {
            return Ok(false);
        }
        let trace = Trace { id: span.span.trace_id, spans: vec![span.clone()] };
        Ok(match_trace(query, &trace, 1)?.is_some())
    }

    fn count_sealed(&self, folder: &HeldFolder) -> anyhow::Result<u64> {
        match &self.what {
            What::Lines(_) => self.count_lines(folder.archive.as_ref()),
            What::Spans(_) => self.count_spans(folder.archive.as_ref()),
        }
    }

    fn count_lines(&self, source: &dyn LogSource) -> anyhow::Result<u64> {
        let What::Lines(pipeline) = &self.what else { return Ok(0) };
        let select = LogSelect {
            matchers: pipeline.matchers(),
            range: self.range,
            line_contains: &[],
            metadata_equals: &[],
            direction: Direction::Forward,
            limit: None,
        };
        let context = QueryContext::unlimited();
        let mut count = 0;
        for run in source.select(&select, &context)? {
            let run = run?;
            for entry in &run.entries {
                count += u64::from(self.line(&run.labels, entry));
            }
        }
        readable(&context)?;
        Ok(count)
    }

    fn count_spans(&self, source: &dyn TraceSource) -> anyhow::Result<u64> {
        let context = QueryContext::unlimited();
        // A span that ends in the range's first nanosecond overlaps only what begins before.
        let start = TimestampNs(self.range.start.0.saturating_sub(1));
        let select = TraceSelect { range: TimeRangeNs::new(start, self.range.end), all_of: &[] };
        let mut count = 0;
        for trace in source.select(&select, &context)? {
            for span in &trace?.spans {
                count += u64::from(self.span(span)?);
            }
        }
        readable(&context)?;
        Ok(count)
    }
}

/// What cannot be read cannot be searched.
fn readable(context: &QueryContext) -> anyhow::Result<()> {
    let warnings = context.warnings.list();
    ensure!(warnings.is_empty(), "not everything can be read: {}", warnings.join("; "));
    Ok(())
}

/// The engine of one signal, for reading.
enum Hot {
    Logs(Arc<obs_logs::LogsEngine>),
    Traces(Arc<obs_traces::TracesEngine>),
}

impl Hot {
    fn open(folder: &HeldFolder, signal: Signal) -> anyhow::Result<Self> {
        let (data, disk, clock) = (&folder.data, &folder.disk, &folder.clock);
        Ok(match signal {
            Signal::Traces => {
                let mut limits = obs_traces::TraceLimits::standard();
                limits.past_max = ANY_AGE;
                Self::Traces(open_traces(data, disk, clock, Access::ReadOnly, limits)?)
            }
            Signal::Logs | Signal::Metrics => {
                let mut limits = obs_logs::Limits::standard();
                limits.past_max = ANY_AGE;
                Self::Logs(open_logs(data, disk, clock, Access::ReadOnly, limits)?)
            }
        })
    }

    fn count(&self, chosen: &Chosen) -> anyhow::Result<u64> {
        match self {
            Self::Logs(engine) => chosen.count_lines(engine.as_ref()),
            Self::Traces(engine) => chosen.count_spans(engine.as_ref()),
        }
    }

    /// Seals of this engine's data; of the other signals nothing is new.
    fn seals(&self, folder: &HeldFolder) -> anyhow::Result<obs_ops::SealService> {
        let archive = Arc::clone(&folder.archive);
        match self {
            Self::Logs(logs) => folder.seals(archive.clone(), logs.clone(), archive),
            Self::Traces(traces) => folder.seals(archive.clone(), archive, traces.clone()),
        }
    }

    /// All but the chosen records, in an engine of their own.
    fn without(&self, chosen: &Chosen, refill: &mut Refill<'_>) -> anyhow::Result<()> {
        let all = TimeRangeNs::new(TimestampNs::MIN, TimestampNs::MAX);
        let mut failed = None;
        let mut keep = |found: anyhow::Result<bool>| match found {
            Ok(found) => !found,
            Err(e) => {
                failed = Some(e);
                true
            }
        };
        match self {
            Self::Logs(engine) => refill
                .logs(engine.as_ref(), all, &mut |stream, entry| !chosen.line(stream, entry))?,
            Self::Traces(engine) => {
                refill.traces(engine.as_ref(), all, &mut |span| keep(chosen.span(span)))?
            }
        };
        failed.map_or(Ok(()), Err)
    }
}
