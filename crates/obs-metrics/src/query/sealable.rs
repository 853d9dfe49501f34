//! The engine as seals read it.

use std::sync::Arc;

use obs_types::{
    ExemplarSeries, LabelSet, Matcher, MetricMetadata, QueryContext, SeriesSelect, SeriesSource,
    SeriesStream, SourceError, TimeRangeMs,
};

use super::Held;
use crate::engine::MetricsEngine;

/// The samples that may have to be sealed: not those that outlived the rest of their hour, all of
/// which was on record when the rest went, and no aggregates.
#[derive(Clone, Debug)]
pub struct Sealable(pub Arc<MetricsEngine>);

impl SeriesSource for Sealable {
    fn select<'a>(
        &'a self,
        select: &SeriesSelect<'_>,
        context: &QueryContext,
    ) -> Result<SeriesStream<'a>, SourceError> {
        let parts = self.0.selected_parts(select, context, 1, Held::Hidden)?;
        Ok(Box::new(parts.into_iter().flatten()))
    }

    fn series(
        &self,
        matcher_sets: &[Vec<Matcher>],
        range: TimeRangeMs,
        context: &QueryContext,
    ) -> Result<Vec<LabelSet>, SourceError> {
        self.0.listed_series(matcher_sets, range, context, Held::Hidden)
    }

    fn label_names(
        &self,
        matcher_sets: &[Vec<Matcher>],
        range: TimeRangeMs,
        context: &QueryContext,
    ) -> Result<Vec<String>, SourceError> {
        self.0.label_names(matcher_sets, range, context)
    }

    fn label_values(
        &self,
        name: &str,
        matcher_sets: &[Vec<Matcher>],
        range: TimeRangeMs,
        context: &QueryContext,
    ) -> Result<Vec<String>, SourceError> {
        self.0.label_values(name, matcher_sets, range, context)
    }

    fn exemplars(
        &self,
        matcher_sets: &[Vec<Matcher>],
        range: TimeRangeMs,
        context: &QueryContext,
    ) -> Result<Vec<ExemplarSeries>, SourceError> {
        self.0.exemplars(matcher_sets, range, context)
    }

    fn metadata(&self, family: Option<&str>) -> Result<Vec<MetricMetadata>, SourceError> {
        self.0.metadata(family)
    }
}
