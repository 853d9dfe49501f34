//! Rules and alerts.
//!
//! Lives here: rule files, recording and alerting rules as pure steps, templates, the alert book
//! (ENGINE's alert objects, acknowledgements, silences), inhibition, rule unit tests.
//! Not here: when groups run (`vm-obs`), storing the samples (`obs-metrics`), sending notifications
//! (`obs-notify`), receipts (`obs-ledger`), HTTP (`obs-api`).
//! Units: milliseconds since the Unix epoch; durations in files as Prometheus writes them.
//! Source: Prometheus 3 rule files and promtool's test files; ENGINE 2.4, 3.2 and 7.

mod duration;
mod error;
mod expression;
mod forms;
mod humanize;
mod number;
mod promql;
mod template;

mod alert;
mod backfill;
mod dependency;
mod evaluate;
mod file;
mod group;
mod overlay;
mod set;

mod book;
mod inhibit;
mod silence;
mod time;

pub mod unittest;

pub use alert::{ActiveAlert, AlertState, Transition};
pub use backfill::{BackfillOptions, BackfillReport, backfill};
pub use book::{
    AckContract, AckRequest, Acknowledgement, AlertBook, AlertFilter, AlertRecord, AlertStatus,
    BookChange,
};
pub use duration::{format_duration, parse_duration};
pub use error::{FileError, RulesError};
pub use expression::{show_expression, split_for, threshold};
pub use file::{AlertSpec, GroupSpec, ReadOptions, RuleFile, RuleKind, RuleSpec};
pub use group::{
    AlertEvent, Effect, GroupOptions, Rule, RuleFailure, RuleGroup, RuleHealth, RuleInfo,
    StepContext,
};
pub use inhibit::InhibitRule;
pub use overlay::Overlay;
pub use promql::{SampleValue, VectorSample};
pub use set::RuleSet;
pub use silence::{Silence, SilenceMatcher, SilenceRequest, SilenceStatus};
pub use template::{TemplateData, check_template};
pub use time::{parse_time, time_text};
