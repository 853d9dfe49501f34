use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use obs_api::{ApiOptions, ApiState, ServerInfo};
use obs_archive::Archive;
use obs_collect::registry::Registry;
use obs_collect::scrape::{DroppedTarget, PrometheusConfig};
use obs_disk::{Clock, Disk, FakeDisk, ManualClock, WalConfig};
use obs_ledger::anchor::{FileAnchor, Scheduled, Scheduler};
use obs_ledger::{Ledger, LedgerConfig, LedgerMode, Witness, WitnessConfig};
use obs_logs::LogsEngine;
use obs_metrics::MetricsEngine;
use obs_ops::{AlertService, DashboardService, DayIds, ExerciseService, ReportService, SloService};
use obs_proof::note::VerifierKey;
use obs_query::{QueryFront, QueryLimits};
use obs_rules::{AlertRecord, GroupOptions, ReadOptions, RuleFile, StepContext};
use obs_traces::TracesEngine;
use obs_types::{
    AttrValue, Attributes, DurationMs, Exemplar, InstrumentationScope, LabelSet, LogRecord,
    LogSink, MetricBatch, MetricKind, MetricMetadata, MetricSink, NodeName, QueryContext, Resource,
    SeriesSamples, Span, SpanId, SpanKind, SpanRecord, SpanStatus, StatusCode, TimestampMs,
    TimestampNs, TraceId, TraceSink, stale_nan,
};
use serde_json::{Value, json};
use tokio::sync::Semaphore;

/// 2025-12-06T14:30:00Z
pub(crate) const NOW: TimestampMs = TimestampMs(1_765_031_400_000);
pub(crate) const NOW_S: i64 = NOW.0 / 1000;

pub(crate) const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

const RULES: &str = r#"
groups:
  - name: host
    interval: 1m
    rules:
      - record: job:up:sum
        expr: sum by (job) (up)
      - alert: HighCPUUsage
        expr: cpu_percent > 80
        labels: {severity: warning}
        annotations: {summary: CPU usage above 80%}
      - alert: NeverPending
        expr: up == 0
        for: 1h
        labels: {severity: critical}
  - name: later
    rules:
      - record: job:up:count
        expr: count by (job) (up)
"#;

pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) state: Arc<ApiState>,
    pub(crate) disk: Arc<FakeDisk>,
    pub(crate) clock: Arc<ManualClock>,
    _runtime: tokio::runtime::Runtime,
}

/// What an operator may choose.
pub(crate) fn options() -> ApiOptions {
    ApiOptions {
        admin: true,
        external_labels: LabelSet::from_pairs([("region", "eu"), ("job", "unused")]),
        ..ApiOptions::default()
    }
}

/// For tests that only read.
pub(crate) static SHARED: LazyLock<Server> = LazyLock::new(Server::start);

pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.text()))
    }

    /// A header's value, by its lower-case name.
    pub(crate) fn header(&self, name: &str) -> Option<String> {
        self.head.lines().find_map(|line| {
            let (n, v) = line.split_once(':')?;
            (n.trim().to_ascii_lowercase() == name).then(|| v.trim().to_owned())
        })
    }
}

/// An open stream of server-sent events.
pub(crate) struct Events(BufReader<TcpStream>);

impl Events {
    /// The data of the next event.
    pub(crate) fn event(&mut self) -> Value {
        let mut line = String::new();
        loop {
            line.clear();
            assert_ne!(self.0.read_line(&mut line).unwrap(), 0, "the stream has ended");
            if let Some(data) = line.strip_prefix("data: ") {
                return serde_json::from_str(data).unwrap();
            }
        }
    }
}

impl Server {
    pub(crate) fn start() -> Self {
        Self::with(ApiOptions::default())
    }

    pub(crate) fn with(options: ApiOptions) -> Self {
        Self::limited(options, QueryLimits::STANDARD)
    }

    pub(crate) fn limited(options: ApiOptions, limits: QueryLimits) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let (state, disk, clock) = state(options, limits);
        let router = obs_api::router(Arc::clone(&state), axum::Router::new());
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        runtime.spawn(async move { axum::serve(listener, router).await });
        Self { address, state, disk, clock, _runtime: runtime }
    }

    /// An answer of known length.
    pub(crate) fn request(
        &self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Answer {
        let answer = self.exchange(method, target, headers, body);
        let head = answer.head.to_ascii_lowercase();
        assert!(!head.contains("transfer-encoding"), "{head}");
        answer
    }

    /// An answer that comes in chunks, put together.
    pub(crate) fn streamed(
        &self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Answer {
        let mut answer = self.exchange(method, target, headers, body);
        assert_eq!(answer.header("transfer-encoding").as_deref(), Some("chunked"));
        let mut rest = answer.body.as_slice();
        let mut whole = Vec::new();
        loop {
            let end = rest.windows(2).position(|w| w == b"\r\n").unwrap();
            let size = std::str::from_utf8(&rest[..end]).unwrap();
            let size = usize::from_str_radix(size, 16).unwrap();
            if size == 0 {
                break;
            }
            whole.extend_from_slice(&rest[end + 2..end + 2 + size]);
            rest = &rest[end + 2 + size + 2..];
        }
        answer.body = whole;
        answer
    }

    fn exchange(
        &self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Answer {
        let mut socket = TcpStream::connect(self.address).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let mut head = format!(
            "{method} {target} HTTP/1.1\r\nHost: test\r\nConnection: close\r\nContent-Length: {}\r\n",
            body.len()
        );
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        socket.write_all(head.as_bytes()).unwrap();
        socket.write_all(body).unwrap();
        let mut raw = Vec::new();
        socket.read_to_end(&mut raw).unwrap();
        let split = raw.windows(4).position(|w| w == b"\r\n\r\n").unwrap();
        let head = String::from_utf8_lossy(&raw[..split]).into_owned();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let body = raw[split + 4..].to_vec();
        Answer { status, head, body }
    }

    /// Opens a web socket and gives the text of its first message.
    pub(crate) fn first_message(&self, target: &str) -> String {
        let mut socket = TcpStream::connect(self.address).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let head = format!(
            "GET {target} HTTP/1.1\r\nHost: test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        socket.write_all(head.as_bytes()).unwrap();
        let mut answer = Vec::new();
        let mut byte = [0];
        while !answer.ends_with(b"\r\n\r\n") {
            socket.read_exact(&mut byte).unwrap();
            answer.push(byte[0]);
        }
        assert!(answer.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&answer));
        // RFC 6455 §5.2: final text frame, unmasked; 126 announces two bytes of length.
        let mut start = [0; 2];
        socket.read_exact(&mut start).unwrap();
        assert_eq!(start[0], 0x81);
        let length = match start[1] {
            126 => {
                let mut long = [0; 2];
                socket.read_exact(&mut long).unwrap();
                usize::from(u16::from_be_bytes(long))
            }
            short => usize::from(short),
        };
        let mut text = vec![0; length];
        socket.read_exact(&mut text).unwrap();
        String::from_utf8(text).unwrap()
    }

    /// Listens to server-sent events.
    pub(crate) fn listen(&self, target: &str) -> Events {
        let mut socket = TcpStream::connect(self.address).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        write!(socket, "GET {target} HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
        Events(BufReader::new(socket))
    }

    pub(crate) fn get(&self, target: &str) -> Answer {
        self.request("GET", target, &[], b"")
    }

    pub(crate) fn form(&self, target: &str, form: &str) -> Answer {
        let kind = ("Content-Type", "application/x-www-form-urlencoded");
        self.request("POST", target, &[kind], form.as_bytes())
    }

    pub(crate) fn post(&self, target: &str, body: &Value) -> Answer {
        let kind = ("Content-Type", "application/json");
        self.request("POST", target, &[kind], body.to_string().as_bytes())
    }

    /// The JSON of an answer with status 200.
    #[track_caller]
    pub(crate) fn ok(&self, target: &str) -> Value {
        let answer = self.get(target);
        assert_eq!(answer.status, 200, "{target}: {}", answer.text());
        answer.json()
    }

    /// Evaluates the rules at the clock's time.
    pub(crate) fn step(&self) {
        let query = QueryContext::unlimited();
        let clock = &self.clock;
        let context = StepContext { query: &query, monotonic: &|| clock.monotonic() };
        let route = |_: &AlertRecord| vec!["slack:ops-channel".to_owned()];
        self.state
            .alerts
            .step(self.clock.now(), self.state.front.metrics.as_ref(), &context, &route)
            .unwrap();
    }

    pub(crate) fn cpu(&self, value: f64) {
        let labels = [("__name__", "cpu_percent"), ("node", "brick-02"), ("region", "eu-west")];
        let batch = one(&labels, vec![(self.clock.now(), value)]);
        self.state.metrics.append(batch).unwrap();
    }
}

pub(crate) fn one(labels: &[(&str, &str)], samples: Vec<(TimestampMs, f64)>) -> MetricBatch {
    let series = SeriesSamples {
        labels: LabelSet::from_pairs(labels.iter().copied()),
        samples,
        ..SeriesSamples::default()
    };
    MetricBatch { series: vec![series], ..MetricBatch::default() }
}

fn state(
    options: ApiOptions,
    limits: QueryLimits,
) -> (Arc<ApiState>, Arc<FakeDisk>, Arc<ManualClock>) {
    let fake = Arc::new(FakeDisk::new());
    let disk: Arc<dyn Disk> = fake.clone();
    let manual = Arc::new(ManualClock::new(NOW));
    let clock: Arc<dyn Clock> = manual.clone();
    let data = PathBuf::from("/data");
    let metrics = MetricsEngine::open(obs_metrics::MetricsConfig {
        dir: data.join("metrics"),
        wal_dir: data.join("wal/metrics"),
        disk: Arc::clone(&disk),
        clock: Arc::clone(&clock),
        mode: obs_metrics::OpenMode::ReadWrite,
        limits: obs_metrics::Limits::standard(),
    })
    .unwrap();
    let logs = LogsEngine::open(obs_logs::LogsConfig {
        dir: data.join("logs"),
        wal_dir: data.join("wal/logs"),
        disk: Arc::clone(&disk),
        clock: Arc::clone(&clock),
        mode: obs_logs::OpenMode::ReadWrite,
        limits: obs_logs::Limits::standard(),
    })
    .unwrap();
    let traces = TracesEngine::open(obs_traces::TracesConfig {
        dir: data.join("traces"),
        wal_dir: data.join("wal/traces"),
        disk: Arc::clone(&disk),
        clock: Arc::clone(&clock),
        mode: obs_traces::OpenMode::ReadWrite,
        wal: WalConfig::standard(),
        limits: obs_traces::TraceLimits::standard(),
    })
    .unwrap();
    fill_metrics(&metrics);
    fill_logs(&logs);
    fill_traces(&traces);
    let ledger = Arc::new(
        Ledger::open(LedgerConfig::in_data_dir(
            &data,
            Arc::clone(&disk),
            Arc::clone(&clock),
            "vm-obs.test/brick-01/observability",
            LedgerMode::ReadWrite,
        ))
        .unwrap(),
    );
    let operations = Arc::new(DayIds::from_ledger(&ledger, "obs-op-", "operation_id").unwrap());
    let rules = RuleFile::parse("host.yml", RULES, ReadOptions::default()).unwrap();
    let alerts = AlertService::open(
        data.clone(),
        Arc::clone(&disk),
        Arc::clone(&ledger),
        Arc::clone(&operations),
        &NodeName::new("brick-01"),
        GroupOptions {
            interval: DurationMs(15_000),
            query_offset: DurationMs(0),
            external_labels: LabelSet::empty(),
            external_url: "http://test".to_owned(),
        },
        &[rules],
        Vec::new(),
        NOW,
    )
    .unwrap();
    let slos = SloService::open(
        data.clone(),
        Arc::clone(&disk),
        Arc::clone(&ledger),
        Arc::clone(&operations),
        Vec::new(),
        NOW,
    )
    .unwrap();
    let reports = ReportService::open(
        data.clone(),
        Arc::clone(&disk),
        Arc::clone(&ledger),
        Arc::clone(&operations),
    )
    .unwrap();
    let dashboards = DashboardService::open(
        &data,
        Arc::clone(&disk),
        Arc::clone(&ledger),
        Arc::clone(&operations),
        Arc::new(|language, expr| obs_query::check_expression(language.as_str(), expr)),
        Vec::new(),
    )
    .unwrap();
    // Of this very log, so that one server shows both sides.
    let witness = Witness::open(WitnessConfig {
        dir: data.join("state/witness"),
        disk: Arc::clone(&disk),
        clock: Arc::clone(&clock),
        name: "vm-obs.test/brick-01/witness".to_owned(),
        logs: vec![VerifierKey::parse(&ledger.head().log_vkey).unwrap()],
    })
    .unwrap();
    let anchors = Scheduler::open(
        Arc::clone(&ledger),
        Arc::clone(&disk),
        Arc::clone(&clock),
        data.clone(),
        vec![Scheduled {
            name: "vault".to_owned(),
            interval: DurationMs::HOUR,
            anchor: Box::new(FileAnchor::new("/vault".into(), Arc::clone(&disk))),
        }],
    )
    .unwrap();
    let exercises = ExerciseService::new(Arc::clone(&ledger), operations);
    let state = ApiState {
        front: QueryFront::new(
            metrics.clone(),
            logs.clone(),
            traces.clone(),
            Arc::clone(&clock),
            limits,
        )
        .with_boundary(Arc::new(std::sync::atomic::AtomicI64::new(i64::MIN))),
        clock,
        archive: Arc::new(Archive::open(&data, Arc::clone(&disk), [7; 32]).unwrap()),
        disk,
        metrics,
        logs,
        traces,
        witness: Some(Arc::new(witness)),
        anchors: Some(Arc::new(anchors)),
        ledger,
        alerts: Arc::new(alerts),
        slos: Arc::new(slos),
        dashboards: Arc::new(dashboards),
        reports: Arc::new(reports),
        packs: vec![json!({"name": "host"})],
        runbooks: Vec::new(),
        doctor: None,
        exercises: Arc::new(exercises),
        registry: Arc::new(Registry::new()),
        targets: Box::new(Vec::new),
        dropped_targets: Box::new(|| {
            let discovered = LabelSet::from_pairs([("__address__", "brick-09:9100")]);
            let dropped = DroppedTarget { job: "node".to_owned(), discovered };
            (vec![dropped], BTreeMap::from([("node".to_owned(), 1)]))
        }),
        scrape_jobs: Box::new(|| {
            let text = "scrape_configs: [{job_name: node, basic_auth: {username: u, password: hidden}, \
                relabel_configs: [{source_labels: [__address__], target_label: instance}, \
                {source_labels: [env], regex: test, action: drop}]}]";
            PrometheusConfig::parse(text, Path::new("prometheus.yml")).unwrap().jobs
        }),
        verify: Box::new(|| json!({"exit_code": 0, "verdict": "ok", "findings": []})),
        demo: None,
        info: ServerInfo {
            version: "0.1.0",
            started: TimestampMs(NOW.0 - 3_600_000),
            node: "brick-01".to_owned(),
            packs: vec!["host".to_owned()],
            config_yaml: "node: brick-01\n".to_owned(),
            flags: vec![("demo".to_owned(), "false".to_owned())],
            data_dir: data,
        },
        options,
        query_places: Arc::new(Semaphore::new(4)),
    };
    (Arc::new(state), fake, manual)
}

fn fill_metrics(engine: &MetricsEngine) {
    let minutes = |value: f64| -> Vec<(TimestampMs, f64)> {
        (0..=30).map(|m| (TimestampMs(NOW.0 - (30 - m) * 60_000), value)).collect()
    };
    let host = [
        ("node", "did:vm:node:brick-01"),
        ("environment", "production"),
        ("region", "eu-west"),
        ("service", "guardian"),
    ];
    for (name, value) in [("cpu_percent", 23.5), ("memory_percent", 67.2), ("goroutines", 156.0)] {
        let mut labels = vec![("__name__", name)];
        labels.extend(host);
        engine.append(one(&labels, minutes(value))).unwrap();
    }
    for (instance, value) in [("a:9100", 1.0), ("b:9100", 0.0)] {
        let labels = [("__name__", "up"), ("job", "node"), ("instance", instance)];
        engine.append(one(&labels, minutes(value))).unwrap();
    }
    let odd = [("nan_metric", f64::NAN), ("inf_metric", f64::INFINITY), ("tiny", 1e-7)];
    for (name, value) in odd {
        engine.append(one(&[("__name__", name)], vec![(NOW, value)])).unwrap();
    }
    let gone = vec![(TimestampMs(NOW.0 - 60_000), 5.0), (NOW, stale_nan())];
    engine.append(one(&[("__name__", "gone")], gone)).unwrap();
    let utf8 = [("__name__", "http.requests"), ("http.status", "200")];
    let mut batch = one(&utf8, minutes(7.0));
    batch.series[0].exemplars.push(Exemplar {
        labels: LabelSet::from_pairs([("trace_id", TRACE)]),
        value: 0.25,
        timestamp: TimestampMs(NOW.0 - 1_500),
        trace_id: TRACE.parse().ok(),
        span_id: None,
    });
    batch.metadata.push(MetricMetadata {
        family: "up".to_owned(),
        kind: MetricKind::Gauge,
        help: "Whether the target answers.".to_owned(),
        unit: String::new(),
    });
    engine.append(batch).unwrap();
}

fn fill_logs(engine: &LogsEngine) {
    let line = |seconds: i64, service: &str, level: &str, line: &str, extra: &[(&str, &str)]| {
        let mut metadata = vec![("detected_level", level)];
        metadata.extend(extra);
        LogRecord {
            timestamp: TimestampNs((NOW.0 - seconds * 1000) * 1_000_000 + 123),
            stream: LabelSet::from_pairs([("service_name", service), ("node", "brick-01")]),
            line: line.to_owned(),
            metadata: LabelSet::from_pairs(metadata),
        }
    };
    let trace = [("trace_id", TRACE), ("span_id", "00f067aa0ba902b7")];
    let records = vec![
        line(60, "guardian", "info", "Anchor cycle completed successfully", &trace),
        line(50, "guardian", "error", r#"{"msg":"anchor failed","attempt":3,"took":"1.5s"}"#, &[]),
        line(40, "treasury", "warn", "slow settlement amount=1000 ok=true", &[]),
    ];
    assert_eq!(engine.append(records).unwrap().accepted, 3);
}

fn fill_traces(engine: &TracesEngine) {
    let text = |s: &str| AttrValue::Str(s.to_owned());
    let span = |id: u8, parent: u8, service: &str, name: &str, start: i64, ms: i64, error: bool| {
        let attributes =
            vec![("service.name".to_owned(), text(service)), ("node".to_owned(), text("brick-01"))];
        let begin = NOW.0 - 120_000 + start;
        SpanRecord {
            resource: Arc::new(Resource { attributes: Attributes(attributes) }),
            scope: Arc::new(InstrumentationScope::default()),
            span: Span {
                trace_id: TRACE.parse::<TraceId>().unwrap(),
                span_id: SpanId([0, 0, 0, 0, 0, 0, 0, id]),
                parent_span_id: SpanId([0, 0, 0, 0, 0, 0, 0, parent]),
                name: name.to_owned(),
                kind: if parent == 0 { SpanKind::Server } else { SpanKind::Internal },
                start: TimestampMs(begin).to_ns(),
                end: TimestampMs(begin + ms).to_ns(),
                status: SpanStatus {
                    code: if error { StatusCode::Error } else { StatusCode::Ok },
                    message: String::new(),
                },
                attributes: Attributes(vec![
                    ("http.method".to_owned(), text("POST")),
                    ("http.status_code".to_owned(), AttrValue::Int(200)),
                ]),
                ..Span::default()
            },
        }
    };
    let spans = vec![
        span(1, 0, "portal", "http_request", 0, 2_340, false),
        span(2, 1, "treasury-engine", "validate_settlement", 100, 150, false),
        span(3, 1, "guardian", "anchor_request", 300, 2_000, true),
    ];
    assert_eq!(engine.append(spans).unwrap().accepted, 3);
}
