//! Spans and lines on their way out, and the writer that scenarios use.

use obs_types::{SpanId, SpanKind, TimestampNs, TraceId};
use serde_json::Value;

use crate::demo::random::Random;

/// Which protocol a service's logs take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::demo) enum Channel {
    Otlp,
    /// Loki push, lines as JSON objects.
    LokiJson,
    /// Loki push, lines as logfmt.
    LokiLogfmt,
}

/// Who wrote it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::demo) struct Origin {
    pub(in crate::demo) service: &'static str,
    pub(in crate::demo) node: &'static str,
    pub(in crate::demo) instance: &'static str,
    /// Where in its source the lines come from.
    pub(in crate::demo) caller: &'static str,
    pub(in crate::demo) channel: Channel,
}

pub(super) mod origin {
    use super::{Channel, Origin};

    const fn of(
        service: &'static str,
        node: &'static str,
        instance: &'static str,
        caller: &'static str,
        channel: Channel,
    ) -> Origin {
        Origin { service, node, instance, caller, channel }
    }

    use Channel::{LokiJson, LokiLogfmt, Otlp};
    pub(in crate::demo) const PORTAL: Origin =
        of("portal", "portal-01", "portal:9118", "portal/http.ts:88", LokiJson);
    pub(in crate::demo) const TREASURY: Origin =
        of("treasury-engine", "brick-01", "treasury:9113", "treasury/settle.rs:141", Otlp);
    pub(in crate::demo) const LEDGER: Origin =
        of("ledger", "brick-01", "ledger:9119", "ledger/append.rs:77", Otlp);
    pub(in crate::demo) const GUARDIAN: Origin =
        of("guardian", "brick-01", "guardian:9112", "guardian/anchor.go:234", Otlp);
    pub(in crate::demo) const SCHEDULER: Origin =
        of("scheduler", "brick-01", "scheduler:9110", "scheduler/cycle.ts:52", Otlp);
    pub(in crate::demo) const ORACLE: Origin =
        of("oracle", "brick-03", "oracle:9114", "oracle/query.py:119", Otlp);
    pub(in crate::demo) const IDENTITY: Origin =
        of("identity", "brick-03", "identity:9115", "identity/login.rs:64", LokiJson);
    pub(in crate::demo) const OFFSEC: Origin =
        of("offsec", "brick-03", "offsec:9116", "offsec/watch.rs:31", LokiJson);
    pub(in crate::demo) const AURORA: Origin = of(
        "aurora-metrics-exporter",
        "brick-03",
        "aurora-metrics-exporter:9109",
        "aurora/treaty.py:203",
        LokiLogfmt,
    );
    pub(in crate::demo) const HARBINGER: Origin =
        of("harbinger", "brick-02", "harbinger:9111", "harbinger/validate.ts:40", LokiLogfmt);
    pub(in crate::demo) const MESH: Origin =
        of("mesh", "brick-03", "mesh:9117", "mesh/topology.rs:210", LokiLogfmt);
    pub(in crate::demo) const PODS: [Origin; 2] = [
        of("psi-field", "brick-01", "psi-field-0:8000", "psi_field/step.py:96", Otlp),
        of("psi-field", "brick-02", "psi-field-1:8000", "psi_field/step.py:96", Otlp),
    ];
    pub(in crate::demo) const HOST: Origin =
        of("systemd", "brick-03", "brick-03:9100", "systemd/journal.c:12", LokiLogfmt);
    pub(in crate::demo) const PEER: Origin =
        of("vm-obs-peer", "portal-01", "vm-obs-2:9470", "vm_obs/serve.rs:1", Otlp);
    pub(in crate::demo) const ORCHESTRATOR: Origin =
        of("genesis-orchestrator", "genesis-01", "genesis:8000", "genesis/orchestrate.py:71", Otlp);
    pub(in crate::demo) const HALO: Origin =
        of("genesis-halo", "genesis-01", "genesis:8000", "genesis/halo_router.py:140", Otlp);
    pub(in crate::demo) const GENESIS_TESTS: Origin =
        of("genesis-tests", "genesis-01", "genesis:8000", "genesis/exporter.py:33", LokiJson);
    pub(in crate::demo) const PWA: Origin =
        of("auren-pwa", "auren-01", "auren-pwa:443", "auren/api.ts:24", LokiJson);
    pub(in crate::demo) const NEUROS: Origin =
        of("neuros", "auren-01", "neuros:8000", "neuros/kpi.py:58", Otlp);
    pub(in crate::demo) const AUREN_DB: Origin =
        of("auren-postgres", "auren-01", "postgres:5432", "postgres/execute.c:9", LokiLogfmt);
    /// As the nodes of the metrics.
    pub(in crate::demo) const MESH_NODES: [Origin; 5] = [
        of("agent-mesh-bootstrap", "mesh-01", "bootstrap-0:9090", "mesh/swarm.rs:102", Otlp),
        of("agent-mesh-trainer", "mesh-02", "trainer-0:9091", "mesh/train.rs:77", Otlp),
        of("agent-mesh-trainer", "mesh-03", "trainer-1:9091", "mesh/train.rs:77", Otlp),
        of("agent-mesh-trainer", "mesh-04", "trainer-2:9091", "mesh/train.rs:77", Otlp),
        of("agent-mesh-aggregator", "mesh-05", "aggregator-0:9092", "mesh/aggregate.rs:51", Otlp),
    ];
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::demo) enum Level {
    Debug,
    Info,
    Warn,
    Error,
}

impl Level {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
        }
    }

    /// OpenTelemetry's severity number.
    pub(super) fn number(self) -> u8 {
        match self {
            Self::Debug => 5,
            Self::Info => 9,
            Self::Warn => 13,
            Self::Error => 17,
        }
    }
}

pub(in crate::demo) type Fields = Vec<(&'static str, Value)>;

#[derive(Clone, Debug, PartialEq)]
pub(in crate::demo) struct SentSpan {
    pub(in crate::demo) origin: Origin,
    pub(in crate::demo) trace_id: TraceId,
    pub(in crate::demo) span_id: SpanId,
    /// Zero for a root.
    pub(in crate::demo) parent: SpanId,
    pub(in crate::demo) name: &'static str,
    pub(in crate::demo) kind: SpanKind,
    pub(in crate::demo) start: TimestampNs,
    pub(in crate::demo) end: TimestampNs,
    pub(in crate::demo) error: Option<String>,
    pub(in crate::demo) attributes: Fields,
}

#[derive(Clone, Debug, PartialEq)]
pub(in crate::demo) struct SentLog {
    pub(in crate::demo) origin: Origin,
    pub(in crate::demo) at: TimestampNs,
    pub(in crate::demo) level: Level,
    pub(in crate::demo) message: String,
    pub(in crate::demo) fields: Fields,
    pub(in crate::demo) span: Option<(TraceId, SpanId)>,
}

/// What one tick sends.
#[derive(Clone, Debug, Default, PartialEq)]
pub(in crate::demo) struct Batch {
    pub(in crate::demo) spans: Vec<SentSpan>,
    pub(in crate::demo) logs: Vec<SentLog>,
}

/// A span before it is placed in time.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) origin: Origin,
    pub(super) name: &'static str,
    pub(super) kind: SpanKind,
    /// Seconds after the start of the trace.
    pub(super) after: f64,
    /// Seconds.
    pub(super) takes: f64,
    pub(super) error: Option<String>,
    pub(super) attributes: Fields,
}

impl Call {
    pub(super) fn new(origin: Origin, name: &'static str, after: f64, takes: f64) -> Self {
        Self {
            origin,
            name,
            kind: SpanKind::Server,
            after,
            takes,
            error: None,
            attributes: Vec::new(),
        }
    }

    pub(super) fn kind(mut self, kind: SpanKind) -> Self {
        self.kind = kind;
        self
    }

    pub(super) fn error(mut self, error: Option<&str>) -> Self {
        self.error = error.map(str::to_owned);
        self
    }

    pub(super) fn with(mut self, name: &'static str, value: impl Into<Value>) -> Self {
        self.attributes.push((name, value.into()));
        self
    }
}

/// A trace being told: its first call is the root, which ends now.
#[derive(Clone, Copy, Debug)]
pub(super) struct Thread {
    trace_id: TraceId,
    start: i64,
}

/// A place in a trace that lines and further calls can refer to.
#[derive(Clone, Copy, Debug)]
pub(super) struct At {
    thread: Thread,
    span_id: SpanId,
    end: i64,
}

#[derive(Debug)]
pub(super) struct Writer<'a> {
    pub(super) random: &'a mut Random,
    pub(super) now: TimestampNs,
    batch: Batch,
}

impl<'a> Writer<'a> {
    pub(super) fn new(random: &'a mut Random, now: TimestampNs) -> Self {
        Self { random, now, batch: Batch::default() }
    }

    pub(super) fn finish(self) -> Batch {
        self.batch
    }

    /// A number that no other event of this day has, rising with time.
    pub(super) fn number_of_day(&self) -> i64 {
        self.now.0.div_euclid(100_000_000).rem_euclid(864_000)
    }

    /// `2025-12-06`
    pub(super) fn date(&self) -> String {
        jiff::Timestamp::from_nanosecond(i128::from(self.now.0))
            .map(|t| t.strftime("%Y-%m-%d").to_string())
            .unwrap_or_default()
    }

    /// A new trace, whose root is `call`.
    pub(super) fn root(&mut self, call: Call) -> At {
        let mut id = [0; 16];
        let (high, low) = (self.random.next(), self.random.next());
        id[..8].copy_from_slice(&high.to_be_bytes());
        id[8..].copy_from_slice(&low.to_be_bytes());
        let start = self.now.0.saturating_sub(nanos(call.takes));
        self.place(Thread { trace_id: TraceId(id), start }, SpanId::default(), call)
    }

    pub(super) fn child(&mut self, of: At, call: Call) -> At {
        self.place(of.thread, of.span_id, call)
    }

    fn place(&mut self, thread: Thread, parent: SpanId, call: Call) -> At {
        let span_id = SpanId(self.random.next().to_be_bytes());
        let start = thread.start.saturating_add(nanos(call.after));
        let end = start.saturating_add(nanos(call.takes));
        self.batch.spans.push(SentSpan {
            origin: call.origin,
            trace_id: thread.trace_id,
            span_id,
            parent,
            name: call.name,
            kind: call.kind,
            start: TimestampNs(start),
            end: TimestampNs(end),
            error: call.error,
            attributes: call.attributes,
        });
        At { thread, span_id, end }
    }

    /// A line that stands alone.
    pub(super) fn log(
        &mut self,
        from: Origin,
        level: Level,
        message: &str,
        fields: &[(&'static str, Value)],
    ) {
        // Lines of one tick keep an order of their own.
        let at = TimestampNs(self.now.0.saturating_add(self.batch.logs.len() as i64));
        self.push(from, level, at, message, fields, None);
    }

    /// A line written at the end of a span.
    pub(super) fn log_in(
        &mut self,
        place: At,
        from: Origin,
        level: Level,
        message: &str,
        fields: &[(&'static str, Value)],
    ) {
        let span = Some((place.thread.trace_id, place.span_id));
        self.push(from, level, TimestampNs(place.end), message, fields, span);
    }

    fn push(
        &mut self,
        origin: Origin,
        level: Level,
        at: TimestampNs,
        message: &str,
        fields: &[(&'static str, Value)],
        span: Option<(TraceId, SpanId)>,
    ) {
        let message = message.to_owned();
        let fields = fields.to_vec();
        self.batch.logs.push(SentLog { origin, at, level, message, fields, span });
    }
}

fn nanos(seconds: f64) -> i64 {
    (seconds * 1e9) as i64
}
