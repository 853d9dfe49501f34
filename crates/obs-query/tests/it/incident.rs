use obs_query::{QueryFront, QueryLimits, gather, parse_time};
use obs_types::{CancelToken, DurationMs, TimestampMs};

use crate::engines::Engines;

/// A time of 2025-12-06.
fn at(clock: &str) -> TimestampMs {
    parse_time(&format!("2025-12-06T{clock}Z"), TimestampMs(0)).unwrap().floor_to_ms()
}

const LEDGER: [&str; 4] = [
    r#"{"alert_id":"alert-2025-12-06-001","name":"HighCPUUsage","node":"did:vm:node:brick-02","rule_expression":"cpu_percent > 80 for 3m","seq":0,"severity":"warning","threshold":80,"timestamp":"2025-12-06T14:35:00Z","type":"obs_alert_fired"}"#,
    r#"{"anomaly_id":"anomaly-2025-12-06-001","confidence":0.98,"correlated_events":["alert-2025-12-06-001"],"expected_range":{"max":50,"min":10},"metric":"treasury.receipts_per_minute","node":"did:vm:node:brick-01","observed_value":2,"seq":1,"timestamp":"2025-12-06T14:45:00Z","type":"obs_anomaly_detected"}"#,
    r#"{"alert_id":"alert-2025-12-06-001","name":"HighCPUUsage","node":"did:vm:node:brick-02","seq":2,"severity":"warning","timestamp":"2025-12-06T14:50:00Z","type":"obs_alert_resolved"}"#,
    r#"{"alert_id":"alert-2025-12-06-002","name":"Later","node":"did:vm:node:brick-02","seq":3,"severity":"warning","timestamp":"2025-12-06T15:30:00Z","type":"obs_alert_fired"}"#,
];

/// ENGINE 4's story: load rises, the queue grows, the alert fires, an anomaly, it ends.
fn incident() -> QueryFront {
    let engines = Engines::new(at("15:10:00"));
    let cpu: Vec<(TimestampMs, f64)> = (0..=90)
        .map(|minute| {
            let t = TimestampMs(at("13:40:00").0 + minute * 60_000);
            let since_rise = (t.0 - at("14:22:00").0) / 60_000;
            let value = match since_rise {
                i64::MIN..=0 => 40.0 + (minute % 2) as f64 * 0.2,
                1..=27 => (40.0 + since_rise as f64 * 4.5).min(92.0),
                _ => 42.0,
            };
            (t, value)
        })
        .collect();
    engines.samples(&[("__name__", "cpu_percent"), ("node", "brick-02")], cpu);
    engines.line(at("14:25:00"), "guardian", "warn", "anchor queue depth increasing");
    engines.line(at("14:40:00"), "guardian", "info", "processing backlog");
    engines.line(at("14:50:00"), "guardian", "info", "backlog cleared");
    engines.line(at("13:00:00"), "guardian", "error", "long before");
    engines.line(at("14:41:00"), "guardian", "debug", "chatter");
    engines.span(0xab, 1, 0, at("14:29:58"), 2_000);
    QueryFront::new(
        engines.metrics.clone(),
        engines.logs.clone(),
        engines.traces.clone(),
        engines.clock.clone(),
        QueryLimits::STANDARD,
    )
}

#[test]
fn a_time_line_tells_the_incident_in_order() {
    let front = incident();
    let read = |take: &mut dyn FnMut(u64, &str) -> bool| {
        for (seq, line) in LEDGER.iter().enumerate() {
            if !take(seq as u64, line) {
                break;
            }
        }
        Ok(())
    };
    let context = front.context(None, CancelToken::default());
    let line = gather(&front, at("14:35:00"), DurationMs(15 * 60_000), &read, &context).unwrap();
    assert_eq!(line["timestamp"], "2025-12-06T14:35:00Z");
    let text = line["text"].as_str().unwrap();
    assert!(text.starts_with("Timeline around 2025-12-06T14:35:00Z (±15m):\n"), "{text}");
    let mut rest = text;
    for expected in [
        "[metric] brick-02 cpu_percent starts rising",
        "14:25:00 [log] guardian: \"anchor queue depth increasing\"",
        "14:30:00 [trace] trace-abababababababababababababababab completed (2000ms, normal)",
        "[metric] brick-02 cpu_percent crosses 80%",
        "14:35:00 [alert] HighCPUUsage fired on brick-02",
        "14:40:00 [log] guardian: \"processing backlog\"",
        "14:45:00 [anomaly] treasury.receipts_per_minute low",
        "[alert] HighCPUUsage resolved on brick-02",
    ] {
        let (_, after) = rest
            .split_once(expected)
            .unwrap_or_else(|| panic!("{expected:?} is missing or out of order in\n{text}"));
        rest = after;
    }
    assert!(text.contains("14:50:00 [log] guardian: \"backlog cleared\""), "{text}");
    for absent in ["long before", "chatter", "Later"] {
        assert!(!text.contains(absent), "{absent:?} in\n{text}");
    }
    let entries = line["entries"].as_array().unwrap();
    let alert = entries.iter().find(|e| e["kind"] == "alert").unwrap();
    assert_eq!(alert["time"], "2025-12-06T14:35:00Z");
    assert_eq!(alert["link"], "/alerts?id=alert-2025-12-06-001");
    let times: Vec<&str> = entries.iter().map(|e| e["time"].as_str().unwrap()).collect();
    assert!(times.is_sorted(), "{times:?}");
}
