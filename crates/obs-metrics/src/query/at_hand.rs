//! How much a selection reads, as far as that is known without reading.

use obs_types::{Matcher, TimeRangeMs};

use super::Held;
use crate::engine::MetricsEngine;
use crate::lock;

/// Values of labels that are looked at: more take longer than handing the query to another thread.
const VALUES_MAX: usize = 4_096;

impl MetricsEngine {
    /// How many series and samples a selection reads at most, counted by whole chunks; `None` if
    /// there are more than `samples_max`, or not all that is needed to find them is in memory, or
    /// finding them takes long itself. Reading few is over sooner than handing the work to another
    /// thread takes.
    ///
    /// The query selects anew: for one host of 500 in half a microsecond, for eight in two, which is
    /// less than a twentieth of what such a query takes (`examples/short_queries.rs`). Handing the
    /// selection on would tie the answer to what head and blocks hold at this moment.
    pub fn at_hand(
        &self,
        matchers: &[Matcher],
        range: TimeRangeMs,
        samples_max: usize,
    ) -> Option<AtHand> {
        let (start, end) = (range.start.0, range.end.0);
        let ids =
            self.head.with_index(|index| index.select_few(matchers, VALUES_MAX, samples_max))?;
        let mut found = AtHand { series: ids.len(), samples: 0 };
        for series in ids.into_iter().filter_map(|id| self.head.get(id)) {
            found.samples += lock(&series.state).sample_count_in(start, end);
            if found.samples > samples_max {
                return None;
            }
        }
        for block in self.blocks_in(range, Held::Shown) {
            let index = self.index_cache.loaded(&block)?;
            let positions = index.index.select_few(matchers, VALUES_MAX, samples_max)?;
            found.series = found.series.max(positions.len());
            for position in positions {
                found.samples += index.sample_count_in(position, start, end);
                if found.samples > samples_max {
                    return None;
                }
            }
        }
        Some(found)
    }
}

/// What a selection reads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AtHand {
    pub series: usize,
    pub samples: usize,
}
