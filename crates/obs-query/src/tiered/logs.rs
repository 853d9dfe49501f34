use std::sync::Arc;

use obs_types::{
    Direction, LabelSet, LogSelect, LogSource, LogStats, LogStream, Matcher, QueryContext,
    SourceError, TimeRangeNs,
};

use super::{Boundary, Tiers};

/// Logs of the hot engine, and before its boundary those of the archive.
#[expect(missing_debug_implementations, reason = "sources are not printable")]
pub struct TieredLogs(Tiers<dyn LogSource>);

impl TieredLogs {
    pub fn new(hot: Arc<dyn LogSource>, cold: Arc<dyn LogSource>, boundary: Boundary) -> Self {
        Self(Tiers { hot, cold, boundary })
    }
}

impl LogSource for TieredLogs {
    fn select<'a>(
        &'a self,
        select: &LogSelect<'_>,
        context: &QueryContext,
    ) -> Result<Box<dyn Iterator<Item = Result<LogStream, SourceError>> + Send + 'a>, SourceError>
    {
        let (old, new) = self.0.split(select.range);
        if old.is_empty() {
            return self.0.hot.select(&LogSelect { range: new, ..select.clone() }, context);
        }
        let cold = self.0.cold.select(&LogSelect { range: old, ..select.clone() }, context)?;
        if new.is_empty() {
            return Ok(cold);
        }
        let hot = self.0.hot.select(&LogSelect { range: new, ..select.clone() }, context)?;
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
        self.0.both(range, |s, part| s.streams(matcher_sets, part, context))
    }

    fn stats(
        &self,
        matchers: &[Matcher],
        range: TimeRangeNs,
        context: &QueryContext,
    ) -> Result<LogStats, SourceError> {
        let (old, new) = self.0.split(range);
        let mut stats = self.0.hot.stats(matchers, new, context)?;
        if !old.is_empty() {
            let cold = self.0.cold.stats(matchers, old, context)?;
            stats.streams = stats.streams.max(cold.streams);
            stats.chunks += cold.chunks;
            stats.entries += cold.entries;
            stats.bytes += cold.bytes;
        }
        Ok(stats)
    }
}
