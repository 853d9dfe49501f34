//! Reading: head and blocks merged per series, repetitions removed, tombstones applied.

mod at_hand;
mod listed;
mod sealable;
mod selected;

use std::collections::BTreeSet;
use std::sync::Arc;

use obs_types::{
    AggregateAnswer, ExemplarSeries, LabelSet, Matcher, MetricMetadata, QueryContext, SeriesSelect,
    SeriesSource, SeriesStream, SourceError, TimeRangeMs,
};

use crate::block::Block;
use crate::engine::MetricsEngine;
use crate::index::Index;
use crate::{lock, read};

pub use at_hand::AtHand;
pub use sealable::Sealable;
pub(crate) use selected::HeldMemory;

/// Whether samples are shown that outlived the rest of their hour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Held {
    Shown,
    Hidden,
}

/// Each set; no sets mean one that everything fulfils.
pub(crate) fn sets_of(matcher_sets: &[Vec<Matcher>]) -> Vec<&[Matcher]> {
    match matcher_sets {
        [] => vec![&[]],
        many => many.iter().map(Vec::as_slice).collect(),
    }
}

/// Series of the index that fulfil some set of matchers; no sets mean all.
pub(crate) fn select_any(index: &Index, sets: &[Vec<Matcher>]) -> Vec<u32> {
    match sets {
        [] => index.all().to_vec(),
        [one] => index.select(one),
        many => {
            let all: BTreeSet<u32> = many.iter().flat_map(|m| index.select(m)).collect();
            all.into_iter().collect()
        }
    }
}

impl MetricsEngine {
    /// Blocks that may have samples in the range, oldest first.
    fn blocks_in(&self, range: TimeRangeMs, held: Held) -> Vec<Arc<Block>> {
        let blocks = Arc::clone(&read(&self.blocks));
        let overlaps =
            |b: &&Arc<Block>| b.meta.min_t < range.end.0 && range.start.0 <= b.meta.max_t;
        let wanted = |b: &&Arc<Block>| held == Held::Shown || !b.meta.held;
        blocks.iter().filter(overlaps).filter(wanted).cloned().collect()
    }
}

impl SeriesSource for MetricsEngine {
    fn select<'a>(
        &'a self,
        select: &SeriesSelect<'_>,
        context: &QueryContext,
    ) -> Result<SeriesStream<'a>, SourceError> {
        let parts = self.select_parts(select, context, 1)?;
        Ok(Box::new(parts.into_iter().flatten()))
    }

    fn select_parts<'a>(
        &'a self,
        select: &SeriesSelect<'_>,
        context: &QueryContext,
        parts_max: usize,
    ) -> Result<Vec<SeriesStream<'a>>, SourceError> {
        self.selected_parts(select, context, parts_max, Held::Shown)
    }

    fn series(
        &self,
        matcher_sets: &[Vec<Matcher>],
        range: TimeRangeMs,
        context: &QueryContext,
    ) -> Result<Vec<LabelSet>, SourceError> {
        self.listed_series(matcher_sets, range, context, Held::Shown)
    }

    fn label_names(
        &self,
        matcher_sets: &[Vec<Matcher>],
        range: TimeRangeMs,
        context: &QueryContext,
    ) -> Result<Vec<String>, SourceError> {
        self.listed_names(matcher_sets, range, context)
    }

    fn label_values(
        &self,
        name: &str,
        matcher_sets: &[Vec<Matcher>],
        range: TimeRangeMs,
        context: &QueryContext,
    ) -> Result<Vec<String>, SourceError> {
        self.listed_values(name, matcher_sets, range, context)
    }

    fn exemplars(
        &self,
        matcher_sets: &[Vec<Matcher>],
        range: TimeRangeMs,
        context: &QueryContext,
    ) -> Result<Vec<ExemplarSeries>, SourceError> {
        context.check()?;
        Ok(lock(&self.exemplars).select(matcher_sets, range))
    }

    fn metadata(&self, family: Option<&str>) -> Result<Vec<MetricMetadata>, SourceError> {
        let known = read(&self.metadata);
        Ok(match family {
            Some(family) => known.get(family).cloned().into_iter().collect(),
            None => known.values().cloned().collect(),
        })
    }

    fn aggregates<'a>(
        &'a self,
        select: &SeriesSelect<'_>,
        context: &QueryContext,
    ) -> Result<Option<AggregateAnswer<'a>>, SourceError> {
        self.select_aggregates(select, context)
    }
}
