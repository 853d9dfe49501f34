//! Numbers, times and lengths of time as people read them.

use obs_types::{TimestampMs, TimestampNs};
use serde_json::Value;

/// `850 µs`, `2.35 s`, `1m 05s`, `3h 20m`, `2d 4h`.
pub(crate) fn duration_ms(ms: f64) -> String {
    if !ms.is_finite() {
        return "-".to_owned();
    }
    if ms < 0.0 {
        return format!("-{}", duration_ms(-ms));
    }
    if ms == 0.0 {
        return "0 ms".to_owned();
    }
    if ms < 1.0 {
        return format!("{} µs", trimmed(ms * 1e3, 0));
    }
    if ms < 1e3 {
        return format!("{} ms", trimmed(ms, if ms < 10.0 { 2 } else { 0 }));
    }
    if ms < 59_995.0 {
        return format!("{} s", trimmed(ms / 1e3, 2));
    }
    let seconds = (ms / 1e3).round() as u64;
    let (d, h, m, s) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60, seconds % 60);
    match (d, h) {
        (0, 0) => format!("{m}m {s:02}s"),
        (0, _) => format!("{h}h {m:02}m"),
        _ => format!("{d}d {h}h"),
    }
}

/// `1.5 MiB`
pub(crate) fn bytes(n: f64) -> String {
    let mut n = n;
    for unit in ["B", "KiB", "MiB", "GiB", "TiB"] {
        if n.abs() < 1024.0 {
            return format!("{} {unit}", trimmed(n, if unit == "B" { 0 } else { 1 }));
        }
        n /= 1024.0;
    }
    format!("{} PiB", trimmed(n, 1))
}

/// A sample's value in its unit; without one with at most six significant digits.
pub(crate) fn value(v: f64, unit: &str) -> String {
    match unit {
        "bytes" => bytes(v),
        "percent" => format!("{} %", trimmed(v, 2)),
        "percentunit" => format!("{} %", trimmed(v * 100.0, 2)),
        "ms" => duration_ms(v),
        "s" => duration_ms(v * 1e3),
        _ => plain(v),
    }
}

/// A number with at most six significant digits after the point.
pub(crate) fn plain(v: f64) -> String {
    if v == 0.0 || !v.is_finite() {
        return v.to_string();
    }
    let magnitude = v.abs().log10().floor() as i32;
    if !(-5..15).contains(&magnitude) {
        return format!("{v:e}");
    }
    let decimals = usize::try_from(5 - magnitude).unwrap_or(0);
    trimmed(v, decimals)
}

fn trimmed(v: f64, decimals: usize) -> String {
    let text = format!("{v:.decimals$}");
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    }
}

/// A JSON value as the text of a table's cell.
pub(crate) fn cell(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(s)) => s.clone(),
        Some(Value::Bool(b)) => b.to_string(),
        Some(Value::Number(n)) => n.to_string(),
        Some(other) => other.to_string(),
    }
}

/// The text at a field, `""` where there is none.
pub(crate) fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value.get(name).and_then(Value::as_str).unwrap_or("")
}

/// A number, also when it came as a text such as `NaN`.
pub(crate) fn number(value: Option<&Value>) -> Option<f64> {
    match value? {
        Value::Number(n) => n.as_f64(),
        Value::String(s) => match s.as_str() {
            "+Inf" => Some(f64::INFINITY),
            "-Inf" => Some(f64::NEG_INFINITY),
            s => s.parse().ok(),
        },
        _ => None,
    }
}

/// The array at a field, empty where there is none.
pub(crate) fn list<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    value.get(name).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// `did:vm:node:brick-01` as `brick-01`.
pub(crate) fn node(value: &Value) -> String {
    obs_types::NodeName::new(text(value, "node")).short().to_owned()
}

/// An RFC 3339 time without its letters, UTC, to the millisecond: `2025-12-06 14:35:00.123`.
pub(crate) fn time(rfc3339: &str) -> String {
    let text = rfc3339.replacen('T', " ", 1);
    let text = text.trim_end_matches('Z');
    match text.split_once('.') {
        Some((seconds, rest)) => {
            let milliseconds: String = rest.chars().take(3).collect();
            format!("{seconds}.{milliseconds}")
        }
        None => text.to_owned(),
    }
}

/// `4m 10s ago`, or `""` for what is no time.
pub(crate) fn age(rfc3339: &str, now: TimestampMs) -> String {
    match parse(rfc3339) {
        Some(at) => format!("{} ago", duration_ms((now.0 - at.floor_to_ms().0).max(0) as f64)),
        None => String::new(),
    }
}

/// Reads an RFC 3339 time.
pub(crate) fn parse(rfc3339: &str) -> Option<TimestampNs> {
    obs_query::parse_time(rfc3339, TimestampMs(0)).ok()
}

/// The shape of a series in at most `width` characters; gaps are blank.
pub(crate) fn sparkline(values: &[f64], width: usize) -> String {
    const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let finite = values.iter().copied().filter(|v| v.is_finite());
    let (low, high) =
        finite.fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(v), h.max(v)));
    if width == 0 || values.is_empty() || low > high {
        return String::new();
    }
    let cells = width.min(values.len());
    (0..cells)
        .map(|i| {
            let part = values
                .get(i * values.len() / cells..(i + 1) * values.len() / cells)
                .unwrap_or_default();
            let known: Vec<f64> = part.iter().copied().filter(|v| v.is_finite()).collect();
            if known.is_empty() {
                return ' ';
            }
            let mean = known.iter().sum::<f64>() / known.len() as f64;
            let share = if high > low { (mean - low) / (high - low) } else { 0.0 };
            BARS.get((share * 7.0).round() as usize).copied().unwrap_or('█')
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_time() {
        let shown: Vec<String> = [0.0, 0.25, 3.5, 45.0, 2345.0, 65_000.0, 12_000_000.0, 1.9e8]
            .into_iter()
            .map(duration_ms)
            .collect();
        assert_eq!(
            shown,
            ["0 ms", "250 µs", "3.5 ms", "45 ms", "2.35 s", "1m 05s", "3h 20m", "2d 4h"]
        );
    }

    #[test]
    fn values_in_their_units() {
        assert_eq!(value(1_572_864.0, "bytes"), "1.5 MiB");
        assert_eq!(value(87.312_345, "percent"), "87.31 %");
        assert_eq!(value(0.25, "s"), "250 ms");
        assert_eq!(plain(0.1 + 0.2), "0.3");
        assert_eq!(plain(1_234_567.0), "1234567");
        assert_eq!(plain(f64::NAN), "NaN");
    }

    #[test]
    fn shape_of_a_series() {
        assert_eq!(sparkline(&[0.0, 1.0, 2.0, 7.0], 10), "▁▂▃█");
        assert_eq!(sparkline(&[5.0, f64::NAN, 5.0], 3), "▁ ▁");
        assert_eq!(sparkline(&[], 5), "");
        assert_eq!(sparkline(&[1.0; 100], 20).chars().count(), 20);
    }

    #[test]
    fn times_to_the_millisecond() {
        assert_eq!(time("2025-12-06T14:35:00Z"), "2025-12-06 14:35:00");
        assert_eq!(time("2025-12-06T14:35:00.123456789Z"), "2025-12-06 14:35:00.123");
    }

    #[test]
    fn ages() {
        let now = parse("2025-12-06T14:40:00Z").unwrap().floor_to_ms();
        assert_eq!(age("2025-12-06T14:35:00Z", now), "5m 00s ago");
        assert_eq!(age("", now), "");
    }
}
