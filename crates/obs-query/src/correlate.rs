use std::borrow::Cow;
use std::collections::BTreeMap;

use obs_analysis::correlate::{Event, EventKind, detect_changes, timeline};
use obs_logql::Value as LogValue;
use obs_promql::Value as PromValue;
use obs_types::{
    Direction, DurationMs, NodeName, QueryContext, SourceError, TimeRangeNs, TimestampMs,
    TimestampNs, TraceSelect,
};
use serde_json::{Value, json};

use crate::{QueryFront, format_time, parse_time};

/// Entries of a time line.
const ENTRIES_MAX: usize = 200;
/// Log lines and traces that are looked at on each side.
const LOGS_MAX: usize = 2_000;
const TRACES_MAX: usize = 500;
/// Traces that were neither slow nor failed.
const ROUTINE_TRACES_MAX: usize = 12;
/// ENGINE 6.3: slow is over five seconds.
const SLOW_NS: i64 = 5_000_000_000;

/// Metrics whose changes tell something: ENGINE's fields, business metrics, queues and errors.
const TELLING: &str = r#"{__name__=~"cpu_percent|memory_percent|disk_percent|up|psi_field_.+|treaty_(fill_rate|rtt_ms|provenance_coverage)|guardian_anchor_queue_depth|scheduler_backoff_level|slo_error_budget_remaining_percent|.*_queue_depth|.*_receipts_per_minute"}"#;

/// Reads ledger lines, oldest first, until the callback says `false`.
pub type ReadLedger<'a> = &'a dyn Fn(&mut dyn FnMut(u64, &str) -> bool) -> Result<(), SourceError>;

/// Everything noteworthy within `window` on both sides of `at`, ranked and in order of time
/// (ENGINE 4): `{timestamp, window, entries[], text}`.
pub fn gather(
    front: &QueryFront,
    at: TimestampMs,
    window: DurationMs,
    ledger: ReadLedger<'_>,
    context: &QueryContext,
) -> Result<Value, SourceError> {
    let (from, to) = (at.saturating_sub(window), at.saturating_add(window));
    let mut events = Vec::new();
    let mut told = Told::default();
    let thresholds = from_ledger(from, to, ledger, &mut events, &mut told)?;
    metrics(front, from, to, &thresholds, context, &mut events);
    logs(front, from, to, context, &mut events);
    traces(front, from, to, context, &mut events)?;
    let causes = causes(&told);
    let line = timeline(at, window, events, ENTRIES_MAX);
    let entries: Vec<Value> = line
        .events
        .iter()
        .map(|(e, score)| {
            let kind = e.kind.as_str();
            let link = match (kind, &e.id) {
                ("trace", Some(id)) => Some(format!("/trace/{id}")),
                ("alert", Some(id)) => Some(format!("/alerts?id={id}")),
                ("anomaly", _) => Some("/anomalies".to_owned()),
                ("receipt", _) => Some("/ledger".to_owned()),
                _ => None,
            };
            let subject = |i: usize| e.subjects.get(i).filter(|s| !s.is_empty()).cloned();
            let (node, service) = match kind {
                "log" => (subject(1), subject(0)),
                "metric" => (subject(0), None),
                _ => (None, None),
            };
            json!({
                "time": format_time(e.at), "kind": kind, "text": e.text, "node": node,
                "service": service, "score": score, "link": link,
            })
        })
        .collect();
    Ok(json!({
        "timestamp": format_time(at),
        "window": format!("{}s", window.0 / 1000),
        "entries": entries,
        "causes": causes.iter().map(|c| json!({
            "alert": c.alert, "fired_at": format_time(c.fired_at), "exercise": c.run.exercise,
            "run_id": c.run.run_id, "name": c.run.name, "target": c.run.target,
            "started_at": format_time(c.run.started_at), "text": c.to_text(),
        })).collect::<Vec<_>>(),
        "omitted": line.omitted,
        "text": causes.iter().fold(line.to_text(), |text, c| format!("{text}\n{}", c.to_text())),
    }))
}

/// A load test or chaos experiment.
#[derive(Clone, Debug, Default)]
struct Run {
    exercise: String,
    run_id: String,
    name: String,
    target: String,
    started_at: TimestampMs,
    /// `None` while it runs.
    ended_at: Option<TimestampMs>,
}

/// How long after the end of a run an alert may still be its doing: rules wait with `for`.
const AFTERMATH: DurationMs = DurationMs(5 * 60_000);

/// What the ledger tells of alerts and of what was done on purpose.
#[derive(Debug, Default)]
struct Told {
    /// Alerts that fired within the window.
    fired: Vec<(TimestampMs, String)>,
    runs: Vec<Run>,
}

impl Told {
    /// From the receipts of its begin and its end, the later one of which knows all.
    fn run(&mut self, receipt: &Value, at: TimestampMs) {
        let text = |name: &str| receipt.get(name).and_then(Value::as_str).unwrap_or("").to_owned();
        let time = |name: &str| Some(parse_time(&text(name), at).ok()?.floor_to_ms());
        let run = Run {
            exercise: text("exercise"),
            run_id: text("run_id"),
            name: text("name"),
            target: text("target"),
            started_at: time("started_at").unwrap_or(at),
            ended_at: receipt
                .get("ended_at")
                .and_then(Value::as_str)
                .and_then(|_| time("ended_at")),
        };
        if !matches!(run.exercise.as_str(), "chaos" | "load") {
            return;
        }
        match self.runs.iter_mut().find(|r| r.run_id == run.run_id) {
            Some(known) => *known = run,
            None => self.runs.push(run),
        }
    }
}

/// An alert, and what was done on purpose when it fired.
struct Cause<'a> {
    alert: &'a str,
    fired_at: TimestampMs,
    run: &'a Run,
}

impl Cause<'_> {
    fn to_text(&self) -> String {
        let Run { exercise, name, target, run_id, .. } = self.run;
        let at = if target.is_empty() { String::new() } else { format!(" against {target}") };
        format!("{} fired because of {exercise} {name:?}{at} (run {run_id})", self.alert)
    }
}

/// By alert the run that began last before it fired: what is broken on purpose is the cause until
/// something else is known.
fn causes(told: &Told) -> Vec<Cause<'_>> {
    let mut out: Vec<Cause<'_>> = told
        .fired
        .iter()
        .filter_map(|(fired_at, alert)| {
            let alive = |r: &&Run| {
                let until = r.ended_at.map_or(TimestampMs::MAX, |e| e.saturating_add(AFTERMATH));
                (r.started_at..=until).contains(fired_at)
            };
            let run = told.runs.iter().filter(alive).max_by_key(|r| r.started_at)?;
            Some(Cause { alert, fired_at: *fired_at, run })
        })
        .collect();
    out.sort_by_key(|c| c.fired_at);
    out
}

fn metrics(
    front: &QueryFront,
    from: TimestampMs,
    to: TimestampMs,
    thresholds: &BTreeMap<String, Vec<f64>>,
    context: &QueryContext,
    events: &mut Vec<Event>,
) {
    let to = to.min(front.now());
    if to < from {
        return;
    }
    let step = ((to.0 - from.0) / 240).max(5_000);
    let result = match front.range(TELLING, from, to, step, context) {
        Ok(result) => result,
        Err(e) => {
            tracing::warn!(error = %e, "metrics left out of a time line");
            return;
        }
    };
    let PromValue::Matrix(series) = result.value else { return };
    for s in &series {
        let samples: Vec<(TimestampMs, f64)> =
            s.floats.iter().map(|(t, v)| (TimestampMs(*t), *v)).collect();
        let name = s.labels.metric_name();
        let known = thresholds.get(name).map_or(&[][..], Vec::as_slice);
        let subject = s.labels.get("node").or_else(|| s.labels.get("instance")).unwrap_or("");
        let subject = NodeName::new(subject);
        let unit = if name.ends_with("_percent") { "%" } else { "" };
        for change in detect_changes(&samples, known) {
            events.push(Event::metric(subject.short(), name, &change, unit));
        }
    }
}

fn logs(
    front: &QueryFront,
    from: TimestampMs,
    to: TimestampMs,
    context: &QueryContext,
    events: &mut Vec<Event>,
) {
    // Warnings and worse always; plain lines only of services other than vm-obs itself, whose own
    // routine would drown the rest.
    for query in [
        r#"{service_name=~".+"} | detected_level=~"warn|warning|error|fatal|critical""#,
        r#"{service_name=~".+", service_name!="vm-obs"} | detected_level=~"info|unknown""#,
    ] {
        let result = front.logql.range(
            front.logs.as_ref(),
            query,
            from.to_ns(),
            // Both ends of the window are included.
            TimestampNs(to.to_ns().0.saturating_add(1)),
            60_000_000_000,
            LOGS_MAX,
            Direction::Backward,
            context,
        );
        let streams = match result.map(|r| r.value) {
            Ok(LogValue::Streams(streams)) => streams,
            Ok(_) => continue,
            Err(e) => {
                tracing::warn!(error = %e, "log lines left out of a time line");
                continue;
            }
        };
        for stream in &streams {
            let label = |name: &str| stream.labels.get(name).unwrap_or("");
            let level = match label("detected_level") {
                "warning" => "warn",
                "critical" => "fatal",
                other => other,
            };
            let node = NodeName::new(label("node"));
            for entry in &stream.entries {
                events.push(Event::log(
                    entry.timestamp.floor_to_ms(),
                    label("service_name"),
                    node.short(),
                    level,
                    &message_of(&entry.line),
                ));
            }
        }
    }
}

/// What a structured line says: its `message` or `msg`, from JSON or logfmt; else the whole line.
fn message_of(line: &str) -> Cow<'_, str> {
    if line.starts_with('{') {
        if let Ok(Value::Object(fields)) = serde_json::from_str::<Value>(line)
            && let Some(Value::String(message)) =
                fields.get("message").or_else(|| fields.get("msg"))
        {
            return Cow::Owned(message.clone());
        }
        return Cow::Borrowed(line);
    }
    for field in ["msg=\"", "message=\""] {
        let Some((before, rest)) = line.split_once(field) else { continue };
        let starts_word = before.is_empty() || before.ends_with(' ');
        if let Some((message, _)) = rest.split_once('"').filter(|_| starts_word)
            && !message.ends_with('\\')
        {
            return Cow::Borrowed(message);
        }
    }
    Cow::Borrowed(line)
}

fn traces(
    front: &QueryFront,
    from: TimestampMs,
    to: TimestampMs,
    context: &QueryContext,
    events: &mut Vec<Event>,
) -> Result<(), SourceError> {
    let range = TimeRangeNs::new(from.to_ns(), to.to_ns());
    let mut routine = Vec::new();
    let select = TraceSelect { range, all_of: &[] };
    for trace in front.traces.select(&select, context)?.take(TRACES_MAX) {
        let trace = trace?;
        context.check()?;
        let nanos = trace.duration_ns();
        if trace.has_error() || nanos > SLOW_NS {
            events.extend(Event::trace(&trace));
        } else if trace.services() != ["vm-obs"] {
            // Our own request spans are left out, and of the others' the longest tell most.
            routine.extend(Event::trace(&trace).map(|event| (nanos, event)));
        }
    }
    routine.sort_by_key(|(nanos, event)| (std::cmp::Reverse(*nanos), event.at));
    events.extend(routine.into_iter().take(ROUTINE_TRACES_MAX).map(|(_, event)| event));
    Ok(())
}

/// `treasury.receipts_per_minute low`, from its receipt.
fn anomaly(at: TimestampMs, seq: u64, receipt: &Value) -> Event {
    let text = |name: &str| receipt.get(name).and_then(Value::as_str).unwrap_or("");
    let number = |path: &str| receipt.pointer(path).and_then(Value::as_f64);
    let word = match (
        number("/observed_value"),
        number("/expected_range/min"),
        number("/expected_range/max"),
    ) {
        (Some(seen), Some(min), _) if seen < min => "low",
        (Some(seen), _, Some(max)) if seen > max => "high",
        _ => "unusual",
    };
    let mut event = Event::receipt(at, seq, text("metric"), word);
    event.kind = EventKind::Anomaly;
    event.weight = 4.0 + 4.0 * number("/confidence").unwrap_or(0.0).clamp(0.0, 1.0);
    event.subjects =
        vec![NodeName::new(text("node")).short().to_owned(), text("metric").to_owned()];
    let correlated = receipt.get("correlated_events").and_then(Value::as_array);
    event
        .subjects
        .extend(correlated.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned));
    event.id = Some(text("anomaly_id").to_owned());
    event
}

/// Alerts, anomalies and other receipts of the window; gives the thresholds of the alerts'
/// metrics.
fn from_ledger(
    from: TimestampMs,
    to: TimestampMs,
    ledger: ReadLedger<'_>,
    events: &mut Vec<Event>,
    told: &mut Told,
) -> Result<BTreeMap<String, Vec<f64>>, SourceError> {
    let mut thresholds: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    ledger(&mut |seq, line| {
        let Ok(receipt) = serde_json::from_str::<Value>(line) else { return true };
        let text = |name: &str| receipt.get(name).and_then(Value::as_str).unwrap_or("");
        let Ok(at) = parse_time(text("timestamp"), from).map(|t| t.floor_to_ms()) else {
            return true;
        };
        let kind = text("type");
        // What began long before may still go on.
        if kind == "obs_exercise" && at <= to {
            told.run(&receipt, at);
        }
        if at < from || at > to {
            return true;
        }
        match kind {
            "obs_alert_fired" | "obs_alert_resolved" => {
                let fired = kind == "obs_alert_fired";
                if let Some(limit) = receipt.get("threshold").and_then(Value::as_f64) {
                    let expression = text("rule_expression");
                    let end = expression
                        .find(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':'))
                        .unwrap_or(expression.len());
                    if let Some(metric) = expression.get(..end).filter(|m| !m.is_empty()) {
                        thresholds.entry(metric.to_owned()).or_default().push(limit);
                    }
                }
                if fired {
                    told.fired.push((at, text("name").to_owned()));
                }
                let node = NodeName::new(text("node"));
                events.push(Event::alert(
                    at,
                    text("alert_id"),
                    text("name"),
                    node.short(),
                    text("severity"),
                    fired,
                ));
            }
            "obs_anomaly_detected" => {
                events.push(anomaly(at, seq, &receipt));
            }
            "obs_exercise" => {
                let mut event = Event::receipt(at, seq, "", "");
                event.text = match text("phase") {
                    "started" => format!("{} {:?} begins", text("exercise"), text("name")),
                    _ => format!("{} {:?} {}", text("exercise"), text("name"), text("outcome")),
                };
                // Whoever breaks something on purpose is the first to be asked.
                event.weight = if text("exercise") == "chaos" { 9.0 } else { 6.0 };
                event.subjects = vec![text("target").to_owned()];
                events.push(event);
            }
            "obs_trace_complete" => {}
            _ => {
                let what = ["storage_path", "alert_id", "silence_id", "operation_id", "report_id"]
                    .into_iter()
                    .map(text)
                    .find(|t| !t.is_empty())
                    .unwrap_or("");
                events.push(Event::receipt(at, seq, kind, what));
            }
        }
        true
    })?;
    Ok(thresholds)
}

#[cfg(test)]
mod tests {
    use obs_types::TimestampMs;
    use serde_json::json;

    use super::{Told, causes, message_of};

    #[test]
    fn an_alert_is_laid_at_the_door_of_the_run_that_began_last() {
        let mut told = Told::default();
        let run = |id: &str, from: &str, to: Option<&str>| {
            json!({"exercise": "chaos", "run_id": id, "name": "n", "target": "t",
                   "started_at": from, "ended_at": to})
        };
        for receipt in [
            run("long", "2025-12-06T10:00:00Z", None),
            run("short", "2025-12-06T12:00:00Z", None),
            run("short", "2025-12-06T12:00:00Z", Some("2025-12-06T12:00:30Z")),
            json!({"exercise": "gate", "run_id": "g", "started_at": "2025-12-06T12:00:10Z"}),
        ] {
            told.run(&receipt, TimestampMs(0));
        }
        let at = |text: &str| super::parse_time(text, TimestampMs(0)).unwrap().floor_to_ms();
        for (alert, time) in [
            ("During", "12:00:20"),
            ("Soon", "12:04:00"),
            ("Late", "12:30:00"),
            ("Before", "09:00:00"),
        ] {
            told.fired.push((at(&format!("2025-12-06T{time}Z")), alert.to_owned()));
        }
        let found: Vec<_> =
            causes(&told).iter().map(|c| (c.alert, c.run.run_id.as_str())).collect();
        assert_eq!(found, [("During", "short"), ("Soon", "short"), ("Late", "long")]);
        assert_eq!(
            causes(&told)[0].to_text(),
            "During fired because of chaos \"n\" against t (run short)"
        );
    }

    #[test]
    fn a_structured_line_is_told_by_its_message() {
        assert_eq!(message_of(r#"{"level":"info","message":"login accepted"}"#), "login accepted");
        assert_eq!(message_of(r#"level=info msg="treaty polled" rtt_ms=118"#), "treaty polled");
        for whole in ["plain", r#"{"level":"info"}"#, r#"a xmsg="b""#, r#"msg="open"#, "{broken"] {
            assert_eq!(message_of(whole), whole);
        }
    }
}
