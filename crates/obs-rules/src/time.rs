use jiff::Timestamp;
use obs_types::TimestampMs;

/// `2025-12-06T14:35:00Z`, with milliseconds only where there are some. Saturates at the ends of
/// the calendar.
pub fn time_text(t: TimestampMs) -> String {
    let time = Timestamp::from_millisecond(t.0).unwrap_or(if t.0 < 0 {
        Timestamp::MIN
    } else {
        Timestamp::MAX
    });
    if time.as_millisecond().rem_euclid(1000) == 0 {
        time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
    } else {
        time.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string()
    }
}

/// Reads RFC 3339.
pub fn parse_time(text: &str) -> Option<TimestampMs> {
    text.parse::<Timestamp>().ok().map(|t| TimestampMs(t.as_millisecond()))
}

/// `2025-12-06`
pub(crate) fn day_text(t: TimestampMs) -> String {
    time_text(t).chars().take_while(|c| *c != 'T').collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trips() {
        for text in ["2025-12-06T14:35:00Z", "2025-12-06T14:35:00.120Z"] {
            assert_eq!(time_text(parse_time(text).unwrap()), text);
        }
        assert_eq!(day_text(TimestampMs(0)), "1970-01-01");
        assert!(!time_text(TimestampMs::MAX).is_empty());
    }
}
