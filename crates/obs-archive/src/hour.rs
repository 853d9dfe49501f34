use std::fmt;

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use obs_types::{TimeRangeMs, TimeRangeNs, TimestampMs, TimestampNs};

const HOUR_MS: i64 = 3_600_000;

/// One of the three kinds of telemetry that are sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Signal {
    Metrics,
    Logs,
    Traces,
}

/// One clock hour, UTC, named by the instant it ends: `hour-14` holds 13:00 up to 14:00, and
/// 23:00 up to 24:00 is `hour-00` of the next date.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hour {
    /// Milliseconds since the Unix epoch, a multiple of one hour.
    end_ms: i64,
}

/// The name of one sealed file. Revision 0 is the hour's seal, higher ones hold late data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SealName {
    pub signal: Signal,
    pub hour: Hour,
    pub revision: u32,
}

impl Signal {
    pub const ALL: [Self; 3] = [Self::Metrics, Self::Logs, Self::Traces];

    /// The folder under `telemetry/` and the `stream` of a receipt.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Metrics => "metrics",
            Self::Logs => "logs",
            Self::Traces => "traces",
        }
    }

    /// The file ending without its leading dot.
    pub fn extension(self) -> &'static str {
        match self {
            Self::Metrics | Self::Traces => "parquet",
            Self::Logs => "jsonl.gz",
        }
    }

    pub fn from_text(s: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|signal| signal.as_str() == s)
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl Hour {
    /// The hour that ends at `end`; `None` if `end` is not a full hour between the years 1 and
    /// 9998.
    pub fn ending_at(end: TimestampMs) -> Option<Self> {
        let hour = Self { end_ms: end.0 };
        let in_range = Timestamp::from_millisecond(end.0)
            .is_ok_and(|t| (1..9999).contains(&t.to_zoned(TimeZone::UTC).year()));
        (end.0.rem_euclid(HOUR_MS) == 0 && in_range).then_some(hour)
    }

    /// The hour that holds `t`.
    pub fn containing(t: TimestampMs) -> Option<Self> {
        Self::ending_at(TimestampMs(t.0.div_euclid(HOUR_MS).checked_add(1)?.checked_mul(HOUR_MS)?))
    }

    /// The hour that holds `t`.
    pub fn containing_ns(t: TimestampNs) -> Option<Self> {
        Self::containing(t.floor_to_ms())
    }

    pub fn start(self) -> TimestampMs {
        TimestampMs(self.end_ms - HOUR_MS)
    }

    pub fn end(self) -> TimestampMs {
        TimestampMs(self.end_ms)
    }

    pub fn next(self) -> Self {
        Self { end_ms: self.end_ms + HOUR_MS }
    }

    pub fn previous(self) -> Self {
        Self { end_ms: self.end_ms - HOUR_MS }
    }

    /// `[start, end)`
    pub fn range_ms(self) -> TimeRangeMs {
        TimeRangeMs::new(self.start(), self.end())
    }

    /// `[start, end)`
    pub fn range_ns(self) -> TimeRangeNs {
        TimeRangeNs::new(self.start().to_ns(), self.end().to_ns())
    }

    /// `2025-12-06T14`: the instant the hour ends, as file comments name it.
    pub fn label(self) -> String {
        let t = self.civil_end();
        format!("{:04}-{:02}-{:02}T{:02}", t.year(), t.month(), t.day(), t.hour())
    }

    /// `2025-12-06T14:00:00Z`: the instant the hour ends, as record leaves and keys name it.
    pub fn end_text(self) -> String {
        format!("{}:00:00Z", self.label())
    }

    /// `2025-12-06`, the date of the instant the hour ends.
    pub fn date(self) -> String {
        let t = self.civil_end();
        format!("{:04}-{:02}-{:02}", t.year(), t.month(), t.day())
    }

    /// 0 to 23, the clock hour at which the hour ends.
    pub fn number(self) -> u8 {
        self.civil_end().hour().unsigned_abs()
    }

    fn civil_end(self) -> DateTime {
        Timestamp::from_millisecond(self.end_ms)
            .unwrap_or_default()
            .to_zoned(TimeZone::UTC)
            .datetime()
    }
}

impl fmt::Display for Hour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.label())
    }
}

impl SealName {
    pub fn new(signal: Signal, hour: Hour, revision: u32) -> Self {
        Self { signal, hour, revision }
    }

    /// `telemetry/metrics/2025-12-06`, relative to the data folder.
    pub fn folder(&self) -> String {
        format!("telemetry/{}/{}", self.signal, self.hour.date())
    }

    /// `hour-14.parquet`, or `hour-14.r1.parquet` for late data.
    pub fn file_name(&self) -> String {
        let (number, extension) = (self.hour.number(), self.signal.extension());
        match self.revision {
            0 => format!("hour-{number:02}.{extension}"),
            r => format!("hour-{number:02}.r{r}.{extension}"),
        }
    }

    /// `telemetry/metrics/2025-12-06/hour-14.parquet`, with `/` on every system: this is the
    /// `storage_path` of a receipt.
    pub fn storage_path(&self) -> String {
        format!("{}/{}", self.folder(), self.file_name())
    }

    /// The record tree's side file: the storage path with `.mt` appended.
    pub fn tree_path(&self) -> String {
        format!("{}.mt", self.storage_path())
    }

    /// Reads what [`SealName::storage_path`] gave, also below leading folders. `None` for
    /// anything else, such as a side file or a temporary file.
    pub fn from_storage_path(path: &str) -> Option<Self> {
        let mut parts = path.rsplit(['/', '\\']);
        let (file, date, signal) = (parts.next()?, parts.next()?, parts.next()?);
        if parts.next()? != "telemetry" {
            return None;
        }
        Self::from_parts(Signal::from_text(signal)?, date, file)
    }

    pub(crate) fn from_parts(signal: Signal, date: &str, file: &str) -> Option<Self> {
        let stem =
            file.strip_prefix("hour-")?.strip_suffix(signal.extension())?.strip_suffix('.')?;
        let (number, revision) = match stem.split_once(".r") {
            Some((number, revision)) => (number, revision.parse().ok().filter(|r| *r > 0)?),
            None => (stem, 0),
        };
        let number: i8 = number.parse().ok()?;
        let day: jiff::civil::Date = date.parse().ok()?;
        let end = day
            .to_zoned(TimeZone::UTC)
            .ok()?
            .checked_add(i64::from(number).hours())
            .ok()?
            .timestamp()
            .as_millisecond();
        let name = Self::new(signal, Hour::ending_at(TimestampMs(end))?, revision);
        // Only the one spelling that we write: `hour-7` or `hour-31` name no file of ours.
        (name.file_name() == file && name.hour.date() == date).then_some(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hour(text: &str) -> Hour {
        let t: Timestamp = text.parse().unwrap();
        Hour::ending_at(TimestampMs(t.as_millisecond())).unwrap()
    }

    #[test]
    fn an_hour_is_named_by_its_end() {
        let h = hour("2025-12-06T14:00:00Z");
        assert_eq!(h.range_ms().start.0, h.end().0 - HOUR_MS);
        let name = SealName::new(Signal::Metrics, h, 0);
        assert_eq!(name.storage_path(), "telemetry/metrics/2025-12-06/hour-14.parquet");
        assert_eq!(Hour::containing(TimestampMs(h.end().0 - 1)), Some(h));
        assert_eq!(Hour::containing(h.end()), Some(h.next()));
    }

    #[test]
    fn the_last_hour_of_a_day_belongs_to_the_next_date() {
        let h = hour("2026-01-01T00:00:00Z");
        let name = SealName::new(Signal::Logs, h, 2);
        assert_eq!(name.storage_path(), "telemetry/logs/2026-01-01/hour-00.r2.jsonl.gz");
        assert_eq!(SealName::from_storage_path(&name.storage_path()), Some(name));
        assert_eq!(
            SealName::from_storage_path(&format!("/data/{}", name.storage_path())),
            Some(name)
        );
    }

    #[test]
    fn other_names_are_not_seals() {
        for path in [
            "telemetry/logs/2026-01-01/hour-00.jsonl.gz.mt",
            "telemetry/logs/2026-01-01/hour-24.jsonl.gz",
            "telemetry/logs/2026-01-01/hour-0.jsonl.gz",
            "telemetry/logs/2026-01-01/hour-00.r0.jsonl.gz",
            "telemetry/metrics/2026-13-01/hour-00.parquet",
            "telemetry/metrics/2026-01-01/hour-00.jsonl.gz",
            "hour-00.parquet",
        ] {
            assert_eq!(SealName::from_storage_path(path), None, "{path}");
        }
        assert_eq!(Hour::ending_at(TimestampMs(1)), None);
        assert_eq!(Hour::ending_at(TimestampMs(i64::MAX)), None);
        assert_eq!(Hour::containing(TimestampMs(i64::MAX)), None);
    }
}
