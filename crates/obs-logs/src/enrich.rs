//! What Loki adds to incoming lines: a `service_name` label and a `detected_level`.

use obs_types::LogRecord;

/// The label that names who wrote the line.
pub const SERVICE_NAME: &str = "service_name";
/// The structured metadata that holds the level found in the line.
pub const DETECTED_LEVEL: &str = "detected_level";

const UNKNOWN: &str = "unknown";
const UNKNOWN_SERVICE: &str = "unknown_service";

/// Labels that name a service, best first. Source: Loki's `discover_service_name`.
const SERVICE_LABELS: [&str; 13] = [
    "service",
    "app",
    "application",
    "app_name",
    "name",
    "app_kubernetes_io_name",
    "container",
    "container_name",
    "k8s_container_name",
    "component",
    "workload",
    "job",
    "k8s_job_name",
];

/// Fields that hold a level, best first. Source: Loki's field detection.
const LEVEL_FIELDS: [&str; 18] = [
    "level",
    "LEVEL",
    "Level",
    "log.level",
    "severity",
    "SEVERITY",
    "Severity",
    "SeverityText",
    "severity_text",
    "lvl",
    "LVL",
    "Lvl",
    "log_level",
    "loglevel",
    "levelname",
    "severity_number",
    "SeverityNumber",
    "priority",
];

/// How far into a line a level is looked for.
const SCAN_BYTES_MAX: usize = 4096;

/// Adds `service_name` to the stream and `detected_level` to the metadata where they are missing.
pub fn enrich(record: &mut LogRecord) {
    if record.stream.get(SERVICE_NAME).is_none() {
        let service = SERVICE_LABELS
            .iter()
            .find_map(|n| record.stream.get(n))
            .unwrap_or(UNKNOWN_SERVICE)
            .to_owned();
        record.stream = record.stream.with(SERVICE_NAME, &service);
    }
    let has_level = record.metadata.get(DETECTED_LEVEL).is_some()
        || record.stream.get(DETECTED_LEVEL).is_some();
    if !has_level {
        let level = detect_level(record);
        record.metadata = record.metadata.with(DETECTED_LEVEL, level);
    }
}

/// `trace`, `debug`, `info`, `warn`, `error`, `critical`, `fatal` or `unknown`: from metadata and
/// labels, then from the fields of a JSON or logfmt line, then from the words of the line.
pub fn detect_level(record: &LogRecord) -> &'static str {
    let named = |name: &&str| record.metadata.get(name).or_else(|| record.stream.get(name));
    if let Some(level) = LEVEL_FIELDS.iter().filter_map(named).find_map(normal) {
        return level;
    }
    let line = start_of(&record.line);
    let fields = if line.trim_start().starts_with('{') { json_level(line) } else { None };
    fields.or_else(|| logfmt_level(line)).or_else(|| word_level(line)).unwrap_or(UNKNOWN)
}

fn start_of(line: &str) -> &str {
    let mut end = line.len().min(SCAN_BYTES_MAX);
    while !line.is_char_boundary(end) {
        end -= 1;
    }
    line.get(..end).unwrap_or(line)
}

/// A level's usual spellings; numbers are OpenTelemetry's severity numbers.
fn normal(text: &str) -> Option<&'static str> {
    let text = text.trim();
    if let Ok(number) = text.parse::<u8>() {
        return Some(match number {
            1..=4 => "trace",
            5..=8 => "debug",
            9..=12 => "info",
            13..=16 => "warn",
            17..=20 => "error",
            21..=24 => "fatal",
            _ => return None,
        });
    }
    const SPELLINGS: [(&str, &str); 20] = [
        ("trace", "trace"),
        ("trc", "trace"),
        ("debug", "debug"),
        ("dbg", "debug"),
        ("info", "info"),
        ("inf", "info"),
        ("information", "info"),
        ("informational", "info"),
        ("notice", "info"),
        ("warn", "warn"),
        ("wrn", "warn"),
        ("warning", "warn"),
        ("error", "error"),
        ("err", "error"),
        ("critical", "critical"),
        ("crit", "critical"),
        ("emerg", "critical"),
        ("alert", "critical"),
        ("fatal", "fatal"),
        ("panic", "fatal"),
    ];
    SPELLINGS.iter().find(|(s, _)| text.eq_ignore_ascii_case(s)).map(|(_, level)| *level)
}

/// The level field of a JSON object, also one object deep.
fn json_level(line: &str) -> Option<&'static str> {
    let bytes = line.as_bytes();
    let mut best: Option<(usize, &'static str)> = None;
    let (mut at, mut depth) = (0usize, 0usize);
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.saturating_sub(1),
            b'"' => {
                let (key, end) = json_text(line, at + 1)?;
                at = end;
                let after = line.get(at..)?.trim_start();
                let Some(value) = after.strip_prefix(':') else { continue };
                if depth <= 2
                    && let Some(rank) = LEVEL_FIELDS.iter().position(|f| *f == key)
                    && best.is_none_or(|(known, _)| rank < known)
                {
                    let value = value.trim_start();
                    let text = match value.strip_prefix('"') {
                        Some(_) => json_text(value, 1)?.0,
                        None => value.split([',', '}', ' ']).next().unwrap_or(""),
                    };
                    if let Some(level) = normal(text) {
                        best = Some((rank, level));
                    }
                }
                continue;
            }
            _ => {}
        }
        at += 1;
    }
    best.map(|(_, level)| level)
}

/// The text that starts behind a quote at `start`, and where what follows it starts.
fn json_text(line: &str, start: usize) -> Option<(&str, usize)> {
    let bytes = line.as_bytes();
    let mut at = start;
    loop {
        match bytes.get(at)? {
            b'"' => return Some((line.get(start..at)?, at + 1)),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
}

fn logfmt_level(line: &str) -> Option<&'static str> {
    let mut best: Option<(usize, &'static str)> = None;
    for word in line.split_ascii_whitespace() {
        let Some((key, value)) = word.split_once('=') else { continue };
        if let Some(rank) = LEVEL_FIELDS.iter().position(|f| *f == key)
            && best.is_none_or(|(known, _)| rank < known)
            && let Some(level) = normal(value.trim_matches('"'))
        {
            best = Some((rank, level));
        }
    }
    best.map(|(_, level)| level)
}

/// The first word that is a level. Numbers are no levels here.
fn word_level(line: &str) -> Option<&'static str> {
    line.split(|c: char| !c.is_ascii_alphanumeric())
        .filter(|w| (3..=13).contains(&w.len()) && w.starts_with(|c: char| c.is_ascii_alphabetic()))
        .find_map(normal)
}

#[cfg(test)]
mod tests {
    use obs_types::LabelSet;

    use super::*;

    fn level(line: &str) -> &'static str {
        detect_level(&LogRecord { line: line.into(), ..LogRecord::default() })
    }

    #[test]
    fn levels_of_many_kinds_of_lines() {
        for (line, want) in [
            (r#"{"msg":"error in x","level":"WARN"}"#, "warn"),
            (r#"{"log":{"severity":"crit"},"a":[1,{"x":"y"}]}"#, "critical"),
            (r#"{"severity_number":17}"#, "error"),
            (r#"ts=1 level="debug" msg="an error""#, "debug"),
            ("2024-01-01 [INFO] started", "info"),
            ("E: something went wrong: ERR", "error"),
            ("nothing to see 17", "unknown"),
            ("{\"level\":\"", "unknown"),
            ("", "unknown"),
        ] {
            assert_eq!(level(line), want, "{line}");
        }
    }

    #[test]
    fn service_name_comes_from_the_first_label_that_names_one() {
        let mut r = LogRecord {
            stream: LabelSet::from_pairs([("job", "j"), ("app", "a")]),
            metadata: LabelSet::from_pairs([("level", "Warning")]),
            ..LogRecord::default()
        };
        enrich(&mut r);
        assert_eq!(r.stream.get(SERVICE_NAME), Some("a"));
        assert_eq!(r.metadata.get(DETECTED_LEVEL), Some("warn"));
        let before = r.clone();
        enrich(&mut r);
        assert_eq!(r, before);
        let mut bare = LogRecord::default();
        enrich(&mut bare);
        assert_eq!(bare.stream.get(SERVICE_NAME), Some("unknown_service"));
    }
}
