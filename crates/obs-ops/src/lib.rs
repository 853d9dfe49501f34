//! Operations that change state and leave a receipt.
//!
//! Lives here: sealing hours, acknowledging and silencing alerts, objectives and their daily
//! report, recording anomalies, exercises, saving dashboards, keeping reports, tiers, retention, backup and
//! restore. Each does its work durably first and appends the receipt second,
//! so that the ledger never speaks of something that is not there.
//! Not here: when these run (`vm-obs`), HTTP (`obs-api`), what a receipt looks like (`obs-ledger`).

mod alerts;
mod anomaly;
mod config;
mod contracts;
mod dashboards;
mod error;
mod exercise;
mod ids;
mod report;
mod rule_json;
mod seal;
mod slo;
mod state;
pub mod storage;

pub use alerts::{
    AckRequest, AlertFilter, AlertService, AlertStep, Route, RoutedAlert, SilenceMatcher,
    SilenceRequest,
};
pub use anomaly::{AnomalyService, Watch};
pub use config::record_config;
pub use contracts::ACTORS_FILE;
pub use dashboards::{
    DASHBOARD_BYTES_MAX, DashboardOrigin, DashboardService, DashboardVersion, FaultyFile,
    InstalledDashboard, QueryChecker, SaveError, SaveRequest, Saved,
};
pub use error::OpsError;
pub use exercise::{ExerciseRequest, ExerciseService};
pub use ids::DayIds;
pub use report::{PERIOD_END, RecordedReport, ReportService, ReportSubmission};
pub use seal::{SealProblems, SealService, SealSettings};
pub use slo::SloService;
