use std::collections::BTreeMap;

use jiff::tz::TimeZone;
use obs_types::{DurationMs, StatusCode, TimestampMs, Trace};
use serde_json::{Value, json};

use crate::anomaly::AnomalyRecord;
use crate::correlate::changes::Change;
use crate::time_text;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum EventKind {
    Metric,
    Log,
    Trace,
    Alert,
    Anomaly,
    Receipt,
}

/// Something that happened, in the words of the time line.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    pub at: TimestampMs,
    pub kind: EventKind,
    pub text: String,
    /// Nodes, services, ids: what ties events to each other. Empty ones are ignored.
    pub subjects: Vec<String>,
    /// How telling it is by itself, 0 to 10.
    pub weight: f64,
    /// Trace, alert, anomaly id or sequence number, for a link.
    pub id: Option<String>,
}

/// The events around an instant, the most relevant ones, in order of time.
#[derive(Clone, Debug, PartialEq)]
pub struct Timeline {
    pub center: TimestampMs,
    pub window: DurationMs,
    /// With relevance, 0 to 1.
    pub events: Vec<(Event, f64)>,
    /// Left out as less relevant or as repetitions.
    pub omitted: usize,
}

/// A trace that takes longer is called slow in the time line.
const SLOW_MS: i64 = 5000;

impl EventKind {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Metric => "metric",
            Self::Log => "log",
            Self::Trace => "trace",
            Self::Alert => "alert",
            Self::Anomaly => "anomaly",
            Self::Receipt => "receipt",
        }
    }
}

impl Event {
    /// `brick-02 cpu_percent crosses 80%`; `unit` stands behind thresholds.
    pub fn metric(node: &str, metric: &str, change: &Change, unit: &str) -> Self {
        let subject = if node.is_empty() { String::new() } else { format!("{node} ") };
        Self {
            at: change.at,
            kind: EventKind::Metric,
            text: format!("{subject}{metric} {}", change.kind.text(unit)),
            subjects: vec![node.to_owned(), metric.to_owned()],
            weight: (1.0 + change.weight.max(0.0).ln_1p()).min(6.0),
            id: None,
        }
    }

    /// `guardian: "anchor queue depth increasing"`; `level` is one of ENGINE's six.
    pub fn log(at: TimestampMs, service: &str, node: &str, level: &str, message: &str) -> Self {
        let weight = match level {
            "fatal" => 7.0,
            "error" => 5.0,
            "warn" => 3.0,
            "info" => 1.0,
            _ => 0.3,
        };
        let message: String = message.chars().take(160).collect();
        Self {
            at,
            kind: EventKind::Log,
            text: format!("{service}: {message:?}"),
            subjects: vec![service.to_owned(), node.to_owned()],
            weight,
            id: None,
        }
    }

    /// `trace-abc123 completed (2345ms, normal)`, at its end; `None` for a trace without spans.
    pub fn trace(trace: &Trace) -> Option<Self> {
        let (_, end) = trace.bounds()?;
        let ms = trace.duration_ns() / 1_000_000;
        let (word, weight) = match (trace.has_error(), ms > SLOW_MS) {
            (true, _) => ("error", 5.0),
            (false, true) => ("slow", 4.0),
            (false, false) => ("normal", 1.0),
        };
        let failed = trace
            .spans
            .iter()
            .find(|s| s.span.status.code == StatusCode::Error)
            .map(|s| format!(" in {}", s.resource.service()))
            .unwrap_or_default();
        let mut subjects: Vec<String> = trace.services().into_iter().map(str::to_owned).collect();
        subjects.extend(trace.spans.iter().map(|s| s.resource.node().to_owned()));
        Some(Self {
            at: end.floor_to_ms(),
            kind: EventKind::Trace,
            text: format!("trace-{} completed ({ms}ms, {word}{failed})", trace.id),
            subjects,
            weight,
            id: Some(trace.id.to_string()),
        })
    }

    /// `HighCPUUsage fired on brick-02`, or `resolved`.
    pub fn alert(
        at: TimestampMs,
        alert_id: &str,
        name: &str,
        node: &str,
        severity: &str,
        fired: bool,
    ) -> Self {
        let verb = if fired { "fired" } else { "resolved" };
        let place = if node.is_empty() { String::new() } else { format!(" on {node}") };
        let weight = match severity {
            "critical" => 10.0,
            "high" => 9.0,
            "info" => 5.0,
            _ => 8.0,
        };
        Self {
            at,
            kind: EventKind::Alert,
            text: format!("{name} {verb}{place}"),
            subjects: vec![node.to_owned(), alert_id.to_owned()],
            weight: if fired { weight } else { weight - 2.0 },
            id: Some(alert_id.to_owned()),
        }
    }

    /// `treasury.receipts_per_minute low`
    pub fn anomaly(record: &AnomalyRecord) -> Self {
        let word = match record.observed_value {
            v if v < record.expected_min => "low",
            v if v > record.expected_max => "high",
            _ => "unusual",
        };
        let node = record.node.as_ref().map(|n| n.short().to_owned()).unwrap_or_default();
        let mut subjects = vec![node, record.metric.clone()];
        subjects.extend(record.correlated_events.iter().cloned());
        Self {
            at: record.timestamp,
            kind: EventKind::Anomaly,
            text: format!("{} {word}", record.metric),
            subjects,
            weight: 4.0 + 4.0 * record.confidence,
            id: Some(record.anomaly_id.clone()),
        }
    }

    /// `obs_log_batch sealed telemetry/logs/…`; `what` is the rest of the sentence.
    pub fn receipt(at: TimestampMs, seq: u64, receipt_type: &str, what: &str) -> Self {
        Self {
            at,
            kind: EventKind::Receipt,
            text: format!("{receipt_type} {what}").trim_end().to_owned(),
            subjects: Vec::new(),
            weight: 0.5,
            id: Some(seq.to_string()),
        }
    }
}

/// Ranks the events within `window` of `center` (both ends included) and keeps the `limit` most
/// relevant ones. Relevance grows with the event's own weight, with nearness to the centre, and
/// with what it shares with alerts and anomalies; equal texts are kept once, where they are most
/// relevant.
pub fn timeline(
    center: TimestampMs,
    window: DurationMs,
    events: Vec<Event>,
    limit: usize,
) -> Timeline {
    let given = events.len();
    let (from, to) = (center.saturating_sub(window), center.saturating_add(window));
    let events: Vec<Event> = events.into_iter().filter(|e| from <= e.at && e.at <= to).collect();
    let mut hot: BTreeMap<String, u32> = BTreeMap::new();
    for event in &events {
        if matches!(event.kind, EventKind::Alert | EventKind::Anomaly) {
            for subject in event.subjects.iter().filter(|s| !s.is_empty()) {
                *hot.entry(subject.clone()).or_insert(0) += 1;
            }
        }
    }
    let relevance = |event: &Event| {
        let apart = (event.at.0 - center.0).unsigned_abs() as f64 / window.0.max(1) as f64;
        let near = 1.0 - 0.5 * apart.min(1.0);
        let tied = event.subjects.iter().filter(|s| hot.contains_key(*s)).count();
        let tied = 1.0 + 0.5 * tied.min(2) as f64;
        (event.weight.max(0.0) * near * tied / 20.0).min(1.0)
    };
    let mut best: BTreeMap<(EventKind, String), (Event, f64)> = BTreeMap::new();
    for event in events {
        let score = relevance(&event);
        let key = (event.kind, event.text.clone());
        let better = best.get(&key).is_none_or(|(known, known_score)| {
            score > *known_score || (score == *known_score && event.at < known.at)
        });
        if better {
            best.insert(key, (event, score));
        }
    }
    let mut kept: Vec<(Event, f64)> = best.into_values().collect();
    kept.sort_by(|a, b| b.1.total_cmp(&a.1).then_with(|| a.0.at.cmp(&b.0.at)));
    kept.truncate(limit);
    kept.sort_by(|a, b| (a.0.at, a.0.kind, &a.0.text).cmp(&(b.0.at, b.0.kind, &b.0.text)));
    let omitted = given - kept.len();
    Timeline { center, window, events: kept, omitted }
}

/// `14:20:00`; with its date where that is not the centre's.
fn clock(t: TimestampMs, center: TimestampMs) -> String {
    let civil = |t: TimestampMs| {
        jiff::Timestamp::from_millisecond(t.0)
            .unwrap_or_default()
            .to_zoned(TimeZone::UTC)
            .datetime()
    };
    let (at, middle) = (civil(t), civil(center));
    let time = format!("{:02}:{:02}:{:02}", at.hour(), at.minute(), at.second());
    match at.date() == middle.date() {
        true => time,
        false => format!("{} {time}", at.date()),
    }
}

fn span_text(d: DurationMs) -> String {
    match d.0 {
        ms if ms > 0 && ms % DurationMs::HOUR.0 == 0 => format!("{}h", ms / DurationMs::HOUR.0),
        ms if ms > 0 && ms % DurationMs::MINUTE.0 == 0 => {
            format!("{}m", ms / DurationMs::MINUTE.0)
        }
        ms => format!("{}s", ms / 1000),
    }
}

impl Timeline {
    /// ENGINE 4's format.
    pub fn to_text(&self) -> String {
        let mut out = format!(
            "Timeline around {} (±{}):\n\n",
            time_text(self.center),
            span_text(self.window)
        );
        for (event, _) in &self.events {
            out.push_str(&format!(
                "{} [{}] {}\n",
                clock(event.at, self.center),
                event.kind.as_str(),
                event.text
            ));
        }
        out
    }

    pub fn to_json(&self) -> Value {
        let events: Vec<Value> = self
            .events
            .iter()
            .map(|(event, relevance)| {
                json!({
                    "timestamp": time_text(event.at),
                    "kind": event.kind.as_str(),
                    "text": event.text,
                    "id": event.id,
                    "subjects": event.subjects.iter().filter(|s| !s.is_empty()).collect::<Vec<_>>(),
                    "relevance": (relevance * 1000.0).round() / 1000.0,
                })
            })
            .collect();
        json!({
            "timestamp": time_text(self.center),
            "window": span_text(self.window),
            "events": events,
            "omitted": self.omitted,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::correlate::ChangeKind;

    fn at(text: &str) -> TimestampMs {
        let t: jiff::Timestamp = format!("2025-12-06T{text}Z").parse().unwrap();
        TimestampMs(t.as_millisecond())
    }

    fn change(text: &str, kind: ChangeKind) -> Change {
        Change { at: at(text), kind, weight: 3.0 }
    }

    fn example() -> Vec<Event> {
        vec![
            Event::alert(
                at("14:35:00"),
                "alert-2025-12-06-001",
                "HighCPUUsage",
                "brick-02",
                "warning",
                true,
            ),
            Event::log(
                at("14:25:00"),
                "guardian",
                "brick-02",
                "warn",
                "anchor queue depth increasing",
            ),
            Event::metric(
                "brick-02",
                "cpu_percent",
                &change("14:20:00", ChangeKind::StartsRising),
                "%",
            ),
            Event::metric(
                "brick-02",
                "cpu_percent",
                &change("14:32:00", ChangeKind::CrossesAbove(80.0)),
                "%",
            ),
            Event::log(at("14:21:00"), "portal", "portal-01", "debug", "tick"),
            Event::log(at("15:21:00"), "portal", "portal-01", "error", "outside of the window"),
            Event::alert(
                at("14:50:00"),
                "alert-2025-12-06-001",
                "HighCPUUsage",
                "brick-02",
                "warning",
                false,
            ),
        ]
    }

    #[test]
    fn the_text_is_engines() {
        let line = timeline(at("14:35:00"), DurationMs(15 * 60_000), example(), 5);
        assert_eq!(
            line.to_text(),
            "Timeline around 2025-12-06T14:35:00Z (±15m):\n\n\
             14:20:00 [metric] brick-02 cpu_percent starts rising\n\
             14:25:00 [log] guardian: \"anchor queue depth increasing\"\n\
             14:32:00 [metric] brick-02 cpu_percent crosses 80%\n\
             14:35:00 [alert] HighCPUUsage fired on brick-02\n\
             14:50:00 [alert] HighCPUUsage resolved on brick-02\n"
        );
        assert_eq!(line.omitted, 2);
    }

    #[test]
    fn repetitions_are_said_once_and_other_days_have_their_date() {
        let tick = |text: &str| Event::log(at(text), "portal", "", "error", "again");
        let mut events: Vec<Event> = vec![tick("00:00:05"), tick("00:00:01"), tick("00:02:00")];
        let mut late = tick("00:00:00");
        late.at = TimestampMs(late.at.0 - 1000);
        late.text = "portal: \"before midnight\"".into();
        events.push(late);
        let line = timeline(at("00:00:01"), DurationMs(300_000), events, 10);
        assert_eq!(line.events.len(), 2);
        assert_eq!(line.events[1].0.at, at("00:00:01"));
        assert!(line.to_text().contains("2025-12-05 23:59:59 [log]"), "{}", line.to_text());
        let json = line.to_json();
        assert_eq!(json["events"][1]["kind"], "log");
        assert_eq!(json["window"], "5m");
    }
}
