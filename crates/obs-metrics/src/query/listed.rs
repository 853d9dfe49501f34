//! Which series, label names and label values there are in a range.

use std::collections::BTreeSet;
use std::sync::Arc;

use obs_types::{
    LabelSet, Matcher, QueryContext, SeriesData, SeriesSelect, SourceError, TimeRangeMs,
};

use super::{Held, select_any, sets_of};
use crate::block::BlockCursor;
use crate::engine::MetricsEngine;
use crate::index::{Index, intersect};
use crate::{lock, read};

type HasSamples<'a> = dyn FnMut(u32) -> Result<bool, SourceError> + 'a;

fn any_has(numbers: &[u32], has: &mut HasSamples<'_>) -> Result<bool, SourceError> {
    for n in numbers {
        if has(*n)? {
            return Ok(true);
        }
    }
    Ok(false)
}

impl MetricsEngine {
    /// Calls `each` for the head and for each block in the range with its index and a test that
    /// says whether a series (by number in that index) has samples in the range.
    fn each_index(
        &self,
        range: TimeRangeMs,
        context: &QueryContext,
        each: &mut dyn FnMut(&Index, &mut HasSamples<'_>) -> Result<(), SourceError>,
    ) -> Result<(), SourceError> {
        if range.is_empty() {
            return Ok(());
        }
        let (start, end) = (range.start.0, range.end.0);
        let tombstones = Arc::clone(&read(&self.tombstones));
        let alive = |data: &mut SeriesData| {
            tombstones.apply(data);
            data.sample_count() > 0
        };
        self.head.with_index(|index| {
            each(index, &mut |id| {
                context.check()?;
                let Some(series) = self.head.get(id) else { return Ok(false) };
                let snapshot = lock(&series.state).snapshot(start, end);
                // Label sets are made on demand, so only where they are needed.
                let labels = (!tombstones.is_empty()).then(|| self.head.labels(&series));
                if let Some(labels) = labels.filter(|l| tombstones.has(l)) {
                    let mut data = SeriesData { labels, ..Default::default() };
                    snapshot.decode(start, end, &mut data);
                    return Ok(alive(&mut data));
                }
                Ok(snapshot.has_samples(start, end))
            })
        })?;
        let corrupt = &self.counters.sections_corrupt;
        for block in self.blocks_in(range, Held::Shown) {
            context.check()?;
            let index = self.index_cache.get(&block, corrupt)?;
            let mut cursor = BlockCursor::new(block, Arc::clone(&index), &self.section_cache);
            let start = start.max(tombstones.floor());
            each(&index.index, &mut |position| {
                let labels = if tombstones.is_empty() { None } else { index.labels(position) };
                if let Some(labels) = labels.filter(|l| tombstones.has(l)) {
                    let mut data = SeriesData { labels, ..Default::default() };
                    cursor.read(position, start, end, &mut data, corrupt)?;
                    return Ok(alive(&mut data));
                }
                Ok(cursor.has_samples(position, start, end, corrupt)?)
            })?;
        }
        Ok(())
    }

    /// As [`obs_types::SeriesSource::series`].
    pub(super) fn listed_series(
        &self,
        matcher_sets: &[Vec<Matcher>],
        range: TimeRangeMs,
        context: &QueryContext,
        held: Held,
    ) -> Result<Vec<LabelSet>, SourceError> {
        // The index knows numbers; label sets come from the head and from each block's list, so
        // this does not go through `each_index`.
        let mut out: BTreeSet<LabelSet> = BTreeSet::new();
        for matchers in sets_of(matcher_sets) {
            let select = SeriesSelect { matchers, range, function: Some("series"), step_ms: None };
            self.series_of(&select, context, held, &mut out)?;
            if held == Held::Shown {
                self.aggregated_series(matchers, range, context, &mut out)?;
            }
        }
        Ok(out.into_iter().collect())
    }

    /// As [`obs_types::SeriesSource::label_names`].
    pub(super) fn listed_names(
        &self,
        matcher_sets: &[Vec<Matcher>],
        range: TimeRangeMs,
        context: &QueryContext,
    ) -> Result<Vec<String>, SourceError> {
        let mut out: BTreeSet<String> = BTreeSet::new();
        self.each_index(range, context, &mut |index, has| {
            let matched = (!matcher_sets.is_empty()).then(|| select_any(index, matcher_sets));
            for (name, values) in index.names() {
                if out.contains(name) {
                    continue;
                }
                for postings in values.values() {
                    let hit = match &matched {
                        Some(matched) => any_has(&intersect(postings, matched), has)?,
                        None => any_has(postings, has)?,
                    };
                    if hit {
                        out.insert(name.to_owned());
                        break;
                    }
                }
            }
            Ok(())
        })?;
        self.aggregated_labels(None, matcher_sets, range, context, &mut |name, _| {
            if !out.contains(name) {
                out.insert(name.to_owned());
            }
        })?;
        Ok(out.into_iter().collect())
    }

    /// As [`obs_types::SeriesSource::label_values`].
    pub(super) fn listed_values(
        &self,
        name: &str,
        matcher_sets: &[Vec<Matcher>],
        range: TimeRangeMs,
        context: &QueryContext,
    ) -> Result<Vec<String>, SourceError> {
        let mut out: BTreeSet<String> = BTreeSet::new();
        self.each_index(range, context, &mut |index, has| {
            let Some(values) = index.values(name) else { return Ok(()) };
            let matched = (!matcher_sets.is_empty()).then(|| select_any(index, matcher_sets));
            for (value, postings) in values {
                if out.contains(&**value) {
                    continue;
                }
                let hit = match &matched {
                    Some(matched) => any_has(&intersect(postings, matched), has)?,
                    None => any_has(postings, has)?,
                };
                if hit {
                    out.insert(value.to_string());
                }
            }
            Ok(())
        })?;
        self.aggregated_labels(Some(name), matcher_sets, range, context, &mut |_, value| {
            if !out.contains(value) {
                out.insert(value.to_owned());
            }
        })?;
        Ok(out.into_iter().collect())
    }

    /// Adds the label sets that match and have samples in the range.
    fn series_of(
        &self,
        select: &SeriesSelect<'_>,
        context: &QueryContext,
        held: Held,
        out: &mut BTreeSet<LabelSet>,
    ) -> Result<(), SourceError> {
        let (start, end) = (select.range.start.0, select.range.end.0);
        if start >= end {
            return Ok(());
        }
        let tombstones = Arc::clone(&read(&self.tombstones));
        let alive = |data: &mut SeriesData| {
            tombstones.apply(data);
            data.sample_count() > 0
        };
        for series in self.head.select(select.matchers) {
            context.check()?;
            let snapshot = lock(&series.state).snapshot(start, end);
            let labels = self.head.labels(&series);
            let has = if tombstones.has(&labels) {
                let mut data = SeriesData { labels: labels.clone(), ..Default::default() };
                snapshot.decode(start, end, &mut data);
                alive(&mut data)
            } else {
                snapshot.has_samples(start, end)
            };
            if has {
                out.insert(labels);
            }
        }
        let corrupt = &self.counters.sections_corrupt;
        for block in self.blocks_in(select.range, held) {
            let index = self.index_cache.get(&block, corrupt)?;
            let mut cursor = BlockCursor::new(block, Arc::clone(&index), &self.section_cache);
            let start = start.max(tombstones.floor());
            for position in index.index.select(select.matchers) {
                context.check()?;
                let Some(labels) = index.labels(position) else { continue };
                if out.contains(&labels) {
                    continue;
                }
                let has = if tombstones.has(&labels) {
                    let mut data = SeriesData { labels: labels.clone(), ..Default::default() };
                    cursor.read(position, start, end, &mut data, corrupt)?;
                    alive(&mut data)
                } else {
                    cursor.has_samples(position, start, end, corrupt)?
                };
                if has {
                    out.insert(labels);
                }
            }
        }
        Ok(())
    }
}
