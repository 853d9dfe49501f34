use obs_types::{ErrorKind, SourceError};

/// Why a TraceQL query was refused or failed.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TraceQlError {
    /// The text is not TraceQL. `offset` counts bytes from 0.
    #[error("parse error at offset {offset}: {message}")]
    Parse { offset: usize, message: String },
    /// It parses, but its types or arguments make no sense.
    #[error("invalid TraceQL query: {0}")]
    Invalid(String),
    /// It parses and makes sense, but the language's implementations do not evaluate it.
    #[error("unsupported TraceQL query: {0}")]
    Unsupported(String),
    #[error(transparent)]
    Source(#[from] SourceError),
}

impl TraceQlError {
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Parse { .. } | Self::Invalid(_) | Self::Unsupported(_) => ErrorKind::InvalidInput,
            Self::Source(e) => e.kind(),
        }
    }

    /// Whether the same call may succeed later.
    pub fn retry(&self) -> bool {
        matches!(self, Self::Source(e) if e.retry())
    }
}
