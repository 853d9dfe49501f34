use obs_types::ErrorKind;

/// Why a text is not a dashboard.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DashError {
    #[error("not JSON at line {line}, column {column}: {reason}")]
    Json { line: usize, column: usize, reason: String },
    /// `place` is a path such as `panels[3].targets[0]`.
    #[error("{place}: expected {wanted}, found {found}")]
    Shape { place: String, wanted: &'static str, found: &'static str },
    #[error("schemaVersion {found} is newer than {known}, the newest known")]
    SchemaVersion { found: i64, known: i64 },
    #[error("{what}: {count} are more than {max}")]
    TooMany { what: &'static str, count: usize, max: usize },
}

impl DashError {
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Json { .. } | Self::Shape { .. } | Self::SchemaVersion { .. } => {
                ErrorKind::InvalidInput
            }
            Self::TooMany { .. } => ErrorKind::LimitExceeded,
        }
    }
}

impl From<serde_json::Error> for DashError {
    fn from(e: serde_json::Error) -> Self {
        let reason = e.to_string();
        // serde_json repeats the place at the end of its text.
        let reason = reason.split(" at line ").next().unwrap_or("").to_owned();
        Self::Json { line: e.line(), column: e.column(), reason }
    }
}
