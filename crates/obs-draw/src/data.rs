//! What a panel's queries answered.

use std::collections::BTreeMap;

/// One series; an instant answer has one point.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Series {
    /// As the legend says.
    pub name: String,
    /// The letter of its query.
    pub ref_id: String,
    pub labels: BTreeMap<String, String>,
    /// Milliseconds and values, in order.
    pub points: Vec<(i64, f64)>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogLine {
    pub time_ms: i64,
    pub level: String,
    pub text: String,
}

/// A table as it was answered, such as a list of traces.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rows {
    pub columns: Vec<String>,
    pub rows: Vec<Vec<String>>,
}

/// All answers of a panel.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Answer {
    pub series: Vec<Series>,
    /// Newest first.
    pub logs: Vec<LogLine>,
    pub rows: Option<Rows>,
    /// What was cut or could not be asked; written on the picture.
    pub notices: Vec<String>,
}

/// What time the picture is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    pub from_ms: i64,
    pub to_ms: i64,
    pub step_ms: i64,
}

impl Window {
    pub(crate) fn span(self) -> i64 {
        self.to_ms.saturating_sub(self.from_ms).max(1)
    }
}
