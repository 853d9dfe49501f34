use obs_types::ErrorKind;

/// One mistake in a rule file or rule test file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{line}:{column}: {message}")]
pub struct FileError {
    pub file: String,
    /// 1-based; 0 when the place is unknown.
    pub line: u64,
    pub column: u64,
    pub message: String,
}

/// What can go wrong with rules, alerts and silences.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RulesError {
    #[error("{}", join(.0))]
    File(Vec<FileError>),
    #[error("cannot read {path}: {reason}")]
    Read { path: String, reason: String },
    #[error("{0}")]
    Query(String),
    #[error("template: {0}")]
    Template(String),
    #[error("alert {0:?} not found")]
    AlertNotFound(String),
    #[error("alert {0:?} is resolved, only firing alerts are acknowledged")]
    AlertResolved(String),
    #[error("silence {0:?} not found")]
    SilenceNotFound(String),
    #[error("silence: {0}")]
    BadSilence(String),
    #[error("acknowledgement: {0}")]
    BadAck(String),
    #[error("saved alert state: {0}")]
    BadState(String),
}

impl RulesError {
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::AlertNotFound(_) | Self::SilenceNotFound(_) => ErrorKind::NotFound,
            Self::AlertResolved(_) => ErrorKind::Conflict,
            Self::BadState(_) => ErrorKind::Corrupt,
            Self::Read { .. } => ErrorKind::Unavailable,
            Self::File(_)
            | Self::Query(_)
            | Self::Template(_)
            | Self::BadSilence(_)
            | Self::BadAck(_) => ErrorKind::InvalidInput,
        }
    }

    /// Whether the same call may succeed later.
    pub fn retry(&self) -> bool {
        matches!(self, Self::Read { .. })
    }
}

fn join(errors: &[FileError]) -> String {
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}
