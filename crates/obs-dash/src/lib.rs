//! Dashboards: a plain model, its own JSON, and Grafana's JSON in and out.
//!
//! Lives here: [`Dashboard`], reading and writing it, and [`panel_queries`], which says what to
//! ask for each panel once the variables are filled in.
//! Not here: asking (`obs-query`), drawing (the portal), files and folders (`vm-obs`).
//! Units: a dashboard is 24 grid columns wide; times are milliseconds or expressions such as
//! `now-1h`.
//! Source: Grafana's dashboard JSON model, schema versions up to 42, and the row layout before 16.

mod error;
mod export;
mod grafana;
mod json;
mod model;
mod variables;

pub use error::DashError;
pub use model::{
    Dashboard, GridPosition, Language, Panel, PanelKind, Query, Threshold, TimeRange, Variable,
    VariableKind,
};
pub use variables::{PanelQuery, QueryScope, panel_queries};
