use std::sync::Arc;

use obs_types::{
    Direction, LabelSet, LogSelect, LogSource, LogStats, LogStream, Matcher, QueryContext,
    SourceError, TimeRangeNs, TimestampMs,
};

use super::{Boundary, boundary_ms, union};

/// Logs of the hot engine, and before its boundary those of the archive.
#[expect(missing_debug_implementations, reason = "sources are not printable")]
pub struct TieredLogs {
    hot: Arc<dyn LogSource>,
    cold: Arc<dyn LogSource>,
    boundary: Boundary,
}

impl TieredLogs {
    pub fn new(hot: Arc<dyn LogSource>, cold: Arc<dyn LogSource>, boundary: Boundary) -> Self {
        Self { hot, cold, boundary }
    }

    fn split(&self, range: TimeRangeNs) -> (TimeRangeNs, TimeRangeNs) {
        let cut = TimestampMs(boundary_ms(&self.boundary)).to_ns().clamp(range.start, range.end);
        (TimeRangeNs::new(range.start, cut), TimeRangeNs::new(cut, range.end))
    }
}

impl LogSource for TieredLogs {
    fn select<'a>(
        &'a self,
        select: &LogSelect<'_>,
        context: &QueryContext,
    ) -> Result<Box<dyn Iterator<Item = Result<LogStream, SourceError>> + Send + 'a>, SourceError>
    {
        let (old, new) = self.split(select.range);
        if old.is_empty() {
            return self.hot.select(&LogSelect { range: new, ..select.clone() }, context);
        }
        let cold = self.cold.select(&LogSelect { range: old, ..select.clone() }, context)?;
        if new.is_empty() {
            return Ok(cold);
        }
        let hot = self.hot.select(&LogSelect { range: new, ..select.clone() }, context)?;
        Ok(match select.direction {
            Direction::Forward => Box::new(cold.chain(hot)),
            Direction::Backward => Box::new(hot.chain(cold)),
        })
    }

    fn streams(
        &self,
        matcher_sets: &[Vec<Matcher>],
        range: TimeRangeNs,
        context: &QueryContext,
    ) -> Result<Vec<LabelSet>, SourceError> {
        let (old, new) = self.split(range);
        if old.is_empty() {
            return self.hot.streams(matcher_sets, new, context);
        }
        union(
            self.cold.streams(matcher_sets, old, context),
            self.hot.streams(matcher_sets, new, context),
        )
    }

    fn stats(
        &self,
        matchers: &[Matcher],
        range: TimeRangeNs,
        context: &QueryContext,
    ) -> Result<LogStats, SourceError> {
        let (old, new) = self.split(range);
        let mut stats = self.hot.stats(matchers, new, context)?;
        if !old.is_empty() {
            let cold = self.cold.stats(matchers, old, context)?;
            stats.streams = stats.streams.max(cold.streams);
            stats.chunks += cold.chunks;
            stats.entries += cold.entries;
            stats.bytes += cold.bytes;
        }
        Ok(stats)
    }
}
