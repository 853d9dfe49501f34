//! Novelty of the distribution: the last values as a histogram, against those seen before.
//! Source: C. Wang et al., "Statistical techniques for online anomaly detection in data centers",
//! 2011 (relative entropy with a set of learnt hypotheses).

use std::collections::VecDeque;

const BINS: usize = 5;
const WINDOW: usize = 52;
const LEARNT_MAX: usize = 40;
/// 1 % point of chi-square with 4 degrees of freedom: beyond it the histogram is a new one.
const NEW_SHAPE: f64 = 13.28;
/// Scores above are all the same to us: certainly new.
const SCORE_MAX: f64 = 27.0;

#[derive(Clone, Debug, Default)]
pub(crate) struct ShapeNovelty {
    values: VecDeque<f32>,
    min: f32,
    max: f32,
    seen: u64,
    learnt: VecDeque<[f32; BINS]>,
}

impl ShapeNovelty {
    /// Minus the logarithm of the probability that the last values come from a known shape; 0
    /// while warming up.
    pub(crate) fn push(&mut self, value: f64) -> f64 {
        let value = value as f32;
        if self.seen == 0 {
            (self.min, self.max) = (value, value);
        }
        self.seen += 1;
        self.values.push_back(value);
        if self.values.len() > WINDOW {
            self.values.pop_front();
        }
        // Bounds drift inwards slowly, so that one outlier does not flatten the bins for ever.
        let shrink = (self.max - self.min) * 1e-4;
        self.min = (self.min + shrink).min(value);
        self.max = (self.max - shrink).max(value);
        if self.values.len() < WINDOW || self.max <= self.min {
            return 0.0;
        }
        let shape = self.shape();
        let distance = self.learnt.iter().map(|known| divergence(&shape, known)).fold(None, least);
        let score = match distance {
            // The first shape is all that is known: no surprise.
            None => 0.0,
            Some(d) => (d / 2.0 - (1.0 + d / 2.0).ln()).clamp(0.0, SCORE_MAX),
        };
        if distance.is_none_or(|d| d > NEW_SHAPE) {
            if self.learnt.len() >= LEARNT_MAX {
                self.learnt.pop_front();
            }
            self.learnt.push_back(shape);
        }
        score
    }

    fn shape(&self) -> [f32; BINS] {
        let mut counts = [0.0_f32; BINS];
        let width = (self.max - self.min) / BINS as f32;
        for v in &self.values {
            let bin = (((v - self.min) / width).max(0.0) as usize).min(BINS - 1);
            if let Some(count) = counts.get_mut(bin) {
                *count += 1.0;
            }
        }
        counts.map(|count| count / self.values.len() as f32)
    }
}

fn least(a: Option<f64>, b: f64) -> Option<f64> {
    Some(a.map_or(b, |a| a.min(b)))
}

/// `2 W KL(p || q)`; empty bins count as a hundredth of a value.
fn divergence(p: &[f32; BINS], q: &[f32; BINS]) -> f64 {
    let floor = 0.01 / WINDOW as f64;
    let sum: f64 = p
        .iter()
        .zip(q)
        .filter(|(p, _)| **p > 0.0)
        .map(|(p, q)| f64::from(*p) * (f64::from(*p) / f64::from(*q).max(floor)).ln())
        .sum();
    (2.0 * WINDOW as f64 * sum).max(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_known_shape_is_no_news_and_a_new_one_is() {
        let mut shape = ShapeNovelty::default();
        let mut calm: f64 = 0.0;
        for i in 0..400 {
            let score = shape.push(f64::from(i % 10));
            if i > 200 {
                calm = calm.max(score);
            }
        }
        let mut news: f64 = 0.0;
        for _ in 0..40 {
            news = news.max(shape.push(9.0));
        }
        assert!(calm < 2.0 && news > 5.0, "{calm} {news}");
    }
}
