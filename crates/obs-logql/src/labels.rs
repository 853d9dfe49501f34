use std::fmt;

use obs_types::LabelSet;

/// Sorted labels with unique names, as a query returns them.
///
/// Unlike a [`LabelSet`], a value may be empty: `| json x="missing"` sets `x=""`, and that is a
/// series of its own.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Labels(Vec<(String, String)>);

impl Labels {
    /// Sorts; of pairs with one name the last wins.
    pub fn from_pairs<N: Into<String>, V: Into<String>>(
        pairs: impl IntoIterator<Item = (N, V)>,
    ) -> Self {
        let mut all: Vec<(String, String)> =
            pairs.into_iter().map(|(n, v)| (n.into(), v.into())).collect();
        all.sort_by(|a, b| a.0.cmp(&b.0));
        let mut unique: Vec<(String, String)> = Vec::with_capacity(all.len());
        for pair in all {
            match unique.last_mut() {
                Some(last) if last.0 == pair.0 => last.1 = pair.1,
                _ => unique.push(pair),
            }
        }
        Self(unique)
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        let at = self.0.binary_search_by(|(n, _)| n.as_str().cmp(name)).ok()?;
        self.0.get(at).map(|(_, v)| v.as_str())
    }

    /// In order of name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> + Clone {
        self.0.iter().map(|(n, v)| (n.as_str(), v.as_str()))
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Keeps only the named labels.
    pub fn keep(&self, names: &[String]) -> Self {
        Self(self.0.iter().filter(|(n, _)| names.contains(n)).cloned().collect())
    }

    /// Drops the named labels.
    pub fn without(&self, names: &[String]) -> Self {
        Self(self.0.iter().filter(|(n, _)| !names.contains(n)).cloned().collect())
    }

    /// Sets or, with an empty value, removes one label.
    pub fn with(&self, name: &str, value: &str) -> Self {
        let mut out = self.clone();
        match out.0.binary_search_by(|(n, _)| n.as_str().cmp(name)) {
            Ok(at) if value.is_empty() => {
                out.0.remove(at);
            }
            Ok(at) => {
                if let Some(pair) = out.0.get_mut(at) {
                    value.clone_into(&mut pair.1);
                }
            }
            Err(_) if value.is_empty() => {}
            Err(at) => out.0.insert(at, (name.to_owned(), value.to_owned())),
        }
        out
    }

    /// Without the labels whose value is empty.
    pub fn to_label_set(&self) -> LabelSet {
        LabelSet::from_pairs(self.iter())
    }

    /// Rough heap size, for memory accounting.
    pub(crate) fn size_bytes(&self) -> usize {
        self.0.iter().map(|(n, v)| n.len() + v.len() + 48).sum()
    }
}

impl From<&LabelSet> for Labels {
    fn from(set: &LabelSet) -> Self {
        Self(set.iter().map(|(n, v)| (n.to_owned(), v.to_owned())).collect())
    }
}

impl fmt::Display for Labels {
    /// `{a="b", c="d"}`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{")?;
        for (i, (n, v)) in self.iter().enumerate() {
            write!(f, "{}{n}={}", if i == 0 { "" } else { ", " }, crate::unit::quote(v))?;
        }
        f.write_str("}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_pair_wins_and_empty_values_stay() {
        let l = Labels::from_pairs([("b", "1"), ("a", ""), ("b", "2")]);
        assert_eq!(l.to_string(), r#"{a="", b="2"}"#);
        assert_eq!(l.get("a"), Some(""));
        assert_eq!(l.with("a", "x").with("b", "").to_string(), r#"{a="x"}"#);
        assert_eq!(l.to_label_set().len(), 1);
    }
}
