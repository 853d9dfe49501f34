use std::path::PathBuf;

use obs_archive::ArchiveError;
use obs_ledger::LedgerError;
use obs_types::{ErrorKind, SourceError};

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
    #[error("cannot write {}: {reason}", path.display())]
    State { path: PathBuf, reason: String },
}

impl OpsError {
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Invalid(_) => ErrorKind::InvalidInput,
            Self::NotFound(_) => ErrorKind::NotFound,
            Self::Conflict(_) => ErrorKind::Conflict,
            Self::Seal(_) | Self::State { .. } => ErrorKind::Unavailable,
            Self::Ledger(e) => e.kind(),
            Self::Source(e) => e.kind(),
        }
    }
}
