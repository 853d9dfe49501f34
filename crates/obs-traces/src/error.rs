use std::path::PathBuf;

use obs_disk::DiskError;
use obs_types::{ErrorKind, SourceError};

/// What went wrong inside the trace engine.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TracesError {
    #[error(transparent)]
    Disk(#[from] DiskError),
    #[error("trace block {path}: section {section} is damaged: {reason}")]
    Damaged { path: PathBuf, section: String, reason: String },
    #[error("trace block {path} has format version {found}, this program knows up to {known}")]
    Version { path: PathBuf, found: u16, known: u16 },
}

impl TracesError {
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Disk(e) => e.kind(),
            Self::Damaged { .. } | Self::Version { .. } => ErrorKind::Corrupt,
        }
    }

    /// Whether the bytes are there but wrong.
    pub(crate) fn is_corrupt(&self) -> bool {
        match self {
            Self::Disk(e) => e.is_corrupt(),
            Self::Damaged { .. } => true,
            Self::Version { .. } => false,
        }
    }
}

impl From<TracesError> for SourceError {
    fn from(e: TracesError) -> Self {
        Self::new(e.kind(), e.to_string())
    }
}
