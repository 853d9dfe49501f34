//! Real senders against our receivers, where they are installed.

use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use obs_collect::receivers::{ReceiverLimits, Sinks, http_router};
use obs_collect::registry::Registry;
use obs_disk::SystemClock;
use obs_types::{
    IngestError, IngestOutcome, LogRecord, LogSink, MetricBatch, MetricKind, MetricSink,
    SpanRecord, TraceSink,
};
use obs_wire::exposition::ExpositionFormat;

/// Keeps metrics and refuses nothing.
#[derive(Default)]
struct Kept(Mutex<MetricBatch>);

impl MetricSink for Kept {
    fn append(&self, batch: MetricBatch) -> Result<IngestOutcome, IngestError> {
        let accepted = batch.series.iter().map(|s| s.samples.len() as u64).sum();
        let mut kept = self.0.lock().unwrap();
        kept.series.extend(batch.series);
        kept.metadata.extend(batch.metadata);
        Ok(IngestOutcome { accepted, ..Default::default() })
    }
}

impl LogSink for Kept {
    fn append(&self, _: Vec<LogRecord>) -> Result<IngestOutcome, IngestError> {
        Ok(IngestOutcome::default())
    }
}

impl TraceSink for Kept {
    fn append(&self, _: Vec<SpanRecord>) -> Result<IngestOutcome, IngestError> {
        Ok(IngestOutcome::default())
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
    let sinks = Sinks {
        metrics: Arc::clone(&kept) as _,
        logs: Arc::clone(&kept) as _,
        traces: Arc::clone(&kept) as _,
    };
    let registry = Arc::new(Registry::new());
    let clock = Arc::new(SystemClock::new());
    let router = http_router(sinks, ReceiverLimits::default(), Arc::clone(&registry), clock);
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
        let kept = kept.0.lock().unwrap();
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
