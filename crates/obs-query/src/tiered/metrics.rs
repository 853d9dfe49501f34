use std::collections::BTreeMap;
use std::sync::Arc;

use obs_types::{
    AggregateAnswer, ExemplarSeries, LabelSet, Matcher, MetricMetadata, QueryContext, SeriesData,
    SeriesSelect, SeriesSource, SeriesStream, SourceError, TimeRangeMs,
};

use super::{Boundary, Tiers};

/// Metrics of the hot engine, and before its boundary those of the archive.
#[expect(missing_debug_implementations, reason = "sources are not printable")]
pub struct TieredMetrics {
    tiers: Tiers<dyn SeriesSource>,
    /// The engine holds some series from before its boundary.
    holds_longer: bool,
}

impl TieredMetrics {
    pub fn new(
        hot: Arc<dyn SeriesSource>,
        cold: Arc<dyn SeriesSource>,
        boundary: Boundary,
    ) -> Self {
        Self { tiers: Tiers { hot, cold, boundary }, holds_longer: false }
    }

    /// Says whether the hot engine keeps some series for longer than the rest: then both tiers are
    /// asked for what lies before the boundary, and of a sample in both the engine's is taken.
    #[must_use]
    pub fn holding_longer(self, holds_longer: bool) -> Self {
        Self { holds_longer, ..self }
    }

    /// What the tiers hold of `range`, sorted and without repeats. The hot engine is asked for all
    /// of it: of hours whose samples it has let go it still knows aggregates.
    fn listed<T: Ord>(
        &self,
        range: TimeRangeMs,
        ask: impl Fn(&dyn SeriesSource, TimeRangeMs) -> Result<Vec<T>, SourceError>,
    ) -> Result<Vec<T>, SourceError> {
        let mut all = ask(self.tiers.hot.as_ref(), range)?;
        let (old, _) = self.tiers.split(range);
        if !old.is_empty() {
            all.extend(ask(self.tiers.cold.as_ref(), old)?);
            all.sort();
            all.dedup();
        }
        Ok(all)
    }
}

/// Both as one; of a time that both have the sample of `newer` is taken.
fn joined(mut older: SeriesData, newer: SeriesData) -> SeriesData {
    let SeriesData { timestamps, values, start_timestamps, histograms, .. } = newer;
    join(
        (&mut older.timestamps, &mut older.values, &mut older.start_timestamps),
        (timestamps, values, start_timestamps),
    );
    let h = &mut older.histograms;
    join(
        (&mut h.timestamps, &mut h.values, &mut h.start_timestamps),
        (histograms.timestamps, histograms.values, histograms.start_timestamps),
    );
    older
}

/// Times, values and start timestamps; the last may be empty.
fn join<V: Clone>(
    (times, values, starts): (&mut Vec<i64>, &mut Vec<V>, &mut Vec<i64>),
    (new_times, new_values, mut new_starts): (Vec<i64>, Vec<V>, Vec<i64>),
) {
    if !starts.is_empty() || !new_starts.is_empty() {
        starts.resize(times.len(), 0);
        new_starts.resize(new_times.len(), 0);
    }
    let in_order = match (times.last(), new_times.first()) {
        (Some(last), Some(first)) => last < first,
        _ => true,
    };
    times.extend(new_times);
    values.extend(new_values);
    starts.append(&mut new_starts);
    if !in_order {
        let mut order: Vec<usize> = (0..times.len()).collect();
        // What came later in the columns is the newer's.
        order.sort_by_key(|at| (times.get(*at).copied(), std::cmp::Reverse(*at)));
        order.dedup_by_key(|at| times.get(*at).copied());
        *starts = order.iter().filter_map(|at| starts.get(*at).copied()).collect();
        *values = order.iter().filter_map(|at| values.get(*at).cloned()).collect();
        *times = order.iter().filter_map(|at| times.get(*at).copied()).collect();
    }
}

/// Leaves the samples of `range` alone.
fn clip(series: &mut SeriesData, range: TimeRangeMs) {
    fn keep<V>(times: &mut Vec<i64>, values: &mut Vec<V>, starts: &mut Vec<i64>, r: TimeRangeMs) {
        let to = times.partition_point(|t| *t < r.end.0);
        let from = times.partition_point(|t| *t < r.start.0).min(to);
        times.truncate(to);
        times.drain(..from);
        values.truncate(to);
        values.drain(..from);
        if !starts.is_empty() {
            starts.truncate(to);
            starts.drain(..from);
        }
    }
    keep(&mut series.timestamps, &mut series.values, &mut series.start_timestamps, range);
    let h = &mut series.histograms;
    keep(&mut h.timestamps, &mut h.values, &mut h.start_timestamps, range);
}

impl SeriesSource for TieredMetrics {
    fn select<'a>(
        &'a self,
        select: &SeriesSelect<'_>,
        context: &QueryContext,
    ) -> Result<SeriesStream<'a>, SourceError> {
        let (old, new) = self.tiers.split(select.range);
        let new = if self.holds_longer { select.range } else { new };
        let hot = SeriesSelect { range: new, ..select.clone() };
        if old.is_empty() {
            return self.tiers.hot.select(&hot, context);
        }
        let cold = SeriesSelect { range: old, ..select.clone() };
        if new.is_empty() {
            return self.tiers.cold.select(&cold, context);
        }
        let mut before: BTreeMap<LabelSet, SeriesData> = BTreeMap::new();
        for series in self.tiers.cold.select(&cold, context)? {
            let mut series = series?;
            context.check()?;
            context.memory.grow(series.sample_count() * 16)?;
            // A source may give more than was asked for; past the cut the hot tier answers.
            clip(&mut series, old);
            before.insert(series.labels.clone(), series);
        }
        let mut merged = Vec::new();
        for series in self.tiers.hot.select(&hot, context)? {
            let mut series = series?;
            context.check()?;
            context.memory.grow(series.sample_count() * 16)?;
            clip(&mut series, new);
            merged.push(match before.remove(&series.labels) {
                Some(older) => joined(older, series),
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
        let (old, new) = self.tiers.split(select.range);
        if old.is_empty() {
            let hot = SeriesSelect { range: new, ..select.clone() };
            return self.tiers.hot.select_parts(&hot, context, parts_max);
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
        self.tiers.hot.exemplars(matcher_sets, range, context)
    }

    fn metadata(&self, family: Option<&str>) -> Result<Vec<MetricMetadata>, SourceError> {
        self.tiers.hot.metadata(family)
    }

    /// Aggregates are kept by the hot engine alone, also of hours whose samples it has let go.
    fn aggregates<'a>(
        &'a self,
        select: &SeriesSelect<'_>,
        context: &QueryContext,
    ) -> Result<Option<AggregateAnswer<'a>>, SourceError> {
        self.tiers.hot.aggregates(select, context)
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

    #[test]
    fn what_the_engine_holds_longer_is_found_beside_the_archive() {
        let cold = every_second(range(10_000, 60_000));
        let hot = every_second(range(0, 90_000));
        let boundary = Arc::new(AtomicI64::new(50_000));
        let select = SeriesSelect {
            matchers: &[],
            range: range(5_000, 80_000),
            function: None,
            step_ms: None,
        };
        let times = |both: TieredMetrics| {
            let found = both.select(&select, &QueryContext::unlimited()).unwrap();
            let all: Vec<SeriesData> = found.collect::<Result<_, _>>().unwrap();
            assert!(all.len() == 1 && all[0].values.len() == all[0].timestamps.len());
            (all[0].timestamps[0], all[0].timestamps.len())
        };
        let both = || TieredMetrics::new(hot.clone(), cold.clone(), boundary.clone());
        assert_eq!(times(both()), (10_000, 70));
        assert_eq!(times(both().holding_longer(true)), (5_000, 75));
    }

    #[test]
    fn joined_columns_keep_their_start_timestamps() {
        let column = |times: &[i64], starts: &[i64]| SeriesData {
            timestamps: times.to_vec(),
            values: times.iter().map(|t| *t as f64).collect(),
            start_timestamps: starts.to_vec(),
            ..SeriesData::default()
        };
        let all = joined(column(&[1, 2, 5], &[]), column(&[2, 3], &[7, 8]));
        assert_eq!((all.timestamps, all.start_timestamps), (vec![1, 2, 3, 5], vec![0, 7, 8, 0]));
        let all = joined(column(&[1], &[4]), column(&[2], &[]));
        assert_eq!((all.values, all.start_timestamps), (vec![1.0, 2.0], vec![4, 0]));
    }
}
