//! Random numbers that a seed repeats: SplitMix64 (Steele, Lea, Flood: *Fast Splittable
//! Pseudorandom Number Generators*, 2014), uniform, normal (Box and Muller) and exponential.

use std::f64::consts::TAU;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Random {
    state: u64,
}

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// In `[0, 1)`.
    pub(crate) fn uniform(&mut self) -> f64 {
        const STEP: f64 = 1.0 / (1_u64 << 53) as f64;
        (self.next() >> 11) as f64 * STEP
    }

    /// Mean 0, deviation 1.
    pub(crate) fn normal(&mut self) -> f64 {
        let radius = (2.0 * self.exponential()).sqrt();
        radius * (TAU * self.uniform()).cos()
    }

    /// Mean 1.
    pub(crate) fn exponential(&mut self) -> f64 {
        -(1.0 - self.uniform()).ln()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_those_of_the_distributions() {
        for (draw, mean, variance) in [
            (Random::uniform as fn(&mut Random) -> f64, 0.5, 1.0 / 12.0),
            (Random::normal, 0.0, 1.0),
            (Random::exponential, 1.0, 1.0),
        ] {
            let mut random = Random::new(7);
            let all: Vec<f64> = (0..20_000).map(|_| draw(&mut random)).collect();
            let got = all.iter().sum::<f64>() / all.len() as f64;
            let spread = all.iter().map(|v| (v - got).powi(2)).sum::<f64>() / all.len() as f64;
            assert!(
                (got - mean).abs() < 0.03 && (spread - variance).abs() < 0.05,
                "{got} {spread}"
            );
            let mut again = Random::new(7);
            assert!(all.iter().all(|v| *v == draw(&mut again)));
        }
    }
}
