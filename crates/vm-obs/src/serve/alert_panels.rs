//! The panel that shows what an alert is about: the one that asks for the metrics of its condition.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use obs_dash::{Dashboard, Language, PanelKind, QueryScope, panel_queries};
use obs_notify::PanelRef;
use obs_ops::DashboardService;
use obs_promql::ParserOptions;
use obs_rules::{RuleFile, RuleKind};
use obs_types::{METRIC_NAME, MatchOp};

/// How often a recorded series may be made of recorded series.
const RECORDED_DEPTH_MAX: usize = 3;

pub(super) struct AlertPanels {
    dashboards: Arc<DashboardService>,
    /// Metrics of the expression of each recorded series.
    recorded: BTreeMap<String, BTreeSet<String>>,
}

impl AlertPanels {
    pub(super) fn new(dashboards: Arc<DashboardService>, rules: &[RuleFile]) -> Self {
        let rules = rules.iter().flat_map(|f| &f.groups).flat_map(|g| &g.rules);
        let recorded = rules.filter_map(|rule| match &rule.kind {
            RuleKind::Record { name } => Some((name.clone(), metrics_of(&rule.expr))),
            RuleKind::Alert(_) => None,
        });
        Self { recorded: recorded.collect(), dashboards }
    }

    /// `expression` is the rule's, with or without ` for 5m`. `None` if no panel asks for any of
    /// its metrics.
    pub(super) fn of(&self, expression: &str) -> Option<PanelRef> {
        let mut asked = metrics_of(expression);
        for _ in 0..RECORDED_DEPTH_MAX {
            let made_of = asked.iter().filter_map(|m| self.recorded.get(m)).flatten().cloned();
            let made_of: Vec<String> = made_of.collect();
            asked.extend(made_of);
        }
        let asked: BTreeSet<&str> = asked.iter().map(|m| base(m)).collect();
        let all = self.dashboards.list();
        let found = all.iter().filter_map(|d| best(&d.dashboard, &asked));
        // The first of equals, in the order in which dashboards are listed.
        found.reduce(|a, b| if b.0 > a.0 { b } else { a }).map(|(_, panel)| panel)
    }
}

/// How well a panel fits: shared metrics, whether it shows a course of time, few other metrics.
type Fit = (usize, bool, std::cmp::Reverse<usize>);

fn best(board: &Dashboard, asked: &BTreeSet<&str>) -> Option<(Fit, PanelRef)> {
    let mut metrics: BTreeMap<i64, BTreeSet<String>> = BTreeMap::new();
    for query in panel_queries(board, &QueryScope::hour_until(3_600_000)) {
        if query.query.language == Language::PromQl {
            metrics.entry(query.panel_id).or_default().extend(metrics_of(&query.query.expr));
        }
    }
    let mut out: Option<(Fit, PanelRef)> = None;
    for panel in board.all_panels() {
        let Some(metrics) = metrics.get(&panel.id) else { continue };
        let metrics: BTreeSet<&str> = metrics.iter().map(|m| base(m)).collect();
        let shared = metrics.intersection(asked).count();
        let others = std::cmp::Reverse(metrics.len() - shared);
        let fit = (shared, panel.kind == PanelKind::TimeSeries, others);
        if shared > 0 && out.as_ref().is_none_or(|(best, _)| fit > *best) {
            let found = PanelRef { dashboard: board.uid.clone(), panel: panel.id };
            out = Some((fit, found));
        }
    }
    out
}

/// Names of the metrics that an expression reads; none for what does not parse.
fn metrics_of(expression: &str) -> BTreeSet<String> {
    let parse = |text: &str| obs_promql::parse(text, &ParserOptions::all()).ok();
    let parsed = parse(expression).or_else(|| parse(expression.rsplit_once(" for ")?.0));
    let selectors = parsed.map(|e| obs_promql::selectors(&e)).unwrap_or_default();
    let names = selectors.iter().flat_map(|s| &s.matchers);
    names
        .filter(|m| m.name() == METRIC_NAME && m.op() == MatchOp::Equal)
        .map(|m| m.value().to_owned())
        .collect()
}

/// A histogram's series by the name of the histogram.
fn base(metric: &str) -> &str {
    ["_bucket", "_count", "_sum"].iter().find_map(|s| metric.strip_suffix(s)).unwrap_or(metric)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packs::load_all;

    #[test]
    fn the_panel_with_the_alerts_metric_is_found() {
        let packs = load_all(&["vaultmesh".to_owned(), "genesis".to_owned()], &[]).unwrap();
        let rules: Vec<RuleFile> = packs.iter().flat_map(|p| p.rules.clone()).collect();
        let made: BTreeMap<String, BTreeSet<String>> = rules
            .iter()
            .flat_map(|f| &f.groups)
            .flat_map(|g| &g.rules)
            .filter(|r| matches!(r.kind, RuleKind::Record { .. }))
            .map(|r| (r.name().to_owned(), metrics_of(&r.expr)))
            .collect();
        assert!(made["psi:slow:ratio_rate5m"].contains("psi_step_duration_seconds_bucket"));
        let boards: Vec<&Dashboard> = packs.iter().flat_map(|p| &p.dashboards).collect();
        let find = |metric: &str| {
            let asked = BTreeSet::from([metric]);
            let found = boards.iter().filter_map(|d| best(d, &asked));
            found.reduce(|a, b| if b.0 > a.0 { b } else { a }).map(|(_, panel)| panel.dashboard)
        };
        assert_eq!(find("psi_field_prediction_error").as_deref(), Some("psi-field"));
        assert_eq!(find("treaty_fill_rate").as_deref(), Some("aurora-kpis"));
        assert_eq!(find("nobody_exposes_this"), None);
        let with_hold = metrics_of("psi_field_prediction_error > 0.7 for 5m");
        assert_eq!(with_hold, BTreeSet::from(["psi_field_prediction_error".to_owned()]));
    }
}
