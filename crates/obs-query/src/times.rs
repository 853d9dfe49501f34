use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use obs_types::{DurationMs, TimestampMs, TimestampNs};

/// A time or duration parameter that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} {input:?} is not {expected}")]
pub struct TimeError {
    pub what: &'static str,
    pub input: String,
    pub expected: &'static str,
}

const TIME_FORMS: &str = "RFC 3339, YYYY-MM-DD, Unix seconds or \"now\"";
const DURATION_FORMS: &str = "a duration such as 30s, 15m, 1h30m, 7d";

/// Reads `30s`, `1h30m`, `7d`, `2w`, `1y`, `250ms`; units as in Prometheus, each at most once and
/// in falling order is not required.
pub fn parse_duration(input: &str) -> Result<DurationMs, TimeError> {
    let wrong =
        || TimeError { what: "duration", input: input.to_owned(), expected: DURATION_FORMS };
    let mut rest = input.trim();
    let mut total: i64 = 0;
    if rest.is_empty() {
        return Err(wrong());
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(wrong)?;
        let (number, tail) = rest.split_at_checked(digits).ok_or_else(wrong)?;
        let unit_len = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at_checked(unit_len).ok_or_else(wrong)?;
        let factor: f64 = match unit {
            "ms" => 1.0,
            "s" => 1e3,
            "m" => 6e4,
            "h" => 3.6e6,
            "d" => 8.64e7,
            "w" => 6.048e8,
            "y" => 3.1536e10,
            _ => return Err(wrong()),
        };
        let number: f64 = number.parse().map_err(|_source| wrong())?;
        let ms = number * factor;
        if !ms.is_finite() || ms > 1e15 {
            return Err(wrong());
        }
        total = total.saturating_add(ms.round() as i64);
        rest = tail;
    }
    Ok(DurationMs(total))
}

/// Reads a point in time; a bare date is its midnight UTC. Numbers are Unix seconds, with fraction;
/// from 10^11 on milliseconds, from 10^17 on nanoseconds, as the dialects' clients send them.
pub fn parse_time(input: &str, now: TimestampMs) -> Result<TimestampNs, TimeError> {
    let wrong = || TimeError { what: "time", input: input.to_owned(), expected: TIME_FORMS };
    let text = input.trim();
    if text == "now" {
        return Ok(now.to_ns());
    }
    if let Some(back) = text.strip_prefix("now-") {
        return Ok(now.saturating_sub(parse_duration(back)?).to_ns());
    }
    if let Ok(whole) = text.parse::<i64>() {
        let magnitude = whole.unsigned_abs();
        let ns = if magnitude >= 100_000_000_000_000_000 {
            whole
        } else if magnitude >= 100_000_000_000 {
            whole.checked_mul(1_000_000).ok_or_else(wrong)?
        } else {
            whole.checked_mul(1_000_000_000).ok_or_else(wrong)?
        };
        return Ok(TimestampNs(ns));
    }
    if let Ok(seconds) = text.parse::<f64>() {
        let ns = seconds * 1e9;
        return (ns.is_finite() && ns.abs() < 9.2e18)
            .then(|| TimestampNs((seconds * 1e3).round() as i64 * 1_000_000))
            .ok_or_else(wrong);
    }
    if let Ok(date) = text.parse::<Date>()
        && text.len() == 10
    {
        let zoned = date.to_zoned(TimeZone::UTC).map_err(|_source| wrong())?;
        return ns_from_timestamp(zoned.timestamp()).ok_or_else(wrong);
    }
    let stamp: Timestamp = text.parse().map_err(|_source| wrong())?;
    ns_from_timestamp(stamp).ok_or_else(wrong)
}

fn ns_from_timestamp(t: Timestamp) -> Option<TimestampNs> {
    i64::try_from(t.as_nanosecond()).ok().map(TimestampNs)
}

/// Reads the window of a request: `last` back from `to`, or `from`, or `default_back` before the
/// end; `to` defaults to now. `Err` also when the window ends before it starts.
pub fn parse_window(
    last: Option<&str>,
    from: Option<&str>,
    to: Option<&str>,
    default_back: DurationMs,
    now: TimestampMs,
) -> Result<(TimestampNs, TimestampNs), TimeError> {
    let end = to.map_or(Ok(now.to_ns()), |t| parse_time(t, now))?;
    let back = |d: DurationMs| TimestampNs(end.0.saturating_sub(d.0.saturating_mul(1_000_000)));
    let start = match (last, from) {
        (_, Some(from)) => parse_time(from, now)?,
        (Some(last), None) => back(parse_duration(last)?),
        (None, None) => back(default_back),
    };
    if start > end {
        return Err(TimeError {
            what: "window",
            input: format!("{} .. {}", format_ns(start), format_ns(end)),
            expected: "in order: it ends before it starts",
        });
    }
    Ok((start, end))
}

/// RFC 3339 UTC, with milliseconds only where they are not zero.
pub fn format_time(t: TimestampMs) -> String {
    let stamp = Timestamp::from_millisecond(t.0).unwrap_or(Timestamp::UNIX_EPOCH);
    if t.0.rem_euclid(1000) == 0 { format!("{stamp:.0}") } else { format!("{stamp:.3}") }
}

/// RFC 3339 UTC with as many decimals as the value needs (0, 3, 6 or 9).
pub fn format_ns(t: TimestampNs) -> String {
    let stamp = Timestamp::from_nanosecond(i128::from(t.0)).unwrap_or(Timestamp::UNIX_EPOCH);
    match t.0 {
        n if n.rem_euclid(1_000_000_000) == 0 => format!("{stamp:.0}"),
        n if n.rem_euclid(1_000_000) == 0 => format!("{stamp:.3}"),
        n if n.rem_euclid(1_000) == 0 => format!("{stamp:.6}"),
        _ => format!("{stamp:.9}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: TimestampMs = TimestampMs(1_765_029_600_000);

    #[test]
    fn reads_every_form_of_time() {
        let at = TimestampNs(1_765_029_600_000_000_000);
        for text in ["2025-12-06T14:00:00Z", "1765029600", "1765029600.0", "1765029600000", "now"] {
            assert_eq!(parse_time(text, NOW), Ok(at), "{text}");
        }
        assert_eq!(parse_time("2025-12-06", NOW).unwrap().0, 1_764_979_200_000_000_000);
        assert_eq!(parse_time("now-1h", NOW).unwrap().0, at.0 - 3_600_000_000_000);
        assert_eq!(format_ns(at), "2025-12-06T14:00:00Z");
        assert_eq!(format_time(TimestampMs(NOW.0 + 5)), "2025-12-06T14:00:00.005Z");
    }

    #[test]
    fn wrong_input_says_what_was_expected() {
        assert!(parse_time("yesterday", NOW).unwrap_err().to_string().contains("RFC 3339"));
        for bad in ["", "5", "h", "5x", "1h-2m", "9e99y"] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
        assert_eq!(parse_duration("1h30m"), Ok(DurationMs(5_400_000)));
        let e = parse_window(None, Some("2025-12-07"), Some("2025-12-06"), DurationMs::HOUR, NOW);
        assert!(e.unwrap_err().to_string().contains("ends before it starts"));
    }
}
