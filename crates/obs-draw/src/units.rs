//! Values in Grafana's units, as the portal writes them.

/// Such as `1.5 GiB`, `12.0 %`, `3.2 ms`.
pub(crate) fn format_value(v: f64, unit: &str, decimals: Option<u32>) -> String {
    if v.is_nan() {
        return "NaN".to_owned();
    }
    if v.is_infinite() {
        return if v > 0.0 { "+Inf" } else { "−Inf" }.to_owned();
    }
    let binary = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
    let decimal = ["B", "kB", "MB", "GB", "TB", "PB"];
    let plain = ["", "k", "M", "G", "T"];
    match unit {
        "percent" => format!("{} %", fixed(v, decimals.unwrap_or(1))),
        "percentunit" => format!("{} %", fixed(v * 100.0, decimals.unwrap_or(1))),
        "bytes" => scaled(v, 1024.0, &binary, decimals),
        "decbytes" => scaled(v, 1000.0, &decimal, decimals),
        "Bps" | "binBps" => {
            scaled(v, 1024.0, &["B/s", "KiB/s", "MiB/s", "GiB/s", "TiB/s"], decimals)
        }
        "bps" => scaled(v, 1000.0, &["b/s", "kb/s", "Mb/s", "Gb/s"], decimals),
        "s" => seconds(v, decimals),
        "ms" => seconds(v / 1e3, decimals),
        "µs" | "us" => seconds(v / 1e6, decimals),
        "ns" => seconds(v / 1e9, decimals),
        "ops" | "reqps" | "eps" | "pps" | "cps" => {
            format!("{}/s", scaled(v, 1000.0, &plain, decimals).trim())
        }
        "none" | "" | "short" => scaled(v, 1000.0, &plain, decimals).trim().to_owned(),
        other => format!("{} {other}", scaled(v, 1000.0, &plain, decimals).trim()),
    }
}

fn fixed(v: f64, decimals: u32) -> String {
    let out = format!("{v:.*}", decimals.min(20) as usize);
    let zero = out.trim_start_matches('-').chars().all(|c| c == '0' || c == '.');
    if zero { out.trim_start_matches('-').to_owned() } else { out }
}

fn scaled(v: f64, base: f64, units: &[&str], decimals: Option<u32>) -> String {
    let (mut v, mut i) = (v, 0);
    while v.abs() >= base && i + 1 < units.len() {
        v /= base;
        i += 1;
    }
    let digits = decimals.unwrap_or(match v.abs() {
        a if a >= 100.0 || v.fract() == 0.0 => 0,
        a if a >= 1.0 => 2,
        _ => 3,
    });
    format!("{} {}", fixed(v, digits), units.get(i).unwrap_or(&"")).trim_end().to_owned()
}

fn seconds(v: f64, decimals: Option<u32>) -> String {
    let a = v.abs();
    let with =
        |v: f64, usual: u32, unit: &str| format!("{} {unit}", fixed(v, decimals.unwrap_or(usual)));
    match a {
        0.0 => "0 s".to_owned(),
        a if a < 1e-6 => with(v * 1e9, 0, "ns"),
        a if a < 1e-3 => with(v * 1e6, 1, "µs"),
        a if a < 1.0 => with(v * 1e3, 1, "ms"),
        a if a < 120.0 => with(v, 2, "s"),
        a if a < 7_200.0 => with(v / 60.0, 1, "min"),
        a if a < 172_800.0 => with(v / 3_600.0, 1, "h"),
        _ => with(v / 86_400.0, 1, "d"),
    }
}

/// `14:05:09`, with the day before it where the range is longer than one; UTC.
pub(crate) fn clock(ms: i64, span_ms: i64) -> String {
    let seconds = ms.div_euclid(1_000);
    let (days, day) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let (h, m, s) = (day / 3_600, day / 60 % 60, day % 60);
    if span_ms > 2 * 86_400_000 {
        let (_, month, date) = date(days);
        return format!("{month:02}-{date:02} {h:02}:{m:02}");
    }
    if span_ms > 600_000 { format!("{h:02}:{m:02}") } else { format!("{h:02}:{m:02}:{s:02}") }
}

/// `2025-12-06 14:05:09`, UTC.
pub(crate) fn instant(ms: i64) -> String {
    let seconds = ms.div_euclid(1_000);
    let (days, day) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let (year, month, date) = date(days);
    format!(
        "{year:04}-{month:02}-{date:02} {:02}:{:02}:{:02}",
        day / 3_600,
        day / 60 % 60,
        day % 60
    )
}

/// Year, month and day of a number of days since 1970 (Hinnant, "chrono-compatible low-level date
/// algorithms": eras of 400 years that begin in March).
fn date(days: i64) -> (i64, i64, i64) {
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let doe = z.rem_euclid(146_097);
    let yoe = (doe - doe / 1_460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    (yoe + era * 400 + i64::from(month <= 2), month, doy - (153 * mp + 2) / 5 + 1)
}

/// Round marks between two values, about `count` of them.
pub(crate) fn ticks(low: f64, high: f64, count: usize, base: f64) -> Vec<f64> {
    let span = high - low;
    if !span.is_finite() || span <= 0.0 || count == 0 {
        return vec![low];
    }
    let rough = span / count as f64;
    let power = base.powf(rough.log(base).floor());
    let factors: &[f64] = if base == 10.0 {
        &[1.0, 2.0, 2.5, 5.0, 10.0]
    } else {
        &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0]
    };
    let step = factors.iter().map(|f| f * power).find(|s| *s >= rough).unwrap_or(rough);
    let first = (low / step).ceil() as i64;
    (0..100).map(|i| (first + i) as f64 * step).take_while(|v| *v <= high + step * 1e-9).collect()
}

/// Instants at round distances, about `count` of them.
pub(crate) fn time_ticks(from: i64, to: i64, count: usize) -> Vec<i64> {
    const STEPS: [i64; 19] = [
        1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1_800, 3_600, 7_200, 10_800, 21_600, 43_200,
        86_400, 604_800,
    ];
    let span = (to - from).max(1);
    let rough = span / (count.max(1) as i64);
    let step = STEPS.iter().map(|s| s * 1_000).find(|s| *s >= rough).unwrap_or(rough.max(1));
    let first = from.div_euclid(step) * step;
    (0..200).map(|i| first + i * step).filter(|t| *t >= from && *t <= to).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_have_their_unit() {
        for (v, unit, wanted) in [
            (1_536.0, "bytes", "1.50 KiB"),
            (0.123, "percentunit", "12.3 %"),
            (-0.01, "percent", "0.0 %"),
            (0.0042, "s", "4.2 ms"),
            (90.0, "s", "90.00 s"),
            (7_300.0, "s", "2.0 h"),
            (12_000.0, "short", "12 k"),
            (3.5, "reqps", "3.50/s"),
            (2.0, "widgets", "2 widgets"),
            (f64::NAN, "", "NaN"),
            (0.25, "", "0.250"),
        ] {
            assert_eq!(format_value(v, unit, None), wanted);
        }
        assert_eq!(format_value(2.0, "percent", Some(0)), "2 %");
    }

    #[test]
    fn instants_are_utc() {
        assert_eq!(instant(1_765_029_909_000), "2025-12-06 14:05:09");
        assert_eq!(instant(-1_000), "1969-12-31 23:59:59");
        assert_eq!(clock(1_765_029_909_000, 3_600_000), "14:05");
        assert_eq!(clock(1_765_029_909_000, 604_800_000), "12-06 14:05");
    }

    #[test]
    fn marks_are_round() {
        assert_eq!(ticks(0.0, 10.0, 5, 10.0), [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]);
        assert_eq!(ticks(3.0, 3.0, 5, 10.0), [3.0]);
        assert_eq!(time_ticks(0, 3_600_000, 6), (0..=6).map(|i| i * 600_000).collect::<Vec<_>>());
    }
}
