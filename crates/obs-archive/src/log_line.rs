//! One line of `hour-HH.jsonl.gz`: ENGINE 2.2's log record, from which the stored entry can be
//! read back exactly.

use jiff::Timestamp;
use obs_types::{LabelSet, LogEntry, NodeName, TimestampNs, UNKNOWN_SERVICE};
use serde_json::{Map, Value};

use crate::seal::LogCounts;

/// ENGINE's six levels, in order of severity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Level {
    Trace,
    Debug,
    Info,
    Warn,
    Error,
    Fatal,
}

/// Metadata that ENGINE shows beside the attributes; kept verbatim, so that reading back can put
/// it where it was.
const TOP_LEVEL: [&str; 3] = ["trace_id", "span_id", "caller"];
const LEVEL_NAMES: [&str; 6] =
    ["level", "detected_level", "severity_text", "severity", "lvl", "loglevel"];
const SERVICE_NAMES: [&str; 6] =
    ["service_name", "service", "service.name", "app", "job", "container"];
const NODE_NAMES: [&str; 5] = ["node", "host", "hostname", "host_name", "host.name"];

impl Level {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Trace => "trace",
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
            Self::Fatal => "fatal",
        }
    }

    fn from_text(text: &str) -> Option<Self> {
        Some(match text.to_ascii_lowercase().as_str() {
            "trace" | "trc" | "verbose" | "finest" => Self::Trace,
            "debug" | "dbg" => Self::Debug,
            "info" | "inf" | "information" | "informational" | "notice" => Self::Info,
            "warn" | "wrn" | "warning" => Self::Warn,
            "error" | "err" | "eror" => Self::Error,
            "fatal" | "ftl" | "critical" | "crit" | "alert" | "panic" | "emerg" | "emergency" => {
                Self::Fatal
            }
            _ => return None,
        })
    }

    /// From the entry's metadata, then its stream; a line that names none counts as `info`.
    pub(crate) fn of(stream: &LabelSet, entry: &LogEntry) -> Self {
        first(&LEVEL_NAMES, &[&entry.metadata, stream], Self::from_text).unwrap_or(Self::Info)
    }

    /// Whether ENGINE's table keeps it longer than the rest.
    pub(crate) fn is_error(self) -> bool {
        matches!(self, Self::Error | Self::Fatal)
    }

    pub(crate) fn count_in(self, counts: &mut LogCounts) {
        let slot = match self {
            Self::Trace => &mut counts.trace,
            Self::Debug => &mut counts.debug,
            Self::Info => &mut counts.info,
            Self::Warn => &mut counts.warn,
            Self::Error => &mut counts.error,
            Self::Fatal => &mut counts.fatal,
        };
        *slot += 1;
    }
}

fn first<T>(names: &[&str], sets: &[&LabelSet], read: impl Fn(&str) -> Option<T>) -> Option<T> {
    sets.iter().find_map(|set| names.iter().find_map(|name| set.get(name).and_then(&read)))
}

pub(crate) fn service_of(stream: &LabelSet, entry: &LogEntry) -> String {
    first(&SERVICE_NAMES, &[stream, &entry.metadata], |v| Some(v.to_owned()))
        .unwrap_or_else(|| UNKNOWN_SERVICE.to_owned())
}

fn node_of(stream: &LabelSet, entry: &LogEntry) -> Option<String> {
    first(&NODE_NAMES, &[stream, &entry.metadata], |v| Some(NodeName::new(v).did()))
}

fn labels_json<'a>(labels: impl Iterator<Item = (&'a str, &'a str)>) -> Value {
    Value::Object(labels.map(|(n, v)| (n.to_owned(), Value::from(v))).collect())
}

/// RFC 3339 with as many fraction digits as are needed.
pub(crate) fn time_text(t: TimestampNs) -> String {
    Timestamp::from_nanosecond(i128::from(t.0)).unwrap_or_default().to_string()
}

/// The line without its newline. `repeat` counts the lines of one service and time, so that ids
/// are unique: the first has ENGINE's plain id.
pub(crate) fn encode(stream: &LabelSet, entry: &LogEntry, service: &str, repeat: u64) -> String {
    let time = time_text(entry.timestamp);
    let mut log_id = format!("log:{service}:{time}");
    if repeat > 0 {
        log_id.push_str(&format!(":{repeat}"));
    }
    let mut map = Map::new();
    map.insert("log_id".into(), log_id.into());
    map.insert("timestamp".into(), time.into());
    map.insert("level".into(), Level::of(stream, entry).as_str().into());
    map.insert("service".into(), service.into());
    if let Some(node) = node_of(stream, entry) {
        map.insert("node".into(), node.into());
    }
    map.insert("message".into(), entry.line.as_str().into());
    let attributes = entry.metadata.iter().filter(|(name, _)| !TOP_LEVEL.contains(name));
    map.insert("attributes".into(), labels_json(attributes));
    for name in TOP_LEVEL {
        if let Some(value) = entry.metadata.get(name) {
            map.insert(name.into(), value.into());
        }
    }
    map.insert("stream".into(), labels_json(stream.iter()));
    Value::Object(map).to_string()
}

/// The stream and the entry that [`encode`] was given.
pub(crate) fn decode(line: &str) -> Result<(LabelSet, LogEntry), String> {
    let map: Map<String, Value> = serde_json::from_str(line).map_err(|e| e.to_string())?;
    let text = |name: &str| {
        map.get(name).and_then(Value::as_str).ok_or_else(|| format!("{name} is no string"))
    };
    let time: Timestamp = text("timestamp")?.parse().map_err(|e| format!("timestamp: {e}"))?;
    let timestamp = i64::try_from(time.as_nanosecond()).map_err(|e| format!("timestamp: {e}"))?;
    let mut metadata = labels(&map, "attributes")?;
    for name in TOP_LEVEL {
        if let Some(value) = map.get(name).and_then(Value::as_str) {
            metadata.push((name.to_owned(), value.to_owned()));
        }
    }
    let entry = LogEntry {
        timestamp: TimestampNs(timestamp),
        line: text("message")?.to_owned(),
        metadata: LabelSet::from_pairs(metadata),
    };
    Ok((LabelSet::from_pairs(labels(&map, "stream")?), entry))
}

fn labels(map: &Map<String, Value>, name: &str) -> Result<Vec<(String, String)>, String> {
    let pairs = map.get(name).and_then(Value::as_object).ok_or(format!("{name} is no object"))?;
    pairs
        .iter()
        .map(|(key, value)| {
            let value = value.as_str().ok_or_else(|| format!("{name}.{key} is no string"))?;
            Ok((key.clone(), value.to_owned()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> (LabelSet, LogEntry) {
        (
            LabelSet::from_pairs([("service_name", "guardian"), ("node", "brick-01")]),
            LogEntry {
                timestamp: TimestampNs(1_765_031_415_123_000_000),
                line: "Anchor cycle \u{1F680} \"completed\"\n\u{0}\u{2028}".into(),
                metadata: LabelSet::from_pairs([
                    ("detected_level", "WARNING"),
                    ("trace_id", "abc123"),
                    ("caller", "guardian/anchor.go:234"),
                    ("cycle_id", "anchor-cycle-2025-12-06-001"),
                ]),
            },
        )
    }

    #[test]
    fn a_line_has_engines_fields_and_reads_back() {
        let (stream, entry) = example();
        let line = encode(&stream, &entry, &service_of(&stream, &entry), 0);
        let json: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(json["log_id"], "log:guardian:2025-12-06T14:30:15.123Z");
        assert_eq!(json["timestamp"], "2025-12-06T14:30:15.123Z");
        assert_eq!(json["level"], "warn");
        assert_eq!(json["service"], "guardian");
        assert_eq!(json["node"], "did:vm:node:brick-01");
        assert_eq!(json["trace_id"], "abc123");
        assert_eq!(json["caller"], "guardian/anchor.go:234");
        assert_eq!(json["attributes"]["cycle_id"], "anchor-cycle-2025-12-06-001");
        assert!(!line.contains('\n'));
        assert_eq!(decode(&line).unwrap(), (stream, entry));
    }

    #[test]
    fn a_torn_line_says_what_is_missing() {
        assert!(decode("{}").unwrap_err().contains("timestamp"));
        assert!(decode("{\"timestamp\":\"x\"}").is_err());
        let (stream, entry) = example();
        let line = encode(&stream, &entry, "g", 1).replace("\"message\"", "\"massage\"");
        assert!(decode(&line).unwrap_err().contains("message"));
    }
    proptest::proptest! {
        #[test]
        fn any_entry_reads_back(
            nanos in -4_000_000_000_000_000_000_i64..9_000_000_000_000_000_000,
            line in ".*",
            stream in proptest::collection::btree_map("[a-z_]{1,5}", ".{1,9}", 0..3),
            metadata in proptest::collection::btree_map("level|caller|trace_id|.{1,4}", ".{1,9}", 0..4),
        ) {
            let stream = LabelSet::from_iter(stream);
            let timestamp = TimestampNs(nanos);
            let entry = LogEntry { timestamp, line, metadata: LabelSet::from_iter(metadata) };
            let text = encode(&stream, &entry, &service_of(&stream, &entry), 3);
            proptest::prop_assert!(!text.contains('\n'));
            proptest::prop_assert_eq!(decode(&text), Ok((stream, entry)));
        }
    }
}
