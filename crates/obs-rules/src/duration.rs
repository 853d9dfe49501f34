use obs_types::DurationMs;

const UNITS: [(&str, i64); 7] = [
    ("y", 365 * 86_400_000),
    ("w", 7 * 86_400_000),
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];

/// Reads a Prometheus duration: `5m`, `1h30m`, `2m59s999ms`, `0`. Units fall from `y` to `ms`, each
/// at most once. The error says what is wrong with the text.
pub fn parse_duration(text: &str) -> Result<DurationMs, String> {
    let fail = || format!("not a valid duration string: {text:?}");
    match text {
        "" => return Err("empty duration string".to_owned()),
        "0" => return Ok(DurationMs(0)),
        _ => {}
    }
    let mut total: i64 = 0;
    let mut next_unit = 0;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(fail)?;
        let (number, tail) = rest.split_at(digits);
        let letters = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(letters);
        let number: i64 = number.parse().map_err(|_e| fail())?;
        let at = UNITS.iter().position(|(name, _)| *name == unit).ok_or_else(fail)?;
        if at < next_unit {
            return Err(fail());
        }
        next_unit = at + 1;
        total = UNITS
            .get(at)
            .and_then(|(_, ms)| number.checked_mul(*ms))
            .and_then(|ms| total.checked_add(ms))
            .ok_or_else(|| format!("duration out of range: {text:?}"))?;
        rest = tail;
    }
    Ok(DurationMs(total))
}

/// Writes a duration as Prometheus does: `5m`, `1h30m`, `0s`. Weeks and years only when exact.
pub fn format_duration(duration: DurationMs) -> String {
    let mut ms = duration.0.unsigned_abs();
    if ms == 0 {
        return "0s".to_owned();
    }
    let mut out = String::new();
    if duration.0 < 0 {
        out.push('-');
    }
    for (unit, size) in UNITS {
        let size = size.unsigned_abs();
        let exact_only = matches!(unit, "y" | "w");
        if exact_only && !ms.is_multiple_of(size) {
            continue;
        }
        let count = ms / size;
        if count > 0 {
            out.push_str(&format!("{count}{unit}"));
            ms -= count * size;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_writes_what_prometheus_does() {
        for (text, ms) in [
            ("0", 0),
            ("5m", 300_000),
            ("1h30m", 5_400_000),
            ("2m59s999ms", 179_999),
            ("1d", 86_400_000),
            ("106700d", 106_700 * 86_400_000),
        ] {
            assert_eq!(parse_duration(text), Ok(DurationMs(ms)), "{text}");
        }
        for text in ["", "5", "m", "5m5m", "1m1h", "-5m", "5 m", "99999999999y", "5minutes"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
        for (ms, text) in [(0, "0s"), (300_000, "5m"), (90_000, "1m30s"), (604_800_000, "1w")] {
            assert_eq!(format_duration(DurationMs(ms)), text);
        }
        assert_eq!(format_duration(DurationMs(10 * 86_400_000)), "10d");
    }
}
