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

/// Most bytes of an answer's text: what is quoted in it comes from the sender and may be a whole
/// body.
const TEXT_BYTES_MAX: usize = 2048;

/// The text, cut at a character's border and marked so where it is too long for an answer.
pub fn cut_text(mut text: String) -> String {
    if text.len() > TEXT_BYTES_MAX {
        text.truncate(text.floor_char_boundary(TEXT_BYTES_MAX));
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_are_cut_between_characters() {
        assert_eq!(cut_text("short".into()), "short");
        let cut = cut_text("é".repeat(5000) + "x");
        assert!(cut.len() <= TEXT_BYTES_MAX + 3 && cut.ends_with("é…"), "{}", cut.len());
    }
}
