use obs_disk::DiskError;
use obs_types::{ErrorKind, IngestError, SourceError};

/// Why opening, maintaining or deleting failed.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MetricsError {
    #[error(transparent)]
    Disk(#[from] DiskError),
    #[error("the metrics engine was opened read-only")]
    ReadOnly,
    #[error("{path} does not decode: {what}")]
    Format { path: String, what: &'static str },
    #[error("{path} is there already")]
    Exists { path: String },
    #[error(transparent)]
    Source(#[from] SourceError),
}

impl MetricsError {
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Disk(e) => e.kind(),
            Self::ReadOnly => ErrorKind::Unavailable,
            Self::Exists { .. } => ErrorKind::Conflict,
            Self::Format { .. } => ErrorKind::Corrupt,
            Self::Source(e) => e.kind(),
        }
    }

    /// Whether the same call may succeed later.
    pub fn retry(&self) -> bool {
        self.kind() == ErrorKind::Unavailable
    }
}

impl From<MetricsError> for SourceError {
    fn from(e: MetricsError) -> Self {
        Self::new(e.kind(), e.to_string())
    }
}

impl From<MetricsError> for IngestError {
    fn from(e: MetricsError) -> Self {
        Self::Unavailable { reason: e.to_string() }
    }
}
