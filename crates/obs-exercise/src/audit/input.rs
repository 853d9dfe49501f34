//! What an audit looks at.

use std::collections::BTreeMap;

use obs_types::TimestampMs;
use serde::Deserialize;

use crate::doctor::{Report, TargetInput};

/// Least and greatest value, each of which may be open.
pub type Limits = (Option<f64>, Option<f64>);

/// A pack as `GET /obs/packs` shows it.
#[derive(Clone, Debug, Deserialize)]
pub struct PackInput {
    pub name: String,
    pub version: String,
    #[serde(default)]
    pub metrics: Vec<MetricInput>,
    #[serde(default)]
    pub rules: Vec<RuleLine>,
    #[serde(default)]
    pub slos: Vec<SloLine>,
    #[serde(default)]
    pub dashboards: Vec<DashboardLine>,
    #[serde(default)]
    pub services: Vec<ServiceInput>,
}

#[derive(Clone, Debug, Deserialize)]
pub struct MetricInput {
    pub name: String,
    /// `gauge`, `counter`, `histogram` or `summary`.
    #[serde(rename = "type")]
    pub kind: String,
    #[serde(default)]
    pub unit: String,
    #[serde(default)]
    pub target: Option<Limits>,
    #[serde(default)]
    pub drift: Option<f64>,
    #[serde(default)]
    pub on_event: bool,
    #[serde(default)]
    pub help: String,
}

#[derive(Clone, Debug, Deserialize)]
pub struct RuleLine {
    pub name: String,
    /// `alert` or `record`.
    pub kind: String,
    #[serde(default)]
    pub severity: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
pub struct SloLine {
    pub id: String,
    pub name: String,
}

#[derive(Clone, Debug, Deserialize)]
pub struct DashboardLine {
    pub id: String,
    pub title: String,
    /// Those that show data.
    pub panels: usize,
}

/// One service of a pack, by names of the pack's parts.
#[derive(Clone, Debug, Deserialize)]
pub struct ServiceInput {
    pub name: String,
    pub title: String,
    #[serde(default)]
    pub layer: String,
    /// PromQL: 1 for each target that answers, 0 for each that does not; empty if nobody said.
    #[serde(default)]
    pub targets: String,
    #[serde(default)]
    pub metrics: Vec<String>,
    #[serde(default)]
    pub alerts: Vec<String>,
    #[serde(default)]
    pub records: Vec<String>,
    #[serde(default)]
    pub slos: Vec<String>,
    #[serde(default)]
    pub dashboards: Vec<String>,
    #[serde(default)]
    pub values: Vec<ValueInput>,
    /// Commands that bring it up.
    #[serde(default)]
    pub start: Vec<String>,
}

#[derive(Clone, Debug, Deserialize)]
pub struct ValueInput {
    pub name: String,
    pub query: String,
    #[serde(default)]
    pub unit: String,
    #[serde(default)]
    pub target: Option<Limits>,
}

/// An objective as the server reports it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ObjectiveState {
    pub target: Option<f64>,
    pub achieved: Option<f64>,
    /// `met`, `at_risk`, `missed` or `no_data`.
    pub status: String,
    pub remaining_percent: Option<f64>,
    pub error: Option<String>,
}

/// Who is told when an alert fires.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// Ways out of the receivers.
    Receivers(usize),
    /// Nobody, and why.
    Nobody(String),
}

/// All of it. Telemetry is asked for while the audit runs.
#[derive(Clone, Debug)]
pub struct AuditInput {
    /// Address of the server.
    pub place: String,
    pub now: TimestampMs,
    /// How far back plots and "lately" go.
    pub period_ms: i64,
    pub packs: Vec<PackInput>,
    /// By job and instance.
    pub targets: Vec<TargetInput>,
    /// State of each alerting rule that is evaluated, by pack and name: `inactive`, `pending`,
    /// `firing`.
    pub alerts: BTreeMap<(String, String), String>,
    /// By id.
    pub objectives: BTreeMap<String, ObjectiveState>,
    pub told: Told,
    /// What the doctor found in the same server.
    pub doctor: Report,
}
