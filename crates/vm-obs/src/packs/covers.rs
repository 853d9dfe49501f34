//! `covers.yml`: what the documents name that a pack follows. Whatever stands there must be in the
//! pack, so that nothing of a document is forgotten or lost later.

use anyhow::anyhow;
use obs_rules::{RuleKind, RuleSpec};
use serde::Deserialize;

use super::Pack;

/// One document.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Covered {
    pub document: String,
    #[serde(default)]
    pub metrics: Vec<String>,
    #[serde(default)]
    pub alerts: Vec<String>,
    #[serde(default)]
    pub records: Vec<String>,
    #[serde(default)]
    pub slos: Vec<CoveredSlo>,
    #[serde(default)]
    pub dashboards: Vec<CoveredBoard>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CoveredSlo {
    pub id: String,
    /// Where the document states one.
    #[serde(default)]
    pub target: Option<f64>,
    /// Pairs of windows, `5m/1h`: an alert labelled with the objective reads series of both.
    #[serde(default)]
    pub burn: Vec<String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CoveredBoard {
    pub id: String,
    #[serde(default)]
    pub panels: Vec<String>,
}

impl Covered {
    /// `file` is for messages.
    pub(super) fn parse(file: &str, text: &str) -> anyhow::Result<Vec<Self>> {
        serde_saphyr::from_str(text).map_err(|e| anyhow!("{file}: {e}"))
    }
}

/// What is named and not there: the name, and the sentence about it.
pub(super) fn missing(pack: &Pack) -> Vec<(String, String)> {
    let mut out = Vec::new();
    let rules = || pack.rules.iter().flat_map(|f| &f.groups).flat_map(|g| &g.rules);
    let rule = |name: &str, alert: bool| {
        rules().any(|r| r.name() == name && matches!(r.kind, RuleKind::Alert(_)) == alert)
    };
    for doc in &pack.covers {
        let mut put = |name: &str, what: &str| {
            out.push((name.to_owned(), format!("{}: {what} {name} is missing", doc.document)));
        };
        for name in doc.metrics.iter().filter(|n| pack.metrics.iter().all(|m| m.name != **n)) {
            put(name, "metric");
        }
        doc.alerts.iter().filter(|n| !rule(n, true)).for_each(|n| put(n, "alert"));
        doc.records.iter().filter(|n| !rule(n, false)).for_each(|n| put(n, "recorded series"));
        for slo in &doc.slos {
            match pack.slos.iter().find(|s| s.id == slo.id) {
                None => put(&slo.id, "objective"),
                Some(found) if slo.target.is_some_and(|t| t != found.target) => {
                    put(&slo.id, "the document's target of objective");
                }
                Some(_) => {}
            }
            for pair in slo.burn.iter().filter(|pair| !rules().any(|r| burns(r, &slo.id, pair))) {
                put(&slo.id, &format!("a burn-rate alert over {pair} of"));
            }
        }
        for board in &doc.dashboards {
            let Some(found) = pack.dashboards.iter().find(|d| d.uid == board.id) else {
                put(&board.id, "dashboard");
                continue;
            };
            let panels = found.all_panels();
            for panel in board.panels.iter().filter(|p| panels.iter().all(|f| f.title != **p)) {
                put(panel, &format!("panel of {}:", board.id));
            }
        }
    }
    out
}

/// Whether the alert is about the objective and reads a series of both windows.
fn burns(rule: &RuleSpec, slo: &str, pair: &str) -> bool {
    let reads = |window: &str| {
        rule.expr
            .split(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':'))
            .any(|word| word.strip_suffix(window).is_some_and(|w| w.ends_with("rate")))
    };
    matches!(rule.kind, RuleKind::Alert(_))
        && rule.labels.get("slo").is_some_and(|s| s == slo)
        && pair.split('/').all(reads)
}
