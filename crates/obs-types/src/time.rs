use std::fmt;

/// Milliseconds since the Unix epoch, UTC; negative before 1970.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TimestampMs(pub i64);

/// Nanoseconds since the Unix epoch, UTC; reaches from 1677 to 2262.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TimestampNs(pub i64);

/// A length of time in milliseconds; may be negative (offsets).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DurationMs(pub i64);

/// Half-open `[start, end)` in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TimeRangeMs {
    pub start: TimestampMs,
    pub end: TimestampMs,
}

/// Half-open `[start, end)` in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TimeRangeNs {
    pub start: TimestampNs,
    pub end: TimestampNs,
}

impl TimestampMs {
    pub const MIN: Self = Self(i64::MIN);
    pub const MAX: Self = Self(i64::MAX);

    /// Saturates instead of wrapping.
    pub fn saturating_add(self, d: DurationMs) -> Self {
        Self(self.0.saturating_add(d.0))
    }

    /// Saturates instead of wrapping.
    pub fn saturating_sub(self, d: DurationMs) -> Self {
        Self(self.0.saturating_sub(d.0))
    }

    /// Saturates at the ends of the nanosecond range.
    pub fn to_ns(self) -> TimestampNs {
        TimestampNs(self.0.saturating_mul(1_000_000))
    }

    /// Seconds with fraction, as Prometheus prints times.
    pub fn as_seconds_f64(self) -> f64 {
        self.0 as f64 / 1000.0
    }
}

impl TimestampNs {
    pub const MIN: Self = Self(i64::MIN);
    pub const MAX: Self = Self(i64::MAX);

    /// Rounds towards minus infinity.
    pub fn floor_to_ms(self) -> TimestampMs {
        TimestampMs(self.0.div_euclid(1_000_000))
    }
}

impl DurationMs {
    pub const SECOND: Self = Self(1_000);
    pub const MINUTE: Self = Self(60_000);
    pub const HOUR: Self = Self(3_600_000);
    pub const DAY: Self = Self(86_400_000);

    pub fn as_seconds_f64(self) -> f64 {
        self.0 as f64 / 1000.0
    }
}

impl TimeRangeMs {
    pub fn new(start: TimestampMs, end: TimestampMs) -> Self {
        Self { start, end }
    }

    pub fn contains(&self, t: TimestampMs) -> bool {
        self.start <= t && t < self.end
    }

    pub fn is_empty(&self) -> bool {
        self.end <= self.start
    }

    pub fn overlaps(&self, other: &Self) -> bool {
        self.start < other.end && other.start < self.end
    }
}

impl TimeRangeNs {
    pub fn new(start: TimestampNs, end: TimestampNs) -> Self {
        Self { start, end }
    }

    pub fn contains(&self, t: TimestampNs) -> bool {
        self.start <= t && t < self.end
    }

    pub fn is_empty(&self) -> bool {
        self.end <= self.start
    }

    pub fn overlaps(&self, other: &Self) -> bool {
        self.start < other.end && other.start < self.end
    }
}

impl fmt::Display for TimestampMs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}ms", self.0)
    }
}
