use obs_disk::DiskError;
use obs_types::{ErrorKind, IngestError, SourceError};

/// Why opening, maintaining or deleting failed.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LogsError {
    #[error(transparent)]
    Disk(#[from] DiskError),
    #[error("the log engine was opened read-only")]
    ReadOnly,
    #[error("{path} does not decode: {what}")]
    Format { path: String, what: &'static str },
}

impl LogsError {
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Disk(e) => e.kind(),
            Self::ReadOnly => ErrorKind::Unavailable,
            Self::Format { .. } => ErrorKind::Corrupt,
        }
    }

    /// Whether the same call may succeed later.
    pub fn retry(&self) -> bool {
        self.kind() == ErrorKind::Unavailable
    }

    pub(crate) fn is_corrupt(&self) -> bool {
        match self {
            Self::Disk(e) => e.is_corrupt(),
            Self::Format { .. } => true,
            Self::ReadOnly => false,
        }
    }

    pub(crate) fn is_not_found(&self) -> bool {
        matches!(self, Self::Disk(e) if e.is_not_found())
    }
}

impl From<LogsError> for SourceError {
    fn from(e: LogsError) -> Self {
        Self::new(e.kind(), e.to_string())
    }
}

impl From<LogsError> for IngestError {
    fn from(e: LogsError) -> Self {
        Self::Unavailable { reason: e.to_string() }
    }
}
