use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use crate::{ErrorKind, SourceError};

/// Set by whoever started the query when its answer is no longer wanted.
#[derive(Clone, Debug, Default)]
pub struct CancelToken(Arc<AtomicBool>);

impl CancelToken {
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Counts the bytes that a query holds and refuses above a cap.
#[derive(Clone, Debug)]
pub struct MemoryTracker {
    inner: Arc<MemoryInner>,
}

#[derive(Debug)]
struct MemoryInner {
    used: AtomicUsize,
    peak: AtomicUsize,
    max: usize,
}

impl MemoryTracker {
    pub fn new(max_bytes: usize) -> Self {
        Self {
            inner: Arc::new(MemoryInner {
                used: AtomicUsize::new(0),
                peak: AtomicUsize::new(0),
                max: max_bytes,
            }),
        }
    }

    /// `Err(LimitExceeded)` if the query would hold more than its cap.
    pub fn grow(&self, bytes: usize) -> Result<(), SourceError> {
        let used = self.inner.used.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes);
        self.inner.peak.fetch_max(used, Ordering::Relaxed);
        if used > self.inner.max {
            self.inner.used.fetch_sub(bytes, Ordering::Relaxed);
            return Err(SourceError::new(
                ErrorKind::LimitExceeded,
                format!("query needs more than its memory limit of {} bytes", self.inner.max),
            ));
        }
        Ok(())
    }

    pub fn shrink(&self, bytes: usize) {
        let before = self.inner.used.load(Ordering::Relaxed);
        self.inner.used.fetch_sub(bytes.min(before), Ordering::Relaxed);
    }

    pub fn peak_bytes(&self) -> usize {
        self.inner.peak.load(Ordering::Relaxed)
    }
}

/// What an answer lacks, said while it is being found. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Warnings(Arc<Mutex<BTreeSet<String>>>);

impl Warnings {
    /// Most different texts that are kept; further ones add nothing for a reader.
    const COUNT_MAX: usize = 100;

    pub fn add(&self, text: impl Into<String>) {
        let mut texts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if texts.len() < Self::COUNT_MAX {
            texts.insert(text.into());
        }
    }

    /// Sorted, each once.
    pub fn list(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }
}

/// What a query carries through every layer: deadline, cancellation, memory and sample limits.
#[derive(Clone, Debug)]
pub struct QueryContext {
    pub deadline: Option<Instant>,
    pub cancel: CancelToken,
    pub memory: MemoryTracker,
    /// Most samples, log entries or spans that may be loaded at once.
    pub samples_max: usize,
    /// Filled by sources that had to leave something out.
    pub warnings: Warnings,
}

impl QueryContext {
    /// No deadline, no cancellation, generous limits; for tests and internal small queries.
    pub fn unlimited() -> Self {
        Self {
            deadline: None,
            cancel: CancelToken::default(),
            memory: MemoryTracker::new(usize::MAX / 2),
            samples_max: usize::MAX,
            warnings: Warnings::default(),
        }
    }

    /// Called once per series, stream, trace or block: `Err` when the deadline passed or the
    /// query was cancelled.
    pub fn check(&self) -> Result<(), SourceError> {
        if self.cancel.is_cancelled() {
            return Err(SourceError::new(ErrorKind::Cancelled, "query was canceled"));
        }
        match self.deadline {
            Some(d) if Self::now() >= d => {
                Err(SourceError::new(ErrorKind::Timeout, "query timed out"))
            }
            _ => Ok(()),
        }
    }

    /// A deadline is a promise to a waiting client about real time, so it does not follow the
    /// engine's (possibly simulated) clock.
    fn now() -> Instant {
        Instant::now()
    }
}
