use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// The label that carries a series' metric name.
pub const METRIC_NAME: &str = "__name__";

/// A sorted set of labels with unique names and no empty value, in one allocation.
///
/// The encoding is `(u32 LE name length, name, u32 LE value length, value)*`, ordered by name, so
/// equal sets have equal bytes and a set can be hashed or looked up without building a map.
/// Cloning copies a pointer.
#[derive(Clone, PartialEq, Eq)]
pub struct LabelSet {
    raw: Arc<[u8]>,
}

/// Collects labels in any order; a later value of the same name wins, an empty value removes.
#[derive(Clone, Debug, Default)]
pub struct LabelSetBuilder {
    pairs: Vec<(String, String)>,
}

impl LabelSet {
    pub fn empty() -> Self {
        Self { raw: Arc::from([]) }
    }

    /// Later pairs win over earlier ones of the same name; pairs with an empty value are left out.
    pub fn from_pairs<N: Into<String>, V: Into<String>>(
        pairs: impl IntoIterator<Item = (N, V)>,
    ) -> Self {
        let mut builder = LabelSetBuilder::default();
        for (name, value) in pairs {
            builder.set(name, value);
        }
        builder.build()
    }

    /// Reads the bytes that [`LabelSet::as_bytes`] gave. `None` if they are not such bytes:
    /// torn, not UTF-8, unsorted, repeated names or empty values.
    pub fn from_bytes(raw: &[u8]) -> Option<Self> {
        let mut rest = raw;
        let mut last: Option<&str> = None;
        while !rest.is_empty() {
            let name = take_str(&mut rest)?;
            let value = take_str(&mut rest)?;
            if value.is_empty() || last.is_some_and(|l| l >= name) {
                return None;
            }
            last = Some(name);
        }
        Some(Self { raw: Arc::from(raw) })
    }

    /// From pairs that are sorted by name and unique; empty values are left out. `None` if they are
    /// not so. `buffer` is scratch that callers keep between sets, so that one costs one allocation.
    pub fn from_sorted<'a>(
        buffer: &mut Vec<u8>,
        pairs: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Option<Self> {
        buffer.clear();
        let mut last: Option<&str> = None;
        for (name, value) in pairs {
            if last.is_some_and(|l| l >= name) {
                return None;
            }
            last = Some(name);
            if !value.is_empty() {
                put_str(buffer, name);
                put_str(buffer, value);
            }
        }
        Some(Self { raw: Arc::from(buffer.as_slice()) })
    }

    /// The canonical encoding: equal sets, equal bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.raw
    }

    /// xxh3 of the canonical bytes; stable across processes and versions.
    pub fn stable_hash(&self) -> u64 {
        Self::hash_of_bytes(&self.raw)
    }

    /// What [`LabelSet::stable_hash`] gives for the set with these canonical bytes.
    pub fn hash_of_bytes(raw: &[u8]) -> u64 {
        xxhash_rust::xxh3::xxh3_64(raw)
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        let name = name.as_bytes();
        let entry = self.entries().take_while(|e| e.name <= name).find(|e| e.name == name)?;
        std::str::from_utf8(entry.value).ok()
    }

    /// The metric name, or `""`.
    pub fn metric_name(&self) -> &str {
        self.get(METRIC_NAME).unwrap_or("")
    }

    /// In order of name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> + Clone {
        Pairs { rest: &self.raw }
    }

    /// The labels as bytes, without the cost of proving each text to be UTF-8 once more.
    fn entries(&self) -> Entries<'_> {
        Entries { rest: &self.raw }
    }

    pub fn len(&self) -> usize {
        self.entries().count()
    }

    pub fn is_empty(&self) -> bool {
        self.raw.is_empty()
    }

    pub fn to_builder(&self) -> LabelSetBuilder {
        LabelSetBuilder { pairs: self.iter().map(|(n, v)| (n.to_owned(), v.to_owned())).collect() }
    }

    /// The set without its metric name.
    pub fn without_name(&self) -> Self {
        self.without(&[METRIC_NAME])
    }

    /// Keeps only the named labels.
    pub fn keep(&self, names: &[&str]) -> Self {
        self.filter(|name| names.iter().any(|n| n.as_bytes() == name))
    }

    /// Drops the named labels.
    pub fn without(&self, names: &[&str]) -> Self {
        self.filter(|name| names.iter().all(|n| n.as_bytes() != name))
    }

    fn filter(&self, mut wanted: impl FnMut(&[u8]) -> bool) -> Self {
        let mut raw = Vec::with_capacity(self.raw.len());
        for entry in self.entries().filter(|e| wanted(e.name)) {
            raw.extend_from_slice(entry.whole);
        }
        Self { raw: Arc::from(raw) }
    }

    /// The set with one label set (an empty value removes it).
    pub fn with(&self, name: &str, value: &str) -> Self {
        let mut builder = self.to_builder();
        builder.set(name, value);
        builder.build()
    }

    /// `pairs` must be sorted by name, unique, without empty values.
    fn encode<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)>) -> Self {
        let mut raw = Vec::with_capacity(128);
        for (name, value) in pairs {
            put_str(&mut raw, name);
            put_str(&mut raw, value);
        }
        Self { raw: Arc::from(raw) }
    }
}

impl Default for LabelSet {
    fn default() -> Self {
        Self::empty()
    }
}

impl Hash for LabelSet {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.raw.hash(state);
    }
}

impl PartialOrd for LabelSet {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for LabelSet {
    /// By name, then value, label by label; a prefix sorts first. This is Prometheus' order.
    fn cmp(&self, other: &Self) -> Ordering {
        // UTF-8 sorts by bytes as it does by characters.
        let mut others = other.entries();
        for mine in self.entries() {
            let Some(theirs) = others.next() else { return Ordering::Greater };
            if mine.whole != theirs.whole {
                return mine.name.cmp(theirs.name).then_with(|| mine.value.cmp(theirs.value));
            }
        }
        if others.next().is_some() { Ordering::Less } else { Ordering::Equal }
    }
}

impl fmt::Display for LabelSet {
    /// `name{a="b", c="d"}`, values escaped as Go's `%q` does for the usual characters.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.metric_name();
        f.write_str(name)?;
        let mut first = true;
        for (n, v) in self.iter().filter(|(n, _)| *n != METRIC_NAME) {
            f.write_str(if first { "{" } else { ", " })?;
            first = false;
            write!(f, "{n}={v:?}")?;
        }
        if !first {
            f.write_str("}")
        } else if name.is_empty() {
            f.write_str("{}")
        } else {
            Ok(())
        }
    }
}

impl fmt::Debug for LabelSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LabelSet({self})")
    }
}

impl<N: Into<String>, V: Into<String>> FromIterator<(N, V)> for LabelSet {
    fn from_iter<T: IntoIterator<Item = (N, V)>>(pairs: T) -> Self {
        Self::from_pairs(pairs)
    }
}

impl LabelSetBuilder {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn set(&mut self, name: impl Into<String>, value: impl Into<String>) -> &mut Self {
        let (name, value) = (name.into(), value.into());
        match self.pairs.iter_mut().find(|(n, _)| *n == name) {
            Some(pair) => pair.1 = value,
            None => self.pairs.push((name, value)),
        }
        self
    }

    pub fn remove(&mut self, name: &str) -> &mut Self {
        self.pairs.retain(|(n, _)| n != name);
        self
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        self.pairs.iter().find(|(n, v)| n == name && !v.is_empty()).map(|(_, v)| v.as_str())
    }

    /// In order of insertion, with empty values as they were set.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.pairs.iter().map(|(n, v)| (n.as_str(), v.as_str()))
    }

    pub fn build(mut self) -> LabelSet {
        self.pairs.retain(|(_, v)| !v.is_empty());
        self.pairs.sort_by(|a, b| a.0.cmp(&b.0));
        LabelSet::encode(self.pairs.iter().map(|(n, v)| (n.as_str(), v.as_str())))
    }
}

#[derive(Clone)]
struct Pairs<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Pairs<'a> {
    type Item = (&'a str, &'a str);

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        Some((take_str(&mut self.rest)?, take_str(&mut self.rest)?))
    }
}

/// One label as it stands in the encoding.
struct Entry<'a> {
    name: &'a [u8],
    value: &'a [u8],
    /// Both with their lengths.
    whole: &'a [u8],
}

struct Entries<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Entries<'a> {
    type Item = Entry<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        let start = self.rest;
        let name = take_bytes(&mut self.rest)?;
        let value = take_bytes(&mut self.rest)?;
        Some(Entry { name, value, whole: &start[..start.len() - self.rest.len()] })
    }
}

fn put_str(out: &mut Vec<u8>, s: &str) {
    let len = u32::try_from(s.len()).unwrap_or(u32::MAX);
    out.extend_from_slice(&len.to_le_bytes());
    out.extend_from_slice(&s.as_bytes()[..len as usize]);
}

fn take_str<'a>(rest: &mut &'a [u8]) -> Option<&'a str> {
    std::str::from_utf8(take_bytes(rest)?).ok()
}

fn take_bytes<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (len, tail) = rest.split_first_chunk::<4>()?;
    let (text, tail) = tail.split_at_checked(u32::from_le_bytes(*len) as usize)?;
    *rest = tail;
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn order_of_insertion_does_not_matter() {
        let a = LabelSet::from_pairs([("b", "2"), ("a", "1"), ("z", "")]);
        let b = LabelSet::from_pairs([("a", "0"), ("b", "2"), ("a", "1")]);
        assert_eq!(a, b);
        assert_eq!(a.as_bytes(), b.as_bytes());
        assert_eq!(a.len(), 2);
        assert_eq!(a.get("b"), Some("2"));
        assert_eq!(a.get("z"), None);
        assert_eq!(LabelSet::from_bytes(a.as_bytes()), Some(a));
    }

    #[test]
    fn shows_like_prometheus() {
        let l = LabelSet::from_pairs([(METRIC_NAME, "up"), ("job", "a\"b")]);
        assert_eq!(l.to_string(), r#"up{job="a\"b"}"#);
        assert_eq!(LabelSet::empty().to_string(), "{}");
        assert_eq!(LabelSet::from_pairs([(METRIC_NAME, "up")]).to_string(), "up");
    }

    #[test]
    fn torn_or_unsorted_bytes_are_refused() {
        let good = LabelSet::from_pairs([("a", "1"), ("b", "2")]);
        let bytes = good.as_bytes();
        for cut in 1..bytes.len() {
            if cut != bytes.len() / 2 {
                assert_eq!(LabelSet::from_bytes(&bytes[..cut]), None, "cut at {cut}");
            }
        }
        let mut swapped = bytes[bytes.len() / 2..].to_vec();
        swapped.extend_from_slice(&bytes[..bytes.len() / 2]);
        assert_eq!(LabelSet::from_bytes(&swapped), None);
    }

    proptest! {
        #[test]
        fn round_trips_and_orders_like_pairs(
            a in proptest::collection::btree_map("[a-c]{1,3}", "[a-c]{1,3}", 0..4),
            b in proptest::collection::btree_map("[a-c]{1,3}", "[a-c]{1,3}", 0..4),
        ) {
            let (la, lb) = (LabelSet::from_iter(a.clone()), LabelSet::from_iter(b.clone()));
            prop_assert_eq!(la.cmp(&lb), a.iter().cmp(b.iter()));
            prop_assert_eq!(LabelSet::from_bytes(la.as_bytes()), Some(la.clone()));
            let names: Vec<&str> = b.keys().map(String::as_str).collect();
            let (kept, left): (Vec<_>, Vec<_>) = a.iter().partition(|(n, _)| b.contains_key(*n));
            prop_assert_eq!(la.keep(&names), LabelSet::from_pairs(kept.into_iter().map(|(n, v)| (n.as_str(), v.as_str()))));
            prop_assert_eq!(la.without(&names), LabelSet::from_pairs(left.into_iter().map(|(n, v)| (n.as_str(), v.as_str()))));
            for name in &names {
                prop_assert_eq!(la.get(name), a.get(*name).map(String::as_str));
            }
            let sorted = a.iter().map(|(n, v)| (n.as_str(), v.as_str()));
            prop_assert_eq!(LabelSet::from_sorted(&mut vec![7], sorted.clone()), Some(la.clone()));
            prop_assert!(a.len() < 2 || LabelSet::from_sorted(&mut vec![], sorted.rev()).is_none());
        }
    }
}
