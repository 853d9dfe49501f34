use std::fmt;

use obs_types::{ErrorKind, SourceError};

/// Why a query text is not LogQL, with the place where a reader should look.
///
/// `line` and `column` count from 1; both are 0 when the text as a whole is at fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseError {
    pub line: usize,
    pub column: usize,
    pub message: String,
}

impl ParseError {
    pub(crate) fn at(line: usize, column: usize, message: impl Into<String>) -> Self {
        Self { line, column, message: message.into() }
    }

    pub(crate) fn whole(message: impl Into<String>) -> Self {
        Self::at(0, 0, message)
    }
}

impl fmt::Display for ParseError {
    /// In Loki's wording, because clients and people search for it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line == 0 && self.column == 0 {
            write!(f, "parse error : {}", self.message)
        } else {
            write!(f, "parse error at line {}, col {}: {}", self.line, self.column, self.message)
        }
    }
}

impl std::error::Error for ParseError {}

/// Why a query gave no answer.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    #[error(transparent)]
    Parse(#[from] ParseError),
    /// The query is well formed but asks for what does not exist, for example duplicate series in
    /// a one-to-one match.
    #[error("{0}")]
    Evaluation(String),
    /// A line failed in a metric query, and the query did not say to skip such lines.
    #[error(
        "pipeline error: '{error}' for series: '{series}'. Use a label filter to skip it on \
         purpose, for example | __error__=\"\""
    )]
    Pipeline { error: String, series: String },
    #[error("{0}")]
    Limit(String),
    #[error(transparent)]
    Source(#[from] SourceError),
}

impl EngineError {
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Parse(_) | Self::Evaluation(_) | Self::Pipeline { .. } => ErrorKind::InvalidInput,
            Self::Limit(_) => ErrorKind::LimitExceeded,
            Self::Source(e) => e.kind(),
        }
    }
}
