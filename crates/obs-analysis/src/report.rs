//! Daily, weekly and monthly reports: what was, where it leads, what to do about it.
//!
//! Numbered steps of [`compose`]:
//! 1. nodes, by job, and how long they answered;
//! 2. alerts that fired within the period, and objectives;
//! 3. figures of performance, security and capacity, beside the period before; the trend of
//!    capacities and when it reaches their limit ([`trend`]);
//! 4. advice on alerts from their history ([`tuning`]);
//! 5. for a monthly report, what should be looked at: dashboards, retention, rules, slow queries;
//! 6. findings, most pressing first.

mod compose;
mod document;
mod figures;
mod schedule;
mod trend;
mod tuning;

use obs_types::{DurationMs, LabelSet, TimestampMs};

pub use compose::compose;
pub use figures::standard_figures;
pub use schedule::{Schedule, ScheduleError};
pub use trend::{Trend, trend};
pub use tuning::{Advice, advise};

use crate::slo::SloReport;

/// How much time a report covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Period {
    Daily,
    Weekly,
    Monthly,
}

impl Period {
    pub const ALL: [Self; 3] = [Self::Daily, Self::Weekly, Self::Monthly];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Daily => "daily",
            Self::Weekly => "weekly",
            Self::Monthly => "monthly",
        }
    }

    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|p| p.as_str() == name)
    }

    /// Where a period begins that ends at `end`: a day, a week or a calendar month before, UTC.
    pub fn start(self, end: TimestampMs) -> TimestampMs {
        let days = match self {
            Self::Daily => 1,
            Self::Weekly => 7,
            Self::Monthly => {
                let at = jiff::Timestamp::from_millisecond(end.0).unwrap_or_default();
                let back = at
                    .to_zoned(jiff::tz::TimeZone::UTC)
                    .checked_sub(jiff::Span::new().months(1))
                    .map(|z| z.timestamp().as_millisecond());
                return TimestampMs(back.unwrap_or(end.0 - 30 * DurationMs::DAY.0));
            }
        };
        end.saturating_sub(DurationMs(days * DurationMs::DAY.0))
    }

    /// A limit that will be reached within so much time is a finding.
    fn horizon(self) -> DurationMs {
        let days = match self {
            Self::Daily => 14,
            Self::Weekly => 30,
            Self::Monthly => 90,
        };
        DurationMs(days * DurationMs::DAY.0)
    }
}

/// Which part of the report a figure is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Section {
    Performance,
    Security,
    Capacity,
}

impl Section {
    pub const ALL: [Self; 3] = [Self::Performance, Self::Security, Self::Capacity];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Performance => "performance",
            Self::Security => "security",
            Self::Capacity => "capacity",
        }
    }

    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|s| s.as_str() == name)
    }
}

/// A question of the report.
#[derive(Clone, Debug, PartialEq)]
pub struct Figure {
    pub section: Section,
    pub name: String,
    /// PromQL; `$period` stands for the length of the report, such as `86400s`.
    pub query: String,
    /// Such as `percent`, `bytes`, `s`; empty for a plain number.
    pub unit: String,
    /// Values below are a finding.
    pub least: Option<f64>,
    /// Values above are a finding.
    pub most: Option<f64>,
}

/// From when to when an alert fired.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AlertSpan {
    pub name: String,
    pub severity: String,
    /// Tells its instances apart.
    pub labels: String,
    pub fired_at: TimestampMs,
    pub resolved_at: Option<TimestampMs>,
    pub acknowledged: bool,
    /// Receivers that took it.
    pub receivers: usize,
}

/// An alerting rule as it is evaluated.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RuleFact {
    pub name: String,
    pub hold_ms: i64,
    pub runbook: bool,
    pub error: Option<String>,
    pub evaluation_seconds: f64,
    /// Of rules such as `LEFT > 80`.
    pub compared: Option<Compared>,
}

/// `left` compared with a number.
#[derive(Clone, Debug, PartialEq)]
pub struct Compared {
    pub left: String,
    /// Fires where `left` is above `threshold`; otherwise below.
    pub above: bool,
    pub threshold: f64,
}

/// A dashboard, and since when it is as it is; `None` where a pack or file brings it.
#[derive(Clone, Debug, PartialEq)]
pub struct BoardFact {
    pub title: String,
    pub changed_at: Option<TimestampMs>,
}

/// A load test, experiment, gate or transaction of the period.
#[derive(Clone, Debug, PartialEq)]
pub struct ExerciseFact {
    pub kind: String,
    pub name: String,
    pub started_at: String,
    pub outcome: String,
}

/// Everything that is not asked by queries.
#[derive(Clone, Debug)]
pub struct ReportInput {
    pub period: Period,
    pub node: String,
    pub end: TimestampMs,
    pub slos: Vec<SloReport>,
    pub alerts: Vec<AlertSpan>,
    pub rules: Vec<RuleFact>,
    pub boards: Vec<BoardFact>,
    pub exercises: Vec<ExerciseFact>,
    pub figures: Vec<Figure>,
    /// What is kept for how long, such as `hot data: 7d`.
    pub retention: Vec<String>,
}

/// Targets of a job.
#[derive(Clone, Debug, PartialEq)]
pub struct JobState {
    pub job: String,
    pub up: usize,
    pub total: usize,
    /// Share of the period in which its targets answered, 0 to 1.
    pub answered: Option<f64>,
    pub down: Vec<String>,
}

/// One alert over the period.
#[derive(Clone, Debug, PartialEq)]
pub struct AlertLine {
    pub name: String,
    pub severity: String,
    /// How many times it began to fire within the period.
    pub fired: usize,
    pub firing_now: usize,
    /// Of all its instances together, within the period.
    pub firing_ms: i64,
    pub longest_ms: i64,
    pub acknowledged: usize,
    /// Spans that no receiver took.
    pub unheard: usize,
}

/// What a query gave for one series.
#[derive(Clone, Debug, PartialEq)]
pub struct FigureLine {
    pub section: Section,
    pub name: String,
    pub labels: LabelSet,
    pub unit: String,
    pub value: f64,
    /// One period earlier.
    pub before: Option<f64>,
    pub least: Option<f64>,
    pub most: Option<f64>,
    /// Of capacities only.
    pub trend: Option<Trend>,
}

impl FigureLine {
    /// Whether the value is outside of what is wanted.
    pub fn is_out(&self) -> bool {
        self.least.is_some_and(|l| self.value < l) || self.most.is_some_and(|m| self.value > m)
    }

    /// `Name (instance a, job b)`
    pub fn subject(&self) -> String {
        let labels: Vec<String> = self
            .labels
            .iter()
            .filter(|(n, _)| *n != obs_types::METRIC_NAME)
            .map(|(n, v)| format!("{n} {v}"))
            .collect();
        match labels.is_empty() {
            true => self.name.clone(),
            false => format!("{} ({})", self.name, labels.join(", ")),
        }
    }
}

/// How pressing a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Urgency {
    Now,
    Soon,
    Later,
}

impl Urgency {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Now => "now",
            Self::Soon => "soon",
            Self::Later => "later",
        }
    }
}

/// Something to do.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    pub urgency: Urgency,
    pub text: String,
}

/// The report; [`PeriodReport::to_markdown`], [`PeriodReport::to_html`], [`PeriodReport::to_json`].
#[derive(Clone, Debug)]
pub struct PeriodReport {
    pub period: Period,
    pub node: String,
    pub start: TimestampMs,
    pub end: TimestampMs,
    pub findings: Vec<Finding>,
    pub jobs: Vec<JobState>,
    pub alerts: Vec<AlertLine>,
    pub slos: Vec<SloReport>,
    pub figures: Vec<FigureLine>,
    /// Figures that gave nothing, and series that were too many to show.
    pub notes: Vec<String>,
    pub advice: Vec<Advice>,
    /// Subject and what about it.
    pub review: Vec<(String, String)>,
    pub exercises: Vec<ExerciseFact>,
}

impl PeriodReport {
    /// `healthy`, or how many findings there are.
    pub fn outcome(&self) -> String {
        match self.findings.len() {
            0 => "healthy".to_owned(),
            1 => "1 finding".to_owned(),
            n => format!("{n} findings"),
        }
    }
}
