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
    #[error("{path} has log block version {found}, this program knows up to {known}")]
    UnsupportedVersion { path: String, found: u16, known: u16 },
    #[error("{path} does not decode: {what}")]
    Format { path: String, what: &'static str },
}

impl LogsError {
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Disk(e) => e.kind(),
            Self::ReadOnly => ErrorKind::Unavailable,
            Self::Format { .. } | Self::UnsupportedVersion { .. } => ErrorKind::Corrupt,
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
            Self::ReadOnly | Self::UnsupportedVersion { .. } => false,
        }
    }

    /// Written by a later program; the file is good, only not for us.
    pub(crate) fn is_newer(&self) -> bool {
        matches!(
            self,
            Self::UnsupportedVersion { .. } | Self::Disk(DiskError::UnsupportedVersion { .. })
        )
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
