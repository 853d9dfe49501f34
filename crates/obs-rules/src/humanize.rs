//! Prometheus' `humanize*` template functions.

use jiff::Timestamp;

use crate::number::go_g;

const LARGE: [&str; 8] = ["k", "M", "G", "T", "P", "E", "Z", "Y"];
const LARGE_1024: [&str; 8] = ["ki", "Mi", "Gi", "Ti", "Pi", "Ei", "Zi", "Yi"];
const SMALL: [&str; 8] = ["m", "u", "n", "p", "f", "a", "z", "y"];

/// `1234567` → `1.235M`, `0.00123` → `1.23m`.
pub(crate) fn humanize(mut v: f64) -> String {
    if v == 0.0 || !v.is_finite() {
        return go_g(v, 4);
    }
    if v.abs() >= 1.0 {
        let mut prefix = "";
        for p in LARGE {
            if v.abs() < 1000.0 {
                break;
            }
            prefix = p;
            v /= 1000.0;
        }
        return format!("{}{prefix}", go_g(v, 4));
    }
    let (v, prefix) = small(v);
    format!("{}{prefix}", go_g(v, 4))
}

/// `1048576` → `1Mi`.
pub(crate) fn humanize_1024(mut v: f64) -> String {
    if v.abs() <= 1.0 || !v.is_finite() {
        return go_g(v, 4);
    }
    let mut prefix = "";
    for p in LARGE_1024 {
        if v.abs() < 1024.0 {
            break;
        }
        prefix = p;
        v /= 1024.0;
    }
    format!("{}{prefix}", go_g(v, 4))
}

/// Seconds → `1d 2h 3m 4s`, `5.6s`, `12ms`.
pub(crate) fn humanize_duration(v: f64) -> String {
    if !v.is_finite() {
        return go_g(v, 4);
    }
    if v == 0.0 {
        return "0s".to_owned();
    }
    if v.abs() < 1.0 {
        let (v, prefix) = small(v);
        return format!("{}{prefix}s", go_g(v, 4));
    }
    let sign = if v < 0.0 { "-" } else { "" };
    let v = v.abs();
    // Saturates for absurd lengths, which Go leaves undefined.
    let whole = v as i64;
    let (seconds, minutes) = (whole % 60, whole / 60 % 60);
    let (hours, days) = (whole / 3600 % 24, whole / 86_400);
    if days != 0 {
        format!("{sign}{days}d {hours}h {minutes}m {seconds}s")
    } else if hours != 0 {
        format!("{sign}{hours}h {minutes}m {seconds}s")
    } else if minutes != 0 {
        format!("{sign}{minutes}m {seconds}s")
    } else {
        format!("{sign}{}s", go_g(v, 4))
    }
}

/// A ratio → `12.34%`.
pub(crate) fn humanize_percentage(v: f64) -> String {
    format!("{}%", go_g(v * 100.0, 4))
}

/// Seconds since the epoch → `2025-12-06 14:30:00 +0000 UTC`; a time out of range stays a number.
pub(crate) fn humanize_timestamp(v: f64) -> String {
    if !v.is_finite() {
        return go_g(v, 4);
    }
    let Ok(time) = Timestamp::from_millisecond((v * 1000.0).round() as i64) else {
        return go_g(v, 4);
    };
    let ms = time.as_millisecond().rem_euclid(1000);
    let fraction =
        if ms == 0 { String::new() } else { format!(".{ms:03}").trim_end_matches('0').to_owned() };
    format!("{}{fraction} +0000 UTC", time.strftime("%Y-%m-%d %H:%M:%S"))
}

fn small(mut v: f64) -> (f64, &'static str) {
    let mut prefix = "";
    for p in SMALL {
        if v.abs() >= 1.0 {
            break;
        }
        prefix = p;
        v *= 1000.0;
    }
    (v, prefix)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn like_prometheus() {
        assert_eq!(humanize(0.0), "0");
        assert_eq!(humanize(1_234_567.0), "1.235M");
        assert_eq!(humanize(0.00123), "1.23m");
        assert_eq!(humanize(f64::NEG_INFINITY), "-Inf");
        assert_eq!(humanize_1024(1_048_576.0), "1Mi");
        assert_eq!(humanize_1024(1.0), "1");
        assert_eq!(humanize_duration(0.0), "0s");
        assert_eq!(humanize_duration(60.0), "1m 0s");
        assert_eq!(humanize_duration(899.99), "14m 59s");
        assert_eq!(humanize_duration(-86_400.0), "-1d 0h 0m 0s");
        assert_eq!(humanize_duration(0.01), "10ms");
        assert_eq!(humanize_duration(45.5), "45.5s");
        assert_eq!(humanize_percentage(-0.22222), "-22.22%");
        assert_eq!(humanize_timestamp(1_435_065_584.128), "2015-06-23 13:19:44.128 +0000 UTC");
        assert_eq!(humanize_timestamp(1e300), "1e+300");
    }
}
