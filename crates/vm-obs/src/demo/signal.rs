//! What single numbers do over time: wander, count, fall into buckets.

use super::random::Random;

/// A value that wanders around its mean and stays within bounds.
#[derive(Clone, Debug)]
pub(super) struct Wander {
    pub(super) value: f64,
    mean: f64,
    low: f64,
    high: f64,
}

impl Wander {
    pub(super) fn new(mean: f64, low: f64, high: f64) -> Self {
        Self { value: mean, mean, low, high }
    }

    /// `dt` in seconds. Half of a displacement is gone after about 20 s.
    pub(super) fn step(&mut self, dt: f64, random: &mut Random) {
        let pull = (dt / 30.0).min(1.0);
        let width = (self.high - self.low) / 25.0;
        self.value +=
            (self.mean - self.value) * pull + width * dt.min(30.0).sqrt() * random.gauss();
        self.value = self.value.clamp(self.low, self.high);
    }
}

/// A counter that grows at a rate with some noise; never goes back.
#[derive(Clone, Debug, Default)]
pub(super) struct Counter {
    total: u64,
    rest: f64,
}

impl Counter {
    pub(super) fn starting_at(total: u64) -> Self {
        Self { total, rest: 0.0 }
    }

    /// Adds about `rate * dt` events; says how many.
    pub(super) fn run(&mut self, rate: f64, dt: f64, random: &mut Random) -> u64 {
        let noise = (1.0 + 0.25 * random.gauss()).max(0.0);
        self.rest += (rate * dt * noise).max(0.0);
        let whole = self.rest.floor();
        self.rest -= whole;
        self.add(whole as u64);
        whole as u64
    }

    pub(super) fn add(&mut self, count: u64) {
        self.total = self.total.saturating_add(count);
    }

    pub(super) fn value(&self) -> f64 {
        self.total as f64
    }
}

/// Most observations that one step draws one by one; beyond it each stands for several.
const DRAWS_MAX: u64 = 32;

/// A classic histogram.
#[derive(Clone, Debug)]
pub(super) struct Histogram {
    /// Upper bounds, ascending, without +Inf.
    pub(super) bounds: &'static [f64],
    /// Not cumulative; the last one is +Inf.
    counts: Vec<u64>,
    pub(super) sum: f64,
}

impl Histogram {
    pub(super) fn new(bounds: &'static [f64]) -> Self {
        Self { bounds, counts: vec![0; bounds.len() + 1], sum: 0.0 }
    }

    pub(super) fn observe(&mut self, value: f64, times: u64) {
        let at = self.bounds.iter().position(|b| value <= *b).unwrap_or(self.bounds.len());
        self.counts[at] += times;
        self.sum += value * times as f64;
    }

    /// `count` observations around `median`.
    pub(super) fn observe_many(
        &mut self,
        count: u64,
        random: &mut Random,
        mut draw: impl FnMut(&mut Random) -> f64,
    ) {
        let draws = count.min(DRAWS_MAX);
        for i in 0..draws {
            // The first ones take what does not divide evenly.
            let times = count / draws + u64::from(i < count % draws);
            let value = draw(random);
            self.observe(value, times);
        }
    }

    /// `(upper bound, observations up to it)`, the last bound being +Inf.
    pub(super) fn cumulative(&self) -> Vec<(f64, u64)> {
        let bounds = self.bounds.iter().copied().chain([f64::INFINITY]);
        let mut seen = 0;
        bounds
            .zip(&self.counts)
            .map(|(bound, count)| {
                seen += count;
                (bound, seen)
            })
            .collect()
    }

    pub(super) fn count(&self) -> u64 {
        self.counts.iter().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_keep_their_rate() {
        let (mut random, mut counter) = (Random::new(3), Counter::default());
        for _ in 0..1_000 {
            counter.run(2.0, 1.0, &mut random);
        }
        assert!((1_900.0..2_100.0).contains(&counter.value()), "{}", counter.value());
    }

    #[test]
    fn a_histogram_keeps_all_observations() {
        let mut h = Histogram::new(&[0.1, 1.0]);
        h.observe_many(1_000, &mut Random::new(1), |r| r.between(0.0, 2.0));
        assert_eq!(h.count(), 1_000);
        let buckets = h.cumulative();
        assert_eq!(buckets.last().map(|b| b.1), Some(1_000));
        assert!(buckets.windows(2).all(|w| w[0].1 <= w[1].1 && w[0].0 < w[1].0));
    }

    #[test]
    fn a_wandering_value_moves_within_its_bounds() {
        let (mut random, mut w) = (Random::new(5), Wander::new(0.5, 0.4, 0.6));
        let values: Vec<f64> = (0..500)
            .map(|_| {
                w.step(1.0, &mut random);
                w.value
            })
            .collect();
        assert!(values.iter().all(|v| (0.4..=0.6).contains(v)));
        assert!(values.windows(2).any(|v| v[0] != v[1]));
    }
}
