use obs_types::{DurationMs, TimestampMs};

/// Fewer points tell no trend.
const POINTS_MIN: usize = 8;
/// Standard normal deviate beyond which chance is below 5 %, both sides.
const Z_MAX: f64 = 1.96;

/// Where a value is going.
#[derive(Clone, Debug, PartialEq)]
pub struct Trend {
    /// By day: the median of the slopes between all pairs of points (Theil 1950, Sen 1968), which a
    /// few outliers do not move.
    pub by_day: f64,
    /// Whether there is a trend at all, by the test of Mann (1945) and Kendall (1975) at 5 %.
    pub certain: bool,
    /// When it reaches its limit if it goes on so. `None` where it does not, or is not certain.
    pub limit_at: Option<TimestampMs>,
    /// From first to last point.
    pub over: DurationMs,
}

/// The trend of a series of points in order of time, and when it reaches `least` or `most`.
/// `None` for fewer than eight points. O(points²).
pub fn trend(
    points: &[(TimestampMs, f64)],
    least: Option<f64>,
    most: Option<f64>,
) -> Option<Trend> {
    let points: Vec<_> = points.iter().filter(|p| p.1.is_finite()).collect();
    let (first, last) = (points.first()?, points.last()?);
    if points.len() < POINTS_MIN || last.0 <= first.0 {
        return None;
    }
    let day = DurationMs::DAY.0 as f64;
    let mut slopes = Vec::with_capacity(points.len() * (points.len() - 1) / 2);
    let mut sign_sum = 0i64;
    for (i, a) in points.iter().enumerate() {
        for b in points.get(i + 1..).unwrap_or_default() {
            slopes.push((b.1 - a.1) / ((b.0.0 - a.0.0).max(1) as f64 / day));
            sign_sum += (b.1 > a.1) as i64 - ((b.1 < a.1) as i64);
        }
    }
    slopes.sort_by(f64::total_cmp);
    let by_day = median(&slopes)?;
    let z = deviate(&points.iter().map(|p| p.1).collect::<Vec<_>>(), sign_sum);
    let certain = z.abs() > Z_MAX && by_day != 0.0;
    // What the line says now, not the last point, which may be an outlier.
    let mut offsets: Vec<f64> =
        points.iter().map(|p| p.1 + by_day * ((last.0.0 - p.0.0) as f64 / day)).collect();
    offsets.sort_by(f64::total_cmp);
    let level = median(&offsets)?;
    let limit = if by_day > 0.0 { most } else { least };
    let limit_at = limit.filter(|_| certain).and_then(|limit| {
        let days = ((limit - level) / by_day).max(0.0);
        // Further away than that nothing can be said.
        (days < 3_650.0).then(|| last.0.saturating_add(DurationMs((days * day) as i64)))
    });
    Some(Trend { by_day, certain, limit_at, over: DurationMs(last.0.0 - first.0.0) })
}

fn median(sorted: &[f64]) -> Option<f64> {
    let middle = sorted.len() / 2;
    let upper = *sorted.get(middle)?;
    Some(if sorted.len() % 2 == 1 { upper } else { (sorted.get(middle - 1)? + upper) / 2.0 })
}

/// How far the sum of signs is from what chance gives, in standard deviations; ties corrected.
fn deviate(values: &[f64], sign_sum: i64) -> f64 {
    let term = |n: f64| n * (n - 1.0) * (2.0 * n + 5.0);
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let ties: f64 = sorted.chunk_by(|a, b| a == b).map(|equal| term(equal.len() as f64)).sum();
    let variance = (term(values.len() as f64) - ties) / 18.0;
    if variance <= 0.0 || sign_sum == 0 {
        return 0.0;
    }
    (sign_sum - sign_sum.signum()) as f64 / variance.sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn points(of: impl Fn(i64) -> f64) -> Vec<(TimestampMs, f64)> {
        (0..28).map(|i| (TimestampMs(i * DurationMs::DAY.0 / 4), of(i))).collect()
    }

    #[test]
    fn a_disk_that_fills_says_when_and_an_outlier_does_not_matter() {
        // 2 percent a day from 50: 90 is reached 20 days after the first point.
        let steady = |i: i64| 50.0 + i as f64 * 0.5;
        for spike in [0.0, 35.0] {
            let points = points(|i| steady(i) + if i == 14 { spike } else { 0.0 });
            let trend = trend(&points, None, Some(90.0)).unwrap();
            assert!((trend.by_day - 2.0).abs() < 1e-9, "{trend:?}");
            let days = trend.limit_at.unwrap().0 as f64 / DurationMs::DAY.0 as f64;
            assert!((days - 20.0).abs() < 0.01, "{days}");
        }
    }

    #[test]
    fn what_only_wobbles_has_no_trend_and_a_fall_meets_the_lower_limit() {
        let wobble = points(|i| 40.0 + [0.3, -0.2, 0.1, -0.4][(i % 4) as usize]);
        let told = trend(&wobble, Some(0.0), Some(90.0)).unwrap();
        assert!(!told.certain && told.limit_at.is_none(), "{told:?}");
        let flat = trend(&points(|_| 5.0), None, Some(90.0)).unwrap();
        assert!(!flat.certain && flat.by_day == 0.0);
        let falling = trend(&points(|i| 60.0 - i as f64), Some(14.0), None).unwrap();
        // The line stands at 33 at its end and loses 4 a day.
        let days = (falling.limit_at.unwrap().0 - 27 * DurationMs::DAY.0 / 4) as f64;
        assert!((days / DurationMs::DAY.0 as f64 - 19.0 / 4.0).abs() < 0.01, "{days}");
        assert!(trend(&wobble[..7], None, None).is_none(), "seven points tell nothing");
        // Already beyond: now.
        let beyond = trend(&points(|i| 95.0 + i as f64), None, Some(90.0)).unwrap();
        assert_eq!(beyond.limit_at, Some(TimestampMs(27 * DurationMs::DAY.0 / 4)));
    }
}
