//! Dashboards: a plain model, its own JSON, and Grafana's JSON in and out.
//!
//! Lives here: [`Dashboard`], reading and writing it, [`check`], which finds what is wrong with
//! one, [`lint`], which finds it in a file with path and line, and [`panel_queries`], which says what to ask for each panel once the variables are filled
//! in.
//! Not here: asking (`obs-query`), drawing (the portal), files and folders (`vm-obs`).
//! Units: a dashboard is 24 grid columns wide; times are milliseconds or expressions such as
//! `now-1h`.
//! Source: Grafana's dashboard JSON model, schema versions up to 42 and v2, and the row layout
//! before 16.

mod check;
mod error;
mod export;
mod field;
mod format;
mod grafana;
mod json;
mod kinds;
mod lint;
mod model;
mod notice;
mod places;
mod shape;
mod variables;
mod view;

pub use check::{Finding, Severity, Target, check};
pub use error::DashError;
pub use field::{FieldConfig, FieldMatcher, Mapping, Override, Shown, Threshold, Thresholds, When};
pub use grafana::Imported;
pub use kinds::{Language, PanelKind, VariableKind};
pub use lint::{Linted, Problem, QueryCheck, SourceTypes, lint};
pub use model::{
    Annotation, Dashboard, Extra, GridPosition, Link, Panel, Query, Repeat, TimeRange,
    Transformation, Variable,
};
pub use notice::{Notice, NoticeKind};
pub use variables::{PanelQuery, QueryScope, filled, panel_queries};
