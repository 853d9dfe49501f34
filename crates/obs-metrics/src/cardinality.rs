//! Bounds on how many series share a value of a label.

use std::collections::HashMap;

use obs_types::LabelSet;

use crate::config::LabelLimit;
use crate::head::Head;

/// Counts the new series of one batch against the limits; those that are indexed already are
/// counted by the index.
#[derive(Debug)]
pub(crate) struct LabelLimits<'a> {
    limits: &'a [LabelLimit],
    /// New series of this batch, by label and value.
    new: HashMap<(&'a str, String), usize>,
}

impl<'a> LabelLimits<'a> {
    pub(crate) fn new(limits: &'a [LabelLimit]) -> Self {
        Self { limits, new: HashMap::new() }
    }

    /// Counts a new series; the limit that it would break, if any.
    pub(crate) fn admit(&mut self, head: &Head, labels: &LabelSet) -> Result<(), &'a LabelLimit> {
        let mut counted = Vec::new();
        for limit in self.limits {
            let Some(value) = labels.get(&limit.label) else { continue };
            if !self.is_for(limit, value) {
                continue;
            }
            let key = (limit.label.as_str(), value.to_owned());
            let new = self.new.get(&key).copied().unwrap_or(0);
            if new + head.series_with(&limit.label, value) >= limit.series_max {
                return Err(limit);
            }
            counted.push(key);
        }
        for key in counted {
            *self.new.entry(key).or_default() += 1;
        }
        Ok(())
    }

    fn is_for(&self, limit: &LabelLimit, value: &str) -> bool {
        match &limit.value {
            Some(only) => only == value,
            None => !self
                .limits
                .iter()
                .any(|other| other.label == limit.label && other.value.as_deref() == Some(value)),
        }
    }
}
