//! Times in Go's layouts (`2006-01-02 15:04:05`), as templates use them.

use jiff::civil::DateTime;
use jiff::tz::{Offset, TimeZone};
use jiff::{Timestamp, Zoned};

/// How Go shows a time without a layout. Templates hand times from function to function as this
/// text, because a template value has no time type.
const DEFAULT_LAYOUT: &str = "2006-01-02 15:04:05.999999999 -0700 MST";

#[derive(Clone, Debug)]
pub(crate) struct Time {
    /// Since the Unix epoch.
    pub(crate) ns: i64,
    zone: TimeZone,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part<'l> {
    Literal(&'l str),
    Year4,
    Year2,
    MonthNumber {
        padded: bool,
    },
    MonthName {
        long: bool,
    },
    Day {
        pad: Option<char>,
    },
    YearDay,
    WeekdayName {
        long: bool,
    },
    Hour24,
    Hour12 {
        padded: bool,
    },
    Minute {
        padded: bool,
    },
    Second {
        padded: bool,
    },
    AmPm {
        upper: bool,
    },
    /// Digits after a dot or comma; `fixed` keeps trailing zeros.
    Fraction {
        digits: usize,
        fixed: bool,
        mark: char,
    },
    Zone {
        z: bool,
        colon: bool,
        minutes: bool,
    },
    ZoneName,
}

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const WEEKDAYS: [&str; 7] =
    ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];

/// Longer elements first where one is the start of another.
const ELEMENTS: [(&str, Part<'static>); 29] = [
    ("2006", Part::Year4),
    ("January", Part::MonthName { long: true }),
    ("Jan", Part::MonthName { long: false }),
    ("Monday", Part::WeekdayName { long: true }),
    ("Mon", Part::WeekdayName { long: false }),
    ("MST", Part::ZoneName),
    ("Z07:00", Part::Zone { z: true, colon: true, minutes: true }),
    ("Z0700", Part::Zone { z: true, colon: false, minutes: true }),
    ("Z07", Part::Zone { z: true, colon: false, minutes: false }),
    ("-07:00", Part::Zone { z: false, colon: true, minutes: true }),
    ("-0700", Part::Zone { z: false, colon: false, minutes: true }),
    ("-07", Part::Zone { z: false, colon: false, minutes: false }),
    ("002", Part::YearDay),
    ("01", Part::MonthNumber { padded: true }),
    ("02", Part::Day { pad: Some('0') }),
    ("03", Part::Hour12 { padded: true }),
    ("04", Part::Minute { padded: true }),
    ("05", Part::Second { padded: true }),
    ("06", Part::Year2),
    ("15", Part::Hour24),
    ("_2006", Part::Literal("_")),
    ("_2", Part::Day { pad: Some(' ') }),
    ("PM", Part::AmPm { upper: true }),
    ("pm", Part::AmPm { upper: false }),
    ("1", Part::MonthNumber { padded: false }),
    ("2", Part::Day { pad: None }),
    ("3", Part::Hour12 { padded: false }),
    ("4", Part::Minute { padded: false }),
    ("5", Part::Second { padded: false }),
];

impl Time {
    pub(crate) fn utc(ns: i64) -> Self {
        Self { ns, zone: TimeZone::UTC }
    }

    fn zoned(&self) -> Zoned {
        Timestamp::from_nanosecond(i128::from(self.ns))
            .unwrap_or(Timestamp::UNIX_EPOCH)
            .to_zoned(self.zone.clone())
    }

    pub(crate) fn default_text(&self) -> String {
        format(DEFAULT_LAYOUT, self)
    }
}

/// What Go shows for a time that could not be read.
pub(crate) fn zero_text() -> String {
    "0001-01-01 00:00:00 +0000 UTC".into()
}

fn parts(layout: &str) -> Vec<Part<'_>> {
    let mut out: Vec<Part<'_>> = Vec::new();
    let mut rest = layout;
    'next: while let Some(first) = rest.chars().next() {
        if matches!(first, '.' | ',') {
            let body = rest.get(1..).unwrap_or("");
            let zeros = body.len() - body.trim_start_matches('0').len();
            let nines = body.len() - body.trim_start_matches('9').len();
            let digits = zeros.max(nines);
            let ends = !body.get(digits..).unwrap_or("").starts_with(|c: char| c.is_ascii_digit());
            if digits > 0 && ends {
                out.push(Part::Fraction { digits, fixed: zeros > 0, mark: first });
                rest = body.get(digits..).unwrap_or("");
                continue;
            }
        }
        for (text, part) in ELEMENTS {
            if let Some(tail) = rest.strip_prefix(text) {
                if text == "_2006" {
                    out.push(Part::Literal("_"));
                    out.push(Part::Year4);
                } else {
                    out.push(part);
                }
                rest = tail;
                continue 'next;
            }
        }
        let (literal, tail) = rest.split_at_checked(first.len_utf8()).unwrap_or((rest, ""));
        out.push(Part::Literal(literal));
        rest = tail;
    }
    out
}

pub(crate) fn format(layout: &str, time: &Time) -> String {
    let z = time.zoned();
    let hour12 = (z.hour() + 11).rem_euclid(12) + 1;
    let mut out = String::with_capacity(layout.len() + 8);
    for part in parts(layout) {
        let piece = match part {
            Part::Literal(text) => text.to_owned(),
            Part::Year4 => format!("{:04}", z.year()),
            Part::Year2 => format!("{:02}", z.year().rem_euclid(100)),
            Part::MonthNumber { padded } => number(z.month().into(), padded),
            Part::MonthName { long } => name(&MONTHS, usize::try_from(z.month() - 1), long),
            Part::Day { pad: Some(' ') } => format!("{:>2}", z.day()),
            Part::Day { pad } => number(z.day().into(), pad.is_some()),
            Part::YearDay => format!("{:03}", z.day_of_year()),
            Part::WeekdayName { long } => {
                name(&WEEKDAYS, usize::try_from(z.weekday().to_monday_zero_offset()), long)
            }
            Part::Hour24 => number(z.hour().into(), true),
            Part::Hour12 { padded } => number(hour12.into(), padded),
            Part::Minute { padded } => number(z.minute().into(), padded),
            Part::Second { padded } => number(z.second().into(), padded),
            Part::AmPm { upper } => {
                let text = if z.hour() < 12 { "AM" } else { "PM" };
                if upper { text.to_owned() } else { text.to_lowercase() }
            }
            Part::Fraction { digits, fixed, mark } => {
                let all = format!("{:09}", time.ns.rem_euclid(1_000_000_000));
                let shown = all.get(..digits.min(9)).unwrap_or("");
                let shown = if fixed { shown } else { shown.trim_end_matches('0') };
                if shown.is_empty() { String::new() } else { format!("{mark}{shown}") }
            }
            Part::Zone { z: true, .. } if z.offset().seconds() == 0 => "Z".into(),
            Part::Zone { colon, minutes, .. } => {
                let seconds = z.offset().seconds();
                let sign = if seconds < 0 { '-' } else { '+' };
                let (h, m) = (seconds.abs() / 3600, seconds.abs() / 60 % 60);
                match (minutes, colon) {
                    (false, _) => format!("{sign}{h:02}"),
                    (true, true) => format!("{sign}{h:02}:{m:02}"),
                    (true, false) => format!("{sign}{h:02}{m:02}"),
                }
            }
            Part::ZoneName => z.strftime("%Z").to_string(),
        };
        out.push_str(&piece);
    }
    out
}

fn number(value: i64, padded: bool) -> String {
    if padded { format!("{value:02}") } else { value.to_string() }
}

fn name<E>(names: &[&str], index: Result<usize, E>, long: bool) -> String {
    let name = index.ok().and_then(|i| names.get(i)).copied().unwrap_or("");
    if long { name.to_owned() } else { name.chars().take(3).collect() }
}

/// Reads `text` by `layout`; a layout without a zone means `zone` (UTC if that is unknown).
pub(crate) fn parse(layout: &str, text: &str, zone: &str) -> Option<Time> {
    let (mut year, mut month, mut day) = (0i16, 1i8, 1i8);
    let (mut hour, mut minute, mut second, mut nanosecond) = (0i8, 0i8, 0i8, 0i32);
    let (mut afternoon, mut twelve, mut offset) = (None, false, None);
    let mut rest = text;
    let all = parts(layout);
    for (i, part) in all.iter().enumerate() {
        match *part {
            Part::Literal(l) => rest = rest.strip_prefix(l)?,
            Part::Year4 => year = i16::try_from(digits(&mut rest, 4, 4)?).ok()?,
            Part::Year2 => {
                let y = i16::try_from(digits(&mut rest, 2, 2)?).ok()?;
                year = if y >= 69 { 1900 + y } else { 2000 + y };
            }
            Part::MonthNumber { padded } => {
                month = i8::try_from(digits(&mut rest, if padded { 2 } else { 1 }, 2)?).ok()?;
            }
            Part::MonthName { long } => {
                month = i8::try_from(take_name(&mut rest, &MONTHS, long)? + 1).ok()?;
            }
            Part::Day { pad } => {
                if pad == Some(' ') {
                    rest = rest.trim_start_matches(' ');
                }
                let least = if pad == Some('0') { 2 } else { 1 };
                day = i8::try_from(digits(&mut rest, least, 2)?).ok()?;
            }
            Part::YearDay => {
                digits(&mut rest, 3, 3)?;
            }
            Part::WeekdayName { long } => {
                take_name(&mut rest, &WEEKDAYS, long)?;
            }
            Part::Hour24 => hour = i8::try_from(digits(&mut rest, 2, 2)?).ok()?,
            Part::Hour12 { padded } => {
                twelve = true;
                hour = i8::try_from(digits(&mut rest, if padded { 2 } else { 1 }, 2)?).ok()?;
            }
            Part::Minute { padded } => {
                minute = i8::try_from(digits(&mut rest, if padded { 2 } else { 1 }, 2)?).ok()?;
            }
            Part::Second { padded } => {
                second = i8::try_from(digits(&mut rest, if padded { 2 } else { 1 }, 2)?).ok()?;
                // Go takes a fraction after the seconds even if the layout has none.
                let fraction_follows = matches!(all.get(i + 1), Some(Part::Fraction { .. }));
                if !fraction_follows && rest.starts_with(['.', ',']) {
                    nanosecond = fraction(&mut rest)?;
                }
            }
            Part::AmPm { .. } => {
                let mark = rest.get(..2)?;
                afternoon = Some(match mark.to_ascii_uppercase().as_str() {
                    "AM" => false,
                    "PM" => true,
                    _ => return None,
                });
                rest = rest.get(2..)?;
            }
            Part::Fraction { fixed, .. } => {
                if fixed || rest.starts_with(['.', ',']) {
                    nanosecond = fraction(&mut rest)?;
                }
            }
            Part::Zone { z: true, .. } if rest.starts_with('Z') => {
                rest = rest.get(1..)?;
                offset = Some(0);
            }
            Part::Zone { colon, minutes, .. } => {
                let sign = match rest.chars().next()? {
                    '+' => 1,
                    '-' => -1,
                    _ => return None,
                };
                rest = rest.get(1..)?;
                let mut seconds = digits(&mut rest, 2, 2)? * 3600;
                if minutes {
                    if colon {
                        rest = rest.strip_prefix(':')?;
                    }
                    seconds += digits(&mut rest, 2, 2)? * 60;
                }
                offset = Some(sign * seconds);
            }
            Part::ZoneName => {
                let end = rest.find(|c: char| !c.is_ascii_uppercase()).unwrap_or(rest.len());
                rest = rest.get(end..)?;
            }
        }
    }
    if !rest.is_empty() {
        return None;
    }
    if twelve || afternoon.is_some() {
        match afternoon {
            Some(true) if hour < 12 => hour += 12,
            Some(false) if hour == 12 => hour = 0,
            _ => {}
        }
    }
    let civil = DateTime::new(year, month, day, hour, minute, second, nanosecond).ok()?;
    let zone = match offset {
        Some(0) => TimeZone::UTC,
        Some(seconds) => TimeZone::fixed(Offset::from_seconds(i32::try_from(seconds).ok()?).ok()?),
        None => TimeZone::get(zone).unwrap_or(TimeZone::UTC),
    };
    let zoned = civil.to_zoned(zone.clone()).ok()?;
    let ns = i64::try_from(zoned.timestamp().as_nanosecond()).ok()?;
    Some(Time { ns, zone })
}

/// Reads what [`Time::default_text`] wrote.
pub(crate) fn from_default_text(text: &str) -> Option<Time> {
    let mut words = text.splitn(4, ' ');
    let (date, clock, offset) = (words.next()?, words.next()?, words.next()?);
    parse("2006-01-02 15:04:05.999999999 -0700", &format!("{date} {clock} {offset}"), "UTC")
}

fn digits(rest: &mut &str, least: usize, most: usize) -> Option<i64> {
    let len = rest.bytes().take(most).take_while(u8::is_ascii_digit).count();
    if len < least {
        return None;
    }
    let value = rest.get(..len)?.parse().ok()?;
    *rest = rest.get(len..)?;
    Some(value)
}

fn fraction(rest: &mut &str) -> Option<i32> {
    let body = rest.strip_prefix(['.', ','])?;
    let len = body.bytes().take_while(u8::is_ascii_digit).count();
    let text = body.get(..len.min(9)).filter(|t| !t.is_empty())?;
    let value: i32 = format!("{text:0<9}").parse().ok()?;
    *rest = body.get(len..)?;
    Some(value)
}

fn take_name(rest: &mut &str, names: &[&str], long: bool) -> Option<usize> {
    for (i, name) in names.iter().enumerate() {
        let wanted = if long { name } else { name.get(..3)? };
        if rest.get(..wanted.len()).is_some_and(|t| t.eq_ignore_ascii_case(wanted)) {
            *rest = rest.get(wanted.len()..)?;
            return Some(i);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layouts_round_trip() {
        let time = Time::utc(1_700_000_000_123_456_789);
        for layout in [
            DEFAULT_LAYOUT,
            "2006-01-02T15:04:05.999999999Z07:00",
            "Mon, 02 Jan 2006 15:04:05.000000000 -0700",
            "Monday January 2 2006 3:04:05.000000000PM -07:00",
        ] {
            let shown = format(layout, &time);
            assert_eq!(parse(layout, &shown, "UTC").map(|t| t.ns), Some(time.ns), "{shown}");
        }
        assert_eq!(from_default_text(&time.default_text()).map(|t| t.ns), Some(time.ns));
    }

    #[test]
    fn zones_apply_where_the_text_has_none() {
        let t = parse("2006-01-02 15:04", "2024-06-01 12:00", "Europe/Berlin").unwrap();
        assert_eq!(format("15:04 MST -0700", &t), "12:00 CEST +0200");
        assert_eq!(t.ns, 1_717_236_000_000_000_000);
        assert!(parse("2006-01-02", "2024-13-01", "UTC").is_none());
        assert!(parse("2006-01-02", "é", "UTC").is_none());
    }
}
