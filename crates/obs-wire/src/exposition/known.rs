//! Label sets of metrics by the text that writes them. A target writes its lines alike from scrape
//! to scrape, but for values and times.

use std::collections::HashMap;

use obs_types::LabelSet;

use super::ExpositionFormat;

/// What a target's lines named lately. Holds at most twice as many metrics as the last body had.
#[derive(Debug, Default)]
pub struct KnownMetrics {
    of_text: HashMap<Box<str>, Known>,
    format: Option<ExpositionFormat>,
    round: u64,
    /// Different metrics of this round.
    seen: usize,
}

#[derive(Debug)]
struct Known {
    labels: LabelSet,
    /// The label whose value was brought into canonical form.
    bound: Option<&'static str>,
    round: u64,
}

impl KnownMetrics {
    pub(super) fn begin(&mut self, format: ExpositionFormat) {
        // What one format allows may be a mistake in another.
        if self.format.replace(format) != Some(format) {
            self.of_text.clear();
        }
        self.round += 1;
        self.seen = 0;
    }

    /// The labels that the text stands for, and the label that was brought into canonical form in
    /// them.
    pub(super) fn get(&mut self, text: &str) -> Option<(&LabelSet, Option<&'static str>)> {
        let known = self.of_text.get_mut(text)?;
        self.seen += usize::from(known.round != self.round);
        known.round = self.round;
        Some((&known.labels, known.bound))
    }

    pub(super) fn note(&mut self, text: &str, labels: &LabelSet, bound: Option<&'static str>) {
        let round = self.round;
        let known = Known { labels: labels.clone(), bound, round };
        let before = self.of_text.insert(text.into(), known);
        self.seen += usize::from(before.is_none_or(|b| b.round != round));
    }

    pub(super) fn end(&mut self) {
        if self.of_text.len() > self.seen.saturating_mul(2) {
            let round = self.round;
            self.of_text.retain(|_, known| known.round == round);
        }
    }

    pub fn len(&self) -> usize {
        self.of_text.len()
    }

    pub fn is_empty(&self) -> bool {
        self.of_text.is_empty()
    }
}
