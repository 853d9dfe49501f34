//! Real requests over loopback into sinks that remember.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::{Mutex, OnceLock};

use obs_disk::ManualClock;
use obs_types::{
    IngestError, IngestOutcome, LabelSet, LogRecord, MetricBatch, RejectReason, SeriesSamples,
    SpanRecord, TimestampMs,
};
use obs_wire::compression::snappy_compress;
use obs_wire::exposition::ExpositionFormat;
use obs_wire::remote_write::encode_v1;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::logs::v1::logs_service_client::LogsServiceClient;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_client::MetricsServiceClient;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use prost::Message as _;
use reqwest::{Method, RequestBuilder};
use tonic::codec::CompressionEncoding;

use super::*;

/// Remembers what it is given; a series named `late` is rejected, `down` makes it fail.
#[derive(Default)]
pub(super) struct Memory {
    metrics: Mutex<Vec<SeriesSamples>>,
    pub(super) logs: Mutex<Vec<LogRecord>>,
    spans: Mutex<Vec<SpanRecord>>,
    down: Mutex<Option<IngestError>>,
    /// The next call waits for a word from the other end.
    held: Mutex<Option<std::sync::mpsc::Receiver<()>>>,
}

impl Memory {
    fn check(&self) -> Result<(), IngestError> {
        let held = self.held.lock().unwrap().take();
        if let Some(word) = held {
            word.recv().ok();
        }
        self.down.lock().unwrap().clone().map_or(Ok(()), Err)
    }
}

impl MetricSink for Memory {
    fn append(&self, batch: MetricBatch) -> Result<IngestOutcome, IngestError> {
        self.check()?;
        let mut outcome = IngestOutcome::default();
        for series in batch.series {
            if series.labels.metric_name() == "late" {
                outcome.reject(RejectReason::TooOld, || series.labels.to_string());
                continue;
            }
            outcome.accepted += (series.samples.len() + series.histograms.len()) as u64;
            self.metrics.lock().unwrap().push(series);
        }
        Ok(outcome)
    }
}

impl LogSink for Memory {
    fn append(&self, records: Vec<LogRecord>) -> Result<IngestOutcome, IngestError> {
        self.check()?;
        let accepted = records.len() as u64;
        self.logs.lock().unwrap().extend(records);
        Ok(IngestOutcome { accepted, ..Default::default() })
    }
}

impl TraceSink for Memory {
    fn append(&self, spans: Vec<SpanRecord>) -> Result<IngestOutcome, IngestError> {
        self.check()?;
        let accepted = spans.len() as u64;
        self.spans.lock().unwrap().extend(spans);
        Ok(IngestOutcome { accepted, ..Default::default() })
    }
}

pub(super) struct Server {
    pub(super) memory: Arc<Memory>,
    pub(super) registry: Arc<Registry>,
    address: SocketAddr,
    client: reqwest::Client,
}

impl Server {
    async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    pub(super) async fn start_attested(attestation: Attestation) -> Self {
        Self::start_full(|_| {}, Some(Arc::new(attestation))).await
    }

    async fn start_with(change: impl FnOnce(&mut ReceiverLimits)) -> Self {
        Self::start_full(change, None).await
    }

    async fn start_full(
        change: impl FnOnce(&mut ReceiverLimits),
        attestation: Option<Arc<Attestation>>,
    ) -> Self {
        static CRYPTO: OnceLock<()> = OnceLock::new();
        CRYPTO.get_or_init(crate::install_crypto);
        let memory = Arc::new(Memory::default());
        let registry = Arc::new(Registry::new());
        let sinks = Sinks {
            metrics: Arc::clone(&memory) as _,
            logs: Arc::clone(&memory) as _,
            traces: Arc::clone(&memory) as _,
            notes: IntakeNotes { attestation, ..IntakeNotes::default() },
        };
        let caps = WireCaps {
            compressed_bytes_max: 64 << 10,
            output_bytes_max: 256 << 10,
            messages_max: 5000,
            ..WireCaps::default()
        };
        let mut limits = ReceiverLimits { caps, ..ReceiverLimits::default() };
        change(&mut limits);
        let clock: Arc<dyn Clock> = Arc::new(ManualClock::new(TimestampMs(1_000_000)));
        let router = http_router(sinks.clone(), limits, Arc::clone(&registry), Arc::clone(&clock))
            .merge(otlp_grpc(sinks, limits, Arc::clone(&registry), clock));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { memory, registry, address, client: reqwest::Client::new() }
    }

    pub(super) fn post(&self, path: &str) -> RequestBuilder {
        self.client.request(Method::POST, format!("http://{}{path}", self.address))
    }

    /// Sends and gives status, `Retry-After` and body.
    pub(super) async fn send(&self, request: RequestBuilder) -> (u16, Option<String>, Vec<u8>) {
        let response = request.send().await.unwrap();
        let retry = response.headers().get("retry-after");
        let retry = retry.map(|v| v.to_str().unwrap().to_owned());
        (response.status().as_u16(), retry, response.bytes().await.unwrap().to_vec())
    }

    fn own_metrics(&self) -> String {
        self.registry.render(ExpositionFormat::Prometheus)
    }

    fn break_down(&self, error: Option<IngestError>) {
        *self.memory.down.lock().unwrap() = error;
    }
}

fn series(name: &str) -> SeriesSamples {
    SeriesSamples {
        labels: LabelSet::from_pairs([("__name__", name), ("job", "t")]),
        samples: vec![(TimestampMs(1), 2.0)],
        ..Default::default()
    }
}

fn write_body(names: &[&str]) -> Vec<u8> {
    let batch =
        MetricBatch { series: names.iter().map(|n| series(n)).collect(), ..Default::default() };
    snappy_compress(&encode_v1(&batch)).unwrap()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut writer = flate2::write::GzEncoder::new(Vec::new(), Default::default());
    writer.write_all(bytes).unwrap();
    writer.finish().unwrap()
}

const TRACE: &str = r#"{"resourceSpans":[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"a"}}]},
    "scopeSpans":[{"spans":[
      {"traceId":"5b8efff798038103d269b633813fc60c","spanId":"eee19b7ec3c1b174","name":"x",
       "startTimeUnixNano":"1000000000","endTimeUnixNano":"2000000000"},
      {"traceId":"","spanId":"","name":"bad"}]}]}]}"#;

#[tokio::test]
async fn remote_write_keeps_the_good_and_names_the_bad() {
    let server = Server::start().await;
    let (status, _, _) =
        server.send(server.post("/api/v1/write").body(write_body(&["a", "b"]))).await;
    assert_eq!(status, 204);
    let (status, _, text) =
        server.send(server.post("/api/v1/write").body(write_body(&["c", "late"]))).await;
    let text = String::from_utf8(text).unwrap();
    assert_eq!(status, 400);
    assert!(text.contains("1 rejected as too_old, e.g. late{job=\"t\"}"), "{text}");
    assert_eq!(server.memory.metrics.lock().unwrap().len(), 3);

    let own = server.own_metrics();
    for line in [
        "vmobs_ingest_accepted_total{protocol=\"remote_write\",signal=\"metrics\"} 3",
        "vmobs_ingest_rejected_total{protocol=\"remote_write\",reason=\"too_old\"} 1",
    ] {
        assert!(own.contains(line), "{own}");
    }
}

#[tokio::test]
async fn remote_write_refuses_what_it_cannot_read() {
    let server = Server::start().await;
    let write = || server.post("/api/v1/write");
    let bomb = snappy_compress(&vec![0; 1 << 20]).unwrap();
    for (request, status, reason) in [
        (write().body("no snappy"), 400, "malformed"),
        (write().body(bomb), 413, "bomb"),
        (write().body(vec![0; 100 << 10]), 413, "too_large"),
        (write().header("content-encoding", "br").body("x"), 415, "unsupported"),
        (write().header("content-type", "text/plain").body("x"), 415, "media_type"),
    ] {
        let got = server.send(request).await;
        assert_eq!(got.0, status, "{reason}: {}", String::from_utf8_lossy(&got.2));
        let line = format!(
            "vmobs_ingest_rejected_total{{protocol=\"remote_write\",reason=\"{reason}\"}} 1"
        );
        assert!(server.own_metrics().contains(&line), "{line}");
    }
    // The process is unharmed.
    assert_eq!(server.send(write().body(write_body(&["a"]))).await.0, 204);
}

#[tokio::test]
async fn a_failing_sink_asks_for_a_retry() {
    let server = Server::start().await;
    let full = || IngestError::Unavailable { reason: "disk is full".into() };
    let busy = || IngestError::Overloaded { reason: "queue".into() };
    let write = || server.post("/api/v1/write").body(write_body(&["a"]));
    let otlp = || server.post("/v1/traces").header("content-type", "application/json").body(TRACE);
    server.break_down(Some(full()));
    let (status, retry, body) = server.send(write()).await;
    assert_eq!((status, retry.as_deref()), (503, Some("10")));
    assert!(String::from_utf8(body).unwrap().contains("disk is full"));
    let (status, retry, body) = server.send(otlp()).await;
    assert_eq!((status, retry.as_deref()), (503, Some("10")));
    let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(body["code"], 14);

    server.break_down(Some(busy()));
    assert_eq!(server.send(write()).await.0, 503);
    assert_eq!(server.send(otlp()).await.0, 429);
    let push = server.post("/loki/api/v1/push").header("content-type", "application/json");
    let push = push.body(r#"{"streams":[{"stream":{"a":"b"},"values":[["1","x"]]}]}"#);
    assert_eq!(server.send(push).await.0, 429);

    server.break_down(None);
    assert_eq!(server.send(write()).await.0, 204);
}

#[tokio::test]
async fn otlp_http_speaks_json_and_protobuf_compressed() {
    let server = Server::start().await;
    let json = || server.post("/v1/traces").header("content-type", "application/json");
    let (status, _, body) = server.send(json().body(TRACE)).await;
    assert_eq!(status, 200);
    let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(body["partialSuccess"]["rejectedSpans"], "1");
    assert!(body["partialSuccess"]["errorMessage"].as_str().unwrap().contains("invalid_span"));

    let request: ExportTraceServiceRequest = serde_json::from_str(TRACE).unwrap();
    let bytes = request.encode_to_vec();
    for (encoding, body) in [
        ("gzip", gzip(&bytes)),
        ("zstd", zstd::encode_all(bytes.as_slice(), 1).unwrap()),
        ("identity", bytes.clone()),
    ] {
        let post = server
            .post("/otlp/v1/traces")
            .header("content-type", "application/x-protobuf")
            .header("content-encoding", encoding);
        let (status, _, body) = server.send(post.body(body)).await;
        assert_eq!(status, 200, "{encoding}");
        let body = ExportTraceServiceResponse::decode(body.as_slice()).unwrap();
        assert_eq!(body.partial_success.unwrap().rejected_spans, 1);
    }
    assert_eq!(server.memory.spans.lock().unwrap().len(), 4);

    let (status, _, body) = server.send(json().body("{\"resourceSpans\":7}")).await;
    assert_eq!(status, 400);
    let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(body["code"], 3);
    assert!(body["message"].as_str().unwrap().contains("line 1 column"), "{body}");
    let many = format!("[{}]", "[],".repeat(6000));
    assert_eq!(server.send(json().body(many)).await.0, 413);
    let bomb = json().header("content-encoding", "gzip").body(gzip(&vec![b' '; 1 << 20]));
    assert_eq!(server.send(bomb).await.0, 413);
    assert_eq!(server.send(server.post("/v1/logs").body("x")).await.0, 415);
}

#[tokio::test]
async fn loki_pushes_keep_good_streams() {
    let server = Server::start().await;
    let push = || server.post("/loki/api/v1/push").header("content-type", "application/json");
    let mixed = r#"{"streams":[{"stream":{"a":"b"},"values":[["5","x",{"k":"v"}]]},
                               {"stream":{},"values":[["6","y"]]}]}"#;
    let (status, _, body) = server.send(push().body(mixed)).await;
    assert_eq!(status, 400);
    assert!(String::from_utf8(body).unwrap().contains("1 rejected as invalid_label"));
    assert_eq!(server.memory.logs.lock().unwrap()[0].metadata.get("k"), Some("v"));
    let good = gzip(br#"{"streams":[{"stream":{"a":"b"},"values":[["7","z"]]}]}"#);
    let (status, _, body) = server.send(push().header("content-encoding", "gzip").body(good)).await;
    assert_eq!((status, body.as_slice()), (204, b"".as_slice()));
    let number = r#"{"streams":[{"stream":{"a":"b"},"values":[[7,"z"]]}]}"#;
    let (status, _, body) = server.send(push().body(number)).await;
    assert_eq!(status, 400);
    assert!(String::from_utf8(body).unwrap().contains("streams[0].values[0]"));
}

#[tokio::test]
async fn json_is_taken_line_by_line_and_as_engine_objects() {
    let server = Server::start().await;
    let lines = "{\"text\":\"hi\",\"when\":1}\nnot json\n{\"_msg\":\"x\",\"env\":\"p\"}\n";
    let path = "/insert/jsonline?_msg_field=text&_time_field=when&_stream_fields=env";
    let (status, _, body) = server.send(server.post(path).body(lines)).await;
    let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
    assert_eq!((status, &body["accepted"], &body["rejected"]), (200, &2.into(), &1.into()));
    assert!(body["reasons"]["malformed"]["example"].as_str().unwrap().starts_with("line 2"));
    {
        let logs = server.memory.logs.lock().unwrap();
        assert_eq!((logs[0].line.as_str(), logs[0].timestamp.0), ("hi", 1_000_000_000));
        assert_eq!(logs[1].stream.to_string(), "{env=\"p\"}");
        // No time of its own: the receiver's clock.
        assert_eq!(logs[1].timestamp.0, 1_000_000_000_000);
    }
    for (path, body, status) in [
        ("/obs/ingest/metrics", r#"{"node":"n","metrics":{"cpu_percent":1}}"#, 200),
        ("/obs/ingest/logs", r#"[{"message":"m","service":"s"}]"#, 200),
        (
            "/obs/ingest/traces",
            r#"{"trace_id":"trace-abc123...","start_time":"2025-12-06T14:30:00Z","name":"t"}"#,
            200,
        ),
        ("/obs/ingest/traces", r#"{"trace_id":"?"}"#, 400),
        ("/obs/ingest/logs", "{", 400),
    ] {
        let got = server.send(server.post(path).body(body)).await;
        assert_eq!(got.0, status, "{path} {body}: {}", String::from_utf8_lossy(&got.2));
    }
    assert_eq!(server.memory.spans.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn grpc_clients_of_opentelemetry_are_served() {
    let server = Server::start().await;
    let url = format!("http://{}", server.address);
    let spans: ExportTraceServiceRequest = serde_json::from_str(TRACE).unwrap();
    for encoding in [None, Some(CompressionEncoding::Gzip), Some(CompressionEncoding::Zstd)] {
        let mut client = TraceServiceClient::connect(url.clone()).await.unwrap();
        if let Some(encoding) = encoding {
            client = client.send_compressed(encoding).accept_compressed(encoding);
        }
        let reply = client.export(spans.clone()).await.unwrap().into_inner();
        assert_eq!(reply.partial_success.unwrap().rejected_spans, 1, "{encoding:?}");
    }
    assert_eq!(server.memory.spans.lock().unwrap().len(), 3);

    let mut logs = LogsServiceClient::connect(url.clone()).await.unwrap();
    let reply = logs.export(ExportLogsServiceRequest::default()).await.unwrap().into_inner();
    assert!(reply.partial_success.is_none());
    let mut metrics = MetricsServiceClient::connect(url.clone()).await.unwrap();
    metrics.export(ExportMetricsServiceRequest::default()).await.unwrap();

    let mut many = spans.clone();
    many.resource_spans = vec![Default::default(); 6000];
    let mut client = TraceServiceClient::connect(url.clone()).await.unwrap();
    let status = client.export(many).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::ResourceExhausted);
    assert!(status.message().contains("more than 5000 messages"), "{status}");

    server.break_down(Some(IngestError::Unavailable { reason: "100% full".into() }));
    let status = client.export(spans).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::Unavailable);
    assert!(status.message().contains("100% full"), "{status}");
}

#[tokio::test]
async fn broken_grpc_frames_get_a_status() {
    let server = Server::start().await;
    let client = reqwest::Client::builder().http2_prior_knowledge().build().unwrap();
    let url = format!(
        "http://{}/opentelemetry.proto.collector.trace.v1.TraceService/Export",
        server.address
    );
    let bomb = {
        let packed = gzip(&vec![0; 1 << 20]);
        let mut frame = vec![1];
        frame.extend_from_slice(&u32::try_from(packed.len()).unwrap().to_be_bytes());
        frame.extend(packed);
        frame
    };
    let mut seen = BTreeSet::new();
    for (body, code) in [
        (vec![], "3"),
        (vec![0, 0, 0, 0, 9, 1], "3"),
        (vec![7, 0, 0, 0, 0], "3"),
        (vec![0, 0, 0, 0, 1, 0xff], "3"),
        (bomb, "8"),
        (vec![0; 100 << 10], "8"),
    ] {
        let response = client
            .post(&url)
            .header("content-type", "application/grpc")
            .header("grpc-encoding", "gzip")
            .body(body)
            .send()
            .await
            .unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["grpc-status"], code);
        seen.insert(response.headers()["grpc-message"].to_str().unwrap().to_owned());
    }
    assert_eq!(seen.len(), 6, "{seen:?}");
}

#[tokio::test]
async fn overload_and_slow_senders_are_refused() {
    let server = Server::start_with(|limits| {
        limits.requests_in_flight_max = 1;
        limits.queue_timeout = Duration::from_millis(20);
        limits.body_timeout = Duration::from_millis(50);
    })
    .await;
    let (release, word) = std::sync::mpsc::channel();
    *server.memory.held.lock().unwrap() = Some(word);
    let write = || Box::pin(server.send(server.post("/api/v1/write").body(write_body(&["a"]))));
    // One of the two waits in the sink, so the other finds no turn.
    let (refused, waiting) = futures_util::future::select(write(), write()).await.factor_first();
    assert_eq!((refused.0, refused.1.as_deref()), (503, Some("1")));
    release.send(()).unwrap();
    assert_eq!(waiting.await.0, 204);

    let never = futures_util::stream::pending::<Result<Vec<u8>, std::io::Error>>();
    let body = reqwest::Body::wrap_stream(never);
    assert_eq!(server.send(server.post("/loki/api/v1/push").body(body)).await.0, 408);
    let own = server.own_metrics();
    for reason in ["overloaded", "body_timeout"] {
        assert!(own.contains(&format!("reason=\"{reason}\"}} 1")), "{own}");
    }
}

#[tokio::test]
async fn delta_sums_of_otlp_become_totals() {
    let server = Server::start().await;
    let send = async |start: u64, end: u64, value: u64| {
        let body = serde_json::json!({"resourceMetrics": [{"scopeMetrics": [{"metrics": [
            {"name": "jobs", "sum": {"isMonotonic": true, "aggregationTemporality": 1,
                "dataPoints": [{"startTimeUnixNano": (start * 1_000_000).to_string(),
                    "timeUnixNano": (end * 1_000_000).to_string(),
                    "asInt": value.to_string()}]}}]}]}]});
        let post = server.post("/v1/metrics").header("content-type", "application/json");
        let (status, _, reply) = server.send(post.body(body.to_string())).await;
        assert_eq!(status, 200);
        serde_json::from_slice::<serde_json::Value>(&reply).unwrap()
    };
    assert_eq!(send(1, 2, 5).await, serde_json::json!({}));
    // A sender that got no answer sends the same again.
    server.break_down(Some(IngestError::Overloaded { reason: "queue".into() }));
    let post = server.post("/v1/metrics").header("content-type", "application/json");
    assert_eq!(server.send(post.body("{}")).await.0, 429);
    server.break_down(None);
    assert_eq!(send(1, 2, 5).await, serde_json::json!({}));
    assert_eq!(send(2, 3, 4).await, serde_json::json!({}));
    let late = send(1, 2, 5).await;
    assert_eq!(late["partialSuccess"]["rejectedDataPoints"], "1");
    assert!(late["partialSuccess"]["errorMessage"].as_str().unwrap().contains("out_of_order"));
    let kept = server.memory.metrics.lock().unwrap();
    let values: Vec<f64> = kept.iter().map(|s| s.samples[0].1).collect();
    assert_eq!(values, [5.0, 5.0, 9.0]);
    let own = server.own_metrics();
    assert!(own.contains("vmobs_otlp_delta_streams{receiver=\"http\"} 1"), "{own}");
}

#[tokio::test]
async fn remote_write_2_says_what_was_written() {
    let server = Server::start().await;
    // Symbols "", "__name__", "a", "late"; one series each of "a" and "late" with one sample.
    let symbols = b"\x22\x00\x22\x08__name__\x22\x01a\x22\x04late".to_vec();
    let series = |name: u8| vec![0x2a, 10, 0x0a, 2, 1, name, 0x12, 4, 0x10, 1, 0x18, 1];
    let send = async |body: Vec<u8>, proto: &str| {
        let body = snappy_compress(&body).unwrap();
        let kind = format!("application/x-protobuf;proto={proto}");
        let request = server.post("/api/v1/write").header("content-type", kind).body(body);
        let response = request.send().await.unwrap();
        let written = ["samples", "histograms", "exemplars"].map(|kind| {
            let name = format!("x-prometheus-remote-write-{kind}-written");
            response.headers().get(name).map_or("", |v| v.to_str().unwrap()).to_owned()
        });
        (response.status().as_u16(), written.join(" "))
    };
    let v2 = "io.prometheus.write.v2.Request";
    let both = [symbols.clone(), series(2), series(3)].concat();
    assert_eq!(send([symbols, series(2)].concat(), v2).await, (204, "1 0 0".into()));
    assert_eq!(send(both, v2).await, (400, "1 0 0".into()));
    assert_eq!(send(vec![0xff], v2).await, (400, "0 0 0".into()));
    assert_eq!(send(vec![], "io.prometheus.write.v3.Request").await, (415, "  ".into()));
}

#[tokio::test]
async fn exposition_text_is_pushed() {
    let server = Server::start().await;
    let text = "# TYPE a counter\na{x=\"1\",job=\"own\"} 5\nb 6 7000\n";
    let path = "/api/v1/import/prometheus?extra_label=job=pushed&extra_label=env=e&timestamp=9000";
    assert_eq!(server.send(server.post(path).body(text)).await.0, 204);
    let packed = server.post("/metrics/job/batch/instance/i1").header("content-encoding", "gzip");
    assert_eq!(server.send(packed.body(gzip(b"c 1\n"))).await.0, 204);
    {
        let kept = server.memory.metrics.lock().unwrap();
        let shown: Vec<String> =
            kept.iter().map(|s| format!("{} {:?}", s.labels, s.samples[0])).collect();
        assert_eq!(
            shown,
            [
                "a{env=\"e\", job=\"pushed\", x=\"1\"} (TimestampMs(9000), 5.0)",
                "b{env=\"e\", job=\"pushed\"} (TimestampMs(7000), 6.0)",
                // No time of its own: the receiver's clock.
                "c{instance=\"i1\", job=\"batch\"} (TimestampMs(1000000), 1.0)",
            ]
        );
    }
    for (path, body, want) in [
        ("/api/v1/import/prometheus", "a 1\nb{ 2\n", "line 2, column 4"),
        ("/api/v1/import/prometheus?timestamp=soon", "a 1\n", "timestamp=\"soon\""),
        ("/api/v1/import/prometheus?extra_label=x", "a 1\n", "extra_label=\"x\""),
        ("/metrics/job/batch/instance", "a 1\n", "\"instance\" of the path has no value"),
        ("/metrics/job/b/x@base64/eQ", "a 1\n", "x@base64"),
        ("/api/v1/import/prometheus", "late 1\n", "1 rejected as too_old"),
    ] {
        let (status, _, answer) = server.send(server.post(path).body(body)).await;
        let answer = String::from_utf8(answer).unwrap();
        assert!(status == 400 && answer.contains(want), "{path}: {status} {answer}");
    }
    let many = "a 1\n".repeat(5001);
    let (status, _, answer) = server.send(server.post("/metrics/job/x").body(many)).await;
    assert!(status == 400 && String::from_utf8(answer).unwrap().contains("limit of 5000"));
}
