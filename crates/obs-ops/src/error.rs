use std::path::PathBuf;

use obs_archive::ArchiveError;
use obs_ledger::LedgerError;
use obs_types::{BlobError, ErrorKind, SourceError};

/// Why an operation did not happen.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpsError {
    #[error("{0}")]
    Invalid(String),
    #[error("{0}")]
    NotFound(String),
    #[error("{0}")]
    Conflict(String),
    #[error("cannot seal: {0}")]
    Seal(#[from] ArchiveError),
    #[error("cannot record: {0}")]
    Ledger(#[from] LedgerError),
    #[error("cannot read: {0}")]
    Source(#[from] SourceError),
    #[error("{}", said(.0))]
    Storage(ArchiveError),
    #[error(transparent)]
    Store(#[from] BlobError),
    #[error("cannot write {}: {reason}", path.display())]
    State { path: PathBuf, reason: String },
}

impl OpsError {
    /// Whether the same call may succeed later.
    pub fn retry(&self) -> bool {
        match self {
            Self::Seal(e) | Self::Storage(e) => e.retry(),
            Self::Store(e) => e.retry(),
            _ => self.kind() == ErrorKind::Unavailable,
        }
    }

    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Invalid(_) => ErrorKind::InvalidInput,
            Self::NotFound(_) => ErrorKind::NotFound,
            Self::Conflict(_) => ErrorKind::Conflict,
            Self::Seal(_) | Self::State { .. } => ErrorKind::Unavailable,
            Self::Storage(e) => e.kind(),
            Self::Store(e) => e.kind(),
            Self::Ledger(e) => e.kind(),
            Self::Source(e) => e.kind(),
        }
    }
}

/// With its cause.
fn said(e: &ArchiveError) -> String {
    match (e, std::error::Error::source(e)) {
        (ArchiveError::Store { .. }, _) | (_, None) => e.to_string(),
        (_, Some(cause)) => format!("{e}: {cause}"),
    }
}
