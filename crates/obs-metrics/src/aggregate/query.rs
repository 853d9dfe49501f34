//! Reading aggregates: the series of all files merged by label set.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use obs_types::{
    AggregateAnswer, LabelSet, Matcher, QueryContext, SeriesAggregates, SeriesSelect, SourceError,
    TimeRangeMs, TimestampMs,
};

use super::columns::aggregates_of;
use super::{owners, span, times_of};
use crate::HOUR_MS;
use crate::block::BlockCursor;
use crate::engine::MetricsEngine;
use crate::index::intersect;
use crate::query::{HeldMemory, select_any, sets_of};
use crate::read;
use crate::tombstones::Tombstones;

/// One series of one file.
struct Found {
    labels: LabelSet,
    file: usize,
    position: u32,
}

/// A file that is read, and which of its hours count.
struct Part {
    cursor: BlockCursor,
    hours: Vec<i64>,
    deletions: u64,
}

struct Selected<'a> {
    found: std::iter::Peekable<std::vec::IntoIter<Found>>,
    parts: Vec<Part>,
    tombstones: Arc<Tombstones>,
    context: QueryContext,
    corrupt: &'a AtomicU64,
    _held: HeldMemory,
}

impl Iterator for Selected<'_> {
    type Item = Result<SeriesAggregates, SourceError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let first = self.found.next()?;
            match self.load(first) {
                Ok(series) if series.is_empty() => {}
                other => return Some(other),
            }
        }
    }
}

impl Selected<'_> {
    fn load(&mut self, first: Found) -> Result<SeriesAggregates, SourceError> {
        self.context.check()?;
        let mut out = SeriesAggregates { labels: first.labels.clone(), ..Default::default() };
        let mut next = Some(first);
        while let Some(found) = next {
            if let Some(part) = self.parts.get_mut(found.file)
                && let Some(chunks) = part.cursor.columns(found.position, self.corrupt)?
                && let Some(mut more) = aggregates_of(found.labels, chunks)
            {
                let Part { hours, deletions, .. } = part;
                let labels = &out.labels;
                // Only where the samples are gone is an hour asked for that a deletion overlaps.
                more.retain(|end| {
                    let hour = end / HOUR_MS - 1;
                    let (start, end) = times_of(hour);
                    hours.binary_search(&hour).is_ok()
                        && !self.tombstones.touches(labels, *deletions, start, end)
                });
                out.merge(more);
            }
            next = self.found.next_if(|f| f.labels == out.labels);
        }
        Ok(out)
    }
}

impl MetricsEngine {
    /// The whole hours around the part of a range of which only aggregates are left.
    fn only_aggregated(&self, range: TimeRangeMs) -> Option<TimeRangeMs> {
        let gone = self.aggregates.dropped().saturating_mul(HOUR_MS).saturating_add(1);
        let (start, end) = (range.start.0, range.end.0.min(gone));
        let (from, _) = times_of(start.saturating_sub(1).div_euclid(HOUR_MS));
        let (_, to) = times_of(end.saturating_sub(2).div_euclid(HOUR_MS));
        (start < end).then(|| TimeRangeMs::new(TimestampMs(from), TimestampMs(to)))
    }

    /// Adds the label sets that match and have samples in the range of which only aggregates are
    /// left.
    pub(crate) fn aggregated_series(
        &self,
        matchers: &[Matcher],
        range: TimeRangeMs,
        context: &QueryContext,
        out: &mut BTreeSet<LabelSet>,
    ) -> Result<(), SourceError> {
        let Some(range) = self.only_aggregated(range) else { return Ok(()) };
        let select = SeriesSelect { matchers, range, function: Some("series"), step_ms: None };
        if let Some(answer) = self.select_aggregates(&select, context)? {
            for series in answer.series {
                out.insert(series?.labels);
            }
        }
        Ok(())
    }

    /// Calls `each` for the label pairs (of one name, or of all) of series that match some set of
    /// matchers and lie in files with the range of which only aggregates are left. By whole files,
    /// as no series need be read then; where something was deleted, by hours.
    pub(crate) fn aggregated_labels(
        &self,
        name: Option<&str>,
        matcher_sets: &[Vec<Matcher>],
        range: TimeRangeMs,
        context: &QueryContext,
        each: &mut dyn FnMut(&str, &str),
    ) -> Result<(), SourceError> {
        let Some(hours) = self.only_aggregated(range) else { return Ok(()) };
        if !read(&self.tombstones).is_empty() {
            let mut all = BTreeSet::new();
            for matchers in sets_of(matcher_sets) {
                self.aggregated_series(matchers, range, context, &mut all)?;
            }
            let pairs = all.iter().flat_map(LabelSet::iter);
            pairs.filter(|(n, _)| name.is_none_or(|name| name == *n)).for_each(|(n, v)| each(n, v));
            return Ok(());
        }
        for file in self.aggregates.files().iter() {
            let (from, to) = span(&file.meta);
            if from >= hours.end.0 || hours.start.0 >= to {
                continue;
            }
            context.check()?;
            let index = self.index_cache.get(file, &self.counters.sections_corrupt)?;
            let index = &index.index;
            let matched = (!matcher_sets.is_empty()).then(|| select_any(index, matcher_sets));
            for (n, values) in index.names().filter(|(n, _)| name.is_none_or(|name| name == *n)) {
                for (value, postings) in values {
                    if matched.as_ref().is_none_or(|m| !intersect(postings, m).is_empty()) {
                        each(n, value);
                    }
                }
            }
        }
        Ok(())
    }

    pub(crate) fn select_aggregates<'a>(
        &'a self,
        select: &SeriesSelect<'_>,
        context: &QueryContext,
    ) -> Result<Option<AggregateAnswer<'a>>, SourceError> {
        let (start, end) = (select.range.start.0, select.range.end.0);
        let overlaps = |(from, to): (i64, i64)| from < end && start < to;
        let mut files = self.aggregates.files().to_vec();
        files.retain(|f| overlaps(span(&f.meta)));
        if files.is_empty() {
            return Ok(None);
        }
        let corrupt = &self.counters.sections_corrupt;
        let freshness = self.freshness();
        let mut indexes = Vec::with_capacity(files.len());
        let mut outrun = Vec::with_capacity(files.len());
        for file in &files {
            context.check()?;
            let index = self.index_cache.get(file, corrupt)?;
            outrun.push(freshness.outrun(file, &index));
            indexes.push(index);
        }
        let floor = self.aggregates.floor_hour.load(Ordering::Acquire);
        let mut hours: BTreeMap<i64, usize> = owners(&files);
        hours.retain(|hour, file| {
            let (from, to) = times_of(*hour);
            *hour >= floor
                && start <= from
                && to <= end
                && outrun.get(*file).is_some_and(|o| !o.contains(hour))
        });
        let mut covered: Vec<TimeRangeMs> = Vec::new();
        for hour in hours.keys() {
            let (from, to) = times_of(*hour);
            match covered.last_mut() {
                Some(last) if last.end.0 == from => last.end = TimestampMs(to),
                _ => covered.push(TimeRangeMs::new(TimestampMs(from), TimestampMs(to))),
            }
        }
        if covered.is_empty() {
            return Ok(None);
        }
        let mut held = HeldMemory::new(context);
        let mut found = Vec::new();
        let mut parts = Vec::new();
        for (at, (file, index)) in files.into_iter().zip(indexes).enumerate() {
            let own: Vec<i64> =
                hours.iter().filter(|(_, owner)| **owner == at).map(|(hour, _)| *hour).collect();
            if own.is_empty() {
                continue;
            }
            for position in index.index.select(select.matchers) {
                let Some(labels) = index.labels(position) else { continue };
                held.grow(labels.as_bytes().len() + size_of::<Found>())?;
                found.push(Found { labels, file: parts.len(), position });
            }
            let deletions = file.meta.deletions;
            let cursor = BlockCursor::new(file, index, &self.section_cache);
            parts.push(Part { cursor, hours: own, deletions });
        }
        found.sort_by(|a, b| a.labels.cmp(&b.labels));
        let mut names: Vec<&str> = found.iter().map(|f| f.labels.metric_name()).collect();
        names.sort_unstable();
        names.dedup();
        self.usage.note(names.into_iter(), self.config.clock.now());
        let series = Box::new(Selected {
            found: found.into_iter().peekable(),
            parts,
            tombstones: freshness.tombstones,
            context: context.clone(),
            corrupt,
            _held: held,
        });
        Ok(Some(AggregateAnswer { covered, series }))
    }
}
