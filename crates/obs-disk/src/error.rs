use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use obs_types::{ErrorKind, IngestError, SourceError};

/// What went wrong with bytes on disk. Cheap to clone: one failed sync answers many writers.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DiskError {
    #[error("cannot {op} {path}: {source}")]
    Io { op: &'static str, path: PathBuf, source: Arc<io::Error> },
    #[error("{path} is damaged at byte {offset}: {reason}")]
    Corrupt { path: PathBuf, offset: u64, reason: String },
    #[error("{path} has format version {found}, this program knows up to {known}")]
    UnsupportedVersion { path: PathBuf, found: u32, known: u32 },
    #[error("{what} of {len} bytes for {path} is over the limit of {max}")]
    TooLarge { what: &'static str, path: PathBuf, len: u64, max: u64 },
    /// An earlier sync failed, so nobody knows what of the segment is on disk.
    #[error("the log in {path} stopped after a failed sync ({reason}); it must be reopened")]
    Poisoned { path: PathBuf, reason: String },
    #[error("{path} is in use by process {pid}; only one vm-obs may write to a data folder")]
    Locked { path: PathBuf, pid: String },
    #[error("{path} holds no section {name:?}")]
    NoSection { path: PathBuf, name: String },
}

impl DiskError {
    pub fn io(op: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io { op, path: path.to_owned(), source: Arc::new(source) }
    }

    pub fn corrupt(path: &Path, offset: u64, reason: impl Into<String>) -> Self {
        Self::Corrupt { path: path.to_owned(), offset, reason: reason.into() }
    }

    /// Whether there is no room left (disk or quota); the same write may succeed later.
    pub fn is_full(&self) -> bool {
        match self {
            Self::Io { source, .. } => {
                matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
            }
            _ => false,
        }
    }

    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }

    /// Whether the bytes are there but wrong.
    pub fn is_corrupt(&self) -> bool {
        matches!(self, Self::Corrupt { .. } | Self::NoSection { .. })
    }

    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Io { .. } if self.is_not_found() => ErrorKind::NotFound,
            Self::Io { .. } | Self::Poisoned { .. } => ErrorKind::Unavailable,
            Self::Corrupt { .. } | Self::NoSection { .. } | Self::UnsupportedVersion { .. } => {
                ErrorKind::Corrupt
            }
            Self::TooLarge { .. } => ErrorKind::LimitExceeded,
            Self::Locked { .. } => ErrorKind::Conflict,
        }
    }
}

impl From<DiskError> for SourceError {
    fn from(e: DiskError) -> Self {
        Self::new(e.kind(), e.to_string())
    }
}

impl From<DiskError> for IngestError {
    fn from(e: DiskError) -> Self {
        Self::Unavailable { reason: e.to_string() }
    }
}
