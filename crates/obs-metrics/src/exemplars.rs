//! The newest exemplars over all series, in a ring.

use std::collections::{BTreeMap, VecDeque};

use obs_types::{Exemplar, ExemplarSeries, LabelSet, Matcher, TimeRangeMs, matches_all};

#[derive(Debug)]
pub(crate) struct ExemplarRing {
    ring: VecDeque<(LabelSet, Exemplar)>,
    /// Newest time and how many are in the ring; one that is not newer is a repetition.
    of_series: BTreeMap<LabelSet, (i64, usize)>,
    max: usize,
}

impl ExemplarRing {
    pub(crate) fn new(max: usize) -> Self {
        Self { ring: VecDeque::new(), of_series: BTreeMap::new(), max }
    }

    pub(crate) fn push(&mut self, series: &LabelSet, exemplar: Exemplar) {
        let t = exemplar.timestamp.0;
        if self.max == 0 || self.of_series.get(series).is_some_and(|(last, _)| t <= *last) {
            return;
        }
        if self.ring.len() >= self.max
            && let Some((oldest, _)) = self.ring.pop_front()
            && let Some(entry) = self.of_series.get_mut(&oldest)
        {
            entry.1 -= 1;
            if entry.1 == 0 {
                self.of_series.remove(&oldest);
            }
        }
        let entry = self.of_series.entry(series.clone()).or_insert((t, 0));
        *entry = (t, entry.1 + 1);
        self.ring.push_back((series.clone(), exemplar));
    }

    /// Forgets those from before the time that `since` names for their series.
    pub(crate) fn forget(&mut self, since: impl Fn(&LabelSet) -> i64) {
        let mut ring = std::mem::take(&mut self.ring);
        ring.retain(|(series, e)| e.timestamp.0 >= since(series));
        self.of_series.values_mut().for_each(|entry| entry.1 = 0);
        for (series, _) in &ring {
            if let Some(entry) = self.of_series.get_mut(series) {
                entry.1 += 1;
            }
        }
        self.of_series.retain(|_, (_, count)| *count > 0);
        self.ring = ring;
    }

    pub(crate) fn len(&self) -> usize {
        self.ring.len()
    }

    /// Oldest first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &(LabelSet, Exemplar)> {
        self.ring.iter()
    }

    pub(crate) fn select(&self, sets: &[Vec<Matcher>], range: TimeRangeMs) -> Vec<ExemplarSeries> {
        let mut out: BTreeMap<&LabelSet, Vec<Exemplar>> = BTreeMap::new();
        for (series, exemplar) in &self.ring {
            let wanted = sets.is_empty() || sets.iter().any(|m| matches_all(m, series));
            if wanted && range.contains(exemplar.timestamp) {
                out.entry(series).or_default().push(exemplar.clone());
            }
        }
        out.into_iter()
            .map(|(labels, mut exemplars)| {
                exemplars.sort_by_key(|e| e.timestamp);
                ExemplarSeries { labels: labels.clone(), exemplars }
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use obs_types::TimestampMs;

    #[test]
    fn the_ring_keeps_the_newest_and_ignores_repetitions() {
        let mut ring = ExemplarRing::new(3);
        let series = |n: i64| LabelSet::from_pairs([("s", n.to_string())]);
        let exemplar = |t: i64| Exemplar {
            labels: LabelSet::empty(),
            value: 1.0,
            timestamp: TimestampMs(t),
            trace_id: None,
            span_id: None,
        };
        for t in [1, 1, 2, 3, 4] {
            ring.push(&series(t % 2), exemplar(t));
        }
        assert_eq!(ring.len(), 3);
        let range = TimeRangeMs::new(TimestampMs::MIN, TimestampMs::MAX);
        let all = ring.select(&[], range);
        let times: Vec<Vec<i64>> =
            all.iter().map(|s| s.exemplars.iter().map(|e| e.timestamp.0).collect()).collect();
        assert_eq!(times, [vec![2, 4], vec![3]]);
        assert_eq!(ring.select(&[vec![Matcher::equal("s", "1")]], range).len(), 1);
        ring.forget(|labels| if labels.get("s") == Some("0") { 4 } else { 9 });
        assert_eq!((ring.len(), ring.of_series.len()), (1, 1));
        ring.push(&series(1), exemplar(9));
        assert_eq!(ring.len(), 2);
    }
}
