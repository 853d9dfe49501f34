//! The inverted index: for each label name and value the sorted numbers of the series that carry
//! it. Used by the head (numbers are series ids) and by blocks (numbers are positions).

use std::collections::BTreeMap;
use std::ops::Bound::{Included, Unbounded};

use obs_types::{MatchOp, Matcher, Pattern};

/// Sorted, unique.
pub(crate) type Postings = Vec<u32>;

#[derive(Clone, Debug, Default)]
pub(crate) struct Index {
    names: BTreeMap<Box<str>, BTreeMap<Box<str>, Postings>>,
    all: Postings,
}

impl Index {
    /// Numbers should come in ascending order; another order is only slower.
    pub(crate) fn insert<'a>(
        &mut self,
        number: u32,
        labels: impl Iterator<Item = (&'a str, &'a str)>,
    ) {
        insert_sorted(&mut self.all, number);
        for (name, value) in labels {
            // Looked up before inserting, so that a known name or value allocates nothing.
            if !self.names.contains_key(name) {
                self.names.insert(name.into(), BTreeMap::new());
            }
            let Some(values) = self.names.get_mut(name) else { continue };
            match values.get_mut(value) {
                Some(postings) => insert_sorted(postings, number),
                None => {
                    values.insert(value.into(), vec![number]);
                }
            }
        }
    }

    /// The index of these series, from all label pairs (each once) with their postings; quickest
    /// where they come sorted.
    pub(crate) fn of_pairs<'a>(
        all: Postings,
        pairs: impl Iterator<Item = ((&'a str, &'a str), Postings)>,
    ) -> Self {
        let mut lists: BTreeMap<&str, Vec<(Box<str>, Postings)>> = BTreeMap::new();
        for ((name, value), postings) in pairs.filter(|(_, p)| !p.is_empty()) {
            lists.entry(name).or_default().push((value.into(), postings));
        }
        let names = lists.into_iter().map(|(n, values)| (n.into(), values.into_iter().collect()));
        Self { names: names.collect(), all }
    }

    /// Removes series, given sorted, from the lists of their labels; each is rewritten once.
    pub(crate) fn remove<'a>(
        &mut self,
        gone: &[u32],
        labels: impl Iterator<Item = (&'a str, &'a str)>,
    ) {
        let stays = |n: &u32| gone.binary_search(n).is_err();
        self.all.retain(stays);
        for (name, value) in labels {
            let Some(values) = self.names.get_mut(name) else { continue };
            if let Some(postings) = values.get_mut(value) {
                postings.retain(stays);
                if postings.is_empty() {
                    values.remove(value);
                }
            }
            if values.is_empty() {
                self.names.remove(name);
            }
        }
    }

    pub(crate) fn all(&self) -> &[u32] {
        &self.all
    }

    /// Names, values and their postings, sorted.
    pub(crate) fn names(&self) -> impl Iterator<Item = (&str, &BTreeMap<Box<str>, Postings>)> {
        self.names.iter().map(|(n, v)| (&**n, v))
    }

    pub(crate) fn values(&self, name: &str) -> Option<&BTreeMap<Box<str>, Postings>> {
        self.names.get(name)
    }

    /// Series for which all matchers hold; a missing label counts as the empty value.
    ///
    /// 1. A matcher that the empty value fails keeps the union of the values that fulfil it.
    /// 2. A matcher that the empty value fulfils removes the union of the values that do not.
    /// 3. Keepers go first, those with the fewest series first of all. A union is never made where
    ///    looking the few that are left up in each of its lists is cheaper.
    pub(crate) fn select(&self, matchers: &[Matcher]) -> Postings {
        self.select_of(matchers, usize::MAX).unwrap_or_default()
    }

    /// The same, where that is done in a moment: `None` where it takes looking at more than
    /// `values_max` values of labels, or there may be more than `series_max` series.
    pub(crate) fn select_few(
        &self,
        matchers: &[Matcher],
        values_max: usize,
        series_max: usize,
    ) -> Option<Postings> {
        let mut left = values_max;
        for m in matchers {
            left = left.checked_sub(self.values_looked_at(m, left))?;
        }
        self.select_of(matchers, series_max)
    }

    /// `None` where even the fewest of the lists that all are in hold more than `series_max`.
    fn select_of(&self, matchers: &[Matcher], series_max: usize) -> Option<Postings> {
        let mut keep: Vec<Lists<'_>> = Vec::new();
        let mut remove: Vec<Lists<'_>> = Vec::new();
        for m in matchers {
            if m.matches_empty() {
                remove.push(Lists::of(self.lists_where(m, false)));
            } else {
                let found = self.lists_where(m, true);
                if found.is_empty() {
                    return Some(Vec::new());
                }
                keep.push(Lists::of(found));
            }
        }
        keep.sort_by_key(|lists| lists.count);
        if keep.first().map_or(self.all.len(), |lists| lists.count) > series_max {
            return None;
        }
        let mut keep = keep.into_iter();
        let mut out = keep.next().map_or_else(|| self.all.clone(), |lists| union(&lists.lists));
        for other in keep {
            out = other.filter(out, true);
        }
        for other in remove {
            out = other.filter(out, false);
        }
        Some(out)
    }

    /// How many values [`Self::lists_where`] looks at for a matcher; counted up to one more than
    /// `most`.
    fn values_looked_at(&self, m: &Matcher, most: usize) -> usize {
        let Some(values) = self.names.get(m.name()) else { return 0 };
        let named = matches!(m.op(), MatchOp::Equal | MatchOp::Regex) != m.matches_empty();
        let under = |prefix| with_prefix(values, prefix).take(most.saturating_add(1)).count();
        match m.pattern() {
            None if named => 1,
            Some(Pattern::Literals(all)) if named => all.len(),
            Some(Pattern::Glob(glob)) if named => under(glob.prefix()),
            Some(Pattern::Ends(prefix, _, _)) if named => under(prefix),
            Some(Pattern::Everything(_)) if !named => 0,
            _ => values.len(),
        }
    }

    /// The lists of the values of the matcher's label for which it says `wanted`.
    fn lists_where(&self, m: &Matcher, wanted: bool) -> Vec<&Postings> {
        let Some(values) = self.names.get(m.name()) else { return Vec::new() };
        // The values that the text of the matcher names; the rest need no look.
        let named = matches!(m.op(), MatchOp::Equal | MatchOp::Regex) == wanted;
        let asked = |v: &str| m.matches(v) == wanted;
        let Some(pattern) = m.pattern() else {
            return if named {
                values.get(m.value()).into_iter().collect()
            } else {
                values.iter().filter(|(v, _)| asked(v)).map(|(_, p)| p).collect()
            };
        };
        match pattern {
            Pattern::Literals(all) if named => {
                all.iter().filter_map(|literal| values.get(literal.as_str())).collect()
            }
            Pattern::Glob(glob) if named => {
                let under = with_prefix(values, glob.prefix());
                under.filter(|(v, _)| glob.matches(v)).map(|(_, p)| p).collect()
            }
            Pattern::Ends(prefix, suffix, _) if named => {
                let under = with_prefix(values, prefix).filter(|(v, _)| v.ends_with(suffix));
                under.filter(|(v, _)| asked(v)).map(|(_, p)| p).collect()
            }
            // No value in an index is empty, so `.*` and `.+` are the same here.
            Pattern::Everything(_) if named => values.values().collect(),
            Pattern::Everything(_) => Vec::new(),
            _ => values.iter().filter(|(v, _)| asked(v)).map(|(_, p)| p).collect(),
        }
    }
}

/// The values that start with the prefix; all for an empty one.
fn with_prefix<'a, 'p>(
    values: &'a BTreeMap<Box<str>, Postings>,
    prefix: &'p str,
) -> impl Iterator<Item = (&'a str, &'a Postings)> + use<'a, 'p> {
    let from = values.range::<str, _>((Included(prefix), Unbounded));
    from.take_while(move |(v, _)| v.starts_with(prefix)).map(|(v, p)| (&**v, p))
}

/// The series of some values of a label: lists that have nothing in common.
struct Lists<'a> {
    lists: Vec<&'a Postings>,
    /// Series in all of them.
    count: usize,
}

impl<'a> Lists<'a> {
    fn of(lists: Vec<&'a Postings>) -> Self {
        let count = lists.iter().map(|l| l.len()).sum();
        Self { lists, count }
    }

    /// Those numbers that are in the lists (`keep`), or those that are not.
    fn filter(&self, numbers: Postings, keep: bool) -> Postings {
        match self.lists.as_slice() {
            [] if keep => Vec::new(),
            [] => numbers,
            [one] if keep => intersect(&numbers, one),
            [one] => subtract(&numbers, one),
            // Looking up costs about the logarithm of a list's length.
            many if numbers.len().saturating_mul(many.len()).saturating_mul(8) < self.count => {
                let within = |n: &u32| many.iter().any(|l| l.binary_search(n).is_ok()) == keep;
                numbers.into_iter().filter(within).collect()
            }
            many => {
                let max = numbers.last().copied().unwrap_or(0) as usize;
                let mut bits = vec![0_u64; max / 64 + 1];
                for n in many.iter().flat_map(|l| l.iter()) {
                    if let Some(word) = bits.get_mut(*n as usize / 64) {
                        *word |= 1 << (n % 64);
                    }
                }
                let bit =
                    |n: u32| bits.get(n as usize / 64).is_some_and(|w| w >> (n % 64) & 1 == 1);
                numbers.into_iter().filter(|n| bit(*n) == keep).collect()
            }
        }
    }
}

fn insert_sorted(list: &mut Postings, number: u32) {
    match list.last() {
        Some(last) if *last >= number => {
            if let Err(at) = list.binary_search(&number) {
                list.insert(at, number);
            }
        }
        _ => list.push(number),
    }
}

fn union(lists: &[&Postings]) -> Postings {
    match lists {
        [] => Vec::new(),
        [one] => (*one).clone(),
        many => {
            let count: usize = many.iter().map(|l| l.len()).sum();
            let max = many.iter().filter_map(|l| l.last()).max().copied().unwrap_or(0) as usize;
            // Many numbers out of few: bits are quicker than sorting.
            if count > max / 32 {
                let mut bits = vec![0_u64; max / 64 + 1];
                for n in many.iter().flat_map(|l| l.iter()) {
                    if let Some(word) = bits.get_mut(*n as usize / 64) {
                        *word |= 1 << (n % 64);
                    }
                }
                let mut out = Vec::with_capacity(count);
                for (at, mut word) in bits.into_iter().enumerate() {
                    while word != 0 {
                        out.push(at as u32 * 64 + word.trailing_zeros());
                        word &= word - 1;
                    }
                }
                return out;
            }
            let mut out: Postings = many.iter().flat_map(|l| l.iter().copied()).collect();
            out.sort_unstable();
            out.dedup();
            out
        }
    }
}

/// Looks each of the fewer up among the more, going forward only.
pub(crate) fn intersect(fewer: &[u32], more: &[u32]) -> Postings {
    let (fewer, more) = if fewer.len() <= more.len() { (fewer, more) } else { (more, fewer) };
    let mut rest = more;
    let mut out = Vec::with_capacity(fewer.len());
    for &n in fewer {
        rest = skip_to(rest, n);
        if rest.first() == Some(&n) {
            out.push(n);
        }
    }
    out
}

pub(crate) fn subtract(from: &[u32], what: &[u32]) -> Postings {
    let mut rest = what;
    let mut out = Vec::with_capacity(from.len());
    for &n in from {
        rest = skip_to(rest, n);
        if rest.first() != Some(&n) {
            out.push(n);
        }
    }
    out
}

/// Cuts off what is smaller than `n`, in doubling steps: cheap for near and for far targets.
fn skip_to(list: &[u32], n: u32) -> &[u32] {
    let mut step = 1;
    while list.get(step - 1).is_some_and(|x| *x < n) {
        step *= 2;
    }
    let window = list.get(step / 2..list.len().min(step)).unwrap_or_default();
    list.get(step / 2 + window.partition_point(|x| *x < n)..).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use obs_types::{LabelSet, matches_all};
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn matcher() -> impl Strategy<Value = Matcher> {
        let op = prop_oneof![
            Just(MatchOp::Equal),
            Just(MatchOp::NotEqual),
            Just(MatchOp::Regex),
            Just(MatchOp::NotRegex)
        ];
        let text = prop_oneof![
            "[ab]{0,2}",
            Just("a|b".to_owned()),
            Just("a.*".to_owned()),
            Just(".*b".to_owned()),
            Just(".*a.*".to_owned()),
            Just("a.+b".to_owned()),
            Just("a[ab]?b".to_owned()),
            Just(".+".to_owned()),
            Just(".*".to_owned()),
            Just("(a|ab|)".to_owned()),
            Just("(?i)A".to_owned()),
            Just("^a$".to_owned()),
            Just("a\\bb".to_owned()),
            Just("[ab]b?".to_owned()),
        ];
        ("[xyz]", op, text).prop_map(|(n, op, v)| Matcher::new(n, op, v).unwrap())
    }

    #[test]
    fn few_are_found_without_looking_at_many() {
        let mut index = Index::default();
        for n in 0..1_000 {
            let host = format!("h{n:03}");
            index.insert(n, [("__name__", "m"), ("host", host.as_str())].into_iter());
        }
        let of = |op, text| Matcher::new("host", op, text).unwrap();
        let name = Matcher::equal("__name__", "m");
        for (matcher, found) in [
            (of(MatchOp::Equal, "h001"), Some(1)),
            (of(MatchOp::Regex, "h001|h002"), Some(2)),
            (of(MatchOp::Regex, "h00.*"), Some(10)),
            (of(MatchOp::Regex, "h00[0-4]x"), Some(0)),
            // All hosts would have to be looked at.
            (of(MatchOp::Regex, ".*1"), None),
            (of(MatchOp::Regex, "[a-z]*001"), None),
            (of(MatchOp::NotEqual, ""), None),
            // One is taken from a thousand.
            (of(MatchOp::NotEqual, "h001"), None),
            (of(MatchOp::Equal, ""), None),
        ] {
            let few = index.select_few(&[name.clone(), matcher.clone()], 20, 100);
            assert_eq!(few.map(|f| f.len()), found, "{matcher}");
        }
    }

    proptest! {
        #[test]
        fn selection_is_what_each_series_says(
            series in proptest::collection::vec(
                proptest::collection::btree_map("[xy]", "[ab]{1,2}", 0..3), 0..20),
            matchers in proptest::collection::vec(matcher(), 0..4),
            gone in proptest::collection::btree_set(0_u32..20, 0..5),
            limits in (0_usize..12, 0_usize..20),
        ) {
            let sets: Vec<LabelSet> = series.into_iter().map(LabelSet::from_iter).collect();
            let mut index = Index::default();
            for (n, labels) in sets.iter().enumerate() {
                index.insert(n as u32, labels.iter());
            }
            let gone: BTreeMap<u32, LabelSet> = gone
                .into_iter()
                .filter_map(|n| Some((n, sets.get(n as usize)?.clone())))
                .collect();
            let numbers: Vec<u32> = gone.keys().copied().collect();
            let touched: BTreeSet<(&str, &str)> = gone.values().flat_map(LabelSet::iter).collect();
            index.remove(&numbers, touched.into_iter());
            let want: Vec<u32> = (0..sets.len() as u32)
                .filter(|n| !gone.contains_key(n) && matches_all(&matchers, &sets[*n as usize]))
                .collect();
            let few = index.select_few(&matchers, limits.0, limits.1);
            prop_assert!(few.is_none_or(|few| few == want));
            prop_assert_eq!(index.select_few(&matchers, 1_000, 20), Some(want.clone()));
            prop_assert_eq!(index.select(&matchers), want);
        }

        #[test]
        fn unions(lists in proptest::collection::vec(
            proptest::collection::btree_set(0_u32..2_000, 0..40), 0..6)) {
            let want: BTreeSet<u32> = lists.iter().flatten().copied().collect();
            let lists: Vec<Postings> = lists.into_iter().map(|l| l.into_iter().collect()).collect();
            let lists: Vec<&Postings> = lists.iter().collect();
            prop_assert_eq!(union(&lists), want.into_iter().collect::<Vec<_>>());
        }

        #[test]
        fn set_algebra(a in proptest::collection::btree_set(0_u32..200, 0..80),
                       b in proptest::collection::btree_set(0_u32..200, 0..80)) {
            let (va, vb): (Vec<_>, Vec<_>) = (a.iter().copied().collect(), b.iter().copied().collect());
            prop_assert_eq!(intersect(&va, &vb), a.intersection(&b).copied().collect::<Vec<_>>());
            prop_assert_eq!(subtract(&va, &vb), a.difference(&b).copied().collect::<Vec<_>>());
        }
    }
}
