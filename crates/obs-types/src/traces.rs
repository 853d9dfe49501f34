use std::sync::Arc;

use crate::{
    IngestError, IngestOutcome, QueryContext, SourceError, SpanId, TimeRangeNs, TimestampNs,
    TraceId,
};

/// The service of a resource that names none, as OpenTelemetry SDKs say it.
pub const UNKNOWN_SERVICE: &str = "unknown_service";

/// An attribute value of OpenTelemetry.
#[derive(Clone, Debug, PartialEq)]
pub enum AttrValue {
    Str(String),
    Bool(bool),
    Int(i64),
    Double(f64),
    Bytes(Vec<u8>),
    Array(Vec<AttrValue>),
    Map(Vec<(String, AttrValue)>),
}

/// Attributes in the order they were sent; names are unique (the last value wins on the way in).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Attributes(pub Vec<(String, AttrValue)>);

impl Attributes {
    pub fn get(&self, name: &str) -> Option<&AttrValue> {
        self.0.iter().find(|(n, _)| n == name).map(|(_, v)| v)
    }

    pub fn get_str(&self, name: &str) -> Option<&str> {
        match self.get(name) {
            Some(AttrValue::Str(s)) => Some(s),
            _ => None,
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &AttrValue)> {
        self.0.iter().map(|(n, v)| (n.as_str(), v))
    }
}

/// Who produced a span: shared by all spans of one process.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Resource {
    pub attributes: Attributes,
}

impl Resource {
    /// `service.name`, or [`UNKNOWN_SERVICE`].
    pub fn service(&self) -> &str {
        self.attributes.get_str("service.name").unwrap_or(UNKNOWN_SERVICE)
    }

    /// The node, from `node`, `host.name` or `k8s.node.name`, or `""`.
    pub fn node(&self) -> &str {
        ["node", "host.name", "k8s.node.name"]
            .iter()
            .find_map(|n| self.attributes.get_str(n))
            .unwrap_or("")
    }
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct InstrumentationScope {
    pub name: String,
    pub version: String,
    pub attributes: Attributes,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum SpanKind {
    #[default]
    Unspecified,
    Internal,
    Server,
    Client,
    Producer,
    Consumer,
}

impl SpanKind {
    /// As TraceQL writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unspecified => "unspecified",
            Self::Internal => "internal",
            Self::Server => "server",
            Self::Client => "client",
            Self::Producer => "producer",
            Self::Consumer => "consumer",
        }
    }

    /// The OTLP enum number.
    pub fn from_otlp(n: i32) -> Self {
        match n {
            1 => Self::Internal,
            2 => Self::Server,
            3 => Self::Client,
            4 => Self::Producer,
            5 => Self::Consumer,
            _ => Self::Unspecified,
        }
    }

    pub fn to_otlp(self) -> i32 {
        self as i32
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum StatusCode {
    #[default]
    Unset,
    Ok,
    Error,
}

impl StatusCode {
    /// As TraceQL writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unset => "unset",
            Self::Ok => "ok",
            Self::Error => "error",
        }
    }

    pub fn from_otlp(n: i32) -> Self {
        match n {
            1 => Self::Ok,
            2 => Self::Error,
            _ => Self::Unset,
        }
    }

    pub fn to_otlp(self) -> i32 {
        self as i32
    }
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct SpanStatus {
    pub code: StatusCode,
    pub message: String,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct SpanEvent {
    pub timestamp: TimestampNs,
    pub name: String,
    pub attributes: Attributes,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct SpanLink {
    pub trace_id: TraceId,
    pub span_id: SpanId,
    pub trace_state: String,
    pub attributes: Attributes,
}

/// One span without its resource and scope.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Span {
    pub trace_id: TraceId,
    pub span_id: SpanId,
    /// Zero for a root.
    pub parent_span_id: SpanId,
    pub trace_state: String,
    pub flags: u32,
    pub name: String,
    pub kind: SpanKind,
    pub start: TimestampNs,
    pub end: TimestampNs,
    pub status: SpanStatus,
    pub attributes: Attributes,
    pub events: Vec<SpanEvent>,
    pub links: Vec<SpanLink>,
}

impl Span {
    /// Nanoseconds, never negative: a clock that went back gives 0.
    pub fn duration_ns(&self) -> i64 {
        self.end.0.saturating_sub(self.start.0).max(0)
    }
}

/// A span with who produced it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SpanRecord {
    pub resource: Arc<Resource>,
    pub scope: Arc<InstrumentationScope>,
    pub span: Span,
}

/// All known spans of one trace, ordered by start, then span id; span ids are unique.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Trace {
    pub id: TraceId,
    pub spans: Vec<SpanRecord>,
}

impl Trace {
    /// The earliest span without a parent, or the earliest span whose parent is missing.
    pub fn root(&self) -> Option<&SpanRecord> {
        self.spans.iter().find(|s| s.span.parent_span_id.is_zero()).or_else(|| {
            self.spans
                .iter()
                .find(|s| !self.spans.iter().any(|p| p.span.span_id == s.span.parent_span_id))
                .or_else(|| self.spans.first())
        })
    }

    /// First start and last end over all spans.
    pub fn bounds(&self) -> Option<(TimestampNs, TimestampNs)> {
        let start = self.spans.iter().map(|s| s.span.start).min()?;
        let end = self.spans.iter().map(|s| s.span.end).max()?;
        Some((start, end))
    }

    /// Last end minus first start, nanoseconds.
    pub fn duration_ns(&self) -> i64 {
        self.bounds().map_or(0, |(start, end)| end.0.saturating_sub(start.0).max(0))
    }

    pub fn has_error(&self) -> bool {
        self.spans.iter().any(|s| s.span.status.code == StatusCode::Error)
    }

    /// Sorted, unique.
    pub fn services(&self) -> Vec<&str> {
        let mut all: Vec<&str> = self.spans.iter().map(|s| s.resource.service()).collect();
        all.sort_unstable();
        all.dedup();
        all
    }
}

/// Where an attribute of a search condition is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AttrScope {
    /// Span first, then resource.
    Any,
    Span,
    Resource,
    Event,
    Link,
    Instrumentation,
    /// `name`, `duration`, `status`, `kind` and the like.
    Intrinsic,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TraceConditionOp {
    Equal,
    NotEqual,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
    Regex,
    NotRegex,
    /// The attribute is present.
    Exists,
}

/// Pushed down by a search: some span of the trace fulfils it. Only a hint; the reader checks.
#[derive(Clone, Debug, PartialEq)]
pub struct TraceCondition {
    pub scope: AttrScope,
    pub name: String,
    pub op: TraceConditionOp,
    pub value: AttrValue,
}

/// What a search wants: traces with at least one span that overlaps the half-open range.
#[derive(Clone, Debug)]
pub struct TraceSelect<'a> {
    pub range: TimeRangeNs,
    /// If not empty, a trace must fulfil every one of these (see [`TraceCondition`]).
    pub all_of: &'a [TraceCondition],
}

/// Reads traces.
pub trait TraceSource: Send + Sync {
    /// `None` if no span of the trace is stored.
    fn trace(&self, id: TraceId, context: &QueryContext) -> Result<Option<Trace>, SourceError>;

    /// Streams whole traces, newest start first, each id once.
    fn select<'a>(
        &'a self,
        select: &TraceSelect<'_>,
        context: &QueryContext,
    ) -> Result<Box<dyn Iterator<Item = Result<Trace, SourceError>> + Send + 'a>, SourceError>;

    /// Attribute names seen in the range with their scope; sorted, unique.
    fn tag_names(
        &self,
        range: TimeRangeNs,
        context: &QueryContext,
    ) -> Result<Vec<(AttrScope, String)>, SourceError>;

    /// Values seen for an attribute (or intrinsic) in the range; unique, sorted by their text.
    fn tag_values(
        &self,
        scope: AttrScope,
        name: &str,
        range: TimeRangeNs,
        context: &QueryContext,
    ) -> Result<Vec<AttrValue>, SourceError>;
}

/// Takes spans in. When `append` returns `Ok`, what it accepted survives a crash.
pub trait TraceSink: Send + Sync {
    fn append(&self, spans: Vec<SpanRecord>) -> Result<IngestOutcome, IngestError>;
}
