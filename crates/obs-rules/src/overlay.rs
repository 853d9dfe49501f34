use std::collections::BTreeMap;

use obs_types::{
    ExemplarSeries, LabelSet, Matcher, MetricMetadata, QueryContext, SeriesData, SeriesSamples,
    SeriesSelect, SeriesSource, SourceError, TimeRangeMs, matches_all,
};

/// A source with samples on top that are not stored yet: a later rule of a group sees what an
/// earlier one recorded in the same step.
pub(crate) struct Overlay<'a> {
    below: &'a dyn SeriesSource,
    /// Ascending in time per series; wins over a stored sample of the same time.
    above: BTreeMap<LabelSet, BTreeMap<i64, f64>>,
}

impl<'a> Overlay<'a> {
    pub(crate) fn new(below: &'a dyn SeriesSource) -> Self {
        Self { below, above: BTreeMap::new() }
    }

    pub(crate) fn add(&mut self, batch: &[SeriesSamples]) {
        for series in batch {
            let column = self.above.entry(series.labels.clone()).or_default();
            column.extend(series.samples.iter().map(|(t, v)| (t.0, *v)));
        }
    }

    fn matching(
        &self,
        matchers: &[Matcher],
        range: TimeRangeMs,
    ) -> BTreeMap<LabelSet, Vec<(i64, f64)>> {
        self.above
            .iter()
            .filter(|(labels, _)| matches_all(matchers, labels))
            .map(|(labels, column)| {
                let inside = column.range(range.start.0..range.end.0.max(range.start.0));
                (labels.clone(), inside.map(|(t, v)| (*t, *v)).collect::<Vec<_>>())
            })
            .filter(|(_, samples)| !samples.is_empty())
            .collect()
    }
}

fn merge(mut data: SeriesData, above: &[(i64, f64)]) -> SeriesData {
    let mut column: BTreeMap<i64, f64> =
        data.timestamps.iter().copied().zip(data.values.iter().copied()).collect();
    column.extend(above.iter().copied());
    (data.timestamps, data.values) = column.into_iter().unzip();
    // The recorded samples have no start time, so the column no longer lines up.
    data.start_timestamps.clear();
    data
}

impl SeriesSource for Overlay<'_> {
    fn select<'s>(
        &'s self,
        select: &SeriesSelect<'_>,
        context: &QueryContext,
    ) -> Result<Box<dyn Iterator<Item = Result<SeriesData, SourceError>> + Send + 's>, SourceError>
    {
        let below = self.below.select(select, context)?;
        let mut above = self.matching(select.matchers, select.range);
        if above.is_empty() {
            return Ok(below);
        }
        let mut stored = Vec::new();
        for series in below {
            let series = series?;
            stored.push(Ok(match above.remove(&series.labels) {
                Some(samples) => merge(series, &samples),
                None => series,
            }));
        }
        stored.extend(above.into_iter().map(|(labels, samples)| {
            Ok(merge(SeriesData { labels, ..SeriesData::default() }, &samples))
        }));
        Ok(Box::new(stored.into_iter()))
    }

    fn series(
        &self,
        matcher_sets: &[Vec<Matcher>],
        range: TimeRangeMs,
        context: &QueryContext,
    ) -> Result<Vec<LabelSet>, SourceError> {
        self.below.series(matcher_sets, range, context)
    }

    fn label_names(
        &self,
        matcher_sets: &[Vec<Matcher>],
        range: TimeRangeMs,
        context: &QueryContext,
    ) -> Result<Vec<String>, SourceError> {
        self.below.label_names(matcher_sets, range, context)
    }

    fn label_values(
        &self,
        name: &str,
        matcher_sets: &[Vec<Matcher>],
        range: TimeRangeMs,
        context: &QueryContext,
    ) -> Result<Vec<String>, SourceError> {
        self.below.label_values(name, matcher_sets, range, context)
    }

    fn exemplars(
        &self,
        matcher_sets: &[Vec<Matcher>],
        range: TimeRangeMs,
        context: &QueryContext,
    ) -> Result<Vec<ExemplarSeries>, SourceError> {
        self.below.exemplars(matcher_sets, range, context)
    }

    fn metadata(&self, family: Option<&str>) -> Result<Vec<MetricMetadata>, SourceError> {
        self.below.metadata(family)
    }
}
