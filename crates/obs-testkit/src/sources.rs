//! Sources that give what they hold, without index and limits. They use every freedom that a
//! source has: conditions are ignored, series and runs come in no order and with times outside
//! the range. Whoever reads them must not rely on more than the traits promise.

use std::collections::BTreeSet;

use obs_types::{
    AttrScope, AttrValue, ExemplarSeries, LabelSet, LogSelect, LogSource, LogStats, LogStream,
    Matcher, MetricMetadata, QueryContext, SeriesData, SeriesSelect, SeriesSource, SourceError,
    TimeRangeMs, TimeRangeNs, Trace, TraceId, TraceSelect, TraceSource, matches_all,
};

type Found<'a, T> =
    Result<Box<dyn Iterator<Item = Result<T, SourceError>> + Send + 'a>, SourceError>;

/// Series, last one first, whole.
#[derive(Clone, Debug, Default)]
pub struct GivenSeries {
    pub series: Vec<SeriesData>,
    pub metadata: Vec<MetricMetadata>,
}

/// Log streams as they stand; a label set may occur more than once.
#[derive(Clone, Debug, Default)]
pub struct GivenLogs(pub Vec<LogStream>);

/// Traces whose span touches the range, newest start first.
#[derive(Clone, Debug, Default)]
pub struct GivenTraces(pub Vec<Trace>);

impl From<Vec<SeriesData>> for GivenSeries {
    fn from(series: Vec<SeriesData>) -> Self {
        Self { series, metadata: Vec::new() }
    }
}

impl GivenSeries {
    fn unique(&self, texts: impl Fn(&LabelSet) -> Vec<String>) -> Vec<String> {
        let all: BTreeSet<String> = self.series.iter().flat_map(|s| texts(&s.labels)).collect();
        all.into_iter().collect()
    }
}

impl SeriesSource for GivenSeries {
    fn select<'a>(&'a self, select: &SeriesSelect<'_>, _: &QueryContext) -> Found<'a, SeriesData> {
        let matchers = select.matchers.to_vec();
        let all = self.series.iter().rev().filter(move |s| matches_all(&matchers, &s.labels));
        Ok(Box::new(all.cloned().map(Ok)))
    }

    fn series(
        &self,
        _: &[Vec<Matcher>],
        _: TimeRangeMs,
        _: &QueryContext,
    ) -> Result<Vec<LabelSet>, SourceError> {
        Ok(self.series.iter().map(|s| s.labels.clone()).collect())
    }

    fn label_names(
        &self,
        _: &[Vec<Matcher>],
        _: TimeRangeMs,
        _: &QueryContext,
    ) -> Result<Vec<String>, SourceError> {
        Ok(self.unique(|labels| labels.iter().map(|(name, _)| name.to_owned()).collect()))
    }

    fn label_values(
        &self,
        name: &str,
        _: &[Vec<Matcher>],
        _: TimeRangeMs,
        _: &QueryContext,
    ) -> Result<Vec<String>, SourceError> {
        Ok(self.unique(|labels| labels.get(name).map(str::to_owned).into_iter().collect()))
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
        Ok(self.metadata.clone())
    }
}

impl LogSource for GivenLogs {
    fn select<'a>(&'a self, _: &LogSelect<'_>, _: &QueryContext) -> Found<'a, LogStream> {
        Ok(Box::new(self.0.iter().cloned().map(Ok)))
    }

    fn streams(
        &self,
        _: &[Vec<Matcher>],
        _: TimeRangeNs,
        _: &QueryContext,
    ) -> Result<Vec<LabelSet>, SourceError> {
        Ok(self.0.iter().map(|s| s.labels.clone()).collect())
    }

    fn stats(
        &self,
        _: &[Matcher],
        _: TimeRangeNs,
        _: &QueryContext,
    ) -> Result<LogStats, SourceError> {
        Ok(LogStats::default())
    }
}

impl TraceSource for GivenTraces {
    fn trace(&self, id: TraceId, _: &QueryContext) -> Result<Option<Trace>, SourceError> {
        Ok(self.0.iter().find(|t| t.id == id).cloned())
    }

    fn select<'a>(&'a self, select: &TraceSelect<'_>, _: &QueryContext) -> Found<'a, Trace> {
        let range = select.range;
        let mut all = self.0.clone();
        all.retain(|t| {
            t.spans.iter().any(|s| s.span.start < range.end && s.span.end >= range.start)
        });
        all.sort_by_key(|t| std::cmp::Reverse(t.spans.first().map(|s| s.span.start)));
        Ok(Box::new(all.into_iter().map(Ok)))
    }

    fn tag_names(
        &self,
        _: TimeRangeNs,
        _: &QueryContext,
    ) -> Result<Vec<(AttrScope, String)>, SourceError> {
        Ok(Vec::new())
    }

    fn tag_values(
        &self,
        _: AttrScope,
        _: &str,
        _: TimeRangeNs,
        _: &QueryContext,
    ) -> Result<Vec<AttrValue>, SourceError> {
        Ok(Vec::new())
    }
}
