//! Names of OpenTelemetry as Prometheus names: the translation strategy
//! `UnderscoreEscapingWithSuffixes`.
//! Source: OpenTelemetry "Prometheus and OpenMetrics compatibility", Prometheus' `otlp` section.

use obs_types::MetricKind;

/// `http.server.duration`, `ms`, histogram: `http_server_duration_milliseconds`.
/// Empty if the name holds no letter and no digit. Steps:
///
/// 1. split at everything but letters, digits and `:`;
/// 2. append the unit's word and `per_…`, unless they are there;
/// 3. put `total` last for counters, `ratio` last for gauges of unit `1`;
/// 4. join with `_`.
pub fn metric_name(name: &str, unit: &str, kind: MetricKind) -> String {
    let mut tokens: Vec<&str> = name
        .split(|c: char| !c.is_ascii_alphanumeric() && c != ':')
        .filter(|t| !t.is_empty())
        .collect();
    if tokens.is_empty() {
        return String::new();
    }
    let (main, per) = unit.split_once('/').unwrap_or((unit, ""));
    let (main, per) = (main.trim(), per.trim());
    let main_word = if main.contains(['{', '}']) { String::new() } else { clean(unit_word(main)) };
    let per_word = if per.contains(['{', '}']) { String::new() } else { clean(per_unit_word(per)) };
    if !main_word.is_empty() && !tokens.contains(&main_word.as_str()) {
        tokens.push(&main_word);
    }
    if !per_word.is_empty() && !tokens.contains(&per_word.as_str()) {
        tokens.push("per");
        tokens.push(&per_word);
    }
    let last = match kind {
        MetricKind::Counter => "total",
        MetricKind::Gauge if unit == "1" => "ratio",
        _ => "",
    };
    if !last.is_empty() {
        tokens.retain(|t| *t != last);
        tokens.push(last);
    }
    let joined = tokens.join("_");
    if joined.starts_with(|c: char| c.is_ascii_digit()) { format!("_{joined}") } else { joined }
}

/// `k8s.pod.name`: `k8s_pod_name`; a leading digit gets `key_` in front.
pub fn label_name(name: &str) -> String {
    let escaped: String =
        name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    if escaped.starts_with(|c: char| c.is_ascii_digit()) {
        format!("key_{escaped}")
    } else {
        escaped
    }
}

fn clean(word: &str) -> String {
    word.split(|c: char| !c.is_ascii_alphanumeric())
        .filter(|t| !t.is_empty())
        .collect::<Vec<_>>()
        .join("_")
}

/// UCUM units that have a word; others stand for themselves.
fn unit_word(unit: &str) -> &str {
    match unit {
        "d" => "days",
        "h" => "hours",
        "min" => "minutes",
        "s" => "seconds",
        "ms" => "milliseconds",
        "us" => "microseconds",
        "ns" => "nanoseconds",
        "By" => "bytes",
        "KiBy" => "kibibytes",
        "MiBy" => "mebibytes",
        "GiBy" => "gibibytes",
        "TiBy" => "tibibytes",
        "KBy" => "kilobytes",
        "MBy" => "megabytes",
        "GBy" => "gigabytes",
        "TBy" => "terabytes",
        "m" => "meters",
        "V" => "volts",
        "A" => "amperes",
        "J" => "joules",
        "W" => "watts",
        "g" => "grams",
        "Cel" => "celsius",
        "Hz" => "hertz",
        "%" => "percent",
        "1" => "",
        other => other,
    }
}

fn per_unit_word(unit: &str) -> &str {
    match unit {
        "s" => "second",
        "m" => "minute",
        "h" => "hour",
        "d" => "day",
        "w" => "week",
        "mo" => "month",
        "y" => "year",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_get_units_and_suffixes() {
        for (name, unit, kind, want) in [
            (
                "http.server.duration",
                "ms",
                MetricKind::Histogram,
                "http_server_duration_milliseconds",
            ),
            ("requests", "1", MetricKind::Counter, "requests_total"),
            ("requests.total.count", "{request}", MetricKind::Counter, "requests_count_total"),
            ("system.cpu.utilization", "1", MetricKind::Gauge, "system_cpu_utilization_ratio"),
            ("disk__io--bytes", "By", MetricKind::Counter, "disk_io_bytes_total"),
            ("speed", "m/s", MetricKind::Gauge, "speed_meters_per_second"),
            ("rate", "{x}/min", MetricKind::Gauge, "rate_per_min"),
            ("2xx", "", MetricKind::Gauge, "_2xx"),
            ("°", "", MetricKind::Gauge, ""),
        ] {
            assert_eq!(metric_name(name, unit, kind), want, "{name}");
        }
        assert_eq!(label_name("k8s.pod-name"), "k8s_pod_name");
        assert_eq!(label_name("1st"), "key_1st");
    }
}
