use std::fmt;
use std::sync::Arc;

use crate::{
    AggregateAnswer, IngestError, IngestOutcome, LabelSet, Matcher, NativeHistogram, QueryContext,
    RejectReason, SourceError, SpanId, TimeRangeMs, TimestampMs, TraceId,
};

/// Bits of the NaN that marks the end of a series; compare by bits, every NaN is unequal as float.
pub const STALE_NAN_BITS: u64 = 0x7ff0_0000_0000_0002;

#[inline]
pub fn is_stale(v: f64) -> bool {
    v.to_bits() == STALE_NAN_BITS
}

pub fn stale_nan() -> f64 {
    f64::from_bits(STALE_NAN_BITS)
}

/// Samples of one series on their way in, in the order they were received.
#[derive(Clone, Debug, Default)]
pub struct SeriesSamples {
    pub labels: LabelSet,
    pub samples: Vec<(TimestampMs, f64)>,
    pub histograms: Vec<(TimestampMs, Arc<NativeHistogram>)>,
    pub exemplars: Vec<Exemplar>,
    /// Times of samples and histograms with their start timestamps, where these are known: since
    /// when what the sample counts was counted. In any order.
    pub start_timestamps: Vec<(TimestampMs, TimestampMs)>,
}

impl SeriesSamples {
    /// Notes the start of the sample at that time, if there is one; nothing starts later than it
    /// was counted.
    pub fn started(&mut self, at: TimestampMs, start: Option<TimestampMs>) {
        let start = start.filter(|s| s.0 != 0 && *s <= at);
        self.start_timestamps.extend(start.map(|start| (at, start)));
    }
}

/// One write request or one scrape.
#[derive(Clone, Debug, Default)]
pub struct MetricBatch {
    pub series: Vec<SeriesSamples>,
    pub metadata: Vec<MetricMetadata>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Exemplar {
    pub labels: LabelSet,
    pub value: f64,
    pub timestamp: TimestampMs,
    /// From the labels `trace_id` and `span_id` where they parse.
    pub trace_id: Option<TraceId>,
    pub span_id: Option<SpanId>,
}

#[derive(Clone, Debug)]
pub struct ExemplarSeries {
    pub labels: LabelSet,
    pub exemplars: Vec<Exemplar>,
}

/// The metric types of the exposition formats.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MetricKind {
    #[default]
    Unknown,
    Counter,
    Gauge,
    Histogram,
    GaugeHistogram,
    Summary,
    Info,
    StateSet,
}

impl MetricKind {
    /// As written in `# TYPE` lines of OpenMetrics and in Prometheus' metadata API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
            Self::GaugeHistogram => "gaugehistogram",
            Self::Summary => "summary",
            Self::Info => "info",
            Self::StateSet => "stateset",
        }
    }

    /// Also reads the older spelling `untyped`.
    pub fn from_text(s: &str) -> Option<Self> {
        Some(match s {
            "unknown" | "untyped" => Self::Unknown,
            "counter" => Self::Counter,
            "gauge" => Self::Gauge,
            "histogram" => Self::Histogram,
            "gaugehistogram" => Self::GaugeHistogram,
            "summary" => Self::Summary,
            "info" => Self::Info,
            "stateset" => Self::StateSet,
            _ => return None,
        })
    }
}

impl fmt::Display for MetricKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// `# TYPE`, `# HELP` and `# UNIT` of one metric family.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MetricMetadata {
    pub family: String,
    pub kind: MetricKind,
    pub help: String,
    pub unit: String,
}

/// What a reader wants. `range` is half-open; an engine may return more samples than asked for
/// only if they belong to the series, never fewer.
#[derive(Clone, Debug)]
pub struct SeriesSelect<'a> {
    pub matchers: &'a [Matcher],
    pub range: TimeRangeMs,
    /// The function that consumes the samples, as a hint for pre-aggregated blocks.
    pub function: Option<&'a str>,
    /// Evaluation step, as a hint for downsampled blocks.
    pub step_ms: Option<i64>,
}

/// Native histogram samples of one series, ascending in time.
#[derive(Clone, Debug, Default)]
pub struct HistogramColumn {
    pub timestamps: Vec<i64>,
    pub values: Vec<Arc<NativeHistogram>>,
    /// Start timestamps where known, as long as `timestamps` or empty; 0 means unknown.
    pub start_timestamps: Vec<i64>,
}

/// All samples of one series in a range. Columns are ascending in time without repeats; floats and
/// histograms of one series may interleave, never share a timestamp. Staleness markers are in.
#[derive(Clone, Debug, Default)]
pub struct SeriesData {
    pub labels: LabelSet,
    /// Milliseconds; as long as `values`.
    pub timestamps: Vec<i64>,
    pub values: Vec<f64>,
    pub histograms: HistogramColumn,
    /// Start timestamps (creation times) of the float samples where known, as long as
    /// `timestamps` or empty; 0 means unknown.
    pub start_timestamps: Vec<i64>,
}

impl HistogramColumn {
    /// Leaves only the samples whose time `keep` says to keep.
    pub fn retain_times(&mut self, keep: impl Fn(i64) -> bool) {
        retain_times(&mut self.timestamps, &mut self.values, &mut self.start_timestamps, keep);
    }

    /// Sorts by time, and of equal times leaves the first.
    pub fn normalise(&mut self) {
        normalise(&mut self.timestamps, &mut self.values, &mut self.start_timestamps);
    }
}

fn retain_times<V>(
    times: &mut Vec<i64>,
    values: &mut Vec<V>,
    starts: &mut Vec<i64>,
    keep: impl Fn(i64) -> bool,
) {
    if times.iter().all(|t| keep(*t)) {
        return;
    }
    let mut kept = times.iter().map(|t| keep(*t));
    values.retain(|_| kept.next().unwrap_or(false));
    let mut kept = times.iter().map(|t| keep(*t));
    starts.retain(|_| kept.next().unwrap_or(false));
    times.retain(|t| keep(*t));
}

fn normalise<V: Clone>(times: &mut Vec<i64>, values: &mut Vec<V>, starts: &mut Vec<i64>) {
    if times.is_sorted_by(|a, b| a < b) {
        return;
    }
    let mut order: Vec<usize> = (0..times.len()).collect();
    order.sort_by_key(|at| times[*at]);
    order.dedup_by_key(|at| times[*at]);
    *values = order.iter().filter_map(|at| values.get(*at).cloned()).collect();
    *starts = order.iter().filter_map(|at| starts.get(*at).copied()).collect();
    *times = order.iter().map(|at| times[*at]).collect();
}

impl SeriesData {
    /// Leaves only the samples whose time `keep` says to keep.
    pub fn retain_times(&mut self, keep: impl Fn(i64) -> bool) {
        retain_times(&mut self.timestamps, &mut self.values, &mut self.start_timestamps, &keep);
        self.histograms.retain_times(keep);
    }

    /// Sorts both columns by time, and of equal times leaves the first.
    pub fn normalise(&mut self) {
        normalise(&mut self.timestamps, &mut self.values, &mut self.start_timestamps);
        self.histograms.normalise();
    }

    pub fn sample_count(&self) -> usize {
        self.timestamps.len() + self.histograms.timestamps.len()
    }
}

/// As [`SeriesSelect::function`]: only the newest sample of each series in the range is looked at.
/// A source may give more.
pub const NEWEST_SAMPLE: &str = "newest sample";

/// Series as they are read, one at a time.
pub type SeriesStream<'a> = Box<dyn Iterator<Item = Result<SeriesData, SourceError>> + Send + 'a>;

/// Reads metrics. Implemented by the embedded engine, the archive, the merged front and fakes.
pub trait SeriesSource: Send + Sync {
    /// Streams the matching series in any order, each label set once. Series without samples in
    /// the range are left out.
    fn select<'a>(
        &'a self,
        select: &SeriesSelect<'_>,
        context: &QueryContext,
    ) -> Result<SeriesStream<'a>, SourceError>;

    /// The series of `select` in up to `parts_max` streams that may be read at the same time; one
    /// after the other they are `select`'s. One stream where there is too little to share out.
    fn select_parts<'a>(
        &'a self,
        select: &SeriesSelect<'_>,
        context: &QueryContext,
        _parts_max: usize,
    ) -> Result<Vec<SeriesStream<'a>>, SourceError> {
        Ok(vec![self.select(select, context)?])
    }

    /// Label sets of the matching series with samples in the range; sorted, unique. Every set of
    /// `matcher_sets` is an alternative; none means all series.
    fn series(
        &self,
        matcher_sets: &[Vec<Matcher>],
        range: TimeRangeMs,
        context: &QueryContext,
    ) -> Result<Vec<LabelSet>, SourceError>;

    /// Sorted, unique.
    fn label_names(
        &self,
        matcher_sets: &[Vec<Matcher>],
        range: TimeRangeMs,
        context: &QueryContext,
    ) -> Result<Vec<String>, SourceError>;

    /// Sorted, unique.
    fn label_values(
        &self,
        name: &str,
        matcher_sets: &[Vec<Matcher>],
        range: TimeRangeMs,
        context: &QueryContext,
    ) -> Result<Vec<String>, SourceError>;

    /// Exemplars of the matching series, sorted by labels, then time.
    fn exemplars(
        &self,
        matcher_sets: &[Vec<Matcher>],
        range: TimeRangeMs,
        context: &QueryContext,
    ) -> Result<Vec<ExemplarSeries>, SourceError>;

    /// Sorted by family; `family` restricts to one.
    fn metadata(&self, family: Option<&str>) -> Result<Vec<MetricMetadata>, SourceError>;

    /// The matching series by the hour, for the hours of the range whose 1h aggregates are stored;
    /// `None` where there are none. The range begins right after a whole hour and ends with one.
    fn aggregates<'a>(
        &'a self,
        _select: &SeriesSelect<'_>,
        _context: &QueryContext,
    ) -> Result<Option<AggregateAnswer<'a>>, SourceError> {
        Ok(None)
    }
}

/// Takes metrics in. When `append` returns `Ok`, what it accepted survives a crash.
pub trait MetricSink: Send + Sync {
    fn append(&self, batch: MetricBatch) -> Result<IngestOutcome, IngestError>;

    /// As [`MetricSink::append`] of the same series. A sink that keeps series in memory knows most
    /// of them by the bytes their sender wrote, and then no label set is built.
    fn append_sent(&self, batch: &SentBatch<'_>) -> Result<IngestOutcome, IngestError> {
        let (owned, mut refused) = batch.to_batch();
        refused.merge(self.append(owned)?);
        Ok(refused)
    }
}

/// How a protocol writes labels down.
pub trait SentLabels: Sync {
    /// The label set, or why there is none.
    fn read(&self, sent: &[u8]) -> Result<LabelSet, RejectReason>;

    /// For messages about a series that is refused.
    fn show(&self, sent: &[u8]) -> String;
}

/// The bytes of label sets, from whoever has them.
#[derive(Clone, Copy, Debug)]
pub struct CanonicalLabels;

impl SentLabels for CanonicalLabels {
    fn read(&self, sent: &[u8]) -> Result<LabelSet, RejectReason> {
        LabelSet::from_bytes(sent).ok_or(RejectReason::InvalidLabel)
    }

    fn show(&self, sent: &[u8]) -> String {
        LabelSet::from_bytes(sent).unwrap_or_default().to_string()
    }
}

/// Float samples of many series, with the labels as their sender wrote them.
#[derive(Clone)]
pub struct SentBatch<'b> {
    pub form: &'b dyn SentLabels,
    pub series: Vec<SentSeries<'b>>,
    /// Of all series, in their order, end to end.
    pub samples: Vec<(TimestampMs, f64)>,
    /// Start timestamps of the samples where known, as long as `samples` or empty; 0 is unknown.
    pub start_timestamps: Vec<i64>,
}

#[derive(Clone, Copy, Debug)]
pub struct SentSeries<'b> {
    pub labels: &'b [u8],
    /// How many of the batch's samples are this series'.
    pub samples: usize,
}

impl<'b> SentBatch<'b> {
    pub fn new(form: &'b dyn SentLabels) -> Self {
        Self { form, series: Vec::new(), samples: Vec::new(), start_timestamps: Vec::new() }
    }

    /// Series with their samples and the start timestamps of these, which may be none.
    pub fn iter(&self) -> impl Iterator<Item = (&'b [u8], &[(TimestampMs, f64)], &[i64])> {
        let (mut rest, mut starts) = (self.samples.as_slice(), self.start_timestamps.as_slice());
        self.series.iter().map(move |s| {
            let (own, later) = rest.split_at_checked(s.samples).unwrap_or((rest, &[]));
            rest = later;
            let (started, later) = starts.split_at_checked(own.len()).unwrap_or((&[], &[]));
            starts = later;
            (s.labels, own, started)
        })
    }

    /// The series with label sets of their own; what has none is refused and counted.
    pub fn to_batch(&self) -> (MetricBatch, IngestOutcome) {
        let (mut batch, mut refused) = (MetricBatch::default(), IngestOutcome::default());
        for (sent, samples, starts) in self.iter() {
            match self.form.read(sent) {
                Ok(labels) => batch.series.push(SeriesSamples {
                    labels,
                    samples: samples.to_vec(),
                    start_timestamps: started(samples, starts),
                    ..SeriesSamples::default()
                }),
                Err(reason) => {
                    refused.reject_many(reason, samples.len() as u64, || self.form.show(sent));
                }
            }
        }
        (batch, refused)
    }
}

/// As [`SeriesSamples::start_timestamps`], of a column that may be empty.
pub fn started(samples: &[(TimestampMs, f64)], starts: &[i64]) -> Vec<(TimestampMs, TimestampMs)> {
    let known = samples.iter().zip(starts).filter(|(_, start)| **start != 0);
    known.map(|((at, _), start)| (*at, TimestampMs(*start))).collect()
}

impl fmt::Debug for SentBatch<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SentBatch({} series, {} samples)", self.series.len(), self.samples.len())
    }
}
