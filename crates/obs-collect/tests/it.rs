//! Real senders against our receivers, where they are installed.

use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use obs_collect::receivers::{ReceiverLimits, Sinks, http_router, otlp_grpc};
use obs_collect::registry::Registry;
use obs_disk::SystemClock;
use obs_types::{
    IngestError, IngestOutcome, LogRecord, LogSink, MetricBatch, MetricKind, MetricSink,
    SpanRecord, TraceSink,
};
use obs_wire::exposition::ExpositionFormat;

/// Keeps everything and refuses nothing.
#[derive(Default)]
struct Kept {
    metrics: Mutex<MetricBatch>,
    logs: Mutex<Vec<LogRecord>>,
    spans: Mutex<Vec<SpanRecord>>,
}

impl Kept {
    fn sinks(self: &Arc<Self>) -> Sinks {
        let (metrics, logs, traces) = (Arc::clone(self), Arc::clone(self), Arc::clone(self));
        Sinks { metrics, logs, traces, notes: Default::default() }
    }
}

impl MetricSink for Kept {
    fn append(&self, batch: MetricBatch) -> Result<IngestOutcome, IngestError> {
        let accepted = batch.series.iter().map(|s| s.samples.len() as u64).sum();
        let mut kept = self.metrics.lock().expect("no holder panics");
        kept.series.extend(batch.series);
        kept.metadata.extend(batch.metadata);
        Ok(IngestOutcome { accepted, ..Default::default() })
    }
}

impl LogSink for Kept {
    fn append(&self, records: Vec<LogRecord>) -> Result<IngestOutcome, IngestError> {
        let accepted = records.len() as u64;
        self.logs.lock().expect("no holder panics").extend(records);
        Ok(IngestOutcome { accepted, ..Default::default() })
    }
}

impl TraceSink for Kept {
    fn append(&self, spans: Vec<SpanRecord>) -> Result<IngestOutcome, IngestError> {
        let accepted = spans.len() as u64;
        self.spans.lock().expect("no holder panics").extend(spans);
        Ok(IngestOutcome { accepted, ..Default::default() })
    }
}

struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        // Already gone is fine.
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

#[tokio::test]
async fn prometheus_remote_writes_to_us() {
    if Command::new("prometheus").arg("--version").stdout(Stdio::null()).status().is_err() {
        println!("skipped: prometheus is not installed");
        return;
    }
    let kept = Arc::new(Kept::default());
    let registry = Arc::new(Registry::new());
    let clock = Arc::new(SystemClock::new());
    let router = http_router(kept.sinks(), ReceiverLimits::default(), Arc::clone(&registry), clock);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let ours = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });

    let dir = tempfile::tempdir().unwrap();
    let theirs = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let config = format!(
        "global: {{scrape_interval: 1s}}\n\
         scrape_configs:\n- job_name: peer\n  static_configs: [{{targets: ['{theirs}']}}]\n\
         remote_write:\n- url: http://{ours}/api/v1/write\n  \
         queue_config: {{batch_send_deadline: 100ms}}\n  \
         metadata_config: {{send_interval: 1s}}\n"
    );
    std::fs::write(dir.path().join("prometheus.yml"), config).unwrap();
    let child = Command::new("prometheus")
        .arg(format!("--config.file={}", dir.path().join("prometheus.yml").display()))
        .arg(format!("--storage.tsdb.path={}", dir.path().join("data").display()))
        .arg(format!("--web.listen-address={theirs}"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let _child = Killed(child);

    // Another process decides when it sends; the bound only ends a failing test.
    let arrived = || {
        let kept = kept.metrics.lock().unwrap();
        let up = kept.series.iter().any(|s| {
            s.labels.metric_name() == "up"
                && s.labels.get("job") == Some("peer")
                && s.samples.iter().any(|(_, v)| *v == 1.0)
        });
        let bounds = kept.series.iter().any(|s| s.labels.get("le") == Some("+Inf"));
        let typed = kept.metadata.iter().any(|m| m.kind == MetricKind::Histogram);
        up && bounds && typed
    };
    let waiting = async {
        while !arrived() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let done = tokio::time::timeout(Duration::from_secs(30), waiting).await;
    let own = registry.render(ExpositionFormat::Prometheus);
    assert!(done.is_ok(), "nothing arrived within 30 s; own metrics:\n{own}");
    assert!(!own.contains("vmobs_ingest_rejected_total"), "{own}");
}

/// Needs a Python with the SDK and its OTLP exporters, named by `VMOBS_OTEL_PYTHON`.
#[tokio::test]
async fn the_opentelemetry_sdk_sends_to_us() {
    let Some(python) = std::env::var_os("VMOBS_OTEL_PYTHON") else {
        println!("skipped: VMOBS_OTEL_PYTHON names no Python with the OpenTelemetry SDK");
        return;
    };
    let kept = Arc::new(Kept::default());
    let registry = Arc::new(Registry::new());
    let (limits, clock) = (ReceiverLimits::default(), Arc::new(SystemClock::new()));
    let router = http_router(kept.sinks(), limits, Arc::clone(&registry), Arc::clone(&clock) as _)
        .merge(otlp_grpc(kept.sinks(), limits, Arc::clone(&registry), clock));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let ours = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });

    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/testdata/otel_sdk.py");
    for (kind, target) in [("http", format!("http://{ours}")), ("grpc", ours.to_string())] {
        let sent = tokio::process::Command::new(&python)
            .args([script, kind, &target])
            .output()
            .await
            .unwrap();
        let errors = String::from_utf8_lossy(&sent.stderr);
        assert!(sent.status.success() && !errors.contains("Failed"), "{kind}: {errors}");

        let service = format!("sdk-{kind}");
        let spans = kept.spans.lock().unwrap();
        let span = spans.iter().find(|s| s.resource.service() == service).unwrap();
        assert_eq!(span.span.name, "parent");
        let logs = kept.logs.lock().unwrap();
        let log = logs.iter().find(|l| l.stream.get("service_name") == Some(&service)).unwrap();
        assert_eq!(log.line, "it broke");
        assert_eq!(log.metadata.get("attempt"), Some("3"));
        assert_eq!(log.metadata.get("trace_id"), Some(span.span.trace_id.to_string().as_str()));
        let metrics = kept.metrics.lock().unwrap();
        let value = |name: &str| {
            let of = |s: &&obs_types::SeriesSamples| {
                s.labels.metric_name() == name && s.labels.get("job") == Some(&service)
            };
            metrics.series.iter().find(of).and_then(|s| s.samples.last()).map(|(_, v)| *v)
        };
        assert_eq!(value("jobs_done_total"), Some(5.0));
        assert_eq!(value("job_duration_seconds_count"), Some(1.0));
        assert_eq!(value("jobs_open"), Some(2.0));
    }
    let own = registry.render(ExpositionFormat::Prometheus);
    assert!(!own.contains("vmobs_ingest_rejected_total"), "{own}");
}
