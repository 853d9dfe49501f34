//! Pictures of panels and dashboards for reports and notifications, drawn without a browser.
//!
//! Lives here: the canvas with its font, units and colours as the portal shows them, one file for
//! each family of panel kinds, [`panel_png`] and [`dashboard_png`].
//! Not here: asking for the data (`obs-api`), the dashboard's model (`obs-dash`).
//! Units: pixels; times in milliseconds.
//! Invariant: whatever the data holds, a picture comes back or an error; nothing is drawn without
//! bound, and what is cut is said on the picture.

mod canvas;
mod color;
mod data;
mod font;
mod kinds;
mod page;
mod shown;
mod units;

pub use data::{Answer, LogLine, Rows, Series, Window};
pub use page::{DrawError, Picture, Placed, SIDE_MAX, Theme, dashboard_png, panel_png};
