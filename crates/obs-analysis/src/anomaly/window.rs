use std::collections::VecDeque;

/// The last values of a stream with their order statistics. Push is O(length) in memory moves and
/// O(log length) in comparisons; NaN never gets in.
#[derive(Clone, Debug)]
pub(crate) struct SortedWindow {
    arrived: VecDeque<f32>,
    sorted: Vec<f32>,
    len_max: usize,
}

impl SortedWindow {
    pub(crate) fn new(len_max: usize) -> Self {
        Self { arrived: VecDeque::new(), sorted: Vec::new(), len_max }
    }

    pub(crate) fn len(&self) -> usize {
        self.sorted.len()
    }

    pub(crate) fn push(&mut self, value: f64) {
        let value = value as f32;
        if !value.is_finite() {
            return;
        }
        if self.arrived.len() >= self.len_max
            && let Some(old) = self.arrived.pop_front()
        {
            let at = self.sorted.partition_point(|v| *v < old);
            if at < self.sorted.len() {
                self.sorted.remove(at);
            }
        }
        self.arrived.push_back(value);
        let at = self.sorted.partition_point(|v| *v < value);
        self.sorted.insert(at, value);
    }

    /// The value at a share of 0 to 1 of the order; 0 when empty.
    pub(crate) fn quantile(&self, share: f64) -> f64 {
        let last = self.sorted.len().saturating_sub(1);
        let at = (share * last as f64).round() as usize;
        self.sorted.get(at.min(last)).copied().map_or(0.0, f64::from)
    }

    /// How many values are at or above.
    pub(crate) fn at_least(&self, value: f64) -> usize {
        self.sorted.len() - self.sorted.partition_point(|v| f64::from(*v) < value)
    }

    /// Mean distance above `floor` of the values above it; `None` without any.
    pub(crate) fn mean_excess(&self, floor: f64) -> Option<f64> {
        let from = self.sorted.partition_point(|v| f64::from(*v) <= floor);
        let above = self.sorted.get(from..)?;
        let sum: f64 = above.iter().map(|v| f64::from(*v) - floor).sum();
        (!above.is_empty()).then(|| sum / above.len() as f64)
    }
}

/// The middle of a few values; 0 when empty.
pub(crate) fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_the_last_values_in_order() {
        let mut window = SortedWindow::new(3);
        for v in [5.0, 1.0, 9.0, 2.0, f64::NAN] {
            window.push(v);
        }
        assert_eq!(window.len(), 3);
        assert_eq!(window.quantile(0.0), 1.0);
        assert_eq!(window.quantile(0.5), 2.0);
        assert_eq!(window.quantile(1.0), 9.0);
        assert_eq!(window.at_least(2.0), 2);
        assert_eq!(window.mean_excess(1.5), Some(4.0));
        assert_eq!(window.mean_excess(9.0), None);
    }
}
