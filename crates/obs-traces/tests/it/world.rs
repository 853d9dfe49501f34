//! Small engines and spans to put into them.

use std::path::Path;
use std::sync::Arc;

use obs_disk::{FakeDisk, ManualClock, WalConfig};
use obs_traces::{OpenMode, TraceLimits, TracesConfig, TracesEngine};
use obs_types::{
    AttrValue, Attributes, InstrumentationScope, QueryContext, Resource, Span, SpanEvent, SpanId,
    SpanKind, SpanLink, SpanRecord, SpanStatus, StatusCode, TimeRangeNs, TimestampMs, TimestampNs,
    TraceId, TraceSelect, TraceSink, TraceSource,
};

pub(crate) const NOW_MS: i64 = 1_765_000_000_000;
pub(crate) const NOW_NS: i64 = NOW_MS * 1_000_000;

#[derive(Clone)]
pub(crate) struct World {
    pub(crate) disk: FakeDisk,
    pub(crate) clock: Arc<ManualClock>,
}

impl World {
    pub(crate) fn new() -> Self {
        Self { disk: FakeDisk::new(), clock: Arc::new(ManualClock::new(TimestampMs(NOW_MS))) }
    }

    pub(crate) fn config(&self, mode: OpenMode) -> TracesConfig {
        TracesConfig {
            dir: Path::new("/data/traces").to_owned(),
            wal_dir: Path::new("/data/wal/traces").to_owned(),
            disk: Arc::new(self.disk.clone()),
            clock: self.clock.clone(),
            mode,
            wal: WalConfig { segment_bytes_max: 4_000, record_bytes_max: 64 << 20 },
            // Small chunks, so that blocks have several.
            limits: TraceLimits { chunk_spans: 4, chunk_cache: 2, ..TraceLimits::standard() },
        }
    }

    pub(crate) fn open(&self) -> Arc<TracesEngine> {
        TracesEngine::open(self.config(OpenMode::ReadWrite)).unwrap()
    }
}

pub(crate) fn id(n: u8) -> TraceId {
    TraceId([n; 16])
}

/// A span of trace `trace` that begins `start` nanoseconds after the world did.
pub(crate) fn span(trace: u8, n: u8, parent: u8, start: i64, length: i64) -> SpanRecord {
    let services = ["portal", "ledger", "guardian"];
    let text = |s: &str| AttrValue::Str(s.to_owned());
    let parent_span_id = if parent == 0 { SpanId::default() } else { SpanId([parent; 8]) };
    SpanRecord {
        resource: Arc::new(Resource {
            attributes: Attributes(vec![(
                "service.name".into(),
                text(services[usize::from(n) % services.len()]),
            )]),
        }),
        scope: Arc::new(InstrumentationScope {
            name: "test".into(),
            version: "1".into(),
            attributes: Attributes::default(),
        }),
        span: Span {
            trace_id: id(trace),
            span_id: SpanId([n; 8]),
            parent_span_id,
            trace_state: if n.is_multiple_of(5) { "a=b".into() } else { String::new() },
            flags: u32::from(n % 2),
            name: format!("op-{}", n % 4),
            kind: [SpanKind::Server, SpanKind::Client, SpanKind::Internal][usize::from(n) % 3],
            start: TimestampNs(NOW_NS + start),
            end: TimestampNs(NOW_NS + start + length),
            status: SpanStatus {
                code: if n.is_multiple_of(7) { StatusCode::Error } else { StatusCode::Unset },
                message: if n.is_multiple_of(7) { "broke".into() } else { String::new() },
            },
            attributes: Attributes(vec![
                ("n".into(), AttrValue::Int(i64::from(n))),
                ("even".into(), AttrValue::Bool(n.is_multiple_of(2))),
                ("list".into(), AttrValue::Array(vec![text("x"), AttrValue::Double(0.5)])),
                ("map".into(), AttrValue::Map(vec![("k".into(), AttrValue::Bytes(vec![1, n]))])),
            ]),
            events: vec![SpanEvent {
                timestamp: TimestampNs(NOW_NS + start + 1),
                name: "event".into(),
                attributes: Attributes(vec![("e".into(), AttrValue::Int(-1))]),
            }],
            links: vec![SpanLink {
                trace_id: id(200),
                span_id: SpanId([9; 8]),
                trace_state: String::new(),
                attributes: Attributes::default(),
            }],
        },
    }
}

pub(crate) fn everything() -> TimeRangeNs {
    TimeRangeNs { start: TimestampNs::MIN, end: TimestampNs::MAX }
}

pub(crate) fn context() -> QueryContext {
    QueryContext::unlimited()
}

pub(crate) fn select_ids(engine: &TracesEngine, range: TimeRangeNs) -> Vec<TraceId> {
    let select = TraceSelect { range, all_of: &[] };
    engine.select(&select, &context()).unwrap().map(|t| t.unwrap().id).collect()
}

pub(crate) fn put(engine: &TracesEngine, spans: Vec<SpanRecord>) {
    let count = spans.len() as u64;
    let outcome = engine.append(spans).unwrap();
    assert_eq!(outcome.accepted, count, "{outcome:?}");
}
