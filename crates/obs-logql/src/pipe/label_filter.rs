use obs_types::Matcher;

use super::Entry;
use super::ip::IpMatcher;
use crate::ast::{CompareOp, LabelFilter};
use crate::error::ParseError;
use crate::unit;

#[derive(Debug)]
pub(crate) enum CompiledLabelFilter {
    Matcher(Matcher),
    Number { label: String, op: CompareOp, value: f64 },
    Duration { label: String, op: CompareOp, value: i64 },
    Bytes { label: String, op: CompareOp, value: u64 },
    Ip { label: String, negated: bool, matcher: IpMatcher },
    And(Box<Self>, Box<Self>),
    Or(Box<Self>, Box<Self>),
}

impl CompiledLabelFilter {
    pub(crate) fn new(filter: &LabelFilter) -> Result<Self, ParseError> {
        Ok(match filter {
            LabelFilter::Matcher(m) => Self::Matcher(m.clone()),
            LabelFilter::Number { label, op, value } => {
                Self::Number { label: label.clone(), op: *op, value: *value }
            }
            LabelFilter::Duration { label, op, value } => {
                Self::Duration { label: label.clone(), op: *op, value: *value }
            }
            LabelFilter::Bytes { label, op, value } => {
                Self::Bytes { label: label.clone(), op: *op, value: *value }
            }
            LabelFilter::Ip(ip) => Self::Ip {
                label: ip.label.clone(),
                negated: ip.negated,
                matcher: IpMatcher::parse(&ip.pattern)?,
            },
            LabelFilter::And(a, b) => Self::And(Box::new(Self::new(a)?), Box::new(Self::new(b)?)),
            LabelFilter::Or(a, b) => Self::Or(Box::new(Self::new(a)?), Box::new(Self::new(b)?)),
        })
    }

    /// A value that cannot be read as the filter's type marks the entry with `__error__` and lets
    /// it pass, because the reader should see the mistake rather than miss the line.
    pub(crate) fn passes(&self, entry: &mut Entry<'_>) -> bool {
        match self {
            Self::Matcher(m) => m.matches(entry.get(m.name()).unwrap_or("")),
            Self::Number { label, op, value } => compare(entry, label, *op, *value, unit::float),
            Self::Duration { label, op, value } => {
                compare(entry, label, *op, *value, unit::go_duration)
            }
            Self::Bytes { label, op, value } => compare(entry, label, *op, *value, unit::bytes),
            Self::Ip { label, negated, matcher } => {
                if entry.has_error() {
                    return true;
                }
                entry.get(label).is_some_and(|text| matcher.found_in(text) != *negated)
            }
            Self::And(a, b) => a.passes(entry) && b.passes(entry),
            Self::Or(a, b) => a.passes(entry) || b.passes(entry),
        }
    }
}

fn compare<T: PartialOrd>(
    entry: &mut Entry<'_>,
    label: &str,
    op: CompareOp,
    want: T,
    read: impl Fn(&str) -> Result<T, String>,
) -> bool {
    let Some(text) = entry.get(label) else { return false };
    match read(text) {
        Ok(value) => op.holds(value, want),
        Err(e) => {
            // The first error is the one to show.
            if !entry.has_error() {
                entry.fail("LabelFilterErr", e);
            }
            true
        }
    }
}
