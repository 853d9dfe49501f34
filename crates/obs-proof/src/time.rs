//! RFC 3339 times in UTC, the only ones that receipts use.

/// Milliseconds since the Unix epoch from `2025-12-06T14:00:00Z` or with a fraction; a numeric
/// offset is applied, digits below a millisecond are cut. `None` for anything else.
pub fn parse_rfc3339(text: &str) -> Option<i64> {
    let b = text.as_bytes();
    let number = |from: usize, len: usize| -> Option<i64> {
        b.get(from..from + len)?
            .iter()
            .try_fold(0, |n, c| c.is_ascii_digit().then(|| n * 10 + i64::from(c - b'0')))
    };
    let is = |at: usize, c: u8| b.get(at) == Some(&c);
    let (year, month, day) = (number(0, 4)?, number(5, 2)?, number(8, 2)?);
    let (hour, minute, second) = (number(11, 2)?, number(14, 2)?, number(17, 2)?);
    let punctuation = is(4, b'-')
        && is(7, b'-')
        && (is(10, b'T') || is(10, b't') || is(10, b' '))
        && is(13, b':')
        && is(16, b':');
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days_in_month = match month {
        2 => 28 + i64::from(leap),
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return None,
    };
    let in_range = (1..=days_in_month).contains(&day) && hour < 24 && minute < 60 && second < 60;
    if !punctuation || !in_range {
        return None;
    }
    let mut at = 19;
    let mut ms = 0;
    if is(at, b'.') {
        at += 1;
        let start = at;
        let mut scale = 100;
        while let Some(d) = b.get(at).filter(|d| d.is_ascii_digit()) {
            ms += i64::from(d - b'0') * scale;
            scale /= 10;
            at += 1;
        }
        if at == start {
            return None;
        }
    }
    let offset_minutes = match b.get(at..)? {
        b"Z" | b"z" => 0,
        [sign @ (b'+' | b'-'), _, _, b':', _, _] => {
            let (h, m) = (number(at + 1, 2)?, number(at + 4, 2)?);
            let minutes = (h < 24 && m < 60).then_some(h * 60 + m)?;
            if *sign == b'+' { minutes } else { -minutes }
        }
        _ => return None,
    };
    let seconds = days_from_civil(year, month, day) * 86_400
        + hour * 3_600
        + (minute - offset_minutes) * 60
        + second;
    Some(seconds * 1_000 + ms)
}

/// `2025-12-06T14:00:00Z`, with `.123` only where milliseconds are not zero.
pub fn format_rfc3339(ms: i64) -> String {
    let (seconds, fraction) = (ms.div_euclid(1_000), ms.rem_euclid(1_000));
    let (days, of_day) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let (year, month, day) = civil_from_days(days);
    let (h, m, s) = (of_day / 3_600, of_day / 60 % 60, of_day % 60);
    let head = format!("{year:04}-{month:02}-{day:02}T{h:02}:{m:02}:{s:02}");
    if fraction == 0 { format!("{head}Z") } else { format!("{head}.{fraction:03}Z") }
}

/// Days since 1970-01-01 in the proleptic Gregorian calendar; years are counted from March so
/// that the leap day comes last.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let y = if month <= 2 { year - 1 } else { year };
    let (era, of_era) = (y.div_euclid(400), y.rem_euclid(400));
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let z = days + 719_468;
    let (era, of_era) = (z.div_euclid(146_097), z.rem_euclid(146_097));
    let y = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * y + y / 4 - y / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    (y + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_times() {
        for (text, ms) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2025-12-06T14:00:00Z", 1_765_029_600_000),
            ("2025-12-06T14:30:02.345Z", 1_765_031_402_345),
            ("2000-02-29T23:59:59Z", 951_868_799_000),
            ("1969-12-31T23:59:59.999Z", -1),
        ] {
            assert_eq!(parse_rfc3339(text), Some(ms), "{text}");
            assert_eq!(format_rfc3339(ms), text);
        }
        assert_eq!(parse_rfc3339("2025-12-06T15:00:00+01:00"), Some(1_765_029_600_000));
    }

    #[test]
    fn round_trip_over_four_centuries() {
        for day in (-80_000..80_000).step_by(13) {
            let ms = day * 86_400_000 + 12_345_678;
            assert_eq!(parse_rfc3339(&format_rfc3339(ms)), Some(ms));
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for text in [
            "",
            "2025-12-06",
            "2025-13-06T14:00:00Z",
            "2025-02-29T14:00:00Z",
            "2025-12-06T24:00:00Z",
            "2025-12-06T14:00:00",
            "2025-12-06T14:00:00.Z",
            "2025-12-06T14:00:00+1:00",
            "2025-12-06T14:00:00Zx",
            "é025-12-06T14:00:00Z",
        ] {
            assert_eq!(parse_rfc3339(text), None, "{text}");
        }
    }
}
