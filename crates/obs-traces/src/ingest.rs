//! What is checked before a span is stored.

use std::sync::Arc;

use obs_types::{
    AttrValue, Attributes, IngestError, IngestOutcome, RejectReason, SpanRecord, TimestampMs,
    TraceSink,
};

use crate::codec::{VALUE_DEPTH_MAX, encode_batch};
use crate::{OpenMode, TraceLimits, TracesEngine};

/// Bytes and spans of one record of the log.
const RECORD_BYTES: usize = 8 << 20;
const RECORD_SPANS: usize = 10_000;
/// First byte of a record.
pub(crate) const RECORD_VERSION: u8 = 1;

impl TraceSink for TracesEngine {
    /// Large batches are split into several records; if a later one cannot be written the answer
    /// is an error though the earlier are stored. A sender that repeats the batch does no harm.
    fn append(&self, spans: Vec<SpanRecord>) -> Result<IngestOutcome, IngestError> {
        let Some(wal) = &self.wal else {
            return Err(IngestError::Unavailable {
                reason: "trace engine is read-only".to_owned(),
            });
        };
        debug_assert_eq!(self.config.mode, OpenMode::ReadWrite, "only then there is a log");
        let held = self.memory_bytes();
        let max = self.config.limits.memory_bytes_max;
        if held > max {
            let reason = format!("{held} bytes of traces wait for blocks, the limit is {max}");
            return Err(IngestError::Overloaded { reason });
        }
        if wal.is_poisoned() {
            wal.recover()?;
        }
        let now = self.config.clock.now();
        let mut outcome = IngestOutcome::default();
        let mut batch: Vec<(SpanRecord, usize)> = Vec::new();
        let mut batch_bytes = 0;
        for record in spans {
            let bytes = match check(&record, &self.config.limits, now) {
                Ok(bytes) => bytes,
                Err((reason, example)) => {
                    outcome.reject(reason, || example);
                    continue;
                }
            };
            let shared =
                batch.last().is_some_and(|(last, _)| Arc::ptr_eq(&last.resource, &record.resource));
            let bytes = bytes + if shared { 0 } else { producer_bytes(&record) };
            if batch.len() >= RECORD_SPANS || batch_bytes + bytes > RECORD_BYTES {
                outcome.accepted += self.store(wal, std::mem::take(&mut batch), now)?;
                batch_bytes = 0;
            }
            batch_bytes += bytes;
            batch.push((record, bytes));
        }
        if !batch.is_empty() {
            outcome.accepted += self.store(wal, batch, now)?;
        }
        self.counters.rejected(outcome.rejected_count());
        Ok(outcome)
    }
}

impl TracesEngine {
    fn store(
        &self,
        wal: &obs_disk::Wal,
        batch: Vec<(SpanRecord, usize)>,
        now: TimestampMs,
    ) -> Result<u64, IngestError> {
        let (records, sizes): (Vec<SpanRecord>, Vec<usize>) = batch.into_iter().unzip();
        let mut bytes = vec![RECORD_VERSION];
        bytes.extend_from_slice(&encode_batch(&records));
        let count = records.len() as u64;
        // A rotation of the log must not fall between writing the record and inserting it: its
        // segment would be removed with the block that does not hold it.
        let _gate = self.gate.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        wal.append(&bytes)?;
        let mut state = self.write_state();
        for (record, size) in records.into_iter().zip(sizes) {
            state.head.insert(record, size, now);
        }
        self.counters.accepted(count);
        Ok(count)
    }
}

/// The span's bytes without resource and scope, or why it is refused.
fn check(
    record: &SpanRecord,
    limits: &TraceLimits,
    now: TimestampMs,
) -> Result<usize, (RejectReason, String)> {
    let span = &record.span;
    let name = || format!("span {} of trace {}", span.span_id, span.trace_id);
    if span.trace_id.is_zero() {
        return Err((RejectReason::InvalidSpan, format!("trace id of {:?} is zero", span.name)));
    }
    if span.span_id.is_zero() {
        return Err((RejectReason::InvalidSpan, format!("span id of {:?} is zero", span.name)));
    }
    let oldest = now.saturating_sub(limits.past_max);
    if span.start < oldest.to_ns() {
        let start = span.start.floor_to_ms();
        return Err((
            RejectReason::TooOld,
            format!("{} starts at {start}, before {oldest}", name()),
        ));
    }
    let latest = now.saturating_add(limits.future_max);
    if span.start.max(span.end) > latest.to_ns() {
        return Err((RejectReason::TooFarInFuture, format!("{} is after {latest}", name())));
    }
    let mut bytes = size_of::<SpanRecord>();
    let mut longest = 0;
    let mut text = |s: &str| {
        longest = longest.max(s.len());
        bytes += s.len();
    };
    text(&span.name);
    text(&span.status.message);
    text(&span.trace_state);
    span.events.iter().for_each(|e| text(&e.name));
    span.links.iter().for_each(|l| text(&l.trace_state));
    text(&record.scope.name);
    text(&record.scope.version);
    let events = span.events.iter().map(|e| &e.attributes);
    let links = span.links.iter().map(|l| &l.attributes);
    let own = [&span.attributes, &record.scope.attributes, &record.resource.attributes];
    let mut shared = 0;
    for (i, attributes) in own.into_iter().chain(events).chain(links).enumerate() {
        let size = measure(attributes, &mut longest).ok_or_else(|| {
            let why = format!("{} nests values deeper than {VALUE_DEPTH_MAX}", name());
            (RejectReason::InvalidSpan, why)
        })?;
        bytes += size;
        shared += if i == 2 { size } else { 0 };
    }
    bytes += span.events.len() * size_of::<obs_types::SpanEvent>();
    bytes += span.links.len() * size_of::<obs_types::SpanLink>();
    for (what, have, max) in
        [("a value", longest, limits.value_bytes_max), ("the span", bytes, limits.span_bytes_max)]
    {
        if have > max {
            let why = format!("{}: {what} has {have} bytes, at most {max}", name());
            return Err((RejectReason::TooLarge, why));
        }
    }
    Ok(bytes - shared)
}

fn producer_bytes(record: &SpanRecord) -> usize {
    measure(&record.resource.attributes, &mut 0).unwrap_or(0)
}

/// Bytes of a list of attributes; `None` if a value nests too deep.
fn measure(attributes: &Attributes, longest: &mut usize) -> Option<usize> {
    let mut bytes = 0;
    for (name, value) in &attributes.0 {
        *longest = (*longest).max(name.len());
        bytes += size_of::<(String, AttrValue)>() + name.len() + measure_value(value, longest, 0)?;
    }
    Some(bytes)
}

fn measure_value(value: &AttrValue, longest: &mut usize, depth: usize) -> Option<usize> {
    if depth > VALUE_DEPTH_MAX {
        return None;
    }
    match value {
        AttrValue::Str(s) => {
            *longest = (*longest).max(s.len());
            Some(s.len())
        }
        AttrValue::Bytes(b) => {
            *longest = (*longest).max(b.len());
            Some(b.len())
        }
        AttrValue::Bool(_) | AttrValue::Int(_) | AttrValue::Double(_) => Some(0),
        AttrValue::Array(items) => items.iter().try_fold(0, |sum, i| {
            Some(sum + size_of::<AttrValue>() + measure_value(i, longest, depth + 1)?)
        }),
        AttrValue::Map(entries) => entries.iter().try_fold(0, |sum, (name, v)| {
            Some(
                sum + size_of::<(String, AttrValue)>()
                    + name.len()
                    + measure_value(v, longest, depth + 1)?,
            )
        }),
    }
}
