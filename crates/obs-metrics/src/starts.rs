//! Start timestamps of samples: since when what a sample counts was counted. Most series have one
//! for all of their samples, so they are kept as a function of the sample's time.

use obs_disk::bytes::{Reader, put_i64, put_u64};

/// Each entry is a time and the start of samples from then on, until the next entry; 0 is unknown,
/// and holds before the first. Times ascend.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Starts(Vec<(i64, i64)>);

impl Starts {
    pub(crate) const NONE: Self = Self(Vec::new());

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn byte_len(&self) -> usize {
        self.0.len() * size_of::<(i64, i64)>()
    }

    pub(crate) fn at(&self, t: i64) -> i64 {
        let after = self.0.partition_point(|(from, _)| *from <= t);
        after.checked_sub(1).and_then(|at| self.0.get(at)).map_or(0, |(_, start)| *start)
    }

    /// Sets the start of the sample at `t` alone. If that is the newest sample, those to come count
    /// as of the same start until they say otherwise.
    pub(crate) fn set(&mut self, t: i64, start: i64, newest: bool) {
        let before = self.at(t);
        if before == start {
            return;
        }
        let at = self.0.partition_point(|(from, _)| *from < t);
        let here = self.0.get(at).is_some_and(|(from, _)| *from == t);
        let next = self.0.get(at + usize::from(here)).copied();
        let after = t.saturating_add(1);
        if !newest && next.is_none_or(|(from, _)| from > after) {
            self.0.insert(at + usize::from(here), (after, before));
        }
        if here {
            self.0.remove(at);
        }
        let previous = at.checked_sub(1).and_then(|at| self.0.get(at)).map_or(0, |e| e.1);
        if previous == start {
            // The entry behind says what changes.
            return;
        }
        self.0.insert(at, (t, start));
        if self.0.get(at + 1).is_some_and(|(_, next)| *next == start) {
            self.0.remove(at + 1);
        }
    }

    /// What holds in `[start, end)`.
    pub(crate) fn of_range(&self, start: i64, end: i64) -> Self {
        if self.is_empty() {
            return Self::NONE;
        }
        let from = self.0.partition_point(|(from, _)| *from <= start).saturating_sub(1);
        let to = self.0.partition_point(|(from, _)| *from < end).max(from);
        Self(self.0.get(from..to).unwrap_or_default().to_vec())
    }

    /// Forgets what holds only before `t`.
    pub(crate) fn forget_before(&mut self, t: i64) {
        let keep = self.0.partition_point(|(from, _)| *from <= t).saturating_sub(1);
        self.0.drain(..keep);
        if let [(_, 0)] = self.0.as_slice() {
            self.0.clear();
        }
        self.0.shrink_to_fit();
    }

    /// Appends the starts of these times, which follow `before` others.
    pub(crate) fn extend(&self, column: &mut Vec<i64>, before: usize, times: &[i64]) {
        if self.is_empty() {
            add_unknown(column, before, times.len());
        } else {
            add(column, before, times.len(), times.iter().map(|t| self.at(*t)));
        }
    }

    pub(crate) fn put(&self, out: &mut Vec<u8>) {
        put_u64(out, self.0.len() as u64);
        for (from, start) in &self.0 {
            put_i64(out, *from);
            put_i64(out, *start);
        }
    }

    pub(crate) fn get(r: &mut Reader<'_>) -> Option<Self> {
        let n = r.count()?;
        let all: Option<Vec<_>> = (0..n).map(|_| Some((r.i64()?, r.i64()?))).collect();
        all.filter(|all| all.is_sorted_by(|a, b| a.0 < b.0)).map(Self)
    }
}

/// Appends `count` starts to a column that may have been left empty for the `before` samples in
/// front of them, and is left so while all are unknown.
pub(crate) fn add(
    column: &mut Vec<i64>,
    before: usize,
    count: usize,
    starts: impl Iterator<Item = i64>,
) {
    let had = !column.is_empty();
    if had {
        column.resize(before, 0);
        column.extend(starts.take(count));
        return;
    }
    let new: Vec<i64> = starts.take(count).collect();
    if new.iter().any(|start| *start != 0) {
        column.resize(before, 0);
        column.extend(new);
    }
}

/// As [`add`], where none is known, as nearly always.
fn add_unknown(column: &mut Vec<i64>, before: usize, count: usize) {
    if !column.is_empty() {
        column.resize(before + count, 0);
    }
}

/// Runs of equal starts, in the order of samples.
#[derive(Clone, Debug, Default)]
pub(crate) struct Runs(Vec<(u64, i64)>);

impl Runs {
    pub(crate) fn add(&mut self, start: i64, count: u64) {
        match self.0.last_mut() {
            Some((n, same)) if *same == start => *n += count,
            _ => self.0.push((count, start)),
        }
    }

    pub(crate) fn of(starts: &[i64]) -> Self {
        let mut out = Self::default();
        starts.iter().for_each(|start| out.add(*start, 1));
        out
    }

    /// Whether any is known.
    pub(crate) fn is_known(&self) -> bool {
        self.0.iter().any(|(_, start)| *start != 0)
    }

    /// Number of runs; per run its length and how far its start is from the one before.
    pub(crate) fn put(&self, out: &mut Vec<u8>) {
        put_u64(out, self.0.len() as u64);
        let mut last = 0_i64;
        for (count, start) in &self.0 {
            put_u64(out, *count);
            put_i64(out, start.wrapping_sub(last));
            last = *start;
        }
    }

    /// `None` if the bytes do not decode, or if there are more than `max` starts.
    pub(crate) fn get(r: &mut Reader<'_>, max: usize) -> Option<Self> {
        let (mut out, mut left, mut start) = (Vec::new(), max as u64, 0_i64);
        for _ in 0..r.count()? {
            let count = r.u64()?;
            left = left.checked_sub(count)?;
            start = start.wrapping_add(r.i64()?);
            out.push((count, start));
        }
        Some(Self(out))
    }

    /// Appends `count` of them from the `from`th on, which follow `before` others.
    pub(crate) fn extend(self, column: &mut Vec<i64>, before: usize, from: usize, count: usize) {
        if self.is_known() {
            add(column, before, count, self.into_starts().skip(from));
        } else {
            add_unknown(column, before, count);
        }
    }

    /// One by one; unknown ones for ever behind the last.
    pub(crate) fn into_starts(self) -> impl Iterator<Item = i64> {
        let known = self.0.into_iter().flat_map(|(count, start)| {
            std::iter::repeat_n(start, usize::try_from(count).unwrap_or(usize::MAX))
        });
        known.chain(std::iter::repeat(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    proptest! {
        #[test]
        fn every_sample_keeps_its_own(
            samples in proptest::collection::vec((0_i64..40, 0_i64..4), 1..60),
            (from, to) in (0_i64..40, 0_i64..40),
        ) {
            let (mut starts, mut want) = (Starts::default(), BTreeMap::new());
            let mut newest = i64::MIN;
            for (t, start) in samples {
                if want.contains_key(&t) {
                    continue;
                }
                if start != 0 || !starts.is_empty() {
                    starts.set(t, start, t > newest);
                }
                newest = newest.max(t);
                want.insert(t, start);
                for (t, start) in &want {
                    prop_assert_eq!(starts.at(*t), *start, "{:?} of {:?}", starts, want);
                }
            }
            prop_assert!(starts.0.is_sorted_by(|a, b| a.0 < b.0));
            let mut bytes = Vec::new();
            starts.put(&mut bytes);
            prop_assert_eq!(&Starts::get(&mut Reader::new(&bytes)).unwrap(), &starts);
            let part = starts.of_range(from, to);
            for (t, start) in want.range(from..to.max(from)) {
                prop_assert_eq!(part.at(*t), *start);
            }
            starts.forget_before(from);
            for (t, start) in want.range(from..) {
                prop_assert_eq!(starts.at(*t), *start);
            }
        }

        #[test]
        fn runs_come_back(starts in proptest::collection::vec(prop_oneof![Just(0), Just(7), any::<i64>()], 0..50)) {
            let mut bytes = Vec::new();
            let runs = Runs::of(&starts);
            prop_assert_eq!(runs.is_known(), starts.iter().any(|s| *s != 0));
            runs.put(&mut bytes);
            let back = Runs::get(&mut Reader::new(&bytes), starts.len()).unwrap();
            prop_assert_eq!(back.into_starts().take(starts.len()).collect::<Vec<_>>(), starts.clone());
            if let Some(less) = starts.len().checked_sub(1) {
                prop_assert!(Runs::get(&mut Reader::new(&bytes), less).is_none());
            }
        }
    }
}
