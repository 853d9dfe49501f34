use obs_types::{ErrorKind, SourceError};

use crate::ParseError;

/// Why a query gave no answer. The variants are the error types of Prometheus' HTTP API.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// The text is not PromQL (`bad_data`).
    #[error("{0}")]
    Parse(#[from] ParseError),
    /// The evaluation failed (`execution`).
    #[error("{0}")]
    Execution(String),
    #[error("query timed out in expression evaluation")]
    Timeout,
    #[error("query was canceled in expression evaluation")]
    Canceled,
    /// More samples or memory than the query may hold at once (`execution`).
    #[error("query processing would load too many samples into memory in query execution")]
    TooManySamples,
    /// Reading the data failed.
    #[error("expanding series: {0}")]
    Source(SourceError),
}

impl EngineError {
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Parse(_) | Self::Execution(_) => ErrorKind::InvalidInput,
            Self::Timeout => ErrorKind::Timeout,
            Self::Canceled => ErrorKind::Cancelled,
            Self::TooManySamples => ErrorKind::LimitExceeded,
            Self::Source(e) => e.kind(),
        }
    }

    /// `errorType` of Prometheus' error envelope.
    pub fn error_type(&self) -> &'static str {
        match self {
            Self::Parse(_) => "bad_data",
            Self::Execution(_) | Self::TooManySamples => "execution",
            Self::Timeout => "timeout",
            Self::Canceled => "canceled",
            Self::Source(_) => "internal",
        }
    }
}

impl From<SourceError> for EngineError {
    fn from(e: SourceError) -> Self {
        match e.kind() {
            ErrorKind::Timeout => Self::Timeout,
            ErrorKind::Cancelled => Self::Canceled,
            ErrorKind::LimitExceeded => Self::Execution(e.message),
            _ => Self::Source(e),
        }
    }
}
