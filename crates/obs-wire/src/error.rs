/// Why a whole body could not be read. Single bad items are in the decoder's outcome instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WireError {
    #[error("{what} has {got} bytes, more than the limit of {limit}")]
    TooLarge { what: &'static str, got: u64, limit: u64 },
    /// The size behind a compression is not known before the limit is hit.
    #[error("{what} decompresses to more than the limit of {limit} bytes")]
    Bomb { what: &'static str, limit: u64 },
    #[error("{what} holds more than {limit} messages")]
    TooManyMessages { what: &'static str, limit: usize },
    #[error("{what} is nested deeper than {limit} levels")]
    TooDeep { what: &'static str, limit: usize },
    #[error("malformed {what}: {message}")]
    Malformed { what: &'static str, message: String },
    #[error("unsupported {what} {value:?}")]
    Unsupported { what: &'static str, value: String },
}

impl WireError {
    pub(crate) fn malformed(what: &'static str, message: impl Into<String>) -> Self {
        Self::Malformed { what, message: message.into() }
    }

    /// The `reason` label of the counter of rejected input.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::TooLarge { .. } => "too_large",
            Self::Bomb { .. } => "bomb",
            Self::TooManyMessages { .. } => "too_many_messages",
            Self::TooDeep { .. } => "too_deep",
            Self::Malformed { .. } => "malformed",
            Self::Unsupported { .. } => "unsupported",
        }
    }

    /// Whether the body was too big in some sense (413) and not wrong (400).
    pub fn is_limit(&self) -> bool {
        matches!(self, Self::TooLarge { .. } | Self::Bomb { .. } | Self::TooManyMessages { .. })
    }
}
