//! Hot engine and archive as one source.
//!
//! Invariant: an instant is read from exactly one tier. The boundary is the oldest instant that
//! the hot engine still holds; before it the archive answers, from it on the engine.

mod logs;
mod metrics;
mod traces;

pub use logs::TieredLogs;
pub use metrics::TieredMetrics;
pub use traces::TieredTraces;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use obs_types::SourceError;

/// The oldest instant (milliseconds) of the hot tier; moved forward by retention.
pub type Boundary = Arc<AtomicI64>;

fn boundary_ms(boundary: &Boundary) -> i64 {
    boundary.load(Ordering::Acquire)
}

/// Merges two sorted answers into one.
fn union<T: Ord>(
    a: Result<Vec<T>, SourceError>,
    b: Result<Vec<T>, SourceError>,
) -> Result<Vec<T>, SourceError> {
    let mut all: BTreeSet<T> = a?.into_iter().collect();
    all.extend(b?);
    Ok(all.into_iter().collect())
}
