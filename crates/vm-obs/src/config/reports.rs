//! `reports:` of the configuration: when daily, weekly and monthly reports are made, and figures of
//! the operator's own.

use anyhow::{Context, bail};
use obs_analysis::report::{Figure, Period, Schedule, Section};
use serde::Deserialize;

/// When reports are made, and what they ask beside the standard figures.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ReportSettings {
    pub schedules: Vec<Schedule>,
    pub figures: Vec<Figure>,
}

/// Times are UTC; `off` for none.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ReportsForm {
    /// Example: `daily: 06:00`
    daily: Option<String>,
    /// Example: `weekly: monday 06:00`
    weekly: Option<String>,
    /// Day of the month and time. Example: `monthly: 1 06:00`
    monthly: Option<String>,
    /// Example: `figures: [{section: capacity, name: Queue, query: "max(queue_length)", most: 1000}]`
    figures: Vec<FigureForm>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct FigureForm {
    /// `performance`, `security` or `capacity`; capacities get a trend and a forecast.
    section: String,
    name: String,
    /// PromQL; `$period` stands for the length of the report.
    query: String,
    #[serde(default)]
    unit: String,
    /// Less is a finding.
    least: Option<f64>,
    /// More is a finding.
    most: Option<f64>,
}

impl ReportsForm {
    pub(super) fn check(self) -> anyhow::Result<ReportSettings> {
        let mut schedules = Vec::new();
        for (period, given, standard) in [
            (Period::Daily, self.daily, "00:10"),
            (Period::Weekly, self.weekly, "monday 00:20"),
            (Period::Monthly, self.monthly, "1 00:30"),
        ] {
            match given.as_deref() {
                Some("off") => {}
                text => schedules.push(
                    Schedule::parse(period, text.unwrap_or(standard))
                        .with_context(|| format!("reports.{}", period.as_str()))?,
                ),
            }
        }
        let check = |(i, f): (usize, FigureForm)| {
            let place = format!("reports.figures[{i}]");
            let section = Section::from_name(&f.section).with_context(|| {
                format!("{place}.section: {:?} is not performance, security or capacity", f.section)
            })?;
            let text = f.query.replace("$period", "1h");
            if let Err(e) = obs_query::check_expression("promql", &text) {
                bail!("{place}.query: {e}");
            }
            let (name, query, unit) = (f.name, f.query, f.unit);
            Ok(Figure { section, name, query, unit, least: f.least, most: f.most })
        };
        let figures =
            self.figures.into_iter().enumerate().map(check).collect::<anyhow::Result<_>>()?;
        Ok(ReportSettings { schedules, figures })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str) -> Result<ReportSettings, String> {
        let form: ReportsForm = serde_saphyr::from_str(text).map_err(|e| e.to_string())?;
        form.check().map_err(|e| format!("{e:#}"))
    }

    #[test]
    fn times_and_figures_are_checked() {
        let all = check(
            "daily: off\nfigures: [{section: capacity, name: Queue, query: 'max(q)', most: 5}]\n",
        )
        .unwrap();
        assert_eq!((all.schedules.len(), all.figures.len()), (2, 1));
        for (text, says) in [
            ("weekly: '06:00'\n", "reports.weekly"),
            ("figures: [{section: x, name: a, query: b}]\n", "figures[0].section: \"x\""),
            ("figures: [{section: security, name: a, query: 'sum('}]\n", "figures[0].query"),
        ] {
            let e = check(text).unwrap_err();
            assert!(e.contains(says), "{text}: {e}");
        }
    }
}
