//! vm-obs watching itself: its log events and spans go into its own engines.
//!
//! Invariants: emitting never blocks and never fails the caller (a full queue drops and counts);
//! the thread that stores them emits nothing, so there is no loop.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::time::{Duration, Instant};

use obs_disk::Clock;
use obs_types::{
    AttrValue, Attributes, InstrumentationScope, LabelSet, LogRecord, LogSink, Resource, Span,
    SpanEvent, SpanId, SpanKind, SpanRecord, SpanStatus, StatusCode, TraceId, TraceSink,
};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes as NewSpan, Id, Record};
use tracing::{Event, Subscriber};
use tracing_subscriber::layer::{Context, Layer};
use tracing_subscriber::registry::LookupSpan;

const QUEUE_MAX: usize = 16_384;
const BATCH_MAX: usize = 2_048;
const FLUSH_EVERY: Duration = Duration::from_millis(500);
/// The queue is looked at so often rather than waited for: waking a thread for each request costs
/// more than the rest of its span.
const LOOK_EVERY: Duration = Duration::from_millis(100);

enum Item {
    Log(LogRecord),
    Span(Box<SpanRecord>),
}

thread_local! {
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

/// The subscriber layer; events and spans of vm-obs' own crates pass, those of libraries only from
/// `warn` on.
#[derive(Debug)]
pub struct SelfTelemetry {
    queue: SyncSender<Item>,
    dropped: Arc<AtomicU64>,
    clock: Arc<dyn Clock>,
    stream: LabelSet,
    resource: Arc<Resource>,
    scope: Arc<InstrumentationScope>,
    /// Makes ids differ between processes and spans; not secret.
    seed: u64,
    counter: AtomicU64,
}

impl std::fmt::Debug for Item {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Log(_) => "Log",
            Self::Span(_) => "Span",
        })
    }
}

/// The other end of the queue; its thread stores what the layer emits.
#[derive(Debug)]
pub struct SelfTelemetryDrain {
    queue: Receiver<Item>,
    dropped: Arc<AtomicU64>,
}

/// One span while it is open.
struct OpenSpan {
    trace_id: TraceId,
    span_id: SpanId,
    parent: SpanId,
    start_ns: obs_types::TimestampNs,
    started: Instant,
    fields: Fields,
    events: Vec<SpanEvent>,
    failed: bool,
}

#[derive(Default)]
struct Fields {
    message: String,
    values: BTreeMap<&'static str, AttrValue>,
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        if field.name() == "message" {
            self.message.clear();
            // Writing to a String cannot fail.
            let _written = write!(self.message, "{value:?}");
        } else {
            self.values.insert(field.name(), AttrValue::Str(format!("{value:?}")));
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            value.clone_into(&mut self.message);
        } else {
            self.values.insert(field.name(), AttrValue::Str(value.to_owned()));
        }
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.values.insert(field.name(), AttrValue::Int(value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        let value =
            i64::try_from(value).map_or_else(|_| AttrValue::Str(value.to_string()), AttrValue::Int);
        self.values.insert(field.name(), value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.values.insert(field.name(), AttrValue::Double(value));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.values.insert(field.name(), AttrValue::Bool(value));
    }
}

fn text(value: &AttrValue) -> String {
    match value {
        AttrValue::Str(s) => s.clone(),
        AttrValue::Int(i) => i.to_string(),
        AttrValue::Double(d) => d.to_string(),
        AttrValue::Bool(b) => b.to_string(),
        other => format!("{other:?}"),
    }
}

impl SelfTelemetry {
    /// `node` names this machine in labels and resources.
    pub fn new(clock: Arc<dyn Clock>, node: &str, version: &str) -> (Self, SelfTelemetryDrain) {
        let (sender, receiver) = sync_channel(QUEUE_MAX);
        let dropped = Arc::new(AtomicU64::new(0));
        let own = |name: &str, value: &str| (name.to_owned(), AttrValue::Str(value.to_owned()));
        let layer = Self {
            queue: sender,
            dropped: Arc::clone(&dropped),
            stream: LabelSet::from_pairs([
                ("service_name", "vm-obs"),
                ("job", "vm-obs"),
                ("node", node),
            ]),
            resource: Arc::new(Resource {
                attributes: Attributes(vec![
                    own("service.name", "vm-obs"),
                    own("service.version", version),
                    own("node", node),
                ]),
            }),
            scope: Arc::new(InstrumentationScope {
                name: "vm-obs".to_owned(),
                version: version.to_owned(),
                attributes: Attributes::default(),
            }),
            seed: clock.now_ns().0 as u64 ^ (u64::from(std::process::id()) << 40),
            clock,
            counter: AtomicU64::new(1),
        };
        (layer, SelfTelemetryDrain { queue: receiver, dropped })
    }

    fn emit(&self, item: Item) {
        if self.queue.try_send(item).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn next_id(&self) -> u64 {
        let n = self.counter.fetch_add(1, Ordering::Relaxed);
        xxhash_rust::xxh3::xxh3_64_with_seed(&n.to_le_bytes(), self.seed).max(1)
    }
}

fn ours(target: &str) -> bool {
    target.starts_with("obs_") || target.starts_with("vm_obs")
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for SelfTelemetry {
    fn on_new_span(&self, attributes: &NewSpan<'_>, id: &Id, context: Context<'_, S>) {
        if QUIET.get() || !ours(attributes.metadata().target()) {
            return;
        }
        let Some(span) = context.span(id) else { return };
        let parent = span
            .parent()
            .and_then(|p| p.extensions().get::<OpenSpan>().map(|o| (o.trace_id, o.span_id)));
        let (trace_id, parent) = parent.unwrap_or_else(|| {
            let mut bytes = [0; 16];
            bytes[..8].copy_from_slice(&self.next_id().to_be_bytes());
            bytes[8..].copy_from_slice(&self.next_id().to_be_bytes());
            (TraceId(bytes), SpanId::default())
        });
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        span.extensions_mut().insert(OpenSpan {
            trace_id,
            span_id: SpanId(self.next_id().to_be_bytes()),
            parent,
            start_ns: self.clock.now_ns(),
            started: Instant::now(),
            fields,
            events: Vec::new(),
            failed: false,
        });
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        if let Some(span) = context.span(id)
            && let Some(open) = span.extensions_mut().get_mut::<OpenSpan>()
        {
            values.record(&mut open.fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let level = *event.metadata().level();
        if QUIET.get() || (!ours(event.metadata().target()) && level > tracing::Level::WARN) {
            return;
        }
        let mut fields = Fields::default();
        event.record(&mut fields);
        let level_text = level.as_str().to_ascii_lowercase();
        let mut metadata = obs_types::LabelSetBuilder::new();
        for (name, value) in &fields.values {
            metadata.set(name.replace('.', "_"), text(value));
        }
        metadata.set("detected_level", &level_text);
        metadata.set("level", level_text);
        metadata.set("target", event.metadata().target());
        if let (Some(file), Some(number)) = (event.metadata().file(), event.metadata().line()) {
            metadata.set("caller", format!("{file}:{number}"));
        }
        let now = self.clock.now_ns();
        let open = context.event_span(event).and_then(|span| {
            span.scope().find_map(|s| {
                s.extensions_mut().get_mut::<OpenSpan>().map(|open| {
                    open.failed |= level == tracing::Level::ERROR;
                    open.events.push(SpanEvent {
                        timestamp: now,
                        name: fields.message.clone(),
                        attributes: Attributes::default(),
                    });
                    (open.trace_id, open.span_id)
                })
            })
        });
        if let Some((trace_id, span_id)) = open {
            metadata.set("trace_id", trace_id.to_string());
            metadata.set("span_id", span_id.to_string());
        }
        self.emit(Item::Log(LogRecord {
            timestamp: now,
            stream: self.stream.clone(),
            line: fields.message,
            metadata: metadata.build(),
        }));
    }

    fn on_close(&self, id: Id, context: Context<'_, S>) {
        let Some(span) = context.span(&id) else { return };
        let Some(mut open) = span.extensions_mut().remove::<OpenSpan>() else { return };
        let kind = match open.fields.values.remove("otel.kind") {
            Some(AttrValue::Str(k)) if k == "server" => SpanKind::Server,
            Some(AttrValue::Str(k)) if k == "client" => SpanKind::Client,
            _ => SpanKind::Internal,
        };
        let name = match open.fields.values.remove("otel.name") {
            Some(AttrValue::Str(n)) => n,
            _ => span.name().to_owned(),
        };
        let error = open.fields.values.remove("error");
        let failed = open.failed || error.is_some();
        let took = i64::try_from(open.started.elapsed().as_nanos()).unwrap_or(i64::MAX);
        self.emit(Item::Span(Box::new(SpanRecord {
            resource: Arc::clone(&self.resource),
            scope: Arc::clone(&self.scope),
            span: Span {
                trace_id: open.trace_id,
                span_id: open.span_id,
                parent_span_id: open.parent,
                name,
                kind,
                start: open.start_ns,
                end: obs_types::TimestampNs(open.start_ns.0.saturating_add(took)),
                status: SpanStatus {
                    code: if failed { StatusCode::Error } else { StatusCode::Unset },
                    message: error.as_ref().map(text).unwrap_or_default(),
                },
                attributes: Attributes(
                    open.fields.values.into_iter().map(|(n, v)| (n.to_owned(), v)).collect(),
                ),
                events: open.events,
                ..Span::default()
            },
        })));
    }
}

impl SelfTelemetryDrain {
    /// Events and spans that found the queue full.
    pub fn dropped(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.dropped)
    }

    /// Stores batches until the layer is gone or `stop` says so; then stores what is left. Blocks;
    /// give it a thread of its own.
    pub fn run(self, logs: &dyn LogSink, traces: &dyn TraceSink, stop: &dyn Fn() -> bool) {
        QUIET.set(true);
        loop {
            let (mut lines, mut spans) = (Vec::new(), Vec::new());
            let until = Instant::now() + FLUSH_EVERY;
            let mut ended = false;
            while lines.len() + spans.len() < BATCH_MAX {
                match self.queue.try_recv() {
                    Ok(Item::Log(l)) => lines.push(l),
                    Ok(Item::Span(s)) => spans.push(*s),
                    Err(TryRecvError::Empty) => {
                        let left = until.saturating_duration_since(Instant::now());
                        if left.is_zero() {
                            break;
                        }
                        std::thread::sleep(left.min(LOOK_EVERY));
                    }
                    Err(TryRecvError::Disconnected) => {
                        ended = true;
                        break;
                    }
                }
            }
            let (line_count, span_count) = (lines.len() as u64, spans.len() as u64);
            // A full disk or back-pressure loses own telemetry only; it is counted.
            if line_count > 0 && logs.append(lines).is_err() {
                self.dropped.fetch_add(line_count, Ordering::Relaxed);
            }
            if span_count > 0 && traces.append(spans).is_err() {
                self.dropped.fetch_add(span_count, Ordering::Relaxed);
            }
            if ended || (line_count + span_count == 0 && stop()) {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use obs_disk::ManualClock;
    use obs_types::{IngestError, IngestOutcome, TimestampMs};
    use std::sync::Mutex;
    use tracing_subscriber::layer::SubscriberExt;

    #[derive(Default)]
    struct Kept {
        logs: Mutex<Vec<LogRecord>>,
        spans: Mutex<Vec<SpanRecord>>,
    }

    impl LogSink for Kept {
        fn append(&self, records: Vec<LogRecord>) -> Result<IngestOutcome, IngestError> {
            tracing::error!("a sink that talks must not feed itself");
            self.logs.lock().unwrap().extend(records);
            Ok(IngestOutcome::default())
        }
    }

    impl TraceSink for Kept {
        fn append(&self, spans: Vec<SpanRecord>) -> Result<IngestOutcome, IngestError> {
            self.spans.lock().unwrap().extend(spans);
            Ok(IngestOutcome::default())
        }
    }

    #[test]
    fn events_and_spans_arrive_linked() {
        let clock = Arc::new(ManualClock::new(TimestampMs(1_000)));
        let (layer, drain) = SelfTelemetry::new(clock, "brick-01", "0.1.0");
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            let outer = tracing::info_span!("seal", hour = 14);
            let _in = outer.enter();
            tracing::info_span!("write").in_scope(|| tracing::warn!(bytes = 5, "slow disk"));
        });
        let kept = Kept::default();
        drain.run(&kept, &kept, &|| true);
        let logs = kept.logs.lock().unwrap();
        let spans = kept.spans.lock().unwrap();
        assert_eq!(logs.len(), 1);
        assert_eq!(logs[0].line, "slow disk");
        assert_eq!(logs[0].metadata.get("bytes"), Some("5"));
        assert_eq!(logs[0].metadata.get("level"), Some("warn"));
        assert_eq!(spans.len(), 2);
        let (write, seal) = (&spans[0].span, &spans[1].span);
        assert_eq!((write.parent_span_id, write.trace_id), (seal.span_id, seal.trace_id));
        assert_eq!(logs[0].metadata.get("span_id"), Some(write.span_id.to_string().as_str()));
        assert_eq!(seal.attributes.get("hour"), Some(&AttrValue::Int(14)));
    }
}
