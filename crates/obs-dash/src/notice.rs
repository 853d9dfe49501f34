use std::fmt;

/// Something that had to be mended or guessed while a dashboard was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    pub kind: NoticeKind,
    /// A path such as `panels[3]`; empty for the dashboard as a whole.
    pub place: String,
    pub text: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NoticeKind {
    /// The dashboard lay inside an envelope.
    Unwrapped,
    /// A `${DS_…}` input was set to vm-obs' own source.
    InputResolved,
    /// A `${DS_…}` that nothing declares; a source was guessed.
    InputUnresolved,
    /// Rows of the layout before schema version 16.
    OldLayout,
    /// A panel kind that Grafana has replaced.
    OldPanel,
    /// Schema v2.
    NewLayout,
    UnknownPanel,
    UnknownVariable,
    /// A data source that vm-obs does not speak.
    UnknownSource,
    /// Panel ids that were taken twice.
    RepeatedId,
    NoTitle,
    /// A panel that lives in Grafana's library and is not in the file.
    LibraryPanel,
}

impl NoticeKind {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unwrapped => "unwrapped",
            Self::InputResolved => "input_resolved",
            Self::InputUnresolved => "input_unresolved",
            Self::OldLayout => "old_layout",
            Self::OldPanel => "old_panel",
            Self::NewLayout => "new_layout",
            Self::UnknownPanel => "unknown_panel",
            Self::UnknownVariable => "unknown_variable",
            Self::UnknownSource => "unknown_source",
            Self::RepeatedId => "repeated_id",
            Self::NoTitle => "no_title",
            Self::LibraryPanel => "library_panel",
        }
    }
}

impl Notice {
    pub(crate) fn new(kind: NoticeKind, place: impl Into<String>, text: impl Into<String>) -> Self {
        Self { kind, place: place.into(), text: text.into() }
    }
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.place.is_empty() {
            f.write_str(&self.text)
        } else {
            write!(f, "{}: {}", self.place, self.text)
        }
    }
}
