//! Seals every hour of every signal, exactly once, and puts it on record.
//!
//! Invariants:
//! 1. a receipt is appended only after its file is durable and was read back;
//! 2. the hours of a stream are recorded without a hole: each seal begins where the last ended, and
//!    hours in which vm-obs did not run are declared as a gap;
//! 3. a file without a receipt (the process died between the two) is no seal: it is removed at the
//!    next start and the hour is sealed again from the hot engine; while the process lives, the
//!    receipt is tried again instead.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use obs_archive::{Archive, Hour, Seal, SealDetails, Signal};
use obs_disk::Disk;
use obs_ledger::{
    Collection, Gap, Ledger, LogBatch, LogCounts, MetricSnapshot, Receipt, Records, SealFields,
    SealLink, SealRelation, TraceBatch, TraceComplete,
};
use obs_types::{
    ContentHash, DurationMs, LogSource, QueryContext, SeriesSource, TimeRangeMs, TimeRangeNs,
    TimestampMs, TimestampNs, TraceSelect, TraceSource,
};
use serde_json::Value;

use crate::OpsError;

/// Hours without vm-obs up to this many are sealed empty one by one; more become one gap.
const EMPTY_HOURS_MAX: i64 = 6;
/// Sealed hours that are looked at again for late data.
const BACKFILL_HOURS: usize = 3;

/// Hours of a gap, from its end back, that are looked at for data that came late.
const GAP_HOURS_MAX: i64 = 48;

/// What the service works with.
pub struct SealSettings {
    pub data_dir: PathBuf,
    pub disk: Arc<dyn Disk>,
    pub archive: Arc<Archive>,
    pub ledger: Arc<Ledger>,
    pub metrics: Arc<dyn SeriesSource>,
    pub logs: Arc<dyn LogSource>,
    pub traces: Arc<dyn TraceSource>,
    /// How long after its end an hour is sealed.
    pub delay: DurationMs,
    /// What should have been collected in an hour, and what was.
    pub collection: Box<dyn Fn(Signal, Hour) -> Collection + Send + Sync>,
}

impl std::fmt::Debug for SealSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SealSettings").field("delay", &self.delay).finish_non_exhaustive()
    }
}

/// Seals what is due.
#[derive(Debug)]
pub struct SealService {
    settings: SealSettings,
    /// Held while sealing: a file that another thread has written but not yet recorded must not
    /// look forgotten.
    sealing: Mutex<()>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Per stream: the end of the last recorded hour.
    recorded_until: BTreeMap<&'static str, i64>,
    /// Per file: its hash, for revisions that refer to it.
    hashes: BTreeMap<String, ContentHash>,
    /// Declared gaps: stream, start, end, number of the receipt; oldest first.
    gaps: Vec<(Signal, i64, i64, u64)>,
    /// Files that are durable and whose receipt the ledger refused, oldest first.
    unrecorded: Vec<Seal>,
}

impl SealService {
    /// Reads what the ledger has on record and removes files that never got there.
    pub fn open(settings: SealSettings) -> Result<Self, OpsError> {
        let mut state = State::default();
        settings.ledger.read(0, &mut |_seq, line| {
            if line.contains("\"period\"")
                && let Ok(receipt) = serde_json::from_str::<Value>(line)
            {
                state.learn(&receipt);
            }
            true
        })?;
        let recorded: BTreeSet<&str> = state.hashes.keys().map(String::as_str).collect();
        for signal in Signal::ALL {
            for name in settings.archive.sealed(signal) {
                let path = name.storage_path();
                if recorded.contains(path.as_str()) {
                    continue;
                }
                tracing::warn!(path, "removing a sealed file that never got its receipt");
                for file in [path, name.tree_path()] {
                    let full = settings.data_dir.join(&file);
                    if settings.disk.exists(&full) {
                        settings.disk.remove(&full).map_err(|e| OpsError::State {
                            path: full.clone(),
                            reason: e.to_string(),
                        })?;
                    }
                }
            }
        }
        settings.archive.refresh()?;
        Ok(Self { settings, sealing: Mutex::default(), state: Mutex::new(state) })
    }

    /// Seals every hour that has ended `delay` ago. `running_since` bounds the first seal of a
    /// fresh installation. Gives the receipts' sequence numbers.
    ///
    /// Hours of a long downtime become a gap, except those that hold data: what came in before the
    /// process ended, or was sent afterwards, is sealed.
    pub fn seal_due(
        &self,
        now: TimestampMs,
        running_since: TimestampMs,
    ) -> Result<Vec<u64>, OpsError> {
        let _sealing = self.sealing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut done = self.record_left_over()?;
        let Some(last) = Hour::containing(now.saturating_sub(self.settings.delay)) else {
            return Ok(done);
        };
        let last = last.previous();
        let Some(first) = Hour::containing(running_since) else { return Ok(done) };
        for signal in Signal::ALL {
            let mut next = match self.recorded_until(signal) {
                None if first > last => first,
                None => self.first_with_data(signal, first)?,
                Some(until) => match Hour::ending_at(TimestampMs(until)) {
                    Some(hour) => hour.next(),
                    None => first,
                },
            };
            let running = first.min(last.next());
            while hours_between(next, running) > EMPTY_HOURS_MAX {
                let empty = self.empty_until(signal, next, running)?;
                if empty > next {
                    done.extend(self.declare_gap(signal, next, empty)?);
                    next = empty;
                } else {
                    done.extend(self.seal(signal, next)?);
                    next = next.next();
                }
            }
            while next <= last {
                done.extend(self.seal(signal, next)?);
                next = next.next();
            }
        }
        Ok(done)
    }

    /// Seals data that arrived after its hour was sealed, as further revisions, and data of the
    /// youngest hours of a declared gap.
    pub fn seal_late(&self) -> Result<Vec<u64>, OpsError> {
        let _sealing = self.sealing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut done = self.record_left_over()?;
        for signal in Signal::ALL {
            let mut hours: Vec<Hour> =
                self.settings.archive.sealed(signal).iter().map(|n| n.hour).collect();
            hours.dedup();
            for hour in hours.into_iter().rev().take(BACKFILL_HOURS) {
                done.extend(self.seal_late_hour(signal, hour)?);
            }
            done.extend(self.seal_in_gaps(signal)?);
        }
        Ok(done)
    }

    /// Hours that were declared a gap before their data came.
    fn seal_in_gaps(&self, signal: Signal) -> Result<Vec<u64>, OpsError> {
        let gaps: Vec<(i64, i64)> = {
            let state = self.lock();
            let of_signal = state.gaps.iter().filter(|(s, ..)| *s == signal);
            of_signal.map(|(_, start, end, _)| (*start, *end)).collect()
        };
        let mut done = Vec::new();
        for (start, end) in gaps {
            let mut next = Hour::ending_at(TimestampMs(end));
            while let Some(hour) = next.filter(|h| h.start().0 >= start) {
                next = Some(hour.previous());
                if !self.settings.archive.is_sealed(signal, hour)
                    && self.has_data(signal, hour, hour.next())?
                {
                    done.extend(self.seal(signal, hour)?);
                }
                if hours_between(hour, Hour::ending_at(TimestampMs(end)).unwrap_or(hour))
                    >= GAP_HOURS_MAX
                {
                    break;
                }
            }
        }
        Ok(done)
    }

    /// [`SealService::seal_late`] for the sealed hours of one signal that overlap `range`, however
    /// old.
    pub fn seal_late_in(&self, signal: Signal, range: TimeRangeMs) -> Result<Vec<u64>, OpsError> {
        let _sealing = self.sealing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut done = self.record_left_over()?;
        let mut hours: Vec<Hour> =
            self.settings.archive.sealed(signal).iter().map(|n| n.hour).collect();
        hours.dedup();
        hours.retain(|h| h.end() > range.start && h.start() < range.end);
        for hour in hours {
            done.extend(self.seal_late_hour(signal, hour)?);
        }
        Ok(done)
    }

    fn seal_late_hour(&self, signal: Signal, hour: Hour) -> Result<Vec<u64>, OpsError> {
        let s = &self.settings;
        let seal = match signal {
            Signal::Metrics => s.archive.backfill_metrics(hour, s.metrics.as_ref())?,
            Signal::Logs => s.archive.backfill_logs(hour, s.logs.as_ref())?,
            Signal::Traces => s.archive.backfill_traces(hour, s.traces.as_ref())?,
        };
        seal.map_or_else(|| Ok(Vec::new()), |seal| self.record_or_keep(seal))
    }

    fn seal(&self, signal: Signal, hour: Hour) -> Result<Vec<u64>, OpsError> {
        let span = tracing::info_span!("seal hour", stream = signal.as_str(), hour = hour.label());
        let _entered = span.enter();
        let s = &self.settings;
        let seal = match signal {
            Signal::Metrics => s.archive.seal_metrics(hour, 0, s.metrics.as_ref())?,
            Signal::Logs => s.archive.seal_logs(hour, 0, s.logs.as_ref())?,
            Signal::Traces => s.archive.seal_traces(hour, 0, s.traces.as_ref())?,
        };
        self.record_or_keep(seal)
    }

    /// The file stays and its receipt is tried again with the next call, because a file is never
    /// written twice.
    fn record_or_keep(&self, seal: Seal) -> Result<Vec<u64>, OpsError> {
        self.record(&seal).inspect_err(|_refused| self.lock().unrecorded.push(seal))
    }

    fn record_left_over(&self) -> Result<Vec<u64>, OpsError> {
        let mut done = Vec::new();
        let mut waiting = std::mem::take(&mut self.lock().unrecorded).into_iter();
        while let Some(seal) = waiting.next() {
            match self.record(&seal) {
                Ok(sequence) => done.extend(sequence),
                Err(e) => {
                    let mut state = self.lock();
                    state.unrecorded.push(seal);
                    state.unrecorded.extend(waiting);
                    return Err(e);
                }
            }
        }
        Ok(done)
    }

    fn record(&self, seal: &Seal) -> Result<Vec<u64>, OpsError> {
        let collection = (self.settings.collection)(seal.signal(), seal.hour());
        let receipts = receipts(seal, collection, self.link(seal), self.gap_of(seal));
        let sequence = self.settings.ledger.append(receipts)?;
        let mut state = self.lock();
        let until = state.recorded_until.entry(seal.signal().as_str()).or_insert(i64::MIN);
        *until = (*until).max(seal.hour().end().0);
        state.hashes.insert(seal.storage_path.clone(), seal.content_hash);
        Ok(sequence)
    }

    /// Where the record of a stream begins: an earlier process may have ended before its first seal,
    /// and what it took is held still, however long ago that was. It must get on record, because
    /// what is older than the record is taken for sealed and leaves the engine.
    fn first_with_data(&self, signal: Signal, first: Hour) -> Result<Hour, OpsError> {
        match Hour::containing_ns(TimestampNs::MIN) {
            Some(begin) => self.empty_until(signal, begin.next(), first),
            None => Ok(first),
        }
    }

    /// The first hour from `from` on that holds data, at most `to`.
    fn empty_until(&self, signal: Signal, from: Hour, to: Hour) -> Result<Hour, OpsError> {
        if !self.has_data(signal, from, to)? {
            return Ok(to);
        }
        // Nothing before `empty`, something before `filled`.
        let (mut empty, mut filled) = (from, to);
        while hours_between(empty, filled) > 1 {
            let middle = empty.end().0 + hours_between(empty, filled) / 2 * DurationMs::HOUR.0;
            let Some(middle) = Hour::ending_at(TimestampMs(middle)) else { break };
            if self.has_data(signal, empty, middle)? {
                filled = middle;
            } else {
                empty = middle;
            }
        }
        Ok(empty)
    }

    /// Whether anything lies between the starts of two hours.
    fn has_data(&self, signal: Signal, from: Hour, to: Hour) -> Result<bool, OpsError> {
        let s = &self.settings;
        let context = QueryContext::unlimited();
        let range = TimeRangeMs::new(from.start(), to.start());
        let range_ns = TimeRangeNs::new(from.start().to_ns(), to.start().to_ns());
        Ok(match signal {
            Signal::Metrics => !s.metrics.series(&[], range, &context)?.is_empty(),
            Signal::Logs => !s.logs.streams(&[], range_ns, &context)?.is_empty(),
            Signal::Traces => {
                let select = TraceSelect { range: range_ns, all_of: &[] };
                s.traces.select(&select, &context)?.next().transpose()?.is_some()
            }
        })
    }

    fn declare_gap(&self, signal: Signal, from: Hour, to: Hour) -> Result<Vec<u64>, OpsError> {
        let gap = Gap {
            stream: signal.as_str().to_owned(),
            period_start: from.start(),
            period_end: to.start(),
            reason: "vm-obs was not running".to_owned(),
        };
        let sequence = self.settings.ledger.append(vec![Receipt::gap(gap)])?;
        let mut state = self.lock();
        state.recorded_until.insert(signal.as_str(), to.start().0);
        state.gaps.extend(sequence.iter().map(|s| (signal, from.start().0, to.start().0, *s)));
        drop(state);
        Ok(sequence)
    }

    /// The gap that covers the hour of a first seal.
    fn gap_of(&self, seal: &Seal) -> Option<u64> {
        let (start, end) = (seal.hour().start().0, seal.hour().end().0);
        let state = self.lock();
        let covers = |g: &&(Signal, i64, i64, u64)| {
            g.0 == seal.signal() && g.1 <= start && end <= g.2 && seal.revision() == 0
        };
        state.gaps.iter().find(covers).map(|(.., number)| *number)
    }

    /// What a later revision says of the hour's first seal.
    fn link(&self, seal: &Seal) -> Option<SealLink> {
        if seal.revision() == 0 {
            return None;
        }
        let first = obs_archive::SealName::new(seal.signal(), seal.hour(), 0).storage_path();
        self.lock().hashes.get(&first).map(|hash| SealLink {
            relation: SealRelation::Supplements,
            content_hash: *hash,
            reason: "late data".to_owned(),
        })
    }

    /// The end of the last hour that is on record for every signal: data before it is sealed or a
    /// declared gap. `None` before the first seal.
    pub fn sealed_until(&self) -> Option<TimestampMs> {
        let ends: Option<Vec<i64>> =
            Signal::ALL.into_iter().map(|signal| self.recorded_until(signal)).collect();
        ends?.into_iter().min().map(TimestampMs)
    }

    fn recorded_until(&self, signal: Signal) -> Option<i64> {
        self.lock().recorded_until.get(signal.as_str()).copied()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn hours_between(from: Hour, to: Hour) -> i64 {
    (to.end().0 - from.end().0) / DurationMs::HOUR.0
}

impl State {
    fn learn(&mut self, receipt: &Value) {
        let text = |name: &str| receipt.get(name).and_then(Value::as_str);
        if let (Some(path), Some(hash)) = (text("storage_path"), text("content_hash"))
            && let Ok(hash) = hash.parse()
        {
            self.hashes.insert(path.to_owned(), hash);
        }
        let stream = text("stream")
            .and_then(|s| Signal::ALL.into_iter().find(|signal| signal.as_str() == s));
        let end = receipt
            .pointer("/period/end")
            .and_then(Value::as_str)
            .and_then(|t| t.parse::<jiff::Timestamp>().ok());
        if let (Some(stream), Some(end)) = (stream, end) {
            let until = self.recorded_until.entry(stream.as_str()).or_insert(i64::MIN);
            *until = (*until).max(end.as_millisecond());
            let start = receipt
                .pointer("/period/start")
                .and_then(Value::as_str)
                .and_then(|t| t.parse::<jiff::Timestamp>().ok());
            let number = receipt.get("seq").and_then(Value::as_u64);
            if let (Some("obs_gap"), Some(start), Some(number)) = (text("type"), start, number) {
                self.gaps.push((stream, start.as_millisecond(), end.as_millisecond(), number));
            }
        }
    }
}

/// The receipts of one seal: its own, then one for each significant trace.
pub(crate) fn receipts(
    seal: &Seal,
    collection: Collection,
    link: Option<SealLink>,
    fills_gap: Option<u64>,
) -> Vec<Receipt> {
    let fields = SealFields {
        period_start: seal.hour().start(),
        period_end: seal.hour().end(),
        rev: seal.revision(),
        link,
        fills_gap,
        storage_path: seal.storage_path.clone(),
        content_hash: seal.content_hash,
        content_bytes: seal.content_bytes,
        records: Records {
            count: seal.records.count,
            root: seal.records.root,
            leaf: seal.records.leaf.to_owned(),
        },
        collection,
    };
    let tags = Vec::new();
    match &seal.details {
        SealDetails::Metrics(m) => {
            let mut aggregates = BTreeMap::new();
            let a = &m.aggregates;
            for (name, value) in [
                ("avg_cpu_percent", a.avg_cpu_percent),
                ("max_cpu_percent", a.max_cpu_percent),
                ("avg_memory_percent", a.avg_memory_percent),
                ("total_receipts_emitted", a.total_receipts_emitted.map(|n| n as f64)),
                ("total_anchors_completed", a.total_anchors_completed.map(|n| n as f64)),
            ] {
                if let Some(value) = value.filter(|v| v.is_finite()) {
                    aggregates.insert(name.to_owned(), value);
                }
            }
            vec![Receipt::metric_snapshot(MetricSnapshot {
                seal: fields,
                nodes_reporting: m.nodes_reporting(),
                metrics_collected: m.metrics_collected,
                aggregates,
                tags,
            })]
        }
        SealDetails::Logs(l) => {
            let c = l.log_counts;
            vec![Receipt::log_batch(LogBatch {
                seal: fields,
                log_counts: LogCounts {
                    trace: c.trace,
                    debug: c.debug,
                    info: c.info,
                    warn: c.warn,
                    error: c.error,
                    fatal: c.fatal,
                },
                services_reporting: l.services_reporting.clone(),
                tags,
            })]
        }
        SealDetails::Traces(t) => {
            let mut all = vec![Receipt::trace_batch(TraceBatch {
                seal: fields,
                traces: t.traces,
                spans: t.spans,
                error_traces: t.error_traces,
                services_reporting: t.services_reporting.clone(),
                tags,
            })];
            all.extend(t.significant.iter().map(|s| {
                Receipt::trace_complete(TraceComplete {
                    trace_id: s.trace_id,
                    name: s.name.clone(),
                    start: s.start,
                    end: s.timestamp,
                    duration_ms: s.duration_ms,
                    status: s.status.to_owned(),
                    span_count: s.span_count,
                    services_involved: s.services_involved.clone(),
                    nodes_involved: s.nodes_involved.clone(),
                    triggered_by: s.triggered_by.clone(),
                    business_context: s.business_context.clone().into_iter().collect(),
                    tags: s
                        .tags
                        .iter()
                        .filter(|t| !["observability", "trace"].contains(&t.as_str()))
                        .cloned()
                        .collect(),
                })
            }));
            all
        }
    }
}
