use obs_types::ErrorKind;

/// Why an analysis could not be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AnalysisError {
    /// The reason names the line where the parser knows it.
    #[error("{file}: {reason}")]
    Definition { file: String, reason: String },
    #[error("{slo}: query {query:?}: {reason}")]
    Query { slo: String, query: String, reason: String },
}

impl AnalysisError {
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Definition { .. } | Self::Query { .. } => ErrorKind::InvalidInput,
        }
    }
}
