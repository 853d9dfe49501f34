//! The engine against a plain model, and under every fault of the fake disk.

#![expect(clippy::unwrap_used, reason = "a test ends where something is not as expected")]

mod aggregates;
mod corruption;
mod engine;
mod faults;
mod merge;
mod model;
mod parts;
mod retention;
mod snapshot;
mod starts;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use obs_disk::{FakeDisk, ManualClock};
use obs_metrics::{Limits, MetricsConfig, MetricsEngine, MetricsError, OpenMode};
use obs_types::{
    IngestOutcome, LabelSet, Matcher, MetricBatch, MetricSink, QueryContext, RejectReason,
    SentBatch, SentLabels, SentSeries, SeriesSamples, SeriesSelect, SeriesSource, TimeRangeMs,
    TimestampMs,
};

pub(crate) const HOUR: i64 = 3_600_000;
/// Some whole hour.
pub(crate) const T0: i64 = 500_000 * HOUR;

pub(crate) struct World {
    pub(crate) disk: FakeDisk,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) limits: Limits,
}

impl World {
    pub(crate) fn new() -> Self {
        Self {
            disk: FakeDisk::new(),
            clock: Arc::new(ManualClock::new(TimestampMs(T0))),
            limits: Limits::standard(),
        }
    }

    pub(crate) fn dir() -> PathBuf {
        PathBuf::from("/data/metrics")
    }

    pub(crate) fn try_open(&self, mode: OpenMode) -> Result<Arc<MetricsEngine>, MetricsError> {
        MetricsEngine::open(MetricsConfig {
            dir: Self::dir(),
            wal_dir: Path::new("/data/wal/metrics").to_owned(),
            disk: Arc::new(self.disk.clone()),
            clock: Arc::clone(&self.clock) as Arc<dyn obs_disk::Clock>,
            mode,
            limits: self.limits.clone(),
        })
    }

    pub(crate) fn open(&self) -> Arc<MetricsEngine> {
        self.try_open(OpenMode::ReadWrite).unwrap()
    }
}

pub(crate) fn labels(name: &str, rest: &[(&str, &str)]) -> LabelSet {
    let all = [("__name__", name)].into_iter().chain(rest.iter().copied());
    LabelSet::from_pairs(all)
}

pub(crate) fn batch(series: &[(LabelSet, Vec<(i64, f64)>)]) -> MetricBatch {
    let series = series.iter().map(|(labels, samples)| SeriesSamples {
        labels: labels.clone(),
        samples: samples.iter().map(|(t, v)| (TimestampMs(*t), *v)).collect(),
        ..SeriesSamples::default()
    });
    MetricBatch { series: series.collect(), metadata: Vec::new() }
}

/// Label bytes behind a byte of no meaning: a sender that writes the same in several ways.
pub(crate) struct Spelled;

impl SentLabels for Spelled {
    fn read(&self, sent: &[u8]) -> Result<LabelSet, RejectReason> {
        LabelSet::from_bytes(&sent[1..]).ok_or(RejectReason::InvalidLabel)
    }

    fn show(&self, sent: &[u8]) -> String {
        format!("{sent:?}")
    }
}

/// Appends a batch as a sender of that spelling would.
pub(crate) fn append_sent(
    engine: &MetricsEngine,
    batch: &MetricBatch,
    spelling: u8,
) -> IngestOutcome {
    let bytes: Vec<Vec<u8>> =
        batch.series.iter().map(|s| [&[spelling], s.labels.as_bytes()].concat()).collect();
    let mut sent = SentBatch::new(&Spelled);
    for (series, labels) in batch.series.iter().zip(&bytes) {
        sent.series.push(SentSeries { labels, samples: series.samples.len() });
        sent.samples.extend(&series.samples);
    }
    engine.append_sent(&sent).unwrap()
}

pub(crate) fn range(start: i64, end: i64) -> TimeRangeMs {
    TimeRangeMs::new(TimestampMs(start), TimestampMs(end))
}

pub(crate) fn everything() -> TimeRangeMs {
    range(i64::MIN, i64::MAX)
}

/// Per series the samples with their bits.
pub(crate) type Content = Vec<(LabelSet, Vec<(i64, u64)>)>;

pub(crate) fn select(engine: &MetricsEngine, matchers: &[Matcher], range: TimeRangeMs) -> Content {
    let select = SeriesSelect { matchers, range, function: None, step_ms: None };
    let mut out: Content = engine
        .select(&select, &QueryContext::unlimited())
        .unwrap()
        .map(|s| {
            let s = s.unwrap();
            assert_eq!(s.timestamps.len(), s.values.len());
            let bits = s.values.iter().map(|v| v.to_bits());
            (s.labels, s.timestamps.into_iter().zip(bits).collect())
        })
        .collect();
    out.sort();
    out
}
