//! A dashboard as the portal draws it: flat panels with their place on the grid.

use obs_dash::Dashboard;
use serde_json::Value;

pub(crate) fn view(d: &Dashboard) -> Value {
    d.to_view()
}
