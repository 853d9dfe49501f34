//! How one series goes on from sample to sample.

use obs_testkit::Seeded;

/// Kinds of values. All but [`Model::Walk`] are whole numbers or decimal fractions, as most metrics
/// are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Model {
    /// Never changes.
    Constant(f64),
    /// Grows by 0 to `n - 1`.
    Counter(u64),
    /// Up to ten up or down, between 0 and 1 000.
    Gauge,
    /// TSBS: a walk by normal steps between two bounds, cut to a whole number.
    Clamped(f64, f64),
    /// TSBS: grows by the size of a normal step times this, cut to a whole number.
    Monotonic(f64),
    /// A walk by normal steps with all bits of a float.
    Walk,
    /// Seconds in hundredths, as the kernel counts time: mean growth and deviation, in hundredths.
    Hundredths(f64, f64),
    /// Seconds in nanoseconds: growth of up to so many nanoseconds.
    Nanoseconds(u64),
    /// How long something took, in nanoseconds: at least, and up to so many more.
    Took(u64, u64),
    /// Bytes or packets: bursts of up to this.
    Bursts(f64),
    /// One more with this probability.
    Rare(f64),
    /// A gauge in units, such as pages of memory: deviation in units, size of a unit.
    Units(f64, f64),
    /// A load average: two decimals.
    Load,
}

/// A series' generator and where it stands.
#[derive(Clone, Debug)]
pub(crate) struct State {
    random: Seeded,
    at: f64,
}

impl State {
    pub(crate) fn new(model: Model, seed: u64) -> Self {
        let mut random = Seeded::new(seed);
        let at = match model {
            Model::Clamped(low, high) => low + random.unit() * (high - low),
            Model::Walk => random.unit() * 100.0,
            Model::Load => random.unit() * 4.0,
            Model::Units(..) => random.below(1 << 20) as f64,
            Model::Hundredths(..) | Model::Bursts(_) | Model::Nanoseconds(_) => {
                random.below(1 << 30) as f64
            }
            Model::Rare(_) => random.below(1_000) as f64,
            _ => 0.0,
        };
        Self { random, at }
    }

    pub(crate) fn next(&mut self, model: Model) -> f64 {
        match model {
            Model::Constant(v) => return v,
            Model::Counter(n) => self.at += self.random.below(n) as f64,
            Model::Gauge => {
                self.at = (self.at + self.random.below(21) as f64 - 10.0).clamp(0.0, 1000.0);
            }
            Model::Clamped(low, high) => {
                self.at = (self.at + self.normal()).clamp(low, high);
                return self.at.trunc();
            }
            Model::Monotonic(scale) => {
                self.at += (self.normal() * scale).abs();
                return self.at.trunc();
            }
            Model::Walk => self.at += self.normal(),
            Model::Hundredths(mean, deviation) => {
                self.at += (mean + self.normal() * deviation).max(0.0).round();
                return self.at / 100.0;
            }
            Model::Nanoseconds(most) => {
                self.at += self.random.below(most) as f64;
                return self.at / 1e9;
            }
            Model::Took(least, more) => {
                let unit = self.random.unit();
                return (least as f64 + (unit * unit * more as f64).round()) / 1e9;
            }
            Model::Bursts(most) => {
                self.at += (self.random.unit() * self.random.unit() * most).round();
            }
            Model::Rare(p) => self.at += f64::from(u8::from(self.random.unit() < p)),
            Model::Units(deviation, unit) => {
                self.at = (self.at + (self.normal() * deviation).round()).max(0.0);
                return self.at * unit;
            }
            Model::Load => {
                self.at = (self.at + self.normal() * 0.05).max(0.0);
                return (self.at * 100.0).round() / 100.0;
            }
        }
        self.at
    }

    /// Mean 0, deviation 1, nearly normal.
    fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.random.unit()).sum::<f64>() - 6.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(model: Model) -> Vec<f64> {
        let mut state = State::new(model, 7);
        (0..1_000).map(|_| state.next(model)).collect()
    }

    #[test]
    fn kinds_are_what_they_say() {
        for whole in [Model::Counter(50), Model::Gauge, Model::Clamped(0.0, 100.0)] {
            assert!(column(whole).iter().all(|v| v.fract() == 0.0 && *v >= 0.0), "{whole:?}");
        }
        for rising in [Model::Monotonic(5.0), Model::Nanoseconds(1 << 20), Model::Bursts(1e6)] {
            assert!(column(rising).is_sorted(), "{rising:?}");
        }
        assert!(column(Model::Clamped(0.0, 100.0)).iter().all(|v| (0.0..=100.0).contains(v)));
        assert!(column(Model::Walk).iter().all(|v| v.fract() != 0.0));
        assert!(column(Model::Hundredths(1_400.0, 30.0)).windows(2).all(|w| w[0] < w[1]));
        assert_eq!(column(Model::Walk), column(Model::Walk));
    }
}
