use std::collections::BTreeMap;
use std::sync::Arc;

use obs_types::{
    AggregateAnswer, ExemplarSeries, LabelSet, Matcher, MetricMetadata, QueryContext, SeriesData,
    SeriesSelect, SeriesSource, SeriesStream, SourceError, TimeRangeMs,
};

use super::{Boundary, Tiers};

/// Metrics of the hot engine, and before its boundary those of the archive.
#[expect(missing_debug_implementations, reason = "sources are not printable")]
pub struct TieredMetrics(Tiers<dyn SeriesSource>);

impl TieredMetrics {
    pub fn new(
        hot: Arc<dyn SeriesSource>,
        cold: Arc<dyn SeriesSource>,
        boundary: Boundary,
    ) -> Self {
        Self(Tiers { hot, cold, boundary })
    }

    /// What the tiers hold of `range`, sorted and without repeats. The hot engine is asked for all
    /// of it: of hours whose samples it has let go it still knows aggregates.
    fn listed<T: Ord>(
        &self,
        range: TimeRangeMs,
        ask: impl Fn(&dyn SeriesSource, TimeRangeMs) -> Result<Vec<T>, SourceError>,
    ) -> Result<Vec<T>, SourceError> {
        let mut all = ask(self.0.hot.as_ref(), range)?;
        let (old, _) = self.0.split(range);
        if !old.is_empty() {
            all.extend(ask(self.0.cold.as_ref(), old)?);
            all.sort();
            all.dedup();
        }
        Ok(all)
    }
}

/// `older` then `newer`; all samples of `older` lie before the boundary.
fn append(mut older: SeriesData, newer: SeriesData) -> SeriesData {
    if !older.start_timestamps.is_empty() || !newer.start_timestamps.is_empty() {
        older.start_timestamps.resize(older.timestamps.len(), 0);
        older.start_timestamps.extend_from_slice(&newer.start_timestamps);
        older.start_timestamps.resize(older.timestamps.len() + newer.timestamps.len(), 0);
    }
    older.timestamps.extend_from_slice(&newer.timestamps);
    older.values.extend_from_slice(&newer.values);
    older.histograms.timestamps.extend_from_slice(&newer.histograms.timestamps);
    older.histograms.values.extend(newer.histograms.values);
    older
}

impl SeriesSource for TieredMetrics {
    fn select<'a>(
        &'a self,
        select: &SeriesSelect<'_>,
        context: &QueryContext,
    ) -> Result<Box<dyn Iterator<Item = Result<SeriesData, SourceError>> + Send + 'a>, SourceError>
    {
        let (old, new) = self.0.split(select.range);
        let hot = SeriesSelect { range: new, ..select.clone() };
        if old.is_empty() {
            return self.0.hot.select(&hot, context);
        }
        let cold = SeriesSelect { range: old, ..select.clone() };
        if new.is_empty() {
            return self.0.cold.select(&cold, context);
        }
        let mut before: BTreeMap<LabelSet, SeriesData> = BTreeMap::new();
        for series in self.0.cold.select(&cold, context)? {
            let mut series = series?;
            context.check()?;
            context.memory.grow(series.sample_count() * 16)?;
            // A source may give more than was asked for; past the cut the hot tier answers.
            let keep = series.timestamps.partition_point(|t| *t < old.end.0);
            series.timestamps.truncate(keep);
            series.values.truncate(keep);
            series.start_timestamps.truncate(keep);
            let keep = series.histograms.timestamps.partition_point(|t| *t < old.end.0);
            series.histograms.timestamps.truncate(keep);
            series.histograms.values.truncate(keep);
            before.insert(series.labels.clone(), series);
        }
        let mut merged = Vec::new();
        for series in self.0.hot.select(&hot, context)? {
            let mut series = series?;
            context.check()?;
            context.memory.grow(series.sample_count() * 16)?;
            let skip = series.timestamps.partition_point(|t| *t < new.start.0);
            series.timestamps.drain(..skip);
            series.values.drain(..skip);
            if !series.start_timestamps.is_empty() {
                series.start_timestamps.drain(..skip);
            }
            let skip = series.histograms.timestamps.partition_point(|t| *t < new.start.0);
            series.histograms.timestamps.drain(..skip);
            series.histograms.values.drain(..skip);
            merged.push(match before.remove(&series.labels) {
                Some(older) => append(older, series),
                None => series,
            });
        }
        merged.extend(before.into_values());
        Ok(Box::new(merged.into_iter().map(Ok)))
    }

    fn select_parts<'a>(
        &'a self,
        select: &SeriesSelect<'_>,
        context: &QueryContext,
        parts_max: usize,
    ) -> Result<Vec<SeriesStream<'a>>, SourceError> {
        let (old, new) = self.0.split(select.range);
        if old.is_empty() {
            let hot = SeriesSelect { range: new, ..select.clone() };
            return self.0.hot.select_parts(&hot, context, parts_max);
        }
        Ok(vec![self.select(select, context)?])
    }

    fn series(
        &self,
        matcher_sets: &[Vec<Matcher>],
        range: TimeRangeMs,
        context: &QueryContext,
    ) -> Result<Vec<LabelSet>, SourceError> {
        self.listed(range, |s, part| s.series(matcher_sets, part, context))
    }

    fn label_names(
        &self,
        matcher_sets: &[Vec<Matcher>],
        range: TimeRangeMs,
        context: &QueryContext,
    ) -> Result<Vec<String>, SourceError> {
        self.listed(range, |s, part| s.label_names(matcher_sets, part, context))
    }

    fn label_values(
        &self,
        name: &str,
        matcher_sets: &[Vec<Matcher>],
        range: TimeRangeMs,
        context: &QueryContext,
    ) -> Result<Vec<String>, SourceError> {
        self.listed(range, |s, part| s.label_values(name, matcher_sets, part, context))
    }

    /// Exemplars are kept by the hot engine alone.
    fn exemplars(
        &self,
        matcher_sets: &[Vec<Matcher>],
        range: TimeRangeMs,
        context: &QueryContext,
    ) -> Result<Vec<ExemplarSeries>, SourceError> {
        self.0.hot.exemplars(matcher_sets, range, context)
    }

    fn metadata(&self, family: Option<&str>) -> Result<Vec<MetricMetadata>, SourceError> {
        self.0.hot.metadata(family)
    }

    /// Aggregates are kept by the hot engine alone, also of hours whose samples it has let go.
    fn aggregates<'a>(
        &'a self,
        select: &SeriesSelect<'_>,
        context: &QueryContext,
    ) -> Result<Option<AggregateAnswer<'a>>, SourceError> {
        self.0.hot.aggregates(select, context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use obs_promql::testing::MemorySource;
    use obs_types::TimestampMs;
    use std::sync::atomic::AtomicI64;

    /// One series `up`, one sample a second over `range`.
    fn every_second(range: TimeRangeMs) -> Arc<MemorySource> {
        let timestamps: Vec<i64> = (range.start.0..range.end.0).step_by(1_000).collect();
        let mut source = MemorySource::default();
        source.append(SeriesData {
            labels: LabelSet::from_pairs([("__name__", "up")]),
            values: timestamps.iter().map(|t| *t as f64).collect(),
            timestamps,
            ..SeriesData::default()
        });
        Arc::new(source)
    }

    fn range(start: i64, end: i64) -> TimeRangeMs {
        TimeRangeMs::new(TimestampMs(start), TimestampMs(end))
    }

    #[test]
    fn every_instant_comes_from_one_tier_wherever_the_boundary_lies() {
        let cold = every_second(range(0, 60_000));
        let hot = every_second(range(30_000, 90_000));
        for cut in [0, 30_000, 30_500, 45_000, 60_000] {
            let boundary = Arc::new(AtomicI64::new(cut.max(30_000)));
            let both = TieredMetrics::new(hot.clone(), cold.clone(), boundary);
            let select = SeriesSelect {
                matchers: &[],
                range: range(0, 90_000),
                function: None,
                step_ms: None,
            };
            let all: Vec<SeriesData> = both
                .select(&select, &QueryContext::unlimited())
                .unwrap()
                .collect::<Result<_, _>>()
                .unwrap();
            assert_eq!(all.len(), 1);
            assert_eq!(all[0].timestamps, (0..90).map(|s| s * 1000).collect::<Vec<_>>());
        }
    }
}
