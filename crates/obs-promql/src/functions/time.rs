//! Parts of a date, UTC, of a time in seconds since the epoch.

use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use super::elementwise::Elementwise;

fn of(seconds: f64, part: impl Fn(DateTime) -> f64) -> f64 {
    if !seconds.is_finite() {
        return f64::NAN;
    }
    jiff::Timestamp::from_second(seconds as i64)
        .map_or(f64::NAN, |t| part(t.to_zoned(TimeZone::UTC).datetime()))
}

pub(crate) fn find(name: &str) -> Option<Elementwise> {
    Some(match name {
        "year" => |v| of(v, |d| f64::from(d.year())),
        "month" => |v| of(v, |d| f64::from(d.month())),
        "day_of_month" => |v| of(v, |d| f64::from(d.day())),
        "day_of_year" => |v| of(v, |d| f64::from(d.date().day_of_year())),
        "day_of_week" => |v| of(v, |d| f64::from(d.weekday().to_sunday_zero_offset())),
        "days_in_month" => |v| of(v, |d| f64::from(d.date().days_in_month())),
        "hour" => |v| of(v, |d| f64::from(d.hour())),
        "minute" => |v| of(v, |d| f64::from(d.minute())),
        _ => return None,
    })
}
