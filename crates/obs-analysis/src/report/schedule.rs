use jiff::civil::{Time, Weekday};
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp, Zoned};
use obs_types::TimestampMs;

use super::Period;

/// When a report is made, UTC.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Schedule {
    pub period: Period,
    time: Time,
    weekday: Weekday,
    /// Of the month; the last one where the month is shorter.
    day: i8,
}

/// What a schedule must look like.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no time of a {period} report; write it as {example:?} (UTC), or off")]
pub struct ScheduleError {
    text: String,
    period: &'static str,
    example: &'static str,
}

impl Schedule {
    /// `06:00` for a daily report, `monday 06:00` for a weekly one, `1 06:00` (day of the month) for
    /// a monthly one.
    pub fn parse(period: Period, text: &str) -> Result<Self, ScheduleError> {
        let wrong = || ScheduleError {
            text: text.to_owned(),
            period: period.as_str(),
            example: match period {
                Period::Daily => "06:00",
                Period::Weekly => "monday 06:00",
                Period::Monthly => "1 06:00",
            },
        };
        let (day, time) = match (period, text.trim().split_once(char::is_whitespace)) {
            (Period::Daily, None) => ("", text.trim()),
            (Period::Weekly | Period::Monthly, Some((day, time))) => (day, time.trim()),
            _ => return Err(wrong()),
        };
        let (hour, minute) = time.split_once(':').ok_or_else(wrong)?;
        let number = |t: &str| t.parse::<i8>().map_err(|_not_a_number| wrong());
        let mut out = Self {
            period,
            time: Time::new(number(hour)?, number(minute)?, 0, 0).map_err(|_range| wrong())?,
            weekday: Weekday::Monday,
            day: 1,
        };
        match period {
            Period::Daily => {}
            Period::Weekly => {
                out.weekday = match day.to_ascii_lowercase().as_str() {
                    "monday" => Weekday::Monday,
                    "tuesday" => Weekday::Tuesday,
                    "wednesday" => Weekday::Wednesday,
                    "thursday" => Weekday::Thursday,
                    "friday" => Weekday::Friday,
                    "saturday" => Weekday::Saturday,
                    "sunday" => Weekday::Sunday,
                    _ => return Err(wrong()),
                };
            }
            Period::Monthly => {
                out.day = number(day)?;
                if !(1..=31).contains(&out.day) {
                    return Err(wrong());
                }
            }
        }
        Ok(out)
    }

    /// The newest instant at or before `now` at which a report was due.
    pub fn last_due(&self, now: TimestampMs) -> TimestampMs {
        let now = Timestamp::from_millisecond(now.0).unwrap_or_default().to_zoned(TimeZone::UTC);
        let days = match self.period {
            Period::Daily => 2,
            Period::Weekly => 8,
            Period::Monthly => 63,
        };
        let due = (0..days).find_map(|back| {
            let day = now.date().checked_sub(Span::new().days(back)).ok()?;
            let fits = match self.period {
                Period::Daily => true,
                Period::Weekly => day.weekday() == self.weekday,
                Period::Monthly => day.day() == self.day.min(day.last_of_month().day()),
            };
            let at: Zoned = day.to_datetime(self.time).to_zoned(TimeZone::UTC).ok()?;
            (fits && at <= now).then(|| at.timestamp().as_millisecond())
        });
        TimestampMs(due.unwrap_or(i64::MIN))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> TimestampMs {
        TimestampMs(text.parse::<Timestamp>().unwrap().as_millisecond())
    }

    #[test]
    fn the_newest_time_that_has_come() {
        for (period, text, now, due) in [
            (Period::Daily, "06:00", "2025-12-06T06:00:00Z", "2025-12-06T06:00:00Z"),
            (Period::Daily, "06:00", "2025-12-06T05:59:59Z", "2025-12-05T06:00:00Z"),
            // A Saturday.
            (Period::Weekly, "Monday 00:10", "2025-12-06T12:00:00Z", "2025-12-01T00:10:00Z"),
            (Period::Weekly, "saturday 13:00", "2025-12-06T12:00:00Z", "2025-11-29T13:00:00Z"),
            (Period::Monthly, "1 00:15", "2025-12-06T12:00:00Z", "2025-12-01T00:15:00Z"),
            (Period::Monthly, "31 00:15", "2025-12-06T12:00:00Z", "2025-11-30T00:15:00Z"),
            (Period::Monthly, "31 00:15", "2026-02-28T00:15:00Z", "2026-02-28T00:15:00Z"),
        ] {
            let schedule = Schedule::parse(period, text).unwrap();
            assert_eq!(schedule.last_due(at(now)), at(due), "{text} at {now}");
        }
    }

    #[test]
    fn what_is_no_time_is_named() {
        for (period, text) in [
            (Period::Daily, "monday 06:00"),
            (Period::Daily, "25:00"),
            (Period::Weekly, "06:00"),
            (Period::Weekly, "moonday 06:00"),
            (Period::Monthly, "32 06:00"),
            (Period::Monthly, "0 06:00"),
        ] {
            let e = Schedule::parse(period, text).unwrap_err().to_string();
            assert!(e.contains(text) && e.contains(period.as_str()), "{e}");
        }
    }

    #[test]
    fn a_month_is_a_calendars() {
        let start = |end: &str| Period::Monthly.start(at(end));
        assert_eq!(start("2025-03-01T00:15:00Z"), at("2025-02-01T00:15:00Z"));
        assert_eq!(start("2025-03-31T00:15:00Z"), at("2025-02-28T00:15:00Z"));
        assert_eq!(Period::Weekly.start(at("2025-12-08T00:00:00Z")), at("2025-12-01T00:00:00Z"));
    }
}
