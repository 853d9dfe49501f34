use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use obs_types::{
    ExemplarSeries, LabelSet, Matcher, MetricMetadata, NativeHistogram, QueryContext, SeriesData,
    SeriesSamples, SeriesSelect, SeriesSource, SourceError, TimeRangeMs, matches_all,
};

/// A source with samples on top that are not stored yet: a later rule of a group sees what an
/// earlier one recorded in the same step, and rules see vm-obs' own samples while the disk takes
/// none.
pub struct Overlay<'a> {
    below: &'a dyn SeriesSource,
    /// Ascending in time per series; wins over a stored sample of the same time.
    above: BTreeMap<LabelSet, Column>,
}

impl<'a> Overlay<'a> {
    pub fn new(below: &'a dyn SeriesSource) -> Self {
        Self { below, above: BTreeMap::new() }
    }

    /// Puts samples on top; of two at the same time, the later one given wins.
    pub fn add(&mut self, batch: &[SeriesSamples]) {
        for series in batch {
            let column = self.above.entry(series.labels.clone()).or_default();
            column.floats.extend(series.samples.iter().map(|(t, v)| (t.0, *v)));
            column.histograms.extend(series.histograms.iter().map(|(t, h)| (t.0, Arc::clone(h))));
        }
    }

    fn matching(&self, matchers: &[Matcher], range: TimeRangeMs) -> BTreeMap<LabelSet, Column> {
        let times = range.start.0..range.end.0.max(range.start.0);
        self.above
            .iter()
            .filter(|(labels, _)| matches_all(matchers, labels))
            .map(|(labels, column)| {
                let floats = column.floats.range(times.clone()).map(|(t, v)| (*t, *v));
                let histograms = column.histograms.range(times.clone());
                let inside = Column {
                    floats: floats.collect(),
                    histograms: histograms.map(|(t, h)| (*t, Arc::clone(h))).collect(),
                };
                (labels.clone(), inside)
            })
            .filter(|(_, inside)| !inside.floats.is_empty() || !inside.histograms.is_empty())
            .collect()
    }
}

impl fmt::Debug for Overlay<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Overlay").field("above", &self.above).finish_non_exhaustive()
    }
}

#[derive(Debug, Default)]
struct Column {
    floats: BTreeMap<i64, f64>,
    histograms: BTreeMap<i64, Arc<NativeHistogram>>,
}

fn merge(mut data: SeriesData, above: Column) -> SeriesData {
    let mut floats: BTreeMap<i64, f64> =
        data.timestamps.iter().copied().zip(data.values.iter().copied()).collect();
    floats.extend(above.floats);
    (data.timestamps, data.values) = floats.into_iter().unzip();
    // The recorded samples have no start time, so the columns would no longer line up.
    data.start_timestamps.clear();
    let stored = std::mem::take(&mut data.histograms);
    let mut histograms: BTreeMap<i64, Arc<NativeHistogram>> =
        stored.timestamps.into_iter().zip(stored.values).collect();
    histograms.extend(above.histograms);
    (data.histograms.timestamps, data.histograms.values) = histograms.into_iter().unzip();
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
                Some(column) => merge(series, column),
                None => series,
            }));
        }
        stored.extend(above.into_iter().map(|(labels, column)| {
            Ok(merge(SeriesData { labels, ..SeriesData::default() }, column))
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
