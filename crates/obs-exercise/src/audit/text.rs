//! Numbers and times as people read them.

use obs_types::TimestampMs;

use super::input::Limits;

/// RFC 3339, to the second.
pub(super) fn time(at: TimestampMs) -> String {
    let at = jiff::Timestamp::from_second(at.0.div_euclid(1000)).unwrap_or_default();
    at.to_string()
}

/// `2025-10-30`
pub(super) fn date_after(text: &str, days: i64) -> String {
    let at: jiff::Timestamp = text.parse().unwrap_or_default();
    let later = at.as_second().saturating_add(days * 86_400);
    let later = jiff::Timestamp::from_second(later).unwrap_or_default();
    later.to_string().chars().take(10).collect()
}

/// At most four significant digits; large numbers whole.
pub(super) fn plain(v: f64) -> String {
    if v.is_nan() {
        return "NaN".to_owned();
    }
    if v.is_infinite() {
        return if v > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    if v == 0.0 {
        return "0".to_owned();
    }
    let size = v.abs();
    if size < 0.0001 {
        return format!("{v:.1e}");
    }
    if size >= 1000.0 {
        let whole = format!("{v:.0}");
        return grouped(&whole);
    }
    let decimals = if size >= 100.0 {
        1
    } else if size >= 10.0 {
        2
    } else {
        3
    };
    let decimals = if size < 0.01 { 5 } else { decimals };
    let text = format!("{v:.decimals$}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// `1,045`
fn grouped(whole: &str) -> String {
    let (sign, digits) = match whole.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", whole),
    };
    let mut out = String::with_capacity(whole.len() + whole.len() / 3);
    for (i, c) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i) % 3 == 0 {
            out.push(',');
        }
        out.push(c);
    }
    format!("{sign}{out}")
}

/// A value in the unit that its metric declares.
pub(super) fn value(v: f64, unit: &str) -> String {
    match unit {
        "percent" => format!("{} %", plain(v)),
        "seconds" => seconds(v),
        "milliseconds" => format!("{} ms", plain(v)),
        "bytes" => bytes(v),
        "bytes per second" => format!("{}/s", bytes(v)),
        "hours" => format!("{} h", plain(v)),
        "days" => format!("{} d", plain(v)),
        "per second" => format!("{}/s", plain(v)),
        _ => plain(v),
    }
}

fn seconds(v: f64) -> String {
    let size = v.abs();
    // An instant, in Unix time.
    if size >= 1e9 && v.is_finite() {
        return time(TimestampMs((v * 1000.0) as i64));
    }
    if size < 1.0 && v != 0.0 {
        return format!("{} ms", plain(v * 1000.0));
    }
    if size < 120.0 {
        return format!("{} s", plain(v));
    }
    if size < 7200.0 {
        return format!("{} min", plain((v / 6.0).round() / 10.0));
    }
    format!("{} h", plain((v / 360.0).round() / 10.0))
}

fn bytes(v: f64) -> String {
    let mut n = v;
    for unit in ["B", "KiB", "MiB", "GiB"] {
        if n.abs() < 1024.0 {
            return format!("{} {unit}", plain(n));
        }
        n /= 1024.0;
    }
    format!("{} TiB", plain(n))
}

/// `0.4 to 0.8`, `≤ 200 ms`, `≥ 90 %`; empty without a target.
pub(super) fn limits(target: Option<Limits>, unit: &str) -> String {
    match target {
        Some((Some(low), Some(high))) => format!("{} to {}", value(low, unit), value(high, unit)),
        Some((Some(low), None)) => format!("≥ {}", value(low, unit)),
        Some((None, Some(high))) => format!("≤ {}", value(high, unit)),
        _ => String::new(),
    }
}

/// A share as per cent with the digits that objectives need.
pub(super) fn share(v: f64) -> String {
    let text = format!("{:.4}", v * 100.0);
    format!("{} %", text.trim_end_matches('0').trim_end_matches('.'))
}

/// `3 panels`, `1 panel`.
pub(super) fn count(n: usize, what: &str) -> String {
    let s = if n == 1 { "" } else { "s" };
    format!("{n} {what}{s}")
}

/// One decimal, as scores are shown.
pub(super) fn score(v: f64) -> String {
    format!("{v:.1}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_in_their_units() {
        assert_eq!(plain(0.863_21), "0.863");
        assert_eq!(plain(1045.0), "1,045");
        assert_eq!(plain(-1_234_567.4), "-1,234,567");
        assert_eq!(plain(118.74), "118.7");
        assert_eq!(value(95.04, "percent"), "95.04 %");
        assert_eq!(value(0.118_7, "seconds"), "118.7 ms");
        assert_eq!(value(5_400.0, "seconds"), "90 min");
        assert_eq!(value(1_761_224_220.0, "seconds"), "2025-10-23T12:57:00Z");
        assert_eq!(value(1536.0, "bytes"), "1.5 KiB");
        assert_eq!(limits(Some((Some(0.4), Some(0.8))), ""), "0.4 to 0.8");
        assert_eq!(limits(Some((None, Some(200.0))), "milliseconds"), "≤ 200 ms");
        assert_eq!(limits(Some((Some(90.0), None)), "percent"), "≥ 90 %");
        assert_eq!(share(0.9987), "99.87 %");
        assert_eq!(date_after("2025-10-23T12:57:00Z", 7), "2025-10-30");
    }
}
