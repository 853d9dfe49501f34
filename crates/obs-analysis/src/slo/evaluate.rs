//! Budget arithmetic: events in, ENGINE 2.5's report out.

use obs_types::{DurationMs, LabelSet, METRIC_NAME, TimestampMs};
use serde_json::{Value, json};

use crate::AnalysisError;
use crate::slo::definition::Slo;
use crate::slo::duration::duration_text;
use crate::slo::events::{Part, event_queries};
use crate::time_text;

/// Less budget than this left makes an SLO `at_risk` (ENGINE 7.1 warns at the same point).
pub const AT_RISK_PERCENT: f64 = 25.0;

/// The windows of multi-window burn-rate alerts, each once, ascending.
pub const BURN_WINDOWS: [DurationMs; 7] = [
    DurationMs(5 * DurationMs::MINUTE.0),
    DurationMs(30 * DurationMs::MINUTE.0),
    DurationMs::HOUR,
    DurationMs(2 * DurationMs::HOUR.0),
    DurationMs(6 * DurationMs::HOUR.0),
    DurationMs::DAY,
    DurationMs(3 * DurationMs::DAY.0),
];

/// Evaluates a PromQL expression at an instant.
pub trait InstantQuery {
    /// One value per series; no series is no data. The error is the language's own text.
    fn instant(&self, query: &str, at: TimestampMs) -> Result<Vec<(LabelSet, f64)>, String>;
}

impl<F: Fn(&str, TimestampMs) -> Result<Vec<(LabelSet, f64)>, String>> InstantQuery for F {
    fn instant(&self, query: &str, at: TimestampMs) -> Result<Vec<(LabelSet, f64)>, String> {
        self(query, at)
    }
}

/// Events of one window.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Events {
    pub good: f64,
    pub total: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SloStatus {
    Met,
    AtRisk,
    /// Achieved is below the target.
    Missed,
    /// No event in the window.
    NoData,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trend {
    Improving,
    Stable,
    Degrading,
}

/// One SLO at one instant.
#[derive(Clone, Debug, PartialEq)]
pub struct SloReport {
    pub slo: Slo,
    pub start: TimestampMs,
    pub end: TimestampMs,
    /// `None` without events.
    pub achieved: Option<f64>,
    pub status: SloStatus,
    pub events: Events,
    /// The whole window times the budget.
    pub budget_total_minutes: f64,
    /// In proportion to bad events: equals time if the load is even.
    pub budget_consumed_minutes: f64,
    /// Negative when more than the budget is used.
    pub budget_remaining_percent: f64,
    pub trend: Trend,
    /// Of [`BURN_WINDOWS`]; 1 uses up the budget in exactly the window. `None` without events.
    pub burn_rates: Vec<(DurationMs, Option<f64>)>,
}

/// A pair of windows that both burn too fast.
#[derive(Clone, Debug, PartialEq)]
pub struct BurnAlert {
    /// `page` or `ticket`
    pub severity: &'static str,
    pub short: DurationMs,
    pub long: DurationMs,
    pub factor: f64,
}

impl BurnAlert {
    /// `5m`
    pub fn short_text(&self) -> String {
        duration_text(self.short)
    }

    /// `1h`
    pub fn long_text(&self) -> String {
        duration_text(self.long)
    }
}

impl Slo {
    /// The pairs of windows that are watched, with the factor above which the budget burns too fast
    /// in both: 2 % in an hour and 5 % in six page, 10 % in one day and in three make a ticket.
    /// Source: Google SRE workbook, chapter 5; factors scaled to the SLO's own window.
    pub fn burn_pairs(&self) -> [BurnAlert; 4] {
        let [m5, m30, h1, h2, h6, d1, d3] = BURN_WINDOWS;
        let pair = |severity, share: f64, short, long: DurationMs| BurnAlert {
            severity,
            short,
            long,
            factor: rounded(share * self.window.0 as f64 / long.0 as f64),
        };
        [
            pair("page", 0.02, m5, h1),
            pair("page", 0.05, m30, h6),
            pair("ticket", 0.10, h2, d1),
            pair("ticket", 0.10, h6, d3),
        ]
    }
}

/// Evaluates an SLO over the window that ends at `now`.
pub fn evaluate(
    slo: &Slo,
    now: TimestampMs,
    query: &dyn InstantQuery,
) -> Result<SloReport, AnalysisError> {
    let events = count_events(slo, slo.window, now, query)?;
    let budget = slo.budget();
    let achieved = events.ratio();
    let used = achieved.map_or(0.0, |a| (1.0 - a) / budget);
    let remaining = rounded(100.0 * (1.0 - used));
    let status = match achieved {
        None => SloStatus::NoData,
        // Compared through the budget: 1 - 0.999 is not 0.001 in binary.
        Some(_) if used > 1.0 + 1e-9 => SloStatus::Missed,
        Some(_) if remaining < AT_RISK_PERCENT => SloStatus::AtRisk,
        Some(_) => SloStatus::Met,
    };
    let mut burn_rates = Vec::with_capacity(BURN_WINDOWS.len());
    for window in BURN_WINDOWS {
        let ratio = count_events(slo, window, now, query)?.ratio();
        burn_rates.push((window, ratio.map(|r| rounded((1.0 - r) / budget))));
    }
    let recent = count_events(slo, DurationMs(slo.window.0 / 4), now, query)?;
    let total_minutes = rounded(budget * slo.window.0 as f64 / DurationMs::MINUTE.0 as f64);
    Ok(SloReport {
        slo: slo.clone(),
        start: now.saturating_sub(slo.window),
        end: now,
        achieved,
        status,
        events,
        budget_total_minutes: total_minutes,
        budget_consumed_minutes: rounded(total_minutes * used),
        budget_remaining_percent: remaining,
        trend: trend(events, recent, budget),
        burn_rates,
    })
}

/// Good and all events of the window that ends at `now`.
pub fn count_events(
    slo: &Slo,
    window: DurationMs,
    now: TimestampMs,
    query: &dyn InstantQuery,
) -> Result<Events, AnalysisError> {
    let queries = event_queries(&slo.indicator, window);
    let number = |text: &str| {
        let rows = query.instant(text, now).map_err(|reason| AnalysisError::Query {
            slo: slo.id.clone(),
            query: text.to_owned(),
            reason,
        })?;
        let sum: f64 = rows.iter().map(|(_, v)| *v).filter(|v| v.is_finite()).sum();
        Ok(sum.max(0.0))
    };
    let total = number(&queries.total)?;
    let good = match &queries.part {
        Part::Good(text) => number(text)?,
        Part::Bad(text) => total - number(text)?,
    };
    // Good and total may be scraped a moment apart; more good than all events is no better.
    Ok(Events { good: good.clamp(0.0, total), total })
}

/// The last quarter of the window against all of it.
fn trend(all: Events, recent: Events, budget: f64) -> Trend {
    let (Some(all), Some(recent)) = (all.ratio(), recent.ratio()) else { return Trend::Stable };
    let (all, recent) = (1.0 - all, 1.0 - recent);
    // A twentieth of the budget is noise.
    let noise = budget / 20.0;
    if recent > all * 1.2 + noise {
        Trend::Degrading
    } else if recent + noise < all * 0.8 {
        Trend::Improving
    } else {
        Trend::Stable
    }
}

/// Nine digits: what a person compares, without binary noise.
fn rounded(v: f64) -> f64 {
    (v * 1e9).round() / 1e9
}

impl Events {
    /// `None` without events.
    pub fn ratio(&self) -> Option<f64> {
        (self.total > 0.0).then(|| self.good / self.total)
    }

    pub fn bad(&self) -> f64 {
        self.total - self.good
    }
}

impl SloStatus {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Met => "met",
            Self::AtRisk => "at_risk",
            Self::Missed => "missed",
            Self::NoData => "no_data",
        }
    }
}

impl Trend {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Improving => "improving",
            Self::Stable => "stable",
            Self::Degrading => "degrading",
        }
    }
}

impl SloReport {
    /// ENGINE 2.5, field by field.
    pub fn to_json(&self) -> Value {
        let total = self.events.total.round();
        let good = self.events.good.round().min(total);
        json!({
            "slo_id": self.slo.id,
            "name": self.slo.name,
            "description": self.slo.description,
            "target": self.slo.target,
            "window": self.slo.window_text(),
            "report_period": { "start": time_text(self.start), "end": time_text(self.end) },
            "achieved": self.achieved.map(rounded),
            "status": self.status.as_str(),
            "error_budget": {
                "total_minutes": self.budget_total_minutes,
                "consumed_minutes": self.budget_consumed_minutes,
                "remaining_percent": self.budget_remaining_percent,
            },
            "breakdown": {
                "total_requests": total as u64,
                "good_requests": good as u64,
                "bad_requests": (total - good) as u64,
            },
            "trend": self.trend.as_str(),
        })
    }

    /// The series to write at `end`, one sample each; an SLO without events gives only its
    /// objective.
    pub fn series(&self) -> Vec<(LabelSet, f64)> {
        let id = self.slo.id.as_str();
        let labels = |name: &str| LabelSet::from_pairs([(METRIC_NAME, name), ("slo", id)]);
        let mut series = vec![(labels("slo_objective_ratio"), self.slo.target)];
        if let Some(achieved) = self.achieved {
            series.push((labels("slo_achieved_ratio"), achieved));
            series.push((
                labels("slo_error_budget_remaining_percent"),
                self.budget_remaining_percent,
            ));
            series
                .push((labels("slo_error_budget_consumed_minutes"), self.budget_consumed_minutes));
            series.push((labels("slo_window_events"), self.events.total));
            series.push((labels("slo_window_bad_events"), self.events.bad()));
        }
        for (window, rate) in &self.burn_rates {
            if let Some(rate) = rate {
                let labels = labels("slo_burn_rate").with("window", &duration_text(*window));
                series.push((labels, *rate));
            }
        }
        series
    }

    pub fn burn_rate(&self, window: DurationMs) -> Option<f64> {
        self.burn_rates.iter().find(|(w, _)| *w == window).and_then(|(_, rate)| *rate)
    }

    /// Of [`Slo::burn_pairs`] those of which both windows burn faster than the factor.
    pub fn burn_alerts(&self) -> Vec<BurnAlert> {
        let too_fast =
            |alert: &BurnAlert, w| self.burn_rate(w).is_some_and(|rate| rate > alert.factor);
        let pairs = self.slo.burn_pairs().into_iter();
        pairs.filter(|a| too_fast(a, a.short) && too_fast(a, a.long)).collect()
    }

    /// When the budget will be used up at the burn rate of the last hour; `None` if it is not
    /// burning or already used up.
    pub fn exhaustion(&self) -> Option<TimestampMs> {
        let rate = self.burn_rate(DurationMs::HOUR).filter(|r| *r > 0.0)?;
        let left = self.budget_remaining_percent / 100.0;
        (left > 0.0).then(|| {
            let ms = (left * self.slo.window.0 as f64 / rate).min(1e15);
            self.end.saturating_add(DurationMs(ms as i64))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::slo::parse_slo_file;

    const END: TimestampMs = TimestampMs(1_764_979_200_000);

    fn slo() -> Slo {
        let text = "slos:\n- id: slo:anchor-latency-p99\n  name: Anchor Latency P99\n  description: 99th percentile anchor latency under 30 seconds\n  indicator: {type: availability, good_query: good_total, total_query: all_total}\n  target: 0.999\n  window: 30d\n";
        parse_slo_file("t.yml", text).unwrap().remove(0)
    }

    /// Counts that are the same in every window.
    fn fixed(good: f64, total: f64) -> impl InstantQuery {
        move |query: &str, _: TimestampMs| {
            let value = if query.contains("good_total") { good } else { total };
            Ok(vec![(LabelSet::empty(), value)])
        }
    }

    #[test]
    fn the_report_is_engines() {
        let report = evaluate(&slo(), END, &fixed(199_900.0, 200_000.0)).unwrap();
        let json = report.to_json();
        assert_eq!(
            json,
            serde_json::json!({
                "slo_id": "slo:anchor-latency-p99",
                "name": "Anchor Latency P99",
                "description": "99th percentile anchor latency under 30 seconds",
                "target": 0.999,
                "window": "30d",
                "report_period": {
                    "start": "2025-11-06T00:00:00Z",
                    "end": "2025-12-06T00:00:00Z"
                },
                "achieved": 0.9995,
                "status": "met",
                "error_budget": {
                    "total_minutes": 43.2,
                    "consumed_minutes": 21.6,
                    "remaining_percent": 50.0
                },
                "breakdown": {
                    "total_requests": 200_000,
                    "good_requests": 199_900,
                    "bad_requests": 100
                },
                "trend": "stable"
            })
        );
    }

    #[test]
    fn less_than_the_target_is_missed_and_exactly_the_target_is_not() {
        let status = |good: f64| evaluate(&slo(), END, &fixed(good, 1e6)).unwrap();
        let missed = status(998_700.0);
        assert_eq!(missed.status, SloStatus::Missed);
        assert_eq!(missed.budget_remaining_percent, -30.0);
        assert_eq!(status(999_000.0).status, SloStatus::AtRisk);
        assert_eq!(status(999_200.0).status, SloStatus::AtRisk);
        assert_eq!(status(999_500.0).status, SloStatus::Met);
        assert_eq!(status(1_000_000.0).budget_remaining_percent, 100.0);
    }

    #[test]
    fn no_events_are_no_data_and_not_a_success() {
        let nothing = |_: &str, _: TimestampMs| Ok(Vec::new());
        let report = evaluate(&slo(), END, &nothing).unwrap();
        assert_eq!(report.status, SloStatus::NoData);
        assert_eq!(report.achieved, None);
        assert_eq!(report.series().len(), 1);
        assert!(report.burn_alerts().is_empty());
    }

    #[test]
    fn a_fast_burn_pages_and_names_its_windows() {
        let burning = |query: &str, _: TimestampMs| {
            let short = ["[5m]", "[1h]", "[30m]"].iter().any(|w| query.contains(w));
            let good = if short { 98_000.0 } else { 99_990.0 };
            let value = if query.contains("good_total") { good } else { 100_000.0 };
            Ok(vec![(LabelSet::empty(), value)])
        };
        let report = evaluate(&slo(), END, &burning).unwrap();
        let alerts = report.burn_alerts();
        assert_eq!(alerts.len(), 1);
        assert_eq!((alerts[0].severity, alerts[0].factor), ("page", 14.4));
        assert_eq!(report.burn_rate(DurationMs::HOUR), Some(20.0));
        let hours = (report.exhaustion().unwrap().0 - END.0) / DurationMs::HOUR.0;
        assert_eq!(hours, 32);
        assert!(report.series().iter().any(|(l, v)| {
            l.to_string() == "slo_burn_rate{slo=\"slo:anchor-latency-p99\", window=\"1h\"}"
                && *v == 20.0
        }));
    }

    #[test]
    fn a_query_that_fails_names_slo_and_query() {
        let failing = |_: &str, _: TimestampMs| Err("1:5: parse error".to_owned());
        let error = evaluate(&slo(), END, &failing).unwrap_err().to_string();
        assert!(error.contains("slo:anchor-latency-p99") && error.contains("1:5"), "{error}");
    }
}
