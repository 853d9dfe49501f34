//! Every known stream with a number, found by Prometheus' matcher rules.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use obs_types::{LabelSet, Matcher, matches_all};

/// Number of a stream, valid while the engine is open.
pub(crate) type StreamId = u32;

#[derive(Debug, Default)]
pub(crate) struct StreamIndex {
    ids: HashMap<LabelSet, StreamId>,
    streams: Vec<LabelSet>,
    postings: BTreeMap<Arc<str>, BTreeMap<Arc<str>, Vec<StreamId>>>,
}

impl StreamIndex {
    pub(crate) fn id(&mut self, labels: &LabelSet) -> StreamId {
        if let Some(id) = self.ids.get(labels) {
            return *id;
        }
        // Label sets take more memory than there are numbers, so this cannot wrap in practice.
        let id = u32::try_from(self.streams.len()).unwrap_or(u32::MAX);
        self.ids.insert(labels.clone(), id);
        self.streams.push(labels.clone());
        for (name, value) in labels.iter() {
            let values = match self.postings.get_mut(name) {
                Some(values) => values,
                None => self.postings.entry(Arc::from(name)).or_default(),
            };
            match values.get_mut(value) {
                Some(ids) => ids.push(id),
                None => {
                    values.insert(Arc::from(value), vec![id]);
                }
            }
        }
        id
    }

    pub(crate) fn labels(&self, id: StreamId) -> Option<&LabelSet> {
        self.streams.get(id as usize)
    }

    pub(crate) fn len(&self) -> usize {
        self.streams.len()
    }

    /// Ascending. Without matchers: all streams.
    pub(crate) fn find(&self, matchers: &[Matcher]) -> Vec<StreamId> {
        let all = || (0..self.streams.len()).filter_map(|i| u32::try_from(i).ok());
        // A matcher that an absent label does not fulfil bounds the candidates.
        let narrowing = matchers
            .iter()
            .filter(|m| !m.matches_empty())
            .map(|m| self.with_label(m))
            .min_by_key(Vec::len);
        let mut found: Vec<StreamId> = match narrowing {
            Some(candidates) => candidates,
            None => all().collect(),
        };
        found.retain(|id| self.labels(*id).is_some_and(|l| matches_all(matchers, l)));
        found.sort_unstable();
        found
    }

    fn with_label(&self, matcher: &Matcher) -> Vec<StreamId> {
        let Some(values) = self.postings.get(matcher.name()) else { return Vec::new() };
        if matcher.op() == obs_types::MatchOp::Equal {
            return values.get(matcher.value()).cloned().unwrap_or_default();
        }
        values
            .iter()
            .filter(|(value, _)| matcher.matches(value))
            .flat_map(|(_, ids)| ids.iter().copied())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use obs_types::MatchOp;

    use super::*;

    #[test]
    fn matchers_follow_prometheus() {
        let mut index = StreamIndex::default();
        for (app, env) in [("a", "prod"), ("b", "prod"), ("a", ""), ("c", "dev")] {
            index.id(&LabelSet::from_pairs([("app", app), ("env", env)]));
        }
        assert_eq!(index.len(), 4);
        let m = |n: &str, op, v: &str| Matcher::new(n, op, v).unwrap();
        let find = |ms: &[Matcher]| index.find(ms);
        assert_eq!(find(&[m("app", MatchOp::Equal, "a")]), [0, 2]);
        assert_eq!(find(&[m("env", MatchOp::Equal, "")]), [2]);
        assert_eq!(find(&[m("env", MatchOp::NotEqual, "prod")]), [2, 3]);
        assert_eq!(
            find(&[m("app", MatchOp::Regex, "a|b"), m("env", MatchOp::Equal, "prod")]),
            [0, 1]
        );
        assert_eq!(find(&[m("env", MatchOp::Regex, ".*")]), [0, 1, 2, 3]);
        assert_eq!(find(&[m("none", MatchOp::Equal, "x")]), [] as [u32; 0]);
        assert_eq!(find(&[]), [0, 1, 2, 3]);
    }
}
