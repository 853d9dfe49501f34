use crate::{
    IngestError, IngestOutcome, LabelSet, Matcher, QueryContext, SourceError, TimeRangeNs,
    TimestampNs,
};

/// One log line on its way in.
///
/// `stream` is the small, indexed identity (`service_name`, `node`, …); everything of high
/// cardinality (`trace_id`, `span_id`, `detected_level`, request ids) is structured `metadata`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogRecord {
    pub timestamp: TimestampNs,
    pub stream: LabelSet,
    pub line: String,
    pub metadata: LabelSet,
}

/// One stored line, without its stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogEntry {
    pub timestamp: TimestampNs,
    pub line: String,
    pub metadata: LabelSet,
}

/// A run of entries of one stream, ascending in time (equal times in order of arrival).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogStream {
    pub labels: LabelSet,
    pub entries: Vec<LogEntry>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Direction {
    Forward,
    #[default]
    Backward,
}

/// What a reader wants. `range` is half-open.
#[derive(Clone, Debug)]
pub struct LogSelect<'a> {
    pub matchers: &'a [Matcher],
    pub range: TimeRangeNs,
    /// Every returned line must contain all of these, byte for byte; an engine uses them to skip
    /// blocks and lines, the reader filters again.
    pub line_contains: &'a [String],
    /// Structured metadata that must be present with exactly this value; a hint likewise.
    pub metadata_equals: &'a [(String, String)],
    pub direction: Direction,
    /// The reader takes at most this many entries in `direction` over all streams and applies no
    /// filter that the engine does not see; `None` when it will filter further.
    pub limit: Option<usize>,
}

/// What lies under a selector, as Loki's `index/stats` reports it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogStats {
    pub streams: u64,
    pub chunks: u64,
    pub entries: u64,
    pub bytes: u64,
}

/// Reads logs.
pub trait LogSource: Send + Sync {
    /// Streams runs of entries. One stream may come in several runs; runs of one stream come in
    /// the asked direction (entries inside a run are always ascending) and may overlap in time.
    fn select<'a>(
        &'a self,
        select: &LogSelect<'_>,
        context: &QueryContext,
    ) -> Result<Box<dyn Iterator<Item = Result<LogStream, SourceError>> + Send + 'a>, SourceError>;

    /// Stream label sets with entries in the range; sorted, unique.
    fn streams(
        &self,
        matcher_sets: &[Vec<Matcher>],
        range: TimeRangeNs,
        context: &QueryContext,
    ) -> Result<Vec<LabelSet>, SourceError>;

    fn stats(
        &self,
        matchers: &[Matcher],
        range: TimeRangeNs,
        context: &QueryContext,
    ) -> Result<LogStats, SourceError>;
}

/// Takes logs in. When `append` returns `Ok`, what it accepted survives a crash.
pub trait LogSink: Send + Sync {
    fn append(&self, records: Vec<LogRecord>) -> Result<IngestOutcome, IngestError>;
}
