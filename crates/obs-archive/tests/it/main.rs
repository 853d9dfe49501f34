//! Seals hours of telemetry from plain in-memory sources and reads them back.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

mod files;
mod logs;
mod metrics;
mod reseal;
mod traces;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use obs_archive::{Archive, ArchiveError, Hour, SealName, Signal, Significance, verify_seal};
use obs_disk::{Disk, FakeDisk, RealDisk};
use obs_testkit::{GivenLogs, GivenSeries, GivenTraces};
use obs_types::{
    AttrScope, AttrValue, Attributes, CounterResetHint, Direction, LabelSet, LogEntry, LogSelect,
    LogSource, LogStream, METRIC_NAME, Matcher, MetricKind, MetricMetadata, NativeHistogram,
    QueryContext, Resource, SeriesData, SeriesSelect, SeriesSource, SourceError, Span, SpanEvent,
    SpanId, SpanKind, SpanLink, SpanRecord, SpanStatus, StatusCode, TimeRangeMs, TimeRangeNs,
    TimestampMs, TimestampNs, Trace, TraceId, TraceSelect, TraceSource, stale_nan,
};

const HOUR_MS: i64 = 3_600_000;
/// 2025-12-06T14:00:00Z
const END_MS: i64 = 1_765_029_600_000;
const KEY: [u8; 32] = [7; 32];

fn hour() -> Hour {
    Hour::ending_at(TimestampMs(END_MS)).unwrap()
}

fn context() -> QueryContext {
    QueryContext::unlimited()
}

fn fake() -> Arc<dyn Disk> {
    Arc::new(FakeDisk::new())
}

fn open(disk: &Arc<dyn Disk>) -> Archive {
    Archive::open("/data", Arc::clone(disk), KEY).unwrap()
}
