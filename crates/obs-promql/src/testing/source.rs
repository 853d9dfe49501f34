use std::collections::BTreeMap;
use std::sync::Arc;

use obs_types::{
    CounterResetHint, ExemplarSeries, LabelSet, Matcher, MetricMetadata, NativeHistogram,
    QueryContext, SeriesData, SeriesSelect, SeriesSource, SourceError, TimeRangeMs, TimestampMs,
    matches_all,
};

use crate::histogram::detect_reset;

/// Series in memory, for tests.
#[derive(Clone, Debug, Default)]
pub struct MemorySource {
    series: BTreeMap<LabelSet, SeriesData>,
}

impl MemorySource {
    /// Adds samples; of equal times the later one wins.
    ///
    /// Counter-reset hints are settled as a store does that keeps runs of histograms together:
    /// the first of a run is unknown, those after it are known not to be resets.
    pub fn append(&mut self, mut new: SeriesData) {
        let settled = new.histograms.timestamps.is_empty()
            && new.timestamps.is_sorted_by(|a, b| a < b)
            && !self.series.contains_key(&new.labels);
        if settled {
            new.start_timestamps.resize(new.timestamps.len(), 0);
            self.series.insert(new.labels.clone(), new);
            return;
        }
        let s = self
            .series
            .entry(new.labels.clone())
            .or_insert_with(|| SeriesData { labels: new.labels.clone(), ..SeriesData::default() });
        let mut floats: BTreeMap<i64, (f64, i64)> = BTreeMap::new();
        let mut hists: BTreeMap<i64, (Arc<NativeHistogram>, i64)> = BTreeMap::new();
        for data in [&*s, &new] {
            for (i, (t, v)) in data.timestamps.iter().zip(&data.values).enumerate() {
                let st = data.start_timestamps.get(i).copied().unwrap_or(0);
                floats.insert(*t, (*v, st));
            }
            let h = &data.histograms;
            for (i, (t, v)) in h.timestamps.iter().zip(&h.values).enumerate() {
                let st = h.start_timestamps.get(i).copied().unwrap_or(0);
                hists.insert(*t, (Arc::clone(v), st));
            }
        }
        s.timestamps = floats.keys().copied().collect();
        s.values = floats.values().map(|v| v.0).collect();
        s.start_timestamps = floats.values().map(|v| v.1).collect();
        s.histograms.timestamps = hists.keys().copied().collect();
        s.histograms.start_timestamps = hists.values().map(|v| v.1).collect();
        let mut prev: Option<(i64, Arc<NativeHistogram>)> = None;
        s.histograms.values = hists
            .into_iter()
            .map(|(t, (h, _))| {
                let mut out = h.as_ref().clone();
                if out.counter_reset_hint != CounterResetHint::Gauge {
                    let continues = prev.as_ref().is_some_and(|(before, p)| {
                        let mut plain = out.clone();
                        plain.counter_reset_hint = CounterResetHint::Unknown;
                        out.counter_reset_hint != CounterResetHint::Reset
                            && p.counter_reset_hint != CounterResetHint::Gauge
                            && p.schema == out.schema
                            && p.zero_threshold == out.zero_threshold
                            && p.custom_values == out.custom_values
                            && p.is_stale() == out.is_stale()
                            && floats.range(*before..t).next().is_none()
                            && !detect_reset(&plain, p)
                    });
                    out.counter_reset_hint = if continues {
                        CounterResetHint::NotReset
                    } else {
                        CounterResetHint::Unknown
                    };
                }
                prev = Some((t, h));
                Arc::new(out)
            })
            .collect();
    }

    fn matching(&self, sets: &[Vec<Matcher>], range: TimeRangeMs) -> Vec<LabelSet> {
        self.series
            .values()
            .filter(|s| sets.is_empty() || sets.iter().any(|m| matches_all(m, &s.labels)))
            .filter(|s| {
                s.timestamps
                    .iter()
                    .chain(&s.histograms.timestamps)
                    .any(|t| range.contains(TimestampMs(*t)))
            })
            .map(|s| s.labels.clone())
            .collect()
    }
}

fn cut(s: &SeriesData, range: TimeRangeMs) -> SeriesData {
    let pick = |times: &[i64]| {
        let from = times.partition_point(|t| *t < range.start.0);
        from..times.partition_point(|t| *t < range.end.0).max(from)
    };
    let (f, h) = (pick(&s.timestamps), pick(&s.histograms.timestamps));
    let mut out = SeriesData {
        labels: s.labels.clone(),
        timestamps: s.timestamps[f.clone()].to_vec(),
        values: s.values[f.clone()].to_vec(),
        start_timestamps: s.start_timestamps[f].to_vec(),
        ..SeriesData::default()
    };
    out.histograms.timestamps = s.histograms.timestamps[h.clone()].to_vec();
    out.histograms.values = s.histograms.values[h.clone()].to_vec();
    out.histograms.start_timestamps = s.histograms.start_timestamps[h].to_vec();
    out
}

impl SeriesSource for MemorySource {
    fn select<'a>(
        &'a self,
        select: &SeriesSelect<'_>,
        _: &QueryContext,
    ) -> Result<Box<dyn Iterator<Item = Result<SeriesData, SourceError>> + Send + 'a>, SourceError>
    {
        let found: Vec<SeriesData> = self
            .series
            .values()
            .filter(|s| matches_all(select.matchers, &s.labels))
            .map(|s| cut(s, select.range))
            .filter(|s| s.sample_count() > 0)
            .collect();
        Ok(Box::new(found.into_iter().map(Ok)))
    }

    fn series(
        &self,
        sets: &[Vec<Matcher>],
        range: TimeRangeMs,
        _: &QueryContext,
    ) -> Result<Vec<LabelSet>, SourceError> {
        Ok(self.matching(sets, range))
    }

    fn label_names(
        &self,
        sets: &[Vec<Matcher>],
        range: TimeRangeMs,
        _: &QueryContext,
    ) -> Result<Vec<String>, SourceError> {
        let found = self.matching(sets, range);
        let mut names: Vec<String> =
            found.iter().flat_map(|l| l.iter().map(|(n, _)| n.to_owned())).collect();
        names.sort();
        names.dedup();
        Ok(names)
    }

    fn label_values(
        &self,
        name: &str,
        sets: &[Vec<Matcher>],
        range: TimeRangeMs,
        _: &QueryContext,
    ) -> Result<Vec<String>, SourceError> {
        let found = self.matching(sets, range);
        let mut values: Vec<String> =
            found.iter().filter_map(|l| l.get(name).map(str::to_owned)).collect();
        values.sort();
        values.dedup();
        Ok(values)
    }

    fn exemplars(
        &self,
        _: &[Vec<Matcher>],
        _: TimeRangeMs,
        _: &QueryContext,
    ) -> Result<Vec<ExemplarSeries>, SourceError> {
        Ok(Vec::new())
    }

    fn metadata(&self, _: Option<&str>) -> Result<Vec<MetricMetadata>, SourceError> {
        Ok(Vec::new())
    }
}
