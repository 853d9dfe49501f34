//! The words that every other crate speaks.
//!
//! Lives here: labels and matchers, samples and native histograms, log entries, spans, time and id
//! newtypes, the source and sink traits of each signal, the context that a query carries, the trait of object stores,
//! what makes a text safe in a page.
//! Not here: storage, query languages, wire formats, clocks, I/O of any kind.
//! Units: metric time is milliseconds, log and span time nanoseconds, since the Unix epoch, UTC.

mod aggregates;
mod blob;
mod context;
mod error;
mod histogram;
mod ids;
mod labels;
mod logs;
mod markup;
mod matcher;
mod metrics;
mod node;
mod pattern;
mod recent;
mod retention;
mod time;
mod traces;

pub use aggregates::{
    AggregateAnswer, HistogramHour, HourAggregate, SeriesAggregates, hour_end, kahan,
};
pub use blob::{BlobEntry, BlobError, BlobStore, is_blob_name};
pub use context::{CancelToken, MemoryTracker, QueryContext, Warnings};
pub use error::{ErrorKind, IngestError, IngestOutcome, Reject, RejectReason, SourceError};
pub use histogram::{CUSTOM_BUCKETS_SCHEMA, CounterResetHint, NativeHistogram, Span as BucketSpan};
pub use ids::{ContentHash, ParseIdError, SpanId, TraceId};
pub use labels::{LabelSet, LabelSetBuilder, METRIC_NAME};
pub use logs::{
    Direction, LogEntry, LogRecord, LogSelect, LogSink, LogSource, LogStats, LogStream,
};
pub use markup::html_escaped;
pub use matcher::{MatchOp, Matcher, MatcherError, matches_all};
pub use metrics::{
    CanonicalLabels, Exemplar, ExemplarSeries, HistogramColumn, MetricBatch, MetricKind,
    MetricMetadata, MetricSink, NEWEST_SAMPLE, STALE_NAN_BITS, SentBatch, SentLabels, SentSeries,
    SeriesData, SeriesSamples, SeriesSelect, SeriesSource, SeriesStream, is_stale, stale_nan,
    started,
};
pub use node::NodeName;
pub use pattern::{Glob, Pattern, capturing};
pub use retention::{RetentionRules, SeriesRetention};
pub use time::{DurationMs, TimeRangeMs, TimeRangeNs, TimestampMs, TimestampNs};
pub use traces::{
    AttrScope, AttrValue, Attributes, InstrumentationScope, Resource, Span, SpanEvent, SpanKind,
    SpanLink, SpanRecord, SpanStatus, StatusCode, Trace, TraceCondition, TraceConditionOp,
    TraceSelect, TraceSink, TraceSource, UNKNOWN_SERVICE,
};
