//! Service level objectives: definition files, event-weighted budgets, burn rates, reports.

mod burn_down;
mod daily;
mod definition;
mod duration;
mod evaluate;
mod events;

pub use burn_down::{BurnDown, BurnPoint, burn_down};
pub use daily::DailyReport;
pub(crate) use daily::{cells, sentence};
pub use definition::{Indicator, Slo, parse_slo_file};
pub(crate) use duration::duration_text;
pub use evaluate::{
    AT_RISK_PERCENT, BURN_WINDOWS, BurnAlert, Events, InstantQuery, SloReport, SloStatus, Trend,
    count_events, evaluate,
};
pub use events::{EventQueries, Part, event_queries};
