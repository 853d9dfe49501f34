//! When iterations of the open model are due.

use std::time::Duration;

use super::profile::{Executor, Stage};

/// The instants of a rate that is constant or moves in straight lines, one per iteration.
///
/// The k-th iteration (from 0) is due where the integral of the rate reaches k; the first therefore
/// at the beginning, and at a constant rate r the k-th at k/r.
#[derive(Clone, Debug)]
pub(crate) struct Arrivals {
    /// Rate at the beginning of the stage.
    from: f64,
    stages: std::vec::IntoIter<Stage>,
    stage: Option<Stage>,
    /// Seconds before this stage.
    elapsed: f64,
    /// Iterations due before this stage.
    before: f64,
    next: u64,
}

impl Arrivals {
    /// `None` for an executor of the closed model.
    pub(crate) fn of(executor: &Executor) -> Option<Self> {
        let (from, stages) = match executor {
            Executor::ConstantArrivalRate { rate, duration, .. } => {
                (*rate, vec![Stage { duration: *duration, target: *rate }])
            }
            Executor::RampingArrivalRate { start, stages, .. } => (*start, stages.clone()),
            _ => return None,
        };
        let mut stages = stages.into_iter();
        let stage = stages.next();
        Some(Self { from, stages, stage, elapsed: 0.0, before: 0.0, next: 0 })
    }
}

impl Iterator for Arrivals {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        loop {
            let stage = self.stage?;
            let length = stage.duration.as_secs_f64();
            let wanted = self.next as f64 - self.before;
            let total = length * (self.from + stage.target) / 2.0;
            // The end of a stage belongs to the next one; rounding must not lose one there.
            if length > 0.0 && wanted < total - 1e-9 {
                let t = time_at(self.from, stage.target, length, wanted.max(0.0));
                self.next += 1;
                return Some(Duration::from_secs_f64(self.elapsed + t.min(length)));
            }
            self.elapsed += length;
            self.before += total;
            self.from = stage.target;
            self.stage = self.stages.next();
        }
    }
}

/// Where `from·t + (to-from)/(2·length)·t²` reaches `wanted`, seconds.
fn time_at(from: f64, to: f64, length: f64, wanted: f64) -> f64 {
    let slope = (to - from) / length;
    if slope.abs() < 1e-12 {
        return if from > 0.0 { wanted / from } else { length };
    }
    // The stable form of the quadratic formula; the root that lies in the stage.
    let root = (from * from + 2.0 * slope * wanted).max(0.0).sqrt();
    2.0 * wanted / (from + root).max(f64::MIN_POSITIVE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(executor: &Executor) -> Vec<f64> {
        Arrivals::of(executor).unwrap().map(|d| d.as_secs_f64()).collect()
    }

    #[test]
    fn a_constant_rate_is_evenly_spaced() {
        let all = seconds(&Executor::ConstantArrivalRate {
            rate: 4.0,
            duration: Duration::from_secs(2),
            vus: 1,
            vus_max: 1,
        });
        assert_eq!(all, [0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 1.75]);
    }

    #[test]
    fn ramps_follow_the_integral_of_the_rate() {
        let stages = vec![
            Stage { duration: Duration::from_secs(10), target: 100.0 },
            Stage { duration: Duration::ZERO, target: 10.0 },
            Stage { duration: Duration::from_secs(5), target: 10.0 },
            Stage { duration: Duration::from_secs(10), target: 0.0 },
        ];
        let all = seconds(&Executor::RampingArrivalRate { start: 0.0, stages, vus: 1, vus_max: 1 });
        // 500 on the way up, 50 level, 50 on the way down.
        assert_eq!(all.len(), 600);
        assert!(all.windows(2).all(|w| w[0] <= w[1]));
        let until = |t: f64| all.iter().filter(|a| **a < t).count();
        // The rate at t is 10t, so 5t² are due by t.
        assert_eq!([until(2.0), until(5.0), until(10.0), until(15.0)], [20, 125, 500, 550]);
        assert!(*all.last().unwrap() < 25.0);
    }
}
