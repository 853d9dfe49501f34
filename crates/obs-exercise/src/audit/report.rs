//! What an audit says. The JSON form is version 1; fields are only ever added.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::Comparison;
use super::input::Limits;

/// Version of the JSON form.
pub const VERSION: u32 = 1;

#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct AuditReport {
    pub version: u32,
    pub place: String,
    /// RFC 3339.
    pub generated_at: String,
    pub period_ms: i64,
    pub packs: Vec<PackVersion>,
    /// 0 to 10, the mean of the services.
    pub score: f64,
    pub services: Vec<ServiceReport>,
    /// Ways in which somebody is told of an alert.
    pub receivers: usize,
    pub doctor: DoctorSummary,
    /// Most pressing first.
    pub gaps: Vec<Gap>,
    /// What would raise the score, largest gain first.
    pub path: Vec<Step>,
    /// Against an earlier audit, where one was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Comparison>,
}

impl AuditReport {
    /// The figures for a receipt.
    pub fn figures(&self) -> Map<String, Value> {
        let sum =
            |of: &dyn Fn(&ServiceReport) -> usize| self.services.iter().map(of).sum::<usize>();
        let gaps = |p: u8| self.gaps.iter().filter(|g| g.priority == p).count();
        let operational =
            self.services.iter().filter(|s| s.status == ServiceStatus::Operational).count();
        let figures = [
            ("score", json!(self.score)),
            ("services", json!(self.services.len())),
            ("operational", json!(operational)),
            ("metrics_exposed", json!(sum(&|s| s.coverage().0))),
            ("metrics_declared", json!(sum(&|s| s.coverage().1))),
            ("targets_up", json!(sum(&ServiceReport::targets_up))),
            ("targets", json!(sum(&|s| s.targets.len()))),
            ("alerts_working", json!(sum(&ServiceReport::alerts_working))),
            ("alerts", json!(sum(&|s| s.alerts.len()))),
            ("panels_with_data", json!(sum(&|s| s.panels().0))),
            ("panels", json!(sum(&|s| s.panels().1))),
            ("gaps", json!([gaps(0), gaps(1), gaps(2)])),
        ];
        figures.into_iter().map(|(n, v)| (n.to_owned(), v)).collect()
    }
}

#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct PackVersion {
    pub name: String,
    pub version: String,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub struct DoctorSummary {
    pub findings: usize,
    pub ran: usize,
    pub skipped: usize,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ServiceStatus {
    Operational,
    /// Something is missing or wrong.
    Partial,
    /// Its targets are known, and none of them answers.
    Down,
    /// Neither a metric nor a target.
    Missing,
}

impl ServiceStatus {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Operational => "OPERATIONAL",
            Self::Partial => "PARTIAL",
            Self::Down => "DOWN",
            Self::Missing => "NOT DEPLOYED",
        }
    }

    /// Whether nothing of it is there.
    pub fn is_absent(self) -> bool {
        matches!(self, Self::Down | Self::Missing)
    }
}

/// Points of one part of the score. `got` of `of`; `None` where the part does not apply.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Points {
    /// `metrics`, `scrape`, `alerts`, `dashboards`, `objectives`, `delivery`.
    pub part: String,
    pub got: Option<f64>,
    pub of: f64,
}

#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct ServiceReport {
    pub pack: String,
    pub name: String,
    pub title: String,
    pub layer: String,
    pub status: ServiceStatus,
    pub score: f64,
    pub points: Vec<Points>,
    pub targets: Vec<TargetLine>,
    pub metrics: Vec<MetricReport>,
    /// Figures that are computed rather than exposed.
    pub values: Vec<MetricReport>,
    pub alerts: Vec<AlertLine>,
    pub records: Vec<RecordLine>,
    pub dashboards: Vec<BoardReport>,
    pub objectives: Vec<ObjectiveLine>,
    pub analysis: Vec<String>,
}

impl ServiceReport {
    /// Metrics that are there, and all that should be.
    pub fn coverage(&self) -> (usize, usize) {
        (self.metrics.iter().filter(|m| m.is_live()).count(), self.metrics.len())
    }

    pub fn targets_up(&self) -> usize {
        self.targets.iter().filter(|t| t.up).count()
    }

    /// Alerts that are evaluated and find their data.
    pub fn alerts_working(&self) -> usize {
        self.alerts.iter().filter(|a| a.works()).count()
    }

    /// Panels with data, and all panels.
    pub fn panels(&self) -> (usize, usize) {
        let sum = |of: fn(&BoardReport) -> usize| self.dashboards.iter().map(of).sum();
        (sum(|b| b.with_data), sum(|b| b.panels))
    }

    pub fn objectives_counted(&self) -> usize {
        self.objectives.iter().filter(|o| o.achieved.is_some()).count()
    }
}

#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct TargetLine {
    pub job: String,
    pub instance: String,
    pub up: bool,
    pub interval_ms: Option<i64>,
    /// How long ago it was scraped last.
    pub age_ms: Option<i64>,
    pub error: String,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ValueStatus {
    Healthy,
    /// Live, and nobody says where it should lie.
    Tracking,
    Diverging,
    OutOfRange,
    NoData,
    /// No series yet: it appears with the first event.
    NoEvent,
}

impl ValueStatus {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Healthy => "HEALTHY",
            Self::Tracking => "TRACKING",
            Self::Diverging => "DIVERGING",
            Self::OutOfRange => "OUT OF RANGE",
            Self::NoData => "NO DATA",
            Self::NoEvent => "NO EVENT YET",
        }
    }
}

/// Live values of one metric.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct MetricReport {
    pub name: String,
    /// `gauge`, `counter`, `histogram`, `summary` or `computed`.
    pub kind: String,
    pub unit: String,
    pub help: String,
    pub target: Option<Limits>,
    pub status: ValueStatus,
    /// Difference of the instances of the row in which they differ most.
    pub drift: Option<f64>,
    pub rows: Vec<ValueRow>,
    /// Rows that are not shown.
    pub rows_more: usize,
    /// Over the period, for the plot: a name and its points.
    #[serde(skip)]
    pub plot: Vec<(String, Vec<(i64, f64)>)>,
}

impl MetricReport {
    /// Exposed, or of a kind that appears with its first event.
    pub fn is_live(&self) -> bool {
        self.status != ValueStatus::NoData
    }
}

/// Values of the instances that differ in nothing else.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct ValueRow {
    /// What tells it from the other rows, such as `suite="waltzrl"`, `p95` or `per second`.
    pub labels: String,
    /// By instance; the key is empty where the series has none.
    pub values: BTreeMap<String, f64>,
    pub status: ValueStatus,
}

#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct AlertLine {
    pub name: String,
    pub severity: String,
    /// `inactive`, `pending`, `firing`; `None` if the server does not evaluate it.
    pub state: Option<String>,
    /// What the doctor found wrong with it, as code and cause.
    pub problems: Vec<String>,
}

impl AlertLine {
    pub fn works(&self) -> bool {
        self.state.is_some() && self.problems.is_empty()
    }
}

#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct RecordLine {
    pub name: String,
    pub has_output: bool,
}

#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct BoardReport {
    pub id: String,
    pub title: String,
    pub panels: usize,
    pub with_data: usize,
    pub problems: Vec<String>,
}

#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct ObjectiveLine {
    pub id: String,
    pub name: String,
    pub target: Option<f64>,
    pub achieved: Option<f64>,
    pub status: String,
    pub remaining_percent: Option<f64>,
}

#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct Gap {
    /// 0: now; 1: next; 2: later.
    pub priority: u8,
    pub subject: String,
    pub what: String,
    pub commands: Vec<String>,
}

#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Step {
    pub what: String,
    /// What it adds to the score of all.
    pub gain: f64,
}
