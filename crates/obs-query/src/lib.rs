//! One front for every question: it merges the hot engines with the archive, carries the limits,
//! and holds the query languages.
//!
//! Lives here: tiered sources, [`QueryFront`], ENGINE's shorthand, receipt queries and their
//! filter language, metric categories, gathering for the correlation time line, time parameters.
//! Not here: the languages (`obs-promql`, `obs-logql`, `obs-traceql`), HTTP (`obs-api`).
//! Units: metric time in milliseconds, log and span time in nanoseconds, ranges half-open.

mod categories;
mod check;
mod correlate;
mod features;
mod filter;
mod front;
mod receipt_counts;
mod receipts;
mod shorthand;
mod tiered;
mod times;

pub use categories::{Category, category_of};
pub use check::check_expression;
pub use correlate::{ReadLedger, gather};
pub use features::enable_feature;
pub use filter::{Filter, FilterError};
pub use front::{Dialect, QueryFront, QueryLimits};
pub use receipt_counts::ReceiptCounts;
pub use receipts::{ReceiptQuery, select_receipts};
pub use shorthand::{Shorthand, expand_shorthand};
pub use tiered::{Boundary, Retained, TieredLogs, TieredMetrics, TieredTraces};
pub use times::{TimeError, format_ns, format_time, parse_duration, parse_time, parse_window};
