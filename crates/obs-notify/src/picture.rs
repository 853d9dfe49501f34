//! Which panel shows what an alert is about, and where its picture is.
//!
//! The panel is named by Grafana's two annotations, by whoever wrote the rule or by the host. A
//! message holds addresses and no bytes: who may see the picture is decided where it is drawn.

use std::collections::BTreeMap;

use obs_rules::AlertRecord;
use obs_types::DurationMs;

/// Grafana's annotations; they name things and are not shown themselves.
const DASHBOARD: &str = "__dashboardUid__";
const PANEL: &str = "__panelId__";
/// What a picture shows before the condition first held, and after the end.
const BEFORE: DurationMs = DurationMs::HOUR;
const AFTER: DurationMs = DurationMs(10 * DurationMs::MINUTE.0);

/// A panel of a dashboard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PanelRef {
    pub dashboard: String,
    pub panel: i64,
}

/// Where people and programs see a panel.
pub(crate) struct Addresses {
    pub(crate) dashboard: String,
    pub(crate) panel: String,
    pub(crate) image: String,
}

/// The alert with the panel named, unless its rule has named one.
pub(crate) fn with_panel(alert: &AlertRecord, panel: Option<PanelRef>) -> AlertRecord {
    let mut alert = alert.clone();
    if let Some(found) = panel
        && !alert.annotations.contains_key(DASHBOARD)
    {
        alert.annotations.insert(DASHBOARD.to_owned(), found.dashboard);
        alert.annotations.insert(PANEL.to_owned(), found.panel.to_string());
    }
    alert
}

/// `None` if no panel is named, or if nobody knows where this server is reached.
pub(crate) fn addresses(alert: &AlertRecord, external_url: &str) -> Option<Addresses> {
    let uid = alert.annotations.get(DASHBOARD)?;
    let panel: i64 = alert.annotations.get(PANEL)?.trim().parse().ok()?;
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if external_url.is_empty() || uid.is_empty() || !uid.chars().all(plain) {
        return None;
    }
    let until = alert.resolved_at.or(alert.fired_at).unwrap_or(alert.active_at);
    let from = alert.active_at.saturating_sub(BEFORE).0.max(0) / 1000;
    let to = until.saturating_add(AFTER).0 / 1000;
    let window = format!("from={from}&to={to}");
    Some(Addresses {
        dashboard: format!("{external_url}/dashboards/{uid}?{window}"),
        panel: format!("{external_url}/dashboards/{uid}?panel={panel}&{window}"),
        image: format!("{external_url}/obs/dashboards/{uid}/panels/{panel}.png?{window}"),
    })
}

/// What is meant for people.
pub(crate) fn shown(annotations: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let mut out = annotations.clone();
    out.remove(DASHBOARD);
    out.remove(PANEL);
    out
}
