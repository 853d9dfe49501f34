//! Sealed metrics as a [`SeriesSource`]: files are sorted, so series stream out of a merge.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::sync::Arc;

use obs_types::{
    ExemplarSeries, LabelSet, Matcher, MetricMetadata, QueryContext, SeriesData, SeriesSelect,
    SeriesSource, SourceError, TimeRangeMs, TimestampMs, matches_all,
};

use crate::archive::Archive;
use crate::metrics_read::{MetricsFile, SeriesRows};
use crate::metrics_write::series_order;
use crate::{Hour, SealName, Signal};

impl Archive {
    fn metric_files(
        &self,
        range: TimeRangeMs,
        context: &QueryContext,
    ) -> Vec<(SealName, Arc<MetricsFile>)> {
        if range.is_empty() {
            return Vec::new();
        }
        let from = Hour::containing(range.start);
        let to = Hour::containing(TimestampMs(range.end.0.saturating_sub(1)));
        self.names_between(Signal::Metrics, from, to)
            .into_iter()
            .filter(|name| name.hour.range_ms().overlaps(&range))
            .filter_map(|name| Some((name, self.or_skip(context, name, self.open_metrics(name))?)))
            .collect()
    }

    /// Matching label sets. An hour that lies only partly in the range is looked into, for its
    /// series may have samples outside of it only.
    fn matching_series(
        &self,
        matcher_sets: &[Vec<Matcher>],
        range: TimeRangeMs,
        context: &QueryContext,
    ) -> Result<BTreeSet<LabelSet>, SourceError> {
        let mut found = BTreeSet::new();
        for (name, file) in self.metric_files(range, context) {
            context.check()?;
            let hour = name.hour.range_ms();
            let whole = range.start <= hour.start && hour.end <= range.end;
            let chosen: Vec<usize> = file
                .series()
                .iter()
                .enumerate()
                .filter(|(_, s)| any_matches(matcher_sets, &s.labels))
                .filter(|(_, s)| !found.contains(&s.labels))
                .map(|(i, _)| i)
                .collect();
            if whole {
                found.extend(
                    chosen
                        .into_iter()
                        .filter_map(|i| file.series().get(i))
                        .map(|s| s.labels.clone()),
                );
                continue;
            }
            let Some(rows) = self.or_skip(context, name, file.read(chosen, range)) else {
                continue;
            };
            for series in rows {
                let Some(series) = self.or_skip(context, name, series) else { break };
                if series.sample_count() > 0 {
                    found.insert(series.labels);
                }
            }
        }
        Ok(found)
    }

    /// What `texts` takes out of the label sets of matching series; sorted, unique.
    fn texts(
        &self,
        matcher_sets: &[Vec<Matcher>],
        range: TimeRangeMs,
        context: &QueryContext,
        texts: &mut dyn FnMut(&LabelSet, &mut BTreeSet<String>),
    ) -> Result<Vec<String>, SourceError> {
        let mut found = BTreeSet::new();
        for labels in self.matching_series(matcher_sets, range, context)? {
            texts(&labels, &mut found);
        }
        Ok(found.into_iter().collect())
    }
}

fn any_matches(matcher_sets: &[Vec<Matcher>], labels: &LabelSet) -> bool {
    matcher_sets.is_empty() || matcher_sets.iter().any(|set| matches_all(set, labels))
}

impl SeriesSource for Archive {
    fn select<'a>(
        &'a self,
        select: &SeriesSelect<'_>,
        context: &QueryContext,
    ) -> Result<Box<dyn Iterator<Item = Result<SeriesData, SourceError>> + Send + 'a>, SourceError>
    {
        let mut files = Vec::new();
        for (name, file) in self.metric_files(select.range, context) {
            context.check()?;
            let chosen: Vec<usize> = file
                .series()
                .iter()
                .enumerate()
                .filter(|(_, s)| matches_all(select.matchers, &s.labels))
                .map(|(i, _)| i)
                .collect();
            if !chosen.is_empty() {
                files.push(FileCursor { name, file, chosen, next: 0, rows: None });
            }
        }
        Ok(Box::new(MergedSeries::new(self, files, select.range, context.clone())))
    }

    fn series(
        &self,
        matcher_sets: &[Vec<Matcher>],
        range: TimeRangeMs,
        context: &QueryContext,
    ) -> Result<Vec<LabelSet>, SourceError> {
        Ok(self.matching_series(matcher_sets, range, context)?.into_iter().collect())
    }

    fn label_names(
        &self,
        matcher_sets: &[Vec<Matcher>],
        range: TimeRangeMs,
        context: &QueryContext,
    ) -> Result<Vec<String>, SourceError> {
        self.texts(matcher_sets, range, context, &mut |labels, found| {
            found.extend(labels.iter().map(|(name, _)| name.to_owned()));
        })
    }

    fn label_values(
        &self,
        name: &str,
        matcher_sets: &[Vec<Matcher>],
        range: TimeRangeMs,
        context: &QueryContext,
    ) -> Result<Vec<String>, SourceError> {
        self.texts(matcher_sets, range, context, &mut |labels, found| {
            found.extend(labels.get(name).map(str::to_owned));
        })
    }

    /// Exemplars are not sealed: always empty.
    fn exemplars(
        &self,
        _matcher_sets: &[Vec<Matcher>],
        _range: TimeRangeMs,
        _context: &QueryContext,
    ) -> Result<Vec<ExemplarSeries>, SourceError> {
        Ok(Vec::new())
    }

    /// As the newest sealed hour that has the family says.
    fn metadata(&self, family: Option<&str>) -> Result<Vec<MetricMetadata>, SourceError> {
        let mut families: BTreeMap<String, MetricMetadata> = BTreeMap::new();
        // Nobody asks a context here; what cannot be read is logged and counted.
        let context = QueryContext::unlimited();
        let names = self.names_between(Signal::Metrics, None, None);
        // A day of hours names what a stack exports; older ones would be opened for nothing.
        for name in names.into_iter().rev().take(24) {
            let file = self.or_skip(&context, name, self.open_metrics(name));
            let Some(rows) = file.and_then(|f| self.or_skip(&context, name, f.metadata())) else {
                continue;
            };
            for row in rows.into_iter().filter(|r| family.is_none_or(|f| r.family == f)) {
                families.entry(row.family.clone()).or_insert(row);
            }
        }
        Ok(families.into_values().collect())
    }
}

struct FileCursor {
    name: SealName,
    file: Arc<MetricsFile>,
    /// Indexes of matching series, in file order.
    chosen: Vec<usize>,
    next: usize,
    /// Opened with the first series that is wanted of the file.
    rows: Option<SeriesRows>,
}

impl FileCursor {
    fn labels(&self) -> Option<&LabelSet> {
        let index = self.chosen.get(self.next)?;
        self.file.series().get(*index).map(|s| &s.labels)
    }
}

/// The next label set of one file; the heap gives the least one, of the earliest file.
struct Head {
    labels: LabelSet,
    cursor: usize,
}

impl Ord for Head {
    fn cmp(&self, other: &Self) -> Ordering {
        // Reversed: `BinaryHeap` gives the greatest.
        series_order(&other.labels, &self.labels).then_with(|| other.cursor.cmp(&self.cursor))
    }
}

impl PartialOrd for Head {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Head {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Head {}

struct MergedSeries<'a> {
    archive: &'a Archive,
    cursors: Vec<FileCursor>,
    heads: BinaryHeap<Head>,
    range: TimeRangeMs,
    context: QueryContext,
    sample_count: usize,
}

impl<'a> MergedSeries<'a> {
    fn new(
        archive: &'a Archive,
        cursors: Vec<FileCursor>,
        range: TimeRangeMs,
        context: QueryContext,
    ) -> Self {
        let heads = cursors
            .iter()
            .enumerate()
            .filter_map(|(cursor, c)| Some(Head { labels: c.labels()?.clone(), cursor }))
            .collect();
        Self { archive, cursors, heads, range, context, sample_count: 0 }
    }

    /// The samples of the next series of one file; `None` drops the rest of a damaged file.
    fn read(&mut self, at: usize) -> Option<SeriesData> {
        let (archive, range, context) = (self.archive, self.range, self.context.clone());
        let cursor = self.cursors.get_mut(at)?;
        let name = cursor.name;
        if cursor.rows.is_none() {
            let chosen = cursor.chosen.clone();
            cursor.rows = Some(archive.or_skip(&context, name, cursor.file.read(chosen, range))?);
        }
        let series = archive.or_skip(&context, name, cursor.rows.as_mut()?.next()?)?;
        cursor.next += 1;
        if let Some(labels) = cursor.labels() {
            self.heads.push(Head { labels: labels.clone(), cursor: at });
        }
        Some(series)
    }

    fn next_series(&mut self) -> Result<Option<SeriesData>, SourceError> {
        while let Some(head) = self.heads.pop() {
            self.context.check()?;
            let mut merged = self.read(head.cursor);
            while self.heads.peek().is_some_and(|h| h.labels == head.labels) {
                let Some(next) = self.heads.pop() else { break };
                if let Some(part) = self.read(next.cursor) {
                    merged = Some(match merged {
                        Some(series) => join(series, part),
                        None => part,
                    });
                }
            }
            if let Some(series) = merged.filter(|s| s.sample_count() > 0) {
                self.sample_count = self.sample_count.saturating_add(series.sample_count());
                if self.sample_count > self.context.samples_max {
                    return Err(SourceError::new(
                        obs_types::ErrorKind::LimitExceeded,
                        format!(
                            "query loads more than its limit of {} samples",
                            self.context.samples_max
                        ),
                    ));
                }
                return Ok(Some(series));
            }
        }
        Ok(None)
    }
}

impl Iterator for MergedSeries<'_> {
    type Item = Result<SeriesData, SourceError>;

    fn next(&mut self) -> Option<Self::Item> {
        let result = self.next_series();
        if result.is_err() {
            self.heads.clear();
        }
        result.transpose()
    }
}

/// Appends a later hour, or merges late data into the hour before it. At equal times the earlier
/// revision's sample stays.
fn join(mut a: SeriesData, mut b: SeriesData) -> SeriesData {
    for part in [&mut a, &mut b] {
        // Known and unknown start times must not lose their places when joined.
        part.start_timestamps.resize(part.timestamps.len(), 0);
    }
    let in_order = a.timestamps.last().is_none_or(|l| b.timestamps.first().is_none_or(|f| l < f));
    if in_order {
        a.timestamps.append(&mut b.timestamps);
        a.values.append(&mut b.values);
        a.start_timestamps.append(&mut b.start_timestamps);
    } else {
        let mut rows: BTreeMap<i64, (f64, i64)> = BTreeMap::new();
        for part in [&b, &a] {
            for ((t, v), start) in
                part.timestamps.iter().zip(&part.values).zip(&part.start_timestamps)
            {
                rows.insert(*t, (*v, *start));
            }
        }
        a.timestamps = rows.keys().copied().collect();
        a.values = rows.values().map(|(v, _)| *v).collect();
        a.start_timestamps = rows.values().map(|(_, start)| *start).collect();
    }
    if a.start_timestamps.iter().all(|s| *s == 0) {
        a.start_timestamps.clear();
    }
    if !b.histograms.timestamps.is_empty() {
        let mut rows = BTreeMap::new();
        for part in [b.histograms, std::mem::take(&mut a.histograms)] {
            rows.extend(part.timestamps.into_iter().zip(part.values));
        }
        a.histograms.timestamps = rows.keys().copied().collect();
        a.histograms.values = rows.into_values().collect();
    }
    a
}
