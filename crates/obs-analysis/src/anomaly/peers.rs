//! One against its siblings: which pod reads differently from the others at the same moment.

use crate::anomaly::window::median;

/// A member that is far from the middle of its group.
#[derive(Clone, Debug, PartialEq)]
pub struct PeerOutlier {
    pub name: String,
    pub observed: f64,
    pub expected_min: f64,
    pub expected_max: f64,
    /// Distance from the group's median in robust standard deviations.
    pub sigma: f64,
}

/// Below this distance a member is like the others.
const SIGMA_MIN: f64 = 4.0;

/// Compares values of one moment, one per member. Values that are not finite are left out. Fewer
/// than two give nothing; of two nobody can say which is the odd one, so both are named if they
/// differ by more than `tolerance`. `tolerance` (in the values' unit, 0 or more) is the spread
/// that is always normal. Sorted by distance, farthest first, then name. O(n log n).
pub fn compare_peers(members: &[(String, f64)], tolerance: f64) -> Vec<PeerOutlier> {
    let finite: Vec<&(String, f64)> = members.iter().filter(|(_, v)| v.is_finite()).collect();
    if finite.len() < 2 {
        return Vec::new();
    }
    let mut outliers = Vec::new();
    for (name, value) in finite.iter().copied() {
        // A member is judged by the others alone: in a small group it would widen its own range.
        let mut others: Vec<f64> =
            finite.iter().filter(|(n, _)| n != name).map(|(_, v)| *v).collect();
        if others.is_empty() {
            continue;
        }
        let center = median(&mut others);
        let mut spreads: Vec<f64> = others.iter().map(|v| (v - center).abs()).collect();
        let spread =
            (1.4826 * median(&mut spreads)).max(tolerance / 3.0).max(center.abs() * 1e-3).max(1e-9);
        let sigma = (value - center).abs() / spread;
        if sigma > SIGMA_MIN && (value - center).abs() > tolerance {
            outliers.push(PeerOutlier {
                name: name.clone(),
                observed: *value,
                expected_min: center - 3.0 * spread,
                expected_max: center + 3.0 * spread,
                sigma,
            });
        }
    }
    outliers.sort_by(|a, b| b.sigma.total_cmp(&a.sigma).then_with(|| a.name.cmp(&b.name)));
    outliers
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(values: &[f64]) -> Vec<(String, f64)> {
        values.iter().enumerate().map(|(i, v)| (format!("pod-{i}"), *v)).collect()
    }

    #[test]
    fn the_drifting_pod_is_named() {
        let found = compare_peers(&group(&[0.71, 0.70, 0.35, 0.72, 0.69]), 0.05);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].name, "pod-2");
        assert!(found[0].expected_min > 0.35 && found[0].sigma > 4.0);
        assert!(compare_peers(&group(&[0.71, 0.70, 0.69]), 0.05).is_empty());
    }

    #[test]
    fn two_that_differ_are_both_named_and_one_is_nobody() {
        assert_eq!(compare_peers(&group(&[1.0, 2.0]), 0.1).len(), 2);
        assert!(compare_peers(&group(&[1.0, 1.05]), 0.1).is_empty());
        assert!(compare_peers(&group(&[1.0]), 0.1).is_empty());
        assert!(compare_peers(&group(&[1.0, f64::NAN]), 0.1).is_empty());
    }
}
