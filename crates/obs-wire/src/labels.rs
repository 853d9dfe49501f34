//! Building label sets without a builder's strings and without quadratic time.

use obs_types::{Exemplar, LabelSet, TimestampMs};

/// From pairs in any order; the last of equal names wins. O(n log n): a sender decides how many
/// there are.
pub(crate) fn label_set(pairs: Vec<(String, String)>) -> LabelSet {
    borrowed_set(&mut pairs.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect())
}

/// As [`label_set`]; the pairs are left sorted.
pub(crate) fn borrowed_set(pairs: &mut Vec<(&str, &str)>) -> LabelSet {
    pairs.sort_by(|a, b| a.0.cmp(b.0));
    let last_of_each = pairs.chunk_by(|a, b| a.0 == b.0).filter_map(|equal| equal.last().copied());
    LabelSet::from_sorted(&mut Vec::new(), last_of_each).unwrap_or_default()
}

/// Names and values taken out of nested input, up to a number of bytes. Nesting repeats outer
/// names in every inner one, so a small body could ask for a huge set.
pub(crate) struct Flat {
    pub(crate) pairs: Vec<(String, String)>,
    bytes_left: usize,
}

/// Most bytes that the labels and metadata of one item may have.
pub(crate) const ITEM_LABEL_BYTES_MAX: usize = 1 << 20;

impl Flat {
    pub(crate) fn new() -> Self {
        Self { pairs: Vec::new(), bytes_left: ITEM_LABEL_BYTES_MAX }
    }

    /// `Err` when the limit is passed. An empty value is left out.
    pub(crate) fn put(&mut self, name: &str, value: String) -> Result<(), String> {
        if value.is_empty() {
            return Ok(());
        }
        let bytes = name.len().saturating_add(value.len());
        self.bytes_left = self.bytes_left.checked_sub(bytes).ok_or_else(too_large)?;
        self.pairs.push((name.to_owned(), value));
        Ok(())
    }

    /// `outer_inner`, refused where the name alone passes the limit.
    pub(crate) fn join(&self, outer: &str, inner: &str) -> Result<String, String> {
        if outer.len().saturating_add(inner.len()) > self.bytes_left {
            return Err(too_large());
        }
        Ok(if outer.is_empty() { inner.to_owned() } else { format!("{outer}_{inner}") })
    }
}

fn too_large() -> String {
    format!("labels and metadata of one item have more than {ITEM_LABEL_BYTES_MAX} bytes")
}

/// An exemplar with the ids that its labels carry.
pub fn exemplar(labels: LabelSet, value: f64, timestamp: TimestampMs) -> Exemplar {
    let first = |names: &[&str]| names.iter().find_map(|n| labels.get(n));
    let trace_id = first(&["trace_id", "traceID"]).and_then(|v| v.parse().ok());
    let span_id = first(&["span_id", "spanID"]).and_then(|v| v.parse().ok());
    Exemplar { labels, value, timestamp, trace_id, span_id }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn sets_are_those_of_the_builder(
            pairs in proptest::collection::vec(("[a-c]{1,2}", "[x-z]{0,2}"), 0..8),
        ) {
            prop_assert_eq!(label_set(pairs.clone()), LabelSet::from_pairs(pairs));
        }
    }
}
