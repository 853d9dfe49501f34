use std::sync::Mutex;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use obs_types::{TimestampMs, TimestampNs};

/// Tells wall time and time that never goes back. Nothing else in vm-obs asks the system.
pub trait Clock: Send + Sync + std::fmt::Debug {
    fn now_ns(&self) -> TimestampNs;

    /// Time since some fixed instant; never goes back, runs at the clock's speed.
    fn monotonic(&self) -> Duration;

    fn now(&self) -> TimestampMs {
        self.now_ns().floor_to_ms()
    }

    /// How long `span` of this clock takes in real time; what a thread sleeps to keep a rhythm.
    fn real(&self, span: Duration) -> Duration {
        span
    }
}

/// The machine's clock.
#[derive(Clone, Copy, Debug)]
pub struct SystemClock {
    origin: Instant,
}

impl SystemClock {
    pub fn new() -> Self {
        Self { origin: Instant::now() }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    fn now_ns(&self) -> TimestampNs {
        let nanos = |d: Duration| i64::try_from(d.as_nanos()).unwrap_or(i64::MAX);
        TimestampNs(match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(after) => nanos(after),
            Err(before) => nanos(before.duration()).saturating_neg(),
        })
    }

    fn monotonic(&self) -> Duration {
        self.origin.elapsed()
    }
}

/// Starts at `start` and runs `speed` times as fast as real time; for demonstrations and soaks.
#[derive(Clone, Copy, Debug)]
pub struct ScaledClock {
    start: TimestampNs,
    speed: f64,
    origin: Instant,
}

impl ScaledClock {
    /// A `speed` that is negative or not finite counts as 0: the clock stands still.
    pub fn new(start: TimestampMs, speed: f64) -> Self {
        let speed = if speed.is_finite() && speed > 0.0 { speed } else { 0.0 };
        Self { start: start.to_ns(), speed, origin: Instant::now() }
    }
}

impl Clock for ScaledClock {
    fn now_ns(&self) -> TimestampNs {
        let passed = i64::try_from(self.monotonic().as_nanos()).unwrap_or(i64::MAX);
        TimestampNs(self.start.0.saturating_add(passed))
    }

    fn monotonic(&self) -> Duration {
        // `as u64` saturates, so an absurd speed cannot overflow.
        Duration::from_nanos((self.origin.elapsed().as_nanos() as f64 * self.speed) as u64)
    }

    fn real(&self, span: Duration) -> Duration {
        if self.speed == 0.0 { span } else { span.div_f64(self.speed.max(1e-6)) }
    }
}

/// Stands still until it is told to move; for tests and replays.
#[derive(Debug)]
pub struct ManualClock {
    state: Mutex<(TimestampNs, Duration)>,
}

impl ManualClock {
    pub fn new(start: TimestampMs) -> Self {
        Self { state: Mutex::new((start.to_ns(), Duration::ZERO)) }
    }

    /// Moves wall and monotonic time forward together.
    pub fn advance(&self, by: Duration) {
        let mut state = crate::lock(&self.state);
        let nanos = i64::try_from(by.as_nanos()).unwrap_or(i64::MAX);
        state.0 = TimestampNs(state.0.0.saturating_add(nanos));
        state.1 = state.1.saturating_add(by);
    }

    /// Sets wall time, also backwards; monotonic time follows only forwards.
    pub fn set(&self, now: TimestampMs) {
        let mut state = crate::lock(&self.state);
        let forward = now.to_ns().0.saturating_sub(state.0.0);
        state.0 = now.to_ns();
        state.1 = state.1.saturating_add(Duration::from_nanos(forward.max(0).unsigned_abs()));
    }
}

impl Clock for ManualClock {
    fn now_ns(&self) -> TimestampNs {
        crate::lock(&self.state).0
    }

    fn monotonic(&self) -> Duration {
        crate::lock(&self.state).1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manual_clock_moves_only_when_told() {
        let c = ManualClock::new(TimestampMs(1_000));
        assert_eq!(c.now(), TimestampMs(1_000));
        c.advance(Duration::from_millis(5));
        assert_eq!((c.now(), c.monotonic()), (TimestampMs(1_005), Duration::from_millis(5)));
        c.set(TimestampMs(10));
        assert_eq!((c.now(), c.monotonic()), (TimestampMs(10), Duration::from_millis(5)));
    }

    #[test]
    fn system_and_scaled_clocks_do_not_go_back() {
        let clocks: [Box<dyn Clock>; 2] =
            [Box::new(SystemClock::new()), Box::new(ScaledClock::new(TimestampMs(0), 1e6))];
        for c in clocks {
            let (a, b) = (c.monotonic(), c.monotonic());
            assert!(a <= b);
        }
        assert_eq!(ScaledClock::new(TimestampMs(7), f64::NAN).now(), TimestampMs(7));
        assert!(SystemClock::new().now().0 > 1_600_000_000_000);
    }
}
