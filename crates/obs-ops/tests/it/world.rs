use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use obs_archive::{Archive, ColdTier, FolderStore};
use obs_disk::{Clock, Disk, ManualClock, RealDisk, WalConfig};
use obs_ledger::{Collection, Ledger, LedgerConfig, LedgerMode};
use obs_logs::LogsEngine;
use obs_metrics::MetricsEngine;
use obs_ops::{DayIds, SealService, SealSettings};
use obs_proof::note::VerifierKey;
use obs_proof::verify::{VerifyOptions, VerifyReport, verify};
use obs_traces::TracesEngine;
use obs_types::{
    AttrValue, Attributes, DurationMs, InstrumentationScope, LabelSet, LogRecord, LogSink,
    MetricBatch, MetricSink, Resource, SeriesSamples, Span, SpanId, SpanRecord, SpanStatus,
    StatusCode, TimestampMs, TraceId, TraceSink,
};
use serde_json::Value;
use tempfile::TempDir;

/// 2025-12-06T12:10:00Z
pub(crate) const START: TimestampMs = TimestampMs(1_765_023_000_000);

pub(crate) fn minutes(n: i64) -> DurationMs {
    DurationMs(n * 60_000)
}

/// A data folder with everything that operations work with.
pub(crate) struct World {
    pub(crate) dir: TempDir,
    /// Root of the cold store.
    pub(crate) cold: TempDir,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) parts: Parts,
}

pub(crate) struct Parts {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) metrics: Arc<MetricsEngine>,
    pub(crate) logs: Arc<LogsEngine>,
    pub(crate) traces: Arc<TracesEngine>,
    pub(crate) archive: Arc<Archive>,
    pub(crate) ledger: Arc<Ledger>,
}

pub(crate) fn open_ledger(
    data: &Path,
    disk: &Arc<dyn Disk>,
    clock: &Arc<ManualClock>,
) -> Arc<Ledger> {
    let clock: Arc<dyn Clock> = clock.clone();
    let origin = "vm-obs.test/brick-01/observability".to_owned();
    let config =
        LedgerConfig::in_data_dir(data, Arc::clone(disk), clock, origin, LedgerMode::ReadWrite);
    Arc::new(Ledger::open(config).unwrap())
}

fn open(data: &Path, cold: &Path, clock: &Arc<ManualClock>) -> Parts {
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let as_clock = || -> Arc<dyn Clock> { clock.clone() };
    Parts {
        metrics: MetricsEngine::open(obs_metrics::MetricsConfig {
            dir: data.join("metrics"),
            wal_dir: data.join("wal/metrics"),
            disk: Arc::clone(&disk),
            clock: as_clock(),
            mode: obs_metrics::OpenMode::ReadWrite,
            limits: obs_metrics::Limits::standard(),
        })
        .unwrap(),
        logs: LogsEngine::open(obs_logs::LogsConfig {
            dir: data.join("logs"),
            wal_dir: data.join("wal/logs"),
            disk: Arc::clone(&disk),
            clock: as_clock(),
            mode: obs_logs::OpenMode::ReadWrite,
            limits: obs_logs::Limits::standard(),
        })
        .unwrap(),
        traces: TracesEngine::open(obs_traces::TracesConfig {
            dir: data.join("traces"),
            wal_dir: data.join("wal/traces"),
            disk: Arc::clone(&disk),
            clock: as_clock(),
            mode: obs_traces::OpenMode::ReadWrite,
            wal: WalConfig::standard(),
            limits: obs_traces::TraceLimits::standard(),
        })
        .unwrap(),
        archive: Arc::new(open_archive(data, cold, &disk)),
        ledger: open_ledger(data, &disk, clock),
        disk,
    }
}

/// An archive whose cold files lie below `cold`.
pub(crate) fn open_archive(data: &Path, cold: &Path, disk: &Arc<dyn Disk>) -> Archive {
    let store = Arc::new(FolderStore::new(cold, Arc::clone(disk)));
    let tier = ColdTier::new(Some(store), data.join("cache"), Arc::clone(disk), 1 << 20);
    Archive::open_tiered(data, Arc::clone(disk), [7; 32], Arc::new(tier)).unwrap()
}

impl World {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::new(START));
        let cold = tempfile::tempdir().unwrap();
        let parts = open(dir.path(), cold.path(), &clock);
        Self { dir, cold, clock, parts }
    }

    pub(crate) fn now(&self) -> TimestampMs {
        self.clock.now()
    }

    pub(crate) fn advance(&self, by: DurationMs) {
        self.clock.advance(Duration::from_millis(u64::try_from(by.0).unwrap()));
    }

    /// Stops and starts again over the same folder.
    pub(crate) fn restart(self) -> Self {
        let Self { dir, cold, clock, parts } = self;
        parts.metrics.shutdown();
        parts.logs.shutdown().unwrap();
        parts.traces.shutdown().unwrap();
        parts.ledger.shutdown().unwrap();
        drop(parts);
        let parts = open(dir.path(), cold.path(), &clock);
        Self { dir, cold, clock, parts }
    }

    pub(crate) fn operations(&self) -> Arc<DayIds> {
        Arc::new(DayIds::from_ledger(&self.parts.ledger, "obs-op-", "operation_id").unwrap())
    }

    pub(crate) fn seals(&self) -> SealService {
        self.seals_into(&self.parts.ledger)
    }

    pub(crate) fn seals_into(&self, ledger: &Arc<Ledger>) -> SealService {
        let p = &self.parts;
        SealService::open(SealSettings {
            data_dir: self.dir.path().to_owned(),
            disk: Arc::clone(&p.disk),
            archive: Arc::clone(&p.archive),
            ledger: Arc::clone(ledger),
            metrics: p.metrics.clone(),
            logs: p.logs.clone(),
            traces: p.traces.clone(),
            delay: minutes(5),
            collection: Box::new(|_, _| Collection::default()),
        })
        .unwrap()
    }

    /// One sample, one line and one span that failed, all at `at`.
    pub(crate) fn feed(&self, at: TimestampMs) {
        self.sample(&[("__name__", "cpu_percent"), ("node", "brick-01")], at, 23.5);
        self.line(at, "error");
        self.span(at, StatusCode::Error);
    }

    /// One line of that level.
    pub(crate) fn line(&self, at: TimestampMs, level: &str) {
        let records = vec![LogRecord {
            timestamp: at.to_ns(),
            stream: LabelSet::from_pairs([("service_name", "guardian"), ("node", "brick-01")]),
            line: format!("anchor cycle at {at}"),
            metadata: LabelSet::from_pairs([("detected_level", level)]),
        }];
        assert_eq!(self.parts.logs.append(records).unwrap().accepted, 1);
    }

    /// A trace of one span that ends with that status.
    pub(crate) fn span(&self, at: TimestampMs, status: StatusCode) {
        let id = u64::try_from(at.0).unwrap().to_be_bytes();
        let mut trace_id = [1; 16];
        trace_id[8..].copy_from_slice(&id);
        let service = if status == StatusCode::Error { "treasury" } else { "portal" };
        let name = AttrValue::Str(service.to_owned());
        let span = SpanRecord {
            resource: Arc::new(Resource {
                attributes: Attributes(vec![("service.name".to_owned(), name)]),
            }),
            scope: Arc::new(InstrumentationScope::default()),
            span: Span {
                trace_id: TraceId(trace_id),
                span_id: SpanId(id),
                name: "settle".to_owned(),
                start: at.to_ns(),
                end: at.saturating_add(DurationMs(150)).to_ns(),
                status: SpanStatus { code: status, message: "refused".to_owned() },
                ..Span::default()
            },
        };
        assert_eq!(self.parts.traces.append(vec![span]).unwrap().accepted, 1);
    }

    pub(crate) fn sample(&self, labels: &[(&str, &str)], at: TimestampMs, value: f64) {
        let series = SeriesSamples {
            labels: LabelSet::from_pairs(labels.iter().copied()),
            samples: vec![(at, value)],
            ..SeriesSamples::default()
        };
        let batch = MetricBatch { series: vec![series], ..MetricBatch::default() };
        assert_eq!(self.parts.metrics.append(batch).unwrap().accepted, 1);
    }

    pub(crate) fn receipts(&self, kind: &str) -> Vec<Value> {
        receipts(&self.parts.ledger, kind)
    }

    /// What the stand-alone verifier says of the folder and the cold store.
    pub(crate) fn verify(&self) -> VerifyReport {
        let mut options = VerifyOptions::new(self.dir.path());
        options.cold = Some(self.cold.path().to_owned());
        options.log_keys = vec![VerifierKey::parse(&self.parts.ledger.head().log_vkey).unwrap()];
        verify(&options).unwrap()
    }

    #[track_caller]
    pub(crate) fn assert_verifies(&self) {
        let report = self.verify();
        assert_eq!(report.exit_code(), 0, "{report}");
    }
}

/// Receipts of one type, oldest first.
pub(crate) fn receipts(ledger: &Ledger, kind: &str) -> Vec<Value> {
    let mut found = Vec::new();
    ledger
        .read(0, &mut |_seq, line| {
            let receipt: Value = serde_json::from_str(line).unwrap();
            if receipt["type"] == kind {
                found.push(receipt);
            }
            true
        })
        .unwrap();
    found
}
