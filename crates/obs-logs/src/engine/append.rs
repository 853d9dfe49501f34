//! The way in: each line checked, batches logged before they are in the head.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use obs_types::{IngestError, IngestOutcome, LogRecord, LogSink, RejectReason, TimestampMs};

use super::LogsEngine;
use crate::wal_record;

/// Longest WAL record; larger batches become several.
const RECORD_BYTES: usize = 8 << 20;

impl LogsEngine {
    fn check(&self, record: &LogRecord, now: TimestampMs) -> Result<(), (RejectReason, String)> {
        let l = &self.limits;
        let refuse = |reason, text: String| Err((reason, text));
        if record.line.len() > l.line_bytes_max {
            return refuse(
                RejectReason::TooLarge,
                format!(
                    "line of {} bytes for stream {}, limit {}",
                    record.line.len(),
                    record.stream,
                    l.line_bytes_max
                ),
            );
        }
        let t = record.timestamp.floor_to_ms().0;
        if t < now.0.saturating_sub(l.past_max.0) {
            return refuse(
                RejectReason::TooOld,
                format!("line at {t} ms for stream {}, now {}", record.stream, now.0),
            );
        }
        if t > now.0.saturating_add(l.future_max.0) {
            return refuse(
                RejectReason::TooFarInFuture,
                format!("line at {t} ms for stream {}, now {}", record.stream, now.0),
            );
        }
        if record.stream.is_empty() {
            return refuse(RejectReason::InvalidLabel, "a stream without labels".into());
        }
        let count = record.stream.len();
        if count > l.labels_max {
            return refuse(
                RejectReason::TooManyLabels,
                format!("{count} labels in stream {}, limit {}", record.stream, l.labels_max),
            );
        }
        for (name, value) in record.stream.iter() {
            if name.len() > l.label_name_bytes_max || value.len() > l.label_value_bytes_max {
                let shown: String = name.chars().take(64).collect();
                return refuse(
                    RejectReason::TooLarge,
                    format!(
                        "label {shown:?} of {} and {} bytes, limits {} and {}",
                        name.len(),
                        value.len(),
                        l.label_name_bytes_max,
                        l.label_value_bytes_max
                    ),
                );
            }
        }
        let (count, bytes) = (record.metadata.len(), record.metadata.as_bytes().len());
        if count > l.metadata_max || bytes > l.metadata_bytes_max {
            return refuse(
                RejectReason::TooLarge,
                format!(
                    "structured metadata of {count} entries and {bytes} bytes, limits {} and {}",
                    l.metadata_max, l.metadata_bytes_max
                ),
            );
        }
        Ok(())
    }
}

impl LogSink for LogsEngine {
    fn append(&self, records: Vec<LogRecord>) -> Result<IngestOutcome, IngestError> {
        let Some(wal) = &self.wal else {
            return Err(IngestError::Unavailable {
                reason: "the log engine was opened read-only".into(),
            });
        };
        let now = self.clock.now();
        let mut outcome = IngestOutcome::default();
        let mut good = Vec::with_capacity(records.len());
        for record in records {
            match self.check(&record, now) {
                Ok(()) => good.push(record),
                Err((reason, example)) => outcome.reject(reason, || example),
            }
        }
        if good.is_empty() {
            return Ok(outcome);
        }
        let shared = self.gate.read().unwrap_or_else(PoisonError::into_inner);
        let in_memory = self.read().memory_bytes();
        if in_memory >= self.limits.head_bytes_max {
            return Err(IngestError::Overloaded {
                reason: format!(
                    "{in_memory} bytes of log lines wait to be written, limit {}",
                    self.limits.head_bytes_max
                ),
            });
        }
        if wal.is_poisoned() {
            wal.recover()?;
        }
        let mut rest = good;
        let mut is_large = false;
        while !rest.is_empty() {
            let batch: Vec<LogRecord> = rest.drain(..batch_len(&rest)).collect();
            let sequence = self.sequence.fetch_add(1, Ordering::AcqRel) + 1;
            wal.append(&wal_record::encode(sequence, &batch))?;
            outcome.accepted += batch.len() as u64;
            let copies: Option<Vec<Arc<LogRecord>>> = (!self.subscribers.is_empty())
                .then(|| batch.iter().map(|r| Arc::new(r.clone())).collect());
            let mut state = self.write();
            for record in batch {
                let id = state.index.id(&record.stream);
                state.head.push(id, record, now);
            }
            is_large = state.head.bytes >= self.limits.flush_bytes;
            drop(state);
            if let Some(copies) = copies {
                self.subscribers.publish(&copies);
            }
        }
        drop(shared);
        self.accepted.fetch_add(outcome.accepted, Ordering::Relaxed);
        if is_large
            && let Ok(_one) = self.maintenance.try_lock()
            && let Err(e) = self.flush(wal)
        {
            // The lines are safe in the WAL; the next maintenance tries again and reports.
            tracing::warn!(error = %e, "cannot write log lines to a block yet");
        }
        Ok(outcome)
    }
}

/// How many records go into the next WAL record; at least one.
fn batch_len(records: &[LogRecord]) -> usize {
    let mut bytes = 0;
    let mut count = 0;
    for r in records {
        bytes += r.line.len() + r.metadata.as_bytes().len() + r.stream.as_bytes().len() + 32;
        if count > 0 && bytes > RECORD_BYTES {
            break;
        }
        count += 1;
    }
    count
}
