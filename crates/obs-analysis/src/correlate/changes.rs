//! What a metric did in a window, in the words of a time line.

use std::fmt;

use obs_types::TimestampMs;

use crate::anomaly::median_of;

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ChangeKind {
    StartsRising,
    StartsFalling,
    /// Between two samples.
    Jumps {
        from: f64,
        to: f64,
    },
    Drops {
        from: f64,
        to: f64,
    },
    CrossesAbove(f64),
    CrossesBelow(f64),
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Change {
    pub at: TimestampMs,
    pub kind: ChangeKind,
    /// Size against the series' noise, for ranking; 1 is barely visible.
    pub weight: f64,
}

/// Points that a baseline is taken from.
const BASELINE: usize = 10;
/// Noise widths from which a change is one.
const SIGMA: f64 = 5.0;

/// Changes of one series in order of time. `samples` ascend in time; values that are not finite
/// are left out. `thresholds` are levels that matter, as in alert rules. O(n).
pub fn detect_changes(samples: &[(TimestampMs, f64)], thresholds: &[f64]) -> Vec<Change> {
    let points: Vec<(TimestampMs, f64)> =
        samples.iter().copied().filter(|(_, v)| v.is_finite()).collect();
    let mut changes = crossings(&points, thresholds);
    let noise = noise(&points);
    changes.extend(jumps(&points, noise));
    let ramps = ramps(&points, noise);
    // A jump also rises: it is said once.
    let jumps: Vec<TimestampMs> = changes
        .iter()
        .filter(|c| matches!(c.kind, ChangeKind::Jumps { .. } | ChangeKind::Drops { .. }))
        .map(|c| c.at)
        .collect();
    changes.extend(
        ramps
            .into_iter()
            .filter(|(range, _)| !jumps.iter().any(|t| range.0 <= *t && *t <= range.1))
            .map(|(_, change)| change),
    );
    changes.sort_by_key(|c| c.at);
    changes
}

/// The usual step between two points; never 0, so that a flat series' first move counts.
fn noise(points: &[(TimestampMs, f64)]) -> f64 {
    let steps = points.windows(2).filter_map(|w| match w {
        [(_, a), (_, b)] => Some((b - a).abs()),
        _ => None,
    });
    let mut steps: Vec<f64> = steps.collect();
    let mut levels: Vec<f64> = points.iter().map(|(_, v)| v.abs()).collect();
    let level = median_of(&mut levels);
    (1.4826 * median_of(&mut steps)).max(level * 0.01).max(1e-9)
}

fn crossings(points: &[(TimestampMs, f64)], thresholds: &[f64]) -> Vec<Change> {
    let mut changes = Vec::new();
    for threshold in thresholds.iter().copied().filter(|t| t.is_finite()) {
        for pair in points.windows(2) {
            let [(_, before), (at, after)] = pair else { continue };
            let kind = match (*before <= threshold, *after <= threshold) {
                (true, false) => ChangeKind::CrossesAbove(threshold),
                (false, true) => ChangeKind::CrossesBelow(threshold),
                _ => continue,
            };
            changes.push(Change { at: *at, kind, weight: 10.0 });
        }
    }
    // A value that flutters about its threshold is said to cross it once each way.
    let mut seen: Vec<ChangeKind> = Vec::new();
    changes.retain(|c| {
        let first = !seen.contains(&c.kind);
        seen.push(c.kind);
        first
    });
    changes
}

fn jumps(points: &[(TimestampMs, f64)], noise: f64) -> Vec<Change> {
    let range = points.iter().map(|(_, v)| *v).fold(None, |range: Option<(f64, f64)>, v| {
        Some(range.map_or((v, v), |(low, high)| (low.min(v), high.max(v))))
    });
    let height = range.map_or(0.0, |(low, high)| high - low);
    points
        .windows(2)
        .filter_map(|w| {
            let [(_, from), (at, to)] = w else { return None };
            let size = (to - from).abs();
            let large = size > 2.0 * SIGMA * noise && size > 0.4 * height;
            let kind = match to > from {
                true => ChangeKind::Jumps { from: *from, to: *to },
                false => ChangeKind::Drops { from: *from, to: *to },
            };
            large.then(|| Change { at: *at, kind, weight: size / noise / SIGMA })
        })
        .collect()
}

/// Slow movements: the value leaves the band around its baseline and stays out; the change is
/// dated where it last was inside. Gives the stretch it covers with each.
fn ramps(points: &[(TimestampMs, f64)], noise: f64) -> Vec<((TimestampMs, TimestampMs), Change)> {
    let mut found = Vec::new();
    let mut base_from = 0;
    let mut i = BASELINE.min(points.len() / 3);
    while i < points.len() {
        let from = base_from.max(i.saturating_sub(3 * BASELINE));
        let to = (from + BASELINE).min(i);
        let mut base: Vec<f64> =
            points.get(from..to).unwrap_or(&[]).iter().map(|(_, v)| *v).collect();
        let base = median_of(&mut base);
        let out = |point: Option<&(TimestampMs, f64)>| {
            point.map_or(0.0, |(_, v)| (v - base) / (SIGMA * noise))
        };
        let here = out(points.get(i));
        // Three in a row on one side are no noise.
        let run: Vec<f64> = (0..3).map(|k| out(points.get(i + k))).collect();
        let rising = run.iter().all(|o| *o > 1.0);
        if rising || run.iter().all(|o| *o < -1.0) {
            let onset =
                (from..i).rev().find(|k| out(points.get(*k)).abs() * SIGMA <= 1.5).unwrap_or(from);
            // The movement ends where the value no longer goes on in its direction.
            let mut end = i;
            while let (Some((_, a)), Some((_, b))) = (points.get(end), points.get(end + 1)) {
                if (rising && *b < *a - noise) || (!rising && *b > *a + noise) {
                    break;
                }
                end += 1;
            }
            if let (Some((start, _)), Some((stop, _))) = (points.get(onset), points.get(end)) {
                let kind =
                    if rising { ChangeKind::StartsRising } else { ChangeKind::StartsFalling };
                let change = Change { at: *start, kind, weight: here.abs() };
                found.push(((*start, *stop), change));
            }
            base_from = end;
            i = end + BASELINE;
        } else {
            i += 1;
        }
    }
    found
}

/// Few digits, no exponent for everyday sizes.
fn number(v: f64) -> String {
    let text = format!("{v:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

impl fmt::Display for ChangeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::StartsRising => f.write_str("starts rising"),
            Self::StartsFalling => f.write_str("starts falling"),
            Self::Jumps { from, to } => {
                write!(f, "jumps from {} to {}", number(*from), number(*to))
            }
            Self::Drops { from, to } => {
                write!(f, "drops from {} to {}", number(*from), number(*to))
            }
            Self::CrossesAbove(t) => write!(f, "crosses {}", number(*t)),
            Self::CrossesBelow(t) => write!(f, "falls below {}", number(*t)),
        }
    }
}

impl ChangeKind {
    /// As [`fmt::Display`], with a unit behind thresholds: `crosses 80%`.
    pub fn text(&self, unit: &str) -> String {
        match self {
            Self::CrossesAbove(_) | Self::CrossesBelow(_) => format!("{self}{unit}"),
            _ => self.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(values: impl IntoIterator<Item = f64>) -> Vec<(TimestampMs, f64)> {
        values.into_iter().enumerate().map(|(i, v)| (TimestampMs(i as i64 * 60_000), v)).collect()
    }

    fn minutes(changes: &[Change]) -> Vec<(i64, String)> {
        changes.iter().map(|c| (c.at.0 / 60_000, c.kind.text("%"))).collect()
    }

    #[test]
    fn a_ramp_starts_and_crosses() {
        let wiggle = |i: i32| f64::from(i % 3) * 0.4;
        let values = (0..40).map(|i| {
            let ramp = (f64::from(i) - 20.0).max(0.0) * 5.0;
            40.0 + ramp + wiggle(i)
        });
        let found = minutes(&detect_changes(&samples(values), &[80.0]));
        assert_eq!(found.len(), 2, "{found:?}");
        assert!((18..=21).contains(&found[0].0) && found[0].1 == "starts rising", "{found:?}");
        assert_eq!(found[1], (28, "crosses 80%".to_owned()));
    }

    #[test]
    fn a_drop_is_said_once() {
        let values = (0..40).map(|i| if i < 25 { 30.0 + f64::from(i % 2) } else { 2.0 });
        let found = minutes(&detect_changes(&samples(values), &[]));
        assert_eq!(found, [(25, "drops from 30 to 2".to_owned())]);
    }

    #[test]
    fn noise_and_nothing_are_no_change() {
        let values = (0..60).map(|i| 10.0 + f64::from((i * 7) % 5) * 0.3);
        assert_eq!(detect_changes(&samples(values), &[50.0]), []);
        assert_eq!(detect_changes(&[], &[1.0]), []);
        assert_eq!(detect_changes(&samples([f64::NAN, 1.0]), &[1.0]), []);
    }
}
