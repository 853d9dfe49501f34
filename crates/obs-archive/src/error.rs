use std::path::PathBuf;

use obs_disk::DiskError;
use obs_types::{BlobError, ErrorKind, SourceError};

use crate::{Hour, Signal};

/// Why a seal could not be written or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ArchiveError {
    /// A sealed file is never written twice; late data goes into the next revision.
    #[error("{path} is sealed already")]
    AlreadySealed { path: String },
    /// Revision `r` needs everything below it, or the difference could not be taken.
    #[error("revision {revision} of {signal} hour {hour} needs the seal of revision {missing}")]
    RevisionOrder { signal: Signal, hour: Hour, revision: u32, missing: u32 },
    #[error("{path} is not the name of a sealed file")]
    NotASeal { path: String },
    #[error("{path} is corrupt: {reason}")]
    Corrupt { path: String, reason: String },
    #[error("{path} has format {found}, this version reads {supported}")]
    UnknownFormat { path: String, found: String, supported: &'static str },
    #[error("{path} was read back with other bytes than were written")]
    ReadBack { path: String },
    #[error("cannot encode {path}: {reason}")]
    Encode { path: String, reason: String },
    /// Its content was removed on record; its place in the tree is all that is left.
    #[error("record {index} of {path} is redacted")]
    Redacted { path: String, index: u64 },
    #[error("receipt in line {line} is not a JSON object: {reason}")]
    BadReceipt { line: usize, reason: String },
    #[error("cannot {action} {path}")]
    Disk { action: &'static str, path: PathBuf, source: DiskError },
    #[error("cannot read the {signal} of hour {hour} to seal them")]
    Source { signal: Signal, hour: Hour, source: SourceError },
    #[error("{path} in the cold store: {source}")]
    Store { path: String, source: BlobError },
    #[error("{path} was moved to a cold store, and no cold store is configured")]
    NoColdStore { path: String },
    #[error("query stopped")]
    Stopped(#[source] SourceError),
}

impl ArchiveError {
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::AlreadySealed { .. } | Self::RevisionOrder { .. } => ErrorKind::Conflict,
            Self::NotASeal { .. } | Self::BadReceipt { .. } => ErrorKind::InvalidInput,
            Self::Corrupt { .. } | Self::UnknownFormat { .. } | Self::ReadBack { .. } => {
                ErrorKind::Corrupt
            }
            Self::Redacted { .. } => ErrorKind::NotFound,
            Self::Encode { .. } => ErrorKind::Bug,
            Self::Store { source, .. } => source.kind(),
            Self::Disk { .. } | Self::NoColdStore { .. } => ErrorKind::Unavailable,
            Self::Source { source, .. } | Self::Stopped(source) => source.kind(),
        }
    }

    /// Whether the same call may succeed later.
    pub fn retry(&self) -> bool {
        match self {
            Self::Disk { .. } => true,
            Self::Store { source, .. } => source.retry(),
            Self::Source { source, .. } | Self::Stopped(source) => source.retry(),
            _ => false,
        }
    }

    pub(crate) fn corrupt(path: &str, reason: impl std::fmt::Display) -> Self {
        Self::Corrupt { path: path.to_owned(), reason: reason.to_string() }
    }

    pub(crate) fn encode(path: &str, reason: impl std::fmt::Display) -> Self {
        Self::Encode { path: path.to_owned(), reason: reason.to_string() }
    }

    /// The error as a reader of a source trait sees it, with the cause in the text.
    pub(crate) fn into_source(self) -> SourceError {
        match self {
            Self::Stopped(source) => source,
            other => {
                // An error of the store says all in its own text.
                let cause = std::error::Error::source(&other)
                    .filter(|_| !matches!(other, Self::Store { .. }))
                    .map(|s| format!(": {s}"));
                SourceError::new(other.kind(), format!("{other}{}", cause.unwrap_or_default()))
            }
        }
    }
}
