use std::collections::BTreeMap;
use std::fmt;

/// What a caller may branch on; one function in `obs-api` maps it to status codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    InvalidInput,
    NotFound,
    LimitExceeded,
    Timeout,
    Cancelled,
    Conflict,
    Unavailable,
    Corrupt,
    Bug,
}

/// Why a read failed.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub struct SourceError {
    pub kind: ErrorKind,
    pub message: String,
}

impl SourceError {
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }

    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// Whether the same call may succeed later.
    pub fn retry(&self) -> bool {
        matches!(self.kind, ErrorKind::Unavailable | ErrorKind::Timeout)
    }
}

/// Why a whole batch was not stored. Single rejected items are in [`IngestOutcome`] instead.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IngestError {
    /// The engine is read-only or the disk is full; the sender should retry (503, Retry-After).
    #[error("storage unavailable: {reason}")]
    Unavailable { reason: String },
    /// Back-pressure: more is queued than the memory budget allows (429/503, Retry-After).
    #[error("overloaded: {reason}")]
    Overloaded { reason: String },
}

/// Reasons for dropping one item; each is the `reason` label of a counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum RejectReason {
    InvalidLabel,
    InvalidUtf8,
    MissingName,
    DuplicateTimestamp,
    OutOfOrder,
    TooOld,
    TooFarInFuture,
    TooLarge,
    TooManyLabels,
    CardinalityLimit,
    InvalidHistogram,
    InvalidSpan,
    /// One item of a batch cannot be read at all, such as a line that is no JSON.
    Malformed,
    Unsupported,
    /// Its sender's signature does not hold.
    BadSignature,
}

impl RejectReason {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InvalidLabel => "invalid_label",
            Self::InvalidUtf8 => "invalid_utf8",
            Self::MissingName => "missing_name",
            Self::DuplicateTimestamp => "duplicate_timestamp",
            Self::OutOfOrder => "out_of_order",
            Self::TooOld => "too_old",
            Self::TooFarInFuture => "too_far_in_future",
            Self::TooLarge => "too_large",
            Self::TooManyLabels => "too_many_labels",
            Self::CardinalityLimit => "cardinality_limit",
            Self::InvalidHistogram => "invalid_histogram",
            Self::InvalidSpan => "invalid_span",
            Self::Malformed => "malformed",
            Self::Unsupported => "unsupported",
            Self::BadSignature => "bad_signature",
        }
    }
}

impl fmt::Display for RejectReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How many items were dropped for one reason, with the first as an example.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reject {
    pub count: u64,
    pub example: String,
}

/// What happened to the items of a batch that was stored. When it is returned, the accepted items
/// are in the WAL and synced.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IngestOutcome {
    pub accepted: u64,
    pub rejected: BTreeMap<RejectReason, Reject>,
}

impl IngestOutcome {
    pub fn reject(&mut self, reason: RejectReason, example: impl FnOnce() -> String) {
        self.rejected
            .entry(reason)
            .or_insert_with(|| Reject { count: 0, example: example() })
            .count += 1;
    }

    /// As [`IngestOutcome::reject`] for `count` items of one kind; none where that is 0.
    pub fn reject_many(
        &mut self,
        reason: RejectReason,
        count: u64,
        example: impl FnOnce() -> String,
    ) {
        if count > 0 {
            let new = || Reject { count: 0, example: example() };
            self.rejected.entry(reason).or_insert_with(new).count += count;
        }
    }

    pub fn rejected_count(&self) -> u64 {
        self.rejected.values().map(|r| r.count).sum()
    }

    pub fn merge(&mut self, other: Self) {
        self.accepted += other.accepted;
        for (reason, r) in other.rejected {
            match self.rejected.get_mut(&reason) {
                Some(mine) => mine.count += r.count,
                None => {
                    self.rejected.insert(reason, r);
                }
            }
        }
    }

    /// One line for a protocol's error text, `None` when nothing was rejected.
    pub fn rejected_text(&self) -> Option<String> {
        let parts: Vec<String> = self
            .rejected
            .iter()
            .map(|(reason, r)| format!("{} rejected as {reason}, e.g. {}", r.count, r.example))
            .collect();
        (!parts.is_empty()).then(|| parts.join("; "))
    }
}
