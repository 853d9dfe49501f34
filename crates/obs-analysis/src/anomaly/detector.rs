//! A streaming detector for one series.
//!
//! 1. Three predictions: the last value, the median of the last 15, the median of the same time
//!    of day (±1 slot) over the last days. Each residual is scaled by its own recent median and
//!    95th percentile.
//! 2. The least of the three counts: a value is odd only if it is odd against all of them.
//! 3. Its tail probability comes from its rank among the last residuals; beyond the 98th
//!    percentile an exponential tail goes on. The score is minus its logarithm, plus the novelty
//!    of the distribution ([`crate::anomaly::shape`]).
//! 4. A detection must be a strict new maximum of the last `refractory_points` points.
//!
//! Beside that, rules for what residuals cannot see: a value that stops changing, a gap, and a
//! new level that stays. Scored on NAB in the tests.

use std::collections::VecDeque;

use obs_types::{DurationMs, TimestampMs};

use crate::anomaly::shape::ShapeNovelty;
use crate::anomaly::window::{SortedWindow, median};

const SHORT: usize = 15;
/// Residuals that the scale and the tail are learnt from.
const HISTORY: usize = 1200;
/// Points before anything is reported.
const WARM_UP: usize = 100;
const TAIL_SHARE: f64 = 0.98;
/// Slots of a day; a slot's value is the median of what fell into it.
const DAY_SLOTS: i64 = 144;
const DAYS: usize = 7;
/// Points after a detection from which a new level is told from a spike.
const LEVEL_POINTS: u32 = 12;
/// A run of equal values is odd from this many on, if it is also four times the longest before.
const FLAT_POINTS: u32 = 24;
/// Missed intervals that make a gap.
const GAP_INTERVALS: i64 = 8;

/// What a detector may be told; everything else it learns.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DetectorConfig {
    /// Least score, in nats of surprise, that is reported.
    pub threshold: f64,
    /// Points within which only a higher score is reported again.
    pub refractory_points: u64,
}

/// One threshold for all series. Chosen on the NAB series of the tests as the knee of the curve:
/// below it false alerts grow faster than hits.
pub const DEFAULT_CONFIG: DetectorConfig =
    DetectorConfig { threshold: 10.0, refractory_points: 320 };

/// What kind of oddness was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnomalyKind {
    Spike,
    Drop,
    /// A drop to exactly zero of a series that is not usually zero.
    DropToZero,
    LevelShift,
    Flatline,
    Gap,
}

/// One odd moment of a series.
#[derive(Clone, Debug, PartialEq)]
pub struct Detection {
    pub at: TimestampMs,
    pub kind: AnomalyKind,
    pub observed: f64,
    pub expected_min: f64,
    pub expected_max: f64,
    /// Distance from the expectation in robust standard deviations.
    pub sigma: f64,
    /// Nats of surprise.
    pub score: f64,
    /// 0 to 1.
    pub confidence: f64,
}

/// Learns one series. Some 25 KiB when its windows are full.
#[derive(Clone, Debug)]
pub struct Detector {
    config: DetectorConfig,
    seen: u64,
    last: Option<(TimestampMs, f64)>,
    interval_ms: SortedWindow,
    recent: VecDeque<f64>,
    residuals: [SortedWindow; 3],
    tail: SortedWindow,
    season: Season,
    shape: ShapeNovelty,
    /// Scores that may still forbid a lower one: (point, score), scores falling.
    maxima: VecDeque<(u64, f64)>,
    flat_run: u32,
    flat_longest: u32,
    flat_reported: bool,
    pending_level: Option<PendingLevel>,
    score: f64,
}

#[derive(Clone, Copy, Debug)]
struct PendingLevel {
    before: f64,
    scale: f64,
    points: u32,
}

/// What the predictions say of a value.
#[derive(Clone, Copy, Debug)]
struct Expectation {
    center: f64,
    scale: f64,
    z: f64,
}

impl Detector {
    pub fn new(config: DetectorConfig) -> Self {
        Self {
            config,
            seen: 0,
            last: None,
            interval_ms: SortedWindow::new(64),
            recent: VecDeque::new(),
            residuals: std::array::from_fn(|_| SortedWindow::new(HISTORY)),
            tail: SortedWindow::new(HISTORY),
            season: Season::default(),
            shape: ShapeNovelty::default(),
            maxima: VecDeque::new(),
            flat_run: 0,
            flat_longest: 0,
            flat_reported: false,
            pending_level: None,
            score: 0.0,
        }
    }

    /// The score of the last value, 0 while learning and where a higher one came shortly before.
    pub fn score(&self) -> f64 {
        self.score
    }

    /// Takes the next value; values that are not finite or not newer than the last are ignored.
    pub fn push(&mut self, at: TimestampMs, value: f64) -> Option<Detection> {
        if !value.is_finite() || self.last.is_some_and(|(t, _)| at <= t) {
            self.score = 0.0;
            return None;
        }
        let gap = self.gap_at(at);
        if let Some((last, _)) = self.last {
            self.interval_ms.push(at.0.saturating_sub(last.0) as f64);
        }
        let expectation = self.expect(at, value);
        let surprise = self.surprise(expectation) + self.shape.push(value);
        let flat = self.flatline(at, value);
        let level = self.level_shift(at, value);
        self.learn(at, value, expectation);

        let warm = self.seen > WARM_UP as u64;
        let score = if warm { surprise } else { 0.0 };
        let is_new = self.is_new_maximum(score);
        self.score = if is_new { score } else { 0.0 };
        let found = (is_new && warm && score >= self.config.threshold).then(|| {
            let Expectation { center, scale, z } = expectation;
            self.pending_level = Some(PendingLevel { before: center, scale, points: 0 });
            let kind = if value >= center {
                AnomalyKind::Spike
            } else if value == 0.0 {
                AnomalyKind::DropToZero
            } else {
                AnomalyKind::Drop
            };
            detection(at, kind, value, (center, scale), z, score)
        });
        found.or(gap).or(level).or(flat)
    }

    /// A gap that is still open at `now`, for callers that would otherwise wait for the value
    /// that ends it.
    pub fn check_gap(&self, now: TimestampMs) -> Option<Detection> {
        self.gap_at(now)
    }

    fn gap_at(&self, now: TimestampMs) -> Option<Detection> {
        let (last, value) = self.last.filter(|_| self.seen > WARM_UP as u64)?;
        let usual = self.interval_ms.quantile(0.5).max(1.0);
        let longest = self.interval_ms.quantile(1.0);
        let silent = now.0.saturating_sub(last.0) as f64;
        (silent > usual * GAP_INTERVALS as f64 && silent > longest * 2.0).then(|| {
            let sigma = silent / usual;
            let score = self.config.threshold + sigma.ln();
            detection(now, AnomalyKind::Gap, value, (value, 0.0), sigma, score)
        })
    }

    /// The prediction that fits best, with its scale.
    fn expect(&self, at: TimestampMs, value: f64) -> Expectation {
        let mut best = Expectation { center: value, scale: 0.0, z: f64::INFINITY };
        for (center, window) in self.predictions(at).into_iter().zip(&self.residuals) {
            let Some(center) = center.filter(|_| window.len() >= SHORT) else { continue };
            let scale = (1.4826 * window.quantile(0.5)).max(window.quantile(0.95) / 1.96);
            // A series that never moved has no scale of its own: one per cent of its level then.
            let scale = scale.max(center.abs() * 1e-2 * f64::from(scale == 0.0)).max(1e-9);
            let z = (value - center).abs() / scale;
            if z < best.z {
                best = Expectation { center, scale, z };
            }
        }
        if best.z.is_infinite() {
            best.z = 0.0;
        }
        best
    }

    fn predictions(&self, at: TimestampMs) -> [Option<f64>; 3] {
        let mut recent: Vec<f64> = self.recent.iter().copied().collect();
        let short = (!recent.is_empty()).then(|| median(&mut recent));
        [self.last.map(|(_, v)| v), short, self.season.expect(at)]
    }

    fn surprise(&self, expectation: Expectation) -> f64 {
        let z = expectation.z;
        let n = self.tail.len();
        if n < SHORT {
            return 0.0;
        }
        let floor = self.tail.quantile(TAIL_SHARE);
        let share = (self.tail.at_least(z) as f64 + 1.0) / (n as f64 + 1.0);
        let p = match self.tail.mean_excess(floor) {
            Some(excess) if z > floor => {
                (1.0 - TAIL_SHARE) * (-(z - floor) / excess.max(1e-9)).exp()
            }
            _ => share,
        };
        (-p.max(1e-30).ln()).clamp(0.0, 60.0)
    }

    fn learn(&mut self, at: TimestampMs, value: f64, expectation: Expectation) {
        if self.seen >= SHORT as u64 {
            self.tail.push(expectation.z);
        }
        for (center, window) in self.predictions(at).into_iter().zip(&mut self.residuals) {
            if let Some(center) = center {
                window.push((value - center).abs());
            }
        }
        self.season.push(at, value);
        self.recent.push_back(value);
        if self.recent.len() > SHORT {
            self.recent.pop_front();
        }
        self.last = Some((at, value));
        self.seen += 1;
    }

    /// Whether no score of the last points was as high.
    fn is_new_maximum(&mut self, score: f64) -> bool {
        let oldest = self.seen.saturating_sub(self.config.refractory_points);
        while self.maxima.front().is_some_and(|(point, _)| *point < oldest) {
            self.maxima.pop_front();
        }
        let is_new = self.maxima.front().is_none_or(|(_, max)| score > *max);
        while self.maxima.back().is_some_and(|(_, s)| *s <= score) {
            self.maxima.pop_back();
        }
        self.maxima.push_back((self.seen, score));
        is_new
    }

    fn flatline(&mut self, at: TimestampMs, value: f64) -> Option<Detection> {
        if self.last.is_none_or(|(_, v)| v != value) {
            self.flat_longest = self.flat_longest.max(self.flat_run);
            self.flat_run = 0;
            self.flat_reported = false;
            return None;
        }
        self.flat_run += 1;
        let moved = self.residuals.first().map_or(0.0, |w| w.quantile(0.5));
        let odd = self.flat_run >= FLAT_POINTS
            && self.flat_run > self.flat_longest.saturating_mul(4)
            && self.seen > (WARM_UP as u64) + u64::from(self.flat_run)
            && moved > 0.0
            && !self.flat_reported;
        odd.then(|| {
            self.flat_reported = true;
            let sigma = f64::from(self.flat_run) / f64::from(self.flat_longest.max(1));
            let score = self.config.threshold + sigma.ln().max(0.0);
            detection(at, AnomalyKind::Flatline, value, (value, moved), sigma, score)
        })
    }

    fn level_shift(&mut self, at: TimestampMs, value: f64) -> Option<Detection> {
        let pending = self.pending_level.as_mut()?;
        pending.points += 1;
        if pending.points < LEVEL_POINTS {
            return None;
        }
        let PendingLevel { before, scale, .. } = *pending;
        self.pending_level = None;
        let take = self.recent.len().min(LEVEL_POINTS as usize - 2);
        let mut since: Vec<f64> = self.recent.iter().rev().take(take).copied().collect();
        let low = since.iter().copied().fold(f64::INFINITY, f64::min);
        let high = since.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let sigma = (median(&mut since) - before).abs() / scale;
        // Every point stayed away on the same side: not a burst of spikes.
        let stayed = low > before + 2.0 * scale || high < before - 2.0 * scale;
        (stayed && sigma > 4.0).then(|| {
            let score = self.config.threshold + sigma.ln();
            detection(at, AnomalyKind::LevelShift, value, (before, scale), sigma, score)
        })
    }
}

fn detection(
    at: TimestampMs,
    kind: AnomalyKind,
    observed: f64,
    (center, scale): (f64, f64),
    sigma: f64,
    score: f64,
) -> Detection {
    Detection {
        at,
        kind,
        observed,
        expected_min: center - 3.0 * scale,
        expected_max: center + 3.0 * scale,
        sigma,
        score,
        confidence: 1.0 - (-score / 3.0).exp(),
    }
}

/// Values by time of day: for every slot the medians of the last days.
#[derive(Clone, Debug, Default)]
struct Season {
    /// `DAY_SLOTS` rows of up to `DAYS` values, newest last; empty until a day has passed.
    slots: Vec<VecDeque<f32>>,
    current: Option<(i64, Vec<f64>)>,
}

impl Season {
    fn slot_of(at: TimestampMs) -> i64 {
        at.0.div_euclid(DurationMs::DAY.0 / DAY_SLOTS)
    }

    fn row(&self, slot: i64) -> impl Iterator<Item = f64> + '_ {
        usize::try_from(slot.rem_euclid(DAY_SLOTS))
            .ok()
            .and_then(|i| self.slots.get(i))
            .into_iter()
            .flatten()
            .map(|v| f64::from(*v))
    }

    fn push(&mut self, at: TimestampMs, value: f64) {
        let slot = Self::slot_of(at);
        match &mut self.current {
            // Bounded: a slot of a fast series needs no more than some values for its median.
            Some((current, values)) if *current == slot => {
                if values.len() < 64 {
                    values.push(value);
                }
            }
            _ => {
                if let Some((done, mut values)) = self.current.replace((slot, vec![value])) {
                    self.store(done, median(&mut values));
                }
            }
        }
    }

    fn store(&mut self, slot: i64, value: f64) {
        if self.slots.is_empty() {
            self.slots.resize(DAY_SLOTS as usize, VecDeque::new());
        }
        let row = usize::try_from(slot.rem_euclid(DAY_SLOTS)).ok();
        if let Some(row) = row.and_then(|i| self.slots.get_mut(i)) {
            row.push_back(value as f32);
            if row.len() > DAYS {
                row.pop_front();
            }
        }
    }

    /// `None` until the time of day was seen before.
    fn expect(&self, at: TimestampMs) -> Option<f64> {
        let slot = Self::slot_of(at);
        let mut values: Vec<f64> = self.row(slot).collect();
        if values.is_empty() {
            return None;
        }
        values.extend(self.row(slot - 1).chain(self.row(slot + 1)));
        Some(median(&mut values))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A repeatable noise in [-0.5, 0.5).
    fn noise(i: i64) -> f64 {
        let mixed = (i as u64)
            .wrapping_mul(0x9E37_79B9_7F4A_7C15)
            .rotate_left(31)
            .wrapping_mul(0xBF58_476D_1CE4_E5B9);
        (mixed >> 11) as f64 / (1_u64 << 53) as f64 - 0.5
    }

    /// Feeds `value(i)` a minute apart; what was found, by index.
    fn run(count: i64, value: impl Fn(i64) -> Option<f64>) -> Vec<(i64, AnomalyKind)> {
        let mut detector = Detector::new(DEFAULT_CONFIG);
        (0..count)
            .filter_map(|i| {
                let found = detector.push(TimestampMs(i * 60_000), value(i)?)?;
                assert!(found.confidence > 0.5 && found.confidence <= 1.0);
                assert!(found.expected_min <= found.expected_max);
                Some((i, found.kind))
            })
            .collect()
    }

    #[test]
    fn calm_noise_is_calm() {
        assert_eq!(run(3000, |i| Some(50.0 + noise(i))), []);
    }

    #[test]
    fn a_drop_to_zero_is_seen_at_once() {
        let found = run(2000, |i| Some(if i == 1500 { 0.0 } else { 30.0 + 4.0 * noise(i) }));
        assert_eq!(found, [(1500, AnomalyKind::DropToZero)]);
    }

    #[test]
    fn a_new_level_is_one_spike_and_one_shift() {
        let found = run(2500, |i| Some(if i < 1500 { 10.0 } else { 25.0 } + noise(i)));
        assert_eq!(found.first(), Some(&(1500, AnomalyKind::Spike)));
        assert!(found.iter().any(|(i, k)| *k == AnomalyKind::LevelShift && *i < 1520), "{found:?}");
        assert!(found.len() <= 2, "{found:?}");
    }

    #[test]
    fn a_value_that_freezes_is_a_flatline() {
        let found = run(2000, |i| Some(if i < 1500 { 5.0 + noise(i) } else { 5.1 }));
        assert_eq!(found.iter().map(|f| f.1).collect::<Vec<_>>(), [AnomalyKind::Flatline]);
        assert!(found[0].0 < 1530);
    }

    #[test]
    fn silence_is_a_gap_while_it_lasts_and_when_it_ends() {
        let found = run(1000, |i| (!(500..540).contains(&i)).then(|| 5.0 + noise(i)));
        assert_eq!(found, [(540, AnomalyKind::Gap)]);
        let mut detector = Detector::new(DEFAULT_CONFIG);
        for i in 0..300 {
            detector.push(TimestampMs(i * 60_000), noise(i));
        }
        assert!(detector.check_gap(TimestampMs(303 * 60_000)).is_none());
        assert!(detector.check_gap(TimestampMs(320 * 60_000)).is_some());
    }

    #[test]
    fn a_daily_peak_is_expected_and_its_absence_is_not_loud() {
        // A day is 1440 minutes; the peak stands at noon every day.
        let found = run(6 * 1440, |i| {
            let peak = (700..730).contains(&(i % 1440));
            Some(if peak { 40.0 } else { 10.0 } + noise(i))
        });
        let late = found.iter().filter(|(i, k)| *i > 2 * 1440 && *k == AnomalyKind::Spike);
        assert_eq!(late.count(), 0, "{found:?}");
    }

    #[test]
    fn nonsense_is_ignored() {
        let mut detector = Detector::new(DEFAULT_CONFIG);
        for (t, v) in [(0, f64::NAN), (1, f64::INFINITY), (2, 1.0), (2, 2.0), (1, 3.0)] {
            assert_eq!(detector.push(TimestampMs(t), v), None);
        }
        assert_eq!(detector.score(), 0.0);
        assert!(detector.check_gap(TimestampMs(i64::MAX)).is_none());
    }
}
