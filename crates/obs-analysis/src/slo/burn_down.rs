//! How an error budget went over the window that ends now.

use obs_types::{DurationMs, TimestampMs};
use serde_json::{Value, json};

use crate::AnalysisError;
use crate::slo::definition::Slo;
use crate::slo::evaluate::{AT_RISK_PERCENT, Events, InstantQuery, count_events};
use crate::time_text;

/// Most slices of a curve.
const SLICES: i64 = 60;

/// The curve of one SLO: what was left of the budget after each slice of the window.
///
/// The budget is the allowed share of all events up to `end`, so the last point says what the
/// report says, but for rounding at the edges of slices.
#[derive(Clone, Debug, PartialEq)]
pub struct BurnDown {
    pub slo: Slo,
    /// Where the first slice begins: the window's start, or as far back as there are events.
    pub start: TimestampMs,
    pub end: TimestampMs,
    pub slice: DurationMs,
    /// In order of time; empty without events.
    pub points: Vec<BurnPoint>,
    /// When nothing will be left at the pace of the last hour; `None` if nothing burns, or if
    /// nothing is left.
    pub exhausts_at: Option<TimestampMs>,
}

/// The end of a slice.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BurnPoint {
    pub at: TimestampMs,
    /// Of the slice.
    pub events: Events,
    /// Negative when more than the budget is used.
    pub remaining_percent: f64,
}

/// Counts the events of the window slice by slice. In a system younger than the window the slices
/// are narrowed to where there are events, down to a minute each.
pub fn burn_down(
    slo: &Slo,
    now: TimestampMs,
    query: &dyn InstantQuery,
) -> Result<BurnDown, AnalysisError> {
    let mut span = slo.window;
    let (slice, slices) = loop {
        let minutes = (span.0 / SLICES + DurationMs::MINUTE.0 - 1) / DurationMs::MINUTE.0;
        let slice = DurationMs(minutes.max(1) * DurationMs::MINUTE.0);
        let count = (span.0 + slice.0 - 1) / slice.0;
        let mut slices = Vec::new();
        for ago in (0..count.max(1)).rev() {
            let at = now.saturating_sub(DurationMs(ago * slice.0));
            slices.push((at, count_events(slo, slice, at, query)?));
        }
        let first = slices.iter().position(|(_, events)| events.total > 0.0);
        let used = first.map_or(0, |first| slices.len() - first) as i64;
        if used == 0 || used * 4 > count || slice.0 <= DurationMs::MINUTE.0 {
            slices.drain(..first.unwrap_or(slices.len()));
            break (slice, slices);
        }
        span = DurationMs(used * slice.0);
    };
    let budget = slo.budget();
    let allowed = budget * slices.iter().map(|(_, events)| events.total).sum::<f64>();
    let mut bad = 0.0;
    let points: Vec<BurnPoint> = slices
        .into_iter()
        .map(|(at, events)| {
            bad += events.bad();
            BurnPoint { at, events, remaining_percent: 100.0 * (1.0 - bad / allowed) }
        })
        .collect();
    let left = points.last().map_or(0.0, |p| p.remaining_percent / 100.0);
    let pace = count_events(slo, DurationMs::HOUR, now, query)?.ratio();
    let pace = pace.map_or(0.0, |good| (1.0 - good) / budget);
    let exhausts_at = (left > 0.0 && pace > 0.0).then(|| {
        let ms = (left * slo.window.0 as f64 / pace).min(1e15);
        now.saturating_add(DurationMs(ms as i64))
    });
    Ok(BurnDown {
        slo: slo.clone(),
        start: points.first().map_or(now, |p| p.at.saturating_sub(slice)),
        end: now,
        slice,
        points,
        exhausts_at,
    })
}

impl BurnDown {
    pub fn to_json(&self) -> Value {
        let points: Vec<Value> = self
            .points
            .iter()
            .map(|p| {
                json!({
                    "at": time_text(p.at), "good": p.events.good, "total": p.events.total,
                    "remaining_percent": p.remaining_percent,
                })
            })
            .collect();
        json!({
            "slo_id": self.slo.id,
            "target": self.slo.target,
            "window": self.slo.window_text(),
            "start": time_text(self.start),
            "end": time_text(self.end),
            "slice_seconds": self.slice.0 / 1000,
            "at_risk_percent": AT_RISK_PERCENT,
            "points": points,
            "exhausts_at": self.exhausts_at.map(time_text),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::slo::{duration, evaluate, parse_slo_file};
    use obs_types::LabelSet;

    const NOW: TimestampMs = TimestampMs(1_764_979_200_000);

    fn slo() -> Slo {
        let text = "slos:\n- {id: 'slo:a', name: A, indicator: {type: availability, good_query: 'good[{{.window}}]', total_query: 'all[{{.window}}]'}, target: 0.99, window: 30d}\n";
        parse_slo_file("t.yml", text).unwrap().remove(0)
    }

    /// One event a second from `from` on; of those from `bad_from` on a twentieth is bad.
    fn world(from: i64, bad_from: i64) -> impl InstantQuery {
        move |query: &str, at: TimestampMs| {
            let (name, window) = query.split_once('[').unwrap();
            let (window, _) = window.split_once(']').unwrap();
            let window = duration::parse_duration(window).unwrap();
            let seconds = |since: i64| {
                let start = (at.0 - window.0).max(since);
                (at.0.max(start) - start) as f64 / 1000.0
            };
            let total = seconds(from);
            let bad = 0.05 * seconds(bad_from.max(from));
            let value = if name.contains("good") { total - bad } else { total };
            Ok(vec![(LabelSet::empty(), value)])
        }
    }

    #[test]
    fn the_last_point_is_the_reports() {
        let day = DurationMs::DAY.0;
        let query = world(i64::MIN / 2, NOW.0 - 3 * day);
        let curve = burn_down(&slo(), NOW, &query).unwrap();
        assert_eq!((curve.points.len(), curve.slice.0), (60, day / 2));
        let remaining: Vec<f64> = curve.points.iter().map(|p| p.remaining_percent).collect();
        assert!(remaining[..54].iter().all(|r| (*r - 100.0).abs() < 1e-9), "{remaining:?}");
        // 5 % of a tenth of the events is half of the budget of 1 %.
        assert!((remaining[59] - 50.0).abs() < 1e-6, "{remaining:?}");
        assert!(remaining.windows(2).all(|w| w[1] <= w[0] + 1e-9));
        let report = evaluate(&slo(), NOW, &query).unwrap();
        assert!((remaining[59] - report.budget_remaining_percent).abs() < 1e-6);
        // At five times the even pace half of the budget lasts three days.
        let ends = curve.exhausts_at.unwrap().0 - NOW.0;
        assert!((ends - 3 * day).abs() < 60_000, "{ends}");
    }

    #[test]
    fn a_young_system_is_looked_at_closely() {
        let minute = DurationMs::MINUTE.0;
        let query = world(NOW.0 - 20 * minute, NOW.0 - 5 * minute);
        let curve = burn_down(&slo(), NOW, &query).unwrap();
        assert_eq!((curve.slice.0, curve.points.len()), (minute, 20));
        assert_eq!(curve.start.0, NOW.0 - 20 * minute);
        // A quarter of the events is bad at 5 %: 1.25 % of all, of 1 % allowed.
        assert!((curve.points[19].remaining_percent + 25.0).abs() < 1e-6);
        assert_eq!(curve.exhausts_at, None);
        let empty = burn_down(&slo(), NOW, &world(NOW.0, NOW.0)).unwrap();
        assert_eq!((empty.points.len(), empty.exhausts_at), (0, None));
        assert_eq!(empty.to_json()["points"], json!([]));
    }
}
