use obs_types::ErrorKind;

#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NotifyError {
    #[error("notification config: {0}")]
    Config(String),
    #[error("notification queue {path}: {source}")]
    Queue { path: String, source: std::io::Error },
    #[error("http client: {0}")]
    Client(String),
}

impl NotifyError {
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Config(_) => ErrorKind::InvalidInput,
            Self::Queue { .. } => ErrorKind::Unavailable,
            Self::Client(_) => ErrorKind::Bug,
        }
    }
}
