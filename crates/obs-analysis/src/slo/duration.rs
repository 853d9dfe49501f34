use obs_types::DurationMs;

const UNITS: [(&str, i64); 6] = [
    ("w", 7 * DurationMs::DAY.0),
    ("d", DurationMs::DAY.0),
    ("h", DurationMs::HOUR.0),
    ("m", DurationMs::MINUTE.0),
    ("s", DurationMs::SECOND.0),
    ("ms", 1),
];

/// `30d`, `1h30m`, `90s`: Prometheus' durations. `None` for anything else and above 100 years.
pub(crate) fn parse_duration(text: &str) -> Option<DurationMs> {
    let mut rest = text.trim();
    let mut total: i64 = 0;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let (number, tail) = rest.split_at_checked(digits)?;
        let letters = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at_checked(letters)?;
        let factor = match unit {
            "y" => 365 * DurationMs::DAY.0,
            unit => UNITS.iter().find(|(name, _)| *name == unit)?.1,
        };
        total = total.checked_add(number.parse::<i64>().ok()?.checked_mul(factor)?)?;
        rest = tail;
    }
    (total <= 36_525 * DurationMs::DAY.0).then_some(DurationMs(total))
}

/// The shortest text of whole units: `30d`, `1h30m`.
pub(crate) fn duration_text(d: DurationMs) -> String {
    let mut rest = d.0.max(0);
    let mut out = String::new();
    // Weeks are not written: a month is 30d in every document.
    for (unit, factor) in UNITS.into_iter().skip(1) {
        if rest >= factor {
            out.push_str(&format!("{}{unit}", rest / factor));
            rest %= factor;
        }
    }
    if out.is_empty() { "0s".to_owned() } else { out }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_round_trip() {
        for (text, ms) in
            [("30d", 2_592_000_000), ("1h30m", 5_400_000), ("5m", 300_000), ("250ms", 250)]
        {
            assert_eq!(parse_duration(text), Some(DurationMs(ms)));
            assert_eq!(duration_text(DurationMs(ms)), text);
        }
        assert_eq!(parse_duration("1w"), Some(DurationMs(7 * DurationMs::DAY.0)));
        for wrong in ["", "d", "5", "5x", "-5m", "99999999999999d", "1e3s", "5 m"] {
            assert_eq!(parse_duration(wrong), None, "{wrong}");
        }
    }
}
