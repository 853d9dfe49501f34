use std::sync::Arc;

use obs_disk::{Clock, Disk, FakeDisk, ManualClock, WalConfig};
use obs_logs::LogsEngine;
use obs_metrics::MetricsEngine;
use obs_traces::TracesEngine;
use obs_types::{
    AttrValue, Attributes, DurationMs, InstrumentationScope, LabelSet, LogRecord, LogSink,
    MetricBatch, MetricSink, Resource, SeriesSamples, Span, SpanId, SpanRecord, TimestampMs,
    TraceId, TraceSink,
};

/// Three engines in memory.
pub(crate) struct Engines {
    pub(crate) metrics: Arc<MetricsEngine>,
    pub(crate) logs: Arc<LogsEngine>,
    pub(crate) traces: Arc<TracesEngine>,
    pub(crate) clock: Arc<ManualClock>,
}

impl Engines {
    pub(crate) fn new(now: TimestampMs) -> Self {
        let disk: Arc<dyn Disk> = Arc::new(FakeDisk::new());
        let clock = Arc::new(ManualClock::new(now));
        let as_clock = || -> Arc<dyn Clock> { clock.clone() };
        Self {
            metrics: MetricsEngine::open(obs_metrics::MetricsConfig {
                dir: "/data/metrics".into(),
                wal_dir: "/data/wal/metrics".into(),
                disk: Arc::clone(&disk),
                clock: as_clock(),
                mode: obs_metrics::OpenMode::ReadWrite,
                limits: obs_metrics::Limits {
                    out_of_order_window: DurationMs::DAY,
                    ..obs_metrics::Limits::standard()
                },
            })
            .unwrap(),
            logs: LogsEngine::open(obs_logs::LogsConfig {
                dir: "/data/logs".into(),
                wal_dir: "/data/wal/logs".into(),
                disk: Arc::clone(&disk),
                clock: as_clock(),
                mode: obs_logs::OpenMode::ReadWrite,
                limits: obs_logs::Limits::standard(),
            })
            .unwrap(),
            traces: TracesEngine::open(obs_traces::TracesConfig {
                dir: "/data/traces".into(),
                wal_dir: "/data/wal/traces".into(),
                disk,
                clock: as_clock(),
                mode: obs_traces::OpenMode::ReadWrite,
                wal: WalConfig::standard(),
                limits: obs_traces::TraceLimits::standard(),
            })
            .unwrap(),
            clock,
        }
    }

    pub(crate) fn samples(&self, labels: &[(&str, &str)], samples: Vec<(TimestampMs, f64)>) {
        let count = samples.len() as u64;
        let series = SeriesSamples {
            labels: LabelSet::from_pairs(labels.iter().copied()),
            samples,
            ..SeriesSamples::default()
        };
        let batch = MetricBatch { series: vec![series], ..MetricBatch::default() };
        assert_eq!(self.metrics.append(batch).unwrap().accepted, count);
    }

    pub(crate) fn line(&self, at: TimestampMs, service: &str, level: &str, line: &str) {
        let record = LogRecord {
            timestamp: at.to_ns(),
            stream: LabelSet::from_pairs([("service_name", service), ("node", "brick-02")]),
            line: line.to_owned(),
            metadata: LabelSet::from_pairs([("detected_level", level)]),
        };
        assert_eq!(self.logs.append(vec![record]).unwrap().accepted, 1);
    }

    /// `parent` 0 makes a root.
    pub(crate) fn span(&self, trace: u8, id: u8, parent: u8, start: TimestampMs, ms: i64) {
        let service = AttrValue::Str("treasury".to_owned());
        let record = SpanRecord {
            resource: Arc::new(Resource {
                attributes: Attributes(vec![("service.name".to_owned(), service)]),
            }),
            scope: Arc::new(InstrumentationScope::default()),
            span: Span {
                trace_id: TraceId([trace; 16]),
                span_id: SpanId([id; 8]),
                parent_span_id: SpanId([parent; 8]),
                name: format!("step {id}"),
                start: start.to_ns(),
                end: TimestampMs(start.0 + ms).to_ns(),
                ..Span::default()
            },
        };
        assert_eq!(self.traces.append(vec![record]).unwrap().accepted, 1);
    }
}
