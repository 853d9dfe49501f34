//! The label pairs of the head, each kept once: a series names its labels by number.
//!
//! Invariants:
//! - A number stands for the same pair as long as a series uses it; then it may be given again.
//! - Series of the same labels have the same numbers in the same order, that of a label set.

use std::cmp::Ordering;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use hashbrown::HashTable;
use obs_types::LabelSet;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Estimate of what a pair costs besides its text, with its place in the index.
const PAIR_BYTES: usize = 200;

#[derive(Debug)]
pub(crate) struct Symbols {
    pairs: Vec<Pair>,
    /// Numbers that no series uses.
    free: Vec<u32>,
    by_text: HashTable<u32>,
    /// Senders choose the texts; they must not choose where they land.
    seed: u64,
}

#[derive(Debug, Default)]
struct Pair {
    /// Name and value.
    text: Box<str>,
    name_len: u32,
    /// Series that use it.
    uses: AtomicU32,
}

impl Pair {
    fn split(&self) -> (&str, &str) {
        self.text.split_at_checked(self.name_len as usize).unwrap_or_default()
    }
}

impl Default for Symbols {
    fn default() -> Self {
        let seed = RandomState::new().hash_one(0_u8);
        Self { pairs: Vec::new(), free: Vec::new(), by_text: HashTable::new(), seed }
    }
}

impl Symbols {
    fn hash(&self, name: &str, value: &str) -> u64 {
        xxh3_64_with_seed(value.as_bytes(), xxh3_64_with_seed(name.as_bytes(), self.seed))
    }

    fn find(&self, hash: u64, name: &str, value: &str) -> Option<u32> {
        let same = |n: &u32| self.pair(*n) == (name, value);
        self.by_text.find(hash, same).copied()
    }

    /// The numbers of a set whose pairs are all known; one more series uses them then.
    pub(crate) fn find_all(&self, labels: &LabelSet) -> Option<Box<[u32]>> {
        let known = labels.iter().map(|(n, v)| self.find(self.hash(n, v), n, v));
        let numbers = known.collect::<Option<Box<[u32]>>>()?;
        self.count(&numbers);
        Some(numbers)
    }

    /// The numbers of a set; one more series uses them. Also how many bytes that takes.
    pub(crate) fn intern(&mut self, labels: &LabelSet) -> (Box<[u32]>, usize) {
        let mut bytes = 0;
        let numbers: Box<[u32]> = labels
            .iter()
            .map(|(name, value)| {
                let (number, new) = self.add(name, value);
                bytes += new;
                number
            })
            .collect();
        self.count(&numbers);
        (numbers, bytes)
    }

    /// The number of a pair, which no series uses yet if it is new, and what a new one takes.
    pub(crate) fn add(&mut self, name: &str, value: &str) -> (u32, usize) {
        let hash = self.hash(name, value);
        if let Some(known) = self.find(hash, name, value) {
            return (known, 0);
        }
        let text = [name, value].concat().into_boxed_str();
        let bytes = PAIR_BYTES + text.len();
        let pair = Pair { text, name_len: name.len() as u32, uses: AtomicU32::new(0) };
        let number = match self.free.pop() {
            Some(number) => number,
            None => {
                self.pairs.push(Pair::default());
                // Every series has a number of its own and at least one label: fewer pairs than
                // could be counted.
                (self.pairs.len() - 1) as u32
            }
        };
        if let Some(slot) = self.pairs.get_mut(number as usize) {
            *slot = pair;
        }
        let (pairs, seed) = (&self.pairs, self.seed);
        self.by_text.insert_unique(hash, number, |n| {
            let (name, value) = pairs.get(*n as usize).map(Pair::split).unwrap_or_default();
            xxh3_64_with_seed(value.as_bytes(), xxh3_64_with_seed(name.as_bytes(), seed))
        });
        (number, bytes)
    }

    /// One more series uses these pairs.
    pub(crate) fn count(&self, numbers: &[u32]) {
        for pair in numbers.iter().filter_map(|n| self.pairs.get(*n as usize)) {
            pair.uses.fetch_add(1, Relaxed);
        }
    }

    /// A series that used these pairs is gone, and nobody asks for its labels any more. Returns the
    /// bytes of pairs that no series uses now.
    pub(crate) fn release(&mut self, numbers: &[u32]) -> usize {
        let mut freed = 0;
        for n in numbers {
            let Some(pair) = self.pairs.get_mut(*n as usize) else { continue };
            *pair.uses.get_mut() -= 1;
            if *pair.uses.get_mut() > 0 {
                continue;
            }
            let pair = std::mem::take(pair);
            let (name, value) = pair.split();
            freed += PAIR_BYTES + pair.text.len();
            if let Ok(entry) = self.by_text.find_entry(self.hash(name, value), |other| other == n) {
                entry.remove();
            }
            self.free.push(*n);
        }
        freed
    }

    /// How many numbers there are: a number is less than that.
    pub(crate) fn len(&self) -> usize {
        self.pairs.len()
    }

    /// Name and value; empty for a number that was never given.
    pub(crate) fn pair(&self, number: u32) -> (&str, &str) {
        self.pairs.get(number as usize).map(Pair::split).unwrap_or_default()
    }

    /// Name and value of each of these.
    pub(crate) fn pairs<'a>(
        &'a self,
        numbers: &'a [u32],
    ) -> impl Iterator<Item = (&'a str, &'a str)> + Clone {
        numbers.iter().map(|n| self.pair(*n))
    }

    pub(crate) fn labels(&self, numbers: &[u32]) -> LabelSet {
        let mut buffer = Vec::with_capacity(numbers.len() * 32);
        LabelSet::from_sorted(&mut buffer, self.pairs(numbers)).unwrap_or_default()
    }

    pub(crate) fn same(&self, numbers: &[u32], labels: &LabelSet) -> bool {
        self.pairs(numbers).eq(labels.iter())
    }

    /// How many series use a pair.
    pub(crate) fn uses(&self, number: u32) -> usize {
        self.pairs.get(number as usize).map_or(0, |p| p.uses.load(Relaxed) as usize)
    }

    /// Estimated bytes of all pairs.
    pub(crate) fn byte_len(&self) -> usize {
        self.pairs.iter().map(|p| PAIR_BYTES + p.text.len()).sum()
    }

    /// All numbers, in the order of their names and values.
    pub(crate) fn sorted(&self) -> Vec<u32> {
        let mut sorted: Vec<u32> = (0..self.pairs.len() as u32).collect();
        sorted.sort_unstable_by(|a, b| self.pair(*a).cmp(&self.pair(*b)));
        sorted
    }

    /// For every number its place in that order: sets sort as their pairs' places do.
    pub(crate) fn ranks(&self) -> Vec<u32> {
        let mut ranks = vec![0; self.pairs.len()];
        for (rank, number) in self.sorted().into_iter().enumerate() {
            if let Some(slot) = ranks.get_mut(number as usize) {
                *slot = rank as u32;
            }
        }
        ranks
    }
}

/// Compares label sets by the ranks of their pairs.
pub(crate) fn by_rank(ranks: &[u32], a: &[u32], b: &[u32]) -> Ordering {
    let rank = |n: &u32| ranks.get(*n as usize);
    a.iter().map(rank).cmp(b.iter().map(rank))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn sets_come_back_sort_alike_and_leave_nothing(
            sets in proptest::collection::vec(
                proptest::collection::btree_map("[ab]{1,2}", "[abc]{1,2}", 0..4), 1..20),
            gone in 0_usize..20,
        ) {
            let sets: Vec<LabelSet> = sets.into_iter().map(LabelSet::from_iter).collect();
            let mut symbols = Symbols::default();
            let mut bytes = 0;
            let mut intern = |symbols: &mut Symbols, l: &LabelSet| {
                let (numbers, new) = symbols.intern(l);
                bytes += new;
                numbers
            };
            let mut numbers: Vec<_> = sets.iter().map(|l| intern(&mut symbols, l)).collect();
            for old in numbers.drain(..gone.min(sets.len())).collect::<Vec<_>>() {
                bytes -= symbols.release(&old);
            }
            let kept = &sets[gone.min(sets.len())..];
            let ranks = symbols.ranks();
            for (labels, own) in kept.iter().zip(&numbers) {
                prop_assert_eq!(&symbols.labels(own), labels);
                prop_assert!(symbols.same(own, labels));
                for (other_labels, other) in kept.iter().zip(&numbers) {
                    prop_assert_eq!(by_rank(&ranks, own, other), labels.cmp(other_labels));
                    prop_assert_eq!(symbols.same(own, other_labels), labels == other_labels);
                }
                let again = symbols.find_all(labels).unwrap();
                prop_assert_eq!(&again, own);
                symbols.release(&again);
            }
            for own in &numbers {
                bytes -= symbols.release(own);
            }
            prop_assert_eq!((bytes, symbols.by_text.len()), (0, 0));
            prop_assert_eq!(symbols.free.len(), symbols.len());
        }
    }
}
